//! The rate headers of an answer: `X-RateLimit-*` and the IETF `RateLimit-Policy` / `RateLimit` fields
//! (draft-ietf-httpapi-ratelimit-headers).

use std::io::Write;
use std::time::Duration;

use arrayvec::ArrayVec;
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
    /// Sets the five fields on an answer.
    pub fn write(&self, headers: &mut HeaderMap, now: UnixMillis) {
        let mut number = itoa::Buffer::new();
        headers.insert(
            X_RATELIMIT_LIMIT,
            digits(&mut number, u64::from(self.level.limits.burst)),
        );
        headers.insert(X_RATELIMIT_REMAINING, digits(&mut number, self.level.remaining()));
        let reset_ms = u64::try_from(now.0)
            .unwrap_or_default()
            .saturating_add(millis(self.reset_after));
        headers.insert(X_RATELIMIT_RESET, digits(&mut number, reset_ms.div_ceil(1_000)));
        headers.insert(RATELIMIT_POLICY, self.policy.clone());
        headers.insert(RATELIMIT, self.ratelimit());
    }

    fn ratelimit(&self) -> HeaderValue {
        let mut text = ArrayVec::<u8, 80>::new();
        let seconds = millis(self.reset_after).div_ceil(1_000);
        // 80 bytes hold the longest name and two numbers of 20 digits.
        let _ = write!(
            text,
            "\"{}\";r={};t={}",
            self.which.name(),
            self.level.remaining(),
            seconds
        );
        HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("\"account\";r=0;t=1"))
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

fn digits(buffer: &mut itoa::Buffer, number: u64) -> HeaderValue {
    // A number's digits are always a valid value.
    HeaderValue::from_str(buffer.format(number)).unwrap_or(HeaderValue::from_static("0"))
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
