//! What a call shows of itself: the credentials in its headers, read but not yet looked up.
//!
//! A credential that occurs twice, or two account credentials that differ, is ambiguous and refused: never
//! choose silently. Values are compared and trimmed as bytes (only spaces and tabs), never split on commas. No
//! allocation, nothing is hashed here.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::rejection::Rejection;

/// A value longer than this is no key and is not hashed.
const MAX_CREDENTIAL_LENGTH: usize = 256;

/// The header names of each slot.
#[derive(Clone, Debug)]
pub struct CredentialNames {
    account: Vec<AccountSlot>,
    customer: Vec<HeaderName>,
}

#[derive(Clone, Debug)]
struct AccountSlot {
    name: HeaderName,
    scheme: Scheme,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    /// `Bearer <key>`
    Bearer,
    /// The key alone.
    Bare,
}

/// The account credential that was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credential<'a>(&'a [u8]);

impl<'a> Credential<'a> {
    /// The text, to be parsed and hashed; `None` when it is too long to be a key.
    #[must_use]
    pub fn text(&self) -> Option<&'a [u8]> {
        (self.0.len() <= MAX_CREDENTIAL_LENGTH).then_some(self.0)
    }
}

/// What a call shows: at most one credential a slot. [`CredentialNames::present`] makes one of a head, [`Presented::of`]
/// of what was read elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    account: Option<Credential<'a>>,
    customer: Option<Credential<'a>>,
}

impl<'a> Presented<'a> {
    /// What stands beside the call that it is for.
    #[must_use]
    pub fn of(account: Option<&'a [u8]>, customer: Option<&'a [u8]>) -> Self {
        let credential = |text| Credential(trim(text));
        Self {
            account: account.map(credential),
            customer: customer.map(credential),
        }
    }

    /// The account credential.
    #[must_use]
    pub fn account(&self) -> Option<Credential<'a>> {
        self.account
    }

    /// The customer credential.
    #[must_use]
    pub fn customer(&self) -> Option<Credential<'a>> {
        self.customer
    }
}

impl CredentialNames {
    /// Takes the names of the configuration. Names that can't be header names are left out; the configuration
    /// has refused them before.
    #[must_use]
    pub fn new(configured: &keyward_config::Credentials) -> Self {
        let name = |text: &String| HeaderName::from_bytes(text.as_bytes()).ok();
        let account = configured.account.iter().filter_map(name).map(|name| {
            let scheme = if name == http::header::AUTHORIZATION {
                Scheme::Bearer
            } else {
                Scheme::Bare
            };
            AccountSlot { name, scheme }
        });
        Self {
            account: account.collect(),
            customer: configured.customer.iter().filter_map(name).collect(),
        }
    }

    /// Every header name that carries a credential.
    pub fn iter(&self) -> impl Iterator<Item = &HeaderName> {
        self.account.iter().map(|slot| &slot.name).chain(&self.customer)
    }

    /// The headers in which a call shows an account's and an end customer's credential, whatever they are worth.
    #[must_use]
    pub fn sources(&self, headers: &HeaderMap) -> [Option<HeaderName>; 2] {
        let shows = |slot: &&AccountSlot| {
            let mut values = headers.get_all(&slot.name).iter();
            values.any(|value| slot.scheme.credential(value).is_some())
        };
        [
            self.account.iter().find(shows).map(|slot| slot.name.clone()),
            self.customer
                .iter()
                .find(|name| headers.contains_key(*name))
                .cloned(),
        ]
    }

    /// Reads the credentials of a call.
    ///
    /// # Errors
    /// `InvalidInput` when a credential occurs twice or two differ.
    pub fn present<'a>(&self, headers: &'a HeaderMap) -> Result<Presented<'a>, Rejection> {
        let mut account = None;
        for slot in &self.account {
            let Some(value) = single(headers, &slot.name)? else {
                continue;
            };
            let Some(credential) = slot.scheme.credential(value) else {
                continue;
            };
            match account {
                Some(other) if other != credential => {
                    return Err(Rejection::InvalidInput(
                        "two account credentials differ; send one",
                    ));
                }
                _ => account = Some(credential),
            }
        }
        let mut customer = None;
        for name in &self.customer {
            let Some(value) = single(headers, name)? else {
                continue;
            };
            let credential = Credential(trim(value.as_bytes()));
            match customer {
                Some(other) if other != credential => {
                    return Err(Rejection::InvalidInput(
                        "two customer credentials differ; send one",
                    ));
                }
                _ => customer = Some(credential),
            }
        }
        Ok(Presented { account, customer })
    }
}

