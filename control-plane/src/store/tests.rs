use std::str::FromStr as _;

use super::error::postgres_is_away;
use super::*;

#[test]
fn a_server_that_is_away_is_told_from_one_that_is_at_odds_with_us() {
    for away in [
        "57P01", "57P02", "57P03", "57014", "08006", "53300", "53100", "40001", "40P01", "55P03", "25006",
        "28P01", "3D000",
    ] {
        assert!(postgres_is_away(away), "{away}");
    }
    for at_odds in [
        "23505", "23503", "42P01", "42703", "22021", "25P02", "P0001", "0A000",
    ] {
        assert!(!postgres_is_away(at_odds), "{at_odds}");
    }
}

#[test]
fn a_store_never_shows_the_address_that_it_would_listen_at() {
    let options = PgConnectOptions::from_str("postgres://u:secret@db.example/x").unwrap();
    assert_eq!(format!("{:?}", Connecting::Postgres(options)), "…");
}

#[tokio::test]
async fn a_fresh_database_is_made_with_its_folder_and_schema() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/deep/cp.db", folder.path().display());
    for _ in 0..2 {
        let store = Store::open(&url).await.unwrap();
        let (revision,): (i64,) = sqlx::query_as("SELECT revision FROM change_head")
            .fetch_one(store.readers())
            .await
            .unwrap();
        assert_eq!(revision, 0);
        let mut tx = store.begin(Purpose::Change).await.unwrap();
        let (next,): (i64,) =
            sqlx::query_as("UPDATE change_head SET revision = revision + $1 RETURNING revision")
                .bind(1i64)
                .fetch_one(&mut *tx)
                .await
                .unwrap();
        assert_eq!(next, 1);
        tx.rollback().await.unwrap();
    }
}
