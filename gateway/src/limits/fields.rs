//! The rate headers of an answer: `X-RateLimit-*` and the IETF `RateLimit-Policy` / `RateLimit` fields
//! (draft-ietf-httpapi-ratelimit-headers).

use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue};
use keyward_contract::{AccountRecord, Environment, Limits, QuotaPeriod, UnixMillis};

use super::Which;
use super::bucket::Level;
use crate::admission::Caller;

/// Bucket size.
pub const X_RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
/// Whole tokens left.
pub const X_RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
/// UNIX seconds.
pub const X_RATELIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
/// Which limits hold.
pub const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// How the tightest of them stands.
pub const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");

const SECONDS_OF_A_YEAR: u64 = 365 * 86_400;

/// How the limits stand, for the headers of one answer.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The limit that is shown: the tighter bucket, or what refused.
    pub which: Which,
    /// Its level. Of a route's bound on calls in flight: nothing, of so many.
    pub level: Level,
    /// `RateLimit-Policy`, made once per account.
    pub policy: HeaderValue,
    /// Until when: the bucket is full, or on a 429 the next token is there.
    pub reset_after: Duration,
}

impl Standing {
    /// Sets the five fields on an answer. The four values that are made anew share one allocation.
    pub fn write(&self, headers: &mut HeaderMap, now: UnixMillis) {
        let mut text = BytesMut::with_capacity(96);
        let mut number = itoa::Buffer::new();
        let mut value = |parts: &[&str]| {
            parts
                .iter()
                .for_each(|part| text.extend_from_slice(part.as_bytes()));
            // Digits and a fixed name are always a valid value.
            HeaderValue::from_maybe_shared(text.split().freeze()).unwrap_or(HeaderValue::from_static("0"))
        };
        let limit = value(&[number.format(self.level.limits.burst)]);
        let remaining = value(&[number.format(self.level.remaining())]);
        let reset = value(&[number.format(reset(now, self.reset_after))]);
        let mut seconds = itoa::Buffer::new();
        let seconds = seconds.format(millis(self.reset_after).div_ceil(1_000));
        let remaining_digits = number.format(self.level.remaining());
        let standing = value(&["\"", self.which.name(), "\";r=", remaining_digits, ";t=", seconds]);
        headers.insert(X_RATELIMIT_LIMIT, limit);
        headers.insert(X_RATELIMIT_REMAINING, remaining);
        headers.insert(X_RATELIMIT_RESET, reset);
        headers.insert(RATELIMIT_POLICY, self.policy.clone());
        headers.insert(RATELIMIT, standing);
    }
}

/// `RateLimit-Policy` of one account's calls, made once and not once a call: each without and with an end customer
/// that has the account's own limits.
#[derive(Debug)]
pub struct Policies {
    test: [HeaderValue; 2],
    production: [HeaderValue; 2],
    /// Production, in contract years with extra validations; mostly none, or one.
    granted: Box<[(QuotaPeriod, [HeaderValue; 2])]>,
}

impl Policies {
    /// For calls under an account's limits.
    #[must_use]
    pub fn new(record: &AccountRecord) -> Self {
        let both = |quota: Option<u64>| {
            [
                policy(record.limits, None, quota),
                policy(record.limits, Some(record.limits), quota),
            ]
        };
        let mut periods: Vec<_> = record
            .grants
            .iter()
            .map(|grant| QuotaPeriod::at(grant.at, record.contract.start))
            .collect();
        periods.sort_by_key(|period| period.start);
        periods.dedup();
        let granted = periods
            .into_iter()
            .map(|period| (period, both(Some(record.quota_in(period)))));
        Self {
            test: both(None),
            production: both(Some(record.annual_limit)),
            granted: granted.collect(),
        }
    }

    fn of(&self, environment: Environment, now: UnixMillis) -> &[HeaderValue; 2] {
        match environment {
            Environment::Test => &self.test,
            Environment::Production => self
                .granted
                .iter()
                .find(|(period, _)| period.start <= now && now < period.end)
                .map_or(&self.production, |(_, granted)| granted),
        }
    }
}

/// `RateLimit-Policy` of a caller's answers. Allocates only for an end customer with limits of its own.
#[must_use]
pub fn policy_of(caller: &Caller, now: UnixMillis) -> HeaderValue {
    let limits = caller.policy().record.limits;
    let [alone, with_customer] = caller.policy().policies.of(caller.environment(), now);
    match caller.customer_key().map(|key| key.customer_limits(limits)) {
        None => alone.clone(),
        Some(own) if own == limits => with_customer.clone(),
        Some(own) => {
            let is_metered = caller.environment() == Environment::Production;
            let record = &caller.policy().record;
            let quota = is_metered.then(|| record.quota_in(QuotaPeriod::at(now, record.contract.start)));
            policy(limits, Some(own), quota)
        }
    }
}

