use std::cmp::Reverse;
use std::time::Duration;

use keyward_config::{HostPattern, PathPattern, PathSegment, Route as Configured};
use proptest::prelude::*;

use super::*;
use crate::path::normalise;

/// A route that forwards everything, for what a test says about host, path and methods:
/// `"api.example.com GET,POST /v1/{id}"`.
fn configured(text: &str) -> Configured {
    let mut words = text.split(' ').rev();
    let path = words.next().unwrap();
    let methods = words.next().unwrap();
    let host = words.next().unwrap_or("*");
    let (exact, path) = match path.strip_prefix('=') {
        Some(path) => (true, path),
        None => (false, path),
    };
    Configured {
        name: text.to_owned(),
        host: match host.strip_prefix('*') {
            Some("") => HostPattern::Any,
            Some(suffix) => HostPattern::Suffix(suffix.to_owned()),
            None => HostPattern::Exact(host.to_owned()),
        },
        path: PathPattern {
            segments: path
                .split('/')
                .filter(|segment| !segment.is_empty())
                .map(segment)
                .collect(),
            exact,
        },
        methods: (methods != "ANY")
            .then(|| methods.split(',').map(|method| method.parse().unwrap()).collect()),
        environments: vec![Environment::Production],
        upstream: 0,
        split: Vec::new(),
        require: Require::Account,
        cost: 1,
        max_body: 1024,
        max_in_flight: None,
        per_address: None,
        mode: LimitMode::Enforce,
        timeout: Duration::from_secs(1),
        forward_credentials: false,
        encoded_slashes: EncodedSlashes::Refuse,
        strip_prefix: None,
        identity_token: false,
        cors: None,
        headers: keyward_config::HeaderRules::default(),
    }
}

fn segment(text: &str) -> PathSegment {
    match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        Some(name) => PathSegment::Parameter(name.to_owned()),
        None => PathSegment::Literal(text.to_owned()),
    }
}

fn table(routes: &[&str]) -> RouteTable {
    RouteTable::of(&routes.iter().map(|route| configured(route)).collect::<Vec<_>>())
}

/// What a look-up gives, in a word: the route, `405 <allow>`, `400` or `404`.
fn found(table: &RouteTable, host: &str, method: &str, path: &str) -> String {
    match table.find(host, &normalise(path).unwrap(), &method.parse().unwrap()) {
        Match::Found(route) => route.name.to_string(),
        Match::EncodedSlash => "400".to_owned(),
        Match::MethodMissing(allow) => format!("405 {}", allow.header_value().to_str().unwrap()),
        Match::None => "404".to_owned(),
    }
}

#[track_caller]
fn check(routes: &[&str], calls: &[(&str, &str)]) {
    let table = table(routes);
    for (call, expected) in calls {
        let words: Vec<&str> = call.split(' ').collect();
        let [host, method, path] = words[..] else {
            panic!("{call}")
        };
        assert_eq!(found(&table, host, method, path), *expected, "{call}");
    }
}

#[test]
fn a_prefix_takes_itself_and_what_is_below_and_nothing_beside() {
    check(
        &["ANY /x"],
        &[
            ("h GET /x", "ANY /x"),
            ("h GET /x/", "ANY /x"),
            ("h GET /x/y/z", "ANY /x"),
            ("h GET /xy", "404"),
            ("h GET /", "404"),
        ],
    );
}

#[test]
fn an_exact_path_takes_itself_alone() {
    check(
        &["ANY =/x", "ANY =/"],
        &[
            ("h GET /x", "ANY =/x"),
            ("h GET /x/", "404"),
            ("h GET /x/y", "404"),
            ("h GET /", "ANY =/"),
            ("h GET //", "404"),
        ],
    );
}

#[test]
fn a_parameter_takes_one_segment_that_is_not_empty() {
    check(
        &["ANY =/u/{id}/keys"],
        &[
            ("h GET /u/7/keys", "ANY =/u/{id}/keys"),
            ("h GET /u//keys", "404"),
            ("h GET /u/7/8/keys", "404"),
            ("h GET /u/7", "404"),
        ],
    );
}

#[test]
fn the_most_specific_path_wins() {
    let routes = [
        "ANY /",
        "ANY /a",
        "ANY =/a",
        "ANY /a/{x}",
        "ANY /a/b",
        "ANY /a/{x}/c",
        "ANY =/a/b",
    ];
    check(
        &routes,
        &[
            ("h GET /z", "ANY /"),
            ("h GET /a", "ANY =/a"),
            ("h GET /a/", "ANY /a"),
            ("h GET /a/q", "ANY /a/{x}"),
            ("h GET /a/b", "ANY =/a/b"),
            ("h GET /a/b/c", "ANY /a/b"),
            ("h GET /a/q/c/d", "ANY /a/{x}/c"),
        ],
    );
}

