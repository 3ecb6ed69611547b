//! Finding keys in any bytes, by their form and checksum: for scanners, and for texts that are kept or shown.
//!
//! A text that only looks like a key is never taken for one but by an accident of one in four thousand million.
//! Keys in UTF-16 are found too, in either byte order. Nothing that is handed out holds more of a key than its mask.
//! Costs four passes of a vectorised search over the bytes, and no allocation where there is no key.

use std::borrow::Cow;

use memchr::memmem;
use zeroize::Zeroizing;

use crate::key::{KeyKind, KeyMask, KeyShape, MAX_KEY_LENGTH, PlainKey};

/// The most bytes that one key takes: 46 characters in UTF-16, without the last one's second half.
pub const LONGEST: usize = 2 * MAX_KEY_LENGTH - 1;

const SHORTEST_KEY: usize = MAX_KEY_LENGTH - "pk_live_".len() + "ak_".len();

/// How the characters of a key that was found were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// One byte each: ASCII, UTF-8 and whatever holds them.
    Utf8,
    /// Two bytes each.
    Utf16,
}

/// A key that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Where its first character is.
    pub start: usize,
    /// How many bytes it takes.
    pub length: usize,
    /// Kind and environment.
    pub shape: KeyShape,
    /// What may be shown of it.
    pub mask: KeyMask,
    /// How it was written.
    pub encoding: Encoding,
}

/// What the beginnings of keys have in them, how far behind their first byte, and how they are written.
const MARKS: [(&[u8], usize, Encoding); 4] = [
    (b"k_", 1, Encoding::Utf8),
    (b"k\0_", 2, Encoding::Utf16),
    (b"gw_", 0, Encoding::Utf8),
    (b"g\0w\0_", 0, Encoding::Utf16),
];

/// Every key in these bytes, in the order of their places.
#[must_use]
pub fn keys_in(bytes: &[u8]) -> Vec<Hit> {
    let found = MARKS.iter().flat_map(|(mark, behind, encoding)| {
        memmem::find_iter(bytes, mark)
            .filter_map(|at| at.checked_sub(*behind))
            .filter_map(|start| hit(bytes, start, *encoding))
    });
    let mut hits: Vec<Hit> = found.collect();
    hits.sort_by_key(|hit| hit.start);
    hits
}

/// The same text with the mask of every key in the key's place.
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    let hits = keys_in(text.as_bytes());
    let Some(last) = hits.last() else {
        return Cow::Borrowed(text);
    };
    let end = last.start + last.length;
    let mut redacted = String::with_capacity(text.len());
    let mut from = 0;
    for hit in hits {
        // Keys are ASCII: they begin and end where characters do.
        redacted.push_str(text.get(from..hit.start).unwrap_or_default());
        redacted.push_str(hit.mask.as_str());
        from = hit.start + hit.length;
    }
    redacted.push_str(text.get(end..).unwrap_or_default());
    Cow::Owned(redacted)
}

fn hit(bytes: &[u8], start: usize, encoding: Encoding) -> Option<Hit> {
    let characters = match bytes.get(start)? {
        b'a' | b'g' => SHORTEST_KEY,
        b'p' | b'c' => MAX_KEY_LENGTH,
        _ => return None,
    };
    let mut buffer = Zeroizing::new([0; MAX_KEY_LENGTH]);
    let (text, length) = match encoding {
        Encoding::Utf8 => (bytes.get(start..start + characters)?, characters),
        Encoding::Utf16 => {
            let length = 2 * characters - 1;
            let wide = bytes.get(start..start + length)?;
            for (place, pair) in buffer.iter_mut().zip(wide.chunks(2)) {
                *place = match pair {
                    [byte, 0] | [byte] => *byte,
                    _ => return None,
                };
            }
            (buffer.get(..characters)?, length)
        }
    };
    let shape = KeyShape::parse(text).ok()?;
    let key = PlainKey::parse(std::str::from_utf8(text).ok()?).ok()?;
    Some(Hit {
        start,
        length,
        shape,
        mask: key.mask(),
        encoding,
    })
}

/// Finds keys in bytes that come piece by piece, also across the borders of pieces of any length. Keeps the last
/// 90 bytes, and wipes them.
#[derive(Default)]
pub struct Finder {
    tail: Zeroizing<Vec<u8>>,
    /// How many bytes were taken before.
    taken: u64,
}

