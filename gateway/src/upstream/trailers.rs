//! What follows the body of an upstream's answer (RFC 9110 §6.5): read strictly, bounded in number and bytes, and rid of what
//! must not come so late: framing, who may do what, how the body is to be read, and what only the gateway says.

use bytes::{Buf, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::framing::Malformed;
use crate::onward;

/// Most fields.
pub const MAX_FIELDS: usize = 64;
/// Most bytes of them.
pub const MAX_BYTES: usize = 16 * 1024;

const MALFORMED: Malformed = Malformed("the service sent malformed trailers");
const TOO_LARGE: Malformed = Malformed("the service sent trailers without end");

/// Takes the trailers of a chunked body out of the buffer, empty line and all, when they are whole.
///
/// # Errors
/// When they are malformed or too many.
pub(super) fn read(buffer: &mut BytesMut) -> Result<Option<HeaderMap>, Malformed> {
    // Nearly always there are none.
    if buffer.starts_with(b"\r\n") {
        buffer.advance(2);
        return Ok(Some(HeaderMap::new()));
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let (length, found) = match httparse::parse_headers(buffer, &mut fields) {
        Ok(httparse::Status::Complete(complete)) => complete,
        Ok(httparse::Status::Partial) if has_bare_line_feed(buffer) => return Err(MALFORMED),
        Ok(httparse::Status::Partial) if buffer.len() < MAX_BYTES => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => return Err(TOO_LARGE),
        Err(_) => return Err(MALFORMED),
    };
    let text = buffer.get(..length).unwrap_or_default();
    if length > MAX_BYTES {
        return Err(TOO_LARGE);
    }
    if has_bare_line_feed(text) {
        return Err(MALFORMED);
    }
    let mut trailers = HeaderMap::with_capacity(found.len());
    for field in found {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| MALFORMED)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| MALFORMED)?;
        if is_forwarded(&name) {
            trailers.append(name, value);
        }
    }
    buffer.advance(length);
    Ok(Some(trailers))
}

fn has_bare_line_feed(text: &[u8]) -> bool {
    let mut before = None;
    text.iter().any(|byte| {
        let is_bare = *byte == b'\n' && before != Some(b'\r');
        before = Some(*byte);
        is_bare
    })
}

/// Those of HTTP/2, whose framing is checked already.
///
/// # Errors
/// When they are too many.
pub(super) fn of_http2(trailers: HeaderMap) -> Result<HeaderMap, Malformed> {
    if trailers.len() > MAX_FIELDS {
        return Err(TOO_LARGE);
    }
    if trailers.keys().all(is_forwarded) {
        return Ok(trailers);
    }
    let kept = trailers.iter().filter(|(name, _)| is_forwarded(name));
    Ok(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// RFC 9110 §6.5.1.
fn is_forwarded(name: &HeaderName) -> bool {
    let name = name.as_str();
    !onward::is_dropped_from_answers(name)
        && !matches!(
            name,
            "age"
                | "authorization"
                | "cache-control"
                | "content-encoding"
                | "content-length"
                | "content-range"
                | "content-type"
                | "date"
                | "deprecation"
                | "expires"
                | "host"
                | "location"
                | "retry-after"
                | "set-cookie"
                | "sunset"
                | "trailer"
                | "vary"
                | "via"
                | "www-authenticate"
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(bytes: &[u8]) -> Result<Option<Vec<String>>, Malformed> {
        let trailers = read(&mut BytesMut::from(bytes))?;
        Ok(trailers.map(|trailers| trailers.keys().map(|name| name.as_str().to_owned()).collect()))
    }

    #[test]
    fn trailers_are_taken_whole_and_without_what_may_not_come_late() {
        assert_eq!(names(b"\r\nHTTP"), Ok(Some(Vec::new())));
        assert_eq!(names(b"\r"), Ok(None));
        assert_eq!(names(b"x-sum: 1\r\n"), Ok(None));
        let all = b"x-sum: 1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nKeyward-Account: x\r\nRateLimit: 1\r\n\
            X-Request-Id: x\r\nset-cookie: a\r\ngrpc-status: 0\r\n\r\n";
        assert_eq!(
            names(all),
            Ok(Some(vec!["x-sum".to_owned(), "grpc-status".to_owned()]))
        );
    }

    #[test]
    fn odd_or_endless_trailers_are_refused() {
        let odd: &[&[u8]] = &[
            b"x y: 1\r\n\r\n",
            b"x : 1\r\n\r\n",
            b"x\r\n\r\n",
            b"x: 1\n\r\n",
            b"x: 1\ny: 2",
            b"x: 1\r\n y\r\n\r\n",
            b"x: \0\r\n\r\n",
            b"\n",
        ];
        for bytes in odd {
            assert!(names(bytes).is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
        let many = b"a: b\r\n".repeat(MAX_FIELDS + 1);
        assert!(names(&many).is_err());
        let long = [b"a: ".as_slice(), &vec![b'x'; MAX_BYTES]].concat();
        assert!(names(&long).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = names(&bytes);
            let _ = names(&[b"a: ".as_slice(), &bytes, b"\r\n\r\n"].concat());
        }
    }
}
