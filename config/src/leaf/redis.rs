//! `limiter.redis` and the name that Redis is told: where the shared buckets are.
//!
//! Nothing of an address that is refused is quoted: whoever writes a password where none belongs, or loses its `@`,
//! must not find it in a log.

use std::fmt;
use std::str::FromStr;

use crate::leaf::url::{host_and_port, written};
use crate::leaf::{Text, name, text};
use crate::redis::{RedisConfig, Topology};

/// The port of a server.
const SERVER: u16 = 6379;
/// The port of a sentinel.
const SENTINEL: u16 = 26_379;
const EXAMPLE: &str = "write one such as \"redis://127.0.0.1:6379\"";
const SENTINEL_EXAMPLE: &str =
    "write one such as \"redis+sentinel://10.0.0.1:26379,10.0.0.2:26379/mymaster\"";

/// Where a Redis is, but for who asks: that is in settings of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RedisUrl {
    topology: Topology,
    hosts: Vec<(String, u16)>,
    database: i64,
    tls: bool,
}

/// What stands before `://`.
#[derive(Clone, Copy)]
enum Family {
    Single,
    Sentinel,
    Cluster,
}

impl Family {
    fn of_scheme(scheme: &str) -> Option<(Self, bool)> {
        Some(match scheme.to_ascii_lowercase().as_str() {
            "redis" => (Self::Single, false),
            "rediss" => (Self::Single, true),
            "redis+sentinel" => (Self::Sentinel, false),
            "rediss+sentinel" => (Self::Sentinel, true),
            "redis+cluster" => (Self::Cluster, false),
            "rediss+cluster" => (Self::Cluster, true),
            _ => return None,
        })
    }

    fn port(self) -> u16 {
        match self {
            Self::Single | Self::Cluster => SERVER,
            Self::Sentinel => SENTINEL,
        }
    }
}

impl RedisUrl {
    /// With who asks.
    pub(crate) fn with_credentials(
        self,
        username: Option<RedisUser>,
        password_file: Option<name::FilePath>,
    ) -> RedisConfig {
        RedisConfig {
            topology: self.topology,
            hosts: self.hosts,
            database: self.database,
            tls: self.tls,
            username: username.map(|user| user.0),
            password_file: password_file.map(|file| file.0),
        }
    }
}

impl Text for RedisUrl {
    const EXPECTED: &'static str = "an address such as \"redis://127.0.0.1:6379\"";
}

impl FromStr for RedisUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(format!("is no address; {EXAMPLE}"));
        };
        let (family, tls) = Family::of_scheme(scheme).ok_or_else(|| {
            format!(
                "is no address of a Redis; {EXAMPLE}, or one that begins with rediss://, redis+sentinel:// or \
                 redis+cluster://"
            )
        })?;
        if rest.contains('@') {
            return Err(
                "has a user name or password in it; write the name as redis_username, and the password into a file \
                 of its own that redis_password_file names"
                    .to_owned(),
            );
        }
        if rest.contains(['?', '#']) {
            return Err(format!("has more than hosts and a database in it; {EXAMPLE}"));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let hosts = hosts(authority, family.port())?;
        let (topology, database) = match family {
            Family::Single => (Topology::Single, database(path)?),
            Family::Sentinel => sentinel(path)?,
            Family::Cluster => (Topology::Cluster, database(path)?),
        };
        if matches!(family, Family::Single) && hosts.len() > 1 {
            return Err(
                "has several hosts; write redis+sentinel://HOST,HOST/SERVICE where sentinels watch over a server, \
                 redis+cluster://HOST,HOST for a cluster, or one host alone"
                    .to_owned(),
            );
        }
        if matches!(family, Family::Cluster) && database != 0 {
            return Err("names a database, and a cluster has only the first; remove it".to_owned());
        }
        Ok(Self {
            topology,
            hosts,
            database,
            tls,
        })
    }
}

fn hosts(authority: &str, default_port: u16) -> Result<Vec<(String, u16)>, String> {
    let mut hosts = Vec::new();
    for (index, one) in authority.split(',').enumerate() {
        let (host, port) =
            host_and_port(one).map_err(|wrong| format!("{wrong} at place {}; {EXAMPLE}", index + 1))?;
        let host = (host, port.unwrap_or(default_port));
        if hosts.contains(&host) {
            return Err(format!("has the host at place {} twice; remove one", index + 1));
        }
        hosts.push(host);
    }
    Ok(hosts)
}

