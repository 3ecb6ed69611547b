//! An upstream that keeps every byte that it is sent, request by request, and answers each with two bytes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What came, in its order.
#[derive(Clone, Default)]
pub(crate) struct Recorder {
    requests: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    /// Starts it; it goes on until the test's process ends.
    pub(crate) fn start(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let recorder = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let recorder = recorder.clone();
                std::thread::spawn(move || recorder.serve(stream.unwrap()));
            }
        });
        address
    }

    /// What came since it was asked last.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }

    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        loop {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                self.byte(&mut stream, &mut request)?;
            }
            let head = String::from_utf8_lossy(&request).to_ascii_lowercase();
            let is_chunked = head.contains("\r\ntransfer-encoding:");
            let length = head
                .split("\r\ncontent-length: ")
                .nth(1)
                .and_then(|rest| rest.split("\r\n").next()?.parse::<usize>().ok());
            if is_chunked {
                self.chunks(&mut stream, &mut request)?;
            }
            for _ in 0..length.unwrap_or_default() {
                self.byte(&mut stream, &mut request)?;
            }
            self.keep(&request);
            let is_head = head.starts_with("head ");
            let body = if is_head { "" } else { "ok" };
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{body}").ok()?;
        }
    }

    fn chunks(&self, stream: &mut TcpStream, request: &mut Vec<u8>) -> Option<()> {
        loop {
            let begins = request.len();
            while !request[begins..].ends_with(b"\r\n") {
                self.byte(stream, request)?;
            }
            let size = String::from_utf8_lossy(&request[begins..]).trim_end().to_owned();
            let size = usize::from_str_radix(&size, 16).unwrap();
            if size == 0 {
                // Trailers, if any, and an empty line.
                while !request.ends_with(b"\r\n\r\n") {
                    self.byte(stream, request)?;
                }
                return Some(());
            }
            for _ in 0..size + 2 {
                self.byte(stream, request)?;
            }
        }
    }

    /// One byte more; what was begun is kept when there is none.
    fn byte(&self, stream: &mut TcpStream, request: &mut Vec<u8>) -> Option<()> {
        let mut byte = [0];
        if !matches!(stream.read(&mut byte), Ok(1)) {
            if !request.is_empty() {
                request.extend_from_slice(b"<broken off>");
                self.keep(request);
            }
            return None;
        }
        request.push(byte[0]);
        Some(())
    }

    fn keep(&self, request: &[u8]) {
        let text = request.iter().map(|byte| char::from(*byte)).collect();
        self.requests.lock().unwrap().push(text);
    }
}