impl Scheme {
    /// `Authorization` of another scheme than `Bearer` is no credential of ours.
    fn credential(self, value: &HeaderValue) -> Option<Credential<'_>> {
        let value = trim(value.as_bytes());
        match self {
            Self::Bare => Some(Credential(value)),
            Self::Bearer => {
                let (scheme, rest) = value.split_at_checked(6)?;
                let is_bearer =
                    scheme.eq_ignore_ascii_case(b"bearer") && matches!(rest, [] | [b' ' | b'\t', ..]);
                is_bearer.then(|| Credential(trim(rest)))
            }
        }
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Rejection> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (first, None) => Ok(first),
        _ => Err(Rejection::InvalidInput(
            "a credential header occurs twice; send it once",
        )),
    }
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names() -> CredentialNames {
        CredentialNames::new(&keyward_config::Credentials {
            account: vec!["authorization".into(), "x-api-key".into()],
            customer: vec!["x-customer-key".into()],
        })
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        })
    }

    #[track_caller]
    fn check(pairs: &[(&'static str, &'static str)], expected: Result<(Option<&str>, Option<&str>), &str>) {
        let headers = headers(pairs);
        let read = names().present(&headers).map(|presented| {
            let text = |credential: Option<Credential<'_>>| {
                credential.map(|c| String::from_utf8(c.0.to_vec()).unwrap())
            };
            (text(presented.account), text(presented.customer))
        });
        let read = read.map_err(|rejection| rejection.code());
        assert_eq!(
            read,
            expected.map(|(a, c)| (a.map(str::to_owned), c.map(str::to_owned)))
        );
    }

    #[test]
    fn each_slot_is_read_from_its_headers() {
        check(&[("authorization", "Bearer pk_1")], Ok((Some("pk_1"), None)));
        check(&[("authorization", "bEaReR \t pk_1 ")], Ok((Some("pk_1"), None)));
        check(
            &[("x-api-key", " pk_1\t"), ("x-customer-key", "ck_1")],
            Ok((Some("pk_1"), Some("ck_1"))),
        );
        check(&[("authorization", "Basic cGs6")], Ok((None, None)));
        check(&[("authorization", "Bearerpk_1")], Ok((None, None)));
        check(&[("authorization", "Bearer")], Ok((Some(""), None)));
        check(&[], Ok((None, None)));
    }

    #[test]
    fn the_same_credential_under_both_names_is_one() {
        check(
            &[("authorization", "Bearer pk_1"), ("x-api-key", "pk_1")],
            Ok((Some("pk_1"), None)),
        );
    }

    #[test]
    fn ambiguous_credentials_are_refused() {
        check(
            &[("authorization", "Bearer pk_1"), ("x-api-key", "pk_2")],
            Err("INVALID_INPUT"),
        );
        check(
            &[("x-api-key", "pk_1"), ("x-api-key", "pk_1")],
            Err("INVALID_INPUT"),
        );
        check(
            &[("x-customer-key", "ck_1"), ("x-customer-key", "ck_1")],
            Err("INVALID_INPUT"),
        );
    }

    #[test]
    fn a_value_is_never_split_on_commas() {
        check(&[("x-api-key", "pk_1, pk_2")], Ok((Some("pk_1, pk_2"), None)));
    }

    proptest! {
        #[test]
        fn no_header_value_makes_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                headers.insert("authorization", value.clone());
                headers.insert("x-customer-key", value);
            }
            let names = names();
            let presented = names.present(&headers).unwrap();
            prop_assert!(presented.customer().is_none_or(|c| c.text().is_none_or(|text| text.len() <= 256)));
        }
    }
}
