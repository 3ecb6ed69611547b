//! What holds at every endpoint of surface 3: who may call, and the forms of a call.

use keyward_contract::Limits;
use keyward_control_plane::domain::admin::Role;
use keyward_control_plane::store::Purpose;
use serde_json::{Value, json};

use super::{get, make, path, person, plane, run, set};
use crate::plane::{Answer, Plane};

const UNKNOWN: &str = "/keys/0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e";
const ENDPOINTS: [(&str, &str); 5] = [
    ("GET", "/keys"),
    ("POST", "/keys"),
    ("GET", UNKNOWN),
    ("PUT", UNKNOWN),
    ("DELETE", UNKNOWN),
];

#[tokio::test]
async fn nobody_calls_without_a_living_account_key() {
    let plane = plane().await;
    let company = plane.company("Acme").await;
    let customer = plane.customer(&company.live, "Uni").await;
    let revoked = plane.account_key(&company.id, &json!({})).await;
    let revoked_path = format!(
        "/admin/customers/{}/api-keys/{}",
        company.id,
        revoked["api_key_id"].as_str().unwrap()
    );
    plane.admin("DELETE", revoked_path).send().await.expect(200);
    let mut mistyped = company.live.clone();
    mistyped.replace_range(10..11, if &mistyped[10..11] == "a" { "b" } else { "a" });
    let admin = plane.admin_key(Role::Owner).await;
    for (credential, part) in [
        (None, "no API key"),
        (Some("nonsense"), "not valid"),
        (Some(mistyped.as_str()), "not valid"),
        (customer["apiKey"].as_str(), "not valid"),
        (Some(admin.as_str()), "not valid"),
        (revoked["api_key"].as_str(), "revoked"),
    ] {
        for (method, path) in ENDPOINTS {
            for header in ["x-api-key", "authorization"] {
                let mut call = plane.call(method, path);
                if let Some(credential) = credential {
                    call = match header {
                        "x-api-key" => call.header(header, credential),
                        _ => call.key(credential),
                    };
                }
                let answer = call.send().await.expect_message(401, part);
                assert_eq!(
                    answer.header("www-authenticate"),
                    Some("Bearer realm=\"keyward\"")
                );
                assert!(answer.header("x-ratelimit-limit").is_none());
            }
        }
    }
}

#[tokio::test]
async fn an_account_key_is_taken_in_either_header_and_two_that_differ_in_neither() {
    let plane = plane().await;
    let company = plane.company("Acme").await;
    let list = || plane.call("GET", "/keys");
    list().header("x-api-key", &company.live).send().await.expect(200);
    list().key(&company.live).send().await.expect(200);
    let same = list().key(&company.live).header("x-api-key", &company.live);
    same.send().await.expect(200);
    let differing = list().key(&company.live).header("x-api-key", &company.test);
    differing
        .send()
        .await
        .expect_message(400, "two different credentials");
    let twice = list()
        .header("x-api-key", &company.live)
        .header("x-api-key", &company.live);
    twice.send().await.expect_message(400, "X-API-KEY");
}

#[tokio::test]
async fn an_account_that_may_not_call_is_forbidden_everywhere() {
    let plane = plane().await;
    let suspended = plane.company("Suspended").await;
    let cancelled = plane.company("Cancelled").await;
    let over = plane.company("Over").await;
    let edit = async |id: &str, body: Value| {
        let call = plane.admin("PUT", format!("/admin/customers/{id}"));
        call.json(&body).send().await.expect(200);
    };
    edit(&suspended.id, json!({"status": "suspended"})).await;
    edit(
        &over.id,
        json!({"contract_start": "2020-01-01", "contract_end": "2020-12-31"}),
    )
    .await;
    let path = format!("/admin/customers/{}", cancelled.id);
    plane.admin("DELETE", path).send().await.expect(200);
    for company in [&suspended, &cancelled, &over] {
        for (method, path) in ENDPOINTS {
            let answer = plane.call(method, path).key(&company.live).send().await;
            let answer = answer.expect_message(403, "account");
            assert_eq!(answer.header("x-ratelimit-limit"), Some("10000"));
        }
    }
    edit(&suspended.id, json!({"status": "active"})).await;
    get(&plane, &suspended.live, "/keys").await;
}

