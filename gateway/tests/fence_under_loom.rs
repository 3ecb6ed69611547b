//! The fence of the key set under loom: every order in which a change, readers and slow readers can meet.
//!
//! The files included here are the ones that the gateway is built of; their atomics are loom's, the caches are maps
//! behind loom's locks, and the replica's view is a number behind one: 0 before the change, 1 after it. What is
//! promised: once a change has returned, no look-up that begins later sees what was before.

#![expect(clippy::unwrap_used, reason = "a test that can not go on has failed")]

#[expect(unreachable_pub, reason = "public in the gateway")]
#[path = "../src/keys/cells.rs"]
mod cells;
#[expect(
    dead_code,
    unreachable_pub,
    reason = "public in the gateway, and the model looks at no cache by itself"
)]
#[path = "../src/keys/fence.rs"]
mod fence;
#[expect(
    dead_code,
    unreachable_pub,
    reason = "public in the gateway, and nobody asks here how often anything moved"
)]
#[path = "../src/keys/generations.rs"]
mod generations;
mod sync {
    pub(super) use loom::sync::atomic;
}

use std::collections::HashMap;
use std::sync::Arc as Shared;

use cells::Places;
use fence::{Cache, Cached, Fence};
use generations::Stamp;
use keyward_contract::KeyDigest;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

/// One slot: every digest shares its generation with every other, as some do in the gateway.
const SLOTS: usize = 1;
const OLD: u8 = 0;
const NEW: u8 = 1;

/// A map in place of moka's cache.
struct Map<V>(Mutex<HashMap<KeyDigest, V>>);

impl<V> Default for Map<V> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<V: Clone> Cache for Map<V> {
    type Value = V;

    fn find(&self, digest: &KeyDigest) -> Option<V> {
        self.0.lock().unwrap().get(digest).cloned()
    }

    fn keep(&self, digest: KeyDigest, value: V) {
        self.0.lock().unwrap().insert(digest, value);
    }

    fn forget(&self, digest: &KeyDigest) {
        self.0.lock().unwrap().remove(digest);
    }

    fn forget_all(&self) {
        self.0.lock().unwrap().clear();
    }
}

/// The policy of an account, shared by its keys.
struct Policy(Mutex<u8>);

/// One place in place of the map of accounts: locked while its cell is made.
#[derive(Default)]
struct Place(Mutex<Option<Shared<Policy>>>);

impl Places<(), Policy> for Place {
    fn find(&self, (): &()) -> Option<Shared<Policy>> {
        self.0.lock().unwrap().clone()
    }

    fn find_or_make<E>(
        &self,
        (): (),
        make: impl FnOnce() -> Result<Shared<Policy>, E>,
    ) -> Result<Shared<Policy>, E> {
        let mut place = self.0.lock().unwrap();
        match &*place {
            Some(cell) => Ok(Shared::clone(cell)),
            None => {
                let cell = make()?;
                *place = Some(Shared::clone(&cell));
                Ok(cell)
            }
        }
    }
}

/// A known key: what its record said when it was read, and its account.
#[derive(Clone)]
struct Entry {
    record: u8,
    account: Shared<Policy>,
}

/// What a look-up saw.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Key { record: u8, account: u8 },
    Unknown,
}

/// Whether the key is there before the change.
#[derive(Clone, Copy)]
enum Before {
    Known,
    Unknown,
}

struct Keys {
    fence: Fence<Map<(Entry, Stamp)>, Map<Stamp>, SLOTS>,
    accounts: Place,
    view: Mutex<u8>,
    before: Before,
}

impl Keys {
    fn new(before: Before) -> Arc<Self> {
        Arc::new(Self {
            fence: Fence::new(Map::default(), Map::default()),
            accounts: Place::default(),
            view: Mutex::new(OLD),
            before,
        })
    }

    fn view(&self) -> u8 {
        *self.view.lock().unwrap()
    }

