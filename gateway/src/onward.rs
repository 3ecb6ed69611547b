//! The head that goes on to the upstream, and the one that comes back.
//!
//! Order (never another): drop hop-by-hop fields with everything nominated in `Connection`, drop forged and
//! forwarded fields, follow the route's header rules, then set ours. A nomination can't remove what we set, because ours come last, nor `Host`,
//! the framing or the credentials. Names are compared after mapping `_` and `.` to `-`, because CGI, WSGI and
//! PHP upstreams fold them so. One pass over the names, told to a [`HeadSink`] in the form that the upstream reads: for
//! HTTP/1.1 straight into the bytes that are sent; what belongs to a key or an account was made into lines when it was
//! loaded.

use std::net::IpAddr;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, FORWARDED, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use crate::admission::Caller;
use crate::credential::CredentialNames;
use crate::grpc;
use crate::route::rules::Rules;
use crate::server::greeting::Wire;
use crate::upstream::pump::BodyFraming;
use crate::upstream::request::{HeadSink, RequestHead};

/// The id of a call, on the request to the upstream and on every answer.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// `Via`, towards both sides.
pub const VIA_KEYWARD: HeaderValue = HeaderValue::from_static("1.1 keyward");

/// `Via`, for a message that came in this version (RFC 9110 §7.6.3).
#[must_use]
pub fn via(version: Version) -> HeaderValue {
    if version == Version::HTTP_2 {
        HeaderValue::from_static("2.0 keyward")
    } else {
        VIA_KEYWARD
    }
}

/// Where a call came from.
#[derive(Debug)]
pub struct Origin<'a> {
    /// What is written of the peer.
    pub forwarding: &'a Forwarding,
    /// Whether what the peer says of the client is believed.
    pub trust: Trust,
}

/// What forwarded heads say of a peer, made once per connection.
#[derive(Debug)]
pub struct Forwarding {
    /// Its address.
    address: String,
    /// `X-Forwarded-For` and `-Proto` for an untrusted peer.
    lines: Box<[u8]>,
    /// The beginning of its `Forwarded` element, up to the host (RFC 7239 §4; an IPv6 address is bracketed and
    /// quoted, §6).
    element: String,
    scheme: &'static str,
    /// What `Via` says of the call.
    via: &'static str,
}

impl Forwarding {
    /// Of the peer at this address, which speaks so.
    #[must_use]
    pub fn of(peer: IpAddr, scheme: Scheme, wire: Wire) -> Self {
        let address = peer.to_canonical().to_string();
        let scheme = match scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let element = match peer.to_canonical() {
            IpAddr::V4(_) => format!("for={address};proto={scheme};host=\""),
            IpAddr::V6(_) => format!("for=\"[{address}]\";proto={scheme};host=\""),
        };
        let lines = lines(&[("x-forwarded-for", &address), ("x-forwarded-proto", scheme)]);
        Self {
            address,
            lines,
            element,
            scheme,
            via: match wire {
                Wire::Http1 => "1.1 keyward",
                Wire::Http2 => "2.0 keyward",
            },
        }
    }
}

/// How a client speaks to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In clear text.
    Http,
    /// With TLS.
    Https,
}

/// Whether a peer is in `trusted_proxies`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Its forwarded fields are kept and it is appended.
    Trusted,
    /// Its forwarded fields are dropped and written anew.
    Untrusted,
}

/// What of a forwarded request's head is not in the client's own.
#[derive(Debug)]
pub struct Additions<'a> {
    /// Where the call came from.
    pub origin: Origin<'a>,
    /// Who calls; `None` on public routes.
    pub caller: Option<&'a Caller>,
    /// The credential headers, when they are not to be forwarded.
    pub credentials: Option<&'a CredentialNames>,
    /// The credential headers, when they are forwarded: no nomination removes one, and no alias stands beside it.
    pub kept_credentials: Option<&'a CredentialNames>,
    /// The call's id.
    pub request_id: &'a HeaderValue,
    /// `Host`, when the client sent none.
    pub default_host: &'a str,
    /// How the body is framed.
    pub framing: BodyFraming,
    /// The protocol that the client asks to switch to.
    pub upgrade: Option<&'a HeaderValue>,
    /// What the route changes.
    pub rules: Option<&'a Rules>,
    /// The signed identity of the caller.
    pub identity: Option<HeaderValue>,
}

