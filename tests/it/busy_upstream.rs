//! An upstream that new connections have to wait for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;

/// A connection on loopback is there within this time, or there is no place for it.
const NO_PLACE: Duration = Duration::from_millis(300);

/// An upstream whose queue of new connections is full, until it accepts them.
pub(crate) struct BusyUpstream {
    pub(crate) address: SocketAddr,
    accept: Arc<Notify>,
    _queued: Vec<TcpStream>,
}

impl BusyUpstream {
    pub(crate) async fn start() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        // The kernel drops what finds no place, and the other side tries again, for the first time after a second.
        while let Ok(Ok(stream)) = timeout(NO_PLACE, TcpStream::connect(address)).await {
            queued.push(stream);
        }
        let accept = Arc::new(Notify::new());
        let told = Arc::clone(&accept);
        tokio::spawn(async move {
            told.notified().await;
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer_everything(stream));
            }
        });
        Self {
            address,
            accept,
            _queued: queued,
        }
    }

    pub(crate) fn accept_from_now_on(&self) {
        self.accept.notify_one();
    }
}

async fn answer_everything(mut stream: TcpStream) {
    let mut piece = [0; 8 * 1024];
    while let Ok(1..) = stream.read(&mut piece).await {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        if stream.write_all(answer).await.is_err() {
            return;
        }
    }
}
