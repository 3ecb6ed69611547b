//! Which machine gets a call, through a real gateway of two workers.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keyward_contract::KeyKind;

use crate::cut::eventually;
use crate::fixture::{Key, Keys, World, get, read_answer};
use crate::scripted::{Machine, answer};
use crate::upstream_faults::{call, patient};

/// Machines that answer with their names; the first is only well while it is told to be.
fn four() -> (Vec<Machine>, Arc<AtomicBool>) {
    let is_well = Arc::new(AtomicBool::new(true));
    let well = Arc::clone(&is_well);
    let mut machines = vec![Machine::start(move |request, stream| {
        let status = if request.is_for("/up") && !well.load(Ordering::SeqCst) {
            500
        } else {
            200
        };
        answer(stream, status, "a")
    })];
    machines.extend(["b", "c", "d"].map(Machine::named));
    (machines, is_well)
}

fn addresses(machines: &[Machine]) -> Vec<SocketAddr> {
    machines.iter().map(|machine| machine.address).collect()
}

fn body(world: &World, headers: &[(&str, &str)]) -> String {
    String::from_utf8(world.get("/", headers).body).unwrap()
}

#[test]
fn in_turn_every_machine_gets_as_many() {
    let (machines, _) = four();
    let (world, key) = patient(&addresses(&machines), "balance = \"round-robin\"");
    let mut stream = world.connect();
    for _ in 0..40 {
        stream
            .write_all(get("/", &[("x-api-key", key.text())]).as_bytes())
            .unwrap();
        assert_eq!(read_answer(&mut stream).status, 200);
    }
    // One connection is one worker's.
    assert!(machines.iter().all(|machine| machine.seen("/").len() == 10));
}

