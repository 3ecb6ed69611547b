//! The access log: one JSON line for each call that is to be logged, written off the request path.
//!
//! A worker asks [`WorkerLog::wants`] before it builds anything, then puts the entry into its own bounded queue;
//! one thread turns entries into lines and appends them in batches, a tenth of a second late at most. A full
//! queue, or a file that takes no more, loses lines and never a call: both are counted.
//!
//! Never a credential: there is no field for one, the query is not part of the path, and whatever looks like a
//! key in what a client chose (method, host, path, request id) is masked.
//!
//! Cost: `wants` is one comparison where nothing or everything is logged, else one step of a random number
//! generator. `log` moves the entry into the queue; it makes a system call only when the queue has become half
//! full. Memory: about 1.5 MB per worker.

mod entry;
#[doc(hidden)]
pub mod fuzzing;
mod writer;

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use parking_lot::Mutex;

pub use self::entry::Entry;

use self::writer::{Destination, Writer};
use crate::telemetry::{Sums, catalogue::ACCESS_LOG_LINES};

/// Entries that wait in each worker's queue at most.
const QUEUE: usize = 4096;
/// How long a stop waits when nobody said how long.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// How a call ended, as far as sampling cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was forwarded.
    Accepted,
    /// It was refused.
    Refused,
}

/// Which share of calls is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Share {
    None,
    /// Those for which a random number is below this.
    Below(u64),
    All,
}

impl Share {
    fn new(share: f64) -> Self {
        if share >= 1.0 {
            Self::All
        } else if share > 0.0 {
            // Rounding aside, exact: the cast saturates.
            Self::Below((share * u64::MAX as f64) as u64)
        } else {
            Self::None
        }
    }
}

/// Which calls are logged. A reload may change it: each call is judged by the rules that it goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    accepted: Share,
    refused: Share,
}

impl Sampling {
    /// As it is configured; without a path none are.
    #[must_use]
    pub fn of(config: &keyward_config::AccessLog) -> Self {
        let accepted = match config.path {
            Some(_) => Share::new(config.sample),
            None => Share::None,
        };
        let refused = match config.path {
            Some(_) if config.refusals => Share::All,
            _ => accepted,
        };
        Self { accepted, refused }
    }
}

/// The gateway's access log, and the thread that writes it.
#[derive(Debug)]
pub struct AccessLog {
    /// `None`: nothing is logged.
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    shared: Arc<Shared>,
    ended: Mutex<Receiver<()>>,
}

/// What the workers and the writer share.
#[derive(Debug, Default)]
struct Shared {
    queues: Mutex<Vec<Arc<ArrayQueue<Entry>>>>,
    /// A queue has become half full since the writer last looked.
    hurry: AtomicBool,
    reopen: AtomicBool,
    stop: AtomicBool,
    written: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
    writer: OnceLock<Thread>,
}

impl Shared {
    fn wake(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }
}

impl AccessLog {
    /// Opens the file and starts the thread; does neither where no path is configured.
    ///
    /// # Errors
    /// When the file can't be opened or the thread not be started.
    pub fn start(config: &keyward_config::AccessLog) -> io::Result<Self> {
        let Some(path) = &config.path else {
            return Ok(Self { running: None });
        };
        let destination = Destination::open(path)?;
        let shared = Arc::new(Shared::default());
        let (end, ended) = mpsc::channel();
        let mut writer = Writer::new(Arc::clone(&shared), destination);
        let thread = thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || {
                writer.run();
                // Nobody waits any more where this fails.
                let _ = end.send(());
            })?;
        let _ = shared.writer.set(thread.thread().clone());
        Ok(Self {
            running: Some(Running {
                shared,
                ended: Mutex::new(ended),
            }),
        })
    }

    /// A worker's own way into the log.
    #[must_use]
    pub fn worker(&self) -> WorkerLog {
        let outbox = self.running.as_ref().map(|running| {
            let queue = Arc::new(ArrayQueue::new(QUEUE));
            running.shared.queues.lock().push(Arc::clone(&queue));
            Outbox {
                queue,
                shared: Arc::clone(&running.shared),
            }
        });
        WorkerLog {
            outbox,
            // Never zero, which xorshift could not leave.
            random: Cell::new(RandomState::new().hash_one(0) | 1),
        }
    }

    /// Opens the path anew, once what was logged before is written: for log rotation. Where that fails, the old
    /// file stays in use.
    pub fn reopen(&self) {
        if let Some(running) = &self.running {
            running.shared.reopen.store(true, Ordering::Release);
            running.shared.wake();
        }
    }

    /// Adds what became of the lines.
    pub fn observe(&self, sums: &mut Sums) {
        let Some(running) = &self.running else { return };
        let shared = &running.shared;
        for (outcome, count) in [
            ("written", &shared.written),
            ("dropped", &shared.dropped),
            ("failed", &shared.failed),
        ] {
            sums.counter(&ACCESS_LOG_LINES, [outcome], count.load(Ordering::Relaxed));
        }
    }

    /// Writes what is queued and stops, waiting at most so long; whether all was written in that time. To be
    /// called when the workers have stopped: what is logged later is lost.
    pub fn close(&self, limit: Duration) -> bool {
        let Some(running) = &self.running else { return true };
        running.shared.stop.store(true, Ordering::Release);
        running.shared.wake();
        // An error other than a timeout means that the thread has ended, and was waited for before.
        running.ended.lock().recv_timeout(limit) != Err(mpsc::RecvTimeoutError::Timeout)
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.close(CLOSE_LIMIT);
    }
}

/// One worker's way into the access log.
#[derive(Debug)]
pub struct WorkerLog {
    outbox: Option<Outbox>,
    random: Cell<u64>,
}

#[derive(Debug)]
struct Outbox {
    queue: Arc<ArrayQueue<Entry>>,
    shared: Arc<Shared>,
}

impl WorkerLog {
    /// Whether this call is to be logged. To be asked once per call: where calls are sampled, it draws.
    #[must_use]
    pub fn wants(&self, sampling: Sampling, verdict: Verdict) -> bool {
        let share = match verdict {
            Verdict::Accepted => sampling.accepted,
            Verdict::Refused => sampling.refused,
        };
        match share {
            Share::None => false,
            Share::Below(bound) => self.draw() < bound,
            Share::All => true,
        }
    }

    /// xorshift64*: good enough to sample, and cheap.
    fn draw(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Logs a call. Never waits: where the queue is full, the line is dropped and counted.
    pub fn log(&self, entry: Entry) {
        let Some(Outbox { queue, shared }) = &self.outbox else {
            return;
        };
        if queue.push(entry).is_err() {
            shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
        if queue.len() >= QUEUE / 2 && !shared.hurry.swap(true, Ordering::AcqRel) {
            shared.wake();
        }
    }
}

#[cfg(test)]
mod tests;
