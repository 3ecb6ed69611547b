//! Taking a changed configuration in while calls go on: all of it, or nothing.
//!
//! The file is read when somebody asks (`SIGHUP`) and when its content has changed and stayed so for a look. What is wrong with it, or can't change without a restart, is said once in the log; what was in force stays
//! in force. Environment variables override the file as they did at the start.
//!
//! One thread at a time works here, and none that serves calls. A look reads the files once a second.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use keyward_config::{ConfigError, GatewayConfig, Surroundings};
use keyward_contract::UnixMillis;
use parking_lot::Mutex;

use crate::rules::names::Names;
use crate::rules::{Rules, Unusable, fixed};
use crate::telemetry::{Sums, catalogue};
use crate::worker::Shared;

/// What a configuration file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(blake3::Hash);

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.to_hex().get(..16).unwrap_or_default())
    }
}

/// Why a configuration was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It is wrong; every problem with its file, line and key.
    #[error("{0}")]
    Wrong(#[from] ConfigError),
    /// It changes what only a restart changes.
    #[error("{}: this needs a restart; nothing of the file was taken", .0.join(", "))]
    Fixed(Vec<&'static str>),
    /// It is right in itself and can't be in force all the same.
    #[error("{0}; nothing of the file was taken")]
    Unusable(#[from] Unusable),
    /// The names of its routes could not be put on disk, so that usage would be counted under none.
    #[error("the ledger can't take the names of new routes: {0}")]
    Ledger(std::io::Error),
}

/// What came of a look or a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in force.
    Applied,
    /// It is not; what was before is.
    Refused,
}

/// A configuration file that is followed.
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    followed: Mutex<Followed>,
}

#[derive(Debug, Default)]
struct Followed {
    /// What was last taken or refused.
    decided: Option<Digest>,
    /// What the last look found, when that was new.
    seen: Option<Digest>,
}

/// A file as it was read once.
struct Text {
    text: Result<String, std::io::Error>,
    digest: Digest,
}

impl ConfigFile {
    /// Reads it for the start.
    ///
    /// # Errors
    /// With everything that is wrong with it.
    pub fn open(path: &Path) -> Result<(Self, GatewayConfig), ConfigError> {
        let file = Self {
            path: path.to_owned(),
            followed: Mutex::default(),
        };
        // First: what changes between the two is seen by the next look.
        let digest = file.read().digest;
        let config = GatewayConfig::load(path)?;
        file.followed.lock().decided = Some(digest);
        Ok((file, config))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was last taken or refused.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.followed.lock().decided
    }

    fn read(&self) -> Text {
        let text = std::fs::read_to_string(&self.path);
        let content = text.as_ref().map_or(&b"absent"[..], |text| text.as_bytes());
        Text {
            digest: Digest(blake3::hash(content)),
            text,
        }
    }

    /// Reads it because somebody asked, and puts it in force, changed or not.
    pub fn reload(&self, shared: &Shared) -> Outcome {
        self.take(shared, self.read())
    }

    /// Takes it in when it has changed and holds still; `None` when there is nothing to do.
    pub fn look(&self, shared: &Shared) -> Option<Outcome> {
        let read = self.read();
        {
            let mut followed = self.followed.lock();
            let is_settled = followed.seen.replace(read.digest) == Some(read.digest);
            // An editor may be half way through.
            if followed.decided == Some(read.digest) || !is_settled {
                return None;
            }
        }
        Some(self.take(shared, read))
    }

    fn take(&self, shared: &Shared, read: Text) -> Outcome {
        let file = self.path.display();
        let taken = self.parse(read.text).and_then(|config| shared.take(config));
        let digest = read.digest;
        self.followed.lock().decided = Some(digest);
        match taken {
            Ok(()) => {
                shared.reloads.applied(digest, shared.clock.now().unix);
                tracing::info!(%file, %digest, "the configuration was reloaded");
                Outcome::Applied
            }
            Err(error) => {
                shared.reloads.refused(error.to_string());
                tracing::error!(%file, %error, "the configuration was not taken; the one before stays in force");
                Outcome::Refused
            }
        }
    }

