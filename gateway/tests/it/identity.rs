//! `Keyward-Identity`: what it says, who can check it, and how long it holds.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use keyward_contract::{AccountRecord, KeyKind, Record, UnixMillis};
use serde_json::Value;

use crate::cut::{put, put_key};
use crate::fixture::{Answer, Key, Keys, World, get, read_answer};

const SETTINGS: &str = "\
    [identity]\nkey_file = \"{folder}/new/identity.pem\"\nissuer = \"keyward.example\"\n\
    [[routes]]\npath = \"/\"\nupstream = \"api\"\nidentity_token = true\n\
    [[routes]]\npath = \"/account\"\nupstream = \"half\"\nrequire = \"account\"\nidentity_token = true\n\
    [[routes]]\npath = \"/bare\"\nupstream = \"api\"\nrequire = \"account\"\n";

struct Fixture {
    world: World,
    account: AccountRecord,
    key: Key,
    customer: Key,
}

fn fixture(change: impl FnOnce(&mut keyward_contract::KeyRecord)) -> Fixture {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, change);
    let customer = keys.key(KeyKind::Customer, &account, |_| {});
    let world = World::start(&keys, SETTINGS);
    Fixture {
        world,
        account,
        key,
        customer,
    }
}

impl Fixture {
    fn keys(&self) -> [(&str, &str); 2] {
        [
            ("x-api-key", self.key.text()),
            ("x-customer-key", self.customer.text()),
        ]
    }

    /// The claims of what the upstream was handed, checked by what the admin listener publishes.
    #[track_caller]
    fn verified(&self, answer: &Answer, audience: &str) -> Value {
        let token = answer.upstream_saw("keyward-identity").unwrap();
        let set: JwkSet = serde_json::from_slice(&self.world.admin("/.well-known/jwks.json").body).unwrap();
        let header = decode_header(&token).unwrap();
        let jwk = set.find(&header.kid.unwrap()).unwrap();
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[audience]);
        validation.set_issuer(&["keyward.example"]);
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        let decoded = decode::<Value>(&token, &DecodingKey::from_jwk(jwk).unwrap(), &validation);
        decoded.unwrap().claims
    }
}

fn unix_now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

#[test]
fn a_token_says_what_the_headers_say_and_the_published_key_proves_it() {
    let fixture = fixture(|_| {});
    let [key, customer] = fixture.keys();
    let answer = fixture
        .world
        .get("/", &[key, customer, ("keyward-identity", "forged")]);
    let claims = fixture.verified(&answer, "api");
    for (claim, header) in [
        ("sub", "keyward-account"),
        ("environment", "keyward-environment"),
        ("key_id", "keyward-key-id"),
        ("customer", "keyward-customer"),
        ("tier", "keyward-tier"),
        ("api_version", "keyward-api-version"),
    ] {
        assert_eq!(
            claims[claim].as_str(),
            answer.upstream_saw(header).as_deref(),
            "{claim}"
        );
        assert!(claims[claim].is_string());
    }
    let (made, ends) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
    assert_eq!(ends - made, 300);
    assert!((unix_now() - made).abs() <= 2);
    assert_eq!(claims.get("jti"), None);

    let account_alone = fixture.world.get("/account", &[key]);
    let claims = fixture.verified(&account_alone, "half");
    assert_eq!(claims.get("customer"), None);
    assert_eq!(
        fixture
            .world
            .get("/bare", &[key])
            .upstream_saw("keyward-identity"),
        None
    );
    // Another audience's token is no good.
    let token = account_alone.upstream_saw("keyward-identity");
    assert_ne!(token, answer.upstream_saw("keyward-identity"));
}

