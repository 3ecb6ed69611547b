//! Header rules of routes that the configuration takes: what is set is there once, what is removed is gone under every
//! name that an upstream folds to it, the rest is as it would be without rules, and nothing is forged by them.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use keyward_config::{GatewayConfig, HeaderChanges, Surroundings};
use keyward_gateway::onward::Trust;
use keyward_gateway::route::rules::Rules;

use super::forwarded_heads::{Forwarded, folded, nothing_is_forged, values};

const NAMES: [&str; 32] = [
    "x-tenant",
    "x_tenant",
    "x.tenant",
    "X-Tenant",
    "x-note",
    "accept",
    "cookie",
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "te",
    "via",
    "x-request-id",
    "traceparent",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-port",
    "x-real-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "x_client_ip",
    "x-original-uri",
    "x-original-method",
    "x-host",
    "keyward-account",
    "keyward_tier",
    "authorization",
    "x-api-key",
    "x_customer_key",
    "ratelimit",
    "server",
];
const MOST_LINES: usize = 40;

type Fields = Vec<(String, Vec<u8>)>;

/// A byte that says whether the peer is trusted, then lines: `s`, `a` or `r` for a rule of requests, in capitals for one
/// of answers, `c` for a client's field and `u` for one of an upstream's answer; a byte that says which name; a value.
pub fn check(bytes: &[u8]) {
    let [flags, rest @ ..] = bytes else { return };
    let trust = if flags & 1 == 0 {
        Trust::Untrusted
    } else {
        Trust::Trusted
    };
    let lines = || {
        let lines = rest.split(|byte| *byte == b'\n').take(MOST_LINES);
        lines.filter_map(|line| match line {
            [what, name, value @ ..] => Some((*what, NAMES[usize::from(*name) % NAMES.len()], value)),
            _ => None,
        })
    };
    let (mut sent, mut answer) = (HeaderMap::new(), HeaderMap::new());
    for (what, name, value) in lines() {
        let into = match what {
            b'c' => &mut sent,
            b'u' => &mut answer,
            _ => continue,
        };
        let is_once = matches!(name, "host" | "content-length" | "transfer-encoding");
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_bytes(value.trim_ascii()),
        ) && !is_once
        {
            into.append(name, value);
        }
    }
    sent.insert("host", HeaderValue::from_static("api.example"));
    let Some((of_request, of_response)) = rules(lines()) else {
        return;
    };
    request(&of_request, &sent, trust);
    response(&of_response, &answer);
}

/// What the configuration makes of the rules, when it takes them.
fn rules<'l>(lines: impl Iterator<Item = (u8, &'l str, &'l [u8])>) -> Option<(HeaderChanges, HeaderChanges)> {
    let mut texts = [const { String::new() }; 6];
    for (what, name, value) in lines {
        let value = serde_json::to_string(std::str::from_utf8(value).ok()?).ok()?;
        let Some(at) = b"sarSAR".iter().position(|kind| *kind == what) else {
            continue;
        };
        texts[at] += &match what {
            b'r' | b'R' => format!("\"{name}\","),
            _ => format!("\"{name}\" = {value},"),
        };
    }
    let side = |[set, add, remove]: [&String; 3]| {
        let table = |fields: &str| format!("{{{}}}", fields.trim_end_matches(','));
        format!(
            "{{ set = {}, add = {}, remove = [{remove}] }}",
            table(set),
            table(add)
        )
    };
    let [s, a, r, ss, aa, rr] = &texts;
    let config = format!(
        "[[upstreams]]\nname = \"api\"\nendpoints = [\"http://127.0.0.1:3000\"]\n[[routes]]\npath = \"/\"\n\
         headers = {{ request = {}, response = {} }}\n",
        side([s, a, r]),
        side([ss, aa, rr]),
    );
    let config = GatewayConfig::from_toml(&config, "gateway.toml", &Surroundings::default()).ok()?;
    let headers = config.routes.into_iter().next()?.headers;
    Some((headers.request, headers.response))
}

fn request(changes: &HeaderChanges, sent: &HeaderMap, trust: Trust) {
    let rules = Rules::of(changes);
    let forwarded = |rules| Forwarded {
        method: &Method::GET,
        target: "/",
        headers: sent,
        trust,
        rules,
    };
    let plain = forwarded(None).fields();
    let head = forwarded(rules.as_ref());
    let changed = head.fields();
    let ruled = || {
        changes
            .set
            .iter()
            .chain(&changes.add)
            .map(|(name, _)| name.as_str())
    };
    let mut sent_on = changed.clone();
    sent_on.retain(|(name, _)| !ruled().any(|ruled| ruled == name));
    nothing_is_forged(&sent_on, trust);
    head.is_the_same_in_http2(&changed);
    follows(changes, &plain, &changed, folded);
    assert_eq!(values(&changed, "host").len(), 1);
    assert_eq!(
        values(&changed, "x-forwarded-host"),
        values(&plain, "x-forwarded-host")
    );
}

fn response(changes: &HeaderChanges, answer: &HeaderMap) {
    let mut changed = answer.clone();
    if let Some(rules) = Rules::of(changes) {
        rules.change(&mut changed);
    }
    let fields = |headers: &HeaderMap| -> Fields {
        let fields = headers.iter();
        fields
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect()
    };
    // To a client a name is what it is.
    follows(changes, &fields(answer), &fields(&changed), str::to_owned);
}

/// `changed` is `plain` as the rules have it. `same` makes names equal that are the same to who reads them.
fn follows(changes: &HeaderChanges, plain: &Fields, changed: &Fields, same: fn(&str) -> String) {
    let of = |fields: &Fields, name: &str| -> Vec<Vec<u8>> {
        let named = fields.iter().filter(|(other, _)| same(other) == name);
        named.map(|(_, value)| value.clone()).collect()
    };
    let ruled: Vec<(String, Vec<&[u8]>)> = changes
        .remove
        .iter()
        .map(|name| (same(name.as_str()), Vec::new()))
        .chain(
            changes
                .set
                .iter()
                .map(|(name, value)| (same(name.as_str()), vec![value.as_bytes()])),
        )
        .collect();
    for (name, set) in &ruled {
        // Rules for two spellings of a name each say something of it.
        let is_only = ruled.iter().filter(|(other, _)| other == name).count() == 1;
        if is_only && !changes.add.iter().any(|(other, _)| same(other.as_str()) == *name) {
            assert_eq!(of(changed, name), *set, "{name}");
        }
    }
    for (name, value) in &changes.add {
        let name = same(name.as_str());
        if !ruled.iter().any(|(other, _)| *other == name) {
            let mut expected = of(plain, &name);
            let added = of(changed, &name);
            assert!(added.contains(&value.as_bytes().to_vec()), "{name}");
            expected.retain(|value| !added.contains(value));
            assert!(expected.is_empty(), "{name} lost what it had");
        }
    }
    let is_ruled = |name: &str| {
        let name = same(name);
        name == "traceparent"
            || ruled.iter().any(|(other, _)| *other == name)
            || changes.add.iter().any(|(other, _)| same(other.as_str()) == name)
    };
    let rest = |fields: &Fields| -> Fields {
        let mut rest: Fields = fields
            .iter()
            .filter(|(name, _)| !is_ruled(name))
            .cloned()
            .collect();
        rest.sort_by(|one, other| one.0.cmp(&other.0));
        rest
    };
    assert_eq!(rest(plain), rest(changed));
}
