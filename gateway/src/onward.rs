//! The head that goes on to the upstream, and the one that comes back.
//!
//! Order (never another): drop hop-by-hop fields with everything nominated in `Connection`, drop forged and
//! forwarded fields, then set ours. A nomination can't remove what we set, because ours come last, nor `Host`,
//! the framing or the credentials. Names are compared after mapping `_` and `.` to `-`, because CGI, WSGI and
//! PHP upstreams fold them so. One pass over the names; allocates for three values.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use arrayvec::{ArrayString, ArrayVec};
use http::header::{CONNECTION, CONTENT_LENGTH, FORWARDED, HOST, TRANSFER_ENCODING, VIA};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::admission::Caller;
use crate::credential::CredentialNames;

/// The id of a call, on the request to the upstream and on every answer.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const ACCOUNT: HeaderName = HeaderName::from_static("keyward-account");
const ENVIRONMENT: HeaderName = HeaderName::from_static("keyward-environment");
const KEY_ID: HeaderName = HeaderName::from_static("keyward-key-id");
const CUSTOMER: HeaderName = HeaderName::from_static("keyward-customer");
const TIER: HeaderName = HeaderName::from_static("keyward-tier");
const API_VERSION: HeaderName = HeaderName::from_static("keyward-api-version");

/// `Via`, towards both sides.
pub const VIA_KEYWARD: HeaderValue = HeaderValue::from_static("1.1 keyward");
const HTTP: HeaderValue = HeaderValue::from_static("http");

/// Where a call came from.
#[derive(Debug)]
pub struct Origin<'a> {
    /// The peer's address.
    pub peer: IpAddr,
    /// The peer's address as `X-Forwarded-For` has it, made once per connection.
    pub peer_field: &'a HeaderValue,
    /// Whether what the peer says of the client is believed.
    pub trust: Trust,
}

/// Whether a peer is in `trusted_proxies`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Its forwarded fields are kept and it is appended.
    Trusted,
    /// Its forwarded fields are dropped and written anew.
    Untrusted,
}

/// Makes the head of the forwarded request out of the client's.
pub fn request(
    headers: &mut HeaderMap,
    origin: &Origin<'_>,
    caller: Option<&Caller>,
    credentials: Option<&CredentialNames>,
    request_id: &HeaderValue,
) {
    drop_fields(headers, credentials, origin.trust);
    headers.reserve(14);
    set_forwarded(headers, origin);
    headers.append(VIA, VIA_KEYWARD);
    headers.insert(X_REQUEST_ID, request_id.clone());
    if !headers.get(TRACEPARENT).is_some_and(is_traceparent) {
        headers.insert(TRACEPARENT, new_traceparent());
    }
    if let Some(caller) = caller {
        let policy = caller.policy();
        headers.insert(ACCOUNT, policy.account_header.clone());
        headers.insert(ENVIRONMENT, policy.environment_header(caller.environment()).clone());
        headers.insert(KEY_ID, caller.key().key_id_header.clone());
        headers.insert(TIER, policy.tier_header.clone());
        if let Some(customer) = caller.customer() {
            headers.insert(CUSTOMER, customer.header.clone());
        }
        if let Some(version) = &caller.key().api_version_header {
            headers.insert(API_VERSION, version.clone());
        }
    }
}

/// Takes from an upstream's answer what is not the client's: hop-by-hop fields and forgeries of ours.
pub fn response(headers: &mut HeaderMap) {
    let mut dropped = Dropped::new();
    nominated(headers, &mut dropped);
    for name in headers.keys() {
        let text = name.as_str();
        let is_ours = text.starts_with("keyward-")
            || text.starts_with("x-ratelimit-")
            || text.starts_with("ratelimit")
            || *name == X_REQUEST_ID;
        // Content-Length and Transfer-Encoding: the framing is written anew from the body itself.
        if is_hop_by_hop(text) || is_ours {
            dropped.push(name.clone());
        }
    }
    dropped.remove_from(headers);
}

