//! Instants and quota periods. Pure calendar arithmetic: the clock is always an argument.

use std::cmp::Ordering;

use jiff::ToSpan;
use jiff::civil::{Date, DateTime};

/// Milliseconds since 1970-01-01T00:00:00Z, as stored, sent and compared everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub i64);

const DAY_MS: i64 = 86_400_000;
/// The first and the last whole days since 1970 that the calendar has: 1 January -9999 and 31 December 9999.
const DAYS: std::ops::RangeInclusive<i32> = -4_371_587..=2_932_896;

impl UnixMillis {
    /// The UTC date of this instant; saturates outside the years -9999 to 9999.
    #[must_use]
    pub fn date(self) -> Date {
        self.civil().date()
    }

    /// The UTC date and time, to the last millisecond of 9999: a contract or a key may well be meant to hold
    /// "until the end of 9999", which is beyond the last instant that jiff has a time zone for.
    fn civil(self) -> DateTime {
        let epoch = jiff::civil::date(1970, 1, 1);
        let day =
            i32::try_from(self.0.div_euclid(DAY_MS)).unwrap_or(if self.0 < 0 { i32::MIN } else { i32::MAX });
        let within = day.clamp(*DAYS.start(), *DAYS.end());
        let ms = match day.cmp(&within) {
            Ordering::Less => 0,
            Ordering::Equal => self.0.rem_euclid(DAY_MS),
            Ordering::Greater => DAY_MS - 1,
        };
        let date = epoch.saturating_add(within.days());
        date.at(0, 0, 0, 0).saturating_add(ms.milliseconds())
    }

    /// Midnight UTC at the start of a date.
    #[must_use]
    pub fn start_of(date: Date) -> Self {
        let epoch = jiff::civil::date(1970, 1, 1);
        let days = date.since(epoch).map_or(0, |span| i64::from(span.get_days()));
        Self(days.saturating_mul(DAY_MS))
    }

    /// RFC 3339 with milliseconds, `2026-01-19T10:30:00.000Z`.
    #[must_use]
    pub fn to_rfc3339_millis(self) -> String {
        format!("{:.3}Z", self.civil())
    }

    /// RFC 3339 with whole seconds, `2026-01-19T10:30:00Z`.
    #[must_use]
    pub fn to_rfc3339_seconds(self) -> String {
        format!("{:.0}Z", self.civil())
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
    // The longest span that there is reaches from the calendar's first year to its last.
    UnixMillis::start_of(first.saturating_add(years.clamp(0, 19_998).years()))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_end_of_9999_is_written_as_such() {
        let last = UnixMillis(253_402_300_799_999);
        assert_eq!(last.to_rfc3339_millis(), "9999-12-31T23:59:59.999Z");
        assert_eq!(last.to_rfc3339_seconds(), "9999-12-31T23:59:59Z");
        assert_eq!(last.date(), jiff::civil::date(9999, 12, 31));
        assert_eq!(UnixMillis::start_of(last.date()), UnixMillis(253_402_214_400_000));
        // What lies beyond is shown as the end, never as another time.
        assert_eq!(UnixMillis(i64::MAX).to_rfc3339_seconds(), "9999-12-31T23:59:59Z");
        assert_eq!(UnixMillis(last.0 + 1).date(), last.date());
        assert_eq!(UnixMillis(i64::MIN).date(), jiff::civil::date(-9999, 1, 1));
    }

    #[test]
    fn a_period_of_the_longest_contract_there_can_be_is_found() {
        let period = QuotaPeriod::at(UnixMillis(i64::MAX), Some(UnixMillis(i64::MIN)));
        assert!(period.start <= period.end);
    }

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
        fn instants_are_written_as_jiff_writes_them(ms in -60_000_000_000_000i64..253_402_000_000_000) {
            let timestamp = Timestamp::from_millisecond(ms).unwrap();
            prop_assert_eq!(UnixMillis(ms).to_rfc3339_millis(), format!("{timestamp:.3}"));
            prop_assert_eq!(UnixMillis(ms).to_rfc3339_seconds(), format!("{timestamp:.0}"));
        }

        #[test]
        fn no_instant_panics(now in any::<i64>(), start in any::<Option<i64>>()) {
            let _ = QuotaPeriod::at(UnixMillis(now), start.map(UnixMillis));
            let _ = UnixMillis(now).to_rfc3339_millis();
        }
    }
}
