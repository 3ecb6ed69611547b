//! Webhooks: who is told of what, how a message is signed (Standard Webhooks), and when a failed delivery is tried
//! again. Costs nothing but the HMAC.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use keyward_contract::UnixMillis;
use sha2::Sha256;
use uuid::Uuid;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::refusal::InvalidField;

/// The longest address, in characters.
pub const MAX_URL: usize = 2_048;
/// The longest description, in characters.
pub const MAX_DESCRIPTION: usize = 255;
/// How many webhooks there may be.
pub const MAX_WEBHOOKS: usize = 50;
/// How long deliveries are tried, from the event or the replay on.
pub const TRIED_FOR: Duration = Duration::from_secs(24 * 3_600);
/// How long events and their deliveries are kept.
pub const KEPT_FOR: Duration = Duration::from_secs(30 * 86_400);

const FIRST_PAUSE_MS: i64 = 5_000;
const LONGEST_PAUSE_MS: i64 = 3_600_000;
const SECRET_BYTES: usize = 32;
const SECRET_PREFIX: &str = "whsec_";

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new one; later ones sort after earlier ones.
            #[must_use]
            pub fn random() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                // The hyphenated form alone is one.
                let hyphenated = if text.len() == 36 { text } else { "" };
                Uuid::try_parse(hyphenated).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// The id of a webhook.
    WebhookId
);
id!(
    /// The id of one event's delivery to one webhook.
    DeliveryId
);

/// What can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A key was made.
    KeyCreated,
    /// A key took another's place.
    KeyRotated,
    /// A key died, in whatever way.
    KeyRevoked,
    /// A key will expire soon.
    KeyExpiring,
    /// An account was made.
    CustomerCreated,
    /// An account was changed.
    CustomerUpdated,
    /// An account was suspended.
    CustomerSuspended,
    /// A suspended account is active again.
    CustomerResumed,
    /// An account is gone for good.
    CustomerCancelled,
    /// An account has used 80 % of its year.
    Quota80,
    /// An account has used 95 % of its year.
    Quota95,
    /// An account has used all of its year.
    Quota100,
    /// Somebody wants to see whether the webhook works. Not subscribed to: it goes where it was asked for.
    Test,
}

impl EventKind {
    /// All that can be subscribed to.
    pub const ALL: [Self; 12] = [
        Self::KeyCreated,
        Self::KeyRotated,
        Self::KeyRevoked,
        Self::KeyExpiring,
        Self::CustomerCreated,
        Self::CustomerUpdated,
        Self::CustomerSuspended,
        Self::CustomerResumed,
        Self::CustomerCancelled,
        Self::Quota80,
        Self::Quota95,
        Self::Quota100,
    ];

    /// The `type` of its message.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KeyCreated => "key.created",
            Self::KeyRotated => "key.rotated",
            Self::KeyRevoked => "key.revoked",
            Self::KeyExpiring => "key.expiring",
            Self::CustomerCreated => "customer.created",
            Self::CustomerUpdated => "customer.updated",
            Self::CustomerSuspended => "customer.suspended",
            Self::CustomerResumed => "customer.resumed",
            Self::CustomerCancelled => "customer.cancelled",
            Self::Quota80 => "quota.80",
            Self::Quota95 => "quota.95",
            Self::Quota100 => "quota.100",
            Self::Test => "webhook.test",
        }
    }

    /// The one with this `type`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// What a webhook is subscribed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subscription {
    /// Everything, what later versions add too.
    All,
    /// These, without duplicates, in the order in which they were given.
    Only(Vec<EventKind>),
}

impl Subscription {
    /// Reads a list of event types; `["*"]` is all of them.
    ///
    /// # Errors
    /// When it is empty or names an event that there is not.
    pub fn parse(field: &'static str, names: &[&str]) -> Result<Self, InvalidField> {
        if names == ["*"] {
            return Ok(Self::All);
        }
        let mut kinds = Vec::new();
        for name in names {
            let kind = EventKind::from_name(name).ok_or_else(|| unknown(field))?;
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        if kinds.is_empty() {
            return Err(InvalidField::new(
                field,
                "must not be empty; [\"*\"] means all events",
            ));
        }
        Ok(Self::Only(kinds))
    }

    /// As it is written: the reverse of [`Self::parse`].
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        match self {
            Self::All => vec!["*"],
            Self::Only(kinds) => kinds.iter().map(|kind| kind.as_str()).collect(),
        }
    }

