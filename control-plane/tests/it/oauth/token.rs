//! `POST /oauth/token`

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use insta::assert_json_snapshot;
use keyward_contract::Limits;
use keyward_control_plane::domain::admin::Role;
use serde_json::json;

use crate::plane::{Answer, Plane};
use crate::tokens::{claims_of, header_of};

const PATH: &str = "/oauth/token";
const FORM: &str = "application/x-www-form-urlencoded";

async fn post(plane: &Plane, form: String) -> Answer {
    let call = plane.call("POST", PATH).header("content-type", FORM);
    let answer = call.bytes(form).send().await;
    assert_eq!(answer.header("pragma"), Some("no-cache"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    answer
}

async fn post_as(plane: &Plane, authorization: &str, form: &str) -> Answer {
    let call = plane.call("POST", PATH).header("content-type", FORM);
    call.header("authorization", authorization)
        .bytes(form)
        .send()
        .await
}

fn form(id: &str, secret: &str) -> String {
    format!("grant_type=client_credentials&client_id={id}&client_secret={secret}")
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

#[track_caller]
fn refused(answer: Answer, status: u16, error: &str) -> Answer {
    let answer = answer.expect(status);
    let body = answer.json();
    assert_eq!(body["error"], error, "{body}");
    assert!(body["error_description"].is_string());
    assert_eq!(body.as_object().unwrap().len(), 2);
    answer
}

#[tokio::test]
async fn an_account_key_is_exchanged_for_a_token() {
    let plane =
        Plane::start_with(|config| config.auth.issuer = Some("https://keys.example.com".into())).await;
    let company = plane.company("Acme").await;
    let answer = post(&plane, form(&company.id, &company.test)).await.expect(200);
    assert_eq!(answer.header("x-ratelimit-limit"), Some("10000"));
    let body = answer.json();
    assert_json_snapshot!(body, {".access_token" => "[token]"}, @r#"
    {
      "access_token": "[token]",
      "token_type": "Bearer",
      "expires_in": 3600,
      "scope": "company.keys:list company.keys:write"
    }
    "#);
    let token = body["access_token"].as_str().unwrap();
    assert_json_snapshot!(header_of(token), {".kid" => "[kid]"}, @r#"
    {
      "alg": "EdDSA",
      "typ": "at+jwt",
      "kid": "[kid]"
    }
    "#);
    let claims = claims_of(token);
    assert_eq!(
        (&claims["sub"], &claims["client_id"]),
        (&json!(company.id), &json!(company.id))
    );
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        3_600
    );
    assert_json_snapshot!(claims, {
        ".sub" => "[id]", ".client_id" => "[id]", ".iat" => "[at]", ".nbf" => "[at]", ".exp" => "[at]",
        ".jti" => "[id]", ".key_id" => "[id]",
    }, @r#"
    {
      "iss": "https://keys.example.com",
      "aud": "https://keys.example.com",
      "sub": "[id]",
      "client_id": "[id]",
      "iat": "[at]",
      "nbf": "[at]",
      "exp": "[at]",
      "jti": "[id]",
      "environment": "test",
      "key_id": "[id]",
      "scope": "company.keys:list company.keys:write"
    }
    "#);
    let live = post(&plane, form(&company.id, &company.live))
        .await
        .expect(200)
        .json();
    let live = claims_of(live["access_token"].as_str().unwrap());
    assert_eq!(live["environment"], "production");
    assert_ne!(live["jti"], claims["jti"]);
}

#[tokio::test]
async fn http_basic_is_taken_with_its_parts_urlencoded() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let grant = "grant_type=client_credentials";
    let encoded = format!("%{:02X}{}", company.id.as_bytes()[0], &company.id[1..]);
    for authorization in [
        basic(&company.id, &company.live),
        basic(&encoded, &company.live),
        basic(&company.id, &company.live).replace("Basic", "basic"),
    ] {
        post_as(&plane, &authorization, grant).await.expect(200);
    }
    let same = format!("{grant}&client_id={}", company.id);
    post_as(&plane, &basic(&company.id, &company.live), &same)
        .await
        .expect(200);
    for bad in [
        "Basic".into(),
        "Basic %%%".into(),
        "Basic".to_owned() + &STANDARD.encode("no colon"),
        format!("Basic {}", STANDARD.encode("no colon")),
        format!("Bearer {}", company.live),
        basic("%zz", &company.live),
        basic(&company.id, "nonsense"),
    ] {
        let answer = refused(post_as(&plane, &bad, grant).await, 401, "invalid_client");
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("Basic realm="), "{challenge}");
    }
}

#[tokio::test]
async fn only_a_living_key_of_the_account_itself_is_its_secret() {
    let plane = Plane::start().await;
    let (company, other) = (plane.company("Acme").await, plane.company("Other").await);
    let customer = plane.customer(&company.live, "Uni").await;
    let dead = plane.account_key(&company.id, &json!({})).await;
    let id = dead["api_key_id"].as_str().unwrap();
    let path = format!("/admin/customers/{}/api-keys/{id}", company.id);
    plane.admin("DELETE", path).send().await.expect(200);
    let elsewhere = json!({"allowed_ips": ["203.0.113.7"]});
    let elsewhere = plane.account_key(&company.id, &elsewhere).await;
    for (id, secret) in [
        (company.id.as_str(), other.live.as_str()),
        (&other.id, &company.live),
        (&company.id, customer["apiKey"].as_str().unwrap()),
        (&company.id, &plane.admin_key(Role::Owner).await),
        (&company.id, dead["api_key"].as_str().unwrap()),
        (&company.id, elsewhere["api_key"].as_str().unwrap()),
        (&company.id, "nonsense"),
        (&company.id, ""),
        ("", &company.live),
        ("nobody", &company.live),
    ] {
        let answer = refused(post(&plane, form(id, secret)).await, 401, "invalid_client");
        assert!(answer.header("www-authenticate").is_none());
    }
    let nothing = post(&plane, "grant_type=client_credentials".into()).await;
    refused(nothing, 401, "invalid_client");
    post(&plane, form(&company.id, &company.live)).await.expect(200);

    let path = format!("/admin/customers/{}", company.id);
    let suspended = json!({"status": "suspended"});
    plane
        .admin("PATCH", path)
        .json(&suspended)
        .send()
        .await
        .expect(200);
    refused(
        post(&plane, form(&company.id, &company.live)).await,
        401,
        "invalid_client",
    );
}

#[tokio::test]
async fn a_scope_narrows_and_never_widens() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let ask = |scope: &str| {
        post(
            &plane,
            format!("{}&scope={scope}", form(&company.id, &company.live)),
        )
    };
    for (asked, given) in [
        ("company.keys%3Alist", "company.keys:list"),
        ("company.keys:write", "company.keys:write"),
        (
            "company.keys:write+company.keys:list",
            "company.keys:list company.keys:write",
        ),
        ("company.keys:list+company.keys:list", "company.keys:list"),
        ("", "company.keys:list company.keys:write"),
    ] {
        let body = ask(asked).await.expect(200).json();
        assert_eq!(body["scope"], given);
        assert_eq!(claims_of(body["access_token"].as_str().unwrap())["scope"], given);
    }
    for asked in [
        "company.keys:delete",
        "company.keys:list+openid",
        "COMPANY.KEYS:LIST",
    ] {
        refused(ask(asked).await, 400, "invalid_scope");
    }
}

#[tokio::test]
async fn a_token_never_outlives_its_key() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let now = plane.running.registry().clock.now().0 / 1_000;
    let expires_at = keyward_contract::UnixMillis((now + 100) * 1_000).to_rfc3339_seconds();
    let key = plane
        .account_key(&company.id, &json!({"expires_at": expires_at}))
        .await;
    let body = post(&plane, form(&company.id, key["api_key"].as_str().unwrap()))
        .await
        .expect(200)
        .json();
    assert!(
        (90..=100).contains(&body["expires_in"].as_i64().unwrap()),
        "{body}"
    );
    assert_eq!(
        claims_of(body["access_token"].as_str().unwrap())["exp"],
        now + 100
    );
    let short = Plane::start_with(|config| config.auth.token_lifetime = Duration::from_secs(60)).await;
    let company = short.company("Acme").await;
    let body = post(&short, form(&company.id, &company.live))
        .await
        .expect(200)
        .json();
    assert_eq!(body["expires_in"], 60);
}

#[tokio::test]
async fn a_request_that_is_none_is_told_so() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let good = form(&company.id, &company.live);
    let (id, secret) = (&company.id, &company.live);
    for (body, error) in [
        (String::new(), "invalid_request"),
        (
            format!("client_id={id}&client_secret={secret}"),
            "invalid_request",
        ),
        (
            format!("grant_type=&client_id={id}&client_secret={secret}"),
            "invalid_request",
        ),
        (format!("{good}&grant_type=client_credentials"), "invalid_request"),
        (format!("{good}&client_id={id}"), "invalid_request"),
        (format!("{good}&scope=a&scope=b"), "invalid_request"),
        (format!("{good}&scope=%ff"), "invalid_request"),
        (format!("{good}&scope=%2"), "invalid_request"),
        (
            good.replace("client_credentials", "password"),
            "unsupported_grant_type",
        ),
        (
            good.replace("client_credentials", "authorization_code"),
            "unsupported_grant_type",
        ),
    ] {
        refused(post(&plane, body).await, 400, error);
    }
    post(&plane, format!("{good}&audience=x&unknown=1&unknown=2"))
        .await
        .expect(200);
    let twice = post_as(&plane, &basic(id, secret), &good).await;
    refused(twice, 400, "invalid_request");
    let grant = format!("grant_type=client_credentials&client_id={}", uuid::Uuid::now_v7());
    refused(
        post_as(&plane, &basic(id, secret), &grant).await,
        400,
        "invalid_request",
    );
    let headers = plane.call("POST", PATH).header("content-type", FORM);
    let headers = headers.header("authorization", &basic(id, secret));
    let headers = headers.header("authorization", &basic(id, secret));
    refused(
        headers.bytes("grant_type=client_credentials").send().await,
        400,
        "invalid_request",
    );
    let in_address = plane
        .call("POST", format!("{PATH}?{good}"))
        .header("content-type", FORM);
    refused(in_address.send().await, 400, "invalid_request");
}

