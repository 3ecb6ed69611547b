//! The newest changes, encoded, in a bounded piece of memory.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use keyward_contract::feed::{self as wire, control_frame::Frame};
use prost::Message;

use crate::store::changes::{History, Place, history, named, without_history};
use crate::sync::frames::{Outgoing, change_frame};
use crate::sync::scope::Scope;

const TAIL_CHANGES: usize = 8_192;
const TAIL_BYTES: usize = 32 * 1024 * 1024;
/// A longer change is not sent: a snapshot is, in pieces. No gateway needs to hold it whole, nor does a connection that
/// takes nothing.
const LONGEST_CHANGE: usize = 4 * 1024 * 1024;

/// One change as all gateways are sent it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where it is in the log.
    pub place: Place,
    frame: Bytes,
}

impl Entry {
    /// Whether gateways take a snapshot in its place.
    pub(in crate::sync) fn is_too_long(&self) -> bool {
        self.frame.len() > LONGEST_CHANGE
    }

    /// The encoded frame.
    #[must_use]
    pub fn frame(&self) -> Bytes {
        self.frame.clone()
    }

    /// As a gateway of this scope is sent it; without a scope it costs nothing. `None`: it can't be read.
    pub(in crate::sync) fn cut(&self, scope: &Scope) -> Option<Outgoing> {
        if scope.is_everything() {
            return Some(Outgoing::Encoded(self.frame.clone()));
        }
        let frame = wire::ControlFrame::decode(self.frame.clone()).ok()?;
        let Some(Frame::Change(change)) = frame.frame else {
            return None;
        };
        let change = scope.cut(&Arc::new(change));
        Some(Frame::Change(Arc::unwrap_or_clone(change)).into())
    }
}

/// A change as it came out of the log.
#[derive(Debug)]
pub struct Read {
    /// As gateways are sent it.
    pub entry: Entry,
    pub(super) change: wire::Change,
    /// What its history would be after a change of this history, if it has one.
    encoded: Vec<u8>,
}

impl Read {
    /// Decodes what the log has at a revision.
    ///
    /// # Errors
    /// When it is no change.
    pub fn of(revision: u64, encoded: Vec<u8>) -> Result<Self, prost::DecodeError> {
        let change = wire::Change::decode(encoded.as_slice())?;
        let place = Place {
            revision,
            history: named(Some(&change.history)),
        };
        let entry = Entry {
            place,
            frame: change_frame(&encoded),
        };
        Ok(Self {
            entry,
            change,
            encoded,
        })
    }

    /// Whether it can have been written after a change with this history.
    pub(super) fn follows(&self, before: Option<&History>) -> bool {
        let Place {
            revision,
            history: is,
        } = self.entry.place;
        is.is_none_or(|is| is == history(before, revision, without_history(&self.encoded)))
    }
}

/// The changes after `base`, without a gap.
#[derive(Debug)]
pub struct Tail {
    base: Place,
    /// Whether the base's history is what the log has there.
    base_is_read: bool,
    changes: VecDeque<Entry>,
    bytes: usize,
}

