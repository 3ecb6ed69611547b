//! The one form of a path: what a slow, obvious reading says; the same when it is read again; and nothing left in it
//! that a later reader could take for a dot segment or decode to something else.

use keyward_gateway::path::normalise;

/// Any text.
pub fn check(bytes: &[u8]) {
    let Ok(raw) = std::str::from_utf8(bytes) else {
        return;
    };
    let (read, expected) = (normalise(raw), reference(raw));
    let Ok(normalised) = read else {
        assert_eq!(expected, None, "{raw:?} was refused: {read:?}");
        return;
    };
    let text = normalised.as_str();
    assert_eq!(Some(text), expected.as_deref(), "{raw:?}");
    assert_eq!(normalised.is_unchanged(), text == raw);
    assert_eq!(normalised.has_encoded_slash(), text.contains("%2F"));
    is_safe(text);
    let again = normalise(text);
    assert!(
        again
            .as_ref()
            .is_ok_and(|again| again.is_unchanged() && again.as_str() == text),
        "{raw:?} becomes {text:?}, and that {again:?}"
    );
}

/// What must hold of every path that is matched and forwarded.
pub(crate) fn is_safe(text: &str) {
    assert!(text.starts_with('/'), "{text:?}");
    assert!(
        text.bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"\\?#<>\"`{}|^[]".contains(&byte)),
        "{text:?}"
    );
    let decoded = decoded(text);
    assert!(std::str::from_utf8(&decoded).is_ok(), "{text:?}");
    assert!(
        !decoded
            .iter()
            .any(|byte| byte.is_ascii_control() || *byte == b'\\'),
        "{text:?}"
    );
    for (at, _) in text.match_indices('%') {
        let hex = &text[at + 1..at + 3];
        assert!(
            hex.bytes()
                .all(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F')),
            "{text:?}"
        );
        let value = u8::from_str_radix(hex, 16).unwrap_or_default();
        assert!(!is_unreserved(value), "{text:?}");
    }
    for segment in text.replace("%2F", "/").split('/') {
        let name = segment.replace("%3B", ";");
        let name = name.split(';').next().unwrap_or_default();
        assert!(!matches!(name, "." | ".."), "{text:?}");
    }
}

pub(crate) fn decoded(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.bytes());
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits: String = rest.by_ref().take(2).map(char::from).collect();
            bytes.push(u8::from_str_radix(&digits, 16).unwrap_or_default());
        } else {
            bytes.push(byte);
        }
    }
    bytes
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Step by step as the documentation says it, with a copy at every step.
pub(crate) fn reference(raw: &str) -> Option<String> {
    let rest = raw.strip_prefix('/')?.as_bytes();
    let (mut text, mut plain, mut at) = (String::new(), Vec::new(), 0);
    while at < rest.len() {
        let (value, is_escaped) = if rest[at] == b'%' {
            let digits = rest.get(at + 1..at + 3)?;
            if !digits.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            at += 2;
            let digits = std::str::from_utf8(digits).ok()?;
            (u8::from_str_radix(digits, 16).ok()?, true)
        } else {
            (rest[at], false)
        };
        at += 1;
        if value.is_ascii_control() || value == b'\\' || (!is_escaped && b" #?".contains(&value)) {
            return None;
        }
        plain.push(value);
        if is_unreserved(value) || (!is_escaped && b"/!$&'()*+,;=:@".contains(&value)) {
            text.push(char::from(value));
        } else {
            text.push_str(&format!("%{value:02X}"));
        }
    }
    std::str::from_utf8(&plain).ok()?;
    let (mut kept, mut ends_in_dots) = (Vec::<String>::new(), false);
    for segment in text.split('/') {
        ends_in_dots = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." if kept.pop()?.contains("%2F") => return None,
            ".." => {}
            _ => {
                for part in segment.split("%2F") {
                    let part = part.replace("%3B", ";");
                    if matches!(part.split(';').next(), Some("." | "..")) {
                        return None;
                    }
                }
                kept.push(segment.to_owned());
            }
        }
    }
    if ends_in_dots {
        kept.push(String::new());
    }
    Some(format!("/{}", kept.join("/")))
}
