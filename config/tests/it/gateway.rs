//! Settings of the gateway but for its routes.

use std::time::Duration;

use keyward_config::{Limiter, Staleness, UpstreamProtocol, WhenStale};

use crate::{gateway, parse_gateway, refused};

#[test]
fn the_defaults_are_those_of_the_contract() {
    let config = gateway("");
    assert_eq!(config.id, "localhost");
    assert_eq!(config.workers, 1);
    assert_eq!(config.listen.proxy.to_string(), "0.0.0.0:8080");
    assert_eq!(config.listen.admin.to_string(), "127.0.0.1:9090");
    assert_eq!(config.listen.authz, None);
    assert!(config.trusted_proxies.is_empty());
    assert_eq!(config.control_plane.urls, ["http://127.0.0.1:8082"]);
    assert_eq!(config.digest_key_file, None);
    assert_eq!(config.ledger_sync_interval, Duration::from_secs(1));
    assert_eq!(config.ledger_max_size, 1 << 30);
    assert_eq!(config.cache_entries, 200_000);
    let fresh_for_ever = Staleness {
        max: None,
        then: WhenStale::Serve,
    };
    assert_eq!(config.staleness, fresh_for_ever);
    assert_eq!(config.limiter, Limiter::Local);
    assert_eq!(config.credentials.account, ["authorization", "x-api-key"]);
    assert_eq!(config.credentials.customer, ["x-customer-key"]);
    let timeouts = config.timeouts;
    let seconds = [
        (timeouts.first_byte, 10),
        (timeouts.request_headers, 10),
        (timeouts.request_body_idle, 10),
        (timeouts.write_stall, 30),
        (timeouts.idle, 60),
        (timeouts.connect, 1),
        (timeouts.response_headers, 30),
        (timeouts.request, 300),
        (config.drain.timeout, 30),
        (config.drain.revoked, 5),
    ];
    for (time, expected) in seconds {
        assert_eq!(time, Duration::from_secs(expected));
    }
    assert_eq!(timeouts.request_body_rate, 240);
    let bounds = config.bounds;
    assert_eq!(
        (bounds.connections, bounds.concurrent_requests, bounds.headers),
        (10_000, 4_096, 100)
    );
    assert_eq!(
        (bounds.head, bounds.uri, bounds.body),
        (32 << 10, 8 << 10, 100 << 20)
    );
    assert_eq!(config.access_log.path, None);
    assert!(config.access_log.refusals);
}

#[test]
fn values_are_written_for_people() {
    let config = gateway(
        "trusted_proxies = [\"10.0.0.0/8\", \"2001:db8::1\"]\n\
         [timeouts]\nconnect = \"250ms\"\nrequest = \"2m\"\n\
         [bounds]\nbody = \"1GiB\"\nhead = 16384\n\
         [credentials]\naccount = [\"X-Partner-Key\"]\n\
         [errors]\ndocumentation_url = \"https://docs.example.com/\"\n",
    );
    assert_eq!(config.timeouts.connect, Duration::from_millis(250));
    assert_eq!(config.timeouts.request, Duration::from_secs(120));
    assert_eq!((config.bounds.body, config.bounds.head), (1 << 30, 16_384));
    assert_eq!(config.credentials.account, ["x-partner-key"]);
    assert_eq!(config.documentation_url, "https://docs.example.com");
    let proxies: Vec<_> = config.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["10.0.0.0/8", "2001:db8::1/128"]);
}

#[test]
fn endpoints_are_hosts_and_ports() {
    let text = "[[upstreams]]\nname = \"a\"\nendpoints = [\"http://API.example.com\", \"http://[::1]:81/\"]\n[[routes]]\n";
    let config = parse_gateway(text, &[]).unwrap();
    let endpoints: Vec<_> = config.upstreams[0]
        .endpoints
        .iter()
        .map(|e| (e.host.as_str(), e.port))
        .collect();
    assert_eq!(endpoints, [("api.example.com", 80), ("::1", 81)]);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    for (settings, expected) in [
        (
            "worker = 2",
            "1: worker: is no known key; did you mean \"workers\"?",
        ),
        (
            "[timeout]\nconnect = \"1s\"",
            "1: timeout: is no known key; did you mean \"timeouts\"?",
        ),
        (
            "[timeouts]\nconect = \"1s\"",
            "2: timeouts.conect: is no known key; did you mean \"connect\"?",
        ),
        (
            "[listen]\nproxy-protocol = false",
            "2: listen.proxy-protocol: is no known key; did you mean \"proxy_protocol\"?",
        ),
        (
            "[drain]\nsomething_else = 1",
            "2: drain.something_else: is no known key; in drain there can be timeout, revoked",
        ),
    ] {
        refused(settings, &[expected]);
    }
}

