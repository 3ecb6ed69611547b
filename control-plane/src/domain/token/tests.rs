//! What tokens must be to be believed.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
const EXPECTED: Expected<'static> = Expected {
    issuer: "https://a",
    audience: "us",
    leeway: Duration::from_secs(30),
};

fn key(byte: u8) -> SigningKey {
    SigningKey::from_secret(&[byte; 32]).unwrap()
}

fn judge(token: &str, key: &SigningKey) -> Result<(), Flaw> {
    Unproven::parse(token.as_bytes())?
        .prove(&key.verifying().unwrap())?
        .check(EXPECTED, NOW)
}

/// A good token with these claims over the usual ones; null leaves one out.
fn claims(over: &Value) -> Value {
    let now = NOW.0 / 1_000;
    let mut claims =
        json!({"iss": "https://a", "aud": "us", "sub": "x", "iat": now, "nbf": now, "exp": now + 60});
    let members = claims.as_object_mut().unwrap();
    for (name, value) in over.as_object().unwrap() {
        members.insert(name.clone(), value.clone());
    }
    members.retain(|_, value| !value.is_null());
    claims
}

#[track_caller]
fn check(over: Value, expected: Result<(), Flaw>) {
    let key = key(1);
    let token = key.sign(&claims(&over)).unwrap();
    assert_eq!(judge(&token, &key), expected, "{over}");
}

#[test]
fn a_token_holds_for_us_and_in_its_time_with_thirty_seconds_of_leeway() {
    let now = NOW.0 / 1_000;
    check(json!({}), Ok(()));
    check(json!({"aud": ["them", "us"]}), Ok(()));
    check(json!({"aud": "them"}), Err(Flaw::Audience));
    check(json!({"aud": ["them"]}), Err(Flaw::Audience));
    check(json!({"aud": {"us": "us"}}), Err(Flaw::Audience));
    check(json!({"aud": null}), Err(Flaw::Audience));
    check(json!({"iss": "https://a/"}), Err(Flaw::Issuer));
    check(json!({"iss": ["https://a"]}), Err(Flaw::Issuer));
    check(json!({"iss": null}), Err(Flaw::Issuer));
    check(json!({"sub": null}), Err(Flaw::Subject));
    check(json!({"sub": ""}), Err(Flaw::Subject));
    check(json!({"sub": 7}), Err(Flaw::Subject));
    check(json!({"exp": now - 29}), Ok(()));
    check(json!({"exp": now - 30}), Err(Flaw::Expired));
    check(json!({"exp": null}), Err(Flaw::Times));
    check(json!({"exp": "never"}), Err(Flaw::Times));
    check(json!({"exp": -1}), Err(Flaw::Times));
    check(json!({"exp": 1e300}), Err(Flaw::Times));
    check(json!({"exp": i64::MAX}), Ok(()));
    check(json!({"nbf": now + 30}), Ok(()));
    check(json!({"nbf": now + 31}), Err(Flaw::NotYet));
    check(json!({"iat": now + 31}), Err(Flaw::NotYet));
    check(json!({"iat": now as f64 + 30.5}), Err(Flaw::NotYet));
    check(json!({"iat": "now"}), Err(Flaw::Times));
    check(json!({"nbf": null, "iat": null}), Ok(()));
    // What is expired and for somebody else is not said to be expired.
    check(json!({"exp": 1, "aud": "them"}), Err(Flaw::Audience));
}

#[test]
fn only_the_key_that_signed_proves_a_token_and_only_as_it_was_signed() {
    let (ours, other) = (key(1), key(2));
    let token = ours.sign(&claims(&json!({}))).unwrap();
    assert_eq!(judge(&token, &other), Err(Flaw::Signature));
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (head, body) = signed.split_once('.').unwrap();
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = part(claims(&json!({"sub": "somebody else"})));
    assert_eq!(
        judge(&format!("{head}.{claims}.{signature}"), &ours),
        Err(Flaw::Signature)
    );
    assert_eq!(judge(&format!("{signed}."), &ours), Err(Flaw::Signature));
    for alg in [
        "none", "None", "nOnE", "HS256", "HS512", "RS512", "PS256", "ES384", "eddsa", "",
    ] {
        let head = part(json!({"alg": alg}));
        for signature in ["", signature] {
            assert_eq!(
                judge(&format!("{head}.{body}.{signature}"), &ours),
                Err(Flaw::Algorithm),
                "{alg}"
            );
        }
    }
    // A known algorithm, but not the key's.
    let head = part(json!({"alg": "RS256", "kid": ours.id()}));
    assert_eq!(
        judge(&format!("{head}.{body}.{signature}"), &ours),
        Err(Flaw::Algorithm)
    );
    for crit in [json!([]), json!(["b64"]), json!("exp")] {
        let head = part(json!({"alg": "EdDSA", "crit": crit}));
        assert_eq!(
            judge(&format!("{head}.{body}.{signature}"), &ours),
            Err(Flaw::Critical)
        );
    }
}

