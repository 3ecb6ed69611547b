//! A route's calls shared out to several upstreams by weight.
//!
//! The turns are laid out when the routes are compiled, by smooth weighted round-robin: the upstream that is furthest
//! behind its share is next. After as many turns as the weights (without their common divisor) add up to, it begins
//! anew, so that of any so many consecutive calls of a worker each upstream gets exactly its share: of 9 to 1, one in
//! every ten. Each worker begins at a turn of its own. A turn costs two array reads; nothing fails.
//!
//! An upstream that can't be reached keeps its turns: its calls are refused like those of a route that names it alone.
//! A canary that is broken shows, and one that is to get nothing has weight 0.

use std::cell::RefCell;

use keyward_config::Share;

/// The turns of a route's upstreams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Which upstream of the configuration each turn is.
    turns: Box<[u16]>,
}

impl Split {
    /// Lays the turns out; `None` when nobody has a share.
    #[must_use]
    pub fn new(shares: &[Share]) -> Option<Self> {
        let common = shares
            .iter()
            .fold(0, |common, share| divisor(common, share.weight));
        if common == 0 {
            return None;
        }
        let weight = |share: &Share| i64::from(share.weight / common);
        let total: i64 = shares.iter().map(weight).sum();
        let mut credits = vec![0; shares.len()];
        let mut turns = Vec::with_capacity(usize::try_from(total).unwrap_or_default());
        for _ in 0..total {
            let mut next: Option<(usize, i64)> = None;
            for (index, (credit, share)) in credits.iter_mut().zip(shares).enumerate() {
                *credit += weight(share);
                if share.weight > 0 && next.is_none_or(|(_, best)| *credit > best) {
                    next = Some((index, *credit));
                }
            }
            let (index, _) = next?;
            *credits.get_mut(index)? -= total;
            turns.push(u16::try_from(shares.get(index)?.upstream).ok()?);
        }
        Some(Self { turns: turns.into() })
    }

    /// The upstream whose turn it is, by its place in the configuration.
    #[must_use]
    pub fn at(&self, turn: u64) -> usize {
        let turn = turn % (self.turns.len() as u64).max(1);
        usize::try_from(turn)
            .ok()
            .and_then(|turn| self.turns.get(turn))
            .map_or(0, |upstream| usize::from(*upstream))
    }

    /// After how many turns it begins anew.
    #[must_use]
    pub fn period(&self) -> usize {
        self.turns.len()
    }
}

/// The greatest number that divides both.
fn divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { divisor(b, a % b) }
}

/// How far one worker is with each route's turns.
#[derive(Debug, Default)]
pub struct Turns {
    of_routes: RefCell<Vec<Option<u64>>>,
}

impl Turns {
    /// The next turn of the route at this place of the configuration. The first one of all is anywhere, so that
    /// workers that begin together don't all send their first calls to the same upstream.
    pub fn next(&self, route: u16) -> u64 {
        let mut routes = self.of_routes.borrow_mut();
        let route = usize::from(route);
        if routes.len() <= route {
            routes.resize(route + 1, None);
        }
        let Some(turn) = routes.get_mut(route) else {
            return 0;
        };
        let now = turn.unwrap_or_else(|| u64::from(crate::random::next() as u32));
        *turn = Some(now.wrapping_add(1));
        now
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(weights: &[u32]) -> Vec<Share> {
        let share = |(upstream, weight): (usize, &u32)| Share {
            upstream,
            weight: *weight,
        };
        weights.iter().enumerate().map(share).collect()
    }

    #[test]
    fn nine_to_one_is_one_in_any_ten() {
        let split = Split::new(&shares(&[9, 1])).unwrap();
        assert_eq!(split.period(), 10);
        for from in 0..40 {
            let second = (from..from + 10).filter(|turn| split.at(*turn) == 1).count();
            assert_eq!(second, 1, "from {from}");
        }
    }

    #[test]
    fn nobody_gets_calls_for_nothing() {
        assert_eq!(Split::new(&shares(&[0, 0])), None);
        let split = Split::new(&shares(&[0, 5, 0])).unwrap();
        assert_eq!((split.period(), split.at(7)), (1, 1));
    }

    #[test]
    fn a_worker_takes_the_turns_of_each_route_one_after_the_other() {
        let turns = Turns::default();
        let (first, other) = (turns.next(3), turns.next(0));
        assert_eq!(
            (turns.next(3), turns.next(3), turns.next(0)),
            (first + 1, first + 2, other + 1)
        );
    }

    proptest! {
        #[test]
        fn of_any_so_many_consecutive_calls_each_upstream_gets_its_share(
            weights in proptest::collection::vec(0u32..=60, 1..6),
            scale in 1u32..=16,
            from in 0u64..100_000,
        ) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let scaled: Vec<u32> = weights.iter().map(|weight| weight * scale).collect();
            let split = Split::new(&shares(&scaled)).unwrap();
            let total: u64 = scaled.iter().map(|weight| u64::from(*weight)).sum();
            for (upstream, weight) in scaled.iter().enumerate() {
                let window = from..from + total;
                let got = window.filter(|turn| split.at(*turn) == upstream).count() as u64;
                prop_assert_eq!(got, u64::from(*weight));
            }
        }

        #[test]
        fn no_upstream_is_ever_far_from_its_share(weights in proptest::collection::vec(1u32..=20, 2..5)) {
            let split = Split::new(&shares(&weights)).unwrap();
            let total: u32 = weights.iter().sum();
            let mut got = vec![0u32; weights.len()];
            for turn in 0..u64::from(total) {
                got[split.at(turn)] += 1;
                for (got, weight) in got.iter().zip(&weights) {
                    let due = (turn as f64 + 1.0) * f64::from(*weight) / f64::from(total);
                    prop_assert!((f64::from(*got) - due).abs() < weights.len() as f64);
                }
            }
        }
    }
}
