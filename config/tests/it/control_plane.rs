//! Settings of the control plane.

use std::time::Duration;

use keyward_config::DatabasePassword;
use keyward_contract::{Fallback, LimitMode};

use crate::parse_control_plane;

#[track_caller]
fn refused(text: &str, expected: &str) {
    let message = parse_control_plane(text, &[])
        .err()
        .unwrap_or_else(|| panic!("was taken: {text}"));
    assert_eq!(message, format!("control-plane.toml:{expected}"));
}

#[test]
fn an_empty_file_has_the_defaults_of_the_contract() {
    let config = parse_control_plane("", &[]).unwrap();
    assert_eq!(config.listen.api.to_string(), "0.0.0.0:8081");
    assert_eq!(config.listen.sync.to_string(), "0.0.0.0:8082");
    assert_eq!(config.listen.admin.to_string(), "127.0.0.1:9091");
    assert_eq!(config.database_url, "sqlite://keyward-data/control-plane.db");
    assert_eq!(config.propagation_wait, Duration::from_secs(1));
    assert_eq!(config.rules.api_versions, ["2026-11-01"]);
    assert_eq!(
        config.rules.api_version_downgrade_window,
        Duration::from_secs(72 * 3600)
    );
    assert_eq!(config.rules.user_key_lifetime, Duration::from_secs(365 * 86_400));
    assert_eq!(config.leaks, keyward_config::LeakPolicy::Quarantine);
    let day = Duration::from_secs(86_400);
    assert_eq!(
        (config.usage.keep_hours, config.usage.keep_days),
        (90 * day, 1_100 * day)
    );
    let limits = config.management_limits;
    assert_eq!((limits.portal.rate, limits.portal.burst), (20, 40));
    assert_eq!((limits.others.rate, limits.others.burst), (50, 100));
}

