//! Hours, days and months as the tables have them: whole ones since 1970, by number.

use jiff::civil::Date;
use keyward_contract::UnixMillis;

use crate::domain::series::Granularity;

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;

/// What `unit` is of a row that counts so long.
pub(super) fn unit(granularity: Granularity) -> i64 {
    match granularity {
        Granularity::Hour => 1,
        Granularity::Day => 2,
        Granularity::Month => 3,
    }
}

/// Which hour, day or month an instant lies in.
pub(super) fn number(granularity: Granularity, at: UnixMillis) -> i64 {
    match granularity {
        Granularity::Hour => at.hour(),
        Granularity::Day => at.0.div_euclid(DAY_MS),
        Granularity::Month => {
            let date = at.date();
            (i64::from(date.year()) - 1970) * 12 + i64::from(date.month()) - 1
        }
    }
}

/// The first instant of an hour, day or month.
pub(super) fn start(granularity: Granularity, number: i64) -> UnixMillis {
    match granularity {
        Granularity::Hour => UnixMillis(number.saturating_mul(HOUR_MS)),
        Granularity::Day => UnixMillis(number.saturating_mul(DAY_MS)),
        Granularity::Month => {
            let year = i16::try_from(1970 + number.div_euclid(12)).ok();
            let month = i8::try_from(1 + number.rem_euclid(12)).ok();
            let first = year
                .zip(month)
                .and_then(|(year, month)| Date::new(year, month, 1).ok());
            first.map_or(UnixMillis(i64::MAX), UnixMillis::start_of)
        }
    }
}

/// The day and the month that an hour lies in.
pub(super) fn day_and_month(hour: i64) -> (i64, i64) {
    let at = start(Granularity::Hour, hour);
    (number(Granularity::Day, at), number(Granularity::Month, at))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_follow_the_calendar(ms in 0i64..4_000_000 * HOUR_MS) {
            let at = UnixMillis(ms);
            for granularity in [Granularity::Hour, Granularity::Day, Granularity::Month] {
                let number = number(granularity, at);
                prop_assert_eq!(start(granularity, number), granularity.start_of(at));
                prop_assert!(start(granularity, number + 1) > at);
            }
        }
    }
}
