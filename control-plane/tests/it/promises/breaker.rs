//! Breaks the database at a chosen point of a change: at its n-th written row, whatever the table, or at its commit.
//!
//! A trigger on every table counts down inside the change's own transaction, so that a rollback winds it up again.

use keyward_control_plane::store::{Engine, Purpose, Store};
use sqlx::any::AnyTypeInfoKind;
use sqlx::{AssertSqlSafe, Column, Row, TypeInfo, ValueRef};

/// What is written beside changes, at any time.
const BESIDE: [&str; 6] = [
    "_sqlx_migrations",
    "control_planes",
    "gateways",
    "idempotency",
    "job_claims",
    "signing_keys",
];
/// Never reached.
const NEVER: i64 = 1_000_000;

/// Where it breaks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Point {
    /// After so many written rows.
    After(i64),
    /// At the very end.
    Commit,
    /// Nowhere.
    Nowhere,
}

/// A database that breaks when it is told to.
pub(super) struct Breaker {
    store: Store,
    tables: Vec<String>,
}

impl Breaker {
    pub(super) async fn new(store: &Store) -> Self {
        let breaker = Self {
            tables: tables(store).await,
            store: store.clone(),
        };
        breaker.install().await;
        breaker
    }

    /// From now on it breaks there.
    pub(super) async fn set(&self, point: Point) {
        let (rows, unpaid) = match point {
            Point::After(rows) => (rows, 0),
            Point::Commit => (NEVER, 1),
            Point::Nowhere => (NEVER, 0),
        };
        self.run(&[format!(
            "UPDATE breaker SET rows_left = {rows}, unpaid = {unpaid}"
        )])
        .await;
    }

    /// Every row of every table.
    pub(super) async fn dump(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut tx = self.store.begin_reading().await.unwrap();
        for table in &self.tables {
            let all = format!("SELECT * FROM {table}");
            let rows = sqlx::query(AssertSqlSafe(all)).fetch_all(&mut *tx).await.unwrap();
            for row in rows {
                let values: Vec<_> = row
                    .columns()
                    .iter()
                    .map(|column| format!("{}={}", column.name(), value(&row, column.ordinal())))
                    .collect();
                lines.push(format!("{table}: {}", values.join(" ")));
            }
        }
        lines.sort_unstable();
        lines
    }

    async fn install(&self) {
        let counted = format!("INSERT INTO breaker (rows_left, unpaid) VALUES ({NEVER}, 0)");
        let mut statements = vec![
            "CREATE TABLE breaker (rows_left BIGINT NOT NULL, unpaid BIGINT NOT NULL)".to_owned(),
            counted,
            // What the commit itself refuses.
            "CREATE TABLE breaker_promises (id BIGINT PRIMARY KEY NOT NULL)".to_owned(),
            "CREATE TABLE breaker_debts (owed BIGINT NOT NULL REFERENCES breaker_promises (id) \
             DEFERRABLE INITIALLY DEFERRED)"
                .to_owned(),
        ];
        match self.store.engine() {
            Engine::Sqlite => statements.extend(self.tables.iter().flat_map(|table| sqlite_triggers(table))),
            Engine::Postgres => {
                statements.push(POSTGRES_STEP.to_owned());
                statements.extend(self.tables.iter().map(|table| {
                    format!(
                        "CREATE TRIGGER breaker_{table} BEFORE INSERT OR UPDATE OR DELETE ON {table} \
                         FOR EACH ROW EXECUTE FUNCTION breaker_step()"
                    )
                }));
            }
        }
        self.run(&statements).await;
    }

    async fn run(&self, statements: &[String]) {
        let mut tx = self.store.begin(Purpose::Other).await.unwrap();
        for statement in statements {
            let statement = AssertSqlSafe(statement.clone());
            sqlx::raw_sql(statement).execute(&mut *tx).await.unwrap();
        }
        tx.commit().await.unwrap();
    }
}

const POSTGRES_STEP: &str = "CREATE FUNCTION breaker_step() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
    UPDATE breaker SET rows_left = rows_left - 1; \
    IF (SELECT rows_left FROM breaker) < 0 THEN RAISE EXCEPTION 'broken'; END IF; \
    IF TG_TABLE_NAME = 'changes' THEN \
        INSERT INTO breaker_debts (owed) SELECT 1 FROM breaker WHERE unpaid = 1; END IF; \
    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW; END $$";

fn sqlite_triggers(table: &str) -> Vec<String> {
    let owe = match table {
        "changes" => "INSERT INTO breaker_debts (owed) SELECT 1 FROM breaker WHERE unpaid = 1;",
        _ => "",
    };
    ["INSERT", "UPDATE", "DELETE"]
        .map(|verb| {
            format!(
                "CREATE TRIGGER breaker_{table}_{verb} BEFORE {verb} ON {table} BEGIN \
                 UPDATE breaker SET rows_left = rows_left - 1; {owe} \
                 SELECT RAISE(ABORT, 'broken') WHERE (SELECT rows_left FROM breaker) < 0; END"
            )
        })
        .to_vec()
}

/// Every table but those that are written beside changes.
async fn tables(store: &Store) -> Vec<String> {
    let all = match store.engine() {
        Engine::Sqlite => {
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY 1"
        }
        Engine::Postgres => {
            "SELECT CAST(table_name AS TEXT) AS name FROM information_schema.tables \
             WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' ORDER BY 1"
        }
    };
    let names: Vec<(String,)> = sqlx::query_as(all).fetch_all(store.readers()).await.unwrap();
    names
        .into_iter()
        .map(|(name,)| name)
        .filter(|name| !BESIDE.contains(&name.as_str()))
        .collect()
}

fn value(row: &sqlx::any::AnyRow, column: usize) -> String {
    let raw = row.try_get_raw(column).unwrap();
    if raw.is_null() {
        return "null".to_owned();
    }
    match raw.type_info().kind() {
        AnyTypeInfoKind::Blob => hex(&row.get::<Vec<u8>, _>(column)),
        AnyTypeInfoKind::Text => row.get(column),
        kind if kind.is_integer() => row.get::<i64, _>(column).to_string(),
        other => panic!("a column of {other:?}: {}", raw.type_info().name()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
