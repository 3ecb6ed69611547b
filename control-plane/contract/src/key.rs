//! The text of a key: how one is made, checked and shown.
//!
//! `<kind>_<live|test>_` + 32 base62 characters of OS randomness + 6 base62 characters of checksum over all
//! before it (CRC-32 as in zlib, most significant digit first, padded with `0`). Admin keys and gateways' tokens
//! have no `live`/`test` part. The checksum lets a mistyped key be refused without a look-up; it is no protection
//! against someone who makes keys up, for whom the 190 bits of randomness are.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_LENGTH: usize = 32;
const CHECKSUM_LENGTH: usize = 6;

/// The longest text that can be a key, in bytes. Anything longer is refused before a byte of it is hashed.
pub const MAX_KEY_LENGTH: usize = "pk_live_".len() + RANDOM_LENGTH + CHECKSUM_LENGTH;

/// Whom a key identifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// `pk_`: an account in one of its environments.
    Account,
    /// `ck_`: an end customer of an account.
    Customer,
    /// `ak_`: an operator.
    Admin,
    /// `gw_`: a gateway to its control plane.
    Gateway,
}

impl KeyKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Account, Self::Customer, Self::Admin, Self::Gateway];

    /// Whether a key of this kind belongs to one of an account's environments.
    #[must_use]
    pub fn has_environment(self) -> bool {
        matches!(self, Self::Account | Self::Customer)
    }

    /// The two letters that a key of this kind begins with.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Account => "pk",
            Self::Customer => "ck",
            Self::Admin => "ak",
            Self::Gateway => "gw",
        }
    }
}

/// One of the two environments of every account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// Free of quota, with buckets of its own.
    Test,
    /// What is billed.
    Production,
}

impl Environment {
    /// Both, for configuration defaults and loops.
    pub const ALL: [Self; 2] = [Self::Test, Self::Production];

    /// `test` or `production`, as every surface writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Production => "production",
        }
    }

    /// `test` or `live`, as keys write it.
    #[must_use]
    pub fn key_part(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Production => "live",
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Environment {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "test" => Ok(Self::Test),
            "production" => Ok(Self::Production),
            _ => Err(()),
        }
    }
}

/// What the text of a well-formed key says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyShape {
    /// Whom it identifies.
    pub kind: KeyKind,
    /// Where it is valid; `None` for kinds without environments.
    pub environment: Option<Environment>,
}

impl KeyShape {
    /// The characters before the random part, with the final underscore.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match (self.kind, self.environment) {
            (KeyKind::Account, Some(Environment::Test)) => "pk_test_",
            (KeyKind::Account, _) => "pk_live_",
            (KeyKind::Customer, Some(Environment::Test)) => "ck_test_",
            (KeyKind::Customer, _) => "ck_live_",
            (KeyKind::Admin, _) => "ak_",
            (KeyKind::Gateway, _) => "gw_",
        }
    }

    /// Reads the shape of a key and verifies its checksum: one CRC-32 over at most 40 bytes, no allocation.
    ///
    /// # Errors
    /// [`MalformedKey`] when the text is no key of any kind.
    pub fn parse(text: &[u8]) -> Result<Self, MalformedKey> {
        let shape = Self::of_prefix(text).ok_or(MalformedKey::Prefix)?;
        let body = text.get(shape.prefix().len()..).unwrap_or_default();
        if body.len() != RANDOM_LENGTH + CHECKSUM_LENGTH {
            return Err(MalformedKey::Length);
        }
        if !body.iter().all(u8::is_ascii_alphanumeric) {
            return Err(MalformedKey::Alphabet);
        }
        let (checked, checksum) = text.split_at(text.len() - CHECKSUM_LENGTH);
        if checksum == checksum_of(checked) {
            Ok(shape)
        } else {
            Err(MalformedKey::Checksum)
        }
    }

    fn of_prefix(text: &[u8]) -> Option<Self> {
        let shape = |kind, environment| Some(Self { kind, environment });
        match text {
            [b'a', b'k', b'_', ..] => shape(KeyKind::Admin, None),
            [b'g', b'w', b'_', ..] => shape(KeyKind::Gateway, None),
            [kind @ (b'p' | b'c'), b'k', b'_', rest @ ..] => {
                let kind = if *kind == b'p' {
                    KeyKind::Account
                } else {
                    KeyKind::Customer
                };
                if rest.starts_with(b"live_") {
                    shape(kind, Some(Environment::Production))
                } else if rest.starts_with(b"test_") {
                    shape(kind, Some(Environment::Test))
                } else {
                    None
                }
            }
            _ => None,
        }
    }
}

