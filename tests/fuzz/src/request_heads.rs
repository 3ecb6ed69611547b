//! A request's head: what is taken has one host, one path and one framing, by an own look at its fields.

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Method, Request, Version};
use keyward_gateway::head::{self, Parsed, Target};

use super::paths;

/// Bytes of a target at most.
const URI_BOUND: usize = 1_024;

/// A head as it comes over a connection.
pub fn check(bytes: &[u8]) {
    let Some(parts) = parts_of(bytes) else { return };
    match head::parse(&parts, URI_BOUND) {
        Ok(Target::Resource(parsed)) => has_one_meaning(&parts, &parsed),
        Ok(Target::Server) => {
            assert_eq!((&parts.method, parts.uri.path()), (&Method::OPTIONS, "*"));
        }
        Err(refusal) => {
            assert!(
                matches!(refusal.status().as_u16(), 400 | 405 | 414),
                "{refusal:?}"
            );
        }
    }
}

/// The head as the server's parser hands it over; `None` when that refuses it.
pub(crate) fn parts_of(bytes: &[u8]) -> Option<Parts> {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut fields);
    if !request.parse(bytes).ok()?.is_complete() {
        return None;
    }
    let version = if request.version? == 1 {
        Version::HTTP_11
    } else {
        Version::HTTP_10
    };
    let mut built = Request::builder()
        .method(request.method?)
        .uri(request.path?)
        .version(version);
    for field in request.headers.iter() {
        built = built.header(field.name, field.value);
    }
    Some(built.body(()).ok()?.into_parts().0)
}

fn has_one_meaning(parts: &Parts, parsed: &Parsed<'_>) {
    assert!(parts.method != Method::CONNECT && parts.method != Method::TRACE);
    let hosts: Vec<_> = parts.headers.get_all(HOST).iter().collect();
    match hosts.as_slice() {
        [] => assert!(
            parts.version < Version::HTTP_11 && parsed.host.is_empty() && parts.uri.authority().is_none()
        ),
        [host] => {
            let host = host.to_str().unwrap_or("no text");
            assert!(host.starts_with(parsed.host));
            assert!(
                matches!(&host.as_bytes()[parsed.host.len()..], [] | [b':', ..]),
                "{host}"
            );
            assert!(!parsed.host.is_empty() || parts.version < Version::HTTP_11);
            let odd = |byte: u8| !byte.is_ascii_graphic() || b"@/\\?#,;%\"<>".contains(&byte);
            assert!(!host.bytes().any(odd), "{host:?}");
            if let Some(authority) = parts.uri.authority() {
                assert!(authority.as_str().eq_ignore_ascii_case(host));
            }
        }
        _ => panic!("two hosts"),
    }
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    assert!(target.len() <= URI_BOUND);
    assert_eq!(
        Some(parsed.path.as_str()),
        paths::reference(parts.uri.path()).as_deref()
    );
    assert_eq!(parsed.query, parts.uri.query());

    let encodings: Vec<_> = parts.headers.get_all(TRANSFER_ENCODING).iter().collect();
    assert!(encodings.len() <= 1);
    let is_chunked =
        |value: &&http::HeaderValue| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    assert!(encodings.iter().all(is_chunked) && (encodings.is_empty() || parts.version == Version::HTTP_11));
    let lengths: Vec<_> = parts.headers.get_all(CONTENT_LENGTH).iter().collect();
    assert!(lengths.len() <= 1);
    for length in lengths {
        let digits = length.to_str().unwrap_or_default();
        assert!(!digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()));
        // Of the two framings, chunks win; a length beside them says nothing.
        let announced = digits.parse().ok().filter(|_| encodings.is_empty());
        assert_eq!(parsed.announced_length, announced);
    }
}
