//! Settings whose feature comes with a later version. They are known by name and refused: none is ever read
//! and not heeded.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny};
use serde::{Serialize, Serializer};

/// What is said of a setting that this version can't follow.
pub(crate) const NOT_YET: &str = "is not supported by this version yet; remove it";

/// A setting of a later version: whatever was written, it is refused.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Later {}

impl<'de> Deserialize<'de> for Later {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer)?;
        Err(D::Error::custom(NOT_YET))
    }
}

impl Serialize for Later {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        match *self {}
    }
}

impl JsonSchema for Later {
    fn schema_name() -> Cow<'static, str> {
        "Later".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "not": {}, "description": "Not supported by this version yet." })
    }
}
