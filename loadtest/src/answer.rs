//! Reads the head of an answer: as much of HTTP/1.1 as a load generator needs, and no allocation.

use memchr::{memchr, memmem};

/// The facts of an answer's head that a client needs to find the next answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerHead {
    /// Its status.
    pub status: u16,
    /// Bytes of head and body together.
    pub length: usize,
    /// Whether the server closes the connection after it.
    pub closes: bool,
}

/// What came is no answer that this client can frame: not HTTP/1.1, or without `Content-Length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

impl AnswerHead {
    /// Reads the head at the front of `bytes`; `None` while it isn't whole.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read(bytes: &[u8]) -> Result<Option<Self>, Unreadable> {
        let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
            return Ok(None);
        };
        let mut lines = Lines(bytes.get(..end + 2).unwrap_or_default());
        let status = lines.next().and_then(status).ok_or(Unreadable)?;
        let mut body = matches!(status, 204 | 304).then_some(0);
        let mut closes = false;
        for line in lines {
            // Most lines are decided by their first letter.
            match line.first().map(u8::to_ascii_lowercase) {
                Some(b'c') => {
                    if let Some(value) = value(line, b"content-length:") {
                        body = Some(number(value).ok_or(Unreadable)?);
                    } else if let Some(value) = value(line, b"connection:") {
                        closes |= value.eq_ignore_ascii_case(b"close");
                    }
                }
                Some(b't') if value(line, b"transfer-encoding:").is_some() => return Err(Unreadable),
                _ => {}
            }
        }
        let length = end + 4 + body.ok_or(Unreadable)?;
        Ok(Some(Self {
            status,
            length,
            closes,
        }))
    }
}

struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = memchr(b'\n', self.0)?;
        let (line, rest) = self.0.split_at(end + 1);
        self.0 = rest;
        Some(line.trim_ascii_end())
    }
}

fn status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.1 ")?;
    let status = number(rest.get(..3)?)?;
    u16::try_from(status).ok().filter(|status| *status >= 200)
}

fn value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

fn number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<Option<(u16, usize, bool)>, Unreadable>) {
        let read = AnswerHead::read(text.as_bytes());
        let facts = read.map(|head| head.map(|head| (head.status, head.length, head.closes)));
        assert_eq!(facts, expected, "{text:?}");
    }

    #[test]
    fn an_answer_is_framed_by_its_content_length() {
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            Ok(Some((200, 43, false))),
        );
        check(
            "HTTP/1.1 429 X\r\ndate: now\r\ncontent-length:0\r\nCONNECTION: Close\r\n\r\nrest",
            Ok(Some((429, 66, true))),
        );
        check("HTTP/1.1 204 No Content\r\n\r\n", Ok(Some((204, 27, false))));
    }

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        for length in 0..text.len() {
            check(text.get(..length).unwrap(), Ok(None));
        }
    }

    #[test]
    fn what_cannot_be_framed_is_refused() {
        for text in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n",
            "HTTP/2 200\r\nContent-Length: 0\r\n\r\n",
            "\r\n\r\n",
        ] {
            check(text, Err(Unreadable));
        }
    }
}
