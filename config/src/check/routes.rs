//! `routes`: what each means, and that no two of them want the same call.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use http::Method;
use keyward_contract::{Environment, Limits};

use crate::check::control_plane::LARGEST_LIMIT;
use crate::check::gateway::first_repeated;
use crate::check::{cors, headers, split};
use crate::gateway::{
    Credentials, EncodedSlashes, HostPattern, PathPattern, PathSegment, Require, Route, Upstream,
};
use crate::leaf::path::{Path, Prefix};
use crate::leaf::unit::Time;
use crate::leaf::word::{Credential, Served, Slashes, Verb};
use crate::report::Report;
use crate::typed;

/// Gateways number routes in two bytes.
const MOST_ROUTES: usize = 10_000;

/// Gateways forget an address after so long: by then its bucket must be full again.
const SLOWEST_REFILL_SECONDS: u64 = 600;

/// What a route takes from elsewhere.
pub(crate) struct Defaults<'a> {
    /// Those it may name.
    pub(crate) upstreams: &'a [Upstream],
    /// `bounds.body`.
    pub(crate) max_body: u64,
    /// `timeouts.request`.
    pub(crate) timeout: Duration,
    /// `credentials`.
    pub(crate) credentials: &'a Credentials,
}

/// Every route in the order of the file.
pub(crate) fn routes(
    typed: Vec<typed::route::Route>,
    defaults: &Defaults<'_>,
    report: &mut Report<'_>,
) -> Vec<Route> {
    if typed.is_empty() {
        report.missing(
            "routes",
            "there is none; write [[routes]] with path = \"/\" and the name of an upstream, such as upstream = \"api\"",
        );
    }
    if typed.len() > MOST_ROUTES {
        let count = typed.len();
        report.wrong(
            "routes",
            format!("there are {count}; at most {MOST_ROUTES} can be served"),
        );
    }
    check_names(&typed, report);
    let routes: Vec<Route> = typed
        .into_iter()
        .enumerate()
        .map(|(index, typed)| route(&format!("routes[{index}]"), typed, defaults, report))
        .collect();
    check_conflicts(&routes, report);
    routes
}

fn check_names(typed: &[typed::route::Route], report: &mut Report<'_>) {
    let mut names = HashSet::new();
    for (index, route) in typed.iter().enumerate() {
        if let Some(name) = &route.name
            && !names.insert(&name.0)
        {
            report.wrong(
                &format!("routes[{index}].name"),
                format!("\"{name}\" is another route's name; write another"),
            );
        }
    }
}

fn route(at: &str, typed: typed::route::Route, defaults: &Defaults<'_>, report: &mut Report<'_>) -> Route {
    let max_in_flight = max_in_flight(at, &typed, report);
    let per_address = per_address(at, &typed, report);
    let (upstream, split) = split::targets(at, &typed, defaults.upstreams, report);
    let methods = typed.methods.map(|verbs| methods(at, &verbs, report));
    let headers = headers::headers(at, typed.headers, defaults.credentials, report);
    let beside = cors::Beside {
        at,
        methods: methods.as_deref(),
        headers: &headers,
        credentials: defaults.credentials,
    };
    let cors = cors::cors(typed.cors, &beside, report);
    let path = typed.path.unwrap_or_else(root);
    let cost = typed.cost.unwrap_or(1);
    report.within(&format!("{at}.cost"), cost, 1..=1_000_000);
    if let Some(timeout) = typed.timeout {
        let bounds = Time::ms(1)..=Time::seconds(365 * 86_400);
        report.within(&format!("{at}.timeout"), timeout, bounds);
    }
    if let Some(prefix) = &typed.strip_prefix {
        check_prefix(at, prefix, &path, report);
    }
    Route {
        name: typed.name.map_or_else(|| path.typed.clone(), |name| name.0),
        host: typed.host.map_or(HostPattern::Any, |host| host.0),
        methods,
        environments: environments(at, typed.environments, report),
        upstream,
        split,
        require: match typed.require.unwrap_or(Credential::Customer) {
            Credential::Customer => Require::Customer,
            Credential::Account => Require::Account,
            Credential::CustomerOnly => Require::CustomerOnly,
            Credential::None => Require::None,
        },
        cost: u32::try_from(cost).unwrap_or(1),
        max_body: typed.max_body.map_or(defaults.max_body, |size| size.0),
        max_in_flight,
        per_address,
        mode: typed.mode.map(Into::into).unwrap_or_default(),
        timeout: typed.timeout.map_or(defaults.timeout, |time| time.0),
        forward_credentials: typed.forward_credentials,
        encoded_slashes: match typed.encoded_slashes.unwrap_or(Slashes::Refuse) {
            Slashes::Refuse => EncodedSlashes::Refuse,
            Slashes::Keep => EncodedSlashes::Keep,
        },
        strip_prefix: typed.strip_prefix.map(|prefix| prefix.to_string()),
        identity_token: typed.identity_token,
        cors,
        headers,
        path: path.pattern,
    }
}

fn max_in_flight(at: &str, typed: &typed::route::Route, report: &mut Report<'_>) -> Option<u32> {
    let count = typed.max_in_flight?;
    let path = format!("{at}.max_in_flight");
    report.within(&path, count, 1..=1_000_000);
    if typed.require == Some(Credential::None) {
        report.wrong(
            &path,
            "is counted for each account, and the calls of a public route have none; remove it",
        );
    }
    u32::try_from(count).ok()
}