    /// Whether it has this event in it.
    #[must_use]
    pub fn has(&self, kind: EventKind) -> bool {
        match self {
            Self::All => true,
            Self::Only(kinds) => kinds.contains(&kind),
        }
    }
}

fn unknown(field: &'static str) -> InvalidField {
    let known: Vec<_> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
    InvalidField::new(field, format!("must be [\"*\"] or some of {}", known.join(", ")))
}

/// Where messages go: `https` anywhere, `http` on this machine alone, and no credentials in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(reqwest::Url);

impl Endpoint {
    /// Reads an address as it was typed.
    ///
    /// # Errors
    /// When it is none that messages may go to.
    pub fn parse(field: &'static str, typed: &str) -> Result<Self, InvalidField> {
        let no = |reason: &'static str| InvalidField::new(field, reason);
        if typed.len() > MAX_URL {
            return Err(no("must have at most 2048 characters"));
        }
        // The parser would drop these silently.
        if typed.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(no("must be an absolute URL without white space"));
        }
        let url = reqwest::Url::parse(typed).map_err(|_| no("must be an absolute URL"))?;
        if url.as_str().len() > MAX_URL {
            return Err(no("must have at most 2048 characters"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(no("must not have a user name or password in it"));
        }
        if url.fragment().is_some() {
            return Err(no("must not have a fragment"));
        }
        match (url.scheme(), url.host_str()) {
            ("https", Some(_)) => Ok(Self(url)),
            ("http", Some(host)) if is_loopback(host) => Ok(Self(url)),
            _ => Err(no("must be https; http is for this machine alone")),
        }
    }

    /// The address.
    #[must_use]
    pub fn url(&self) -> &reqwest::Url {
        &self.0
    }

    /// What of it may be kept where many read: the query, which may hold a token, is left out.
    #[must_use]
    pub fn without_query(&self) -> String {
        let mut url = self.0.clone();
        url.set_query(None);
        url.to_string()
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// What signs. Can't be printed; shown once, by [`Self::expose`].
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// A new one.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = vec![0; SECRET_BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// One that was opened from its seal.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// What is sealed.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its text, for the one answer that shows it.
    #[must_use]
    pub fn expose(&self) -> String {
        format!("{SECRET_PREFIX}{}", STANDARD.encode(&self.0))
    }

    /// The signature of a message: `v1,` and the HMAC-SHA256 of its id, time and body.
    #[must_use]
    pub fn sign(&self, message_id: &str, timestamp: i64, body: &[u8]) -> String {
        // HMAC takes keys of every length.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            return String::new();
        };
        mac.update(format!("{message_id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Whether a webhook is told anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookStatus {
    /// It is.
    Active,
    /// An operator switched it off.
    Disabled,
    /// Its endpoint answered 410.
    Gone,
}

impl WebhookStatus {
    /// `active` or `disabled`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled | Self::Gone => "disabled",
        }
    }

    /// Why it is disabled.
    #[must_use]
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Active => None,
            Self::Disabled => Some("operator"),
            Self::Gone => Some("gone"),
        }
    }

    /// The reverse of the two above.
    #[must_use]
    pub fn from_stored(status: &str, reason: Option<&str>) -> Self {
        match (status, reason) {
            ("active", _) => Self::Active,
            (_, Some("gone")) => Self::Gone,
            _ => Self::Disabled,
        }
    }
}

/// A webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Where messages go.
    pub endpoint: Endpoint,
    /// What it is told.
    pub events: Subscription,
    /// The operator's note.
    pub description: Option<String>,
    /// Whether it is told anything.
    pub status: WebhookStatus,
    /// The sealed secret.
    pub secret: Vec<u8>,
    /// The sealed secret before, and the first instant at which it no longer signs.
    pub old_secret: Option<(Vec<u8>, UnixMillis)>,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it was last changed.
    pub updated_at: UnixMillis,
}

/// How long to wait after the `tries`-th failed attempt: from five seconds, twice as long each time up to an hour,
/// a fifth more or less by `chance`, so that many deliveries don't come back in one wave.
#[must_use]
pub fn pause_ms(tries: i64, chance: u16) -> i64 {
    let doublings = tries.clamp(1, 20) - 1;
    let pause = (FIRST_PAUSE_MS << doublings).min(LONGEST_PAUSE_MS);
    pause * 4 / 5 + pause * 2 / 5 * i64::from(chance) / i64::from(u16::MAX)
}

#[cfg(test)]
mod tests;
