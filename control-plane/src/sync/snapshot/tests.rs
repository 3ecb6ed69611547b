//! Files of snapshots: shared, cut to scopes, damaged, and where none can be written.

use keyward_contract::{AccountId, EnvironmentId, KeyId, UnixMillis};

use super::spool::Spool;
use super::*;
use crate::store::{Purpose, changes};

struct Database {
    folder: tempfile::TempDir,
    store: Store,
}

impl Database {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/cp.db", folder.path().display());
        let store = Store::open(&url).await.unwrap();
        Self { folder, store }
    }

    fn snapshots(&self) -> Snapshots {
        Snapshots::new(self.store.clone(), folder(&self.store))
    }

    /// An account with so many keys, half of them of test, as one change.
    async fn add(&self, keys: i64) -> AccountId {
        let (account, mut tx) = (AccountId::new(), self.store.begin(Purpose::Change).await.unwrap());
        let mut statements = vec![format!(
            "INSERT INTO accounts (id, company_name, contact_email, tier, status, metadata, rate_limit, burst_limit, \
             annual_limit, created_at, updated_at) VALUES ('{account}', 'A', 'a@example.com', 'growth', 'active', \
             '{{}}', 100, 200, 10000000, 1, 1)"
        )];
        for kind in ["test", "production"] {
            let id = EnvironmentId::random().unwrap();
            statements.push(format!(
                "INSERT INTO environments (id, account_id, kind, user_key_limit) VALUES ('{id}', '{account}', '{kind}', 20)"
            ));
        }
        let (first,): (i64,) = sqlx::query_as("SELECT COALESCE(MAX(number), 0) + 1 FROM api_keys")
            .fetch_one(&mut *tx)
            .await
            .unwrap();
        for number in first..first + keys {
            let environment = if number % 2 == 0 { "test" } else { "production" };
            statements.push(format!(
                "INSERT INTO api_keys (id, number, account_id, environment, origin, mask, digest, state, api_version, \
                 api_version_changed_at, created_by, created_at, updated_at) VALUES ('{}', {number}, '{account}', \
                 '{environment}', 'keys', 'pk_live_…', x'{number:064x}', 'active', '2026-11-01', 1, 'test', 1, 1)",
                KeyId::new()
            ));
        }
        for statement in statements {
            let statement = sqlx::AssertSqlSafe(statement);
            sqlx::query(statement).execute(&mut *tx).await.unwrap();
        }
        changes::append(&mut tx, UnixMillis(1), &[]).await.unwrap();
        tx.commit().await.unwrap();
        account
    }
}

/// A whole snapshot, as its gateway gets it.
async fn taken(mut snapshot: Snapshot) -> Result<(feed::SnapshotBegin, Vec<feed::Record>), NoSnapshot> {
    let (mut begin, mut records) = (None, Vec::new());
    loop {
        match snapshot.next().await.expect("it has no end")? {
            Piece::Begin(first) => begin = Some(first),
            Piece::Records(piece) => {
                let frame = match piece {
                    Outgoing::Encoded(bytes) => feed::ControlFrame::decode(bytes).unwrap(),
                    Outgoing::Frame(frame) => frame,
                };
                let Some(feed::control_frame::Frame::SnapshotChunk(chunk)) = frame.frame else {
                    panic!("no piece");
                };
                assert!((1..=1_000).contains(&chunk.records.len()));
                records.extend(chunk.records);
            }
            Piece::End(end) => {
                let begin = begin.expect("it had no beginning");
                assert_eq!(
                    (end.revision, end.records),
                    (begin.revision, records.len() as u64)
                );
                return Ok((begin, records));
            }
        }
    }
}

