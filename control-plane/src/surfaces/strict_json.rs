//! JSON as RFC 8259 means it, with what it leaves open closed: a key that occurs twice in an object, nesting over
//! 32, `NaN`, and anything after the value are errors. One pass, memory in proportion to the text.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How deep arrays and objects may lie in each other.
pub const MAX_DEPTH: usize = 32;

/// Reads one value.
///
/// # Errors
/// What is wrong with the text, in words that don't quote it.
pub fn parse(text: &[u8]) -> Result<Value, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Strict { depth: 0 }
        .deserialize(&mut deserializer)
        .map_err(|error| reason(&error))?;
    deserializer.end().map_err(|error| reason(&error))?;
    Ok(value)
}

fn reason(error: &serde_json::Error) -> String {
    let place = format!("line {} column {}", error.line(), error.column());
    // Only our own messages are passed on: the parser's may quote what was sent.
    let text = error.to_string();
    for known in [TWICE, TOO_DEEP] {
        if text.starts_with(known) {
            return format!("{known} ({place})");
        }
    }
    format!("is not well-formed JSON ({place})")
}

const TWICE: &str = "has an object with the same key twice";
const TOO_DEEP: &str = "is nested more than 32 deep";

#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth < MAX_DEPTH {
            Ok(Self {
                depth: self.depth + 1,
            })
        } else {
            Err(E::custom(TOO_DEEP))
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number is out of range"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(inner)?;
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom(TWICE));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(), &str>) {
        let read = parse(text.as_bytes()).map(|_| ());
        match (read, expected) {
            (Ok(()), Ok(())) => {}
            (Err(reason), Err(start)) => assert!(reason.starts_with(start), "{text}: {reason}"),
            (read, _) => panic!("{text}: {read:?}"),
        }
    }

    #[test]
    fn what_json_leaves_open_is_an_error() {
        check(r#"{"name":"a","Name":"b"}"#, Ok(()));
        check(r#"{"name":"a","name":"b"}"#, Err(TWICE));
        check(r#"{"name":"a","\u006eame":"b"}"#, Err(TWICE));
        check(r#"{"x":[{"y":1,"y":1}]}"#, Err(TWICE));
        for broken in [
            "",
            " ",
            "NaN",
            "[NaN]",
            "Infinity",
            "-Infinity",
            "{}{}",
            "{} x",
            "{'a':1}",
            "[1,]",
            "{\"a\":1,}",
            "01",
            "1e999",
            "\"\\ud800\"",
            "\u{feff}{}",
            "// c\n{}",
        ] {
            check(broken, Err("is not well-formed JSON"));
        }
        assert!(parse(b"\"\xff\"").is_err());
    }

    #[test]
    fn nesting_is_bounded_at_32() {
        check(&format!("{}{}", "[".repeat(32), "]".repeat(32)), Ok(()));
        check(&format!("{}{}", "[".repeat(33), "]".repeat(33)), Err(TOO_DEEP));
        check(&"{\"a\":".repeat(10_000), Err(TOO_DEEP));
    }

    #[test]
    fn a_reason_quotes_nothing_of_what_was_sent() {
        let reason = parse(b"{\"secret\": ck_live_abc}").unwrap_err();
        assert!(!reason.contains("ck_live"), "{reason}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn it_reads_what_serde_json_writes(text in "\\PC{0,40}", number in any::<i64>()) {
            let value = serde_json::json!({"a": [text, number, null, true], "b": {"c": 0.5}});
            prop_assert_eq!(parse(value.to_string().as_bytes()), Ok(value));
        }
    }
}
