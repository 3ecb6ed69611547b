//! `DELETE /admin/customers/{customer_id}/users/{user_id}`

use keyward_contract::{KeyState, Record};
use serde_json::json;

use super::{UNKNOWN, audited, cancel, make, one, users};
use crate::plane::Plane;
use crate::promises::change;
use crate::user_keys::{PATH, Person, create, person};

#[tokio::test]
async fn a_deleted_user_is_gone_and_its_keys_are_revoked_in_the_same_revision() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let (ada, bea) = (
        person(&plane, &company.id, &["Issuer_Admin"]).await,
        person(&plane, &company.id, &["Issuer_Admin"]).await,
    );
    let mut of_ada = Vec::new();
    for name in ["one", "two", "three"] {
        of_ada.push(create(&plane, &ada, name).await);
    }
    let of_bea = create(&plane, &bea, "bea's").await;
    // One is switched off, one is deleted already.
    let path = |key: &serde_json::Value| format!("{PATH}/{}", key["id"]);
    let off = json!({"status": "inactive"});
    ada.call(&plane, "PATCH", path(&of_ada[1]))
        .json(&off)
        .send()
        .await
        .expect(200);
    ada.call(&plane, "DELETE", path(&of_ada[2]))
        .send()
        .await
        .expect(204);

    let user = json!({"user_id": ada.id});
    let answer = plane
        .admin("DELETE", one(&company.id, &user))
        .send()
        .await
        .expect(204);
    assert_eq!(answer.text, "");
    let records = change(&plane, answer.header("keyward-revision").unwrap()).await;
    // Its credential of another surface, and the two that surface 4 had left.
    assert_eq!(records.len(), 3);
    for record in records {
        assert!(matches!(record, Record::Key(key) if key.state == KeyState::Revoked));
    }
    let event = audited(&plane, "user.deleted").await;
    assert_eq!(event["before"]["sub"], ada.sub);
    assert_eq!(event["after"], json!({"status": "deleted", "revoked_keys": 3}));

    for dead in [&ada.key, of_ada[0]["rawKey"].as_str().unwrap()] {
        plane
            .call("GET", PATH)
            .header("x-api-key", dead)
            .send()
            .await
            .expect(401);
    }
    let left = bea.call(&plane, "GET", PATH).send().await.expect(200).json();
    let left: Vec<_> = left.as_array().unwrap().iter().map(|key| &key["id"]).collect();
    assert_eq!(left, [&of_bea["id"]]);
    let again = plane.admin("DELETE", one(&company.id, &user)).send().await;
    again.expect_error(404, "not_found");
}

#[tokio::test]
async fn who_is_not_there_is_not_deleted() {
    let plane = Plane::start().await;
    let (acme, other) = (plane.company("Acme").await, plane.company("Other").await);
    let made = make(&plane, &acme.id, &[]).await;
    for path in [
        one(&other.id, &made),
        one(UNKNOWN, &made),
        one(&acme.id, &json!({"user_id": UNKNOWN})),
        format!("{}/ada", users(&acme.id)),
    ] {
        plane
            .admin("DELETE", &path)
            .send()
            .await
            .expect_error(404, "not_found");
    }
    cancel(&plane, &acme.id).await;
    plane
        .admin("DELETE", one(&acme.id, &made))
        .send()
        .await
        .expect_error(409, "conflict");
    let shown = plane.admin("GET", one(&acme.id, &made)).send().await;
    shown.expect(200);
}

#[tokio::test]
async fn a_suspended_account_s_user_can_be_deleted() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let ada: Person = person(&plane, &company.id, &[]).await;
    let path = format!("/admin/customers/{}", company.id);
    let suspended = json!({"status": "suspended"});
    plane.admin("PUT", path).json(&suspended).send().await.expect(200);
    let user = json!({"user_id": ada.id});
    plane
        .admin("DELETE", one(&company.id, &user))
        .send()
        .await
        .expect(204);
}