#[test]
fn a_value_of_another_type_is_refused_with_what_belongs_there() {
    for (settings, expected) in [
        (
            "workers = \"two\"",
            "1: workers: \"two\" is text; write a whole number from 0",
        ),
        (
            "workers = -1",
            "1: workers: -1 is a number; write a whole number from 0",
        ),
        (
            "listen = 8080",
            "1: listen: 8080 is a number; write a table, such as { … }",
        ),
        (
            "[access_log]\nrefusals = 1",
            "2: access_log.refusals: 1 is a number; write true or false",
        ),
        (
            "[access_log]\nsample = \"all\"",
            "2: access_log.sample: \"all\" is text; write a number",
        ),
        (
            "trusted_proxies = \"10.0.0.0/8\"",
            "1: trusted_proxies: \"10.0.0.0/8\" is text; write a list, such as [\"…\"]",
        ),
        (
            "[gateway]\nid = 7",
            "2: gateway.id: 7 is a number; write a name such as \"api\"",
        ),
        (
            "[timeouts]\nidle = true",
            "2: timeouts.idle: true is true or false; write a duration such as \"1s\"",
        ),
    ] {
        refused(settings, &[expected]);
    }
}

#[test]
fn a_duration_without_a_known_unit_is_refused() {
    let units = "write a number and ms, s, m, h or d, such as";
    for (typed, expected) in [
        (
            "\"5 parsecs\"",
            format!("\"5 parsecs\" is no duration; {units} \"1s\""),
        ),
        ("\"1.5s\"", format!("\"1.5s\" is no duration; {units} \"1s\"")),
        ("\"-1s\"", format!("\"-1s\" is no duration; {units} \"1s\"")),
        ("\"\"", format!("\"\" is no duration; {units} \"1s\"")),
        ("30", format!("30 has no unit; {units} \"30s\"")),
        (
            "\"40000d\"",
            "\"40000d\" is too long; write at most \"36500d\"".to_owned(),
        ),
        ("\"0s\"", "0s is too little; write at least 1ms".to_owned()),
        ("\"400d\"", "400d is too much; write at most 365d".to_owned()),
    ] {
        let expected = format!("2: timeouts.connect: {expected}");
        refused(&format!("[timeouts]\nconnect = {typed}"), &[&expected]);
    }
}

#[test]
fn a_size_that_can_not_be_is_refused() {
    for (settings, expected) in [
        (
            "body = \"1MB\"",
            "2: bounds.body: \"1MB\" is no size; write \"1MiB\"",
        ),
        (
            "body = \"lots\"",
            "2: bounds.body: \"lots\" is no size; write a number of bytes, or one with KiB, MiB or GiB, such as \"1MiB\"",
        ),
        (
            "body = -5",
            "2: bounds.body: -5 is below zero; write a size such as \"1MiB\"",
        ),
        (
            "head = \"4KiB\"",
            "2: bounds.head: 4KiB is too little; write at least 8KiB",
        ),
        (
            "head = \"2MiB\"",
            "2: bounds.head: 2MiB is too much; write at most 1MiB",
        ),
        (
            "uri = \"16KiB\"\nhead = \"8KiB\"",
            "2: bounds.uri: 16KiB is more than the 8KiB of bounds.head, which it is part of",
        ),
        (
            "[timeouts]\nrequest_body_rate = 0",
            "3: timeouts.request_body_rate: 0 is too little; write at least 1",
        ),
        (
            "[timeouts]\nrequest_body_rate = \"2GiB\"",
            "3: timeouts.request_body_rate: 2GiB is too much; write at most 1GiB",
        ),
        (
            "headers = 0",
            "2: bounds.headers: 0 is too little; write at least 1",
        ),
        (
            "connections = 0",
            "2: bounds.connections: 0 is too little; write at least 1",
        ),
        (
            "concurrent_requests = 0",
            "2: bounds.concurrent_requests: 0 is too little; write at least 1",
        ),
    ] {
        let settings = format!("[bounds]\n{settings}");
        let smaller_head = settings.contains("4KiB");
        let more = "gateway.toml: bounds.uri: 8KiB is more than the 4KiB of bounds.head, which it is part of";
        // The default of one setting can be wrong for another; the line is the table's then.
        let more = more.replace("gateway.toml", "1");
        if smaller_head {
            refused(&settings, &[&more, expected]);
        } else {
            refused(&settings, &[expected]);
        }
    }
}

