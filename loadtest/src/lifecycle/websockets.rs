//! WebSockets through the gateway that is reloaded and upgraded, and the server behind it that says back what it hears.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{ANSWERED, head, until};
use crate::requests::Credentials;

/// A frame with the text `here`, as a server sends it and, masked with zeroes, as a client does.
const SAID: [u8; 6] = [0x81, 4, b'h', b'e', b'r', b'e'];
const SAYS: [u8; 10] = [0x81, 0x84, 0, 0, 0, 0, b'h', b'e', b'r', b'e'];
/// The code of a Close: going away.
const GOING_AWAY: u16 = 1001;

pub(super) async fn open(
    target: SocketAddr,
    caller: &Credentials,
    many: usize,
) -> anyhow::Result<Vec<TcpStream>> {
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut sockets = Vec::new();
    for _ in 0..many {
        let mut stream = TcpStream::connect(target).await?;
        stream.set_nodelay(true)?;
        stream
            .write_all(head("/socket", upgrade, caller).as_bytes())
            .await?;
        let answer = until(&mut stream, b"\r\n\r\n").await?;
        ensure!(
            answer.starts_with(b"HTTP/1.1 101 "),
            "{}",
            String::from_utf8_lossy(&answer)
        );
        say_and_hear(&mut stream).await?;
        sockets.push(stream);
    }
    Ok(sockets)
}

/// Says something, which must come back.
pub(super) async fn say_and_hear(socket: &mut TcpStream) -> anyhow::Result<()> {
    socket.write_all(&SAYS).await?;
    let mut came = [0; SAID.len()];
    tokio::time::timeout(ANSWERED, socket.read_exact(&mut came))
        .await?
        .context("a WebSocket was lost")?;
    ensure!(came == SAID, "{came:?} instead of {SAID:?}");
    Ok(())
}

/// A Close, whose reason is of no matter.
pub(super) async fn hear_goodbye(socket: &mut TcpStream) -> anyhow::Result<()> {
    let mut came = [0; 4];
    tokio::time::timeout(ANSWERED, socket.read_exact(&mut came))
        .await?
        .context("a WebSocket was lost without a word")?;
    let [kind, _, high, low] = came;
    let is_told = kind == 0x88 && u16::from_be_bytes([high, low]) == GOING_AWAY;
    ensure!(is_told, "{came:?} is no Close that says: going away");
    Ok(())
}

/// A server whose WebSockets say back what they hear.
pub(super) async fn echo() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    Ok(address)
}

async fn serve(mut stream: TcpStream) -> anyhow::Result<()> {
    until(&mut stream, b"\r\n\r\n").await?;
    let accepted = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    stream.write_all(accepted.as_bytes()).await?;
    let mut frame = [0; SAYS.len()];
    while stream.read_exact(&mut frame).await.is_ok() && frame == SAYS {
        stream.write_all(&SAID).await?;
    }
    Ok(())
}
