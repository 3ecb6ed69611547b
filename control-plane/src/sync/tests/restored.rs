//! A database that was put back to an earlier state is noticed, whoever notices it.

use super::*;

/// A gateway that says what it holds.
fn holding(plane: &Plane, id: &str, revision: u64, history: &[u8]) -> Hello {
    Hello {
        history: history.to_vec(),
        ..plane.hello(id, revision)
    }
}

impl Plane {
    /// Stops; answers where its database is.
    async fn stop(mut self) -> Arc<tempfile::TempDir> {
        self.shutdown.cancel();
        (&mut self.handle).await.unwrap();
        Arc::clone(&self.folder)
    }

    /// Where a backup of its database is.
    async fn back_up(&self) -> Arc<tempfile::TempDir> {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let into = format!("VACUUM INTO '{}/cp.db'", folder.path().display());
        sqlx::query(sqlx::AssertSqlSafe(into))
            .execute(self.store.readers())
            .await
            .unwrap();
        folder
    }

    async fn restart_in(folder: Arc<tempfile::TempDir>) -> Self {
        Self::start_in(folder, Duration::from_secs(20)).await
    }
}

/// Follows to a revision; answers the history there.
async fn follow_to(plane: &Plane, revision: u64) -> Vec<u8> {
    let mut gateway = plane.join(plane.hello("witness", 0)).await.unwrap();
    let (mut held, _) = gateway.snapshot().await;
    while held < revision {
        plane.commit().await;
        held = gateway.next_change().await.revision;
    }
    gateway.history
}

#[tokio::test]
async fn a_gateway_goes_on_over_a_restart_of_the_same_database() {
    let plane = Plane::start().await;
    let history = follow_to(&plane, 4).await;
    let epoch = plane.epoch.clone();
    plane.commit().await;
    let plane = Plane::restart_in(plane.stop().await).await;
    let mut gateway = plane.join(holding(&plane, "a", 4, &history)).await.unwrap();
    assert_eq!(gateway.welcome.feed_epoch, epoch);
    assert_eq!(gateway.next_change().await.revision, 5);
}

#[tokio::test]
async fn a_restored_database_that_has_grown_past_a_gateway_is_noticed() {
    let plane = Plane::start().await;
    for _ in 0..3 {
        plane.commit().await;
    }
    let backup = plane.back_up().await;
    let history = follow_to(&plane, 6).await;
    plane.stop().await;

    let plane = Plane::restart_in(backup).await;
    for _ in 0..6 {
        plane.add_account(1).await;
    }
    // It connected before anybody knew, and holds what the restored log has too.
    let mut agreeing = plane.join(plane.hello("agreeing", 9)).await.unwrap();
    let mut gateway = plane.join(holding(&plane, "a", 6, &history)).await.unwrap();
    assert_ne!(gateway.welcome.feed_epoch, plane.epoch);
    let (revision, records) = gateway.snapshot().await;
    assert_eq!((revision, records.len()), (9, 12));
    let ended = agreeing.next().await;
    assert_eq!(ended.err().map(|status| status.code()), Some(Code::Aborted));
    // It comes back with what it held under the epoch that is over.
    let mut agreeing = plane.join(plane.hello("agreeing", 9)).await.unwrap();
    assert_eq!(agreeing.welcome.feed_epoch, gateway.welcome.feed_epoch);
    assert_eq!(agreeing.snapshot().await.0, 9);
    // All goes on, and a change is complete when it is in force at both.
    let revision = plane.commit().await;
    for gateway in [&mut gateway, &mut agreeing] {
        assert_eq!(gateway.next_change().await.revision, revision);
        gateway.acknowledge(revision).await;
    }
    assert_eq!(
        plane.gateways.acknowledged(revision).await.to_string(),
        "complete; gateways=2"
    );
}

#[tokio::test]
async fn a_gateway_that_contradicts_the_log_again_and_again_costs_itself_alone() {
    let plane = Plane::start().await;
    let history = follow_to(&plane, 4).await;
    let first = plane.join(holding(&plane, "liar", 4, &[9; 32])).await.unwrap();
    let epoch = first.welcome.feed_epoch.clone();
    assert_ne!(epoch, plane.epoch);
    drop(first);
    let under = |hello: Hello| Hello {
        feed_epoch: epoch.clone(),
        ..hello
    };
    let mut honest = plane
        .join(under(holding(&plane, "honest", 4, &history)))
        .await
        .unwrap();
    for (id, revision) in [("one", 4), ("two", 77)] {
        let lie = under(holding(&plane, id, revision, &[8; 32]));
        let mut liar = plane.join(lie).await.unwrap();
        assert_eq!(liar.welcome.feed_epoch, epoch);
        assert_eq!(liar.snapshot().await.0, 4);
    }
    let revision = plane.commit().await;
    assert_eq!(honest.next_change().await.revision, revision);
    // What it says under another epoch proves nothing.
    let foreign = Hello {
        feed_epoch: "another".into(),
        ..holding(&plane, "foreign", 99, &[7; 32])
    };
    assert_eq!(plane.join(foreign).await.unwrap().welcome.feed_epoch, epoch);
}

