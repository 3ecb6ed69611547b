//! Stage one: from a document to what was typed.
//!
//! `serde` stops at the first thing that is wrong. Here each wrong setting is noted and cut out, and the rest
//! is read again, so that one run tells everything. A document has some hundred settings at most.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use crate::document::{At, Document, Table};
use crate::error::{ConfigError, Problem};
use crate::report::Report;
use crate::wording;

/// Reads a document. What was wrong is in the report, and absent from the answer.
///
/// # Errors
/// When something is wrong that can't be cut out.
pub(crate) fn read<'a, T: DeserializeOwned>(document: Document<'a>) -> Result<(T, Report<'a>), ConfigError> {
    let mut root = document.root();
    let mut report = Report::new(document);
    loop {
        let error = match T::deserialize(Deserializer::from(root.clone())) {
            Ok(typed) => return Ok((typed, report)),
            Err(error) => error,
        };
        let cut = error.span().is_some_and(|span| {
            if try_as_text(root.get_mut(), &span, report.document()) {
                return true;
            }
            note(&error, &span, &mut report);
            cut(root.get_mut(), &span)
        });
        if !cut {
            report.whole(wording::for_people(error.message(), ""));
            return Err(report.into_error());
        }
    }
}

fn note(error: &toml::de::Error, span: &Range<usize>, report: &mut Report<'_>) {
    let document = report.document();
    let (path, at) = document.path_at(span).unwrap_or(("", At::Value));
    let (path, message) = (path.to_owned(), wording::for_people(error.message(), path));
    let place = document.place(span.start);
    let cut = match at {
        At::Value => path.clone(),
        // An unknown key is often a known one mistyped: what its table lacks may be this.
        At::Key => path.rsplit_once('.').map_or("", |(table, _)| table).to_owned(),
    };
    report.cut(cut);
    report.push(Problem {
        place,
        key: path,
        message,
    });
}

/// A variable's value that reads as a number where text belongs was meant as text.
fn try_as_text(table: &mut Table<'_>, span: &Range<usize>, document: &Document<'_>) -> bool {
    if !document.is_in_a_variable(span.start) {
        return false;
    }
    for (_, value) in table.iter_mut() {
        if value.span() == *span {
            let text = match value.get_ref() {
                DeValue::Integer(number) => number.to_string(),
                DeValue::Float(number) => number.to_string(),
                DeValue::Boolean(truth) => truth.to_string(),
                _ => continue,
            };
            *value = Spanned::new(span.clone(), DeValue::String(text.into()));
            return true;
        }
        if tables_in(value.get_mut()).any(|inner| try_as_text(inner, span, document)) {
            return true;
        }
    }
    false
}

/// Takes the innermost setting out whose key or value has this span, or that is a list with such an entry.
fn cut(table: &mut DeTable<'_>, span: &Range<usize>) -> bool {
    let inside =
        |(_, value): (_, &mut Spanned<DeValue<'_>>)| tables_in(value.get_mut()).any(|inner| cut(inner, span));
    if table.iter_mut().any(inside) {
        return true;
    }
    let found = table
        .iter()
        .find(|(key, value)| key.span() == *span || is_at(value, span))
        .map(|(key, _)| key.get_ref().to_string());
    found.is_some_and(|key| table.remove(key.as_str()).is_some())
}

/// The tables that a value is or lists.
fn tables_in<'v, 'a>(value: &'v mut DeValue<'a>) -> Box<dyn Iterator<Item = &'v mut DeTable<'a>> + 'v> {
    match value {
        DeValue::Table(table) => Box::new(std::iter::once(table)),
        DeValue::Array(items) => Box::new(items.iter_mut().flat_map(|item| tables_in(item.get_mut()))),
        _ => Box::new(std::iter::empty()),
    }
}

/// Whether a value, or an entry of it when it is a list, has this span.
fn is_at(value: &Spanned<DeValue<'_>>, span: &Range<usize>) -> bool {
    value.span() == *span
        || match value.get_ref() {
            DeValue::Array(items) => items.iter().any(|item| is_at(item, span)),
            _ => false,
        }
}
