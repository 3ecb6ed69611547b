//! `routes.headers`: what a route changes in the heads that pass it.

use http::{HeaderName, HeaderValue};

/// `routes.headers`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderRules {
    /// `request`: of what goes on to the upstream.
    pub request: HeaderChanges,
    /// `response`: of what the upstream answered.
    pub response: HeaderChanges,
}

/// What is done to one head. No name stands in two of the lists, and none is one that the gateway answers for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderChanges {
    /// `remove`: every field of these names goes.
    pub remove: Vec<HeaderName>,
    /// `set`: these take the place of every field of their names.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// `add`: these come beside what is there.
    pub add: Vec<(HeaderName, HeaderValue)>,
}

impl HeaderChanges {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}
