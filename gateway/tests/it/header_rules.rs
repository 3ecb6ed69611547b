//! `routes.headers`: what a route changes in the heads that pass it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use keyward_contract::KeyKind;

use crate::fixture::{Keys, World};

fn world(route: &str) -> (World, String) {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let routes = format!(
        "[[routes]]\npath = \"/plain\"\nupstream = \"api\"\nrequire = \"account\"\n\
         [[routes]]\npath = \"/\"\nrequire = \"account\"\n{route}"
    );
    (World::start(&keys, &routes), key.text().to_owned())
}

/// An upstream whose answers have these header lines.
fn upstream(lines: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
                head.push(byte[0]);
            }
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nconnection: close\r\n{lines}content-length: 2\r\n\r\nok"
            );
        }
    });
    address
}

#[test]
fn a_request_goes_on_with_what_the_route_says() {
    let (world, key) = world(
        "upstream = \"api\"\n[routes.headers.request]\nremove = [\"x-debug\"]\nset = { X-Tenant = \"acme\", x-new = \"\" }\n\
         add = { x-note = \"ours\" }\n",
    );
    let sent: &[(&str, &str)] = &[
        ("x-api-key", &key),
        ("x-debug", "1"),
        ("x_debug", "1"),
        ("X-Tenant", "evil"),
        ("x_tenant", "evil"),
        ("x.tenant", "evil"),
        ("x-note", "theirs"),
        ("connection", "x-tenant, x-note"),
        ("accept", "*/*"),
    ];
    let answer = world.get("/", sent);
    let saw = |name: &str| answer.upstream_saw(name);
    assert_eq!(saw("x-tenant").as_deref(), Some("acme"));
    // The client's own was nominated, and the route's was not.
    assert_eq!(saw("x-note").as_deref(), Some("ours"));
    assert_eq!(saw("x-new").as_deref(), Some(""));
    assert_eq!(saw("accept").as_deref(), Some("*/*"));
    for dropped in ["x-debug", "x_debug", "x_tenant", "x.tenant"] {
        assert_eq!(saw(dropped), None, "{dropped}");
    }
    let plain = world.get("/plain/x", sent);
    // The upstream answers /plain with something else than the echo.
    assert_eq!(plain.upstream_saw("x-debug").as_deref(), Some("1"));
    assert_eq!(plain.upstream_saw("x-new"), None);
}

#[test]
fn a_host_of_the_routes_own_is_for_the_upstream_alone() {
    let (world, key) =
        world("upstream = \"api\"\n[routes.headers.request]\nset = { host = \"internal:8080\" }\n");
    let answer = world.get("/", &[("x-api-key", &key)]);
    let saw = |name: &str| answer.upstream_saw(name);
    assert_eq!(saw("host").as_deref(), Some("internal:8080"));
    assert_eq!(saw("x-forwarded-host").as_deref(), Some("api.example"));
    assert!(saw("forwarded").unwrap().ends_with("host=\"api.example\""));
    // HTTP/1.0 needs no Host, and gets this one too.
    let old = world.call(&format!("GET / HTTP/1.0\r\nx-api-key: {key}\r\n\r\n"));
    assert_eq!(old.upstream_saw("host").as_deref(), Some("internal:8080"));
}

#[test]
fn an_answer_comes_back_with_what_the_route_says() {
    let address = upstream(
        "server: leaky/1.0\r\nx-note: theirs\r\nx-frame-options: ALLOW\r\nkeyward-account: forged\r\n",
    );
    let (world, key) = world(&format!(
        "upstream = \"raw\"\n[routes.headers.response]\nremove = [\"Server\"]\nadd = {{ x-note = \"ours\" }}\n\
         set = {{ x-frame-options = \"DENY\", strict-transport-security = \"max-age=63072000\" }}\n\
         [[upstreams]]\nname = \"raw\"\nendpoints = [\"http://{address}\"]\n"
    ));
    let answer = world.get("/", &[("x-api-key", &key)]);
    assert_eq!((answer.status, answer.body.as_slice()), (200, b"ok".as_slice()));
    let all = |name: &str| {
        let fields = answer.headers.iter().filter(|(known, _)| known == name);
        fields.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(all("server"), [""; 0]);
    assert_eq!(all("x-note"), ["theirs", "ours"]);
    assert_eq!(all("x-frame-options"), ["DENY"]);
    assert_eq!(all("strict-transport-security"), ["max-age=63072000"]);
    assert_eq!(all("keyward-account"), [""; 0]);
    assert_eq!(all("x-ratelimit-limit"), ["200"]);

    // What the gateway itself answers is not the upstream's: nothing may make a refusal be kept by a cache.
    let refused = world.get("/", &[]);
    assert_eq!(refused.status, 401);
    assert_eq!(refused.header("strict-transport-security"), None);
}
