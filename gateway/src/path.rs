//! The one interpretation of a request's path.
//!
//! What this module returns is what is matched against the routes, what policy is decided on, and what the
//! upstream is sent, so that no way of writing a path slips past a route:
//!
//! - characters that need no encoding are decoded (`%61` is `a`, `%2e` is `.`), what needs encoding is encoded,
//!   and every encoding is written in upper case. Nothing is decoded twice: `%252e` stays `%252e`;
//! - dot segments are resolved afterwards (RFC 3986 §5.2.4); those that leave the root are refused, and so are
//!   those that some upstreams read otherwise than RFC 3986: `..;x`, `..%2F`, and `..` after an encoded slash;
//! - backslash, NUL and control characters are refused raw and encoded, as is what decodes to no valid UTF-8;
//! - an encoded slash is kept, is no separator, and is reported: whether it may pass is the route's setting;
//! - `//` is kept as it is.
//!
//! Cost: one pass over the bytes and no allocation for a path that is in this form already; two allocations for
//! any other. A failure is the client's, always a 400.

use std::borrow::Cow;

/// A path in the one form that is matched and forwarded: begins with `/`, holds only what RFC 3986 allows in a
/// path, and has no dot segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normalised<'a> {
    text: Cow<'a, str>,
    encoded_slash: bool,
}

impl<'a> Normalised<'a> {
    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the path is as the client sent it, so that the request's target can be forwarded untouched.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        matches!(self.text, Cow::Borrowed(_))
    }

    /// Whether there is a `%2F` in it, which only routes with `encoded_slashes = "keep"` take.
    #[must_use]
    pub fn has_encoded_slash(&self) -> bool {
        self.encoded_slash
    }

    /// The path, borrowed where nothing had to be changed.
    #[must_use]
    pub fn into_text(self) -> Cow<'a, str> {
        self.text
    }
}

/// Why a path has no safe interpretation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with `/`.
    #[error("the path does not begin with `/`")]
    NotAbsolute,
    /// A `%` without two hex digits after it.
    #[error("the path has a `%` without two hex digits after it")]
    Escape,
    /// NUL or another control character, raw or encoded.
    #[error("the path has a control character")]
    Control,
    /// A backslash, raw or encoded.
    #[error("the path has a backslash")]
    Backslash,
    /// A raw space, `#` or `?`.
    #[error("the path has a character that must be encoded")]
    Reserved,
    /// It decodes to no valid UTF-8; overlong forms are none.
    #[error("the path is not valid UTF-8")]
    NotUtf8,
    /// `..` above the root.
    #[error("the path leaves the root")]
    AboveRoot,
    /// A dot segment with parameters, or one that meets an encoded slash.
    #[error("the path has a dot segment in disguise")]
    DisguisedDots,
}

/// What may become of one byte of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Stands as it is, raw and, when it came encoded, decoded.
    Unreserved,
    /// Stands as it is in either form (RFC 3986 sub-delims, `:` and `@`).
    Delimiter,
    Slash,
    Percent,
    Control,
    Backslash,
    /// Space, `#` and `?`: refused raw, kept encoded.
    Reserved,
    /// Encoded when it comes raw.
    Encode,
}

/// One class for each byte value.
static CLASSES: [Class; 256] = classes();

const fn classes() -> [Class; 256] {
    let mut classes = [Class::Encode; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            0..=0x1f | 0x7f => Class::Control,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => Class::Unreserved,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@' => {
                Class::Delimiter
            }
            b'/' => Class::Slash,
            b'%' => Class::Percent,
            b'\\' => Class::Backslash,
            b' ' | b'#' | b'?' => Class::Reserved,
            _ => Class::Encode,
        };
        byte += 1;
    }
    classes
}

fn class(byte: u8) -> Class {
    CLASSES[usize::from(byte)]
}

/// Brings a request's path, without its query, into the one form.
///
/// # Errors
/// When it has no safe interpretation.
pub fn normalise(raw: &str) -> Result<Normalised<'_>, PathError> {
    if !raw.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    if is_clean(raw.as_bytes()) {
        return Ok(Normalised {
            text: Cow::Borrowed(raw),
            encoded_slash: false,
        });
    }
    let text = resolve_dots(&canonical_escapes(raw)?)?;
    let encoded_slash = text.contains("%2F");
    let text = if text == raw {
        Cow::Borrowed(raw)
    } else {
        Cow::Owned(text)
    };
    Ok(Normalised { text, encoded_slash })
}

