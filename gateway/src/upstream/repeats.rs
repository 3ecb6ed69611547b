//! How often a call is sent again because of what a machine did, and until when: within the upstream's budget and in time.

use std::rc::Rc;
use std::time::Duration;

use super::head::AnswerHead;
use super::lanes::Destination;
use crate::telemetry::UpstreamRetry;
use crate::worker::Worker;

/// How often a call was sent again, and whether and until when it may be.
pub(super) struct Repeats<'a> {
    pub(super) worker: &'a Worker,
    /// It may be seen twice: no body, no upgrade, an idempotent method.
    pub(super) is_safe: bool,
    pub(super) done: u32,
    pub(super) end: Duration,
}

impl Repeats<'_> {
    /// Whether the call is sent again after this answer.
    pub(super) fn follow(&mut self, head: &AnswerHead, destination: &mut Destination) -> bool {
        let budget = destination.lanes().machines().budget();
        let is_listed = budget.is_some_and(|budget| budget.rules().statuses.contains(&head.status));
        is_listed && self.is_safe && self.allow(destination)
    }

    /// Whether it is sent again after a connection that broke; waits first.
    pub(super) async fn follow_break(&mut self, destination: &mut Destination) -> bool {
        let is_granted = self.is_safe && self.allow(destination);
        if is_granted {
            self.pause(destination).await;
        }
        is_granted
    }

    /// Takes one repeat out of the budget and turns to another machine where there is one.
    fn allow(&mut self, destination: &mut Destination) -> bool {
        let lanes = Rc::clone(destination.lanes());
        let Some(budget) = lanes.machines().budget() else {
            return false;
        };
        if self.done + 1 >= budget.rules().attempts {
            return false;
        }
        let now = self.worker.now().monotonic;
        let outcome = if now + budget.longest_pause(self.done + 1) >= self.end {
            UpstreamRetry::TooLate
        } else if budget.take(now) {
            UpstreamRetry::Sent
        } else {
            UpstreamRetry::OverBudget
        };
        self.worker
            .telemetry()
            .upstream_retried(lanes.upstream(), outcome);
        if outcome != UpstreamRetry::Sent {
            return false;
        }
        self.done += 1;
        destination.turn();
        true
    }

    /// Waits before a repeat that was allowed.
    pub(super) async fn pause(&self, destination: &Destination) {
        let budget = destination.lanes().machines().budget();
        let pause = budget.map(|budget| budget.pause(self.done, crate::random::next()));
        if let Some(pause) = pause.filter(|pause| !pause.is_zero()) {
            tokio::time::sleep(pause).await;
        }
    }
}
