use super::*;
use crate::server::greeting::Wire;

fn rewritten(pairs: &[(&str, &[u8])], trust: Trust) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(value).unwrap(),
        );
    }
    let forwarding = Forwarding::of("192.0.2.7".parse().unwrap(), Scheme::Http, Wire::Http1);
    let names = CredentialNames::new(&keyward_config::Credentials {
        account: vec!["authorization".into(), "x-api-key".into()],
        customer: vec!["x-customer-key".into()],
    });
    let with = Additions {
        origin: Origin {
            forwarding: &forwarding,
            trust,
        },
        caller: None,
        credentials: Some(&names),
        kept_credentials: None,
        request_id: &HeaderValue::from_static("r-1"),
        default_host: "upstream:80",
        framing: BodyFraming::Sized,
        upgrade: None,
        rules: None,
        identity: None,
    };
    let mut out = Vec::new();
    write_request(&mut out, &Method::GET, "/x?y", &headers, &with);
    let text = out
        .strip_prefix(b"GET /x?y HTTP/1.1\r\n")
        .unwrap()
        .strip_suffix(b"\r\n\r\n")
        .unwrap();
    let mut written = HeaderMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let colon = line.iter().position(|byte| *byte == b':').unwrap();
        let name = HeaderName::from_bytes(&line[..colon]).unwrap();
        written.append(name, HeaderValue::from_bytes(&line[colon + 2..]).unwrap());
    }
    written
}

#[test]
fn what_a_client_must_not_say_is_dropped() {
    let forged: &[(&str, &[u8])] = &[
        ("host", b"api.example"),
        ("authorization", b"Bearer x"),
        ("x-api-key", b"x"),
        ("x_customer_key", b"x"),
        ("x.api.key", b"x"),
        ("keyward-account", b"evil"),
        ("keyward_account", b"evil"),
        ("x-original-url", b"/admin"),
        ("x-http-method-override", b"DELETE"),
        ("x-real-ip", b"127.0.0.1"),
        ("te", b"trailers"),
        ("upgrade", b"h2c"),
        ("proxy-connection", b"keep-alive"),
        ("accept", b"*/*"),
    ];
    let headers = rewritten(forged, Trust::Untrusted);
    let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(
        left,
        [
            "accept",
            "forwarded",
            "host",
            "traceparent",
            "via",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-request-id"
        ]
    );
}

#[test]
fn a_nomination_removes_what_the_client_sent_and_nothing_of_ours() {
    let headers = rewritten(
        &[
            ("host", b"api.example"),
            ("content-length", b"3"),
            (
                "connection",
                b"x-mine, host,content-length , x-request-id, via, x-forwarded-for, \xff, keyward-account",
            ),
            ("x-mine", b"1"),
        ],
        Trust::Untrusted,
    );
    assert!(!headers.contains_key("x-mine") && !headers.contains_key("connection"));
    for kept in ["host", "content-length", "x-request-id", "via", "x-forwarded-for"] {
        assert!(headers.contains_key(kept), "{kept}");
    }
}

#[test]
fn an_untrusted_peer_is_the_first_and_a_trusted_one_is_appended() {
    let sent: &[(&str, &[u8])] = &[
        ("host", b"api.example"),
        ("x-forwarded-for", b"203.0.113.9"),
        ("x-forwarded-proto", b"https"),
        ("forwarded", b"for=203.0.113.9"),
    ];
    let headers = rewritten(sent, Trust::Untrusted);
    assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
    assert_eq!(headers["x-forwarded-proto"], "http");
    assert_eq!(
        headers["forwarded"],
        "for=192.0.2.7;proto=http;host=\"api.example\""
    );
    let headers = rewritten(sent, Trust::Trusted);
    assert_eq!(headers["x-forwarded-for"], "203.0.113.9, 192.0.2.7");
    assert_eq!(headers["x-forwarded-proto"], "https");
    assert_eq!(
        headers["forwarded"],
        "for=203.0.113.9, for=192.0.2.7;proto=http;host=\"api.example\""
    );
}

#[test]
fn a_valid_trace_goes_on_and_a_broken_one_is_replaced() {
    let valid: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert_eq!(
        rewritten(&[("traceparent", valid)], Trust::Untrusted)["traceparent"].as_bytes(),
        valid
    );
    for broken in [
        b"".as_slice(),
        b"00-0-0-0",
        b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
    ] {
        let made = rewritten(&[("traceparent", broken)], Trust::Untrusted)["traceparent"].clone();
        assert!(is_traceparent(&made), "{made:?}");
    }
}
