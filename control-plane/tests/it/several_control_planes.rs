//! Several control planes on one PostgreSQL: what one does holds on all, and none lies about the gateways of another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyward_contract::feed::{Hello, Record};
use keyward_contract::{KeyRecord, UnixMillis};
use keyward_control_plane::ControlPlane;
use keyward_control_plane::store::{Purpose, changes, records};
use serde_json::{Value, json};
use tonic::Code;

use crate::gateway::{Gateway, Shown, hello};
use crate::gateway_access::let_in;
use crate::plane::{Company, Plane, config};
use crate::promises::beside;

async fn two() -> (Plane, Plane) {
    let a = Plane::start().await;
    let b = another(&a).await;
    (a, b)
}

/// Another control plane on the same database, with the same secrets.
async fn another(plane: &Plane) -> Plane {
    Plane {
        running: ControlPlane::start(config(&plane.folder)).await.unwrap(),
        folder: Arc::clone(&plane.folder),
        owner: plane.owner.clone(),
        config: plane.config.clone(),
        client: plane.client.clone(),
    }
}

/// Makes an end customer, and says how far that has come.
async fn change(plane: &Plane, company: &Company, name: &str) -> (u64, String) {
    let call = plane.call("POST", "/customers").key(&company.live);
    let made = call
        .json(&json!({"name": name}))
        .send_among_gateways()
        .await
        .expect(201);
    let revision = made.header("keyward-revision").unwrap().parse().unwrap();
    (revision, made.header("keyward-propagation").unwrap().to_owned())
}

async fn gateways(plane: &Plane) -> Value {
    let mut list = plane
        .admin("GET", "/admin/gateways")
        .send()
        .await
        .expect(200)
        .json();
    list["gateways"].take()
}

