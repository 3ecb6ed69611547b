//! Starts of gateways that are over.

use super::*;

fn under(boot: u64, accepted: u64, account: AccountId) -> feed::UsageCounter {
    feed::UsageCounter {
        boot_epoch: boot,
        would_limit: accepted,
        rate_limited: 1,
        ..counter(account, NOON.hour(), accepted)
    }
}

async fn merge(store: &Store, gateway: &str, counters: Vec<feed::UsageCounter>) {
    let reports = [report(gateway, counters)];
    Merger::default().merge(store, &reports).await.unwrap();
}

async fn says(store: &Store, present: u64, oldest: u64) {
    hear(store, "a", Starts { present, oldest }, NOON).await.unwrap();
}

/// Folds all there is, and says in how many steps.
async fn fold_all(store: &Store) -> usize {
    let mut steps = 0;
    while fold(store).await.unwrap() {
        steps += 1;
    }
    steps
}

async fn rows(store: &Store, table: &str) -> i64 {
    let sql = format!("SELECT COUNT(*) FROM {table}");
    let (rows,): (i64,) = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .fetch_one(store.readers())
        .await
        .unwrap();
    rows
}

async fn hour(store: &Store, account: AccountId) -> Counted {
    let of = Selection {
        account,
        environment: Environment::Production,
        customer: Some(CUSTOMER.parse().unwrap()),
        key: None,
        route: None,
    };
    let stretch = Stretch::new(Granularity::Hour, NOON, UnixMillis(NOON.0 + 1));
    let series = series(store, &of, stretch).await.unwrap();
    assert_eq!(series.len(), 1);
    series[0].1
}

#[tokio::test]
async fn what_was_counted_by_starts_that_are_over_is_folded_into_one_row_and_stays() {
    let (_folder, store) = store().await;
    let account = AccountId::new();
    merge(
        &store,
        "a",
        (1..=4).map(|boot| under(boot, 10 + boot, account)).collect(),
    )
    .await;
    merge(&store, "b", vec![under(1, 100, account)]).await;
    let before = (hour(&store, account).await, used(&store, account).await);
    assert_eq!((before.0.accepted, before.0.would_limit), (150, 150));

    // Nothing is known for good yet.
    says(&store, 4, 0).await;
    assert_eq!(fold_all(&store).await, 0);
    assert_eq!(rows(&store, "usage_counters").await, 5);

    says(&store, 4, 3).await;
    assert!(fold_all(&store).await > 0);
    // Of a: the folded ones, and the starts 3 and 4. Of b: its only one.
    assert_eq!(rows(&store, "usage_counters").await, 4);
    assert_eq!(rows(&store, "usage_boot_days").await, 4);
    assert_eq!(rows(&store, "usage_boots").await, 4);
    says(&store, 4, 4).await;
    assert!(fold_all(&store).await > 0);
    assert_eq!(rows(&store, "usage_counters").await, 3);
    let after = (hour(&store, account).await, used(&store, account).await);
    assert_eq!(before, after);
    let sums: Vec<(String, i64)> = sqlx::query_as(
        "SELECT b.gateway_id, CAST(SUM(d.accepted) AS BIGINT) FROM usage_boot_days d \
         JOIN usage_boots b ON b.id = d.boot GROUP BY b.gateway_id ORDER BY 1",
    )
    .fetch_all(store.readers())
    .await
    .unwrap();
    assert_eq!(sums, [("a".into(), 50), ("b".into(), 100)]);
}

#[tokio::test]
async fn a_report_of_a_start_that_is_known_for_good_is_a_repeat() {
    let (_folder, store) = store().await;
    let account = AccountId::new();
    // One that remembers the short ids of before.
    let mut merger = Merger::default();
    let first = [report("a", vec![under(1, 10, account), under(2, 5, account)])];
    merger.merge(&store, &first).await.unwrap();
    says(&store, 2, 2).await;
    // Before it is folded, while it is, and after.
    assert_eq!(merger.merge(&store, &first).await.unwrap(), []);
    while fold(&store).await.unwrap() {
        assert_eq!(merger.merge(&store, &first).await.unwrap(), []);
    }
    assert_eq!(merger.merge(&store, &first).await.unwrap(), []);
    assert_eq!(Merger::default().merge(&store, &first).await.unwrap(), []);
    assert_eq!(hour(&store, account).await.accepted, 15);
    // The present start counts on, and so does another gateway's start of the same number.
    merge(&store, "a", vec![under(2, 7, account)]).await;
    merge(&store, "b", vec![under(1, 1, account)]).await;
    assert_eq!(hour(&store, account).await.accepted, 18);
}

