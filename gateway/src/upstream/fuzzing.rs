//! For the fuzz targets alone (`tests/fuzz`): what follows an answer's body, and a request as it is handed to HTTP/2.

use bytes::BytesMut;
use http::uri::Scheme;
use http::{HeaderMap, Request};

use super::framing::Malformed;
use super::request::{Fields, RequestHead};
use super::trailers;

/// Takes the trailers of a chunked body out of the buffer, when they are whole.
///
/// # Errors
/// When they are malformed or too many.
pub fn trailers(buffer: &mut BytesMut) -> Result<Option<HeaderMap>, Malformed> {
    trailers::read(buffer)
}

/// What is kept of the trailers of HTTP/2.
///
/// # Errors
/// When they are too many.
pub fn trailers_of_http2(sent: HeaderMap) -> Result<HeaderMap, Malformed> {
    trailers::of_http2(sent)
}

/// A head for HTTP/2 that nothing has been told yet.
#[must_use]
pub fn http2_head() -> RequestHead {
    RequestHead::Http2(Box::new(Fields::new(Scheme::HTTP)))
}

/// The request that is handed over; `None` when it can't be said in HTTP/2.
#[must_use]
pub fn http2_request(head: RequestHead) -> Option<Request<()>> {
    match head {
        RequestHead::Http2(fields) => fields.into_request(),
        RequestHead::Http1(_) => None,
    }
}