#[test]
fn what_has_not_the_form_of_a_token_is_none() {
    let key = key(1);
    let token = key.sign(&claims(&json!({}))).unwrap();
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let head = part(r#"{"alg":"EdDSA"}"#);
    for bad in [
        String::new(),
        ".".into(),
        "..".into(),
        format!("{token}."),
        format!("{token}="),
        format!(".{token}"),
        token.replacen('.', "", 1),
        format!("{}.e30.", part("[]")),
        format!("{}.e30.", part(r#"{"alg":"EdDSA","alg":"EdDSA"}"#)),
        format!("{}.e30.", part(r#"{"alg":null}"#)),
        format!("{head}.{}.", part("[]")),
        format!("{head}.{}.", part("\"x\"")),
        format!("{head}.{}.", part(&"[".repeat(5_000))),
        format!("{head}.e30=."),
        format!("{head}.{}.", "A".repeat(LONGEST)),
    ] {
        assert_eq!(judge(&bad, &key), Err(Flaw::Malformed), "{bad}");
    }
}

#[test]
fn a_kind_of_token_is_taken_only_where_it_belongs() {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for (kind, ours, theirs) in [
        (json!("at+jwt"), true, true),
        (json!("AT+JWT"), true, true),
        (json!("application/at+jwt"), true, true),
        (json!("JWT"), false, true),
        (json!(null), false, true),
        (json!("logout+jwt"), false, false),
        (json!(""), false, false),
    ] {
        let text = format!("{}.e30.", part(json!({"alg": "EdDSA", "typ": kind})));
        let parse = || Unproven::parse(text.as_bytes()).unwrap();
        assert_eq!(parse().of_kind(&SigningKey::KINDS).is_ok(), ours, "{kind}");
        let kinds = [None, Some("jwt"), Some("at+jwt")];
        assert_eq!(parse().of_kind(&kinds).is_ok(), theirs, "{kind}");
    }
}

#[test]
fn a_key_set_is_made_of_the_keys_that_could_prove_a_token() {
    let (one, two) = (key(1), key(2));
    let set = json!({"keys": [
        {"kty": "oct", "kid": one.id(), "k": "AAAA", "alg": "HS256"},
        {"kty": "OKP", "crv": "X25519", "kid": one.id(), "x": one.jwk()["x"]},
        {"kty": "OKP", "crv": "Ed25519", "kid": "for-secrets", "use": "enc", "x": one.jwk()["x"]},
        {"kty": "OKP", "crv": "Ed25519", "kid": "misnamed", "alg": "RS256", "x": one.jwk()["x"]},
        {"kty": "RSA", "kid": "short", "n": "AQAB", "e": "AQAB"},
        {"kty": "EC", "crv": "P-256", "kid": "nowhere", "x": one.jwk()["x"], "y": one.jwk()["x"]},
        "nonsense",
        one.jwk(),
    ]});
    let only = KeySet::parse(set.to_string().as_bytes()).unwrap();
    let both = KeySet::parse(json!({"keys": [one.jwk(), two.jwk()]}).to_string().as_bytes()).unwrap();
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let found = |set: &KeySet, head: Value| {
        let text = format!("{}.e30.", part(head));
        set.of(&Unproven::parse(text.as_bytes()).unwrap()).is_some()
    };
    for id in [one.id(), "nowhere", "for-secrets", "misnamed", "short"] {
        assert_eq!(
            found(&only, json!({"alg": "EdDSA", "kid": id})),
            id == one.id(),
            "{id}"
        );
    }
    // Without an id only where there is no choice.
    assert!(found(&only, json!({"alg": "EdDSA"})));
    assert!(!found(&only, json!({"alg": "ES256"})));
    assert!(!found(&both, json!({"alg": "EdDSA"})));
    assert!(found(&both, json!({"alg": "EdDSA", "kid": two.id()})));
    for bad in [
        "",
        "[]",
        "{}",
        r#"{"keys":[]}"#,
        r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#,
    ] {
        assert!(KeySet::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

/// RFC 8037, appendix A.
#[test]
fn a_keys_id_is_its_thumbprint() {
    let secret = URL_SAFE_NO_PAD
        .decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
        .unwrap();
    let key = SigningKey::from_secret(&secret).unwrap();
    assert_eq!(key.jwk()["x"], "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
    assert_eq!(key.id(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = Unproven::parse(&bytes);
        let _ = KeySet::parse(&bytes);
    }

    #[test]
    fn no_json_makes_it_panic(head in ".{0,80}", body in "[ -~]{0,80}", signature in proptest::collection::vec(any::<u8>(), 0..80)) {
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let key = key(1).verifying().unwrap();
        for head in [head.as_str(), r#"{"alg":"EdDSA","kid":"x"}"#] {
            let text = format!("{}.{}.{}", part(head.as_bytes()), part(body.as_bytes()), part(&signature));
            if let Ok(token) = Unproven::parse(text.as_bytes()) {
                prop_assert!(token.prove(&key).is_err());
            }
        }
    }

    #[test]
    fn no_changed_byte_goes_unnoticed(at in 0usize..1_000, to in any::<u8>()) {
        let key = key(1);
        let token = key.sign(&claims(&json!({}))).unwrap();
        let mut changed = token.clone().into_bytes();
        let at = at % changed.len();
        prop_assume!(changed[at] != to);
        changed[at] = to;
        let judged = Unproven::parse(&changed).and_then(|token| token.prove(&key.verifying().unwrap()));
        prop_assert!(judged.is_err());
    }
}