#[test]
fn a_token_is_signed_once_and_handed_on_until_a_record_says_otherwise() {
    let fixture = fixture(|_| {});
    let mut stream = fixture.world.connect();
    let mut call = || {
        stream.write_all(get("/", &fixture.keys()).as_bytes()).unwrap();
        read_answer(&mut stream)
    };
    let token = |answer: &Answer| answer.upstream_saw("keyward-identity").unwrap();
    let first = call();
    assert_eq!(token(&first), token(&call()));

    let mut account = fixture.account.clone();
    account.tier = "scale".into();
    put(&fixture.world, Record::Account(account));
    let second = call();
    assert_eq!(fixture.verified(&second, "api")["tier"], "scale");

    put_key(&fixture.world, &fixture.key, |key| {
        key.api_version = "2027-01-01".into()
    });
    let third = call();
    assert_eq!(fixture.verified(&third, "api")["api_version"], "2027-01-01");
    assert_eq!(fixture.verified(&third, "api")["tier"], "scale");

    // A key that is given an end: no token from then on goes beyond it.
    let end = unix_now() + 60;
    put_key(&fixture.world, &fixture.key, |key| {
        key.api_version = "2027-01-01".into();
        key.expires_at = Some(UnixMillis(end * 1_000 + 999));
    });
    assert_eq!(fixture.verified(&call(), "api")["exp"], end);
}

#[test]
fn a_token_never_outlives_the_rights_that_it_tells_of() {
    let end = unix_now() + 30;
    let fixture = fixture(|key| {
        key.rotated_at = Some(UnixMillis(1_768_819_200_000));
        key.expires_at = Some(UnixMillis(end * 1_000 + 500));
    });
    let [key, customer] = fixture.keys();
    let claims = fixture.verified(&fixture.world.get("/account", &[key]), "half");
    assert_eq!(claims["exp"], end);

    put_key(&fixture.world, &fixture.customer, |key| {
        key.expires_at = Some(UnixMillis((end - 10) * 1_000));
    });
    let claims = fixture.verified(&fixture.world.get("/", &[key, customer]), "api");
    assert_eq!(claims["exp"], end - 10);

    let mut account = fixture.account.clone();
    account.contract.end = Some(UnixMillis((end - 15) * 1_000));
    put(&fixture.world, Record::Account(account));
    let claims = fixture.verified(&fixture.world.get("/account", &[key]), "half");
    assert_eq!(claims["exp"], end - 15);
}

#[test]
fn the_signing_key_is_made_once_and_others_are_published_beside_it() {
    let mut fixture = fixture(|_| {});
    let kids = |world: &World| -> Vec<String> {
        let answer = world.admin("/.well-known/jwks.json");
        assert_eq!(answer.header("content-type"), Some("application/jwk-set+json"));
        assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
        let keys = answer.json()["keys"].as_array().unwrap().clone();
        assert!(
            keys.iter()
                .all(|key| key.get("d").is_none() && key["crv"] == "Ed25519")
        );
        keys.iter()
            .map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect()
    };
    let before = kids(&fixture.world);
    assert_eq!(before.len(), 1);
    let file = fixture.world.folder().join("new/identity.pem");
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);

    // The old key goes aside, a new one signs: both are published, and what the old one signed still holds.
    let [key, customer] = fixture.keys();
    let old = fixture.world.get("/", &[key, customer]);
    fixture.world.drain();
    std::fs::rename(&file, fixture.world.folder().join("old.pem")).unwrap();
    let more = SETTINGS.replace("issuer", "other_key_files = [\"{folder}/old.pem\"]\nissuer");
    fixture.world.open(&more);
    let after = kids(&fixture.world);
    assert_eq!((after.len(), &after[1]), (2, &before[0]));
    let [key, customer] = fixture.keys();
    let new = fixture.world.get("/", &[key, customer]);
    assert_eq!(
        fixture.verified(&new, "api")["sub"],
        fixture.verified(&old, "api")["sub"]
    );
    fixture.world.drain();
    fixture.world.open(&more);
    assert_eq!(kids(&fixture.world), after);
}

#[test]
fn where_no_route_hands_identities_on_there_is_no_key() {
    let world = World::start(&Keys::new(), "");
    assert_eq!(
        world.admin("/.well-known/jwks.json").json(),
        serde_json::json!({ "keys": [] })
    );
}
