//! Key changes on their way in.

use super::*;

#[tokio::test]
async fn an_empty_gateway_takes_the_digest_key_and_a_snapshot_and_then_follows() {
    let (mut plane, disk) = (ControlPlane::start().await, Disk::new());
    let gateway = disk.start(&[plane.address]);
    let (mut peer, hello) = plane.welcome().await;
    assert_eq!(peer.token, "Bearer the-token");
    assert_eq!(
        (hello.gateway_id.as_str(), hello.revision, hello.wants_digest_key),
        ("edge-1", 0, true)
    );
    assert_eq!((hello.max_staleness_ms, hello.denies_when_stale), (3000, true));
    assert_eq!(hello.boot_epoch, gateway.ledger.boot_epoch());

    let account = account();
    let mut records = vec![account_record(&account)];
    records.extend((0..7).map(|at| key(&account, &format!("k{at}"), KeyState::Active)));
    peer.snapshot(5, records).await;
    assert_eq!(peer.acknowledged().await, 5);
    assert_eq!(gateway.knows("k6"), Some(KeyState::Active));
    assert_eq!(gateway.knows("new"), None);

    peer.change(6, vec![key(&account, "new", KeyState::Active)]).await;
    assert_eq!(peer.acknowledged().await, 6);
    assert_eq!(gateway.knows("new"), Some(KeyState::Active));
    peer.change(7, vec![key(&account, "new", KeyState::Revoked)])
        .await;
    assert_eq!(peer.acknowledged().await, 7);
    assert_eq!(gateway.knows("new"), Some(KeyState::Revoked));
    let status = gateway.state.status(Duration::ZERO);
    assert_eq!(
        (
            status.changes,
            status.snapshots,
            status.connections,
            status.live_gateways
        ),
        (2, 1, 1, 3)
    );
}

#[tokio::test]
async fn a_broken_stream_and_a_restart_resume_at_the_revision_in_force() {
    let (mut plane, disk) = (ControlPlane::start().await, Disk::new());
    let gateway = disk.start(&[plane.address]);
    let (mut peer, _) = plane.welcome().await;
    peer.snapshot(5, vec![account_record(&account())]).await;
    assert_eq!(peer.acknowledged().await, 5);
    drop(peer);

    let (mut peer, hello) = plane.welcome().await;
    assert_eq!(
        (hello.revision, hello.feed_epoch.as_str(), hello.wants_digest_key),
        (5, EPOCH, false)
    );
    // What was sent twice is no news.
    peer.change(5, vec![]).await;
    peer.change(6, vec![]).await;
    assert_eq!(peer.acknowledged().await, 6);
    let boot_epoch = hello.boot_epoch;
    gateway.stopped().await;

    let _gateway = disk.start(&[plane.address]);
    let (_peer, hello) = plane.welcome().await;
    assert_eq!((hello.revision, hello.feed_epoch.as_str()), (6, EPOCH));
    assert!(hello.boot_epoch > boot_epoch);
}

#[tokio::test]
async fn nothing_is_acknowledged_before_every_worker_has_finished_what_it_decided() {
    let (mut plane, disk) = (ControlPlane::start().await, Disk::new());
    let (worker, mut questions) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
    let _gateway = disk.start_with(&[plane.address], Quiescence::new(vec![worker]));
    let (mut peer, _) = plane.welcome().await;
    peer.snapshot(5, vec![]).await;
    in_time(questions.recv()).await.unwrap().send(()).unwrap();
    assert_eq!(peer.acknowledged().await, 5);

    peer.change(6, vec![]).await;
    let busy = in_time(questions.recv()).await.unwrap();
    // Heartbeats go on meanwhile, and hold no acknowledgement between them.
    for _ in 0..2 {
        let frame = in_time(peer.inbound.message()).await.unwrap().unwrap().frame;
        assert!(matches!(frame, Some(up::Frame::Heartbeat(_))), "{frame:?}");
    }
    busy.send(()).unwrap();
    assert_eq!(peer.acknowledged().await, 6);
}

#[tokio::test]
async fn changes_that_came_together_are_acknowledged_together() {
    let (mut plane, disk) = (ControlPlane::start().await, Disk::new());
    let (worker, mut questions) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
    let gateway = disk.start_with(&[plane.address], Quiescence::new(vec![worker]));
    let (mut peer, _) = plane.welcome().await;
    peer.snapshot(1, vec![]).await;
    let busy = in_time(questions.recv()).await.unwrap();
    for revision in 2..=30 {
        peer.change(revision, vec![]).await;
    }
    // A heartbeat that answers a later one than the last change: everything before it has been read.
    eventually("the changes have come", || peer.out.capacity() == 64).await;
    peer.heartbeat().await;
    busy.send(()).unwrap();
    assert_eq!(peer.acknowledged().await, 1);
    let mut acknowledgements = 0;
    loop {
        in_time(questions.recv()).await.unwrap().send(()).unwrap();
        acknowledgements += 1;
        if peer.acknowledged().await == 30 {
            break;
        }
    }
    assert!(acknowledgements < 15, "{acknowledgements} for 29 changes");
    assert_eq!(gateway.keys.position().revision, 30);
}

