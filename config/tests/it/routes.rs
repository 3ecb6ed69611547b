//! `routes`.

use std::time::Duration;

use keyward_config::{EncodedSlashes, GatewayConfig, HostPattern, PathSegment, Require};
use keyward_contract::{Environment, LimitMode, Limits};

use crate::parse_gateway;

const UPSTREAMS: &str = "upstreams = [{ name = \"api\", endpoints = [\"http://b:1\"] }, { name = \"other\", endpoints = [\"http://c:1\"] }]\n";

pub(crate) fn parse(routes: &str) -> Result<GatewayConfig, String> {
    parse_gateway(&format!("{UPSTREAMS}{routes}"), &[])
}

/// One route to `api` with these settings, which begin in line 4.
pub(crate) fn one(settings: &str) -> Result<GatewayConfig, String> {
    parse(&format!("[[routes]]\nupstream = \"api\"\n{settings}\n"))
}

#[track_caller]
pub(crate) fn refused(settings: &str, expected: &str) {
    let message = one(settings)
        .err()
        .unwrap_or_else(|| panic!("was taken: {settings}"));
    assert_eq!(message, format!("gateway.toml:4: routes[0].{expected}"));
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let config = one("").unwrap();
    let route = &config.routes[0];
    assert_eq!(route.name, "/");
    assert_eq!(route.host, HostPattern::Any);
    assert!(route.path.segments.is_empty() && !route.path.exact);
    assert_eq!(route.methods, None);
    assert_eq!(route.environments, Environment::ALL);
    assert_eq!((route.require, route.cost), (Require::Customer, 1));
    assert_eq!(
        (route.max_body, route.timeout),
        (config.bounds.body, config.timeouts.request)
    );
    assert!(!route.forward_credentials);
    assert_eq!(route.encoded_slashes, EncodedSlashes::Refuse);
    assert_eq!(route.strip_prefix, None);
    assert!(!route.identity_token && route.split.is_empty());
    assert_eq!(route.cors, None);
    assert!(route.headers.request.is_empty() && route.headers.response.is_empty());
}

#[test]
fn a_route_means_what_it_says() {
    let config = one(
        "path = \"=/v1/users/{id}\"\nhost = \"*.Example.com\"\nmethods = [\"GET\", \"PATCH\"]\nenvironments = [\"test\"]\n\
         require = \"customer-only\"\ncost = 5\nmax_body = \"1KiB\"\ntimeout = \"2s\"\nforward_credentials = true\n\
         encoded_slashes = \"keep\"\nstrip_prefix = \"/v1\"\nname = \"users\"\nmode = \"enforce\"\nidentity_token = true",
    )
    .unwrap();
    let route = &config.routes[0];
    assert_eq!(route.name, "users");
    assert_eq!(route.host, HostPattern::Suffix(".example.com".to_owned()));
    let literal = |text: &str| PathSegment::Literal(text.to_owned());
    let segments = [
        literal("v1"),
        literal("users"),
        PathSegment::Parameter("id".to_owned()),
    ];
    assert_eq!(route.path.segments, segments);
    assert!(route.path.exact && route.forward_credentials && route.identity_token);
    assert_eq!(
        route.methods.as_deref(),
        Some([http::Method::GET, http::Method::PATCH].as_slice())
    );
    assert_eq!(route.environments, [Environment::Test]);
    assert_eq!(
        (route.require, route.cost, route.max_body),
        (Require::CustomerOnly, 5, 1024)
    );
    assert_eq!(route.timeout, Duration::from_secs(2));
    assert_eq!(route.encoded_slashes, EncodedSlashes::Keep);
    assert_eq!(route.strip_prefix.as_deref(), Some("/v1"));
}

