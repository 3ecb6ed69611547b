//! `GET /api/v1/psp/product-manager/customer-user-api-keys`

use std::time::Duration;

use serde_json::{Value, json};

use super::{PATH, create, ids, listed, one, person, person_in, within};
use crate::plane::Plane;

#[tokio::test]
async fn keys_are_a_bare_array_newest_first_with_their_organisation() {
    let plane = Plane::start().await;
    let company = plane.company("Acme Financial").await;
    let ada = person(&plane, &company.id, &["Issuer_Dev"]).await;
    assert_eq!(listed(&plane, &ada, PATH).await, [json!(null); 0]);
    let first = create(&plane, &ada, "first").await;
    let second = create(&plane, &ada, "second").await;
    let off = json!({"status": "inactive"});
    ada.call(&plane, "PATCH", one(&first))
        .json(&off)
        .send()
        .await
        .expect(200);
    let keys = listed(&plane, &ada, PATH).await;
    assert_eq!(ids(&keys), ids(&[second, first]));
    assert_eq!(keys[0]["userCognitoSub"], ada.sub);
    insta::assert_json_snapshot!(
        keys,
        {
            "[].id" => "[id]", "[].keyMask" => "[mask]", "[].userCognitoSub" => "[sub]",
            "[].creatorCognitoSub" => "[sub]", "[].expiresAt" => "[time]", "[].createdAt" => "[time]",
        },
        @r#"
    [
      {
        "id": "[id]",
        "keyMask": "[mask]",
        "name": "second",
        "userCognitoSub": "[sub]",
        "creatorCognitoSub": "[sub]",
        "expiresAt": "[time]",
        "createdAt": "[time]",
        "status": "active",
        "organisationName": "Acme Financial"
      },
      {
        "id": "[id]",
        "keyMask": "[mask]",
        "name": "first",
        "userCognitoSub": "[sub]",
        "creatorCognitoSub": "[sub]",
        "expiresAt": "[time]",
        "createdAt": "[time]",
        "status": "inactive",
        "organisationName": "Acme Financial"
      }
    ]
    "#
    );
}

#[tokio::test]
async fn each_sees_what_its_widest_claim_shows() {
    let plane = Plane::start().await;
    let (acme, other) = (plane.company("Acme").await, plane.company("Other").await);
    let ada = person(&plane, &acme.id, &["Issuer_Dev"]).await;
    let bea = person(&plane, &acme.id, &["Verifier_Dev"]).await;
    let far = person(&plane, &other.id, &["Issuer_Admin"]).await;
    let of_ada = create(&plane, &ada, "ada's").await["id"].as_i64().unwrap();
    let of_bea = create(&plane, &bea, "bea's").await["id"].as_i64().unwrap();
    let of_far = create(&plane, &far, "far").await["id"].as_i64().unwrap();
    // What is in the test environment is not among them.
    let in_test = within(&plane, &acme.id, "test").await;
    let body = json!({"name": "in test"});
    let test = ada.call(&plane, "POST", &in_test).json(&body).send().await;
    let of_test = test.expect(201).json()["id"].as_i64().unwrap();

    assert_eq!(ids(&listed(&plane, &ada, PATH).await), [of_ada]);
    assert_eq!(ids(&listed(&plane, &ada, &in_test).await), [of_test]);
    assert_eq!(ids(&listed(&plane, &bea, PATH).await), [of_bea]);
    assert_eq!(ids(&listed(&plane, &far, PATH).await), [of_far]);
    for (claims, production, test) in [
        (&["Issuer_Admin"][..], &[of_bea, of_ada][..], &[of_test][..]),
        (&["Verifier_Admin", "Issuer_Dev"], &[of_bea, of_ada], &[of_test]),
        (&["Super_Dev"], &[of_far, of_bea, of_ada], &[of_test]),
        (
            &["Issuer_Dev", "Super_Dev", "Issuer_Admin"],
            &[of_far, of_bea, of_ada],
            &[of_test],
        ),
        (&["Verifier_Dev"], &[], &[]),
    ] {
        let caller = person(&plane, &acme.id, claims).await;
        assert_eq!(
            ids(&listed(&plane, &caller, PATH).await),
            production,
            "{claims:?}"
        );
        assert_eq!(ids(&listed(&plane, &caller, &in_test).await), test, "{claims:?}");
    }
    let everywhere = person_in(&plane, &other.id, &["Super_Dev"], "test").await;
    let seen = listed(&plane, &everywhere, PATH).await;
    assert_eq!(ids(&seen), [of_test]);
    assert_eq!(seen[0]["organisationName"], "Acme");
}

