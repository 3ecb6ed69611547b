//! What holds at every endpoint of the admin API.

use keyward_contract::Limits;
use keyward_control_plane::domain::admin::Role;
use serde_json::json;

use crate::plane::Plane;

const ID: &str = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e";

/// Method, path, and the least role.
fn endpoints() -> Vec<(&'static str, String, Role)> {
    use Role::{Operator, Owner, Viewer};
    let customer = format!("/admin/customers/{ID}");
    vec![
        ("POST", "/admin/customers".into(), Operator),
        ("GET", "/admin/customers".into(), Viewer),
        ("GET", customer.clone(), Viewer),
        ("PUT", customer.clone(), Operator),
        ("PATCH", customer.clone(), Operator),
        ("DELETE", customer.clone(), Operator),
        ("POST", format!("{customer}/api-keys"), Operator),
        ("GET", format!("{customer}/api-keys"), Viewer),
        ("PATCH", format!("{customer}/api-keys/{ID}"), Operator),
        ("DELETE", format!("{customer}/api-keys/{ID}"), Operator),
        ("POST", format!("{customer}/api-keys/{ID}/rotate"), Operator),
        (
            "PUT",
            format!("{customer}/environments/0123456789abcdef"),
            Operator,
        ),
        ("GET", format!("{customer}/users"), Viewer),
        ("POST", format!("{customer}/users"), Operator),
        ("GET", format!("{customer}/users/{ID}"), Viewer),
        ("PUT", format!("{customer}/users/{ID}"), Operator),
        ("PATCH", format!("{customer}/users/{ID}"), Operator),
        ("DELETE", format!("{customer}/users/{ID}"), Operator),
        ("GET", format!("/admin/usage/{ID}"), Viewer),
        ("GET", "/admin/tiers".into(), Viewer),
        ("POST", "/admin/leaks".into(), Operator),
        ("GET", "/admin/gateways".into(), Viewer),
        ("GET", "/admin/gateways/edge-1".into(), Viewer),
        ("PUT", "/admin/gateways/edge-1".into(), Operator),
        ("GET", "/admin/gateways/edge-1/tokens".into(), Viewer),
        ("POST", "/admin/gateways/edge-1/tokens".into(), Operator),
        ("DELETE", format!("/admin/gateways/edge-1/tokens/{ID}"), Operator),
        ("GET", "/admin/audit".into(), Viewer),
        ("GET", "/admin/audit/export".into(), Viewer),
        ("GET", "/admin/audit/verify".into(), Viewer),
        ("GET", "/admin/webhooks".into(), Viewer),
        ("POST", "/admin/webhooks".into(), Operator),
        ("GET", format!("/admin/webhooks/{ID}"), Viewer),
        ("PUT", format!("/admin/webhooks/{ID}"), Operator),
        ("PATCH", format!("/admin/webhooks/{ID}"), Operator),
        ("DELETE", format!("/admin/webhooks/{ID}"), Operator),
        ("POST", format!("/admin/webhooks/{ID}/rotate-secret"), Operator),
        ("POST", format!("/admin/webhooks/{ID}/test"), Operator),
        ("GET", format!("/admin/webhooks/{ID}/deliveries"), Viewer),
        ("GET", format!("/admin/webhooks/{ID}/deliveries/{ID}"), Viewer),
        (
            "POST",
            format!("/admin/webhooks/{ID}/deliveries/{ID}/replay"),
            Operator,
        ),
        ("GET", "/admin/admin-keys".into(), Owner),
        ("POST", "/admin/admin-keys".into(), Owner),
        ("DELETE", format!("/admin/admin-keys/{ID}"), Owner),
    ]
}