/// Writes the head of the forwarded request, in whichever form it is.
pub fn write_head(
    out: &mut RequestHead,
    (method, target): (&Method, &str),
    headers: &HeaderMap,
    with: &Additions<'_>,
) {
    match out {
        RequestHead::Http1(lines) => write_request(lines, method, target, headers, with),
        RequestHead::Http2(fields) => write_request(&mut **fields, method, target, headers, with),
    }
}

/// Tells the head of the forwarded request to `out`.
fn write_request(
    out: &mut impl HeadSink,
    method: &Method,
    target: &str,
    headers: &HeaderMap,
    with: &Additions<'_>,
) {
    out.begin(method, target);
    let nominated = nominated(headers, with.kept_credentials);
    let (mut via, mut trace) = (None, None);
    for (name, value) in headers {
        let is_ruled_out = with.rules.is_some_and(|rules| rules.drops(name));
        if is_ruled_out || nominated.contains(name) || is_dropped(name, with) {
            continue;
        }
        match name.as_str() {
            "via" => via = Some(join(via, value)),
            "traceparent" => trace = Some(value),
            "x-request-id" => {}
            // Never both framings, whatever was let through before.
            "content-length" if with.framing == BodyFraming::Chunked => {}
            _ => out.copy(name, value),
        }
    }
    for (name, value) in with.rules.into_iter().flat_map(Rules::fields) {
        out.copy(name, value);
    }
    if with.framing == BodyFraming::Chunked {
        out.chunked();
    }
    if let Some(protocol) = with.upgrade {
        out.upgrade(protocol);
    }
    if grpc::is_spoken(headers) {
        out.trailers_welcome();
    }
    write_origin(out, headers, with);
    match via {
        None => out.field(b"via", with.origin.forwarding.via.as_bytes()),
        Some(before) => {
            let own = with.origin.forwarding.via.as_bytes();
            out.pieces(b"via", &[&before, b", ", own]);
        }
    }
    out.field(b"x-request-id", with.request_id.as_bytes());
    match trace.filter(|trace| is_traceparent(trace)) {
        Some(trace) => out.field(b"traceparent", trace.as_bytes()),
        None => write_traceparent(out),
    }
    if let Some(caller) = with.caller {
        caller.identity().for_each(|lines| out.lines(lines));
    }
    if let Some(identity) = &with.identity {
        out.field(b"keyward-identity", identity.as_bytes());
    }
    out.end();
}

/// Lines of a head that are made once and then copied: `name: value` each.
#[must_use]
pub fn lines(fields: &[(&str, &str)]) -> Box<[u8]> {
    let mut out = Vec::new();
    for (name, value) in fields {
        // Only what is a valid value: a record that got so far has been checked, this makes sure.
        if HeaderValue::from_str(value).is_ok() {
            out.field(name.as_bytes(), value.as_bytes());
        }
    }
    out.into_boxed_slice()
}

fn join(before: Option<Vec<u8>>, value: &HeaderValue) -> Vec<u8> {
    match before {
        None => value.as_bytes().to_vec(),
        Some(mut list) => {
            list.extend_from_slice(b", ");
            list.extend_from_slice(value.as_bytes());
            list
        }
    }
}

/// The names in `Connection`, parsed as bytes so that no odd value slips through; without those that a client
/// has no say in.
fn nominated(headers: &HeaderMap, kept: Option<&CredentialNames>) -> Vec<HeaderName> {
    let mut nominated = Vec::new();
    for value in headers.get_all(CONNECTION) {
        for token in value.as_bytes().split(|byte| *byte == b',') {
            let token = token.trim_ascii();
            if token.eq_ignore_ascii_case(b"keep-alive") || token.eq_ignore_ascii_case(b"close") {
                continue;
            }
            let Ok(name) = HeaderName::from_bytes(token) else {
                continue;
            };
            let is_kept = [HOST, CONTENT_LENGTH, TRANSFER_ENCODING].contains(&name)
                || kept.is_some_and(|names| names.iter().any(|credential| *credential == name));
            if !is_kept {
                nominated.push(name);
            }
        }
    }
    nominated
}

