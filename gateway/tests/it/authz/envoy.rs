//! Envoy's protocol: with a client of a gRPC library, and byte by byte.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{HeaderMap, Request};
use keyward_contract::{KeyKind, Limits};

use super::{CheckRequest, Envoy, check, core};
use crate::fixture::{Keys, World, allowed, read_answer};

const ROUTE: &str = "[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"";
const METHOD: &str = "/envoy.service.auth.v3.Authorization/Check";

#[test]
fn who_may_pass_goes_on_with_its_identity_and_without_its_keys() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let routes = format!(
        "{ROUTE}\n[[routes]]\npath = \"/open\"\nupstream = \"api\"\nrequire = \"account\"\nforward_credentials = true"
    );
    let world = World::start(&keys, &routes);
    let envoy = Envoy::connect(&world);
    let headers = [
        ("x-api-key", key.text()),
        ("x_customer_key", "alias"),
        ("keyward-account", "forged"),
        ("keyward-customer", "forged"),
        ("keyward_tier", "forged"),
        ("accept", "*/*"),
    ];
    let verdict = envoy.verdict(&world, check("GET", "/a?b", &headers));
    let removed = |verdict: &super::Verdict| verdict.removed.iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!((verdict.code, verdict.status), (0, 200));
    assert_eq!(
        removed(&verdict),
        BTreeSet::from(
            ["keyward-customer", "keyward_tier", "x-api-key", "x_customer_key"].map(str::to_owned)
        )
    );
    assert!(
        verdict
            .upstream
            .contains(&("keyward-account".into(), account.id.to_string()))
    );
    assert!(
        verdict
            .upstream
            .contains(&("keyward-key-id".into(), key.record.id.to_string()))
    );
    assert!(verdict.header("x-ratelimit-limit").is_some() && verdict.header("x-request-id").is_some());
    // How the upstream's answer may be kept is not for Keyward to say.
    assert_eq!(verdict.header("cache-control"), None);
    let kept = envoy.verdict(&world, check("GET", "/open", &headers));
    assert_eq!(
        removed(&kept),
        BTreeSet::from(["keyward-customer", "keyward_tier"].map(str::to_owned))
    );
}

#[test]
fn a_thousand_checks_on_one_connection_are_answered_each_by_its_own() {
    let mut keys = Keys::new();
    let account = keys.account(|account| {
        account.limits = Limits {
            rate: 1_000_000,
            burst: 1_000_000,
        }
    });
    let callers = [0; 4].map(|_| keys.key(KeyKind::Account, &account, |_| {}));
    let world = World::start(&keys, ROUTE);
    let envoy = Envoy::connect(&world);
    world.runtime.block_on(async {
        let mut asked = tokio::task::JoinSet::new();
        for number in 0..1_000 {
            let (envoy, caller) = (envoy.clone(), &callers[number % callers.len()]);
            let id = caller.record.id.to_string();
            let question = check("GET", "/", &[("x-api-key", caller.text())]);
            asked.spawn(async move { (id, super::Verdict::of(envoy.ask(question).await.unwrap())) });
        }
        for (id, verdict) in asked.join_all().await {
            assert_eq!(verdict.status, 200);
            assert!(verdict.upstream.contains(&("keyward-key-id".to_owned(), id)));
        }
    });
    assert_eq!(
        crate::accounting::counted(&world, |counter| counter.accepted),
        1_000
    );
}

#[test]
fn a_grpc_client_is_refused_in_its_own_way() {
    let world = World::start(&Keys::new(), ROUTE);
    let envoy = Envoy::connect(&world);
    let verdict = envoy.verdict(
        &world,
        check("POST", "/", &[("content-type", "application/grpc")]),
    );
    assert_eq!((verdict.code, verdict.status), (16, 401));
    assert_eq!(verdict.header("grpc-status"), Some("16"));
    assert!(verdict.body.is_empty(), "Envoy would take a body for the message");
    assert!(verdict.header("grpc-message").is_some());
}

