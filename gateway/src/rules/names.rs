//! Numbers for what reloads may add and take away, by name: a route keeps its number in metrics, usage and limits however often
//! it comes, goes and comes back, and no number ever means another name.
//!
//! Numbers are never given up, so there are at most [`MOST`] names in the life of a process; a configuration that would need
//! more is refused until the next start. Only a reload looks anything up here.

use std::collections::HashMap;
use std::sync::Arc;

use keyward_config::GatewayConfig;

/// Names of one kind in the life of a process.
pub const MOST: usize = 4096;

/// Since the process began there were more names than there are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there were more than {MOST} names of {kind} since the start: it needs a restart")]
pub struct TooMany {
    kind: &'static str,
}

/// The names of one kind; the place of each is its number.
#[derive(Clone, Debug)]
pub struct Numbers {
    kind: &'static str,
    names: Vec<Arc<str>>,
    known: HashMap<Arc<str>, u16>,
}

impl Numbers {
    fn new(kind: &'static str) -> Self {
        Self {
            kind,
            names: Vec::new(),
            known: HashMap::new(),
        }
    }

    /// The number of a name: the one that it has had, or the next.
    fn of(&mut self, name: &str) -> Result<u16, TooMany> {
        if let Some(number) = self.known.get(name) {
            return Ok(*number);
        }
        let number = u16::try_from(self.names.len()).unwrap_or(u16::MAX);
        if usize::from(number) >= MOST {
            return Err(TooMany { kind: self.kind });
        }
        let name: Arc<str> = name.into();
        self.names.push(Arc::clone(&name));
        self.known.insert(name, number);
        Ok(number)
    }

    /// All names by their numbers.
    #[must_use]
    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }
}

/// What a route is called by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteNumbers {
    /// Its name's, for metrics and usage. Routes of one name share it, and are counted together.
    pub label: u16,
    /// Its own, for limits: of several routes of one name each has another.
    pub place: u16,
}

/// All names that there were.
#[derive(Clone, Debug)]
pub struct Names {
    routes: Numbers,
    places: Numbers,
    upstreams: Numbers,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            routes: Numbers::new("routes"),
            places: Numbers::new("routes"),
            upstreams: Numbers::new("upstreams"),
        }
    }
}

impl Names {
    /// Route names, by label.
    #[must_use]
    pub fn routes(&self) -> &Numbers {
        &self.routes
    }

    /// Upstream names, by label.
    #[must_use]
    pub fn upstreams(&self) -> &Numbers {
        &self.upstreams
    }

    /// The numbers of a configuration's routes, in their order.
    ///
    /// # Errors
    /// When there are no numbers left.
    pub fn number_routes(&mut self, config: &GatewayConfig) -> Result<Vec<RouteNumbers>, TooMany> {
        let mut seen: HashMap<&str, usize> = HashMap::new();
        let mut numbers = Vec::with_capacity(config.routes.len());
        for route in &config.routes {
            let before = seen.entry(&route.name).or_default();
            // A name has no control characters.
            let place = self.places.of(&format!("{}\u{1}{before}", route.name))?;
            *before += 1;
            let label = self.routes.of(&route.name)?;
            numbers.push(RouteNumbers { label, place });
        }
        Ok(numbers)
    }

    /// The labels of a configuration's upstreams, in their order.
    ///
    /// # Errors
    /// When there are no numbers left.
    pub fn number_upstreams(&mut self, config: &GatewayConfig) -> Result<Box<[u16]>, TooMany> {
        let names = config.upstreams.iter();
        names.map(|upstream| self.upstreams.of(&upstream.name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn there_are_so_many_names_and_then_no_more_but_those_that_there_were() {
        let mut numbers = Numbers::new("routes");
        for number in 0..MOST {
            assert_eq!(numbers.of(&number.to_string()).map(usize::from), Ok(number));
        }
        assert_eq!(numbers.of("one more"), Err(TooMany { kind: "routes" }));
        assert_eq!(numbers.of("77"), Ok(77));
    }

    proptest! {
        #[test]
        fn a_name_keeps_its_number_and_no_other_gets_it(names in proptest::collection::vec("[a-e]{1,2}", 0..60)) {
            let mut numbers = Numbers::new("routes");
            let mut first = HashMap::new();
            for name in &names {
                let number = numbers.of(name).unwrap();
                prop_assert_eq!(*first.entry(name.clone()).or_insert(number), number);
                prop_assert_eq!(&*numbers.names()[usize::from(number)], name.as_str());
            }
            prop_assert_eq!(numbers.names().len(), first.len());
        }
    }
}