#[tokio::test]
async fn only_living_admin_keys_call_and_each_role_only_what_it_may() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let customer = plane.customer(&company.live, "Uni").await;
    let keys = [
        (Role::Viewer, plane.admin_key(Role::Viewer).await),
        (Role::Operator, plane.admin_key(Role::Operator).await),
        (Role::Owner, plane.admin_key(Role::Owner).await),
    ];
    for (method, path, least) in endpoints() {
        plane
            .call(method, &path)
            .send()
            .await
            .expect_error(401, "unauthorized");
        // A Bearer is no admin credential, whatever it holds.
        plane
            .call(method, &path)
            .key(&plane.owner)
            .send()
            .await
            .expect_error(401, "unauthorized");
        for wrong in ["nonsense", &company.live, customer["apiKey"].as_str().unwrap()] {
            plane
                .call(method, &path)
                .admin(wrong)
                .send()
                .await
                .expect_error(403, "forbidden");
        }
        for (role, key) in &keys {
            let answer = plane.call(method, &path).admin(key).send().await;
            assert_eq!(
                answer.status == 403,
                *role < least,
                "{method} {path} as {role:?}: {answer:?}"
            );
            assert_eq!(answer.header("x-ratelimit-limit"), Some("10000"));
        }
    }
}

#[tokio::test]
async fn admin_keys_have_buckets_of_their_own() {
    let plane = Plane::start_with(|config| {
        config.management_limits.others = Limits { rate: 1, burst: 2 };
    })
    .await;
    for _ in 0..2 {
        plane.admin("GET", "/admin/tiers").send().await.expect(200);
    }
    let answer = plane
        .admin("GET", "/admin/tiers")
        .send()
        .await
        .expect_error(429, "rate_limited");
    assert_eq!(answer.header("retry-after"), Some("1"));
    let other = plane.admin_key(Role::Viewer).await;
    plane
        .call("GET", "/admin/tiers")
        .admin(&other)
        .send()
        .await
        .expect(200);
}

#[tokio::test]
async fn errors_have_the_surfaces_own_form() {
    let plane = Plane::start().await;
    plane
        .admin("GET", "/admin/customers/not-a-uuid")
        .send()
        .await
        .expect_error(404, "not_found");
    plane
        .admin("GET", format!("/admin/customers/{ID}"))
        .send()
        .await
        .expect_error(404, "not_found");
    plane
        .admin("GET", "/admin/nothing")
        .send()
        .await
        .expect_error(404, "not_found");
    plane
        .admin("GET", "/admin")
        .send()
        .await
        .expect_error(404, "not_found");
    for later in [format!("/admin/customers/{ID}/users")] {
        plane
            .admin("GET", later)
            .send()
            .await
            .expect_error(404, "not_found");
    }
    let answer = plane
        .admin("PUT", "/admin/tiers")
        .send()
        .await
        .expect_error(405, "method_not_allowed");
    assert!(answer.header("allow").unwrap().contains("GET"));
    let post = || plane.admin("POST", "/admin/customers");
    post()
        .header("content-type", "text/plain")
        .bytes("{}")
        .send()
        .await
        .expect_error(415, "unsupported_media_type");
    post()
        .raw("{\"a\":1,\"a\":2}")
        .send()
        .await
        .expect_error(400, "invalid_request");
    let large = json!({"x": "y".repeat(65_536)});
    post()
        .json(&large)
        .send()
        .await
        .expect_error(413, "payload_too_large");
}

#[tokio::test]
async fn a_refusal_under_an_idempotency_key_has_the_form_of_the_admin_api() {
    let plane = Plane::start().await;
    for repeat in [false, true] {
        let call = plane.admin("POST", "/admin/customers");
        let call = call.header("idempotency-key", "once").json(&json!({}));
        let answer = call.send().await;
        assert_eq!(answer.header("idempotent-replayed").is_some(), repeat);
        let answer = answer.expect(400);
        assert_eq!(answer.json()["error"], "invalid_request", "{}", answer.text);
    }
}

#[tokio::test]
async fn without_gateways_a_change_is_complete_at_none() {
    let plane = Plane::start().await;
    let body = json!({"company_name": "Acme", "contact_email": "it@example.com", "tier": "growth"});
    let made = plane
        .admin("POST", "/admin/customers")
        .json(&body)
        .send()
        .await
        .expect(201);
    assert_eq!(made.header("keyward-propagation"), Some("complete; gateways=0"));
}
