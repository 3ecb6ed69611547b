//! A gateway as a control plane meets it: takes what it is sent, and acknowledges it unless told not to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hyper_util::rt::TokioIo;
use keyward_config::ClientTls;
use keyward_contract::AccountId;
use keyward_contract::feed::sync_client::SyncClient;
use keyward_contract::feed::{
    self, Acknowledge, Change, ControlFrame, GatewayFrame, GatewayHeartbeat, Goodbye, Hello, PROTOCOL,
    QuotaUsage, Record, UsageCounter, UsageReport, control_frame::Frame, gateway_frame as up,
};
use keyward_control_plane::store::records;
use keyward_tls::{Purpose, Sources, client_config, client_files};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use crate::plane::Plane;

/// Used elsewhere; of that here before, by each other gateway that is named, and by others.
pub(crate) type QuotaTold = (u64, u64, Vec<(String, u64)>, u64);

/// A connected gateway. Dropped, its stream breaks.
pub(crate) struct Gateway {
    up: mpsc::Sender<GatewayFrame>,
    seen: Arc<Seen>,
    following: AbortOnDropHandle<Status>,
    _heartbeats: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Seen {
    snapshot: Mutex<(u64, Vec<Record>)>,
    changes: Mutex<Vec<(Change, Instant)>>,
    is_mute: AtomicBool,
    is_confirmed: AtomicBool,
    echo: Mutex<u64>,
    quotas: Mutex<Vec<QuotaUsage>>,
}

/// How a gateway of this name presents itself: as its start `boot_epoch`, with an empty disk.
pub(crate) fn hello(id: &str, boot_epoch: u64) -> Hello {
    Hello {
        gateway_id: id.into(),
        protocol: PROTOCOL,
        boot_epoch,
        address: "192.0.2.1:8080".into(),
        version: "1.2.3".into(),
        ..Hello::default()
    }
}

/// The same, with the first revision on its disk.
pub(crate) fn resuming(id: &str, boot_epoch: u64) -> Hello {
    Hello {
        revision: 1,
        ..hello(id, boot_epoch)
    }
}

/// What a gateway shows, and whom it trusts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    pub(crate) token: Option<String>,
    /// `None`: clear text.
    pub(crate) tls: Option<ClientTls>,
}

impl Shown {
    pub(crate) fn token(token: &str) -> Self {
        Self {
            token: Some(token.to_owned()),
            tls: None,
        }
    }
}

/// A connection to the control plane; what fails is said as gRPC says it.
async fn connect(plane: &Plane, tls: Option<&ClientTls>) -> Result<Channel, Status> {
    let at = plane.running.sync;
    let Some(tls) = tls else {
        let endpoint = Endpoint::from_shared(format!("http://{at}")).unwrap();
        return Ok(endpoint.connect().await.unwrap());
    };
    let config = client_config(
        &Sources::read(&client_files(tls, Purpose::ControlPlane)),
        Purpose::ControlPlane,
    )
    .unwrap();
    let dial = tower::service_fn(move |_| {
        let config = Arc::clone(&config);
        async move {
            let stream = tokio::net::TcpStream::connect(at).await?;
            let name = "localhost".try_into().unwrap();
            let stream = tokio_rustls::TlsConnector::from(config)
                .connect(name, stream)
                .await?;
            std::io::Result::Ok(TokioIo::new(stream))
        }
    });
    let endpoint = Endpoint::from_static("https://localhost");
    let connected = endpoint.connect_with_connector(dial).await;
    connected.map_err(|error| Status::unavailable(format!("{error:?}")))
}

impl Gateway {
    /// Connects with the token that all share, and takes its snapshot.
    pub(crate) async fn join(plane: &Plane, hello: Hello) -> Result<Self, Status> {
        let token = std::fs::read_to_string(plane.folder.path().join("gateway.token")).unwrap();
        Self::join_by(plane, hello, &Shown::token(token.trim())).await
    }

