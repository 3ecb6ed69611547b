//! `GET /.well-known/jwks.json`

use std::time::Duration;

use insta::assert_json_snapshot;
use keyward_control_plane::ControlPlane;
use keyward_control_plane::operations::tokens::rotation;
use keyward_control_plane::store::signing_keys;
use serde_json::Value;

use crate::plane::Plane;
use crate::tokens::{fetch, kid, status};

const PATH: &str = "/.well-known/jwks.json";
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

async fn published(plane: &Plane) -> Vec<String> {
    let set = plane.call("GET", PATH).send().await.expect(200).json();
    let keys = set["keys"].as_array().unwrap();
    keys.iter()
        .map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}

async fn rotate(plane: &Plane) {
    rotation::rotate(plane.running.registry()).await.unwrap();
}

#[tokio::test]
async fn it_shows_public_keys_and_nothing_else() {
    let plane = Plane::start().await;
    let answer = plane.call("GET", PATH).send().await.expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_json_snapshot!(answer.json(), {".keys[].x" => "[x]", ".keys[].kid" => "[kid]"}, @r#"
    {
      "keys": [
        {
          "kty": "OKP",
          "crv": "Ed25519",
          "x": "[x]",
          "kid": "[kid]",
          "alg": "EdDSA",
          "use": "sig"
        }
      ]
    }
    "#);
    let refused = plane.call("DELETE", PATH).send().await.expect(405);
    assert_eq!(refused.header("allow"), Some("GET,HEAD"));
}

#[tokio::test]
async fn a_key_is_published_before_it_signs_and_until_its_last_token_has_ended() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let first = published(&plane).await;
    assert_eq!(first.len(), 1);
    plane.advance(29 * DAY);
    rotate(&plane).await;
    assert_eq!(published(&plane).await, first, "too early");

    plane.advance(13 * HOUR);
    rotate(&plane).await;
    rotate(&plane).await;
    let both = published(&plane).await;
    assert_eq!((both.len(), &both[0]), (2, &first[0]));
    plane.advance(11 * HOUR);
    let token = fetch(&plane, &company.id, &company.live).await;
    assert_eq!(kid(&token), both[0], "the new key signs before its time");

    plane.advance(HOUR + Duration::from_secs(40));
    rotate(&plane).await;
    assert_eq!(published(&plane).await, both, "the old key's tokens still live");
    let newer = fetch(&plane, &company.id, &company.live).await;
    assert_eq!(kid(&newer), both[1]);
    assert_eq!(status(&plane, &newer).await, 200);
    assert_eq!(status(&plane, &token).await, 401, "an hour has passed");

    plane.advance(2 * HOUR);
    rotate(&plane).await;
    assert_eq!(published(&plane).await, both[1..]);
}

#[tokio::test]
async fn a_token_outlives_the_rotation_of_its_key() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    plane.advance(29 * DAY + 13 * HOUR);
    rotate(&plane).await;
    plane.advance(12 * HOUR - HOUR / 2);
    let token = fetch(&plane, &company.id, &company.live).await;
    plane.advance(HOUR / 2 + Duration::from_secs(60));
    rotate(&plane).await;
    assert_ne!(kid(&fetch(&plane, &company.id, &company.live).await), kid(&token));
    assert_eq!(status(&plane, &token).await, 200);
}

#[tokio::test]
async fn of_control_planes_that_rotate_at_once_one_wins() {
    let plane = Plane::start().await;
    plane.advance(30 * DAY);
    let registry = plane.running.registry();
    let rotations = (0..8).map(|_| rotation::rotate(registry));
    for done in futures_util::future::join_all(rotations).await {
        done.unwrap();
    }
    assert_eq!(published(&plane).await.len(), 2);
}

#[tokio::test]
async fn control_planes_of_one_database_take_each_others_tokens() {
    let issuer = "https://keys.example.com";
    let plane = Plane::start_with(|config| config.auth.issuer = Some(issuer.into())).await;
    let company = plane.company("Acme").await;
    let mut config = crate::plane::config(&plane.folder);
    config.auth.issuer = Some(issuer.into());
    let other = ControlPlane::start(config).await.unwrap();
    let token = fetch(&plane, &company.id, &company.live).await;
    let client = keyward_harness::http_client().unwrap();
    let get = |path: &str| {
        client
            .get(format!("http://{}{path}", other.api))
            .bearer_auth(&token)
            .send()
    };
    assert_ne!(get("/keys").await.unwrap().status(), 401);
    let set: Value = get(PATH).await.unwrap().json().await.unwrap();
    assert_eq!(set["keys"].as_array().unwrap().len(), 1);
    other.shutdown().await;
}

#[tokio::test]
async fn no_secret_part_lies_open_in_the_database() {
    let plane = Plane::start().await;
    let store = &plane.running.registry().store;
    let keys = signing_keys::all(store.readers()).await.unwrap();
    // A nonce of 24 bytes, the secret's 32, and a tag of 16.
    assert_eq!(keys[0].sealed.len(), 24 + 32 + 16);
}
