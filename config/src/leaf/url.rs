//! Addresses of upstreams, control planes, databases and documentation.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::gateway::Endpoint;
use crate::leaf::{Text, host, short, text};

/// An `http` or `https` address of one machine: makes a type of it.
macro_rules! origins {
    ($(#[$doc:meta])* $name:ident, $usual_tls:literal, $example:literal, $plain_example:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) struct $name {
            /// Whether it is `https`.
            pub(crate) tls: bool,
            pub(crate) endpoint: Endpoint,
        }

        impl $name {
            /// In clear text.
            pub(crate) fn plain(endpoint: Endpoint) -> Self {
                Self { tls: false, endpoint }
            }
        }

        impl Text for $name {
            const EXPECTED: &'static str = concat!("an address such as \"", $example, "\"");
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let secure = text
                    .get(..8)
                    .is_some_and(|start| start.eq_ignore_ascii_case("https://"));
                match text.get(8..).filter(|_| secure) {
                    Some(rest) => Ok(Self {
                        tls: true,
                        endpoint: place(rest, text, ($usual_tls, $example))?,
                    }),
                    None => origin(text, $plain_example).map(Self::plain),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let Endpoint { host, port } = &self.endpoint;
                let scheme = if self.tls { "https" } else { "http" };
                write!(f, "{scheme}://{}", written(host, *port))
            }
        }

        text!($name, "^https?://[^/?#@\\s]+/?$", $example);
    };
}

origins!(
    /// One of `upstreams.endpoints`.
    EndpointUrl,
    443,
    "http://127.0.0.1:3000",
    "http://127.0.0.1:3000"
);

origins!(
    /// One of `control_plane.urls`.
    SyncUrl,
    443,
    "https://cp.internal:8082",
    "http://127.0.0.1:8082"
);

/// `http://host:port` and nothing more.
fn origin(text: &str, example: &str) -> Result<Endpoint, String> {
    let shown = short(text);
    let wrong = |what: &str| format!("\"{shown}\" {what}; write one such as \"{example}\"");
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(wrong("is no address"));
    };
    match scheme.to_ascii_lowercase().as_str() {
        "http" => {}
        _ => return Err(wrong("is no http address")),
    }
    place(rest, text, (80, example))
}

/// What follows `://`: a host, a port where it isn't the usual one, and nothing more.
fn place(rest: &str, text: &str, (usual, example): (u16, &str)) -> Result<Endpoint, String> {
    let shown = short(text);
    let wrong = |what: &str| format!("\"{shown}\" {what}; write one such as \"{example}\"");
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains('@') {
        // Not quoted: what stands before the @ may be a password.
        return Err(format!("has a user name in it; write one such as \"{example}\""));
    }
    if authority.contains(['/', '?', '#']) {
        return Err(wrong("has more than a host and a port"));
    }
    let (host, port) = host_and_port(authority).map_err(wrong)?;
    let port = port.unwrap_or(usual);
    Ok(Endpoint { host, port })
}

/// A host and a port in one text, as addresses have them.
pub(crate) fn written(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// The host, without brackets, and the port where one is written; or what is wrong with them.
pub(crate) fn host_and_port(authority: &str) -> Result<(String, Option<u16>), &'static str> {
    let (host, port) = split_port(authority);
    let port = match port {
        Some(port) => {
            let port = port.parse().ok().filter(|port| *port != 0);
            Some(port.ok_or("has no port from 1 to 65535")?)
        }
        None => None,
    };
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().ok().map(|v6| v6.to_string()),
        None => host::name(host),
    };
    Ok((host.ok_or("has no valid host")?, port))
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    if authority.ends_with(']') {
        return (authority, None);
    }
    match authority.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    }
}

/// `errors.documentation_url`, without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DocumentationUrl(pub(crate) String);

impl Text for DocumentationUrl {
    const EXPECTED: &'static str = "an address such as \"https://example.com/docs\"";
}

