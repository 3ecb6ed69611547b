//! One interpretation of a request's head, or none: what hyper leaves to us (RFC 9112 §3, §6; RFC 9110 §7).
//!
//! [`parse`] is the only maker of [`Parsed`]; nothing later looks at the target or the framing again. A clean
//! head costs a few header look-ups and no allocation.

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Version};

use crate::path::{self, Normalised, PathError};
use crate::rejection::Rejection;

/// A head that can be read in one way only.
#[derive(Debug)]
pub struct Parsed<'a> {
    /// Authority without port, as the client wrote it; empty for HTTP/1.0 without `Host`.
    pub host: &'a str,
    /// The path that is matched and forwarded.
    pub path: Normalised<'a>,
    /// What follows the first `?`.
    pub query: Option<&'a str>,
    /// The length that the client announced, in bytes; `None` for chunked bodies.
    pub announced_length: Option<u64>,
}

/// What a request asks for.
#[derive(Debug)]
pub enum Target<'a> {
    /// Something behind the gateway.
    Resource(Parsed<'a>),
    /// `OPTIONS *`: the gateway itself.
    Server,
}

/// The methods that a route can have at all.
pub const ALLOWED: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// Reads a head; `uri_bound` is `bounds.uri` in bytes.
///
/// # Errors
/// Row 1, and 405 for CONNECT and TRACE.
pub fn parse(parts: &Parts, uri_bound: usize) -> Result<Target<'_>, Rejection> {
    if parts.method == Method::CONNECT || parts.method == Method::TRACE {
        return Err(Rejection::MethodNotAllowed(ALLOWED));
    }
    check_framing(&parts.headers, parts.version)?;
    let authority = authority(parts)?;
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    if target.len() > uri_bound {
        return Err(Rejection::UriTooLong);
    }
    let (raw_path, query) = (parts.uri.path(), parts.uri.query());
    if raw_path == "*" {
        let is_options = parts.method == Method::OPTIONS;
        return if is_options {
            Ok(Target::Server)
        } else {
            Err(bad("`*` is a target for OPTIONS alone"))
        };
    }
    if !raw_path.starts_with('/') {
        return Err(bad("the request target must be a path that begins with `/`"));
    }
    let path = path::normalise(raw_path).map_err(|error| bad(reason(error)))?;
    let announced_length = parts
        .headers
        .get(CONTENT_LENGTH)
        .filter(|_| !parts.headers.contains_key(TRANSFER_ENCODING))
        .and_then(|value| value.to_str().ok()?.parse().ok());
    Ok(Target::Resource(Parsed {
        host: host_of(authority),
        path,
        query,
        announced_length,
    }))
}

/// `Transfer-Encoding` is absent or exactly `chunked`; `Content-Length` is one number. Both together hyper
/// frames by `chunked` alone and closes after the answer (RFC 9112 §6.3).
fn check_framing(headers: &HeaderMap, version: Version) -> Result<(), Rejection> {
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(encoding) = encodings.next() {
        let is_chunked = encoding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
        if !is_chunked || encodings.next().is_some() || version < Version::HTTP_11 {
            return Err(bad(
                "the only Transfer-Encoding that is understood is a single `chunked`",
            ));
        }
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        let is_number = !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
        if !is_number || lengths.next().is_some() {
            return Err(bad("Content-Length must be one whole number"));
        }
    }
    Ok(())
}

/// Exactly one valid authority, the same in the target (when it is in absolute form) and in `Host`.
fn authority(parts: &Parts) -> Result<&str, Rejection> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().map_err(|_| bad("the Host header is malformed"))?,
        (None, _) if parts.version < Version::HTTP_11 => "",
        (None, _) => return Err(bad("a Host header is required")),
        (Some(_), Some(_)) => return Err(bad("the Host header occurs twice")),
    };
    let is_absent = host.is_empty() && parts.version < Version::HTTP_11;
    if !is_absent && !is_authority(host) {
        return Err(bad("the Host header is malformed"));
    }
    match parts.uri.authority() {
        Some(target) if !target.as_str().eq_ignore_ascii_case(host) => {
            Err(bad("the target's authority is not the Host"))
        }
        _ => Ok(host),
    }
}

/// `reg-name`, IPv4 or bracketed IPv6, with an optional port; no userinfo (RFC 3986 §3.2 without the parts that
/// HTTP forbids or nobody uses).
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            let is_address = address.parse::<std::net::Ipv6Addr>().is_ok();
            return is_address && (port.is_empty() || is_port(port.strip_prefix(':')));
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~');
    !host.is_empty() && host.bytes().all(is_name) && (port.is_none() || is_port(port))
}

