//! A forwarded request's head, in the form that its upstream reads: lines of HTTP/1.1, or fields of HTTP/2.
//!
//! What is in it is decided once, by [`crate::onward`], and told to a [`HeadSink`]. The lines are written straight into the
//! bytes that are sent; the fields cost a map.

use http::header::{HOST, TE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

/// What a head is told to.
pub trait HeadSink {
    /// Its first line.
    fn begin(&mut self, method: &Method, target: &str);
    /// A field, its value in pieces.
    fn pieces(&mut self, name: &[u8], value: &[&[u8]]);
    /// A field of the client's own, which goes on as it is.
    fn copy(&mut self, name: &HeaderName, value: &HeaderValue);
    /// Fields that were made into lines before.
    fn lines(&mut self, lines: &[u8]);
    /// The body comes in chunks, its length unknown.
    fn chunked(&mut self);
    /// The client asks to go on in this protocol.
    fn upgrade(&mut self, protocol: &HeaderValue);
    /// Trailers are welcome, to a gRPC call.
    fn trailers_welcome(&mut self);
    /// That was all.
    fn end(&mut self);

    /// A field.
    fn field(&mut self, name: &[u8], value: &[u8]) {
        self.pieces(name, &[value]);
    }
}

/// The head of one request.
#[derive(Debug)]
pub enum RequestHead {
    /// As it is sent.
    Http1(Vec<u8>),
    /// As it is handed to HTTP/2.
    Http2(Box<Fields>),
}

impl HeadSink for Vec<u8> {
    fn begin(&mut self, method: &Method, target: &str) {
        for part in [method.as_str(), " ", target, " HTTP/1.1\r\n"] {
            self.extend_from_slice(part.as_bytes());
        }
    }

    fn pieces(&mut self, name: &[u8], value: &[&[u8]]) {
        self.extend_from_slice(name);
        self.extend_from_slice(b": ");
        value.iter().for_each(|piece| self.extend_from_slice(piece));
        self.extend_from_slice(b"\r\n");
    }

    fn copy(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.field(name.as_str().as_bytes(), value.as_bytes());
    }

    fn lines(&mut self, lines: &[u8]) {
        self.extend_from_slice(lines);
    }

    fn chunked(&mut self) {
        self.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }

    fn upgrade(&mut self, protocol: &HeaderValue) {
        self.field(b"connection", b"upgrade");
        self.field(b"upgrade", protocol.as_bytes());
    }

    fn trailers_welcome(&mut self) {}

    fn end(&mut self) {
        self.extend_from_slice(b"\r\n");
    }
}

/// A request's fields for HTTP/2 (RFC 9113 §8.3.1): `Host` is `:authority`, and what belongs to a connection is not there.
#[derive(Debug)]
pub struct Fields {
    scheme: Scheme,
    method: Method,
    target: Option<PathAndQuery>,
    authority: Option<Authority>,
    headers: HeaderMap,
}

impl Fields {
    pub(super) fn new(scheme: Scheme) -> Self {
        Self {
            scheme,
            method: Method::GET,
            target: None,
            authority: None,
            headers: HeaderMap::with_capacity(32),
        }
    }

    /// The whole; `None` when target or authority can't be said in HTTP/2.
    pub(super) fn into_request(self) -> Option<Request<()>> {
        let uri = Uri::builder()
            .scheme(self.scheme)
            .authority(self.authority?)
            .path_and_query(self.target?)
            .build()
            .ok()?;
        let mut request = Request::new(());
        *request.method_mut() = self.method;
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.headers;
        Some(request)
    }

    fn add(&mut self, name: HeaderName, value: HeaderValue) {
        if name == HOST {
            self.authority = Authority::from_maybe_shared(value).ok();
        } else {
            self.headers.append(name, value);
        }
    }
}

impl HeadSink for Fields {
    fn begin(&mut self, method: &Method, target: &str) {
        self.method = method.clone();
        self.target = target.parse().ok();
    }

    fn pieces(&mut self, name: &[u8], value: &[&[u8]]) {
        let value = match value {
            [value] => HeaderValue::from_bytes(value),
            pieces => HeaderValue::from_bytes(&pieces.concat()),
        };
        // Names and values are checked before they come here; what slipped through is not sent.
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), value) {
            self.add(name, value);
        }
    }

    fn copy(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.add(name.clone(), value.clone());
    }

    fn lines(&mut self, lines: &[u8]) {
        for line in lines.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let mut parts = line.splitn(2, |byte| *byte == b':');
            if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
                self.field(name, value.trim_ascii());
            }
        }
    }

    fn chunked(&mut self) {}

    fn upgrade(&mut self, _protocol: &HeaderValue) {}

    fn trailers_welcome(&mut self) {
        self.headers.insert(TE, HeaderValue::from_static("trailers"));
    }

    fn end(&mut self) {}
}
