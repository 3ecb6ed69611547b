//! `/v1/validate`: what an application asks is what another parser reads of the same text, and nothing that could be read
//! in two ways.

use std::net::IpAddr;

use keyward_gateway::authz::fuzzing::{Asked, validate};
use serde_json::{Map, Value};

const MAX_DEPTH: usize = 32;

/// A body.
pub fn check(bytes: &[u8]) {
    assert_eq!(
        validate(bytes),
        reference(bytes),
        "{:?}",
        String::from_utf8_lossy(bytes)
    );
}

fn reference(bytes: &[u8]) -> Option<Asked> {
    let Value::Object(members) = serde_json::from_slice::<Value>(bytes).ok()? else {
        return None;
    };
    let (depth, count) = shape(bytes);
    if depth > MAX_DEPTH || count != members.len() {
        return None;
    }
    Some(Asked {
        account_key: text(&members, "account_key")?,
        customer_key: text(&members, "customer_key")?,
        cost: match member(&members, "cost") {
            None => None,
            Some(Value::Number(cost)) => {
                let cost: u32 = cost.to_string().parse().ok()?;
                Some((1..=1_000_000).contains(&cost).then_some(cost)?)
            }
            Some(_) => return None,
        },
        client: match text(&members, "client_ip")? {
            None => None,
            Some(address) => Some(address.parse::<IpAddr>().ok()?.to_canonical()),
        },
        route: text(&members, "route")?,
    })
}

fn member<'m>(members: &'m Map<String, Value>, name: &str) -> Option<&'m Value> {
    members.get(name).filter(|value| !value.is_null())
}

fn text(members: &Map<String, Value>, name: &str) -> Option<Option<String>> {
    match member(members, name) {
        None => Some(None),
        Some(Value::String(text)) => Some(Some(text.clone())),
        Some(_) => None,
    }
}

/// Of a valid text how deep it is, and how many members its outermost object has as it is written.
fn shape(text: &[u8]) -> (usize, usize) {
    let (mut depth, mut deepest, mut members) = (0_usize, 0, 0);
    let (mut is_text, mut is_escaped) = (false, false);
    for byte in text {
        if is_text {
            (is_text, is_escaped) = (*byte != b'"' || is_escaped, *byte == b'\\' && !is_escaped);
            continue;
        }
        match byte {
            b'"' => is_text = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b':' if depth == 1 => members += 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    (deepest, members)
}
