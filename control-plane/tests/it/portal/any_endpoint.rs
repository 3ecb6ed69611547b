//! What holds at every endpoint of the portal API: who may call, and the forms of a call.

use std::time::Duration;

use keyward_control_plane::domain::admin::Role;
use serde_json::json;

use crate::plane::Plane;

const UNKNOWN: &str = "/customers/clx8f2k9h0001qr5tgvwxyz99";
const ENDPOINTS: [(&str, &str); 7] = [
    ("GET", "/customers"),
    ("POST", "/customers"),
    ("GET", "/customers/clx8f2k9h0001qr5tgvwxyz12"),
    ("PATCH", "/customers/clx8f2k9h0001qr5tgvwxyz12"),
    ("DELETE", "/v1/customers/clx8f2k9h0001qr5tgvwxyz12"),
    ("GET", "/customers/clx8f2k9h0001qr5tgvwxyz12/usage"),
    ("POST", "/v1/customers/clx8f2k9h0001qr5tgvwxyz12/rotate-key"),
];

#[tokio::test]
async fn nobody_calls_without_a_living_account_key() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let customer = plane.customer(&company.live, "Uni").await;
    let revoked = plane.account_key(&company.id, &json!({})).await;
    let path = format!(
        "/admin/customers/{}/api-keys/{}",
        company.id,
        revoked["api_key_id"].as_str().unwrap()
    );
    plane.admin("DELETE", path).send().await.expect(200);
    let revoked = revoked["api_key"].as_str().unwrap();
    let mut mistyped = company.live.clone();
    mistyped.replace_range(10..11, if &mistyped[10..11] == "a" { "b" } else { "a" });
    let unknown = keyward_contract::PlainKey::mint(
        keyward_contract::KeyKind::Account,
        keyward_contract::Environment::Production,
    )
    .unwrap();
    let bearer = |key: &str| Some(format!("Bearer {key}"));
    let rows = [
        (None, "UNAUTHORIZED"),
        (Some("Basic YTpi".into()), "UNAUTHORIZED"),
        (Some("Bearer".into()), "UNAUTHORIZED"),
        (Some(format!("Bearer{}", company.live)), "UNAUTHORIZED"),
        (bearer("nonsense"), "INVALID_API_KEY"),
        (bearer(&mistyped), "INVALID_API_KEY"),
        (bearer(unknown.expose()), "INVALID_API_KEY"),
        (bearer(customer["apiKey"].as_str().unwrap()), "INVALID_API_KEY"),
        (bearer(&plane.admin_key(Role::Owner).await), "INVALID_API_KEY"),
        (bearer(revoked), "EXPIRED_API_KEY"),
    ];
    for (authorization, code) in rows {
        for (method, path) in ENDPOINTS {
            let mut call = plane.call(method, path);
            if let Some(authorization) = &authorization {
                call = call.header("authorization", authorization);
            }
            let answer = call.send().await.expect_code(401, code);
            assert_eq!(
                answer.header("www-authenticate"),
                Some("Bearer realm=\"keyward\"")
            );
            assert!(answer.header("x-ratelimit-limit").is_none());
        }
    }
    let elsewhere = plane.call("GET", "/customers").header("x-api-key", &company.live);
    elsewhere.send().await.expect_code(401, "UNAUTHORIZED");
    let ignored = plane.call("GET", "/customers").key(&company.live);
    ignored
        .header("x-customer-key", "nonsense")
        .send()
        .await
        .expect(200);
    let lower = format!("bearer  {}", company.live);
    let lower = plane.call("GET", "/customers").header("authorization", &lower);
    lower.send().await.expect(200);
    let twice = plane
        .call("GET", "/customers")
        .key(&company.live)
        .key(&company.live);
    twice.send().await.expect_invalid("Authorization");
}

#[tokio::test]
async fn a_key_is_refused_from_the_moment_it_expires() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let now = plane.running.registry().clock.now().0 / 1_000;
    let expires_at = keyward_contract::UnixMillis((now + 60) * 1_000).to_rfc3339_seconds();
    let key = plane
        .account_key(&company.id, &json!({"expires_at": expires_at}))
        .await;
    let key = key["api_key"].as_str().unwrap();
    plane.call("GET", "/customers").key(key).send().await.expect(200);
    plane.advance(Duration::from_secs(61));
    let late = plane.call("GET", "/customers").key(key).send().await;
    late.expect_code(401, "EXPIRED_API_KEY");
}

