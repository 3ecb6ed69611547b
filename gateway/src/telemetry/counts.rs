//! What one worker thread counts.
//!
//! One thread writes, by a plain load, add and store; the scraper reads at any time. A row for a route, tier or
//! upstream is allocated when it is first needed and then stays where it is: after that nothing here allocates,
//! locks, or shares a cache line with another worker.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::histogram::WorkerHistogram;
use super::{Decision, Finished, MAX_DECISIONS, MAX_ROUTES, MAX_UPSTREAMS, TIER_ROWS, TierSlot};
use crate::limits::Which;

/// A number that one thread adds to and any thread reads.
#[derive(Debug, Default)]
pub(super) struct Sum(AtomicU64);

impl Sum {
    /// Only ever called by the one thread that writes: a load and a store, not a locked instruction.
    pub(super) fn add(&self, more: u64) {
        let sum = self.0.load(Ordering::Relaxed).wrapping_add(more);
        self.0.store(sum, Ordering::Relaxed);
    }

    pub(super) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Rows that come into being when they are first counted in. The last two stand for all that have no place of
/// their own, and for none.
#[derive(Debug)]
pub(super) struct Rows<T>(Box<[OnceLock<Box<T>>]>);

impl<T: Default> Rows<T> {
    fn new(places: usize) -> Self {
        Self((0..places + 2).map(|_| OnceLock::new()).collect())
    }

    /// The row of a place, of `None`, or of what has no place.
    fn row(&self, place: Option<u16>) -> Option<&T> {
        let none = self.0.len().checked_sub(1)?;
        let other = none.checked_sub(1)?;
        let at = place.map_or(none, |place| usize::from(place).min(other));
        self.0.get(at).map(|row| &**row.get_or_init(Box::default))
    }

    /// The rows that were ever counted in; `None` is the place of none.
    pub(super) fn used(&self) -> impl Iterator<Item = (Option<usize>, &T)> {
        let none = self.0.len().wrapping_sub(1);
        let used = self
            .0
            .iter()
            .enumerate()
            .filter_map(|(at, row)| Some((at, &**row.get()?)));
        used.map(move |(at, row)| ((at != none).then_some(at), row))
    }
}

/// Everything that one worker counts.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Counts {
    pub(super) decisions: [Sum; MAX_DECISIONS + 1],
    pub(super) overhead: WorkerHistogram,
    pub(super) connections_opened: Sum,
    pub(super) connections_closed: Sum,
    pub(super) dozes_begun: Sum,
    pub(super) dozes_ended: Sum,
    pub(super) calls_begun: Sum,
    pub(super) calls_ended: Sum,
    pub(super) cache_hits: [Sum; CacheLevel::ALL.len()],
    pub(super) cache_misses: [Sum; CacheLevel::ALL.len()],
    pub(super) would_limit: Rows<LimitCounts>,
    pub(super) cut: [Sum; CutReason::ALL.len()],
    pub(super) checks: [[Sum; MAX_DECISIONS + 1]; Endpoint::ALL.len()],
    pub(super) turned: [Sum; Turned::ALL.len()],
    pub(super) routes: Rows<RouteCounts>,
    pub(super) upstreams: Rows<UpstreamCounts>,
}

/// What is counted for each route.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct RouteCounts {
    pub(super) duration: WorkerHistogram,
    pub(super) received: Sum,
    pub(super) sent: Sum,
    pub(super) tiers: Rows<TierCounts>,
}

impl Default for RouteCounts {
    fn default() -> Self {
        Self {
            duration: WorkerHistogram::default(),
            received: Sum::default(),
            sent: Sum::default(),
            tiers: Rows::new(TIER_ROWS),
        }
    }
}

/// What is counted for each tier of a route: calls by status.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct TierCounts {
    pub(super) statuses: [Sum; STATUSES.len() + 1],
}

impl Default for TierCounts {
    fn default() -> Self {
        Self {
            statuses: std::array::from_fn(|_| Sum::default()),
        }
    }
}

/// What is counted for each tier: calls that a limit in shadow mode would have refused, by limit.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct LimitCounts {
    pub(super) limits: [Sum; Which::ALL.len()],
}

/// What is counted for each upstream.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct UpstreamCounts {
    /// By first digit; 0 is "no answer".
    pub(super) classes: [Sum; 6],
    pub(super) connects: Sum,
    pub(super) failures: [Sum; UpstreamFailure::ALL.len()],
    pub(super) retries: [Sum; UpstreamRetry::ALL.len()],
    pub(super) duration: WorkerHistogram,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            decisions: std::array::from_fn(|_| Sum::default()),
            overhead: WorkerHistogram::default(),
            connections_opened: Sum::default(),
            connections_closed: Sum::default(),
            dozes_begun: Sum::default(),
            dozes_ended: Sum::default(),
            calls_begun: Sum::default(),
            calls_ended: Sum::default(),
            cache_hits: Default::default(),
            cache_misses: Default::default(),
            would_limit: Rows::new(TIER_ROWS),
            cut: Default::default(),
            checks: std::array::from_fn(|_| std::array::from_fn(|_| Sum::default())),
            turned: Default::default(),
            routes: Rows::new(usize::from(MAX_ROUTES)),
            upstreams: Rows::new(usize::from(MAX_UPSTREAMS)),
        }
    }
}

