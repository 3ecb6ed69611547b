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
mod tree;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method};
use keyward_config::{EncodedSlashes, GatewayConfig, Require};
use keyward_contract::{Environment, LimitMode, Limits};

use self::host::Hosts;
use self::rules::Rules;
use self::split::{Split, Turns};
use crate::cors;
use crate::head::Parsed;
use crate::path::{self, Normalised};
use crate::rejection::Rejection;
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

/// What a look-up finds.
#[derive(Clone, Debug)]
pub enum Match<'t> {
    /// The route that takes the call.
    Found(&'t Arc<Route>),
    /// An encoded slash where no route takes one: 400.
    EncodedSlash,
    /// Routes match host and path, and none the method: 405.
    MethodMissing(Allow<'t>),
    /// 404.
    None,
}

/// Every route, arranged for look-up. Immutable: a reload compiles a new one.
#[derive(Debug)]
pub struct RouteTable {
    hosts: Hosts,
    routes: Box<[Arc<Route>]>,
    /// Whether any of them speaks to pages of other origins.
    has_cors: bool,
    /// Every method that any route lists; a bit of [`Missed`] each.
    methods: Box<[Method]>,
}

/// The methods that routes without a list of their own answer to in an `Allow`.
const USUAL_METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

impl RouteTable {
    /// Arranges the routes of a configuration.
    #[must_use]
    pub fn compile(config: &GatewayConfig) -> Self {
        Self::of(&config.routes)
    }

    /// The table of a checked configuration whose routes have these numbers, in their order.
    #[must_use]
    pub fn numbered(config: &GatewayConfig, numbers: &[RouteNumbers]) -> Self {
        Self::build(&config.routes, |index, route| {
            let mut route = Route::new(index, route);
            if let Some(numbers) = numbers.get(index) {
                route.numbers = *numbers;
            }
            route
        })
    }

    fn of(configured: &[keyward_config::Route]) -> Self {
        Self::build(configured, Route::new)
    }

    fn build(
        configured: &[keyward_config::Route],
        make: impl Fn(usize, &keyward_config::Route) -> Route,
    ) -> Self {
        let mut hosts = Hosts::default();
        let mut methods = Vec::from(USUAL_METHODS);
        let mut routes = Vec::with_capacity(configured.len());
        for (index, configured) in configured.iter().enumerate() {
            let route = Arc::new(make(index, configured));
            for method in route.methods.iter().flatten() {
                if !methods.contains(method) {
                    methods.push(method.clone());
                }
            }
            hosts
                .tree(&configured.host)
                .insert(&configured.path, Arc::clone(&route));
            routes.push(route);
        }
        hosts.arrange();
        Self {
            hosts,
            has_cors: routes.iter().any(|route| route.cors.is_some()),
            routes: routes.into(),
            methods: methods.into(),
        }
    }

    /// The routes in the order of the configuration.
    #[must_use]
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// Whether any route has `cors`.
    #[must_use]
    pub fn has_cors(&self) -> bool {
        self.has_cors
    }

    /// The route that takes a call.
    ///
    /// # Errors
    /// Row 2, and 400 for an encoded slash where no route takes one.
    pub fn take(&self, parsed: &Parsed<'_>, method: &Method) -> Result<&Route, Rejection> {
        match self.find(parsed.host, &parsed.path, method) {
            Match::Found(route) => Ok(route),
            Match::EncodedSlash => Err(Rejection::InvalidInput("the path has an encoded slash")),
            Match::MethodMissing(allow) => Err(Rejection::MethodNotAllowed(allow.header_value())),
            Match::None => Err(Rejection::RouteNotFound),
        }
    }

    /// Finds the route that takes a call. `host` is the request's authority, in any case, with or without port.
    #[must_use]
    pub fn find(&self, host: &str, path: &Normalised<'_>, method: &Method) -> Match<'_> {
        let mut search = Search {
            method,
            missed: Missed::default(),
            known: &self.methods,
        };
        let rest = path.as_str().strip_prefix('/').filter(|rest| !rest.is_empty());
        let found = self.hosts.first(host, |tree| tree.search(rest, &mut search));
        match found {
            Some(route) if path.has_encoded_slash() && route.encoded_slashes == EncodedSlashes::Refuse => {
                Match::EncodedSlash
            }
            Some(route) => Match::Found(route),
            None if path.has_encoded_slash() => Match::EncodedSlash,
            None if search.missed.any_route => Match::MethodMissing(Allow {
                methods: &self.methods,
                bits: search.missed.bits,
            }),
            None => Match::None,
        }
    }
}

/// One look-up under way.
struct Search<'s> {
    method: &'s Method,
    missed: Missed,
    known: &'s [Method],
}

/// What the routes that matched all but the method would have taken.
#[derive(Default)]
struct Missed {
    any_route: bool,
    bits: u64,
}

impl Search<'_> {
    /// The best of the routes of one host and shape, or a note of what they take.
    fn pick<'t>(&mut self, offers: &'t [Arc<Route>]) -> Option<&'t Arc<Route>> {
        let mut best: Option<(Taking, &Arc<Route>)> = None;
        for route in offers {
            let Some(taking) = route.takes(self.method) else {
                continue;
            };
            if best.is_none_or(|(so_far, _)| taking > so_far) {
                best = Some((taking, route));
            }
        }
        if best.is_none() {
            offers.iter().for_each(|route| self.note(route));
        }
        best.map(|(_, route)| route)
    }

    fn note(&mut self, route: &Route) {
        self.missed.any_route = true;
        for (bit, method) in self.known.iter().enumerate().take(64) {
            let taken = match &route.methods {
                None => USUAL_METHODS.contains(method),
                Some(_) => route.takes(method).is_some(),
            };
            self.missed.bits |= u64::from(taken) << bit;
        }
    }
}

/// The methods that a 405 names.
#[derive(Clone, Copy, Debug)]
pub struct Allow<'t> {
    methods: &'t [Method],
    bits: u64,
}

impl Allow<'_> {
    /// The `Allow` field's value. Allocates it.
    #[must_use]
    pub fn header_value(&self) -> HeaderValue {
        let mut text = String::with_capacity(48);
        for (bit, method) in self.methods.iter().enumerate().take(64) {
            if self.bits >> bit & 1 == 1 {
                if !text.is_empty() {
                    text.push_str(", ");
                }
                text.push_str(method.as_str());
            }
        }
        // A method is a token, so this is always a valid value.
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
    }
}

#[cfg(test)]
mod tests;
