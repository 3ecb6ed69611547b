//! Which fields go no further: hop-by-hop and nominated ones, forgeries, and what only the gateway may say.
//!
//! Names are compared after mapping `_` and `.` to `-`. Only a name that has one of the two costs an allocation.

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName};

use super::Additions;
use crate::credential::CredentialNames;

/// The names in `Connection`, parsed as bytes so that no odd value slips through; without those that a client
/// has no say in.
pub(super) fn nominated(headers: &HeaderMap, kept: Option<&CredentialNames>) -> Vec<HeaderName> {
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

pub(super) fn is_dropped(name: &HeaderName, with: &Additions<'_>) -> bool {
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

pub(super) fn is_forwarded(name: &str) -> bool {
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
