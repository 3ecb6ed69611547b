//! Time limits for the calls of one worker, without a timer a call.
//!
//! A call registers its deadline in a slab; one sweep a tick wakes those that are over. Registering costs a few
//! nanoseconds and no timer wheel; a limit may be overrun by one tick ([`TICK`]).

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::worker::Worker;

/// How often [`Deadlines::sweep`] is to be called.
pub const TICK: Duration = Duration::from_millis(50);

/// The deadlines of one worker's calls.
#[derive(Debug, Default)]
pub struct Deadlines {
    slots: RefCell<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Entry {
    at: Duration,
    is_over: bool,
    waker: Option<Waker>,
}

/// A registered deadline; dropping it takes it out.
#[derive(Debug)]
struct Registered<'a> {
    deadlines: &'a Deadlines,
    index: usize,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.deadlines.vacate(self.index);
    }
}

/// A registered deadline of a call, kept by the call itself.
#[derive(Debug)]
pub struct Alarm {
    worker: Rc<Worker>,
    index: usize,
}

impl Alarm {
    /// Goes off at `at` (monotonic, since the gateway started).
    #[must_use]
    pub fn set(worker: &Rc<Worker>, at: Duration) -> Self {
        Self {
            index: worker.deadlines().occupy(at),
            worker: Rc::clone(worker),
        }
    }

    /// Whether it has gone off; if not, `waker` is woken when it does.
    #[must_use]
    pub fn is_over(&self, waker: &Waker) -> bool {
        self.worker.deadlines().note(self.index, waker)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.worker.deadlines().vacate(self.index);
    }
}

impl Deadlines {
    /// Runs `work` until `at` (monotonic, since the gateway started); `None` when it took longer.
    pub async fn until<F: Future>(&self, at: Duration, mut work: Pin<&mut F>) -> Option<F::Output> {
        let mut registered = None;
        poll_fn(|context| {
            if let Poll::Ready(output) = work.as_mut().poll(context) {
                return Poll::Ready(Some(output));
            }
            // Registered only now: work that is ready at once never touches the slab.
            let registered = registered.get_or_insert_with(|| self.register(at));
            if self.note(registered.index, context.waker()) {
                Poll::Ready(None)
            } else {
                Poll::Pending
            }
        })
        .await
    }

    /// Wakes the calls whose deadline is over.
    pub fn sweep(&self, now: Duration) {
        let mut woken = Vec::new();
        for entry in self
            .slots
            .borrow_mut()
            .entries
            .iter_mut()
            .flatten()
            .filter(|entry| entry.at <= now)
        {
            entry.is_over = true;
            woken.extend(entry.waker.take());
        }
        woken.into_iter().for_each(Waker::wake);
    }

    fn register(&self, at: Duration) -> Registered<'_> {
        Registered {
            deadlines: self,
            index: self.occupy(at),
        }
    }

    fn vacate(&self, index: usize) {
        let mut slots = self.slots.borrow_mut();
        if let Some(entry) = slots.entries.get_mut(index) {
            *entry = None;
        }
        slots.free.push(index);
    }

    fn occupy(&self, at: Duration) -> usize {
        let entry = Some(Entry {
            at,
            is_over: false,
            waker: None,
        });
        let mut slots = self.slots.borrow_mut();
        let index = slots.free.pop().unwrap_or(slots.entries.len());
        match slots.entries.get_mut(index) {
            Some(place) => *place = entry,
            None => slots.entries.push(entry),
        }
        index
    }

    /// Remembers whom to wake; answers whether the deadline is over.
    fn note(&self, index: usize, waker: &Waker) -> bool {
        let mut slots = self.slots.borrow_mut();
        let Some(Some(entry)) = slots.entries.get_mut(index) else {
            return false;
        };
        match &mut entry.waker {
            Some(known) if known.will_wake(waker) => {}
            known => *known = Some(waker.clone()),
        }
        entry.is_over
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn work_is_given_up_at_its_deadline_and_leaves_nothing_behind() {
        let deadlines = Deadlines::default();
        {
            let never = pin!(pending::<()>());
            let mut waiting = pin!(deadlines.until(Duration::from_secs(1), never));
            assert_eq!(waiting.as_mut().now_or_never(), None);
            deadlines.sweep(Duration::from_millis(999));
            assert_eq!(waiting.as_mut().now_or_never(), None);
            deadlines.sweep(Duration::from_secs(1));
            assert_eq!(waiting.as_mut().now_or_never(), Some(None));
        }
        assert!(deadlines.slots.borrow().entries.iter().all(Option::is_none));
    }

    #[test]
    fn work_that_is_ready_is_answered_whatever_the_time() {
        let deadlines = Deadlines::default();
        assert_eq!(
            deadlines.until(Duration::ZERO, pin!(async { 7 })).now_or_never(),
            Some(Some(7))
        );
        assert!(deadlines.slots.borrow().entries.is_empty());
    }
}
