//! The shape of `[timeouts]` and `[bounds]`: how long each part of a call may take, and how much of each thing is taken.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::leaf::unit::{Rate, Size, Time};

/// How long each part of a call may take.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Timeouts {
    /// From accepting a connection to its first byte.
    pub(crate) first_byte: Time,
    /// From accepting a connection that begins with the PROXY protocol or TLS to the end of that beginning.
    pub(crate) handshake: Time,
    /// From the first byte of a request to the end of its head.
    pub(crate) request_headers: Time,
    /// Between two pieces of a request body.
    pub(crate) request_body_idle: Time,
    /// The least of a request body that must come each second, once it was waited for longer than that.
    pub(crate) request_body_rate: Size,
    /// How long a write to the client may make no progress.
    pub(crate) write_stall: Time,
    /// How long a kept connection may wait for its next request.
    pub(crate) idle: Time,
    /// How long a client may leave a PING of ours unanswered on an HTTP/2 connection; one is sent as often.
    pub(crate) http2_ping: Time,
    /// How long a connection in another protocol, such as a WebSocket, may be silent both ways.
    pub(crate) upgraded_idle: Time,
    /// To connect to an upstream.
    pub(crate) connect: Time,
    /// From the end of the request to the head of the upstream's answer.
    pub(crate) response_headers: Time,
    /// The whole call.
    pub(crate) request: Time,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            first_byte: Time::seconds(10),
            handshake: Time::seconds(10),
            request_headers: Time::seconds(10),
            request_body_idle: Time::seconds(10),
            request_body_rate: Size(240),
            write_stall: Time::seconds(30),
            idle: Time::seconds(60),
            http2_ping: Time::seconds(20),
            upgraded_idle: Time::seconds(600),
            connect: Time::seconds(1),
            response_headers: Time::seconds(30),
            request: Time::seconds(300),
        }
    }
}

/// How much of each thing is taken.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Bounds {
    /// Open client connections.
    pub(crate) connections: u64,
    /// Calls in flight; more are answered 503.
    pub(crate) concurrent_requests: u64,
    /// Header fields of a request.
    pub(crate) headers: u64,
    /// Bytes of a request's head.
    pub(crate) head: Size,
    /// Bytes of a request's target.
    pub(crate) uri: Size,
    /// Bytes of a request's body, where its route says nothing else.
    pub(crate) body: Size,
    /// Calls at the same time on one HTTP/2 connection.
    pub(crate) http2_streams: u64,
    /// How many calls a client may take back on one HTTP/2 connection; five times as many at once.
    pub(crate) http2_resets: Rate,
    /// How many frames that carry next to nothing a client may send on one HTTP/2 connection; five times as many at
    /// once, and more where it carries much.
    pub(crate) http2_empty_frames: Rate,
    /// CONTINUATION frames of one head over HTTP/2.
    pub(crate) http2_continuations: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 10_000,
            concurrent_requests: 4_096,
            headers: 100,
            head: Size(32 << 10),
            uri: Size(8 << 10),
            body: Size(100 << 20),
            http2_streams: 100,
            http2_resets: Rate(200),
            http2_empty_frames: Rate(2_000),
            http2_continuations: 16,
        }
    }
}