#[tokio::test]
async fn an_account_that_may_not_call_is_forbidden_everywhere() {
    let plane = Plane::start().await;
    let suspended = plane.company("Suspended").await;
    let cancelled = plane.company("Cancelled").await;
    let over = plane.company("Over").await;
    let path = |id: &str| format!("/admin/customers/{id}");
    let edit = |id: &str, body| plane.admin("PUT", path(id)).json(&body);
    edit(&suspended.id, json!({"status": "suspended"}))
        .send()
        .await
        .expect(200);
    plane
        .admin("DELETE", path(&cancelled.id))
        .send()
        .await
        .expect(200);
    let contract = json!({"contract_start": "2020-01-01", "contract_end": "2020-12-31"});
    edit(&over.id, contract).send().await.expect(200);
    for company in [&suspended, &cancelled, &over] {
        for (method, path) in ENDPOINTS {
            let answer = plane.call(method, path).key(&company.live).send().await;
            let answer = answer.expect_code(403, "FORBIDDEN");
            assert_eq!(answer.header("x-ratelimit-limit"), Some("10000"));
            assert_eq!(answer.header("x-ratelimit-remaining"), Some("10000"));
        }
    }
    edit(&suspended.id, json!({"status": "active"}))
        .send()
        .await
        .expect(200);
    plane
        .call("GET", "/customers")
        .key(&suspended.live)
        .send()
        .await
        .expect(200);
}

#[tokio::test]
async fn a_keys_address_list_holds_for_management_calls() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    for (list, status) in [
        (json!(["203.0.113.0/24"]), 403),
        (json!(["127.0.0.0/8", "::1"]), 200),
    ] {
        let key = plane
            .account_key(&company.id, &json!({"allowed_ips": list}))
            .await;
        let call = plane
            .call("GET", "/customers")
            .key(key["api_key"].as_str().unwrap());
        // What a caller says of its own address is nothing.
        call.header("x-forwarded-for", "203.0.113.7")
            .send()
            .await
            .expect(status);
    }
}

