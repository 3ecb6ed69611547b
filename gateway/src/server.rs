//! The workers: one thread, one single-threaded runtime and one listener each, all on the same port.
//!
//! The kernel spreads connections over the listeners (`SO_REUSEPORT`), so the workers share nothing on the way
//! in. Each ticks twenty times a second: connections and calls that are over their limits end then.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::authz;
use crate::connection::Connection;
use crate::deadlines::TICK;
use crate::handover::heir::ElderLink;
use crate::telemetry::Turned;
use crate::worker::Worker;

mod farewell;
pub mod frames;
pub mod greeting;
pub mod listener;
pub mod serving;
pub mod socket;
pub mod strict;
pub mod unread;
pub mod watch;

mod http1;
mod http2;

use frames::FrameBudget;
use greeting::Wire;
use watch::{ConnectionState, TickClock, WatchedStream};

/// Asks every worker to say when it has finished what it had begun to decide.
#[derive(Clone, Debug)]
pub struct Quiescence {
    workers: Arc<[mpsc::UnboundedSender<oneshot::Sender<()>>]>,
    /// The gateway before this one, while it still has calls.
    elder: Option<Arc<ElderLink>>,
}

impl Quiescence {
    /// Of these workers.
    #[must_use]
    pub fn new(workers: Vec<mpsc::UnboundedSender<oneshot::Sender<()>>>) -> Self {
        Self {
            workers: workers.into(),
            elder: None,
        }
    }

    /// And of the gateway that these workers take over from.
    #[must_use]
    pub fn after(self, elder: Option<Arc<ElderLink>>) -> Self {
        Self { elder, ..self }
    }

    /// The gateway before this one, while it still has calls.
    #[must_use]
    pub fn elder(&self) -> Option<&Arc<ElderLink>> {
        self.elder.as_ref()
    }

    /// Resolves when no worker still acts on anything that it decided before this was called.
    ///
    /// A worker runs one task at a time, and a call goes from its last look at the key set to the hand-over of
    /// the request within one turn of its task; so does a validation, to the hand-over of its answer. So once a worker has come round to answer, every such turn is
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
        if let Some(elder) = &self.elder {
            elder.quiet().await;
        }
        for answered in answers {
            let _ = answered.await;
        }
    }
}

/// What a worker thread is given to serve with.
#[derive(Debug)]
pub struct Service {
    /// Its listeners for partners' calls.
    pub calls: Door,
    /// Its listeners for validations.
    pub validations: Door,
    /// Questions of [`Quiescence`].
    pub questions: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
    /// Cancelled when the gateway is to drain.
    pub stop: CancellationToken,
}

/// A way in: that of partners' calls, or that of validations.
#[derive(Debug)]
pub struct Door {
    /// A worker's listeners: one, none where there is no such way, or more where a gateway with more workers was taken over
    /// from.
    pub listeners: Vec<std::net::TcpListener>,
    /// Open connections of all workers through it: those of one can't take the places of the other.
    pub open: Arc<AtomicUsize>,
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entrance {
    Calls,
    Validations,
}

/// Serves until `stop` is cancelled and every call has ended, or `drain.timeout` is over.
pub async fn run(worker: Rc<Worker>, service: Service) -> std::io::Result<()> {
    let listen = |door: Door| -> std::io::Result<_> {
        let listeners = door.listeners.into_iter().map(TcpListener::from_std);
        Ok((listeners.collect::<std::io::Result<Vec<_>>>()?, door.open))
    };
    let (calls, open) = listen(service.calls)?;
    let (validations, authz_open) = listen(service.validations)?;
    let listeners = calls.into_iter().map(|listener| (listener, Entrance::Calls));
    let validations = validations
        .into_iter()
        .map(|listener| (listener, Entrance::Validations));
    let listeners: Vec<_> = listeners.chain(validations).collect();
    let server = Rc::new(Server {
        connections: RefCell::default(),
        clock: Rc::new(Cell::new(worker.now().monotonic)),
        open_here: Cell::new(0),
        open,
        authz_open,
        worker,
    });
    tokio::task::spawn_local(answer_questions(Rc::clone(&server.worker), service.questions));
    tokio::task::spawn_local(tick(Rc::clone(&server)));
    tokio::select! {
        _ = join_all(listeners.iter().map(|(listener, entrance)| accept(&server, listener, *entrance))) => {}
        () = service.stop.cancelled() => {}
    }
    // Where the sockets live on in another gateway, those who wait are that one's.
    if !server.worker.shared().parting.is_handed_over() {
        for (listener, entrance) in listeners {
            server.greet_the_last(listener, entrance)?;
        }
    }
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
    authz_open: Arc<AtomicUsize>,
}

/// A connection that counts as open.
struct OpenConnection {
    server: Rc<Server>,
    entrance: Entrance,
    _counted: crate::telemetry::Open,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.server
            .open_here
            .set(self.server.open_here.get().saturating_sub(1));
        self.server.open(self.entrance).fetch_sub(1, Ordering::Relaxed);
    }
}