impl Counts {
    pub(super) fn finished(&self, call: &Finished) {
        add_one(&self.decisions, usize::from(call.decision.0).min(MAX_DECISIONS));
        self.overhead.record(call.overhead);
        if let Some(route) = self.routes.row(call.route) {
            route.duration.record(call.duration);
            route.received.add(call.bytes_in);
            route.sent.add(call.bytes_out);
            if let Some(tier) = route.tiers.row(call.tier.0) {
                add_one(&tier.statuses, status_place(call.status));
            }
        }
        let upstream = call
            .upstream
            .and_then(|upstream| self.upstreams.row(Some(upstream)));
        if let Some(upstream) = upstream {
            add_one(&upstream.classes, call.upstream_class());
            upstream.duration.record(call.upstream_time);
        }
    }

    pub(super) fn checked(&self, endpoint: Endpoint, decision: Decision) {
        let at = usize::from(decision.0).min(MAX_DECISIONS);
        add_one(&self.decisions, at);
        if let Some(decisions) = self.checks.get(endpoint as usize) {
            add_one(decisions, at);
        }
    }

    pub(super) fn would_limit(&self, tier: TierSlot, limit: Which) {
        if let Some(tier) = self.would_limit.row(tier.0) {
            add_one(&tier.limits, limit as usize);
        }
    }

    pub(super) fn upstream_connected(&self, upstream: u16) {
        if let Some(upstream) = self.upstreams.row(Some(upstream)) {
            upstream.connects.add(1);
        }
    }

    pub(super) fn upstream_failed(&self, upstream: u16, failure: UpstreamFailure) {
        if let Some(upstream) = self.upstreams.row(Some(upstream)) {
            add_one(&upstream.failures, failure as usize);
        }
    }
}

impl Counts {
    pub(super) fn upstream_retried(&self, upstream: u16, outcome: UpstreamRetry) {
        if let Some(upstream) = self.upstreams.row(Some(upstream)) {
            add_one(&upstream.retries, outcome as usize);
        }
    }
}

pub(super) fn add_one(sums: &[Sum], at: usize) {
    if let Some(sum) = sums.get(at) {
        sum.add(1);
    }
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All of them, in order.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The label's value.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

label! {
    /// Where a key look-up was answered.
    CacheLevel {
        /// The worker's own recent keys.
        Recent = "recent",
        /// The cache of hot keys.
        Memory = "memory",
        /// The replica on disk.
        Replica = "replica",
    }
}

label! {
    /// Whose rights were gone when a call in flight was cut off.
    CutReason {
        /// The account key's, or the customer key's where that stands alone.
        Key = "key",
        /// The customer key's, beside an account key.
        Customer = "customer",
        /// The account's.
        Account = "account",
        /// The client's address is no longer among those that the key may be used from.
        Address = "address",
    }
}

label! {
    /// Where it was asked whether a call may pass that somebody else forwards.
    Endpoint {
        /// Envoy's external authorization.
        ExtAuthz = "ext_authz",
        /// `/auth`, of proxies that ask over HTTP.
        ForwardAuth = "forward_auth",
        /// `/v1/validate`, of applications.
        Validate = "validate",
    }
}

label! {
    /// Why a client's connection was closed before its time.
    Turned {
        /// There were as many as there may be.
        Bound = "bound",
        /// A trusted proxy did not begin with the PROXY protocol.
        ProxyProtocol = "proxy_protocol",
        /// No TLS came about.
        Tls = "tls",
        /// PROXY protocol and TLS took too long.
        Slow = "slow",
        /// It was flooded with frames.
        Flood = "flood",
    }
}

label! {
    /// How an attempt at an upstream failed.
    UpstreamFailure {
        /// No connection could be made.
        Connect = "connect",
        /// No connection was made in time.
        ConnectTimeout = "connect_timeout",
        /// TLS came to nothing: a certificate that is not trusted, or no agreement.
        Tls = "tls",
        /// It does not speak HTTP/2.
        Http2 = "http2",
        /// All connections that there may be carry as many calls as they can.
        Full = "full",
        /// It said that it did nothing about the call.
        Refused = "refused",
        /// No answer head came in time.
        ResponseTimeout = "response_timeout",
        /// The connection ended before the answer's head was whole.
        Closed = "closed",
        /// The answer was malformed.
        Malformed = "malformed",
        /// The answer's body ended or stalled before it was whole.
        Body = "body",
    }
}

label! {
    /// What became of the wish to send a call again.
    UpstreamRetry {
        /// It was sent again.
        Sent = "sent",
        /// The budget was used up.
        OverBudget = "over_budget",
        /// There was no time left for it.
        TooLate = "too_late",
    }
}

/// The statuses that have a label of their own: those that are registered, and 499. Which status a call gets is
/// for upstreams to say, and must not decide how large `/metrics` is.
#[rustfmt::skip]
pub(super) const STATUSES: [u16; 63] = [
    100, 101, 102, 103, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 307, 308,
    400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 423,
    424, 425, 426, 428, 429, 431, 451, 499, 500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511,
];

static STATUS_PLACES: [u8; 600] = status_places();

const fn status_places() -> [u8; 600] {
    let mut places = [STATUSES.len() as u8; 600];
    let mut at = 0;
    while at < STATUSES.len() {
        places[STATUSES[at] as usize] = at as u8;
        at += 1;
    }
    places
}

/// The place of a status in [`STATUSES`], or the one after the last.
fn status_place(status: u16) -> usize {
    STATUS_PLACES
        .get(usize::from(status))
        .map_or(STATUSES.len(), |&place| usize::from(place))
}