impl FromStr for DocumentationUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "\"{}\" is no address; write one such as \"https://example.com/docs\"",
                short(text)
            )
        };
        let uri: http::Uri = text.parse().map_err(|_| wrong())?;
        let plain =
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|h| !h.is_empty());
        // It goes into answers as it is.
        let clean = text.len() <= 512 && !text.contains(['"', '\\', '<', '>', '?', '#', '@']);
        if plain && clean {
            Ok(Self(text.trim_end_matches('/').to_owned()))
        } else {
            Err(wrong())
        }
    }
}

impl fmt::Display for DocumentationUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text!(
    DocumentationUrl,
    "^https?://[^\\s\"\\\\<>?#@]+$",
    "https://example.com/docs"
);

/// `database.url`. Its password, where it has one, is kept apart, so that the address can be shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct DatabaseUrl {
    /// The address without a password.
    pub(crate) address: String,
    /// What stood between `:` and `@`.
    pub(crate) password: Option<Password>,
}

/// What a `postgres://` address may say after its `?`.
const POSTGRES_PARAMETERS: [&str; 11] = [
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "application_name",
    "options",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
];

impl DatabaseUrl {
    /// An address without a password.
    pub(crate) fn plain(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            password: None,
        }
    }

    /// Whether it is a server, which asks for a password.
    pub(crate) fn is_postgres(&self) -> bool {
        !self.address.starts_with("sqlite:")
    }

    fn sqlite(text: &str) -> Result<Self, String> {
        if text.contains(":memory:") || text.contains("mode=memory") {
            return Err("would forget every key when it stops; write \"sqlite://PATH\"".to_owned());
        }
        match text.strip_prefix("sqlite://") {
            Some(path) if !path.is_empty() && !path.starts_with('?') => Ok(Self::plain(text)),
            _ => Err(Self::unknown()),
        }
    }

    // Nothing of what was written is quoted: it may be a password.
    fn postgres(scheme: &str, rest: &str) -> Result<Self, String> {
        const EXAMPLE: &str = "write one such as \"postgres://keyward@db.example/keyward\"";
        let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let Some((authority, database)) = place.split_once('/').filter(|_| !rest.contains('#')) else {
            return Err(format!("names no database; {EXAMPLE}"));
        };
        if database.is_empty() || database.contains(['/', '@']) {
            return Err(format!("names no database; {EXAMPLE}"));
        }
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let name = parameter.split('=').next().unwrap_or_default();
            if name == "password" {
                return Err("has its password at the end; it belongs into database.password_file".to_owned());
            }
            if !POSTGRES_PARAMETERS.contains(&name) {
                let known = POSTGRES_PARAMETERS.join(", ");
                return Err(format!("has a parameter that is not known; known are {known}"));
            }
        }
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match user.split_once(':') {
            Some((user, password)) => (user, Some(Password::decoded(password)?)),
            None => (user, None),
        };
        let at = if user.is_empty() { "" } else { "@" };
        let question = if parameters.is_empty() { "" } else { "?" };
        let address = format!("{scheme}://{user}{at}{host}/{database}{question}{parameters}");
        Ok(Self { address, password })
    }

    fn unknown() -> String {
        format!("is no database that is known; write {}", Self::EXPECTED)
    }
}

impl Text for DatabaseUrl {
    const EXPECTED: &'static str = "a database such as \"sqlite://keyward-data/control-plane.db\" or \"postgres://keyward@db.example/keyward\"";
}

impl FromStr for DatabaseUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            Some((scheme @ ("postgres" | "postgresql"), rest)) => Self::postgres(scheme, rest),
            _ => Self::sqlite(text),
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.address, f)
    }
}

text!(
    DatabaseUrl,
    "^(sqlite://.+|postgres(ql)?://[^/]*/.+)$",
    "postgres://keyward@db.example/keyward"
);

/// A password, which is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// The password itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Undoes the percent-encoding that a password has in an address.
    fn decoded(text: &str) -> Result<Self, String> {
        let wrong = || "has a password that is not percent-encoded UTF-8".to_owned();
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            if byte != b'%' {
                bytes.push(byte);
                continue;
            }
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let (high, low) = (digit().ok_or_else(wrong)?, digit().ok_or_else(wrong)?);
            bytes.push(u8::try_from(high * 16 + low).map_err(|_| wrong())?);
        }
        String::from_utf8(bytes).map(Self).map_err(|_| wrong())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}
