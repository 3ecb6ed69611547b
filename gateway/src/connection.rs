//! One client connection: whose it is and what is known of it for all its calls.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::address::client_address;
use crate::onward::{Forwarding, Origin, Scheme, Trust};
use crate::rules::{Rules, Terms};
use crate::server::greeting::Guest;
use crate::server::socket::ClientSocket;
use crate::server::watch::ConnectionState;
use crate::upgrade::Switched;
use crate::worker::Worker;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A client connection.
pub struct Connection {
    worker: Rc<Worker>,
    peer: IpAddr,
    forwarding: Rc<Forwarding>,
    trust: Cell<Trust>,
    /// By which rules that was said.
    trust_as_of: Cell<u64>,
    state: Rc<ConnectionState>,
    switched: Cell<Option<Box<Switched>>>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer)
            .field("trust", &self.trust.get())
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// A connection that is ready to be served.
    #[must_use]
    pub fn new(worker: &Rc<Worker>, guest: &Guest, state: Rc<ConnectionState>) -> Self {
        let peer = guest.peer.ip().to_canonical();
        let scheme = match guest.socket {
            ClientSocket::Plain(_) => Scheme::Http,
            ClientSocket::Tls(_) => Scheme::Https,
        };
        let terms = worker.terms();
        Self {
            worker: Rc::clone(worker),
            peer,
            forwarding: Rc::new(Forwarding::of(peer, scheme, guest.wire)),
            trust: Cell::new(trust_in(peer, terms.rules())),
            trust_as_of: Cell::new(terms.generation()),
            state,
            switched: Cell::new(None),
        }
    }

    /// The same, for the call on one of its streams.
    #[must_use]
    pub fn on_stream(&self, stream: Rc<ConnectionState>) -> Self {
        Self {
            worker: Rc::clone(&self.worker),
            peer: self.peer,
            forwarding: Rc::clone(&self.forwarding),
            trust: self.trust.clone(),
            trust_as_of: self.trust_as_of.clone(),
            state: stream,
            switched: Cell::new(None),
        }
    }

    /// It goes on in another protocol once the answer that is made now is out.
    pub fn switch(&self, switched: Switched) {
        self.switched.set(Some(Box::new(switched)));
    }

    /// What it goes on with, if it does.
    #[must_use]
    pub fn take_switched(&self) -> Option<Box<Switched>> {
        self.switched.take()
    }

    /// The worker that serves it.
    #[must_use]
    pub fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// What its watcher knows.
    #[must_use]
    pub fn state(&self) -> &Rc<ConnectionState> {
        &self.state
    }

    /// Where its calls come from, for the forwarded fields.
    #[must_use]
    pub fn origin(&self) -> Origin<'_> {
        Origin {
            forwarding: &self.forwarding,
            trust: self.trust.get(),
        }
    }

    /// The client's address: the peer's, or what a peer says that these terms trust.
    #[must_use]
    pub fn client_address(&self, headers: &HeaderMap, terms: &Terms) -> IpAddr {
        if self.trust_as_of.get() != terms.generation() {
            self.trust.set(trust_in(self.peer, terms.rules()));
            self.trust_as_of.set(terms.generation());
        }
        match self.trust.get() {
            Trust::Untrusted => self.peer,
            Trust::Trusted => {
                let fields = headers.get_all(X_FORWARDED_FOR).iter();
                client_address(
                    self.peer,
                    fields.map(HeaderValue::as_bytes),
                    &terms.rules().trusted,
                )
            }
        }
    }
}

fn trust_in(peer: IpAddr, rules: &Rules) -> Trust {
    if rules.trusted.contains(peer) {
        Trust::Trusted
    } else {
        Trust::Untrusted
    }
}
