//! What is wrong with a configuration, said for the person who has to put it right.
//!
//! Every problem names where it stands, the key, what is wrong and what would be right. A file is read to its
//! end: all its problems are told at once.

use std::fmt::{self, Write as _};

/// A configuration that can't be used, with every problem that was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    pub(crate) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| a.place.cmp(&b.place));
        problems.dedup();
        Self { problems }
    }

    pub(crate) fn one(place: Place, message: impl Into<String>) -> Self {
        Self::new(vec![Problem {
            place,
            key: String::new(),
            message: message.into(),
        }])
    }

    /// Every problem, in the order of the file.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    /// One line a problem.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub place: Place,
    /// The key with its tables, such as `routes[1].upstream`; empty when the whole file is meant.
    pub key: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    /// On one line, whatever was typed: control characters of keys, values and names are written as escapes, so that
    /// they do nothing to a terminal or a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let f = &mut OneLine(f);
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Writes on, with escapes for control characters.
struct OneLine<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(char::is_control) {
            let plain = piece.trim_end_matches(char::is_control);
            self.0.write_str(plain)?;
            for control in piece.chars().filter(|c| c.is_control()) {
                write!(self.0, "{}", control.escape_debug())?;
            }
        }
        Ok(())
    }
}

/// Where a setting was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A file, or the text of one.
    File {
        /// Its path as it was given.
        origin: String,
        /// The line, from 1; `None` when something is missing from the file as a whole.
        line: Option<usize>,
    },
    /// An environment variable.
    Variable(String),
    /// An argument of the program.
    Argument(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File {
                origin,
                line: Some(line),
            } => write!(f, "{origin}:{line}"),
            Self::File { origin, line: None } => f.write_str(origin),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Argument(name) => f.write_str(name),
        }
    }
}