fn is_port(port: Option<&str>) -> bool {
    port.is_some_and(|port| port.parse::<u16>().is_ok() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

fn host_of(authority: &str) -> &str {
    match authority.rfind(']') {
        Some(end) => authority.get(..=end).unwrap_or(authority),
        None => authority.split(':').next().unwrap_or(authority),
    }
}

fn reason(error: PathError) -> &'static str {
    match error {
        PathError::NotAbsolute => "the request target must be a path that begins with `/`",
        PathError::Escape => "the path has a `%` without two hex digits after it",
        PathError::Control => "the path has a control character",
        PathError::Backslash => "the path has a backslash",
        PathError::Reserved => "the path has a character that must be percent-encoded",
        PathError::NotUtf8 => "the path is not UTF-8",
        PathError::AboveRoot => "the path leaves the root",
        PathError::DisguisedDots => "the path has disguised dot segments",
    }
}

fn bad(reason: &'static str) -> Rejection {
    Rejection::InvalidInput(reason)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[track_caller]
    fn check(request: http::request::Builder, expected: Result<(&str, &str), u16>) {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let read = parse(&parts, 100).map(|target| match target {
            Target::Resource(parsed) => (parsed.host.to_owned(), parsed.path.as_str().to_owned()),
            Target::Server => ("*".into(), "*".into()),
        });
        let read = read.map_err(|rejection| rejection.status().as_u16());
        assert_eq!(
            read,
            expected.map(|(host, path)| (host.to_owned(), path.to_owned()))
        );
    }

    fn get(target: &str) -> http::request::Builder {
        Request::builder().uri(target).header("host", "api.example:8080")
    }

    #[test]
    fn a_clean_head_is_read() {
        check(get("/a/b?x=1"), Ok(("api.example", "/a/b")));
        check(get("/a/./c/../b"), Ok(("api.example", "/a/b")));
        check(get("http://api.example:8080/a"), Ok(("api.example", "/a")));
        check(
            Request::builder().uri("/a").header("host", "[2001:db8::1]:80"),
            Ok(("[2001:db8::1]", "/a")),
        );
        check(
            Request::builder().uri("/a").version(Version::HTTP_10),
            Ok(("", "/a")),
        );
    }

    #[test]
    fn a_host_is_exactly_one_valid_authority() {
        for host in [
            "", "a b", "a@evil", "a/path", "a:port", "a:", "[::1", "[zz]", "a:99999", ":80", "a:+1",
        ] {
            check(Request::builder().uri("/").header("host", host), Err(400));
        }
        check(Request::builder().uri("/"), Err(400));
        check(
            Request::builder()
                .uri("/")
                .header("host", "a")
                .header("host", "a"),
            Err(400),
        );
    }

    #[test]
    fn an_absolute_target_must_name_the_host() {
        check(get("http://other.example/a"), Err(400));
        check(get("http://user@api.example:8080/a"), Err(400));
    }

    #[test]
    fn odd_framing_is_refused() {
        for encoding in [
            ",chunked",
            "chunked, chunked",
            "gzip, chunked",
            "identity",
            "xchunked",
            "",
        ] {
            check(get("/").header("transfer-encoding", encoding), Err(400));
        }
        check(
            get("/")
                .header("transfer-encoding", "chunked")
                .header("transfer-encoding", "chunked"),
            Err(400),
        );
        check(
            get("/").header("transfer-encoding", "Chunked"),
            Ok(("api.example", "/")),
        );
        check(get("/").header("content-length", "+5"), Err(400));
        check(
            get("/")
                .header("content-length", "5")
                .header("content-length", "5"),
            Err(400),
        );
    }

    #[test]
    fn a_length_beside_chunks_announces_nothing() {
        let both = get("/")
            .header("content-length", "5")
            .header("transfer-encoding", "chunked");
        let (parts, ()) = both.body(()).unwrap().into_parts();
        let Ok(Target::Resource(parsed)) = parse(&parts, 100) else {
            panic!("it was refused")
        };
        assert_eq!(parsed.announced_length, None);
    }

    #[test]
    fn connect_and_trace_are_not_allowed() {
        check(get("/").method("TRACE"), Err(405));
        check(
            Request::builder()
                .method("CONNECT")
                .uri("a:80")
                .header("host", "a:80"),
            Err(405),
        );
    }

    #[test]
    fn an_asterisk_is_for_options_alone() {
        check(get("*").method("OPTIONS"), Ok(("*", "*")));
        check(get("*"), Err(400));
    }

    #[test]
    fn a_target_over_the_bound_is_414() {
        check(
            get(&format!("/{}", "a".repeat(99))),
            Ok(("api.example", &format!("/{}", "a".repeat(99)))),
        );
        check(get(&format!("/{}", "a".repeat(100))), Err(414));
    }
}