/// A `RateLimit-Policy` with the bound of a route on calls in flight beside it.
#[must_use]
pub fn with_in_flight(policy: &HeaderValue, bound: u32) -> HeaderValue {
    let text = format!(
        "{}, \"{}\";q={bound};qu=\"concurrent-requests\"",
        policy.to_str().unwrap_or_default(),
        Which::Route.name()
    );
    // Text of our own and digits are always a valid value.
    HeaderValue::from_str(&text).unwrap_or_else(|_| policy.clone())
}

/// `RateLimit-Policy` of a public route that bounds calls from one address.
#[must_use]
pub fn address_policy(limits: Limits) -> HeaderValue {
    let text = format!(
        "\"{}\";q={};w={}",
        Which::Address.name(),
        limits.burst,
        window(limits)
    );
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("\"route\";q=1;w=1"))
}

/// The seconds in which a bucket refills.
fn window(limits: Limits) -> u32 {
    limits.burst.div_ceil(limits.rate.max(1)).max(1)
}

/// `RateLimit-Policy` for calls under these limits: `q` the burst, `w` the seconds in which it refills.
#[must_use]
pub fn policy(account: Limits, customer: Option<Limits>, quota: Option<u64>) -> HeaderValue {
    let mut text = format!("\"account\";q={};w={}", account.burst, window(account));
    if let Some(customer) = customer {
        text.push_str(&format!(
            ", \"customer\";q={};w={}",
            customer.burst,
            window(customer)
        ));
    }
    if let Some(quota) = quota {
        text.push_str(&format!(", \"quota\";q={quota};w={SECONDS_OF_A_YEAR}"));
    }
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("\"account\";q=1;w=1"))
}

/// The UNIX second in which so much time will have passed.
#[must_use]
pub fn reset(now: UnixMillis, after: Duration) -> u64 {
    let now_ms = u64::try_from(now.0).unwrap_or_default();
    now_ms.saturating_add(millis(after)).div_ceil(1_000)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_say_what_the_bucket_says() {
        let limits = Limits {
            rate: 100,
            burst: 200,
        };
        let standing = Standing {
            which: Which::Account,
            level: Level {
                millitokens: 199_500,
                limits,
            },
            policy: policy(limits, Some(Limits { rate: 7, burst: 20 }), Some(10_000_000)),
            reset_after: Duration::from_millis(5),
        };
        let mut headers = HeaderMap::new();
        standing.write(&mut headers, UnixMillis(1_768_819_200_000));
        let text = |name: &HeaderName| headers[name].to_str().unwrap().to_owned();
        assert_eq!(text(&X_RATELIMIT_LIMIT), "200");
        assert_eq!(text(&X_RATELIMIT_REMAINING), "199");
        assert_eq!(text(&X_RATELIMIT_RESET), "1768819201");
        assert_eq!(text(&RATELIMIT), "\"account\";r=199;t=1");
        assert_eq!(
            text(&RATELIMIT_POLICY),
            "\"account\";q=200;w=2, \"customer\";q=20;w=3, \"quota\";q=10000000;w=31536000"
        );
    }

    #[test]
    fn a_granted_year_has_the_quota_that_is_enforced_in_it_and_the_next_has_not() {
        let mut record = record();
        let in_2026 = UnixMillis(1_768_819_200_000);
        let year = QuotaPeriod::at(in_2026, None);
        record.grants = [(in_2026, 10), (year.start, 5)]
            .map(|(at, validations)| keyward_contract::Grant { at, validations })
            .to_vec();
        let policies = Policies::new(&record);
        for (environment, now, expected) in [
            (Environment::Production, in_2026, ", \"quota\";q=1015;w=31536000"),
            (
                Environment::Production,
                year.start,
                ", \"quota\";q=1015;w=31536000",
            ),
            (Environment::Production, year.end, ", \"quota\";q=1000;w=31536000"),
            (Environment::Test, in_2026, ""),
        ] {
            let [alone, with_customer] = policies.of(environment, now);
            assert_eq!(
                alone.to_str().unwrap(),
                format!("\"account\";q=200;w=2{expected}")
            );
            assert_eq!(
                with_customer.to_str().unwrap(),
                format!("\"account\";q=200;w=2, \"customer\";q=200;w=2{expected}")
            );
        }
    }

    #[test]
    fn a_bound_on_calls_in_flight_stands_beside_the_other_policies() {
        let policy = with_in_flight(&HeaderValue::from_static("\"account\";q=200;w=2"), 7);
        assert_eq!(
            policy.to_str().unwrap(),
            "\"account\";q=200;w=2, \"route\";q=7;qu=\"concurrent-requests\""
        );
    }

    fn record() -> AccountRecord {
        AccountRecord {
            id: keyward_contract::AccountId::new(),
            status: keyward_contract::AccountStatus::Active,
            tier: "growth".into(),
            limits: Limits {
                rate: 100,
                burst: 200,
            },
            annual_limit: 1_000,
            contract: keyward_contract::Contract::default(),
            test_environment: keyward_contract::EnvironmentId::random().unwrap(),
            production_environment: keyward_contract::EnvironmentId::random().unwrap(),
            limit_mode: keyward_contract::LimitMode::Enforce,
            fallback: None,
            grants: Vec::new(),
        }
    }
}