#[test]
fn by_load_calls_that_last_are_spread_evenly() {
    let is_over = Arc::new(AtomicBool::new(false));
    let machine = || {
        let is_over = Arc::clone(&is_over);
        Machine::start(move |_, stream| {
            while !is_over.load(Ordering::SeqCst) {
                std::thread::park_timeout(std::time::Duration::from_millis(2));
            }
            answer(stream, 200, "over")
        })
    };
    let machines = [machine(), machine()];
    let (world, key) = patient(&addresses(&machines), "balance = \"least-requests\"");
    let mut calls = Vec::new();
    for count in 1..=12 {
        let mut stream = world.connect();
        stream
            .write_all(get("/", &[("x-api-key", key.text())]).as_bytes())
            .unwrap();
        calls.push(stream);
        let seen = || machines.each_ref().map(|machine| machine.seen("/").len());
        eventually("the call is at a machine", || {
            seen().iter().sum::<usize>() == count
        });
        // Of two machines both are always drawn.
        assert!(seen()[0].abs_diff(seen()[1]) <= 1, "{:?}", seen());
    }
    let in_flight = |world: &World| {
        let state = world.admin("/debug/state").json();
        let machines = state["upstreams"][0]["machines"].as_array().unwrap().clone();
        machines
            .iter()
            .map(|machine| machine["inFlight"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(in_flight(&world), [6, 6]);
    is_over.store(true, Ordering::SeqCst);
    for mut stream in calls {
        assert_eq!(read_answer(&mut stream).body, b"over");
    }
    eventually("no call in hand", || in_flight(&world) == [0, 0]);
}

#[test]
fn a_hash_of_a_header_keeps_callers_where_they_are_and_moves_only_those_of_a_machine_that_goes() {
    let (machines, is_well) = four();
    let (world, key) = patient(
        &addresses(&machines),
        "balance = { hash = \"header\", header = \"x-tenant\" }\n\
         health = { path = \"/up\", interval = \"50ms\", healthy = 1, unhealthy = 1 }",
    );
    let owners = || -> BTreeMap<usize, String> {
        (0..40)
            .map(|tenant| {
                let name = format!("tenant-{tenant}");
                (
                    tenant,
                    body(&world, &[("x-api-key", key.text()), ("x-tenant", &name)]),
                )
            })
            .collect()
    };
    let healthy = || world.metric("keyward_upstream_healthy{upstream=\"scripted\"}");
    let first = owners();
    assert_eq!(first.values().collect::<BTreeSet<_>>().len(), 4);
    assert_eq!(owners(), first);
    is_well.store(false, Ordering::SeqCst);
    eventually("one that is out", || healthy() == 3.0);
    let mut heirs = BTreeSet::new();
    for (tenant, owner) in owners() {
        if first[&tenant] == "a" {
            assert_ne!(owner, "a");
            heirs.insert(owner);
        } else {
            assert_eq!(owner, first[&tenant]);
        }
    }
    assert!(heirs.len() > 1, "{heirs:?}");
    is_well.store(true, Ordering::SeqCst);
    eventually("it is back", || healthy() == 4.0);
    assert_eq!(owners(), first);
}

/// A world with many keys, of which each also is another customer's.
fn with_keys(balance: &str, more: &str) -> (World, Vec<Machine>, Vec<(Key, Key)>) {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let mut pair = || {
        (
            keys.key(KeyKind::Account, &account, |_| {}),
            keys.key(KeyKind::Customer, &account, |_| {}),
        )
    };
    let pairs: Vec<_> = (0..16).map(|_| pair()).collect();
    let (machines, _) = four();
    let endpoints: Vec<_> = machines
        .iter()
        .map(|machine| format!("\"http://{}\"", machine.address))
        .collect();
    let endpoints = endpoints.join(", ");
    let world = World::start(
        &keys,
        &format!(
            "[[upstreams]]\nname = \"scripted\"\nendpoints = [{endpoints}]\nbalance = {balance}\n\
             [[routes]]\npath = \"/\"\nupstream = \"scripted\"\n{more}\n"
        ),
    );
    (world, machines, pairs)
}

#[test]
fn a_hash_of_the_key_goes_by_the_account_key_whoever_the_customer_is() {
    let (world, _machines, pairs) = with_keys("{ hash = \"key\" }", "");
    let owner = |account: &Key, customer: &Key| {
        body(
            &world,
            &[("x-api-key", account.text()), ("x-customer-key", customer.text())],
        )
    };
    let mut all = BTreeSet::new();
    for (account, _) in &pairs {
        let owners: BTreeSet<_> = pairs
            .iter()
            .take(4)
            .map(|(_, customer)| owner(account, customer))
            .collect();
        assert_eq!(owners.len(), 1);
        all.extend(owners);
    }
    assert!(all.len() > 1, "{all:?}");
}

#[test]
fn a_hash_of_the_customer_goes_by_the_customer_whatever_the_account_key_is() {
    let (world, _machines, pairs) = with_keys("{ hash = \"customer\" }", "");
    let owner = |account: &Key, customer: &Key| {
        body(
            &world,
            &[("x-api-key", account.text()), ("x-customer-key", customer.text())],
        )
    };
    let mut all = BTreeSet::new();
    for (_, customer) in &pairs {
        let owners: BTreeSet<_> = pairs
            .iter()
            .take(4)
            .map(|(account, _)| owner(account, customer))
            .collect();
        assert_eq!(owners.len(), 1);
        all.extend(owners);
    }
    assert!(all.len() > 1, "{all:?}");
}

#[test]
fn a_call_without_what_is_hashed_goes_by_its_address() {
    for balance in [
        "{ hash = \"key\" }",
        "{ hash = \"customer\" }",
        "{ hash = \"header\", header = \"x-tenant\" }",
    ] {
        let more =
            "require = \"none\"\n[[routes]]\npath = \"/x\"\nupstream = \"scripted\"\nrequire = \"none\"\n";
        let (world, _machines, _) = with_keys(balance, more);
        let owners: BTreeSet<_> = (0..12).map(|_| body(&world, &[])).collect();
        assert_eq!(owners.len(), 1, "{balance}: {owners:?}");
    }
}

#[test]
fn a_hash_of_the_address_goes_by_the_client_and_not_by_its_proxy() {
    let (machines, _) = four();
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let endpoints: Vec<_> = machines
        .iter()
        .map(|machine| format!("\"http://{}\"", machine.address))
        .collect();
    let world = World::start(
        &keys,
        &format!(
            "trusted_proxies = [\"127.0.0.1/32\"]\n[[upstreams]]\nname = \"scripted\"\nendpoints = [{}]\n\
             balance = {{ hash = \"address\" }}\n[[routes]]\npath = \"/\"\nupstream = \"scripted\"\nrequire = \"account\"\n",
            endpoints.join(", ")
        ),
    );
    let owner = |address: &str| body(&world, &[("x-api-key", key.text()), ("x-forwarded-for", address)]);
    let mut all = BTreeSet::new();
    for client in 0..16 {
        let address = format!("192.0.2.{client}");
        let first = owner(&address);
        assert_eq!(owner(&address), first);
        // IPv4 in IPv6 is the same client.
        assert_eq!(owner(&format!("::ffff:{address}")), first);
        all.insert(first);
    }
    assert!(all.len() > 1, "{all:?}");
    drop(call(&world, &key, "/"));
}
