//! What a record takes away of what is held, and nothing that it gives.
//!
//! For when records come that must not be put in force as they are: the keys of a snapshot that waits for
//! confirmation, and what changes after it. Of every field the stricter value holds: a key that is dead in either
//! is dead, the earlier end and the lower limit count. What a record says of a key or account that is not held says
//! nothing here. Pure; no I/O.

use keyward_contract::{
    AccountRecord, AccountStatus, AddressList, KeyRecord, KeyState, LimitMode, Limits, UnixMillis,
};

/// The held key with what `news` takes away of it; `None`: nothing.
pub(super) fn key(held: &KeyRecord, news: &KeyRecord) -> Option<KeyRecord> {
    let mut strict = held.clone();
    strict.state = worse_state(held.state, news.state);
    let is_another =
        (held.account, held.environment, held.customer) != (news.account, news.environment, news.customer);
    if is_another {
        strict.state = worse_state(strict.state, KeyState::Disabled);
    }
    strict.expires_at = earlier(held.expires_at, news.expires_at);
    strict.customer_limits = match (held.customer_limits, news.customer_limits) {
        (Some(held), Some(news)) => Some(lower(held, news)),
        (held, news) => held.or(news),
    };
    match narrower(held.allowed_ips.as_ref(), news.allowed_ips.as_ref()) {
        Ok(list) => strict.allowed_ips = list,
        // An empty list can't be said; a key that nobody may use can.
        Err(Nobody) => strict.state = worse_state(strict.state, KeyState::Disabled),
    }
    (strict != *held).then_some(strict)
}

/// The held account with what `news` takes away of it; `None`: nothing.
pub(super) fn account(held: &AccountRecord, news: &AccountRecord) -> Option<AccountRecord> {
    let mut strict = held.clone();
    strict.status = worse_status(held.status, news.status);
    strict.limits = lower(held.limits, news.limits);
    strict.annual_limit = held.annual_limit.min(news.annual_limit);
    strict.contract.start = held.contract.start.max(news.contract.start);
    strict.contract.end = earlier(held.contract.end, news.contract.end);
    if news.limit_mode == LimitMode::Enforce {
        strict.limit_mode = LimitMode::Enforce;
    }
    (strict != *held).then_some(strict)
}

fn worse_state(one: KeyState, other: KeyState) -> KeyState {
    let badness = |state| match state {
        KeyState::Active => 0,
        KeyState::Disabled => 1,
        KeyState::Revoked => 2,
        KeyState::Deleted => 3,
    };
    if badness(other) > badness(one) { other } else { one }
}

fn worse_status(one: AccountStatus, other: AccountStatus) -> AccountStatus {
    let badness = |status| match status {
        AccountStatus::Active => 0,
        AccountStatus::Suspended => 1,
        AccountStatus::Cancelled => 2,
    };
    if badness(other) > badness(one) { other } else { one }
}

fn earlier(one: Option<UnixMillis>, other: Option<UnixMillis>) -> Option<UnixMillis> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn lower(one: Limits, other: Limits) -> Limits {
    Limits {
        rate: one.rate.min(other.rate),
        burst: one.burst.min(other.burst),
    }
}

/// No address is in both lists.
struct Nobody;

fn narrower(one: Option<&AddressList>, other: Option<&AddressList>) -> Result<Option<AddressList>, Nobody> {
    match (one, other) {
        (Some(one), Some(other)) if one != other => one.in_both(other).map(Some).ok_or(Nobody),
        (one, other) => Ok(one.or(other).cloned()),
    }
}

#[cfg(test)]
mod tests {
    use keyward_contract::{
        AccountId, Contract, Environment, EnvironmentId, KeyDigest, KeyId, LimitMode, UnixMillis,
    };
    use proptest::prelude::*;

    use super::*;

    fn limits() -> impl Strategy<Value = Limits> {
        (1..4u32, 1..4u32).prop_map(|(rate, burst)| Limits { rate, burst })
    }

    fn instant() -> impl Strategy<Value = Option<UnixMillis>> {
        proptest::option::of((0..4i64).prop_map(UnixMillis))
    }

    fn state() -> impl Strategy<Value = KeyState> {
        use KeyState::{Active, Deleted, Disabled, Revoked};
        proptest::sample::select(vec![Active, Disabled, Revoked, Deleted])
    }

