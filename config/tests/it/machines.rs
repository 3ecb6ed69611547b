//! What an upstream says about its machines: balance, health, retries.

use std::time::Duration;

use http::StatusCode;
use keyward_config::{ActiveChecks, Balance, HashedBy, Health, PassiveChecks, Portion, Retries, Upstream};

use crate::parse_gateway;

/// An upstream with this line in it, or what is wrong with that line.
fn upstream(line: &str) -> Result<Upstream, String> {
    let text = format!("[[upstreams]]\nname = \"a\"\nendpoints = [\"http://b\"]\n{line}\n[[routes]]\n");
    let mut config = parse_gateway(&text, &[])?;
    Ok(config.upstreams.remove(0))
}

#[track_caller]
fn taken(line: &str) -> Upstream {
    upstream(line).unwrap_or_else(|message| panic!("{message}"))
}

#[track_caller]
fn refused(line: &str, expected: &str) {
    let message = upstream(line).err();
    let message = message.unwrap_or_else(|| panic!("was taken: {line}"));
    let told = message
        .strip_prefix("gateway.toml:4: upstreams[0].")
        .unwrap_or(&message);
    assert_eq!(told, expected, "{line}");
}

#[test]
fn an_upstream_takes_its_machines_in_turn_and_checks_and_repeats_nothing_by_itself() {
    let plain = taken("");
    assert_eq!(plain.balance, Balance::RoundRobin);
    assert_eq!((plain.health, plain.retries), (None, None));
}

#[test]
fn balance_is_a_word_or_says_what_is_hashed() {
    for (typed, expected) in [
        ("\"round-robin\"", Balance::RoundRobin),
        ("\"least-requests\"", Balance::LeastRequests),
        ("{ hash = \"key\" }", Balance::Hash(HashedBy::Key)),
        ("{ hash = \"customer\" }", Balance::Hash(HashedBy::Customer)),
        ("{ hash = \"address\" }", Balance::Hash(HashedBy::Address)),
        (
            "{ hash = \"header\", header = \"X-Tenant\" }",
            Balance::Hash(HashedBy::Header("x-tenant".parse().unwrap())),
        ),
    ] {
        assert_eq!(taken(&format!("balance = {typed}")).balance, expected);
    }
}

#[test]
fn a_balance_that_would_not_hold_is_refused() {
    let words = "Write \"round-robin\" or \"least-requests\"";
    let hashes = "\"key\", \"customer\", \"address\" or \"header\"";
    refused(
        "balance = \"least-request\"",
        &format!("balance: \"least-request\" is not known here; did you mean \"least-requests\"? {words}"),
    );
    refused(
        "balance = 5",
        "balance: 5 is a number; write a word such as \"round-robin\", or a table such as { hash = \"key\" }",
    );
    refused(
        "balance = {}",
        &format!("balance.hash: is missing; write {hashes}"),
    );
    refused(
        "balance = { hash = \"cookie\" }",
        &format!("balance.hash: \"cookie\" is not known here; write {hashes}"),
    );
    refused(
        "balance = { hash = \"header\" }",
        "balance.header: is missing; write the header's name, such as \"x-tenant\"",
    );
    refused(
        "balance = { hash = \"header\", header = \"a b\" }",
        "balance.header: \"a b\" is no header name; write one such as \"x-tenant\"",
    );
    refused(
        "balance = { hash = \"key\", header = \"x\" }",
        "balance.header: is for hash = \"header\", and it is \"key\"; remove one of the two",
    );
    refused(
        "balance = { hashed = \"key\" }",
        "balance.hashed: is no known key; did you mean \"hash\"?",
    );
}

#[test]
fn health_means_what_it_says() {
    let all = "health = { path = \"/up?x=1\", interval = \"2s\", timeout = \"300ms\", healthy = 1, unhealthy = 4, \
               expect = [200, 204], panic_threshold = \"0%\", passive = { failures = 3, statuses = [500], ejection = \"1s\", \
               max_ejection = \"8s\", max_ejected = \"34%\" } }";
    let expected = Health {
        active: Some(ActiveChecks {
            path: "/up?x=1".to_owned(),
            interval: Duration::from_secs(2),
            timeout: Duration::from_millis(300),
            healthy: 1,
            unhealthy: 4,
            expect: vec![StatusCode::OK, StatusCode::NO_CONTENT],
        }),
        passive: Some(PassiveChecks {
            failures: 3,
            statuses: vec![StatusCode::INTERNAL_SERVER_ERROR],
            ejection: Duration::from_secs(1),
            max_ejection: Duration::from_secs(8),
            max_ejected: Portion::percent(34),
        }),
        panic_threshold: Portion::percent(0),
    };
    assert_eq!(taken(all).health, Some(expected));
}

