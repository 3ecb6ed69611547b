//! `POST /admin/customers/{customer_id}/quota-grants`

use std::time::Duration;

use keyward_contract::feed::record::Record as Body;
use keyward_contract::{AccountRecord, QuotaPeriod, UnixMillis};
use keyward_control_plane::domain::admin::Role;
use serde_json::{Value, json};

use super::{grant, grants, post};
use crate::admin::{Door, NOBODY};
use crate::gateway::{Gateway, hello};
use crate::plane::{Company, Plane};

async fn usage(plane: &Plane, company: &Company) -> Value {
    let path = format!("/admin/usage/{}", company.id);
    plane.admin("GET", path).send().await.expect(200).json()
}

async fn put(plane: &Plane, company: &Company, body: &Value) {
    let path = format!("/admin/customers/{}", company.id);
    plane.admin("PUT", path).json(body).send().await.expect(200);
}

#[tokio::test]
async fn a_grant_says_what_was_given_for_which_year_and_by_whom() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let body = json!({"validations": 500_000.0, "reason": "  spring campaign ", "unknown": [1]});
    let made = post(&plane, &company.id, &body).await.expect(201).json();
    let year = plane.running.registry().clock.now().date().year();
    insta::assert_json_snapshot!(made, {
        ".grant_id" => "[id]", ".customer_id" => "[id]", ".created_at" => "[time]", ".created_by" => "[id]",
        ".period_start" => "[time]", ".period_end" => "[time]",
    }, @r#"
    {
      "grant_id": "[id]",
      "customer_id": "[id]",
      "validations": 500000,
      "reason": "spring campaign",
      "period_start": "[time]",
      "period_end": "[time]",
      "created_at": "[time]",
      "created_by": "[id]"
    }
    "#);
    assert_eq!(made["customer_id"], company.id);
    assert_eq!(made["period_start"], format!("{year}-01-01T00:00:00Z"));
    assert_eq!(made["period_end"], format!("{}-01-01T00:00:00Z", year + 1));
    let trail = plane.admin("GET", "/admin/audit?action=quota.granted").send();
    let trail = trail.await.expect(200).json();
    let event = &trail["events"][0];
    assert_eq!(event["actor"]["id"], made["created_by"]);
    assert_eq!(
        event["target"],
        json!({"kind": "quota_grant", "id": made["grant_id"]})
    );
    assert_eq!(event["customer_id"], company.id);
    assert_eq!(
        event["after"],
        json!({
            "validations": 500_000, "reason": "spring campaign",
            "period_start": made["period_start"], "period_end": made["period_end"],
        })
    );
    let silent = post(&plane, &company.id, &json!({"validations": 1, "reason": null})).await;
    assert_eq!(silent.expect(201).json()["reason"], Value::Null);
}

#[tokio::test]
async fn what_was_granted_counts_wherever_the_year_is_shown() {
    let plane = Plane::start().await;
    let (company, other) = (plane.company("Acme").await, plane.company("Other").await);
    grant(&plane, &company.id, 2_000_000).await;
    grant(&plane, &company.id, 500_000).await;
    crate::quota::used(&plane, &company, crate::quota::LIVE, 6_250_000).await;
    let shown = usage(&plane, &company).await;
    assert_eq!(shown["annual_limit"], 10_000_000);
    assert_eq!(shown["quota"]["granted"], 2_500_000);
    assert_eq!(shown["remaining"], 6_250_000);
    assert_eq!(shown["usage_percent"], 50.0);
    crate::quota::used(&plane, &company, crate::quota::LIVE, 15_000_000).await;
    let shown = usage(&plane, &company).await;
    assert_eq!(
        (&shown["remaining"], &shown["usage_percent"]),
        (&json!(0), &json!(120.0))
    );
    let customer = plane.customer(&company.live, "Uni").await;
    let path = format!("/customers/{}/usage", customer["id"].as_str().unwrap());
    let portal = plane.call("GET", path).key(&company.live).send().await;
    let quota = &portal.expect(200).json()["quota"];
    assert_eq!(
        (&quota["limit"], &quota["used"], &quota["remaining"]),
        (&json!(12_500_000), &json!(15_000_000), &json!(0))
    );
    assert_eq!(usage(&plane, &other).await["quota"]["granted"], 0);
}

#[tokio::test]
async fn a_grant_is_in_force_at_the_gateways_when_it_is_answered() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    grant(&plane, &company.id, 7).await;
    let gateway = Gateway::join(&plane, hello("edge-1", 1)).await.unwrap();
    let (_, snapshot) = gateway.snapshot();
    let accounts = snapshot.into_iter().filter_map(account);
    let [held] = &accounts.collect::<Vec<_>>()[..] else {
        panic!("one account")
    };
    let now = plane.running.registry().clock.now();
    let period = QuotaPeriod::at(now, None);
    assert_eq!(held.quota_in(period), 10_000_007);

    let body = json!({"validations": 10});
    let call = plane.admin("POST", grants(&company.id)).json(&body);
    let answer = call.send_among_gateways().await.expect(201);
    assert_eq!(answer.header("keyward-propagation"), Some("complete; gateways=1"));
    let revision: u64 = answer.header("keyward-revision").unwrap().parse().unwrap();
    let changes = gateway.changes();
    let change = changes.iter().find(|change| change.revision == revision).unwrap();
    let [told] = &change
        .records
        .iter()
        .cloned()
        .filter_map(account)
        .collect::<Vec<_>>()[..]
    else {
        panic!("one record of the account: {change:?}")
    };
    assert_eq!(told.quota_in(period), 10_000_017);
    assert_eq!(told.grants.len(), 2);
    assert_eq!(told.id, held.id);

    // Every later record says so too.
    put_among_gateways(&plane, &company, &json!({"tier": "scale"})).await;
    let told = gateway.changes().last().unwrap().records[0].clone();
    assert_eq!(account(told).unwrap().quota_in(period), 30_000_017);
}

