use keyward_contract::{AccountId, KeyId};

use super::*;
use crate::store::Purpose;
use crate::store::records::{account_records, key_records};

async fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/cp.db", folder.path().display());
    (folder, Store::open(&url).await.unwrap())
}

async fn run(tx: &mut crate::store::Tx, statement: String) {
    sqlx::query(sqlx::AssertSqlSafe(statement))
        .execute(&mut **tx)
        .await
        .unwrap();
}

/// An account with so many keys, every third of an end customer, every sixth of one with limits of its own.
async fn add(store: &Store, keys: usize) {
    let (account, mut tx) = (AccountId::new(), store.begin(Purpose::Change).await.unwrap());
    run(
        &mut tx,
        format!(
            "INSERT INTO accounts (id, company_name, contact_email, tier, status, metadata, rate_limit, burst_limit, \
             annual_limit, created_at, updated_at) VALUES ('{account}', 'A', 'a@example.com', 'growth', 'active', \
             '{{}}', 100, 200, 10000000, 1, 1)"
        ),
    )
    .await;
    for kind in ["test", "production"] {
        let id = keyward_contract::EnvironmentId::random().unwrap();
        run(
            &mut tx,
            format!("INSERT INTO environments (id, account_id, kind, user_key_limit) VALUES ('{id}', '{account}', '{kind}', 20)"),
        )
        .await;
    }
    run(
        &mut tx,
        format!(
            "INSERT INTO quota_grants (id, account_id, at, validations, created_at, created_by) \
             VALUES ('{}', '{account}', 5, 7, 1, 'test')",
            AccountId::new()
        ),
    )
    .await;
    for (id, limits) in [
        ("clx8f2k9h0001qr5tgvwxyz12", "NULL, NULL"),
        ("clx8f2k9h0001qr5tgvwxyz13", "5, 6"),
    ] {
        run(
            &mut tx,
            format!(
                "INSERT INTO end_customers (account_id, environment, id, name, status, rate_limit, burst_limit, \
                 created_at, updated_at) VALUES ('{account}', 'production', '{id}', '{id}', 'active', {limits}, 1, 1)"
            ),
        )
        .await;
    }
    let (first,): (i64,) = sqlx::query_as("SELECT COALESCE(MAX(number), 0) + 1 FROM api_keys")
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    for number in (first..).take(keys) {
        let id = KeyId::new();
        let customer = match number % 6 {
            0 => "'clx8f2k9h0001qr5tgvwxyz13'",
            3 => "'clx8f2k9h0001qr5tgvwxyz12'",
            _ => "NULL",
        };
        let addresses = if number % 4 == 0 {
            "'[\"192.0.2.0/24\"]'"
        } else {
            "NULL"
        };
        run(
            &mut tx,
            format!(
                "INSERT INTO api_keys (id, number, account_id, environment, customer_id, origin, mask, digest, state, \
                 allowed_ips, expires_at, api_version, api_version_changed_at, created_by, created_at, updated_at) \
                 VALUES ('{id}', {number}, '{account}', 'production', {customer}, 'keys', 'pk_live_…', \
                 x'{number:064x}', 'active', {addresses}, {number}, '2026-11-01', 1, 'test', 1, 1)"
            ),
        )
        .await;
    }
    crate::store::changes::append(&mut tx, UnixMillis(1), &[])
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

async fn walked(walk: &mut Walk) -> Vec<Record> {
    let mut records = Vec::new();
    while let Some(batch) = walk.next().await {
        let batch = batch.unwrap();
        assert!((1..=TOGETHER).contains(&batch.len()));
        records.extend(batch);
    }
    records
}

/// The same, page by page.
async fn paged(store: &Store, now: UnixMillis) -> Vec<Record> {
    let mut tx = store.begin_reading().await.unwrap();
    let accounts = account_records(&mut tx, None, 1_000, now).await.unwrap();
    let keys = key_records(&mut tx, 0, 10_000).await.unwrap();
    let accounts = accounts.into_iter().map(Record::Account);
    accounts
        .chain(keys.into_iter().map(|(_, key)| Record::Key(key)))
        .collect()
}

#[tokio::test]
async fn a_pass_brings_what_the_pages_bring_as_of_its_beginning() {
    let (_folder, store) = store().await;
    let now = UnixMillis(9);
    let mut nothing = Walk::begin(&store, now).await.unwrap();
    assert_eq!((nothing.place, nothing.records), (Place::default(), 0));
    assert_eq!(walked(&mut nothing).await, []);

    add(&store, 30).await;
    add(&store, 2_500).await;
    let expected = paged(&store, now).await;
    let mut walk = Walk::begin(&store, now).await.unwrap();
    let head = crate::store::changes::head_and_epoch(&store).await.unwrap();
    assert_eq!((walk.place, walk.records), (head.place, expected.len() as u64));
    assert!(walk.place.history.is_some());
    // What is written from now on it doesn't see.
    add(&store, 10).await;
    let records = walked(&mut walk).await;
    assert!(records == expected, "the records differ");
    let limited = records.iter().filter(
        |record| matches!(record, Record::Key(key) if key.customer_limits.is_some_and(|limits| limits.rate == 5)),
    );
    assert!(limited.count() > 400);
    let granted = |record: &Record| matches!(record, Record::Account(account) if account.grants.len() == 1);
    assert!(records.iter().any(granted));
}

#[tokio::test]
async fn a_row_that_is_no_key_ends_a_pass_with_an_error() {
    let (_folder, store) = store().await;
    add(&store, 3).await;
    let mut tx = store.begin(Purpose::Change).await.unwrap();
    run(
        &mut tx,
        "UPDATE api_keys SET state = 'lost' WHERE number = 2".into(),
    )
    .await;
    tx.commit().await.unwrap();
    let mut walk = Walk::begin(&store, UnixMillis(9)).await.unwrap();
    let mut failed = false;
    while let Some(batch) = walk.next().await {
        failed |= batch.is_err();
    }
    assert!(failed);
}
