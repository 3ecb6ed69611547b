//! The newest changes in memory, without a gap: what most streams lack.

use std::collections::VecDeque;
use std::sync::Arc;

use keyward_contract::feed as wire;

const TAIL_CHANGES: usize = 8_192;
const TAIL_BYTES: usize = 32 * 1024 * 1024;

/// The changes `base + 1 ..= base + changes.len()`.
#[derive(Debug)]
pub struct Tail {
    base: u64,
    changes: VecDeque<(Arc<wire::Change>, usize)>,
    bytes: usize,
}

impl Tail {
    /// Nothing yet; the next change is the one after this revision.
    #[must_use]
    pub fn after_revision(base: u64) -> Self {
        Self {
            base,
            changes: VecDeque::new(),
            bytes: 0,
        }
    }

    /// The next changes after a revision, at most so many; `None` when it does not hold them.
    #[must_use]
    pub fn after(&self, revision: u64, most: usize) -> Option<Vec<Arc<wire::Change>>> {
        let skip = usize::try_from(revision.checked_sub(self.base)?).ok()?;
        if skip >= self.changes.len() {
            return None;
        }
        let next = self.changes.iter().skip(skip).take(most);
        Some(next.map(|(change, _)| Arc::clone(change)).collect())
    }

    /// Takes a change of so many bytes. One that is not the next begins it anew.
    pub fn push(&mut self, revision: u64, change: wire::Change, bytes: usize) {
        if revision != self.base + self.changes.len() as u64 + 1 {
            self.restart(revision.saturating_sub(1));
        }
        self.changes.push_back((Arc::new(change), bytes));
        self.bytes += bytes;
        while self.changes.len() > TAIL_CHANGES || self.bytes > TAIL_BYTES {
            let Some((_, bytes)) = self.changes.pop_front() else {
                return;
            };
            self.base += 1;
            self.bytes -= bytes;
        }
    }

    /// Forgets everything; the next change is the one after this revision.
    pub fn restart(&mut self, base: u64) {
        *self = Self::after_revision(base);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_answers_what_comes_next_or_that_it_does_not_know() {
        let mut tail = Tail::after_revision(10);
        for revision in 11..=14 {
            let change = wire::Change {
                revision,
                ..wire::Change::default()
            };
            tail.push(revision, change, TAIL_BYTES / 3);
        }
        let revisions = |after| {
            tail.after(after, 256)
                .map(|changes| changes.iter().map(|change| change.revision).collect::<Vec<_>>())
        };
        // Only three fit.
        assert_eq!(revisions(10), None);
        assert_eq!(revisions(11), Some(vec![12, 13, 14]));
        assert_eq!(revisions(13), Some(vec![14]));
        assert_eq!(revisions(14), None);
    }
}
