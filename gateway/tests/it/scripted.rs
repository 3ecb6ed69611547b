//! An upstream machine that does to each request what a test says, bytes and all.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::SockRef;

/// One request as the machine saw it, and how many it had seen before on all connections.
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) number: usize,
}

impl Request {
    pub(crate) fn is_for(&self, target: &str) -> bool {
        self.head.split(' ').nth(1) == Some(target)
    }
}

/// What becomes of the connection after an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// The next request is read.
    Keep,
    /// It ends in order.
    Close,
    /// It is reset.
    Reset,
    /// Nothing more is said, and what comes is read, until the other side ends it.
    Hang,
    /// Nothing more is said or read; it stays open for as long as the machine is there.
    Freeze,
}

type Script = dyn Fn(&Request, &mut TcpStream) -> Then + Send + Sync;

/// A machine on a free port of loopback. Its threads end with their connections.
pub(crate) struct Machine {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    frozen: Arc<Mutex<Vec<TcpStream>>>,
}

impl Machine {
    pub(crate) fn start(script: impl Fn(&Request, &mut TcpStream) -> Then + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let machine = Self {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            connections: Arc::default(),
            open: Arc::default(),
            frozen: Arc::default(),
        };
        let script: Arc<Script> = Arc::new(script);
        let (seen, connections) = (Arc::clone(&machine.seen), Arc::clone(&machine.connections));
        let (open, frozen) = (Arc::clone(&machine.open), Arc::clone(&machine.frozen));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                connections.fetch_add(1, Ordering::SeqCst);
                let (script, seen) = (Arc::clone(&script), Arc::clone(&seen));
                let (open, frozen) = (Arc::clone(&open), Arc::clone(&frozen));
                open.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    serve(stream, &*script, (&seen, &frozen));
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        machine
    }

    /// A machine that answers everything with its name.
    pub(crate) fn named(name: &'static str) -> Self {
        Self::start(move |_, stream| answer(stream, 200, name))
    }

    /// An address at which nobody listens.
    pub(crate) fn nobody() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    /// The heads of the requests for this target, in order.
    pub(crate) fn seen(&self, target: &str) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .filter(|head| head.split(' ').nth(1) == Some(target))
            .cloned()
            .collect()
    }

    /// Connections that are open; frozen ones are not counted.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Connections ever opened to it.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn serve(
    mut stream: TcpStream,
    script: &Script,
    (seen, frozen): (&Mutex<Vec<String>>, &Mutex<Vec<TcpStream>>),
) {
    let mut head = Vec::new();
    let mut byte = [0];
    loop {
        match stream.read(&mut byte) {
            Ok(0) | Err(_) => return,
            Ok(_) => head.push(byte[0]),
        }
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let request = {
            let mut seen = seen.lock().unwrap();
            let head = String::from_utf8(std::mem::take(&mut head)).unwrap();
            seen.push(head.clone());
            Request {
                head,
                number: seen.len() - 1,
            }
        };
        match script(&request, &mut stream) {
            Then::Keep => {}
            Then::Close => {
                let _ = stream.shutdown(Shutdown::Write);
                return drain(&mut stream);
            }
            Then::Reset => {
                SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                return;
            }
            Then::Hang => return drain(&mut stream),
            Then::Freeze => return frozen.lock().unwrap().push(stream),
        }
    }
}

/// Reads what is sent until the other side ends the connection, so that nothing is reset by unread bytes.
fn drain(stream: &mut TcpStream) {
    let mut rest = [0; 4_096];
    while stream.read(&mut rest).is_ok_and(|count| count > 0) {}
}

/// A whole answer with this body.
pub(crate) fn answer(stream: &mut TcpStream, status: u16, body: &str) -> Then {
    let length = body.len();
    say(
        stream,
        &format!("HTTP/1.1 {status} Status\r\ncontent-length: {length}\r\n\r\n{body}"),
    );
    Then::Keep
}

/// Bytes as they are.
pub(crate) fn say(stream: &mut TcpStream, bytes: &str) {
    let _ = stream.write_all(bytes.as_bytes());
}
