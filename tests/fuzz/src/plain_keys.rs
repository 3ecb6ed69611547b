//! The text of a key: what is taken for one is one by an own reading of the format, and what is wrong with any other
//! is said in the order in which it is looked at.

use keyward_contract::{DigestKey, KeyKind, KeyShape, MalformedKey, PlainKey};

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Any bytes; and the same with the checksum that would be right.
pub fn check(bytes: &[u8]) {
    one(bytes);
    let mut mended = bytes.to_vec();
    if mended.len() >= 6 {
        let from = mended.len() - 6;
        let sum = checksum(&mended[..from]);
        mended[from..].copy_from_slice(&sum);
        one(&mended);
        // One character of it is another.
        for at in from..mended.len() {
            let right = mended[at];
            mended[at] = if right == b'0' { b'1' } else { b'0' };
            one(&mended);
            mended[at] = right;
        }
    }
}

fn one(bytes: &[u8]) {
    let read = KeyShape::parse(bytes);
    assert_eq!(read, reference(bytes), "{bytes:?}");
    let Ok(text) = std::str::from_utf8(bytes) else {
        assert!(read.is_err(), "a key is ASCII");
        return;
    };
    match (PlainKey::parse(text), read) {
        (Ok(key), Ok(shape)) => {
            assert_eq!((key.expose(), key.shape()), (text, shape));
            assert!(text.starts_with(shape.prefix()));
            assert_eq!(shape.kind.has_environment(), shape.environment.is_some());
            let (mask, debug) = (key.mask().to_string(), format!("{key:?}"));
            let secret = &text[shape.prefix().len() + 2..text.len() - 3];
            assert!(
                !mask.contains(secret) && !debug.contains(secret),
                "a key is shown"
            );
            let digest = DigestKey::from_bytes([7; 32]);
            assert_eq!(digest.digest(bytes), digest.digest(key.expose().as_bytes()));
        }
        (Err(one), Err(other)) => assert_eq!(one, other),
        (one, other) => panic!("{one:?} and {other:?}"),
    }
}

/// The checksum as the documentation has it, bit by bit.
pub(crate) fn checksum(text: &[u8]) -> [u8; 6] {
    let mut crc = u32::MAX;
    for byte in text {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let low = crc & 1;
            crc >>= 1;
            if low == 1 {
                crc ^= 0xedb8_8320;
            }
        }
    }
    let mut rest = !crc;
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

fn reference(bytes: &[u8]) -> Result<KeyShape, MalformedKey> {
    use keyward_contract::Environment::{Production, Test};

    let prefixes = [
        ("pk_live_", KeyKind::Account, Some(Production)),
        ("pk_test_", KeyKind::Account, Some(Test)),
        ("ck_live_", KeyKind::Customer, Some(Production)),
        ("ck_test_", KeyKind::Customer, Some(Test)),
        ("ak_", KeyKind::Admin, None),
        ("gw_", KeyKind::Gateway, None),
    ];
    let (prefix, kind, environment) = prefixes
        .into_iter()
        .find(|(prefix, ..)| bytes.starts_with(prefix.as_bytes()))
        .ok_or(MalformedKey::Prefix)?;
    if bytes.len() - prefix.len() != 38 {
        return Err(MalformedKey::Length);
    }
    if bytes[prefix.len()..].iter().any(|byte| !DIGITS.contains(byte)) {
        return Err(MalformedKey::Alphabet);
    }
    if bytes[bytes.len() - 6..] != checksum(&bytes[..bytes.len() - 6]) {
        return Err(MalformedKey::Checksum);
    }
    Ok(KeyShape { kind, environment })
}
