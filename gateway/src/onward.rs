//! The head that goes on to the upstream, and the one that comes back.
//!
//! Order (never another): drop hop-by-hop fields with everything nominated in `Connection`, drop forged and
//! forwarded fields, follow the route's header rules, then set ours. A nomination can't remove what we set, because ours come last, nor `Host`,
//! the framing or the credentials. Names are compared after mapping `_` and `.` to `-`, because CGI, WSGI and
//! PHP upstreams fold them so. One pass over the names, told to a [`HeadSink`] in the form that the upstream reads: for
//! HTTP/1.1 straight into the bytes that are sent; what belongs to a key or an account was made into lines when it was
//! loaded.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use crate::admission::Caller;
use crate::credential::CredentialNames;
use crate::grpc;
use crate::route::rules::Rules;
use crate::upstream::pump::BodyFraming;
use crate::upstream::request::{HeadSink, RequestHead};

mod dropped;
mod origin;
#[cfg(test)]
mod tests;
mod trace;

pub use dropped::is_dropped_from_answers;
use dropped::{is_dropped, nominated};
use origin::write_origin;
pub use origin::{Forwarding, Origin, Scheme, Trust};
use trace::{is_traceparent, write_traceparent};

/// The id of a call, on the request to the upstream and on every answer.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

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