#[tokio::test]
async fn a_bad_record_is_refused_alone_and_told_before_the_acknowledgement() {
    let (mut plane, disk) = (ControlPlane::start().await, Disk::new());
    let gateway = disk.start(&[plane.address]);
    let (mut peer, _) = plane.welcome().await;
    let account = account();
    peer.snapshot(
        5,
        vec![account_record(&account), key(&account, "old", KeyState::Active)],
    )
    .await;
    assert_eq!(peer.acknowledged().await, 5);

    let blank = Record {
        record: Some(feed::record::Record::Key(feed::Key::default())),
    };
    peer.change(
        6,
        vec![
            blank,
            key(&account, "good", KeyState::Active),
            Record { record: None },
        ],
    )
    .await;
    for reason in ["digest is not 32 bytes", "is of no known kind"] {
        let up::Frame::Refusal(refusal) = peer.next().await else {
            panic!("no refusal")
        };
        assert_eq!((refusal.revision, refusal.reason.as_str()), (6, reason));
    }
    assert_eq!(peer.acknowledged().await, 6);
    assert_eq!(gateway.knows("good"), Some(KeyState::Active));
    assert_eq!(gateway.knows("old"), Some(KeyState::Active));
    assert_eq!(gateway.state.status(Duration::ZERO).refused, 2);
}

#[tokio::test]
async fn what_is_against_the_protocol_ends_the_stream_and_takes_nothing_away() {
    let (mut plane, disk) = (ControlPlane::start().await, Disk::new());
    let gateway = disk.start(&[plane.address]);
    let (mut peer, _) = plane.welcome().await;
    let account = account();
    peer.snapshot(
        5,
        vec![account_record(&account), key(&account, "k", KeyState::Active)],
    )
    .await;
    assert_eq!(peer.acknowledged().await, 5);
    let change = |revision| {
        down::Frame::Change(Change {
            revision,
            ..Change::default()
        })
    };
    let begin = |records| {
        down::Frame::SnapshotBegin(SnapshotBegin {
            revision: 9,
            records,
            ..SnapshotBegin::default()
        })
    };
    let end = |revision| {
        down::Frame::SnapshotEnd(SnapshotEnd {
            revision,
            ..SnapshotEnd::default()
        })
    };
    let wrong = [
        vec![change(7)],
        vec![change(u64::MAX)],
        vec![end(9)],
        vec![down::Frame::SnapshotChunk(SnapshotChunk::default())],
        vec![begin(1), end(9)],
        vec![begin(0), end(8)],
        vec![begin(0), change(6)],
        vec![down::Frame::Welcome(Welcome::default())],
    ];
    for frames in wrong {
        for frame in frames {
            peer.say(frame).await;
        }
        assert!(peer.is_left().await);
        let (next, hello) = plane.welcome().await;
        assert_eq!(hello.revision, 5);
        peer = next;
    }
    assert_eq!(gateway.knows("k"), Some(KeyState::Active));
    peer.change(6, vec![]).await;
    assert_eq!(peer.acknowledged().await, 6);
}

#[tokio::test]
async fn a_dead_address_is_passed_over() {
    let (mut plane, disk) = (ControlPlane::start().await, Disk::new());
    // Bound and closed again: nobody listens there.
    let dead = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let _gateway = disk.start(&[dead, plane.address]);
    plane.welcome().await;
}