#[tokio::test]
async fn a_key_without_the_permission_is_forbidden_before_its_body_is_looked_at() {
    let plane = plane().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company).await;
    let users_own = make(&plane, &company.live, &ada, json!({})).await;
    set(&plane, users_own["id"].as_str().unwrap(), "origin", "user-keys").await;
    for (method, path) in ENDPOINTS {
        let call = plane.call(method, path).key(users_own["key"].as_str().unwrap());
        let permission = match method {
            "GET" => "company.keys:list",
            _ => "company.keys:write",
        };
        let answer = call.raw("nonsense").send().await;
        let answer = answer.expect_message(403, permission);
        assert!(answer.header("x-ratelimit-limit").is_some());
    }
}

#[tokio::test]
async fn test_and_production_and_other_accounts_see_nothing_of_each_other() {
    let plane = plane().await;
    let (acme, other) = (plane.company("Acme").await, plane.company("Other").await);
    let ada = person(&plane, &acme).await;
    let key = make(&plane, &acme.live, &ada, json!({})).await;
    let customer = plane.customer(&acme.live, "Uni").await;
    for stranger in [&acme.test, &other.live, &other.test] {
        for method in ["GET", "PUT", "DELETE"] {
            let call = plane.call(method, path(&key)).key(stranger);
            let answer = call.json(&json!({"description": "mine"})).send().await;
            answer.expect_message(404, "no such API key");
        }
    }
    assert_eq!(get(&plane, &acme.live, path(&key)).await, key);
    // A customer key is no key of this surface, by whatever id.
    let store = &plane.running.registry().store;
    let row: (String,) = sqlx::query_as("SELECT id FROM api_keys WHERE customer_id = $1")
        .bind(customer["id"].as_str().unwrap().to_owned())
        .fetch_one(store.readers())
        .await
        .unwrap();
    for method in ["GET", "PUT", "DELETE"] {
        let call = plane.call(method, format!("/keys/{}", row.0)).key(&acme.live);
        call.json(&json!({})).send().await.expect(404);
    }
}

#[tokio::test]
async fn what_can_be_no_id_and_what_is_no_path_are_not_found() {
    let plane = plane().await;
    let company = plane.company("Acme").await;
    for id in [
        "x",
        "%00",
        "%ff",
        "0190b5f2e5f07c9a8d1e2f3a4b5c6d7e",
        "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e",
    ] {
        for method in ["GET", "PUT", "DELETE"] {
            let call = plane.call(method, format!("/keys/{id}")).key(&company.live);
            call.json(&json!({})).send().await.expect_message(404, "no such");
        }
    }
    for path in ["/keys/", "/keys/a/b"] {
        let call = plane.call("GET", path).key(&company.live);
        call.send().await.expect_message(404, "no such path");
    }
}

#[tokio::test]
async fn another_method_is_405_with_allow() {
    let plane = plane().await;
    let company = plane.company("Acme").await;
    for (method, path, allowed) in [
        ("PUT", "/keys", vec!["GET", "HEAD", "POST"]),
        ("DELETE", "/keys", vec!["GET", "HEAD", "POST"]),
        ("POST", UNKNOWN, vec!["DELETE", "GET", "HEAD", "PUT"]),
        ("PATCH", UNKNOWN, vec!["DELETE", "GET", "HEAD", "PUT"]),
    ] {
        let answer = plane.call(method, path).key(&company.live).send().await;
        let answer = answer.expect_message(405, "method");
        let mut allow: Vec<_> = answer.header("allow").unwrap().split(',').collect();
        allow.sort_unstable();
        assert_eq!(allow, allowed, "{method} {path}");
    }
}

#[tokio::test]
async fn a_body_is_json_of_at_most_64_kib_without_ambiguity() {
    let plane = plane().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company).await;
    let key = make(&plane, &company.live, &ada, json!({})).await;
    let deep = format!(
        "{{\"userId\":\"{}\",\"more\":{}{}}}",
        ada.id,
        "[".repeat(32),
        "]".repeat(32)
    );
    let twice = format!("{{\"userId\":\"{0}\",\"userId\":\"{0}\"}}", ada.id);
    for (method, path) in [("POST", "/keys".to_owned()), ("PUT", path(&key))] {
        let call = || plane.call(method, path.clone()).key(&company.live);
        for body in [
            "",
            "{",
            "[]",
            "null",
            "{\"description\":NaN}",
            "{\"description\":\"a\",\"description\":\"b\"}",
            &twice,
            &deep,
        ] {
            call().raw(body).send().await.expect_message(400, "`body`");
        }
        let body = json!({"userId": ada.id}).to_string();
        for kind in ["text/plain", "application/x-www-form-urlencoded", ""] {
            let answer = call()
                .header("content-type", kind)
                .bytes(body.clone())
                .send()
                .await;
            answer.expect_message(415, "application/json");
        }
        let answer = call().bytes(body).send().await;
        answer.expect_message(415, "application/json");
        let large = format!("{{\"x\":\"{}\"}}", "y".repeat(64 * 1024));
        call().raw(large).send().await.expect_message(413, "64 KiB");
    }
    // Where nobody asked for a body too.
    for (method, path) in [
        ("GET", "/keys".to_owned()),
        ("GET", path(&key)),
        ("DELETE", path(&key)),
    ] {
        let call = plane.call(method, path).key(&company.live);
        let answer = call.raw("x".repeat(64 * 1024 + 1)).send().await;
        answer.expect_message(413, "64 KiB");
    }
    assert_eq!(get(&plane, &company.live, path(&key)).await, key);
}

