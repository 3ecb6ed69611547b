//! Who may be a gateway, with what, and what each is sent: as gateways meet it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::gateway::{Gateway, Shown, hello};
use crate::plane::Plane;

mod certificates;
mod scopes;
mod tokens;

/// A token for a gateway: its id and its text.
async fn token(plane: &Plane, gateway: &str, body: Value) -> (String, Shown) {
    let made = plane
        .admin("POST", format!("/admin/gateways/{gateway}/tokens"))
        .json(&body);
    let made = made.send_among_gateways().await.expect(201).json();
    let id = made["token_id"].as_str().unwrap().to_owned();
    (id, Shown::token(made["token"].as_str().unwrap()))
}

/// What one is refused with.
async fn refused(plane: &Plane, gateway: &str, shown: &Shown) -> Status {
    match Gateway::join_by(plane, hello(gateway, 1), shown).await {
        Ok(_) => panic!("{gateway} was let in"),
        Err(status) => status,
    }
}

/// Lets a gateway in as soon as it is, within a few seconds: its last stream may not be over.
pub(crate) async fn let_in(plane: &Plane, gateway: &str, boot: u64, shown: &Shown) -> Gateway {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match Gateway::join_by(plane, hello(gateway, boot), shown).await {
            Ok(gateway) => return gateway,
            Err(status) => assert!(Instant::now() < deadline, "{status:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Settings of a gateway.
async fn say(plane: &Plane, gateway: &str, body: Value) -> String {
    let said = plane
        .admin("PUT", format!("/admin/gateways/{gateway}"))
        .json(&body);
    let said = said.send_among_gateways().await.expect(200);
    said.header("keyward-propagation").unwrap().to_owned()
}

#[tokio::test]
async fn a_blocked_gateway_is_cut_off_at_once_and_let_in_by_nothing() {
    let plane = Plane::start().await;
    let (_, own) = token(&plane, "edge-1", json!({})).await;
    let gateway = let_in(&plane, "edge-1", 1, &own).await;
    let other = Gateway::join(&plane, hello("edge-2", 1)).await.unwrap();
    let blocking = say(&plane, "edge-1", json!({"blocked": true}));
    let (_, end) = tokio::join!(blocking, gateway.end());
    assert_eq!(end.code(), Code::PermissionDenied, "{end:?}");
    assert!(end.message().contains("blocked"), "{end:?}");
    // It may serve on for its ten seconds: the next change says so.
    let propagation = say(&plane, "edge-3", json!({"blocked": true})).await;
    assert!(propagation.ends_with("missing=edge-1"), "{propagation}");
    let denied = refused(&plane, "edge-1", &own).await;
    assert_eq!(denied.code(), Code::PermissionDenied, "{denied:?}");
    let Err(denied) = Gateway::join(&plane, hello("edge-1", 1)).await else {
        panic!("a blocked gateway was let in with the shared token");
    };
    assert_eq!(denied.code(), Code::PermissionDenied, "{denied:?}");
    assert!(!other.has_ended());
    say(&plane, "edge-1", json!({"blocked": false})).await;
    let_in(&plane, "edge-1", 1, &own).await;
}

#[tokio::test]
async fn a_flood_of_wrong_tokens_asks_the_database_nothing() {
    let plane = Plane::start().await;
    let (_, right) = token(&plane, "edge-1", json!({})).await;
    drop(let_in(&plane, "edge-1", 1, &right).await);
    // Whoever asked it would be told that it is broken.
    plane
        .execute("ALTER TABLE gateway_tokens RENAME TO hidden", &[])
        .await;
    for _ in 0..50 {
        let minted = plane.running.registry().mint(
            keyward_contract::KeyKind::Gateway,
            keyward_contract::Environment::Production,
        );
        let wrong = Shown::token(minted.unwrap().plain.expose());
        let status = refused(&plane, "edge-1", &wrong).await;
        assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    }
    let_in(&plane, "edge-1", 1, &right).await;
}
