//! The head of an upstream's answer (RFC 9112 §4, §5, §6.3), read once and strictly.
//!
//! Hop-by-hop fields and forgeries of ours never get into the map. One look over the bytes; the values share
//! the buffer that they came in.

use bytes::BytesMut;
use http::header::{CONNECTION, CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use super::framing::{Chunks, Framing, Malformed};
use crate::onward;

/// Largest head of an answer, in bytes.
pub const MAX_HEAD: usize = 64 * 1024;
/// Most fields of an answer.
const MAX_FIELDS: usize = 128;

/// What of a request its answer is read by.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Its method.
    pub method: &'a Method,
    /// The protocol that it asked to switch to.
    pub upgrade: Option<&'a HeaderValue>,
}

/// The head of a final answer.
#[derive(Debug)]
pub struct AnswerHead {
    /// Its status.
    pub status: StatusCode,
    /// Its end-to-end fields.
    pub headers: HeaderMap,
    /// Where its body ends.
    pub framing: Framing,
    /// Whether the connection may serve another call after it.
    pub keeps_alive: bool,
    /// The protocol that it came in.
    pub version: Version,
}

/// What the bytes at hand are.
#[derive(Debug)]
pub enum Read {
    /// A final answer's head; it was taken out of the buffer.
    Final(AnswerHead),
    /// An interim answer (1xx), which was taken out and is not forwarded.
    Interim,
    /// Not yet a whole head.
    Partial,
}

/// Takes one head out of the buffer, when it is whole.
///
/// # Errors
/// When it is malformed, too large, or can be read in two ways.
pub fn read(buffer: &mut BytesMut, question: Question<'_>) -> Result<Read, Malformed> {
    let mut fields = [const { std::mem::MaybeUninit::uninit() }; MAX_FIELDS];
    let mut answer = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let length = match parser.parse_response_with_uninit_headers(&mut answer, buffer, &mut fields) {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => length,
        Ok(httparse::Status::Partial) if buffer.len() < MAX_HEAD => return Ok(Read::Partial),
        Ok(_) => return Err(Malformed("the service sent a head that is too large")),
        Err(_) => return Err(Malformed("the service answered something that is no HTTP")),
    };
    let status = answer.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.filter(|status| status.as_u16() < 600);
    let status = status.ok_or(Malformed("the service answered with an impossible status"))?;
    let is_switching = status == StatusCode::SWITCHING_PROTOCOLS;
    if is_switching && question.upgrade.is_none() {
        return Err(Malformed("the service switched protocols without being asked"));
    }
    if status.is_informational() && !is_switching {
        bytes::Buf::advance(buffer, length);
        return Ok(Read::Interim);
    }
    let is_http11 = answer.version == Some(1);
    // Where each field lies, so that the values can share the buffer once it is frozen.
    let base = buffer.as_ptr() as usize;
    let mut places = arrayvec::ArrayVec::<(HeaderName, usize, usize), MAX_FIELDS>::new();
    for field in answer.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let name = name.map_err(|_| Malformed("the service sent a malformed field name"))?;
        places.push((name, field.value.as_ptr() as usize - base, field.value.len()));
    }
    let head = buffer.split_to(length).freeze();
    let mut fields = Fields {
        headers: HeaderMap::with_capacity(places.len() + 8),
        ..Fields::default()
    };
    for (name, at, length) in places {
        let value = HeaderValue::from_maybe_shared(head.slice(at..at + length));
        fields.add(
            name,
            value.map_err(|_| Malformed("the service sent a malformed field value"))?,
        )?;
    }
    fields.finish(status, question, is_http11).map(Read::Final)
}

/// The fields of a head, sorted by what they mean.
#[derive(Default)]
struct Fields {
    headers: HeaderMap,
    length: Option<u64>,
    is_chunked: bool,
    closes: bool,
    keeps: bool,
    nominated: Vec<HeaderName>,
    upgrade: Option<HeaderValue>,
}

impl Fields {
    fn add(&mut self, name: HeaderName, value: HeaderValue) -> Result<(), Malformed> {
        if name == CONTENT_LENGTH {
            let digits = value.as_bytes();
            let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
            let length = value
                .to_str()
                .ok()
                .filter(|_| is_number)
                .and_then(|text| text.parse().ok());
            let length = length.ok_or(Malformed("the service sent a malformed Content-Length"))?;
            if self.length.is_some_and(|known| known != length) {
                return Err(Malformed("the service sent two lengths that differ"));
            }
            self.length = Some(length);
            self.headers.insert(name, value);
        } else if name == TRANSFER_ENCODING {
            let is_chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
            if !is_chunked || self.is_chunked {
                return Err(Malformed(
                    "the service sent a Transfer-Encoding other than chunked",
                ));
            }
            self.is_chunked = true;
        } else if name == UPGRADE {
            self.upgrade = Some(value);
        } else if name == CONNECTION {
            self.connection(&value);
        } else if !onward::is_dropped_from_answers(name.as_str()) {
            self.headers.append(name, value);
        }
        Ok(())
    }

