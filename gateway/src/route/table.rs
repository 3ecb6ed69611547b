//! Every route, and which of them takes a call: by host, then path, then method; the strictest that matches.
//!
//! A look-up allocates nothing; only a 405 writes its `Allow`.

use std::sync::Arc;

use http::{HeaderValue, Method};
use keyward_config::{EncodedSlashes, GatewayConfig};

use super::host::Hosts;
use super::{Route, Taking};
use crate::head::Parsed;
use crate::path::Normalised;
use crate::rejection::Rejection;
use crate::rules::names::RouteNumbers;

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

    pub(super) fn of(configured: &[keyward_config::Route]) -> Self {
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
pub(super) struct Search<'s> {
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
    pub(super) fn pick<'t>(&mut self, offers: &'t [Arc<Route>]) -> Option<&'t Arc<Route>> {
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
