//! One configuration text with the environment laid over it, which still knows where everything was written.
//!
//! Variables are treated as text that follows the file's: a variable's keys and values have positions beyond
//! the end of the file, so that one number says where any setting came from.

use std::borrow::Cow;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::error::{ConfigError, Place, Problem};
use crate::surroundings::PREFIX;

/// A table of a document.
pub(crate) type Table<'a> = DeTable<'a>;

/// A parsed configuration text with its overrides.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    origin: &'a str,
    text: &'a str,
    variables: Vec<(Range<usize>, &'a str)>,
    root: Spanned<DeTable<'a>>,
    nodes: Vec<Node>,
}

/// Where one setting stands.
#[derive(Debug)]
struct Node {
    path: String,
    key: Option<Range<usize>>,
    value: Range<usize>,
}

impl<'a> Document<'a> {
    /// Parses a text and lays the variables that begin with `KEYWARD__` over it.
    ///
    /// # Errors
    /// When the text is no TOML, or a variable doesn't fit it.
    pub(crate) fn parse(
        text: &'a str,
        origin: &'a str,
        environment: &'a [(String, String)],
    ) -> Result<Self, ConfigError> {
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut document = Self {
            origin,
            text,
            variables: Vec::new(),
            root,
            nodes: Vec::new(),
        };
        let mut problems: Vec<Problem> = errors
            .iter()
            .map(|error| Problem {
                place: document.place(error.span().map_or(0, |span| span.start)),
                key: String::new(),
                message: format!("is not TOML: {}", error.message()),
            })
            .collect();
        if problems.is_empty() {
            for (name, value) in environment.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
                if let Err(message) = document.overlay(name, value) {
                    problems.push(Problem {
                        place: Place::Variable(name.clone()),
                        key: String::new(),
                        message,
                    });
                }
            }
        }
        if problems.is_empty() {
            collect_table(document.root.get_ref(), "", &mut document.nodes);
            Ok(document)
        } else {
            Err(ConfigError::new(problems))
        }
    }

    /// The tree, to be read and cut.
    pub(crate) fn root(&self) -> Spanned<DeTable<'a>> {
        self.root.clone()
    }

    /// The path of the setting at a span, and whether the span is that of its key.
    pub(crate) fn path_at(&self, span: &Range<usize>) -> Option<(&str, At)> {
        let by_key = self.nodes.iter().find(|node| node.key.as_ref() == Some(span));
        if let Some(node) = by_key {
            return Some((&node.path, At::Key));
        }
        // The last one is the deepest: an implied table stands where its first child does.
        let by_value = self.nodes.iter().rfind(|node| &node.value == span)?;
        Some((&by_value.path, At::Value))
    }

    /// Where a setting, or else the nearest table around it, was written.
    pub(crate) fn place_of(&self, path: &str) -> Place {
        let mut path = path;
        loop {
            if let Some(node) = self.nodes.iter().find(|node| node.path == path) {
                return self.place(node.key.as_ref().unwrap_or(&node.value).start);
            }
            let Some(end) = path.rfind(['.', '[']) else {
                return Place::File {
                    origin: self.origin.to_owned(),
                    line: None,
                };
            };
            path = path.get(..end).unwrap_or_default();
        }
    }

    /// Where a position is.
    pub(crate) fn place(&self, position: usize) -> Place {
        let variable = self.variables.iter().find(|(range, _)| range.contains(&position));
        if let Some((_, name)) = variable {
            return Place::Variable((*name).to_owned());
        }
        let before = self.text.as_bytes().get(..position).unwrap_or_default();
        Place::File {
            origin: self.origin.to_owned(),
            line: Some(before.iter().filter(|byte| **byte == b'\n').count() + 1),
        }
    }

    /// Whether a position is in a variable.
    pub(crate) fn is_in_a_variable(&self, position: usize) -> bool {
        position >= self.text.len() && self.variables.iter().any(|(range, _)| range.contains(&position))
    }

    fn overlay(&mut self, name: &'a str, value: &'a str) -> Result<(), String> {
        let after_text = self.text.len() + 1;
        let start = self.variables.last().map_or(after_text, |(range, _)| range.end);
        let keys: Vec<String> = name
            .get(PREFIX.len()..)
            .unwrap_or_default()
            .split("__")
            .map(str::to_ascii_lowercase)
            .collect();
        if keys.iter().any(String::is_empty) {
            return Err(format!(
                "names no key; write {PREFIX}LISTEN__PROXY for listen.proxy"
            ));
        }
        let value_start = start + keys.len();
        self.variables.push((start..value_start + value.len() + 1, name));
        let value = match DeValue::parse(value) {
            Ok(parsed) => shifted(parsed, value_start),
            Err(_) => Spanned::new(
                value_start..value_start + value.len() + 1,
                DeValue::String(Cow::Borrowed(value)),
            ),
        };
        set(self.root.get_mut(), &keys, start, value)
    }
}

