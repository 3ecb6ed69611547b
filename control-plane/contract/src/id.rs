//! Ids, each a type of its own so that none can stand in another's place.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// A text or byte string that is no id of the wanted kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {0}")]
pub struct MalformedId(pub &'static str);

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id: a UUIDv7 of this moment.
            #[must_use]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// The UUID itself.
            #[must_use]
            pub fn as_uuid(&self) -> &Uuid {
                &self.0
            }

            /// Reads the 16 bytes of a stored or received id.
            ///
            /// # Errors
            /// When there are not 16 bytes.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, MalformedId> {
                Uuid::from_slice(bytes).map(Self).map_err(|_| MalformedId($what))
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl FromStr for $name {
            type Err = MalformedId;

            /// Only the hyphenated form of 36 characters is an id.
            fn from_str(text: &str) -> Result<Self, MalformedId> {
                if text.len() != 36 {
                    return Err(MalformedId($what));
                }
                Uuid::try_parse(text).map(Self).map_err(|_| MalformedId($what))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

uuid_id!(
    /// A company that buys access.
    AccountId,
    "an account id (UUID)"
);
uuid_id!(
    /// One API key, on whatever surface it is seen.
    KeyId,
    "a key id (UUID)"
);
uuid_id!(
    /// A person of an account.
    UserId,
    "a user id (UUID)"
);

/// One environment of one account: 16 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnvironmentId([u8; 8]);

impl EnvironmentId {
    /// Makes one from the operating system's randomness.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The id's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }

    /// Reads the 8 bytes of a stored or received id.
    ///
    /// # Errors
    /// When there are not 8 bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, MalformedId> {
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| MalformedId("an environment id (8 bytes)"))
    }
}

impl FromStr for EnvironmentId {
    type Err = MalformedId;

    fn from_str(text: &str) -> Result<Self, MalformedId> {
        let mut bytes = [0; 8];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| MalformedId("an environment id (16 hex digits)"))?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for EnvironmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for EnvironmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An end customer of an account: a cuid, `c` and 24 characters of `0-9a-z`. Unique per account and environment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CustomerId([u8; 25]);

impl CustomerId {
    /// A new id in the form of a cuid: `c`, the milliseconds since 1970 in base 36, then randomness.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn mint(now: crate::UnixMillis) -> Result<Self, getrandom::Error> {
        const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let mut id = [b'0'; 25];
        id[0] = b'c';
        let mut rest = u64::try_from(now.0).unwrap_or_default();
        for place in id[1..9].iter_mut().rev() {
            *place = DIGITS[(rest % 36) as usize];
            rest /= 36;
        }
        let mut filled = 9;
        let mut bytes = [0u8; 32];
        while filled < id.len() {
            getrandom::fill(&mut bytes)?;
            // 252 = 7 × 36: larger bytes are thrown away, so that every character is equally likely.
            for byte in bytes.iter().filter(|byte| **byte < 252).take(id.len() - filled) {
                id[filled] = DIGITS[usize::from(byte % 36)];
                filled += 1;
            }
        }
        Ok(Self(id))
    }

    /// The id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only ASCII gets in.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for CustomerId {
    type Err = MalformedId;

    fn from_str(text: &str) -> Result<Self, MalformedId> {
        const WHAT: MalformedId = MalformedId("an end customer id (c and 24 of 0-9a-z)");
        let bytes: [u8; 25] = text.as_bytes().try_into().map_err(|_| WHAT)?;
        let fits = bytes[0] == b'c' && bytes.iter().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
        if fits { Ok(Self(bytes)) } else { Err(WHAT) }
    }
}

impl fmt::Display for CustomerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for CustomerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for CustomerId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl serde::Serialize for EnvironmentId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::UnixMillis;

    proptest! {
        #[test]
        fn a_minted_customer_id_reads_back(ms in 0i64..4_000_000_000_000) {
            let id = CustomerId::mint(UnixMillis(ms)).unwrap();
            prop_assert_eq!(id.to_string().parse::<CustomerId>().unwrap(), id);
        }

        #[test]
        fn no_text_makes_an_id_parser_panic(text in ".{0,40}") {
            let _ = (text.parse::<CustomerId>(), text.parse::<AccountId>(), text.parse::<EnvironmentId>());
        }
    }

    #[test]
    fn the_sandbox_customer_is_a_customer_id() {
        assert!("clx8f2k9h0001qr5tgvwxyz12".parse::<CustomerId>().is_ok());
    }

    #[test]
    fn an_account_id_is_hyphenated() {
        assert!("0190b5f2e5f07c9a8d1e2f3a4b5c6d7e".parse::<AccountId>().is_err());
        assert!(
            "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e"
                .parse::<AccountId>()
                .is_ok()
        );
    }
}