#[test]
fn an_address_to_listen_on_needs_an_address_and_a_port() {
    for (typed, expected) in [
        (
            "\":8080\"",
            "\":8080\" has no address; write \"0.0.0.0:8080\" or \"127.0.0.1:8080\"",
        ),
        (
            "8080",
            "8080 is a port alone; write an address too, such as \"127.0.0.1:8080\"",
        ),
        (
            "\"localhost:80\"",
            "\"localhost:80\" names a machine; write its address, \"127.0.0.1:80\"",
        ),
        ("\"::1:80\"", "\"::1:80\" lacks brackets; write \"[::1]:80\""),
        (
            "\"127.0.0.1\"",
            "\"127.0.0.1\" is no address with a port; write one such as \"127.0.0.1:8080\"",
        ),
        (
            "\"127.0.0.1:70000\"",
            "\"127.0.0.1:70000\" is no address with a port; write one such as \"127.0.0.1:8080\"",
        ),
    ] {
        for listener in ["proxy", "authz"] {
            refused(
                &format!("[listen]\n{listener} = {typed}"),
                &[&format!("2: listen.{listener}: {expected}")],
            );
        }
    }
}

#[test]
fn two_listeners_never_share_a_port() {
    refused(
        "[listen]\nproxy = \"0.0.0.0:9090\"",
        &["1: listen.admin: 127.0.0.1:9090 is also listen.proxy; give each its own port"],
    );
    refused(
        "[listen]\nauthz = \"0.0.0.0:8080\"",
        &["2: listen.authz: 0.0.0.0:8080 is also listen.proxy; give each its own port"],
    );
    refused(
        "[listen]\nauthz = \"127.0.0.1:9090\"",
        &["2: listen.authz: 127.0.0.1:9090 is also listen.admin; give each its own port"],
    );
    let free = gateway("[listen]\nproxy = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n");
    assert_eq!(free.listen.proxy.port(), 0);
}

#[test]
fn validations_are_asked_for_where_the_configuration_says() {
    let asked = gateway("[listen]\nauthz = \"127.0.0.1:9080\"");
    assert_eq!(asked.listen.authz, Some("127.0.0.1:9080".parse().unwrap()));
}

#[test]
fn a_block_of_addresses_has_no_bits_beyond_its_length() {
    for (typed, expected) in [
        (
            "10.1.2.3/8",
            "\"10.1.2.3/8\" has bits beyond its length; write \"10.0.0.0/8\" for the block or \"10.1.2.3\" for the address",
        ),
        (
            "10.0.0.0/33",
            "\"10.0.0.0/33\" is no block of addresses; write one such as \"10.0.0.0/8\"",
        ),
        (
            "proxy.local",
            "\"proxy.local\" is no block of addresses; write one such as \"10.0.0.0/8\"",
        ),
    ] {
        let expected = format!("1: trusted_proxies[1]: {expected}");
        refused(
            &format!("trusted_proxies = [\"192.0.2.1\", \"{typed}\"]"),
            &[&expected],
        );
    }
}

#[test]
fn credential_headers_are_distinct_headers_of_their_own() {
    for (settings, expected) in [
        (
            "customer = [\"X-Api-Key\"]",
            "2: credentials.customer: \"x-api-key\" carries the account key already; a header carries one of the two",
        ),
        (
            "account = [\"x-a\", \"X-A\"]",
            "2: credentials.account: \"x-a\" is there twice; remove one",
        ),
        (
            "account = []",
            "2: credentials.account: there is none; write [\"x-api-key\"]",
        ),
        (
            "customer = []",
            "2: credentials.customer: there is none; write [\"x-customer-key\"]",
        ),
        (
            "account = [\"x key\"]",
            "2: credentials.account[0]: \"x key\" is no header name; write one such as \"x-api-key\"",
        ),
        (
            "account = [\"Host\"]",
            "2: credentials.account[0]: \"host\" has a meaning of its own and can't carry a credential",
        ),
        (
            "account = [\"keyward-account\"]",
            "2: credentials.account[0]: \"keyward-account\" has a meaning of its own and can't carry a credential",
        ),
        (
            "account = [\"x-api-key\"]\ncustomer = [\"authorization\"]",
            "3: credentials.customer: \"authorization\" carries account keys alone; write another such as \"x-customer-key\"",
        ),
    ] {
        refused(&format!("[credentials]\n{settings}"), &[expected]);
    }
}