async fn run(plane: &Plane, statement: &'static str) {
    sqlx::query(statement)
        .execute(&beside(plane).await)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_commit_is_heard_by_the_other_control_plane_at_once() {
    let (a, b) = two().await;
    a.company("Acme").await;
    let gateway = Gateway::join(&b, hello("edge-b", 1)).await.unwrap();
    // Its acknowledgements are written down at once, with a look at the log.
    gateway.mute();
    let store = &a.running.registry().store;
    let mut took = Vec::new();
    for _ in 0..21 {
        let mut tx = store.begin(Purpose::Change).await.unwrap();
        let revision = changes::append(&mut tx, UnixMillis(1), &[]).await.unwrap();
        let began = Instant::now();
        tx.commit().await.unwrap();
        b.eventually(async || gateway.came(revision).is_some()).await;
        took.push(gateway.came(revision).unwrap().saturating_duration_since(began));
    }
    took.sort();
    println!(
        "a commit is at a gateway of another control plane in {:?} (median)",
        took[10]
    );
    // Looking once a second would take half of one.
    assert!(took[10] < Duration::from_millis(250), "{took:?}");
}

#[tokio::test]
async fn complete_means_every_gateway_of_every_control_plane() {
    let (a, b) = two().await;
    let company = a.company("Acme").await;
    let at_a = Gateway::join(&a, hello("edge-a", 1)).await.unwrap();
    let at_b = Gateway::join(&b, hello("edge-b", 1)).await.unwrap();
    for (plane, name) in [(&a, "One"), (&b, "Two"), (&a, "Three")] {
        let (revision, propagation) = change(plane, &company, name).await;
        assert_eq!(propagation, "complete; gateways=2");
        assert!(at_a.came(revision).is_some() && at_b.came(revision).is_some());
    }
    // One that has joined the other a moment ago counts.
    let late = Gateway::join(&b, hello("edge-c", 1)).await.unwrap();
    assert_eq!(change(&a, &company, "Four").await.1, "complete; gateways=3");
    late.say_goodbye().await;
    a.eventually(async || gateways(&a).await[2]["state"] == "stopped")
        .await;
    assert_eq!(change(&a, &company, "Five").await.1, "complete; gateways=2");

    at_b.mute();
    assert_eq!(
        change(&a, &company, "Six").await.1,
        "partial; gateways=1; missing=edge-b"
    );
    assert_eq!(
        change(&b, &company, "Seven").await.1,
        "partial; gateways=1; missing=edge-b"
    );
    for plane in [&a, &b] {
        let list = gateways(plane).await;
        assert_eq!(
            (
                &list[0]["gateway_id"],
                &list[0]["state"],
                &list[1]["gateway_id"],
                &list[1]["state"]
            ),
            (
                &json!("edge-a"),
                &json!("connected"),
                &json!("edge-b"),
                &json!("connected")
            )
        );
        assert!(list[1]["lag_seconds"].as_f64().unwrap() > 0.0, "{list}");
        assert_eq!(list[1]["address"], "192.0.2.1:8080");
    }
}

#[tokio::test]
async fn a_storm_of_changes_on_both_is_complete_everywhere() {
    let (a, b) = two().await;
    let company = a.company("Acme").await;
    let mut all = Vec::new();
    for number in 0..20 {
        let plane = if number % 2 == 0 { &a } else { &b };
        all.push(
            Gateway::join(plane, hello(&format!("edge-{number}"), 1))
                .await
                .unwrap(),
        );
    }
    let calls = (0..40).map(|number| {
        let plane = if number % 2 == 0 { &a } else { &b };
        let (company, all) = (&company, &all);
        async move {
            let (revision, propagation) = change(plane, company, &format!("Customer {number}")).await;
            assert_eq!(propagation, "complete; gateways=20");
            assert!(all.iter().all(|gateway| gateway.came(revision).is_some()));
        }
    });
    futures_util::future::join_all(calls).await;
}

#[tokio::test]
async fn a_dead_control_planes_gateways_count_for_ten_seconds() {
    let a = Plane::start().await;
    let company = a.company("Acme").await;
    // It was alive a moment ago, and had a gateway.
    run(
        &a,
        "INSERT INTO control_planes (id, renewed_at) \
         VALUES ('dead', CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT) - 1000)",
    )
    .await;
    run(
        &a,
        "INSERT INTO gateways (id, control_plane, session, boot_epoch, address, version, state, revision, refused, \
         heard_at) SELECT 'edge-x', id, 1, 1, '', '', 'connected', 1, '[]', renewed_at FROM control_planes \
         WHERE id = 'dead'",
    )
    .await;
    assert_eq!(
        change(&a, &company, "One").await.1,
        "partial; gateways=0; missing=edge-x"
    );
    assert_eq!(gateways(&a).await[0]["state"], "connected");
    run(&a, "UPDATE gateways SET heard_at = heard_at - 9500").await;
    // Its control plane was heard later than itself.
    assert_eq!(
        change(&a, &company, "Two").await.1,
        "partial; gateways=0; missing=edge-x"
    );
    run(
        &a,
        "UPDATE control_planes SET renewed_at = renewed_at - 9500 WHERE id = 'dead'",
    )
    .await;
    assert_eq!(change(&a, &company, "Three").await.1, "complete; gateways=0");
    assert_eq!(gateways(&a).await[0]["state"], "disconnected");
}

#[tokio::test]
async fn a_gateways_id_is_its_own_on_all_control_planes() {
    let (a, b) = two().await;
    a.company("Acme").await;
    let first = Gateway::join(&a, hello("edge-1", 5)).await.unwrap();
    for boot in [4, 6] {
        let second = Gateway::join(&b, hello("edge-1", boot)).await;
        assert_eq!(
            second.err().map(|status| status.code()),
            Some(Code::AlreadyExists)
        );
    }
    // The same start of the same gateway has moved over: the stream that it left ends.
    let moved = Gateway::join(&b, hello("edge-1", 5)).await.unwrap();
    assert_eq!(first.end().await.code(), Code::AlreadyExists);
    a.eventually(async || {
        let list = gateways(&a).await;
        list.as_array().unwrap().len() == 1 && list[0]["state"] == "connected"
    })
    .await;
    // Its stream is closed: another start of it gets in, wherever.
    drop(moved);
    a.eventually(async || Gateway::join(&a, hello("edge-1", 6)).await.is_ok())
        .await;
    a.eventually(async || Gateway::join(&b, hello("edge-1", 7)).await.is_ok())
        .await;
}

#[tokio::test]
async fn a_held_snapshot_is_shown_and_confirmed_on_any_control_plane() {
    let (a, b) = two().await;
    let company = a.company("Acme").await;
    let gateway = Gateway::join(&a, hello("edge-a", 1)).await.unwrap();
    let (revision, _) = gateway.snapshot();
    gateway.hold(revision, 120, 90).await;
    let is = |state: &'static str| {
        let b = &b;
        async move || gateways(b).await[0]["state"] == state
    };
    b.eventually(is("holding")).await;
    assert_eq!(
        gateways(&b).await[0]["held_snapshot"],
        json!({"revision": revision, "held_keys": 120, "dropped_keys": 90})
    );
    // Neither waits for it.
    for (plane, name) in [(&a, "One"), (&b, "Two")] {
        assert_eq!(
            change(plane, &company, name).await.1,
            "partial; gateways=0; missing=edge-a"
        );
    }
    let confirm = b.admin("POST", "/admin/gateways/edge-a/confirm-snapshot");
    let confirm = confirm.json(&json!({"revision": revision})).send_among_gateways();
    confirm.await.expect(202);
    b.eventually(async || gateway.is_confirmed()).await;
    b.eventually(is("connected")).await;
    assert_eq!(change(&b, &company, "Three").await.1, "complete; gateways=1");
}

