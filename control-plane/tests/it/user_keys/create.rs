//! `POST /api/v1/psp/product-manager/customer-user-api-keys`

use std::time::Duration;

use keyward_contract::{KeyState, Record};
use serde_json::{Value, json};

use super::{
    PATH, Person, create, expect_missing, expect_refusal, ids, listed, one, person, person_in, set_limit,
    within,
};
use crate::plane::{Answer, Plane};
use crate::promises::change;

async fn post(plane: &Plane, person: &Person, path: &str, body: &Value) -> Answer {
    person.call(plane, "POST", path).json(body).send().await
}

#[tokio::test]
async fn a_key_is_shown_whole_once_and_lives_for_its_lifetime() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company.id, &["Issuer_Dev"]).await;
    let body = json!({"name": "  ci ", "unknown": [1]});
    let answer = post(&plane, &ada, PATH, &body).await.expect(201);
    let made = answer.json();
    insta::assert_json_snapshot!(
        made,
        {
            ".id" => "[id]", ".keyMask" => "[mask]", ".userCognitoSub" => "[sub]", ".creatorCognitoSub" => "[sub]",
            ".expiresAt" => "[time]", ".createdAt" => "[time]", ".rawKey" => "[key]",
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
      "status": "active",
      "rawKey": "[key]"
    }
    "#
    );
    assert!(made["id"].as_i64().unwrap() > 0);
    assert_eq!(
        (&made["userCognitoSub"], &made["creatorCognitoSub"]),
        (&json!(ada.sub), &json!(ada.sub))
    );
    let plain = made["rawKey"].as_str().unwrap();
    assert!(keyward_contract::PlainKey::parse(plain).is_ok() && plain.starts_with("pk_live_"));
    let mask = format!("{}…{}", &plain[..10], &plain[plain.len() - 3..]);
    assert_eq!(made["keyMask"], mask);
    let instant = |field: &str| -> jiff::Timestamp {
        let text = made[field].as_str().unwrap();
        assert_eq!(text.len(), "2026-10-30T23:19:00.112Z".len());
        text.parse().unwrap()
    };
    let lifetime = instant("expiresAt").duration_since(instant("createdAt"));
    assert_eq!(lifetime.as_secs(), 365 * 86_400);
    // Gateways hear of it, and of its end.
    let records = change(&plane, answer.header("keyward-revision").unwrap()).await;
    let [Record::Key(record)] = records.as_slice() else {
        panic!("{records:?}");
    };
    assert_eq!(record.state, KeyState::Active);
    assert_eq!(
        record.expires_at.unwrap().to_rfc3339_millis(),
        made["expiresAt"].as_str().unwrap()
    );
    // Nobody reads it again, here or elsewhere.
    let again = ada.call(&plane, "GET", PATH).send().await.expect(200);
    let keys = format!("/admin/customers/{}/api-keys", company.id);
    let by_operator = plane.admin("GET", keys).send().await.expect(200);
    let audit = plane.admin("GET", "/admin/audit").send().await.expect(200);
    for text in [again.text, by_operator.text, audit.text] {
        assert!(text.contains(&mask) && !text.contains(&plain[10..40]));
    }
}

#[tokio::test]
async fn a_new_key_is_a_credential_of_its_owner() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company.id, &["Issuer_Dev"]).await;
    let made = create(&plane, &ada, "first").await;
    let with_it = Person {
        key: made["rawKey"].as_str().unwrap().to_owned(),
        ..ada
    };
    let second = create(&plane, &with_it, "second").await;
    assert_eq!(second["userCognitoSub"], with_it.sub);
    assert_eq!(ids(&listed(&plane, &with_it, PATH).await), ids(&[second, made]));
}