#[test]
fn the_source_that_envoy_names_is_the_client_unless_it_is_a_trusted_proxy() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let here = keys.key(KeyKind::Account, &account, |key| {
        key.allowed_ips = allowed(&["127.0.0.1"])
    });
    let there = keys.key(KeyKind::Account, &account, |key| {
        key.allowed_ips = allowed(&["192.0.2.7"])
    });
    let ask = |world: &World, key: &str| {
        let headers = [("x-api-key", key), ("x-forwarded-for", "192.0.2.7")];
        Envoy::connect(world)
            .verdict(world, check("GET", "/", &headers))
            .status
    };
    let world = World::start(&keys, ROUTE);
    assert_eq!((ask(&world, here.text()), ask(&world, there.text())), (200, 403));
    // Where it names none that is an address, the one that its proxy tells counts.
    let without = |world: &World, source: Option<&str>| {
        let headers = [
            ("x-api-key", there.text()),
            ("x-forwarded-for", "192.0.2.9, 192.0.2.7"),
        ];
        let mut question = check("GET", "/", &headers);
        named(&mut question, source);
        Envoy::connect(world).verdict(world, question).status
    };
    assert_eq!(
        (without(&world, None), without(&world, Some("@pipe"))),
        (200, 200)
    );
    assert_eq!(without(&world, Some("::ffff:192.0.2.7")), 200);
    drop(world);
    let world = World::start(&keys, &format!("trusted_proxies = [\"127.0.0.1\"]\n{ROUTE}"));
    assert_eq!((ask(&world, here.text()), ask(&world, there.text())), (403, 200));
}

/// Has Envoy name this source, or none.
fn named(question: &mut CheckRequest, source: Option<&str>) {
    let attributes = question.attributes.as_mut().unwrap();
    match (source, &mut attributes.source) {
        (Some(source), Some(peer)) => {
            let core::address::Address::SocketAddress(socket) =
                peer.address.as_mut().unwrap().address.as_mut().unwrap();
            socket.address = source.to_owned();
        }
        _ => attributes.source = None,
    }
}

#[test]
fn a_header_counts_in_either_form_and_its_framing_is_the_business_of_envoy() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let world = World::start(&keys, ROUTE);
    let envoy = Envoy::connect(&world);
    let with = |headers: Vec<core::HeaderValue>| {
        let mut question = check("POST", "/", &[]);
        let request = question.attributes.as_mut().unwrap().request.as_mut().unwrap();
        request.http.as_mut().unwrap().header_map = Some(core::HeaderMap { headers });
        envoy.verdict(&world, question).status
    };
    let header = |key: &str, value: &str, raw: &str| core::HeaderValue {
        key: key.to_owned(),
        value: value.to_owned(),
        raw_value: raw.as_bytes().to_vec(),
    };
    assert_eq!(with(vec![header("x-api-key", "", key.text())]), 200);
    assert_eq!(with(vec![header("x-api-key", key.text(), "")]), 200);
    assert_eq!(with(vec![header("x-api-key", "pk_live_x", key.text())]), 200);
    // Envoy has read the body's framing, and sends on one of its own.
    let framing = [
        ("content-length", "5"),
        ("content-length", "6"),
        ("transfer-encoding", "gzip"),
    ];
    let framing = framing.map(|(name, value)| header(name, value, ""));
    assert_eq!(
        with([&framing[..], &[header("x-api-key", "", key.text())]].concat()),
        200
    );
}

#[test]
fn the_host_is_the_one_that_envoy_names_and_none_that_a_client_adds() {
    let world = World::start(
        &Keys::new(),
        &format!(
            "{ROUTE}\n[[routes]]\nhost = \"open.example\"\npath = \"/\"\nupstream = \"api\"\nrequire = \"none\""
        ),
    );
    let envoy = Envoy::connect(&world);
    let verdict = envoy.verdict(&world, check("GET", "/", &[("host", "open.example")]));
    assert_eq!(
        (verdict.status, verdict.code_of_refusal().as_str()),
        (401, "UNAUTHORIZED")
    );
    let mut open = check("GET", "/", &[]);
    let request = open.attributes.as_mut().unwrap().request.as_mut().unwrap();
    request.http.as_mut().unwrap().host = "open.example".to_owned();
    assert_eq!(envoy.verdict(&world, open).status, 200);
}

/// A field of a message: number, and what is in it.
fn field(number: u8, inside: &[u8]) -> Vec<u8> {
    let mut length = inside.len();
    let mut bytes = vec![number << 3 | 2];
    while length >= 0x80 {
        bytes.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).unwrap());
    bytes.extend_from_slice(inside);
    bytes
}

