//! An HTTP/2 service by hand: it says which frames it likes, and keeps the rules of a connection where it is not told
//! otherwise.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::http2_client::{fields, frame};
use crate::services::serve;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RESET: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// A frame that has come.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// One connection of the gateway's.
pub(crate) struct Service {
    stream: TcpStream,
    /// Which connection it is, from zero.
    pub(crate) number: usize,
}

impl Service {
    /// Serves every connection by this function, which begins with these settings said.
    pub(crate) fn start(
        settings: &'static [(u16, u32)],
        speak: impl Fn(Service) + Send + Sync + 'static,
    ) -> SocketAddr {
        let connections = Arc::new(AtomicUsize::new(0));
        serve(move |mut stream| {
            let mut preface = [0; 24];
            if stream.read_exact(&mut preface).is_err() {
                return;
            }
            assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
            let said = settings.iter().flat_map(|(name, value)| {
                let (name, value) = (name.to_be_bytes(), value.to_be_bytes());
                name.into_iter().chain(value)
            });
            let number = connections.fetch_add(1, Ordering::SeqCst);
            let mut service = Service { stream, number };
            service.send(SETTINGS, 0, 0, &said.collect::<Vec<_>>());
            speak(service);
        })
    }

    /// From now on that long without a frame is the end.
    pub(crate) fn gives_up_after(&self, silence: std::time::Duration) {
        self.stream.set_read_timeout(Some(silence)).unwrap();
    }

    /// What comes that is no housekeeping; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            self.stream.read_exact(&mut payload).ok()?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            match (head[3], head[4]) {
                (SETTINGS, flags) if flags & ACK == 0 => {
                    self.send(SETTINGS, ACK, 0, &[]);
                }
                (PING, flags) if flags & ACK == 0 => {
                    self.send(PING, ACK, 0, &payload);
                }
                (kind @ (DATA | HEADERS | RESET | GOAWAY), _) => {
                    return Some(Frame {
                        kind,
                        stream,
                        payload,
                    });
                }
                _ => {}
            }
        }
    }

    /// The stream of the next call.
    pub(crate) fn call(&mut self) -> Option<u32> {
        loop {
            let frame = self.next()?;
            if frame.kind == HEADERS {
                return Some(frame.stream);
            }
        }
    }

    pub(crate) fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.stream
            .write_all(&frame(kind, flags, stream, payload))
            .is_ok()
    }

    /// A head of an answer.
    pub(crate) fn head(&mut self, stream: u32, flags: u8, list: &[(&str, &str)]) -> bool {
        self.send(HEADERS, flags | END_HEADERS, stream, &fields(list))
    }

    /// A whole good answer.
    pub(crate) fn good(&mut self, stream: u32) -> bool {
        self.head(stream, 0, &[(":status", "200")]) && self.send(DATA, END_STREAM, stream, b"good")
    }

    /// Answers every call well, to the end of the connection.
    pub(crate) fn go_on(mut self) {
        while let Some(stream) = self.call() {
            self.good(stream);
        }
    }

    /// Reads on until the connection ends.
    pub(crate) fn hold(mut self) {
        while self.next().is_some() {}
    }
}