    /// As `KeySet::find_shared` and `KeySet::find_on_disk`.
    fn find(&self, digest: &KeyDigest) -> Seen {
        let entry = match self.fence.look(digest) {
            Cached::Known(entry, _) => entry,
            Cached::Unknown => return Seen::Unknown,
            Cached::No(reading) => {
                let view = self.view();
                if matches!((self.before, view), (Before::Unknown, OLD)) {
                    self.fence.keep_unknown(digest, reading);
                    return Seen::Unknown;
                }
                let account = cells::find_or_make(
                    &self.accounts,
                    (),
                    || self.view(),
                    |newest| Ok::<_, ()>(Shared::new(Policy(Mutex::new(newest)))),
                );
                let entry = Entry {
                    record: view,
                    account: account.unwrap(),
                };
                self.fence.keep_known(digest, reading, entry.clone());
                entry
            }
        };
        let account = *entry.account.0.lock().unwrap();
        Seen::Key {
            record: entry.record,
            account,
        }
    }

    /// As `KeySet::put_in_force`.
    fn change(&self, digest: &KeyDigest) {
        let publish = || *self.view.lock().unwrap() = NEW;
        self.fence.change(publish, || self.tell(), &[*digest]);
    }

    /// As `KeySet::take_over`.
    fn change_all(&self) {
        let publish = || *self.view.lock().unwrap() = NEW;
        self.fence.change_all(publish, || self.tell());
    }

    fn tell(&self) {
        if let Some(cell) = self.accounts.find(&()) {
            *cell.0.lock().unwrap() = NEW;
        }
    }
}

fn digest() -> KeyDigest {
    KeyDigest::from_bytes([7; 32])
}

const AFTER: Seen = Seen::Key {
    record: NEW,
    account: NEW,
};

/// Twice a thread may be stopped where it need not wait: beyond that the orders grow by the hour and show nothing
/// that fewer don't.
fn bounded() -> loom::model::Builder {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder
}

/// Explores a change beside so many readers; `change` puts it in force.
fn explore(readers: usize, before: Before, change: fn(&Keys)) {
    bounded().check(move || {
        let (keys, has_returned) = (Keys::new(before), Arc::new(AtomicBool::new(false)));
        let reading: Vec<_> = (0..readers)
            .map(|_| {
                let (keys, has_returned) = (Arc::clone(&keys), Arc::clone(&has_returned));
                thread::spawn(move || {
                    let begins_later = has_returned.load(Ordering::Acquire);
                    let seen = keys.find(&digest());
                    assert!(
                        !begins_later || seen == AFTER,
                        "{seen:?} after the change had returned"
                    );
                })
            })
            .collect();
        change(&keys);
        has_returned.store(true, Ordering::Release);
        assert_eq!(keys.find(&digest()), AFTER, "by whoever made the change");
        for reader in reading {
            reader.join().unwrap();
        }
        // Whatever the slow ones have kept meanwhile.
        assert_eq!(keys.find(&digest()), AFTER, "after the last reader");
    });
}

#[test]
fn after_a_change_no_look_up_sees_the_key_as_it_was() {
    explore(2, Before::Known, |keys| keys.change(&digest()));
}

#[test]
fn after_a_change_no_look_up_finds_the_key_unknown() {
    explore(2, Before::Unknown, |keys| keys.change(&digest()));
}

#[test]
fn after_a_snapshot_no_look_up_sees_what_was_before() {
    explore(2, Before::Known, Keys::change_all);
}

/// The worker's own table holds what it was given, and asks the generation alone.
#[test]
fn a_stamp_of_before_the_change_is_never_current_after_it() {
    bounded().check(|| {
        let (keys, has_returned) = (Keys::new(Before::Known), Arc::new(AtomicBool::new(false)));
        let worker = {
            let (keys, has_returned) = (Arc::clone(&keys), Arc::clone(&has_returned));
            thread::spawn(move || {
                let held = match keys.fence.look(&digest()) {
                    Cached::No(reading) => {
                        let record = keys.view();
                        let account = Shared::new(Policy(Mutex::new(record)));
                        let entry = Entry { record, account };
                        (record, keys.fence.keep_known(&digest(), reading, entry))
                    }
                    _ => unreachable!("nobody else looks for it"),
                };
                let begins_later = has_returned.load(Ordering::Acquire);
                let is_current = keys.fence.generations().stamp(&digest()) == held.1;
                assert!(!begins_later || !is_current || held.0 == NEW);
            })
        };
        keys.change(&digest());
        has_returned.store(true, Ordering::Release);
        worker.join().unwrap();
    });
}
