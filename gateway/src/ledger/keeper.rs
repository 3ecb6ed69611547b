//! The ledger's own thread: everything that waits for a disk. Writes through, makes segments ready, deletes those
//! that are over, reads what earlier starts left.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::backlog::Backlog;
use super::shelf::{Desk, Shelf};

/// How often it looks for a disk that has room again.
const LOOK: Duration = Duration::from_secs(1);

/// What the thread works on.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) shelf: Shelf,
    pub(super) desks: Mutex<Vec<Arc<Desk>>>,
    pub(super) backlog: Backlog,
    pub(super) bell: Bell,
}

impl Store {
    fn supply(&self) {
        let desks = self.desks.lock().clone();
        desks.iter().for_each(|desk| desk.supply(&self.shelf));
    }

    fn write_through(&self) {
        self.shelf.sync();
        self.shelf.clear();
    }

    /// Counters that are in memory alone.
    pub(super) fn in_memory(&self) -> usize {
        let desks = self.desks.lock();
        desks
            .iter()
            .map(|desk| desk.in_memory.load(std::sync::atomic::Ordering::Relaxed))
            .sum()
    }
}

/// Wakes the thread.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Mutex<Rung>,
    heard: Condvar,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rung {
    is_rung: bool,
    is_over: bool,
}

impl Bell {
    /// There is something to do.
    pub(super) fn ring(&self) {
        self.rung.lock().is_rung = true;
        self.heard.notify_one();
    }

    fn end(&self) {
        self.rung.lock().is_over = true;
        self.heard.notify_one();
    }

    /// Waits until there is something to do, at most until then. Answers whether it is over.
    fn wait(&self, until: Instant) -> bool {
        let mut rung = self.rung.lock();
        while !rung.is_rung && !rung.is_over {
            if self.heard.wait_until(&mut rung, until).timed_out() {
                break;
            }
        }
        rung.is_rung = false;
        rung.is_over
    }
}

/// The thread; it ends, after it has written everything through, when this is dropped.
#[derive(Debug)]
pub(super) struct Keeper {
    store: Arc<Store>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts it. What is counted is on the disk at the latest after `interval`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(store: &Arc<Store>, interval: Duration) -> std::io::Result<Self> {
        let kept = Arc::clone(store);
        let thread = std::thread::Builder::new()
            .name("keyward-ledger".into())
            .spawn(move || keep(&kept, interval))?;
        Ok(Self {
            store: Arc::clone(store),
            thread: Some(thread),
        })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.store.bell.end();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn keep(store: &Store, interval: Duration) {
    let mut sync_at = Instant::now() + interval;
    // Also between two files of earlier starts: they may take long, and what is counted now doesn't wait for them.
    let mut serve = || {
        store.supply();
        let now = Instant::now();
        if now >= sync_at {
            store.write_through();
            // The writing itself takes a part of the interval.
            sync_at = now + interval;
        }
        sync_at
    };
    loop {
        let freed = store.backlog.step(&mut || {
            serve();
        });
        store.shelf.freed(freed);
        let sync_at = serve();
        if store.bell.wait(sync_at.min(Instant::now() + LOOK)) {
            store.write_through();
            // What was acknowledged last is deleted now and not read again at the next start.
            store.backlog.clear();
            return;
        }
    }
}
