//! Why a call was refused, for an hour: `/explain/<request id>` at the admin listener, and `keyward explain`.
//!
//! Each worker keeps its own last refusals ([`Ring`]): one write of a plain struct under a lock that only the admin
//! thread ever wants besides. Nothing is formatted before somebody asks. Refusals of callers who are known have places
//! of their own, so that a flood of random keys pushes none of them out. Memory is bounded: 5 120 entries of some 500
//! bytes a worker, and none before there are refusals. A client may use an id again: every refusal that is held is shown.
//!
//! Calls that somebody else forwards ([`crate::authz`]) are among them, with who asked.
//!
//! No key is ever in here, only key ids and the names of headers. Nothing fails: what is not held any more is not found.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayString;
use http::{HeaderName, HeaderValue, Method};
use keyward_config::Require;
use keyward_contract::{AccountId, CustomerId, Environment, KeyId};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::admission::{Caller, Refused};
use crate::call::Call;
use crate::clock::Now;
use crate::limits::Levels;
use crate::limits::fields::Standing;
use crate::limits::{Which, bucket::Level};
use crate::rejection::Rejection;
use crate::request_id;
use crate::telemetry::Endpoint;

mod checks;
mod page;

use checks::Check;

/// Refusals of known callers that a worker holds.
const OF_KNOWN: usize = 4_096;
/// Refusals of everybody else.
const OF_UNKNOWN: usize = 1_024;
/// How long a refusal can be looked up.
const HELD_FOR: Duration = Duration::from_secs(3_600);
/// No upstream's name is longer.
const LONGEST_NAME: usize = 64;
/// No method of a route is longer; of others the beginning is shown.
const LONGEST_METHOD: usize = 16;

/// The refusals of all workers.
#[derive(Debug, Default)]
pub struct Explanations {
    rings: Mutex<Vec<Arc<Ring>>>,
}

/// The last refusals of one worker, oldest first.
#[derive(Debug, Default)]
pub struct Ring {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    of_known: VecDeque<Refusal>,
    of_unknown: VecDeque<Refusal>,
}

/// One refusal, as small as it can be told later.
#[derive(Clone, Debug)]
struct Refusal {
    id: ArrayString<{ request_id::LONGEST }>,
    at: Now,
    status: u16,
    code: &'static str,
    message: &'static str,
    method: ArrayString<LONGEST_METHOD>,
    client: IpAddr,
    /// Who asked, when somebody else would have forwarded the call.
    endpoint: Option<&'static str>,
    route: Option<Taken>,
    upstream: Option<ArrayString<LONGEST_NAME>>,
    /// Whether an upstream may have seen the call.
    was_accepted: bool,
    /// What said no; `None` when the gateway itself failed, and it can't be told where.
    check: Option<Check>,
    sources: [Option<HeaderName>; 2],
    caller: Option<Who>,
    revision: u64,
    levels: Option<Levels>,
    limit: Option<(Which, Level, Duration)>,
}

/// The route that a call took.
#[derive(Clone, Debug)]
struct Taken {
    name: Arc<str>,
    require: Require,
    cost: u32,
}

/// Who called.
#[derive(Clone, Copy, Debug)]
struct Who {
    account: AccountId,
    environment: Environment,
    key: Option<KeyId>,
    customer_key: Option<KeyId>,
    customer: Option<CustomerId>,
}

impl Explanations {
    /// A ring for one more worker.
    #[must_use]
    pub fn ring(&self) -> Arc<Ring> {
        let ring = Arc::<Ring>::default();
        self.rings.lock().push(Arc::clone(&ring));
        ring
    }

    /// What is held about a request id, the latest refusal first; `None` when nothing is. Looks through every ring.
    #[must_use]
    pub fn about(&self, id: &str, now: Now) -> Option<Value> {
        let rings = self.rings.lock().clone();
        let mut found: Vec<Refusal> = rings.iter().flat_map(|ring| ring.find(id, now)).collect();
        if found.is_empty() {
            return None;
        }
        found.sort_by_key(|refusal| std::cmp::Reverse(refusal.at.monotonic));
        let refusals: Vec<Value> = found.iter().map(page::of).collect();
        Some(json!({ "requestId": id, "refusals": refusals }))
    }
}

