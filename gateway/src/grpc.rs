//! What of a call is different because it is gRPC: its deadline, and how an answer ends that has begun.
//!
//! As in gRPC's `PROTOCOL-HTTP2.md`. A refusal before an answer has begun is a trailers-only answer, made in [`crate::rejection`].

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};

/// `grpc-status`.
pub const STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// `grpc-message`, percent-encoded.
pub const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// More about an error, in a form of the upstream's.
pub const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const CONTENT: &[u8] = b"application/grpc";

/// `DEADLINE_EXCEEDED`.
pub const DEADLINE_EXCEEDED: u16 = 4;
/// `UNAUTHENTICATED`.
pub const UNAUTHENTICATED: u16 = 16;

/// Whether a message is gRPC's, by its content type.
#[must_use]
pub fn is_spoken(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        let start = value.as_bytes().get(..CONTENT.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(CONTENT))
    })
}

/// How long the client is willing to wait: at most eight digits and a unit. What is none is passed over.
#[must_use]
pub fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT)?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&number.len()) || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3_600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The end of an answer that the gateway ends itself.
#[must_use]
pub fn trailers(status: u16, message: &'static str) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert(STATUS, status.into());
    trailers.insert(MESSAGE, HeaderValue::from_static(message));
    trailers
}

/// Of the trailers of a request those that gRPC defines; a field of another name could say who the caller is, after the head
/// was checked.
#[must_use]
pub fn of_request(mut trailers: HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for name in [STATUS, MESSAGE, DETAILS] {
        if let Some(value) = trailers.remove(&name) {
            kept.insert(name, value);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeout_of(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(TIMEOUT, HeaderValue::from_str(text).unwrap());
        timeout(&headers)
    }

    #[test]
    fn a_timeout_is_a_number_and_a_unit() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3_600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("100m", Some(Duration::from_millis(100))),
            ("99999999u", Some(Duration::from_micros(99_999_999))),
            ("0n", Some(Duration::ZERO)),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3_600))),
            ("123456789S", None),
            ("S", None),
            ("", None),
            ("1", None),
            ("1s", None),
            ("-1S", None),
            ("1 S", None),
        ] {
            assert_eq!(timeout_of(text), expected, "{text}");
        }
    }

    #[test]
    fn of_a_requests_trailers_those_of_grpc_are_kept() {
        let mut sent = HeaderMap::new();
        sent.insert(STATUS, 0.into());
        sent.insert("keyward-account", HeaderValue::from_static("forged"));
        sent.insert("x-api-key", HeaderValue::from_static("forged"));
        let kept = of_request(sent);
        assert_eq!(kept.keys().collect::<Vec<_>>(), [STATUS]);
    }
}
