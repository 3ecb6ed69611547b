//! When the machine itself stood still: a thread that does nothing but look at the clock was not let run either.
//!
//! Whoever judges rates over a stretch of time has to know: what came in such a moment, comes after it. It costs a
//! hundred wake-ups a second, and says nothing about gateways: those that hang don't hold this thread up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// It looks so often.
const TICK: Duration = Duration::from_millis(10);
/// So late is no scheduler's ordinary lateness.
const LATE: Duration = Duration::from_millis(60);

/// From when to when, counted from the start of the load.
pub type Stretch = (Duration, Duration);

/// A thread that looks at the clock until it is dropped or asked.
pub(super) struct Stillness {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Stretch>>>,
}

impl Stillness {
    /// Counts from `started`.
    ///
    /// # Errors
    /// When no thread can be made.
    pub(super) fn watch(started: Instant) -> std::io::Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ended);
        let thread = std::thread::Builder::new()
            .name("stillness".to_owned())
            .spawn(move || look(started, &told))?;
        Ok(Self {
            ended,
            thread: Some(thread),
        })
    }

    /// All that it saw.
    pub(super) fn seen(mut self) -> Vec<Stretch> {
        self.ended.store(true, Ordering::Relaxed);
        let thread = self.thread.take();
        thread.and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Stillness {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

fn look(started: Instant, ended: &AtomicBool) -> Vec<Stretch> {
    let mut seen = Vec::new();
    let mut last = started.elapsed();
    while !ended.load(Ordering::Relaxed) {
        std::thread::sleep(TICK);
        let now = started.elapsed();
        if now.saturating_sub(last) > TICK + LATE {
            seen.push((last + TICK, now));
        }
        last = now;
    }
    seen
}
