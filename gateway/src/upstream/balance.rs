//! Which machine gets a call: arithmetic alone, over the places of an upstream's machines.
//!
//! A hash goes by rendezvous (Thaler, Ravishankar 1996): of all machines the one that scores highest with it gets the
//! call. So a machine that goes moves its own callers alone, which spread evenly over the others and come back with it,
//! and every gateway with the same machines decides alike, in whatever order they are written. Cost: a few nanoseconds
//! a machine, no allocation. Nothing here fails; `None` means that no machine may be used.

use std::net::IpAddr;

use http::HeaderMap;
use keyward_config::HashedBy;

use crate::admission::Caller;

/// What of a call may decide its machine.
#[derive(Clone, Copy, Debug)]
pub struct Seeker<'a> {
    /// Who calls; `None` on public routes.
    pub caller: Option<&'a Caller>,
    /// The client's address.
    pub client: IpAddr,
    /// The request's fields.
    pub headers: &'a HeaderMap,
}

impl Seeker<'_> {
    /// The hash of what is asked for; of the client's address when the call has no such thing.
    #[must_use]
    pub fn hash(&self, by: &HashedBy) -> u64 {
        let own = match by {
            HashedBy::Key => self
                .caller
                .map(|caller| hash(caller.key().record.id.as_uuid().as_bytes())),
            HashedBy::Customer => self
                .caller
                .and_then(Caller::customer)
                .map(|customer| hash(customer.id.as_str().as_bytes())),
            HashedBy::Header(name) => self.headers.get(name).map(|value| hash(value.as_bytes())),
            HashedBy::Address => None,
        };
        own.unwrap_or_else(|| match self.client.to_canonical() {
            IpAddr::V4(address) => hash(&address.octets()),
            IpAddr::V6(address) => hash(&address.octets()),
        })
    }
}

/// The first from this place on, going round, that may be used.
pub fn in_turn(from: usize, count: usize, may: impl Fn(usize) -> bool) -> Option<usize> {
    let from = if from < count { from } else { 0 };
    (from..count).chain(0..from).find(|place| may(*place))
}

/// Of two different ones drawn at random from those that may be used, the one with less load; the first drawn when both
/// have the same.
pub fn lighter_of_two(
    random: u64,
    count: usize,
    may: impl Fn(usize) -> bool,
    load: impl Fn(usize) -> u32,
) -> Option<usize> {
    let usable = || (0..count).filter(|place| may(*place));
    let many = usable().count() as u64;
    // `as u32`: the two halves are drawn from independently.
    let (high, low) = (random >> 32, u64::from(random as u32));
    let first = high.checked_rem(many)?;
    let Some(further) = low.checked_rem(many - 1) else {
        return usable().next();
    };
    let nth = |place: u64| usable().nth(usize::try_from(place).unwrap_or(usize::MAX));
    let (first, second) = (nth(first)?, nth((first + 1 + further) % many)?);
    Some(if load(second) < load(first) { second } else { first })
}

/// The one that scores highest with this hash; `names` are the hashes of the machines' names, by place.
pub fn highest(hash: u64, names: impl Iterator<Item = u64>, may: impl Fn(usize) -> bool) -> Option<usize> {
    names
        .enumerate()
        .filter(|(place, _)| may(*place))
        .max_by_key(|(_, name)| mixed(hash ^ name))
        .map(|(place, _)| place)
}

/// A hash that is the same in every process and version: FNV-1a, mixed.
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mixed(sum)
}

/// The finaliser of SplitMix64: every bit depends on every bit.
fn mixed(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(count: usize) -> Vec<u64> {
        (0..count)
            .map(|n| hash(format!("10.0.0.{n}:80").as_bytes()))
            .collect()
    }

    fn owner(key: u64, names: &[u64], may: impl Fn(usize) -> bool) -> Option<usize> {
        highest(key, names.iter().copied(), may)
    }

    proptest! {
        #[test]
        fn a_machine_that_goes_moves_its_own_callers_alone(
            count in 2usize..40, gone in any::<prop::sample::Index>(), keys in prop::collection::vec(any::<u64>(), 1..200),
        ) {
            let (names, gone) = (names(count), gone.index(count));
            for key in keys {
                let key = hash(&key.to_le_bytes());
                let before = owner(key, &names, |_| true);
                let after = owner(key, &names, |place| place != gone);
                if before == Some(gone) {
                    prop_assert_ne!(after, Some(gone));
                } else {
                    prop_assert_eq!(after, before);
                }
            }
        }

        #[test]
        fn the_order_in_which_machines_are_written_decides_nothing(
            count in 1usize..40, turn in any::<prop::sample::Index>(), key: u64,
        ) {
            let names = names(count);
            let mut turned = names.clone();
            turned.rotate_left(turn.index(count));
            let of = |names: &[u64]| owner(key, names, |_| true).map(|place| names[place]);
            prop_assert_eq!(of(&names), of(&turned));
        }

        #[test]
        fn only_what_may_be_used_is_ever_chosen(
            usable in prop::collection::vec(any::<bool>(), 0..20), from in 0usize..30, random: u64,
        ) {
            let may = |place: usize| usable[place];
            let any = usable.contains(&true);
            let names = names(usable.len());
            for chosen in [
                in_turn(from, usable.len(), may),
                lighter_of_two(random, usable.len(), may, |place| place as u32),
                owner(random, &names, may),
            ] {
                prop_assert_eq!(chosen.is_some(), any);
                prop_assert!(chosen.is_none_or(may));
            }
        }

        #[test]
        fn of_two_drawn_the_busier_one_is_never_taken(
            loads in prop::collection::vec(0u32..100, 2..20), random: u64,
        ) {
            // The busiest alone loses against whichever other is drawn.
            let busiest = loads.len() - 1;
            let load = |place: usize| if place == busiest { 1_000 } else { loads[place] };
            prop_assert_ne!(lighter_of_two(random, loads.len(), |_| true, load), Some(busiest));
        }
    }

    #[test]
    fn the_callers_of_a_machine_that_is_gone_spread_over_all_others() {
        let names = names(10);
        let mut heirs = [0; 10];
        for key in 0u64..20_000 {
            let key = hash(&key.to_le_bytes());
            if owner(key, &names, |_| true) == Some(3) {
                heirs[owner(key, &names, |place| place != 3).unwrap()] += 1;
            }
        }
        let lost: u32 = heirs.iter().sum();
        assert!((1_800..2_200).contains(&lost), "{lost}");
        assert!(
            heirs
                .iter()
                .enumerate()
                .all(|(place, heirs)| (place == 3) == (*heirs < 150)),
            "{heirs:?}"
        );
    }

    #[test]
    fn both_of_two_are_drawn_alike() {
        let mut chosen = [0; 4];
        for draw in 0u64..10_000 {
            chosen[lighter_of_two(hash(&draw.to_le_bytes()), 4, |_| true, |_| 0).unwrap()] += 1;
        }
        assert!(
            chosen.iter().all(|count| (2_300..2_700).contains(count)),
            "{chosen:?}"
        );
    }

    #[test]
    fn turns_go_round() {
        let taken: Vec<_> = (0..5)
            .map(|from| in_turn(from, 3, |place| place != 1).unwrap())
            .collect();
        assert_eq!(taken, [0, 2, 2, 0, 0]);
        assert_eq!(in_turn(0, 0, |_| true), None);
    }
}
