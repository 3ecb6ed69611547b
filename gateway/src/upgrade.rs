//! Whether a client asks to go on in another protocol (RFC 9110 §7.8), and what is kept until it does.
//!
//! One protocol, by a `GET` without a body over HTTP/1.1, named in `Connection`: what cannot be read in two ways. Never
//! HTTP/2 or TLS, for then nobody would look at the requests that follow. Whoever asks otherwise is served as if it
//! had not asked.

use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, Version};

use crate::call::Call;
use crate::head::Parsed;
use crate::upstream::{self, Answered};

/// Protocols that would carry requests past every check.
const REFUSED: [&[u8]; 3] = [b"h2c", b"h2", b"tls"];
const WEBSOCKET: &[u8] = b"websocket";

/// The protocol that is asked for.
#[must_use]
pub fn asked<'a>(parts: &'a Parts, parsed: &Parsed<'_>, has_body: bool) -> Option<&'a HeaderValue> {
    let mut protocols = parts.headers.get_all(UPGRADE).iter();
    let protocol = protocols.next()?;
    let is_plain = parts.method == Method::GET
        && parts.version == Version::HTTP_11
        && !has_body
        && parsed.announced_length.unwrap_or_default() == 0;
    let named = parts.headers.get_all(CONNECTION).iter();
    let is_named = named
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"));
    (is_plain && is_named && protocols.next().is_none() && is_taken(protocol.as_bytes())).then_some(protocol)
}

fn is_taken(protocol: &[u8]) -> bool {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'+');
    let mut parts = protocol.split(|byte| *byte == b'/');
    let name = parts.next().unwrap_or_default();
    let is_http = name
        .get(..4)
        .is_some_and(|name| name.eq_ignore_ascii_case(b"http"));
    let is_refused = REFUSED.iter().any(|refused| name.eq_ignore_ascii_case(refused));
    let is_well_formed = (1..=32).contains(&name.len())
        && name.iter().all(is_token)
        && parts
            .next()
            .is_none_or(|version| (1..=16).contains(&version.len()) && version.iter().all(is_token))
        && parts.next().is_none();
    is_well_formed && !is_http && !is_refused
}

/// The protocol that an upstream has switched to, as the client asked for it.
#[must_use]
pub fn of(answered: &Answered, parts: &Parts) -> Option<HeaderValue> {
    let has_switched = answered.head.status == StatusCode::SWITCHING_PROTOCOLS;
    parts.headers.get(UPGRADE).filter(|_| has_switched).cloned()
}

/// Whether a protocol is WebSocket's, whose connections can be closed with a word.
#[must_use]
pub fn is_websocket(protocol: &HeaderValue) -> bool {
    protocol.as_bytes().eq_ignore_ascii_case(WEBSOCKET)
}

/// What a connection carries once its 101 is out.
#[derive(Debug)]
pub struct Switched {
    /// The upstream's side, with what it sent already.
    pub upstream: upstream::Connection,
    /// The call; it is over when both sides are.
    pub call: Box<Call>,
    /// Whether the protocol is WebSocket's.
    pub is_websocket: bool,
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::head::{Target, parse};

    fn asks(request: Request<()>, has_body: bool) -> bool {
        let (parts, ()) = request.into_parts();
        let Ok(Target::Resource(parsed)) = parse(&parts, 100) else {
            panic!("it is no request")
        };
        asked(&parts, &parsed, has_body).is_some()
    }

    #[test]
    fn one_protocol_is_asked_for_plainly_or_none_is() {
        let request = |fields: &[(&str, &str)]| {
            let request = Request::get("/").version(Version::HTTP_11).header("host", "a");
            let all = fields
                .iter()
                .fold(request, |request, (name, value)| request.header(*name, *value));
            all.body(()).unwrap()
        };
        let upgrade = ("connection", "keep-alive, Upgrade");
        for protocol in ["websocket", "WebSocket", "chat/1.0", "SPDY/3.1"] {
            assert!(
                asks(request(&[upgrade, ("upgrade", protocol)]), false),
                "{protocol}"
            );
        }
        for protocol in [
            "h2c",
            "H2C",
            "h2",
            "HTTP/2.0",
            "http",
            "TLS/1.2",
            "websocket, h2c",
            "a b",
            "",
            "a/b/c",
            "a/",
        ] {
            assert!(
                !asks(request(&[upgrade, ("upgrade", protocol)]), false),
                "{protocol}"
            );
        }
        let twice = [upgrade, ("upgrade", "websocket"), ("upgrade", "websocket")];
        assert!(!asks(request(&twice), false));
        assert!(!asks(request(&[("upgrade", "websocket")]), false));
        let websocket = [upgrade, ("upgrade", "websocket")];
        assert!(!asks(request(&websocket), true));
        assert!(!asks(
            request(&[websocket[0], websocket[1], ("content-length", "3")]),
            false
        ));
        let mut posted = request(&websocket);
        *posted.method_mut() = Method::POST;
        assert!(!asks(posted, false));
        let mut old = request(&websocket);
        *old.version_mut() = Version::HTTP_10;
        assert!(!asks(old, false));
    }
}