#[tokio::test]
async fn all_who_ask_at_once_are_sent_one_pass() {
    let database = Database::new().await;
    database.add(2_500).await;
    let snapshots = database.snapshots();
    let shelf = &snapshots.0;
    let asked = futures_util::future::join_all((0..40).map(|_| shelf.spool(0, 1))).await;
    let spools: Vec<Arc<Spool>> = asked.into_iter().map(|spool| spool.unwrap().unwrap()).collect();
    assert!(spools.iter().all(|spool| Arc::ptr_eq(spool, &spools[0])));
    // More than may be sent at once: the others have their turn.
    let everything = Scope::default();
    let all = (0..2 * SENT_AT_ONCE).map(|_| taken(snapshots.begin(&everything, 0, 1)));
    for taken in futures_util::future::join_all(all).await {
        let (begin, records) = taken.unwrap();
        assert_eq!((begin.revision, begin.records, records.len()), (1, 2_501, 2_501));
        assert_eq!(begin.history.len(), 32);
    }
    // What is later than the file needs a new one.
    database.add(1).await;
    let later = taken(snapshots.begin(&everything, 2, 2)).await.unwrap();
    assert_eq!((later.0.revision, later.1.len()), (2, 2_503));
    assert_eq!(snapshots.needed(), Some(2));
}

#[tokio::test]
async fn a_file_serves_while_it_is_new_and_its_gateways_are_not_long_behind() {
    let database = Database::new().await;
    database.add(10).await;
    let shelf = Arc::clone(&database.snapshots().0);
    let spool = shelf.spool(0, 1).await.unwrap().unwrap();
    assert!(Spool::read(&spool, u64::MAX).await.unwrap().is_none());
    // It is the newest state, or was made in no time: then a new one is as quickly made.
    assert!(spool.serves(1, 1) && spool.serves(0, 1));
    assert!(!spool.serves(2, 2));
    let again = shelf.spool(0, 2).await.unwrap().unwrap();
    assert!(!Arc::ptr_eq(&spool, &again));
    let slow = again.as_if_it_took(Duration::from_secs(2));
    assert!(slow.serves(1, 1 + MOST_BEHIND));
    assert!(!slow.serves(1, 2 + MOST_BEHIND));
    assert!(!slow.serves(2, 2));
}

#[tokio::test]
async fn a_scope_is_sent_its_part_and_how_many_there_were() {
    let database = Database::new().await;
    let ours = database.add(1_500).await;
    database.add(1_500).await;
    let everything = taken(database.snapshots().begin(&Scope::default(), 0, 2))
        .await
        .unwrap();
    let scope = Scope {
        accounts: Some(Arc::new([ours].into())),
        environment: Some(keyward_contract::Environment::Test),
    };
    let expected: Vec<feed::Record> = everything
        .1
        .into_iter()
        .filter(|record| scope.keeps(record))
        .collect();
    assert_eq!(expected.len(), 751);
    let snapshots = database.snapshots();
    let (begin, records) = taken(snapshots.begin(&scope, 0, 2)).await.unwrap();
    assert_eq!((begin.revision, begin.records), (2, 0));
    assert!(records == expected);
    // Nothing at all is a whole snapshot too.
    let nobody = Scope {
        accounts: Some(Arc::default()),
        environment: None,
    };
    assert_eq!(taken(snapshots.begin(&nobody, 0, 2)).await.unwrap().1, []);
}

#[tokio::test]
async fn where_no_file_can_be_written_gateways_are_sent_the_database_itself() {
    let database = Database::new().await;
    database.add(2_500).await;
    let nowhere = database.folder.path().join("nowhere");
    let snapshots = Snapshots::new(database.store.clone(), nowhere);
    let all = (0..6).map(|_| taken(snapshots.begin(&Scope::default(), 0, 1)));
    for taken in futures_util::future::join_all(all).await {
        let (begin, records) = taken.unwrap();
        assert_eq!((begin.revision, begin.records, records.len()), (1, 2_501, 2_501));
    }
    assert_eq!(snapshots.needed(), None);
}

#[tokio::test]
async fn a_file_that_can_not_take_all_of_it_ends_the_stream_and_the_next_one_does_without() {
    let database = Database::new().await;
    database.add(2_500).await;
    let snapshots = database.snapshots();
    // Every write to this device fails as on a full disk.
    let full = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/full")
        .unwrap();
    let walk = Walk::begin(&database.store, UnixMillis(1)).await.unwrap();
    let spool = Spool::over(full, walk, None);
    *snapshots.0.newest.lock() = Some(spool);
    // Whoever is sent it already has its stream ended.
    match taken(snapshots.begin(&Scope::default(), 0, 1)).await {
        Err(NoSnapshot::Broken(_)) => {}
        first => assert_eq!(first.unwrap().1.len(), 2_501),
    }
    let second = taken(snapshots.begin(&Scope::default(), 0, 1)).await.unwrap();
    assert_eq!(second.1.len(), 2_501);
    assert_eq!(snapshots.needed(), None);
}

