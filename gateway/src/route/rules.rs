//! What a route changes in the heads that pass it: `routes.headers`, made ready when the routes are compiled.
//!
//! On a request the rules come after everything that is dropped and before everything that the gateway says itself;
//! on an answer likewise. The configuration's checks let no rule through that names what the gateway answers for.
//! A client's field is dropped under every spelling that a CGI, WSGI or PHP upstream would take for the rule's name.
//! Nothing here fails. Cost: routes without rules have none, and pay one branch a field.

use http::{HeaderMap, HeaderName, HeaderValue};
use keyward_config::HeaderChanges;

/// The rules for one head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What is removed or replaced; as the rule writes it, and folded.
    dropped: Box<[(HeaderName, Box<str>)]>,
    set: Box<[(HeaderName, HeaderValue)]>,
    added: Box<[(HeaderName, HeaderValue)]>,
    /// The `Host` of a request, in place of the client's.
    host: Option<HeaderValue>,
}

impl Rules {
    /// The rules of a configuration; `None` when there are none.
    #[must_use]
    pub fn of(changes: &HeaderChanges) -> Option<Self> {
        if changes.is_empty() {
            return None;
        }
        let is_host = |(name, _): &&(HeaderName, HeaderValue)| *name == http::header::HOST;
        let host = changes.set.iter().find(is_host).map(|(_, value)| value.clone());
        let set = changes.set.iter().filter(|field| !is_host(field)).cloned();
        let set: Box<[_]> = set.collect();
        let replaced = set.iter().map(|(name, _)| name);
        Some(Self {
            dropped: changes
                .remove
                .iter()
                .chain(replaced)
                .map(|name| (name.clone(), folded(name.as_str()).into()))
                .collect(),
            set,
            added: changes.add.as_slice().into(),
            host,
        })
    }

    /// Whether a request's field of this name is not to go on as it came.
    #[must_use]
    pub fn drops(&self, name: &HeaderName) -> bool {
        let name = name.as_str();
        if self.host.is_some() && name == "host" {
            return true;
        }
        if name.bytes().any(|byte| matches!(byte, b'_' | b'.')) {
            let name = folded(name);
            return self.dropped.iter().any(|(_, dropped)| **dropped == *name);
        }
        self.dropped.iter().any(|(_, dropped)| **dropped == *name)
    }

    /// What a request gets from the rules.
    pub fn fields(&self) -> impl Iterator<Item = &(HeaderName, HeaderValue)> {
        self.set.iter().chain(&self.added)
    }

    /// The `Host` that a request goes on with, when the rules say it.
    #[must_use]
    pub fn host(&self) -> Option<&HeaderValue> {
        self.host.as_ref()
    }

    /// Changes the head of an upstream's answer.
    pub fn change(&self, headers: &mut HeaderMap) {
        for (name, _) in &self.dropped {
            headers.remove(name);
        }
        for (name, value) in self.fields() {
            headers.append(name.clone(), value.clone());
        }
    }
}

fn folded(name: &str) -> String {
    name.chars()
        .map(|c| if matches!(c, '_' | '.') { '-' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &'static str, value: &'static str) -> (HeaderName, HeaderValue) {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    }

    fn rules() -> Rules {
        Rules::of(&HeaderChanges {
            remove: vec![HeaderName::from_static("x-debug")],
            set: vec![field("x-tenant", "acme"), field("host", "internal:8080")],
            add: vec![field("x-note", "b")],
        })
        .unwrap()
    }

    #[test]
    fn no_changes_are_no_rules() {
        assert_eq!(Rules::of(&HeaderChanges::default()), None);
    }

    #[test]
    fn a_name_is_dropped_under_every_spelling_that_an_upstream_folds() {
        let rules = rules();
        let drops = |name: &'static str| rules.drops(&HeaderName::from_static(name));
        for dropped in ["x-debug", "x_debug", "x.debug", "x-tenant", "x_tenant", "host"] {
            assert!(drops(dropped), "{dropped}");
        }
        for kept in ["x-note", "x-debugs", "accept", "x_notes"] {
            assert!(!drops(kept), "{kept}");
        }
        assert_eq!(rules.host().unwrap(), "internal:8080");
        assert!(rules.fields().all(|(name, _)| name != "host"));
    }

    #[test]
    fn an_answer_loses_what_is_removed_and_keeps_what_is_added_to() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            field("x-debug", "1"),
            field("x-debug", "2"),
            field("x-tenant", "evil"),
            field("x-note", "a"),
        ] {
            headers.append(name, value);
        }
        rules().change(&mut headers);
        assert!(!headers.contains_key("x-debug"));
        assert_eq!(headers.get_all("x-tenant").iter().collect::<Vec<_>>(), ["acme"]);
        assert_eq!(headers.get_all("x-note").iter().collect::<Vec<_>>(), ["a", "b"]);
    }
}