/// The values that the manual names.
#[test]
fn what_is_not_said_of_health_and_retries_is_as_in_the_manual() {
    let manual = include_str!("../../gateway.toml");
    let said = |start: &str| {
        let line = manual.lines().find(|line| line.starts_with(start));
        line.unwrap_or_else(|| panic!("{start}"))
            .trim_start_matches("# ")
            .to_owned()
    };
    let asked = said("# health = { path").replace(", expect = [200]", "");
    assert_eq!(
        taken(&asked).health,
        taken("health = { path = \"/healthz\" }").health
    );
    assert_eq!(
        taken(&said("# health = { passive")).health,
        taken("health = { passive = {} }").health
    );
    assert_eq!(
        taken(&said("# retries = ")).retries,
        taken("retries = {}").retries
    );
}

#[test]
fn health_that_would_not_hold_is_refused() {
    refused(
        "health = {}",
        "health: checks nothing; write path = \"/healthz\", or passive = {} to learn from calls alone",
    );
    refused(
        "health = { passive = {}, timeout = \"1s\" }",
        "health.timeout: is about checks that are asked for by path, and there is none; write path = \"/healthz\" too, or remove it",
    );
    for (path, shown) in [
        ("healthz", "healthz"),
        ("/a b", "/a b"),
        ("/a\\r\\nb", "/a\\r\\nb"),
        ("/#a", "/#a"),
    ] {
        refused(
            &format!("health = {{ path = \"{path}\" }}"),
            &format!(
                "health.path: \"{shown}\" can't be asked for; write a path of visible characters that begins with /, such as \"/healthz\""
            ),
        );
    }
    for (settings, expected) in [
        (
            "interval = \"1ms\"",
            "health.interval: 1ms is too little; write at least 50ms",
        ),
        (
            "timeout = \"2h\"",
            "health.timeout: 2h is too much; write at most 1h",
        ),
        ("healthy = 0", "health.healthy: 0 is too little; write at least 1"),
        (
            "unhealthy = 101",
            "health.unhealthy: 101 is too much; write at most 100",
        ),
        (
            "expect = []",
            "health.expect: is empty: no answer would be good; write [200], or remove it for every 2xx",
        ),
        (
            "expect = [100]",
            "health.expect: 100 can't be meant here; write statuses from 200 to 599",
        ),
        (
            "expect = [200, 200]",
            "health.expect: 200 is there twice; remove one",
        ),
        (
            "panic_threshold = \"101%\"",
            "health.panic_threshold: \"101%\" is no share; write a whole number of percent from \"0%\" to \"100%\"",
        ),
        (
            "panic_threshold = 50",
            "health.panic_threshold: 50 is a number; write a share such as \"20%\"",
        ),
        (
            "passive = { failures = 0 }",
            "health.passive.failures: 0 is too little; write at least 1",
        ),
        (
            "passive = { statuses = [200] }",
            "health.passive.statuses: 200 can't be meant here; write statuses from 400 to 599",
        ),
        (
            "passive = { ejection = \"1ms\" }",
            "health.passive.ejection: 1ms is too little; write at least 10ms",
        ),
        (
            "passive = { max_ejection = \"9s\" }",
            "health.passive.max_ejection: 9s is less than the 10s of ejection",
        ),
        (
            "passive = { max_ejection = \"2d\" }",
            "health.passive.max_ejection: 2d is too much; write at most 1d",
        ),
        (
            "passive = { max_ejected = \"1.5%\" }",
            "health.passive.max_ejected: \"1.5%\" is no share; write a whole number of percent from \"0%\" to \"100%\"",
        ),
    ] {
        refused(&format!("health = {{ path = \"/\", {settings} }}"), expected);
    }
}

#[test]
fn retries_mean_what_they_say() {
    let all =
        "retries = { attempts = 3, statuses = [503], budget = \"5%\", min_per_second = 0, backoff = \"0s\" }";
    let expected = Retries {
        attempts: 3,
        statuses: vec![StatusCode::SERVICE_UNAVAILABLE],
        budget: Portion::percent(5),
        min_per_second: 0,
        backoff: Duration::ZERO,
    };
    assert_eq!(taken(all).retries, Some(expected));
}

#[test]
fn retries_that_would_not_hold_are_refused() {
    for (settings, expected) in [
        (
            "attempts = 1",
            "retries.attempts: 1 is too little; write at least 2",
        ),
        ("attempts = 6", "retries.attempts: 6 is too much; write at most 5"),
        (
            "statuses = [302]",
            "retries.statuses: 302 can't be meant here; write statuses from 400 to 599",
        ),
        (
            "statuses = [503, 503]",
            "retries.statuses: 503 is there twice; remove one",
        ),
        (
            "backoff = \"11s\"",
            "retries.backoff: 11s is too much; write at most 10s",
        ),
        (
            "min_per_second = 100001",
            "retries.min_per_second: 100001 is too much; write at most 100000",
        ),
        (
            "budget = \"0%\", min_per_second = 0",
            "retries.budget: is 0%, and min_per_second is 0: nothing would be tried again; remove retries, or write budget = \"20%\"",
        ),
        (
            "budget = \"a fifth\"",
            "retries.budget: \"a fifth\" is no share; write a whole number of percent from \"0%\" to \"100%\"",
        ),
    ] {
        refused(&format!("retries = {{ {settings} }}"), expected);
    }
}