/// Tells the holder of a key in its rotation grace that it ends, and when (RFC 9745, RFC 8594).
pub fn rotation(headers: &mut HeaderMap, caller: &Caller) {
    let keys = [Some(caller.key()), caller.customer_key()];
    let Some(key) = keys.into_iter().flatten().find(|key| key.record.rotated_at.is_some()) else { return };
    if let Some(rotated_at) = key.record.rotated_at
        && let Ok(value) = HeaderValue::from_str(&format!("@{}", rotated_at.0.div_euclid(1_000)))
    {
        headers.insert(HeaderName::from_static("deprecation"), value);
    }
    if let Some(end) = key.record.expires_at.and_then(|end| u64::try_from(end.0).ok())
        && let Some(end) = std::time::SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(end))
        && let Ok(value) = HeaderValue::from_str(&httpdate::fmt_http_date(end))
    {
        headers.insert(HeaderName::from_static("sunset"), value);
    }
}

/// Names to be removed; few calls have more than eight.
struct Dropped {
    few: ArrayVec<HeaderName, 8>,
    more: Vec<HeaderName>,
}

impl Dropped {
    fn new() -> Self {
        Self { few: ArrayVec::new(), more: Vec::new() }
    }

    fn push(&mut self, name: HeaderName) {
        if let Err(full) = self.few.try_push(name) {
            self.more.push(full.element());
        }
    }

    fn remove_from(self, headers: &mut HeaderMap) {
        for name in self.few.iter().chain(&self.more) {
            headers.remove(name);
        }
    }
}

fn drop_fields(headers: &mut HeaderMap, credentials: Option<&CredentialNames>, trust: Trust) {
    let mut dropped = Dropped::new();
    nominated(headers, &mut dropped);
    for name in headers.keys() {
        if is_dropped(name, credentials, trust) {
            dropped.push(name.clone());
        }
    }
    dropped.remove_from(headers);
}

/// The names in `Connection`, parsed as bytes so that no odd value slips through.
fn nominated(headers: &HeaderMap, dropped: &mut Dropped) {
    for value in headers.get_all(CONNECTION) {
        for token in value.as_bytes().split(|byte| *byte == b',') {
            let Ok(name) = HeaderName::from_bytes(token.trim_ascii()) else { continue };
            let is_protected = [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, X_REQUEST_ID].contains(&name)
                || name.as_str() == "close"
                || name.as_str().starts_with("keyward-");
            if !is_protected {
                dropped.push(name);
            }
        }
    }
}

fn is_dropped(name: &HeaderName, credentials: Option<&CredentialNames>, trust: Trust) -> bool {
    let text = name.as_str();
    if text.bytes().any(|byte| matches!(byte, b'_' | b'.')) {
        let folded: String = text.chars().map(|c| if matches!(c, '_' | '.') { '-' } else { c }).collect();
        // An alias of a protected name is dropped whatever the trust: nobody writes it in good faith.
        return is_hop_by_hop(&folded)
            || is_forwarded(&folded)
            || is_forgery(&folded)
            || ["host", "content-length", "x-request-id", "traceparent"].contains(&folded.as_str())
            || credentials.is_some_and(|names| names.iter().any(|name| name.as_str() == folded));
    }
    is_hop_by_hop(text)
        || is_forgery(text)
        || (trust == Trust::Untrusted && is_forwarded(text))
        || credentials.is_some_and(|names| names.iter().any(|credential| credential == name))
}

/// RFC 9110 §7.6.1 and what is in use beside it. `Expect` was answered by the gateway itself, and request
/// trailers are not forwarded.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
            | "expect"
    )
}

fn is_forwarded(name: &str) -> bool {
    name.starts_with("x-forwarded-") || matches!(name, "forwarded" | "x-real-ip")
}

