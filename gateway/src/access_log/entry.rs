//! What one line says, and how it is written.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use keyward_contract::{AccountId, CustomerId, Environment, KeyId, UnixMillis};
use serde::Serialize;

/// One logged call.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When its head was read.
    pub time: UnixMillis,
    /// Its id, as the answer carries it.
    pub request_id: String,
    /// Its method.
    pub method: http::Method,
    /// Its authority.
    pub host: String,
    /// Its normalised path without query; empty where it has no safe interpretation.
    pub path: String,
    /// The route that took it.
    pub route: Option<Arc<str>>,
    /// The status that the client got; 499 where it did not wait.
    pub status: u16,
    /// `accepted`, or the code of the refusal.
    pub code: &'static str,
    /// The limit in shadow mode that would have refused it.
    pub would_limit: Option<&'static str>,
    /// The account, where it was identified; the following likewise.
    pub account: Option<AccountId>,
    /// The environment.
    pub environment: Option<Environment>,
    /// The key's id; never the key.
    pub key_id: Option<KeyId>,
    /// The end customer.
    pub customer: Option<CustomerId>,
    /// The client's address.
    pub client: IpAddr,
    /// Where it was asked about, if somebody else forwards it: then method, host and path are what that one said.
    pub endpoint: Option<&'static str>,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    /// From the end of the head to the end of the answer.
    pub duration: Duration,
    /// The part of it that was waiting for the upstream; `None` where it was not forwarded.
    pub upstream_time: Option<Duration>,
}

/// The line, in the order of its fields. Fields without a value are null: every line has the same ones.
#[derive(Serialize)]
struct Line<'e> {
    time: String,
    request_id: Cow<'e, str>,
    method: Cow<'e, str>,
    host: Cow<'e, str>,
    path: Cow<'e, str>,
    route: Option<&'e str>,
    status: u16,
    code: &'static str,
    #[serde(rename = "wouldLimit")]
    would_limit: Option<&'static str>,
    account: Option<AccountId>,
    environment: Option<Environment>,
    key_id: Option<KeyId>,
    customer: Option<CustomerId>,
    client: IpAddr,
    endpoint: Option<&'static str>,
    bytes_in: u64,
    bytes_out: u64,
    duration_us: u64,
    upstream_us: Option<u64>,
}

impl Entry {
    /// Appends the line, newline included.
    pub(super) fn write(&self, lines: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        let path = self.path.split(['?', '#']).next().unwrap_or_default();
        let line = Line {
            time: self.time.to_rfc3339_millis(),
            request_id: masked(&self.request_id),
            method: masked(self.method.as_str()),
            host: masked(&self.host),
            path: masked(path),
            route: self.route.as_deref(),
            status: self.status,
            code: self.code,
            would_limit: self.would_limit,
            account: self.account,
            environment: self.environment,
            key_id: self.key_id,
            customer: self.customer,
            client: self.client,
            endpoint: self.endpoint,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            duration_us: microseconds(self.duration),
            upstream_us: self.upstream_time.map(microseconds),
        };
        serde_json::to_writer(&mut *lines, &line)?;
        lines.push(b'\n');
        Ok(())
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// How keys begin, in the order in which they are looked for.
const KEY_BEGINNINGS: [&str; 6] = ["pk_live_", "pk_test_", "ck_live_", "ck_test_", "ak_", "gw_"];
/// Shorter runs are no key, nor enough of one to be of use to anybody.
const SHORTEST_SECRET: usize = 20;

/// The text with whatever looks like a key cut down to its beginning. Case is ignored: hosts are often lowered.
fn masked(text: &str) -> Cow<'_, str> {
    let mut masked = Cow::Borrowed(text);
    if !text.contains('_') {
        return masked;
    }
    for beginning in KEY_BEGINNINGS {
        if let Some(safe) = without_keys(&masked, beginning) {
            masked = Cow::Owned(safe);
        }
    }
    masked
}

fn without_keys(text: &str, beginning: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let mut safe = String::new();
    let mut copied = 0;
    for (at, _) in lower.match_indices(beginning) {
        let secret = at.saturating_add(beginning.len());
        let rest = text.get(secret..)?;
        let length = rest.bytes().take_while(u8::is_ascii_alphanumeric).count();
        if secret >= copied && length >= SHORTEST_SECRET {
            safe.push_str(text.get(copied..secret)?);
            safe.push_str("***");
            copied = secret.saturating_add(length);
        }
    }
    if copied == 0 {
        return None;
    }
    safe.push_str(text.get(copied..)?);
    Some(safe)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "0123456789abcdefghijABCDEFGHIJ0123456789";

    #[test]
    fn what_looks_like_a_key_is_masked_wherever_it_stands() {
        for (text, expected) in [
            (format!("/v1/pk_live_{SECRET}"), "/v1/pk_live_***"),
            (format!("ck_test_{SECRET}.example.com"), "ck_test_***.example.com"),
            (format!("PK_LIVE_{SECRET}"), "PK_LIVE_***"),
            (format!("ak_{SECRET}"), "ak_***"),
            (format!("gw_{SECRET}"), "gw_***"),
            (
                format!("/pk_live_{SECRET}/ak_{SECRET}/x"),
                "/pk_live_***/ak_***/x",
            ),
            (
                format!("pk_test_{SECRET}-ck_live_{SECRET}"),
                "pk_test_***-ck_live_***",
            ),
            ("/v1/pk_live_short".to_owned(), "/v1/pk_live_short"),
            ("/break_things".to_owned(), "/break_things"),
        ] {
            assert_eq!(masked(&text), expected);
        }
    }

    proptest! {
        #[test]
        fn no_key_survives_in_any_surroundings(
            before in "\\PC{0,20}", kind in prop::sample::select(KEY_BEGINNINGS.to_vec()), secret in "[0-9A-Za-z]{38}",
            after in "\\PC{0,20}"
        ) {
            let text = format!("{before}{kind}{secret}{after}");
            let masked = masked(&text);
            prop_assert!(!masked.contains(&secret), "{} in {}", secret, masked);
        }
    }
}
