//! Extra validations that an operator grants to an account, for one contract year.

use keyward_contract::{AccountId, Grant, QuotaPeriod, UnixMillis};
use uuid::Uuid;

use super::text::Name;

/// The most validations that one grant gives.
pub const MAX_GRANTED: u64 = 1_000_000_000_000;
/// The longest reason, in characters.
pub const MAX_REASON: usize = 200;
/// As many grants an account may have in one contract year.
pub const MAX_GRANTS_A_PERIOD: i64 = 1_000;

const LONGEST_YEAR_MS: i64 = 366 * 86_400_000;

/// A grant. It is never changed and never taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaGrant {
    /// Its id.
    pub id: Uuid,
    /// Whose.
    pub account: AccountId,
    /// It counts in the contract year that this lies in.
    pub at: UnixMillis,
    /// How many.
    pub validations: u64,
    /// Why, in the operator's words.
    pub reason: Option<Name>,
    /// When it was made.
    pub created_at: UnixMillis,
    /// Who made it: the id of an admin key.
    pub created_by: String,
}

impl QuotaGrant {
    /// The instant of a grant that is made now: of an account whose contract has not begun, the contract's first one.
    #[must_use]
    pub fn instant(now: UnixMillis, contract_start: Option<UnixMillis>) -> UnixMillis {
        now.max(QuotaPeriod::at(now, contract_start).start)
    }

    /// The year that it counts in. One from before a contract that was moved to later counts in none of its years:
    /// it is shown in the calendar's.
    #[must_use]
    pub fn period(&self, contract_start: Option<UnixMillis>) -> QuotaPeriod {
        let period = QuotaPeriod::at(self.at, contract_start);
        if self.at < period.start {
            return QuotaPeriod::at(self.at, None);
        }
        period
    }
}

/// No contract year that runs now has begun before this.
#[must_use]
pub fn earliest_told(now: UnixMillis) -> UnixMillis {
    UnixMillis(now.0.saturating_sub(LONGEST_YEAR_MS))
}

/// Those of an account's grants that gateways are told of: of the running contract year and later.
#[must_use]
pub fn told(mut grants: Vec<Grant>, now: UnixMillis, contract_start: Option<UnixMillis>) -> Vec<Grant> {
    let from = QuotaPeriod::at(now, contract_start).start;
    grants.retain(|grant| from <= grant.at);
    grants
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn grant(at: UnixMillis) -> QuotaGrant {
        QuotaGrant {
            id: Uuid::nil(),
            account: AccountId::new(),
            at,
            validations: 1,
            reason: None,
            created_at: at,
            created_by: "test".into(),
        }
    }

    proptest! {
        /// Also before its contract has begun, and whatever its contract is.
        #[test]
        fn a_grant_counts_in_the_year_that_runs_when_it_is_made(
            now in 0i64..4_000_000_000_000, start in proptest::option::of(0i64..4_000_000_000_000),
        ) {
            let (now, start) = (UnixMillis(now), start.map(UnixMillis));
            let running = QuotaPeriod::at(now, start);
            let at = QuotaGrant::instant(now, start);
            prop_assert!(running.start <= at && at < running.end);
            prop_assert_eq!(grant(at).period(start), running);
            prop_assert!(earliest_told(now) <= at);
            let told = told(vec![Grant { at, validations: 1 }], now, start);
            prop_assert_eq!(told.len(), 1);
        }

        #[test]
        fn a_grant_is_shown_in_a_year_that_it_lies_in(
            at in 0i64..4_000_000_000_000, start in proptest::option::of(0i64..4_000_000_000_000),
        ) {
            let period = grant(UnixMillis(at)).period(start.map(UnixMillis));
            prop_assert!(period.start.0 <= at && at < period.end.0);
        }
    }
}
