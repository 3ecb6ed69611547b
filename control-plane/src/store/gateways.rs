//! What the control planes of one PostgreSQL tell each other: who of them lives, and which gateways are on each.
//!
//! All ages are counted by the database's clock, so that the clocks of the machines need not agree. Every statement
//! runs on connections that are kept for this alone: however many calls wait, a control plane can say that it lives.
//! SQLite has one control plane, which only keeps for its next start what gateways it has (`kept`).

use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;

use super::{Result, Store, StoreError, Tx};

pub mod kept;
mod row;

use row::{count, row, wide, written};

/// Where it is told that rows were written. The payload is [`MOVED`] or another word, a space, and the id of the control
/// plane that tells.
pub const TOLD: &str = "keyward_gateways";
/// A control plane came or went, or a gateway was taken in: others may have lost one.
pub const MOVED: &str = "moved";
const STANDING: &str = "standing";
/// A control plane that hasn't renewed its row for so long is no more.
pub const LEASE_MS: i64 = 10_000;
/// A stream on which nothing was heard for so long may be replaced by one on another control plane: the three seconds
/// that hold on one control plane, and what a renewal may be late.
const DEAD_AFTER_MS: i64 = 5_000;
/// Gateways that are gone are kept for so long.
const KEPT_MS: i64 = 24 * 3_600_000;
/// Rows a statement.
const AT_ONCE: usize = 100;

macro_rules! now {
    () => {
        "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
    };
}

/// How a gateway's stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Up, and the gateway holds our log.
    Connected,
    /// Up, and the gateway holds nothing yet.
    Syncing,
    /// It broke.
    Disconnected,
    /// The gateway said goodbye.
    Stopped,
}

impl Stream {
    /// As it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Syncing => "syncing",
            Self::Disconnected => "disconnected",
            Self::Stopped => "stopped",
        }
    }

    /// Whether there is one.
    #[must_use]
    pub fn is_up(self) -> bool {
        matches!(self, Self::Connected | Self::Syncing)
    }

    fn from_stored(text: &str) -> Result<Self> {
        [Self::Connected, Self::Syncing, Self::Disconnected, Self::Stopped]
            .into_iter()
            .find(|stream| stream.as_str() == text)
            .ok_or_else(|| StoreError::corrupt(format!("stream `{text}`")))
    }
}

/// A snapshot that a gateway has not put in force, because it would drop more than half of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldSnapshot {
    /// Its revision.
    pub revision: u64,
    /// Keys in force at the gateway.
    pub held: u64,
    /// Those of them that the snapshot has not.
    pub dropped: u64,
}

/// A gateway, as the control plane that it is on sees it.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Its id.
    pub id: String,
    /// Which of that control plane's streams it has.
    pub session: u64,
    /// Which of its starts it is.
    pub boot_epoch: u64,
    /// Where its proxy listener is.
    pub address: String,
    /// Its version.
    pub version: String,
    /// How its stream stands.
    pub stream: Stream,
    /// The revision in force there.
    pub revision: u64,
    /// Revisions that never will be.
    pub refused: Vec<u64>,
    /// The snapshot that waits for confirmation.
    pub held: Option<HeldSnapshot>,
    /// How long ago it was heard, in milliseconds.
    pub heard_ago_ms: i64,
    /// How long it serves without hearing from us; `None`: for ever.
    pub denies_after_ms: Option<i64>,
}

/// A gateway on another control plane.
#[derive(Clone, Debug)]
pub struct Elsewhere {
    /// What that control plane last said of it.
    pub standing: Standing,
    /// How long ago that control plane said that it lives; `None` when it never did or has resigned.
    pub renewed_ago_ms: Option<i64>,
}

/// What a renewal brought.
#[derive(Clone, Debug, Default)]
pub struct Renewed {
    /// The newest revision, as of after the renewal began.
    pub head: u64,
    /// The gateways among those that were written which are still on this control plane under that session.
    pub ours: Vec<String>,
    /// Every gateway that has a stream on this control plane by its row, with its session.
    pub streams: Vec<(String, u64)>,
    /// Snapshots that were confirmed to gateways on this control plane, by revision.
    pub confirmed: Vec<(String, u64)>,
    /// Whether any other control plane lives.
    pub others_live: bool,
}