    /// The same with something else to show.
    pub(crate) async fn join_by(plane: &Plane, hello: Hello, shown: &Shown) -> Result<Self, Status> {
        // It may be away.
        let feed_epoch = records::feed_epoch(&plane.running.registry().store)
            .await
            .unwrap_or_default();
        let hello = Hello { feed_epoch, ..hello };
        let is_empty = hello.revision == 0;
        let channel = connect(plane, shown.tls.as_ref()).await?;
        let (up, frames) = mpsc::channel(64);
        let say = |frame| GatewayFrame { frame: Some(frame) };
        up.send(say(up::Frame::Hello(hello))).await.unwrap();
        let mut request = Request::new(ReceiverStream::new(frames));
        if let Some(token) = &shown.token {
            let value = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        let down = SyncClient::new(channel).follow(request).await?.into_inner();
        let seen = Arc::new(Seen::default());
        let following = tokio::spawn(follow(down, up.clone(), Arc::clone(&seen)));
        let heartbeats = tokio::spawn({
            let up = up.clone();
            async move {
                for steady_ms in 1.. {
                    let heartbeat = GatewayHeartbeat {
                        steady_ms,
                        ..GatewayHeartbeat::default()
                    };
                    if up.send(say(up::Frame::Heartbeat(heartbeat))).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        });
        let gateway = Self {
            up,
            seen,
            following: AbortOnDropHandle::new(following),
            _heartbeats: AbortOnDropHandle::new(heartbeats),
        };
        if is_empty {
            plane
                .eventually(async || gateway.seen.snapshot.lock().0 > 0)
                .await;
        }
        Ok(gateway)
    }

    /// From now on it acknowledges nothing.
    pub(crate) fn mute(&self) {
        self.seen.is_mute.store(true, Ordering::Relaxed);
    }

    /// Says that it holds a snapshot, and acknowledges nothing until it comes again confirmed.
    pub(crate) async fn hold(&self, revision: u64, held: u64, dropped: u64) {
        self.mute();
        let held = feed::SnapshotHeld {
            revision,
            held,
            dropped,
        };
        let frame = Some(up::Frame::SnapshotHeld(held));
        self.up.send(GatewayFrame { frame }).await.unwrap();
    }

    /// Whether a snapshot was sent to it that somebody had confirmed.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.seen.is_confirmed.load(Ordering::Relaxed)
    }

    pub(crate) async fn say_goodbye(&self) {
        let frame = Some(up::Frame::Goodbye(Goodbye {}));
        self.up.send(GatewayFrame { frame }).await.unwrap();
    }

    /// The revision and the records of its snapshot.
    pub(crate) fn snapshot(&self) -> (u64, Vec<Record>) {
        self.seen.snapshot.lock().clone()
    }

    /// The changes since, in the order in which they came.
    pub(crate) fn changes(&self) -> Vec<Change> {
        self.seen
            .changes
            .lock()
            .iter()
            .map(|(change, _)| change.clone())
            .collect()
    }

    /// When it was sent this revision.
    pub(crate) fn came(&self, revision: u64) -> Option<Instant> {
        let changes = self.seen.changes.lock();
        let change = changes.iter().find(|(change, _)| change.revision == revision);
        change.map(|(_, at)| *at)
    }

    /// The newest heartbeat that was echoed to it.
    pub(crate) fn echo(&self) -> u64 {
        *self.seen.echo.lock()
    }

    /// Reports accepted production calls of this hour.
    pub(crate) async fn report(&self, account: AccountId, accepted: u64) {
        let counter = UsageCounter {
            account_id: account.as_uuid().as_bytes().to_vec(),
            environment: feed::Environment::Production.into(),
            route: "/".into(),
            hour: i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 3600)
                .unwrap(),
            accepted,
            ..UsageCounter::default()
        };
        let report = UsageReport {
            sequence: 1,
            counters: vec![counter],
        };
        let frame = Some(up::Frame::Usage(report));
        self.up.send(GatewayFrame { frame }).await.unwrap();
    }

    /// What it was last told that others spent of an account's quota.
    pub(crate) fn spent_elsewhere(&self, account: AccountId) -> Option<u64> {
        let quotas = self.seen.quotas.lock();
        let of_account = |usage: &&QuotaUsage| usage.account_id == account.as_uuid().as_bytes();
        quotas
            .iter()
            .rev()
            .find(of_account)
            .map(|usage| usage.used_elsewhere)
    }

    /// What it was last told of an account's quota: used elsewhere, and of that here before, by each other gateway that
    /// is named, and by others.
    pub(crate) fn quota(&self, account: AccountId) -> Option<QuotaTold> {
        let quotas = self.seen.quotas.lock();
        let of_account = |usage: &&QuotaUsage| usage.account_id == account.as_uuid().as_bytes();
        let usage = quotas.iter().rev().find(of_account)?;
        let named = usage.gateways.iter();
        let mut named: Vec<_> = named.map(|by| (by.gateway_id.clone(), by.used)).collect();
        named.sort();
        Some((
            usage.used_elsewhere,
            usage.used_here_before,
            named,
            usage.used_by_others,
        ))
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.following.is_finished()
    }

    /// How its stream ended.
    pub(crate) async fn end(self) -> Status {
        let ended = tokio::time::timeout(Duration::from_secs(20), self.following).await;
        ended.unwrap().unwrap()
    }
}

async fn follow(
    mut down: Streaming<ControlFrame>,
    up: mpsc::Sender<GatewayFrame>,
    seen: Arc<Seen>,
) -> Status {
    loop {
        let frame = match down.message().await {
            Ok(Some(frame)) => frame.frame,
            Ok(None) => return Status::ok("the end"),
            Err(status) => return status,
        };
        let revision = match frame {
            Some(Frame::SnapshotBegin(begin)) => {
                if begin.confirmed {
                    seen.is_confirmed.store(true, Ordering::Relaxed);
                    seen.is_mute.store(false, Ordering::Relaxed);
                }
                continue;
            }
            Some(Frame::SnapshotChunk(chunk)) => {
                seen.snapshot.lock().1.extend(chunk.records);
                continue;
            }
            Some(Frame::SnapshotEnd(end)) => {
                seen.snapshot.lock().0 = end.revision;
                end.revision
            }
            Some(Frame::Change(change)) => {
                let revision = change.revision;
                seen.changes.lock().push((change, Instant::now()));
                revision
            }
            Some(Frame::Heartbeat(heartbeat)) => {
                *seen.echo.lock() = heartbeat.echo_ms;
                continue;
            }
            Some(Frame::QuotaUsage(usage)) => {
                seen.quotas.lock().push(usage);
                continue;
            }
            _ => continue,
        };
        if !seen.is_mute.load(Ordering::Relaxed) {
            let frame = Some(up::Frame::Acknowledge(Acknowledge { revision }));
            let _ = up.send(GatewayFrame { frame }).await;
        }
    }
}
