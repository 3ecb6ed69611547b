//! Which node has which slot.

use std::ops::RangeInclusive;
use std::sync::Arc;

use redis::Value;

use super::super::{Address, Dialer};
use super::node::Node;

/// A map of the slots. A new one takes over the nodes that it shares with the one before, connections and all.
#[derive(Debug, Default)]
pub(super) struct Slots {
    nodes: Vec<Arc<Node>>,
    /// Ranges of slots and the index of their node. The first that contains a slot counts.
    ranges: Vec<(RangeInclusive<u16>, usize)>,
}

/// A range of slots and its master.
pub(super) type Range = (RangeInclusive<u16>, Address);

impl Slots {
    pub(super) fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    /// The node that has this slot.
    pub(super) fn of(&self, slot: u16) -> Option<Arc<Node>> {
        let (_, index) = self.ranges.iter().find(|(range, _)| range.contains(&slot))?;
        self.nodes.get(*index).cloned()
    }

    pub(super) fn at(&self, address: &Address) -> Option<Arc<Node>> {
        self.nodes.iter().find(|node| node.address() == address).cloned()
    }

    /// This map with a node that may be new, and a slot that it has by now.
    pub(super) fn with_node(&self, dialer: &Arc<Dialer>, address: &Address, slot: Option<u16>) -> Self {
        let mut slots = Self {
            nodes: self.nodes.clone(),
            ranges: self.ranges.clone(),
        };
        let index = slots.index_of(self, dialer, address);
        if let Some(slot) = slot {
            slots.ranges.retain(|(range, _)| *range != (slot..=slot));
            slots.ranges.insert(0, (slot..=slot, index));
        }
        slots
    }

    /// A whole map.
    pub(super) fn mapped(&self, dialer: &Arc<Dialer>, ranges: &[Range]) -> Self {
        let mut slots = Self::default();
        for (range, address) in ranges {
            let index = slots.index_of(self, dialer, address);
            slots.ranges.push((range.clone(), index));
        }
        slots
    }

    fn index_of(&mut self, before: &Self, dialer: &Arc<Dialer>, address: &Address) -> usize {
        let known = self.nodes.iter().position(|node| node.address() == address);
        known.unwrap_or_else(|| {
            let node = before.at(address);
            self.nodes
                .push(node.unwrap_or_else(|| Arc::new(Node::new(Arc::clone(dialer), address.clone()))));
            self.nodes.len() - 1
        })
    }
}

/// Reads the answer to `CLUSTER SLOTS` of a node at `host`; `None`: it is none.
pub(super) fn ranges(told: &Value, host: &str) -> Option<Vec<Range>> {
    let Value::Array(told) = told else {
        return None;
    };
    told.iter()
        .map(|entry| {
            let Value::Array(entry) = entry else {
                return None;
            };
            let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = entry.as_slice() else {
                return None;
            };
            let [name, Value::Int(port), ..] = master.as_slice() else {
                return None;
            };
            // Without a name it is where it was asked.
            let name = match name {
                Value::BulkString(name) if !name.is_empty() => String::from_utf8(name.clone()).ok()?,
                _ => host.to_owned(),
            };
            let range = u16::try_from(*first).ok()?..=u16::try_from(*last).ok()?;
            Some((range, (name, u16::try_from(*port).ok()?)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_names_each_ranges_master() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let node = |host, port| Value::Array(vec![host, Value::Int(port), text("id"), Value::Array(vec![])]);
        let range = |first, last, nodes: Vec<Value>| {
            let ends = [Value::Int(first), Value::Int(last)];
            Value::Array(ends.into_iter().chain(nodes).collect())
        };
        let told = Value::Array(vec![
            range(0, 99, vec![node(text("a"), 1), node(text("replica"), 9)]),
            range(100, 16_383, vec![node(Value::Nil, 2)]),
        ]);
        let expected = vec![
            (0..=99, ("a".to_owned(), 1)),
            (100..=16_383, ("asked".to_owned(), 2)),
        ];
        assert_eq!(ranges(&told, "asked"), Some(expected));
        assert_eq!(ranges(&Value::Nil, "asked"), None);
        assert_eq!(ranges(&Value::Array(vec![Value::Okay]), "asked"), None);
    }
}
