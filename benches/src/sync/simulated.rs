//! A control plane that only speaks the stream: it has a [`Generated`] key set instead of a database, so that key sets of
//! any size, and changes at any pace, cost the machine little beside the gateway that is measured.
//!
//! It runs on a thread of its own. A stream gets a snapshot, then changes while [`Simulated::change`] says so,
//! one record each, drawn at random from all keys.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use keyward_contract::feed::control_frame::Frame;
use keyward_contract::feed::sync_server::{Sync, SyncServer};
use keyward_contract::feed::{self, ControlFrame, GatewayFrame, PROTOCOL, gateway_frame};
use keyward_loadtest::random::Random;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use super::generated::Generated;

const RECORDS_A_CHUNK: u64 = 1_000;
const CHUNKS_AHEAD: usize = 4;
const SNAPSHOT: u64 = 1;
const TICK: Duration = Duration::from_millis(2);
const HEARTBEAT: Duration = Duration::from_secs(1);
const WINDOW: u32 = 4 * 1024 * 1024;

/// A running one. It ends when it is dropped.
pub struct Simulated {
    address: SocketAddr,
    token_file: PathBuf,
    state: Arc<State>,
    _stop: oneshot::Sender<()>,
}

struct State {
    keys: Generated,
    pace: watch::Sender<u64>,
    sent: AtomicU64,
    acknowledged: AtomicU64,
}

impl Simulated {
    /// Starts one on a free port; `folder` takes the token that its gateways show.
    ///
    /// # Errors
    /// When it can't listen or write.
    pub fn start(folder: &Path, keys: Generated) -> anyhow::Result<Self> {
        let token_file = folder.join("gateway.token");
        std::fs::write(&token_file, format!("gw_{}", "0".repeat(43)))?;
        let state = Arc::new(State {
            keys,
            pace: watch::Sender::new(0),
            sent: AtomicU64::new(SNAPSHOT),
            acknowledged: AtomicU64::new(0),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let service = Service(Arc::clone(&state));
        std::thread::Builder::new()
            .name("simulated".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let listener = tokio::net::TcpListener::from_std(listener)?;
                    let server = tonic::transport::Server::builder()
                        .tcp_nodelay(true)
                        .initial_stream_window_size(WINDOW)
                        .initial_connection_window_size(WINDOW)
                        .add_service(SyncServer::new(service))
                        .serve_with_incoming(TcpListenerStream::new(listener));
                    tokio::select! {
                        served = server => served.map_err(anyhow::Error::from),
                        _ = stopped => anyhow::Ok(()),
                    }
                })
            })
            .context("a thread for the simulated control plane")?;
        Ok(Self {
            address,
            token_file,
            state,
            _stop: stop,
        })
    }

    /// Where gateways find it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The file with the token for it.
    #[must_use]
    pub fn token_file(&self) -> PathBuf {
        self.token_file.clone()
    }

    /// What it sends.
    #[must_use]
    pub fn keys(&self) -> &Generated {
        &self.state.keys
    }

    /// Makes so many changes a second from now on.
    pub fn change(&self, per_second: u64) {
        self.state.pace.send_replace(per_second);
    }

    /// How many changes were sent, and how many of them are in force.
    #[must_use]
    pub fn changes(&self) -> (u64, u64) {
        let so_far = |counter: &AtomicU64| counter.load(Ordering::Relaxed).saturating_sub(SNAPSHOT);
        (so_far(&self.state.sent), so_far(&self.state.acknowledged))
    }
}

struct Service(Arc<State>);

#[tonic::async_trait]
impl Sync for Service {
    type FollowStream = ReceiverStream<Result<ControlFrame, Status>>;

