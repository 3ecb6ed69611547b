//! A sample upstream: it answers every call with what it received.
//!
//! It stands in for the API being sold: beside `keyward standalone`, in tests, and under load. Special paths
//! make it answer in other ways; [`answer`] lists them. It keeps at most 64 KiB of a request's body, whatever
//! is sent, and a call costs it one task and, for an echo, one JSON text.

pub mod answer;
pub mod body;
mod connection;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::answer::Seen;

/// How long calls in flight may go on once a stop was asked for.
const DRAIN: Duration = Duration::from_secs(5);

/// Starts sample upstreams.
#[derive(Debug)]
pub struct Upstream;

impl Upstream {
    /// Listens at `address` (port 0: any free one) and serves on the runtime of the caller until
    /// [`Running::shutdown`], or until the returned value is dropped.
    ///
    /// # Errors
    /// When the address can't be listened on.
    #[expect(
        clippy::unused_async,
        reason = "must be called on a runtime, and says so by its type"
    )]
    pub async fn start(address: SocketAddr) -> anyhow::Result<Running> {
        let listener = listen(address, PortSharing::Exclusive)?;
        let (running, stop) = Running::new(listener.local_addr()?);
        let listener = TcpListener::from_std(listener)?;
        let served = tokio::spawn(connection::serve(listener, Arc::default(), stop, DRAIN));
        Ok(Running {
            workers: Workers::Task(served),
            ..running
        })
    }

    /// The same on threads of its own, each with a runtime and a listener, so that the kernel spreads the
    /// connections and no call crosses a thread: for load tests.
    ///
    /// # Errors
    /// When the address can't be listened on or a thread can't be started.
    pub fn start_on_threads(address: SocketAddr, threads: NonZeroUsize) -> anyhow::Result<Running> {
        let first = listen(address, PortSharing::Shared)?;
        let address = first.local_addr()?;
        let (running, stop) = Running::new(address);
        let seen = Arc::<Seen>::default();
        let mut listeners = vec![first];
        for _ in 1..threads.get() {
            listeners.push(listen(address, PortSharing::Shared)?);
        }
        let threads = listeners
            .into_iter()
            .map(|listener| start_thread(listener, Arc::clone(&seen), stop.clone()))
            .collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Running {
            workers: Workers::Threads(threads),
            ..running
        })
    }
}

/// A sample upstream that answers.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    workers: Workers,
}

#[derive(Debug)]
enum Workers {
    None,
    Task(tokio::task::JoinHandle<()>),
    Threads(Vec<std::thread::JoinHandle<()>>),
}

impl Running {
    fn new(address: SocketAddr) -> (Self, watch::Receiver<bool>) {
        let (stop, stopped) = watch::channel(false);
        let running = Self {
            address,
            stop,
            workers: Workers::None,
        };
        (running, stopped)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more calls, lets those in flight end for up to five seconds, and closes every connection.
    pub async fn shutdown(self) {
        // Nobody listening any more means that it has stopped already.
        let _ = self.stop.send(true);
        match self.workers {
            Workers::None => {}
            Workers::Task(task) => {
                let _ = task.await;
            }
            Workers::Threads(threads) => {
                let all_joined = tokio::task::spawn_blocking(move || {
                    for thread in threads {
                        let _ = thread.join();
                    }
                });
                let _ = all_joined.await;
            }
        }
    }
}

fn start_thread(
    listener: std::net::TcpListener,
    seen: Arc<Seen>,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<std::thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listener = {
        let _entered = runtime.enter();
        TcpListener::from_std(listener)?
    };
    std::thread::Builder::new()
        .name("upstream".to_owned())
        .spawn(move || runtime.block_on(connection::serve(listener, seen, stop, DRAIN)))
        .context("a thread for the upstream")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PortSharing {
    Exclusive,
    Shared,
}

fn listen(address: SocketAddr, sharing: PortSharing) -> anyhow::Result<std::net::TcpListener> {
    let bound = || -> std::io::Result<std::net::TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if sharing == PortSharing::Shared {
            socket.set_reuse_port(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(1024)?;
        Ok(socket.into())
    };
    bound().with_context(|| format!("the upstream can't listen on {address}"))
}
