//! Users who are signed in with a token: of a configured issuer, or one that was fetched with a key of theirs.

use std::time::Duration;

use keyward_harness::{Issuer, Signed};
use serde_json::{Value, json};

use super::{
    PATH, Person, create, expect_missing, expect_refusal, id, ids, listed, one, person, person_in, within,
};
use crate::plane::{Answer, Company, Plane};
use crate::tokens::{fetch, oidc};

/// A control plane that takes the tokens of an issuer, and a company with one user.
struct World {
    plane: Plane,
    issuer: Issuer,
    company: Company,
    ada: Person,
}

impl World {
    /// The user's stored claims say nothing here.
    async fn start() -> Self {
        let issuer = Issuer::start().await.unwrap();
        let plane = Plane::start_with(|config| config.auth.oidc = Some(oidc(&issuer))).await;
        let company = plane.company("Acme").await;
        let ada = person(&plane, &company.id, &["stored"]).await;
        Self {
            plane,
            issuer,
            company,
            ada,
        }
    }

    /// Good claims of the user with these over them.
    fn claims(&self, over: &Value) -> Value {
        let now = self.plane.running.registry().clock.now().0 / 1_000;
        let mut claims = json!({
            "iss": self.issuer.url(), "aud": "keyward", "sub": self.ada.sub, "iat": now, "exp": now + 300,
            "cognito:groups": ["Issuer_Dev"],
        });
        for (name, value) in over.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    }

    fn token(&self, over: &Value) -> String {
        self.issuer.token(&self.claims(over)).unwrap()
    }

    async fn call(&self, token: &str, method: &str, path: impl Into<String>, body: &Value) -> Answer {
        self.plane.call(method, path).key(token).json(body).send().await
    }

    /// Every endpoint, called with this token.
    async fn each(&self, token: &str, check: impl Fn(Answer)) {
        for (method, below) in [
            ("GET", ""),
            ("POST", ""),
            ("PATCH", "/1"),
            ("DELETE", "/1"),
            ("GET", "/usage"),
        ] {
            check(
                self.call(token, method, format!("{PATH}{below}"), &json!({}))
                    .await,
            );
        }
    }
}

#[tokio::test]
async fn a_signed_in_user_makes_sees_switches_and_deletes_keys() {
    let world = World::start().await;
    let token = world.token(&json!({}));
    let body = json!({"name": "ci"});
    let made = world.call(&token, "POST", PATH, &body).await.expect(201).json();
    assert_eq!(made["userCognitoSub"], world.ada.sub);
    assert_eq!(made["creatorCognitoSub"], world.ada.sub);
    let audit = world
        .plane
        .admin("GET", "/admin/audit?action=key.created&limit=1");
    let audit = audit.send().await.expect(200).json();
    assert_eq!(
        audit["events"][0]["actor"],
        json!({"kind": "user", "id": world.ada.sub})
    );
    let seen = world
        .call(&token, "GET", PATH, &json!({}))
        .await
        .expect(200)
        .json();
    assert_eq!(ids(seen.as_array().unwrap()), [id(&made)]);
    let used = world
        .call(&token, "GET", format!("{PATH}/usage"), &json!({}))
        .await;
    assert_eq!(used.expect(200).json(), json!({"used": 1, "limit": 20}));
    let off = json!({"status": "inactive"});
    let switched = world
        .call(&token, "PATCH", one(&made), &off)
        .await
        .expect(200)
        .json();
    assert_eq!(switched["status"], "inactive");
    world
        .call(&token, "DELETE", one(&made), &json!({}))
        .await
        .expect(204);
}

#[tokio::test]
async fn the_token_s_claims_decide_and_not_the_stored_ones() {
    let world = World::start().await;
    let bea = person(&world.plane, &world.company.id, &["Super_Dev", "Issuer_Dev"]).await;
    let of_bea = id(&create(&world.plane, &bea, "bea's").await);
    let other = world.plane.company("Other").await;
    let far = person(&world.plane, &other.id, &["Issuer_Dev"]).await;
    let of_far = id(&create(&world.plane, &far, "far").await);
    for (claims, sees, makes) in [
        (json!(["Super_Dev"]), Some(vec![of_far, of_bea]), 403),
        (json!(["Issuer_Admin"]), Some(vec![of_bea]), 400),
        (json!(["Issuer_Dev", "other"]), Some(vec![]), 400),
        (json!(["stored"]), None, 403),
        (json!([]), None, 403),
        (Value::Null, None, 403),
        (json!({"Super_Dev": true}), None, 403),
        (json!(["super_dev"]), None, 403),
    ] {
        let token = world.token(&json!({"cognito:groups": claims}));
        let answer = world.call(&token, "GET", PATH, &json!({})).await;
        match sees {
            Some(sees) => assert_eq!(
                ids(answer.expect(200).json().as_array().unwrap()),
                sees,
                "{claims}"
            ),
            None => expect_refusal(answer, 403, "claims"),
        }
        let answer = world.call(&token, "POST", PATH, &json!({})).await;
        assert_eq!(answer.status.as_u16(), makes, "{claims}");
    }
    // And the other way round: what is stored doesn't widen a token.
    let narrow = world.token(&json!({"sub": bea.sub}));
    let seen = world
        .call(&narrow, "GET", PATH, &json!({}))
        .await
        .expect(200)
        .json();
    assert_eq!(ids(seen.as_array().unwrap()), [of_bea]);
}

