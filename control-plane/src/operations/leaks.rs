//! Keys that were found where they must not be: looked up by their digests, and dealt with as the policy says.
//!
//! All reports of one call are one change: one transaction, one revision, one row of the audit trail, which holds the
//! masks and the places and never a key. A text that is none of our keys costs at most one indexed read and changes
//! nothing.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyward_config::LeakPolicy;
use keyward_contract::find::redact;
use keyward_contract::{
    AccountId, AccountStatus, Environment, KeyDigest, KeyId, KeyKind, KeyMask, KeyState, PlainKey, Record,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::change::{Change, Entry};
use super::{Actor, Changed, Registry, Result};
use crate::domain::admin::{AdminKey, Role};
use crate::domain::gateway::GatewayToken;
use crate::domain::key::{ApiKey, state_as_str};
use crate::store::{accounts, admin_keys, customers, gateway_access, keys};

/// The most characters that are kept of a place where a key was found.
const LONGEST_PLACE: usize = 2_000;

/// One finding, as it was reported. Can't be printed: it holds a key in clear.
pub struct Report {
    /// What was found.
    pub token: Zeroizing<String>,
    /// What the reporter calls its kind.
    pub token_type: Option<String>,
    /// Where it was found.
    pub url: Option<String>,
    /// In what it was found, such as `content` or `commit`.
    pub source: Option<String>,
}

/// What was done to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is disabled, until an operator looks at it.
    Quarantined,
    /// It is revoked for good.
    Revoked,
    /// It goes on, or was never a key.
    None,
    /// It could not be used any more before.
    AlreadyDead,
}

impl Action {
    /// How the surface and the audit trail write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quarantined => "quarantined",
            Self::Revoked => "revoked",
            Self::None => "none",
            Self::AlreadyDead => "already_dead",
        }
    }
}

/// Whether something was one of our keys, and what was done.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// SHA-256 of what was reported, in base64: by this the reporter knows which one it is.
    pub token_hash: String,
    /// What the reporter calls its kind, or else what it is.
    pub token_type: Option<String>,
    /// The key, when it is one of ours.
    pub key: Option<LeakedKey>,
    /// What was done.
    pub action: Action,
    /// Why nothing was done to a living key.
    pub reason: Option<&'static str>,
}

/// One of our keys that leaked.
#[derive(Clone, Debug)]
pub struct LeakedKey {
    /// Its id.
    pub id: KeyId,
    /// Whom it identifies.
    pub kind: KeyKind,
    /// Whose it is; none of an admin key or a gateway's token.
    pub account: Option<AccountId>,
    /// Where it is valid; none of an admin key or a gateway's token.
    pub environment: Option<Environment>,
    /// What may be shown of it.
    pub mask: KeyMask,
    /// What it is now.
    pub state: &'static str,
}

#[derive(Clone)]
struct Found {
    key: LeakedKey,
    action: Action,
    reason: Option<&'static str>,
}

/// Looks up everything that was reported, and does to the living keys among it what the policy says.
///
/// # Errors
/// When the database fails: then nothing was done.
pub async fn report(
    registry: &Registry,
    actor: &Actor,
    reports: Vec<Report>,
) -> Result<Changed<Vec<Outcome>>> {
    let mut dealing = Dealing {
        registry,
        change: Change::begin(registry, actor).await?,
        known: HashMap::new(),
        records: Vec::new(),
        before: Vec::new(),
    };
    let mut outcomes = Vec::with_capacity(reports.len());
    let mut noted = Vec::new();
    for report in &reports {
        let found = dealing.deal_with(&report.token).await?;
        if let Some(found) = &found {
            noted.push(remembered(report, found));
        }
        outcomes.push(outcome(report, found));
    }
    let Dealing {
        change,
        known,
        records,
        before,
        ..
    } = dealing;
    let settled = if noted.is_empty() {
        change.nothing_to_do().await?
    } else {
        let found: Vec<Found> = known.into_values().flatten().collect();
        let entry = entry(actor, &found, before, noted);
        change.commit(entry, &records).await?
    };
    Ok(Changed {
        value: outcomes,
        settled,
    })
}

