//! The environment over the file.

use crate::{LEAST, parse_control_plane, parse_gateway};

#[track_caller]
fn refused(variable: &str, value: &str, expected: &str) {
    let message = parse_gateway(LEAST, &[(variable, value)]).err();
    let message = message.unwrap_or_else(|| panic!("was taken: {variable}={value}"));
    assert_eq!(message, format!("environment variable {variable}: {expected}"));
}

#[test]
fn a_variable_overrides_the_file() {
    let text = format!("[listen]\nproxy = \"127.0.0.1:1\"\n{LEAST}");
    let config = parse_gateway(&text, &[("KEYWARD__LISTEN__PROXY", "127.0.0.1:2")]).unwrap();
    assert_eq!(config.listen.proxy.to_string(), "127.0.0.1:2");
}

#[test]
fn a_variable_adds_what_the_file_lacks() {
    let variables = [
        ("KEYWARD__WORKERS", "3"),
        ("KEYWARD__TIMEOUTS__CONNECT", "7s"),
        ("KEYWARD__BOUNDS__BODY", "2048"),
        ("KEYWARD__TRUSTED_PROXIES", "[\"10.0.0.0/8\"]"),
        ("KEYWARD__ACCESS_LOG__REFUSALS", "false"),
        ("PATH", "/bin"),
    ];
    let config = parse_gateway(LEAST, &variables).unwrap();
    assert_eq!(
        (
            config.workers,
            config.timeouts.connect.as_secs(),
            config.bounds.body
        ),
        (3, 7, 2048)
    );
    assert_eq!(config.trusted_proxies.len(), 1);
    assert!(!config.access_log.refusals);
}

#[test]
fn a_variable_changes_an_entry_of_a_list() {
    let variables = [
        ("KEYWARD__UPSTREAMS__0__ENDPOINTS", "[\"http://10.0.0.7:81\"]"),
        ("KEYWARD__ROUTES__0__REQUIRE", "account"),
    ];
    let config = parse_gateway(LEAST, &variables).unwrap();
    assert_eq!(config.upstreams[0].endpoints[0].host, "10.0.0.7");
    assert_eq!(config.routes[0].require, keyward_config::Require::Account);
}

#[test]
fn a_file_can_be_all_variables() {
    let variables = [
        (
            "KEYWARD__UPSTREAMS",
            "[{ name = \"api\", endpoints = [\"http://b\"] }]",
        ),
        ("KEYWARD__ROUTES", "[{ path = \"/\" }]"),
    ];
    assert!(parse_gateway("", &variables).is_ok());
}

#[test]
fn text_that_looks_like_a_number_is_text_where_text_belongs() {
    for (value, expected) in [("7", "7"), ("1.5", "1.5"), ("true", "true"), ("edge-1", "edge-1")] {
        let config = parse_gateway(LEAST, &[("KEYWARD__GATEWAY__ID", value)]).unwrap();
        assert_eq!(config.id, expected);
    }
}

#[test]
fn a_wrong_variable_is_named() {
    for (variable, value, expected) in [
        (
            "KEYWARD__LISTEN__PROXI",
            "x",
            "listen.proxi: is no known key; did you mean \"proxy\"?",
        ),
        (
            "KEYWARD__LISTN__PROXY",
            "x",
            "listn: is no known key; did you mean \"listen\"?",
        ),
        (
            "KEYWARD__WORKERS",
            "many",
            "workers: \"many\" is text; write a whole number from 0",
        ),
        (
            "KEYWARD__WORKERS",
            "0",
            "workers: 0 is too little; write at least 1",
        ),
        (
            "KEYWARD__TIMEOUTS__IDLE",
            "5",
            "timeouts.idle: \"5\" is no duration; write a number and ms, s, m, h or d, such as \"1s\"",
        ),
        (
            "KEYWARD__WORKERS__MORE",
            "1",
            "workers.more: workers has nothing below it",
        ),
        (
            "KEYWARD__",
            "1",
            "names no key; write KEYWARD__LISTEN__PROXY for listen.proxy",
        ),
        (
            "KEYWARD__LISTEN____PROXY",
            "1",
            "names no key; write KEYWARD__LISTEN__PROXY for listen.proxy",
        ),
        (
            "KEYWARD__ROUTES__3__COST",
            "1",
            "routes: there is no entry 3; the file has 1, counted from 0",
        ),
        (
            "KEYWARD__ROUTES__0__COST",
            "0",
            "routes[0].cost: 0 is too little; write at least 1",
        ),
        (
            "KEYWARD__LISTEN__AUTHZ",
            "nonsense",
            "listen.authz: \"nonsense\" is no address with a port; write one such as \"127.0.0.1:8080\"",
        ),
    ] {
        if variable == "KEYWARD__WORKERS__MORE" {
            let message = parse_gateway(LEAST, &[(variable, value)]).unwrap_err();
            assert!(
                message.starts_with("environment variable KEYWARD__WORKERS__MORE: workers"),
                "{message}"
            );
            continue;
        }
        refused(variable, value, expected);
    }
}

#[test]
fn several_wrong_variables_are_each_named() {
    let variables = [("KEYWARD__WORKERS", "0"), ("KEYWARD__LISTEN__ADMIN", "9090")];
    assert_eq!(
        parse_gateway(LEAST, &variables).unwrap_err(),
        "environment variable KEYWARD__LISTEN__ADMIN: listen.admin: \"9090\" is no address with a port; write one such as \"127.0.0.1:8080\"\n\
         environment variable KEYWARD__WORKERS: workers: 0 is too little; write at least 1"
    );
}

#[test]
fn the_control_plane_takes_variables_too() {
    let variables = [("KEYWARD__RULES__API_VERSIONS", "[\"2026-11-01\", \"2027-02-01\"]")];
    let config = parse_control_plane("", &variables).unwrap();
    assert_eq!(config.rules.api_versions.len(), 2);
}
