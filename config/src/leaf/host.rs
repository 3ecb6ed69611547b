//! Host names: those that routes serve and those that are connected to.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use crate::gateway::HostPattern;
use crate::leaf::{Text, short, text};

/// `routes.host`: a name, `*.` and the end of names, or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host(pub(crate) HostPattern);

impl Text for Host {
    const EXPECTED: &'static str = "a host such as \"api.example.com\" or \"*.example.com\"";
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self(HostPattern::Any));
        }
        if let Some(suffix) = text.strip_prefix("*.") {
            let suffix = name(suffix).ok_or_else(|| no_host(text))?;
            return Ok(Self(HostPattern::Suffix(format!(".{suffix}"))));
        }
        if text.contains("://") || text.contains('/') {
            return Err(format!(
                "\"{}\" is an address of a page; write the host alone",
                short(text)
            ));
        }
        if let Some(address) = bracketed(text) {
            return Ok(Self(HostPattern::Exact(format!("[{address}]"))));
        }
        if text.parse::<Ipv6Addr>().is_ok() {
            return Err(format!("\"{text}\" lacks brackets; write \"[{text}]\""));
        }
        if let Some((host, port)) = text.rsplit_once(':')
            && port.parse::<u16>().is_ok()
        {
            return Err(format!(
                "\"{}\" has a port; write \"{}\"",
                short(text),
                short(host)
            ));
        }
        let name = name(text).ok_or_else(|| no_host(text))?;
        Ok(Self(HostPattern::Exact(name)))
    }
}

fn no_host(text: &str) -> String {
    if !text.is_ascii() {
        return format!("\"{}\" is not ASCII; write its xn-- form", short(text));
    }
    format!(
        "\"{}\" is no host; write a name such as \"api.example.com\", or \"*.example.com\" for all that end so",
        short(text)
    )
}

fn bracketed(text: &str) -> Option<Ipv6Addr> {
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// A DNS name or an IPv4 address, in lower case.
pub(crate) fn name(text: &str) -> Option<String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() > 253 || !text.split('.').all(label) {
        return None;
    }
    // What ends in a number is an address or a mistake, never a name (WHATWG URL, "ends in a number").
    let numeric = text
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    if numeric && !text.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4()) {
        return None;
    }
    Some(text.to_ascii_lowercase())
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            HostPattern::Any => f.write_str("*"),
            HostPattern::Exact(name) => f.write_str(name),
            HostPattern::Suffix(suffix) => write!(f, "*{suffix}"),
        }
    }
}

text!(
    Host,
    "^(\\*|(\\*\\.)?[A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\])$",
    "api.example.com"
);
