//! Services of one's own behind a gateway: plain threads on sockets, so that they can say whatever they like.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crate::fixture::{Keys, World};

/// Serves every connection by this function, on a thread of its own.
pub(crate) fn serve(speak: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, speak) = (listener.local_addr().unwrap(), Arc::new(speak));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let speak = Arc::clone(&speak);
            std::thread::spawn(move || speak(stream));
        }
    });
    address
}

/// A gateway whose every path goes to the upstream with these settings, without a key.
pub(crate) fn world_before(upstream: &str, more: &str) -> World {
    World::start(
        &Keys::new(),
        &format!(
            "[[routes]]\npath = \"/\"\nupstream = \"service\"\nrequire = \"none\"\n{more}\n\
             [[upstreams]]\nname = \"service\"\n{upstream}"
        ),
    )
}

/// Reads a request's head, up to its empty line; `None` at the end.
pub(crate) fn read_head(stream: &mut impl Read) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    String::from_utf8(head).ok()
}

/// Answers every request on a connection by what this function makes of its head, and ends when it says so.
pub(crate) fn answer_by(
    answer: impl Fn(&str) -> (Vec<u8>, bool) + Send + Sync + 'static,
) -> impl Fn(TcpStream) + Send + Sync + 'static {
    move |mut stream| {
        while let Some(head) = read_head(&mut stream) {
            let (bytes, goes_on) = answer(&head);
            if stream.write_all(&bytes).is_err() || !goes_on {
                return;
            }
        }
    }
}

/// Sends a request and reads all that comes until the connection ends.
pub(crate) fn all_of(world: &World, request: &str) -> String {
    let mut stream = world.connect();
    stream.write_all(request.as_bytes()).unwrap();
    let mut all = Vec::new();
    // A connection that is reset ends too.
    let _ = stream.read_to_end(&mut all);
    String::from_utf8_lossy(&all).into_owned()
}
