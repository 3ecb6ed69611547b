//! The upstream of the comparisons: the cheapest HTTP/1.1 server that is still correct for them.
//!
//! Every head that ends is answered with the same 13 bytes; requests have no body. A call costs one read, one
//! search and one write, so that the proxy before it is the bottleneck.

use std::net::SocketAddr;

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world!";
const END: &[u8] = b"\r\n\r\n";
const LONGEST_HEAD: usize = 64 * 1024;

/// Listens on a free port and answers on the caller's runtime, as long as that lives.
///
/// # Errors
/// When it can't listen.
pub async fn start() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A connection that ends, well or badly, is the proxy's matter.
            tokio::spawn(async move { answer(stream).await.ok() });
        }
    });
    Ok(address)
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(16 * 1024);
    while buffer.len() < LONGEST_HEAD && stream.read_buf(&mut buffer).await? > 0 {
        while let Some(end) = memmem::find(&buffer, END) {
            buffer.drain(..end + END.len());
            stream.write_all(ANSWER).await?;
        }
    }
    Ok(())
}
