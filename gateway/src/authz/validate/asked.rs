//! What an application asks, read from JSON: an object with the members below; others are ignored, `null` is as good as
//! absent. A member that occurs twice, a value of another type, and more than 32 levels are refused. Reasons are fixed
//! texts, so that no part of the question, which holds keys, is ever repeated.

use std::fmt;
use std::net::IpAddr;

use http::HeaderName;
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use crate::rejection::Rejection;

/// Objects and arrays within each other.
const MAX_DEPTH: usize = 32;
/// What a call may cost: the bounds of a route's `cost`.
const MAX_COST: u64 = 1_000_000;

/// A question.
#[derive(Debug, Default)]
pub(in crate::authz) struct Asked {
    pub(in crate::authz) account_key: Option<SecretString>,
    pub(in crate::authz) customer_key: Option<SecretString>,
    pub(in crate::authz) cost: Option<u32>,
    pub(in crate::authz) client: Option<IpAddr>,
    pub(in crate::authz) route: Option<String>,
}

impl Asked {
    /// Reads one.
    ///
    /// # Errors
    /// Row 1, with what is wrong.
    pub(in crate::authz) fn parse(text: &[u8]) -> Result<Self, Rejection> {
        if depth(text) > MAX_DEPTH {
            return Err(bad("the body has more than 32 levels"));
        }
        let Members(members) = serde_json::from_slice(text)
            .map_err(|_| bad("the body must be one JSON object in which no member occurs twice"))?;
        let mut asked = Self::default();
        for (name, value) in members {
            asked.take(&name, value)?;
        }
        Ok(asked)
    }

    /// The members that hold keys.
    pub(super) fn sources(&self) -> [Option<HeaderName>; 2] {
        [
            self.account_key
                .as_ref()
                .map(|_| HeaderName::from_static("account_key")),
            self.customer_key
                .as_ref()
                .map(|_| HeaderName::from_static("customer_key")),
        ]
    }

    fn take(&mut self, name: &str, value: Value) -> Result<(), Rejection> {
        match (name, value) {
            (_, Value::Null) => {}
            ("account_key", Value::String(key)) => self.account_key = Some(key.into()),
            ("account_key", _) => return Err(bad("`account_key` must be a string")),
            ("customer_key", Value::String(key)) => self.customer_key = Some(key.into()),
            ("customer_key", _) => return Err(bad("`customer_key` must be a string")),
            ("cost", value) => {
                let cost = value.as_u64().filter(|cost| (1..=MAX_COST).contains(cost));
                let cost = cost.and_then(|cost| u32::try_from(cost).ok());
                self.cost = Some(cost.ok_or(bad("`cost` must be a whole number from 1 to 1000000"))?);
            }
            ("client_ip", value) => {
                let address = value.as_str().and_then(|text| text.parse::<IpAddr>().ok());
                let address = address.ok_or(bad("`client_ip` must be an IP address"))?;
                self.client = Some(address.to_canonical());
            }
            ("route", Value::String(name)) => self.route = Some(name),
            ("route", _) => return Err(bad("`route` must be a string")),
            _ => {}
        }
        Ok(())
    }
}

fn bad(reason: &'static str) -> Rejection {
    Rejection::InvalidInput(reason)
}

/// Levels of objects and arrays. Of what is no JSON any number.
fn depth(text: &[u8]) -> usize {
    let (mut now, mut most) = (0_usize, 0);
    let (mut is_text, mut is_escaped) = (false, false);
    for byte in text {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'{' | b'[' if !is_text => {
                now += 1;
                most = most.max(now);
            }
            b'}' | b']' if !is_text => now = now.saturating_sub(1),
            _ => {}
        }
    }
    most
}

/// The members of an object, each once.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members: Vec<(String, Value)> = Vec::new();
                let mut names = std::collections::HashSet::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom("a member occurs twice"));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::*;

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        let rejection = Asked::parse(text.as_bytes()).map(drop).unwrap_err();
        assert!(
            rejection.message().contains(expected),
            "{text}: {}",
            rejection.message()
        );
    }

    #[test]
    fn a_question_is_read_and_what_is_unknown_ignored() {
        let asked = Asked::parse(
            br#"{"account_key":"pk","customer_key":null,"cost":3,"client_ip":"::ffff:192.0.2.1","route":"x","more":{"a":[1]}}"#,
        );
        let asked = asked.unwrap();
        assert_eq!(asked.account_key.unwrap().expose_secret(), "pk");
        assert!(asked.customer_key.is_none());
        assert_eq!((asked.cost, asked.route.as_deref()), (Some(3), Some("x")));
        assert_eq!(asked.client, Some("192.0.2.1".parse().unwrap()));
        assert!(Asked::parse(b"{}").is_ok());
    }

    #[test]
    fn each_way_to_be_wrong_is_told_without_repeating_it() {
        for text in [
            "",
            "[]",
            "nonsense",
            "{",
            "{}{}",
            r#"{"cost":1,"cost":1}"#,
            r#"{"a":NaN}"#,
            "\"pk_live_x\"",
        ] {
            refused(text, "one JSON object");
        }
        refused(r#"{"account_key":1}"#, "account_key");
        refused(r#"{"customer_key":["ck"]}"#, "customer_key");
        for cost in ["0", "-1", "1.5", "1000001", "\"1\"", "1e99"] {
            refused(&format!(r#"{{"cost":{cost}}}"#), "cost");
        }
        refused(r#"{"client_ip":"localhost"}"#, "client_ip");
        refused(r#"{"route":1}"#, "route");
        let nested = |levels| format!(r#"{{"a":{}1{}}}"#, "[".repeat(levels), "]".repeat(levels));
        refused(&nested(32), "32 levels");
        assert!(Asked::parse(nested(31).as_bytes()).is_ok());
        assert!(Asked::parse(br#"{"a":"\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["}"#).is_ok());
    }

    #[test]
    fn a_question_that_is_printed_shows_no_key() {
        let asked =
            Asked::parse(br#"{"account_key":"pk_live_secret","customer_key":"ck_live_secret"}"#).unwrap();
        assert!(!format!("{asked:?}").contains("secret"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Asked::parse(&bytes);
        }
    }
}
