//! Dates and instants as callers write them.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use keyward_contract::UnixMillis;

use super::refusal::InvalidField;

const DAY_MS: i64 = 86_400_000;

/// Reads a date such as `2026-01-19`.
///
/// # Errors
/// When it is none.
pub fn date(field: &'static str, text: &str) -> Result<Date, InvalidField> {
    let well_formed = text.len() == 10 && text.is_ascii();
    match text.parse::<Date>() {
        Ok(date) if well_formed && date.year() >= 1970 => Ok(date),
        _ => Err(InvalidField::new(
            field,
            "must be a date from 1970 on, such as 2026-01-19",
        )),
    }
}

/// Reads a date (its first instant in UTC) or a date-time with its offset.
///
/// # Errors
/// When it is neither.
pub fn instant(field: &'static str, text: &str) -> Result<UnixMillis, InvalidField> {
    if text.len() == 10 {
        return date(field, text).map(UnixMillis::start_of);
    }
    match text.parse::<Timestamp>() {
        Ok(timestamp) if text.len() <= 64 && timestamp >= Timestamp::UNIX_EPOCH => {
            Ok(UnixMillis(timestamp.as_millisecond()))
        }
        _ => last_days_of_9999(text).ok_or_else(|| {
            InvalidField::new(
                field,
                "must be a date or a date-time with its offset, such as 2026-01-19T10:30:00Z",
            )
        }),
    }
}

/// `9999-12-31T23:59:59Z`, which many write for "never", lies beyond jiff's last instant.
fn last_days_of_9999(text: &str) -> Option<UnixMillis> {
    let local = text.strip_suffix(['Z', 'z']).filter(|text| text.len() <= 32)?;
    let at: DateTime = local.parse().ok().filter(|at: &DateTime| at.year() == 9999)?;
    let ms = i64::from(at.hour()) * 3_600_000
        + i64::from(at.minute()) * 60_000
        + i64::from(at.second()) * 1_000
        + i64::from(at.millisecond());
    Some(UnixMillis(UnixMillis::start_of(at.date()).0 + ms))
}

/// The first instant after a day: how the last day of a contract is stored.
#[must_use]
pub fn end_of(date: Date) -> UnixMillis {
    UnixMillis(UnixMillis::start_of(date).0.saturating_add(DAY_MS))
}

/// The day that ends at this instant: the reverse of [`end_of`].
#[must_use]
pub fn last_day(end: UnixMillis) -> Date {
    UnixMillis(end.0.saturating_sub(DAY_MS)).date()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contract_includes_its_last_day() {
        let last = date("contract_end", "2026-02-28").unwrap();
        assert_eq!(end_of(last).to_rfc3339_seconds(), "2026-03-01T00:00:00Z");
        assert_eq!(last_day(end_of(last)), last);
    }

    #[test]
    fn the_last_instant_of_9999_is_one() {
        let never = instant("expires_at", "9999-12-31T23:59:59.999Z").unwrap();
        assert_eq!(never.to_rfc3339_millis(), "9999-12-31T23:59:59.999Z");
        let last = date("contract_end", "9999-12-31").unwrap();
        assert_eq!(last_day(end_of(last)), last);
        assert!(instant("expires_at", "9999-12-31T24:00:00Z").is_err());
        assert!(instant("expires_at", "9999-12-32T00:00:00Z").is_err());
    }

    #[test]
    fn only_dates_and_instants_are_read() {
        for bad in [
            "",
            "2026-1-19",
            "2026-02-30",
            "19.01.2026",
            "2026-01-19T10:30:00",
            "1969-12-31",
            "tomorrow",
        ] {
            assert!(instant("expires_at", bad).is_err(), "{bad}");
        }
        assert!(date("contract_start", "2026-01-19T00:00:00Z").is_err());
        assert_eq!(
            instant("expires_at", "2026-01-19T10:30:00+01:00").unwrap(),
            instant("expires_at", "2026-01-19T09:30:00Z").unwrap()
        );
    }
}
