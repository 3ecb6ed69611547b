//! Names that people choose, header names, file paths and the small formats of the control plane.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::leaf::{Text, short, text};

/// Whether a name may have this character.
pub(crate) fn allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// The name of a gateway, an upstream or a tier: 1 to 64 letters, digits, `.`, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name(pub(crate) String);

impl Text for Name {
    const EXPECTED: &'static str = "a name such as \"api\"";
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if (1..=64).contains(&text.len()) && text.chars().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "\"{}\" can't be a name; write 1 to 64 letters, digits, dots, hyphens and underscores, such as \"api\"",
            short(text)
        ))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text!(Name, "^[A-Za-z0-9._-]{1,64}$", "api");

/// A name that is only shown: 1 to 128 characters without control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label(pub(crate) String);

impl Text for Label {
    const EXPECTED: &'static str = "text such as \"Growth\"";
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let length = text.chars().count();
        if (1..=128).contains(&length) && !text.chars().any(char::is_control) && text.trim() == text {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "\"{}\" can't be shown as a name; write 1 to 128 characters without spaces at the ends",
            short(&text.escape_debug().to_string())
        ))
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text!(Label, "^\\S(.{0,126}\\S)?$", "Growth");

/// The name of a header that carries a credential, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CredentialHeader(pub(crate) String);

/// Headers that mean something else to HTTP, to proxies or to Keyward.
const TAKEN: [&str; 16] = [
    "accept",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-real-ip",
    "x-request-id",
];
const TAKEN_FAMILIES: [&str; 5] = ["keyward-", "proxy-", "ratelimit", "x-forwarded-", "x-ratelimit-"];

impl Text for CredentialHeader {
    const EXPECTED: &'static str = "a header name such as \"x-api-key\"";
}

impl FromStr for CredentialHeader {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = http::HeaderName::from_str(text).map_err(|_| {
            format!(
                "\"{}\" is no header name; write one such as \"x-api-key\"",
                short(text)
            )
        })?;
        let name = name.as_str();
        if TAKEN.contains(&name) || TAKEN_FAMILIES.iter().any(|family| name.starts_with(family)) {
            return Err(format!(
                "\"{name}\" has a meaning of its own and can't carry a credential"
            ));
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for CredentialHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text!(CredentialHeader, "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", "x-api-key");

/// The name of any header of a request, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestHeader(pub(crate) http::HeaderName);

impl Text for RequestHeader {
    const EXPECTED: &'static str = "a header name such as \"x-tenant\"";
}

impl FromStr for RequestHeader {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        http::HeaderName::from_str(text).map(Self).map_err(|_| {
            format!(
                "\"{}\" is no header name; write one such as \"x-tenant\"",
                short(text)
            )
        })
    }
}

impl fmt::Display for RequestHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

text!(RequestHeader, "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", "x-tenant");

/// A file or folder; relative paths begin at the folder the program is started in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilePath(pub(crate) PathBuf);

impl Text for FilePath {
    const EXPECTED: &'static str = "a path such as \"keyward-data/secrets/gateway-token\"";
}

impl FromStr for FilePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.contains('\0') {
            return Err(format!("is no path; write {}", Self::EXPECTED));
        }
        Ok(Self(PathBuf::from(text)))
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

text!(FilePath, "^.+$", "keyward-data/secrets/gateway-token");

/// A promise of availability, such as `99.95%`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Availability(pub(crate) String);

impl Text for Availability {
    const EXPECTED: &'static str = "an availability such as \"99.9%\"";
}

impl FromStr for Availability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let percent = text
            .strip_suffix('%')
            .filter(|number| number.chars().all(|c| c.is_ascii_digit() || c == '.'))
            .and_then(|number| number.parse::<f64>().ok());
        if percent.is_some_and(|percent| (0.0..=100.0).contains(&percent)) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "\"{}\" is no availability; write a percentage such as \"99.9%\"",
            short(text)
        ))
    }
}

impl fmt::Display for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text!(Availability, "^[0-9]{1,3}(\\.[0-9]+)?%$", "99.9%");

/// A version of the API that is sold: the date of its release, `YYYY-MM-DD`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) String);

impl Text for Version {
    const EXPECTED: &'static str = "a date in quotation marks, such as \"2026-11-01\"";
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if is_date(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "\"{}\" is no date; write year, month and day, such as \"2026-11-01\"",
            short(text)
        ))
    }
}

fn is_date(text: &str) -> bool {
    let shaped = text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| {
            if at == 4 || at == 7 {
                byte == b'-'
            } else {
                byte.is_ascii_digit()
            }
        });
    if !shaped {
        return false;
    }
    let part = |range: std::ops::Range<usize>| text.get(range)?.parse::<u32>().ok();
    let (Some(year), Some(month), Some(day)) = (part(0..4), part(5..7), part(8..10)) else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 0,
    };
    (1..=days).contains(&day)
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text!(Version, "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "2026-11-01");
