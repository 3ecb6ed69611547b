//! `DELETE /api/v1/psp/product-manager/customer-user-api-keys/{apiKeyId}`

use keyward_contract::{KeyState, Record};
use serde_json::json;

use super::{PATH, create, expect_missing, id, ids, listed, one, person, within};
use crate::plane::Plane;
use crate::promises::change;

#[tokio::test]
async fn a_deleted_key_is_dead_and_gone() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company.id, &["Issuer_Dev"]).await;
    let (made, kept) = (
        create(&plane, &ada, "ci").await,
        create(&plane, &ada, "kept").await,
    );
    let answer = ada.call(&plane, "DELETE", one(&made)).send().await.expect(204);
    assert_eq!(answer.text, "");
    let records = change(&plane, answer.header("keyward-revision").unwrap()).await;
    assert!(matches!(records.as_slice(), [Record::Key(key)] if key.state == KeyState::Deleted));
    let raw = made["rawKey"].as_str().unwrap();
    let call = plane.call("GET", PATH).header("x-api-key", raw);
    call.send().await.expect(401);
    assert_eq!(ids(&listed(&plane, &ada, PATH).await), ids(&[kept]));
    expect_missing(ada.call(&plane, "DELETE", one(&made)).send().await);
    let audit = plane.admin("GET", "/admin/audit?action=key.deleted").send().await;
    let audit = audit.expect(200).json();
    assert_eq!(audit["events"].as_array().unwrap().len(), 1);
    assert_eq!(audit["events"][0]["after"]["state"], "deleted");
    // Operators still see that it was there.
    let keys = format!("/admin/customers/{}/api-keys", company.id);
    let shown = plane.admin("GET", keys).send().await.expect(200).json();
    let shown = shown["api_keys"].as_array().unwrap().iter();
    let dead: Vec<_> = shown.filter(|key| key["status"] == "revoked").collect();
    assert_eq!((dead.len(), &dead[0]["name"]), (1, &json!("ci")));
}

#[tokio::test]
async fn a_key_may_delete_itself_and_an_inactive_one_can_be_deleted() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company.id, &["Issuer_Dev"]).await;
    let (own, off) = (
        create(&plane, &ada, "own").await,
        create(&plane, &ada, "off").await,
    );
    let raw = own["rawKey"].as_str().unwrap();
    let call = plane.call("DELETE", one(&own)).header("x-api-key", raw);
    call.send().await.expect(204);
    let body = json!({"status": "inactive"});
    ada.call(&plane, "PATCH", one(&off))
        .json(&body)
        .send()
        .await
        .expect(200);
    ada.call(&plane, "DELETE", one(&off)).send().await.expect(204);
    assert!(listed(&plane, &ada, PATH).await.is_empty());
}

#[tokio::test]
async fn a_key_out_of_sight_is_not_found_and_lives_on() {
    let plane = Plane::start().await;
    let (acme, other) = (plane.company("Acme").await, plane.company("Other").await);
    let ada = person(&plane, &acme.id, &["Issuer_Dev"]).await;
    let in_test = within(&plane, &acme.id, "test").await;
    for (account, claims, sees) in [
        (&acme.id, "Verifier_Dev", false),
        (&other.id, "Verifier_Admin", false),
        (&acme.id, "Issuer_Admin", true),
        (&acme.id, "Verifier_Admin", true),
        (&other.id, "Super_Dev", true),
        (&acme.id, "Super_Dev", true),
    ] {
        let made = create(&plane, &ada, "ci").await;
        let caller = person(&plane, account, &[claims]).await;
        let elsewhere = format!("{in_test}/{}", id(&made));
        if account == &acme.id {
            expect_missing(caller.call(&plane, "DELETE", elsewhere).send().await);
        }
        let answer = caller.call(&plane, "DELETE", one(&made)).send().await;
        if sees {
            answer.expect(204);
        } else {
            expect_missing(answer);
            assert_eq!(listed(&plane, &ada, PATH).await[0]["status"], "active");
            ada.call(&plane, "DELETE", one(&made)).send().await.expect(204);
        }
    }
}

#[tokio::test]
async fn what_is_no_number_or_no_key_of_this_surface_is_not_found() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company.id, &["Issuer_Admin"]).await;
    let made = create(&plane, &ada, "ci").await;
    let below: Vec<_> = (0..id(&made)).map(|number| number.to_string()).collect();
    for number in below.iter().map(String::as_str).chain(["x", "-1", "01", "1e3"]) {
        let path = format!("{PATH}/{number}");
        expect_missing(ada.call(&plane, "DELETE", path).send().await);
    }
    ada.call(&plane, "GET", PATH).send().await.expect(200);
}