#[test]
fn denying_when_stale_needs_a_bound() {
    refused(
        "[sync]\nwhen_stale = \"deny\"",
        &["2: sync.when_stale: \"deny\" needs to know when; write max_staleness too, such as \"3s\""],
    );
    refused(
        "[sync]\nmax_staleness = \"200ms\"",
        &["2: sync.max_staleness: 200ms is too little; write at least 1s"],
    );
    let bounded = gateway("[sync]\nwhen_stale = \"deny\"\nmax_staleness = \"3s\"\n").staleness;
    assert_eq!(
        (bounded.max, bounded.then),
        (Some(Duration::from_secs(3)), WhenStale::Deny)
    );
}

#[test]
fn a_word_that_is_none_of_those_known_is_refused_with_them() {
    refused(
        "[sync]\nwhen_stale = \"deni\"",
        &[
            "2: sync.when_stale: \"deni\" is not known here; did you mean \"deny\"? Write \"serve\" or \"deny\"",
        ],
    );
    refused(
        "[limiter]\nmode = \"magic\"",
        &["2: limiter.mode: \"magic\" is not known here; write \"local\", \"leased\" or \"exact\""],
    );
}

#[test]
fn the_proxy_protocol_needs_somebody_to_believe() {
    refused(
        "[listen]\nproxy_protocol = true",
        &[
            "2: listen.proxy_protocol: is believed of trusted proxies alone, and there is none; write trusted_proxies too, such as [\"10.0.0.0/8\"]",
        ],
    );
    let config = gateway("trusted_proxies = [\"10.0.0.0/8\"]\n[listen]\nproxy_protocol = true\n");
    assert!(config.listen.proxy_protocol);
}

#[test]
fn tls_towards_partners_is_made_of_whole_certificates() {
    let pair = "{ cert_file = \"a\", key_file = \"b\" }";
    for (tls, expected) in [
        (
            "certificates = []".to_owned(),
            "3: listen.tls.certificates: there is none; write [{ cert_file = \"tls/api.pem\", key_file = \"tls/api.key\" }]",
        ),
        (
            format!("certificates = [{pair}, {{ cert_file = \"a\" }}]"),
            "3: listen.tls.certificates[1].key_file: is missing: cert_file needs its private key",
        ),
        (
            "certificates = [{ key_file = \"a\" }]".to_owned(),
            "3: listen.tls.certificates[0].cert_file: is missing; write the PEM file of the certificate",
        ),
        (
            format!("certificates = [{pair}]\nclient_certificates = \"optional\""),
            "4: listen.tls.client_certificates: needs to know who may have signed them; write client_ca_file too",
        ),
        (
            format!("certificates = [{pair}]\nclient_ca_file = \"c\"\nclient_certificates = \"some\""),
            "5: listen.tls.client_certificates: \"some\" is not known here; write \"require\" or \"optional\"",
        ),
    ] {
        refused(&format!("[listen]\n[listen.tls]\n{tls}"), &[expected]);
    }
    let config = gateway(&format!(
        "[listen]\ntls = {{ certificates = [{pair}], client_ca_file = \"c\" }}\n"
    ));
    let tls = config.listen.tls.unwrap();
    assert_eq!(tls.certificates.len(), 1);
    assert_eq!(
        tls.client_certificates,
        keyward_config::ClientCertificates::Require
    );
}

#[test]
fn what_this_version_does_anyway_may_be_said() {
    gateway("[listen]\nproxy_protocol = false\n[limiter]\nmode = \"local\"\n");
}