/// What follows the hosts: nothing, or a number.
fn database(path: &str) -> Result<i64, String> {
    if path.is_empty() {
        return Ok(0);
    }
    let digits = path.bytes().all(|byte| byte.is_ascii_digit());
    let number = path.parse::<i32>().ok().filter(|_| digits);
    number
        .map(i64::from)
        .ok_or_else(|| "names a database that is no number from 0; write /0, or nothing".to_owned())
}

fn sentinel(path: &str) -> Result<(Topology, i64), String> {
    let (service, number) = path.split_once('/').unwrap_or((path, ""));
    if service.is_empty() {
        return Err(format!(
            "doesn't say what the sentinels call the service; {SENTINEL_EXAMPLE}"
        ));
    }
    let service = service.parse::<name::Name>().map_err(|_| {
        format!("names a service with more than letters, digits, dots, hyphens and underscores; {SENTINEL_EXAMPLE}")
    })?;
    let topology = Topology::Sentinel { service: service.0 };
    Ok((topology, database(number)?))
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.topology {
            Topology::Single => "",
            Topology::Sentinel { .. } => "+sentinel",
            Topology::Cluster => "+cluster",
        };
        write!(f, "redis{}{family}://", if self.tls { "s" } else { "" })?;
        for (index, (host, port)) in self.hosts.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{}", written(host, *port))?;
        }
        if let Topology::Sentinel { service } = &self.topology {
            write!(f, "/{service}")?;
        }
        if self.database != 0 {
            write!(f, "/{}", self.database)?;
        }
        Ok(())
    }
}

text!(
    RedisUrl,
    "^rediss?(\\+sentinel|\\+cluster)?://[^@?#\\s]+$",
    "redis://127.0.0.1:6379"
);

/// `limiter.redis_username`: 1 to 128 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RedisUser(pub(crate) String);

impl Text for RedisUser {
    const EXPECTED: &'static str = "a user name such as \"keyward\"";
}

impl FromStr for RedisUser {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(text.to_owned()));
        }
        Err(
            "can't be a user of Redis; write 1 to 128 visible ASCII characters, such as \"keyward\""
                .to_owned(),
        )
    }
}

impl fmt::Display for RedisUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text!(RedisUser, "^[!-~]{1,128}$", "keyward");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z][a-z0-9]{0,8}(\\.[a-z]{1,5}){0,2}",
            any::<std::net::Ipv4Addr>().prop_map(|address| address.to_string()),
            any::<std::net::Ipv6Addr>().prop_map(|address| address.to_string()),
        ]
    }

    fn topology() -> impl Strategy<Value = Topology> {
        prop_oneof![
            Just(Topology::Single),
            Just(Topology::Cluster),
            "[A-Za-z0-9._-]{1,20}".prop_map(|service| Topology::Sentinel { service }),
        ]
    }

    proptest! {
        #[test]
        fn an_address_reads_back_as_it_was_written(
            topology in topology(),
            hosts in proptest::collection::btree_set((host(), 1u16..), 1..5),
            database in 0i64..=i64::from(i32::MAX),
            tls: bool,
        ) {
            let most = if topology == Topology::Single { 1 } else { 5 };
            let database = if topology == Topology::Cluster { 0 } else { database };
            let hosts = hosts.into_iter().take(most).collect();
            let url = RedisUrl { topology, hosts, database, tls };
            prop_assert_eq!(url.to_string().parse::<RedisUrl>(), Ok(url));
        }

        #[test]
        fn no_text_makes_the_parser_panic(
            scheme in "(redis|rediss|redis\\+sentinel|redis\\+cluster|x)?(://)?",
            rest in "[\\[\\]:,/@?#.0-9a-z-]{0,40}|.{0,40}",
        ) {
            let text = format!("{scheme}{rest}");
            if let Ok(url) = text.parse::<RedisUrl>() {
                prop_assert_eq!(url.to_string().parse::<RedisUrl>(), Ok(url));
            }
        }

        #[test]
        fn what_is_refused_is_never_quoted(
            before in "(redis|rediss\\+sentinel|valkey|)(://)?[:/,]{0,3}",
            after in "[@:/?#, ]{0,3}(host)?[@:/?#, ]{0,3}",
        ) {
            let text = format!("{before}S3CRET!{after}");
            let refusal = text.parse::<RedisUrl>().expect_err("no host has an exclamation mark");
            prop_assert!(!refusal.contains("S3CRET"), "{}", refusal);
        }
    }
}
