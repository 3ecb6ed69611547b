//! Calls at the same time: of one account on one route that has `max_in_flight`, counted by this gateway alone.
//!
//! A place in [`RouteCalls`] is a [`Held`], kept by the call until the last byte of its answer is out or its client is gone, and
//! given back at once when the call is refused. It is taken before anything is charged, so that a call that finds
//! none charges nothing. A counter is there only while it counts something: there are never more of them than
//! calls in flight. Cost: one lock of a shard of the map when the call begins and one when it ends; routes without
//! a bound cost nothing.

use std::sync::Arc;
use std::time::Duration;

use dashmap::{DashMap, Entry};
use keyward_contract::{AccountId, LimitMode, Limits};
use rustc_hash::FxBuildHasher;

use super::bucket::Level;
use super::fields::{self, Standing};
use super::{Limiter, Which};
use crate::admission::Caller;
use crate::clock::Now;
use crate::rejection::Rejection;
use crate::route::Route;

/// Nobody knows when a call will end; a second is a fair guess.
const NEXT_TRY: Duration = Duration::from_secs(1);

/// Every account's calls in flight on routes that bound them.
#[derive(Debug, Default)]
pub struct RouteCalls {
    calls: DashMap<Place, u32, FxBuildHasher>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    account: AccountId,
    route: u16,
}

/// One call in flight. It is over when this is dropped.
#[derive(Debug)]
#[must_use = "the call is in flight only while this exists"]
pub struct Held {
    of: Arc<RouteCalls>,
    place: Place,
}

/// How a call stands to its route's bound.
#[derive(Debug)]
pub enum Entered {
    /// Its route has none.
    Unbounded,
    /// Among the first so many.
    Within(Held),
    /// One too many, and the limit only counts.
    Beyond(Held),
}

impl RouteCalls {
    /// Counters held, none of them at nothing.
    #[must_use]
    pub fn counters(&self) -> usize {
        self.calls.len()
    }

    /// Counts one more if there is room or room doesn't matter; the answer is how many there were before.
    fn count(&self, place: Place, bound: u32, mode: LimitMode) -> Result<u32, u32> {
        match self.calls.entry(place) {
            Entry::Vacant(vacant) => {
                vacant.insert(1);
                Ok(0)
            }
            Entry::Occupied(mut occupied) => {
                let before = *occupied.get();
                if before >= bound && mode == LimitMode::Enforce {
                    return Err(before);
                }
                *occupied.get_mut() = before.saturating_add(1);
                Ok(before)
            }
        }
    }