#[tokio::test]
async fn each_key_has_a_bucket_of_its_own() {
    let plane = Plane::start_with(|config| {
        config.management_limits.others = Limits { rate: 1, burst: 5 };
    })
    .await;
    let company = plane.company("Acme").await;
    for (left, (method, path)) in [4, 3, 2, 1, 0].into_iter().zip(ENDPOINTS) {
        let answer = plane.call(method, path).key(&company.live).send().await;
        assert_eq!(answer.header("x-ratelimit-limit"), Some("5"));
        assert_eq!(
            answer.header("x-ratelimit-remaining"),
            Some(left.to_string().as_str())
        );
        assert!(answer.header("x-ratelimit-reset").is_some());
    }
    for (method, path) in ENDPOINTS {
        let answer = plane.call(method, path).key(&company.live).send().await;
        let answer = answer.expect_message(429, "slow down");
        assert!(answer.header("retry-after").is_some());
    }
    get(&plane, &company.test, "/keys").await;
}

/// One call to every endpoint, each of which would succeed.
async fn each(plane: &Plane, credential: &str, key: &Value, body: &Value) -> Vec<Answer> {
    let calls = [
        ("GET", "/keys".to_owned()),
        ("POST", "/keys".to_owned()),
        ("GET", path(key)),
        ("PUT", path(key)),
        ("DELETE", path(key)),
    ];
    let calls = calls.map(|(method, path)| {
        let call = plane.call(method, path).key(credential);
        match method {
            "POST" | "PUT" => call.json(body).send(),
            _ => call.send(),
        }
    });
    futures_util::future::join_all(calls).await
}

#[tokio::test]
async fn a_store_that_is_at_odds_with_us_is_500_and_nothing_is_changed() {
    let plane = plane().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company).await;
    let key = make(&plane, &company.live, &ada, json!({})).await;
    let body = json!({"userId": ada.id, "description": "new"});
    run(&plane, "ALTER TABLE audit RENAME TO away", &[]).await;
    for (answer, status) in each(&plane, &company.live, &key, &body)
        .await
        .into_iter()
        .zip([200, 500, 200, 500, 500])
    {
        let answer = answer.expect(status);
        assert!(!answer.text.contains("audit"), "{}", answer.text);
    }
    run(&plane, "ALTER TABLE away RENAME TO audit", &[]).await;
    assert_eq!(get(&plane, &company.live, path(&key)).await, key);
    assert_eq!(get(&plane, &company.live, "/keys").await["total"], 2);
    run(&plane, "ALTER TABLE api_keys RENAME TO away", &[]).await;
    for answer in each(&plane, &company.live, &key, &body).await {
        answer.expect_message(500, "our side");
    }
}

#[tokio::test]
async fn a_store_that_is_away_is_503_and_comes_back() {
    let plane = plane().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company).await;
    let key = make(&plane, &company.live, &ada, json!({})).await;
    let body = json!({"userId": ada.id, "description": "new"});
    let store = &plane.running.registry().store;
    // Another change doesn't end.
    let endless = store.begin(Purpose::Change).await.unwrap();
    for (answer, status) in each(&plane, &company.live, &key, &body)
        .await
        .into_iter()
        .zip([200, 503, 200, 503, 503])
    {
        let answer = answer.expect(status);
        assert_eq!(answer.header("retry-after").is_some(), status == 503);
    }
    drop(endless);
    // No connection is left.
    let mut taken = Vec::new();
    while let Ok(connection) = store.readers().acquire().await {
        taken.push(connection);
    }
    for answer in each(&plane, &company.live, &key, &body).await {
        answer.expect_message(503, "unavailable");
    }
    drop(taken);
    assert_eq!(get(&plane, &company.live, path(&key)).await, key);
}
