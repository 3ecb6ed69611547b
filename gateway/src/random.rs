//! Fast randomness for names and jitter, never for secrets: request ids, trace ids, `Retry-After`.
//!
//! SplitMix64 (Steele, Lea, Flood 2014), one state a thread, seeded by the operating system. About 1 ns.

use std::cell::Cell;

thread_local! {
    static STATE: Cell<u64> = Cell::new(seed());
}

/// The next 64 random bits of this thread.
#[must_use]
pub fn next() -> u64 {
    STATE.with(|state| {
        let seed = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(seed);
        let mut mixed = seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

fn seed() -> u64 {
    let mut bytes = [0; 8];
    if getrandom::fill(&mut bytes).is_err() {
        // Two threads then still differ, by where their state lies.
        bytes = (std::ptr::from_ref(&bytes) as u64).to_le_bytes();
    }
    u64::from_le_bytes(bytes)
}
