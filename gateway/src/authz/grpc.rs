//! gRPC over HTTP/2, as much of it as unary calls need: five bytes before each message, and a status in the trailers
//! (gRPC's `PROTOCOL-HTTP2`). Framed by hand, because a worker's futures stay on their thread and tonic's server wants
//! such that may move. Nothing is compressed; a message over [`MAX_MESSAGE`] is refused before it is read.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, Version};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use prost::Message;

use super::proto::grpc::health::v1 as health;
use super::reply::Reply;
use super::{Asker, ext_authz, faulty};
use crate::grpc::{MESSAGE, STATUS};
use crate::rejection::Rejection;

/// Bytes that a message may have: a head and the piece of a body that Envoy may be told to send along.
pub const MAX_MESSAGE: usize = 1 << 20;

const PREFIX: usize = 5;
const APPLICATION_GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// How a gRPC call went, when it went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    code: u16,
    message: &'static str,
}

impl Status {
    /// A fault of ours.
    pub const INTERNAL: Self = Self::new(13, "the gateway failed to handle this call");
    const NO_SUCH_METHOD: Self = Self::new(12, "there is no such method");
    const NO_SUCH_SERVICE: Self = Self::new(5, "there is no such service");
    const COMPRESSED: Self = Self::new(12, "compressed messages are not understood");
    const TOO_LARGE: Self = Self::new(8, "the message is too large");
    const NOT_ONE_MESSAGE: Self = Self::new(13, "the body is not exactly one message");
    const MALFORMED: Self = Self::new(13, "the message can't be decoded");
    const LATE: Self = Self::new(4, "the message did not come in time");

    /// A code of gRPC with words for people, which are visible ASCII.
    #[must_use]
    pub const fn new(code: u16, message: &'static str) -> Self {
        Self { code, message }
    }
}

/// Answers one gRPC call.
pub(super) async fn answer(asker: &Asker, parts: &Parts, body: Incoming) -> Response<Reply> {
    if parts.version != Version::HTTP_2 || parts.method != Method::POST {
        return faulty(
            asker,
            &Rejection::InvalidInput("gRPC is spoken by POST over HTTP/2"),
        );
    }
    let within = asker.worker.terms().rules().config.timeouts.request_body_idle;
    let answered = match parts.uri.path() {
        ext_authz::METHOD => match read(body, within).await {
            Ok(question) => ext_authz::answer(asker, question).await,
            Err(status) => Err(status),
        },
        "/grpc.health.v1.Health/Check" => read(body, within).await.and_then(|question| how_it_is(&question)),
        _ => Err(Status::NO_SUCH_METHOD),
    };
    answered.unwrap_or_else(failed)
}

/// The answer to a call that went wrong: trailers alone.
pub(super) fn failed(status: Status) -> Response<Reply> {
    let mut response = Response::new(Reply::default());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, APPLICATION_GRPC);
    headers.insert(STATUS, status.code.into());
    headers.insert(MESSAGE, HeaderValue::from_static(status.message));
    response
}

/// The answer with this message.
pub(super) fn succeeded(message: &impl Message) -> Response<Reply> {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // There is room: it was asked for.
    let _ = message.encode(&mut bytes);
    let trailers = HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))]);
    let mut response = Response::new(Reply::of(bytes.freeze()).with_trailers(trailers));
    response.headers_mut().insert(CONTENT_TYPE, APPLICATION_GRPC);
    response
}

async fn read<M: Message + Default>(body: Incoming, within: Duration) -> Result<M, Status> {
    let body = Limited::new(body, PREFIX + MAX_MESSAGE).collect();
    match tokio::time::timeout(within, body).await {
        Err(_) => Err(Status::LATE),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Status::TOO_LARGE),
        Ok(Err(_)) => Err(Status::NOT_ONE_MESSAGE),
        Ok(Ok(body)) => message(body.to_bytes()),
    }
}

pub(super) fn message<M: Message + Default>(mut body: Bytes) -> Result<M, Status> {
    let Some((&[flag, a, b, c, d], _)) = body.split_first_chunk::<PREFIX>() else {
        return Err(Status::NOT_ONE_MESSAGE);
    };
    match flag {
        0 => {}
        1 => return Err(Status::COMPRESSED),
        _ => return Err(Status::NOT_ONE_MESSAGE),
    }
    let announced = u64::from(u32::from_be_bytes([a, b, c, d]));
    if announced > MAX_MESSAGE as u64 {
        return Err(Status::TOO_LARGE);
    }
    let message = body.split_off(PREFIX);
    if announced != message.len() as u64 {
        return Err(Status::NOT_ONE_MESSAGE);
    }
    M::decode(message).map_err(|_| Status::MALFORMED)
}

/// It serves as long as it answers; a gateway that can't decide yet says so by its decisions.
fn how_it_is(question: &health::HealthCheckRequest) -> Result<Response<Reply>, Status> {
    match question.service.as_str() {
        "" | ext_authz::SERVICE => Ok(succeeded(&health::HealthCheckResponse {
            status: health::health_check_response::ServingStatus::Serving.into(),
        })),
        _ => Err(Status::NO_SUCH_SERVICE),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::authz::proto::envoy::service::auth::v3::CheckRequest;

    fn check(body: &[u8]) -> Result<CheckRequest, Status> {
        message(Bytes::copy_from_slice(body))
    }

    #[test]
    fn one_whole_message_is_taken_and_nothing_else() {
        assert!(check(&[0, 0, 0, 0, 0]).is_ok());
        let refused = |body: &[u8]| check(body).err().unwrap();
        assert_eq!(refused(&[]), Status::NOT_ONE_MESSAGE);
        assert_eq!(refused(&[0, 0, 0, 0]), Status::NOT_ONE_MESSAGE);
        assert_eq!(refused(&[0, 0, 0, 0, 1]), Status::NOT_ONE_MESSAGE);
        assert_eq!(refused(&[0, 0, 0, 0, 0, 0]), Status::NOT_ONE_MESSAGE);
        assert_eq!(refused(&[1, 0, 0, 0, 0]), Status::COMPRESSED);
        assert_eq!(refused(&[2, 0, 0, 0, 0]), Status::NOT_ONE_MESSAGE);
        assert_eq!(refused(&[0, 0xff, 0, 0, 0]), Status::TOO_LARGE);
        assert_eq!(refused(&[0, 0, 0, 0, 1, 0xff]), Status::MALFORMED);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = check(&bytes);
            let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
            let _ = check(&[&[0], &length[..], &bytes].concat());
        }
    }
}