#[test]
fn a_path_that_could_never_match_is_refused() {
    for (path, expected) in [
        ("v1", "\"v1\" must begin with a slash; write \"/v1\""),
        ("", "\"\" must begin with a slash; write \"/\""),
        ("=", "\"\" must begin with a slash; write \"/\""),
        ("/a//b", "\"/a//b\" has an empty segment; write one slash"),
        (
            "/a/",
            "\"/a/\" ends with a slash; write \"/a\", which matches what is below it too",
        ),
        (
            "/a/../b",
            "\"/a/../b\" has a dot segment; write the path that it leads to",
        ),
        (
            "/./b",
            "\"/./b\" has a dot segment; write the path that it leads to",
        ),
        (
            "/%2e%2E/b",
            "\"/%2e%2E/b\" has a dot segment; write the path that it leads to",
        ),
        (
            "/a/*",
            "\"/a/*\" has a *; write {name} for any one segment; what is below a path matches anyway",
        ),
        (
            "/a/{id",
            "\"/a/{id\": a parameter such as {id} is a whole segment",
        ),
        (
            "/a/x{id}",
            "\"/a/x{id}\": a parameter such as {id} is a whole segment",
        ),
        (
            "/a/{}",
            "\"/a/{}\" has {}; a parameter's name has letters, digits and underscores, such as {id}",
        ),
        ("/{a}/{a}", "\"/{a}/{a}\" has {a} twice; give each its own name"),
        ("/a?b=c", "\"/a?b=c\" has a ?; write the path alone"),
        ("/a#b", "\"/a#b\" has a #; write the path alone"),
        ("/a b", "\"/a b\" has the character ' '; write it percent-encoded"),
        (
            "/straße",
            "\"/straße\" has the character 'ß'; write it percent-encoded",
        ),
        (
            "/a%2Fb",
            "\"/a%2Fb\" has %2F, which no path has when it is matched",
        ),
        ("/a%zz", "\"/a%zz\" has %zz, which is no percent-encoding"),
        ("/a%4", "\"/a%4\" has %4, which is no percent-encoding"),
    ] {
        refused(&format!("path = \"{path}\""), &format!("path: {expected}"));
    }
}

#[test]
fn a_host_that_is_none_is_refused() {
    for (host, expected) in [
        (
            "api.example.com:8080",
            "\"api.example.com:8080\" has a port; write \"api.example.com\"",
        ),
        (
            "https://api.example.com",
            "\"https://api.example.com\" is an address of a page; write the host alone",
        ),
        (
            "*example.com",
            "\"*example.com\" is no host; write a name such as \"api.example.com\", or \"*.example.com\" for all that end so",
        ),
        (
            "a..b",
            "\"a..b\" is no host; write a name such as \"api.example.com\", or \"*.example.com\" for all that end so",
        ),
        (
            "bücher.example",
            "\"bücher.example\" is not ASCII; write its xn-- form",
        ),
        ("::1", "\"::1\" lacks brackets; write \"[::1]\""),
    ] {
        refused(&format!("host = \"{host}\""), &format!("host: {expected}"));
    }
}

#[test]
fn methods_are_those_that_can_pass() {
    let all = "\"GET\", \"HEAD\", \"POST\", \"PUT\", \"PATCH\", \"DELETE\" or \"OPTIONS\"";
    for (methods, expected) in [
        (
            "[\"get\"]",
            format!("methods[0]: \"get\" is not known here; did you mean \"GET\"? Write {all}"),
        ),
        (
            "[\"FETCH\"]",
            format!("methods[0]: \"FETCH\" is not known here; did you mean \"PATCH\"? Write {all}"),
        ),
        (
            "[\"CONNECT\"]",
            format!("methods[0]: \"CONNECT\" is not known here; write {all}"),
        ),
        (
            "[]",
            "methods: there is none; write [\"GET\"], or remove it for every method".to_owned(),
        ),
        (
            "[\"GET\", \"GET\"]",
            "methods: \"GET\" is there twice; remove one".to_owned(),
        ),
        (
            "\"GET\"",
            "methods: \"GET\" is text; write a list, such as [\"…\"]".to_owned(),
        ),
    ] {
        refused(&format!("methods = {methods}"), &expected);
    }
}

#[test]
fn environments_are_test_and_production() {
    for (environments, expected) in [
        (
            "[\"prod\"]",
            "environments[0]: \"prod\" is not known here; did you mean \"production\"? Write \"production\" or \"test\"",
        ),
        (
            "[]",
            "environments: there is none; write [\"production\"] or [\"test\"], or remove it for both",
        ),
        (
            "[\"test\", \"test\"]",
            "environments: \"test\" is there twice; remove one",
        ),
    ] {
        refused(&format!("environments = {environments}"), expected);
    }
}

