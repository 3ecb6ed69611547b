//! `routes.headers`: names and values that are none, and those that the gateway answers for itself.

use std::collections::{BTreeMap, HashSet};

use http::{HeaderName, HeaderValue};

use crate::gateway::{Credentials, HeaderChanges, HeaderRules};
use crate::leaf::short;
use crate::leaf::url::host_and_port;
use crate::report::Report;
use crate::typed::route::{HeaderRules as Typed, Headers};

/// Every rule is looked at for each call of its route.
const MOST_RULES: usize = 64;
const LONGEST_VALUE: usize = 4_096;

/// Whose head is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Request,
    Response,
}

/// What a rule does with its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Set,
    Add,
    Remove,
}

impl Deed {
    fn key(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Add => "add",
            Self::Remove => "remove",
        }
    }
}

/// The rules of the route at this path.
pub(crate) fn headers(
    at: &str,
    typed: Option<Headers>,
    credentials: &Credentials,
    report: &mut Report<'_>,
) -> HeaderRules {
    let Some(typed) = typed else {
        return HeaderRules::default();
    };
    let mut side = |side: Side, key: &str, typed: Typed| {
        let mut check = Check {
            at: format!("{at}.headers.{key}"),
            side,
            credentials,
            seen: HashSet::new(),
            report: &mut *report,
        };
        check.changes(typed)
    };
    HeaderRules {
        request: side(Side::Request, "request", typed.request),
        response: side(Side::Response, "response", typed.response),
    }
}

/// Looks at the rules for one head.
struct Check<'r, 'd> {
    at: String,
    side: Side,
    credentials: &'r Credentials,
    seen: HashSet<HeaderName>,
    report: &'r mut Report<'d>,
}

impl Check<'_, '_> {
    fn changes(&mut self, typed: Typed) -> HeaderChanges {
        let count = typed.set.len() + typed.add.len() + typed.remove.len();
        if count > MOST_RULES {
            let message = format!("there are {count} rules; at most {MOST_RULES} can be followed");
            self.report.wrong(&self.at, message);
        }
        let mut remove = Vec::with_capacity(typed.remove.len());
        for (index, name) in typed.remove.iter().enumerate() {
            let path = format!("{}.remove[{index}]", self.at);
            remove.extend(self.name(&path, name, Deed::Remove));
        }
        HeaderChanges {
            set: self.fields(typed.set, Deed::Set),
            add: self.fields(typed.add, Deed::Add),
            remove,
        }
    }

    fn fields(&mut self, typed: BTreeMap<String, String>, deed: Deed) -> Vec<(HeaderName, HeaderValue)> {
        let mut fields = Vec::with_capacity(typed.len());
        for (name, value) in typed {
            let path = format!("{}.{}.{name}", self.at, deed.key());
            let Some(name) = self.name(&path, &name, deed) else {
                continue;
            };
            match value_of(&name, &value) {
                Ok(value) => fields.push((name, value)),
                Err(message) => self.report.wrong(&path, message),
            }
        }
        fields
    }

    fn name(&mut self, path: &str, typed: &str, deed: Deed) -> Option<HeaderName> {
        let Ok(name) = HeaderName::from_bytes(typed.as_bytes()) else {
            let message = format!(
                "\"{}\" is no header name; write one such as \"x-tenant\"",
                short(typed)
            );
            self.report.wrong(path, message);
            return None;
        };
        if let Some(reason) = self.protected(&folded(name.as_str()), deed) {
            let alias = if name.as_str().contains(['_', '.']) {
                format!("\"{name}\" counts as \"{}\", which", folded(name.as_str()))
            } else {
                format!("\"{name}\"")
            };
            self.report.wrong(path, format!("{alias} {reason}"));
            return None;
        }
        if !self.seen.insert(name.clone()) {
            let message = format!("\"{name}\" has another rule here already; one rule a header");
            self.report.wrong(path, message);
            return None;
        }
        Some(name)
    }

    /// Why a rule may not touch a name; `_` and `.` in it are `-` already.
    fn protected(&self, name: &str, deed: Deed) -> Option<&'static str> {
        if is_of_the_connection(name) {
            return Some(
                "belongs to the connection and the framing, which the gateway keeps right; remove it",
            );
        }
        if is_of_the_gateway(name) {
            return Some("is what the gateway itself says; remove it");
        }
        match self.side {
            Side::Request if name == "host" && deed != Deed::Set => {
                Some("can only be set; write it into set")
            }
            Side::Response if name == "host" => Some("is no header of answers; remove it"),
            Side::Request if is_of_the_origin(name) => Some(
                "says where a call came from and what it asks for, which the gateway itself writes; remove it",
            ),
            Side::Request if self.is_credential(name) => {
                Some("carries keys, and forward_credentials says whether they go on; remove it")
            }
            Side::Request | Side::Response => None,
        }
    }

    fn is_credential(&self, name: &str) -> bool {
        let Credentials { account, customer } = self.credentials;
        account
            .iter()
            .chain(customer)
            .any(|credential| folded(credential) == name)
    }
}

/// Hop-by-hop (RFC 9110 §7.6.1) and what is in use beside it, and the framing.
fn is_of_the_connection(name: &str) -> bool {
    name.starts_with("proxy-")
        || matches!(
            name,
            "connection"
                | "content-length"
                | "expect"
                | "http2-settings"
                | "keep-alive"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "upgrade"
        )
}

/// What is written anew, on requests and answers alike.
fn is_of_the_gateway(name: &str) -> bool {
    name.starts_with("keyward-")
        || name.starts_with("ratelimit")
        || name.starts_with("x-ratelimit-")
        || matches!(name, "via" | "x-request-id" | "traceparent")
}

/// The forwarded family, and what makes an upstream believe in another target or method.
fn is_of_the_origin(name: &str) -> bool {
    name.starts_with("x-forwarded-")
        || matches!(
            name,
            "forwarded"
                | "x-real-ip"
                | "x-original-url"
                | "x-rewrite-url"
                | "x-http-method"
                | "x-http-method-override"
                | "x-method-override"
        )
}

/// As CGI, WSGI and PHP see a name.
fn folded(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '.'], "-")
}

fn value_of(name: &HeaderName, typed: &str) -> Result<HeaderValue, String> {
    if typed.len() > LONGEST_VALUE {
        let length = typed.len();
        return Err(format!("has {length} bytes; write at most {LONGEST_VALUE}"));
    }
    if typed.trim() != typed {
        return Err("begins or ends with white space, which no header keeps; remove it".to_owned());
    }
    if name == http::header::HOST && host_and_port(typed).is_err() {
        return Err(format!(
            "\"{}\" is no host; write one such as \"api.internal\" or \"api.internal:8080\"",
            short(typed)
        ));
    }
    let value = HeaderValue::from_str(typed).ok().filter(|_| typed.is_ascii());
    value.ok_or_else(|| {
        format!(
            "\"{}\" can't be sent in a header; write visible ASCII characters",
            short(&typed.escape_debug().to_string())
        )
    })
}
