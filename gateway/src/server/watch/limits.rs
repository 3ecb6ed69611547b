//! When a connection, or a stream of it, is over: its limits of time, looked at once a tick, and the drain.

use std::time::Duration;

use keyward_config::Timeouts;

use super::{ConnectionState, Kind, Phase};

/// How long a drain waits for the first call of a new connection.
const FIRST_CALL_GRACE: Duration = Duration::from_millis(500);

/// How long a client that still sends may take to notice that it has been answered.
const LEAVE: Duration = Duration::from_secs(2);

/// How long an HTTP/1.1 connection keeps its buffers between two calls.
const DOZE: Duration = Duration::from_secs(1);

/// How long a client has to hear that its HTTP/2 connection ends.
const LAST_WORD: Duration = Duration::from_secs(1);

impl ConnectionState {
    /// Asks the connection to end after the call it serves, or now when it serves none.
    pub fn drain(&self) {
        self.draining_since.set(Some(self.clock.get()));
        self.wake();
    }

    /// Asks the connection to end after the call it serves or the next one, whose answer says so: a client that is told
    /// loses no call, as it could on a connection that is closed while its next one is on the way.
    pub fn drain_gently(&self) {
        self.drains_gently.set(true);
        self.drain();
    }

    /// Whether it is to end after the call it serves. A connection whose first call is on its way is given a
    /// moment: the client could not know better when it sent it.
    #[must_use]
    pub fn is_to_end(&self) -> bool {
        let Some(since) = self.draining_since.get() else {
            return false;
        };
        match self.phase.get() {
            Phase::Serving | Phase::Tunnel | Phase::Leaving => true,
            // GOAWAY tells which calls were not taken; nothing tells it over HTTP/1.1.
            _ if self.drains_gently.get() && !self.is_http2.get() => false,
            Phase::Idle => true,
            Phase::Greeting | Phase::Silent | Phase::Head => {
                self.clock.get().saturating_sub(since) > FIRST_CALL_GRACE
            }
        }
    }

    /// Ends the connection, or the stream, when one of its limits is over.
    pub fn sweep(&self, limits: &Timeouts) {
        let now = self.clock.get();
        let longer_than = |since: Duration, limit| now.saturating_sub(since) > limit;
        let limit = match self.phase.get() {
            Phase::Silent => Some(limits.first_byte),
            Phase::Head => Some(limits.request_headers),
            Phase::Idle => Some(limits.idle),
            Phase::Leaving => Some(LEAVE),
            Phase::Greeting | Phase::Serving | Phase::Tunnel => None,
        };
        let is_spent = limit.is_some_and(|limit| longer_than(self.since.get(), limit));
        let is_stuck = self
            .write_stuck_since
            .get()
            .is_some_and(|since| longer_than(since, limits.write_stall));
        let is_awaited = self
            .body_awaited_since
            .get()
            .is_some_and(|since| longer_than(since, limits.request_body_idle))
            || self.is_body_too_slow(now, limits);
        match self.kind {
            // It can't be told on a stream that takes nothing; its task is dropped.
            Kind::Stream(_) if is_stuck => return self.abort(),
            Kind::Stream(_) => self.is_over.set(self.is_over.get() || is_awaited),
            Kind::Connection if self.is_http2.get() && is_spent => self.say_goodbye(),
            Kind::Connection => {
                self.is_over
                    .set(self.is_over.get() || is_spent || is_stuck || is_awaited);
            }
        }
        let is_tired = matches!(self.kind, Kind::Connection)
            && !self.is_http2.get()
            && self.phase.get() == Phase::Idle
            && self.write_stuck_since.get().is_none()
            && longer_than(self.since.get(), DOZE)
            && !self.is_dozing.replace(true);
        if self.is_over.get() || self.is_to_end() || is_tired {
            self.wake();
        }
    }

    /// An HTTP/2 connection is told that it ends (GOAWAY), and ends when the client has had a moment to hear it.
    fn say_goodbye(&self) {
        match self.draining_since.get() {
            None => self.draining_since.set(Some(self.clock.get())),
            Some(since) if self.clock.get().saturating_sub(since) > LAST_WORD => self.is_over.set(true),
            Some(_) => {}
        }
    }
}