    fn enter(self: &Arc<Self>, place: Place, bound: u32, mode: LimitMode) -> Option<Entered> {
        let before = self.count(place, bound, mode).ok()?;
        let held = Held {
            of: Arc::clone(self),
            place,
        };
        Some(if before < bound {
            Entered::Within(held)
        } else {
            Entered::Beyond(held)
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Entry::Occupied(mut occupied) = self.of.calls.entry(self.place) {
            match occupied.get().checked_sub(1) {
                None | Some(0) => drop(occupied.remove()),
                Some(left) => *occupied.get_mut() = left,
            }
        }
    }
}

impl Limiter {
    /// Calls in flight on routes that bound them.
    #[must_use]
    pub fn route_calls(&self) -> &RouteCalls {
        &self.route_calls
    }

    /// Gives a call that is about to be charged its place among those in flight on its route.
    ///
    /// # Errors
    /// `RateLimited` with `route`, when the account has as many calls in flight here as it may, or `QuotaExceeded`
    /// when its quota is used up as well: that row comes first.
    pub fn enter(&self, caller: &Caller, route: &Route, now: Now) -> Result<Entered, Rejection> {
        let Some(bound) = route.max_in_flight else {
            return Ok(Entered::Unbounded);
        };
        let place = Place {
            account: caller.account().id(),
            route: route.numbers.place,
        };
        let of_tier = caller.policy().record.limit_mode;
        if let Some(entered) = self.route_calls.enter(place, bound, route.limit_mode(of_tier)) {
            return Ok(entered);
        }
        match self.levels(caller, now).quota {
            Some(quota) if quota.remaining() == 0 => Err(Rejection::QuotaExceeded(quota)),
            _ => Err(self.full(caller, bound, now)),
        }
    }

    fn full(&self, caller: &Caller, bound: u32, now: Now) -> Rejection {
        let limits = Limits {
            rate: bound,
            burst: bound,
        };
        let standing = Standing {
            which: Which::Route,
            level: Level {
                millitokens: 0,
                limits,
            },
            policy: fields::with_in_flight(&fields::policy_of(caller, now.unix), bound),
            reset_after: NEXT_TRY,
        };
        Rejection::RateLimited {
            standing,
            retry_after: some_time_around(NEXT_TRY),
        }
    }
}

/// From half of it to one and a half, so that refused clients don't come back in one wave.
fn some_time_around(duration: Duration) -> Duration {
    let share = u32::from(crate::random::next() as u16);
    duration / 2 + duration * share / u32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(route: u16) -> Place {
        Place {
            account: AccountId::from_slice(&[7; 16]).unwrap(),
            route,
        }
    }

    #[test]
    fn so_many_at_once_and_no_more_until_one_has_ended() {
        let calls = Arc::new(RouteCalls::default());
        let enter = || calls.enter(place(0), 2, LimitMode::Enforce);
        let (first, second) = (enter(), enter());
        assert!(matches!(
            (&first, &second),
            (Some(Entered::Within(_)), Some(Entered::Within(_)))
        ));
        assert!(enter().is_none());
        // Another route has its own.
        assert!(calls.enter(place(1), 1, LimitMode::Enforce).is_some());
        drop(first);
        let third = enter();
        assert!(third.is_some() && enter().is_none());
        drop((second, third));
        assert_eq!(calls.counters(), 0);
    }

    #[test]
    fn in_shadow_those_beyond_are_told_apart_and_counted_too() {
        let calls = Arc::new(RouteCalls::default());
        let enter = || calls.enter(place(0), 1, LimitMode::Shadow);
        let first = enter();
        let second = enter();
        assert!(matches!(
            (&first, &second),
            (Some(Entered::Within(_)), Some(Entered::Beyond(_)))
        ));
        drop(first);
        // The one beyond is still there, and fills the bound.
        assert!(matches!(enter(), Some(Entered::Beyond(_))));
        drop(second);
        assert_eq!(calls.counters(), 0);
    }

    #[test]
    fn a_try_comes_back_between_half_a_second_and_one_and_a_half() {
        let times: Vec<_> = (0..1_000).map(|_| some_time_around(NEXT_TRY)).collect();
        assert!(times.iter().all(|time| (500..=1_500).contains(&time.as_millis())));
        assert!(times.iter().any(|time| time.as_millis() < 800));
        assert!(times.iter().any(|time| time.as_millis() > 1_200));
    }

    #[test]
    fn threads_together_never_have_more_than_the_bound() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let calls = Arc::new(RouteCalls::default());
        let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let Some(entered) = calls.enter(place(0), 3, LimitMode::Enforce) else {
                            continue;
                        };
                        let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(now, Ordering::SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(entered);
                    }
                });
            }
        });
        assert!(most.load(Ordering::SeqCst) <= 3);
        assert_eq!(calls.counters(), 0);
    }

    proptest! {
        /// Whatever comes and goes in whatever order: let in is who finds fewer than the bound, and in the end
        /// nothing is left.
        #[test]
        fn the_count_is_that_of_the_calls_that_have_not_ended(
            steps in proptest::collection::vec((0u16..3, any::<bool>()), 0..200),
            bound in 1u32..5,
        ) {
            let calls = Arc::new(RouteCalls::default());
            let mut held: [Vec<Entered>; 3] = Default::default();
            for (route, enters) in steps {
                let here = &mut held[usize::from(route)];
                if enters {
                    let entered = calls.enter(place(route), bound, LimitMode::Enforce);
                    prop_assert_eq!(entered.is_some(), here.len() < bound as usize);
                    here.extend(entered);
                } else {
                    drop(here.pop());
                }
            }
            let in_use = held.iter().filter(|held| !held.is_empty()).count();
            prop_assert_eq!(calls.counters(), in_use);
            drop(held);
            prop_assert_eq!(calls.counters(), 0);
        }
    }
}
