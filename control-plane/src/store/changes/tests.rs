use super::*;

async fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("sqlite://{}/cp.db", folder.path().display()))
        .await
        .unwrap();
    (folder, store)
}

async fn change(store: &Store) -> u64 {
    let mut tx = store.begin(Purpose::Change).await.unwrap();
    let revision = append(&mut tx, UnixMillis(7), &[]).await.unwrap();
    tx.commit().await.unwrap();
    revision
}

async fn decoded(store: &Store) -> Vec<feed::Change> {
    let log = after(store, 0, u32::MAX).await.unwrap();
    log.iter()
        .map(|(_, change)| feed::Change::decode(change.as_slice()).unwrap())
        .collect()
}

#[tokio::test]
async fn revisions_have_no_gap_when_a_change_is_rolled_back() {
    let (_folder, store) = store().await;
    assert_eq!(change(&store).await, 1);
    let mut tx = store.begin(Purpose::Change).await.unwrap();
    assert_eq!(append(&mut tx, UnixMillis(7), &[]).await.unwrap(), 2);
    tx.rollback().await.unwrap();
    assert_eq!(change(&store).await, 2);
    assert_eq!(head(&store).await.unwrap(), 2);
    let log = after(&store, 0, 10).await.unwrap();
    let revisions: Vec<u64> = log.iter().map(|(revision, _)| *revision).collect();
    assert_eq!(revisions, [1, 2]);
    assert_eq!(feed::Change::decode(log[1].1.as_slice()).unwrap().revision, 2);
}

#[tokio::test]
async fn compaction_takes_the_oldest_and_leaves_the_newest() {
    let (_folder, store) = store().await;
    for _ in 0..10 {
        change(&store).await;
    }
    let keep = Keep {
        newest: 4,
        longest_ms: i64::MAX,
        shortest_ms: 0,
        after: u64::MAX,
    };
    let now = UnixMillis(7);
    assert_eq!(compact(&store, keep, now, 5).await.unwrap(), 5);
    assert_eq!(compact(&store, keep, now, 5).await.unwrap(), 1);
    assert_eq!(compact(&store, keep, now, 5).await.unwrap(), 0);
    let left = after(&store, 2, 100).await.unwrap();
    assert_eq!(left.first().map(|(revision, _)| *revision), Some(7));
    assert_eq!(head(&store).await.unwrap(), 10);
    // However old it is, the newest stays, and the next one's history is made of its.
    let all = Keep {
        newest: 0,
        longest_ms: 0,
        ..keep
    };
    assert_eq!(compact(&store, all, UnixMillis(1_000), 100).await.unwrap(), 3);
    let newest = decoded(&store).await.remove(0);
    change(&store).await;
    let next = decoded(&store).await.remove(1);
    assert_eq!(next.history, history_after(Some(&newest), &next));
}

/// As [`history`] says it, of decoded changes.
fn history_after(before: Option<&feed::Change>, change: &feed::Change) -> Vec<u8> {
    let before = before.and_then(|before| named(Some(&before.history)));
    let bare = feed::Change {
        history: Vec::new(),
        ..change.clone()
    };
    history(before.as_ref(), change.revision, &bare.encode_to_vec()).to_vec()
}

#[tokio::test]
async fn every_change_names_the_whole_log_before_it() {
    let (_folder, store) = store().await;
    for _ in 0..3 {
        change(&store).await;
    }
    let log = decoded(&store).await;
    let mut before = None;
    for change in &log {
        assert_eq!(change.history, history_after(before, change));
        before = Some(change);
    }
    let raw = after(&store, 0, 1).await.unwrap().remove(0).1;
    let bare = feed::Change {
        history: Vec::new(),
        ..log[0].clone()
    };
    assert_eq!(without_history(&raw), bare.encode_to_vec());
    let head = head_and_epoch(&store).await.unwrap().place;
    assert_eq!((head.revision, head.history), (3, named(Some(&log[2].history))));
    let at_two = head_and_history_at(&store, 2).await.unwrap();
    assert_eq!(at_two, (3, named(Some(&log[1].history))));
    assert_eq!(head_and_history_at(&store, 9).await.unwrap(), (3, None));
}

#[tokio::test]
async fn a_change_of_an_earlier_version_has_no_name_and_the_next_one_has() {
    let (_folder, store) = store().await;
    change(&store).await;
    sqlx::query("UPDATE changes SET history = NULL")
        .execute(store.readers())
        .await
        .unwrap();
    change(&store).await;
    let log = decoded(&store).await;
    assert!(log[0].history.is_empty());
    assert_eq!(log[1].history, history_after(Some(&log[0]), &log[1]));
}

#[tokio::test]
async fn of_many_that_would_begin_a_new_epoch_one_does() {
    let (_folder, store) = store().await;
    let first = head_and_epoch(&store).await.unwrap().epoch;
    let second = renew_epoch(&store, &first).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(renew_epoch(&store, &first).await.unwrap(), second);
    assert_eq!(head_and_epoch(&store).await.unwrap().epoch, second);
}
