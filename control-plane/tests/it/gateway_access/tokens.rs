//! Tokens: of one gateway, and the one that all may share.

use std::time::{Duration, Instant};

use serde_json::json;
use tonic::Code;

use super::{let_in, refused, token};
use crate::gateway::{Gateway, Shown, hello};
use crate::plane::Plane;

#[tokio::test]
async fn a_token_lets_in_the_gateway_that_it_belongs_to_and_no_other() {
    let plane = Plane::start().await;
    let (_, own) = token(&plane, "edge-1", json!({})).await;
    let _gateway = let_in(&plane, "edge-1", 1, &own).await;
    let others = refused(&plane, "edge-2", &own).await;
    assert_eq!(others.code(), Code::PermissionDenied, "{others:?}");
    let wrong = "gw_00000000000000000000000000000000000000";
    for shown in [Shown::token(wrong), Shown::token("nonsense"), Shown::default()] {
        let status = refused(&plane, "edge-3", &shown).await;
        assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
        assert!(!status.message().contains(wrong));
    }
    let path = "/admin/gateways/edge-1/tokens";
    plane
        .eventually(async || {
            let list = plane.admin("GET", path).send().await.expect(200).json();
            list["tokens"][0]["last_used_at"].is_string()
        })
        .await;
}

#[tokio::test]
async fn a_token_is_rotated_under_a_living_stream_and_the_old_one_ends_its_own_at_once() {
    let plane = Plane::start().await;
    let mut old = token(&plane, "edge-1", json!({})).await;
    let mut gateway = let_in(&plane, "edge-1", 1, &old.1).await;
    let mut took = Vec::new();
    for boot in 2..=6 {
        let new = token(&plane, "edge-1", json!({})).await;
        assert!(!gateway.has_ended());
        let path = format!("/admin/gateways/edge-1/tokens/{}", old.0);
        let began = Instant::now();
        let deleting = plane.admin("DELETE", path).send_among_gateways();
        let (deleted, end) = tokio::join!(deleting, async {
            let end = gateway.end().await;
            took.push(began.elapsed());
            end
        });
        deleted.expect(204);
        assert_eq!(end.code(), Code::Unauthenticated, "{end:?}");
        let dead = refused(&plane, "edge-1", &old.1).await;
        assert_eq!(dead.code(), Code::Unauthenticated, "{dead:?}");
        gateway = let_in(&plane, "edge-1", boot, &new.1).await;
        old = new;
    }
    took.sort();
    // Looking once a second would take half of one.
    assert!(took[2] < Duration::from_millis(250), "{took:?}");
}

#[tokio::test]
async fn a_token_that_has_expired_ends_its_stream_and_lets_nobody_in() {
    let plane = Plane::start().await;
    let (_, shown) = token(&plane, "edge-1", json!({"expires_at": "2099-01-01"})).await;
    let gateway = let_in(&plane, "edge-1", 1, &shown).await;
    plane.advance(Duration::from_secs(100 * 366 * 86_400));
    let end = gateway.end().await;
    assert_eq!(end.code(), Code::Unauthenticated, "{end:?}");
    assert!(end.message().contains("expired"), "{end:?}");
    let status = refused(&plane, "edge-1", &shown).await;
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
}

#[tokio::test]
async fn the_shared_token_is_changed_without_a_restart_and_both_work_meanwhile() {
    let plane = Plane::start().await;
    let file = plane.folder.path().join("gateway.token");
    let old = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    let new = "bmV3IG5ldyBuZXcgbmV3IG5ldyBuZXcgbmV3IG5ldyE=";
    let first = Gateway::join(&plane, hello("edge-1", 1)).await.unwrap();
    std::fs::write(&file, format!("{new}\n{old}\n")).unwrap();
    let second = let_in(&plane, "edge-2", 1, &Shown::token(new)).await;
    let third = let_in(&plane, "edge-3", 1, &Shown::token(&old)).await;
    // Nonsense changes nothing.
    std::fs::write(&file, "x\n").unwrap();
    std::fs::write(&file, format!("{new}\n")).unwrap();
    for old in [first, third] {
        let end = old.end().await;
        assert_eq!(end.code(), Code::Unauthenticated, "{end:?}");
    }
    assert!(!second.has_ended());
    let status = refused(&plane, "edge-1", &Shown::token(&old)).await;
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
}

#[tokio::test]
async fn the_shared_token_can_be_turned_off() {
    let plane = Plane::start().await;
    let shared = std::fs::read_to_string(plane.folder.path().join("gateway.token")).unwrap();
    let shared = Shown::token(shared.trim());
    let (_, own) = token(&plane, "edge-1", json!({})).await;
    let mut plane = plane;
    plane.config.sync.shared_token = false;
    let plane = plane.restart().await;
    let status = refused(&plane, "edge-2", &shared).await;
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    let_in(&plane, "edge-1", 1, &own).await;
}
