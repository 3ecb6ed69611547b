//! The OpenID Connect issuer whose tokens are taken too: its keys, and what they prove.
//!
//! The keys are in memory. They are fetched again when they are old, and when a token names one that isn't among them
//! (its issuer has rotated), then at most once every ten seconds, by one call for all. A token whose key is known never
//! waits for the network. While the issuer is away the last good keys hold, also over a restart: they are kept in the
//! database, sealed, so that nobody who can write there can put in keys of their own.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyward_config::OidcConfig;
use keyward_contract::UnixMillis;
use parking_lot::RwLock;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::seal::MasterKey;
use crate::domain::token::{Claims, Expected, Flaw, KeySet, Unproven};
use crate::store::{Store, settings};

mod fetch;

use fetch::{Fetched, Fetcher};

/// The longest that a call waits for keys to be fetched.
const PATIENCE: Duration = Duration::from_secs(5);
/// The least time between two fetches that calls ask for.
const BETWEEN: Duration = Duration::from_secs(10);
/// How long after a failure the keys are fetched again in the background.
const AGAIN: Duration = Duration::from_secs(15);
const SETTING: &str = "oidc_keys";
/// Tokens that say of what kind they are must be of one of these: not, say, a logout token.
const KINDS: [Option<&str>; 3] = [None, Some("jwt"), Some("at+jwt")];

/// An issuer of tokens.
#[derive(Debug)]
pub struct Oidc {
    config: OidcConfig,
    fetcher: Fetcher,
    store: Store,
    master_key: MasterKey,
    clock: Clock,
    keys: RwLock<Arc<KeySet>>,
    flight: Mutex<Flight>,
}

/// Held while the keys are fetched, so that one call fetches for all.
#[derive(Debug, Default)]
struct Flight {
    last: Option<Duration>,
    failing: bool,
    /// What is in force, to see whether it changed.
    text: Vec<u8>,
}

impl Oidc {
    /// Makes ready to take this issuer's tokens, with the keys that were last fetched. The issuer itself is not asked:
    /// a control plane starts without it.
    ///
    /// # Errors
    /// When the database fails, or no client can be made.
    pub async fn open(
        config: OidcConfig,
        store: Store,
        master_key: MasterKey,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let oidc = Self {
            fetcher: Fetcher::new(&config)?,
            config,
            store,
            master_key,
            clock,
            keys: RwLock::default(),
            flight: Mutex::default(),
        };
        if let Some(text) = oidc.kept().await? {
            match KeySet::parse(&text) {
                Ok(keys) => {
                    *oidc.keys.write() = Arc::new(keys);
                    oidc.flight.lock().await.text = text;
                }
                Err(error) => {
                    tracing::warn!(%error, "the kept keys of the OpenID Connect issuer are no good")
                }
            }
        }
        Ok(oidc)
    }

    /// Who it is, to the letter.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.config.issuer
    }

    /// The claim with what surface 4 lets a user do.
    #[must_use]
    pub fn claims_name(&self) -> &str {
        &self.config.claims
    }

    /// What a token of this issuer says, if it is sound, for us, and holds now.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn prove(&self, token: Unproven<'_>, now: UnixMillis) -> Result<Claims, Flaw> {
        let token = token.of_kind(&KINDS)?;
        let mut keys = self.keys();
        if keys.of(&token).is_none() {
            // What takes longer goes on without this call, or is left to the next one.
            let _ = tokio::time::timeout(PATIENCE, self.fetch_for_a_call(&keys)).await;
            keys = self.keys();
        }
        let Some(key) = keys.of(&token) else {
            return Err(if keys.is_empty() {
                Flaw::NoKeys
            } else {
                Flaw::UnknownKey
            });
        };
        let claims = token.prove(key)?;
        let expected = Expected {
            issuer: &self.config.issuer,
            audience: &self.config.audience,
            leeway: self.config.leeway,
        };
        claims.check(expected, now).map(|()| claims)
    }

    /// Keeps the keys fresh until the end.
    pub async fn run(&self, stop: CancellationToken) {
        loop {
            let fresh_for = {
                let mut flight = self.flight.lock().await;
                tokio::select! {
                    () = stop.cancelled() => return,
                    fresh_for = self.fetch(&mut flight) => fresh_for.unwrap_or(AGAIN),
                }
            };
            if tokio::time::timeout(fresh_for, stop.cancelled()).await.is_ok() {
                return;
            }
        }
    }

    fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.keys.read())
    }

    /// Fetches the keys because `seen` lack one, unless another call just did.
    async fn fetch_for_a_call(&self, seen: &Arc<KeySet>) {
        let mut flight = self.flight.lock().await;
        let now = self.clock.monotonic();
        let just_now = flight.last.is_some_and(|last| now.saturating_sub(last) < BETWEEN);
        if !just_now && Arc::ptr_eq(seen, &self.keys()) {
            let _ = self.fetch(&mut flight).await;
        }
    }

    /// Fetches the keys and puts them in force; says how long they are fresh. What goes wrong is logged once.
    async fn fetch(&self, flight: &mut Flight) -> Option<Duration> {
        // Before and after: a call that loses patience ends the fetch with it.
        flight.last = Some(self.clock.monotonic());
        let fetched = self.fetcher.fetch().await;
        flight.last = Some(self.clock.monotonic());
        let Fetched {
            text,
            keys,
            fresh_for,
        } = match fetched {
            Ok(fetched) => fetched,
            Err(error) => {
                if !flight.failing {
                    tracing::warn!(issuer = %self.config.issuer, error = format!("{error:#}"),
                        "the keys of the OpenID Connect issuer can't be fetched: the last good ones hold");
                }
                flight.failing = true;
                return None;
            }
        };
        flight.failing = false;
        if flight.text != text {
            if let Err(error) = self.keep(&text).await {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the OpenID Connect issuer's keys were not kept"
                );
            }
            *self.keys.write() = Arc::new(keys);
            flight.text = text;
            tracing::info!(issuer = %self.config.issuer, "new keys of the OpenID Connect issuer are in force");
        }
        Some(fresh_for)
    }

    async fn keep(&self, text: &[u8]) -> anyhow::Result<()> {
        let sealed = self.master_key.seal(self.context().as_bytes(), text)?;
        settings::set(&self.store, SETTING, &STANDARD.encode(sealed)).await?;
        Ok(())
    }

    /// The keys that were last fetched from this issuer; those of another one don't open.
    async fn kept(&self) -> anyhow::Result<Option<Vec<u8>>> {
        let kept = settings::value(&self.store, SETTING).await?;
        let sealed = kept.and_then(|kept| STANDARD.decode(kept).ok());
        let text = sealed.and_then(|sealed| self.master_key.open(self.context().as_bytes(), &sealed).ok());
        Ok(text.map(|text| text.to_vec()))
    }

    fn context(&self) -> String {
        format!("oidc-keys:{}", self.config.issuer)
    }
}