#[tokio::test]
async fn a_damaged_file_puts_nothing_false_in_force() {
    let database = Database::new().await;
    database.add(2_500).await;
    let snapshots = database.snapshots();
    let everything = Scope::default();
    taken(snapshots.begin(&everything, 0, 1)).await.unwrap();
    let spool = snapshots.0.newest.lock().clone().unwrap();
    spool.damage();
    let damaged = taken(snapshots.begin(&everything, 0, 1)).await;
    assert!(matches!(damaged, Err(NoSnapshot::Broken(_))), "{damaged:?}");
    // It is used no more.
    taken(snapshots.begin(&everything, 0, 1)).await.unwrap();
}

#[tokio::test]
async fn nothing_of_a_file_is_left_beside_the_database() {
    let database = Database::new().await;
    database.add(10).await;
    let snapshots = database.snapshots();
    let taken = taken(snapshots.begin(&Scope::default(), 0, 1)).await;
    taken.unwrap();
    let names = std::fs::read_dir(database.folder.path()).unwrap();
    for entry in names {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name.starts_with("cp.db"), "{name}");
    }
}

/// How many keys the next test reads; with more it says how fast that is: `KEYWARD_MEASURED_KEYS=1000000`.
fn measured_keys() -> i64 {
    let keys = std::env::var("KEYWARD_MEASURED_KEYS").ok();
    keys.and_then(|keys| keys.parse().ok()).unwrap_or(20_000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_is_sent_a_pass_while_it_is_read() {
    let (database, keys) = (Database::new().await, measured_keys());
    let account = database.add(0).await;
    let mut tx = database.store.begin(Purpose::Change).await.unwrap();
    let insert = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {keys}) \
         INSERT INTO api_keys (id, number, account_id, environment, customer_id, origin, mask, digest, state, \
         api_version, api_version_changed_at, created_by, created_at, updated_at) \
         SELECT printf('0197a1b2-%04x-7000-8000-%012x', i % 65536, i), i, '{account}', 'production', \
         CASE i % 2 WHEN 0 THEN printf('c%024d', i) END, 'portal', 'ck_live_abcdef…xyz', randomblob(32), 'active', \
         '2026-11-01', 1, 'test', 1, 1 FROM n"
    );
    sqlx::query(sqlx::AssertSqlSafe(insert))
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();

    let snapshots = database.snapshots();
    let first = timed(&snapshots).await;
    let spool = snapshots.0.newest.lock().clone().unwrap();
    assert_eq!((first.1, spool.records()), (keys as u64 + 1, keys as u64 + 1));
    let again = timed(&snapshots).await;
    let direct = Snapshots::new(database.store.clone(), database.folder.path().join("nowhere"));
    let direct = timed(&direct).await;
    println!(
        "{keys} keys, {} MB: sent while they were read in {:?}, again in {:?}, without a file in {:?}",
        again.2 / 1_000_000,
        first.0,
        again.0,
        direct.0
    );
    assert_eq!((again.1, direct.1), (first.1, first.1));
}

/// How long a gateway takes that does nothing with its snapshot; how many records and bytes there were.
async fn timed(snapshots: &Snapshots) -> (Duration, u64, usize) {
    let began = Instant::now();
    let mut snapshot = snapshots.begin(&Scope::default(), 0, 1);
    let mut bytes = 0;
    loop {
        match snapshot.next().await.unwrap().unwrap() {
            Piece::Begin(_) => {}
            Piece::Records(Outgoing::Encoded(piece)) => bytes += piece.len(),
            Piece::Records(Outgoing::Frame(piece)) => bytes += piece.encoded_len(),
            Piece::End(end) => return (began.elapsed(), end.records, bytes),
        }
    }
}