#[tokio::test]
async fn the_path_s_environment_goes_before_the_token_s() {
    let world = World::start().await;
    let in_test = within(&world.plane, &world.company.id, "test").await;
    let in_production = within(&world.plane, &world.company.id, "production").await;
    let test_id = in_test.split('/').nth(2).unwrap();
    let body = json!({"name": "ci"});
    for (claim, path, prefix) in [
        (Value::Null, PATH, "pk_live_"),
        (json!("production"), PATH, "pk_live_"),
        (json!("test"), PATH, "pk_test_"),
        (json!(test_id), PATH, "pk_test_"),
        (json!("test"), in_production.as_str(), "pk_live_"),
        (json!("production"), in_test.as_str(), "pk_test_"),
        (Value::Null, in_test.as_str(), "pk_test_"),
    ] {
        let mut over = json!({});
        if !claim.is_null() {
            over["environment"] = claim.clone();
        }
        let token = world.token(&over);
        let made = world.call(&token, "POST", path, &body).await.expect(201).json();
        assert!(
            made["rawKey"].as_str().unwrap().starts_with(prefix),
            "{claim} {path}"
        );
    }
    let other = world.plane.company("Other").await;
    let foreign = within(&world.plane, &other.id, "test").await;
    let all = world.token(&json!({"cognito:groups": ["Super_Dev"]}));
    expect_missing(world.call(&all, "GET", foreign, &json!({})).await);
}

#[tokio::test]
async fn a_token_that_proves_nothing_is_401_everywhere() {
    let world = World::start().await;
    let claims = world.claims(&json!({}));
    let now = claims["iat"].as_i64().unwrap();
    let good = world.token(&json!({}));
    let (head, signature) = (good.split('.').next().unwrap(), good.rsplit('.').next().unwrap());
    let other = world.token(&json!({"sub": "7f1d2c3b-4a59-4687-9768-5a4b3c2d1e0f"}));
    let spliced = format!("{head}.{}.{signature}", other.split('.').nth(1).unwrap());
    let none = json!({"alg": "none"});
    let unsigned = world.issuer.with_header(Signed::Rs256, &none, &claims).unwrap();
    for (what, token) in [
        ("expired", world.token(&json!({"exp": now - 31}))),
        ("not yet", world.token(&json!({"nbf": now + 60}))),
        ("audience", world.token(&json!({"aud": "another"}))),
        ("issuer", world.token(&json!({"iss": "https://another.example"}))),
        ("alg none", unsigned.clone()),
        (
            "alg none, unsigned",
            format!("{}.", unsigned.rsplit_once('.').unwrap().0),
        ),
        (
            "hmac",
            world
                .issuer
                .forged_with_public_key(Signed::EdDsa, &claims)
                .unwrap(),
        ),
        ("spliced", spliced),
    ] {
        world
            .each(&token, |answer| {
                assert_eq!(answer.status, 401, "{what}: {}", answer.text);
                expect_refusal(answer, 401, "");
            })
            .await;
    }
    world.call(&good, "GET", PATH, &json!({})).await.expect(200);
}

#[tokio::test]
async fn a_good_token_of_nobody_or_of_an_account_that_may_not_call_is_forbidden() {
    let world = World::start().await;
    let unknown = world.token(&json!({"sub": "7f1d2c3b-4a59-4687-9768-5a4b3c2d1e0f"}));
    world
        .each(&unknown, |answer| expect_refusal(answer, 403, ""))
        .await;
    let token = world.token(&json!({}));
    let account = format!("/admin/customers/{}", world.company.id);
    for (status, answered) in [("suspended", 403), ("active", 200)] {
        let body = json!({"status": status});
        world
            .plane
            .admin("PUT", &account)
            .json(&body)
            .send()
            .await
            .expect(200);
        let answer = world.call(&token, "GET", PATH, &json!({})).await;
        assert_eq!(answer.status.as_u16(), answered);
        if answered == 403 {
            world
                .each(&token, |answer| expect_refusal(answer, 403, "account"))
                .await;
        }
    }
    let user = format!("{account}/users/{}", world.ada.id);
    world.plane.admin("DELETE", user).send().await.expect(204);
    world.each(&token, |answer| expect_refusal(answer, 403, "")).await;
}

#[tokio::test]
async fn a_token_that_was_fetched_with_a_user_s_key_is_that_user_until_the_key_ends() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let ada = person_in(&plane, &company.id, &["Issuer_Dev"], "test").await;
    let made = create(&plane, &ada, "ci").await;
    let with_token = async |method: &str, path: &str, token: &str| {
        let call = plane
            .call(method, path)
            .key(token)
            .json(&json!({"name": "by token"}));
        call.send().await
    };
    let token = fetch(&plane, &company.id, made["rawKey"].as_str().unwrap()).await;
    let second = with_token("POST", PATH, &token).await.expect(201).json();
    assert!(second["rawKey"].as_str().unwrap().starts_with("pk_test_"));
    assert_eq!(second["creatorCognitoSub"], ada.sub);
    assert_eq!(listed(&plane, &ada, PATH).await.len(), 2);
    // What a key of test may not, its token may not.
    let in_production = within(&plane, &company.id, "production").await;
    expect_refusal(with_token("GET", &in_production, &token).await, 403, "production");
    // A token of the company's own key is nobody's.
    let company_s = fetch(&plane, &company.id, &company.live).await;
    expect_refusal(with_token("GET", PATH, &company_s).await, 403, "no user");

    let off = json!({"status": "inactive"});
    ada.call(&plane, "PATCH", one(&made))
        .json(&off)
        .send()
        .await
        .expect(200);
    expect_refusal(with_token("GET", PATH, &token).await, 401, "");
    let on = json!({"status": "active"});
    ada.call(&plane, "PATCH", one(&made))
        .json(&on)
        .send()
        .await
        .expect(200);
    with_token("GET", PATH, &token).await.expect(200);
    plane.advance(Duration::from_secs(3_700));
    expect_refusal(with_token("GET", PATH, &token).await, 401, "");
}