#[test]
fn the_built_in_tiers_are_those_of_the_contract() {
    let tiers = parse_control_plane("", &[]).unwrap().tiers;
    let rows: Vec<_> = tiers
        .iter()
        .map(|t| {
            (
                t.key.as_str(),
                t.annual_price,
                t.annual_limit,
                t.rate_limit,
                t.burst_limit,
                t.sla.as_str(),
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("starter", 100_000, 2_000_000, 50, 100, "99.9%"),
            ("growth", 250_000, 10_000_000, 100, 200, "99.95%"),
            ("scale", 500_000, 30_000_000, 200, 400, "99.95%"),
            ("enterprise", 1_000_000, 80_000_000, 500, 1000, "99.99%"),
            ("custom", 2_000_000, 200_000_000, 1000, 2000, "99.99%"),
        ]
    );
    let negotiable: Vec<_> = tiers
        .iter()
        .filter(|t| t.negotiable)
        .map(|t| t.key.as_str())
        .collect();
    assert_eq!(negotiable, ["custom"]);
}

#[test]
fn a_tier_of_the_file_changes_or_adds_to_the_catalogue() {
    let text = "[[tiers]]\nkey = \"growth\"\nrate_limit = \"120/s\"\n\
        [[tiers]]\nkey = \"trial\"\nname = \"Trial\"\nannual_price = 0\nannual_limit = 1000\nrate_limit = 5\nburst_limit = 10\nsla = \"99%\"\n";
    let tiers = parse_control_plane(text, &[]).unwrap().tiers;
    let growth = &tiers[1];
    assert_eq!(
        (growth.name.as_str(), growth.rate_limit, growth.burst_limit),
        ("Growth", 120, 200)
    );
    let trial = &tiers[5];
    assert_eq!(
        (trial.key.as_str(), trial.rate_limit, trial.negotiable),
        ("trial", 5, false)
    );
}

#[test]
fn a_tier_says_what_its_limits_do_and_what_holds_without_redis() {
    let text = "[[tiers]]\nkey = \"growth\"\nmode = \"shadow\"\nfallback = \"allow\"\n\
        [[tiers]]\nkey = \"trial\"\nname = \"Trial\"\nannual_price = 0\nannual_limit = 1000\nrate_limit = 5\nburst_limit = 10\nsla = \"99%\"\nfallback = \"deny\"\n";
    let tiers = parse_control_plane(text, &[]).unwrap().tiers;
    let said: Vec<_> = tiers
        .iter()
        .map(|t| (t.key.as_str(), t.mode, t.fallback))
        .collect();
    assert_eq!(
        said,
        [
            ("starter", LimitMode::Enforce, None),
            ("growth", LimitMode::Shadow, Some(Fallback::Allow)),
            ("scale", LimitMode::Enforce, None),
            ("enterprise", LimitMode::Enforce, None),
            ("custom", LimitMode::Enforce, None),
            ("trial", LimitMode::Enforce, Some(Fallback::Deny)),
        ]
    );
}

#[test]
fn a_wrong_tier_is_refused() {
    for (tier, expected) in [
        (
            "name = \"X\"",
            "1: tiers[0].key: is missing; write one, such as \"growth\"",
        ),
        (
            "key = \"growht\"\nrate_limit = 5",
            "1: tiers[0]: \"growht\" is a new tier, which needs name, annual_price, annual_limit, burst_limit, sla too; \
             the built-in ones are starter, growth, scale, enterprise, custom",
        ),
        (
            "key = \"growth\"\nrate_limit = 0",
            "3: tiers[0].rate_limit: 0 is too little; write at least 1",
        ),
        (
            "key = \"growth\"\nburst_limit = 0",
            "3: tiers[0].burst_limit: 0 is too little; write at least 1",
        ),
        (
            "key = \"growth\"\nannual_limit = 0",
            "3: tiers[0].annual_limit: 0 is too little; write at least 1",
        ),
        (
            "key = \"growth\"\nrate_limit = \"6000/m\"",
            "3: tiers[0].rate_limit: \"6000/m\" is no rate; write a whole number a second, such as \"50/s\"",
        ),
        (
            "key = \"growth\"\nsla = \"always\"",
            "3: tiers[0].sla: \"always\" is no availability; write a percentage such as \"99.9%\"",
        ),
        (
            "key = \"growth\"\nsla = \"101%\"",
            "3: tiers[0].sla: \"101%\" is no availability; write a percentage such as \"99.9%\"",
        ),
        (
            "key = \"growth\"\nmode = \"observe\"",
            "3: tiers[0].mode: \"observe\" is not known here; write \"enforce\" or \"shadow\"",
        ),
        (
            "key = \"growth\"\nfallback = \"open\"",
            "3: tiers[0].fallback: \"open\" is not known here; write \"share\", \"allow\" or \"deny\"",
        ),
        (
            "key = \"growth\"\nnegotiable = true",
            "3: tiers[0].negotiable: is no known key; in tiers[0] there can be key, name, annual_price, annual_limit, rate_limit, burst_limit, sla, mode, fallback",
        ),
    ] {
        refused(&format!("[[tiers]]\n{tier}\n"), expected);
    }
    refused(
        "[[tiers]]\nkey = \"growth\"\n[[tiers]]\nkey = \"growth\"\n",
        "4: tiers[1].key: \"growth\" is there twice; write it as one",
    );
}

#[test]
fn a_database_that_would_not_keep_is_refused() {
    let known = "write a database such as \"sqlite://keyward-data/control-plane.db\" or \
                 \"postgres://keyward@db.example/keyward\"";
    let example = "write one such as \"postgres://keyward@db.example/keyward\"";
    for (url, expected) in [
        (
            "sqlite://:memory:",
            "would forget every key when it stops; write \"sqlite://PATH\"".to_owned(),
        ),
        ("sqlite://", format!("is no database that is known; {known}")),
        ("keyward.db", format!("is no database that is known; {known}")),
        ("mysql://db/x", format!("is no database that is known; {known}")),
        ("postgres://user@db", format!("names no database; {example}")),
        ("postgres://user@db/", format!("names no database; {example}")),
        ("postgres://user@db/a/b", format!("names no database; {example}")),
        ("postgres://user:pass/word@db/a", format!("names no database; {example}")),
        (
            "postgres://user@db/a?sslmod=require",
            "has a parameter that is not known; known are host, hostaddr, port, dbname, user, application_name, \
             options, sslmode, sslrootcert, sslcert, sslkey"
                .to_owned(),
        ),
    ] {
        refused(
            &format!("[database]\nurl = \"{url}\""),
            &format!("2: database.url: {expected}"),
        );
    }
}

#[test]
fn postgresql_is_taken_by_address() {
    for url in [
        "postgres://keyward@db.example/keyward",
        "postgresql://keyward@[::1]:5433/keyward?sslmode=verify-full",
        "postgres:///keyward?host=/var/run/postgresql&user=keyward",
    ] {
        let config = parse_control_plane(&format!("[database]\nurl = \"{url}\""), &[]).unwrap();
        assert_eq!(
            (config.database_url.as_str(), config.database_password),
            (url, None)
        );
    }
}

#[test]
fn a_database_password_never_stands_in_a_file() {
    let in_a_file = "2: database.url: has a password in it, and no secret stands in a configuration file; write it into \
                     a file of its own that database.password_file names, or give the whole address as \
                     KEYWARD__DATABASE__URL";
    refused("[database]\nurl = \"postgres://user:secret@db/x\"", in_a_file);
    refused(
        "[database]\nurl = \"postgres://db/x?password=secret\"",
        "2: database.url: has its password at the end; it belongs into database.password_file",
    );
    // Whatever else is wrong with the address, it isn't shown.
    for url in [
        "postgres://user:secret@db",
        "postgres://u:secret@db/x?a=secret",
        "secret://u:secret@db/x",
    ] {
        let message = parse_control_plane(&format!("[database]\nurl = \"{url}\""), &[]).unwrap_err();
        assert!(!message.contains("secret"), "{message}");
    }
}

#[test]
fn a_database_password_comes_from_a_file_or_the_environment() {
    let text = "[database]\nurl = \"postgres://user@db/x\"\npassword_file = \"p\"";
    let config = parse_control_plane(text, &[]).unwrap();
    assert_eq!(config.database_password, Some(DatabasePassword::File("p".into())));

    let variable = ("KEYWARD__DATABASE__URL", "postgres://user:s%40cre%74@db/x");
    let config = parse_control_plane("", &[variable]).unwrap();
    assert_eq!(config.database_url, "postgres://user@db/x");
    assert!(!format!("{config:?}").contains("s@cret"));
    let Some(DatabasePassword::Given(password)) = config.database_password else {
        panic!("no password");
    };
    assert_eq!(password.expose(), "s@cret");

    let message = parse_control_plane("[database]\npassword_file = \"p\"", &[variable]).unwrap_err();
    assert_eq!(
        message,
        "control-plane.toml:2: database.password_file: is a second password: database.url has one; remove either"
    );
    refused(
        "[database]\npassword_file = \"p\"",
        "2: database.password_file: is for PostgreSQL, and database.url is a file; remove it",
    );
}

#[test]
fn rules_are_checked() {
    let versions = "2: rules.api_versions";
    for (settings, expected) in [
        (
            "api_versions = []",
            format!("{versions}: there is none; write [\"2026-11-01\"]"),
        ),
        (
            "api_versions = [\"2026-02-30\"]",
            format!(
                "{versions}[0]: \"2026-02-30\" is no date; write year, month and day, such as \"2026-11-01\""
            ),
        ),
        (
            "api_versions = [\"v2\"]",
            format!("{versions}[0]: \"v2\" is no date; write year, month and day, such as \"2026-11-01\""),
        ),
        (
            "api_versions = [2026-11-01]",
            format!(
                "{versions}[0]: this is a table; write a date in quotation marks, such as \"2026-11-01\""
            ),
        ),
        (
            "api_versions = [\"2027-01-01\", \"2026-11-01\"]",
            format!("{versions}: \"2026-11-01\" follows \"2027-01-01\"; write each once, oldest first"),
        ),
        (
            "api_versions = [\"2026-11-01\", \"2026-11-01\"]",
            format!("{versions}: \"2026-11-01\" follows \"2026-11-01\"; write each once, oldest first"),
        ),
        (
            "user_key_lifetime = \"0d\"",
            "2: rules.user_key_lifetime: 0s is too little; write at least 1s".to_owned(),
        ),
    ] {
        refused(&format!("[rules]\n{settings}"), &expected);
    }
}

const OIDC: &str = "[auth.oidc]\nissuer = \"https://login.example.com/\"\naudience = \"keyward\"\n";

#[test]
fn another_issuer_is_taken_as_it_is_written() {
    let auth = parse_control_plane("", &[]).unwrap().auth;
    assert_eq!((auth.issuer, auth.oidc), (None, None));
    assert_eq!(auth.token_lifetime, Duration::from_secs(3_600));
    assert_eq!(auth.signing_key_lifetime, Duration::from_secs(30 * 86_400));
    let text = format!("[auth]\nissuer = \"https://keys.example.com/\"\n{OIDC}");
    let auth = parse_control_plane(&text, &[]).unwrap().auth;
    assert_eq!(auth.issuer.as_deref(), Some("https://keys.example.com"));
    let oidc = auth.oidc.unwrap();
    // The slash is part of its name.
    assert_eq!(oidc.issuer, "https://login.example.com/");
    assert_eq!(
        (oidc.audience.as_str(), oidc.claims.as_str()),
        ("keyward", "cognito:groups")
    );
    assert_eq!(
        (oidc.leeway, oidc.jwks_refresh),
        (Duration::from_secs(30), Duration::from_secs(3_600))
    );
    let loopback =
        "[auth.oidc]\nissuer = \"http://127.0.0.1:4444/realm\"\naudience = \"a\"\nclaims = \"groups\"";
    let oidc = parse_control_plane(loopback, &[]).unwrap().auth.oidc.unwrap();
    assert_eq!(
        (oidc.issuer.as_str(), oidc.claims.as_str()),
        ("http://127.0.0.1:4444/realm", "groups")
    );
}

#[test]
fn a_wrong_issuer_is_refused() {
    for (settings, expected) in [
        (
            "[auth]\nissuer = \"https://a/b\"",
            "2: auth.issuer: \"https://a/b\" is no address of a host; write where this API is reached, such as \"https://keys.example.com\"",
        ),
        (
            "[auth]\nissuer = \"keys.example.com\"",
            "2: auth.issuer: \"keys.example.com\" is no address of a host; write where this API is reached, such as \"https://keys.example.com\"",
        ),
        (
            "[auth]\ntoken_lifetime = \"2h\"",
            "2: auth.token_lifetime: 2h is too much; write at most 1h",
        ),
        (
            "[auth]\ntoken_lifetime = \"1s\"",
            "2: auth.token_lifetime: 1s is too little; write at least 1m",
        ),
        (
            "[auth]\nsigning_key_lifetime = \"1h\"",
            "2: auth.signing_key_lifetime: 1h is too little; write at least 1d",
        ),
        (
            "[auth]\nsecret = \"x\"",
            "2: auth.secret: is no known key; in auth there can be issuer, token_lifetime, signing_key_lifetime, oidc",
        ),
        (
            "[auth.oidc]\nissuer = \"https://a\"",
            "1: auth.oidc.audience: is missing; write what its tokens name in aud: without it every token that it gives anybody would be taken",
        ),
        (
            "[auth.oidc]\naudience = \"a\"",
            "1: auth.oidc.issuer: is missing; write the issuer's address, such as \"https://login.example.com\"",
        ),
        (
            "[auth.oidc]\naudience = \"a\"\nissuer = \"http://login.example.com\"",
            "3: auth.oidc.issuer: \"http://login.example.com\" is not encrypted: whoever sits between could put in keys of their own; write https://, or an address of this machine",
        ),
        (
            "[auth.oidc]\naudience = \"a\"\nissuer = \"https://a?b\"",
            "3: auth.oidc.issuer: \"https://a?b\" is no issuer; write its address as it stands in its tokens, such as \"https://login.example.com\"",
        ),
        (
            "[auth.oidc]\naudience = \"a\"\nissuer = \"login\"",
            "3: auth.oidc.issuer: \"login\" is no issuer; write its address as it stands in its tokens, such as \"https://login.example.com\"",
        ),
        (
            "[auth.oidc]\naudience = \"\"\nissuer = \"https://a\"",
            "2: auth.oidc.audience: \"\" can't be shown as a name; write 1 to 128 characters without spaces at the ends",
        ),
        (
            "[auth]\nissuer = \"https://a\"\n[auth.oidc]\naudience = \"a\"\nissuer = \"https://a/\"",
            "5: auth.oidc.issuer: is auth.issuer, this control plane itself; its tokens are taken anyway",
        ),
    ] {
        refused(settings, expected);
    }
    refused(
        &format!("{OIDC}leeway = \"10m\""),
        "4: auth.oidc.leeway: 10m is too much; write at most 5m",
    );
    refused(
        &format!("{OIDC}jwks_refresh = \"1s\""),
        "4: auth.oidc.jwks_refresh: 1s is too little; write at least 1m",
    );
}

#[test]
fn the_rest_is_checked_too() {
    for (settings, expected) in [
        (
            "[propagation]\nwait = \"2m\"",
            "2: propagation.wait: 2m is too much; write at most 1m",
        ),
        (
            "[management_limits]\nportal = { rate = 0 }",
            "2: management_limits.portal.rate: 0 is too little; write at least 1",
        ),
        (
            "[management_limits]\nothers = { burst = 0 }",
            "2: management_limits.others.burst: 0 is too little; write at least 1",
        ),
        (
            "[secrets]\nmaster_key_file = \"a\"\ndigest_key_file = \"a\"",
            "3: secrets.digest_key_file: is the file of secrets.master_key_file; every secret has a file of its own",
        ),
        (
            "[secrets]\nmaster_key = \"aaaa\"",
            "2: secrets.master_key: is no known key; did you mean \"master_key_file\"?",
        ),
        (
            "[listen]\nsync = \"0.0.0.0:8081\"",
            "2: listen.sync: 0.0.0.0:8081 is also listen.api; give each its own port",
        ),
        (
            "[listen]\ntls = {}",
            "2: listen.tls: is not supported by this version yet; remove it",
        ),
        (
            "[[routes]]\npath = \"/\"",
            "1: routes: is no known key; did you mean \"rules\"?",
        ),
    ] {
        refused(settings, expected);
    }
}

#[test]
fn a_policy_for_leaks_is_one_of_three() {
    for (word, policy) in [
        ("quarantine", keyward_config::LeakPolicy::Quarantine),
        ("revoke", keyward_config::LeakPolicy::Revoke),
        ("report", keyward_config::LeakPolicy::Report),
    ] {
        let config = parse_control_plane(&format!("[leaks]\npolicy = \"{word}\"\n"), &[]).unwrap();
        assert_eq!(config.leaks, policy);
    }
    let message = parse_control_plane("[leaks]\npolicy = \"delete\"\n", &[]).unwrap_err();
    assert!(
        message.contains("control-plane.toml:2: leaks.policy"),
        "{message}"
    );
}

#[test]
fn usage_that_would_be_forgotten_too_early_is_refused() {
    for (usage, expected) in [
        (
            "keep_hours = \"1d\"",
            "2: usage.keep_hours: 1d is too little; write at least 2d",
        ),
        (
            "keep_days = \"365d\"",
            "2: usage.keep_days: 365d is too little; write at least 400d",
        ),
        (
            "keep_hours = \"500d\"\nkeep_days = \"450d\"",
            "3: usage.keep_days: 450d is less than usage.keep_hours, 500d; write at least as much",
        ),
        (
            "keep_months = \"1d\"",
            "2: usage.keep_months: is no known key; in usage there can be keep_hours, keep_days",
        ),
    ] {
        refused(&format!("[usage]\n{usage}\n"), expected);
    }
    let config = parse_control_plane("[usage]\nkeep_hours = \"400d\"\nkeep_days = \"400d\"\n", &[]).unwrap();
    assert_eq!(config.usage.keep_hours, config.usage.keep_days);
}

#[test]
fn gateways_may_be_asked_for_more_than_a_token_that_they_share() {
    let plain = parse_control_plane("", &[]).unwrap().sync;
    assert_eq!((plain.shared_token, plain.tls), (true, None));
    let text = "[sync]\nshared_token = false\ntls = { cert_file = \"cp.pem\", key_file = \"cp.key\", \
                client_ca_file = \"ca.pem\", client_crl_file = \"crl.pem\" }\n";
    let sync = parse_control_plane(text, &[]).unwrap().sync;
    assert!(!sync.shared_token);
    let tls = sync.tls.unwrap();
    let files = [
        Some(tls.cert_file),
        Some(tls.key_file),
        tls.client_ca_file,
        tls.client_crl_file,
    ];
    let expected = ["cp.pem", "cp.key", "ca.pem", "crl.pem"].map(|file| Some(file.into()));
    assert_eq!(files, expected);
    for (settings, expected) in [
        (
            "[sync.tls]\nkey_file = \"a\"",
            "1: sync.tls.cert_file: is missing; write the file of the control plane's certificate",
        ),
        (
            "[sync.tls]\ncert_file = \"a\"",
            "1: sync.tls.key_file: is missing; write the file of the certificate's private key",
        ),
        (
            "[sync.tls]\ncert_file = \"a\"\nkey_file = \"b\"\nclient_crl_file = \"c\"",
            "4: sync.tls.client_crl_file: revokes client certificates, and without client_ca_file none is taken; write that too",
        ),
    ] {
        refused(settings, expected);
    }
}