/// Why a text is no key. Holds nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedKey {
    /// It begins like no key.
    #[error("a key begins with pk_live_, pk_test_, ck_live_, ck_test_, ak_ or gw_")]
    Prefix,
    /// It has too few or too many characters.
    #[error("a key has 38 characters after its prefix")]
    Length,
    /// It has a character outside `0-9A-Za-z`.
    #[error("a key has only letters and digits after its prefix")]
    Alphabet,
    /// Its last six characters don't fit the rest: mistyped or cut.
    #[error("the key's checksum does not fit: it was mistyped or cut")]
    Checksum,
}

/// A whole key in clear. Wiped when dropped; can't be printed.
#[derive(Clone)]
pub struct PlainKey {
    text: SecretString,
    shape: KeyShape,
}

impl PlainKey {
    /// Makes a new key from the operating system's randomness.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn mint(kind: KeyKind, environment: Environment) -> Result<Self, getrandom::Error> {
        let environment = kind.has_environment().then_some(environment);
        let shape = KeyShape { kind, environment };
        let random = random_characters()?;
        Ok(Self::assemble(shape, &random))
    }

    /// Takes a text as a key.
    ///
    /// # Errors
    /// [`MalformedKey`] when it is none.
    pub fn parse(text: &str) -> Result<Self, MalformedKey> {
        let shape = KeyShape::parse(text.as_bytes())?;
        Ok(Self {
            text: SecretString::from(text),
            shape,
        })
    }

    fn assemble(shape: KeyShape, random: &[u8; RANDOM_LENGTH]) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(MAX_KEY_LENGTH));
        text.push_str(shape.prefix());
        text.extend(random.iter().map(|byte| char::from(*byte)));
        let checksum = checksum_of(text.as_bytes());
        text.extend(checksum.iter().map(|byte| char::from(*byte)));
        Self {
            text: SecretString::from(text.as_str()),
            shape,
        }
    }

    /// The text itself, for the one answer that shows it and for hashing and sealing.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }

    /// Kind and environment.
    #[must_use]
    pub fn shape(&self) -> KeyShape {
        self.shape
    }

    /// What may be shown of it.
    #[must_use]
    pub fn mask(&self) -> KeyMask {
        let text = self.expose();
        let head = self.shape.prefix().len() + 2;
        let (head, tail) = (
            text.get(..head).unwrap_or_default(),
            text.get(text.len() - 3..).unwrap_or_default(),
        );
        KeyMask(format!("{head}…{tail}"))
    }
}

impl fmt::Debug for PlainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlainKey({}…)", self.shape.prefix())
    }
}

/// A key as it may be shown: kind, first two and last three characters (`pk_live_4f…9aZ`). Five of 38
/// characters, three of them checksum: never enough to use or to search for.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct KeyMask(String);

impl KeyMask {
    /// A mask that was stored.
    #[must_use]
    pub fn from_stored(mask: String) -> Self {
        Self(mask)
    }

    /// The mask's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn random_characters() -> Result<[u8; RANDOM_LENGTH], getrandom::Error> {
    // 248 = 4 × 62: larger bytes are thrown away, so that every character is equally likely.
    const ACCEPTED_BELOW: u8 = 248;
    let mut characters = [0; RANDOM_LENGTH];
    let mut filled = 0;
    let mut bytes = Zeroizing::new([0u8; 64]);
    while filled < RANDOM_LENGTH {
        getrandom::fill(bytes.as_mut_slice())?;
        for byte in bytes
            .iter()
            .filter(|byte| **byte < ACCEPTED_BELOW)
            .take(RANDOM_LENGTH - filled)
        {
            characters[filled] = ALPHABET[usize::from(byte % 62)];
            filled += 1;
        }
    }
    Ok(characters)
}

fn checksum_of(text: &[u8]) -> [u8; CHECKSUM_LENGTH] {
    let mut rest = crc32fast::hash(text);
    let mut digits = [b'0'; CHECKSUM_LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

#[cfg(test)]
mod tests;
