//! The workers: one thread, one single-threaded runtime and one listener each, all on the same port.
//!
//! The kernel spreads connections over the listeners (`SO_REUSEPORT`), so the workers share nothing on the way
//! in. Each ticks twenty times a second: connections and calls that are over their limits end then.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::connection::Connection;
use crate::deadlines::TICK;
use crate::pipeline;
use crate::tunnel;
use crate::worker::Worker;

mod farewell;
pub mod listener;
pub mod strict;
pub mod watch;

use strict::StrictStream;
use watch::{ConnectionState, TickClock, WatchedStream};

/// Asks every worker to say when it has finished what it had begun to decide.
#[derive(Clone, Debug)]
pub struct Quiescence {
    workers: Arc<[mpsc::UnboundedSender<oneshot::Sender<()>>]>,
}

impl Quiescence {
    /// Of these workers.
    #[must_use]
    pub fn new(workers: Vec<mpsc::UnboundedSender<oneshot::Sender<()>>>) -> Self {
        Self {
            workers: workers.into(),
        }
    }

    /// Resolves when no worker still acts on anything that it decided before this was called.
    ///
    /// A worker runs one task at a time, and a call goes from its last look at the key set to the hand-over of
    /// the request within one turn of its task. So once a worker has come round to answer, every such turn is
    /// over; it answers after two more rounds, in which the connections have written what was handed over.
    pub async fn passed(&self) {
        let mut answers = Vec::with_capacity(self.workers.len());
        for worker in self.workers.iter() {
            let (answer, answered) = oneshot::channel();
            // A worker that has ended decides nothing any more.
            if worker.send(answer).is_ok() {
                answers.push(answered);
            }
        }
        for answered in answers {
            let _ = answered.await;
        }
    }
}

/// What a worker thread is given to serve with.
#[derive(Debug)]
pub struct Service {
    /// Its listener.
    pub listener: std::net::TcpListener,
    /// Questions of [`Quiescence`].
    pub questions: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
    /// Open connections of all workers.
    pub open: Arc<AtomicUsize>,
    /// Cancelled when the gateway is to drain.
    pub stop: CancellationToken,
}

/// Serves until `stop` is cancelled and every call has ended, or `drain.timeout` is over.
pub async fn run(worker: Rc<Worker>, service: Service) -> std::io::Result<()> {
    let listener = TcpListener::from_std(service.listener)?;
    let server = Rc::new(Server {
        connections: RefCell::default(),
        clock: Rc::new(Cell::new(worker.now().monotonic)),
        open_here: Cell::new(0),
        open: service.open,
        worker,
    });
    tokio::task::spawn_local(answer_questions(Rc::clone(&server.worker), service.questions));
    tokio::task::spawn_local(tick(Rc::clone(&server)));
    tokio::select! {
        () = accept(&server, &listener) => {}
        () = service.stop.cancelled() => {}
    }
    // Clients that the kernel has already greeted are served, too. Asked of the socket itself: the runtime may
    // not have heard of them yet.
    let listener = listener.into_std()?;
    while let Ok((stream, peer)) = listener.accept() {
        stream.set_nonblocking(true)?;
        server.greet(TcpStream::from_std(stream)?, peer);
    }
    drop(listener);
    server.drain().await;
    Ok(())
}

#[derive(Debug)]
struct Server {
    worker: Rc<Worker>,
    connections: RefCell<Vec<Weak<ConnectionState>>>,
    clock: TickClock,
    open_here: Cell<usize>,
    open: Arc<AtomicUsize>,
}