    async fn follow(
        &self,
        request: Request<Streaming<GatewayFrame>>,
    ) -> Result<Response<Self::FollowStream>, Status> {
        let mut frames = request.into_inner();
        let Some(gateway_frame::Frame::Hello(hello)) = frames.message().await?.and_then(|frame| frame.frame)
        else {
            return Err(Status::invalid_argument("the first frame is no Hello"));
        };
        let (out, stream) = mpsc::channel(CHUNKS_AHEAD);
        let echo = Arc::<AtomicU64>::default();
        tokio::spawn(read(frames, Arc::clone(&self.0), Arc::clone(&echo)));
        let session = Session {
            state: Arc::clone(&self.0),
            out,
            echo,
        };
        tokio::spawn(session.run(hello));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

async fn read(mut frames: Streaming<GatewayFrame>, state: Arc<State>, echo: Arc<AtomicU64>) {
    while let Ok(Some(frame)) = frames.message().await {
        match frame.frame {
            Some(gateway_frame::Frame::Acknowledge(acknowledged)) => {
                state
                    .acknowledged
                    .fetch_max(acknowledged.revision, Ordering::Relaxed);
            }
            Some(gateway_frame::Frame::Heartbeat(heartbeat)) => {
                echo.store(heartbeat.steady_ms, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

/// One stream.
struct Session {
    state: Arc<State>,
    out: mpsc::Sender<Result<ControlFrame, Status>>,
    echo: Arc<AtomicU64>,
}

impl Session {
    /// Until the gateway is gone.
    async fn run(self, hello: feed::Hello) -> Option<()> {
        let keys = &self.state.keys;
        self.send(Frame::Welcome(feed::Welcome {
            protocol: PROTOCOL,
            feed_epoch: "simulated".to_owned(),
            revision: self.state.sent.load(Ordering::Relaxed),
            digest_key: keys.digest_key().expose().to_vec(),
            live_gateways: 1,
            ..feed::Welcome::default()
        }))
        .await?;
        if hello.revision == 0 {
            self.snapshot().await?;
        }
        self.changes().await
    }

    async fn snapshot(&self) -> Option<()> {
        let records = self.state.keys.records();
        let (revision, begin) = (
            SNAPSHOT,
            feed::SnapshotBegin {
                revision: SNAPSHOT,
                records,
                ..Default::default()
            },
        );
        self.send(Frame::SnapshotBegin(begin)).await?;
        let mut from = 0;
        while from < records {
            let until = records.min(from + RECORDS_A_CHUNK);
            let records = (from..until)
                .map(|number| self.state.keys.record(number))
                .collect();
            self.send(Frame::SnapshotChunk(feed::SnapshotChunk { records }))
                .await?;
            from = until;
        }
        self.send(Frame::SnapshotEnd(feed::SnapshotEnd { revision, records }))
            .await
    }

    /// Every 2 ms what is due by then, and heartbeats.
    async fn changes(&self) -> Option<()> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        let (mut random, mut due) = (Random::new(9), 0.0);
        let pace = self.state.pace.subscribe();
        loop {
            tokio::select! {
                _ = heartbeat.tick() => self.heartbeat().await?,
                _ = tick.tick() => {
                    #[expect(clippy::cast_precision_loss, reason = "a pace is small")]
                    let a_second = *pace.borrow() as f64;
                    due += a_second * TICK.as_secs_f64();
                    while due >= 1.0 {
                        due -= 1.0;
                        self.one_change(&mut random).await?;
                    }
                }
            }
        }
    }

    async fn one_change(&self, random: &mut Random) -> Option<()> {
        let keys = &self.state.keys;
        let number = random.below(usize::try_from(keys.keys()).ok()?) as u64;
        let revision = self.state.sent.fetch_add(1, Ordering::Relaxed) + 1;
        self.send(Frame::Change(feed::Change {
            revision,
            committed_at_ms: now_ms(),
            records: vec![keys.key(number, revision)],
            history: Vec::new(),
        }))
        .await
    }

    async fn heartbeat(&self) -> Option<()> {
        self.send(Frame::Heartbeat(feed::ControlHeartbeat {
            revision: self.state.sent.load(Ordering::Relaxed),
            live_gateways: 1,
            sent_at_ms: now_ms(),
            echo_ms: self.echo.load(Ordering::Relaxed),
        }))
        .await
    }

    async fn send(&self, frame: Frame) -> Option<()> {
        self.out.send(Ok(ControlFrame { frame: Some(frame) })).await.ok()
    }
}

/// Milliseconds since 1970.
#[must_use]
pub fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