#[tokio::test]
async fn a_gateway_whose_history_is_gone_from_the_log_takes_a_snapshot_and_no_epoch_ends() {
    let plane = Plane::start().await;
    let history = follow_to(&plane, 4).await;
    let gone = "UPDATE changes SET history = NULL WHERE revision = 4";
    sqlx::query(gone).execute(plane.store.readers()).await.unwrap();
    let epoch = plane.epoch.clone();
    let plane = Plane::restart_in(plane.stop().await).await;
    let mut gateway = plane.join(holding(&plane, "a", 4, &history)).await.unwrap();
    assert_eq!(gateway.welcome.feed_epoch, epoch);
    assert_eq!(gateway.snapshot().await.0, 4);
}

/// Puts the log back under a running control plane, as a server's own recovery does.
async fn put_back(store: &Store, revision: i64) {
    for statement in [
        "DELETE FROM changes WHERE revision > $1",
        "UPDATE change_head SET revision = $1",
    ] {
        sqlx::query(statement)
            .bind(revision)
            .execute(store.readers())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_log_that_goes_back_under_a_running_control_plane_is_noticed_by_all_of_them() {
    let plane = Plane::start().await;
    follow_to(&plane, 6).await;
    // Another control plane on the same database.
    let others = Gateways::new(Duration::ZERO);
    let other = feed::Feed::start(&plane.store, &others, Arc::default())
        .await
        .unwrap();
    let before = other.epoch();
    tokio::spawn(Arc::clone(&other).follow_log(|| None, plane.shutdown.clone()));
    let mut gateway = plane.join(plane.hello("a", 6)).await.unwrap();
    put_back(&plane.store, 3).await;
    assert_eq!(
        gateway.next().await.err().map(|status| status.code()),
        Some(Code::Aborted)
    );
    tokio::time::timeout(Duration::from_secs(10), before.over())
        .await
        .expect("the other never noticed");
    let mut gateway = plane.join(plane.hello("a", 6)).await.unwrap();
    assert_eq!(gateway.welcome.feed_epoch, other.epoch().name());
    assert_eq!(gateway.snapshot().await.0, 3);
    // The heads are those of the log as it is: what is told of them is true.
    assert_eq!((*other.head().borrow(), *others.head().borrow()), (3, 3));
    assert_eq!(plane.commit().await, 4);
    assert_eq!(gateway.next_change().await.revision, 4);
}

/// Puts the log back, and goes on otherwise, between two looks of a running control plane.
async fn put_back_and_go_on(store: &Store, back_to: i64, on_to: u64) {
    let mut tx = store.begin(crate::store::Purpose::Change).await.unwrap();
    for statement in [
        "DELETE FROM changes WHERE revision > $1",
        "UPDATE change_head SET revision = $1",
    ] {
        sqlx::query(statement)
            .bind(back_to)
            .execute(&mut *tx)
            .await
            .unwrap();
    }
    while changes::append(&mut tx, UnixMillis(1), &[]).await.unwrap() < on_to {}
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_change_that_does_not_follow_the_one_before_is_never_sent() {
    let plane = Plane::start().await;
    follow_to(&plane, 6).await;
    let mut gateway = plane.join(plane.hello("a", 6)).await.unwrap();
    put_back_and_go_on(&plane.store, 3, 8).await;
    plane.gateways.announce(8);
    assert_eq!(
        gateway.next().await.err().map(|status| status.code()),
        Some(Code::Aborted)
    );
}

#[tokio::test]
async fn a_log_of_the_same_length_with_another_end_is_noticed() {
    let plane = Plane::start().await;
    follow_to(&plane, 6).await;
    let mut gateway = plane.join(plane.hello("a", 6)).await.unwrap();
    put_back_and_go_on(&plane.store, 3, 6).await;
    assert_eq!(
        gateway.next().await.err().map(|status| status.code()),
        Some(Code::Aborted)
    );
}

#[tokio::test]
async fn who_is_far_behind_is_sent_nothing_of_another_log_either() {
    let plane = Plane::start().await;
    let history = changes::named(Some(&follow_to(&plane, 4).await));
    for _ in 0..2 {
        plane.commit().await;
    }
    // Its memory holds nothing: what it sends comes from the database.
    let feed = feed::Feed::start(&plane.store, &Gateways::new(Duration::ZERO), Arc::default())
        .await
        .unwrap();
    let place = changes::Place { revision: 4, history };
    assert!(matches!(feed.after(place).await, Ok(feed::Next::Changes(changes)) if changes.len() == 2));
    put_back_and_go_on(&plane.store, 3, 6).await;
    assert!(matches!(feed.after(place).await, Ok(feed::Next::Snapshot)));
}

#[tokio::test]
async fn what_somebody_is_about_to_read_is_not_compacted_however_old_it_is() {
    // No control plane runs on it, which would compact it, too.
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/cp.db", folder.path().display());
    let store = Store::open(&url).await.unwrap();
    let mut tx = store.begin(crate::store::Purpose::Change).await.unwrap();
    for _ in 0..6 {
        changes::append(&mut tx, UnixMillis(1), &[]).await.unwrap();
    }
    tx.commit().await.unwrap();
    let feed = feed::Feed::start(&store, &Gateways::new(Duration::ZERO), Arc::default())
        .await
        .unwrap();
    let left = async || changes::after(&store, 0, 10).await.unwrap().len();
    feed.compact(Some(2)).await;
    assert_eq!(left().await, 4);
    feed.compact(None).await;
    assert_eq!(left().await, 1);
}
