//! Where a call came from, as the upstream is told: `Host` and the forwarded family (RFC 7239).
//!
//! What is the same for all calls of a connection is made into lines once ([`Forwarding`]); a call of an untrusted peer
//! copies them and adds its host.

use std::net::IpAddr;

use http::header::{FORWARDED, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::dropped::is_forwarded;
use super::{Additions, join, lines};
use crate::route::rules::Rules;
use crate::server::greeting::Wire;
use crate::upstream::request::HeadSink;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

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
    pub(super) via: &'static str,
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

/// `Host` and the forwarded family (RFC 7239): written anew for an untrusted peer, appended to for a trusted one.
pub(super) fn write_origin(out: &mut impl HeadSink, headers: &HeaderMap, with: &Additions<'_>) {
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