fn per_address(at: &str, typed: &typed::route::Route, report: &mut Report<'_>) -> Option<Limits> {
    let limit = typed.per_address.as_ref()?;
    let path = format!("{at}.per_address");
    if typed.require != Some(Credential::None) {
        report.wrong(
            &path,
            "is for public routes, and calls with a key have their account's limits; remove it, or write require = \"none\"",
        );
    }
    let rate_path = format!("{path}.rate");
    let Some(rate) = limit.rate.map(|rate| u64::from(rate.0)) else {
        report.missing(&rate_path, "is missing; write one, such as \"10/s\"");
        return None;
    };
    let burst = limit.burst.unwrap_or(rate * 2);
    report.within(&rate_path, rate, 1..=LARGEST_LIMIT);
    if rate > 0 {
        let most = (rate * SLOWEST_REFILL_SECONDS).min(2 * LARGEST_LIMIT);
        report.within(&format!("{path}.burst"), burst, 1..=most);
        let cost = typed.cost.unwrap_or(1);
        if cost > burst {
            report.wrong(
                &format!("{at}.cost"),
                format!("{cost} is more than the {burst} that one address may spend at once; no call of it could pass"),
            );
        }
    }
    Some(Limits {
        rate: u32::try_from(rate).ok()?,
        burst: u32::try_from(burst).ok()?,
    })
}

fn root() -> Path {
    Path {
        pattern: PathPattern {
            segments: Vec::new(),
            exact: false,
        },
        typed: "/".to_owned(),
    }
}

fn methods(at: &str, verbs: &[Verb], report: &mut Report<'_>) -> Vec<Method> {
    let path = format!("{at}.methods");
    if verbs.is_empty() {
        report.missing(
            &path,
            "there is none; write [\"GET\"], or remove it for every method",
        );
    }
    if let Some(twice) = first_repeated(verbs) {
        report.wrong(&path, format!("\"{twice}\" is there twice; remove one"));
    }
    verbs.iter().map(method).collect()
}

/// The method that a word means.
pub(crate) fn method(verb: &Verb) -> Method {
    match verb {
        Verb::Get => Method::GET,
        Verb::Head => Method::HEAD,
        Verb::Post => Method::POST,
        Verb::Put => Method::PUT,
        Verb::Patch => Method::PATCH,
        Verb::Delete => Method::DELETE,
        Verb::Options => Method::OPTIONS,
    }
}

fn environments(at: &str, typed: Option<Vec<Served>>, report: &mut Report<'_>) -> Vec<Environment> {
    let Some(served) = typed else {
        return Environment::ALL.to_vec();
    };
    let path = format!("{at}.environments");
    if served.is_empty() {
        report.missing(
            &path,
            "there is none; write [\"production\"] or [\"test\"], or remove it for both",
        );
    }
    if let Some(twice) = first_repeated(&served) {
        report.wrong(&path, format!("\"{twice}\" is there twice; remove one"));
    }
    let is_served = |environment: &Environment| {
        served.contains(match environment {
            Environment::Production => &Served::Production,
            Environment::Test => &Served::Test,
        })
    };
    Environment::ALL.into_iter().filter(is_served).collect()
}

fn check_prefix(at: &str, prefix: &Prefix, path: &Path, report: &mut Report<'_>) {
    let segments = &path.pattern.segments;
    let begins = prefix.0.len() <= segments.len()
        && prefix
            .0
            .iter()
            .zip(segments)
            .all(|(typed, segment)| matches!(segment, PathSegment::Literal(literal) if literal == typed));
    if !begins {
        report.wrong(
            &format!("{at}.strip_prefix"),
            format!("\"{prefix}\" is not how \"{path}\" begins; write the path's first segments"),
        );
    }
}

/// Notes routes of which none is more specific: same host, same shape of path, and a method that both list or
/// that neither does. Environments make no difference: a route is chosen before the key is looked at.
fn check_conflicts(routes: &[Route], report: &mut Report<'_>) {
    let mut alike: HashMap<(&HostPattern, PathPattern), Vec<(usize, &Route)>> = HashMap::new();
    for (index, route) in routes.iter().enumerate() {
        let same = alike.entry((&route.host, shape(&route.path))).or_default();
        if let Some((earlier, _)) = same.iter().find(|(_, earlier)| conflict(earlier, route)) {
            report.wrong(
                &format!("routes[{index}]"),
                format!(
                    "serves the same calls as routes[{earlier}]; give them different hosts, paths or methods"
                ),
            );
        }
        same.push((index, route));
    }
}

/// A pattern without the names of its parameters.
fn shape(path: &PathPattern) -> PathPattern {
    let nameless = |segment: &PathSegment| match segment {
        PathSegment::Literal(literal) => PathSegment::Literal(literal.clone()),
        PathSegment::Parameter(_) => PathSegment::Parameter(String::new()),
    };
    PathPattern {
        segments: path.segments.iter().map(nameless).collect(),
        exact: path.exact,
    }
}

fn conflict(a: &Route, b: &Route) -> bool {
    match (&a.methods, &b.methods) {
        (Some(a), Some(b)) => a.iter().any(|method| b.contains(method)),
        (None, None) => true,
        // The one that lists a method is the more specific one for it.
        (Some(_), None) | (None, Some(_)) => false,
    }
}
