//! The live buckets that gateways share in Redis, for who wants to see them. Reading changes nothing.
//!
//! Nothing depends on it: a caller waits 200 ms at most, and gets `None` while Redis is not configured, away or slow.
//! The connection is made when it is first needed; while it is known to be away nobody waits for it, and it is tried
//! again in growing pauses whenever somebody asks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keyward_buckets::{BucketName, BucketState, Buckets, BucketsError, Link};
use keyward_config::RedisConfig;
use keyward_contract::Limits;
use tokio::sync::watch;

/// What a caller waits at most.
const PATIENCE: Duration = Duration::from_millis(200);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// What the control plane calls itself: gateways have names of their own.
const NAME: &str = "control-plane";

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct LiveBuckets(Option<Arc<Inner>>);

/// How Redis answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// It does.
    Up,
    /// It doesn't, or not in time.
    Away,
}

enum Question<'a> {
    Read(&'a [(BucketName, Limits)]),
    Ping,
}

#[derive(Debug)]
struct Inner {
    buckets: Buckets,
    state: watch::Sender<State>,
}

#[derive(Clone, Debug)]
enum State {
    /// Nobody asked yet, or the server ended a connection that was good.
    Unconnected,
    /// A connection is being made. Callers wait for it unless the one before failed.
    Connecting {
        is_awaited: bool,
    },
    Connected(Arc<Link>),
    /// It failed: it is tried again from `until` on.
    Away {
        until: Instant,
        pause: Duration,
    },
}

impl LiveBuckets {
    /// Those of this Redis; of none, nothing is ever known.
    #[must_use]
    pub fn new(config: Option<RedisConfig>) -> Self {
        Self(config.map(|config| {
            Arc::new(Inner {
                buckets: Buckets::new(config, NAME.to_owned()),
                state: watch::Sender::new(State::Unconnected),
            })
        }))
    }

    /// What is in these buckets now, in their order: of one that isn't there, and therefore is full, `None`. `None` when
    /// that can't be known in time.
    pub async fn read(&self, buckets: &[(BucketName, Limits)]) -> Option<Vec<Option<BucketState>>> {
        self.0.as_ref()?.ask(Question::Read(buckets)).await
    }

    /// Whether Redis answers now; `None` where none is configured.
    pub async fn reach(&self) -> Option<Reach> {
        let answered = self.0.as_ref()?.ask(Question::Ping).await;
        Some(if answered.is_some() {
            Reach::Up
        } else {
            Reach::Away
        })
    }
}

impl Question<'_> {
    async fn put_to(&self, link: &Link) -> Result<Vec<Option<BucketState>>, BucketsError> {
        match self {
            Self::Read(buckets) => link.read(buckets).await,
            Self::Ping => link.ping().await.map(|()| Vec::new()),
        }
    }
}

impl Inner {
    async fn ask(self: &Arc<Self>, question: Question<'_>) -> Option<Vec<Option<BucketState>>> {
        let mut asked = None;
        let asking = async {
            // A server may end a connection that is idle: that is noticed only now, and worth another one.
            for _ in 0..2 {
                let link = self.link().await?;
                asked = Some(Arc::clone(&link));
                match question.put_to(&link).await {
                    Ok(answer) => return Some(answer),
                    Err(error) if error.is_connection_lost() => {
                        tracing::debug!(%error, "the connection to Redis is made anew");
                        self.give_up(&link, State::Unconnected);
                    }
                    Err(error) => {
                        tracing::debug!(%error, "live buckets can't be read");
                        return None;
                    }
                }
            }
            None
        };
        match tokio::time::timeout(PATIENCE, asking).await {
            Ok(answer) => answer,
            Err(_) => {
                self.took_too_long(asked.as_ref());
                None
            }
        }
    }

    /// The connection, if it is there or about to be.
    async fn link(self: &Arc<Self>) -> Option<Arc<Link>> {
        let mut states = self.state.subscribe();
        let mut connect = None;
        self.state.send_if_modified(|state| {
            let (is_awaited, pause) = match state {
                State::Unconnected => (true, FIRST_PAUSE),
                State::Away { until, pause } if *until <= Instant::now() => (false, *pause),
                _ => return false,
            };
            connect = Some(pause);
            *state = State::Connecting { is_awaited };
            true
        });
        if let Some(pause) = connect {
            // Whoever began it may go away; others wait for it too.
            tokio::spawn(Arc::clone(self).connect(pause));
        }
        loop {
            match &*states.borrow_and_update() {
                State::Connected(link) => return Some(Arc::clone(link)),
                State::Connecting { is_awaited: true } => {}
                _ => return None,
            }
            states.changed().await.ok()?;
        }
    }

    async fn connect(self: Arc<Self>, pause: Duration) {
        let state = match self.buckets.connect().await {
            Ok(link) => {
                tracing::info!("live buckets are read from Redis");
                State::Connected(Arc::new(link))
            }
            Err(error) => {
                if pause == FIRST_PAUSE {
                    tracing::warn!(%error, "Redis is away: live buckets are not shown");
                }
                away(pause)
            }
        };
        self.state.send_replace(state);
    }

    /// Leaves a connection, unless there is another by now.
    fn give_up(&self, link: &Arc<Link>, next: State) {
        self.state.send_if_modified(|state| {
            let is_this = matches!(state, State::Connected(present) if Arc::ptr_eq(present, link));
            if is_this {
                *state = next;
            }
            is_this
        });
    }

    /// Others need not wait as long.
    fn took_too_long(&self, asked: Option<&Arc<Link>>) {
        if let Some(link) = asked {
            tracing::warn!("Redis is slow: live buckets are not shown");
            self.give_up(link, away(FIRST_PAUSE));
        }
        self.state.send_if_modified(|state| match state {
            State::Connecting { is_awaited } => std::mem::take(is_awaited),
            _ => false,
        });
    }
}

fn away(pause: Duration) -> State {
    State::Away {
        until: Instant::now() + pause,
        pause: (pause * 2).min(LONGEST_PAUSE),
    }
}
