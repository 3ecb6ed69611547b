//! An upstream that counts the calls that reached it, by key: the truth that metering is compared with.
//!
//! A call counts once its head is whole; requests have no body. Every one is answered with the same few bytes. It
//! runs on a thread of its own, and connections that break off, as those of a killed gateway do, concern nobody
//! else: what had come before is counted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::Context;
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const END: &[u8] = b"\r\n\r\n";
const LONGEST_HEAD: usize = 64 * 1024;
const KEY_ID: &[u8] = b"keyward-key-id:";

type Counts = BTreeMap<String, u64>;

/// A running upstream. It stops when it is dropped.
#[derive(Debug)]
pub struct Tally {
    address: SocketAddr,
    counts: Arc<Mutex<Counts>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Tally {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// When it can't listen, or no thread can be started.
    pub fn start() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let counts = Arc::<Mutex<Counts>>::default();
        let (stop, stopped) = oneshot::channel();
        let counted = Arc::clone(&counts);
        let thread = std::thread::Builder::new()
            .name("tally".to_owned())
            .spawn(move || runtime.block_on(serve(listener, counted, stopped)))
            .context("a thread for the upstream")?;
        Ok(Self {
            address,
            counts,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Calls by the key's id; those without one are under the empty text.
    #[must_use]
    pub fn by_key(&self) -> BTreeMap<String, u64> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All calls.
    #[must_use]
    pub fn total(&self) -> u64 {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.values().sum()
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, counts: Arc<Mutex<Counts>>, mut stopped: oneshot::Receiver<()>) {
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let counts = Arc::clone(&counts);
                // A connection that ends, well or badly, is the gateway's matter.
                tokio::spawn(async move { count(stream, &counts).await.ok() });
            }
        }
    }
}

async fn count(mut stream: TcpStream, counts: &Mutex<Counts>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(16 * 1024);
    while buffer.len() < LONGEST_HEAD && stream.read_buf(&mut buffer).await? > 0 {
        while let Some(end) = memmem::find(&buffer, END) {
            let head = buffer.get(..end).unwrap_or_default();
            note(counts, key_id(head));
            buffer.drain(..end + END.len());
            stream.write_all(ANSWER).await?;
        }
    }
    Ok(())
}

fn note(counts: &Mutex<Counts>, key: &str) {
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    match counts.get_mut(key) {
        Some(count) => *count += 1,
        None => {
            counts.insert(key.to_owned(), 1);
        }
    }
}

fn key_id(head: &[u8]) -> &str {
    let mut lines = head.split(|byte| *byte == b'\n');
    let value = lines.find_map(|line| {
        let (name, value) = line.split_at_checked(KEY_ID.len())?;
        name.eq_ignore_ascii_case(KEY_ID).then(|| value.trim_ascii())
    });
    value
        .and_then(|value| std::str::from_utf8(value).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn every_whole_call_is_counted_once_by_its_key() {
        let tally = Tally::start().unwrap();
        let mut stream = std::net::TcpStream::connect(tally.address()).unwrap();
        let call = |key: &str| format!("GET / HTTP/1.1\r\nHost: a\r\nKeyward-Key-Id: {key}\r\n\r\n");
        let calls = format!("{}{}GET / HTTP/1.1\r\n\r\n", call("a"), call("b"));
        stream.write_all(calls.as_bytes()).unwrap();
        stream.write_all(call("a").as_bytes()).unwrap();
        // A call that breaks off never reached it.
        stream
            .write_all(b"GET / HTTP/1.1\r\nKeyward-Key-Id: a\r\n")
            .unwrap();
        let mut answers = vec![0; ANSWER.len() * 4];
        stream.read_exact(&mut answers).unwrap();
        drop(stream);
        let expected = [("", 1), ("a", 2), ("b", 1)].map(|(key, count)| (key.to_owned(), count));
        assert_eq!(tally.by_key(), BTreeMap::from(expected));
        assert_eq!(tally.total(), 4);
    }
}
