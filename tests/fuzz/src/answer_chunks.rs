//! A chunked body: the same data and the same end however it is cut, and as an own reading of the grammar has it.

use keyward_gateway::upstream::framing::{Chunks, Piece};

/// What became of a body: its data and how many bytes come after its last chunk; nothing while it is not over.
pub(crate) type Outcome = Result<Option<(Vec<u8>, usize)>, ()>;

/// A body as it comes.
pub fn check(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(4_096)];
    let whole = decoded(bytes, bytes.len());
    for step in [1, 2, 3, 7, 64] {
        assert_eq!(whole, decoded(bytes, step), "in pieces of {step}");
    }
    let expected = reference(bytes);
    match (&whole, &expected) {
        (Ok(Some(found)), Ok(Some(expected))) => assert_eq!(found, expected),
        (Ok(None), Ok(None)) | (Err(()), Err(())) => {}
        _ => panic!("{whole:?} where the grammar says {expected:?}"),
    }
}

fn decoded(bytes: &[u8], step: usize) -> Outcome {
    let (mut chunks, mut data, mut at) = (Chunks::default(), Vec::new(), 0);
    let mut end = step.min(bytes.len());
    loop {
        let (used, piece) = chunks.read(&bytes[at..end]).map_err(drop)?;
        at += used;
        match piece {
            Piece::Data(length) => {
                data.extend_from_slice(&bytes[at..at + length]);
                at += length;
            }
            Piece::Over => return Ok(Some((data, bytes.len() - at))),
            Piece::Hungry if end == bytes.len() => return Ok(None),
            Piece::Hungry => end = (end + step).min(bytes.len()),
        }
    }
}

/// One line after the other (RFC 9112 §7.1).
pub(crate) fn reference(bytes: &[u8]) -> Outcome {
    let (mut rest, mut data) = (bytes, Vec::new());
    loop {
        let Some((line, after)) = line(rest, |line| size(line).is_some())? else {
            return Ok(None);
        };
        let size = size(line).ok_or(())?;
        rest = after;
        if size == 0 {
            // Trailers, or the empty line that stands for none, are read by whoever reads fields.
            return Ok(Some((data, rest.len())));
        }
        let taken = usize::try_from(size).unwrap_or(usize::MAX).min(rest.len());
        data.extend_from_slice(&rest[..taken]);
        rest = &rest[taken..];
        if taken as u64 != size {
            return Ok(None);
        }
        match rest {
            [b'\r', b'\n', after @ ..] => rest = after,
            [] | [b'\r'] => return Ok(None),
            _ => return Err(()),
        }
    }
}

/// A line and what follows it; `None` while it is not whole.
type Line<'b> = Option<(&'b [u8], &'b [u8])>;

/// A line and what follows it; nothing while it may become one.
fn line(bytes: &[u8], may_end: impl Fn(&[u8]) -> bool) -> Result<Line<'_>, ()> {
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'\r' if !may_end(&bytes[..at]) => return Err(()),
            b'\r' => {
                return match bytes.get(at + 1) {
                    Some(b'\n') => Ok(Some((&bytes[..at], &bytes[at + 2..]))),
                    Some(_) => Err(()),
                    None => Ok(None),
                };
            }
            b'\t' | b' '..=b'~' | 0x80.. => {
                // A size is refused at its first odd byte.
                if !may_end(b"") && !is_beginning(&bytes[..=at]) {
                    return Err(());
                }
            }
            _ => return Err(()),
        }
    }
    Ok(None)
}

fn size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?;
    let is_number = (1..=16).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    is_number.then(|| u64::from_str_radix(std::str::from_utf8(digits).unwrap_or_default(), 16).ok())?
}

fn is_beginning(line: &[u8]) -> bool {
    size(line).is_some()
}
