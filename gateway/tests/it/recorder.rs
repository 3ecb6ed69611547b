//! An upstream that writes down every byte that it is sent, and answers by the path.
//!
//! Its reading is its own and strict: a head ends with an empty line, a body is framed by exactly one of
//! Content-Length and `Transfer-Encoding: chunked`. What it can't read is written down as it came.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use socket2::SockRef;

/// A request as it came.
#[derive(Clone)]
pub(crate) struct Record {
    /// Head and decoded body.
    pub(crate) bytes: Vec<u8>,
    /// Every byte as it was sent.
    pub(crate) raw: Vec<u8>,
    pub(crate) is_whole: bool,
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.text())
    }
}

impl Record {
    /// Every byte as a character, and a word at the end when it broke off.
    pub(crate) fn text(&self) -> String {
        let end = if self.is_whole { "" } else { "<broken off>" };
        let text = self.raw.iter().map(|byte| char::from(*byte));
        text.chain(end.chars()).collect()
    }
}

#[derive(Default)]
struct Book {
    records: Mutex<Vec<Record>>,
    connections: Mutex<Vec<Arc<Connection>>>,
}

/// A connection of the gateway's.
struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    /// Whether bytes are being looked at, or a request has begun and is not over. Never false between taking bytes from
    /// the socket and having written down what they end.
    is_busy: AtomicBool,
}

impl Connection {
    /// Whether everything that was sent on it is written down.
    fn is_idle(&self) -> bool {
        let is_busy = || self.is_busy.load(Ordering::SeqCst);
        let is_empty = || {
            let mut space = [std::mem::MaybeUninit::uninit()];
            let socket = SockRef::from(&self.stream);
            let peeked = socket.recv_with_flags(&mut space, libc::MSG_PEEK | libc::MSG_DONTWAIT);
            peeked.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
        };
        !is_busy() && is_empty() && !is_busy()
    }
}

/// The upstream; its threads end with the process.
pub(crate) struct Recorder {
    book: Arc<Book>,
    pub(crate) address: SocketAddr,
}

impl Recorder {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let book = Arc::new(Book::default());
        let shared = Arc::clone(&book);
        std::thread::spawn(move || {
            loop {
                let (stream, peer) = listener.accept().unwrap();
                let connection = Arc::new(Connection {
                    stream,
                    peer,
                    is_busy: AtomicBool::new(false),
                });
                let book = Arc::clone(&shared);
                book.connections.lock().unwrap().push(Arc::clone(&connection));
                std::thread::spawn(move || {
                    serve(&book, &connection);
                    let mut connections = book.connections.lock().unwrap();
                    connections.retain(|known| !Arc::ptr_eq(known, &connection));
                });
            }
        });
        Self { book, address }
    }

    /// What came since this was asked last, once everything that was sent is written down; `None` when a request hangs.
    pub(crate) fn take(&self) -> Option<Vec<Record>> {
        let deadline = Instant::now() + Duration::from_secs(10);
        // Connections are accepted in turn: when this one is, all that were made before it are.
        let last = TcpStream::connect(self.address).unwrap();
        let own = last.local_addr().unwrap();
        loop {
            let connections = self.book.connections.lock().unwrap().clone();
            let is_last_there = connections.iter().any(|known| known.peer == own);
            if is_last_there && connections.iter().all(|known| known.is_idle()) {
                return Some(std::mem::take(&mut *self.book.records.lock().unwrap()));
            }
            if Instant::now() > deadline {
                return None;
            }
            std::thread::yield_now();
        }
    }
}

/// A connection with what was read of it and not used.
struct Reader<'a> {
    connection: &'a Connection,
    buffer: Vec<u8>,
    /// What was used of the request under way.
    raw: Vec<u8>,
    book: &'a Book,
}

impl Reader<'_> {
    /// Reads more; `None` at the end.
    fn more(&mut self) -> Option<()> {
        let mut space = [0; 8192];
        let mut stream = &self.connection.stream;
        // Left in the socket until it is said that they are looked at.
        let _ = stream.peek(&mut space);
        self.connection.is_busy.store(true, Ordering::SeqCst);
        match stream.read(&mut space) {
            Ok(0) | Err(_) => None,
            Ok(count) => {
                self.buffer.extend_from_slice(&space[..count]);
                Some(())
            }
        }
    }

    fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < count {
            self.more()?;
        }
        let used: Vec<u8> = self.buffer.drain(..count).collect();
        self.raw.extend_from_slice(&used);
        Some(used)
    }

    /// Up to and with this.
    fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                return self.exactly(at + end.len());
            }
            self.more()?;
        }
    }

    fn over(&mut self, bytes: Vec<u8>, is_whole: bool) {
        let mut raw = std::mem::take(&mut self.raw);
        if !is_whole {
            raw.append(&mut self.buffer);
        }
        let record = Record { bytes, raw, is_whole };
        self.book.records.lock().unwrap().push(record);
        self.connection
            .is_busy
            .store(!self.buffer.is_empty(), Ordering::SeqCst);
    }

    /// The decoded body; what came of it, when it broke off or was malformed.
    fn body(&mut self, head: &str) -> Result<Vec<u8>, Vec<u8>> {
        let field = |name: &str| {
            let mut values = head.split("\r\n").filter_map(|line| line.strip_prefix(name));
            let first = values.next();
            assert!(values.next().is_none(), "two of {name} in {head}");
            first
        };
        match (field("content-length: "), field("transfer-encoding: ")) {
            (None, None) => Ok(Vec::new()),
            (Some(length), None) => {
                let length: usize = length.parse().unwrap();
                self.exactly(length).ok_or_else(|| self.buffer.clone())
            }
            (None, Some("chunked")) => self.chunks(),
            _ => panic!("two framings or an odd one: {head}"),
        }
    }

    fn chunks(&mut self) -> Result<Vec<u8>, Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let Some(line) = self.until(b"\r\n") else {
                return Err(body);
            };
            let size = std::str::from_utf8(&line[..line.len() - 2]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            if size == 0 {
                // Trailers, if any, and an empty line.
                while self.until(b"\r\n").ok_or_else(|| body.clone())? != b"\r\n" {}
                return Ok(body);
            }
            let Some(data) = self.exactly(size + 2) else {
                return Err(body);
            };
            assert!(data.ends_with(b"\r\n"), "a chunk that does not end");
            body.extend_from_slice(&data[..size]);
        }
    }
}

fn serve(book: &Book, connection: &Connection) {
    connection.stream.set_nodelay(true).unwrap();
    let mut stream = &connection.stream;
    let mut reader = Reader {
        connection,
        buffer: Vec::new(),
        raw: Vec::new(),
        book,
    };
    loop {
        let Some(head) = reader.until(b"\r\n\r\n") else {
            let rest = reader.buffer.clone();
            if !rest.is_empty() {
                reader.over(rest, false);
            }
            return;
        };
        let text = String::from_utf8_lossy(&head).into_owned();
        let target = text.split(' ').nth(1).unwrap_or_default();
        if target.starts_with("/early") {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly";
            let _ = stream.write_all(answer);
        }
        match reader.body(&text) {
            Ok(body) => reader.over([head, body].concat(), true),
            Err(body) => {
                reader.over([head, body].concat(), false);
                return;
            }
        }
        let answer: &[u8] = match target {
            _ if target.starts_with("/never") => b"",
            _ if target.starts_with("/early") => b"",
            _ if text.starts_with("HEAD ") => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n",
            _ => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        };
        if stream.write_all(answer).is_err() {
            return;
        }
    }
}