/// What is answered about an id of which nothing is held.
#[must_use]
pub fn not_held(id: &str) -> Value {
    let message = if request_id::is_well_formed(id.as_bytes()) {
        "no refusal with this id is held here: it was not refused by this gateway, or more than an hour ago, or before \
         the last start, or so many have been refused since that it had to go"
    } else {
        "this can't be the id of a call: 1 to 128 of A-Z a-z 0-9 . _ -"
    };
    json!({ "error": "not_found", "message": message })
}

impl Ring {
    fn keep(&self, refusal: Refusal) {
        let mut held = self.held.lock();
        let (ring, bound) = match refusal.caller {
            Some(_) => (&mut held.of_known, OF_KNOWN),
            None => (&mut held.of_unknown, OF_UNKNOWN),
        };
        if ring.len() >= bound {
            ring.pop_front();
        }
        ring.push_back(refusal);
    }

    fn find(&self, id: &str, now: Now) -> Vec<Refusal> {
        let held = self.held.lock();
        let is_meant = |refusal: &&Refusal| {
            refusal.id.as_str() == id && now.monotonic.saturating_sub(refusal.at.monotonic) < HELD_FOR
        };
        let all = held.of_known.iter().chain(&held.of_unknown);
        all.filter(is_meant).cloned().collect()
    }
}

/// What is held of a call beside the decision.
#[derive(Debug)]
pub struct Told<'a> {
    /// Its id. A well-formed one, or nothing is kept.
    pub request_id: &'a HeaderValue,
    /// What it was sent with.
    pub method: &'a Method,
    /// Where it came from.
    pub client: IpAddr,
    /// What held the account's and the customer's key: the names of headers, or of a question's members.
    pub sources: [Option<HeaderName>; 2],
}

/// Keeps why this call is refused.
pub fn keep(call: &Call, refused: &Refused, told: Told<'_>) {
    let (worker, rules) = (call.worker(), call.rules());
    let shared = worker.shared();
    let Some(id) = told
        .request_id
        .to_str()
        .ok()
        .and_then(|id| ArrayString::from(id).ok())
    else {
        return;
    };
    let (rejection, caller) = (&refused.rejection, refused.caller.as_deref());
    let route = call.route();
    let route = route.and_then(|index| rules.routes.routes().get(usize::from(index)));
    let upstream = call.aimed_at();
    let upstream = upstream.and_then(|index| rules.config.upstreams.get(index));
    worker.refusals().keep(Refusal {
        id,
        at: call.started(),
        status: rejection.status().as_u16(),
        code: rejection.code(),
        message: rejection.message(),
        method: shortened(told.method.as_str()),
        client: told.client,
        endpoint: call.endpoint().map(Endpoint::label),
        upstream: upstream.and_then(|upstream| ArrayString::from(&upstream.name).ok()),
        was_accepted: call.is_accepted(),
        check: checks::refused_at(rejection, route.map(|route| &**route), caller, call.is_accepted()),
        route: route.map(|route| Taken {
            name: Arc::clone(&route.name),
            require: route.require,
            cost: call.cost().unwrap_or(route.cost),
        }),
        sources: told.sources,
        caller: caller.map(who),
        revision: shared.keys.revision(),
        levels: caller.map(|caller| shared.limiter.levels(caller, call.started())),
        limit: match rejection {
            Rejection::RateLimited {
                standing: Standing { which, level, .. },
                retry_after,
            } => Some((*which, *level, *retry_after)),
            _ => None,
        },
    });
}

fn who(caller: &Caller) -> Who {
    Who {
        account: caller.account().id(),
        environment: caller.environment(),
        key: caller.account_key().map(|key| key.record.id),
        customer_key: caller.customer_key().map(|key| key.record.id),
        customer: caller.customer().map(|customer| customer.id),
    }
}

fn shortened(method: &str) -> ArrayString<LONGEST_METHOD> {
    let mut short = ArrayString::new();
    // A method is ASCII (RFC 9110 §9.1).
    let _ = short.try_push_str(method.get(..method.len().min(LONGEST_METHOD)).unwrap_or_default());
    short
}

#[cfg(test)]
mod tests;
