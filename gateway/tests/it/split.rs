//! `routes.split`: a route's calls shared out to several upstreams.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use keyward_contract::KeyKind;

use crate::fixture::{Keys, World, get, read_answer};

/// A world with a route to `api` and `canary` by these weights, and the canary's address.
fn world(split: &str) -> (World, String, keyward_upstream::Running, tokio::runtime::Runtime) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let canary = keyward_upstream::Upstream::start("127.0.0.1:0".parse().unwrap());
    let canary = runtime.block_on(canary).unwrap();
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let address = canary.address();
    let world = World::start(
        &keys,
        &format!(
            "[[upstreams]]\nname = \"canary\"\nendpoints = [\"http://{address}\"]\n\
             [[routes]]\npath = \"/\"\nrequire = \"account\"\nsplit = {split}\n"
        ),
    );
    (world, key.text().to_owned(), canary, runtime)
}

fn calls(upstream: SocketAddr) -> u64 {
    let mut stream = TcpStream::connect(upstream).unwrap();
    stream.write_all(get("/count", &[]).as_bytes()).unwrap();
    read_answer(&mut stream).json()["count"].as_u64().unwrap()
}

/// So many calls on one connection, and so to one worker.
fn call(world: &World, key: &str, times: usize) -> Vec<u16> {
    let mut stream = world.connect();
    let mut statuses = Vec::new();
    for _ in 0..times {
        let request = get("/x", &[("x-api-key", key)]);
        stream.write_all(request.as_bytes()).unwrap();
        statuses.push(read_answer(&mut stream).status);
    }
    statuses
}

#[test]
fn each_upstream_gets_exactly_its_share_of_a_workers_calls() {
    let (world, key, canary, _runtime) =
        world("[{ upstream = \"api\", weight = 900 }, { upstream = \"canary\", weight = 100 }]");
    for round in 1..=4 {
        assert_eq!(call(&world, &key, 10), [200; 10]);
        assert_eq!(
            (world.upstream_calls(), calls(canary.address())),
            (9 * round, round)
        );
    }
    let page = String::from_utf8(world.admin("/metrics").body).unwrap();
    for (upstream, count) in [("api", 36), ("canary", 4)] {
        let line = format!(
            "keyward_upstream_requests_total{{upstream=\"{upstream}\",code_class=\"2xx\"}} {count}\n"
        );
        assert!(page.contains(&line), "{line}");
    }
}

#[test]
fn an_upstream_of_weight_nothing_gets_nothing() {
    let (world, key, canary, _runtime) =
        world("[{ upstream = \"api\", weight = 0 }, { upstream = \"canary\", weight = 1 }]");
    assert_eq!(call(&world, &key, 20), [200; 20]);
    assert_eq!((world.upstream_calls(), calls(canary.address())), (0, 20));
}

#[test]
fn no_upstream_silently_takes_the_calls_of_one_that_is_away() {
    let (world, key, canary, _runtime) = world(
        "[{ upstream = \"api\", weight = 2 }, { upstream = \"nobody\", weight = 1 }, { upstream = \"canary\", weight = 1 }]",
    );
    let statuses = call(&world, &key, 40);
    assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 10);
    assert_eq!((world.upstream_calls(), calls(canary.address())), (20, 10));
}