/// Whether a path is in the one form already and has no escapes: the common case.
fn is_clean(path: &[u8]) -> bool {
    let mut previous = 0;
    for (at, &byte) in path.iter().enumerate() {
        let clean = match class(byte) {
            Class::Unreserved => {
                byte != b'.'
                    || previous != b'/'
                    || !begins_with_dot_segment(path.get(at..).unwrap_or_default())
            }
            Class::Delimiter | Class::Slash => true,
            Class::Percent | Class::Control | Class::Backslash | Class::Reserved | Class::Encode => false,
        };
        if !clean {
            return false;
        }
        previous = byte;
    }
    true
}

fn begins_with_dot_segment(rest: &[u8]) -> bool {
    let after_dots = rest.strip_prefix(b"..").or_else(|| rest.strip_prefix(b"."));
    matches!(after_dots, Some([] | [b'/' | b';', ..]))
}

/// Decodes what needs no encoding, encodes what does, and refuses what no path may hold.
fn canonical_escapes(raw: &str) -> Result<String, PathError> {
    let mut text = String::with_capacity(raw.len().saturating_add(16));
    let mut all_ascii = true;
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        let class_of_raw = class(byte);
        let (value, kept) = match class_of_raw {
            Class::Percent => {
                let value = escaped_byte(&mut rest)?;
                (value, class(value) == Class::Unreserved)
            }
            Class::Unreserved | Class::Delimiter | Class::Slash => (byte, true),
            Class::Reserved => return Err(PathError::Reserved),
            Class::Control | Class::Backslash | Class::Encode => (byte, false),
        };
        match class(value) {
            Class::Control => return Err(PathError::Control),
            Class::Backslash => return Err(PathError::Backslash),
            _ if kept => text.push(char::from(value)),
            _ => {
                all_ascii &= value.is_ascii();
                push_escape(&mut text, value);
            }
        }
    }
    if !all_ascii && std::str::from_utf8(&decoded(&text).collect::<Vec<u8>>()).is_err() {
        return Err(PathError::NotUtf8);
    }
    Ok(text)
}

fn escaped_byte(rest: &mut std::str::Bytes<'_>) -> Result<u8, PathError> {
    let mut digit = || rest.next().and_then(hex_value).ok_or(PathError::Escape);
    Ok(digit()? << 4 | digit()?)
}

fn hex_value(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

fn push_escape(text: &mut String, byte: u8) {
    let digit = |value: u8| {
        char::from(if value < 10 {
            b'0' + value
        } else {
            b'A' + (value - 10)
        })
    };
    text.push('%');
    text.push(digit(byte >> 4));
    text.push(digit(byte & 15));
}

/// Removes `.` and `..` segments from a path whose escapes are canonical.
fn resolve_dots(path: &str) -> Result<String, PathError> {
    let mut resolved = String::with_capacity(path.len());
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        match dots(segment)? {
            Dots::None => {
                resolved.push('/');
                resolved.push_str(segment);
                continue;
            }
            Dots::Here => {}
            Dots::Above => {
                let parent = resolved.rfind('/').ok_or(PathError::AboveRoot)?;
                if resolved.get(parent..).is_some_and(|left| left.contains("%2F")) {
                    // One segment to us, several to who decodes it: the two would end in different places.
                    return Err(PathError::DisguisedDots);
                }
                resolved.truncate(parent);
            }
        }
        if segments.peek().is_none() {
            resolved.push('/');
        }
    }
    Ok(resolved)
}

enum Dots {
    None,
    Here,
    Above,
}

/// What one segment means to whoever walks the path. Upstreams that cut parameters (`..;x`) or decode slashes
/// (`..%2Fx`) before they resolve dots would see a dot segment where RFC 3986 sees a name: refused.
fn dots(segment: &str) -> Result<Dots, PathError> {
    match segment {
        "." => return Ok(Dots::Here),
        ".." => return Ok(Dots::Above),
        _ => {}
    }
    let disguised = segment.split("%2F").any(|part| {
        let name = part.split(';').next().unwrap_or(part);
        matches!(name.split("%3B").next().unwrap_or(name), "." | "..")
    });
    if disguised {
        Err(PathError::DisguisedDots)
    } else {
        Ok(Dots::None)
    }
}

/// The bytes that a text with canonical escapes stands for: decoded once.
pub(crate) fn decoded(text: &str) -> impl Iterator<Item = u8> + '_ {
    let mut rest = text.bytes();
    std::iter::from_fn(move || match rest.next()? {
        b'%' => escaped_byte(&mut rest).ok(),
        byte => Some(byte),
    })
}

#[cfg(test)]
mod tests;
