//! Snapshots that would drop more than half of the keys, and what may be in a snapshot at all.

use super::*;

/// Frames of a snapshot that says its number of records where it likes.
struct Snapshot {
    revision: u64,
    records: Vec<Record>,
    begin: u64,
    end: u64,
    confirmed: bool,
}

impl Snapshot {
    fn of(revision: u64, records: Vec<Record>) -> Self {
        Self {
            revision,
            begin: 0,
            end: records.len() as u64,
            confirmed: false,
            records,
        }
    }

    async fn say(self, peer: &Peer) {
        let Self {
            revision,
            records,
            begin,
            end,
            confirmed,
        } = self;
        peer.say(down::Frame::SnapshotBegin(SnapshotBegin {
            revision,
            records: begin,
            confirmed,
            ..SnapshotBegin::default()
        }))
        .await;
        for chunk in records.chunks(50) {
            let records = chunk.to_vec();
            peer.say(down::Frame::SnapshotChunk(SnapshotChunk { records }))
                .await;
        }
        peer.say(down::Frame::SnapshotEnd(SnapshotEnd {
            revision,
            records: end,
        }))
        .await;
    }
}

impl Peer {
    async fn held(&mut self) -> feed::SnapshotHeld {
        match self.next().await {
            up::Frame::SnapshotHeld(held) => held,
            other => panic!("nothing is held but {other:?}"),
        }
    }
}

/// An account and its keys `k0`, `k1`, ….
fn keys(account: &AccountRecord, numbers: std::ops::Range<usize>) -> Vec<Record> {
    let keys = numbers.map(|at| key(account, &format!("k{at}"), KeyState::Active));
    std::iter::once(account_record(account)).chain(keys).collect()
}

/// A gateway that has taken keys `k0` to `k119` at revision 5.
async fn holding_120(plane: &mut ControlPlane, disk: &Disk) -> (Gateway, Peer, AccountRecord) {
    let gateway = disk.start(&[plane.address]);
    let (mut peer, _) = plane.welcome().await;
    let account = account();
    peer.snapshot(5, keys(&account, 0..120)).await;
    assert_eq!(peer.acknowledged().await, 5);
    (gateway, peer, account)
}

fn state(gateway: &Gateway) -> &'static str {
    gateway.state.status(Duration::ZERO).state
}

#[tokio::test]
async fn a_snapshot_that_would_drop_more_than_half_of_the_keys_waits_for_confirmation() {
    let (mut plane, disk) = (ControlPlane::start().await, Disk::new());
    let (gateway, mut peer, account) = holding_120(&mut plane, &disk).await;
    // As many records as before, but other keys: it is the held ones that count.
    Snapshot::of(9, keys(&account, 61..300)).say(&peer).await;
    assert_eq!(
        peer.held().await,
        feed::SnapshotHeld {
            revision: 9,
            held: 120,
            dropped: 61
        }
    );
    assert_eq!(
        (state(&gateway), gateway.keys.position().revision),
        ("holding", 5)
    );
    assert_eq!(
        gateway.state.detail(Duration::ZERO)["heldSnapshot"],
        serde_json::json!({"revision": 9, "keys": 120, "dropped": 61})
    );
    assert_eq!(gateway.knows("k0"), Some(KeyState::Active));
    assert_eq!(gateway.knows("k299"), None);

    // The next stream begins where this one did.
    drop(peer);
    let (mut peer, hello) = plane.welcome().await;
    assert_eq!(hello.revision, 5);
    Snapshot::of(10, keys(&account, 61..300)).say(&peer).await;
    assert_eq!(peer.held().await.revision, 10);
    let confirmed = Snapshot {
        confirmed: true,
        ..Snapshot::of(11, keys(&account, 61..300))
    };
    confirmed.say(&peer).await;
    assert_eq!(peer.acknowledged().await, 11);
    assert_eq!(
        (gateway.knows("k0"), gateway.knows("k299")),
        (None, Some(KeyState::Active))
    );
    assert_eq!((state(&gateway), gateway.state.held()), ("syncing", None));
    peer.change(12, vec![key(&account, "k300", KeyState::Active)])
        .await;
    assert_eq!(peer.acknowledged().await, 12);
}