#[test]
fn an_exact_host_comes_before_the_longest_suffix_before_any() {
    let routes = [
        "ANY /",
        "*.example.com ANY /",
        "*.eu.example.com ANY /",
        "api.eu.example.com ANY /v1",
        "[2001:db8::1] ANY /",
    ];
    check(
        &routes,
        &[
            ("api.eu.example.com GET /v1", "api.eu.example.com ANY /v1"),
            ("API.eu.Example.COM:8080 GET /v1", "api.eu.example.com ANY /v1"),
            ("api.eu.example.com. GET /v1", "api.eu.example.com ANY /v1"),
            ("api.eu.example.com GET /v2", "*.eu.example.com ANY /"),
            ("x.y.example.com GET /", "*.example.com ANY /"),
            ("example.com GET /", "ANY /"),
            (".example.com GET /", "ANY /"),
            ("notexample.com GET /", "ANY /"),
            ("[2001:DB8::1]:8080 GET /", "[2001:db8::1] ANY /"),
        ],
    );
    let long = format!("{}.example.com", "a".repeat(300));
    assert_eq!(found(&table(&routes), &long, "GET", "/"), "ANY /");
}

#[test]
fn methods_split_one_shape() {
    check(
        &["GET /x", "POST,PUT /x", "ANY /x"],
        &[
            ("h GET /x", "GET /x"),
            ("h PUT /x", "POST,PUT /x"),
            ("h DELETE /x", "ANY /x"),
        ],
    );
}

#[test]
fn a_route_that_misses_the_method_leaves_the_call_to_less_specific_ones() {
    check(
        &["GET /x/y", "POST /x"],
        &[("h POST /x/y", "POST /x"), ("h GET /x/y", "GET /x/y")],
    );
}

#[test]
fn when_only_the_method_misses_every_matching_route_is_named() {
    check(
        &["GET /x/y", "POST /x", "PURGE /x", "api.example.com PUT /x"],
        &[
            ("h DELETE /x/y", "405 GET, HEAD, POST, PURGE"),
            ("h DELETE /x", "405 POST, PURGE"),
            ("api.example.com DELETE /x", "405 POST, PUT, PURGE"),
            ("h DELETE /y", "404"),
        ],
    );
}

#[test]
fn head_goes_where_get_goes_unless_a_route_lists_it() {
    check(&["GET /x", "ANY /x"], &[("h HEAD /x", "GET /x")]);
    check(
        &["GET /x", "HEAD /x"],
        &[("h HEAD /x", "HEAD /x"), ("h GET /x", "GET /x")],
    );
    check(&["POST /x"], &[("h HEAD /x", "405 POST")]);
}

#[test]
fn connect_and_trace_are_taken_by_no_route() {
    let usual = "405 GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
    check(
        &["ANY /"],
        &[
            ("h TRACE /x", usual),
            ("h CONNECT /x", usual),
            ("h PURGE /x", "ANY /"),
        ],
    );
    check(&["TRACE,GET /"], &[("h TRACE /x", "405 GET, HEAD")]);
}

#[test]
fn no_spelling_of_a_literal_slips_past_its_route() {
    check(
        &["ANY /", "ANY /v1:admin", "ANY /caf%c3%a9"],
        &[
            ("h GET /v1:admin", "ANY /v1:admin"),
            ("h GET /v1%3Aadmin", "ANY /v1:admin"),
            ("h GET /v1%3aadmi%6e/x", "ANY /v1:admin"),
            ("h GET /caf%C3%A9", "ANY /caf%c3%a9"),
            ("h GET /café", "ANY /caf%c3%a9"),
        ],
    );
}

#[test]
fn an_encoded_slash_passes_only_where_the_route_keeps_it() {
    let mut keeps = configured("ANY /keep");
    keeps.encoded_slashes = EncodedSlashes::Keep;
    let table = RouteTable::of(&[keeps, configured("GET /refuse"), configured("ANY /a/b")]);
    assert_eq!(found(&table, "h", "GET", "/keep/a%2fb"), "ANY /keep");
    assert_eq!(found(&table, "h", "GET", "/refuse/a%2fb"), "400");
    assert_eq!(found(&table, "h", "POST", "/refuse/a%2fb"), "400");
    assert_eq!(found(&table, "h", "GET", "/a%2fb"), "400");
    assert_eq!(found(&table, "h", "GET", "/keep%2fb"), "400");
}

