//! Which API version a key is pinned to, and when it may go back. Versions are dates, so that their order is that
//! of their texts.

use std::time::Duration;

use keyward_contract::UnixMillis;

use super::key::ApiVersionPin;
use super::moment;
use super::refusal::{Conflict, InvalidField};

/// Finds a version as it was typed among those that there are.
///
/// # Errors
/// When it is no date, or none of them.
pub fn known<'a>(field: &'static str, typed: &str, versions: &'a [String]) -> Result<&'a str, InvalidField> {
    let is_digit_or_dash = |byte: u8| byte.is_ascii_digit() || byte == b'-';
    if !typed.bytes().all(is_digit_or_dash) || moment::date(field, typed).is_err() {
        return Err(InvalidField::new(field, "must be a date such as 2026-11-01"));
    }
    versions
        .iter()
        .find(|version| *version == typed)
        .map(String::as_str)
        .ok_or_else(|| {
            let reason = format!(
                "must be one of the versions that there are: {}",
                versions.join(", ")
            );
            InvalidField::new(field, reason)
        })
}

impl ApiVersionPin {
    /// Moves to another version. Every move opens the window anew in which the key may go lower; a key that was
    /// never moved has no window and may. Says whether it was a move at all.
    ///
    /// # Errors
    /// When it would go lower after its window.
    pub fn move_to(&mut self, version: &str, now: UnixMillis, window: Duration) -> Result<bool, Conflict> {
        if self.version == version {
            return Ok(false);
        }
        let is_lower = version < self.version.as_str();
        if is_lower && self.no_downgrade_after.is_some_and(|end| now > end) {
            return Err(Conflict::VersionSettled);
        }
        let window_ms = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        version.clone_into(&mut self.version);
        self.changed_at = now;
        self.no_downgrade_after = Some(UnixMillis(now.0.saturating_add(window_ms)));
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    #[track_caller]
    fn check(typed: &str, expected: Option<&str>) {
        let versions = ["2026-11-01".to_owned(), "2027-02-01".to_owned()];
        assert_eq!(known("apiVersion", typed, &versions).ok(), expected, "{typed}");
    }

    #[test]
    fn a_version_is_one_of_those_that_there_are() {
        check("2026-11-01", Some("2026-11-01"));
        for bad in [
            "",
            "2026-11-02",
            "2026-02-30",
            "2026-13-01",
            "0000-00-00",
            "2026-1-1",
            "+026-11-01",
            " 2026-11-01",
            "2026-11-01 ",
            "2026-11-01T00:00:00Z",
            "20261101",
            "２026-11-01",
        ] {
            check(bad, None);
        }
    }

    fn pin() -> ApiVersionPin {
        ApiVersionPin {
            version: "2026-11-01".into(),
            changed_at: UnixMillis(0),
            no_downgrade_after: None,
        }
    }

    #[test]
    fn a_key_goes_lower_until_its_window_ends_and_not_after() {
        let mut pin = pin();
        assert_eq!(pin.move_to("2027-02-01", UnixMillis(1_000), WINDOW), Ok(true));
        assert_eq!(pin.no_downgrade_after, Some(UnixMillis(11_000)));
        let mut late = pin.clone();
        assert_eq!(
            late.move_to("2026-11-01", UnixMillis(11_001), WINDOW),
            Err(Conflict::VersionSettled)
        );
        assert_eq!(late, pin);
        assert_eq!(pin.move_to("2026-11-01", UnixMillis(11_000), WINDOW), Ok(true));
        assert_eq!(pin.changed_at, UnixMillis(11_000));
    }

    #[test]
    fn going_up_is_always_possible_and_opens_the_window_anew() {
        let mut pin = pin();
        assert_eq!(pin.move_to("2027-02-01", UnixMillis(1_000), WINDOW), Ok(true));
        assert_eq!(pin.move_to("2027-05-01", UnixMillis(90_000), WINDOW), Ok(true));
        assert_eq!(pin.no_downgrade_after, Some(UnixMillis(100_000)));
        assert_eq!(pin.move_to("2026-11-01", UnixMillis(99_000), WINDOW), Ok(true));
    }

    #[test]
    fn staying_is_no_change_and_a_key_that_never_moved_may_go_lower() {
        let mut same = pin();
        assert_eq!(same.move_to("2026-11-01", UnixMillis(9), WINDOW), Ok(false));
        assert_eq!(same, pin());
        assert_eq!(same.move_to("2025-01-01", UnixMillis(9), Duration::MAX), Ok(true));
        assert_eq!(same.no_downgrade_after, Some(UnixMillis(i64::MAX)));
    }
}
