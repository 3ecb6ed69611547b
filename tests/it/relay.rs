//! A listener between a gateway and its control plane: the only way from one to the other. It counts what passes, and
//! is cut and mended at will.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// What has passed towards the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    pub(crate) connections: u64,
    pub(crate) bytes: u64,
}

/// What becomes of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// They are relayed.
    Up,
    /// They are closed, those that are there and those that come.
    Cut,
    /// They stay, and nothing that is sent on them arrives, in either direction: nobody is told.
    Swallowing,
}

/// Relays once [`Relay::to`] has said where to.
#[derive(Debug)]
pub(crate) struct Relay {
    listener: TcpListener,
    line: watch::Sender<Line>,
    passed: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    bytes: AtomicU64,
}

impl Relay {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self {
            listener,
            line: watch::Sender::new(Line::Up),
            passed: Arc::default(),
        }
    }

    /// Begins to relay to this address, and says where from. Both are `http://host:port`.
    pub(crate) fn to(&self, url: &str) -> String {
        let target: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
        let from = self.listener.local_addr().unwrap();
        let listener = tokio::net::TcpListener::from_std(self.listener.try_clone().unwrap()).unwrap();
        let (line, passed) = (self.line.subscribe(), Arc::clone(&self.passed));
        tokio::spawn(async move {
            while let Ok((gateway, _)) = listener.accept().await {
                passed.connections.fetch_add(1, Ordering::Relaxed);
                let (mut line, passed) = (line.clone(), Arc::clone(&passed));
                tokio::spawn(async move {
                    let mut ends = line.clone();
                    tokio::select! {
                        () = relay(gateway, target, &mut line, &passed.bytes) => {}
                        _ = ends.wait_for(|line| *line == Line::Cut) => {}
                    }
                });
            }
        });
        format!("http://{from}")
    }

    /// From now on this becomes of connections.
    pub(crate) fn is(&self, line: Line) {
        self.line.send_replace(line);
    }

    pub(crate) fn passed(&self) -> Passed {
        Passed {
            connections: self.passed.connections.load(Ordering::Relaxed),
            bytes: self.passed.bytes.load(Ordering::Relaxed),
        }
    }
}

/// Until either side ends.
async fn relay(gateway: TcpStream, target: SocketAddr, line: &mut watch::Receiver<Line>, bytes: &AtomicU64) {
    is_up(line).await;
    let Ok(control_plane) = TcpStream::connect(target).await else {
        return;
    };
    let (mut from_gateway, mut to_gateway) = gateway.into_split();
    let (mut from_control_plane, mut to_control_plane) = control_plane.into_split();
    let mut other = line.clone();
    let up = async {
        let mut piece = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from_gateway.read(&mut piece).await {
            is_up(line).await;
            bytes.fetch_add(length as u64, Ordering::Relaxed);
            if to_control_plane.write_all(&piece[..length]).await.is_err() {
                return;
            }
        }
        // An end is swallowed like everything else.
        is_up(line).await;
    };
    let down = async {
        let mut piece = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from_control_plane.read(&mut piece).await {
            is_up(&mut other).await;
            if to_gateway.write_all(&piece[..length]).await.is_err() {
                return;
            }
        }
        is_up(&mut other).await;
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

async fn is_up(line: &mut watch::Receiver<Line>) {
    // Ends early only with the relay itself.
    let _ = line.wait_for(|line| *line == Line::Up).await;
}
