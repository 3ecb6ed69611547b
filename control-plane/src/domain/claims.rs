//! What claims let their holder do on surface 4. They are compared as exact texts: `issuer_dev` and `Issuer_Dev `
//! say nothing to us.

use std::collections::HashSet;

use super::refusal::InvalidField;

/// Sees the keys of an environment's kind in every account, and makes none.
pub const SUPER_DEV: &str = "Super_Dev";
/// See their account's keys.
pub const ADMINS: [&str; 2] = ["Issuer_Admin", "Verifier_Admin"];
/// See their own keys.
pub const DEVELOPERS: [&str; 2] = ["Issuer_Dev", "Verifier_Dev"];

const MAX_CLAIMS: usize = 50;
const MAX_CLAIM: usize = 100;

/// Which keys somebody sees, from the narrowest sight to the widest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sight {
    /// Its own.
    Own,
    /// Those of its account.
    Account,
    /// Those of every account.
    Everywhere,
}

impl Sight {
    /// The widest sight among these claims; `None` when there is none among them.
    pub fn among<'a>(claims: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        claims.into_iter().filter_map(Self::of).max()
    }

    fn of(claim: &str) -> Option<Self> {
        if claim == SUPER_DEV {
            Some(Self::Everywhere)
        } else if ADMINS.contains(&claim) {
            Some(Self::Account)
        } else if DEVELOPERS.contains(&claim) {
            Some(Self::Own)
        } else {
            None
        }
    }
}

/// Whether one of these claims lets its holder make keys: all but `Super_Dev` do.
pub fn may_create<'a>(claims: impl IntoIterator<Item = &'a str>) -> bool {
    claims
        .into_iter()
        .any(|claim| ADMINS.contains(&claim) || DEVELOPERS.contains(&claim))
}

/// Reads claims that an operator gives a user. They are kept as they are, since they are compared so; ones that we
/// don't know may be somebody else's.
///
/// # Errors
/// When there are too many, or one is empty, too long, has control characters or occurs twice.
pub fn parse(field: &'static str, texts: &[&str]) -> Result<Vec<String>, InvalidField> {
    let invalid = |reason: &str| Err(InvalidField::new(field, reason.to_owned()));
    if texts.len() > MAX_CLAIMS {
        return invalid("must have at most 50 entries");
    }
    let mut seen = HashSet::new();
    for text in texts {
        if text.is_empty() || text.chars().count() > MAX_CLAIM {
            return invalid("entries must have 1 to 100 characters");
        }
        if text.chars().any(char::is_control) {
            return invalid("entries must not contain control characters");
        }
        if !seen.insert(*text) {
            return invalid("must not hold an entry twice");
        }
    }
    Ok(texts.iter().map(|text| (*text).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(claims: &[&str], sight: Option<Sight>, create: bool) {
        assert_eq!(Sight::among(claims.iter().copied()), sight, "{claims:?}");
        assert_eq!(may_create(claims.iter().copied()), create, "{claims:?}");
    }

    #[test]
    fn the_widest_of_several_claims_decides() {
        check(&[], None, false);
        check(&["Super_Dev"], Some(Sight::Everywhere), false);
        check(&["Issuer_Admin"], Some(Sight::Account), true);
        check(&["Verifier_Admin"], Some(Sight::Account), true);
        check(&["Issuer_Dev"], Some(Sight::Own), true);
        check(&["Verifier_Dev"], Some(Sight::Own), true);
        check(&["Issuer_Dev", "Verifier_Admin"], Some(Sight::Account), true);
        check(&["Issuer_Dev", "Super_Dev"], Some(Sight::Everywhere), true);
    }

    #[test]
    fn claims_are_exact_texts() {
        for near in [
            "super_dev",
            "Super_Dev ",
            "SUPER_DEV",
            "Super",
            "Issuer_Admins",
            "Issuer",
            "",
        ] {
            check(&[near], None, false);
        }
    }

    #[test]
    fn what_an_operator_gives_is_bounded() {
        let read = |texts: &[&str]| parse("claims", texts).map_err(|error| error.reason.into_owned());
        let (fits, long) = ("x".repeat(100), "x".repeat(101));
        assert_eq!(
            read(&["Super_Dev", " kept as it is "]),
            Ok(vec!["Super_Dev".to_owned(), " kept as it is ".to_owned()])
        );
        assert!(read(&[&fits]).is_ok());
        let many: Vec<_> = (0..51).map(|n| n.to_string()).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert!(read(&many[..50]).is_ok());
        for bad in [&many[..], &[""], &[long.as_str()], &["a\u{0}b"], &["a", "b", "a"]] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
