//! JSON bodies: what another parser reads, and nothing with a key twice or too deep.

use keyward_control_plane::surfaces::strict_json::{MAX_DEPTH, parse};
use serde_json::Value;

/// A body.
pub fn check(bytes: &[u8]) {
    let lenient = serde_json::from_slice::<Value>(bytes);
    match (parse(bytes), lenient) {
        (Ok(value), Ok(lenient)) => {
            assert_eq!(value, lenient);
            assert!(depth(&value) <= MAX_DEPTH);
            assert_eq!(members(&value), colons(bytes), "a key was lost");
            let written = value.to_string();
            assert_eq!(parse(written.as_bytes()).as_ref(), Ok(&value), "{written}");
        }
        (Ok(_), Err(error)) => panic!("taken, and elsewhere refused: {error}"),
        (Err(reason), Ok(lenient)) => {
            let is_right = depth(&lenient) > MAX_DEPTH || members(&lenient) < colons(bytes);
            assert!(is_right, "refused: {reason}");
        }
        (Err(reason), Err(_)) => assert!(reason.len() < 200 && reason.is_ascii(), "{reason}"),
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(object) => 1 + object.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

fn members(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(members).sum(),
        Value::Object(object) => object.len() + object.values().map(members).sum::<usize>(),
        _ => 0,
    }
}

/// Of a valid text, those outside of texts: one a member.
fn colons(text: &[u8]) -> usize {
    let (mut count, mut in_text, mut is_escaped) = (0, false, false);
    for byte in text {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            b':' if !in_text => count += 1,
            _ => {}
        }
    }
    count
}