#[tokio::test]
async fn names_may_repeat_and_are_bounded() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company.id, &["Issuer_Dev"]).await;
    for good in ["ci", "ci", &"é".repeat(50)] {
        assert_eq!(create(&plane, &ada, good).await["name"], good);
    }
    for bad in [
        json!({}),
        json!([]),
        json!({"name": null}),
        json!({"name": 7}),
        json!({"name": ""}),
        json!({"name": " \t"}),
        json!({"name": "x".repeat(51)}),
        json!({"name": "a\u{0}b"}),
    ] {
        let field = if bad.is_array() { "`body`" } else { "`name`" };
        expect_refusal(post(&plane, &ada, PATH, &bad).await, 400, field);
    }
    expect_refusal(
        ada.call(&plane, "POST", PATH)
            .raw("{\"name\":\"a\",\"name\":\"b\"}")
            .send()
            .await,
        400,
        "`body`",
    );
    expect_refusal(ada.call(&plane, "POST", PATH).send().await, 400, "`body`");
    let large = json!({"name": "x".repeat(65_536)});
    expect_refusal(post(&plane, &ada, PATH, &large).await, 413, "64 KiB");
    let text = ada
        .call(&plane, "POST", PATH)
        .header("content-type", "text/plain");
    expect_refusal(
        text.bytes("{\"name\":\"ci\"}").send().await,
        415,
        "application/json",
    );
    assert_eq!(listed(&plane, &ada, PATH).await.len(), 3);
}

#[tokio::test]
async fn all_claims_but_super_dev_make_keys() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    for (claims, status) in [
        (&["Issuer_Admin"][..], 201),
        (&["Issuer_Dev"], 201),
        (&["Verifier_Admin"], 201),
        (&["Verifier_Dev"], 201),
        (&["Super_Dev", "Verifier_Dev"], 201),
        (&["Super_Dev"], 403),
        (&["issuer_dev", "Issuer_Devs", "Super_Dev "], 403),
        (&[], 403),
    ] {
        let caller = person(&plane, &company.id, claims).await;
        let answer = post(&plane, &caller, PATH, &json!({"name": "ci"})).await;
        assert_eq!(answer.status.as_u16(), status, "{claims:?}: {}", answer.text);
        if status == 403 {
            // Before the body is looked at.
            expect_refusal(post(&plane, &caller, PATH, &json!({})).await, 403, "claims");
        }
    }
}

#[tokio::test]
async fn a_key_is_of_the_environment_in_the_path_or_else_of_its_maker_s() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let live = person(&plane, &company.id, &["Issuer_Dev"]).await;
    let test = person_in(&plane, &company.id, &["Issuer_Dev"], "test").await;
    let in_test = within(&plane, &company.id, "test").await;
    let in_production = within(&plane, &company.id, "production").await;
    for (caller, path, prefix) in [
        (&live, PATH, "pk_live_"),
        (&live, in_production.as_str(), "pk_live_"),
        (&live, in_test.as_str(), "pk_test_"),
        (&test, PATH, "pk_test_"),
        (&test, in_test.as_str(), "pk_test_"),
    ] {
        let made = post(&plane, caller, path, &json!({"name": "ci"}))
            .await
            .expect(201)
            .json();
        assert!(made["rawKey"].as_str().unwrap().starts_with(prefix), "{path}");
    }
    expect_refusal(
        post(&plane, &test, &in_production, &json!({"name": "ci"})).await,
        403,
        "production",
    );
    let other = plane.company("Other").await;
    let foreign = within(&plane, &other.id, "production").await;
    expect_missing(post(&plane, &live, &foreign, &json!({"name": "ci"})).await);
}

#[tokio::test]
async fn an_environment_holds_so_many_keys_and_no_more() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let (ada, bea) = (
        person(&plane, &company.id, &["Issuer_Dev"]).await,
        person(&plane, &company.id, &["Verifier_Dev"]).await,
    );
    set_limit(&plane, &company.id, "production", 2).await;
    let first = create(&plane, &ada, "first").await;
    create(&plane, &bea, "second").await;
    let body = json!({"name": "third"});
    for caller in [&ada, &bea] {
        expect_refusal(post(&plane, caller, PATH, &body).await, 409, "2 keys");
    }
    // The test environment has places of its own.
    let in_test = within(&plane, &company.id, "test").await;
    post(&plane, &ada, &in_test, &body).await.expect(201);
    // One that is switched off keeps its place, one that is deleted leaves it.
    let off = json!({"status": "inactive"});
    ada.call(&plane, "PATCH", one(&first))
        .json(&off)
        .send()
        .await
        .expect(200);
    expect_refusal(post(&plane, &ada, PATH, &body).await, 409, "2 keys");
    ada.call(&plane, "DELETE", one(&first)).send().await.expect(204);
    post(&plane, &ada, PATH, &body).await.expect(201);
    // A limit below what there is takes nothing away.
    set_limit(&plane, &company.id, "production", 0).await;
    expect_refusal(post(&plane, &ada, PATH, &body).await, 409, "0 keys");
    assert_eq!(listed(&plane, &ada, PATH).await.len(), 1);
}