/// The fields of a message: numbers, and what is in those that have a length.
fn fields(mut message: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let varint = |message: &mut &[u8]| {
        let mut value = 0_usize;
        for shift in (0..).step_by(7) {
            let (byte, rest) = message.split_first().unwrap();
            *message = rest;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    };
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let value = varint(&mut message);
        let inside = if tag & 7 == 2 {
            let (inside, rest) = message.split_at(value);
            message = rest;
            inside.to_vec()
        } else {
            value.to_string().into_bytes()
        };
        found.push((u8::try_from(tag >> 3).unwrap(), inside));
    }
    found
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat()
}

/// A question as Envoy writes it: the numbers are those of its published files, fields that we don't know included.
fn written_out(key: &str) -> Vec<u8> {
    let address = field(1, &[&field(2, b"127.0.0.1")[..], &[3 << 3, 80]].concat());
    let source = field(1, &[field(1, &address), field(2, b"service")].concat());
    let header = |name: &[u8], value: &[u8]| field(3, &[field(1, name), field(2, value)].concat());
    let http = [
        field(1, b"id-1"),
        field(2, b"GET"),
        header(b"x-api-key", key.as_bytes()),
        header(b":path", b"/a"),
        field(4, b"/a"),
        field(5, b"api.example"),
        field(6, b"https"),
        vec![9 << 3, 7],
        field(10, b"HTTP/2"),
    ];
    let time = field(1, &[1 << 3, 1]);
    let request = field(4, &[time, field(2, &http.concat())].concat());
    let extensions = field(10, &[field(1, b"a"), field(2, b"b")].concat());
    field(1, &[source, request, extensions].concat())
}

struct Raw {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
}

impl Raw {
    fn grpc_status(&self) -> &str {
        let trailers = self
            .trailers
            .as_ref()
            .and_then(|trailers| trailers.get("grpc-status"));
        trailers
            .or(self.headers.get("grpc-status"))
            .unwrap()
            .to_str()
            .unwrap()
    }
}

/// Sends these bytes as the body of a gRPC call.
fn raw(world: &World, path: &str, body: Vec<u8>) -> Raw {
    let authz = world.authz;
    world.runtime.block_on(async move {
        let stream = tokio::net::TcpStream::connect(authz).await.unwrap();
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = Request::post(format!("http://keyward{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        let (answer, mut sender) = client.send_request(request, false).unwrap();
        for piece in body.chunks(16_000) {
            sender.reserve_capacity(piece.len());
            // The gateway may have answered already.
            if std::future::poll_fn(|context| sender.poll_capacity(context))
                .await
                .is_none()
            {
                break;
            }
            if sender.send_data(Bytes::copy_from_slice(piece), false).is_err() {
                break;
            }
        }
        let _ = sender.send_data(Bytes::new(), true);
        let (head, mut stream) = answer.await.unwrap().into_parts();
        let mut body = Vec::new();
        while let Some(piece) = stream.data().await {
            body.extend_from_slice(&piece.unwrap());
        }
        let trailers = stream.trailers().await.unwrap();
        drop((client, stream));
        connection.abort();
        Raw {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
            trailers,
        }
    })
}

#[test]
fn the_bytes_are_those_of_envoy_s_published_messages() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |key| {
        key.allowed_ips = allowed(&["127.0.0.1"])
    });
    let world = World::start(&keys, ROUTE);
    let numbers = |message: &[u8]| {
        fields(message)
            .into_iter()
            .map(|(number, _)| number)
            .collect::<BTreeSet<_>>()
    };

    let allowed = raw(&world, METHOD, framed(&written_out(key.text())));
    assert_eq!((allowed.status, allowed.grpc_status()), (200, "0"));
    assert_eq!(allowed.headers["content-type"], "application/grpc");
    assert_eq!(
        usize::from(allowed.body[4]) + (usize::from(allowed.body[3]) << 8),
        allowed.body.len() - 5
    );
    let message = fields(&allowed.body[5..]);
    // google.rpc.Status of OK is empty, and OkHttpResponse is the third.
    assert_eq!(message[0], (1, Vec::new()));
    assert_eq!(message[1].0, 3);
    assert_eq!(numbers(&message[1].1), BTreeSet::from([2, 5, 6]));
    let options = fields(&message[1].1);
    let account_id = account.id.to_string();
    let option = [
        field(
            1,
            &[field(1, b"keyward-account"), field(2, account_id.as_bytes())].concat(),
        ),
        vec![3 << 3, 2],
    ];
    assert!(options.contains(&(2, option.concat())));
    assert!(options.contains(&(5, b"x-api-key".to_vec())));

    let denied = raw(&world, METHOD, framed(&written_out("pk_live_x")));
    assert_eq!(denied.grpc_status(), "0");
    let message = fields(&denied.body[5..]);
    assert_eq!(fields(&message[0].1)[0], (1, b"16".to_vec()));
    assert_eq!(message[1].0, 2);
    let denied = fields(&message[1].1);
    assert_eq!(denied[0], (1, vec![1 << 3, 0x91, 3]), "status 401");
    assert_eq!(numbers(&message[1].1), BTreeSet::from([1, 2, 3]));
}

