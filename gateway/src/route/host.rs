//! Which trees a host is looked up in, most specific first.

use std::sync::Arc;

use keyward_config::HostPattern;
use rustc_hash::FxHashMap;

use super::Route;
use super::tree::Node;

/// Names longer than DNS allows match no pattern but "any".
const MAX_NAME: usize = 253;

/// One tree for each host pattern.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    exact: FxHashMap<Box<[u8]>, Node>,
    suffixes: FxHashMap<Box<[u8]>, Node>,
    /// The different lengths of the suffixes, longest first: one look-up each.
    suffix_lengths: Vec<usize>,
    any: Node,
}

impl Hosts {
    /// The tree of a pattern, made when it is new.
    pub(super) fn tree(&mut self, pattern: &HostPattern) -> &mut Node {
        match pattern {
            HostPattern::Any => &mut self.any,
            HostPattern::Exact(name) => {
                let name = bare_name(name).to_ascii_lowercase();
                self.exact.entry(name.into_bytes().into()).or_default()
            }
            HostPattern::Suffix(suffix) => {
                let suffix = suffix.to_ascii_lowercase();
                self.suffixes.entry(suffix.into_bytes().into()).or_default()
            }
        }
    }

    /// Prepares for look-ups; to be called after the last [`Self::tree`].
    pub(super) fn arrange(&mut self) {
        self.suffix_lengths = self.suffixes.keys().map(|suffix| suffix.len()).collect();
        self.suffix_lengths
            .sort_unstable_by_key(|&length| std::cmp::Reverse(length));
        self.suffix_lengths.dedup();
    }

    /// The first route that `search` finds in the trees for this host.
    pub(super) fn first<'t>(
        &'t self,
        host: &str,
        mut search: impl FnMut(&'t Node) -> Option<&'t Arc<Route>>,
    ) -> Option<&'t Arc<Route>> {
        if self.exact.is_empty() && self.suffixes.is_empty() {
            return search(&self.any);
        }
        let mut buffer = [0; MAX_NAME];
        let Some(name) = lower_case(bare_name(host), &mut buffer) else {
            return search(&self.any);
        };
        if let Some(found) = self.exact.get(name).and_then(&mut search) {
            return Some(found);
        }
        for &length in &self.suffix_lengths {
            // The suffix begins with a dot, and something must stand before it.
            let suffix = name
                .len()
                .checked_sub(length)
                .filter(|&start| start > 0)
                .and_then(|start| name.get(start..));
            let tree = suffix.and_then(|suffix| self.suffixes.get(suffix));
            if let Some(found) = tree.and_then(&mut search) {
                return Some(found);
            }
        }
        search(&self.any)
    }
}

fn lower_case<'b>(name: &str, buffer: &'b mut [u8; MAX_NAME]) -> Option<&'b [u8]> {
    let lower = buffer.get_mut(..name.len())?;
    lower.copy_from_slice(name.as_bytes());
    lower.make_ascii_lowercase();
    Some(lower)
}

/// The name in an authority: without port, brackets and the root's final dot.
fn bare_name(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    let name = match authority.split_once(':') {
        // An IPv6 address without brackets has more colons and no port.
        Some((name, port)) if !port.contains(':') => name,
        _ => authority,
    };
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_the_brackets_and_the_final_dot_are_no_part_of_a_name() {
        for (authority, name) in [
            ("example.com", "example.com"),
            ("example.com:8080", "example.com"),
            ("example.com.", "example.com"),
            ("example.com.:443", "example.com"),
            ("[2001:db8::1]:8080", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("", ""),
            (":80", ""),
            ("[", ""),
        ] {
            assert_eq!(bare_name(authority), name, "{authority}");
        }
    }
}