#[tokio::test]
async fn of_many_who_race_for_the_last_places_as_many_win() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    set_limit(&plane, &company.id, "production", 3).await;
    let (ada, bea) = (
        person(&plane, &company.id, &["Issuer_Dev"]).await,
        person(&plane, &company.id, &["Verifier_Admin"]).await,
    );
    create(&plane, &ada, "there already").await;
    create(&plane, &bea, "there already").await;
    let body = json!({"name": "last"});
    let calls = [&ada, &bea].into_iter().cycle().take(8);
    let answers = futures_util::future::join_all(calls.map(|caller| post(&plane, caller, PATH, &body))).await;
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
    assert_eq!(listed(&plane, &bea, PATH).await.len(), 3);
}

#[tokio::test]
async fn a_repeat_under_an_idempotency_key_makes_no_second_key() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company.id, &["Issuer_Dev"]).await;
    let make = |name: &str| {
        ada.call(&plane, "POST", PATH)
            .header("idempotency-key", "k")
            .json(&json!({"name": name}))
            .send()
    };
    let (first, repeat) = (make("ci").await.expect(201), make("ci").await.expect(201));
    assert_eq!(first.text, repeat.text);
    assert_eq!(repeat.header("idempotent-replayed"), Some("true"));
    expect_refusal(make("cd").await, 409, "Idempotency-Key");
    assert_eq!(listed(&plane, &ada, PATH).await.len(), 1);
}

#[tokio::test]
async fn ids_never_recur() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company.id, &["Issuer_Dev"]).await;
    let mut last = 0;
    for _ in 0..3 {
        let made = create(&plane, &ada, "ci").await;
        assert!(made["id"].as_i64().unwrap() > last);
        last = made["id"].as_i64().unwrap();
        ada.call(&plane, "DELETE", one(&made)).send().await.expect(204);
    }
}

#[tokio::test]
async fn a_key_that_an_operator_made_for_a_user_is_the_user_s_and_says_who_made_it() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company.id, &["Issuer_Dev"]).await;
    set_limit(&plane, &company.id, "production", 1).await;
    let keys = format!("/admin/customers/{}/api-keys", company.id);
    let by_operator = async |body: Value| plane.admin("POST", &keys).json(&body).send().await;
    for bad in [
        json!({"user_id": "ada", "name": "ci"}),
        json!({"user_id": 7, "name": "ci"}),
        json!({"user_id": ada.id}),
        json!({"user_id": ada.id, "name": "x".repeat(51)}),
        json!({"user_id": ada.id, "name": "ci", "expires_at": "2020-01-01"}),
    ] {
        by_operator(bad).await.expect_error(400, "invalid_request");
    }
    let other = plane.company("Other").await;
    let stranger = person(&plane, &other.id, &[]).await;
    by_operator(json!({"user_id": stranger.id, "name": "ci"}))
        .await
        .expect_error(404, "not_found");
    let made = by_operator(json!({"user_id": ada.id, "name": "ci"}))
        .await
        .expect(201)
        .json();
    assert_eq!(made["user_id"], ada.id);
    let one_more = by_operator(json!({"user_id": ada.id, "name": "ci"})).await;
    one_more.expect_error(409, "conflict");

    let operators = plane
        .admin("GET", "/admin/admin-keys")
        .send()
        .await
        .expect(200)
        .json();
    let shown = listed(&plane, &ada, PATH).await;
    assert_eq!(shown.len(), 1);
    assert_eq!(shown[0]["userCognitoSub"], ada.sub);
    assert_eq!(
        shown[0]["creatorCognitoSub"],
        operators["admin_keys"][0]["admin_key_id"]
    );
    assert_eq!(shown[0]["keyMask"], made["mask"]);
    let (created, expires): (jiff::Timestamp, jiff::Timestamp) = (
        shown[0]["createdAt"].as_str().unwrap().parse().unwrap(),
        shown[0]["expiresAt"].as_str().unwrap().parse().unwrap(),
    );
    assert_eq!(expires.duration_since(created).as_secs(), 365 * 86_400);
    // It has its owner's claims here, and is no key of the company's.
    let key = made["api_key"].as_str().unwrap();
    let call = plane.call("GET", PATH).header("x-api-key", key);
    call.send().await.expect(200);
    plane.advance(Duration::from_secs(365 * 86_400));
    let call = plane.call("GET", PATH).header("x-api-key", key);
    call.send().await.expect(401);
}