#[tokio::test]
async fn what_takes_rights_away_is_in_force_while_a_snapshot_is_held_and_nothing_else_is() {
    let (mut plane, disk) = (ControlPlane::start().await, Disk::new());
    let (gateway, mut peer, account) = holding_120(&mut plane, &disk).await;
    let mut records = keys(&account, 0..20);
    records[1] = key(&account, "k0", KeyState::Revoked);
    records.push(key(&account, "new", KeyState::Active));
    Snapshot::of(9, records).say(&peer).await;
    assert_eq!(peer.held().await.dropped, 100);
    let known = |name: &str| gateway.knows(name);
    assert_eq!(
        (known("k0"), known("k1"), known("k119")),
        (
            Some(KeyState::Revoked),
            Some(KeyState::Active),
            Some(KeyState::Active)
        )
    );
    assert_eq!(known("new"), None);

    // So it is with changes; they are acknowledged no more than the snapshot is.
    let blank = Record {
        record: Some(feed::record::Record::Key(feed::Key::default())),
    };
    let many = vec![
        key(&account, "k119", KeyState::Revoked),
        key(&account, "k0", KeyState::Active),
        key(&account, "newer", KeyState::Active),
        blank,
    ];
    peer.change(10, many).await;
    let up::Frame::Refusal(refusal) = peer.next().await else {
        panic!("no refusal")
    };
    assert_eq!(
        (refusal.revision, refusal.reason.as_str()),
        (10, "digest is not 32 bytes")
    );
    assert_eq!(
        (known("k119"), known("k0"), known("newer")),
        (Some(KeyState::Revoked), Some(KeyState::Revoked), None)
    );
    let suspended = AccountRecord {
        status: AccountStatus::Suspended,
        ..account.clone()
    };
    peer.change(11, vec![account_record(&suspended)]).await;
    let looked_up = || {
        let (found, _) = gateway
            .keys
            .find_digest(&digest("k1"), &mut Recent::with_capacity(1));
        match found {
            Lookup::Known(key) => key.entry().account.policy().record.status,
            other => panic!("{other:?}"),
        }
    };
    eventually("the account is suspended", || {
        looked_up() == AccountStatus::Suspended
    })
    .await;
    assert_eq!(gateway.keys.position(), crate::keys::Position::new(EPOCH, 5));
    // Neither was acknowledged: a refusal is the next thing that is said.
    peer.change(12, vec![Record { record: None }]).await;
    let next = peer.next().await;
    assert!(
        matches!(&next, up::Frame::Refusal(refusal) if refusal.revision == 12),
        "{next:?}"
    );

    // A restart keeps what was taken away, and where it stood.
    gateway.stopped().await;
    let gateway = disk.start(&[plane.address]);
    assert_eq!(
        (gateway.knows("k119"), gateway.knows("k2")),
        (Some(KeyState::Revoked), Some(KeyState::Active))
    );
    let (_peer, hello) = plane.welcome().await;
    assert_eq!(hello.revision, 5);
}

#[tokio::test]
async fn a_gap_among_changes_to_a_held_snapshot_ends_the_stream() {
    let (mut plane, disk) = (ControlPlane::start().await, Disk::new());
    let (_gateway, mut peer, account) = holding_120(&mut plane, &disk).await;
    Snapshot::of(9, keys(&account, 0..20)).say(&peer).await;
    peer.held().await;
    peer.change(11, vec![]).await;
    // Of mere silence it would leave after five seconds.
    let left = tokio::time::timeout(Duration::from_secs(4), peer.is_left());
    assert!(left.await.unwrap());
}

