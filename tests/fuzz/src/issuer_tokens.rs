//! What an issuer of tokens hands out, and the tokens themselves: nothing is proven but what was signed, for that key and
//! algorithm, and only what was signed is believed.

use std::sync::LazyLock;

use keyward_control_plane::domain::token::{Algorithm, KeySet, LONGEST, SigningKey, Unproven};
use serde_json::{Value, json};

static KEY: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::from_secret(&[7; 32]).unwrap_or_else(|| panic!("no key")));
static TOKEN: LazyLock<String> = LazyLock::new(|| {
    KEY.sign(&json!({"iss": "https://a", "aud": "us", "sub": "x", "exp": 1_800_000_000}))
        .unwrap_or_default()
});

/// Changes of a good token, three bytes each (where, how, with what); or, after a `j`, a set of keys; or, after a `t`, a
/// token.
pub fn check(bytes: &[u8]) {
    match bytes {
        [b'j', set @ ..] => key_set(set),
        [b't', token @ ..] => token_is_read(token),
        changes => changed(changes),
    }
}

fn key_set(set: &[u8]) {
    let Ok(keys) = KeySet::parse(set) else { return };
    assert!(!keys.is_empty());
    let lenient: Value = serde_json::from_slice(set).unwrap_or_default();
    let named = lenient["keys"].as_array().map_or(&[][..], Vec::as_slice);
    assert!(!named.is_empty(), "a key out of nothing");
    // A key of our own is among them only when the set has it.
    let own = KEY.jwk();
    if let Ok(token) = Unproven::parse(TOKEN.as_bytes())
        && let Some(key) = keys.of(&token)
    {
        let is_proven = token.prove(key).is_ok();
        let is_there = named.iter().any(|key| key["x"] == own["x"]);
        assert!(!is_proven || (is_there && key.algorithm() == Algorithm::EdDsa));
    }
}

fn token_is_read(token: &[u8]) {
    let Ok(read) = Unproven::parse(token) else { return };
    assert!(token.len() <= LONGEST);
    assert_eq!(token.split(|byte| *byte == b'.').count(), 3);
    let algorithm = read.algorithm();
    if token != TOKEN.as_bytes() {
        not_proven(read);
    }
    assert!(matches!(
        algorithm,
        Algorithm::Rs256 | Algorithm::Es256 | Algorithm::EdDsa
    ));
}

fn changed(changes: &[u8]) {
    let mut token = TOKEN.clone().into_bytes();
    for [at, how, value] in changes.as_chunks::<3>().0.iter().take(16) {
        let at = usize::from(*at) * (usize::from(how >> 2) + 1) % token.len();
        match how % 4 {
            0 => token[at] ^= value,
            1 => token[at] = *value,
            2 => token.insert(at, *value),
            _ => drop(token.remove(at)),
        }
    }
    let Ok(read) = Unproven::parse(&token) else { return };
    if token != TOKEN.as_bytes() {
        not_proven(read);
    } else if let Some(key) = KEY.verifying() {
        assert_eq!(
            read.prove(&key).map(|claims| claims.subject().to_owned()),
            Ok("x".to_owned())
        );
    }
}

fn not_proven(read: Unproven<'_>) {
    if let Some(key) = KEY.verifying() {
        assert!(read.prove(&key).is_err(), "it was never signed");
    }
}
