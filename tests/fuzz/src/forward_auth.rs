//! `/auth`: the call that the proxy's fields tell of is decided on as if it had come itself, whatever order they stand
//! in; and who writes one field more gains a refusal at most.

use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Uri};
use keyward_gateway::authz::fuzzing::forward_auth;

use super::told_heads::{Told, is_as_if_it_came};

const NAMES: [&str; 16] = [
    "x-forwarded-method",
    "x-forwarded-uri",
    "x-forwarded-host",
    "x-original-method",
    "x-original-uri",
    "x-original-url",
    "host",
    "content-length",
    "transfer-encoding",
    "x-api-key",
    "authorization",
    "x-forwarded-for",
    "connection",
    "x_forwarded_uri",
    "accept",
    "x-customer-key",
];
const METHODS: [&str; 2] = [NAMES[0], NAMES[3]];
const TARGETS: [&str; 2] = [NAMES[1], NAMES[4]];
/// More than these, and httparse has no room for them.
const MOST_FIELDS: usize = 60;

type Fields = Vec<(&'static str, HeaderValue)>;

/// A byte that says how the question itself came, then lines: a byte that says which name, and its value.
pub fn check(bytes: &[u8]) {
    let [how, rest @ ..] = bytes else { return };
    let uri = if how & 1 == 0 {
        "/auth"
    } else {
        "http://own.example/auth"
    };
    let mut fields = Vec::new();
    for line in rest.split(|byte| *byte == b'\n').take(MOST_FIELDS) {
        if let [name, value @ ..] = line
            && let Ok(value) = HeaderValue::from_bytes(value.trim_ascii())
        {
            fields.push((NAMES[usize::from(*name) % NAMES.len()], value));
        }
    }
    let Some(question) = question(uri, &fields) else {
        return;
    };
    let read = forward_auth(&question);
    is_as_if_it_came(told(uri, &fields).as_ref(), read.as_ref());
    let turned: Fields = fields.iter().rev().cloned().collect();
    let read = read.as_ref().map(meaning);
    let again = self::question(uri, &turned).and_then(|question| forward_auth(&question));
    assert_eq!(read, again.as_ref().map(meaning), "it depends on the order");
    if let Some(read) = &read {
        one_more_changes_nothing(uri, &fields, read);
    }
}

fn question(uri: &str, fields: &Fields) -> Option<Parts> {
    let mut question = Request::builder().uri(uri);
    for (name, value) in fields {
        question = question.header(*name, value);
    }
    Some(question.body(()).ok()?.into_parts().0)
}

/// What of a head says what is asked for.
fn meaning(parts: &Parts) -> (String, Option<String>, Vec<HeaderValue>) {
    let target = parts.uri.path_and_query().map(ToString::to_string);
    let mut hosts: Vec<_> = parts.headers.get_all("host").iter().cloned().collect();
    hosts.sort_by(|one, other| one.as_bytes().cmp(other.as_bytes()));
    (parts.method.to_string(), target, hosts)
}

/// Where the proxy tells method, target and host, a client's own field can't tell another.
fn one_more_changes_nothing(uri: &str, fields: &Fields, read: &(String, Option<String>, Vec<HeaderValue>)) {
    let is_told = |names: &[&str]| {
        fields
            .iter()
            .any(|(name, value)| names.contains(name) && !value.is_empty())
    };
    if !is_told(&METHODS) || !is_told(&TARGETS) || !is_told(&["x-forwarded-host"]) {
        return;
    }
    for (name, value) in [
        ("x-forwarded-method", "OPTIONS"),
        ("x-original-method", "OPTIONS"),
        ("x-forwarded-uri", "/public"),
        ("x-original-uri", "/public"),
        ("x-original-url", "http://public.example/public"),
        ("x-forwarded-host", "public.example"),
        ("x-forwarded-uri", ""),
        ("host", "public.example"),
    ] {
        for at in [0, fields.len()] {
            let mut more = fields.clone();
            more.insert(at, (name, HeaderValue::from_static(value)));
            let now = question(uri, &more).and_then(|question| forward_auth(&question));
            if let Some(now) = now {
                assert_eq!(meaning(&now), *read, "{name}: {value} at {at}");
            }
        }
    }
}

/// What the proxy tells, read as the documentation has it.
fn told(uri: &str, fields: &Fields) -> Option<Told> {
    let method = one(fields, &METHODS)?.map_or_else(|| b"GET".to_vec(), <[u8]>::to_vec);
    let target = one(fields, &TARGETS)?;
    let whole = one(fields, &["x-original-url"])?;
    for text in [target, whole].into_iter().flatten() {
        Uri::try_from(text).ok().filter(|_| !text.contains(&b'#'))?;
    }
    let split = whole.map(split);
    let target = match (target, &split) {
        (Some(target), Some((_, rest))) if self::split(target).1 != *rest => return None,
        (Some(target), _) => target.to_vec(),
        (None, _) => whole?.to_vec(),
    };
    let authority = split.and_then(|(authority, _)| authority);
    let host = match (one(fields, &["x-forwarded-host"])?, authority) {
        (Some(host), Some(authority)) if !host.eq_ignore_ascii_case(&authority) => return None,
        (Some(host), _) => Some(host.to_vec()),
        (None, Some(authority)) => Some(authority),
        (None, None) => Uri::try_from(uri)
            .ok()?
            .authority()
            .filter(|_| !fields.iter().any(|(name, _)| *name == "host"))
            .map(|own| own.as_str().as_bytes().to_vec()),
    };
    let fields = fields.iter().map(|(name, value)| {
        let name = HeaderName::from_static(name);
        (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec())
    });
    Some(Told {
        method,
        target,
        host,
        fields: fields.collect(),
    })
}

/// The one thing that these fields say, if any; `None` when it is two.
fn one<'f>(fields: &'f Fields, names: &[&str]) -> Option<Option<&'f [u8]>> {
    let mut told: Vec<&[u8]> = fields
        .iter()
        .filter(|(name, value)| names.contains(name) && !value.is_empty())
        .map(|(_, value)| value.as_bytes())
        .collect();
    told.dedup();
    (told.len() < 2).then(|| told.first().copied())
}

/// Authority, and path with query, of a target in any form.
fn split(text: &[u8]) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    let place = text.windows(3).position(|three| three == b"://");
    let is_origin = matches!(text, [b'/', ..] | [b'*']);
    let (authority, rest) = match place.filter(|_| !is_origin) {
        Some(at) => {
            let rest = &text[at + 3..];
            let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?'));
            let (authority, rest) = rest.split_at(end.unwrap_or(rest.len()));
            (Some(authority.to_vec()), rest)
        }
        None if is_origin => (None, text),
        // An authority alone asks for nothing.
        None => return (Some(text.to_vec()), None),
    };
    // A `?` with nothing after it, or with nothing before it, is there all the same.
    let path = if rest.is_empty() { b"/" } else { rest };
    (authority, Some(path.to_vec()))
}