#[tokio::test]
async fn a_gateway_that_holds_a_snapshot_is_as_fresh_as_what_was_taken_away() {
    let (mut plane, disk) = (ControlPlane::start().await, Disk::new());
    let (gateway, mut peer, account) = holding_120(&mut plane, &disk).await;
    Snapshot::of(9, keys(&account, 0..20)).say(&peer).await;
    peer.held().await;
    let now = || Duration::from_millis(gateway.state.steady_ms());
    assert!(gateway.state.is_stale(now()));
    let echo_ms = peer.heartbeat().await.steady_ms;
    peer.say(down::Frame::Heartbeat(feed::ControlHeartbeat {
        revision: 9,
        echo_ms,
        ..feed::ControlHeartbeat::default()
    }))
    .await;
    eventually("it is fresh", || !gateway.state.is_stale(now())).await;
    assert_eq!(state(&gateway), "holding");
}

#[tokio::test]
async fn half_of_the_keys_few_keys_and_another_scope_are_no_mass_deletion() {
    let (mut plane, disk) = (ControlPlane::start().await, Disk::new());
    let (gateway, mut peer, account) = holding_120(&mut plane, &disk).await;
    Snapshot::of(6, keys(&account, 60..120)).say(&peer).await;
    assert_eq!(peer.acknowledged().await, 6);
    // Sixty keys are few.
    Snapshot::of(7, keys(&account, 0..1)).say(&peer).await;
    assert_eq!(peer.acknowledged().await, 7);
    peer.snapshot(8, keys(&account, 0..120)).await;
    assert_eq!(peer.acknowledged().await, 8);
    drop(peer);
    let mut peer = plane.peer().await;
    assert!(matches!(peer.next().await, up::Frame::Hello(_)));
    peer.say(down::Frame::Welcome(Welcome {
        protocol: PROTOCOL,
        feed_epoch: EPOCH.into(),
        scope: "another".into(),
        ..Welcome::default()
    }))
    .await;
    Snapshot::of(8, keys(&account, 0..10)).say(&peer).await;
    assert_eq!(peer.acknowledged().await, 8);
    assert_eq!(gateway.knows("k10"), None);
}

#[tokio::test]
async fn another_history_is_no_excuse_to_drop_the_keys() {
    let (mut plane, disk) = (ControlPlane::start().await, Disk::new());
    let (gateway, peer, account) = holding_120(&mut plane, &disk).await;
    drop(peer);
    let mut peer = plane.peer().await;
    assert!(matches!(peer.next().await, up::Frame::Hello(_)));
    peer.say(down::Frame::Welcome(Welcome {
        protocol: PROTOCOL,
        feed_epoch: "epoch-2".into(),
        ..Welcome::default()
    }))
    .await;
    Snapshot::of(3, keys(&account, 0..10)).say(&peer).await;
    assert_eq!(
        peer.held().await,
        feed::SnapshotHeld {
            revision: 3,
            held: 120,
            dropped: 110
        }
    );
    peer.change(4, vec![key(&account, "k119", KeyState::Disabled)])
        .await;
    eventually("the key is disabled", || {
        gateway.knows("k119") == Some(KeyState::Disabled)
    })
    .await;
    assert_eq!(gateway.keys.position(), crate::keys::Position::new(EPOCH, 5));
}

#[tokio::test]
async fn a_snapshot_may_say_its_number_of_records_at_either_end_but_must_not_lie() {
    let (mut plane, disk) = (ControlPlane::start().await, Disk::new());
    let _gateway = disk.start(&[plane.address]);
    let (mut peer, _) = plane.welcome().await;
    let account = account();
    for (revision, (begin, end)) in (5..).zip([(3, 0), (0, 3), (3, 3)]) {
        let records = keys(&account, 0..2);
        Snapshot {
            begin,
            end,
            ..Snapshot::of(revision, records)
        }
        .say(&peer)
        .await;
        assert_eq!(peer.acknowledged().await, revision);
    }
    for (begin, end) in [(2, 0), (0, 2), (3, 2), (2, 3), (0, 0), (4, 4)] {
        let records = keys(&account, 0..2);
        Snapshot {
            begin,
            end,
            ..Snapshot::of(9, records)
        }
        .say(&peer)
        .await;
        assert!(peer.is_left().await, "{begin} {end}");
        let (next, hello) = plane.welcome().await;
        assert_eq!(hello.revision, 7);
        peer = next;
    }
}

