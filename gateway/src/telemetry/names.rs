//! Label values that become known while the gateway runs, bounded so that `/metrics` is.

use std::sync::Arc;

use parking_lot::RwLock;

/// Names by the order in which they were first seen, at most a fixed number of them.
#[derive(Debug)]
pub(super) struct Names {
    known: RwLock<Vec<Arc<str>>>,
    limit: u16,
}

impl Names {
    /// `first` stand at their own places, also where two are the same.
    pub(super) fn new(first: &[String], limit: u16) -> Self {
        let known = first
            .iter()
            .take(usize::from(limit))
            .map(|name| name.as_str().into())
            .collect();
        Self {
            known: RwLock::new(known),
            limit,
        }
    }

    /// The place of a name, new ones included; `limit` for all that find no room.
    pub(super) fn place(&self, name: &str) -> u16 {
        if let Some(place) = place_of(&self.known.read(), name) {
            return place;
        }
        let mut known = self.known.write();
        if let Some(place) = place_of(&known, name) {
            return place;
        }
        match u16::try_from(known.len()) {
            Ok(place) if place < self.limit => {
                known.push(name.into());
                place
            }
            _ => self.limit,
        }
    }

    /// The name at a place; `other` where there was no room.
    pub(super) fn name(&self, place: usize) -> Arc<str> {
        self.known
            .read()
            .get(place)
            .cloned()
            .unwrap_or_else(|| Arc::from("other"))
    }
}

fn place_of(known: &[Arc<str>], name: &str) -> Option<u16> {
    known
        .iter()
        .position(|known| &**known == name)
        .and_then(|place| u16::try_from(place).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_place_and_the_rest_are_other() {
        let names = Names::new(&["a".to_owned(), "b".to_owned()], 3);
        assert_eq!((names.place("b"), names.place("c"), names.place("c")), (1, 2, 2));
        assert_eq!((names.place("d"), names.place("e")), (3, 3));
        assert_eq!((&*names.name(2), &*names.name(3)), ("c", "other"));
    }

    #[test]
    fn more_first_names_than_there_is_room_for_are_other() {
        let names = Names::new(&["a".to_owned(), "b".to_owned()], 1);
        assert_eq!(
            (&*names.name(0), &*names.name(1), names.place("b")),
            ("a", "other", 1)
        );
    }
}
