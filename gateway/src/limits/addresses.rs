//! How often one client address may call a public route that bounds it (`per_address`), counted by this gateway alone.
//!
//! A bucket for each route and address: of IPv6 for each /64, which is what one client has. There are at most
//! [`MOST`] of them; one that nobody calls from for ten minutes vanishes, and by the configuration's bounds it is full
//! again by then. Under calls from more addresses than that, those that call often keep their buckets, and the others,
//! each of which calls rarely, begin with full ones. Cost: one look-up in a shared cache; an allocation for an address
//! that wasn't there. Routes without a bound cost nothing.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use keyward_contract::{LimitMode, Limits};
use moka::sync::Cache;

use super::bucket::{Bucket, Level, Taken};
use super::fields::{self, Standing};
use super::{Limiter, Which, with_jitter};
use crate::clock::Now;
use crate::rejection::Rejection;
use crate::route::Route;

/// Buckets held at most, a few MiB.
pub const MOST: u64 = 65_536;
/// The longest that a bucket takes to fill: `config` holds that.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// The buckets of client addresses.
#[derive(Debug)]
pub struct Addresses {
    buckets: Cache<Place, Arc<Bucket>>,
}

impl Default for Addresses {
    fn default() -> Self {
        let buckets = Cache::builder().max_capacity(MOST).time_to_idle(FORGOTTEN_AFTER);
        Self {
            buckets: buckets.build(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    route: u16,
    client: IpAddr,
}

impl Place {
    fn of(route: u16, client: IpAddr) -> Self {
        let client = match client.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            v4 @ IpAddr::V4(_) => v4,
        };
        Self { route, client }
    }
}

/// How a call without a key stands to its route's bound on addresses.
#[derive(Debug)]
pub enum Passed {
    /// Its route has none.
    Unbounded,
    /// The tokens were there and are spent.
    Paid(Toll),
    /// They were not, and the limit only counts.
    Beyond,
}

/// What a call took from the bucket of its client's address.
#[derive(Debug)]
pub struct Toll {
    bucket: Arc<Bucket>,
    limits: Limits,
    cost: u32,
}

impl Toll {
    /// The call never reached an upstream.
    pub fn give_back(self) {
        self.bucket.give_back(self.limits, self.cost);
    }
}

impl Addresses {
    fn take(&self, place: Place, limits: Limits, cost: u32, now_ms: u64) -> Result<Toll, Level> {
        let bucket = self.buckets.get_with(place, Arc::default);
        match bucket.take(now_ms, limits, cost) {
            Taken::Yes(_) => Ok(Toll { bucket, limits, cost }),
            Taken::Empty(level) => Err(level),
        }
    }
}

impl Limiter {
    /// Charges a call without a key to the bucket of its client's address, where its route has such a bound.
    ///
    /// # Errors
    /// `RateLimited` with `route`, and then nothing is charged.
    pub fn pass(&self, client: IpAddr, route: &Route, now: Now) -> Result<Passed, Rejection> {
        let Some(limits) = route.per_address else {
            return Ok(Passed::Unbounded);
        };
        let place = Place::of(route.numbers.place, client);
        match self.addresses.take(place, limits, route.cost, now.monotonic_ms()) {
            Ok(toll) => Ok(Passed::Paid(toll)),
            Err(_) if route.mode == LimitMode::Shadow => Ok(Passed::Beyond),
            Err(level) => {
                let retry_after = level.until_available(route.cost);
                Err(Rejection::RateLimited {
                    standing: Standing {
                        which: Which::Address,
                        level,
                        policy: fields::address_policy(limits),
                        reset_after: retry_after,
                    },
                    retry_after: with_jitter(retry_after),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: Limits = Limits { rate: 1, burst: 2 };

    fn place(client: &str) -> Place {
        Place::of(0, client.parse().unwrap())
    }

    #[test]
    fn each_address_has_a_bucket_of_its_own_and_each_ipv6_network_one() {
        let addresses = Addresses::default();
        let takes = |client: &str| addresses.take(place(client), TWO, 1, 5).is_ok();
        assert!(takes("192.0.2.1") && takes("192.0.2.1") && !takes("192.0.2.1"));
        assert!(takes("192.0.2.2"));
        // The same one in its other form.
        assert!(!takes("::ffff:192.0.2.1"));
        assert!(takes("2001:db8:0:1::1") && takes("2001:db8:0:1:ffff::2") && !takes("2001:db8:0:1::3"));
        assert!(takes("2001:db8:0:2::1"));
        let other_route = Place {
            route: 1,
            ..place("192.0.2.1")
        };
        assert!(addresses.take(other_route, TWO, 1, 5).is_ok());
    }

    #[test]
    fn a_call_that_reached_nobody_gives_back_what_it_took() {
        let addresses = Addresses::default();
        let take = || addresses.take(place("192.0.2.1"), TWO, 2, 5);
        let toll = take().unwrap();
        assert_eq!(take().unwrap_err().remaining(), 0);
        toll.give_back();
        assert!(take().is_ok());
    }

    #[test]
    fn calls_from_ever_more_addresses_take_a_bounded_room() {
        let addresses = Addresses::default();
        for number in 0..100_000_u32 {
            let client = IpAddr::from(number.to_be_bytes());
            assert!(addresses.take(Place::of(0, client), TWO, 1, 5).is_ok());
        }
        addresses.buckets.run_pending_tasks();
        assert!(addresses.buckets.entry_count() <= MOST);
    }
}