#[tokio::test]
async fn a_heartbeat_is_echoed_once_other_control_planes_know_of_it() {
    let (a, _b) = two().await;
    a.company("Acme").await;
    let denying = Hello {
        max_staleness_ms: 3_000,
        denies_when_stale: true,
        ..hello("edge-1", 1)
    };
    let gateway = Gateway::join(&a, denying).await.unwrap();
    a.eventually(async || gateway.echo() >= 3).await;
    // While nothing can be written down, nothing is echoed.
    let database = beside(&a).await;
    let mut holder = database.begin().await.unwrap();
    sqlx::query("LOCK TABLE gateways IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *holder)
        .await
        .unwrap();
    let stuck = gateway.echo();
    let echoed = tokio::time::timeout(Duration::from_secs(2), async {
        // One may have been written down just before.
        while gateway.echo() <= stuck + 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(echoed.await.is_err(), "echoed {} after {stuck}", gateway.echo());
    holder.rollback().await.unwrap();
    a.eventually(async || gateway.echo() > stuck + 5).await;
}

#[tokio::test]
async fn each_gateway_is_told_what_is_spent_at_other_control_planes() {
    let (a, b) = two().await;
    let company = a.company("Acme").await;
    let account = company.id.parse().unwrap();
    let at_a = Gateway::join(&a, hello("edge-a", 1)).await.unwrap();
    let at_b = Gateway::join(&b, hello("edge-b", 1)).await.unwrap();
    for (mine, others) in [(5, 7), (11, 13)] {
        at_a.report(account, mine).await;
        at_b.report(account, others).await;
        a.eventually(async || at_a.spent_elsewhere(account) == Some(others))
            .await;
        b.eventually(async || at_b.spent_elsewhere(account) == Some(mine))
            .await;
    }
}

#[tokio::test]
async fn the_parts_of_a_quota_are_the_same_on_all_control_planes_wherever_a_gateway_goes() {
    let (a, b) = two().await;
    let company = a.company("Acme").await;
    let account = company.id.parse().unwrap();
    let named = |named: &[(&str, u64)]| -> Vec<(String, u64)> {
        named.iter().map(|(id, used)| ((*id).to_owned(), *used)).collect()
    };
    let moving = Gateway::join(&a, hello("edge-1", 1)).await.unwrap();
    let second = Gateway::join(&a, hello("edge-2", 1)).await.unwrap();
    let third = Gateway::join(&b, hello("edge-3", 1)).await.unwrap();
    moving.report(account, 5).await;
    second.report(account, 7).await;
    third.report(account, 11).await;
    a.eventually(async || {
        moving.quota(account) == Some((18, 0, named(&[("edge-2", 7), ("edge-3", 11)]), 0))
            && third.quota(account) == Some((12, 0, named(&[("edge-1", 5), ("edge-2", 7)]), 0))
    })
    .await;
    // The same start of it, on the other control plane, and then the next one.
    drop(moving);
    let moving = join_again(&b, 1).await;
    moving.report(account, 6).await;
    a.eventually(async || {
        moving.quota(account) == Some((18, 0, named(&[("edge-2", 7), ("edge-3", 11)]), 0))
            && second.quota(account) == Some((17, 0, named(&[("edge-1", 6), ("edge-3", 11)]), 0))
    })
    .await;
    drop(moving);
    let moving = join_again(&a, 2).await;
    moving.report(account, 100).await;
    a.eventually(async || {
        moving.quota(account) == Some((24, 6, named(&[("edge-2", 7), ("edge-3", 11)]), 0))
            && third.quota(account) == Some((113, 0, named(&[("edge-1", 106), ("edge-2", 7)]), 0))
    })
    .await;
}

/// As soon as its place is free.
async fn join_again(plane: &Plane, boot: u64) -> Gateway {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match Gateway::join(plane, hello("edge-1", boot)).await {
            Ok(gateway) => return gateway,
            Err(status) => assert!(Instant::now() < deadline, "{status}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_repeat_on_another_control_plane_gets_the_first_answer() {
    let (a, b) = two().await;
    let company = a.company("Acme").await;
    let create = async |plane: &Plane, key: &str| {
        let call = plane
            .call("POST", "/customers")
            .key(&company.live)
            .header("idempotency-key", key);
        call.json(&json!({"name": format!("Customer {key}")}))
            .send()
            .await
    };
    let first = create(&a, "one").await.expect(201);
    let repeat = create(&b, "one").await.expect(201);
    assert_eq!(repeat.header("idempotent-replayed"), Some("true"));
    assert_eq!(repeat.text, first.text);
    // Of many at once on both, one acts.
    let calls = (0..30).map(|number| create(if number % 2 == 0 { &a } else { &b }, "two"));
    let answers = futures_util::future::join_all(calls).await;
    let (made, running): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
    assert!(running.iter().all(|answer| answer.status == 409), "{running:?}");
    let ids: BTreeSet<_> = made
        .iter()
        .map(|answer| answer.json()["id"].to_string())
        .collect();
    assert_eq!(ids.len(), 1);
    let list = a
        .call("GET", "/customers")
        .key(&company.live)
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(list["total"], 2);
}

#[tokio::test]
async fn a_call_that_runs_on_a_living_control_plane_is_not_forgotten_by_one_that_starts() {
    let a = Plane::start().await;
    let database = beside(&a).await;
    for (key, control_plane) in [
        ("living", a.running.registry().gateways.control_plane()),
        ("dead", "dead"),
    ] {
        sqlx::query(
            "INSERT INTO idempotency (scope, key, claim, control_plane, body_hash, created_at) \
             VALUES ('s', $1, 'c', $2, $3, 9000000000000)",
        )
        .bind(key)
        .bind(control_plane)
        .bind(vec![0u8])
        .execute(&database)
        .await
        .unwrap();
    }
    let _b = another(&a).await;
    let left: Vec<(String,)> = sqlx::query_as("SELECT key FROM idempotency")
        .fetch_all(&database)
        .await
        .unwrap();
    assert_eq!(left, [("living".to_owned(),)]);
}

#[tokio::test]
async fn a_call_that_was_taken_for_dead_no_longer_acts() {
    let (a, b) = two().await;
    let company = a.company("Acme").await;
    let create = async |plane: &Plane| {
        let call = plane.call("POST", "/customers").key(&company.live);
        call.header("idempotency-key", "one")
            .json(&json!({"name": "Uni"}))
            .send()
            .await
    };
    // The call on A claims its key and then waits for the change before it.
    let mut holder = a.running.registry().store.begin(Purpose::Change).await.unwrap();
    let waiting = create(&a);
    let database = beside(&a).await;
    let claimed = async || {
        let row = sqlx::query("SELECT key FROM idempotency")
            .fetch_optional(&database)
            .await;
        row.unwrap().is_some()
    };
    let (answer, ()) = tokio::join!(waiting, async {
        a.eventually(claimed).await;
        run(&a, "DELETE FROM idempotency").await;
        changes::head_in(&mut holder).await.unwrap();
        holder.rollback().await.unwrap();
    });
    answer.expect_code(503, "SERVICE_UNAVAILABLE");
    let made = create(&b).await.expect(201);
    assert!(made.header("idempotent-replayed").is_none());
}

/// Everything that both control planes write at once is in the log once and in order, and followers of either end up
/// with exactly what the store holds, also those that came with an empty disk while it was written.
#[tokio::test]
async fn writers_on_two_control_planes_leave_one_gapless_log() {
    let (a, b) = two().await;
    let company = a.company("Acme").await;
    let mut followers = vec![
        Gateway::join(&a, hello("edge-a", 1)).await.unwrap(),
        Gateway::join(&b, hello("edge-b", 1)).await.unwrap(),
    ];
    let late = (1..=4u64).map(|number| {
        let (plane, early) = (if number % 2 == 0 { &a } else { &b }, &followers[0]);
        async move {
            plane.eventually(async || early.came(number * 40).is_some()).await;
            let hello = hello(&format!("late-{number}"), 1);
            Gateway::join(plane, hello).await.unwrap()
        }
    });
    let writers = (0..8).map(|writer| {
        let (plane, company) = (if writer % 2 == 0 { &a } else { &b }, &company);
        async move { write_much(plane, company, writer).await }
    });
    let (_, late) = tokio::join!(
        futures_util::future::join_all(writers),
        futures_util::future::join_all(late)
    );
    assert!(late.iter().all(|gateway| gateway.snapshot().0 >= 40));
    followers.extend(late);

    let store = &a.running.registry().store;
    let head = changes::head(store).await.unwrap();
    assert!(head > 200, "only {head} changes");
    let log = changes::after(store, 0, u32::MAX).await.unwrap();
    let revisions: Vec<u64> = log.iter().map(|(revision, _)| *revision).collect();
    assert_eq!(revisions, (1..=head).collect::<Vec<_>>());
    let stored = stored_keys(&a).await;
    for follower in &followers {
        a.eventually(async || follower.came(head).is_some()).await;
        let (start, snapshot) = follower.snapshot();
        let sent: Vec<u64> = follower.changes().iter().map(|change| change.revision).collect();
        assert_eq!(sent, (start + 1..=head).collect::<Vec<_>>());
        let mut held = BTreeMap::new();
        let changed = follower.changes().into_iter().flat_map(|change| change.records);
        for record in snapshot.into_iter().chain(changed) {
            hold(&mut held, record);
        }
        assert_eq!(held, stored);
    }
    let numbers: Vec<(i64,)> = sqlx::query_as("SELECT number FROM api_keys ORDER BY number")
        .fetch_all(store.readers())
        .await
        .unwrap();
    let expected: Vec<(i64,)> = (1..=i64::try_from(numbers.len()).unwrap())
        .map(|number| (number,))
        .collect();
    assert_eq!(numbers, expected);
    let audited: Vec<(i64,)> = sqlx::query_as("SELECT number FROM audit ORDER BY number")
        .fetch_all(store.readers())
        .await
        .unwrap();
    assert_eq!(audited.len() as u64, head, "one row a change");
    assert!(
        audited
            .iter()
            .zip(1..)
            .all(|((number,), expected)| *number == expected)
    );
}

#[tokio::test]
async fn a_log_that_is_not_the_one_that_it_was_begins_anew_on_all_control_planes() {
    let (a, b) = two().await;
    let company = a.company("Acme").await;
    let at_b = Gateway::join(&b, hello("edge-b", 1)).await.unwrap();
    let store = &a.running.registry().store;
    let before = records::feed_epoch(store).await.unwrap();
    // It holds what the database had before it was restored.
    let knows_more = Hello {
        revision: 1_000,
        history: vec![7; 32],
        ..hello("edge-a", 1)
    };
    let began = Instant::now();
    let at_a = Gateway::join(&a, knows_more).await.unwrap();
    let ended = at_b.end().await;
    assert_eq!(ended.code(), Code::Aborted, "{ended}");
    assert!(began.elapsed() < Duration::from_secs(5));
    let after = records::feed_epoch(store).await.unwrap();
    assert_ne!(before, after);
    // It is sent a snapshot, and both control planes go on.
    a.eventually(async || at_a.snapshot().0 > 0).await;
    let at_b = Gateway::join(&b, hello("edge-b", 2)).await.unwrap();
    for plane in [&a, &b] {
        let name = if std::ptr::eq(plane, &a) { "One" } else { "Two" };
        let (revision, propagation) = change(plane, &company, name).await;
        assert_eq!(propagation, "complete; gateways=2");
        assert!(at_a.came(revision).is_some() && at_b.came(revision).is_some());
    }
    assert_eq!(records::feed_epoch(store).await.unwrap(), after);
}

/// Several kinds of changes, some of which meet the other writers'.
async fn write_much(plane: &Plane, company: &Company, writer: usize) {
    for round in 0..8 {
        let name = format!("Customer {writer} {round}");
        let call = plane.call("POST", "/customers").key(&company.live);
        let made = call
            .json(&json!({"name": name}))
            .send_among_gateways()
            .await
            .expect(201)
            .json();
        let path = format!("/customers/{}", made["id"].as_str().unwrap());
        let rotate = plane
            .call("POST", format!("{path}/rotate-key"))
            .key(&company.live);
        rotate.send_among_gateways().await.expect(200);
        let tier = ["scale", "growth", "starter"][(writer + round) % 3];
        let update = plane.admin("PUT", format!("/admin/customers/{}", company.id));
        update
            .json(&json!({"tier": tier}))
            .send_among_gateways()
            .await
            .expect(200);
        if round % 2 == 0 {
            let delete = plane.call("DELETE", &path).key(&company.live);
            assert!(delete.send_among_gateways().await.status.is_success());
        }
        let keys = format!("/admin/customers/{}/api-keys", company.id);
        let issue = plane.admin("POST", keys).json(&json!({"environment": "test"}));
        issue.send_among_gateways().await.expect(201);
    }
}

type Held = BTreeMap<Vec<u8>, String>;

fn hold(held: &mut Held, record: Record) {
    let record = keyward_contract::Record::try_from(record).unwrap();
    let id = match &record {
        keyward_contract::Record::Account(account) => account.id.as_uuid().as_bytes().to_vec(),
        keyward_contract::Record::Key(key) => key.id.as_uuid().as_bytes().to_vec(),
    };
    held.insert(id, format!("{record:?}"));
}

async fn stored_keys(plane: &Plane) -> Held {
    let mut tx = plane.running.registry().store.begin_reading().await.unwrap();
    let now = plane.running.registry().clock.now();
    let accounts = records::account_records(&mut tx, None, 1_000, now).await.unwrap();
    let keys: Vec<(i64, KeyRecord)> = records::key_records(&mut tx, 0, 10_000).await.unwrap();
    let accounts = accounts.into_iter().map(keyward_contract::Record::Account);
    let keys = keys
        .into_iter()
        .map(|(_, key)| keyward_contract::Record::Key(key));
    let mut held = Held::new();
    for record in accounts.chain(keys) {
        let id = match &record {
            keyward_contract::Record::Account(account) => account.id.as_uuid().as_bytes().to_vec(),
            keyward_contract::Record::Key(key) => key.id.as_uuid().as_bytes().to_vec(),
        };
        held.insert(id, format!("{record:?}"));
    }
    held
}

#[tokio::test]
async fn a_gateways_token_that_is_deleted_on_one_ends_its_stream_on_the_other_at_once() {
    let (a, b) = two().await;
    let mut took = Vec::new();
    for boot in 1..=5 {
        let made = a.admin("POST", "/admin/gateways/edge-b/tokens");
        let made = made.send_among_gateways().await.expect(201).json();
        let shown = Shown::token(made["token"].as_str().unwrap());
        let gateway = let_in(&b, "edge-b", boot, &shown).await;
        let id = made["token_id"].as_str().unwrap();
        let path = format!("/admin/gateways/edge-b/tokens/{id}");
        let began = Instant::now();
        let deleting = a.admin("DELETE", path).send_among_gateways();
        let (_, end) = tokio::join!(deleting, async {
            let end = gateway.end().await;
            took.push(began.elapsed());
            end
        });
        assert_eq!(end.code(), Code::Unauthenticated, "{end:?}");
    }
    took.sort();
    // Looking once a second would take half of one.
    assert!(took[2] < Duration::from_millis(250), "{took:?}");
    let blocking = b
        .admin("PUT", "/admin/gateways/edge-c")
        .json(&json!({"blocked": true}));
    blocking.send_among_gateways().await.expect(200);
    a.eventually(async || {
        let refused = Gateway::join(&a, hello("edge-c", 1)).await.err();
        refused.is_some_and(|status| status.code() == Code::PermissionDenied)
    })
    .await;
}