#[test]
fn control_planes_are_listed_once_each() {
    for (typed, expected) in [
        (
            "[]",
            "2: control_plane.urls: there is none; write [\"http://127.0.0.1:8082\"]",
        ),
        (
            "[\"http://a:1\", \"http://A:1/\"]",
            "2: control_plane.urls: \"http://a:1\" is there twice; remove one",
        ),
        (
            "[\"127.0.0.1:8082\"]",
            "2: control_plane.urls[0]: \"127.0.0.1:8082\" is no address; write one such as \"http://127.0.0.1:8082\"",
        ),
        (
            "[\"https://cp.example.com/x\"]",
            "2: control_plane.urls[0]: \"https://cp.example.com/x\" has more than a host and a port; write one such as \"https://cp.internal:8082\"",
        ),
    ] {
        refused(&format!("[control_plane]\nurls = {typed}"), &[expected]);
    }
}

#[test]
fn control_planes_are_reached_in_clear_text_and_by_tls() {
    let config = gateway(
        "[control_plane]\nurls = [\"HTTPS://Cp.example.com/\", \"https://[::1]:8082\", \"http://127.0.0.1:8082\"]\n\
         tls = { ca_file = \"ca.pem\", cert_file = \"me.pem\", key_file = \"me.key\", server_name = \"cp\" }\n",
    );
    assert_eq!(
        config.control_plane.urls,
        [
            "https://cp.example.com:443",
            "https://[::1]:8082",
            "http://127.0.0.1:8082"
        ]
    );
    let tls = config.control_plane.tls;
    let certificate = tls.certificate.unwrap();
    assert_eq!(tls.ca_file.unwrap().to_str(), Some("ca.pem"));
    assert_eq!(certificate.cert_file.to_str(), Some("me.pem"));
    assert_eq!(certificate.key_file.to_str(), Some("me.key"));
    assert_eq!(tls.server_name.as_deref(), Some("cp"));
    assert_eq!(
        gateway("").control_plane.tls,
        keyward_config::ClientTls::default()
    );
}

#[test]
fn tls_settings_that_do_not_belong_together_are_refused() {
    let urls = "[control_plane]\nurls = [\"https://cp\"]";
    for (settings, expected) in [
        (
            "[control_plane.tls]\nca_file = \"a\"".to_owned(),
            "1: control_plane.tls: is for https addresses, and control_plane.urls has none; write \"https://…\" there, or remove it",
        ),
        (
            format!("{urls}\n[control_plane.tls]\ncert_file = \"a\""),
            "3: control_plane.tls.key_file: is missing: cert_file needs its private key",
        ),
        (
            format!("{urls}\n[control_plane.tls]\nkey_file = \"a\""),
            "3: control_plane.tls.cert_file: is missing: key_file is the key of a certificate",
        ),
    ] {
        refused(&settings, &[expected]);
    }
}

#[test]
fn small_settings_have_bounds_too() {
    for (settings, expected) in [
        ("workers = 0", "1: workers: 0 is too little; write at least 1"),
        (
            "workers = 5000",
            "1: workers: 5000 is too much; write at most 1024",
        ),
        (
            "[cache]\nentries = 0",
            "2: cache.entries: 0 is too little; write at least 1",
        ),
        (
            "[ledger]\nsync_interval = \"1ms\"",
            "2: ledger.sync_interval: 1ms is too little; write at least 10ms",
        ),
        (
            "[access_log]\nsample = 1.5",
            "2: access_log.sample: 1.5 is no share; write a number from 0.0 to 1.0",
        ),
        (
            "[access_log]\nsample = nan",
            "2: access_log.sample: NaN is no share; write a number from 0.0 to 1.0",
        ),
        (
            "[errors]\ndocumentation_url = \"docs\"",
            "2: errors.documentation_url: \"docs\" is no address; write one such as \"https://example.com/docs\"",
        ),
        (
            "[gateway]\nid = \"edge 1\"",
            "2: gateway.id: \"edge 1\" can't be a name; write 1 to 64 letters, digits, dots, hyphens and underscores, such as \"api\"",
        ),
        (
            "[replica]\npath = \"\"",
            "2: replica.path: is no path; write a path such as \"keyward-data/secrets/gateway-token\"",
        ),
    ] {
        refused(settings, &[expected]);
    }
}

#[test]
fn a_gateway_needs_an_upstream_and_a_route() {
    let message = parse_gateway("", &[]).unwrap_err();
    assert_eq!(
        message,
        "gateway.toml: upstreams: there is none; write [[upstreams]] with name = \"api\" and endpoints = [\"http://127.0.0.1:3000\"]\n\
         gateway.toml: routes: there is none; write [[routes]] with path = \"/\" and the name of an upstream, such as upstream = \"api\""
    );
}

