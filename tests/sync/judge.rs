//! What is promised, checked as a history goes on.
//!
//! 1. A look-up that begins after a change was put in force sees nothing older.
//! 2. Once a change has answered `complete`, no gateway that was live then, and none that denies when it is stale, goes
//!    by what was before: it forwards no call on the strength of it, and refuses none.
//! 3. What a gateway holds at a revision is what the log says of that revision, and its position never goes back.

use std::collections::HashMap;

use crate::store::Subject;

/// What a look-up saw of a key and its account: the revision and whether it gives rights. Revision 0: nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) subject: Subject,
    pub(crate) revision: u64,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken(pub(crate) String);

#[derive(Default)]
pub(crate) struct Judge {
    /// The newest change of a subject that a gateway must know of.
    must_know: HashMap<(usize, Subject), u64>,
    pub(crate) completed: u64,
    pub(crate) partial: u64,
    pub(crate) forwarded: u64,
    pub(crate) refused: u64,
    pub(crate) broken: Option<Broken>,
}

impl Judge {
    /// A change of this subject answered `complete`; this gateway is bound by it.
    pub(crate) fn binds(&mut self, gateway: usize, subject: Subject, revision: u64) {
        let known = self.must_know.entry((gateway, subject)).or_default();
        *known = revision.max(*known);
    }

    /// What a look-up that begins now must see at least.
    pub(crate) fn must_know(&self, gateway: usize, subject: Subject) -> u64 {
        self.must_know
            .get(&(gateway, subject))
            .copied()
            .unwrap_or_default()
    }

    /// A call is forwarded on the strength of this.
    pub(crate) fn forwards(&mut self, gateway: usize, seen: &[Seen]) {
        self.forwarded += 1;
        for seen in seen {
            let least = self.must_know(gateway, seen.subject);
            if seen.revision < least {
                self.fail(format!(
                    "gateway {gateway} forwarded on the strength of {seen:?}, after revision {least} was complete"
                ));
            }
        }
    }

    /// A look-up that began when so much was in force has seen this.
    pub(crate) fn saw(&mut self, gateway: usize, seen: Seen, least: u64) {
        if seen.revision < least {
            self.fail(format!(
                "gateway {gateway} saw {seen:?}, though revision {least} was in force or complete before it looked"
            ));
        }
    }

    pub(crate) fn fail(&mut self, what: String) {
        self.broken.get_or_insert(Broken(what));
    }
}
