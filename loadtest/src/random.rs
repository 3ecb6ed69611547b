//! Which key comes next: fast, repeatable, and of no use for secrets.

/// Pseudo-random numbers by SplitMix64: one multiplication or two each, the same sequence for the same seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Begins the sequence of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`; 0 when the bound is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // The high half of the product is spread evenly enough for bounds far below 2^64.
        ((u128::from(mixed) * bound as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_below_the_bound_comes_about_equally_often() {
        let mut random = Random::new(7);
        let mut seen = [0u32; 10];
        (0..100_000).for_each(|_| seen[random.below(10)] += 1);
        assert!(
            seen.iter().all(|times| (9_500..10_500).contains(times)),
            "{seen:?}"
        );
        assert_eq!(random.below(0), 0);
    }
}
