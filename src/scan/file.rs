//! One file: text by line and column, anything else by byte.

use std::io::{self, Read};

use keyward_contract::find::{Finder, Hit};
use memchr::{memchr, memchr_iter, memrchr};
use zeroize::Zeroizing;

use super::finding::{Finding, Place};

/// Bytes at a time.
const PIECE: usize = 256 * 1024;
/// A file with a zero byte among so many first ones is no text.
const TELLING: usize = 8 * 1024;

/// Reads a file to its end; answers what was found, and how many bytes it has.
pub(super) fn scan(path: &str, mut file: impl Read) -> io::Result<(Vec<Finding>, u64)> {
    let mut buffer = Zeroizing::new(vec![0; PIECE]);
    let mut finder = Finder::default();
    let mut lines = Lines::default();
    let mut findings = Vec::new();
    let mut is_text = None;
    loop {
        let filled = fill(&mut file, &mut buffer)?;
        let piece = buffer.get(..filled).unwrap_or_default();
        if piece.is_empty() {
            return Ok((findings, finder.taken()));
        }
        let is_text = *is_text.get_or_insert_with(|| {
            let first = piece.get(..TELLING).unwrap_or(piece);
            memchr(0, first).is_none()
        });
        let base = finder.taken();
        let mut hits: Vec<(u64, Hit)> = Vec::new();
        finder.feed(piece, |at, hit| hits.push((at, hit)));
        for (at, hit) in hits {
            let place = if is_text {
                // A key has no line break in it: what began before this piece is in the line that reaches into it.
                let inside = usize::try_from(at.saturating_sub(base)).unwrap_or_default();
                lines.go_to(base, piece, inside);
                Place::Line(lines.line + 1, at - lines.begin + 1)
            } else {
                Place::Byte(at)
            };
            findings.push(Finding::new(path, place, &hit));
        }
        lines.go_to(base, piece, piece.len());
    }
}

/// Fills the buffer as far as there is something to read.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Which line a place is in.
#[derive(Debug, Default)]
struct Lines {
    /// How many lines ended before.
    line: u64,
    /// Where this one begins.
    begin: u64,
    /// How far was counted.
    counted: u64,
}

impl Lines {
    /// Counts up to a place in a piece that begins at `base`.
    fn go_to(&mut self, base: u64, piece: &[u8], place: usize) {
        let from = usize::try_from(self.counted.saturating_sub(base)).unwrap_or(usize::MAX);
        let Some(between) = piece.get(from..place) else {
            return;
        };
        self.line += memchr_iter(b'\n', between).count() as u64;
        if let Some(last) = memrchr(b'\n', between) {
            self.begin = base + (from + last) as u64 + 1;
        }
        self.counted = base + place as u64;
    }
}

#[cfg(test)]
mod tests {
    use keyward_contract::{Environment, KeyKind, PlainKey};

    use super::*;

    fn key() -> PlainKey {
        PlainKey::mint(KeyKind::Account, Environment::Test).unwrap()
    }

    fn found(bytes: &[u8]) -> Vec<String> {
        let (findings, read) = scan("f", bytes).unwrap();
        assert_eq!(read, bytes.len() as u64);
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn line_and_column_are_right_on_both_sides_of_every_border() {
        for before in (PIECE - 60..PIECE + 60).chain([0, 1, 2 * PIECE - 20]) {
            let (first, second) = (key(), key());
            let mut bytes = vec![b'.'; before];
            let line_begin = before.saturating_sub(70);
            if before > 70 {
                bytes[10] = b'\n';
                bytes[line_begin - 1] = b'\n';
            }
            bytes.extend_from_slice(first.expose().as_bytes());
            bytes.extend_from_slice(b"\n\n ");
            bytes.extend_from_slice(second.expose().as_bytes());
            let (line, column) = if before > 70 { (3, 71) } else { (1, before + 1) };
            let expected = [
                format!("f:{line}:{column}: account key (test) {}", first.mask()),
                format!("f:{}:2: account key (test) {}", line + 2, second.mask()),
            ];
            assert_eq!(found(&bytes), expected, "{before}");
        }
    }

    #[test]
    fn what_is_no_text_is_told_by_its_byte() {
        let key = key();
        let bytes = [b"\x7fELF\0\n\n".as_slice(), key.expose().as_bytes(), b"\0"].concat();
        assert_eq!(
            found(&bytes),
            [format!("f: byte 7: account key (test) {}", key.mask())]
        );
        let wide: Vec<u8> = key.expose().encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(
            found(&wide),
            [format!("f: byte 0: account key (test) {} in UTF-16", key.mask())]
        );
    }

    #[test]
    fn nothing_is_found_where_nothing_is() {
        assert!(found(b"").is_empty());
        assert!(found(&b"pk_live_ block_size ak_".repeat(100_000)).is_empty());
    }
}
