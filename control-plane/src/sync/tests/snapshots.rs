//! Snapshots while changes go on, and how far the log reaches back.

use std::collections::BTreeMap;

use prost::Message;

use super::*;
use crate::store::Purpose;

type Holding = BTreeMap<Vec<u8>, Vec<u8>>;

fn hold(holding: &mut Holding, records: Vec<wire::Record>) {
    for record in records {
        let id = match record.record.as_ref().unwrap() {
            wire::record::Record::Account(account) => account.account_id.clone(),
            wire::record::Record::Key(key) => key.key_id.clone(),
        };
        holding.insert(id, record.encode_to_vec());
    }
}

async fn stored(store: &Store) -> Holding {
    let mut tx = store.begin_reading().await.unwrap();
    let accounts = records::account_records(&mut tx, None, 10_000, now())
        .await
        .unwrap();
    let keys = records::key_records(&mut tx, 0, 100_000).await.unwrap();
    let accounts = accounts.into_iter().map(Record::Account);
    let keys = keys.into_iter().map(|(_, key)| Record::Key(key));
    let mut holding = Holding::new();
    let records = accounts.chain(keys);
    hold(
        &mut holding,
        records.map(|record| wire::Record::from(&record)).collect(),
    );
    holding
}

/// Revokes a key as one change.
async fn revoke(plane: &Plane, key: &KeyRecord) -> u64 {
    let mut tx = plane.store.begin(Purpose::Change).await.unwrap();
    sqlx::query("UPDATE api_keys SET state = 'revoked' WHERE id = $1")
        .bind(key.id.to_string())
        .execute(&mut *tx)
        .await
        .unwrap();
    let revoked = KeyRecord {
        state: KeyState::Revoked,
        ..key.clone()
    };
    let revision = changes::append(&mut tx, now(), &[Record::Key(revoked)])
        .await
        .unwrap();
    tx.commit().await.unwrap();
    plane.gateways.announce(revision);
    revision
}

/// What a gateway would be sent of a new pass over the database.
async fn fresh_pass(store: &Store) -> (u64, Vec<wire::Record>) {
    let snapshots = snapshot::Snapshots::new(store.clone(), snapshot::folder(store));
    let mut snapshot = snapshots.begin(&Scope::default(), 0, 0);
    let mut records = Vec::new();
    loop {
        match snapshot.next().await.unwrap().unwrap() {
            snapshot::Piece::Begin(_) => {}
            snapshot::Piece::Records(frames::Outgoing::Encoded(piece)) => {
                let frame = ControlFrame::decode(piece).unwrap().frame;
                let Some(Frame::SnapshotChunk(chunk)) = frame else {
                    panic!("no piece");
                };
                records.extend(chunk.records);
            }
            snapshot::Piece::Records(other) => panic!("it was encoded for nobody else: {other:?}"),
            snapshot::Piece::End(end) => return (end.revision, records),
        }
    }
}

#[tokio::test]
async fn gateways_that_ask_while_writers_go_on_end_at_exactly_what_the_store_has() {
    let plane = Plane::start().await;
    let (_, keys) = plane.add_account(4_000).await;
    let last = 121;
    let writing = async {
        for round in 0..60 {
            revoke(&plane, &keys[round * 7]).await;
            plane.add_account(5).await;
        }
    };
    let following = (0..8u64).map(|number| {
        let plane = &plane;
        async move {
            // One after the other, while it goes on.
            while *plane.gateways.head().borrow() < number * 10 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            // Every other one is sent a pass of its own, the rest what there is.
            let id = format!("g{number}");
            let (mut gateway, mut revision, records) = if number % 2 == 0 {
                let mut gateway = plane.join(plane.hello(&id, 0)).await.unwrap();
                let (revision, records) = gateway.snapshot().await;
                (gateway, revision, records)
            } else {
                let (revision, records) = fresh_pass(&plane.store).await;
                let hello = plane.hello(&id, revision);
                (plane.join(hello).await.unwrap(), revision, records)
            };
            let (began, mut holding) = (revision, Holding::new());
            hold(&mut holding, records);
            while revision < last {
                let change = gateway.next_change().await;
                assert_eq!(change.revision, revision + 1);
                revision = change.revision;
                hold(&mut holding, change.records);
            }
            (began, holding)
        }
    });
    let ((), held) = tokio::join!(writing, futures_util::future::join_all(following));
    let expected = stored(&plane.store).await;
    assert_eq!(expected.len(), 4_001 + 60 * 6);
    for (began, holding) in &held {
        assert!(
            *holding == expected,
            "one that began at {began} holds something else"
        );
    }
    assert!(
        held.iter().any(|(began, _)| *began > 1),
        "nobody asked while they wrote"
    );
}

#[tokio::test]
async fn a_gateway_that_was_away_for_a_week_resumes_or_takes_a_snapshot_without_a_gap() {
    let plane = Plane::start().await;
    let (_, keys) = plane.add_account(50).await;
    for key in &keys[..20] {
        revoke(&plane, key).await;
    }
    let shutdown = plane.shutdown.clone();
    shutdown.cancel();
    // A week later; the log keeps what is of its last ten changes.
    let keep = changes::Keep {
        newest: 10,
        longest_ms: i64::MAX,
        shortest_ms: 1_000,
        after: u64::MAX,
    };
    let week = UnixMillis(now().0 + 7 * 86_400_000);
    assert_eq!(
        changes::compact(&plane.store, keep, week, 1_000).await.unwrap(),
        11
    );
    let plane = Plane::start_in(Arc::clone(&plane.folder), Duration::from_secs(1)).await;
    let expected = stored(&plane.store).await;
    for (held, is_in_log) in [(11, true), (15, true), (21, true), (10, false), (3, false)] {
        let mut gateway = plane
            .join(plane.hello(&format!("at-{held}"), held))
            .await
            .unwrap();
        let mut revision = held;
        if is_in_log {
            // Exactly what it lacks.
            while revision < 21 {
                let change = gateway.next_change().await;
                assert_eq!((change.revision, change.records.len()), (revision + 1, 1));
                revision = change.revision;
            }
        } else {
            let (revision, records) = gateway.snapshot().await;
            let mut holding = Holding::new();
            hold(&mut holding, records);
            assert_eq!(revision, 21);
            assert!(holding == expected);
        }
    }
    let revision = plane.commit().await;
    assert_eq!(revision, 22);
}

#[tokio::test]
async fn a_change_that_is_too_long_for_one_frame_goes_as_a_snapshot() {
    let plane = Plane::start().await;
    let (_, keys) = plane.add_account(1).await;
    let mut gateway = plane.join(plane.hello("a", 1)).await.unwrap();
    let long: Vec<Record> = vec![Record::Key(keys[0].clone()); 60_000];
    let mut tx = plane.store.begin(Purpose::Change).await.unwrap();
    let revision = changes::append(&mut tx, now(), &long).await.unwrap();
    tx.commit().await.unwrap();
    plane.gateways.announce(revision);
    let (at, records) = gateway.snapshot().await;
    assert_eq!((at, records.len()), (revision, 2));
    gateway.acknowledge(at).await;
    assert_eq!(
        plane.gateways.acknowledged(revision).await.to_string(),
        "complete; gateways=1"
    );
    let next = plane.commit().await;
    assert_eq!(gateway.next_change().await.revision, next);
}
