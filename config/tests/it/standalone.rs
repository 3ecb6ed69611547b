//! Everything in one process.

use std::path::Path;

use keyward_config::{Require, StandaloneConfig};

use crate::surroundings;

fn parse(text: &str) -> Result<StandaloneConfig, String> {
    StandaloneConfig::from_toml(text, "standalone.toml", Path::new("data"), &surroundings(&[]))
        .map_err(|error| error.to_string())
}

#[test]
fn without_a_file_it_is_the_program_that_the_contract_describes() {
    let config = parse("").unwrap();
    let addresses = [
        config.gateway.listen.proxy,
        config.gateway.listen.admin,
        config.control_plane.listen.api,
        config.control_plane.listen.sync,
        config.control_plane.listen.admin,
        config.upstream_listen.unwrap(),
    ];
    assert!(addresses.iter().all(|address| address.ip().is_loopback()));
    assert_eq!(
        addresses.map(|address| address.port()),
        [8080, 9090, 8081, 8082, 9091, 8089]
    );
    let route = &config.gateway.routes[0];
    assert_eq!((route.name.as_str(), route.require), ("/", Require::Customer));
    assert_eq!(config.gateway.upstreams[0].name, "sample");
    assert_eq!(config.gateway.upstreams[0].endpoints[0].port, 8089);
}

#[test]
fn both_halves_share_their_secrets_and_find_each_other() {
    let config = parse("[listen]\nsync = \"0.0.0.0:7000\"\n").unwrap();
    assert_eq!(config.gateway.control_plane.urls, ["http://127.0.0.1:7000"]);
    assert_eq!(
        config.gateway.control_plane.token_file,
        config.control_plane.secrets.gateway_token
    );
    assert_eq!(
        config.gateway.digest_key_file.as_ref(),
        Some(&config.control_plane.secrets.digest_key)
    );
    assert_eq!(
        config.control_plane.database_url,
        "sqlite://data/control-plane.db"
    );
    assert_eq!(
        config.control_plane.secrets.master_key,
        Path::new("data/secrets/master-key")
    );
    assert_eq!(config.gateway.replica_path, Path::new("data/gateway/replica"));
    assert_eq!(config.gateway.ledger_path, Path::new("data/gateway/ledger"));
}

#[test]
fn upstreams_of_the_file_take_the_samples_place() {
    let config = parse("[[upstreams]]\nname = \"api\"\nendpoints = [\"http://127.0.0.1:8089\"]\n").unwrap();
    assert_eq!(config.upstream_listen, None);
    assert_eq!(
        (config.gateway.upstreams.len(), config.gateway.routes.len()),
        (1, 1)
    );
}

#[test]
fn routes_and_tiers_of_the_file_are_taken() {
    let text =
        "[[routes]]\npath = \"/free\"\nrequire = \"none\"\n[[tiers]]\nkey = \"growth\"\nrate_limit = 7\n";
    let config = parse(text).unwrap();
    assert_eq!(config.gateway.routes[0].require, Require::None);
    assert_eq!(config.control_plane.tiers[1].rate_limit, 7);
}

#[test]
fn an_offset_moves_every_port() {
    let config = StandaloneConfig::load(None, Path::new("data"), 100).unwrap();
    assert_eq!(config.gateway.listen.proxy.port(), 8180);
    assert_eq!(config.gateway.listen.admin.port(), 9190);
    assert_eq!(config.control_plane.listen.api.port(), 8181);
    assert_eq!(config.control_plane.listen.sync.port(), 8182);
    assert_eq!(config.control_plane.listen.admin.port(), 9191);
    assert_eq!(config.upstream_listen.unwrap().port(), 8189);
    assert_eq!(config.gateway.control_plane.urls, ["http://127.0.0.1:8182"]);
    assert_eq!(config.gateway.upstreams[0].endpoints[0].port, 8189);
}

#[test]
fn an_offset_beyond_the_last_port_is_refused() {
    let message = StandaloneConfig::load(None, Path::new("data"), 57_000)
        .unwrap_err()
        .to_string();
    assert_eq!(
        message,
        "--listen-offset: 57000 moves listen.gateway_admin from 9090 beyond port 65535\n\
         --listen-offset: 57000 moves listen.control_plane_admin from 9091 beyond port 65535"
    );
}

#[test]
fn a_data_directory_that_no_database_address_can_hold_is_refused() {
    for (folder, expected) in [
        ("a?b", "--data-dir: a?b has a ? in it; use another folder"),
        ("", "--data-dir: is empty; write a folder, such as ./keyward-data"),
    ] {
        let message = StandaloneConfig::load(None, Path::new(folder), 0)
            .unwrap_err()
            .to_string();
        assert_eq!(message, expected);
    }
}

#[test]
fn what_standalone_decides_itself_can_not_be_set() {
    for setting in [
        "[database]\nurl = \"sqlite://x\"",
        "[replica]\npath = \"x\"",
        "[secrets]\nmaster_key_file = \"x\"",
    ] {
        assert!(
            parse(setting).unwrap_err().contains("is no known key"),
            "{setting}"
        );
    }
}

#[test]
fn a_route_that_no_tier_could_pay_for_is_refused() {
    assert_eq!(
        parse("[[routes]]\ncost = 150\n").unwrap_err(),
        "standalone.toml:2: routes[0].cost: 150 is more than the 100 that tier starter may spend at once; no call of it could pass"
    );
}

#[test]
fn two_listeners_never_share_a_port() {
    assert_eq!(
        parse("[listen]\napi = \"127.0.0.1:8080\"\n").unwrap_err(),
        "standalone.toml:2: listen.api: 127.0.0.1:8080 is also listen.proxy; give each its own port"
    );
}

#[test]
fn mistakes_of_both_halves_are_told_together() {
    let message =
        parse("[rules]\napi_versions = []\n[drain]\nrevoked = 1\n[[upstreams]]\nname = 1\n").unwrap_err();
    let lines: Vec<_> = message
        .lines()
        .map(|line| line.split(": ").nth(1).unwrap())
        .collect();
    assert_eq!(
        lines,
        [
            "rules.api_versions",
            "drain.revoked",
            "upstreams[0].endpoints",
            "upstreams[0].name"
        ]
    );
}
