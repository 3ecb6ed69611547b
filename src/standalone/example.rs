//! The calls to paste: `curl` lines that fit the configuration that runs.

use std::net::SocketAddr;

use keyward_config::{Credentials, GatewayConfig, HostPattern, PathPattern, PathSegment, Require, Route};
use keyward_contract::Environment;

/// The keys that a line shows: real ones, or shell variables that hold them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys<'a> {
    /// The account's.
    pub(crate) account: &'a str,
    /// The end customer's.
    pub(crate) customer: &'a str,
}

impl Keys<'static> {
    /// The variables that stand for keys that are not known.
    pub(crate) const VARIABLES: Self = Self {
        account: "$ACCOUNT_KEY",
        customer: "$CUSTOMER_KEY",
    };
}

/// A call that the gateway takes.
#[derive(Debug)]
pub(crate) struct Example<'a> {
    route: &'a Route,
    credentials: &'a Credentials,
    address: SocketAddr,
}

impl<'a> Example<'a> {
    /// A call of the route that shows most: one that needs keys before one that needs none.
    pub(crate) fn of(config: &'a GatewayConfig, address: SocketAddr) -> Option<Self> {
        let rank = |route: &&Route| match route.require {
            Require::Customer => 0,
            Require::Account => 1,
            Require::CustomerOnly => 2,
            Require::None => 3,
        };
        Some(Self {
            route: config.routes.iter().min_by_key(rank)?,
            credentials: &config.credentials,
            address,
        })
    }

    /// The environment whose keys the call needs.
    pub(crate) fn environment(&self) -> Environment {
        if self.route.environments.contains(&Environment::Production) {
            Environment::Production
        } else {
            Environment::Test
        }
    }

    /// With the keys that it needs.
    pub(crate) fn accepted(&self, keys: Keys<'_>) -> String {
        let mut line = self.bare();
        let require = self.route.require;
        if matches!(require, Require::Customer | Require::Account)
            && let Some(name) = self.credentials.account.first()
        {
            line.push_str(&account_header(name, keys.account));
        }
        if matches!(require, Require::Customer | Require::CustomerOnly)
            && let Some(name) = self.credentials.customer.first()
        {
            line.push_str(&header(name, keys.customer));
        }
        line
    }

    /// Without keys; `None` when the route needs none.
    pub(crate) fn refused(&self) -> Option<String> {
        (self.route.require != Require::None).then(|| self.bare())
    }

    fn bare(&self) -> String {
        let mut line = String::from("curl -i");
        if let Some(method) = self
            .route
            .methods
            .as_ref()
            .filter(|methods| methods.iter().all(|method| method.as_str() != "GET"))
        {
            match method.first() {
                // curl would wait for the body that a HEAD never has.
                Some(method) if method.as_str() == "HEAD" => line.push_str(" --head"),
                Some(method) => line.push_str(&format!(" -X {method}")),
                None => {}
            }
        }
        line.push_str(&format!(" \"http://{}{}\"", self.address, path(&self.route.path)));
        match &self.route.host {
            HostPattern::Any => {}
            HostPattern::Exact(name) => line.push_str(&header("Host", name)),
            HostPattern::Suffix(suffix) => line.push_str(&header("Host", &format!("api{suffix}"))),
        }
        line
    }
}

/// The portal's list of end customers.
pub(crate) fn portal(api: SocketAddr, account_key: &str) -> String {
    format!(
        "curl -i \"http://{api}/v1/customers\"{}",
        account_header("Authorization", account_key)
    )
}

fn account_header(name: &str, key: &str) -> String {
    if name.eq_ignore_ascii_case("authorization") {
        header("Authorization", &format!("Bearer {key}"))
    } else {
        header(name, key)
    }
}

/// In double quotes, so that a variable is put in.
fn header(name: &str, value: &str) -> String {
    format!(" -H \"{name}: {value}\"")
}

/// A path that matches.
fn path(pattern: &PathPattern) -> String {
    let mut path: String = pattern
        .segments
        .iter()
        .map(|segment| match segment {
            // The shell takes $ for a variable, and in single quotes it would put none in elsewhere.
            PathSegment::Literal(literal) => format!("/{}", literal.replace('$', "%24").replace('!', "%21")),
            PathSegment::Parameter(_) => "/1".to_owned(),
        })
        .collect();
    if path.is_empty() {
        path.push_str(if pattern.exact { "/" } else { "/hello" });
    }
    path
}

#[cfg(test)]
mod tests {
    use keyward_config::Surroundings;

    use super::*;

    const KEYS: Keys<'static> = Keys {
        account: "A",
        customer: "C",
    };

    fn lines(routes: &str) -> (String, Option<String>) {
        let text = format!("[[upstreams]]\nname = \"a\"\nendpoints = [\"http://b\"]\n{routes}");
        let config = GatewayConfig::from_toml(&text, "gateway.toml", &Surroundings::default()).unwrap();
        let example = Example::of(&config, "127.0.0.1:8080".parse().unwrap()).unwrap();
        (example.accepted(KEYS), example.refused())
    }

    #[test]
    fn the_lines_fit_the_route() {
        for (route, accepted) in [
            (
                "",
                "curl -i \"http://127.0.0.1:8080/hello\" -H \"Authorization: Bearer A\" -H \"x-customer-key: C\"",
            ),
            (
                "path = \"=/\"\nrequire = \"account\"",
                "curl -i \"http://127.0.0.1:8080/\" -H \"Authorization: Bearer A\"",
            ),
            (
                "path = \"/v1/{id}/x\"\nrequire = \"customer-only\"\nmethods = [\"POST\"]",
                "curl -i -X POST \"http://127.0.0.1:8080/v1/1/x\" -H \"x-customer-key: C\"",
            ),
            (
                "host = \"*.example.com\"\nrequire = \"account\"",
                "curl -i \"http://127.0.0.1:8080/hello\" -H \"Host: api.example.com\" -H \"Authorization: Bearer A\"",
            ),
        ] {
            assert_eq!(lines(&format!("[[routes]]\n{route}\n")).0, accepted);
        }
    }

    #[test]
    fn a_refused_call_has_no_keys() {
        let (_, refused) = lines("[[routes]]\n");
        assert_eq!(
            refused.as_deref(),
            Some("curl -i \"http://127.0.0.1:8080/hello\"")
        );
    }

    #[test]
    fn where_every_call_is_public_none_is_refused() {
        let (accepted, refused) = lines("[[routes]]\nrequire = \"none\"\n");
        assert_eq!(accepted, "curl -i \"http://127.0.0.1:8080/hello\"");
        assert_eq!(refused, None);
    }

    #[test]
    fn a_route_that_needs_keys_is_shown_before_a_public_one() {
        let (accepted, _) =
            lines("[[routes]]\npath = \"/a\"\nrequire = \"none\"\n[[routes]]\npath = \"/b\"\n");
        assert!(accepted.contains("/b\""), "{accepted}");
    }
}