/// Takes a gateway in on this control plane; `false` when it is live on another. Durable before this answers.
///
/// # Errors
/// When the database fails.
pub async fn register(store: &Store, control_plane: &str, gateway: &Standing) -> Result<bool> {
    let mut tx = store.begin_coordinating().await?;
    // A stream that was closed or is silent gives way, and so does one of the same start of the same gateway: it has
    // moved over, and its control plane hasn't noticed yet.
    let taken_in = sqlx::query(concat!(
        "INSERT INTO gateways (id, control_plane, session, boot_epoch, address, version, state, revision, refused, \
         heard_at, denies_after_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, '[]', ",
        now!(),
        ", $9) ON CONFLICT (id) DO UPDATE SET control_plane = excluded.control_plane, session = excluded.session, \
         boot_epoch = excluded.boot_epoch, address = excluded.address, version = excluded.version, \
         state = excluded.state, revision = excluded.revision, refused = excluded.refused, \
         heard_at = excluded.heard_at, denies_after_ms = excluded.denies_after_ms, held = '', confirmed = 0 \
         WHERE gateways.control_plane = excluded.control_plane OR gateways.boot_epoch = excluded.boot_epoch \
         OR gateways.state NOT IN ('connected', 'syncing') \
         OR (gateways.heard_at <= ",
        now!(),
        " - $10 AND gateways.boot_epoch < excluded.boot_epoch)"
    ))
    .bind(gateway.id.as_str())
    .bind(control_plane)
    .bind(wide(gateway.session)?)
    .bind(wide(gateway.boot_epoch)?)
    .bind(gateway.address.as_str())
    .bind(gateway.version.as_str())
    .bind(gateway.stream.as_str())
    .bind(wide(gateway.revision)?)
    .bind(gateway.denies_after_ms)
    .bind(DEAD_AFTER_MS)
    .execute(&mut *tx)
    .await?
    .rows_affected();
    tell(&mut tx, MOVED, control_plane).await?;
    tx.commit().await?;
    Ok(taken_in == 1)
}

/// Says that this control plane lives and how gateways on it stand, and reads the newest revision; in this order, in one
/// transaction, so that whoever reads the rows after a change's commit knows at least what this control plane knew
/// before it could have learned of the change.
///
/// # Errors
/// When the database fails.
pub async fn renew(store: &Store, control_plane: &str, gateways: &[Standing], news: News) -> Result<Renewed> {
    let mut tx = store.begin_coordinating().await?;
    sqlx::query(concat!(
        "INSERT INTO control_planes (id, renewed_at) VALUES ($1, ",
        now!(),
        ") ON CONFLICT (id) DO UPDATE SET renewed_at = excluded.renewed_at"
    ))
    .bind(control_plane)
    .execute(&mut *tx)
    .await?;
    let mut renewed = Renewed::default();
    for chunk in gateways.chunks(AT_ONCE) {
        renewed.ours.extend(write(&mut tx, control_plane, chunk).await?);
    }
    match news {
        News::None => {}
        News::Standing => tell(&mut tx, STANDING, control_plane).await?,
        News::Joined => tell(&mut tx, MOVED, control_plane).await?,
    }
    let (head, others): (i64, i64) = sqlx::query_as(concat!(
        "SELECT (SELECT revision FROM change_head WHERE id = 1), (SELECT COUNT(*) FROM control_planes \
         WHERE id <> $1 AND renewed_at > ",
        now!(),
        " - $2)"
    ))
    .bind(control_plane)
    .bind(LEASE_MS)
    .fetch_one(&mut *tx)
    .await?;
    let streams: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT id, session, confirmed FROM gateways WHERE control_plane = $1 AND state IN ('connected', 'syncing')",
    )
    .bind(control_plane)
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    renewed.head = count(head);
    renewed.others_live = others > 0;
    for (id, session, confirmed) in streams {
        if confirmed > 0 {
            renewed.confirmed.push((id.clone(), count(confirmed)));
        }
        renewed.streams.push((id, count(session)));
    }
    Ok(renewed)
}

/// What others are told of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing: it can wait until they look.
    None,
    /// That something was written which a change may be waiting for.
    Standing,
    /// That there is a new control plane.
    Joined,
}