/// What makes an upstream believe something that the gateway did not decide.
fn is_forgery(name: &str) -> bool {
    name.starts_with("keyward-")
        || matches!(
            name,
            "x-original-url"
                | "x-rewrite-url"
                | "x-http-method-override"
                | "x-http-method"
                | "x-method-override"
        )
}

fn set_forwarded(headers: &mut HeaderMap, origin: &Origin<'_>) {
    let host = headers.get(HOST).cloned();
    let element = forwarded_element(origin.peer, host.as_ref());
    if origin.trust == Trust::Trusted {
        append(headers, X_FORWARDED_FOR, origin.peer_field);
        append(headers, FORWARDED, &element);
        headers.entry(X_FORWARDED_PROTO).or_insert(HTTP);
        if let Some(host) = host {
            headers.entry(X_FORWARDED_HOST).or_insert(host);
        }
        return;
    }
    headers.insert(X_FORWARDED_FOR, origin.peer_field.clone());
    headers.insert(FORWARDED, element);
    headers.insert(X_FORWARDED_PROTO, HTTP);
    if let Some(host) = host {
        headers.insert(X_FORWARDED_HOST, host);
    }
}

/// RFC 7239 §4; an IPv6 address is bracketed and quoted (§6).
fn forwarded_element(peer: IpAddr, host: Option<&HeaderValue>) -> HeaderValue {
    let mut text = ArrayString::<320>::new();
    let written = match peer.to_canonical() {
        IpAddr::V4(address) => write!(text, "for={address};proto=http"),
        IpAddr::V6(address) => write!(text, "for=\"[{address}]\";proto=http"),
    };
    let before_host = text.len();
    // The host was checked to hold nothing that needs escaping; one too long for this is left out.
    if let Some(host) = host.and_then(|host| host.to_str().ok())
        && write!(text, ";host=\"{host}\"").is_err()
    {
        text.truncate(before_host);
    }
    written.ok().and_then(|()| HeaderValue::from_str(&text).ok()).unwrap_or(HeaderValue::from_static("for=unknown"))
}

/// Adds an element to a list field, in one line.
fn append(headers: &mut HeaderMap, name: HeaderName, element: &HeaderValue) {
    let mut line = Vec::new();
    for value in headers.get_all(&name) {
        line.extend_from_slice(value.as_bytes());
        line.extend_from_slice(b", ");
    }
    line.extend_from_slice(element.as_bytes());
    headers.insert(name, HeaderValue::from_bytes(&line).unwrap_or_else(|_| element.clone()));
}

