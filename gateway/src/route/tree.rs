//! The routes of one host pattern, by path segment.

use std::cmp::Ordering;
use std::sync::Arc;

use keyward_config::{PathPattern, PathSegment};

use super::Route;
use super::table::Search;
use crate::path;

/// Where a pattern stands after some of its segments.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// Sorted by what the literal decodes to.
    literals: Vec<(Box<[u8]>, Node)>,
    parameter: Option<Box<Node>>,
    /// Routes of this path alone.
    exact: Vec<Arc<Route>>,
    /// Routes of this path and all below it.
    below: Vec<Arc<Route>>,
}

impl Node {
    pub(super) fn insert(&mut self, pattern: &PathPattern, route: Arc<Route>) {
        let mut node = self;
        for segment in &pattern.segments {
            node = match segment {
                PathSegment::Literal(text) => node.literal(super::literal(text)),
                PathSegment::Parameter(_) => node.parameter.get_or_insert_default(),
            };
        }
        let offers = if pattern.exact {
            &mut node.exact
        } else {
            &mut node.below
        };
        offers.push(route);
    }

    fn literal(&mut self, text: Box<[u8]>) -> &mut Self {
        let at = match self.literals.binary_search_by(|(known, _)| known.cmp(&text)) {
            Ok(at) => at,
            Err(at) => {
                self.literals.insert(at, (text, Self::default()));
                at
            }
        };
        &mut self.literals[at].1
    }

    /// The most specific route for the segments that are left; `None`: the path ends here. As deep as the
    /// deepest pattern, however long the path.
    pub(super) fn search<'t>(
        &'t self,
        rest: Option<&str>,
        search: &mut Search<'_>,
    ) -> Option<&'t Arc<Route>> {
        let Some(rest) = rest else {
            return search.pick(&self.exact).or_else(|| search.pick(&self.below));
        };
        let (segment, rest) = match rest.split_once('/') {
            Some((segment, rest)) => (segment, Some(rest)),
            None => (rest, None),
        };
        if let Some(found) = self.child(segment).and_then(|child| child.search(rest, search)) {
            return Some(found);
        }
        let parameter = self.parameter.as_deref().filter(|_| !segment.is_empty());
        parameter
            .and_then(|child| child.search(rest, search))
            .or_else(|| search.pick(&self.below))
    }

    fn child(&self, segment: &str) -> Option<&Self> {
        let at = self
            .literals
            .binary_search_by(|(known, _)| compare(known, segment))
            .ok()?;
        self.literals.get(at).map(|(_, child)| child)
    }
}

/// Orders a literal against what a segment decodes to.
pub(super) fn compare(literal: &[u8], segment: &str) -> Ordering {
    if segment.as_bytes().contains(&b'%') {
        literal.iter().copied().cmp(path::decoded(segment))
    } else {
        literal.cmp(segment.as_bytes())
    }
}
