//! The follower against a control plane that says exactly what the test wants: real streams on loopback, a real
//! replica and ledger on disk.

use keyward_config::WhenStale;
use keyward_contract::feed::{
    self, Change, ControlFrame, GatewayFrame, Hello, PROTOCOL, Record, SnapshotBegin, SnapshotChunk,
    SnapshotEnd, Welcome, control_frame as down, gateway_frame as up, sync_server,
};
use keyward_contract::{
    AccountId, AccountRecord, AccountStatus, Contract, DigestKey, EnvironmentId, KeyDigest, KeyId, KeyRecord,
    KeyState, Limits,
};
use std::net::SocketAddr;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use super::*;
use crate::keys::{Lookup, Recent};
use crate::ledger::{Book, CounterKey, LedgerBounds};
use crate::telemetry::TierSlot;

mod following;
mod held;
mod reporting;

const DIGEST_KEY: [u8; 32] = [7; 32];
const EPOCH: &str = "epoch-1";

/// Hands every stream that is opened to the test.
struct Door(mpsc::Sender<Peer>);

/// The control plane's end of one stream.
struct Peer {
    inbound: Streaming<GatewayFrame>,
    out: mpsc::Sender<Result<ControlFrame, Status>>,
    token: String,
}

#[tonic::async_trait]
impl sync_server::Sync for Door {
    type FollowStream = ReceiverStream<Result<ControlFrame, Status>>;

    async fn follow(
        &self,
        request: Request<Streaming<GatewayFrame>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let token = request
            .metadata()
            .get("authorization")
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let (out, frames) = mpsc::channel(64);
        let peer = Peer {
            inbound: request.into_inner(),
            out,
            token,
        };
        self.0
            .send(peer)
            .await
            .map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(frames)))
    }
}

struct ControlPlane {
    address: SocketAddr,
    peers: mpsc::Receiver<Peer>,
}

impl ControlPlane {
    async fn start() -> Self {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = incoming.local_addr().unwrap();
        let (door, peers) = mpsc::channel(4);
        let service = sync_server::SyncServer::new(Door(door));
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(incoming));
        Self { address, peers }
    }

    async fn peer(&mut self) -> Peer {
        in_time(self.peers.recv()).await.unwrap()
    }

    /// Takes a stream, its Hello, and welcomes it.
    async fn welcome(&mut self) -> (Peer, Hello) {
        let mut peer = self.peer().await;
        let up::Frame::Hello(hello) = peer.next().await else {
            panic!("no Hello")
        };
        let digest_key = if hello.wants_digest_key {
            DIGEST_KEY.to_vec()
        } else {
            vec![]
        };
        let welcome = Welcome {
            protocol: PROTOCOL,
            feed_epoch: EPOCH.into(),
            digest_key,
            live_gateways: 3,
            ..Welcome::default()
        };
        peer.say(down::Frame::Welcome(welcome)).await;
        (peer, hello)
    }
}

impl Peer {
    async fn say(&self, frame: down::Frame) {
        self.out
            .send(Ok(ControlFrame { frame: Some(frame) }))
            .await
            .unwrap();
    }

    /// The next frame that is no heartbeat.
    async fn next(&mut self) -> up::Frame {
        loop {
            let frame = in_time(self.inbound.message())
                .await
                .unwrap()
                .unwrap()
                .frame
                .unwrap();
            if !matches!(frame, up::Frame::Heartbeat(_)) {
                return frame;
            }
        }
    }

    async fn heartbeat(&mut self) -> feed::GatewayHeartbeat {
        loop {
            let frame = in_time(self.inbound.message()).await.unwrap().unwrap().frame;
            if let Some(up::Frame::Heartbeat(heartbeat)) = frame {
                return heartbeat;
            }
        }
    }

    async fn acknowledged(&mut self) -> u64 {
        match self.next().await {
            up::Frame::Acknowledge(acknowledge) => acknowledge.revision,
            other => panic!("no acknowledgement but {other:?}"),
        }
    }

    async fn usage(&mut self) -> feed::UsageReport {
        match self.next().await {
            up::Frame::Usage(report) => report,
            other => panic!("no usage but {other:?}"),
        }
    }

    async fn change(&self, revision: u64, records: Vec<Record>) {
        self.say(down::Frame::Change(Change {
            revision,
            records,
            committed_at_ms: 1,
            ..Change::default()
        }))
        .await;
    }

