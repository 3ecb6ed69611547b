//! Which route takes a call.
//!
//! The most specific route that matches host, path and method wins:
//!
//! 1. host: an exact name before the longest `*.suffix` before none;
//! 2. path, segment by segment from the left: a literal before a `{parameter}` before the end of the pattern;
//!    at the same shape `=/exact` before a prefix;
//! 3. method: routes of the same host and shape differ by their methods; a route that lists the method comes
//!    before one that takes all. `GET` includes `HEAD`. `CONNECT` and `TRACE` are never taken.
//!
//! A route that does not take the method leaves the call to less specific ones; when none takes it, the answer
//! is 405 with the methods of every route that matched host and path. Literals are compared with what a segment
//! decodes to, so that `/v1%3Arun` is `/v1:run`; an encoded slash never separates.
//!
//! Cost: [`RouteTable::find`] allocates nothing. It reads one hash map per kind of host in use and walks one tree
//! per matching host pattern: a binary search per segment; at worst, with parameters beside literals, each tree
//! node once. It can't fail: a table exists only of routes that the configuration's checks let pass.

mod host;
pub mod rules;
pub mod split;
mod table;
mod tree;

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use keyward_config::{EncodedSlashes, Require};
use keyward_contract::{Environment, LimitMode, Limits};

use self::rules::Rules;
use self::split::{Split, Turns};
pub use self::table::{Allow, Match, RouteTable};
use crate::cors;
use crate::path::{self, Normalised};
use crate::rules::names::RouteNumbers;

/// One configured route, as the request path needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its place in the configuration.
    pub index: u16,
    /// What it is called by number, whatever is reloaded.
    pub numbers: RouteNumbers,
    /// What metrics, usage and logs call it.
    pub name: Arc<str>,
    /// Whose keys it takes.
    pub environments: Box<[Environment]>,
    /// Its upstream's place in the configuration, where there is one; see [`Route::target`].
    upstream: usize,
    split: Option<Split>,
    /// Which credentials a call needs.
    pub require: Require,
    /// Tokens a call takes.
    pub cost: u32,
    /// Bytes a request body may have.
    pub max_body: u64,
    /// Calls of one account at the same time.
    pub max_in_flight: Option<u32>,
    /// The bucket of each client address, on public routes.
    pub per_address: Option<Limits>,
    /// What limits do here.
    pub mode: LimitMode,
    /// How long the whole call may take.
    pub timeout: Duration,
    /// Whether the upstream sees the credential headers.
    pub forward_credentials: bool,
    /// What an encoded slash means; [`RouteTable::find`] has seen to it.
    pub encoded_slashes: EncodedSlashes,
    /// Whether its upstream gets a signed identity.
    pub identity_token: bool,
    /// What pages of other origins may do, when it says so.
    pub cors: Option<Arc<cors::Policy>>,
    /// What is changed in requests on their way to the upstream.
    pub request_rules: Option<Rules>,
    /// What is changed in its answers.
    pub response_rules: Option<Arc<Rules>>,
    methods: Option<Box<[Method]>>,
    strip: Box<[Box<[u8]>]>,
}

impl Route {
    /// The route at this place of the configuration.
    #[must_use]
    pub fn new(index: usize, route: &keyward_config::Route) -> Self {
        let index = u16::try_from(index).unwrap_or(u16::MAX);
        Self {
            index,
            numbers: RouteNumbers {
                label: index,
                place: index,
            },
            name: route.name.as_str().into(),
            environments: route.environments.as_slice().into(),
            upstream: route.upstream,
            split: Split::new(&route.split),
            require: route.require,
            cost: route.cost,
            max_body: route.max_body,
            max_in_flight: route.max_in_flight,
            per_address: route.per_address,
            mode: route.mode,
            timeout: route.timeout,
            forward_credentials: route.forward_credentials,
            encoded_slashes: route.encoded_slashes,
            identity_token: route.identity_token,
            cors: route.cors.as_ref().map(cors::Policy::new).map(Arc::new),
            request_rules: Rules::of(&route.headers.request),
            response_rules: Rules::of(&route.headers.response).map(Arc::new),
            methods: route.methods.as_deref().map(Box::from),
            strip: strip_segments(route.strip_prefix.as_deref()),
        }
    }