#[test]
fn the_rest_of_a_route_is_checked() {
    for (settings, expected) in [
        ("cost = 0", "cost: 0 is too little; write at least 1"),
        (
            "cost = 2000000",
            "cost: 2000000 is too much; write at most 1000000",
        ),
        (
            "timeout = \"0s\"",
            "timeout: 0s is too little; write at least 1ms",
        ),
        (
            "require = \"customers\"",
            "require: \"customers\" is not known here; did you mean \"customer\"? Write \"customer\", \"account\", \"customer-only\" or \"none\"",
        ),
        (
            "require = false",
            "require: false is true or false; write one of \"customer\" \"account\" \"customer-only\" \"none\"",
        ),
        (
            "encoded_slashes = \"decode\"",
            "encoded_slashes: \"decode\" is not known here; write \"refuse\" or \"keep\"",
        ),
        (
            "forward_credentials = \"yes\"",
            "forward_credentials: \"yes\" is text; write true or false",
        ),
        (
            "strip_prefix = \"/v2\"",
            "strip_prefix: \"/v2\" is not how \"/\" begins; write the path's first segments",
        ),
        (
            "strip_prefix = \"/\"",
            "strip_prefix: \"/\" strips nothing; remove it",
        ),
        (
            "strip_prefix = \"/{a}\"",
            "strip_prefix: \"/{a}\" has {a} in it; only fixed text can be stripped",
        ),
        (
            "name = \"\"",
            "name: \"\" can't be shown as a name; write 1 to 128 characters without spaces at the ends",
        ),
        (
            "max_in_flight = 0",
            "max_in_flight: 0 is too little; write at least 1",
        ),
        (
            "max_in_flight = 1000001",
            "max_in_flight: 1000001 is too much; write at most 1000000",
        ),
        (
            "max_in_flight = \"100/s\"",
            "max_in_flight: \"100/s\" is text; write a whole number from 0",
        ),
        (
            "max_in_flight = 5\nrequire = \"none\"",
            "max_in_flight: is counted for each account, and the calls of a public route have none; remove it",
        ),
        (
            "per_address = { rate = 5 }",
            "per_address: is for public routes, and calls with a key have their account's limits; remove it, or write require = \"none\"",
        ),
        (
            "per_address = { burst = 5 }\nrequire = \"none\"",
            "per_address.rate: is missing; write one, such as \"10/s\"",
        ),
        (
            "per_address = { rate = 0 }\nrequire = \"none\"",
            "per_address.rate: 0 is too little; write at least 1",
        ),
        (
            "per_address = { rate = \"5/m\" }\nrequire = \"none\"",
            "per_address.rate: \"5/m\" is no rate; write a whole number a second, such as \"50/s\"",
        ),
        (
            "per_address = { rate = 1, burst = 601 }\nrequire = \"none\"",
            "per_address.burst: 601 is too much; write at most 600",
        ),
        (
            "per_address = \"10/s\"",
            "per_address: \"10/s\" is text; write a table, such as { … }",
        ),
        (
            "cost = 5\nper_address = { rate = 2 }\nrequire = \"none\"",
            "cost: 5 is more than the 4 that one address may spend at once; no call of it could pass",
        ),
        (
            "mode = \"shadows\"",
            "mode: \"shadows\" is not known here; did you mean \"shadow\"? Write \"enforce\" or \"shadow\"",
        ),
        ("cots = 5", "cots: is no known key; did you mean \"cost\"?"),
    ] {
        refused(settings, expected);
    }
}

