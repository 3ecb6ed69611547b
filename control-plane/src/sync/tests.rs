//! The service as a gateway meets it: a real SQLite file, a real stream on loopback.

use std::collections::HashMap;

use keyward_contract::feed::sync_client::SyncClient;
use keyward_contract::feed::{
    self as wire, Change, ControlFrame, GatewayFrame, Hello, PROTOCOL, QuotaUsage, UsageCounter,
    control_frame::Frame, gateway_frame as up,
};
use keyward_contract::{
    AccountId, AccountRecord, AccountStatus, Contract, EnvironmentId, KeyDigest, KeyId, KeyRecord, KeyState,
    Limits, QuotaPeriod, Record,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

use super::*;
use crate::store::{changes, records, usage};

mod changes_reach_gateways;
mod many_gateways;
mod older_and_newer;
mod restarted;
mod restored;
mod snapshots;
mod streams;
mod usage_comes_back;

const TOKEN: &str = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlYzE=";

/// With the token in a file of this folder.
fn secrets(folder: &tempfile::TempDir) -> SyncSecrets {
    let file = folder.path().join("gateway.token");
    std::fs::write(&file, TOKEN).unwrap();
    SyncSecrets {
        token: SharedToken::in_file(file).unwrap(),
        digest_key: DigestKey::from_bytes([9; 32]),
        tls: None,
        clock: Clock::system(),
    }
}

struct Plane {
    store: Store,
    gateways: Gateways,
    address: SocketAddr,
    shutdown: CancellationToken,
    handle: JoinHandle<()>,
    epoch: String,
    folder: Arc<tempfile::TempDir>,
}

impl Plane {
    async fn start() -> Self {
        Self::start_with_wait(Duration::from_secs(20)).await
    }

    async fn start_with_wait(wait: Duration) -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), wait).await
    }

    /// With the database in this folder.
    async fn start_in(folder: Arc<tempfile::TempDir>, wait: Duration) -> Self {
        let url = format!("sqlite://{}/cp.db", folder.path().display());
        let store = Store::open(&url).await.unwrap();
        let epoch = records::feed_epoch(&store).await.unwrap();
        let (gateways, shutdown) = (Gateways::new(wait), CancellationToken::new());
        let secrets = secrets(&folder);
        let any_port = "127.0.0.1:0".parse().unwrap();
        let (address, handle) = serve(
            store.clone(),
            gateways.clone(),
            secrets,
            any_port,
            shutdown.clone(),
        )
        .await
        .unwrap();
        Self {
            store,
            gateways,
            address,
            shutdown,
            handle,
            epoch,
            folder,
        }
    }

    async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect().await.unwrap()
    }

    /// Opens a stream and takes its Welcome.
    async fn join(&self, hello: Hello) -> Result<Gateway, Status> {
        Gateway::open(self.channel().await, hello, TOKEN).await
    }

    fn hello(&self, id: &str, revision: u64) -> Hello {
        Hello {
            gateway_id: id.into(),
            protocol: PROTOCOL,
            revision,
            feed_epoch: self.epoch.clone(),
            boot_epoch: 7,
            address: "192.0.2.1:8080".into(),
            version: "1.2.3".into(),
            ..Hello::default()
        }
    }

    /// Commits a change without records, and tells nobody.
    async fn commit_silently(&self) -> u64 {
        let mut tx = self.store.begin(crate::store::Purpose::Change).await.unwrap();
        let revision = changes::append(&mut tx, now(), &[]).await.unwrap();
        tx.commit().await.unwrap();
        revision
    }

    async fn commit(&self) -> u64 {
        let revision = self.commit_silently().await;
        self.gateways.announce(revision);
        revision
    }

    /// Puts an account with so many keys into the store, as one change.
    async fn add_account(&self, keys: i64) -> (AccountRecord, Vec<KeyRecord>) {
        let account = account();
        let keys: Vec<KeyRecord> = (0..keys).map(|_| key(&account)).collect();
        let mut tx = self.store.begin(crate::store::Purpose::Change).await.unwrap();
        insert_account(&mut tx, &account).await;
        let (first,): (i64,) = sqlx::query_as("SELECT COALESCE(MAX(number), 0) + 1 FROM api_keys")
            .fetch_one(&mut *tx)
            .await
            .unwrap();
        for (number, key) in (first..).zip(&keys) {
            insert_key(&mut tx, key, number).await;
        }
        let mut records = vec![Record::Account(account.clone())];
        records.extend(keys.iter().cloned().map(Record::Key));
        let revision = changes::append(&mut tx, now(), &records).await.unwrap();
        tx.commit().await.unwrap();
        self.gateways.announce(revision);
        (account, keys)
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn account() -> AccountRecord {
    AccountRecord {
        id: AccountId::new(),
        status: AccountStatus::Active,
        tier: "growth".into(),
        limits: Limits {
            rate: 100,
            burst: 200,
        },
        annual_limit: 10_000_000,
        contract: Contract::default(),
        test_environment: EnvironmentId::random().unwrap(),
        production_environment: EnvironmentId::random().unwrap(),
        limit_mode: keyward_contract::LimitMode::Enforce,
        fallback: None,
        grants: Vec::new(),
    }
}

fn key(account: &AccountRecord) -> KeyRecord {
    let id = KeyId::new();
    let mut digest = [3; 32];
    digest[..16].copy_from_slice(id.as_uuid().as_bytes());
    KeyRecord {
        digest: KeyDigest::from_bytes(digest),
        id,
        account: account.id,
        environment: keyward_contract::Environment::Production,
        customer: None,
        state: KeyState::Active,
        expires_at: None,
        allowed_ips: None,
        api_version: "2026-11-01".into(),
        rotated_at: None,
        customer_limits: None,
    }
}

async fn insert_account(tx: &mut sqlx::Transaction<'static, sqlx::Any>, account: &AccountRecord) {
    sqlx::query(
        "INSERT INTO accounts (id, company_name, contact_email, tier, status, contract_start, metadata, \
         rate_limit, burst_limit, annual_limit, created_at, updated_at) \
         VALUES ($1, 'Acme', 'a@example.com', $2, 'active', $3, '{}', 100, 200, 10000000, 1, 1)",
    )
    .bind(account.id.to_string())
    .bind(account.tier.clone())
    .bind(account.contract.start.map(|start| start.0))
    .execute(&mut **tx)
    .await
    .unwrap();
    for (id, kind) in [
        (account.test_environment, "test"),
        (account.production_environment, "production"),
    ] {
        sqlx::query(
            "INSERT INTO environments (id, account_id, kind, user_key_limit) VALUES ($1, $2, $3, 20)",
        )
        .bind(id.to_string())
        .bind(account.id.to_string())
        .bind(kind)
        .execute(&mut **tx)
        .await
        .unwrap();
    }
}

async fn insert_key(tx: &mut sqlx::Transaction<'static, sqlx::Any>, key: &KeyRecord, number: i64) {
    sqlx::query(
        "INSERT INTO api_keys (id, number, account_id, environment, origin, mask, digest, state, api_version, \
         api_version_changed_at, created_by, created_at, updated_at) \
         VALUES ($1, $2, $3, 'production', 'keys', 'pk_live_…', $4, 'active', $5, 1, 'test', 1, 1)",
    )
    .bind(key.id.to_string())
    .bind(number)
    .bind(key.account.to_string())
    .bind(key.digest.as_bytes().to_vec())
    .bind(key.api_version.clone())
    .execute(&mut **tx)
    .await
    .unwrap();
}

/// The gateway's end of a stream.
struct Gateway {
    up: mpsc::Sender<GatewayFrame>,
    down: Streaming<ControlFrame>,
    welcome: wire::Welcome,
    /// Of what it was last sent.
    history: Vec<u8>,
}

impl Gateway {
    async fn open(channel: Channel, hello: Hello, token: &str) -> Result<Self, Status> {
        let first = GatewayFrame {
            frame: Some(up::Frame::Hello(hello)),
        };
        let (up, mut down) = Self::raw(channel, Some(first), token).await?;
        match down.message().await?.and_then(|frame| frame.frame) {
            Some(Frame::Welcome(welcome)) => Ok(Self {
                up,
                down,
                welcome,
                history: Vec::new(),
            }),
            other => panic!("no Welcome but {other:?}"),
        }
    }

    async fn raw(
        channel: Channel,
        first: Option<GatewayFrame>,
        token: &str,
    ) -> Result<(mpsc::Sender<GatewayFrame>, Streaming<ControlFrame>), Status> {
        let (up, frames) = mpsc::channel(16);
        if let Some(first) = first {
            up.send(first).await.unwrap();
        }
        let mut request = Request::new(ReceiverStream::new(frames));
        let value = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        let down = SyncClient::new(channel).follow(request).await?.into_inner();
        Ok((up, down))
    }

    async fn say(&self, frame: up::Frame) {
        self.up.send(GatewayFrame { frame: Some(frame) }).await.unwrap();
    }

    async fn acknowledge(&self, revision: u64) {
        self.say(up::Frame::Acknowledge(wire::Acknowledge { revision }))
            .await;
    }

    /// The next frame that is not a heartbeat.
    async fn next(&mut self) -> Result<Frame, Status> {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(10), self.down.message());
            let frame = next.await.expect("nothing came for 10 s")?;
            match frame.and_then(|frame| frame.frame) {
                Some(Frame::Heartbeat(_)) => {}
                Some(frame) => return Ok(frame),
                None => return Err(Status::ok("the end")),
            }
        }
    }

    async fn next_change(&mut self) -> Change {
        match self.next().await.unwrap() {
            Frame::Change(change) => {
                self.history.clone_from(&change.history);
                change
            }
            other => panic!("no change but {other:?}"),
        }
    }

    /// Takes a whole snapshot: its revision and records.
    async fn snapshot(&mut self) -> (u64, Vec<wire::Record>) {
        let Frame::SnapshotBegin(begin) = self.next().await.unwrap() else {
            panic!("no snapshot");
        };
        let mut records = Vec::new();
        loop {
            match self.next().await.unwrap() {
                Frame::SnapshotChunk(chunk) => {
                    assert!(chunk.records.len() <= 1000);
                    records.extend(chunk.records);
                }
                Frame::SnapshotEnd(end) => {
                    let many = records.len() as u64;
                    assert_eq!((end.revision, end.records), (begin.revision, many));
                    assert_eq!(begin.records, many);
                    self.history = begin.history;
                    return (end.revision, records);
                }
                other => panic!("in a snapshot: {other:?}"),
            }
        }
    }

    async fn end(mut self) -> Status {
        loop {
            if let Err(status) = self.next().await {
                return status;
            }
        }
    }
}

/// Waits until a condition holds.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !holds().await {
        assert!(std::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
