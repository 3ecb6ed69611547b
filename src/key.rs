//! `keyward key`: the text of keys. Touches no database and no network.

use std::io::{self, IsTerminal, Read};

use anyhow::Context;
use keyward_contract::{Environment, KeyKind, PlainKey};
use secrecy::{ExposeSecret, SecretString};

use crate::cli::{MintedEnvironment, MintedKind};
use crate::failure::Failure;
use crate::output;

/// More than any key with white space around it.
const LONGEST_INPUT: u64 = 4096;

/// Prints a new key.
pub(crate) fn mint(kind: MintedKind, environment: Option<MintedEnvironment>) -> Result<(), Failure> {
    let environment = environment.map_or(Environment::Production, Environment::from);
    let key = PlainKey::mint(kind.into(), environment).context("the system gave no randomness")?;
    output::say(key.expose());
    Ok(())
}

/// Says what a key is.
pub(crate) fn inspect(key: Option<SecretString>) -> Result<(), Failure> {
    let text = match key.filter(|key| key.expose_secret() != "-") {
        Some(key) => key,
        None => read(io::stdin().lock())?,
    };
    output::show(&described(text.expose_secret())?);
    Ok(())
}

fn read(input: impl Read) -> anyhow::Result<SecretString> {
    if io::stdin().is_terminal() {
        output::complain(&"type the key, then Enter and Ctrl-D");
    }
    let mut text = String::new();
    let read = input.take(LONGEST_INPUT).read_to_string(&mut text);
    // Before any error: what was read is wiped with it.
    let text = SecretString::from(text);
    read.context("can't read the key from standard input")?;
    Ok(text)
}

/// Four lines of which none has more of the key than its mask.
fn described(text: &str) -> anyhow::Result<String> {
    let key = PlainKey::parse(text.trim()).context("this is no key")?;
    let shape = key.shape();
    let kind = match shape.kind {
        KeyKind::Account => "account key",
        KeyKind::Customer => "customer key",
        KeyKind::Admin => "admin key",
        KeyKind::Gateway => "gateway token",
    };
    let environment = shape.environment.map_or("none", Environment::as_str);
    let mask = key.mask();
    Ok(format!(
        "kind         {kind}\nenvironment  {environment}\nchecksum     ok\nmask         {mask}\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_described_and_never_shown() {
        let key = PlainKey::mint(KeyKind::Customer, Environment::Test).unwrap();
        let described = described(&format!("  {}\n", key.expose())).unwrap();
        assert!(!described.contains(key.expose()));
        let mask = key.mask();
        assert_eq!(
            described,
            format!("kind         customer key\nenvironment  test\nchecksum     ok\nmask         {mask}\n")
        );
    }

    #[test]
    fn an_admin_key_has_no_environment() {
        let key = PlainKey::mint(KeyKind::Admin, Environment::Production).unwrap();
        assert!(described(key.expose()).unwrap().contains("environment  none\n"));
    }

    #[test]
    fn a_mistyped_key_is_told_without_being_quoted() {
        let key = PlainKey::mint(KeyKind::Account, Environment::Production).unwrap();
        let mut mistyped = key.expose().to_owned();
        let last = mistyped.pop().unwrap();
        mistyped.push(if last == 'a' { 'b' } else { 'a' });
        let message = format!("{:#}", described(&mistyped).unwrap_err());
        assert_eq!(
            message,
            "this is no key: the key's checksum does not fit: it was mistyped or cut"
        );
    }

    #[test]
    fn no_more_is_read_than_a_key_can_be() {
        let text = read(io::repeat(b'a')).unwrap();
        assert_eq!(text.expose_secret().len() as u64, LONGEST_INPUT);
    }
}
