//! What follows a body: the same however it is cut and as an own reading of its lines has it; nothing of it is what must
//! not come so late, over HTTP/2 neither; and of a client's trailers only gRPC's are left.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue};
use keyward_gateway::grpc;
use keyward_gateway::upstream::fuzzing::{trailers, trailers_of_http2};
use keyward_gateway::upstream::trailers::MAX_FIELDS;

/// RFC 9110 §6.5.1: framing, routing, who may do what, how a body is to be read; and what only the gateway says.
const TOO_LATE: [&str; 32] = [
    "age",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "deprecation",
    "expect",
    "expires",
    "host",
    "http2-settings",
    "keep-alive",
    "keyward-account",
    "location",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "ratelimit",
    "retry-after",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "vary",
    "via",
    "www-authenticate",
    "x-ratelimit-limit",
    "x-request-id",
];

/// Fields with their names and values, or what is wrong with them; `None` while they are not whole.
type Read = Result<Option<(HeaderMap, usize)>, ()>;

/// A byte that says how it is cut, then what follows a last chunk.
pub fn check(bytes: &[u8]) {
    let [step, bytes @ ..] = bytes else { return };
    let bytes = &bytes[..bytes.len().min(4_096)];
    let whole = read(bytes);
    for end in (0..bytes.len()).step_by(usize::from(*step) + 1) {
        match read(&bytes[..end]) {
            Ok(None) => {}
            Err(()) => assert!(whole.is_err(), "refused at {end}, and then not"),
            Ok(Some((fields, left))) => {
                let left = left + bytes.len() - end;
                assert_eq!(whole, Ok(Some((fields, left))), "cut at {end}");
                break;
            }
        }
    }
    let expected = reference(bytes);
    match (&whole, &expected) {
        (Ok(Some((fields, left))), Ok(Some((expected, expected_left)))) => {
            let kept = kept(expected);
            assert_eq!((fields, left), (&kept, expected_left));
            assert_eq!(trailers_of_http2(expected.clone()).ok(), Some(kept));
            of_a_request(expected);
        }
        // What is malformed may be seen before its line is whole.
        (Ok(None), Ok(None)) | (Err(()), Err(()) | Ok(None)) => {}
        _ => panic!("{whole:?} where the grammar says {expected:?}"),
    }
}

fn read(bytes: &[u8]) -> Read {
    let mut buffer = BytesMut::from(bytes);
    let fields = trailers(&mut buffer).map_err(drop)?;
    if fields.is_none() {
        assert_eq!(buffer.len(), bytes.len(), "a part was taken out");
    }
    Ok(fields.map(|fields| (fields, buffer.len())))
}

fn kept(fields: &HeaderMap) -> HeaderMap {
    let is_kept = |name: &str| {
        !TOO_LATE.contains(&name)
            && !["keyward-", "ratelimit", "x-ratelimit-"]
                .iter()
                .any(|beginning| name.starts_with(beginning))
    };
    let kept = fields.iter().filter(|(name, _)| is_kept(name.as_str()));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// A line a field (RFC 9112 §5).
fn reference(mut rest: &[u8]) -> Read {
    let mut fields = HeaderMap::new();
    loop {
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            return Ok(None);
        };
        let line = rest[..end].strip_suffix(b"\r").ok_or(())?;
        rest = &rest[end + 1..];
        if line.is_empty() {
            return Ok(Some((fields, rest.len())));
        }
        let colon = line.iter().position(|byte| *byte == b':').ok_or(())?;
        let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        let is_text = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        let mut value = &line[colon + 1..];
        while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
            value = rest;
        }
        let name = &line[..colon];
        if !name.iter().all(is_token) || !value.iter().all(is_text) || fields.len() == MAX_FIELDS {
            return Err(());
        }
        let name = HeaderName::from_bytes(name).map_err(drop)?;
        fields.append(name, HeaderValue::from_bytes(value).map_err(drop)?);
    }
}

/// What goes on to an upstream.
fn of_a_request(sent: &HeaderMap) {
    for (name, value) in &grpc::of_request(sent.clone()) {
        assert!(
            ["grpc-status", "grpc-message", "grpc-status-details-bin"].contains(&name.as_str()),
            "{name}"
        );
        assert_eq!(sent.get(name), Some(value));
    }
}
