//! What is answered to which path.
//!
//! | path | answer |
//! |---|---|
//! | `/status/{code}` | the echo, with that status (200 to 599) |
//! | `/delay/{ms}` | the echo, after that time (at most ten minutes) |
//! | `/bytes/{n}` | `n` bytes `x`, with `Content-Length` |
//! | `/stream/{chunks}` | so many chunks, one line each, chunked |
//! | `/plain` | `Hello, world!`: the cheapest answer there is |
//! | `/count` | `{"count": n}`: calls seen so far, to `/count` itself aside |
//! | any other | the echo |
//!
//! The echo is JSON: `method`, `target` (path and query as received), `path`, `query`, `version`, `headers`
//! (each name with the list of its values, in order), `body_length`, `body` (its text if it is UTF-8 of at
//! most 64 KiB, else `null`) and `trailers`. A special path with a bad number is 400; a request body over
//! 1 GiB is 413.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Request, Response, StatusCode, Version};
use serde_json::{Map, Value, json};

use crate::body::AnswerBody;

const LONGEST_KEPT_BODY: usize = 64 * 1024;
const LONGEST_BODY: u64 = 1 << 30;
const LONGEST_DELAY: Duration = Duration::from_secs(600);

/// How many calls were seen.
#[derive(Debug, Default)]
pub struct Seen(AtomicU64);

/// Answers one call.
pub(crate) async fn to(request: Request<Incoming>, seen: &Seen) -> Response<AnswerBody> {
    let path = request.uri().path();
    if path == "/count" {
        let count = seen.0.load(Ordering::Relaxed);
        return json_answer(StatusCode::OK, &json!({ "count": count }));
    }
    seen.0.fetch_add(1, Ordering::Relaxed);
    if path == "/plain" {
        return text_answer(AnswerBody::Whole(Bytes::from_static(b"Hello, world!")));
    }
    let mut segments = path.splitn(3, '/').skip(1);
    match (segments.next(), segments.next().map(str::parse::<u64>)) {
        (Some("status"), Some(code)) => match code.ok().and_then(final_status) {
            Some(status) => echo(request, status).await,
            None => refusal("a status is a number from 200 to 599"),
        },
        (Some("delay"), Some(Ok(delay))) => {
            tokio::time::sleep(Duration::from_millis(delay).min(LONGEST_DELAY)).await;
            echo(request, StatusCode::OK).await
        }
        (Some("bytes"), Some(Ok(length))) => text_answer(AnswerBody::Bytes(length)),
        (Some("stream"), Some(Ok(total))) => text_answer(AnswerBody::Chunks { next: 0, total }),
        (Some("delay" | "bytes" | "stream"), Some(Err(_))) => refusal("the last segment must be a number"),
        _ => echo(request, StatusCode::OK).await,
    }
}

fn final_status(code: u64) -> Option<StatusCode> {
    let code = u16::try_from(code)
        .ok()
        .filter(|code| (200..600).contains(code))?;
    StatusCode::from_u16(code).ok()
}

async fn echo(request: Request<Incoming>, status: StatusCode) -> Response<AnswerBody> {
    let (head, body) = request.into_parts();
    match Received::read(body).await {
        Ok(received) => json_answer(status, &echoed(&head, &received)),
        Err(BodyFault::TooLong) => {
            let told = json!({ "error": "the request's body is over 1 GiB" });
            json_answer(StatusCode::PAYLOAD_TOO_LARGE, &told)
        }
        Err(BodyFault::Broken) => refusal("the request's body broke off"),
    }
}

fn echoed(head: &Parts, received: &Received) -> Value {
    json!({
        "method": head.method.as_str(),
        "target": head.uri.to_string(),
        "path": head.uri.path(),
        "query": head.uri.query(),
        "version": match head.version {
            Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        },
        "headers": lists(&head.headers),
        "body_length": received.length,
        "body": received.text(),
        "trailers": lists(&received.trailers),
    })
}

fn lists(headers: &HeaderMap) -> Value {
    let mut lists = Map::new();
    for name in headers.keys() {
        let values = headers.get_all(name).iter();
        let values = values
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into())
            .collect();
        lists.insert(name.as_str().to_owned(), Value::Array(values));
    }
    Value::Object(lists)
}

/// A request's body, as far as it is kept.
#[derive(Default)]
struct Received {
    length: u64,
    kept: Vec<u8>,
    trailers: HeaderMap,
}

enum BodyFault {
    TooLong,
    Broken,
}

impl Received {
    async fn read(mut body: Incoming) -> Result<Self, BodyFault> {
        let mut received = Self::default();
        while let Some(frame) = body.frame().await {
            match frame.map_err(|_| BodyFault::Broken)?.into_data() {
                Ok(data) => received.take(&data)?,
                Err(frame) => received.trailers = frame.into_trailers().unwrap_or_default(),
            }
        }
        Ok(received)
    }

    fn take(&mut self, data: &[u8]) -> Result<(), BodyFault> {
        self.length += data.len() as u64;
        if self.length > LONGEST_BODY {
            return Err(BodyFault::TooLong);
        }
        let room = LONGEST_KEPT_BODY.saturating_sub(self.kept.len());
        self.kept.extend(data.iter().take(room));
        Ok(())
    }

    fn text(&self) -> Option<&str> {
        let whole = self.kept.len() as u64 == self.length;
        std::str::from_utf8(&self.kept).ok().filter(|_| whole)
    }
}

fn refusal(why: &str) -> Response<AnswerBody> {
    json_answer(StatusCode::BAD_REQUEST, &json!({ "error": why }))
}

fn json_answer(status: StatusCode, json: &Value) -> Response<AnswerBody> {
    // 204 and 304 have no body, and 205 has an empty one.
    let bodiless = matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
    );
    let body = if bodiless {
        Bytes::new()
    } else {
        Bytes::from(json.to_string())
    };
    let mut answer = Response::new(AnswerBody::Whole(body));
    *answer.status_mut() = status;
    if !bodiless {
        let json = HeaderValue::from_static("application/json");
        answer.headers_mut().insert(CONTENT_TYPE, json);
    }
    answer
}

fn text_answer(body: AnswerBody) -> Response<AnswerBody> {
    let mut answer = Response::new(body);
    let text = HeaderValue::from_static("text/plain");
    answer.headers_mut().insert(CONTENT_TYPE, text);
    answer
}
