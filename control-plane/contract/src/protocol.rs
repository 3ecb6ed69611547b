//! Which numbers of the sync protocol a side speaks, and which one two sides speak with each other.
//!
//! The number grows only when something changes that the other side can't just ignore: new fields and new frames are
//! ignored by who doesn't know them.

use std::fmt;

/// The lowest number that this version speaks.
pub const OLDEST_PROTOCOL: u32 = 1;

/// A range of protocol numbers, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols {
    oldest: u32,
    newest: u32,
}

/// What this version speaks.
pub const OURS: Protocols = Protocols {
    oldest: OLDEST_PROTOCOL,
    newest: crate::feed::PROTOCOL,
};

impl Protocols {
    /// What a side says of itself: `oldest` 0 means `newest` alone, and so does one above it, which can't be meant.
    #[must_use]
    pub fn said(oldest: u32, newest: u32) -> Self {
        let oldest = match oldest {
            0 => newest,
            oldest => oldest.min(newest),
        };
        Self { oldest, newest }
    }

    /// The highest number that both speak.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u32> {
        let highest = self.newest.min(other.newest);
        (self.oldest.max(other.oldest) <= highest).then_some(highest)
    }

    /// Whether this number is spoken.
    #[must_use]
    pub fn contains(self, number: u32) -> bool {
        (self.oldest..=self.newest).contains(&number)
    }

    /// Whether all of it is below the other: then this is the side to upgrade.
    #[must_use]
    pub fn is_older_than(self, other: Self) -> bool {
        self.newest < other.oldest
    }
}

impl fmt::Display for Protocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { oldest, newest } = self;
        if oldest == newest {
            write!(f, "{newest}")
        } else {
            write!(f, "{oldest} to {newest}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_sides_speak_the_highest_number_that_both_know() {
        for ((oldest, newest), (other_oldest, other_newest), common) in [
            ((1, 1), (1, 1), Some(1)),
            ((1, 1), (0, 1), Some(1)),
            ((1, 3), (2, 5), Some(3)),
            ((2, 5), (1, 3), Some(3)),
            ((2, 5), (3, 4), Some(4)),
            ((1, 1), (2, 3), None),
            ((2, 3), (0, 1), None),
            // Nonsense is taken for one number.
            ((1, 9), (7, 4), Some(4)),
        ] {
            let (one, other) = (
                Protocols::said(oldest, newest),
                Protocols::said(other_oldest, other_newest),
            );
            assert_eq!(one.common(other), common, "{one} and {other}");
            assert_eq!(other.common(one), common, "{other} and {one}");
        }
        assert!(Protocols::said(1, 2).is_older_than(Protocols::said(3, 4)));
        assert!(!Protocols::said(1, 3).is_older_than(Protocols::said(3, 4)));
        assert_eq!(Protocols::said(0, 2).to_string(), "2");
        assert_eq!(Protocols::said(1, 2).to_string(), "1 to 2");
    }
}