/// A connection that counts as open.
struct OpenConnection {
    server: Rc<Server>,
    _counted: crate::telemetry::Open,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.server
            .open_here
            .set(self.server.open_here.get().saturating_sub(1));
        self.server.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Server {
    /// `None` when there are as many connections as there may be.
    fn opened(self: &Rc<Self>) -> Option<OpenConnection> {
        let bound = self.worker.shared().config.bounds.connections;
        if self.open.fetch_add(1, Ordering::Relaxed) >= bound {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        self.open_here.set(self.open_here.get() + 1);
        Some(OpenConnection {
            server: Rc::clone(self),
            _counted: self.worker.telemetry().connection(),
        })
    }

    fn greet(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr) {
        // Over the bound: closing at once is the cheapest "no" there is.
        let Some(open) = self.opened() else { return };
        let state = ConnectionState::new(&self.clock);
        self.connections.borrow_mut().push(Rc::downgrade(&state));
        tokio::task::spawn_local(serve(Rc::clone(self), stream, peer, state, open));
    }

    async fn drain(&self) {
        self.connections
            .borrow()
            .iter()
            .filter_map(Weak::upgrade)
            .for_each(|connection| connection.drain());
        let deadline = self.worker.now().monotonic + self.worker.shared().config.drain.timeout;
        while self.open_here.get() > 0 && self.worker.now().monotonic < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn accept(server: &Rc<Server>, listener: &TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => server.greet(stream, peer),
            Err(error) => {
                // Out of file descriptors or a client that was gone at once: neither ends the listener.
                tracing::warn!(%error, "can't accept a connection");
                tokio::time::sleep(TICK).await;
            }
        }
    }
}

async fn serve(
    server: Rc<Server>,
    stream: TcpStream,
    peer: SocketAddr,
    state: Rc<ConnectionState>,
    open: OpenConnection,
) {
    let _open = open;
    let _ = stream.set_nodelay(true);
    let connection = Rc::new(Connection::new(&server.worker, peer, Rc::clone(&state)));
    let bounds = server.worker.shared().config.bounds;
    let mut builder = http1::Builder::new();
    builder
        .max_buf_size(bounds.head.max(8 * 1024))
        .max_headers(bounds.headers)
        .max_header_size(bounds.head)
        // The watcher keeps the time; hyper needs no timer.
        .header_read_timeout(None)
        .half_close(false);
    let service = service_fn(|request| {
        let connection = Rc::clone(&connection);
        async move { Ok::<_, std::convert::Infallible>(pipeline::serve(&connection, request).await) }
    });
    let stream = StrictStream::new(WatchedStream::new(stream, Rc::clone(&state)), Rc::clone(&state));
    let mut serving = builder.serve_connection(stream, service);
    let mut is_told = false;
    let ended = poll_fn(|context| {
        if state.is_aborted() {
            return Poll::Ready(Ok(()));
        }
        if state.is_to_end() && !is_told {
            is_told = true;
            Pin::new(&mut serving).graceful_shutdown();
        }
        match Pin::new(&mut serving).poll(context) {
            Poll::Ready(outcome) => Poll::Ready(outcome),
            Poll::Pending => {
                state.note(context);
                Poll::Pending
            }
        }
    })
    .await;
    let switched = connection.take_switched().filter(|_| !state.is_aborted());
    let parts = serving.into_parts();
    match switched {
        Some(switched) if ended.is_ok() => {
            tunnel::run(parts.io.into_inner(), parts.read_buf, *switched, &state).await;
        }
        _ => farewell::say(&connection, parts.io, &parts.read_buf).await,
    }
}

/// Twenty times a second: the tick clock, the connections' limits and the calls' deadlines.
async fn tick(server: Rc<Server>) {
    let limits = server.worker.shared().config.timeouts;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = server.worker.now().monotonic;
        server.clock.set(now);
        server.worker.deadlines().sweep(now);
        server.worker.vigils().sweep(&server.worker, now);
        server.worker.book().tidy();
        server
            .connections
            .borrow_mut()
            .retain(|connection| match connection.upgrade() {
                Some(connection) => {
                    connection.sweep(&limits);
                    true
                }
                None => false,
            });
    }
}

async fn answer_questions(worker: Rc<Worker>, mut questions: mpsc::UnboundedReceiver<oneshot::Sender<()>>) {
    while let Some(answer) = questions.recv().await {
        worker.vigils().hurry(&worker);
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        let _ = answer.send(());
    }
}
