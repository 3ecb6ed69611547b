//! The heads of a client's HTTP/1.1 requests, as the bytes that came.
//!
//! hyper takes what RFC 9112 lets a recipient take: a line that ends with a bare LF, a fragment in the target. Others on
//! the way may read these otherwise, so they are refused here; what hyper hands on shows neither any more. To know
//! which bytes are a head, bodies are skipped by their framing, as hyper reads it. Where that can't be followed, the
//! next head counts as unsound: in doubt the connection ends.
//!
//! Cost: one search for the ends of lines over each head, no allocation; bodies by the piece.

use arrayvec::ArrayVec;
use memchr::{memchr, memrchr};

use crate::upstream::framing::{Chunks, Piece};

/// Of a line that comes in pieces so much is kept: longer than any field that frames a body.
const KEPT: usize = 80;

/// What is wrong with a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsound {
    /// RFC 9112 §2.2: lines end with CR LF.
    BareLineFeed,
    /// RFC 9112 §3.2: a target has no fragment.
    Fragment,
    /// The body before it could not be followed.
    Unknown,
}

impl Unsound {
    /// What the client is told.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::BareLineFeed => "a line of the head ends without a carriage return",
            Self::Fragment => "the request target has a fragment",
            Self::Unknown => "the request follows a body whose end is not certain",
        }
    }
}

/// Follows the bytes of one connection.
#[derive(Debug, Default)]
pub struct Heads {
    place: Place,
    begun: u64,
    unsound: Option<(u64, Unsound)>,
}

#[derive(Debug)]
enum Place {
    Head(Head),
    Sized(u64),
    Chunked(Chunks),
    /// The lines after a last chunk (RFC 9112 §7.1.2).
    Trailers(Head),
    Lost,
}

impl Default for Place {
    fn default() -> Self {
        Self::Head(Head::default())
    }
}

/// A head that has begun to come.
#[derive(Debug, Default)]
struct Head {
    /// The line that is under way.
    line: ArrayVec<u8, KEPT>,
    is_line_cut: bool,
    last: u8,
    has_request_line: bool,
    has_fragment: bool,
    is_chunked: bool,
    length: u64,
    is_length_unclear: bool,
    unsound: Option<Unsound>,
}

impl Heads {
    /// The next bytes of the connection.
    pub fn saw(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = match &mut self.place {
                Place::Head(head) => match head.take(bytes) {
                    Some(rest) => {
                        let next = head.body();
                        let unsound = head.unsound;
                        self.head_over(unsound, next);
                        rest
                    }
                    None => return,
                },
                Place::Sized(left) => {
                    let used = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= used as u64;
                    if *left == 0 {
                        self.place = Place::default();
                    }
                    bytes.get(used..).unwrap_or_default()
                }
                Place::Chunked(chunks) => match chunks.read(bytes) {
                    Ok((used, Piece::Data(data))) => bytes.get(used + data..).unwrap_or_default(),
                    Ok((used, Piece::Over)) => {
                        self.place = Place::Trailers(Head::of_trailers());
                        bytes.get(used..).unwrap_or_default()
                    }
                    Ok((_, Piece::Hungry)) => return,
                    Err(_) => {
                        self.lose();
                        return;
                    }
                },
                Place::Trailers(lines) => match lines.take(bytes) {
                    // hyper goes on behind a bare line feed, and ends them elsewhere.
                    _ if lines.unsound.is_some() => {
                        self.lose();
                        return;
                    }
                    Some(rest) => {
                        self.place = Place::default();
                        rest
                    }
                    None => return,
                },
                Place::Lost => return,
            };
        }
    }

    /// The number of the first head that is unsound, the connection's first being 1, and what is wrong with it.
    #[must_use]
    pub fn unsound(&self) -> Option<(u64, Unsound)> {
        self.unsound
    }

    /// Whether the next byte begins a call. Empty lines before a head are nothing.
    #[must_use]
    pub fn is_between_calls(&self) -> bool {
        matches!(&self.place, Place::Head(head) if !head.has_request_line && head.line.is_empty())
    }

    fn head_over(&mut self, unsound: Option<Unsound>, next: Place) {
        self.begun += 1;
        if let (None, Some(unsound)) = (self.unsound, unsound) {
            self.unsound = Some((self.begun, unsound));
        }
        let is_lost = matches!(next, Place::Lost);
        self.place = next;
        if is_lost {
            self.lose();
        }
    }

    fn lose(&mut self) {
        self.place = Place::Lost;
        self.unsound.get_or_insert((self.begun + 1, Unsound::Unknown));
    }
}

