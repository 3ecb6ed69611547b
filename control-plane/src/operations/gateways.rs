//! Gateways as operators manage them: who may be one, with what token, and what it is sent. Every control plane puts
//! such a change in force at once where it hears of it, and within a second anywhere.

use std::collections::BTreeSet;

use keyward_contract::{AccountId, Environment, KeyId, KeyKind, PlainKey, UnixMillis};
use serde_json::{Value, json};

use super::change::{Change, Entry};
use super::{Actor, Changed, Registry, Result};
use crate::domain::gateway::{GatewayId, GatewaySettings, GatewayToken, MAX_TOKENS};
use crate::domain::refusal::{Conflict, InvalidField, Missing};
use crate::domain::text::Name;
use crate::store::{accounts, gateway_access};
use crate::sync::GatewayStatus;

/// What kinds of things the audit trail calls what is changed here.
pub(super) const GATEWAY: &str = "gateway";
pub(super) const TOKEN: &str = "gateway_token";

/// What is to change; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Whether it is let in.
    pub blocked: Option<bool>,
    /// The accounts that it is sent.
    pub accounts: Option<Option<BTreeSet<AccountId>>>,
    /// The environment whose keys it is sent.
    pub environment: Option<Option<Environment>>,
}

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// What it is called.
    pub name: Option<Name>,
    /// From when on it is dead.
    pub expires_at: Option<UnixMillis>,
}

/// A gateway: what operators say of it, and how it stands where it was seen.
#[derive(Clone, Debug)]
pub struct GatewayView {
    /// What operators say of it.
    pub settings: GatewaySettings,
    /// How it stands; `None`: it was not seen in the last day.
    pub status: Option<GatewayStatus>,
}

/// One gateway.
///
/// # Errors
/// When nobody ever heard of it, or the database fails.
pub async fn show(registry: &Registry, id: &GatewayId) -> Result<GatewayView> {
    let pool = registry.store.readers();
    let settings = gateway_access::settings_of(pool, id).await?;
    registry.gateways.look().await;
    let status = status(registry, id);
    let is_known =
        settings.is_some() || status.is_some() || !gateway_access::tokens_of(pool, id).await?.is_empty();
    if !is_known {
        return Err(Missing::Gateway.into());
    }
    Ok(GatewayView {
        settings: settings.unwrap_or_default(),
        status,
    })
}

fn status(registry: &Registry, id: &GatewayId) -> Option<GatewayStatus> {
    let mut seen = registry.gateways.status().into_iter();
    seen.find(|gateway| gateway.gateway_id == id.as_str())
}

/// Every gateway of which operators have said something.
///
/// # Errors
/// When the database fails.
pub async fn all_settings(registry: &Registry) -> Result<Vec<(GatewayId, GatewaySettings)>> {
    Ok(gateway_access::all_settings(registry.store.readers()).await?)
}

/// Changes what is said of a gateway, whether or not it was ever seen. Its stream ends when it is no longer let in, or
/// is sent something else.
///
/// # Errors
/// When an account isn't there, or the database fails.
pub async fn configure(
    registry: &Registry,
    actor: &Actor,
    id: &GatewayId,
    wanted: Wanted,
) -> Result<Changed<GatewayView>> {
    let mut change = Change::begin(registry, actor).await?;
    let before = gateway_access::settings_of(&mut *change.tx, id)
        .await?
        .unwrap_or_default();
    let mut after = GatewaySettings {
        blocked: wanted.blocked.unwrap_or(before.blocked),
        accounts: wanted.accounts.unwrap_or_else(|| before.accounts.clone()),
        environment: wanted.environment.unwrap_or(before.environment),
        updated_at: before.updated_at,
    };
    for account in after.accounts.iter().flatten() {
        let was_there = before
            .accounts
            .as_ref()
            .is_some_and(|accounts| accounts.contains(account));
        if !was_there && accounts::load(&mut change.tx, *account).await?.is_none() {
            return Err(Missing::Account.into());
        }
    }
    let settled = if after == before {
        change.nothing_to_do().await?
    } else {
        let now = change.now;
        gateway_access::save_settings(&mut change.tx, id, &after, now).await?;
        after.updated_at = Some(now);
        let entry = Entry {
            action: "gateway.updated",
            target: (GATEWAY, id.to_string()),
            account: None,
            before: Some(settings_json(&before)),
            after: Some(settings_json(&after)),
        };
        change.commit(entry, &[]).await?
    };
    let value = GatewayView {
        settings: after,
        status: status(registry, id),
    };
    Ok(Changed { value, settled })
}

