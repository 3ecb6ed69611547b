//! Gateways that only speak the stream: many of them in one process, to see what many streams cost a control plane.
//!
//! Each has a connection of its own, opened as a gateway opens it; says Hello, acknowledges what comes, sends a heartbeat
//! a second, and comes back after a gateway's own pauses when its stream ends. It keeps no key, only its revision, and
//! notes how long each change was under way: from the instant that the change carries, taken in its transaction, to the
//! millisecond.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use keyward_contract::feed::control_frame::Frame;
use keyward_contract::feed::sync_client::SyncClient;
use keyward_contract::feed::{
    Acknowledge, Change, ControlFrame, GatewayFrame, GatewayHeartbeat, Hello, PROTOCOL, gateway_frame,
};
use keyward_gateway::sync::Backoff;
use keyward_loadtest::Histogram;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Endpoint;
use tonic::{Request, Streaming};

use super::simulated::now_ms;

const HEARTBEAT: Duration = Duration::from_secs(1);
const CONNECT: Duration = Duration::from_secs(2);
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const LARGEST_FRAME: usize = 64 * 1024 * 1024;
/// A stream that held for so long was no failure to connect.
const STEADY: Duration = Duration::from_secs(10);
const FRAMES_AHEAD: usize = 64;

/// What a gateway does with what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It takes and acknowledges it.
    Follows,
    /// Once it has its first snapshot, it sends heartbeats and reads nothing more.
    Stuck,
}

impl Manner {
    /// What may be under way to it. A stuck one's is small, so that the control plane soon can't send any more.
    fn window(self) -> u32 {
        match self {
            Self::Follows => 4 * 1024 * 1024,
            Self::Stuck => 64 * 1024,
        }
    }
}

/// What all of them noted.
#[derive(Debug, Default)]
pub struct Noted {
    /// Streams that are up.
    pub up: AtomicUsize,
    /// Changes that came.
    pub changes: AtomicU64,
    /// Changes that came without the one before.
    pub skipped: AtomicU64,
    /// Stuck gateways' streams that the control plane has ended.
    pub dropped: AtomicU64,
    under_way: Mutex<Histogram>,
    attempts: Mutex<Vec<Instant>>,
}

impl Noted {
    /// How long changes were under way since this was last asked.
    #[must_use]
    pub fn take_under_way(&self) -> Histogram {
        std::mem::take(&mut *self.under_way.lock())
    }

    /// When they tried to open streams since this was last asked.
    #[must_use]
    pub fn take_attempts(&self) -> Vec<Instant> {
        std::mem::take(&mut *self.attempts.lock())
    }
}

/// Running ones. They end when this is dropped.
pub struct Fleet {
    /// What they noted.
    pub noted: Arc<Noted>,
    url: String,
    token: MetadataValue<Ascii>,
    gateways: JoinSet<()>,
}

impl Fleet {
    /// None yet, of this control plane.
    ///
    /// # Errors
    /// When the token can't be read.
    pub fn of(url: String, token_file: &Path) -> anyhow::Result<Self> {
        let token = std::fs::read_to_string(token_file)?;
        Ok(Self {
            noted: Arc::default(),
            url,
            token: MetadataValue::try_from(format!("Bearer {}", token.trim()))?,
            gateways: JoinSet::new(),
        })
    }

    /// Starts so many more.
    pub fn start(&mut self, count: usize, manner: Manner) {
        for _ in 0..count {
            let gateway = Light {
                id: format!("light-{}", self.gateways.len()),
                url: self.url.clone(),
                token: self.token.clone(),
                manner,
                noted: Arc::clone(&self.noted),
                revision: 0,
                epoch: String::new(),
                streams: 0,
            };
            self.gateways.spawn(gateway.follow());
        }
    }
}

struct Light {
    id: String,
    url: String,
    token: MetadataValue<Ascii>,
    manner: Manner,
    noted: Arc<Noted>,
    revision: u64,
    epoch: String,
    streams: u64,
}

