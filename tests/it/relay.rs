//! A listener between a gateway and its control plane that counts what passes: the only way from one to the other.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What has passed towards the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    pub(crate) connections: u64,
    pub(crate) bytes: u64,
}

/// Relays once [`Relay::to`] has said where to.
#[derive(Debug)]
pub(crate) struct Relay {
    listener: TcpListener,
    connections: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
}

impl Relay {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self {
            listener,
            connections: Arc::default(),
            bytes: Arc::default(),
        }
    }

    /// Begins to relay to this address, and says where from. Both are `http://host:port`.
    pub(crate) fn to(&self, url: &str) -> String {
        let target: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
        let from = self.listener.local_addr().unwrap();
        let listener = tokio::net::TcpListener::from_std(self.listener.try_clone().unwrap()).unwrap();
        let (connections, bytes) = (Arc::clone(&self.connections), Arc::clone(&self.bytes));
        tokio::spawn(async move {
            while let Ok((gateway, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(relay(gateway, target, Arc::clone(&bytes)));
            }
        });
        format!("http://{from}")
    }

    pub(crate) fn passed(&self) -> Passed {
        Passed {
            connections: self.connections.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

/// Until either side ends.
async fn relay(gateway: TcpStream, target: SocketAddr, bytes: Arc<AtomicU64>) {
    let Ok(control_plane) = TcpStream::connect(target).await else {
        return;
    };
    let (mut from_gateway, mut to_gateway) = gateway.into_split();
    let (mut from_control_plane, mut to_control_plane) = control_plane.into_split();
    let up = async {
        let mut piece = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from_gateway.read(&mut piece).await {
            bytes.fetch_add(length as u64, Ordering::Relaxed);
            if to_control_plane.write_all(&piece[..length]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        _ = tokio::io::copy(&mut from_control_plane, &mut to_gateway) => {}
    }
}