    fn connection(&mut self, value: &HeaderValue) {
        for token in value
            .as_bytes()
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
        {
            if token.eq_ignore_ascii_case(b"close") {
                self.closes = true;
            } else if token.eq_ignore_ascii_case(b"keep-alive") {
                self.keeps = true;
            } else if let Ok(name) = HeaderName::from_bytes(token)
                && name != CONTENT_LENGTH
            {
                self.nominated.push(name);
            }
        }
    }

    fn finish(
        mut self,
        status: StatusCode,
        Question { method, upgrade }: Question<'_>,
        is_http11: bool,
    ) -> Result<AnswerHead, Malformed> {
        if self.is_chunked && (self.length.is_some() || !is_http11) {
            return Err(Malformed("the service framed its answer in two ways"));
        }
        for name in &self.nominated {
            self.headers.remove(name);
        }
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return self.switched(upgrade);
        }
        let framing = match (has_no_body(status, method), self.is_chunked, self.length) {
            (true, ..) => Framing::Length(0),
            (false, true, _) => Framing::Chunked(Chunks::default()),
            (false, false, Some(length)) => Framing::Length(length),
            (false, false, None) => Framing::UntilClose,
        };
        if !matches!(framing, Framing::Chunked(_)) {
            // None can come.
            self.headers.remove(TRAILER);
        }
        let is_bounded = framing != Framing::UntilClose;
        let keeps_alive = is_bounded && !self.closes && (is_http11 || self.keeps);
        Ok(AnswerHead {
            status,
            headers: self.headers,
            framing,
            keeps_alive,
            version: Version::HTTP_11,
        })
    }
}

/// An answer that ends with its head, whatever its fields say (RFC 9112 §6.3).
pub(super) fn has_no_body(status: StatusCode, method: &Method) -> bool {
    *method == Method::HEAD || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

/// The head of an answer in HTTP/2. Its framing says how many bytes come, where that is known; where they end, HTTP/2
/// itself says.
///
/// # Errors
/// When it can't be true.
pub(super) fn of_http2(answer: http::response::Parts, method: &Method) -> Result<AnswerHead, Malformed> {
    let status = answer.status;
    if status.is_informational() || status.as_u16() >= 600 {
        return Err(Malformed("the service answered with an impossible status"));
    }
    if answer.headers.len() > MAX_FIELDS {
        return Err(Malformed("the service sent a head that is too large"));
    }
    let mut fields = Fields {
        headers: HeaderMap::with_capacity(answer.headers.len() + 8),
        ..Fields::default()
    };
    for (name, value) in &answer.headers {
        fields.add(name.clone(), value.clone())?;
    }
    if fields.is_chunked || fields.upgrade.is_some() || !fields.nominated.is_empty() {
        return Err(Malformed("the service sent fields that HTTP/2 has not"));
    }
    let framing = match (has_no_body(status, method), fields.length) {
        (true, _) => Framing::Length(0),
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::UntilClose,
    };
    Ok(AnswerHead {
        status,
        headers: fields.headers,
        framing,
        keeps_alive: true,
        version: Version::HTTP_2,
    })
}

impl Fields {
    /// RFC 9110 §7.8: the answer names the protocol that comes next, which is one that was asked for.
    fn switched(self, asked: Option<&HeaderValue>) -> Result<AnswerHead, Malformed> {
        let is_asked = match (&self.upgrade, asked) {
            (Some(to), Some(asked)) => to.as_bytes().eq_ignore_ascii_case(asked.as_bytes()),
            _ => false,
        };
        if !is_asked || !self.nominated.contains(&UPGRADE) || self.is_chunked || self.length.is_some() {
            return Err(Malformed(
                "the service switched to a protocol that was not asked for",
            ));
        }
        Ok(AnswerHead {
            status: StatusCode::SWITCHING_PROTOCOLS,
            headers: self.headers,
            framing: Framing::UntilClose,
            keeps_alive: false,
            version: Version::HTTP_11,
        })
    }
}

#[cfg(test)]
mod tests;