#[tokio::test]
async fn keys_of_other_surfaces_and_dead_ones_are_not_listed() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company.id, &["Issuer_Admin"]).await;
    plane
        .account_key(&company.id, &json!({"name": "operator's"}))
        .await;
    let (revoked, rotated) = (
        create(&plane, &ada, "revoked").await,
        create(&plane, &ada, "rotated").await,
    );
    let keys = format!("/admin/customers/{}/api-keys", company.id);
    let shown = plane.admin("GET", &keys).send().await.expect(200).json();
    let id_of = |key: &Value| {
        let shown = shown["api_keys"].as_array().unwrap().iter();
        let mut same = shown.filter(|shown| shown["mask"] == key["keyMask"] && shown["name"] == key["name"]);
        same.next().unwrap()["api_key_id"].as_str().unwrap().to_owned()
    };
    plane
        .admin("DELETE", format!("{keys}/{}", id_of(&revoked)))
        .send()
        .await
        .expect(200);
    let rotate = format!("{keys}/{}/rotate", id_of(&rotated));
    let grace = json!({"grace_seconds": 60});
    plane.admin("POST", rotate).json(&grace).send().await.expect(200);
    // Both until the grace is over, and then the replacement, which stays its user's.
    let during = listed(&plane, &ada, PATH).await;
    assert_eq!(during.len(), 2);
    plane.advance(Duration::from_secs(60));
    let after = listed(&plane, &ada, PATH).await;
    assert_eq!(ids(&after), [super::id(&during[0])]);
    assert_eq!(after[0]["name"], "rotated");
    assert_eq!(after[0]["userCognitoSub"], ada.sub);
    assert_eq!(after[0]["expiresAt"], rotated["expiresAt"]);
}

#[tokio::test]
async fn a_cancelled_account_s_keys_are_gone_for_those_who_see_everything() {
    let plane = Plane::start().await;
    let (acme, other) = (plane.company("Acme").await, plane.company("Other").await);
    let ada = person(&plane, &acme.id, &["Issuer_Dev"]).await;
    let all = person(&plane, &other.id, &["Super_Dev"]).await;
    let made = create(&plane, &ada, "ci").await;
    let path = format!("/admin/customers/{}", acme.id);
    let suspended = json!({"status": "suspended"});
    plane
        .admin("PUT", &path)
        .json(&suspended)
        .send()
        .await
        .expect(200);
    assert_eq!(ids(&listed(&plane, &all, PATH).await), ids(&[made]));
    plane.admin("DELETE", &path).send().await.expect(200);
    assert!(listed(&plane, &all, PATH).await.is_empty());
}

#[tokio::test]
async fn an_expired_key_is_shown_as_inactive() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company.id, &["Issuer_Dev"]).await;
    create(&plane, &ada, "ci").await;
    plane.advance(Duration::from_secs(365 * 86_400 - 60));
    assert_eq!(listed(&plane, &ada, PATH).await[0]["status"], "active");
    plane.advance(Duration::from_secs(60));
    assert_eq!(listed(&plane, &ada, PATH).await[0]["status"], "inactive");
}

#[tokio::test]
async fn whatever_operators_change_a_key_keeps_a_name_and_an_end() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company.id, &["Issuer_Dev"]).await;
    create(&plane, &ada, "ci").await;
    let keys = format!("/admin/customers/{}/api-keys", company.id);
    let shown = plane.admin("GET", &keys).send().await.expect(200).json();
    let shown = shown["api_keys"].as_array().unwrap().iter();
    let found: Vec<_> = shown.filter(|key| key["name"] == "ci").collect();
    let id = found[0]["api_key_id"].as_str().unwrap();
    let path = format!("{keys}/{id}");
    let patch = async |body: Value| plane.admin("PATCH", &path).json(&body).send().await;
    for bad in [
        json!({"name": null}),
        json!({"name": "x".repeat(51)}),
        json!({"expires_at": null}),
    ] {
        patch(bad).await.expect_error(400, "invalid_request");
    }
    patch(json!({"name": "x".repeat(50), "expires_at": "2099-01-01"}))
        .await
        .expect(200);
    let key = listed(&plane, &ada, PATH).await[0].clone();
    assert_eq!(
        (&key["name"], &key["expiresAt"]),
        (&json!("x".repeat(50)), &json!("2099-01-01T00:00:00.000Z"))
    );
    // One that came from elsewhere without them spoils nobody's list.
    let sql = "UPDATE api_keys SET name = NULL, expires_at = NULL WHERE id = $1";
    plane.execute(sql, &[id]).await;
    let key = listed(&plane, &ada, PATH).await[0].clone();
    assert_eq!(
        (&key["name"], &key["expiresAt"], &key["status"]),
        (
            &key["keyMask"],
            &json!("9999-12-31T23:59:59.999Z"),
            &json!("active")
        )
    );
}
