//! Durations, sizes, rates and shares as people write them: `5ms`, `1MiB`, `50/s`, `20%`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::leaf::{Text, short, text};

const TIME_UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];
const SIZE_UNITS: [(&str, u64); 4] = [("", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
/// A hundred years.
const LONGEST_MS: u64 = 36_500 * 86_400_000;

/// A length of time: a whole number and `ms`, `s`, `m`, `h` or `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time(pub(crate) Duration);

impl Time {
    pub(crate) const fn ms(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }

    pub(crate) const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl Text for Time {
    const EXPECTED: &'static str = "a duration such as \"1s\"";

    fn of_number(number: u64) -> Result<Self, String> {
        Err(format!(
            "{number} has no unit; write a number and ms, s, m, h or d, such as \"{number}s\""
        ))
    }
}

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text).ok_or_else(|| no_duration(text))?;
        let unit = TIME_UNITS.iter().find(|(name, _)| *name == unit);
        let (_, unit_ms) = unit.ok_or_else(|| no_duration(text))?;
        let ms = number.checked_mul(*unit_ms).filter(|ms| *ms <= LONGEST_MS);
        ms.map(Self::ms)
            .ok_or_else(|| format!("\"{}\" is too long; write at most \"36500d\"", short(text)))
    }
}

fn no_duration(text: &str) -> String {
    format!(
        "\"{}\" is no duration; write a number and ms, s, m, h or d, such as \"1s\"",
        short(text)
    )
}

impl fmt::Display for Time {
    /// In the largest unit that gives a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let largest = TIME_UNITS
            .iter()
            .rev()
            .find(|(_, unit)| ms > 0 && ms.is_multiple_of(*unit));
        match largest {
            Some((name, unit)) => write!(f, "{}{name}", ms / unit),
            None => f.write_str("0s"),
        }
    }
}

text!(Time, "^[0-9]+(ms|s|m|h|d)$", "1s");

/// A number of bytes: a whole number alone or with `KiB`, `MiB` or `GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub(crate) u64);

impl Size {
    /// As an amount of memory; more than there can be becomes as much as there can be.
    pub(crate) fn in_memory(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Text for Size {
    const EXPECTED: &'static str = "a size such as \"1MiB\"";

    fn of_number(number: u64) -> Result<Self, String> {
        Ok(Self(number))
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text).ok_or_else(|| no_size(text))?;
        let known = SIZE_UNITS.iter().find(|(name, _)| *name == unit);
        let Some((_, bytes)) = known else {
            let typed = unit.to_lowercase();
            let meant = SIZE_UNITS.iter().skip(1).find(|(name, _)| {
                let name = name.to_lowercase();
                [name.as_str(), &name.replace('i', ""), name.trim_end_matches("ib")].contains(&typed.as_str())
            });
            return Err(match meant {
                Some((name, _)) => format!("\"{}\" is no size; write \"{number}{name}\"", short(text)),
                None => no_size(text),
            });
        };
        // The largest that TOML itself can write.
        let size = number
            .checked_mul(*bytes)
            .filter(|size| i64::try_from(*size).is_ok());
        size.map(Self)
            .ok_or_else(|| format!("\"{}\" is more than can be counted", short(text)))
    }
}

fn no_size(text: &str) -> String {
    format!(
        "\"{}\" is no size; write a number of bytes, or one with KiB, MiB or GiB, such as \"1MiB\"",
        short(text)
    )
}

impl fmt::Display for Size {
    /// In the largest unit that gives a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let largest = SIZE_UNITS
            .iter()
            .rev()
            .find(|(_, unit)| self.0 > 0 && self.0.is_multiple_of(*unit));
        match largest {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => f.write_str("0"),
        }
    }
}

text!(Size, "^[0-9]+(KiB|MiB|GiB)?$", "1MiB", ["string", "integer"]);

/// How many a second: a whole number alone or with `/s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rate(pub(crate) u32);

impl Text for Rate {
    const EXPECTED: &'static str = "a rate such as \"50/s\"";

    fn of_number(number: u64) -> Result<Self, String> {
        u32::try_from(number)
            .map(Self)
            .map_err(|_| format!("{number}/s is more than any machine can do"))
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match split(text) {
            Some((number, "/s" | "")) => Self::of_number(number),
            _ => Err(format!(
                "\"{}\" is no rate; write a whole number a second, such as \"50/s\"",
                short(text)
            )),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

text!(Rate, "^[0-9]+(/s)?$", "50/s", ["string", "integer"]);

/// A share in whole percent: `20%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Percent(pub(crate) u8);

impl Text for Percent {
    const EXPECTED: &'static str = "a share such as \"20%\"";
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let percent = match split(text) {
            Some((number, "%")) => u8::try_from(number).ok().filter(|percent| *percent <= 100),
            _ => None,
        };
        percent.map(Self).ok_or_else(|| {
            format!(
                "\"{}\" is no share; write a whole number of percent from \"0%\" to \"100%\"",
                short(text)
            )
        })
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

text!(Percent, "^[0-9]{1,3}%$", "20%");

/// A whole number and what follows it.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_duration_reads_back_as_it_was_written(ms in 0..=LONGEST_MS) {
            let time = Time::ms(ms);
            prop_assert_eq!(time.to_string().parse::<Time>(), Ok(time));
        }

        #[test]
        fn a_size_reads_back_as_it_was_written(bytes in 0..=i64::MAX as u64) {
            let size = Size(bytes);
            prop_assert_eq!(size.to_string().parse::<Size>(), Ok(size));
        }

        #[test]
        fn a_rate_reads_back_as_it_was_written(rate: u32) {
            prop_assert_eq!(Rate(rate).to_string().parse::<Rate>(), Ok(Rate(rate)));
        }

        #[test]
        fn a_number_with_a_unit_means_their_product(number in 0u64..100_000, unit in 0usize..5) {
            let (name, ms) = TIME_UNITS[unit];
            let expected = number.checked_mul(ms).filter(|ms| *ms <= LONGEST_MS).map(Time::ms);
            prop_assert_eq!(format!("{number}{name}").parse::<Time>().ok(), expected);
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in ".{0,30}") {
            let _ = (text.parse::<Time>(), text.parse::<Size>(), text.parse::<Rate>());
            let _ = text.parse::<Percent>();
        }

        #[test]
        fn numbers_beyond_counting_are_refused(zeros in 20usize..60, unit in 0usize..5) {
            let text = format!("1{}{}", "0".repeat(zeros), TIME_UNITS[unit].0);
            prop_assert!(text.parse::<Time>().is_err());
            prop_assert!(text.parse::<Size>().is_err());
        }
    }

    #[test]
    fn a_size_with_a_decimal_unit_is_told_the_binary_one() {
        for (typed, expected) in [
            ("10MB", "10MiB"),
            ("32K", "32KiB"),
            ("1gb", "1GiB"),
            ("8kib", "8KiB"),
        ] {
            let message = typed.parse::<Size>().unwrap_err();
            assert_eq!(message, format!("\"{typed}\" is no size; write \"{expected}\""));
        }
    }
}
