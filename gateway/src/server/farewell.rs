//! The end of an HTTP/1.1 connection that the gateway ends while the client may still be sending.
//!
//! A head that could not be read is answered here, in the form that every refusal has. And who closes while bytes are
//! on their way makes the kernel reset the connection, and the client may lose the answer (RFC 9112 §9.6): so the gateway
//! says that it is done and reads on for a moment, bounded in time and bytes.

use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use memchr::memchr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::strict::StrictStream;
use super::strict::heads::is_other_version;
use crate::connection::Connection;
use crate::pipeline;
use crate::rejection::Rejection;

/// How HTTP/2 begins (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// Bytes that are read and thrown away at most.
const MOST: usize = 16 * 1024 * 1024;

/// Ends a connection after hyper has finished with it. `unread` is what hyper had read and not used.
pub(super) async fn say<S>(connection: &Rc<Connection>, mut stream: StrictStream<S>, unread: &[u8])
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let state = connection.state();
    if state.is_aborted() {
        return;
    }
    // To HTTP/2's preface hyper says nothing at all.
    let is_unreadable = stream.held_back().is_some() || (stream.is_quiet() && unread.starts_with(PREFACE));
    if is_unreadable {
        let status = stream.held_back().unwrap_or(StatusCode::BAD_REQUEST);
        let longest = connection.worker().terms().rules().config.bounds.uri;
        let answer = pipeline::refuse_unreadable(connection, rejection(status, unread, longest));
        if stream.inner().write_all(&whole(answer)).await.is_err() {
            return;
        }
    }
    if (is_unreadable || state.owes_body()) && !stream.is_at_end() {
        state.leaving();
        linger(stream.inner()).await;
    }
}

/// Why hyper could not read a head.
fn rejection(status: StatusCode, unread: &[u8], longest_target: usize) -> Rejection {
    let first_line = memchr(b'\n', unread).unwrap_or(unread.len());
    match status {
        _ if is_other_version(unread) => Rejection::VersionNotSupported,
        StatusCode::URI_TOO_LONG => Rejection::UriTooLong,
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE if first_line > longest_target => Rejection::UriTooLong,
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Rejection::HeadTooLarge,
        _ => Rejection::InvalidInput("the request is no well-formed HTTP/1.1"),
    }
}

/// An answer as it is sent past hyper.
fn whole(answer: Response<Bytes>) -> Vec<u8> {
    let (mut parts, body) = answer.into_parts();
    let date = httpdate::fmt_http_date(std::time::SystemTime::now());
    parts
        .headers
        .insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    parts
        .headers
        .insert(http::header::CONTENT_LENGTH, body.len().into());
    if let Ok(date) = HeaderValue::from_str(&date) {
        parts.headers.insert(http::header::DATE, date);
    }
    let reason = parts.status.canonical_reason().unwrap_or_default();
    let mut out = format!("HTTP/1.1 {} {reason}\r\n", parts.status.as_str()).into_bytes();
    for (name, value) in &parts.headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&body);
    out
}

async fn linger<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    if stream.shutdown().await.is_err() {
        return;
    }
    // On the heap: what is here would be part of every connection.
    let mut space = vec![0; 32 * 1024];
    let mut left = MOST;
    while left > 0 {
        match stream.read(&mut space).await {
            Ok(0) | Err(_) => return,
            Ok(count) => left = left.saturating_sub(count),
        }
    }
}
