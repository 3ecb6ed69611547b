//! Instants and quota periods. Pure calendar arithmetic: the clock is always an argument.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// Milliseconds since 1970-01-01T00:00:00Z, as stored, sent and compared everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// The UTC date of this instant; saturates outside the years -9999 to 9999.
    #[must_use]
    pub fn date(self) -> Date {
        let timestamp = Timestamp::from_millisecond(self.0).unwrap_or(if self.0 < 0 {
            Timestamp::MIN
        } else {
            Timestamp::MAX
        });
        timestamp.to_zoned(TimeZone::UTC).date()
    }

    /// Midnight UTC at the start of a date.
    #[must_use]
    pub fn start_of(date: Date) -> Self {
        let epoch = jiff::civil::date(1970, 1, 1);
        let days = date.since(epoch).map_or(0, |span| i64::from(span.get_days()));
        Self(days.saturating_mul(86_400_000))
    }

    /// RFC 3339 with milliseconds, `2026-01-19T10:30:00.000Z`.
    #[must_use]
    pub fn to_rfc3339_millis(self) -> String {
        let timestamp = Timestamp::from_millisecond(self.0).unwrap_or(Timestamp::UNIX_EPOCH);
        format!("{timestamp:.3}")
    }

    /// RFC 3339 with whole seconds, `2026-01-19T10:30:00Z`.
    #[must_use]
    pub fn to_rfc3339_seconds(self) -> String {
        let timestamp = Timestamp::from_millisecond(self.0).unwrap_or(Timestamp::UNIX_EPOCH);
        format!("{timestamp:.0}")
    }

    /// Whole hours since 1970.
    #[must_use]
    pub fn hour(self) -> i64 {
        self.0.div_euclid(3_600_000)
    }
}

/// One year over which a quota is counted, start inclusive, end exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaPeriod {
    /// The first instant of the period.
    pub start: UnixMillis,
    /// The first instant after it.
    pub end: UnixMillis,
}

impl QuotaPeriod {
    /// The period that `now` lies in: from one anniversary of `contract_start` to the next, or the calendar
    /// year in UTC where there is no contract start. A contract begun on 29 February has its anniversary
    /// on 28 February in common years. Before the contract's start, the period is its first one.
    #[must_use]
    pub fn at(now: UnixMillis, contract_start: Option<UnixMillis>) -> Self {
        let Some(start) = contract_start else {
            let year = now.date().year();
            let start = |year| UnixMillis::start_of(jiff::civil::date(year, 1, 1));
            return Self {
                start: start(year),
                end: start(year.saturating_add(1).min(9999)),
            };
        };
        let first = start.date();
        let mut years = i32::from(now.date().year()) - i32::from(first.year());
        if anniversary(first, years) > now {
            years -= 1;
        }
        let years = years.max(0);
        Self {
            start: anniversary(first, years),
            end: anniversary(first, years + 1),
        }
    }
}

fn anniversary(first: Date, years: i32) -> UnixMillis {
    UnixMillis::start_of(first.saturating_add(years.years()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> UnixMillis {
        UnixMillis(text.parse::<Timestamp>().unwrap().as_millisecond())
    }

    #[track_caller]
    fn check(now: &str, contract_start: Option<&str>, start: &str, end: &str) {
        let period = QuotaPeriod::at(at(now), contract_start.map(at));
        assert_eq!((period.start, period.end), (at(start), at(end)));
    }

    #[test]
    fn without_a_contract_the_period_is_the_calendar_year() {
        check(
            "2026-01-01T00:00:00Z",
            None,
            "2026-01-01T00:00:00Z",
            "2027-01-01T00:00:00Z",
        );
        check(
            "2026-12-31T23:59:59.999Z",
            None,
            "2026-01-01T00:00:00Z",
            "2027-01-01T00:00:00Z",
        );
    }

    #[test]
    fn a_contract_year_runs_from_anniversary_to_anniversary() {
        let start = Some("2025-03-15T00:00:00Z");
        check(
            "2026-03-14T23:59:59Z",
            start,
            "2025-03-15T00:00:00Z",
            "2026-03-15T00:00:00Z",
        );
        check(
            "2026-03-15T00:00:00Z",
            start,
            "2026-03-15T00:00:00Z",
            "2027-03-15T00:00:00Z",
        );
    }

    #[test]
    fn a_contract_begun_on_29_february_has_its_anniversary_on_the_28th_in_common_years() {
        let start = Some("2024-02-29T00:00:00Z");
        check(
            "2025-02-27T12:00:00Z",
            start,
            "2024-02-29T00:00:00Z",
            "2025-02-28T00:00:00Z",
        );
        check(
            "2025-02-28T00:00:00Z",
            start,
            "2025-02-28T00:00:00Z",
            "2026-02-28T00:00:00Z",
        );
        check(
            "2028-02-28T12:00:00Z",
            start,
            "2027-02-28T00:00:00Z",
            "2028-02-29T00:00:00Z",
        );
    }

    proptest! {
        #[test]
        fn now_lies_in_its_period_and_periods_join(
            now in -2_000_000_000_000i64..4_000_000_000_000, back in 0i64..2_000_000_000_000,
        ) {
            let start = UnixMillis(now - back);
            let period = QuotaPeriod::at(UnixMillis(now), Some(start));
            prop_assert!(period.start.0 <= now && now < period.end.0);
            prop_assert_eq!(QuotaPeriod::at(period.end, Some(start)).start, period.end);
        }

        #[test]
        fn no_instant_panics(now in any::<i64>(), start in any::<Option<i64>>()) {
            let _ = QuotaPeriod::at(UnixMillis(now), start.map(UnixMillis));
            let _ = UnixMillis(now).to_rfc3339_millis();
        }
    }
}
