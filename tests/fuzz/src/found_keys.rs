//! Keys in any bytes: the scanner finds what a look at every place finds, in one piece or in many; and no key is left
//! in a text that was redacted.

use keyward_contract::KeyShape;
use keyward_contract::find::{self, Encoding, Finder};

/// The first byte says in how long pieces the rest comes; `$` in it stands for the checksum of the key before it, which
/// chance would hardly find.
pub fn check(bytes: &[u8]) {
    let [step, rest @ ..] = bytes else { return };
    let text = with_checksums(rest);
    let found: Vec<_> = find::keys_in(&text)
        .into_iter()
        .map(|hit| (hit.start, hit.length))
        .collect();
    let mut sorted = found.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, everywhere(&text));

    let mut fed = Vec::new();
    let mut finder = Finder::default();
    for piece in text.chunks(usize::from(*step) + 1) {
        finder.feed(piece, |at, hit| fed.push((at as usize, hit.length)));
    }
    fed.sort_unstable();
    assert_eq!(fed, sorted, "in pieces of {}", usize::from(*step) + 1);
    assert_eq!(finder.taken(), text.len() as u64);

    if let Ok(text) = std::str::from_utf8(&text) {
        let redacted = find::redact(text);
        assert_eq!(redacted.is_empty(), text.is_empty());
        assert!(found.is_empty() == (redacted == text));
        let left = find::keys_in(redacted.as_bytes());
        assert!(
            left.iter().all(|hit| hit.encoding == Encoding::Utf16) || left.is_empty(),
            "a key is left"
        );
    }
}

pub(crate) fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut text: Vec<u8> = Vec::with_capacity(bytes.len());
    for byte in bytes {
        if *byte != b'$' {
            text.push(*byte);
            continue;
        }
        for length in [40, 35] {
            let begin = text.len().saturating_sub(length);
            if text[begin..]
                .get(1..3)
                .is_some_and(|two| two == b"k_" || two == b"w_")
            {
                let sum = super::plain_keys::checksum(&text[begin..]);
                text.extend_from_slice(&sum);
                break;
            }
        }
    }
    text
}

/// Every place and both lengths, as they are and in UTF-16.
fn everywhere(text: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for start in 0..text.len() {
        // No kind begins otherwise; it is the looking that takes long.
        if !b"pcag".contains(&text[start]) {
            continue;
        }
        for characters in [41, 46] {
            if let Some(narrow) = text.get(start..start + characters)
                && KeyShape::parse(narrow).is_ok()
            {
                found.push((start, characters));
            }
            let length = 2 * characters - 1;
            let Some(wide) = text.get(start..start + length) else {
                continue;
            };
            let narrow: Vec<u8> = wide.iter().step_by(2).copied().collect();
            let is_wide = wide.iter().skip(1).step_by(2).all(|byte| *byte == 0);
            if is_wide && KeyShape::parse(&narrow).is_ok() {
                found.push((start, length));
            }
        }
    }
    found.sort_unstable();
    found
}
