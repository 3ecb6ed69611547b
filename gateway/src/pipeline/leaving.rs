//! The last moment before a call is written to an upstream: the last look at its permit, and its count.

use std::io;
use std::net::IpAddr;
use std::pin::pin;

use tokio::net::TcpStream;

use crate::admission;
use crate::call::Call;
use crate::limits::Permit;
use crate::rejection::Rejection;
use crate::route::Route;
use crate::upstream::{Answered, Departure, InHand, Onward, Unanswered};
use crate::vigil;

/// The last moment before a call is written to an upstream.
pub(super) struct Leaving<'a> {
    pub(super) call: &'a Call,
    pub(super) permit: &'a Permit,
    pub(super) route: &'a Route,
    pub(super) upstream: usize,
    pub(super) client: IpAddr,
}

impl Leaving<'_> {
    fn upstream(&self) -> u16 {
        self.call.rules().upstream_label(self.upstream)
    }

    /// Sends the call on and waits for the head of its answer, unless it is cut off meanwhile.
    pub(super) async fn forward(&self, onward: Onward<'_>) -> Result<Answered, Unanswered> {
        let worker = self.call.worker();
        let forwarding = pin!(
            self.call
                .terms()
                .pools()
                .forward(worker, self.permit, onward, self)
        );
        match self.call.unless_cut(forwarding).await {
            Ok(outcome) => outcome,
            Err(reason) => Err(Unanswered::new(vigil::rejection(reason), self)),
        }
    }
}

impl Departure for Leaving<'_> {
    fn depart(&self) -> Result<(), Rejection> {
        let Some(caller) = self.permit.caller() else {
            return Ok(());
        };
        let worker = self.call.worker();
        admission::confirm(caller, &**worker, &worker.shared().keys, self.route, self.client)
    }

    fn send(&self, socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        self.call
            .send(socket, bytes, self.upstream(), self.permit.standing())
    }

    fn hand_over(&self) {
        self.call.hand_over(self.upstream(), self.permit.standing());
    }

    fn has_departed(&self) -> bool {
        self.call.is_accepted()
    }

    fn is_in_hand(&self, in_hand: InHand) {
        self.call.keep_in_hand(in_hand);
    }
}