impl Head {
    /// Trailers end as a head does, have no first line, and frame nothing.
    fn of_trailers() -> Self {
        Self {
            has_request_line: true,
            ..Self::default()
        }
    }

    /// Reads on; what follows the head when it is over, `None` while it isn't.
    fn take<'b>(&mut self, mut bytes: &'b [u8]) -> Option<&'b [u8]> {
        while let Some(end) = memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at_checked(end + 1)?;
            let line = line.get(..end).unwrap_or_default();
            let is_over = if self.line.is_empty() && !self.is_line_cut {
                self.see_target(line);
                self.last = line.last().copied().unwrap_or_default();
                self.line_over(line)
            } else {
                self.keep(line);
                let whole = std::mem::take(&mut self.line);
                self.line_over(&whole)
            };
            (self.is_line_cut, self.last) = (false, 0);
            bytes = rest;
            if is_over {
                return Some(rest);
            }
        }
        self.keep(bytes);
        None
    }

    fn keep(&mut self, piece: &[u8]) {
        self.see_target(piece);
        let kept = piece.len().min(self.line.remaining_capacity());
        self.is_line_cut |= kept < piece.len();
        self.line.extend(piece.iter().copied().take(kept));
        if let Some(last) = piece.last() {
            self.last = *last;
        }
    }

    fn see_target(&mut self, piece: &[u8]) {
        if !self.has_request_line {
            self.has_fragment |= memchr(b'#', piece).is_some();
        }
    }

    /// Whether this line, without its LF and perhaps cut, ends the head.
    fn line_over(&mut self, line: &[u8]) -> bool {
        if self.last != b'\r' {
            self.unsound.get_or_insert(Unsound::BareLineFeed);
        }
        let text = line.strip_suffix(b"\r").unwrap_or(line);
        if text.is_empty() {
            // Empty lines before a request are skipped (RFC 9112 §2.2).
            return self.has_request_line;
        }
        if self.has_request_line {
            self.field(text);
        } else {
            self.has_request_line = true;
            if self.has_fragment {
                self.unsound.get_or_insert(Unsound::Fragment);
            }
        }
        false
    }

    fn field(&mut self, text: &[u8]) {
        let value_of = |name: &[u8]| {
            let (start, rest) = text.split_at_checked(name.len())?;
            let value = rest.strip_prefix(b":")?;
            start.eq_ignore_ascii_case(name).then_some(value)
        };
        match text.first() {
            Some(b't' | b'T') => self.is_chunked |= value_of(b"transfer-encoding").is_some(),
            Some(b'c' | b'C') => {
                if let Some(value) = value_of(b"content-length") {
                    let length = std::str::from_utf8(value.trim_ascii())
                        .ok()
                        .and_then(|value| value.parse().ok());
                    // As if it had come in pieces: the verdict does not depend on how it came.
                    let is_cut = self.is_line_cut || text.len() >= KEPT;
                    self.is_length_unclear |= length.is_none() || is_cut;
                    self.length = length.unwrap_or_default();
                }
            }
            _ => {}
        }
    }

    /// What follows this head.
    fn body(&self) -> Place {
        match self.length {
            _ if self.is_chunked => Place::Chunked(Chunks::default()),
            _ if self.is_length_unclear => Place::Lost,
            0 => Place::default(),
            length => Place::Sized(length),
        }
    }
}