impl Finder {
    /// Takes the next piece, and hands over each key that ends in it with the place of its first byte in the whole.
    pub fn feed(&mut self, piece: &[u8], mut found: impl FnMut(u64, Hit)) {
        const KEPT: usize = LONGEST - 1;
        let border = self.tail.len();
        // Never grows beyond this: nothing unwiped is left behind.
        self.tail.reserve_exact((2 * KEPT).saturating_sub(border));
        let reached = piece.get(..piece.len().min(KEPT)).unwrap_or_default();
        self.tail.extend_from_slice(reached);
        if border > 0 {
            let begin = self.taken - border as u64;
            for hit in keys_in(&self.tail) {
                if hit.start < border && hit.start + hit.length > border {
                    found(begin + hit.start as u64, hit);
                }
            }
        }
        for hit in keys_in(piece) {
            found(self.taken + hit.start as u64, hit);
        }
        if piece.len() >= KEPT {
            self.tail.clear();
            let last = piece.get(piece.len() - KEPT..).unwrap_or_default();
            self.tail.extend_from_slice(last);
        } else {
            let surplus = self.tail.len().saturating_sub(KEPT);
            self.tail.drain(..surplus);
        }
        self.taken += piece.len() as u64;
    }

    /// How many bytes were taken.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken
    }
}

impl std::fmt::Debug for Finder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Finder({} bytes taken)", self.taken)
    }
}

impl KeyKind {
    /// What people call a key of this kind.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Customer => "customer",
            Self::Admin => "admin",
            Self::Gateway => "gateway",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key::Environment;

    fn key(kind: usize) -> PlainKey {
        let kind = KeyKind::ALL[kind];
        PlainKey::mint(kind, Environment::Production).unwrap()
    }

    fn written(key: &PlainKey, encoding: Encoding) -> Vec<u8> {
        match encoding {
            Encoding::Utf8 => key.expose().as_bytes().to_vec(),
            Encoding::Utf16 => key.expose().encode_utf16().flat_map(u16::to_le_bytes).collect(),
        }
    }

    fn encoding() -> impl Strategy<Value = Encoding> {
        prop_oneof![Just(Encoding::Utf8), Just(Encoding::Utf16)]
    }

    proptest! {
        #[test]
        fn a_key_is_found_wherever_it_is_and_however_the_bytes_are_cut(
            before in proptest::collection::vec(any::<u8>(), 0..300),
            after in proptest::collection::vec(any::<u8>(), 0..300),
            kind in 0usize..4,
            encoding in encoding(),
            cuts in proptest::collection::vec(1usize..200, 1..40),
        ) {
            let key = key(kind);
            let bytes = [before.as_slice(), &written(&key, encoding), &after].concat();
            let mut finder = Finder::default();
            let mut found = Vec::new();
            let mut rest = bytes.as_slice();
            let mut cuts = cuts.into_iter().cycle();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                finder.feed(piece, |at, hit| found.push((at, hit.mask, hit.shape, hit.encoding)));
                rest = after;
            }
            prop_assert_eq!(found, vec![(before.len() as u64, key.mask(), key.shape(), encoding)]);
            prop_assert_eq!(finder.taken(), bytes.len() as u64);
        }

        #[test]
        fn a_key_with_one_wrong_character_is_none(
            kind in 0usize..4, at in 0usize..46, to in any::<u8>(), encoding in encoding(),
        ) {
            let key = key(kind);
            let mut bytes = written(&key, encoding);
            let width = if encoding == Encoding::Utf8 { 1 } else { 2 };
            let at = (at % key.expose().len()) * width;
            prop_assume!(bytes[at] != to);
            bytes[at] = to;
            prop_assert_eq!(keys_in(&bytes), vec![]);
        }

        #[test]
        fn no_bytes_make_the_finder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = keys_in(&bytes);
        }

        #[test]
        fn a_redacted_text_has_no_key_and_keeps_all_else(before in "\\PC{0,40}", after in "\\PC{0,40}") {
            let (first, second) = (key(0), key(2));
            let text = format!("{before}{}·{}{after}", first.expose(), second.expose());
            let expected = format!("{before}{}·{}{after}", first.mask(), second.mask());
            prop_assert_eq!(redact(&text), expected);
            prop_assert!(matches!(redact(&before), Cow::Borrowed(_)));
        }
    }

    #[test]
    fn a_key_in_utf16_of_the_other_byte_order_is_found() {
        let key = key(1);
        let bytes: Vec<u8> = key.expose().encode_utf16().flat_map(u16::to_be_bytes).collect();
        let hits = keys_in(&bytes);
        assert_eq!(hits.len(), 1);
        assert_eq!((hits[0].start, &hits[0].mask), (1, &key.mask()));
    }

    #[test]
    fn keys_that_touch_are_all_found() {
        let text = format!("{}{}{}", key(0).expose(), key(1).expose(), key(2).expose());
        assert_eq!(keys_in(text.as_bytes()).len(), 3);
    }
}