#[tokio::test]
async fn other_methods_and_bodies_are_refused_in_the_same_form() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        let answer = refused(plane.call(method, PATH).send().await, 405, "invalid_request");
        assert_eq!(answer.header("allow"), Some("POST"));
    }
    let json =
        json!({"grant_type": "client_credentials", "client_id": company.id, "client_secret": company.live});
    refused(
        plane.call("POST", PATH).json(&json).send().await,
        415,
        "invalid_request",
    );
    let good = form(&company.id, &company.live);
    refused(
        plane.call("POST", PATH).bytes(good.clone()).send().await,
        415,
        "invalid_request",
    );
    let named = plane
        .call("POST", PATH)
        .header("content-type", "application/x-www-form-urlencoded; charset=UTF-8");
    named.bytes(good.clone()).send().await.expect(200);
    let zipped = plane
        .call("POST", PATH)
        .header("content-type", FORM)
        .header("content-encoding", "gzip");
    refused(zipped.bytes(good.clone()).send().await, 415, "invalid_request");
    let large = format!("{good}&x={}", "a".repeat(64 * 1_024));
    refused(post_large(&plane, large).await, 413, "invalid_request");
    refused(
        plane.call("GET", "/oauth/authorize").send().await,
        404,
        "invalid_request",
    );
}

async fn post_large(plane: &Plane, body: String) -> Answer {
    plane
        .call("POST", PATH)
        .header("content-type", FORM)
        .bytes(body)
        .send()
        .await
}

#[tokio::test]
async fn a_flood_of_one_client_is_stopped_and_nobody_elses() {
    let plane = Plane::start_with(|config| {
        config.management_limits.others = Limits { rate: 1, burst: 5 };
    })
    .await;
    let (company, other) = (plane.company("Acme").await, plane.company("Other").await);
    for _ in 0..5 {
        refused(
            post(&plane, form(&company.id, "wrong")).await,
            401,
            "invalid_client",
        );
    }
    let answer = refused(
        post(&plane, form(&company.id, &company.live)).await,
        429,
        "slow_down",
    );
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.header("x-ratelimit-remaining"), Some("0"));
    post(&plane, form(&other.id, &other.live)).await.expect(200);
    plane.advance(Duration::from_secs(1));
    post(&plane, form(&company.id, &company.live)).await.expect(200);
}
