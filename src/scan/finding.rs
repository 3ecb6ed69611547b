//! A key that was found: where, and what may be said of it.

use std::fmt;
use std::path::Path;

use keyward_contract::Environment;
use keyward_contract::find::{Encoding, Hit, redact};
use serde_json::{Value, json};

/// Where in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// In its name.
    Name,
    /// In its text: line and byte of that line, both from 1.
    Line(u64, u64),
    /// In a file that is no text: byte, from 0.
    Byte(u64),
}

/// A key that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Finding {
    path: String,
    place: Place,
    kind: &'static str,
    environment: Option<&'static str>,
    mask: String,
    wide: bool,
}

impl Finding {
    pub(super) fn new(path: &str, place: Place, hit: &Hit) -> Self {
        Self {
            path: path.to_owned(),
            place,
            kind: hit.shape.kind.noun(),
            environment: hit.shape.environment.map(Environment::as_str),
            mask: hit.mask.as_str().to_owned(),
            wide: hit.encoding == Encoding::Utf16,
        }
    }

    pub(super) fn mask(&self) -> &str {
        &self.mask
    }

    /// One JSON object.
    pub(super) fn to_json(&self) -> Value {
        let (place, line, column, offset) = match self.place {
            Place::Name => ("name", None, None, None),
            Place::Line(line, column) => ("content", Some(line), Some(column), None),
            Place::Byte(offset) => ("content", None, None, Some(offset)),
        };
        json!({
            "path": self.path, "in": place, "line": line, "column": column, "offset": offset,
            "kind": self.kind, "environment": self.environment, "mask": self.mask,
            "encoding": if self.wide { "utf-16" } else { "utf-8" },
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Name => write!(f, "{}: in its name: ", self.path)?,
            Place::Line(line, column) => write!(f, "{}:{line}:{column}: ", self.path)?,
            Place::Byte(offset) => write!(f, "{}: byte {offset}: ", self.path)?,
        }
        write!(f, "{} key", self.kind)?;
        if let Some(environment) = self.environment {
            write!(f, " ({environment})")?;
        }
        write!(f, " {}", self.mask)?;
        if self.wide {
            f.write_str(" in UTF-16")?;
        }
        Ok(())
    }
}

/// A path as it may be shown: without keys, and without characters that would play with a terminal.
pub(super) fn shown(path: &Path) -> String {
    shown_text(&path.to_string_lossy())
}

/// The same of a path that is a text.
pub(super) fn shown_text(path: &str) -> String {
    let mut shown = String::with_capacity(path.len());
    for character in redact(path).chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}
