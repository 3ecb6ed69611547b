//! Who issues tokens, and what stands in them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use crate::leaf::{Text, short, text};

/// Whether keys may be fetched from this address: over https, or from this machine.
#[must_use]
pub fn is_https_or_loopback(address: &str) -> bool {
    Parts::of(address).is_some_and(|parts| parts.is_private())
}

struct Parts {
    uri: http::Uri,
}

impl Parts {
    /// An http or https address without a user name or a fragment.
    fn of(text: &str) -> Option<Self> {
        let clean = text.len() <= 512
            && !text.contains(['"', '\\', '<', '>', '#', '@'])
            && text.chars().all(|c| c.is_ascii_graphic());
        let uri: http::Uri = text.parse().ok().filter(|_| clean)?;
        let schemed = matches!(uri.scheme_str(), Some("http" | "https"));
        let hosted = uri.host().is_some_and(|host| !host.is_empty());
        (schemed && hosted).then_some(Self { uri })
    }

    fn is_private(&self) -> bool {
        self.uri.scheme_str() == Some("https") || self.is_loopback()
    }

    fn is_loopback(&self) -> bool {
        let host = self.uri.host().unwrap_or_default();
        let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        match v6 {
            Some(v6) => v6.parse::<Ipv6Addr>().is_ok_and(|v6| v6.is_loopback()),
            None => host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()),
        }
    }
}

/// `auth.oidc.issuer`: as it stands in the tokens, to the letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IssuerUrl(pub(crate) String);

impl Text for IssuerUrl {
    const EXPECTED: &'static str = "an issuer such as \"https://login.example.com\"";
}

impl FromStr for IssuerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = Parts::of(text)
            .filter(|parts| parts.uri.query().is_none())
            .ok_or_else(|| {
                format!(
                    "\"{}\" is no issuer; write its address as it stands in its tokens, such as \
                     \"https://login.example.com\"",
                    short(text)
                )
            })?;
        if !parts.is_private() {
            return Err(format!(
                "\"{}\" is not encrypted: whoever sits between could put in keys of their own; write https://, \
                 or an address of this machine",
                short(text)
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for IssuerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text!(
    IssuerUrl,
    "^https?://[^\\s\"\\\\<>?#@]+$",
    "https://login.example.com"
);

/// `auth.issuer`: where this API is reached, without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiUrl(pub(crate) String);

impl Text for ApiUrl {
    const EXPECTED: &'static str = "an address such as \"https://keys.example.com\"";
}

impl FromStr for ApiUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let origin = |parts: &Parts| parts.uri.query().is_none() && parts.uri.path() == "/";
        Parts::of(text).filter(origin).ok_or_else(|| {
            format!(
                "\"{}\" is no address of a host; write where this API is reached, such as \"https://keys.example.com\"",
                short(text)
            )
        })?;
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

impl fmt::Display for ApiUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text!(
    ApiUrl,
    "^https?://[^/\\s\"\\\\<>?#@]+/?$",
    "https://keys.example.com"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_trusted_without_encryption() {
        for (address, expected) in [
            ("https://login.example.com/keys?x=1", true),
            ("http://127.0.0.1:4000/keys", true),
            ("http://127.9.9.9/", true),
            ("http://[::1]:4000", true),
            ("http://localhost:4000", true),
            ("http://localhost.example.com", false),
            ("http://10.0.0.1", false),
            ("http://127.0.0.1.example.com", false),
            ("http://127.0.0.1@example.com", false),
            ("https://user@example.com", false),
            ("ftp://127.0.0.1", false),
            ("file:///etc/passwd", false),
            ("127.0.0.1", false),
            ("https://", false),
            ("", false),
        ] {
            assert_eq!(is_https_or_loopback(address), expected, "{address}");
        }
    }
}
