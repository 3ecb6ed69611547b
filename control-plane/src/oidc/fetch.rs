//! Fetching an issuer's keys: its discovery document, then the key set that it names. Bounded in time and size; no
//! redirect is followed.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use http::header;
use keyward_config::{OidcConfig, is_https_or_loopback};
use serde::Deserialize;

use crate::domain::token::KeySet;

/// From the first byte sent to the last one received, for each of the two documents.
const WITHIN: Duration = Duration::from_secs(5);
const MOST_BYTES: usize = 256 * 1024;
/// However short a time an issuer wants its keys to be kept, they are not fetched more often.
const LEAST_FRESH: Duration = Duration::from_secs(60);

/// What was fetched.
pub(super) struct Fetched {
    /// The key set as it came.
    pub(super) text: Vec<u8>,
    /// Its keys.
    pub(super) keys: KeySet,
    /// How long it needn't be fetched again.
    pub(super) fresh_for: Duration,
}

/// What fetches.
#[derive(Debug)]
pub(super) struct Fetcher {
    client: reqwest::Client,
    issuer: String,
    most_fresh: Duration,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Fetcher {
    pub(super) fn new(config: &OidcConfig) -> anyhow::Result<Self> {
        let mut client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(2))
            .timeout(WITHIN)
            .user_agent(concat!("keyward/", env!("CARGO_PKG_VERSION")));
        if config.issuer.starts_with("http://") {
            // It is on this machine: no proxy lies between.
            client = client.no_proxy();
        }
        Ok(Self {
            client: client
                .build()
                .context("no client for the OpenID Connect issuer")?,
            issuer: config.issuer.clone(),
            most_fresh: config.jwks_refresh,
        })
    }

    pub(super) async fn fetch(&self) -> anyhow::Result<Fetched> {
        let base = self.issuer.trim_end_matches('/');
        let (discovery, _) = self
            .document(&format!("{base}/.well-known/openid-configuration"))
            .await?;
        let discovery: Discovery =
            serde_json::from_slice(&discovery).context("the discovery document is none")?;
        ensure!(
            discovery.issuer == self.issuer,
            "the discovery document is of the issuer {:?}",
            discovery.issuer
        );
        ensure!(
            is_https_or_loopback(&discovery.jwks_uri),
            "jwks_uri {:?} is no https address, nor one of this machine",
            discovery.jwks_uri
        );
        let (text, max_age) = self.document(&discovery.jwks_uri).await?;
        let keys = KeySet::parse(&text)?;
        let fresh_for = max_age.unwrap_or(self.most_fresh);
        Ok(Fetched {
            text,
            keys,
            fresh_for: fresh_for.min(self.most_fresh).max(LEAST_FRESH),
        })
    }

    async fn document(&self, url: &str) -> anyhow::Result<(Vec<u8>, Option<Duration>)> {
        let request = self.client.get(url).header(header::ACCEPT, "application/json");
        let mut response = request.send().await?;
        ensure!(response.status() == 200, "{url} answered {}", response.status());
        let max_age = response.headers().get(header::CACHE_CONTROL).and_then(|value| {
            let directives = value.to_str().ok()?.split(',');
            directives
                .filter_map(|directive| directive.trim().strip_prefix("max-age="))
                .next()?
                .parse()
                .ok()
                .map(Duration::from_secs)
        });
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if bytes.len() + chunk.len() > MOST_BYTES {
                bail!("{url} answered with more than {MOST_BYTES} bytes");
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok((bytes, max_age))
    }
}
