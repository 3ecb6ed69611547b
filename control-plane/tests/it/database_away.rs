//! PostgreSQL that ends while it is needed: 503 until it is back, nothing half-done, and nobody restarts anything.

use std::collections::BTreeSet;
use std::time::Duration;

use keyward_control_plane::store::changes;
use keyward_harness::Postgres;
use keyward_harness::postgres::Durability;
use serde_json::{Value, json};
use tonic::Code;

use crate::gateway::{Gateway, hello};
use crate::plane::{Company, Plane};
use crate::user_keys::PATH;

/// A control plane on a server of its own.
async fn start() -> (Postgres, Plane) {
    let server = Postgres::start(Durability::Full).unwrap();
    let url = server.database().unwrap();
    let plane = Plane::start_with(|config| config.database_url = url).await;
    (server, plane)
}

async fn create(plane: &Plane, company: &Company, name: &str) -> u16 {
    let call = plane.call("POST", "/customers").key(&company.live);
    let answer = call.json(&json!({"name": name})).send_among_gateways().await;
    answer.status.as_u16()
}

async fn customers(plane: &Plane, company: &Company) -> Vec<Value> {
    let call = plane.call("GET", "/customers?limit=100").key(&company.live);
    let list = call.send().await.expect(200).json();
    list["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn calls_in_flight_when_the_database_ends_happen_whole_or_not_at_all() {
    let (mut server, plane) = start().await;
    let company = plane.company("Acme").await;
    let names: Vec<String> = (0..60).map(|number| format!("Customer {number}")).collect();
    let calls = names.iter().map(|name| create(&plane, &company, name));
    let stopping = async {
        plane
            .eventually(async || {
                changes::head(&plane.running.registry().store)
                    .await
                    .is_ok_and(|head| head > 10)
            })
            .await;
        server.stop_immediately().unwrap();
    };
    let (statuses, ()) = tokio::join!(futures_util::future::join_all(calls), stopping);
    let made = statuses.iter().filter(|status| **status == 201).count();
    let away = statuses.iter().filter(|status| **status == 503).count();
    assert_eq!(made + away, names.len(), "{statuses:?}");
    assert!(made > 0 && away > 0, "{made} made, {away} refused");

    server.start_again().unwrap();
    plane
        .eventually(async || {
            let call = plane.call("GET", "/customers").key(&company.live);
            call.send().await.status == 200
        })
        .await;
    let listed = customers(&plane, &company).await;
    let store = &plane.running.registry().store;
    let (without_key,): (i64,) = sqlx::query_as(
        "SELECT COUNT(*) FROM end_customers c WHERE 1 <> (SELECT COUNT(*) FROM api_keys k \
         WHERE k.customer_id = c.id AND k.state = 'active')",
    )
    .fetch_one(store.readers())
    .await
    .unwrap();
    assert_eq!(without_key, 0, "half of a change was made");
    let listed: BTreeSet<&str> = listed
        .iter()
        .map(|customer| customer["name"].as_str().unwrap())
        .collect();
    for (name, status) in names.iter().zip(&statuses) {
        // One that broke while it was committed may be there.
        assert!(
            *status == 503 || listed.contains(name.as_str()),
            "{name} was answered and is gone"
        );
    }
    let head = changes::head(store).await.unwrap();
    let (changes, audited): (i64, i64) =
        sqlx::query_as("SELECT (SELECT COUNT(*) FROM changes), (SELECT COUNT(*) FROM audit)")
            .fetch_one(store.readers())
            .await
            .unwrap();
    assert_eq!(
        (changes, audited),
        (i64::try_from(head).unwrap(), i64::try_from(head).unwrap())
    );
    assert_eq!(create(&plane, &company, "After").await, 201);
}

#[tokio::test]
async fn a_database_that_is_away_is_503_in_the_form_of_each_surface() {
    let (mut server, plane) = start().await;
    let company = plane.company("Acme").await;
    server.stop_immediately().unwrap();
    let portal = plane.call("GET", "/customers").key(&company.live).send().await;
    let portal = portal.expect_code(503, "SERVICE_UNAVAILABLE");
    assert!(portal.header("retry-after").is_some());
    plane
        .admin("GET", "/admin/customers")
        .send()
        .await
        .expect_error(503, "unavailable");
    let keys = plane
        .call("GET", "/keys")
        .key(&company.live)
        .send()
        .await
        .expect(503);
    let told = keys.json();
    assert_eq!(told["status"], 503, "{told}");
    assert_eq!(told["requestId"], keys.header("x-request-id").unwrap());
    assert!(told["message"].as_str().is_some_and(|text| !text.is_empty()));
    let user_keys = plane
        .call("GET", PATH)
        .key(&company.live)
        .send()
        .await
        .expect(503);
    let told = user_keys.json();
    assert_eq!(told["statusCode"], 503, "{told}");
    assert_eq!(told["message"], "PSP Product Manager Api is unavailable.");
    assert_eq!(told["error"], "Service Unavailable");
    let token = plane
        .call("POST", "/oauth/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .bytes(format!(
            "grant_type=client_credentials&client_id={}&client_secret={}",
            company.id, company.live
        ));
    let token = token.send().await.expect(503);
    assert_eq!(token.json()["error"], "temporarily_unavailable");
    let ready = reqwest::get(format!("http://{}/readyz", plane.running.admin))
        .await
        .unwrap();
    assert_eq!(ready.status(), 503);
    server.start_again().unwrap();
    plane
        .eventually(async || plane.admin("GET", "/admin/customers").send().await.status == 200)
        .await;
    plane.company("Other").await;
}

#[tokio::test]
async fn gateways_are_sent_away_by_a_control_plane_that_no_longer_knows_what_others_do() {
    let (mut server, plane) = start().await;
    let company = plane.company("Acme").await;
    let gateway = Gateway::join(&plane, hello("edge-1", 1)).await.unwrap();
    // A short absence costs no stream.
    server.stop_immediately().unwrap();
    server.start_again().unwrap();
    plane
        .eventually(async || create(&plane, &company, "Still there").await == 201)
        .await;
    assert!(!gateway.has_ended());
    server.stop_immediately().unwrap();
    assert_eq!(gateway.end().await.code(), Code::Unavailable);
    let refused = Gateway::join(&plane, crate::gateway::resuming("edge-1", 1)).await;
    assert_eq!(refused.err().map(|status| status.code()), Some(Code::Unavailable));
    server.start_again().unwrap();
    tokio::time::timeout(Duration::from_secs(20), async {
        while Gateway::join(&plane, hello("edge-1", 1)).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}