/// Whether a head that could not be read names a version of HTTP that is not spoken here.
#[must_use]
pub fn is_other_version(head: &[u8]) -> bool {
    let line = memchr(b'\n', head)
        .and_then(|end| head.get(..end))
        .unwrap_or(head);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let version = memrchr(b' ', line).and_then(|at| line.get(at + 1..));
    match version {
        Some(
            [
                b'H',
                b'T',
                b'T',
                b'P',
                b'/',
                major @ b'0'..=b'9',
                b'.',
                minor @ b'0'..=b'9',
            ],
        ) => *major != b'1' || !matches!(minor, b'0' | b'1'),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The first head that is unsound, however the bytes come.
    #[track_caller]
    fn check(bytes: &[u8], expected: Option<(u64, Unsound)>) {
        for size in [1, 2, 7, bytes.len()] {
            let mut heads = Heads::default();
            bytes.chunks(size).for_each(|piece| heads.saw(piece));
            assert_eq!(heads.unsound, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn a_bare_line_feed_is_seen_wherever_it_is_in_a_head_and_in_no_body() {
        let bare = |call| Some((call, Unsound::BareLineFeed));
        check(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", None);
        check(b"\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", None);
        check(b"GET / HTTP/1.1\nhost: a\r\n\r\n", bare(1));
        check(b"GET / HTTP/1.1\r\nhost: a\n\r\n", bare(1));
        check(b"GET / HTTP/1.1\r\nhost: a\r\n\n", bare(1));
        check(b"\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", bare(1));
        let long = ["GET / HTTP/1.1\r\nx: ", &"y".repeat(200), "\nhost: a\r\n\r\n"].concat();
        check(long.as_bytes(), bare(1));
        check(b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\n\r\n", bare(2));
        check(
            b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\na\n\nbGET / HTTP/1.1\r\n\r\n",
            None,
        );
        check(
            b"POST / HTTP/1.1\r\ncontent-length:  4 \r\n\r\na\n\nbGET / HTTP/1.1\n\r\n",
            bare(2),
        );
        check(
            b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\na\nb\r\n0\r\n\r\nGET / HTTP/1.1\n\n",
            bare(2),
        );
    }

    #[test]
    fn a_fragment_is_seen_in_the_target_alone() {
        let fragment = Some((1, Unsound::Fragment));
        check(b"GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n", fragment);
        let long = format!("GET /{}#b HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(300));
        check(long.as_bytes(), fragment);
        check(b"GET /a HTTP/1.1\r\nhost: a#b\r\n\r\n", None);
    }

    #[test]
    fn after_a_body_that_can_not_be_followed_no_head_is_sound() {
        for (field, body) in [
            ("content-length: x", ""),
            ("content-length: 99999999999999999999999", ""),
            ("transfer-encoding: chunked", "zz\r\n"),
        ] {
            let bytes = format!("POST / HTTP/1.1\r\n{field}\r\n\r\n{body}GET / HTTP/1.1\r\n\r\n");
            check(bytes.as_bytes(), Some((2, Unsound::Unknown)));
        }
    }

    #[test]
    fn trailers_are_no_head_and_frame_nothing() {
        let chunked = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n";
        let next = "GET /1 HTTP/1.1\r\n\r\n";
        for trailers in [
            "",
            "x: 1\r\n",
            "x: 1\r\ncontent-length: 16\r\n",
            "content-length: x\r\ntransfer-encoding: chunked\r\n",
            "x: #\r\n",
        ] {
            let sound = format!("{chunked}{trailers}\r\n{next}{next}");
            check(sound.as_bytes(), None);
            let bare = format!("{chunked}{trailers}\r\nGET / HTTP/1.1\n\r\n{next}");
            check(bare.as_bytes(), Some((2, Unsound::BareLineFeed)));
        }
        let bare = format!("{chunked}x: 1\n\r\n{next}");
        check(bare.as_bytes(), Some((2, Unsound::Unknown)));
    }

    #[test]
    fn a_length_that_is_padded_is_the_same_however_it_comes() {
        let padded = format!(
            "POST / HTTP/1.1\r\ncontent-length:{}1\r\n\r\nxGET / HTTP/1.1\r\n\r\n",
            " ".repeat(80)
        );
        check(padded.as_bytes(), Some((2, Unsound::Unknown)));
    }

    #[test]
    fn other_versions_are_told_from_garbage() {
        let is = |line: &str| is_other_version(line.as_bytes());
        assert!(is("GET / HTTP/2.0\r\n") && is("PRI * HTTP/2.0\r\n\r\nSM") && is("GET / HTTP/1.2"));
        assert!(!is("GET / HTTP/1.1\r\n") && !is("GET / HTTP/1.0") && !is("GET / http/2.0") && !is("GET /"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_pieces_change_nothing(
            bytes in prop::collection::vec(prop::sample::select(b"GH /:\r\n\r\n\r\n0123#ctx;".to_vec()), 0..400),
            size in 1usize..9,
        ) {
            let (mut whole, mut pieces) = (Heads::default(), Heads::default());
            whole.saw(&bytes);
            bytes.chunks(size).for_each(|piece| pieces.saw(piece));
            prop_assert_eq!((whole.begun, whole.unsound), (pieces.begun, pieces.unsound));
        }
    }
}
