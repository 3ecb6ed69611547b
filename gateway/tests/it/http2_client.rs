//! An HTTP/2 client for these tests: calls on streams of one connection, and frames by hand.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;

use crate::fixture::{Answer, World};

/// A connection.
#[derive(Clone)]
pub(crate) struct Http2 {
    requests: SendRequest<Bytes>,
    handle: Handle,
}

/// A call's answer, with what came after it.
pub(crate) struct Whole {
    pub(crate) answer: Answer,
    pub(crate) trailers: Option<HeaderMap>,
    /// How the stream broke off, if it did.
    pub(crate) reset: Option<h2::Error>,
}

impl Http2 {
    /// In clear text, by prior knowledge.
    pub(crate) fn open(world: &World) -> Self {
        Self::to(world.proxy, world.runtime.handle())
    }

    /// In clear text to this address.
    pub(crate) fn to(address: SocketAddr, runtime: &Handle) -> Self {
        let stream = runtime.block_on(tokio::net::TcpStream::connect(address));
        Self::on(stream.unwrap(), runtime)
    }

    pub(crate) fn over(world: &World, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        Self::on(stream, world.runtime.handle())
    }

    fn on(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, runtime: &Handle) -> Self {
        let (requests, connection) = runtime
            .block_on(h2::client::Builder::new().handshake(stream))
            .unwrap();
        runtime.spawn(async move {
            let _ended = connection.await;
        });
        Self {
            requests,
            handle: runtime.clone(),
        }
    }

    /// Begins a call; its body is over when `body` is `None`.
    pub(crate) fn begin(
        &self,
        request: Request<()>,
        body: Option<&str>,
    ) -> (ResponseFuture, h2::SendStream<Bytes>) {
        let begin = async {
            let mut requests = self.requests.clone().ready().await.unwrap();
            let (response, mut stream) = requests.send_request(request, body.is_none()).unwrap();
            if let Some(body) = body {
                stream
                    .send_data(Bytes::copy_from_slice(body.as_bytes()), false)
                    .unwrap();
            }
            (response, stream)
        };
        self.handle.block_on(begin)
    }

    pub(crate) fn finish(&self, response: ResponseFuture) -> Whole {
        self.handle.block_on(whole(response))
    }

    pub(crate) fn call(&self, request: Request<()>) -> Whole {
        let (response, _stream) = self.begin(request, None);
        self.finish(response)
    }

    pub(crate) fn get(&self, path: &str, headers: &[(&str, &str)]) -> Whole {
        self.call(get(path, headers))
    }

    /// A call with this head; `None` when the connection takes no more, and then nothing was sent.
    pub(crate) fn try_get(&self, path: &str, headers: &[(&str, &str)]) -> Option<Whole> {
        let request = get(path, headers);
        let call = async {
            let mut requests = self.requests.clone().ready().await.ok()?;
            let (response, _stream) = requests.send_request(request, true).ok()?;
            Some(whole(response).await)
        };
        self.handle.block_on(call)
    }

    /// Whether it still takes calls.
    pub(crate) fn is_open(&self) -> bool {
        let ready = async { self.requests.clone().ready().await.is_ok() };
        self.handle.block_on(ready)
    }
}

pub(crate) fn get(path: &str, headers: &[(&str, &str)]) -> Request<()> {
    let request = Request::get(format!("http://api.example{path}"));
    let request = headers
        .iter()
        .fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(()).unwrap()
}

pub(crate) async fn whole(response: ResponseFuture) -> Whole {
    match response.await {
        Ok(response) => rest(response).await,
        Err(error) => Whole {
            answer: Answer {
                status: 0,
                headers: Vec::new(),
                body: Vec::new(),
            },
            trailers: None,
            reset: Some(error),
        },
    }
}

/// What follows the head of an answer.
pub(crate) async fn rest(response: http::Response<RecvStream>) -> Whole {
    let (head, mut body) = response.into_parts();
    let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (
            name.as_str().to_owned(),
            value.to_str().unwrap_or_default().to_owned(),
        )
    };
    let mut answer = Answer {
        status: head.status.as_u16(),
        headers: head.headers.iter().map(text).collect(),
        body: Vec::new(),
    };
    let reset = read(&mut body, &mut answer.body).await.err();
    let trailers = match reset {
        None => body.trailers().await.ok().flatten(),
        Some(_) => None,
    };
    Whole {
        answer,
        trailers,
        reset,
    }
}

async fn read(body: &mut RecvStream, into: &mut Vec<u8>) -> Result<(), h2::Error> {
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        into.extend_from_slice(&piece);
    }
    Ok(())
}

/// A connection on which frames are written by hand.
pub(crate) struct Frames(pub(crate) TcpStream);

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Frames {
    /// After the preface and an empty SETTINGS.
    pub(crate) fn open(world: &World) -> Self {
        let mut stream = world.connect();
        stream.write_all(PREFACE).unwrap();
        stream.write_all(&frame(4, 0, 0, &[])).unwrap();
        Self(stream)
    }

    /// Sends; `false` when the connection has ended.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    /// Reads until the connection ends; the types of the frames that came.
    pub(crate) fn until_end(&mut self) -> Vec<u8> {
        self.0.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut kinds = Vec::new();
        while let Some((kind, ..)) = self.next() {
            kinds.push(kind);
        }
        kinds
    }

    /// The next frame's type, flags, stream and payload; `None` when the connection has ended.
    pub(crate) fn next(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut header = [0; 9];
        if let Err(error) = self.0.read_exact(&mut header) {
            let is_late = matches!(
                error.kind(),
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
            );
            assert!(!is_late, "the connection neither ends nor says anything");
            return None;
        }
        let [a, b, c, kind, flags, d, e, f, g] = header;
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap()];
        self.0.read_exact(&mut payload).ok()?;
        Some((kind, flags, u32::from_be_bytes([d & 0x7f, e, f, g]), payload))
    }
}

/// A frame (RFC 9113 §4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A block of fields, each literal and never indexed (RFC 7541 §6.2.3).
pub(crate) fn fields(list: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in list {
        block.push(0x10);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541 §5.1).
fn length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        block.push(u8::try_from(length).unwrap());
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap() | 0x80);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}

/// The head of `GET path` on a stream, whole.
pub(crate) fn head(stream: u32, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    head_in_pieces(stream, path, more, usize::MAX)
}

/// The same in frames of at most so many bytes (RFC 9113 §6.10).
pub(crate) fn head_in_pieces(stream: u32, path: &str, more: &[(&str, &str)], longest: usize) -> Vec<u8> {
    let mut list = vec![
        (":method", "GET"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "api.example"),
    ];
    list.extend_from_slice(more);
    let block = fields(&list);
    let count = block.len().div_ceil(longest);
    let pieces = block.chunks(longest).enumerate().map(|(index, piece)| {
        let (kind, flags) = if index == 0 { (1, 1) } else { (9, 0) };
        let is_last = index + 1 == count;
        frame(kind, flags | if is_last { 4 } else { 0 }, stream, piece)
    });
    pieces.flatten().collect()
}