#[test]
fn a_wrong_upstream_is_refused() {
    let endpoint = "write one such as \"http://127.0.0.1:3000\"";
    for (upstream, expected) in [
        ("endpoints = [\"http://a:1\"]", "2: upstreams[0].name: is missing; write one, such as \"api\"".to_owned()),
        ("name = \"a\"", "2: upstreams[0].endpoints: there is none; write [\"http://127.0.0.1:3000\"]".to_owned()),
        (
            "name = \"a\"\nendpoints = [\"http://b:1\", \"http://b:1\"]",
            "4: upstreams[0].endpoints: \"http://b:1\" is there twice; remove one".to_owned(),
        ),
        (
            "name = \"a\"\nendpoints = [\"http://b:1/x\"]",
            format!("4: upstreams[0].endpoints[0]: \"http://b:1/x\" has more than a host and a port; {endpoint}"),
        ),
        (
            "name = \"a\"\nendpoints = [\"http://b:0\"]",
            format!("4: upstreams[0].endpoints[0]: \"http://b:0\" has no port from 1 to 65535; {endpoint}"),
        ),
        (
            "name = \"a\"\nendpoints = [\"http://:80\"]",
            format!("4: upstreams[0].endpoints[0]: \"http://:80\" has no valid host; {endpoint}"),
        ),
        (
            "name = \"a\"\nendpoints = [\"http://10.0.0.256:80\"]",
            format!("4: upstreams[0].endpoints[0]: \"http://10.0.0.256:80\" has no valid host; {endpoint}"),
        ),
        (
            "name = \"a\"\nendpoints = [\"ftp://b\"]",
            format!("4: upstreams[0].endpoints[0]: \"ftp://b\" is no http address; {endpoint}"),
        ),
        (
            "name = \"a\"\nendpoints = [\"http://user:password@b\"]",
            format!("4: upstreams[0].endpoints[0]: has a user name in it; {endpoint}"),
        ),
        (
            "name = \"a\"\nendpoints = [\"https://b\", \"http://c\"]",
            "4: upstreams[0].endpoints: there are http:// and https:// addresses in one list; write all of them in one way, or two upstreams"
                .to_owned(),
        ),
        (
            "name = \"a\"\nendpoints = [\"http://b\"]\nprotocol = \"h2\"",
            "5: upstreams[0].protocol: \"h2\" is HTTP/2 over TLS; write https:// in endpoints, or \"h2c\" for clear text"
                .to_owned(),
        ),
        (
            "name = \"a\"\nendpoints = [\"https://b\"]\nprotocol = \"h2c\"",
            "5: upstreams[0].protocol: \"h2c\" is HTTP/2 in clear text; write http:// in endpoints, or \"h2\" for TLS"
                .to_owned(),
        ),
        (
            "name = \"a\"\nendpoints = [\"http://b\"]\nprotocol = \"http3\"",
            "5: upstreams[0].protocol: \"http3\" is not known here; did you mean \"http1\"? Write \"http1\", \"h2c\" or \"h2\""
                .to_owned(),
        ),
        (
            "name = \"a\"\nendpoints = [\"http://b\"]\n[upstreams.tls]\nca_file = \"x\"",
            "5: upstreams[0].tls: is for https addresses, and the endpoints are none; write \"https://…\" there, or remove it"
                .to_owned(),
        ),
        (
            "name = \"a\"\nendpoints = [\"https://b\"]\n[upstreams.tls]\ncert_file = \"x\"",
            "5: upstreams[0].tls.key_file: is missing: cert_file needs its private key".to_owned(),
        ),
        (
            "name = \"a\"\nendpoints = [\"https://b\"]\n[upstreams.tls]\nkey_file = \"x\"",
            "5: upstreams[0].tls.cert_file: is missing: key_file is the key of a certificate".to_owned(),
        ),
        (
            "name = \"a\"\nendpoints = [\"https://b\"]\n[upstreams.tls]\nserver_name = \"a b\"",
            "6: upstreams[0].tls.server_name: \"a b\" can't be a name; write 1 to 64 letters, digits, dots, hyphens and underscores, such as \"api\""
                .to_owned(),
        ),
    ] {
        let message = parse_gateway(&format!("\n[[upstreams]]\n{upstream}\n[[routes]]\n"), &[]).unwrap_err();
        assert_eq!(message, format!("gateway.toml:{expected}"));
    }
}

