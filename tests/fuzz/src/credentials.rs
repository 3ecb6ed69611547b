//! The credentials in a head: the same verdict in whatever order fields and names stand, never one of two.

use http::{HeaderMap, HeaderName, HeaderValue};
use keyward_config::Credentials;
use keyward_gateway::credential::CredentialNames;

const ACCOUNT: [&str; 2] = ["authorization", "x-api-key"];
const CUSTOMER: [&str; 2] = ["x-customer-key", "x-end-customer"];
const NAMES: [&str; 8] = [
    "Authorization",
    "authorization",
    "X-API-Key",
    "x-api-key",
    "x-customer-key",
    "X-End-Customer",
    "accept",
    "x_api_key",
];

/// What a call shows, or that it is refused.
type Verdict = Option<(Option<Vec<u8>>, Option<Vec<u8>>)>;

/// Lines: a byte that says which name, then its value.
pub fn check(bytes: &[u8]) {
    let mut fields = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        if let [name, value @ ..] = line
            && let Ok(value) = HeaderValue::from_bytes(value)
        {
            fields.push((NAMES[usize::from(*name) % NAMES.len()], value));
        }
    }
    let verdict = verdict(&fields, &ACCOUNT, &CUSTOMER);
    assert_eq!(verdict, reference(&fields));
    let turned: Vec<_> = fields.iter().rev().cloned().collect();
    assert_eq!(verdict, self::verdict(&turned, &ACCOUNT, &CUSTOMER));
    let (mut account, mut customer) = (ACCOUNT, CUSTOMER);
    account.reverse();
    customer.reverse();
    assert_eq!(verdict, self::verdict(&fields, &account, &customer));
}

fn verdict(fields: &[(&str, HeaderValue)], account: &[&str], customer: &[&str]) -> Verdict {
    let texts = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let names = CredentialNames::new(&Credentials {
        account: texts(account),
        customer: texts(customer),
    });
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
            headers.append(name, value.clone());
        }
    }
    let presented = names.present(&headers).ok()?;
    // What is too long to be a key is nobody's: its length is enough to know.
    let shown = |credential: Option<keyward_gateway::credential::Credential<'_>>| {
        credential.map(|credential| credential.text().map_or_else(|| vec![0; 257], <[u8]>::to_vec))
    };
    Some((shown(presented.account()), shown(presented.customer())))
}

fn reference(fields: &[(&str, HeaderValue)]) -> Verdict {
    let of = |name: &str| {
        let mut values = fields
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name));
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(()),
            (value, None) => Ok(value.map(|(_, value)| trimmed(value.as_bytes()))),
        }
    };
    let mut found = [None, None];
    for (slot, names) in [ACCOUNT, CUSTOMER].into_iter().enumerate() {
        for name in names {
            let Some(value) = of(name).ok()? else { continue };
            let value = if name == "authorization" {
                let lower = value.to_ascii_lowercase();
                if lower != b"bearer" && !lower.starts_with(b"bearer ") && !lower.starts_with(b"bearer\t") {
                    continue;
                }
                trimmed(&value[6..])
            } else {
                value
            };
            if found[slot].as_ref().is_some_and(|other| *other != value) {
                return None;
            }
            found[slot] = Some(value);
        }
    }
    let shown =
        |value: Option<Vec<u8>>| value.map(|value| if value.len() > 256 { vec![0; 257] } else { value });
    let [account, customer] = found;
    Some((shown(account), shown(customer)))
}

fn trimmed(value: &[u8]) -> Vec<u8> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let Some(first) = value.iter().position(|byte| !is_space(byte)) else {
        return Vec::new();
    };
    let last = value.iter().rposition(|byte| !is_space(byte)).unwrap_or(first);
    value[first..=last].to_vec()
}