#[tokio::test]
async fn freshness_is_proved_by_an_echo_once_its_revision_is_in_force() {
    let (mut plane, disk) = (ControlPlane::start().await, Disk::new());
    let gateway = disk.start(&[plane.address]);
    let now = || Duration::from_millis(gateway.state.steady_ms());
    let (mut peer, _) = plane.welcome().await;
    peer.snapshot(5, vec![]).await;
    assert_eq!(peer.acknowledged().await, 5);
    assert!(gateway.state.is_stale(now()));
    let echo_ms = peer.heartbeat().await.steady_ms;
    let heartbeat = |revision, echo_ms| {
        down::Frame::Heartbeat(feed::ControlHeartbeat {
            revision,
            echo_ms,
            live_gateways: 2,
            ..feed::ControlHeartbeat::default()
        })
    };
    // It knew of revision 6 by then, which has not come yet.
    peer.say(heartbeat(6, echo_ms)).await;
    eventually("the heartbeat was heard", || {
        gateway.state.status(now()).control_plane_revision == 6
    })
    .await;
    assert_eq!(
        (gateway.state.is_stale(now()), gateway.state.status(now()).state),
        (true, "syncing")
    );
    peer.change(6, vec![]).await;
    eventually("it is fresh", || !gateway.state.is_stale(now())).await;
    assert_eq!(gateway.state.status(now()).state, "following");
    assert!(
        gateway
            .state
            .is_stale(Duration::from_millis(echo_ms) + Duration::from_millis(3001))
    );
}

#[tokio::test]
async fn what_the_last_stream_had_begun_on_the_disk_ends_before_the_next_says_where_it_stands() {
    let (mut plane, disk) = (ControlPlane::start().await, Disk::new());
    let (follower, gateway) = disk.follower(&[plane.address], Quiescence::new(vec![]));
    gateway
        .keys
        .adopt_digest_key(DigestKey::from_bytes(DIGEST_KEY))
        .unwrap();
    let (go, told) = std::sync::mpsc::channel::<()>();
    let keys = Arc::clone(&gateway.keys);
    let late = follower.on_disk(move || {
        told.recv().unwrap();
        keys.begin_snapshot(crate::keys::Position::new(EPOCH, 9))
            .unwrap()
            .finish()
            .unwrap();
    });
    // Its stream is over: nobody waits for it any more.
    let _ = tokio::time::timeout(Duration::from_millis(1), late).await;
    let _running = tokio::spawn(follower.run(gateway.stop.clone()));
    let early = tokio::time::timeout(Duration::from_millis(200), plane.peers.recv()).await;
    assert!(
        early.is_err(),
        "a stream was opened while the replica was being replaced"
    );
    go.send(()).unwrap();
    let (_peer, hello) = plane.welcome().await;
    assert_eq!(hello.revision, 9);
}

#[tokio::test]
async fn a_hello_says_what_is_in_force_only_when_no_worker_acts_on_what_was_before() {
    let (mut plane, disk) = (ControlPlane::start().await, Disk::new());
    let (worker, mut questions) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
    let _gateway = disk.start_with(&[plane.address], Quiescence::new(vec![worker]));
    let (peer, _) = plane.welcome().await;
    peer.snapshot(5, vec![]).await;
    // It is in force and not acknowledged when the stream breaks; the worker is busy with a call of before.
    let _busy = in_time(questions.recv()).await.unwrap();
    drop(peer);
    let busy = in_time(questions.recv()).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(200), plane.peers.recv()).await;
    assert!(
        early.is_err(),
        "a Hello went out that counts as an acknowledgement"
    );
    busy.send(()).unwrap();
    let (_peer, hello) = plane.welcome().await;
    assert_eq!(hello.revision, 5);
}

#[tokio::test]
async fn a_control_plane_of_the_first_version_is_followed_and_one_that_speaks_otherwise_is_not() {
    let (mut plane, disk) = (ControlPlane::start().await, Disk::new());
    let gateway = disk.start(&[plane.address]);
    let mut peer = plane.peer().await;
    let up::Frame::Hello(hello) = peer.next().await else {
        panic!("no Hello")
    };
    assert_eq!((hello.oldest_protocol, hello.protocol), (1, PROTOCOL));
    let welcome = |protocol| {
        down::Frame::Welcome(Welcome {
            protocol,
            feed_epoch: EPOCH.into(),
            digest_key: DIGEST_KEY.to_vec(),
            ..Welcome::default()
        })
    };
    peer.say(welcome(PROTOCOL + 1)).await;
    assert!(peer.is_left().await);
    // One that knows nothing of histories and scopes, and of the other numbers; and a frame of a kind that nobody knows.
    let mut peer = plane.peer().await;
    peer.next().await;
    peer.say(welcome(1)).await;
    let unknown = ControlFrame { frame: None };
    peer.out.send(Ok(unknown)).await.unwrap();
    peer.snapshot(5, vec![account_record(&account())]).await;
    assert_eq!(peer.acknowledged().await, 5);
    let (mut peer, hello) = {
        drop(peer);
        plane.welcome().await
    };
    assert_eq!((hello.revision, hello.history), (5, vec![]));
    peer.change(6, vec![]).await;
    assert_eq!(peer.acknowledged().await, 6);
    drop(gateway);
}
