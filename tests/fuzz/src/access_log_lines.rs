//! A line of the access log, whatever a client chose of it: one line of JSON, with the same members always, that says
//! what came and shows no key.

use std::time::Duration;

use http::Method;
use keyward_contract::UnixMillis;
use keyward_contract::find::{self, Encoding};
use keyward_gateway::access_log::{Entry, fuzzing};
use serde_json::Value;

use super::found_keys;

/// Method, host, path and id, a line each, in which `$` stands for a checksum, as in `found_keys`, and `^` for a line feed.
pub fn check(bytes: &[u8]) {
    let text = found_keys::with_checksums(bytes);
    let mut lines = text.split(|byte| *byte == b'\n').map(|line| {
        let line: Vec<u8> = line
            .iter()
            .map(|byte| if *byte == b'^' { b'\n' } else { *byte })
            .collect();
        String::from_utf8_lossy(&line).into_owned()
    });
    let mut next = || lines.next().unwrap_or_default();
    let Ok(method) = Method::from_bytes(next().as_bytes()) else {
        return;
    };
    let entry = Entry {
        time: UnixMillis(1_800_000_000_000),
        method,
        host: next(),
        path: next(),
        request_id: next(),
        route: None,
        status: 200,
        code: "accepted",
        would_limit: None,
        account: None,
        environment: None,
        key_id: None,
        customer: None,
        client: [192, 0, 2, 7].into(),
        endpoint: None,
        bytes_in: 1,
        bytes_out: 2,
        duration: Duration::from_micros(3),
        upstream_time: None,
    };
    let line = fuzzing::line(&entry).unwrap_or_else(|error| panic!("{error}"));
    let Some((b'\n', line)) = line.split_last() else {
        panic!("no line")
    };
    assert!(!line.iter().any(|byte| *byte < b' '), "not one line");
    assert!(find::keys_in(line).is_empty(), "a key is shown");
    let Ok(Value::Object(said)) = serde_json::from_slice(line) else {
        panic!("no object")
    };
    assert_eq!(said.len(), 19);
    let path = entry.path.split(['?', '#']).next().unwrap_or_default();
    for (member, came) in [
        ("method", entry.method.as_str()),
        ("host", &entry.host),
        ("path", path),
        ("request_id", &entry.request_id),
    ] {
        is_what_came(said.get(member).and_then(Value::as_str).unwrap_or_default(), came);
    }
}

fn is_what_came(said: &str, came: &str) {
    let shown = find::keys_in(said.as_bytes());
    assert!(
        shown.iter().all(|hit| hit.encoding == Encoding::Utf16),
        "a key is shown"
    );
    if !has_secret(came) {
        assert_eq!(said, came);
    }
    // What is left out is left out for a key's sake: what stands around it came so.
    let mut rest = came;
    for piece in said.split("***") {
        let Some(at) = rest.find(piece) else {
            assert!(came.contains("***"), "{said:?} was never {came:?}");
            return;
        };
        rest = &rest[at + piece.len()..];
    }
}

/// Whether something in it may be the secret of a key.
fn has_secret(text: &str) -> bool {
    text.split('_')
        .skip(1)
        .any(|after| after.bytes().take_while(u8::is_ascii_alphanumeric).count() >= 20)
}