#[test]
fn the_prefix_to_strip_is_not_forwarded() {
    let stripping = |prefix: &str| {
        let mut route = configured("ANY /");
        route.strip_prefix = Some(prefix.to_owned());
        Route::new(0, &route)
    };
    for (prefix, path, forwarded) in [
        ("/api", "/api/v1", "/v1"),
        ("/api", "/api", "/"),
        ("/api", "/api/", "/"),
        ("/api", "/apis/v1", "/apis/v1"),
        ("/api/v1", "/api/v1/x%20y", "/x%20y"),
        ("/api/v1", "/api/v2/x", "/api/v2/x"),
        ("/v1:x", "/v1%3Ax/y", "/y"),
        ("/api", "/api//x", "//x"),
        ("/", "/api", "/api"),
    ] {
        assert_eq!(
            stripping(prefix).forwarded_path(&normalise(path).unwrap()),
            forwarded,
            "{prefix} {path}"
        );
    }
}

#[test]
fn a_long_path_of_slashes_costs_no_stack() {
    let table = table(&["ANY /a/{b}/c"]);
    assert_eq!(found(&table, "h", "GET", &"/".repeat(100_000)), "404");
}

/// The same rules, written as a comparison of whole routes.
fn model<'r>(routes: &'r [Configured], host: &str, path: &str, method: &Method) -> Option<&'r Configured> {
    let parts: Vec<&str> = path[1..].split('/').filter(|_| path != "/").collect();
    let rank = |(index, route): &(usize, &Configured)| {
        let host_rank = match &route.host {
            HostPattern::Exact(name) => (name == host).then_some((2, 0))?,
            HostPattern::Suffix(suffix) => {
                (host.ends_with(suffix) && host != suffix).then_some((1, suffix.len()))?
            }
            HostPattern::Any => (0, 0),
        };
        let pattern = &route.path.segments;
        let fits = pattern.len() == parts.len() || pattern.len() < parts.len() && !route.path.exact;
        let matches = pattern.iter().zip(&parts).all(|(segment, part)| match segment {
            PathSegment::Literal(text) => text == part,
            PathSegment::Parameter(_) => !part.is_empty(),
        });
        let shape: Vec<u8> = pattern
            .iter()
            .map(|segment| 1 + u8::from(matches!(segment, PathSegment::Literal(_))))
            .collect();
        let taking = match &route.methods {
            None => 0,
            Some(listed) if listed.contains(method) => 2,
            Some(listed) if method == Method::HEAD && listed.contains(&Method::GET) => 1,
            Some(_) => return None,
        };
        (fits && matches).then_some((host_rank, shape, route.path.exact, taking, Reverse(*index)))
    };
    let ranked = routes
        .iter()
        .enumerate()
        .filter_map(|route| Some((rank(&route)?, route.1)));
    ranked.max_by(|(a, _), (b, _)| a.cmp(b)).map(|(_, route)| route)
}

fn any_route() -> impl Strategy<Value = String> {
    let host = prop_oneof![Just("*"), Just("a.b.c"), Just("b.c"), Just("*.c"), Just("*.b.c")];
    let methods = prop_oneof![
        Just("ANY"),
        Just("GET"),
        Just("POST"),
        Just("GET,POST"),
        Just("HEAD")
    ];
    let segment = prop_oneof![Just("/a"), Just("/b"), Just("/{x}"), Just("/{y}")];
    let path = prop::collection::vec(segment, 0..4).prop_map(|segments| match segments.concat() {
        path if path.is_empty() => "/".to_owned(),
        path => path,
    });
    (host, methods, prop_oneof![Just(""), Just("=")], path)
        .prop_map(|(host, methods, exact, path)| format!("{host} {methods} {exact}{path}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_tree_finds_what_comparing_every_route_finds(
        routes in prop::collection::vec(any_route(), 1..12),
        host in prop_oneof![Just("a.b.c"), Just("b.c"), Just("x.c"), Just("y")],
        method in prop_oneof![Just(Method::GET), Just(Method::HEAD), Just(Method::POST), Just(Method::PUT)],
        path in prop_oneof!["(/[abz]?){1,5}", Just("/".to_owned())],
    ) {
        let routes: Vec<Configured> = routes.iter().map(|route| configured(route)).collect();
        let table = RouteTable::of(&routes);
        let path = normalise(&path).unwrap();
        let expected = model(&routes, host, path.as_str(), &method);
        match (table.find(host, &path, &method), expected) {
            (Match::Found(route), Some(expected)) => prop_assert_eq!(&*route.name, expected.name.as_str()),
            (Match::None, None) => {
                for method in [Method::GET, Method::POST, Method::HEAD] {
                    prop_assert!(model(&routes, host, path.as_str(), &method).is_none());
                }
            }
            (Match::MethodMissing(allow), None) => {
                let allow = allow.header_value();
                for method in [Method::GET, Method::POST, Method::HEAD, Method::PUT] {
                    let named = allow.to_str().unwrap().split(", ").any(|name| name == method.as_str());
                    prop_assert_eq!(named, model(&routes, host, path.as_str(), &method).is_some());
                }
            }
            (found, expected) => prop_assert!(false, "{:?} but {:?}", found, expected),
        }
    }
}
