//! `application/x-www-form-urlencoded`: what doesn't decode, isn't UTF-8 or is sent twice is refused, never guessed.

/// The parameters of a form.
pub(super) struct Form(Vec<(String, String)>);

/// A parameter that can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It occurs twice.
    Twice,
    /// The body is no form.
    Form,
}

impl Form {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Unreadable> {
        let pairs = bytes.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
        let decoded = pairs.map(|pair| {
            let at = pair.iter().position(|byte| *byte == b'=');
            let (name, value) = match at {
                Some(at) => (pair.get(..at)?, pair.get(at + 1..)?),
                None => (pair, [].as_slice()),
            };
            Some((decode(name)?, decode(value)?))
        });
        let pairs = decoded.collect::<Option<Vec<_>>>().ok_or(Unreadable::Form)?;
        Ok(Self(pairs))
    }

    /// A parameter; one without a value was not sent (RFC 6749, 3.2).
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, Unreadable> {
        let mut values = self.0.iter().filter(|(key, _)| key == name);
        let first = values.next().map(|(_, value)| value.as_str());
        if values.next().is_some() {
            return Err(Unreadable::Twice);
        }
        Ok(first.filter(|value| !value.is_empty()))
    }
}

/// Decodes one name or value; `None` when it isn't well-formed.
pub(super) fn decode(text: &[u8]) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                let mut byte = [0];
                hex::decode_to_slice(digits, &mut byte).ok()?;
                byte[0]
            }
            other => *other,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_form_is_read_as_it_was_written() {
        let form = Form::parse(b"a=1&b=x+y%2Bz%26&&c=&d&%61=2").unwrap();
        assert_eq!(form.one("a"), Err(Unreadable::Twice));
        assert_eq!(form.one("b"), Ok(Some("x y+z&")));
        assert_eq!(form.one("c"), Ok(None));
        assert_eq!(form.one("d"), Ok(None));
        assert_eq!(form.one("e"), Ok(None));
        for bad in [b"a=%".as_slice(), b"a=%1", b"a=%zz", b"a=%ff", b"\xff=1"] {
            assert_eq!(Form::parse(bad).err(), Some(Unreadable::Form), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Form::parse(&bytes);
        }
    }
}