#[test]
fn an_upstream_is_spoken_to_as_it_is_said() {
    let one = |settings: &str| {
        let text = format!("[[upstreams]]\nname = \"a\"\n{settings}\n[[routes]]\n");
        parse_gateway(&text, &[]).unwrap().upstreams.remove(0)
    };
    let plain = one("endpoints = [\"http://b\"]");
    assert_eq!((plain.protocol, plain.tls), (UpstreamProtocol::Http1, None));
    let h2c = one("endpoints = [\"http://b\"]\nprotocol = \"h2c\"");
    assert_eq!((h2c.protocol, h2c.tls), (UpstreamProtocol::Http2, None));
    let secure = one("endpoints = [\"HTTPS://B/\", \"https://c:8443\"]");
    assert_eq!(secure.protocol, UpstreamProtocol::Http1);
    assert_eq!(secure.tls, Some(keyward_config::ClientTls::default()));
    let places: Vec<_> = secure
        .endpoints
        .iter()
        .map(|end| (end.host.as_str(), end.port))
        .collect();
    assert_eq!(places, [("b", 443), ("c", 8443)]);
    let h2 = one(
        "endpoints = [\"https://b\"]\nprotocol = \"h2\"\n[upstreams.tls]\nca_file = \"ca\"\n\
         cert_file = \"cert\"\nkey_file = \"key\"\nserver_name = \"api.internal\"",
    );
    assert_eq!(h2.protocol, UpstreamProtocol::Http2);
    let tls = h2.tls.unwrap();
    assert_eq!(tls.ca_file, Some("ca".into()));
    assert_eq!(tls.certificate.unwrap().key_file, std::path::PathBuf::from("key"));
    assert_eq!(tls.server_name.as_deref(), Some("api.internal"));
}

#[test]
fn two_upstreams_never_share_a_name() {
    let text = "[[upstreams]]\nname = \"a\"\nendpoints = [\"http://b\"]\n".repeat(2)
        + "[[routes]]\nupstream = \"a\"\n";
    assert_eq!(
        parse_gateway(&text, &[]).unwrap_err(),
        "gateway.toml:5: upstreams[1].name: \"a\" is another upstream's name; write another, or its endpoints into one list"
    );
}

#[test]
fn text_that_is_no_toml_is_refused_with_its_line() {
    let message = parse_gateway("workers = 2\nlisten = [", &[]).unwrap_err();
    assert!(message.starts_with("gateway.toml:2: is not TOML: "), "{message}");
    let twice = parse_gateway("workers = 2\nworkers = 3", &[]).unwrap_err();
    assert_eq!(twice, "gateway.toml:2: is not TOML: duplicate key");
}

#[test]
fn everything_that_is_wrong_is_told_at_once_in_the_order_of_the_file() {
    refused(
        "workers = 0\n[timeouts]\nconect = \"1s\"\nidle = 5\n[bounds]\nbody = \"x\"\nheaders = 0\n[drain]\ntimeout = \"2y\"",
        &[
            "1: workers: 0 is too little; write at least 1",
            "3: timeouts.conect: is no known key; did you mean \"connect\"?",
            "4: timeouts.idle: 5 has no unit; write a number and ms, s, m, h or d, such as \"5s\"",
            "6: bounds.body: \"x\" is no size; write a number of bytes, or one with KiB, MiB or GiB, such as \"1MiB\"",
            "7: bounds.headers: 0 is too little; write at least 1",
            "9: drain.timeout: \"2y\" is no duration; write a number and ms, s, m, h or d, such as \"1s\"",
        ],
    );
}

#[test]
fn a_mistyped_key_is_told_once_and_not_missed_again() {
    let text = "[[upstream]]\nname = \"api\"\nendpoints = [\"http://b\"]\n[[routes]]\nupstream = \"api\"\n";
    assert_eq!(
        parse_gateway(text, &[]).unwrap_err(),
        "gateway.toml:1: upstream: is no known key; did you mean \"upstreams\"?"
    );
}

#[test]
fn what_was_typed_can_do_nothing_to_a_terminal_or_a_log() {
    refused(
        "\"worker\\u001b\\n\" = 1\n",
        &["1: worker\\u{1b}\\n: is no known key; did you mean \"workers\"?"],
    );
}
