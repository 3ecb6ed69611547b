//! `limiter`: where the token buckets are. None of its settings is read and not heeded: those that belong to Redis are
//! wrong where no Redis is asked.

use std::time::Duration;

use crate::gateway::{Limiter, SharedLimiter, Taking};
use crate::leaf::unit::Time;
use crate::leaf::word::{Fallback, LimiterMode};
use crate::redis::RedisConfig;
use crate::report::Report;
use crate::typed;

const REDIS: &str = "limiter.redis";
/// Redis on one's own network answers in well under a millisecond; a call should not notice one that doesn't.
const USUAL: Time = Time::ms(5);
const A_SECOND: Time = Time::seconds(1);

/// A gateway's.
pub(crate) fn limiter(typed: typed::gateway::Limiter, report: &mut Report<'_>) -> Limiter {
    let taking = match (typed.mode, &typed.redis) {
        (Some(LimiterMode::Local), _) => {
            let why = "mode = \"local\" has them in this process; remove this, or the mode";
            refuse_all(why, given(&typed), report);
            return Limiter::Local;
        }
        (None, None) => {
            let why = "there is no limiter.redis; write it too, or remove this";
            refuse_all(why, given(&typed), report);
            return Limiter::Local;
        }
        (Some(LimiterMode::Exact), _) => Taking::Exact,
        (Some(LimiterMode::Leased) | None, _) => Taking::Leased,
    };
    let (timeout, max_wait) = waits(&typed, taking, report);
    let Some(redis) = typed.redis else {
        report.missing(
            REDIS,
            "is missing, and buckets that gateways share are there; write one such as \"redis://127.0.0.1:6379\", or \
             mode = \"local\"",
        );
        return Limiter::Local;
    };
    Limiter::Shared(SharedLimiter {
        taking,
        redis: redis.with_credentials(typed.redis_username, typed.redis_password_file),
        fallback: typed.fallback.unwrap_or(Fallback::Share).into(),
        timeout,
        max_wait,
    })
}

/// A control plane's: it only looks.
pub(crate) fn redis(typed: typed::control_plane::Limiter, report: &mut Report<'_>) -> Option<RedisConfig> {
    if let Some(redis) = typed.redis {
        return Some(redis.with_credentials(typed.redis_username, typed.redis_password_file));
    }
    let given = [
        ("redis_username", typed.redis_username.is_some()),
        ("redis_password_file", typed.redis_password_file.is_some()),
    ];
    let why = "there is no limiter.redis; write it too, or remove this";
    refuse_all(why, given, report);
    None
}

/// The settings that mean something with Redis alone, and whether they are there.
fn given(typed: &typed::gateway::Limiter) -> [(&'static str, bool); 6] {
    [
        ("redis", typed.redis.is_some()),
        ("redis_username", typed.redis_username.is_some()),
        ("redis_password_file", typed.redis_password_file.is_some()),
        ("fallback", typed.fallback.is_some()),
        ("timeout", typed.timeout.is_some()),
        ("max_wait", typed.max_wait.is_some()),
    ]
}

fn refuse_all<const N: usize>(why: &str, given: [(&str, bool); N], report: &mut Report<'_>) {
    // One mistake has one message: an address that is wrong itself is not missed here.
    if report.was_cut(REDIS) {
        return;
    }
    for (key, _) in given.iter().filter(|(_, is_there)| *is_there) {
        report.wrong(
            &format!("limiter.{key}"),
            format!("is for buckets in Redis, and {why}"),
        );
    }
}

/// `timeout` and `max_wait`.
fn waits(typed: &typed::gateway::Limiter, taking: Taking, report: &mut Report<'_>) -> (Duration, Duration) {
    let timeout = typed.timeout.unwrap_or(USUAL);
    report.within("limiter.timeout", timeout, Time::ms(1)..=A_SECOND);
    let max_wait = typed.max_wait.unwrap_or(USUAL);
    if taking == Taking::Exact && max_wait == Time::ms(0) {
        report.wrong(
            "limiter.max_wait",
            "is nothing, and mode = \"exact\" asks Redis for every call; write at least 1ms",
        );
    }
    report.within("limiter.max_wait", max_wait, Time::ms(0)..=A_SECOND);
    (timeout.0, max_wait.0)
}