    fn parse(&self, text: std::io::Result<String>) -> Result<GatewayConfig, ReloadError> {
        let Ok(text) = text else {
            // Says why it can't be read, as at the start.
            return Ok(GatewayConfig::load(&self.path)?);
        };
        let surroundings = Surroundings::of_this_process()?;
        let origin = self.path.display().to_string();
        Ok(GatewayConfig::from_toml(&text, &origin, &surroundings)?)
    }
}

impl Shared {
    /// Puts a configuration in force, or nothing of it.
    ///
    /// # Errors
    /// When it can't be in force as a whole; what was before stays so.
    pub fn take(&self, config: GatewayConfig) -> Result<(), ReloadError> {
        let mut names = self.reloads.names.lock();
        let before = self.rules();
        let fixed = fixed::changed(&before.config, &config);
        if !fixed.is_empty() {
            return Err(ReloadError::Fixed(fixed));
        }
        let mut wanted = names.clone();
        let rules = Rules::new(config, &mut wanted, Some(&before))?;
        // Before anything can be counted under them.
        self.ledger
            .name_routes(wanted.routes().names())
            .map_err(ReloadError::Ledger)?;
        *names = wanted;
        names.routes().names().iter().for_each(|name| {
            let _ = self.telemetry.route(name);
        });
        names.upstreams().names().iter().for_each(|name| {
            let _ = self.telemetry.upstream(name);
        });
        self.in_force.put(rules);
        Ok(())
    }
}

/// How reloads went, for metrics and people.
#[derive(Debug)]
pub struct Reloads {
    names: Mutex<Names>,
    applied: AtomicU64,
    refused: AtomicU64,
    standing: Mutex<Standing>,
}

#[derive(Debug)]
struct Standing {
    digest: Option<Digest>,
    since: UnixMillis,
    /// Why the last attempt was refused; `None`: it wasn't.
    error: Option<String>,
}

impl Reloads {
    /// None yet; the configuration in force gave these names.
    #[must_use]
    pub fn new(names: Names, since: UnixMillis) -> Self {
        Self {
            names: Mutex::new(names),
            applied: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            standing: Mutex::new(Standing {
                digest: None,
                since,
                error: None,
            }),
        }
    }

    /// What the configuration of the start was.
    pub fn began_with(&self, digest: Option<Digest>) {
        self.standing.lock().digest = digest;
    }

    fn applied(&self, digest: Digest, now: UnixMillis) {
        self.applied.fetch_add(1, Ordering::Relaxed);
        *self.standing.lock() = Standing {
            digest: Some(digest),
            since: now,
            error: None,
        };
    }

    fn refused(&self, error: String) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.standing.lock().error = Some(error);
    }

    /// Adds how they went.
    pub fn observe(&self, sums: &mut Sums) {
        let standing = self.standing.lock();
        let since = standing.since.0 as f64 / 1_000.0;
        let is_good = f64::from(u8::from(standing.error.is_none()));
        sums.gauge(&catalogue::CONFIG_LOADED, [], since);
        sums.gauge(&catalogue::CONFIG_LAST_SUCCESS, [], since);
        sums.gauge(&catalogue::CONFIG_LAST_OUTCOME, [], is_good);
        for (outcome, count) in [("applied", &self.applied), ("refused", &self.refused)] {
            sums.counter(
                &catalogue::CONFIG_RELOADS,
                [outcome],
                count.load(Ordering::Relaxed),
            );
        }
    }

    /// For `/debug/state`. An error names settings and files, and holds no secret.
    #[must_use]
    pub fn detail(&self) -> serde_json::Value {
        let standing = self.standing.lock();
        serde_json::json!({
            "digest": standing.digest.map(|digest| digest.to_string()),
            "inForceSince": standing.since.to_rfc3339_millis(),
            "reloads": self.applied.load(Ordering::Relaxed),
            "refused": self.refused.load(Ordering::Relaxed),
            "lastError": standing.error,
        })
    }
}
