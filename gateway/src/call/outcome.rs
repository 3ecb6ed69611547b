//! What becomes of a call: an upstream takes it, it is answered, its answer breaks off, or it is refused.

use std::cell::RefCell;
use std::io;
use std::os::fd::AsFd as _;
use std::time::Duration;

use http::StatusCode;
use socket2::SockRef;
use tokio::net::TcpStream;

use super::Call;
use crate::limits::Which;
use crate::limits::fields::Standing;
use crate::rejection::{ACCEPTED, ANSWERED_AT_EDGE, Rejection};
use crate::telemetry::UpstreamFailure;
use crate::upstream::InHand;

impl Call {
    /// Hands the first bytes of an attempt to the upstream. Once it has taken any, the call is accepted, whatever
    /// comes back; a repeated attempt is still one call.
    ///
    /// # Errors
    /// What the system said; `WouldBlock` when the connection takes nothing now. Nothing was sent then.
    pub fn send(
        &self,
        socket: &TcpStream,
        bytes: &[u8],
        upstream: u16,
        standing: Option<&Standing>,
    ) -> io::Result<usize> {
        let now = self.started.unix.0;
        let counter = self.counter.as_ref().filter(|_| !self.is_accepted());
        let taken = match counter {
            Some(counter) => self.worker.book().send(counter, socket.as_fd(), bytes, now)?,
            None => SockRef::from(socket).send_with_flags(bytes, libc::MSG_NOSIGNAL)?,
        };
        if taken > 0 && !self.is_accepted() {
            self.upstream.set(Some(upstream));
            self.accepted(standing);
        }
        Ok(taken)
    }

    /// A machine has it in hand from now on, until it is over, refused, or in another's.
    pub fn keep_in_hand(&self, in_hand: InHand) {
        *self.in_hand.borrow_mut() = Some(in_hand);
    }

    /// The upstream's answer broke off, or went on against the rules.
    pub fn broke_off(&self) {
        self.count_body_failure();
        if let Some(in_hand) = &*self.in_hand.borrow() {
            in_hand.broke_off(self.worker.now().monotonic);
        }
    }

    /// The upstream's answer was not whole when the call's time was over.
    pub fn stalled(&self) {
        self.count_body_failure();
        if let Some(in_hand) = &*self.in_hand.borrow() {
            in_hand.stalled();
        }
    }

    fn count_body_failure(&self) {
        if let Some(upstream) = self.upstream.get() {
            let telemetry = self.worker.telemetry();
            telemetry.upstream_failed(upstream, UpstreamFailure::Body);
        }
    }

    /// A connection that carries many calls has taken it: it is accepted, whatever comes back; a repeated attempt is
    /// still one call.
    pub fn hand_over(&self, upstream: u16, standing: Option<&Standing>) {
        if self.is_accepted() {
            return;
        }
        if let Some(counter) = &self.counter {
            counter.accepted(self.started.unix.0);
        }
        self.upstream.set(Some(upstream));
        self.accepted(standing);
    }

    /// Counts a call that somebody else forwards as accepted: before the answer that says so, which then can't outlive
    /// the count, whenever the process is killed.
    pub fn allow(&self, standing: Option<&Standing>) {
        if let Some(counter) = &self.counter {
            counter.accepted(self.started.unix.0);
        }
        self.status.set(StatusCode::OK.as_u16());
        self.accepted(standing);
    }

    fn accepted(&self, standing: Option<&Standing>) {
        self.decision.set(Some(ACCEPTED));
        self.code.set("accepted");
        let customers = standing.filter(|standing| standing.which == Which::Customer);
        if let (Some(counter), Some(standing)) = (&self.counter, customers) {
            counter.bucket(standing.level.millitokens, self.started.unix.0);
        }
    }

    /// Whether an upstream may have seen it.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.decision.get() == Some(ACCEPTED)
    }

    /// The upstream's answer head has come.
    pub fn answered(&self, status: StatusCode, upstream_time: Duration) {
        if let Some(vigil) = &self.vigil {
            vigil.answers();
        }
        self.came(status);
        self.upstream_time.set(upstream_time);
    }

    /// The upstream has agreed to another protocol. From now on the tunnel sees to it that it ends with its rights.
    pub fn switched(&self, upstream_time: Duration) {
        self.came(StatusCode::SWITCHING_PROTOCOLS);
        self.upstream_time.set(upstream_time);
    }

    fn came(&self, status: StatusCode) {
        self.status.set(status.as_u16());
        if let Some(in_hand) = &*self.in_hand.borrow() {
            in_hand.answered(status);
        }
    }

    /// The gateway itself answered, without a refusal.
    pub fn answered_at_edge(&self, status: u16) {
        self.status.set(status);
        self.decision.set(Some(ANSWERED_AT_EDGE));
        self.code.set("answered");
    }

    /// It was refused. A call that was already accepted stays accepted; only its answer is ours.
    pub fn refused(&mut self, rejection: &Rejection, status: u16) {
        // However slowly the client reads its refusal, others may come in.
        self.place = None;
        self.vigil = None;
        self.in_hand = RefCell::default();
        self.status.set(status);
        self.code.set(rejection.code());
        if self.decision.get() == Some(ACCEPTED) {
            return;
        }
        if let Some(toll) = self.toll.take() {
            toll.give_back();
        }
        self.decision.set(Some(rejection.decision()));
        let Some(counter) = &self.counter else { return };
        let now = self.started.unix.0;
        match rejection {
            Rejection::RateLimited { standing, .. } => {
                counter.rate_limited(now);
                if standing.which == Which::Customer {
                    counter.bucket(standing.level.millitokens, now);
                }
            }
            Rejection::QuotaExceeded(_) => counter.quota_refused(now),
            Rejection::InvalidApiKey
            | Rejection::ExpiredApiKey
            | Rejection::AccountSuspended
            | Rejection::IpNotAllowed
            | Rejection::CustomerKeyMissing
            | Rejection::CustomerKeyRefused => counter.auth_refused(now),
            Rejection::InvalidInput(_)
            | Rejection::UriTooLong
            | Rejection::HeadTooLarge
            | Rejection::VersionNotSupported
            | Rejection::RouteNotFound
            | Rejection::MethodNotAllowed(_)
            | Rejection::Unauthorized
            | Rejection::PayloadTooLarge(_)
            | Rejection::UnsupportedMediaType
            | Rejection::Overloaded(_)
            | Rejection::UpstreamUnavailable
            | Rejection::BadGateway(_)
            | Rejection::UpstreamTimeout
            | Rejection::Internal => {}
        }
    }
}