async fn put_among_gateways(plane: &Plane, company: &Company, body: &Value) {
    let path = format!("/admin/customers/{}", company.id);
    let call = plane.admin("PUT", path).json(body);
    call.send_among_gateways().await.expect(200);
}

fn account(record: keyward_contract::feed::Record) -> Option<AccountRecord> {
    match record.record {
        Some(Body::Account(account)) => Some(account.try_into().unwrap()),
        _ => None,
    }
}

#[tokio::test]
async fn a_grant_counts_in_the_contract_year_that_runs_when_it_is_made() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let now = plane.running.registry().clock.now();
    let day = |days: i64| UnixMillis(now.0 + days * 86_400_000).date().to_string();
    put(&plane, &company, &json!({"contract_start": day(-100)})).await;
    let made = grant(&plane, &company.id, 5).await;
    assert_eq!(made["period_start"], format!("{}T00:00:00Z", day(-100)));
    assert_eq!(usage(&plane, &company).await["quota"]["granted"], 5);
    // Of a contract that has not begun, the first year.
    put(&plane, &company, &json!({"contract_start": day(10)})).await;
    assert_eq!(usage(&plane, &company).await["quota"]["granted"], 0);
    let made = grant(&plane, &company.id, 6).await;
    assert_eq!(made["period_start"], format!("{}T00:00:00Z", day(10)));
    assert_eq!(usage(&plane, &company).await["quota"]["granted"], 6);
    // In the next year nothing is left of it.
    put(&plane, &company, &json!({"contract_start": null})).await;
    plane.advance(Duration::from_secs(366 * 86_400));
    assert_eq!(usage(&plane, &company).await["quota"]["granted"], 0);
}

#[tokio::test]
async fn a_bad_field_is_refused_by_name() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    for (field, body) in [
        ("validations", json!({})),
        ("validations", json!({"validations": null})),
        ("validations", json!({"validations": 0})),
        ("validations", json!({"validations": -1})),
        ("validations", json!({"validations": 1.5})),
        ("validations", json!({"validations": "10"})),
        ("validations", json!({"validations": 1_000_000_000_001_u64})),
        ("reason", json!({"validations": 1, "reason": ""})),
        ("reason", json!({"validations": 1, "reason": 7})),
        ("reason", json!({"validations": 1, "reason": "x".repeat(201)})),
        ("reason", json!({"validations": 1, "reason": "a\u{0}b"})),
    ] {
        let refused = post(&plane, &company.id, &body).await;
        let message = refused.expect_error(400, "invalid_request").json();
        let message = message["message"].as_str().unwrap().to_owned();
        assert!(message.starts_with(&format!("`{field}` ")), "{message}");
    }
    for body in [
        json!({"validations": 1_000_000_000_000_u64}),
        json!({"validations": 1, "reason": "é".repeat(200)}),
    ] {
        post(&plane, &company.id, &body).await.expect(201);
    }
}

#[tokio::test]
async fn only_accounts_that_are_there_are_granted_anything() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let body = json!({"validations": 1});
    post(&plane, NOBODY, &body).await.expect_error(404, "not_found");
    post(&plane, "acme", &body).await.expect_error(404, "not_found");
    put(&plane, &company, &json!({"status": "suspended"})).await;
    post(&plane, &company.id, &body).await.expect(201);
    let path = format!("/admin/customers/{}", company.id);
    plane.admin("DELETE", path).send().await.expect(200);
    let late = post(&plane, &company.id, &body).await;
    late.expect_error(409, "conflict");
}

#[tokio::test]
async fn a_contract_year_has_a_thousand_grants_and_no_more() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    grant(&plane, &company.id, 3).await;
    let copies = "INSERT INTO quota_grants (id, account_id, at, validations, reason, created_at, created_by) \
        WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 998) \
        SELECT 'copy-' || n, account_id, at, 1, NULL, created_at, 'test' FROM quota_grants, n WHERE account_id = $1";
    plane.execute(copies, &[&company.id]).await;
    grant(&plane, &company.id, 4).await;
    let late = post(&plane, &company.id, &json!({"validations": 5})).await;
    late.expect_error(409, "conflict");
    assert_eq!(usage(&plane, &company).await["quota"]["granted"], 998 + 3 + 4);
}

#[tokio::test]
async fn a_repeat_under_an_idempotency_key_grants_nothing_more() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let make = |validations: u64| {
        plane
            .admin("POST", grants(&company.id))
            .header("idempotency-key", "k")
            .json(&json!({"validations": validations}))
            .send()
    };
    let (first, repeat) = (make(9).await.expect(201), make(9).await.expect(201));
    assert_eq!(first.text, repeat.text);
    assert_eq!(repeat.header("idempotent-replayed"), Some("true"));
    make(8).await.expect_error(409, "conflict");
    assert_eq!(usage(&plane, &company).await["quota"]["granted"], 9);
}

#[tokio::test]
async fn grants_made_at_once_all_count() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let calls = (0..8).map(|_| grant(&plane, &company.id, 5));
    futures_util::future::join_all(calls).await;
    assert_eq!(usage(&plane, &company).await["quota"]["granted"], 40);
}

#[tokio::test]
async fn it_opens_only_to_whom_it_should() {
    door().opens_only_to_whom_it_should().await;
}

#[tokio::test]
async fn it_takes_only_plain_json() {
    door().takes_only_plain_json().await;
}

fn door() -> Door<'static> {
    Door {
        method: "POST",
        path: "/admin/customers/0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e/quota-grants",
        least: Role::Operator,
        allow: &["GET", "HEAD", "POST"],
    }
}
