//! `PATCH /admin/customers/{customer_id}/api-keys/{api_key_id}`

use keyward_contract::{KeyState, Record};
use keyward_control_plane::domain::admin::Role;
use serde_json::{Value, json};

use crate::admin::leaks::{key_id, newest_event, report, works};
use crate::admin::{Door, NOBODY, leads_nowhere};
use crate::plane::{Answer, Company, Plane};
use crate::promises::change;

pub(in crate::admin) async fn patch(plane: &Plane, company: &Company, id: &str, body: &Value) -> Answer {
    let path = format!("/admin/customers/{}/api-keys/{id}", company.id);
    plane.admin("PATCH", path).json(body).send().await
}

#[tokio::test]
async fn an_operator_lifts_a_quarantine_or_changes_the_key() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let customer = plane.customer(&company.live, "Uni").await;
    let customer_key = customer["apiKey"].as_str().unwrap();
    let body = json!([{"token": company.live}, {"token": customer_key}]);
    let found = report(&plane, &body).await.expect(200).json();
    let [account_key, customer_key_id] = [0, 1].map(|n| found[n]["api_key_id"].as_str().unwrap().to_owned());
    let lifted = patch(&plane, &company, &account_key, &json!({"status": "active"}))
        .await
        .expect(200);
    assert_eq!(lifted.json()["status"], "active");
    assert!(works(&plane, &company.live).await);
    assert_eq!(newest_event(&plane).await["action"], "key.enabled");
    // That of an end customer too, though the list has none of them.
    let lifted = patch(&plane, &company, &customer_key_id, &json!({"status": "active"}))
        .await
        .expect(200);
    let records = change(&plane, lifted.header("keyward-revision").unwrap()).await;
    assert!(matches!(records.as_slice(), [Record::Key(key)] if key.state == KeyState::Active));
    patch(&plane, &company, &customer_key_id, &json!({"name": "x"}))
        .await
        .expect_error(400, "invalid_request");
    // The rest of a key.
    let body =
        json!({"name": "ci", "expires_at": "2099-01-01", "allowed_ips": ["192.0.2.1"], "status": "disabled"});
    let changed = patch(&plane, &company, &account_key, &body)
        .await
        .expect(200)
        .json();
    assert_eq!(
        (
            &changed["name"],
            &changed["expires_at"],
            &changed["allowed_ips"],
            &changed["status"]
        ),
        (
            &json!("ci"),
            &json!("2099-01-01T00:00:00Z"),
            &json!(["192.0.2.1"]),
            &json!("disabled")
        )
    );
    let body = json!({"name": null, "expires_at": null, "allowed_ips": null, "status": "active"});
    let changed = patch(&plane, &company, &account_key, &body)
        .await
        .expect(200)
        .json();
    assert_eq!(
        (
            &changed["name"],
            &changed["expires_at"],
            &changed["allowed_ips"],
            &changed["status"]
        ),
        (&Value::Null, &Value::Null, &Value::Null, &json!("active"))
    );
    // Nothing to do is no change.
    let before = newest_event(&plane).await;
    patch(&plane, &company, &account_key, &json!({"status": "active"}))
        .await
        .expect(200);
    assert_eq!(newest_event(&plane).await, before);
}

#[tokio::test]
async fn a_key_that_can_not_be_changed_stays_as_it_is() {
    let plane = Plane::start().await;
    let (company, other) = (plane.company("Acme").await, plane.company("Other").await);
    let id = key_id(&plane, &company, "production").await;
    for (body, field) in [
        (json!({"status": "revoked"}), "status"),
        (json!({"status": "asleep"}), "status"),
        (json!({"status": null}), "status"),
        (json!({"name": ""}), "name"),
        (json!({"expires_at": "2020-01-01"}), "expires_at"),
        (json!({"allowed_ips": []}), "allowed_ips"),
    ] {
        let answer = patch(&plane, &company, &id, &body)
            .await
            .expect_error(400, "invalid_request")
            .json();
        assert!(answer["message"].as_str().unwrap().contains(field), "{answer}");
    }
    patch(&plane, &other, &id, &json!({"status": "disabled"}))
        .await
        .expect_error(404, "not_found");
    // In the grace of a rotation its end is the rotation's.
    let rotate = format!("/admin/customers/{}/api-keys/{id}/rotate", company.id);
    plane
        .admin("POST", rotate)
        .json(&json!({"grace_seconds": 60}))
        .send()
        .await
        .expect(200);
    patch(&plane, &company, &id, &json!({"expires_at": null}))
        .await
        .expect_error(409, "conflict");
    let account = format!("/admin/customers/{}", company.id);
    plane.admin("DELETE", &account).send().await.expect(200);
    patch(&plane, &company, &id, &json!({"status": "disabled"}))
        .await
        .expect_error(409, "conflict");
}

#[tokio::test]
async fn it_opens_only_to_whom_it_should() {
    door().opens_only_to_whom_it_should().await;
}

#[tokio::test]
async fn it_takes_only_plain_json() {
    door().takes_only_plain_json().await;
}

#[tokio::test]
async fn it_leads_nowhere_without_a_key_of_the_account() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let of_account = format!("/admin/customers/{}/api-keys", company.id);
    let paths = [
        format!("{of_account}/{NOBODY}"),
        format!("{of_account}/nonsense"),
        format!("/admin/customers/{NOBODY}/api-keys/{NOBODY}"),
    ];
    leads_nowhere(&plane, "PATCH", &paths).await;
}

fn door() -> Door<'static> {
    Door {
        method: "PATCH",
        path: "/admin/customers/0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e/api-keys/0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e",
        least: Role::Operator,
        allow: &["DELETE", "PATCH"],
    }
}
