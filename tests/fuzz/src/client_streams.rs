//! The bytes of a client's HTTP/1.1 connection: which call is the first that must not be served, however they are cut,
//! and as an own reading of the whole has it.

use keyward_gateway::server::strict::heads::{Heads, Unsound};

use super::answer_chunks;

/// The number of a call, and what is wrong with it.
type Found = Option<(u64, Unsound)>;

/// The first byte says in how long pieces the rest comes.
pub fn check(bytes: &[u8]) {
    let [step, stream @ ..] = bytes else { return };
    let stream = &stream[..stream.len().min(4_096)];
    let expected = reference(stream);
    for step in [stream.len().max(1), usize::from(*step) + 1, 1] {
        let mut heads = Heads::default();
        stream.chunks(step).for_each(|piece| heads.saw(piece));
        assert_eq!(heads.unsound(), expected, "in pieces of {step}");
    }
}

/// One call after the other (RFC 9112 §2.2, §6, §7.1).
fn reference(mut rest: &[u8]) -> Found {
    for call in 1.. {
        let (mut has_request_line, mut unsound) = (false, None);
        let (mut is_chunked, mut length) = (false, Some(0));
        loop {
            let (line, after) = line(rest)?;
            rest = after;
            let text = match line {
                Ok(text) => text,
                Err(text) => {
                    unsound = unsound.or(Some(Unsound::BareLineFeed));
                    text
                }
            };
            match (text, has_request_line) {
                ([], true) => break,
                ([], false) => {}
                (text, true) => field(text, &mut is_chunked, &mut length),
                (text, false) => {
                    has_request_line = true;
                    if text.contains(&b'#') {
                        unsound = unsound.or(Some(Unsound::Fragment));
                    }
                }
            }
        }
        if let Some(unsound) = unsound {
            return Some((call, unsound));
        }
        rest = match (is_chunked, length) {
            (true, _) => match answer_chunks::reference(rest) {
                Ok(None) => return None,
                Err(()) => return Some((call + 1, Unsound::Unknown)),
                Ok(Some((_, left))) => match without_trailers(&rest[rest.len() - left..]) {
                    Ok(Some(after)) => after,
                    Ok(None) => return None,
                    Err(()) => return Some((call + 1, Unsound::Unknown)),
                },
            },
            (false, None) => return Some((call + 1, Unsound::Unknown)),
            (false, Some(length)) => rest.get(usize::try_from(length).ok()?..)?,
        };
    }
    None
}

/// A line's text; an error when it ends with a bare line feed.
type Line<'b> = Result<&'b [u8], &'b [u8]>;

/// A line and what follows it.
fn line(bytes: &[u8]) -> Option<(Line<'_>, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (line, after) = (&bytes[..end], &bytes[end + 1..]);
    Some((line.strip_suffix(b"\r").ok_or(line), after))
}

/// What a field says of the body that follows; `None` for a length that nobody can follow.
fn field(text: &[u8], is_chunked: &mut bool, length: &mut Option<u64>) {
    let Some(colon) = text.iter().position(|byte| *byte == b':') else {
        return;
    };
    let (name, value) = (text[..colon].to_ascii_lowercase(), text[colon + 1..].trim_ascii());
    match name.as_slice() {
        b"transfer-encoding" => *is_chunked = true,
        b"content-length" => {
            let number = std::str::from_utf8(value)
                .ok()
                .and_then(|value| value.parse().ok());
            // Longer lines are not kept when they come in pieces.
            let number = number.filter(|_| text.len() < 80);
            *length = length.and(number);
        }
        _ => {}
    }
}

/// What follows the trailers, or the empty line that stands for none; an error when a line of them has a bare line feed.
fn without_trailers(mut rest: &[u8]) -> Result<Option<&[u8]>, ()> {
    while let Some((line, after)) = line(rest) {
        rest = after;
        if line.map_err(drop)?.is_empty() {
            return Ok(Some(rest));
        }
    }
    Ok(None)
}
