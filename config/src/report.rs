//! The problems found so far, with the places where they stand.

use std::fmt::Display;
use std::ops::RangeInclusive;

use crate::document::Document;
use crate::error::{ConfigError, Place, Problem};

/// Collects what is wrong with one document.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    document: Document<'a>,
    problems: Vec<Problem>,
    cut: Vec<String>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(document: Document<'a>) -> Self {
        Self {
            document,
            problems: Vec::new(),
            cut: Vec::new(),
        }
    }

    pub(crate) fn document(&self) -> &Document<'a> {
        &self.document
    }

    /// Notes that the setting at this path, or one in this table, was wrong and is not seen any more.
    pub(crate) fn cut(&mut self, path: String) {
        self.cut.push(path);
    }

    pub(crate) fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Something is wrong with the file as a whole.
    pub(crate) fn whole(&mut self, message: String) {
        let place = self.document.place_of("");
        self.problems.push(Problem {
            place,
            key: String::new(),
            message,
        });
    }

    /// Something is wrong with an argument of the program.
    pub(crate) fn argument(&mut self, name: &str, message: impl Into<String>) {
        self.problems.push(Problem {
            place: Place::Argument(name.to_owned()),
            key: String::new(),
            message: message.into(),
        });
    }

    /// The setting at this path is wrong.
    pub(crate) fn wrong(&mut self, path: &str, message: impl Into<String>) {
        self.problems.push(Problem {
            place: self.document.place_of(path),
            key: path.to_owned(),
            message: message.into(),
        });
    }

    /// The setting at this path is missing. Not said when it was there and wrong, or may have been mistyped.
    pub(crate) fn missing(&mut self, path: &str, message: impl Into<String>) {
        if !self.was_cut(path) {
            self.wrong(path, message);
        }
    }

    /// Whether the setting at this path was given by the environment.
    pub(crate) fn is_from_a_variable(&self, path: &str) -> bool {
        matches!(self.document.place_of(path), Place::Variable(_))
    }

    /// Whether the setting at this path, its table or something below it has already been found wrong.
    pub(crate) fn was_cut(&self, path: &str) -> bool {
        let table = path.rsplit_once('.').map_or("", |(table, _)| table);
        self.cut.iter().any(|cut| cut == table || is_within(cut, path))
    }

    /// Whether anything at this path or below it has already been found wrong.
    pub(crate) fn anything_cut_in(&self, path: &str) -> bool {
        self.cut.iter().any(|cut| is_within(cut, path))
    }

    /// Notes a number outside its bounds.
    pub(crate) fn within<T: PartialOrd + Display>(
        &mut self,
        path: &str,
        value: T,
        bounds: RangeInclusive<T>,
    ) {
        if value < *bounds.start() {
            let least = bounds.start();
            self.wrong(path, format!("{value} is too little; write at least {least}"));
        } else if value > *bounds.end() {
            let most = bounds.end();
            self.wrong(path, format!("{value} is too much; write at most {most}"));
        }
    }

    /// The value, unless anything was found wrong.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, ConfigError> {
        if self.problems.is_empty() {
            Ok(value)
        } else {
            Err(self.into_error())
        }
    }

    pub(crate) fn into_error(self) -> ConfigError {
        ConfigError::new(self.problems)
    }
}

fn is_within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