#[test]
fn what_is_no_question_is_answered_by_a_grpc_status_and_never_by_a_permission() {
    let world = World::start(&Keys::new(), ROUTE);
    let check = |path: &str, body: Vec<u8>, expected: &str| {
        let answer = raw(&world, path, body);
        assert_eq!((answer.status, answer.grpc_status()), (200, expected), "{path}");
        assert!(answer.body.is_empty());
    };
    check("/envoy.service.auth.v2.Authorization/Check", framed(b""), "12");
    check(METHOD, vec![], "13");
    check(METHOD, vec![0, 0, 0], "13");
    check(METHOD, vec![0, 0, 0, 0, 9, 1], "13");
    check(METHOD, vec![1, 0, 0, 0, 0], "12");
    check(METHOD, framed(&[0xff; 30]), "13");
    check(METHOD, framed(&vec![0; 2 << 20]), "8");
    check(METHOD, vec![0, 0xff, 0xff, 0xff, 0xff], "8");
    check(METHOD, [framed(b""), framed(b"")].concat(), "13");
    // Nothing to decide on.
    check(METHOD, framed(b""), "3");
    let malformed = field(
        1,
        &field(4, &field(2, &[field(2, b"G E T"), field(4, b"/")].concat())),
    );
    check(METHOD, framed(&malformed), "3");
    let fragment = field(
        1,
        &field(4, &field(2, &[field(2, b"GET"), field(4, b"/a#/../b")].concat())),
    );
    check(METHOD, framed(&fragment), "3");
}

#[test]
fn grpc_is_spoken_by_post_over_http_2_within_the_bounds_of_a_head() {
    use std::io::Write;
    let world = World::start(&Keys::new(), &format!("{ROUTE}\n[bounds]\nheaders = 20\n"));
    let question = framed(&written_out("pk_live_x"));
    let mut stream = super::connect(&world);
    let head = format!(
        "POST {METHOD} HTTP/1.1\r\nhost: keyward\r\ncontent-type: application/grpc\r\ncontent-length: {}\r\n\r\n",
        question.len()
    );
    stream.write_all(&[head.as_bytes(), &question].concat()).unwrap();
    let answer = read_answer(&mut stream);
    assert_eq!((answer.status, answer.code().as_str()), (400, "INVALID_INPUT"));
    let status = |method: &str, headers: usize| {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://keyward{METHOD}"))
            .header("content-type", "application/grpc");
        let request = (0..headers).fold(request, |request, at| request.header(format!("x-{at}"), "y"));
        bodiless(&world, request.body(()).unwrap())
    };
    assert_eq!((status("GET", 0), status("POST", 0)), (400, 200));
    assert_eq!((status("POST", 15), status("POST", 25)), (200, 431));
}

/// The HTTP status of the answer to a request over HTTP/2 that has no body.
fn bodiless(world: &World, request: Request<()>) -> u16 {
    let authz = world.authz;
    world.runtime.block_on(async move {
        let stream = tokio::net::TcpStream::connect(authz).await.unwrap();
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let (answer, _) = client.send_request(request, true).unwrap();
        let status = answer.await.unwrap().status().as_u16();
        connection.abort();
        status
    })
}

#[test]
fn its_health_can_be_asked() {
    let world = World::start(&Keys::new(), ROUTE);
    let ask = |service: &[u8]| raw(&world, "/grpc.health.v1.Health/Check", framed(&field(1, service)));
    let whole = ask(b"");
    assert_eq!(
        (whole.grpc_status(), &whole.body[..]),
        ("0", &[0, 0, 0, 0, 2, 1 << 3, 1][..])
    );
    assert_eq!(ask(b"envoy.service.auth.v3.Authorization").grpc_status(), "0");
    assert_eq!(ask(b"other").grpc_status(), "5");
}
