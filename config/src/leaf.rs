//! The values that stand in a configuration: durations, sizes, addresses, names, patterns.
//!
//! Each is checked while it is read, so that its message comes with its line, and none needs a second look.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Deserializer, Error, Visitor};

pub(crate) mod host;
pub(crate) mod issuer;
pub(crate) mod later;
pub(crate) mod name;
pub(crate) mod network;
pub(crate) mod origin;
pub(crate) mod path;
pub(crate) mod redis;
pub(crate) mod unit;
pub(crate) mod url;
pub(crate) mod word;

/// A value that is written as text.
pub(crate) trait Text: FromStr<Err = String> {
    /// What to say belongs here when something of another type was written.
    const EXPECTED: &'static str;

    /// What a bare whole number means, where it means anything.
    fn of_number(number: u64) -> Result<Self, String> {
        let expected = Self::EXPECTED;
        Err(format!("{number} is a number; write {expected}"))
    }
}

/// Reads a [`Text`].
pub(crate) fn deserialize<'de, T: Text, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(TextVisitor(PhantomData))
}

struct TextVisitor<T>(PhantomData<T>);

impl<T: Text> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        u64::try_from(number)
            .map_err(|_| format!("{number} is below zero; write {}", T::EXPECTED))
            .and_then(T::of_number)
            .map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        T::of_number(number).map_err(E::custom)
    }
}

/// Gives a [`Text`] its `serde` and JSON Schema forms: text with a pattern and an example, and the JSON types
/// that may be written when there are others.
macro_rules! text {
    ($type:ident, $pattern:literal, $example:literal) => {
        $crate::leaf::text!($type, $pattern, $example, "string");
    };
    ($type:ident, $pattern:literal, $example:literal, $json:expr) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::leaf::deserialize(deserializer)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": $json,
                    "pattern": $pattern,
                    "examples": [$example],
                })
            }
        }
    };
}
pub(crate) use text;

/// Cuts a text that is to be quoted in a message: nobody is helped by a page of it.
pub(crate) fn short(text: &str) -> String {
    const MOST: usize = 80;
    if text.chars().count() <= MOST {
        text.to_owned()
    } else {
        text.chars().take(MOST).chain(['…']).collect()
    }
}
