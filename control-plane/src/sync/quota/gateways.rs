//! The gateways whose counts are kept apart: those that were heard in the last day. Each has a short number, which is
//! never given again, so that an account holds no names.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Boot;

/// As many gateways are named to others, and are kept when the book is first filled: those that started last.
pub(in crate::sync) const MOST_KEPT: usize = 1_000;
/// A gateway that was not heard for so long is no longer kept apart.
const SILENT: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, Default)]
pub(super) struct Kept {
    numbers: HashMap<Arc<str>, u32>,
    gateways: HashMap<u32, Gateway>,
    last: u32,
}

#[derive(Debug)]
struct Gateway {
    id: Arc<str>,
    heard: Instant,
    /// Which of its starts last had a stream here: whose own part is known.
    boot: Option<u64>,
}

impl Kept {
    /// It was heard; whether it was not kept before.
    pub(super) fn heard(&mut self, id: &str, now: Instant) -> bool {
        if let Some(gateway) = self.numbers.get(id).and_then(|at| self.gateways.get_mut(at)) {
            gateway.heard = now.max(gateway.heard);
            return false;
        }
        self.last += 1;
        let id: Arc<str> = id.into();
        self.numbers.insert(Arc::clone(&id), self.last);
        let gateway = Gateway {
            id,
            heard: now,
            boot: None,
        };
        self.gateways.insert(self.last, gateway);
        true
    }

    /// Forgets who was not heard for a day: their numbers.
    pub(super) fn forget_silent(&mut self, now: Instant) -> HashSet<u32> {
        let silent = |gateway: &Gateway| now.saturating_duration_since(gateway.heard) >= SILENT;
        let gone: HashSet<u32> = self
            .gateways
            .iter()
            .filter(|(_, gateway)| silent(gateway))
            .map(|(number, _)| *number)
            .collect();
        for number in &gone {
            if let Some(gateway) = self.gateways.remove(number) {
                self.numbers.remove(&gateway.id);
            }
        }
        gone
    }

    /// The number of a gateway that is kept.
    pub(super) fn number(&self, id: &str) -> Option<u32> {
        self.numbers.get(id).copied()
    }

    pub(super) fn name(&self, number: u32) -> Option<&str> {
        self.gateways.get(&number).map(|gateway| &*gateway.id)
    }

    /// This start has a stream from now on, and no earlier one.
    pub(super) fn open(&mut self, boot: &Boot) -> Option<u32> {
        let number = self.number(&boot.gateway_id)?;
        self.gateways.get_mut(&number)?.boot = Some(boot.epoch);
        Some(number)
    }

    /// The number of this boot's gateway, when this is the start that has a stream.
    pub(super) fn opened(&self, boot: &Boot) -> Option<u32> {
        let number = self.number(&boot.gateway_id)?;
        (self.boot(number) == Some(boot.epoch)).then_some(number)
    }

    /// Which start of a gateway last had a stream.
    pub(super) fn boot(&self, number: u32) -> Option<u64> {
        self.gateways.get(&number)?.boot
    }
}
