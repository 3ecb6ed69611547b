//! Query parameters and ids in paths. A parameter that occurs twice or can't be read is an error that names it,
//! never a guess; an id that can't be one is something that isn't there.

use std::ops::RangeInclusive;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Path, Query};
use http::request::Parts;
use unicode_normalization::UnicodeNormalization;

use super::problem::Problem;
use crate::domain::refusal::InvalidField;

/// No name and no e-mail address is longer.
const LONGEST_SEARCH: usize = 255;

/// The query of a call.
#[derive(Clone, Debug)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// The text of a parameter.
    ///
    /// # Errors
    /// When it occurs twice.
    pub fn text(&self, name: &'static str) -> Result<Option<&str>, InvalidField> {
        let mut values = self.0.iter().filter(|(key, _)| key == name);
        match (values.next(), values.next()) {
            (Some(_), Some(_)) => Err(InvalidField::new(name, "occurs twice")),
            // Nothing that is stored has any, and databases end texts at them.
            (Some((_, value)), _) if value.contains(char::is_control) => {
                Err(InvalidField::new(name, "must not contain control characters"))
            }
            (first, _) => Ok(first.map(|(_, value)| value.as_str())),
        }
    }

    /// A text to search for, in the form in which texts are stored: trimmed and in NFC.
    ///
    /// # Errors
    /// When it occurs twice, or is longer than any text that is stored.
    pub fn search(&self, name: &'static str) -> Result<Option<String>, InvalidField> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let text: String = text.trim().nfc().take(LONGEST_SEARCH + 1).collect();
        if text.chars().count() > LONGEST_SEARCH {
            let reason = format!("must have at most {LONGEST_SEARCH} characters");
            return Err(InvalidField::new(name, reason));
        }
        Ok(Some(text))
    }

    /// A whole number in a range: out of it is an error, never clamped.
    ///
    /// # Errors
    /// When it is none, or out of range.
    pub fn whole_number(
        &self,
        name: &'static str,
        range: RangeInclusive<i64>,
    ) -> Result<Option<i64>, InvalidField> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let number = Some(text)
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .filter(|number| range.contains(number));
        number.map(Some).ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            let reason = if *most == i64::MAX {
                format!("must be a whole number, {least} or above")
            } else {
                format!("must be a whole number from {least} to {most}")
            };
            InvalidField::new(name, reason)
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(pairs) = Query::from_request_parts(parts, state)
            .await
            .map_err(|_| InvalidField::new("query", "is malformed"))?;
        Ok(Self(pairs))
    }
}

/// The one id in a path.
#[derive(Clone, Copy, Debug)]
pub struct Id<T>(pub T);

impl<S: Send + Sync, T: FromStr> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| malformed())?;
        text.parse().map(Self).map_err(|_| malformed())
    }
}

/// The two ids in a path.
#[derive(Clone, Copy, Debug)]
pub struct Ids<T, U>(pub T, pub U);

impl<S: Send + Sync, T: FromStr, U: FromStr> FromRequestParts<S> for Ids<T, U> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path((first, second)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|_| malformed())?;
        match (first.parse(), second.parse()) {
            (Ok(first), Ok(second)) => Ok(Self(first, second)),
            _ => Err(malformed()),
        }
    }
}

fn malformed() -> Problem {
    Problem::Missing("resource".into())
}
