//! Usage over time: which hours, days or months (UTC) a series has. Pure calendar arithmetic.

use jiff::ToSpan;
use keyward_contract::UnixMillis;

use super::refusal::InvalidField;

/// The most entries of one series.
pub const MOST_ENTRIES: usize = 1_000;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// How long each entry of a series is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granularity {
    /// From one full hour to the next.
    Hour,
    /// From midnight to midnight.
    Day,
    /// A calendar month.
    Month,
}

impl Granularity {
    /// Reads how a caller writes it.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(field: &'static str, text: &str) -> Result<Self, InvalidField> {
        match text {
            "hour" => Ok(Self::Hour),
            "day" => Ok(Self::Day),
            "month" => Ok(Self::Month),
            _ => Err(InvalidField::new(field, "must be hour, day or month")),
        }
    }

    /// The first instant of the entry that this instant belongs to.
    #[must_use]
    pub fn start_of(self, at: UnixMillis) -> UnixMillis {
        match self {
            Self::Hour => UnixMillis(at.0 - at.0.rem_euclid(HOUR_MS)),
            Self::Day => UnixMillis(at.0 - at.0.rem_euclid(DAY_MS)),
            Self::Month => UnixMillis::start_of(at.date().first_of_month()),
        }
    }

    /// The first instant of the next entry.
    fn next(self, start: UnixMillis) -> UnixMillis {
        match self {
            Self::Hour => UnixMillis(start.0.saturating_add(HOUR_MS)),
            Self::Day => UnixMillis(start.0.saturating_add(DAY_MS)),
            Self::Month => {
                let month = start.date().first_of_month();
                let next = UnixMillis::start_of(month.saturating_add(1.month()));
                // After the last month that there is comes nothing.
                if next > start { next } else { UnixMillis(i64::MAX) }
            }
        }
    }

    /// From when on a series goes that says only where it ends.
    #[must_use]
    pub fn usual_start(self, end: UnixMillis) -> UnixMillis {
        let days = match self {
            Self::Hour => 1,
            Self::Day => 30,
            Self::Month => 365,
        };
        UnixMillis(end.0.saturating_sub(days * DAY_MS).max(0))
    }
}

/// The time that a series covers: every entry with an instant from `from` to before `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// How long each entry is.
    pub granularity: Granularity,
    /// The first instant.
    pub from: UnixMillis,
    /// The first instant after it.
    pub to: UnixMillis,
}

impl Span {
    /// The first instants of all entries, in order.
    ///
    /// # Errors
    /// When it ends before it begins, or has too many entries.
    pub fn starts(self) -> Result<Vec<UnixMillis>, InvalidField> {
        if self.to <= self.from {
            return Err(InvalidField::new("to", "must be after from"));
        }
        let mut starts = Vec::new();
        let mut start = self.granularity.start_of(self.from);
        while start < self.to {
            if starts.len() == MOST_ENTRIES {
                return Err(InvalidField::new(
                    "from",
                    format!(
                        "gives more than {MOST_ENTRIES} entries: ask for a shorter time or a coarser granularity"
                    ),
                ));
            }
            starts.push(start);
            start = self.granularity.next(start);
        }
        Ok(starts)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::moment;
    use super::*;

    #[track_caller]
    fn check(granularity: &str, from: &str, to: &str, expected: &[&str]) {
        let span = Span {
            granularity: Granularity::parse("granularity", granularity).unwrap(),
            from: moment::instant("from", from).unwrap(),
            to: moment::instant("to", to).unwrap(),
        };
        let starts = span.starts().unwrap();
        let starts: Vec<_> = starts.into_iter().map(UnixMillis::to_rfc3339_seconds).collect();
        assert_eq!(starts, expected);
    }

    #[test]
    fn a_series_has_every_entry_that_its_time_touches() {
        check("day", "2026-02-28", "2026-03-01", &["2026-02-28T00:00:00Z"]);
        check(
            "hour",
            "2026-01-19T10:59:59Z",
            "2026-01-19T11:00:01Z",
            &["2026-01-19T10:00:00Z", "2026-01-19T11:00:00Z"],
        );
        check(
            "month",
            "2025-12-31",
            "2026-02-01T00:00:00.001Z",
            &[
                "2025-12-01T00:00:00Z",
                "2026-01-01T00:00:00Z",
                "2026-02-01T00:00:00Z",
            ],
        );
        check("month", "9999-12-01", "9999-12-31", &["9999-12-01T00:00:00Z"]);
    }

    #[test]
    fn a_series_is_bounded() {
        let days = |days: i64| Span {
            granularity: Granularity::Day,
            from: UnixMillis(0),
            to: UnixMillis(days * DAY_MS),
        };
        assert_eq!(days(1_000).starts().unwrap().len(), 1_000);
        assert_eq!(days(1_001).starts().unwrap_err().field, "from");
        assert_eq!(days(0).starts().unwrap_err().field, "to");
    }

    proptest! {
        #[test]
        fn entries_join_and_cover_the_time(from in 0i64..4_000_000_000_000, length in 1i64..90_000_000_000) {
            for granularity in [Granularity::Hour, Granularity::Day, Granularity::Month] {
                let span = Span { granularity, from: UnixMillis(from), to: UnixMillis(from + length) };
                if let Ok(starts) = span.starts() {
                    prop_assert!(starts[0] <= span.from && span.from < granularity.next(starts[0]));
                    prop_assert!(granularity.next(starts[starts.len() - 1]) >= span.to);
                    for start in &starts {
                        prop_assert_eq!(granularity.start_of(*start), *start);
                    }
                    for pair in starts.windows(2) {
                        prop_assert_eq!(granularity.next(pair[0]), pair[1]);
                    }
                }
            }
        }
    }
}
