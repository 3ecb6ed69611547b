//! `PATCH /api/v1/psp/product-manager/customer-user-api-keys/{apiKeyId}`

use std::time::Duration;

use keyward_contract::{KeyState, Record};
use serde_json::{Value, json};

use super::{PATH, Person, create, expect_missing, expect_refusal, id, listed, one, person, within};
use crate::plane::{Answer, Plane};
use crate::promises::change;

async fn switch(plane: &Plane, person: &Person, path: &str, status: &str) -> Answer {
    let body = json!({"status": status});
    person.call(plane, "PATCH", path).json(&body).send().await
}

#[tokio::test]
async fn a_key_is_switched_off_and_on() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company.id, &["Issuer_Dev"]).await;
    let made = create(&plane, &ada, "ci").await;
    let raw = made["rawKey"].as_str().unwrap();
    let works = async || {
        let call = plane.call("GET", PATH).header("x-api-key", raw);
        call.send().await.status.as_u16()
    };
    assert_eq!(works().await, 200);
    for (status, state, answered) in [
        ("inactive", KeyState::Disabled, 401),
        ("active", KeyState::Active, 200),
    ] {
        let answer = switch(&plane, &ada, &one(&made), status).await.expect(200);
        let records = change(&plane, answer.header("keyward-revision").unwrap()).await;
        let [Record::Key(record)] = records.as_slice() else {
            panic!("{records:?}");
        };
        assert_eq!(record.state, state);
        assert_eq!(works().await, answered, "{status}");
        let mut expected = made.clone();
        expected["status"] = json!(status);
        expected.as_object_mut().unwrap().remove("rawKey");
        assert_eq!(answer.json(), expected);
        assert_eq!(listed(&plane, &ada, PATH).await[0]["status"], status);
        // A repeat changes nothing.
        let repeat = switch(&plane, &ada, &one(&made), status).await.expect(200);
        assert_eq!(repeat.text, answer.text);
        assert_eq!(
            repeat.header("keyward-revision"),
            answer.header("keyward-revision")
        );
    }
    let answer = switch(&plane, &ada, &one(&made), "inactive").await.expect(200);
    insta::assert_json_snapshot!(
        answer.json(),
        {
            ".id" => "[id]", ".keyMask" => "[mask]", ".userCognitoSub" => "[sub]", ".creatorCognitoSub" => "[sub]",
            ".expiresAt" => "[time]", ".createdAt" => "[time]",
        },
        @r#"
    {
      "id": "[id]",
      "keyMask": "[mask]",
      "name": "ci",
      "userCognitoSub": "[sub]",
      "creatorCognitoSub": "[sub]",
      "expiresAt": "[time]",
      "createdAt": "[time]",
      "status": "inactive"
    }
    "#
    );
    let audit = plane
        .admin("GET", "/admin/audit?action=key.disabled")
        .send()
        .await;
    let audit = audit.expect(200).json();
    assert_eq!(audit["events"].as_array().unwrap().len(), 2);
    assert_eq!(audit["events"][0]["before"]["state"], "active");
    assert_eq!(audit["events"][0]["after"]["state"], "disabled");
}

#[tokio::test]
async fn a_bad_status_is_refused() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company.id, &["Issuer_Dev"]).await;
    let made = create(&plane, &ada, "ci").await;
    let patch = async |body: Value| ada.call(&plane, "PATCH", one(&made)).json(&body).send().await;
    for bad in [
        json!({}),
        json!({"status": null}),
        json!({"status": true}),
        json!({"status": "Active"}),
        json!({"status": "revoked"}),
        json!({"status": ""}),
    ] {
        expect_refusal(patch(bad).await, 400, "`status`");
    }
    expect_refusal(patch(json!(["active"])).await, 400, "`body`");
    expect_refusal(ada.call(&plane, "PATCH", one(&made)).send().await, 400, "`body`");
    let text = ada
        .call(&plane, "PATCH", one(&made))
        .header("content-type", "text/plain");
    expect_refusal(text.bytes("{}").send().await, 415, "application/json");
    assert_eq!(listed(&plane, &ada, PATH).await[0]["status"], "active");
}