impl Tail {
    /// Nothing after this, as the log has it.
    #[must_use]
    pub fn new(base: Place) -> Self {
        Self {
            base,
            base_is_read: true,
            changes: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Nothing after a change of which only the revision is known.
    pub(super) fn after_unread(revision: u64) -> Self {
        let base = Place {
            revision,
            history: None,
        };
        Self {
            base_is_read: false,
            ..Self::new(base)
        }
    }

    /// Whether what was read can come after the newest here, as far as that can be told.
    pub(super) fn goes_on_with(&self, read: &Read) -> bool {
        let newest = self.newest();
        let can_tell = self.base_is_read || !self.changes.is_empty();
        let is_next = newest.revision.checked_add(1) == Some(read.entry.place.revision);
        !can_tell || !is_next || read.follows(newest.history.as_ref())
    }

    /// The newest change.
    pub(super) fn newest(&self) -> Place {
        self.changes.back().map_or(self.base, |entry| entry.place)
    }

    /// A change that is still here; `None`: it isn't.
    pub(super) fn at(&self, revision: u64) -> Option<Place> {
        match revision.checked_sub(self.base.revision)? {
            0 => self.base_is_read.then_some(self.base),
            after => {
                let index = usize::try_from(after - 1).ok()?;
                self.changes.get(index).map(|entry| entry.place)
            }
        }
    }

    /// What comes next; `None`: it isn't here.
    #[must_use]
    pub fn after(&self, revision: u64, most: usize) -> Option<Vec<Entry>> {
        let skip = usize::try_from(revision.checked_sub(self.base.revision)?).ok()?;
        if skip >= self.changes.len() {
            return None;
        }
        Some(self.changes.iter().skip(skip).take(most).cloned().collect())
    }

    /// Takes a change. One that is not the next begins it anew.
    pub fn push(&mut self, entry: Entry) {
        if entry.place.revision != self.newest().revision + 1 {
            *self = Self::after_unread(entry.place.revision.saturating_sub(1));
        }
        self.bytes += entry.frame.len();
        self.changes.push_back(entry);
        while self.changes.len() > TAIL_CHANGES || self.bytes > TAIL_BYTES {
            let Some(oldest) = self.changes.pop_front() else {
                return;
            };
            self.base = oldest.place;
            self.base_is_read = true;
            self.bytes -= oldest.frame.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(revision: u64, bytes: usize) -> Entry {
        Entry {
            place: Place {
                revision,
                history: Some([revision as u8; 32]),
            },
            frame: Bytes::from(vec![0; bytes]),
        }
    }

    #[test]
    fn the_tail_answers_what_comes_next_or_that_it_does_not_know() {
        let mut tail = Tail::new(Place {
            revision: 10,
            history: None,
        });
        for revision in 11..=14 {
            tail.push(entry(revision, TAIL_BYTES / 3));
        }
        let revisions = |after| {
            let changes = tail.after(after, 100)?;
            Some(
                changes
                    .iter()
                    .map(|entry| entry.place.revision)
                    .collect::<Vec<_>>(),
            )
        };
        // Only three fit.
        assert_eq!(revisions(10), None);
        assert_eq!(revisions(11), Some(vec![12, 13, 14]));
        assert_eq!(revisions(13), Some(vec![14]));
        assert_eq!(revisions(14), None);
        let at = |revision| tail.at(revision).map(|place| place.history);
        assert_eq!(
            (at(10), at(11), at(14), at(15)),
            (None, Some(Some([11; 32])), Some(Some([14; 32])), None)
        );
        assert_eq!(tail.newest().revision, 14);
    }

    #[test]
    fn a_gap_begins_the_tail_anew() {
        let mut tail = Tail::new(Place::default());
        tail.push(entry(1, 10));
        tail.push(entry(5, 10));
        assert!(tail.after(1, 100).is_none());
        assert_eq!(tail.after(4, 100).unwrap().len(), 1);
        // Nobody knows what the log has there.
        assert_eq!(tail.at(4), None);
    }

    #[test]
    fn a_change_that_was_written_after_another_log_does_not_follow() {
        let bare = wire::Change {
            revision: 3,
            committed_at_ms: 9,
            ..wire::Change::default()
        };
        let before = [1; 32];
        let named = wire::Change {
            history: history(Some(&before), 3, &bare.encode_to_vec()).to_vec(),
            ..bare.clone()
        };
        let read = |change: &wire::Change| Read::of(3, change.encode_to_vec()).unwrap();
        assert!(read(&named).follows(Some(&before)));
        assert!(!read(&named).follows(Some(&[2; 32])));
        assert!(!read(&named).follows(None));
        // One of an earlier version says nothing of itself.
        assert!(read(&bare).follows(Some(&before)));
        // After one that could not be read nothing can be told.
        assert!(Tail::after_unread(2).goes_on_with(&read(&named)));
        let (history, other) = (Some(before), Some([2; 32]));
        assert!(Tail::new(Place { revision: 2, history }).goes_on_with(&read(&named)));
        assert!(
            !Tail::new(Place {
                revision: 2,
                history: other
            })
            .goes_on_with(&read(&named))
        );
    }

    #[test]
    fn a_change_goes_out_as_it_is_or_cut_to_a_scope() {
        let change = wire::Change {
            revision: 4,
            records: vec![wire::Record { record: None }],
            history: vec![5; 32],
            ..wire::Change::default()
        };
        let entry = Read::of(4, change.encode_to_vec()).unwrap().entry;
        let Some(Outgoing::Encoded(whole)) = entry.cut(&Scope::default()) else {
            panic!("it was encoded anew");
        };
        let whole = wire::ControlFrame::decode(whole).unwrap();
        assert_eq!(whole.frame, Some(Frame::Change(change.clone())));
        let scope = Scope {
            accounts: None,
            environment: Some(keyward_contract::Environment::Test),
        };
        let Some(Outgoing::Frame(cut)) = entry.cut(&scope) else {
            panic!("it was not cut");
        };
        let expected = wire::Change {
            records: Vec::new(),
            ..change
        };
        assert_eq!(cut.frame, Some(Frame::Change(expected)));
    }
}
