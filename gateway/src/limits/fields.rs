//! The rate headers of an answer: `X-RateLimit-*` and the IETF `RateLimit-Policy` / `RateLimit` fields
//! (draft-ietf-httpapi-ratelimit-headers).

use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue};
use keyward_contract::{Limits, UnixMillis};

use super::Which;
use super::bucket::Level;

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
    /// The bucket that is shown: the tighter one, or the one that refused.
    pub which: Which,
    /// Its level.
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
        let reset_ms = u64::try_from(now.0)
            .unwrap_or_default()
            .saturating_add(millis(self.reset_after));
        let mut value = |parts: &[&str]| {
            parts
                .iter()
                .for_each(|part| text.extend_from_slice(part.as_bytes()));
            // Digits and a fixed name are always a valid value.
            HeaderValue::from_maybe_shared(text.split().freeze()).unwrap_or(HeaderValue::from_static("0"))
        };
        let limit = value(&[number.format(self.level.limits.burst)]);
        let remaining = value(&[number.format(self.level.remaining())]);
        let reset = value(&[number.format(reset_ms.div_ceil(1_000))]);
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

/// `RateLimit-Policy` for calls under these limits: `q` the burst, `w` the seconds in which it refills.
#[must_use]
pub fn policy(account: Limits, customer: Option<Limits>, quota: Option<u64>) -> HeaderValue {
    let window = |limits: Limits| limits.burst.div_ceil(limits.rate.max(1)).max(1);
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
}
