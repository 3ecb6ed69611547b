//! A database of any earlier version is brought forward with everything in it.

use keyward_contract::UnixMillis;
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