    fn list() -> impl Strategy<Value = Option<AddressList>> {
        let blocks = [
            "192.0.2.0/24",
            "192.0.2.0/25",
            "192.0.2.7",
            "198.51.100.0/24",
            "2001:db8::/32",
        ];
        let list = proptest::collection::vec(proptest::sample::select(blocks.to_vec()), 1..4);
        proptest::option::of(list.prop_map(|blocks| AddressList::parse(&blocks).unwrap()))
    }

    fn key_record() -> impl Strategy<Value = KeyRecord> {
        (state(), instant(), list(), proptest::option::of(limits())).prop_map(
            |(state, expires_at, allowed_ips, customer_limits)| KeyRecord {
                digest: KeyDigest::from_bytes([1; 32]),
                id: KeyId::from_slice(&[2; 16]).unwrap(),
                account: AccountId::from_slice(&[3; 16]).unwrap(),
                environment: Environment::Production,
                customer: None,
                state,
                expires_at,
                allowed_ips,
                api_version: String::new(),
                rotated_at: None,
                customer_limits,
            },
        )
    }

    fn account_record() -> impl Strategy<Value = AccountRecord> {
        use AccountStatus::{Active, Cancelled, Suspended};
        let status = proptest::sample::select(vec![Active, Suspended, Cancelled]);
        let mode = proptest::sample::select(vec![LimitMode::Enforce, LimitMode::Shadow]);
        (status, limits(), 1..4u64, instant(), instant(), mode).prop_map(
            |(status, limits, annual_limit, start, end, limit_mode)| AccountRecord {
                id: AccountId::from_slice(&[3; 16]).unwrap(),
                status,
                tier: "growth".into(),
                limits,
                annual_limit,
                contract: Contract { start, end },
                test_environment: EnvironmentId::from_slice(&[4; 8]).unwrap(),
                production_environment: EnvironmentId::from_slice(&[5; 8]).unwrap(),
                limit_mode,
                fallback: None,
                grants: Vec::new(),
            },
        )
    }

    fn may(key: &KeyRecord, at: UnixMillis, from: &str) -> bool {
        key.state == KeyState::Active
            && key.expires_at.is_none_or(|end| at < end)
            && key
                .allowed_ips
                .as_ref()
                .is_none_or(|list| list.allows(from.parse().unwrap()))
    }

    proptest! {
        #[test]
        fn a_key_may_afterwards_what_it_may_by_both(held in key_record(), news in key_record()) {
            let strict = key(&held, &news).unwrap_or_else(|| held.clone());
            for at in (0..5).map(UnixMillis) {
                for from in ["192.0.2.7", "192.0.2.8", "192.0.2.200", "198.51.100.1", "2001:db8::1", "203.0.113.9"] {
                    prop_assert_eq!(may(&strict, at, from), may(&held, at, from) && may(&news, at, from));
                }
            }
            // What was taken away is not taken away again.
            prop_assert_eq!(key(&strict, &news), None);
        }

        #[test]
        fn an_account_may_afterwards_what_it_may_by_both(held in account_record(), news in account_record()) {
            let strict = account(&held, &news).unwrap_or_else(|| held.clone());
            let may = |account: &AccountRecord, at| {
                account.status == AccountStatus::Active && account.contract.holds_at(at)
            };
            for at in (-1..5).map(UnixMillis) {
                prop_assert_eq!(may(&strict, at), may(&held, at) && may(&news, at));
            }
            prop_assert!(strict.limits.rate <= news.limits.rate && strict.limits.burst <= held.limits.burst);
            prop_assert!(strict.annual_limit == held.annual_limit.min(news.annual_limit));
            prop_assert_eq!(account(&strict, &news), None);
        }
    }

    #[test]
    fn a_digest_that_is_another_accounts_by_now_is_nobodys() {
        let held = KeyRecord {
            digest: KeyDigest::from_bytes([1; 32]),
            id: KeyId::new(),
            account: AccountId::new(),
            environment: Environment::Test,
            customer: None,
            state: KeyState::Active,
            expires_at: None,
            allowed_ips: None,
            api_version: String::new(),
            rotated_at: None,
            customer_limits: None,
        };
        let news = KeyRecord {
            account: AccountId::new(),
            ..held.clone()
        };
        assert_eq!(key(&held, &news).unwrap().state, KeyState::Disabled);
    }
}