    /// A route that the gateway answers itself: it takes keys of every environment and is in no configuration.
    #[must_use]
    pub fn at_edge(require: Require) -> Self {
        Self {
            index: u16::MAX,
            numbers: RouteNumbers {
                label: u16::MAX,
                place: u16::MAX,
            },
            name: "".into(),
            environments: Environment::ALL.into(),
            upstream: usize::MAX,
            split: None,
            require,
            cost: 0,
            max_body: 0,
            max_in_flight: None,
            per_address: None,
            mode: LimitMode::Enforce,
            timeout: Duration::ZERO,
            forward_credentials: false,
            encoded_slashes: EncodedSlashes::Refuse,
            identity_token: false,
            cors: None,
            request_rules: None,
            response_rules: None,
            methods: None,
            strip: Box::default(),
        }
    }

    /// What rates and `max_in_flight` do here for an account whose tier says this: where either only counts, nothing
    /// is refused.
    #[must_use]
    pub fn limit_mode(&self, of_tier: LimitMode) -> LimitMode {
        match (self.mode, of_tier) {
            (LimitMode::Enforce, LimitMode::Enforce) => LimitMode::Enforce,
            (LimitMode::Shadow, _) | (_, LimitMode::Shadow) => LimitMode::Shadow,
        }
    }

    /// Where its next call goes: the upstream's place in the configuration.
    #[must_use]
    pub fn target(&self, turns: &Turns) -> usize {
        match &self.split {
            None => self.upstream,
            Some(split) => split.at(turns.next(self.index)),
        }
    }

    /// Whether keys of this environment may use it.
    #[must_use]
    pub fn serves(&self, environment: Environment) -> bool {
        self.environments.contains(&environment)
    }

    /// The path to forward: what was matched, without the route's `strip_prefix`.
    #[must_use]
    pub fn forwarded_path<'p>(&self, path: &'p Normalised<'_>) -> &'p str {
        let whole = path.as_str();
        let mut rest = whole;
        for wanted in &self.strip {
            let Some(inner) = rest.strip_prefix('/') else {
                return whole;
            };
            let end = inner.find('/').unwrap_or(inner.len());
            let (segment, after) = inner.split_at(end);
            if tree::compare(wanted, segment).is_ne() {
                return whole;
            }
            rest = after;
        }
        if rest.is_empty() { "/" } else { rest }
    }

    /// How well the route takes a method; `None`: not at all.
    fn takes(&self, method: &Method) -> Option<Taking> {
        if matches!(*method, Method::CONNECT | Method::TRACE) {
            return None;
        }
        match &self.methods {
            None => Some(Taking::AsAny),
            Some(listed) if listed.contains(method) => Some(Taking::Listed),
            Some(listed) if *method == Method::HEAD && listed.contains(&Method::GET) => {
                Some(Taking::HeadAsGet)
            }
            Some(_) => None,
        }
    }
}

/// Orders the routes of one shape, best last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Taking {
    AsAny,
    HeadAsGet,
    Listed,
}

fn strip_segments(prefix: Option<&str>) -> Box<[Box<[u8]>]> {
    let inner = prefix
        .and_then(|prefix| prefix.strip_prefix('/'))
        .unwrap_or_default();
    if inner.is_empty() {
        return Box::default();
    }
    inner.split('/').map(literal).collect()
}

/// What a configured literal means: it may be written with escapes or without.
fn literal(text: &str) -> Box<[u8]> {
    match path::normalise(&format!("/{text}")) {
        Ok(path) => path::decoded(path.as_str()).skip(1).collect(),
        Err(_) => text.as_bytes().into(),
    }
}

#[cfg(test)]
mod tests;
