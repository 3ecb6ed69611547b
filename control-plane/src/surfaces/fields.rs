//! The fields of a JSON body: each is read by name and type. Unknown ones are ignored, a wrong type is an error
//! that names the field, and absent is not the same as null.

use serde_json::{Map, Value};

use crate::domain::refusal::InvalidField;

/// A JSON object that was sent.
#[derive(Clone, Debug, Default)]
pub struct Fields(Map<String, Value>);

/// What was sent for a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given<T> {
    /// Nothing.
    Absent,
    /// Null.
    Null,
    /// A value.
    Value(T),
}

impl<T> Given<T> {
    /// The value of a field that must be there.
    ///
    /// # Errors
    /// When it is absent or null.
    pub fn required(self, field: &'static str) -> Result<T, InvalidField> {
        match self {
            Self::Absent => Err(InvalidField::new(field, "is required")),
            Self::Null => Err(InvalidField::new(field, "must not be null")),
            Self::Value(value) => Ok(value),
        }
    }

    /// The value of a field that may be absent, but not null.
    ///
    /// # Errors
    /// When it is null.
    pub fn not_null(self, field: &'static str) -> Result<Option<T>, InvalidField> {
        match self {
            Self::Absent => Ok(None),
            Self::Null => Err(InvalidField::new(field, "must not be null")),
            Self::Value(value) => Ok(Some(value)),
        }
    }

    /// The value of a field for which null means the same as nothing.
    #[must_use]
    pub fn or_null(self) -> Option<T> {
        match self {
            Self::Absent | Self::Null => None,
            Self::Value(value) => Some(value),
        }
    }

    /// The value of a field that null clears.
    #[must_use]
    pub fn clearable(self) -> Option<Option<T>> {
        match self {
            Self::Absent => None,
            Self::Null => Some(None),
            Self::Value(value) => Some(Some(value)),
        }
    }

    /// Reads the value further.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn read<U, E>(self, read: impl FnOnce(T) -> Result<U, E>) -> Result<Given<U>, E> {
        Ok(match self {
            Self::Absent => Given::Absent,
            Self::Null => Given::Null,
            Self::Value(value) => Given::Value(read(value)?),
        })
    }
}

impl Fields {
    /// The fields of an object.
    #[must_use]
    pub fn new(object: Map<String, Value>) -> Self {
        Self(object)
    }

    /// A text.
    ///
    /// # Errors
    /// When it is of another type.
    pub fn text(&self, field: &'static str) -> Result<Given<&str>, InvalidField> {
        self.typed(field, "must be a text", Value::as_str)
    }

    /// True or false.
    ///
    /// # Errors
    /// When it is of another type.
    pub fn truth(&self, field: &'static str) -> Result<Given<bool>, InvalidField> {
        self.typed(field, "must be true or false", Value::as_bool)
    }

    /// A whole number from zero up.
    ///
    /// # Errors
    /// When it is of another type, negative or broken.
    pub fn whole_number(&self, field: &'static str) -> Result<Given<u64>, InvalidField> {
        self.typed(field, "must be a whole number, zero or above", whole)
    }

    /// An object.
    ///
    /// # Errors
    /// When it is of another type.
    pub fn object(&self, field: &'static str) -> Result<Given<&Map<String, Value>>, InvalidField> {
        self.typed(field, "must be an object", Value::as_object)
    }

    /// An array of texts.
    ///
    /// # Errors
    /// When it is of another type.
    pub fn texts(&self, field: &'static str) -> Result<Given<Vec<&str>>, InvalidField> {
        self.typed(field, "must be an array of texts", |value| {
            value.as_array()?.iter().map(Value::as_str).collect()
        })
    }

    /// An array of whatever.
    ///
    /// # Errors
    /// When it is of another type.
    pub fn array(&self, field: &'static str) -> Result<Given<&Vec<Value>>, InvalidField> {
        self.typed(field, "must be an array", Value::as_array)
    }

    fn typed<'a, T>(
        &'a self,
        field: &'static str,
        expected: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Given<T>, InvalidField> {
        match self.0.get(field) {
            None => Ok(Given::Absent),
            Some(Value::Null) => Ok(Given::Null),
            Some(value) => read(value)
                .map(Given::Value)
                .ok_or_else(|| InvalidField::new(field, expected)),
        }
    }
}

/// In JSON `20.0` is the number 20. Beyond 2^53 a number with a point may be another than was meant.
fn whole(value: &Value) -> Option<u64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    value.as_u64().or_else(|| {
        let number = value.as_f64()?;
        let fits = number.fract() == 0.0 && (0.0..EXACT).contains(&number);
        fits.then_some(number as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<u64>) {
        let value = serde_json::from_str(text).unwrap();
        assert_eq!(whole(&value), expected, "{text}");
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_point() {
        check("20", Some(20));
        check("20.0", Some(20));
        check("2e1", Some(20));
        check("0.0", Some(0));
        check("18446744073709551615", Some(u64::MAX));
        for other in [
            "20.5",
            "-1",
            "-1.0",
            "1e300",
            "9007199254740992.0",
            "\"20\"",
            "true",
            "null",
        ] {
            check(other, None);
        }
    }
}
