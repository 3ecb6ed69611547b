//! One change: a transaction that ends with its audit row and its place in the change log, then waits until the
//! gateways have it in force.

use std::time::Duration;

use keyward_contract::{AccountId, Record, UnixMillis};
use serde_json::Value;
use sqlx::{Any, Transaction};

use super::idempotency::Mark;
use super::webhooks::outbox::{self, Published};
use super::{Registry, Result};
use crate::store::{Purpose, StoreError, audit, changes, idempotency};
use crate::sync::Propagation;

/// How long a change of who may be a gateway waits until it is in force here. It takes two small reads.
const GATEWAY_ACCESS_WITHIN: Duration = Duration::from_secs(1);

/// Who does something, and through which call.
#[derive(Clone, Debug)]
pub struct Actor {
    /// What kind of credential.
    pub kind: ActorKind,
    /// Its id.
    pub id: String,
    /// The call.
    pub request_id: String,
    /// Where the call came from.
    pub address: String,
    /// The idempotency key that the call runs under.
    pub once: Option<Mark>,
}

impl Actor {
    /// The control plane itself, or whoever runs its program.
    #[must_use]
    pub fn system(what: &str) -> Self {
        Self {
            kind: ActorKind::System,
            id: what.to_owned(),
            request_id: uuid::Uuid::now_v7().to_string(),
            address: String::new(),
            once: None,
        }
    }
}

/// What kind of credential acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActorKind {
    /// An operator's key.
    AdminKey,
    /// An account's key.
    AccountKey,
    /// A user, by a token.
    User,
    /// No credential: the program itself.
    System,
}

impl ActorKind {
    /// How the audit trail writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AdminKey => "admin_key",
            Self::AccountKey => "account_key",
            Self::User => "user",
            Self::System => "system",
        }
    }
}

/// What the audit trail remembers of a change.
#[derive(Debug)]
pub struct Entry {
    /// Such as `key.revoked`.
    pub action: &'static str,
    /// What kind of thing, and which one.
    pub target: (&'static str, String),
    /// The account that it concerns.
    pub account: Option<AccountId>,
    /// What it was.
    pub before: Option<Value>,
    /// What it became.
    pub after: Option<Value>,
}

/// What a change led to.
#[derive(Clone, Debug)]
pub struct Settled {
    /// Its place in the change log.
    pub revision: u64,
    /// How far it has come.
    pub propagation: Propagation,
}

/// A value that a change led to.
#[derive(Clone, Debug)]
pub struct Changed<T> {
    /// The value.
    pub value: T,
    /// The change.
    pub settled: Settled,
}

/// A change under way. Dropping it leaves everything as it was.
#[derive(Debug)]
pub struct Change<'a> {
    /// The transaction.
    pub tx: Transaction<'static, Any>,
    /// The instant of the change, read once the database was ours: later changes have later instants.
    pub now: UnixMillis,
    registry: &'a Registry,
    actor: &'a Actor,
}

impl<'a> Change<'a> {
    /// Begins a change.
    ///
    /// # Errors
    /// When the database can't be reached or stays locked.
    pub async fn begin(registry: &'a Registry, actor: &'a Actor) -> Result<Self> {
        let tx = registry.store.begin(Purpose::Change).await?;
        Ok(Self {
            tx,
            now: registry.clock.now(),
            registry,
            actor,
        })
    }

    /// The id of who does it.
    #[must_use]
    pub fn actor_id(&self) -> &'a str {
        &self.actor.id
    }

    /// Notes, publishes and commits it, and waits for the gateways.
    ///
    /// # Errors
    /// When the database fails: then nothing happened.
    pub async fn commit(self, entry: Entry, records: &[Record]) -> Result<Settled> {
        self.commit_all(vec![entry], records).await
    }

    /// The same for a change of several things, with an audit row each. The records are the first entry's.
    ///
    /// # Errors
    /// When the database fails: then nothing happened.
    pub async fn commit_all(mut self, entries: Vec<Entry>, records: &[Record]) -> Result<Settled> {
        let mut due = Published::Nothing;
        let of_gateways = entries
            .iter()
            .any(|entry| matches!(entry.target.0, super::gateways::GATEWAY | super::gateways::TOKEN));
        for (place, entry) in entries.into_iter().enumerate() {
            let records = if place == 0 { records } else { &[] };
            due = due.max(outbox::publish(&mut self.tx, self.now, &entry, records).await?);
            let event = self.event(entry);
            audit::insert(&mut self.tx, &event).await?;
        }
        if let Some(mark) = &self.actor.once {
            idempotency::mark_acted(&mut self.tx, mark).await?;
        }
        let revision = changes::append(&mut self.tx, self.now, records).await?;
        self.tx.commit().await.map_err(StoreError::from)?;
        signal(self.registry, due, records);
        if of_gateways {
            // Here it is in force before this answers; elsewhere as soon as it is heard of.
            let signals = self.registry.store.signals();
            signals.gateway_access_changed();
            signals.gateway_access_in_force(GATEWAY_ACCESS_WITHIN).await;
        }
        self.registry.gateways.announce(revision);
        let propagation = self.registry.gateways.acknowledged(revision).await;
        Ok(Settled {
            revision,
            propagation,
        })
    }

    /// Ends a call that changed nothing: says how far the newest revision has come.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn nothing_to_do(mut self) -> Result<Settled> {
        let revision = changes::head_in(&mut self.tx).await?;
        self.tx.rollback().await.map_err(StoreError::from)?;
        let propagation = self.registry.gateways.acknowledged(revision).await;
        Ok(Settled {
            revision,
            propagation,
        })
    }

    fn event(&self, entry: Entry) -> audit::Event {
        let (target_kind, target_id) = entry.target;
        audit::Event {
            id: uuid::Uuid::now_v7().to_string(),
            at: self.now,
            actor_kind: self.actor.kind.as_str().to_owned(),
            actor_id: self.actor.id.clone(),
            action: entry.action.to_owned(),
            target_kind: target_kind.to_owned(),
            target_id,
            account: entry.account.map(|id| id.to_string()),
            before: entry.before.map(|value| value.to_string()),
            after: entry.after.map(|value| value.to_string()),
            request_id: self.actor.request_id.clone(),
            address: self.actor.address.clone(),
        }
    }
}

/// Wakes the jobs that have something to do now: deliveries, and accounts whose limit or year may be another.
fn signal(registry: &Registry, due: Published, records: &[Record]) {
    let signals = registry.store.signals();
    if due == Published::Due {
        signals.deliveries_are_due();
    }
    signals.spent(records.iter().filter_map(|record| match record {
        Record::Account(account) => Some(account.id),
        Record::Key(_) => None,
    }));
}
