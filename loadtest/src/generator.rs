//! A lean load generator: keep-alive connections, one request at a time on each, all on the caller's runtime.
//!
//! A call costs two system calls, one read of the clock and one search through the answer's head; on a
//! single-threaded runtime that is about what a proxy spends less its own work, so one core of load saturates
//! one core of proxy.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::answer::AnswerHead;
use crate::histogram::Histogram;
use crate::random::Random;
use crate::requests::Requests;

/// A connection that fails so often is given up.
const MOST_FAILURES: u64 = 100;
const LONGEST_CALL: Duration = Duration::from_secs(30);

/// What to send, where, and for how long.
#[derive(Clone)]
pub struct Load {
    /// Where to.
    pub target: SocketAddr,
    /// What.
    pub requests: Arc<Requests>,
    /// On how many connections at once.
    pub connections: NonZeroUsize,
    /// For how long.
    pub duration: Duration,
    /// Chooses the random order.
    pub seed: u64,
}

/// What came of a load.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Calls that had no readable answer.
    pub failures: u64,
    /// How long calls took, from the first byte sent to the last received.
    pub latencies: Histogram,
    /// From the first call to the last.
    pub elapsed: Duration,
}

impl Outcome {
    /// Answers of any status.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// Answers a second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a count of calls is far below 2^52")]
    pub fn per_second(&self) -> f64 {
        self.answers() as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    /// Fails unless every call was answered with `status`.
    ///
    /// # Errors
    /// When there was another answer, or none at all.
    pub fn all(&self, status: u16) -> anyhow::Result<()> {
        let right = self.statuses.get(&status).copied().unwrap_or_default();
        anyhow::ensure!(
            right > 0 && right == self.answers() && self.failures == 0,
            "not all answers were {status}: {:?}, and {} failures",
            self.statuses,
            self.failures
        );
        Ok(())
    }

    fn add(&mut self, other: &Self) {
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        self.failures += other.failures;
        self.latencies.merge(&other.latencies);
        self.elapsed = self.elapsed.max(other.elapsed);
    }
}

/// Opens the connections, then sends until the time is over or the requests are used up.
///
/// # Errors
/// When the target can't be connected to.
pub async fn run(load: &Load) -> anyhow::Result<Outcome> {
    let mut streams = Vec::new();
    for _ in 0..load.connections.get() {
        streams.push(connect(load.target).await?);
    }
    let mut connections = JoinSet::new();
    let started = Instant::now();
    for (number, stream) in (0..).zip(streams) {
        let connection = Connection {
            load: load.clone(),
            stream,
            buffer: Vec::with_capacity(16 * 1024),
            random: Random::new(load.seed ^ (number << 32)),
            outcome: Outcome::default(),
        };
        connections.spawn(connection.drive(started));
    }
    let mut whole = Outcome::default();
    let all_ended = async {
        while let Some(part) = connections.join_next().await {
            whole.add(&part.context("a connection's task ended early")?);
        }
        anyhow::Ok(())
    };
    // One time limit for all: a timer for each call would cost as much as the call.
    tokio::time::timeout(load.duration + LONGEST_CALL, all_ended)
        .await
        .with_context(|| format!("calls without an answer for {LONGEST_CALL:?}"))??;
    Ok(whole)
}

async fn connect(target: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(target)
        .await
        .with_context(|| format!("could not connect to {target}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

struct Connection {
    load: Load,
    stream: TcpStream,
    buffer: Vec<u8>,
    random: Random,
    outcome: Outcome,
}

impl Connection {
    async fn drive(mut self, started: Instant) -> Outcome {
        let until = started + self.load.duration;
        let requests = Arc::clone(&self.load.requests);
        let mut now = Instant::now();
        while now < until && self.outcome.failures < MOST_FAILURES {
            let Some(request) = requests.next(&mut self.random) else {
                break;
            };
            let called = call(&mut self.stream, &mut self.buffer, request).await.ok();
            let ended = Instant::now();
            if let Some(answer) = called {
                *self.outcome.statuses.entry(answer.status).or_default() += 1;
                self.outcome.latencies.record(ended - now);
            } else {
                self.outcome.failures += 1;
            }
            if called.is_none_or(|answer| answer.closes) && self.reconnect().await.is_err() {
                self.outcome.failures += 1;
                // Whoever is down shall not be hammered.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            now = ended;
        }
        self.outcome.elapsed = started.elapsed();
        self.outcome
    }

    async fn reconnect(&mut self) -> anyhow::Result<()> {
        self.buffer.clear();
        self.stream = connect(self.load.target).await?;
        Ok(())
    }
}

async fn call(stream: &mut TcpStream, buffer: &mut Vec<u8>, request: &[u8]) -> anyhow::Result<AnswerHead> {
    stream.write_all(request).await?;
    buffer.clear();
    loop {
        let read = stream.read_buf(buffer).await?;
        anyhow::ensure!(read > 0, "the server closed the connection");
        let head = AnswerHead::read(buffer).map_err(|_| anyhow::anyhow!("no readable answer"))?;
        let Some(head) = head else { continue };
        anyhow::ensure!(buffer.len() <= head.length, "more than the answer came");
        let mut missing = head.length - buffer.len();
        while missing > 0 {
            buffer.clear();
            let read = stream.read_buf(buffer).await?;
            anyhow::ensure!(read > 0 && read <= missing, "the answer's body broke off");
            missing -= read;
        }
        return Ok(head);
    }
}
