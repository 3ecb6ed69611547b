//! A client that sends bytes as it is told and reads answers strictly.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// In what way the bytes of a case come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// In one write, on a connection of their own.
    Whole,
    /// In a write a line; thousands of them in a thousand pieces, which end anywhere.
    Lines,
    /// In a write a byte; long ones in a thousand pieces.
    Bytes,
    /// On a connection on which a good call was answered.
    Kept,
    /// In one write with a good call before them.
    Pipelined,
}

impl Delivery {
    pub(super) const ALL: [Self; 5] = [Self::Whole, Self::Lines, Self::Bytes, Self::Kept, Self::Pipelined];

    fn pieces(self, bytes: &[u8]) -> Vec<&[u8]> {
        match self {
            Self::Whole | Self::Kept | Self::Pipelined => vec![bytes],
            Self::Bytes => bytes.chunks((bytes.len() / 1000).max(1)).collect(),
            // On a busy machine so many writes take longer than a head may.
            Self::Lines if bytes.iter().filter(|byte| **byte == b'\n').count() > 1000 => {
                bytes.chunks(bytes.len() / 1000).collect()
            }
            Self::Lines => {
                let mut cut = Vec::new();
                for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                    // Also between CR and LF.
                    match line.strip_suffix(b"\r\n") {
                        Some(text) => cut.extend([&line[..=text.len()], &line[text.len() + 1..]]),
                        None => cut.push(line),
                    }
                }
                cut
            }
        }
    }
}

/// What was not as it must be.
#[derive(Debug)]
pub(super) struct Fault(pub(super) String);

/// An answer as it came.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// The values of a field.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.head
            .split("\r\n")
            .filter_map(|line| line.split_once(": "))
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    pub(super) fn code(&self) -> Option<String> {
        let body: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        Some(body["error"]["code"].as_str()?.to_owned())
    }
}

/// A connection to the gateway.
pub(super) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(super) fn connect(gateway: SocketAddr) -> Self {
        let stream = TcpStream::connect(gateway).unwrap();
        stream.set_nodelay(true).unwrap();
        for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
            set(&stream, Some(Duration::from_secs(10))).unwrap();
        }
        let buffer = Vec::new();
        Self { stream, buffer }
    }

    /// Sends; a gateway that has had enough may have closed already.
    pub(super) fn send(&mut self, bytes: &[u8], delivery: Delivery) {
        for piece in delivery.pieces(bytes) {
            if self.stream.write_all(piece).is_err() {
                return;
            }
            std::thread::yield_now();
        }
    }

    pub(super) fn half_close(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Whether the end has come, and nothing before it.
    pub(super) fn ends(&mut self) -> Result<(), Fault> {
        let mut space = [0; 1024];
        match self.stream.read(&mut space) {
            _ if !self.buffer.is_empty() => Err(unexpected("more bytes", &self.buffer)),
            Ok(0) => Ok(()),
            Ok(count) => Err(unexpected("more bytes", &space[..count])),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(()),
            Err(error) => Err(Fault(format!("the connection stays: {error}"))),
        }
    }

    /// The next answer; one to `HEAD` has no body.
    pub(super) fn answer(&mut self, is_head: bool) -> Result<Answer, Fault> {
        let head = self.until(b"\r\n\r\n")?;
        let head = String::from_utf8(head).map_err(|_| Fault("an answer that is no text".into()))?;
        let status = head
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..5)?.parse().ok())
            .ok_or_else(|| Fault(format!("no status line: {head:?}")))?;
        let mut answer = Answer {
            status,
            head,
            body: Vec::new(),
        };
        if is_head || status < 200 || matches!(status, 204 | 304) {
            return Ok(answer);
        }
        let length = answer
            .all("content-length")
            .next()
            .map(|length| length.parse().unwrap());
        let length: usize = length.ok_or_else(|| Fault(format!("no length: {:?}", answer.head)))?;
        answer.body = self.exactly(length)?;
        Ok(answer)
    }

    fn exactly(&mut self, count: usize) -> Result<Vec<u8>, Fault> {
        while self.buffer.len() < count {
            self.more()?;
        }
        Ok(self.buffer.drain(..count).collect())
    }

    fn until(&mut self, end: &[u8]) -> Result<Vec<u8>, Fault> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                return self.exactly(at + end.len());
            }
            self.more()?;
        }
    }

    fn more(&mut self) -> Result<(), Fault> {
        let mut space = [0; 4096];
        match self.stream.read(&mut space) {
            Ok(0) => Err(unexpected("the connection ended", &self.buffer)),
            Ok(count) => {
                self.buffer.extend_from_slice(&space[..count]);
                Ok(())
            }
            Err(error) => Err(unexpected(&format!("no answer: {error}"), &self.buffer)),
        }
    }
}

fn unexpected(what: &str, bytes: &[u8]) -> Fault {
    Fault(format!("{what}: {:?}", String::from_utf8_lossy(bytes)))
}