/// Which part of a setting a span covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// Its key.
    Key,
    /// Its value.
    Value,
}

fn set<'a>(
    table: &mut DeTable<'a>,
    keys: &[String],
    position: usize,
    value: Spanned<DeValue<'a>>,
) -> Result<(), String> {
    let Some((key, below)) = keys.split_first() else {
        return Ok(());
    };
    let here = position..position + 1;
    if below.is_empty() {
        table.remove(key.as_str());
        table.insert(Spanned::new(here, Cow::Owned(key.clone())), value);
        return Ok(());
    }
    if !table.contains_key(key.as_str()) {
        let empty = Spanned::new(here.clone(), DeValue::Table(DeTable::new()));
        table.insert(Spanned::new(here, Cow::Owned(key.clone())), empty);
    }
    match table.get_mut(key.as_str()).map(Spanned::get_mut) {
        Some(DeValue::Table(inner)) => set(inner, below, position + 1, value),
        Some(DeValue::Array(items)) => {
            set_item(items, below, position + 1, value).map_err(|message| format!("{key}: {message}"))
        }
        _ => Err(format!("{key} is no table, so nothing can be set below it")),
    }
}

fn set_item<'a>(
    items: &mut DeArray<'a>,
    keys: &[String],
    position: usize,
    value: Spanned<DeValue<'a>>,
) -> Result<(), String> {
    let Some((index, below)) = keys.split_first() else {
        return Ok(());
    };
    let count = items.len();
    let Some(item) = index.parse().ok().and_then(|index: usize| items.get_mut(index)) else {
        return Err(format!(
            "there is no entry {index}; the file has {count}, counted from 0"
        ));
    };
    if below.is_empty() {
        *item = value;
        return Ok(());
    }
    match item.get_mut() {
        DeValue::Table(inner) => set(inner, below, position + 1, value),
        _ => Err(format!(
            "entry {index} is no table, so nothing can be set below it"
        )),
    }
}

fn shifted(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let moved = |span: Range<usize>| span.start + by..span.end + by;
    let span = moved(value.span());
    let value = match value.into_inner() {
        DeValue::Table(table) => DeValue::Table(
            table
                .into_iter()
                .map(|(key, value)| {
                    let span = moved(key.span());
                    (Spanned::new(span, key.into_inner()), shifted(value, by))
                })
                .collect(),
        ),
        DeValue::Array(items) => DeValue::Array(items.into_iter().map(|item| shifted(item, by)).collect()),
        plain => plain,
    };
    Spanned::new(span, value)
}

fn collect_table(table: &DeTable<'_>, path: &str, nodes: &mut Vec<Node>) {
    for (key, value) in table {
        let name = key.get_ref();
        let path = if path.is_empty() {
            name.to_string()
        } else {
            format!("{path}.{name}")
        };
        collect_value(value, path, Some(key.span()), nodes);
    }
}

fn collect_value(
    value: &Spanned<DeValue<'_>>,
    path: String,
    key: Option<Range<usize>>,
    nodes: &mut Vec<Node>,
) {
    nodes.push(Node {
        path: path.clone(),
        key,
        value: value.span(),
    });
    match value.get_ref() {
        DeValue::Table(table) => collect_table(table, &path, nodes),
        DeValue::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect_value(item, format!("{path}[{index}]"), None, nodes);
            }
        }
        _ => {}
    }
}