impl Light {
    async fn follow(mut self) {
        let mut backoff = Backoff::default();
        loop {
            let began = Instant::now();
            self.noted.attempts.lock().push(began);
            // However it ended, the next one goes on from the same revision.
            let _ = self.stream().await;
            if began.elapsed() >= STEADY {
                backoff = Backoff::after_loss(1);
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    async fn stream(&mut self) -> anyhow::Result<()> {
        let channel = Endpoint::from_shared(self.url.clone())?
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(self.manner.window())
            .initial_connection_window_size(self.manner.window())
            .connect()
            .await?;
        let (up, frames) = mpsc::channel(FRAMES_AHEAD);
        self.streams += 1;
        up.try_send(frame(gateway_frame::Frame::Hello(self.hello())))?;
        let mut request = Request::new(ReceiverStream::new(frames));
        request.metadata_mut().insert("authorization", self.token.clone());
        let mut client = SyncClient::new(channel).max_decoding_message_size(LARGEST_FRAME);
        let down = client.follow(request).await?.into_inner();
        let _up = Up::of(&self.noted);
        let heartbeats = Arc::new(AtomicU64::new(self.revision));
        tokio::select! {
            ended = send_heartbeats(&up, &heartbeats) => ended,
            ended = self.read(down, &up, &heartbeats) => ended,
        }
    }

    fn hello(&self) -> Hello {
        Hello {
            gateway_id: self.id.clone(),
            version: "light".to_owned(),
            protocol: PROTOCOL,
            oldest_protocol: PROTOCOL,
            revision: self.revision,
            feed_epoch: self.epoch.clone(),
            boot_epoch: 1,
            address: "127.0.0.1:1".to_owned(),
            ..Hello::default()
        }
    }

    async fn read(
        &mut self,
        mut down: Streaming<ControlFrame>,
        up: &mpsc::Sender<GatewayFrame>,
        heartbeats: &AtomicU64,
    ) -> anyhow::Result<()> {
        while let Some(message) = down.message().await? {
            let reached = match message.frame {
                Some(Frame::Welcome(welcome)) => {
                    self.epoch = welcome.feed_epoch;
                    continue;
                }
                Some(Frame::SnapshotEnd(end)) => end.revision,
                Some(Frame::Change(change)) => self.changed(&change),
                _ => continue,
            };
            self.revision = reached;
            heartbeats.store(reached, Ordering::Relaxed);
            up.send(frame(gateway_frame::Frame::Acknowledge(Acknowledge {
                revision: reached,
            })))
            .await?;
            if self.manner == Manner::Stuck {
                // The stream is held, and nothing more of it is read; its end is seen by what can't be sent.
                up.closed().await;
                self.noted.dropped.fetch_add(1, Ordering::Relaxed);
                break;
            }
        }
        Ok(())
    }

    fn changed(&self, change: &Change) -> u64 {
        let noted = &self.noted;
        noted.changes.fetch_add(1, Ordering::Relaxed);
        if change.revision != self.revision + 1 {
            noted.skipped.fetch_add(1, Ordering::Relaxed);
        }
        let ms = u64::try_from(now_ms() - change.committed_at_ms).unwrap_or_default();
        noted.under_way.lock().record(Duration::from_millis(ms));
        change.revision
    }
}

async fn send_heartbeats(up: &mpsc::Sender<GatewayFrame>, revision: &AtomicU64) -> anyhow::Result<()> {
    let mut tick = tokio::time::interval(HEARTBEAT);
    loop {
        tick.tick().await;
        let heartbeat = GatewayHeartbeat {
            revision: revision.load(Ordering::Relaxed),
            sent_at_ms: now_ms(),
            steady_ms: 1,
            oldest_boot_epoch: 1,
        };
        up.send(frame(gateway_frame::Frame::Heartbeat(heartbeat))).await?;
    }
}

fn frame(frame: gateway_frame::Frame) -> GatewayFrame {
    GatewayFrame { frame: Some(frame) }
}

/// Counts a stream while it is up.
struct Up(Arc<Noted>);

impl Up {
    fn of(noted: &Arc<Noted>) -> Self {
        noted.up.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(noted))
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.0.up.fetch_sub(1, Ordering::Relaxed);
    }
}