    async fn snapshot(&self, revision: u64, records: Vec<Record>) {
        let many = records.len() as u64;
        self.say(down::Frame::SnapshotBegin(SnapshotBegin {
            revision,
            records: many,
            ..SnapshotBegin::default()
        }))
        .await;
        for chunk in records.chunks(3) {
            self.say(down::Frame::SnapshotChunk(SnapshotChunk {
                records: chunk.to_vec(),
            }))
            .await;
        }
        self.say(down::Frame::SnapshotEnd(SnapshotEnd {
            revision,
            ..SnapshotEnd::default()
        }))
        .await;
    }

    /// Whether the gateway has left without a word of ours.
    async fn is_left(&mut self) -> bool {
        loop {
            match in_time(self.inbound.message()).await {
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return true,
            }
        }
    }
}

/// A follower at work.
struct Gateway {
    keys: Arc<KeySet>,
    ledger: Arc<Ledger>,
    book: Book,
    state: Arc<SyncState>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

/// Its folders, which outlive a restart.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn start(&self, urls: &[SocketAddr]) -> Gateway {
        self.start_with(urls, Quiescence::new(vec![]))
    }

    fn start_with(&self, urls: &[SocketAddr], quiescence: Quiescence) -> Gateway {
        let (follower, mut gateway) = self.follower(urls, quiescence);
        gateway.running = tokio::spawn(follower.run(gateway.stop.clone()));
        gateway
    }

    /// A follower that has not begun, and what it works on.
    fn follower(&self, urls: &[SocketAddr], quiescence: Quiescence) -> (Follower, Gateway) {
        let keys = KeySet::open(&self.0.path().join("replica"), 1000, Box::new(|_| TierSlot::NONE)).unwrap();
        let bounds = LedgerBounds {
            max_size: 64 << 20,
            sync_interval: Duration::from_secs(1),
        };
        let ledger = Ledger::open(&self.0.path().join("ledger"), vec!["/".into()], bounds).unwrap();
        let staleness = Staleness {
            max: Some(Duration::from_secs(3)),
            then: WhenStale::Deny,
        };
        let state = Arc::new(SyncState::new(staleness, Duration::ZERO));
        let token_file = self.0.path().join("token");
        std::fs::write(&token_file, "the-token").unwrap();
        let link = keyward_config::ControlPlaneLink {
            urls: urls.iter().map(|address| format!("http://{address}")).collect(),
            token_file,
            tls: keyward_config::ClientTls::default(),
        };
        let link = SyncLink {
            credentials: Arc::new(LinkCredentials::open(&link).unwrap()),
            urls: link.urls,
            server_name: None,
            gateway_id: "edge-1".into(),
            boot_epoch: ledger.boot_epoch(),
            address: "192.0.2.1:8080".into(),
            staleness,
        };
        let stop = CancellationToken::new();
        let follower = Follower::new(
            link,
            Arc::clone(&keys),
            quiescence,
            Arc::clone(&ledger),
            Arc::clone(&state),
        );
        let gateway = Gateway {
            keys,
            book: ledger.book(),
            ledger,
            state,
            stop,
            running: tokio::spawn(std::future::ready(())),
        };
        (follower, gateway)
    }
}

impl Gateway {
    fn knows(&self, key: &str) -> Option<KeyState> {
        match self.keys.find(key.as_bytes(), &mut Recent::with_capacity(1)).0 {
            Lookup::Known(key) => Some(key.entry().record.state),
            Lookup::Unknown | Lookup::Unavailable => None,
        }
    }

    async fn stopped(self) {
        self.stop.cancel();
        in_time(self.running).await.unwrap();
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
        annual_limit: 1000,
        contract: Contract::default(),
        test_environment: EnvironmentId::random().unwrap(),
        production_environment: EnvironmentId::random().unwrap(),
        limit_mode: keyward_contract::LimitMode::Enforce,
        fallback: None,
        grants: Vec::new(),
    }
}

fn digest(text: &str) -> KeyDigest {
    DigestKey::from_bytes(DIGEST_KEY).digest(text.as_bytes())
}

fn key(account: &AccountRecord, text: &str, state: KeyState) -> Record {
    let key = KeyRecord {
        digest: digest(text),
        id: KeyId::new(),
        account: account.id,
        environment: keyward_contract::Environment::Production,
        customer: None,
        state,
        expires_at: None,
        allowed_ips: None,
        api_version: String::new(),
        rotated_at: None,
        customer_limits: None,
    };
    Record::from(&keyward_contract::Record::Key(key))
}

fn account_record(account: &AccountRecord) -> Record {
    Record::from(&keyward_contract::Record::Account(account.clone()))
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work)
        .await
        .expect("not in 20 s")
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
