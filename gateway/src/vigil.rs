//! Ends calls in flight whose key, end customer or account has lost its rights, within `drain.revoked`.
//!
//! A call keeps a [`Vigil`] from its permit to its end, whatever it is: an upload, a download, a stream of events. All
//! vigils of a worker lie in one slab. It is looked through when something was put in force since the last look, and
//! every so often for what ends by the clock (expiry, grace, contract). A call that would be refused now is given
//! until `drain.revoked` after the last look that found it well, and so never longer than that after the change; one that gets
//! its rights back is spared.
//!
//! A call whose answer has not begun is answered with the refusal; one whose answer has begun loses its connection, so
//! that nobody takes the piece for the whole. Its upstream connection is closed either way.
//!
//! Costs: a call fills one place of the slab and empties it; a look costs a key look-up for each call in flight.
//! What can't be looked up now ends no call.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::admission::{self, Claim};
use crate::deadlines::TICK;
use crate::rejection::Rejection;
use crate::rules::Terms;
use crate::server::watch::ConnectionState;
use crate::telemetry::CutReason;
use crate::worker::Worker;

/// The longest time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the access log says of a call that was cut off.
#[must_use]
pub fn code(reason: CutReason) -> &'static str {
    match reason {
        CutReason::Key => "CUT_KEY",
        CutReason::Customer => "CUT_CUSTOMER",
        CutReason::Account => "CUT_ACCOUNT",
        CutReason::Address => "CUT_ADDRESS",
    }
}

/// What the client is told, when nothing was answered yet.
#[must_use]
pub fn rejection(reason: CutReason) -> Rejection {
    match reason {
        CutReason::Key => Rejection::ExpiredApiKey,
        CutReason::Customer => Rejection::CustomerKeyRefused,
        CutReason::Account => Rejection::AccountSuspended,
        CutReason::Address => Rejection::IpNotAllowed,
    }
}

/// The calls in flight of one worker that have rights to lose.
#[derive(Debug, Default)]
pub struct Vigils {
    slab: RefCell<Slab>,
}

#[derive(Debug, Default)]
struct Slab {
    calls: Vec<Option<Watched>>,
    free: Vec<usize>,
    /// When it was last looked through.
    looked: Duration,
    /// What was in force then.
    moved: u64,
    /// Whether any call was without its rights then.
    any_dead: bool,
}

/// What a call was let in by.
#[derive(Debug)]
pub struct Standing {
    /// Its keys and its address.
    pub claim: Claim,
    /// What it goes by.
    pub terms: Rc<Terms>,
    /// The route's index there.
    pub route: u16,
}

#[derive(Debug)]
struct Watched {
    standing: Standing,
    /// What carries it: for HTTP/1.1 its connection.
    carrier: Rc<ConnectionState>,
    is_answering: bool,
    /// When it was last found to have its rights.
    well: Duration,
    /// Why it would be refused now.
    dead: Option<CutReason>,
    is_cut: bool,
    /// It was told and has not ended.
    is_stubborn: bool,
}

/// One call's place; dropping it leaves it.
#[derive(Debug)]
pub struct Vigil {
    worker: Rc<Worker>,
    place: usize,
}

impl Vigil {
    /// Over a call that was found well at `since`, monotonic.
    #[must_use]
    pub fn keep(
        worker: &Rc<Worker>,
        standing: Standing,
        carrier: &Rc<ConnectionState>,
        since: Duration,
    ) -> Self {
        let watched = Watched {
            standing,
            carrier: Rc::clone(carrier),
            is_answering: false,
            well: since,
            dead: None,
            is_cut: false,
            is_stubborn: false,
        };
        Self {
            place: worker.vigils().slab.borrow_mut().occupy(watched),
            worker: Rc::clone(worker),
        }
    }

    /// Why the call is to end now, if it is.
    #[must_use]
    pub fn cut(&self) -> Option<CutReason> {
        let slab = self.worker.vigils().slab.borrow();
        let watched = slab.calls.get(self.place)?.as_ref()?;
        watched.dead.filter(|_| watched.is_cut)
    }

    /// The answer begins.
    pub fn answers(&self) {
        let mut slab = self.worker.vigils().slab.borrow_mut();
        if let Some(Some(watched)) = slab.calls.get_mut(self.place) {
            watched.is_answering = true;
        }
    }
}

impl Drop for Vigil {
    fn drop(&mut self) {
        self.worker.vigils().slab.borrow_mut().vacate(self.place);
    }
}

