//! Names and addresses as people type them: trimmed, normalised, bounded.

use std::fmt;

use unicode_normalization::UnicodeNormalization;

use super::refusal::InvalidField;

/// The longest name of a company or an end customer, in characters.
pub const MAX_NAME: usize = 255;

/// The name of a company, an end customer or a key: without white space around it, in NFC, not empty, without
/// control characters. Two names are the same when their characters are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct Name(String);

impl Name {
    /// Reads a name of at most `longest` characters as it was typed.
    ///
    /// # Errors
    /// When nothing is left of it, or it is too long, or it has a control character.
    pub fn parse(field: &'static str, typed: &str, longest: usize) -> Result<Self, InvalidField> {
        let typed = typed.trim();
        // Normalising takes time and memory in proportion; nothing that is far too long gets there. No
        // normalisation shortens a text to less than a quarter of its characters, each of at most four bytes.
        if typed.len() > 16 * longest {
            return Err(too_long(field, longest));
        }
        let name: String = typed.nfc().collect();
        if name.is_empty() {
            return Err(InvalidField::new(field, "must not be empty"));
        }
        if name.chars().count() > longest {
            return Err(too_long(field, longest));
        }
        if name.chars().any(char::is_control) {
            return Err(InvalidField::new(field, "must not contain control characters"));
        }
        Ok(Self(name))
    }

    /// A name that was stored.
    #[must_use]
    pub fn from_stored(name: String) -> Self {
        Self(name)
    }

    /// The name's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn too_long(field: &'static str, longest: usize) -> InvalidField {
    InvalidField::new(field, format!("must have at most {longest} characters"))
}

/// Checks that a text can be an e-mail address: one `@`, something before it, a dotted domain after it. Whether
/// anybody reads mail there, only mail can tell.
///
/// # Errors
/// When it can't.
pub fn email(field: &'static str, typed: &str) -> Result<String, InvalidField> {
    let address = typed.trim();
    let fits = address.len() <= 254
        && !address.chars().any(|c| c.is_whitespace() || c.is_control())
        && address.split_once('@').is_some_and(|(mailbox, domain)| {
            (1..=64).contains(&mailbox.len())
                && !mailbox.starts_with('.')
                && !mailbox.ends_with('.')
                && !mailbox.contains("..")
                && !mailbox.contains(['<', '>', '(', ')', ',', ';', ':', '"', '[', ']', '\\'])
                && is_domain(domain)
        });
    if fits {
        Ok(address.to_owned())
    } else {
        Err(InvalidField::new(field, "must be an e-mail address"))
    }
}

fn is_domain(domain: &str) -> bool {
    domain.contains('.')
        && domain.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_alphanumeric() || c == '-')
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(typed: &str, expected: Result<&str, &str>) {
        let read = Name::parse("name", typed, MAX_NAME);
        let read = read
            .as_ref()
            .map(Name::as_str)
            .map_err(|error| error.reason.as_ref());
        assert_eq!(read, expected);
    }

    #[test]
    fn names_are_trimmed_of_unicode_white_space_and_composed() {
        check("  Acme\u{3000}\u{a0}\n", Ok("Acme"));
        check("Cafe\u{301}", Ok("Café"));
        check(&"e\u{301}".repeat(255), Ok("é".repeat(255).as_str()));
        // Four characters that become one.
        let longest = "\u{3b1}\u{314}\u{300}\u{345}".repeat(255);
        check(&longest, Ok("\u{1f83}".repeat(255).as_str()));
        // However much white space there is.
        let padded = format!("{}Acme{}", " ".repeat(20_000), "\u{3000}".repeat(20_000));
        check(&padded, Ok("Acme"));
    }

    #[test]
    fn names_are_bounded_and_without_control_characters() {
        check(" \u{2003} ", Err("must not be empty"));
        check(&"x".repeat(255), Ok("x".repeat(255).as_str()));
        check(&"x".repeat(256), Err("must have at most 255 characters"));
        check(&"x".repeat(100_000), Err("must have at most 255 characters"));
        check("a\u{0}b", Err("must not contain control characters"));
        check("a\nb", Err("must not contain control characters"));
        check("a\u{85}b", Err("must not contain control characters"));
    }

    #[test]
    fn an_address_has_a_mailbox_and_a_dotted_domain() {
        for good in [
            "a@b.co",
            "first.last+tag@sub.example.com",
            " padded@example.com ",
            "jörg@müller.example",
        ] {
            assert!(email("contact_email", good).is_ok(), "{good}");
        }
        for bad in [
            "", "a", "@b.co", "a@", "a@b", "a@@b.co", "a b@c.co", "a@b..co", "a@-b.co", "a@b.co.", "<a@b.co>",
        ] {
            assert!(email("contact_email", bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn reading_a_name_twice_is_reading_it_once(typed in "\\PC{0,300}") {
            if let Ok(name) = Name::parse("name", &typed, MAX_NAME) {
                prop_assert_eq!(Name::parse("name", name.as_str(), MAX_NAME), Ok(name));
            }
        }
    }
}