/// Whether a field of an upstream's answer is not for the client: hop-by-hop, or a forgery of ours.
#[must_use]
pub fn is_dropped_from_answers(name: &str) -> bool {
    // Which trailers are to come concerns the client, as they themselves do.
    (is_hop_by_hop(name) && name != "trailer")
        || name.starts_with("keyward-")
        || name.starts_with("x-ratelimit-")
        || name.starts_with("ratelimit")
        || name == "x-request-id"
}

/// Tells the holder of a key in its rotation grace that it ends, and when (RFC 9745, RFC 8594).
pub fn rotation(headers: &mut HeaderMap, caller: &Caller) {
    let keys = [Some(caller.key()), caller.customer_key()];
    let Some(key) = keys
        .into_iter()
        .flatten()
        .find(|key| key.record.rotated_at.is_some())
    else {
        return;
    };
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

fn is_dropped(name: &HeaderName, with: &Additions<'_>) -> bool {
    let text = name.as_str();
    if text.bytes().any(|byte| matches!(byte, b'_' | b'.')) {
        let folded: String = text
            .chars()
            .map(|c| if matches!(c, '_' | '.') { '-' } else { c })
            .collect();
        // An alias of a protected name is dropped whatever the trust: nobody writes it in good faith.
        return is_hop_by_hop(&folded)
            || is_forwarded(&folded)
            || is_forgery(&folded)
            || ["host", "content-length", "x-request-id", "traceparent"].contains(&folded.as_str())
            || [with.credentials, with.kept_credentials]
                .into_iter()
                .flatten()
                .any(|names| names.iter().any(|name| name.as_str() == folded));
    }
    is_hop_by_hop(text)
        || is_forgery(text)
        || is_forwarded(text)
        || with
            .credentials
            .is_some_and(|names| names.iter().any(|credential| credential == name))
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
    name.starts_with("x-forwarded-")
        || matches!(
            name,
            "forwarded"
                | "x-real-ip"
                // What clouds and appliances call the same.
                | "true-client-ip"
                | "cf-connecting-ip"
                | "fastly-client-ip"
                | "x-client-ip"
                | "x-cluster-client-ip"
        )
}

/// What makes an upstream believe something that the gateway did not decide.
fn is_forgery(name: &str) -> bool {
    name.starts_with("keyward-")
        || matches!(
            name,
            "x-original-url"
                | "x-original-uri"
                | "x-original-method"
                | "x-original-host"
                | "x-host"
                | "x-rewrite-url"
                | "x-http-method-override"
                | "x-http-method"
                | "x-method-override"
        )
}

/// `Host` and the forwarded family (RFC 7239): written anew for an untrusted peer, appended to for a trusted one.
fn write_origin(out: &mut impl HeadSink, headers: &HeaderMap, with: &Additions<'_>) {
    let origin = &with.origin;
    let host = headers.get(HOST).map(HeaderValue::as_bytes);
    // What the route says of it is for the upstream alone: the forwarded fields show what the client asked for.
    match with.rules.and_then(Rules::host) {
        Some(ruled) => out.field(b"host", ruled.as_bytes()),
        None if host.is_none() => out.field(b"host", with.default_host.as_bytes()),
        None => {}
    }
    let (forwarding, host) = (origin.forwarding, host.unwrap_or_default());
    // The host was checked to hold nothing that needs escaping.
    let element = [forwarding.element.as_bytes(), host, b"\""];
    match origin.trust {
        Trust::Untrusted => {
            out.lines(&forwarding.lines);
            out.field(b"x-forwarded-host", host);
            out.pieces(b"forwarded", &element);
        }
        Trust::Trusted => {
            let is_ruled_out = |name: &HeaderName| with.rules.is_some_and(|rules| rules.drops(name));
            for (name, value) in headers.iter().filter(|(name, _)| is_forwarded(name.as_str())) {
                if *name != X_FORWARDED_FOR && *name != FORWARDED && !is_ruled_out(name) {
                    out.copy(name, value);
                }
            }
            appended(out, headers, &X_FORWARDED_FOR, forwarding.address.as_bytes());
            appended(out, headers, &FORWARDED, &element.concat());
            if !headers.contains_key(X_FORWARDED_PROTO) {
                out.field(b"x-forwarded-proto", forwarding.scheme.as_bytes());
            }
            if !headers.contains_key(X_FORWARDED_HOST) {
                out.field(b"x-forwarded-host", host);
            }
        }
    }
}

/// A list field with one more element, in one line.
fn appended(out: &mut impl HeadSink, headers: &HeaderMap, name: &HeaderName, element: &[u8]) {
    let before = headers
        .get_all(name)
        .iter()
        .fold(None, |before, value| Some(join(before, value)));
    match before {
        None => out.field(name.as_str().as_bytes(), element),
        Some(before) => out.pieces(name.as_str().as_bytes(), &[&before, b", ", element]),
    }
}

/// W3C Trace Context §3.2: version 00, or a later one that begins the same way.
fn is_traceparent(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    let is_lower_hex = |range: std::ops::Range<usize>| {
        bytes
            .get(range)
            .is_some_and(|part| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
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
fn write_traceparent(out: &mut impl HeadSink) {
    use crate::random::next;

    // Or-ing one bit keeps both ids from being all zero, which would be invalid.
    let [first, second, span] = [next(), next() | 1, next() | 1].map(hex);
    out.pieces(b"traceparent", &[b"00-", &first, &second, b"-", &span, b"-00"]);
}

fn hex(word: u64) -> [u8; 16] {
    let digit = |at: usize| (word >> (60 - 4 * at)) & 15;
    std::array::from_fn(|at| match digit(at) as u8 {
        digit @ 0..10 => b'0' + digit,
        digit => b'a' + digit - 10,
    })
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
        let forwarding = Forwarding::of("192.0.2.7".parse().unwrap(), Scheme::Http, Wire::Http1);
        let names = CredentialNames::new(&keyward_config::Credentials {
            account: vec!["authorization".into(), "x-api-key".into()],
            customer: vec!["x-customer-key".into()],
        });
        let with = Additions {
            origin: Origin {
                forwarding: &forwarding,
                trust,
            },
            caller: None,
            credentials: Some(&names),
            kept_credentials: None,
            request_id: &HeaderValue::from_static("r-1"),
            default_host: "upstream:80",
            framing: BodyFraming::Sized,
            upgrade: None,
            rules: None,
            identity: None,
        };
        let mut out = Vec::new();
        write_request(&mut out, &Method::GET, "/x?y", &headers, &with);
        let text = out
            .strip_prefix(b"GET /x?y HTTP/1.1\r\n")
            .unwrap()
            .strip_suffix(b"\r\n\r\n")
            .unwrap();
        let mut written = HeaderMap::new();
        for line in text.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let colon = line.iter().position(|byte| *byte == b':').unwrap();
            let name = HeaderName::from_bytes(&line[..colon]).unwrap();
            written.append(name, HeaderValue::from_bytes(&line[colon + 2..]).unwrap());
        }
        written
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
                "accept",
                "forwarded",
                "host",
                "traceparent",
                "via",
                "x-forwarded-for",
                "x-forwarded-host",
                "x-forwarded-proto",
                "x-request-id"
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
        assert_eq!(
            headers["forwarded"],
            "for=192.0.2.7;proto=http;host=\"api.example\""
        );
        let headers = rewritten(sent, Trust::Trusted);
        assert_eq!(headers["x-forwarded-for"], "203.0.113.9, 192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(
            headers["forwarded"],
            "for=203.0.113.9, for=192.0.2.7;proto=http;host=\"api.example\""
        );
    }

    #[test]
    fn a_valid_trace_goes_on_and_a_broken_one_is_replaced() {
        let valid: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(
            rewritten(&[("traceparent", valid)], Trust::Untrusted)["traceparent"].as_bytes(),
            valid
        );
        for broken in [
            b"".as_slice(),
            b"00-0-0-0",
            b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        ] {
            let made = rewritten(&[("traceparent", broken)], Trust::Untrusted)["traceparent"].clone();
            assert!(is_traceparent(&made), "{made:?}");
        }
    }
}