struct Dealing<'a> {
    registry: &'a Registry,
    change: Change<'a>,
    /// What was looked up already: many places may hold one key.
    known: HashMap<KeyDigest, Option<Found>>,
    records: Vec<Record>,
    before: Vec<Value>,
}

impl Dealing<'_> {
    async fn deal_with(&mut self, token: &str) -> Result<Option<Found>> {
        let Ok(plain) = PlainKey::parse(token.trim()) else {
            return Ok(None);
        };
        let digest = self.registry.digest(plain.expose());
        if let Some(found) = self.known.get(&digest) {
            return Ok(found.clone());
        }
        let tx = &mut self.change.tx;
        let found = match plain.shape().kind {
            KeyKind::Admin => match admin_keys::load_by_digest(tx, digest).await? {
                Some(key) => Some(self.admin_key(key).await?),
                None => None,
            },
            KeyKind::Gateway => match gateway_access::load_token_by_digest(tx, digest).await? {
                Some(token) => Some(self.gateway_token(token).await?),
                None => None,
            },
            KeyKind::Account | KeyKind::Customer => match keys::load_by_digest(tx, digest).await? {
                Some(key) => Some(self.api_key(key).await?),
                None => None,
            },
        };
        self.known.insert(digest, found.clone());
        Ok(found)
    }

    async fn api_key(&mut self, mut key: ApiKey) -> Result<Found> {
        let now = self.change.now;
        let account = accounts::load(&mut self.change.tx, key.account).await?;
        let gone = account.is_none_or(|account| account.status == AccountStatus::Cancelled);
        let (before, held_before) = (key.state, key.held_at);
        let action = match (self.registry.leaks, key.state) {
            (_, KeyState::Revoked | KeyState::Deleted) => Action::AlreadyDead,
            _ if gone || key.is_expired(now) => Action::AlreadyDead,
            (LeakPolicy::Quarantine, KeyState::Disabled) if key.held_at.is_some() => Action::AlreadyDead,
            (LeakPolicy::Report, _) => Action::None,
            // One that its user has disabled is held too: the user must not enable what others know.
            (LeakPolicy::Quarantine, KeyState::Active | KeyState::Disabled) => {
                key.state = KeyState::Disabled;
                key.held_at = Some(now);
                key.updated_at = now;
                Action::Quarantined
            }
            (LeakPolicy::Revoke, KeyState::Active | KeyState::Disabled) => {
                key.revoke(now);
                Action::Revoked
            }
        };
        if (key.state, key.held_at) != (before, held_before) {
            keys::save(&mut self.change.tx, &key).await?;
            let limits = match key.customer {
                Some(id) => {
                    let found = customers::load(&mut self.change.tx, key.account, key.environment, id);
                    found.await?.and_then(|customer| customer.limits)
                }
                None => None,
            };
            self.records.push(Record::Key(key.record(limits)));
            self.before
                .push(json!({"api_key_id": key.id, "state": state_as_str(before)}));
        }
        let kind = match key.customer {
            Some(_) => KeyKind::Customer,
            None => KeyKind::Account,
        };
        Ok(Found {
            key: LeakedKey {
                id: key.id,
                kind,
                account: Some(key.account),
                environment: Some(key.environment),
                mask: key.mask.clone(),
                state: state_as_str(key.state),
            },
            action,
            reason: None,
        })
    }

    /// Neither have gateways' tokens: a new one is quickly made.
    async fn gateway_token(&mut self, token: GatewayToken) -> Result<Found> {
        let now = self.change.now;
        let action = match self.registry.leaks {
            _ if token.revoked_at.is_some() || token.has_expired(now) => Action::AlreadyDead,
            LeakPolicy::Report => Action::None,
            LeakPolicy::Quarantine | LeakPolicy::Revoke => {
                gateway_access::revoke_token(&mut self.change.tx, token.id, now).await?;
                self.before
                    .push(json!({"gateway_token_id": token.id, "state": "active"}));
                Action::Revoked
            }
        };
        let dead = matches!(action, Action::Revoked | Action::AlreadyDead);
        Ok(Found {
            key: LeakedKey {
                id: token.id,
                kind: KeyKind::Gateway,
                account: None,
                environment: None,
                mask: token.mask,
                state: if dead { "revoked" } else { "active" },
            },
            action,
            reason: None,
        })
    }

    /// Admin keys have no quarantine: who holds one could lift it.
    async fn admin_key(&mut self, key: AdminKey) -> Result<Found> {
        let tx = &mut self.change.tx;
        let live = key.is_live();
        let last_owner = live && key.role == Role::Owner && admin_keys::live_owners(tx).await? <= 1;
        let (action, reason) = match self.registry.leaks {
            _ if !live => (Action::AlreadyDead, None),
            LeakPolicy::Report => (Action::None, None),
            LeakPolicy::Quarantine | LeakPolicy::Revoke if last_owner => (
                Action::None,
                Some("it is the last owner key: make another, then revoke this one"),
            ),
            LeakPolicy::Quarantine | LeakPolicy::Revoke => {
                admin_keys::revoke(tx, key.id, self.change.now).await?;
                self.before
                    .push(json!({"admin_key_id": key.id, "state": "active"}));
                (Action::Revoked, None)
            }
        };
        let dead = matches!(action, Action::Revoked | Action::AlreadyDead);
        Ok(Found {
            key: LeakedKey {
                id: key.id,
                kind: KeyKind::Admin,
                account: None,
                environment: None,
                mask: key.mask,
                state: if dead { "revoked" } else { "active" },
            },
            action,
            reason,
        })
    }
}