fn settings_json(settings: &GatewaySettings) -> Value {
    json!({
        "blocked": settings.blocked,
        "accounts": settings.accounts,
        "environment": settings.environment,
    })
}

/// Makes a token. Its text is in the answer and nowhere else.
///
/// # Errors
/// When the gateway has as many as it may, it would be dead at once, or the database fails.
pub async fn create_token(
    registry: &Registry,
    actor: &Actor,
    gateway: GatewayId,
    wanted: NewToken,
) -> Result<Changed<(GatewayToken, PlainKey)>> {
    let mut change = Change::begin(registry, actor).await?;
    let now = change.now;
    if wanted.expires_at.is_some_and(|end| end <= now) {
        return Err(InvalidField::new("expires_at", "must be in the future").into());
    }
    if gateway_access::living_tokens(&mut change.tx, &gateway, now).await? >= MAX_TOKENS {
        return Err(Conflict::TooManyGatewayTokens.into());
    }
    let minted = registry.mint(KeyKind::Gateway, Environment::Production)?;
    let token = GatewayToken {
        id: KeyId::new(),
        gateway,
        name: wanted.name,
        mask: minted.plain.mask(),
        digest: minted.digest,
        created_at: now,
        expires_at: wanted.expires_at,
        revoked_at: None,
        last_used_at: None,
    };
    gateway_access::insert_token(&mut change.tx, &token).await?;
    let entry = Entry {
        action: "gateway_token.created",
        target: (TOKEN, token.id.to_string()),
        account: None,
        before: None,
        after: Some(json!({
            "gateway_id": token.gateway.as_str(), "name": token.name.as_ref().map(Name::as_str),
            "mask": token.mask, "expires_at": token.expires_at.map(UnixMillis::to_rfc3339_seconds),
        })),
    };
    let settled = change.commit(entry, &[]).await?;
    Ok(Changed {
        value: (token, minted.plain),
        settled,
    })
}

/// A gateway's tokens that were not revoked, newest first.
///
/// # Errors
/// When the database fails.
pub async fn tokens(registry: &Registry, gateway: &GatewayId) -> Result<Vec<GatewayToken>> {
    Ok(gateway_access::tokens_of(registry.store.readers(), gateway).await?)
}

/// Revokes a token; a repeat changes nothing. Streams that were opened with it end.
///
/// # Errors
/// When the gateway has none with this id, or the database fails.
pub async fn revoke_token(
    registry: &Registry,
    actor: &Actor,
    gateway: &GatewayId,
    id: KeyId,
) -> Result<Changed<()>> {
    let mut change = Change::begin(registry, actor).await?;
    let token = gateway_access::load_token(&mut change.tx, id)
        .await?
        .filter(|token| token.gateway == *gateway)
        .ok_or(Missing::GatewayToken)?;
    let settled = if token.revoked_at.is_some() {
        change.nothing_to_do().await?
    } else {
        let now = change.now;
        gateway_access::revoke_token(&mut change.tx, id, now).await?;
        let entry = Entry {
            action: "gateway_token.revoked",
            target: (TOKEN, id.to_string()),
            account: None,
            before: Some(json!({"gateway_id": gateway.as_str(), "status": "active"})),
            after: Some(json!({"gateway_id": gateway.as_str(), "status": "revoked"})),
        };
        change.commit(entry, &[]).await?
    };
    Ok(Changed { value: (), settled })
}