#[tokio::test]
async fn another_method_is_405_with_allow_and_another_path_404() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    for (method, path, allowed) in [
        ("PUT", "/customers", vec!["GET", "HEAD", "POST"]),
        ("POST", UNKNOWN, vec!["DELETE", "GET", "HEAD", "PATCH"]),
        ("POST", "/v1/customers/x/usage", vec!["GET", "HEAD"]),
        ("GET", "/customers/x/rotate-key", vec!["POST"]),
    ] {
        let answer = plane.call(method, path).key(&company.live).send().await;
        let answer = answer.expect_code(405, "METHOD_NOT_ALLOWED");
        let mut allow: Vec<_> = answer
            .header("allow")
            .unwrap()
            .split(',')
            .map(str::trim)
            .collect();
        allow.sort_unstable();
        assert_eq!(allow, allowed, "{method} {path}");
        assert!(answer.header("x-ratelimit-limit").is_some());
    }
    for path in [
        "/nothing",
        "/customers/",
        "/customers/a/b",
        "/v2/customers",
        "/customersx",
        "/",
    ] {
        let answer = plane.call("GET", path).key(&company.live).send().await;
        answer.expect_code(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn an_id_that_can_not_be_one_is_not_found() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    for id in [
        "x",
        "clx8f2k9h0001qr5tgvwxyz1",
        "CLX8F2K9H0001QR5TGVWXYZ12",
        "%00",
        "%ff%fe",
        "..%2f..",
        "c%20",
    ] {
        for (method, rest) in [
            ("GET", ""),
            ("PATCH", ""),
            ("DELETE", ""),
            ("GET", "/usage"),
            ("POST", "/rotate-key"),
        ] {
            let call = plane
                .call(method, format!("/customers/{id}{rest}"))
                .key(&company.live);
            call.raw("{}").send().await.expect_code(404, "NOT_FOUND");
        }
    }
}

#[tokio::test]
async fn a_body_is_json_of_at_most_64_kib_without_ambiguity() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let call = || plane.call("POST", "/customers").key(&company.live);
    let deep = format!("{{\"name\":\"x\",\"more\":{}{}}}", "[".repeat(32), "]".repeat(32));
    for body in [
        "",
        "{",
        "[]",
        "\"x\"",
        "null",
        "NaN",
        "{\"name\":NaN}",
        "{\"name\":\"a\",\"name\":\"b\"}",
        "{\"name\":\"a\"} x",
        &deep,
    ] {
        call().raw(body).send().await.expect_invalid("body");
    }
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "",
        "application/xml",
    ] {
        let call = call().header("content-type", kind).bytes("{\"name\":\"a\"}");
        call.send().await.expect_code(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    call()
        .bytes("{\"name\":\"a\"}")
        .send()
        .await
        .expect_code(415, "UNSUPPORTED_MEDIA_TYPE");
    let padded = |size: usize| format!("{{\"name\":\"Padded\",\"x\":\"{}\"}}", "y".repeat(size));
    call()
        .raw(padded(64 * 1024))
        .send()
        .await
        .expect_code(413, "PAYLOAD_TOO_LARGE");
    call().raw(padded(60 * 1024)).send().await.expect(201);
    let charset = call().header("content-type", "Application/JSON; charset=utf-8");
    charset.bytes("{\"name\":\"Charset\"}").send().await.expect(201);
}

#[tokio::test]
async fn a_well_formed_request_id_is_kept_and_any_other_replaced() {
    let plane = Plane::start().await;
    for (sent, kept) in [
        ("abc-DEF_1.2", true),
        (&"x".repeat(128), true),
        (&"x".repeat(129), false),
        ("with space", false),
        ("semi;colon", false),
        ("", false),
    ] {
        for path in ["/customers", "/admin/tiers", "/nothing"] {
            let answer = plane.call("GET", path).header("x-request-id", sent).send().await;
            let id = answer.header("x-request-id").unwrap();
            assert_eq!(id == sent, kept, "{sent}");
            if !kept {
                assert_eq!(
                    id.parse::<keyward_contract::KeyId>()
                        .unwrap()
                        .as_uuid()
                        .get_version_num(),
                    7
                );
            }
        }
    }
}

#[tokio::test]
async fn test_and_production_and_other_accounts_see_nothing_of_each_other() {
    let plane = Plane::start().await;
    let (acme, other) = (plane.company("Acme").await, plane.company("Other").await);
    let mine = plane.customer(&acme.live, "Uni").await;
    assert_eq!(mine["environment"], "production");
    assert!(mine["apiKey"].as_str().unwrap().starts_with("ck_live_"));
    let id = mine["id"].as_str().unwrap();
    for stranger in [&acme.test, &other.live, &other.test] {
        for (method, rest) in [
            ("GET", ""),
            ("PATCH", ""),
            ("DELETE", ""),
            ("GET", "/usage"),
            ("POST", "/rotate-key"),
        ] {
            let call = plane.call(method, format!("/customers/{id}{rest}")).key(stranger);
            call.raw("{\"name\":\"Mine\"}")
                .send()
                .await
                .expect_code(404, "NOT_FOUND");
        }
    }
    // The same name is free elsewhere.
    let test = plane.customer(&acme.test, "Uni").await;
    assert_eq!(test["environment"], "test");
    assert!(test["apiKey"].as_str().unwrap().starts_with("ck_test_"));
    plane.customer(&other.live, "Uni").await;
    let still = plane
        .call("GET", format!("/customers/{id}"))
        .key(&acme.live)
        .send()
        .await;
    assert_eq!(still.expect(200).json()["name"], "Uni");
}

#[tokio::test]
async fn every_accounts_test_environment_has_the_sandbox_customer() {
    let plane = Plane::start().await;
    let (acme, other) = (plane.company("Acme").await, plane.company("Other").await);
    let mut keys = Vec::new();
    for company in [&acme, &other] {
        let call = plane.call("GET", "/customers/clx8f2k9h0001qr5tgvwxyz12");
        let sandbox = call.key(&company.test).send().await.expect(200).json();
        assert_eq!(sandbox["name"], "Northern Virginia Community College");
        keys.push(sandbox["apiKey"].as_str().unwrap().to_owned());
        let live = plane.call("GET", "/customers/clx8f2k9h0001qr5tgvwxyz12");
        live.key(&company.live).send().await.expect(404);
    }
    assert!(keys.iter().all(|key| key.starts_with("ck_test_")) && keys[0] != keys[1]);
}

#[tokio::test]
async fn a_body_that_nobody_asked_for_is_bounded_too() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let customer = plane.customer(&company.live, "Uni").await;
    let path = format!("/customers/{}", customer["id"].as_str().unwrap());
    for (method, path) in [
        ("POST", format!("{path}/rotate-key")),
        ("DELETE", path.clone()),
        ("GET", path.clone()),
    ] {
        let call = plane.call(method, path).key(&company.live);
        let large = call.raw("x".repeat(64 * 1024 + 1)).send().await;
        large.expect_code(413, "PAYLOAD_TOO_LARGE");
    }
    let shown = plane.call("GET", path).key(&company.live).send().await;
    assert_eq!(shown.expect(200).json(), customer);
}

#[tokio::test]
async fn a_body_in_another_coding_is_another_media_type() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    for (name, value) in [
        ("content-type", "application/json; charset=utf-16"),
        ("content-encoding", "gzip"),
    ] {
        let call = plane
            .call("POST", "/customers")
            .key(&company.live)
            .header(name, value);
        let call = match name {
            "content-type" => call.bytes(r#"{"name":"Uni"}"#),
            _ => call.raw(r#"{"name":"Uni"}"#),
        };
        call.send().await.expect_code(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    let call = plane.call("POST", "/customers").key(&company.live);
    let call = call.header("content-type", "application/json; charset=UTF-8");
    call.bytes(r#"{"name":"Uni"}"#).send().await.expect(201);
}