async fn write(tx: &mut Tx, control_plane: &str, gateways: &[Standing]) -> Result<Vec<String>> {
    let rows: Vec<String> = (0..gateways.len())
        .map(|row| {
            let at = |column: usize| row * 7 + column + 2;
            format!(
                "(${}, ${}, ${}, ${}, ${}, ${}, ${})",
                at(0),
                at(1),
                at(2),
                at(3),
                at(4),
                at(5),
                at(6)
            )
        })
        .collect();
    let text = format!(
        "UPDATE gateways AS g SET state = v.state, revision = v.revision, refused = v.refused, held = v.held, \
         heard_at = {now} - v.ago \
         FROM (VALUES {rows}) AS v (id, session, state, revision, refused, held, ago) \
         WHERE g.id = v.id AND g.control_plane = $1 AND g.session = v.session RETURNING g.id",
        now = now!(),
        rows = rows.join(", "),
    );
    // Nothing but our own placeholders is put into the text.
    let mut query = sqlx::query_as(AssertSqlSafe(text))
        .persistent(gateways.len() == 1 || gateways.len() == AT_ONCE)
        .bind(control_plane.to_owned());
    for gateway in gateways {
        query = query
            .bind(gateway.id.clone())
            .bind(wide(gateway.session)?)
            .bind(gateway.stream.as_str())
            .bind(wide(gateway.revision)?)
            .bind(serde_json::to_string(&gateway.refused).map_err(StoreError::corrupt)?)
            .bind(written(gateway.held)?)
            .bind(gateway.heard_ago_ms);
    }
    let rows: Vec<(String,)> = query.fetch_all(&mut **tx).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// Every gateway on another control plane that was heard in the last day.
///
/// # Errors
/// When the database fails.
pub async fn elsewhere(store: &Store, control_plane: &str) -> Result<Vec<Elsewhere>> {
    let rows = sqlx::query(concat!(
        "SELECT g.id, g.session, g.boot_epoch, g.address, g.version, g.state, g.revision, g.refused, g.held, \
         g.denies_after_ms, ",
        now!(),
        " - g.heard_at AS heard_ago, ",
        now!(),
        " - c.renewed_at AS renewed_ago FROM gateways g LEFT JOIN control_planes c ON c.id = g.control_plane \
         WHERE g.control_plane <> $1 AND g.heard_at > ",
        now!(),
        " - $2 ORDER BY g.id"
    ))
    .bind(control_plane)
    .bind(KEPT_MS)
    .fetch_all(store.coordination()?)
    .await?;
    rows.iter().map(row).collect()
}

/// Notes that an operator confirmed the snapshot that a gateway holds, and has its control plane look. Nothing on SQLite,
/// where that is this one.
///
/// # Errors
/// When the database fails.
pub async fn confirm(store: &Store, tx: &mut Tx, id: &str, revision: u64, control_plane: &str) -> Result<()> {
    if store.engine() != super::Engine::Postgres {
        return Ok(());
    }
    sqlx::query("UPDATE gateways SET confirmed = $2 WHERE id = $1")
        .bind(id)
        .bind(wide(revision)?)
        .execute(&mut **tx)
        .await?;
    tell(tx, MOVED, control_plane).await
}

/// Says that this control plane ends: its gateways are on their own. Calls that it still answers stay its own for as long
/// as its last sign of life holds.
///
/// # Errors
/// When the database fails.
pub async fn resign(store: &Store, control_plane: &str) -> Result<()> {
    let mut tx = store.begin_coordinating().await?;
    sqlx::query(
        "UPDATE gateways SET state = 'disconnected' WHERE control_plane = $1 AND state IN ('connected', 'syncing')",
    )
    .bind(control_plane)
    .execute(&mut *tx)
    .await?;
    tell(&mut tx, MOVED, control_plane).await?;
    tx.commit().await?;
    Ok(())
}

/// Takes back this control plane's sign of life, once it answers no call any more: what it left unfinished can be made
/// again at once.
///
/// # Errors
/// When the database fails.
pub async fn leave(store: &Store, control_plane: &str) -> Result<()> {
    sqlx::query("DELETE FROM control_planes WHERE id = $1")
        .bind(control_plane)
        .execute(store.coordination()?)
        .await?;
    Ok(())
}

/// Notes that these have no stream on this control plane, whatever their rows say.
///
/// # Errors
/// When the database fails.
pub async fn disown(store: &Store, control_plane: &str, streams: &[(String, u64)]) -> Result<()> {
    for (id, session) in streams {
        sqlx::query(
            "UPDATE gateways SET state = 'disconnected' WHERE id = $1 AND control_plane = $2 AND session = $3",
        )
        .bind(id.as_str())
        .bind(control_plane)
        .bind(wide(*session)?)
        .execute(store.coordination()?)
        .await?;
    }
    Ok(())
}

/// Forgets the gateways and control planes of which nothing was heard for a day.
///
/// # Errors
/// When the database fails.
pub async fn forget_old(store: &Store) -> Result<()> {
    for statement in [
        concat!("DELETE FROM gateways WHERE heard_at < ", now!(), " - $1"),
        concat!("DELETE FROM control_planes WHERE renewed_at < ", now!(), " - $1"),
    ] {
        sqlx::query(statement)
            .bind(KEPT_MS)
            .execute(store.coordination()?)
            .await?;
    }
    Ok(())
}

/// Has the other control planes read anew once this transaction commits.
async fn tell(tx: &mut Tx, what: &str, control_plane: &str) -> Result<()> {
    sqlx::query("SELECT pg_notify($1, $2)")
        .bind(TOLD)
        .bind(format!("{what} {control_plane}"))
        .execute(&mut **tx)
        .await?;
    Ok(())
}
