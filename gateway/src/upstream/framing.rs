//! How the body of an upstream's answer is framed, and its chunks (RFC 9112 §6, §7.1).
//!
//! Strict: what can be read in two ways is an error, and the connection is never used again.

/// An answer that breaks the rules. Its text is for the client's error body and holds nothing of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// Where the body of an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// After so many bytes.
    Length(u64),
    /// After the last chunk.
    Chunked(Chunks),
    /// After the trailers: the last chunk is over.
    Trailers,
    /// Where the connection ends.
    UntilClose,
}

/// Digits of a chunk's size: 16 hold every `u64`.
const MAX_SIZE_DIGITS: u8 = 16;

/// Bytes of chunk extensions of one answer, which are dropped.
const MAX_DROPPED: u16 = 8 * 1024;

/// Where in a chunked body the reader stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks {
    state: State,
    dropped: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size { value: u64, digits: u8 },
    Extension { value: u64 },
    SizeEnd { value: u64 },
    Data { left: u64 },
    DataEnd,
    DataLineFeed,
    Over,
}

/// What comes next in a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// So many of the bytes at hand are data.
    Data(usize),
    /// The bytes at hand are used up.
    Hungry,
    /// The body is over; trailers follow, or the empty line that stands for none.
    Over,
}

impl Default for Chunks {
    fn default() -> Self {
        Self {
            state: State::Size { value: 0, digits: 0 },
            dropped: 0,
        }
    }
}

impl Chunks {
    /// Reads on in `bytes`: answers how many of them were framing, and what comes after those.
    ///
    /// # Errors
    /// When the framing is malformed.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(usize, Piece), Malformed> {
        for (used, byte) in bytes.iter().enumerate() {
            if let State::Data { left } = self.state {
                let ready = usize::try_from(left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len() - used);
                let left = left - ready as u64;
                self.state = if left == 0 {
                    State::DataEnd
                } else {
                    State::Data { left }
                };
                return Ok((used, Piece::Data(ready)));
            }
            if self.state == State::Over {
                return Ok((used, Piece::Over));
            }
            self.state = self.after(*byte)?;
        }
        Ok((
            bytes.len(),
            if self.state == State::Over {
                Piece::Over
            } else {
                Piece::Hungry
            },
        ))
    }

    fn after(&mut self, byte: u8) -> Result<State, Malformed> {
        Ok(match (self.state, byte) {
            (State::Size { value, digits }, byte) if byte.is_ascii_hexdigit() && digits < MAX_SIZE_DIGITS => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                State::Size {
                    value: value << 4 | u64::from(digit),
                    digits: digits + 1,
                }
            }
            (State::Size { value, digits: 1.. }, b'\r') => State::SizeEnd { value },
            (State::Size { value, digits: 1.. }, b';') => State::Extension { value },
            (State::Extension { value }, b'\r') => State::SizeEnd { value },
            (State::Extension { value }, b'\t' | b' '..=b'~' | 0x80..) => {
                self.drop_one()?;
                State::Extension { value }
            }
            (State::SizeEnd { value: 0 }, b'\n') => State::Over,
            (State::SizeEnd { value }, b'\n') => State::Data { left: value },
            (State::DataEnd, b'\r') => State::DataLineFeed,
            (State::DataLineFeed, b'\n') => State::Size { value: 0, digits: 0 },
            _ => return Err(Malformed("the service sent a malformed chunk")),
        })
    }

    fn drop_one(&mut self) -> Result<(), Malformed> {
        self.dropped += 1;
        let is_within = self.dropped <= MAX_DROPPED;
        if is_within {
            Ok(())
        } else {
            Err(Malformed("the service sent chunk extensions without end"))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes a body that comes in pieces of `step` bytes: data and what was left over.
    fn decode(bytes: &[u8], step: usize) -> Result<Option<(Vec<u8>, usize)>, Malformed> {
        let (mut chunks, mut data, mut at) = (Chunks::default(), Vec::new(), 0);
        let mut end = step.min(bytes.len());
        loop {
            let (used, piece) = chunks.read(&bytes[at..end])?;
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

    #[test]
    fn chunks_are_read_to_their_end_and_not_further() {
        let body = b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nx: y\r\n\r\n";
        assert_eq!(decode(body, 100), Ok(Some((b"hello world".to_vec(), 8))));
        assert_eq!(decode(b"0\r\n\r\n", 1), Ok(Some((Vec::new(), 2))));
        assert_eq!(decode(b"5\r\nhel", 100), Ok(None));
    }

    #[test]
    fn odd_chunks_are_refused() {
        let odd: &[&[u8]] = &[
            b"\r\n",
            b"x\r\n",
            b"-1\r\n",
            b"0x5\r\n",
            b" 5\r\n",
            b"5\n",
            b"5 \r\nhello",
            b"5\r\nhello0\r\n\r\n",
            b"5\r\nhello\n",
            b"00000000000000005\r\n",
            b"5;\0\r\n",
            b"0\n",
            b"5\r\r\n",
        ];
        for body in odd {
            assert!(decode(body, 100).is_err(), "{:?}", String::from_utf8_lossy(body));
        }
        let endless = [b"5;".as_slice(), &vec![b'x'; 9_000]].concat();
        assert!(decode(&endless, 100).is_err());
    }

    proptest! {
        #[test]
        fn what_is_chunked_comes_back_however_it_is_cut(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8), step in 1usize..50,
        ) {
            let mut body = Vec::new();
            for piece in &pieces {
                body.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                body.extend_from_slice(piece);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\n\r\n");
            prop_assert_eq!(decode(&body, step), Ok(Some((pieces.concat(), 2))));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), step in 1usize..50) {
            let _ = decode(&bytes, step);
        }
    }
}
