//! A database of any earlier version is brought forward with everything in it.

use keyward_contract::{Environment, UnixMillis};
use keyward_control_plane::domain::series::Granularity;
use keyward_control_plane::store::usage::{self, Selection, Stretch, UsedKey};
use keyward_control_plane::store::{Store, changes, records};
use sqlx::any::{AnyPoolOptions, install_default_drivers};
use sqlx::migrate::Migrator;
use sqlx::{AnyPool, AssertSqlSafe};

use crate::plane::{Database, empty_database};

static SQLITE: Migrator = sqlx::migrate!("./migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("./migrations/postgres");

fn all() -> &'static Migrator {
    match crate::DATABASE {
        Database::Sqlite => &SQLITE,
        Database::Postgres => &POSTGRES,
    }
}

const ACCOUNT: &str = "0197a1b2-0000-7000-8000-000000000001";
const USER: &str = "0197a1b2-0000-7000-8000-000000000002";

/// What the first version could hold; all later ones can.
const ROWS: [&str; 8] = [
    "INSERT INTO accounts (id, company_name, contact_email, tier, status, metadata, rate_limit, burst_limit, \
     annual_limit, created_at, updated_at) VALUES ('0197a1b2-0000-7000-8000-000000000001', 'Acme', 'a@example.com', \
     'growth', 'active', '{}', 100, 200, 10000000, 1, 1)",
    "INSERT INTO environments (id, account_id, kind, user_key_limit) \
     VALUES ('0000000000000001', '0197a1b2-0000-7000-8000-000000000001', 'test', 20), \
     ('0000000000000002', '0197a1b2-0000-7000-8000-000000000001', 'production', 20)",
    "INSERT INTO users (id, account_id, sub, name, email, claims, status, created_at) \
     VALUES ('0197a1b2-0000-7000-8000-000000000002', '0197a1b2-0000-7000-8000-000000000001', \
     '0197a1b2-0000-7000-8000-000000000003', 'Ann', 'ann@example.com', '[\"a\"]', 'active', 1)",
    "INSERT INTO api_keys (id, number, account_id, environment, user_id, origin, mask, digest, state, api_version, \
     api_version_changed_at, created_by, created_at, updated_at) VALUES ('0197a1b2-0000-7000-8000-000000000004', 1, \
     '0197a1b2-0000-7000-8000-000000000001', 'production', '0197a1b2-0000-7000-8000-000000000002', 'user-keys', \
     'pk_live_ab…xyz', $1, 'active', '2026-11-01', 1, 'test', 1, 1)",
    "INSERT INTO audit (number, id, at, actor_kind, actor_id, action, target_kind, target_id, request_id, address, hash) \
     VALUES (1, 'a', 1, 'system', 'test', 'test', 'test', 'test', 'r', '', 'h')",
    "INSERT INTO changes (revision, committed_at, records) VALUES (1, 1, $1)",
    "UPDATE change_head SET revision = 1",
    "INSERT INTO idempotency (scope, key, body_hash, status, answer, created_at) VALUES ('s', 'k', $1, 200, $1, 1)",
];

async fn insert(database: &AnyPool) {
    for row in ROWS {
        let mut query = sqlx::query(AssertSqlSafe(row));
        if row.contains("$1") {
            query = query.bind(vec![0u8; 32]);
        }
        query.execute(database).await.unwrap();
    }
}

#[tokio::test]
async fn every_earlier_version_is_brought_forward_with_its_data() {
    install_default_drivers();
    let versions = all().iter().count();
    assert!(versions >= 4);
    for version in 1..=versions {
        let (_folder, url) = empty_database();
        let pool = AnyPoolOptions::new().max_connections(1);
        let database = pool.connect(&url).await.unwrap();
        let earlier = Migrator::with_migrations(all().iter().take(version).cloned().collect());
        earlier.run(&database).await.unwrap();
        insert(&database).await;
        database.close().await;

        // Twice: a start changes nothing that is current.
        for _ in 0..2 {
            let store = Store::open(&url).await.unwrap();
            let mut tx = store.begin_reading().await.unwrap();
            let accounts = records::account_records(&mut tx, None, 10, UnixMillis(0))
                .await
                .unwrap();
            assert_eq!(accounts[0].id.to_string(), ACCOUNT, "from version {version}");
            let keys = records::key_records(&mut tx, 0, 10).await.unwrap();
            assert_eq!(keys.len(), 1);
            tx.rollback().await.unwrap();
            let user = USER.parse().unwrap();
            let user = keyward_control_plane::store::users::by_id(store.readers(), user)
                .await
                .unwrap();
            let user = user.expect("the user is gone");
            assert_eq!(
                (user.email.as_str(), user.claims.as_slice()),
                ("ann@example.com", &["a".to_owned()][..])
            );
            assert_eq!(changes::head(&store).await.unwrap(), 1);
            let (kept, audited): (i64, i64) = sqlx::query_as(
                "SELECT (SELECT COUNT(*) FROM idempotency WHERE answer IS NOT NULL), (SELECT COUNT(*) FROM audit)",
            )
            .fetch_one(store.readers())
            .await
            .unwrap();
            assert_eq!((kept, audited), (1, 1));
        }
    }
}

