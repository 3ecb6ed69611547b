//! The list of counters that changed since they were last reported.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

use parking_lot::Mutex;

use super::counter::Entry;

/// First changed, first reported. Each counter is in it at most once.
#[derive(Debug, Default)]
pub(super) struct Changed {
    waiting: Mutex<VecDeque<Arc<Entry>>>,
    counters: AtomicUsize,
}

impl Changed {
    /// A counter was made: there must be room for it, so that the request path never allocates here.
    pub(super) fn make_room(&self) {
        let counters = self.counters.fetch_add(1, Ordering::Relaxed) + 1;
        let mut waiting = self.waiting.lock();
        let missing = counters.saturating_sub(waiting.len());
        waiting.reserve(missing);
    }

    /// A counter was dropped.
    pub(super) fn give_back_room(&self) {
        self.counters.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn push(&self, counter: Arc<Entry>) {
        self.waiting.lock().push_back(counter);
    }

    /// Takes up to `limit` counters. What changes in them from now on puts them here again.
    pub(super) fn take(&self, limit: usize) -> Vec<Arc<Entry>> {
        let taken: Vec<_> = {
            let mut waiting = self.waiting.lock();
            let many = limit.min(waiting.len());
            waiting.drain(..many).collect()
        };
        for counter in &taken {
            counter.unmark();
        }
        // Between unmarking and reading, as there is one between writing and marking: whoever writes either is
        // read or sees that it must mark.
        fence(Ordering::SeqCst);
        taken
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.lock().len()
    }
}