impl Vigils {
    /// Looks through the calls when there is reason to, and ends those whose time is over. To be called every tick.
    pub fn sweep(&self, worker: &Worker, now: Duration) {
        let grace = worker.terms().rules().config.drain.revoked;
        let mut slab = self.slab.borrow_mut();
        let moved = worker.shared().keys.generations().moved();
        let since = now.saturating_sub(slab.looked);
        let is_due = since >= LOOK_EVERY.min(grace / 8)
            || (moved != slab.moved && since >= LOOK_EVERY.min(grace / 20));
        if is_due {
            slab.look(worker, now);
            slab.moved = moved;
        }
        if slab.any_dead {
            let ended = slab.end(now, grace);
            drop(slab);
            end(ended);
        }
    }

    /// Looks now, where calls are to end at once: a change is acknowledged only after this.
    pub fn hurry(&self, worker: &Worker) {
        if worker.terms().rules().config.drain.revoked.is_zero() {
            self.sweep(worker, worker.now().monotonic);
        }
    }
}

impl Slab {
    fn occupy(&mut self, watched: Watched) -> usize {
        let place = self.free.pop().unwrap_or(self.calls.len());
        match self.calls.get_mut(place) {
            Some(free) => *free = Some(watched),
            None => self.calls.push(Some(watched)),
        }
        place
    }

    fn vacate(&mut self, place: usize) {
        if let Some(taken) = self.calls.get_mut(place) {
            *taken = None;
            self.free.push(place);
        }
    }

    fn look(&mut self, worker: &Worker, now: Duration) {
        self.any_dead = false;
        for watched in self.calls.iter_mut().flatten().filter(|call| !call.is_cut) {
            let Standing { claim, terms, route } = &watched.standing;
            let Some(route) = terms.rules().routes.routes().get(usize::from(*route)) else {
                continue;
            };
            match admission::decide_again(claim, worker, route) {
                Ok(()) => {
                    watched.well = now;
                    watched.dead = None;
                }
                Err(rejection) => watched.dead = reason(&rejection).or(watched.dead),
            }
            self.any_dead |= watched.dead.is_some();
        }
        self.any_dead |= self.calls.iter().flatten().any(|call| call.is_cut);
        self.looked = now;
    }

    /// Marks those whose time is over; answers what carries them, and how they end.
    fn end(&mut self, now: Duration, grace: Duration) -> Vec<(Rc<ConnectionState>, Ending)> {
        let mut ended = Vec::new();
        for watched in self.calls.iter_mut().flatten() {
            // Not to be late, it is done one tick early.
            let is_over = now.saturating_add(TICK) >= watched.well.saturating_add(grace);
            let ending = match watched.is_cut {
                true if watched.is_answering && !watched.is_stubborn => {
                    watched.is_stubborn = true;
                    Ending::AtOnce
                }
                false if watched.dead.is_some() && is_over => {
                    watched.is_cut = true;
                    if watched.is_answering {
                        Ending::Cut
                    } else {
                        Ending::Refused
                    }
                }
                true | false => continue,
            };
            ended.push((Rc::clone(&watched.carrier), ending));
        }
        ended
    }
}

/// How a call ends.
#[derive(Clone, Copy, Debug)]
enum Ending {
    /// Nothing was answered yet: by the refusal.
    Refused,
    /// Within its answer: with a word, where its protocol has one.
    Cut,
    /// It was told, and is still there: the client takes nothing.
    AtOnce,
}

fn end(calls: Vec<(Rc<ConnectionState>, Ending)>) {
    for (carrier, ending) in calls {
        match ending {
            Ending::Refused => carrier.rouse(),
            Ending::Cut => carrier.cut(),
            Ending::AtOnce => carrier.abort(),
        }
    }
}

/// `None` where it isn't rights that are missing.
fn reason(rejection: &Rejection) -> Option<CutReason> {
    match rejection {
        Rejection::InvalidApiKey | Rejection::ExpiredApiKey => Some(CutReason::Key),
        Rejection::CustomerKeyMissing | Rejection::CustomerKeyRefused => Some(CutReason::Customer),
        Rejection::AccountSuspended => Some(CutReason::Account),
        Rejection::IpNotAllowed => Some(CutReason::Address),
        Rejection::InvalidInput(_)
        | Rejection::UriTooLong
        | Rejection::RouteNotFound
        | Rejection::MethodNotAllowed(_)
        | Rejection::Unauthorized
        | Rejection::QuotaExceeded(_)
        | Rejection::RateLimited { .. }
        | Rejection::PayloadTooLarge(_)
        | Rejection::UnsupportedMediaType
        | Rejection::Overloaded(_)
        | Rejection::UpstreamUnavailable
        | Rejection::BadGateway(_)
        | Rejection::UpstreamTimeout
        | Rejection::Internal => None,
    }
}