/// W3C Trace Context §3.2: version 00, or a later one that begins the same way.
fn is_traceparent(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    let is_lower_hex = |range: std::ops::Range<usize>| {
        bytes.get(range).is_some_and(|part| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
    };
    let is_zero = |range: std::ops::Range<usize>| bytes[range].iter().all(|byte| *byte == b'0');
    let dashes = bytes.len() >= 55 && bytes[2] == b'-' && bytes[35] == b'-' && bytes[52] == b'-';
    dashes
        && is_lower_hex(0..2)
        && is_lower_hex(3..35)
        && is_lower_hex(36..52)
        && is_lower_hex(53..55)
        && !is_zero(3..35)
        && !is_zero(36..52)
        && !bytes.starts_with(b"ff")
        && (bytes.len() == 55 || (!bytes.starts_with(b"00") && bytes[55] == b'-'))
}

/// A new trace, not sampled: the gateway records no spans, the upstream may.
fn new_traceparent() -> HeaderValue {
    use crate::random::next;

    let mut text = ArrayString::<55>::new();
    // Or-ing one bit keeps both ids from being all zero, which would be invalid.
    let written = write!(text, "00-{:016x}{:016x}-{:016x}-00", next(), next() | 1, next() | 1);
    written.ok().and_then(|()| HeaderValue::from_str(&text).ok()).unwrap_or(HeaderValue::from_static(
        "00-00000000000000000000000000000001-0000000000000001-00",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(pairs: &[(&str, &[u8])], trust: Trust) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value).unwrap(),
            );
        }
        let peer_field = HeaderValue::from_static("192.0.2.7");
        let origin = Origin { peer: "192.0.2.7".parse().unwrap(), peer_field: &peer_field, trust };
        let names = CredentialNames::new(&keyward_config::Credentials {
            account: vec!["authorization".into(), "x-api-key".into()],
            customer: vec!["x-customer-key".into()],
        });
        request(&mut headers, &origin, None, Some(&names), &HeaderValue::from_static("r-1"));
        headers
    }

    #[test]
    fn what_a_client_must_not_say_is_dropped() {
        let forged: &[(&str, &[u8])] = &[
            ("host", b"api.example"),
            ("authorization", b"Bearer x"),
            ("x-api-key", b"x"),
            ("x_customer_key", b"x"),
            ("x.api.key", b"x"),
            ("keyward-account", b"evil"),
            ("keyward_account", b"evil"),
            ("x-original-url", b"/admin"),
            ("x-http-method-override", b"DELETE"),
            ("x-real-ip", b"127.0.0.1"),
            ("te", b"trailers"),
            ("upgrade", b"h2c"),
            ("proxy-connection", b"keep-alive"),
            ("accept", b"*/*"),
        ];
        let headers = rewritten(forged, Trust::Untrusted);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(
            left,
            [
                "accept", "forwarded", "host", "traceparent", "via", "x-forwarded-for", "x-forwarded-host",
                "x-forwarded-proto", "x-request-id"
            ]
        );
    }

    #[test]
    fn a_nomination_removes_what_the_client_sent_and_nothing_of_ours() {
        let headers = rewritten(
            &[
                ("host", b"api.example"),
                ("content-length", b"3"),
                ("connection", b"x-mine, host,content-length , x-request-id, via, x-forwarded-for, \xff, keyward-account"),
                ("x-mine", b"1"),
            ],
            Trust::Untrusted,
        );
        assert!(!headers.contains_key("x-mine") && !headers.contains_key("connection"));
        for kept in ["host", "content-length", "x-request-id", "via", "x-forwarded-for"] {
            assert!(headers.contains_key(kept), "{kept}");
        }
    }

    #[test]
    fn an_untrusted_peer_is_the_first_and_a_trusted_one_is_appended() {
        let sent: &[(&str, &[u8])] = &[
            ("host", b"api.example"),
            ("x-forwarded-for", b"203.0.113.9"),
            ("x-forwarded-proto", b"https"),
            ("forwarded", b"for=203.0.113.9"),
        ];
        let headers = rewritten(sent, Trust::Untrusted);
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["forwarded"], "for=192.0.2.7;proto=http;host=\"api.example\"");
        let headers = rewritten(sent, Trust::Trusted);
        assert_eq!(headers["x-forwarded-for"], "203.0.113.9, 192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["forwarded"], "for=203.0.113.9, for=192.0.2.7;proto=http;host=\"api.example\"");
    }

    #[test]
    fn a_valid_trace_goes_on_and_a_broken_one_is_replaced() {
        let valid: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(rewritten(&[("traceparent", valid)], Trust::Untrusted)["traceparent"].as_bytes(), valid);
        for broken in [b"".as_slice(), b"00-0-0-0", b"00-00000000000000000000000000000000-00f067aa0ba902b7-01"] {
            let made = rewritten(&[("traceparent", broken)], Trust::Untrusted)["traceparent"].clone();
            assert!(is_traceparent(&made), "{made:?}");
        }
    }

    #[test]
    fn an_upstream_can_t_forge_our_answer_headers() {
        let mut headers = HeaderMap::new();
        for name in ["keyward-account", "x-ratelimit-limit", "ratelimit", "connection", "x-hop", "x-kept"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        headers.insert("connection", HeaderValue::from_static("x-hop"));
        response(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-kept"]);
    }
}