impl Server {
    fn open(&self, entrance: Entrance) -> &AtomicUsize {
        match entrance {
            Entrance::Calls => &self.open,
            Entrance::Validations => &self.authz_open,
        }
    }

    /// `None` when there are as many connections as there may be.
    fn opened(self: &Rc<Self>, entrance: Entrance) -> Option<OpenConnection> {
        let bound = self.worker.terms().rules().config.bounds.connections;
        if self.open(entrance).fetch_add(1, Ordering::Relaxed) >= bound {
            self.open(entrance).fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        self.open_here.set(self.open_here.get() + 1);
        Some(OpenConnection {
            server: Rc::clone(self),
            entrance,
            _counted: self.worker.telemetry().connection(),
        })
    }

    fn greet(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr, entrance: Entrance) {
        // Over the bound: closing at once is the cheapest "no" there is.
        let Some(open) = self.opened(entrance) else {
            self.worker.telemetry().turned(Turned::Bound);
            return;
        };
        let state = ConnectionState::new(&self.clock);
        self.watch(&state);
        tokio::task::spawn_local(serve(Rc::clone(self), stream, peer, state, open));
    }

    /// Clients that the kernel has already greeted are served, too. Asked of the socket itself: the runtime may not have
    /// heard of them yet.
    fn greet_the_last(self: &Rc<Self>, listener: TcpListener, entrance: Entrance) -> std::io::Result<()> {
        let listener = listener.into_std()?;
        while let Ok((stream, peer)) = listener.accept() {
            stream.set_nonblocking(true)?;
            self.greet(TcpStream::from_std(stream)?, peer, entrance);
        }
        Ok(())
    }

    /// Looks after a connection, or a stream, until it is over.
    fn watch(&self, state: &Rc<ConnectionState>) {
        self.connections.borrow_mut().push(Rc::downgrade(state));
    }

    async fn drain(&self) {
        let parting = &self.worker.shared().parting;
        self.connections
            .borrow()
            .iter()
            .filter_map(Weak::upgrade)
            .for_each(|connection| match parting.is_handed_over() {
                true => connection.drain_gently(),
                false => connection.drain(),
            });
        let deadline = self.worker.now().monotonic + self.worker.terms().rules().config.drain.timeout;
        while self.open_here.get() > 0 && self.worker.now().monotonic < deadline.min(parting.end_by()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn accept(server: &Rc<Server>, listener: &TcpListener, entrance: Entrance) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => server.greet(stream, peer, entrance),
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
    let _ = stream.set_nodelay(true);
    let worker = &server.worker;
    if open.entrance == Entrance::Validations {
        return Box::pin(authz::connection::serve(worker, stream, peer, &state)).await;
    }
    // In boxes of their own, which are gone by the time that a connection is idle: an idle one is to be small.
    let Some(guest) = Box::pin(greeting::receive(worker, stream, peer, &state)).await else {
        return;
    };
    let connection = Rc::new(Connection::new(worker, &guest, Rc::clone(&state)));
    let bounds = worker.terms().rules().config.bounds;
    match guest.wire {
        Wire::Http1 => {
            let stream = WatchedStream::new(guest.socket, guest.early, Rc::clone(&state));
            http1::serve(stream, connection, &state).await;
        }
        Wire::Http2 => {
            state.speaks_http2();
            let stream = WatchedStream::new(guest.socket, guest.early, Rc::clone(&state));
            let budget = FrameBudget::new(&bounds, state.ticked());
            let stream = stream.within(budget, worker);
            Box::pin(http2::serve(&server, stream, connection)).await;
        }
    }
}

/// Twenty times a second: the tick clock, the connections' limits and the calls' deadlines.
async fn tick(server: Rc<Server>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = server.worker.now().monotonic;
        let terms = server.worker.terms();
        let limits = &terms.rules().config.timeouts;
        server.clock.set(now);
        server.worker.deadlines().sweep(now);
        server.worker.vigils().sweep(&server.worker, now);
        server.worker.book().tidy();
        server
            .connections
            .borrow_mut()
            .retain(|connection| match connection.upgrade() {
                Some(connection) => {
                    connection.sweep(limits);
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