#[test]
fn a_route_may_bound_calls_in_flight_and_may_only_count() {
    let route = |settings: &str| {
        let config = parse(&format!("[[routes]]\nupstream = \"api\"\n{settings}\n"));
        config
            .unwrap_or_else(|message| panic!("{message}"))
            .routes
            .remove(0)
    };
    let plain = route("");
    assert_eq!((plain.max_in_flight, plain.mode), (None, LimitMode::Enforce));
    let bounded = route("max_in_flight = 100\nmode = \"shadow\"");
    assert_eq!(
        (bounded.max_in_flight, bounded.mode),
        (Some(100), LimitMode::Shadow)
    );
    assert_eq!(route("mode = \"enforce\"").mode, LimitMode::Enforce);
    assert_eq!(plain.per_address, None);
    for (typed, burst) in [("rate = \"10/s\"", 20), ("rate = 10, burst = 15", 15)] {
        let public = route(&format!("require = \"none\"\nper_address = {{ {typed} }}"));
        assert_eq!(public.per_address, Some(Limits { rate: 10, burst }));
    }
}

#[test]
fn a_route_names_an_upstream_that_exists() {
    let message = parse("[[routes]]\nupstream = \"apis\"\n").unwrap_err();
    assert_eq!(
        message,
        "gateway.toml:3: routes[0].upstream: \"apis\" is not known here; did you mean \"api\"? Write \"api\" or \"other\""
    );
    let message = parse("[[routes]]\npath = \"/\"\n").unwrap_err();
    assert_eq!(
        message,
        "gateway.toml:2: routes[0].upstream: is missing, and there are several; write \"api\" or \"other\""
    );
    assert_eq!(
        parse("[[routes]]\nupstream = \"other\"\n").unwrap().routes[0].upstream,
        1
    );
}

#[test]
fn two_routes_for_the_same_calls_are_refused() {
    for (a, b) in [
        ("path = \"/a\"", "path = \"/a\""),
        ("path = \"/a/{x}\"", "path = \"/a/{y}\""),
        ("path = \"/a\"", "path = \"/%61\""),
        ("host = \"A.example\"", "host = \"a.example\""),
        ("host = \"*\"", ""),
        ("methods = [\"GET\", \"POST\"]", "methods = [\"POST\"]"),
        ("environments = [\"test\"]", "environments = [\"production\"]"),
    ] {
        let routes = format!("[[routes]]\nupstream = \"api\"\n{a}\n[[routes]]\nupstream = \"other\"\n{b}\n");
        let message = parse(&routes)
            .err()
            .unwrap_or_else(|| panic!("were taken: {a} and {b}"));
        let expected = "gateway.toml:5: routes[1]: serves the same calls as routes[0]; give them different hosts, paths or methods";
        assert_eq!(message, expected, "{a} and {b}");
    }
}

#[test]
fn two_routes_that_differ_in_one_thing_are_taken() {
    for (a, b) in [
        ("path = \"/a\"", "path = \"=/a\""),
        ("path = \"/a/b\"", "path = \"/a/{x}\""),
        ("host = \"a.example\"", "host = \"*.example\""),
        ("methods = [\"GET\"]", "methods = [\"POST\"]"),
        ("methods = [\"GET\"]", ""),
    ] {
        let routes = format!("[[routes]]\nupstream = \"api\"\n{a}\n[[routes]]\nupstream = \"other\"\n{b}\n");
        assert!(parse(&routes).is_ok(), "{a} and {b}");
    }
}

#[test]
fn two_routes_never_share_a_name() {
    let routes = "[[routes]]\nname = \"x\"\npath = \"/a\"\nupstream = \"api\"\n[[routes]]\nname = \"x\"\nupstream = \"api\"\n";
    assert_eq!(
        parse(routes).unwrap_err(),
        "gateway.toml:7: routes[1].name: \"x\" is another route's name; write another"
    );
}

#[test]
fn one_mistake_in_an_upstream_has_one_message() {
    let text = "[[upstreams]]\nname = 5\nendpoints = [\"http://b\"]\n[[routes]]\nupstream = \"api\"\n";
    assert_eq!(
        parse_gateway(text, &[]).unwrap_err(),
        "gateway.toml:2: upstreams[0].name: 5 is a number; write a name such as \"api\""
    );
}

#[test]
fn more_routes_than_a_gateway_can_number_are_refused() {
    let routes: String = (0..=10_000)
        .map(|number| format!("[[routes]]\npath = \"/{number}\"\nupstream = \"api\"\n"))
        .collect();
    assert_eq!(
        parse(&routes).unwrap_err(),
        "gateway.toml:2: routes: there are 10001; at most 10000 can be served"
    );
}
