//! The shared caches behind their fence: in which order a look-up reads, and in which order a change is told.
//!
//! A look-up stamps itself, then asks the caches, then reads the replica; what it keeps carries the stamp of its
//! beginning. A change is published (from then on the replica's view has it), then told to the cells of accounts,
//! then the generations of its digests are raised. So whoever stamps itself after the change has ended reads a view
//! that has it, and finds nothing in the caches that was read before, however late that was kept. `tests/fence_under_loom.rs`
//! explores this very file. A hit costs one load of a generation and one or two cache look-ups.

use keyward_contract::KeyDigest;

use super::generations::{Generations, Stamp};

/// A cache of what was read, shared by all workers.
pub trait Cache {
    /// What is kept of a digest.
    type Value;

    /// What was kept last, if it is still there.
    fn find(&self, digest: &KeyDigest) -> Option<Self::Value>;
    /// Keeps this in place of what there was.
    fn keep(&self, digest: KeyDigest, value: Self::Value);
    /// Lets go of it. Only memory depends on it: the fence makes it worthless.
    fn forget(&self, digest: &KeyDigest);
    /// Lets go of everything.
    fn forget_all(&self);
}

/// What the caches say of a digest.
#[derive(Debug)]
pub enum Cached<E> {
    /// There is such a key.
    Known(E, Stamp),
    /// There is none.
    Unknown,
    /// Nothing that is current: the replica is to be read now.
    No(Reading),
}

/// A look-up that goes on to the replica. Made before the view is loaded, so that what it keeps is as old as it says.
#[derive(Debug)]
pub struct Reading(Stamp);

/// The cache of known keys and that of unknown digests, and the generations that say what of them is current.
#[derive(Debug)]
pub struct Fence<Known, Unknown, const N: usize = { 1 << 16 }> {
    generations: Generations<N>,
    known: Known,
    unknown: Unknown,
}

impl<E, Known, Unknown, const N: usize> Fence<Known, Unknown, N>
where
    Known: Cache<Value = (E, Stamp)>,
    Unknown: Cache<Value = Stamp>,
{
    /// Around these caches.
    pub fn new(known: Known, unknown: Unknown) -> Self {
        Self {
            generations: Generations::default(),
            known,
            unknown,
        }
    }

    /// What says whether something that was read is current.
    pub fn generations(&self) -> &Generations<N> {
        &self.generations
    }

    /// The cache of known keys.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// The cache of digests that are no key's.
    pub fn unknown(&self) -> &Unknown {
        &self.unknown
    }

    /// Begins a look-up.
    pub fn look(&self, digest: &KeyDigest) -> Cached<E> {
        let stamp = self.generations.stamp(digest);
        if let Some((entry, stamped)) = self.known.find(digest)
            && stamped == stamp
        {
            return Cached::Known(entry, stamp);
        }
        if self.unknown.find(digest) == Some(stamp) {
            return Cached::Unknown;
        }
        Cached::No(Reading(stamp))
    }

    /// The replica has this key; answers what it is stamped with.
    pub fn keep_known(&self, digest: &KeyDigest, Reading(stamp): Reading, entry: E) -> Stamp {
        self.known.keep(*digest, (entry, stamp));
        stamp
    }

    /// The replica has no such key.
    pub fn keep_unknown(&self, digest: &KeyDigest, Reading(stamp): Reading) {
        self.unknown.keep(*digest, stamp);
    }

    /// Puts a change of these digests in force: `publish` makes it what is read, `tell` tells the cells of accounts.
    pub fn change(&self, publish: impl FnOnce(), tell: impl FnOnce(), digests: &[KeyDigest]) {
        publish();
        tell();
        for digest in digests {
            self.generations.raise(digest);
            self.known.forget(digest);
            self.unknown.forget(digest);
        }
        self.generations.announce();
    }

    /// Puts in force what replaces everything; answers what `tell` does.
    pub fn change_all<T>(&self, publish: impl FnOnce(), tell: impl FnOnce() -> T) -> T {
        publish();
        let told = tell();
        self.generations.raise_all();
        self.known.forget_all();
        self.unknown.forget_all();
        self.generations.announce();
        told
    }
}
