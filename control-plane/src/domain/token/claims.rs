//! What a proven token says, and whether that is for us and holds now.

use std::time::Duration;

use keyward_contract::UnixMillis;
use serde_json::{Map, Value};

use super::{Flaw, instant};

/// What a token says. Outside of this module there are only proven ones.
#[derive(Clone, Debug)]
pub struct Claims(Map<String, Value>);

/// What a token must say to be for us.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Who issued it, to the letter.
    pub issuer: &'a str,
    /// One of those whom it is for.
    pub audience: &'a str,
    /// How far the issuer's clock and ours may differ.
    pub leeway: Duration,
}

impl Claims {
    pub(super) fn new(claims: Map<String, Value>) -> Self {
        Self(claims)
    }

    /// A claim that is a text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// A claim, whatever it is.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The texts of a claim: those in an array, or the one that it is. Nothing else is one.
    #[must_use]
    pub fn texts(&self, name: &str) -> Vec<&str> {
        match self.0.get(name) {
            Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(text)) => vec![text],
            _ => Vec::new(),
        }
    }

    /// Whom it is about.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.text("sub").unwrap_or_default()
    }

    /// Whether it is for us, about somebody, and holds now.
    ///
    /// # Errors
    /// What is wrong with it; [`Flaw::Expired`] only when nothing else is.
    pub fn check(&self, expected: Expected<'_>, now: UnixMillis) -> Result<(), Flaw> {
        if self.text("iss") != Some(expected.issuer) {
            return Err(Flaw::Issuer);
        }
        if !self.texts("aud").contains(&expected.audience) {
            return Err(Flaw::Audience);
        }
        if self.subject().is_empty() {
            return Err(Flaw::Subject);
        }
        let leeway_ms = i64::try_from(expected.leeway.as_millis()).unwrap_or(i64::MAX);
        let latest = now.0.saturating_add(leeway_ms);
        let expires_at = self.instant("exp")?.ok_or(Flaw::Times)?;
        for name in ["nbf", "iat"] {
            if self.instant(name)?.is_some_and(|at| at.0 > latest) {
                return Err(Flaw::NotYet);
            }
        }
        if now.0 >= expires_at.0.saturating_add(leeway_ms) {
            return Err(Flaw::Expired);
        }
        Ok(())
    }

    fn instant(&self, name: &str) -> Result<Option<UnixMillis>, Flaw> {
        match self.0.get(name) {
            None => Ok(None),
            Some(value) => instant(value).map(Some).ok_or(Flaw::Times),
        }
    }
}
