//! Origins of web pages, as `routes.cors.origins` lists them.

use std::fmt;
use std::str::FromStr;

use crate::gateway::OriginPattern;
use crate::leaf::{Text, host, short, text, url};

/// An origin as a browser writes it, `https://*.` and the end of hosts, `null`, or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin(pub(crate) OriginPattern);

impl Text for Origin {
    const EXPECTED: &'static str = "an origin such as \"https://app.example\"";
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "*" => return Ok(Self(OriginPattern::Any)),
            "null" => return Ok(Self(OriginPattern::Exact(text.to_owned()))),
            _ => {}
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(|| no_origin(text))?;
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
            && scheme
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
        if !is_scheme {
            return Err(no_origin(text));
        }
        if let Some((authority, _)) = rest.split_once('/') {
            return Err(format!(
                "\"{}\" has a path, and an origin has none; write \"{scheme}://{}\"",
                short(text),
                short(authority)
            ));
        }
        let (end, is_pattern) = match rest.strip_prefix("*.") {
            Some(end) => (end, true),
            None => (rest, false),
        };
        let authority = authority(scheme, end).map_err(|reason| reason.unwrap_or_else(|| no_origin(text)))?;
        Ok(Self(if is_pattern {
            OriginPattern::Below {
                scheme: format!("{scheme}://"),
                end: format!(".{authority}"),
            }
        } else {
            OriginPattern::Exact(format!("{scheme}://{authority}"))
        }))
    }
}

/// Host and port in the form in which a browser sends them: lower case, without the port that goes without saying.
fn authority(scheme: &str, text: &str) -> Result<String, Option<String>> {
    let (name, port) = url::host_and_port(text).map_err(|_| None)?;
    let is_address = name.parse::<std::net::Ipv6Addr>().is_ok();
    let name = if is_address {
        format!("[{name}]")
    } else {
        host::name(&name).ok_or(None)?
    };
    match (scheme, port) {
        ("https", Some(443)) | ("http", Some(80)) => Err(Some(format!(
            "browsers leave the usual port out; write \"{scheme}://{name}\""
        ))),
        (_, Some(port)) => Ok(format!("{name}:{port}")),
        (_, None) => Ok(name),
    }
}

fn no_origin(text: &str) -> String {
    format!(
        "\"{}\" is no origin; write one such as \"https://app.example\" or \"https://*.example.com\", or \"*\" for all",
        short(text)
    )
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            OriginPattern::Any => f.write_str("*"),
            OriginPattern::Exact(origin) => f.write_str(origin),
            OriginPattern::Below { scheme, end } => write!(f, "{scheme}*{end}"),
        }
    }
}

text!(
    Origin,
    "^(\\*|null|[a-z][a-z0-9+.-]*://(\\*\\.)?[^/]+)$",
    "https://app.example"
);