#[tokio::test]
async fn a_short_id_that_was_given_anew_moves_nobody_elses_counters() {
    let (_folder, store) = store().await;
    let account = AccountId::new();
    let mut merger = Merger::default();
    merge(&store, "a", vec![under(1, 3, account)]).await;
    says(&store, 5, 5).await;
    fold_all(&store).await;
    let old = [report("a", vec![under(5, 10, account)])];
    merger.merge(&store, &old).await.unwrap();
    // The start is folded, and another one gets its id.
    says(&store, 6, 6).await;
    fold_all(&store).await;
    merge(&store, "b", vec![under(1, 1, account)]).await;
    // The gateway lost its disk, its clock went back, and it began with the same number again.
    says(&store, 5, 5).await;
    let again = [report("a", vec![under(5, 2, account)])];
    assert!(merger.merge(&store, &again).await.is_err());
    let spent = merger.merge(&store, &again).await.unwrap();
    assert_eq!((spent[0].gateway_id.as_str(), spent[0].accepted), ("a", 2));
}

#[tokio::test]
async fn what_a_gateway_says_of_its_starts_only_grows_but_for_a_start_that_lives() {
    let (_folder, store) = store().await;
    let before = async || {
        let (before,): (i64,) = sqlx::query_as("SELECT settled_before FROM usage_gateways")
            .fetch_one(store.readers())
            .await
            .unwrap();
        before
    };
    for (present, oldest, expected) in [
        (10, 0, 0),
        (10, 8, 8),
        // An older word, and none.
        (10, 7, 8),
        (10, 0, 8),
        (10, 10, 10),
        // All of the present start is reported too; and it says so again.
        (10, 11, 11),
        (10, 11, 11),
        // It comes back all the same.
        (10, 10, 10),
        // No start can speak of those after it.
        (10, 99, 11),
        (12, 12, 12),
        // It lost its disk, and its clock went back.
        (4, 4, 4),
        (5, 4, 4),
    ] {
        says(&store, present, oldest).await;
        assert_eq!(before().await, expected, "{present} {oldest}");
    }
    assert_eq!(give_up(&store, NOON).await.unwrap(), 0);
    assert_eq!(give_up(&store, UnixMillis(NOON.0 + 1)).await.unwrap(), 1);
    assert_eq!(before().await, i64::MAX);
    assert_eq!(give_up(&store, UnixMillis(NOON.0 + 1)).await.unwrap(), 0);
    // What it counts from now on counts; what it never reported does not.
    says(&store, 9, 6).await;
    assert_eq!(before().await, 9);
}

#[tokio::test]
async fn hours_are_deleted_once_no_report_can_be_compared_with_them() {
    let (_folder, store) = store().await;
    let account = AccountId::new();
    let old = feed::UsageCounter {
        hour: NOON.hour() - 24 * 100,
        ..under(1, 10, account)
    };
    merge(&store, "a", vec![old.clone(), under(2, 5, account)]).await;
    let horizon = Horizon {
        hours: UnixMillis(NOON.0 - 90 * DAY_MS),
        days: UnixMillis(NOON.0 - 1_100 * DAY_MS),
    };
    let forget_all = async || while forget(&store, horizon).await.unwrap() > 0 {};
    forget_all().await;
    // The totals by hour are gone; what a late report is compared with is not.
    assert_eq!(rows(&store, "usage_counters").await, 2);
    let more = feed::UsageCounter {
        accepted: 12,
        ..old.clone()
    };
    merge(&store, "a", vec![more]).await;
    let period = QuotaPeriod::at(NOON, Some(UnixMillis(NOON.0 - 200 * DAY_MS)));
    assert_eq!(spent_in(&store, account, period).await.unwrap(), 17);
    says(&store, 2, 2).await;
    fold_all(&store).await;
    forget_all().await;
    assert_eq!(rows(&store, "usage_counters").await, 1);
    assert_eq!(rows(&store, "usage_totals WHERE unit = 1").await, 1);
    assert_eq!(rows(&store, "usage_subject_sums WHERE unit = 2").await, 2);
    merge(&store, "a", vec![old]).await;
    assert_eq!(spent_in(&store, account, period).await.unwrap(), 17);
    // Days go later, months never.
    let later = Horizon {
        hours: NOON,
        days: NOON,
    };
    while forget(&store, later).await.unwrap() > 0 {}
    assert_eq!(rows(&store, "usage_subject_sums WHERE unit = 2").await, 1);
    assert_eq!(rows(&store, "usage_totals WHERE unit = 2").await, 1);
    assert_eq!(rows(&store, "usage_boot_days").await, 1);
    assert_eq!(rows(&store, "usage_subject_sums WHERE unit = 3").await, 2);
}