#[tokio::test]
async fn an_expired_key_is_never_active_again() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company.id, &["Issuer_Dev"]).await;
    let (on, off) = (
        create(&plane, &ada, "on").await,
        create(&plane, &ada, "off").await,
    );
    switch(&plane, &ada, &one(&off), "inactive").await.expect(200);
    plane.advance(Duration::from_secs(365 * 86_400));
    for key in [&on, &off] {
        expect_refusal(switch(&plane, &ada, &one(key), "active").await, 400, "expired");
        let answer = switch(&plane, &ada, &one(key), "inactive").await.expect(200);
        assert_eq!(answer.json()["status"], "inactive");
    }
}

#[tokio::test]
async fn a_key_out_of_sight_is_not_found() {
    let plane = Plane::start().await;
    let (acme, other) = (plane.company("Acme").await, plane.company("Other").await);
    let ada = person(&plane, &acme.id, &["Issuer_Dev"]).await;
    let made = create(&plane, &ada, "ci").await;
    let in_test = within(&plane, &acme.id, "test").await;
    for (account, claims, sees) in [
        (&acme.id, "Verifier_Dev", false),
        (&other.id, "Issuer_Admin", false),
        (&acme.id, "Issuer_Admin", true),
        (&acme.id, "Verifier_Admin", true),
        (&other.id, "Super_Dev", true),
    ] {
        let caller = person(&plane, account, &[claims]).await;
        let answer = switch(&plane, &caller, &one(&made), "inactive").await;
        if sees {
            answer.expect(200);
            switch(&plane, &caller, &one(&made), "active").await.expect(200);
        } else {
            expect_missing(answer);
        }
    }
    // It is in production, whoever looks.
    let path = format!("{in_test}/{}", id(&made));
    expect_missing(switch(&plane, &ada, &path, "inactive").await);
    let admin = person(&plane, &acme.id, &["Issuer_Admin"]).await;
    expect_missing(switch(&plane, &admin, &path, "inactive").await);
}

#[tokio::test]
async fn what_is_no_number_or_no_key_of_this_surface_is_not_found() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company.id, &["Issuer_Admin"]).await;
    let made = create(&plane, &ada, "ci").await;
    // Keys of other surfaces have numbers too.
    let below: Vec<_> = (0..id(&made)).map(|number| number.to_string()).collect();
    let odd = ["0", "-1", "+1", "01", "1.0", "x", "9223372036854775808", "%00"];
    for number in below.iter().map(String::as_str).chain(odd) {
        let path = format!("{PATH}/{number}");
        expect_missing(switch(&plane, &ada, &path, "inactive").await);
    }
    // What is no number is no key, whatever is sent.
    for number in odd {
        let path = format!("{PATH}/{number}");
        expect_missing(switch(&plane, &ada, &path, "nonsense").await);
    }
    ada.call(&plane, "DELETE", one(&made)).send().await.expect(204);
    expect_missing(switch(&plane, &ada, &one(&made), "active").await);
}

#[tokio::test]
async fn a_key_that_leaked_or_that_an_operator_disabled_is_not_for_its_user_to_enable() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company.id, &["Issuer_Dev"]).await;
    for disabled_first in [false, true] {
        let made = create(&plane, &ada, "ci").await;
        if disabled_first {
            switch(&plane, &ada, &one(&made), "inactive").await.expect(200);
        }
        let reports = json!([{"token": made["rawKey"], "type": "keyward", "url": "", "source": "content"}]);
        let call = plane.admin("POST", "/admin/leaks").json(&reports);
        let answer = call.send().await.expect(200).json();
        assert_eq!(answer[0]["action"], "quarantined", "{answer}");
        let refused = switch(&plane, &ada, &one(&made), "active").await;
        expect_refusal(refused, 409, "operator");
        // Only an operator gives it back.
        let path = format!(
            "/admin/customers/{}/api-keys/{}",
            company.id,
            answer[0]["api_key_id"].as_str().unwrap()
        );
        for status in ["active", "disabled", "active"] {
            let body = json!({"status": status});
            plane.admin("PATCH", &path).json(&body).send().await.expect(200);
            let enabled = switch(&plane, &ada, &one(&made), "active").await.status;
            assert_eq!(enabled, if status == "active" { 200 } else { 409 });
        }
        switch(&plane, &ada, &one(&made), "inactive").await.expect(200);
        switch(&plane, &ada, &one(&made), "active").await.expect(200);
    }
}