fn outcome(report: &Report, found: Option<Found>) -> Outcome {
    let (key, action, reason) = match found {
        Some(found) => (Some(found.key), found.action, found.reason),
        None => (None, Action::None, None),
    };
    let own_name = key.as_ref().map(|key| format!("keyward_{}_key", key.kind.noun()));
    Outcome {
        token_hash: STANDARD.encode(Sha256::digest(report.token.as_bytes())),
        token_type: report.token_type.as_deref().map(kept).or(own_name),
        key,
        action,
        reason,
    }
}

fn remembered(report: &Report, found: &Found) -> Value {
    let kept = |text: &Option<String>| text.as_deref().map(kept);
    json!({
        "id": found.key.id,
        "kind": found.key.kind.noun(),
        "customer_id": found.key.account,
        "environment": found.key.environment,
        "mask": found.key.mask,
        "action": found.action.as_str(),
        "state": found.key.state,
        "token_type": kept(&report.token_type),
        "url": kept(&report.url),
        "source": kept(&report.source),
    })
}

/// A text of the reporter's as it may be kept: without keys, and of bounded length.
fn kept(text: &str) -> String {
    redact(text).chars().take(LONGEST_PLACE).collect()
}

/// One key that was dealt with has the action of its own; anything else is a call with several.
fn entry(actor: &Actor, found: &[Found], before: Vec<Value>, noted: Vec<Value>) -> Entry {
    let account = found.first().and_then(|first| first.key.account);
    let one_account = found.iter().all(|found| found.key.account == account);
    let (action, target) = match found {
        [Found { key, action, .. }] if matches!(key.kind, KeyKind::Account | KeyKind::Customer) => {
            let target = ("api_key", key.id.to_string());
            match action {
                Action::Quarantined => ("key.quarantined", target),
                Action::Revoked => ("key.revoked", target),
                Action::None | Action::AlreadyDead => ("keys.leaked", target),
            }
        }
        _ => ("keys.leaked", ("leak_report", actor.request_id.clone())),
    };
    Entry {
        action,
        target,
        account: account.filter(|_| one_account),
        before: Some(json!({"keys": before})),
        after: Some(json!({"reason": "leaked", "reports": noted})),
    }
}