#[tokio::test]
async fn both_databases_have_the_same_versions() {
    let names = |migrator: &Migrator| -> Vec<(i64, String)> {
        let migrations = migrator.iter();
        migrations
            .map(|migration| (migration.version, migration.description.to_string()))
            .collect()
    };
    assert_eq!(names(&SQLITE), names(&POSTGRES));
}

/// What the second version to the eleventh could hold: two starts of a gateway, and callers with and without a key.
const USAGE: [&str; 3] = [
    "INSERT INTO usage_boots (id, gateway_id, boot_epoch, reports) VALUES (1, 'a', 1, 0), (2, 'a', 2, 0)",
    "INSERT INTO usage_subjects (id, account_id, environment, customer_id, account_key_id, customer_key_id, route) \
     VALUES (1, '0197a1b2-0000-7000-8000-000000000001', 'production', '', '0197a1b2-0000-7000-8000-000000000004', '', '/'), \
     (2, '0197a1b2-0000-7000-8000-000000000001', 'production', 'clx8f2k9h0001qr5tgvwxyz12', '', '', '/')",
    // 2026-01-31T23:00Z and the hour after it.
    "INSERT INTO usage_counters VALUES (1, 491639, 1, 5, 1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 7, 0), \
     (1, 491639, 2, 6, 0, 1, 0, 0, 6, 0, 0, 0, 0, 0, 0, 8, 0), \
     (1, 491640, 2, 7, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 9, 0), \
     (2, 491640, 2, 100, 0, 0, 0, 0, 100, 0, 0, 0, 0, 0, 0, 10, 11)",
];

#[tokio::test]
async fn usage_that_was_counted_before_is_in_every_sum() {
    install_default_drivers();
    let (_folder, url) = empty_database();
    let database = AnyPoolOptions::new()
        .max_connections(1)
        .connect(&url)
        .await
        .unwrap();
    let earlier = Migrator::with_migrations(all().iter().take(11).cloned().collect());
    earlier.run(&database).await.unwrap();
    for row in USAGE {
        sqlx::query(AssertSqlSafe(row)).execute(&database).await.unwrap();
    }
    database.close().await;
    let store = Store::open(&url).await.unwrap();
    let of = |key: Option<&str>, customer: Option<&str>| Selection {
        account: ACCOUNT.parse().unwrap(),
        environment: Environment::Production,
        customer: customer.map(|id| id.parse().unwrap()),
        key: key.map(|id| UsedKey::Account(id.parse().unwrap())),
        route: None,
    };
    let account = of(None, None);
    let key = of(Some("0197a1b2-0000-7000-8000-000000000004"), None);
    let customer = of(None, Some("clx8f2k9h0001qr5tgvwxyz12"));
    let span = (UnixMillis(491_000 * 3_600_000), UnixMillis(492_000 * 3_600_000));
    for granularity in [Granularity::Hour, Granularity::Day, Granularity::Month] {
        let stretch = Stretch::new(granularity, span.0, span.1);
        for (of, expected) in [
            (&account, vec![11, 107]),
            (&key, vec![11, 7]),
            (&customer, vec![100]),
        ] {
            let mut series = usage::series(&store, of, stretch).await.unwrap();
            series.sort_by_key(|(start, _)| *start);
            let accepted: Vec<u64> = series.iter().map(|(_, counted)| counted.accepted).collect();
            assert_eq!(accepted, expected, "{granularity:?} {of:?}");
        }
    }
    let (days,): (i64,) =
        sqlx::query_as("SELECT CAST(SUM(accepted + limited) AS BIGINT) FROM usage_account_days")
            .fetch_one(store.readers())
            .await
            .unwrap();
    assert_eq!(days, 120);
}
