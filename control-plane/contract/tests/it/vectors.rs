//! `vectors/keys.json` was made by another implementation, for whoever writes a third: a change of the key format,
//! the checksum, the mask or the digest would orphan every key that was ever issued.

use keyward_contract::{DigestKey, KeyKind, KeyShape, MalformedKey, PlainKey};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../vectors/keys.json")).unwrap()
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap()
}

#[test]
fn every_published_key_is_read_masked_and_digested_as_published() {
    let vectors = vectors();
    let digest_key = hex::decode(text(&vectors, "digest_key")).unwrap();
    let digest_key = DigestKey::from_bytes(digest_key.try_into().unwrap());
    let rows = vectors["keys"].as_array().unwrap();
    for row in rows {
        let key = PlainKey::parse(text(row, "key")).unwrap();
        let kind = match key.shape().kind {
            KeyKind::Account => "account",
            KeyKind::Customer => "customer",
            KeyKind::Admin => "admin",
            KeyKind::Gateway => "gateway",
        };
        assert_eq!(kind, text(row, "kind"));
        let environment = key.shape().environment.map(|environment| environment.as_str());
        assert_eq!(environment, row["environment"].as_str());
        assert!(key.expose().ends_with(text(row, "checksum")));
        assert_eq!(key.mask().as_str(), text(row, "mask"));
        let digest = digest_key.digest(key.expose().as_bytes());
        assert_eq!(hex::encode(digest.as_bytes()), text(row, "digest"));
    }
    assert!(rows.len() >= 5);
}

#[test]
fn every_published_text_that_is_no_key_is_refused_for_its_reason() {
    let vectors = vectors();
    let rows = vectors["malformed"].as_array().unwrap();
    for row in rows {
        let expected = match text(row, "reason") {
            "prefix" => MalformedKey::Prefix,
            "length" => MalformedKey::Length,
            "alphabet" => MalformedKey::Alphabet,
            "checksum" => MalformedKey::Checksum,
            other => panic!("{other}"),
        };
        let read = KeyShape::parse(text(row, "text").as_bytes());
        assert_eq!(read, Err(expected), "{row}");
    }
    assert!(rows.len() >= 10);
}
