//! The numbers that travel: Redis's scripts count in doubles, which are exact below 2⁵³ only.

use keyward_contract::Limits;

/// The most that one amount may be: sums of sixty-four of them are still exact, and it is thirty times the greatest
/// burst there is.
const GREATEST: u64 = 1 << 47;
/// The greatest instant, in microseconds: some time in the year 2255.
const LAST: u64 = (1 << 53) - 1;

/// An amount of tokens or validations.
pub(crate) fn amount(number: u64) -> i64 {
    i64::try_from(number.min(GREATEST)).unwrap_or(i64::MAX)
}

/// An amount that may be owed.
pub(crate) fn signed(number: i64) -> i64 {
    let greatest = amount(GREATEST);
    number.clamp(-greatest, greatest)
}

/// An instant in microseconds.
pub(crate) fn instant(number: u64) -> i64 {
    i64::try_from(number.min(LAST)).unwrap_or(i64::MAX)
}

/// Thousandths a millisecond, which is tokens a second; at least 1, because it is divided by.
pub(crate) fn rate(limits: Limits) -> i64 {
    i64::from(limits.rate.max(1))
}

/// Thousandths at most.
pub(crate) fn burst(limits: Limits) -> i64 {
    i64::from(limits.burst) * 1000
}
