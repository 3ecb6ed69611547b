//! `GET /.well-known/keyward/me`: what the holder of a key may know of it.
//!
//! Asked with the usual credentials, in any of their three forms, on the listener that partners call; it goes before
//! every route. It is refused like a call that lacks rights, and never for a limit: it takes no token and no
//! validation and is counted as none. The numbers are read from what enforces them. Keys are looked up in this
//! process alone, so that asking costs about as much as being refused; the answer is built anew each time.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Response};
use keyward_config::Require;
use keyward_contract::{Environment, UnixMillis};
use serde_json::{Value, json};

use crate::admission::Caller;
use crate::clock::Now;
use crate::credential::Presented;
use crate::head::Parsed;
use crate::keys::KeyEntry;
use crate::limits::bucket::Level;
use crate::limits::quota::QuotaLevel;
use crate::limits::{Levels, Which, fields};
use crate::rejection::Rejection;

/// Where it is asked for, on every host.
pub const PATH: &str = "/.well-known/keyward/me";

/// Whether a call asks for it.
#[must_use]
pub fn is_asked(parsed: &Parsed<'_>) -> bool {
    parsed.path.as_str() == PATH
}

/// It is there to be read.
///
/// # Errors
/// `MethodNotAllowed` for everything but GET and HEAD.
pub fn check_method(method: &Method) -> Result<(), Rejection> {
    match *method {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(Rejection::MethodNotAllowed(HeaderValue::from_static("GET, HEAD"))),
    }
}

/// What must be good of the credentials that were sent: all of them. Without any it is an account key that is missing.
#[must_use]
pub fn required_of(presented: &Presented<'_>) -> Require {
    match (presented.account(), presented.customer()) {
        (Some(_), Some(_)) => Require::Customer,
        (None, Some(_)) => Require::CustomerOnly,
        (Some(_) | None, None) => Require::Account,
    }
}

/// The answer, without the headers that every answer carries.
#[must_use]
pub fn response(caller: &Caller, levels: Levels, now: Now) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(describe(caller, &levels, now).to_string()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn describe(caller: &Caller, levels: &Levels, now: Now) -> Value {
    let record = &caller.policy().record;
    let environment = caller.environment();
    let key = caller.key();
    let api_version = Some(key.record.api_version.as_str()).filter(|version| !version.is_empty());
    json!({
        "account": { "id": record.id },
        "environment": {
            "kind": match environment {
                Environment::Test => "test",
                Environment::Production => "production",
            },
            "id": record.environment_id(environment),
        },
        "key": describe_key(key),
        "customer": caller.customer().map(|customer| json!({
            "id": customer.id,
            "key": caller.customer_key().map(describe_key),
        })),
        "tier": record.tier,
        "apiVersion": api_version,
        "limits": limits(levels, now),
        "quota": levels.quota.as_ref().map(quota),
    })
}

fn describe_key(key: &KeyEntry) -> Value {
    let time = UnixMillis::to_rfc3339_millis;
    let record = &key.record;
    json!({
        "id": record.id,
        "expiresAt": record.expires_at.map(time),
        "rotation": record.rotated_at.map(|since| json!({
            "since": time(since),
            "endsAt": record.expires_at.map(time),
        })),
    })
}

/// The account's bucket, and the end customer's when there is one.
fn limits(levels: &Levels, now: Now) -> Vec<Value> {
    let account = std::iter::once((Which::Account, levels.account));
    account
        .chain(levels.customer.map(|level| (Which::Customer, level)))
        .map(|(which, level)| limit(which, level, now))
        .collect()
}

fn limit(which: Which, level: Level, now: Now) -> Value {
    json!({
        "limit": which.name(),
        "ratePerSecond": level.limits.rate,
        "burst": level.limits.burst,
        "remaining": level.remaining(),
        "reset": fields::reset(now.unix, level.until_full()),
    })
}

fn quota(level: &QuotaLevel) -> Value {
    json!({
        "limit": level.limit,
        "used": level.used,
        "remaining": level.remaining(),
        "resetsAt": level.resets_at.to_rfc3339_millis(),
    })
}
