//! `routes.headers`.

use http::{HeaderName, HeaderValue};
use keyward_config::GatewayConfig;

use crate::routes::one;

fn rules(text: &str) -> Result<GatewayConfig, String> {
    one(&format!("headers = {text}"))
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let message = rules(text).err().unwrap_or_else(|| panic!("was taken: {text}"));
    assert_eq!(message, format!("gateway.toml:4: routes[0].headers.{expected}"));
}

#[test]
fn rules_mean_what_they_say() {
    let config = rules(
        "{ request = { set = { X-Tenant = \"acme\", host = \"api.internal:8080\" }, add = { x-note = \"\" }, \
         remove = [\"Cookie\"] }, response = { remove = [\"server\", \"x-powered-by\"] } }",
    )
    .unwrap();
    let field = |name: &'static str, value: &'static str| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    let rules = &config.routes[0].headers;
    assert_eq!(
        rules.request.set,
        [field("x-tenant", "acme"), field("host", "api.internal:8080")]
    );
    assert_eq!(rules.request.add, [field("x-note", "")]);
    assert_eq!(rules.request.remove, ["cookie"]);
    assert_eq!(rules.response.remove, ["server", "x-powered-by"]);
    assert!(rules.response.set.is_empty() && rules.response.add.is_empty());
}

#[test]
fn what_the_gateway_answers_for_is_out_of_every_rules_reach() {
    let connection = "belongs to the connection and the framing, which the gateway keeps right; remove it";
    let ours = "is what the gateway itself says; remove it";
    let origin =
        "says where a call came from and what it asks for, which the gateway itself writes; remove it";
    let keys = "carries keys, and forward_credentials says whether they go on; remove it";
    let both = ["request", "response"].as_slice();
    let request = ["request"].as_slice();
    for (sides, names, reason) in [
        (
            both,
            &[
                "connection",
                "content-length",
                "transfer-encoding",
                "te",
                "trailer",
                "upgrade",
                "keep-alive",
                "expect",
                "proxy-connection",
                "proxy-authorization",
                "http2-settings",
            ][..],
            connection,
        ),
        (
            both,
            &[
                "keyward-account",
                "keyward-identity",
                "keyward-anything",
                "x-ratelimit-limit",
                "ratelimit",
                "ratelimit-policy",
                "x-request-id",
                "via",
                "traceparent",
            ],
            ours,
        ),
        (
            request,
            &[
                "forwarded",
                "x-forwarded-for",
                "x-forwarded-anything",
                "x-real-ip",
                "x-original-url",
                "x-http-method-override",
            ],
            origin,
        ),
        (request, &["authorization", "x-api-key", "x-customer-key"], keys),
    ] {
        for (side, name) in sides
            .iter()
            .flat_map(|side| names.iter().map(move |name| (side, name)))
        {
            refused(
                &format!("{{ {side} = {{ remove = [\"{name}\"] }} }}"),
                &format!("{side}.remove[0]: \"{name}\" {reason}"),
            );
            let mixed = name.to_uppercase();
            for deed in ["set", "add"] {
                refused(
                    &format!("{{ {side} = {{ {deed} = {{ {mixed} = \"x\" }} }} }}"),
                    &format!("{side}.{deed}.{mixed}: \"{name}\" {reason}"),
                );
            }
            if name.contains('-') {
                let alias = name.replacen('-', "_", 1);
                refused(
                    &format!("{{ {side} = {{ set = {{ {alias} = \"x\" }} }} }}"),
                    &format!("{side}.set.{alias}: \"{alias}\" counts as \"{name}\", which {reason}"),
                );
            }
        }
    }
    // An API may say such a thing of itself.
    assert!(rules("{ response = { set = { x-real-ip = \"x\", authorization = \"x\" } } }").is_ok());
}

#[test]
fn credentials_are_those_that_the_file_names() {
    let text = "credentials = { account = [\"x-key\"], customer = [\"x-who\"] }\n\
                upstreams = [{ name = \"api\", endpoints = [\"http://b\"] }]\n[[routes]]\n";
    let parse = |name: &str| {
        let text = format!("{text}headers = {{ request = {{ set = {{ \"{name}\" = \"x\" }} }} }}\n");
        crate::parse_gateway(&text, &[])
    };
    for name in ["x-key", "X.Who", "x_key"] {
        assert!(parse(name).unwrap_err().contains("carries keys"), "{name}");
    }
    assert!(parse("x-api-key").is_ok());
}

#[test]
fn a_rule_that_could_not_be_followed_is_refused() {
    let long = "x".repeat(4_097);
    for (text, expected) in [
        (
            "{ request = { remove = [\"a b\"] } }".to_owned(),
            "request.remove[0]: \"a b\" is no header name; write one such as \"x-tenant\"",
        ),
        (
            "{ request = { set = { \"\" = \"x\" } } }".to_owned(),
            "request.set.: \"\" is no header name; write one such as \"x-tenant\"",
        ),
        (
            "{ request = { set = { x-a = 5 } } }".to_owned(),
            "request.set.x-a: 5 is a number; write text in quotation marks",
        ),
        (
            "{ request = { set = { x-a = \"a\\nb\" } } }".to_owned(),
            "request.set.x-a: \"a\\nb\" can't be sent in a header; write visible ASCII characters",
        ),
        (
            "{ request = { set = { x-a = \"ä\" } } }".to_owned(),
            "request.set.x-a: \"ä\" can't be sent in a header; write visible ASCII characters",
        ),
        (
            "{ response = { add = { x-a = \" a\" } } }".to_owned(),
            "response.add.x-a: begins or ends with white space, which no header keeps; remove it",
        ),
        (
            format!("{{ response = {{ add = {{ x-a = \"{long}\" }} }} }}"),
            "response.add.x-a: has 4097 bytes; write at most 4096",
        ),
        (
            "{ request = { set = { x-a = \"1\" }, remove = [\"X-A\"] } }".to_owned(),
            "request.set.x-a: \"x-a\" has another rule here already; one rule a header",
        ),
        (
            "{ request = { set = { x-a = \"1\", X-A = \"2\" } } }".to_owned(),
            "request.set.x-a: \"x-a\" has another rule here already; one rule a header",
        ),
        (
            "{ request = { remove = [\"host\"] } }".to_owned(),
            "request.remove[0]: \"host\" can only be set; write it into set",
        ),
        (
            "{ request = { set = { host = \"u@evil/x\" } } }".to_owned(),
            "request.set.host: \"u@evil/x\" is no host; write one such as \"api.internal\" or \"api.internal:8080\"",
        ),
        (
            "{ response = { set = { host = \"a\" } } }".to_owned(),
            "response.set.host: \"host\" is no header of answers; remove it",
        ),
        (
            "{ reqest = {} }".to_owned(),
            "reqest: is no known key; did you mean \"request\"?",
        ),
        (
            "{ request = { unset = [\"x-a\"] } }".to_owned(),
            "request.unset: is no known key; did you mean \"set\"?",
        ),
    ] {
        refused(&text, expected);
    }
    let many: Vec<String> = (0..65).map(|number| format!("\"x-{number}\"")).collect();
    refused(
        &format!("{{ request = {{ remove = [{}] }} }}", many.join(", ")),
        "request: there are 65 rules; at most 64 can be followed",
    );
}