#[tokio::test]
async fn a_key_of_no_known_account_is_refused_whenever_its_account_comes() {
    let (mut plane, disk) = (ControlPlane::start().await, Disk::new());
    let gateway = disk.start(&[plane.address]);
    let (mut peer, _) = plane.welcome().await;
    let (known, missing) = (account(), account());
    let late = vec![
        key(&known, "early", KeyState::Active),
        key(&missing, "orphan", KeyState::Active),
        account_record(&known),
    ];
    peer.snapshot(5, late).await;
    let wanted = format!("account_id names no account that is known: {}", missing.id);
    let up::Frame::Refusal(refusal) = peer.next().await else {
        panic!("no refusal")
    };
    assert_eq!((refusal.revision, &refusal.reason), (5, &wanted));
    assert_eq!(peer.acknowledged().await, 5);
    assert_eq!(
        (gateway.knows("early"), gateway.knows("orphan")),
        (Some(KeyState::Active), None)
    );

    peer.change(6, vec![key(&missing, "orphan", KeyState::Active)])
        .await;
    let up::Frame::Refusal(refusal) = peer.next().await else {
        panic!("no refusal")
    };
    assert_eq!((refusal.revision, &refusal.reason), (6, &wanted));
    assert_eq!(peer.acknowledged().await, 6);
    peer.change(
        7,
        vec![
            key(&missing, "orphan", KeyState::Active),
            account_record(&missing),
        ],
    )
    .await;
    assert_eq!(peer.acknowledged().await, 7);
    assert_eq!(gateway.knows("orphan"), Some(KeyState::Active));
}

#[tokio::test]
async fn of_two_records_with_one_digest_the_later_holds_and_two_keys_may_share_an_id() {
    let (mut plane, disk) = (ControlPlane::start().await, Disk::new());
    let gateway = disk.start(&[plane.address]);
    let (mut peer, _) = plane.welcome().await;
    let account = account();
    let with_id = |mut record: Record, id: &KeyId| {
        if let Some(feed::record::Record::Key(key)) = &mut record.record {
            key.key_id = id.as_uuid().as_bytes().to_vec();
        }
        record
    };
    let id = KeyId::new();
    let records = vec![
        account_record(&account),
        key(&account, "twice", KeyState::Active),
        key(&account, "twice", KeyState::Revoked),
        with_id(key(&account, "one", KeyState::Active), &id),
        with_id(key(&account, "other", KeyState::Disabled), &id),
    ];
    peer.snapshot(5, records).await;
    assert_eq!(peer.acknowledged().await, 5);
    assert_eq!(gateway.knows("twice"), Some(KeyState::Revoked));
    assert_eq!(
        (gateway.knows("one"), gateway.knows("other")),
        (Some(KeyState::Active), Some(KeyState::Disabled))
    );
}

#[tokio::test]
async fn a_change_of_absurd_size_is_refused_whole() {
    let (mut plane, disk) = (ControlPlane::start().await, Disk::new());
    let gateway = disk.start(&[plane.address]);
    let (mut peer, _) = plane.welcome().await;
    let account = account();
    peer.snapshot(5, keys(&account, 0..1)).await;
    assert_eq!(peer.acknowledged().await, 5);
    let mut records = vec![Record { record: None }; 100_000];
    records.push(key(&account, "k0", KeyState::Revoked));
    peer.change(6, records).await;
    let up::Frame::Refusal(refusal) = peer.next().await else {
        panic!("no refusal")
    };
    assert_eq!(
        (refusal.record.as_str(), refusal.reason.as_str()),
        ("change", "records has 100001 entries")
    );
    assert_eq!(peer.acknowledged().await, 6);
    assert_eq!(gateway.knows("k0"), Some(KeyState::Active));
}
