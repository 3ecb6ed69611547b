//! Who may call surfaces 3 and 4 with a token. The guard answers before the router, so that `/keys` says 401 and 403 to
//! those who may not and something else to those who may.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyward_config::OidcConfig;
use keyward_contract::{Environment, UnixMillis};
use keyward_control_plane::domain::user::Permissions;
use keyward_control_plane::operations::identify::{self, Call, CompanyCaller};
use keyward_harness::{Issuer, Signed, State};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::plane::{Answer, Company, Plane};

/// A token of ours.
pub(crate) async fn fetch(plane: &Plane, id: &str, secret: &str) -> String {
    let body = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
    let call = plane.call("POST", "/oauth/token").bytes(body);
    let call = call.header("content-type", "application/x-www-form-urlencoded");
    let body = call.send().await.expect(200).json();
    body["access_token"].as_str().unwrap().to_owned()
}

fn part(token: &str, at: usize) -> Value {
    let part = token.split('.').nth(at).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

pub(crate) fn header_of(token: &str) -> Value {
    part(token, 0)
}

pub(crate) fn claims_of(token: &str) -> Value {
    part(token, 1)
}

pub(crate) fn kid(token: &str) -> String {
    header_of(token)["kid"].as_str().unwrap().to_owned()
}

async fn call(plane: &Plane, token: &str) -> Answer {
    plane.call("GET", "/keys").key(token).send().await
}

/// 401 and 403 for those who may not, 503 when it can't be said, and 200 for all who may, whatever `/keys` answers.
pub(crate) async fn status(plane: &Plane, token: &str) -> u16 {
    match call(plane, token).await.status.as_u16() {
        refused @ (401 | 403 | 503) => refused,
        _ => 200,
    }
}

/// As whom a token lets its holder act.
async fn identified(plane: &Plane, token: &str) -> CompanyCaller {
    let call = Call {
        request_id: "test".into(),
        address: None,
    };
    identify::company(plane.running.registry(), token.as_bytes(), &call)
        .await
        .unwrap()
        .unwrap()
}

/// A control plane that takes the tokens of an issuer, and a company with one user.
struct World {
    plane: Plane,
    issuer: Issuer,
    company: Company,
    sub: Uuid,
}

impl World {
    async fn start() -> Self {
        let issuer = Issuer::start().await.unwrap();
        let plane = Plane::start_with(|config| config.auth.oidc = Some(oidc(&issuer))).await;
        let company = plane.company("Acme").await;
        let sub = Uuid::new_v4();
        user(&plane, &company.id, sub, r#"["company.keys:list"]"#).await;
        Self {
            plane,
            issuer,
            company,
            sub,
        }
    }

    fn now(&self) -> i64 {
        self.plane.running.registry().clock.now().0 / 1_000
    }

    /// Good claims with these over them; null leaves one out.
    fn claims(&self, over: &Value) -> Value {
        let now = self.now();
        let mut claims = json!({
            "iss": self.issuer.url(), "aud": "keyward", "sub": self.sub.to_string(),
            "iat": now, "nbf": now, "exp": now + 300, "cognito:groups": ["Issuer_Admin"],
        });
        let members = claims.as_object_mut().unwrap();
        for (name, value) in over.as_object().unwrap() {
            members.insert(name.clone(), value.clone());
        }
        members.retain(|_, value| !value.is_null());
        claims
    }

    fn token(&self, over: &Value) -> String {
        self.issuer.token(&self.claims(over)).unwrap()
    }

    async fn status(&self, token: &str) -> u16 {
        status(&self.plane, token).await
    }
}

pub(crate) fn oidc(issuer: &Issuer) -> OidcConfig {
    OidcConfig {
        issuer: issuer.url().to_owned(),
        audience: "keyward".into(),
        claims: "cognito:groups".into(),
        leeway: Duration::from_secs(30),
        jwks_refresh: Duration::from_secs(3_600),
    }
}

async fn user(plane: &Plane, account: &str, sub: Uuid, permissions: &str) {
    let sql = "INSERT INTO users (id, account_id, sub, name, email, claims, status, created_at, permissions, updated_at) \
               VALUES ($1, $2, $3, 'Ada', 'ada@example.com', '[\"stored\"]', 'active', 1, $4, 1)";
    plane
        .execute(
            sql,
            &[
                &Uuid::now_v7().to_string(),
                account,
                &sub.to_string(),
                permissions,
            ],
        )
        .await;
}

// Our own tokens.

#[tokio::test]
async fn a_token_of_ours_stands_for_the_key_that_fetched_it() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    for (key, environment) in [
        (&company.live, Environment::Production),
        (&company.test, Environment::Test),
    ] {
        let token = fetch(&plane, &company.id, key).await;
        assert_eq!(status(&plane, &token).await, 200);
        let (by_token, by_key) = (identified(&plane, &token).await, identified(&plane, key).await);
        assert_eq!(by_token.environment, environment);
        assert_eq!(by_token.permissions, Permissions::ALL);
        assert_eq!(by_token.account, by_key.account);
        assert_eq!(by_token.actor.id, by_key.actor.id);
        assert_eq!(by_token.actor.kind, by_key.actor.kind);
        assert_eq!(by_token.credential.bucket(), by_key.credential.bucket());
    }
    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}&scope=company.keys:list",
        company.id, company.live
    );
    let call = plane.call("POST", "/oauth/token").bytes(form);
    let body = call
        .header("content-type", "application/x-www-form-urlencoded")
        .send()
        .await
        .expect(200)
        .json();
    let narrow = identified(&plane, body["access_token"].as_str().unwrap()).await;
    assert_eq!(narrow.permissions.names(), ["company.keys:list"]);
}

#[tokio::test]
async fn what_ends_a_key_ends_its_tokens_at_once() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let key = plane.account_key(&company.id, &json!({})).await;
    let token = fetch(&plane, &company.id, key["api_key"].as_str().unwrap()).await;
    let other = fetch(&plane, &company.id, &company.live).await;
    assert_eq!(status(&plane, &token).await, 200);
    let id = key["api_key_id"].as_str().unwrap();
    let path = format!("/admin/customers/{}/api-keys/{id}", company.id);
    plane.admin("DELETE", path).send().await.expect(200);
    let answer = call(&plane, &token).await.expect(401);
    assert_eq!(
        answer.json()["message"],
        "the token has expired, or the API key behind it was ended"
    );
    assert_eq!(
        answer.header("www-authenticate"),
        Some("Bearer realm=\"keyward\", error=\"invalid_token\"")
    );
    assert_eq!(status(&plane, &other).await, 200);

    let path = format!("/admin/customers/{}", company.id);
    plane
        .admin("PATCH", &path)
        .json(&json!({"status": "suspended"}))
        .send()
        .await
        .expect(200);
    assert_eq!(status(&plane, &other).await, 403);
    plane
        .admin("PATCH", &path)
        .json(&json!({"status": "active"}))
        .send()
        .await
        .expect(200);
    assert_eq!(status(&plane, &other).await, 200);
}

#[tokio::test]
async fn a_disabled_or_expired_key_ends_its_tokens_and_its_address_list_holds_for_them() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let token = fetch(&plane, &company.id, &company.live).await;
    let id = claims_of(&token)["key_id"].as_str().unwrap().to_owned();
    for (set, expected) in [
        ("state = 'disabled'", 401),
        ("state = 'active'", 200),
        ("expires_at = 1", 401),
        ("expires_at = NULL", 200),
        ("allowed_ips = '[\"203.0.113.7\"]'", 403),
        ("allowed_ips = '[\"127.0.0.0/8\"]'", 200),
        ("state = 'deleted'", 401),
    ] {
        plane
            .execute(&format!("UPDATE api_keys SET {set} WHERE id = $1"), &[&id])
            .await;
        assert_eq!(status(&plane, &token).await, expected, "{set}");
    }
}

#[tokio::test]
async fn a_token_of_ours_ends_with_its_hour() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let token = fetch(&plane, &company.id, &company.live).await;
    plane.advance(Duration::from_secs(3_600));
    assert_eq!(status(&plane, &token).await, 200, "within the leeway");
    plane.advance(Duration::from_secs(31));
    let answer = call(&plane, &token).await.expect(401);
    assert!(!answer.text.contains("not valid"), "{}", answer.text);
}

#[tokio::test]
async fn tokens_and_their_keys_outlive_a_restart() {
    let mut plane = Plane::start().await;
    // The port differs after a restart, and with it the default issuer.
    plane.config.auth.issuer = Some("https://keys.example.com".into());
    let plane = plane.restart().await;
    let company = plane.company("Acme").await;
    let token = fetch(&plane, &company.id, &company.live).await;
    let plane = plane.restart().await;
    assert_eq!(status(&plane, &token).await, 200);
    assert_eq!(kid(&fetch(&plane, &company.id, &company.live).await), kid(&token));
}

#[tokio::test]
async fn a_forged_token_of_ours_is_nothing() {
    let world = World::start().await;
    let World {
        plane,
        issuer,
        company,
        ..
    } = &world;
    let good = fetch(plane, &company.id, &company.live).await;
    let (claims, header) = (claims_of(&good), header_of(&good));
    let other_key = keyward_control_plane::domain::token::SigningKey::from_secret(&[7; 32]).unwrap();
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let (_, signature) = good.rsplit_once('.').unwrap();
    let none = json!({"alg": "none", "typ": "at+jwt", "kid": header["kid"]});
    let longer = {
        let mut claims = claims.clone();
        claims["exp"] = json!(claims["exp"].as_i64().unwrap() + 1);
        claims
    };
    for forged in [
        // Another key, by its own name and by ours.
        other_key.sign(&claims).unwrap(),
        issuer
            .with_header(
                Signed::EdDsa,
                &json!({"kid": header["kid"], "typ": "at+jwt"}),
                &claims,
            )
            .unwrap(),
        // The other issuer's good signature.
        issuer
            .with_header(Signed::EdDsa, &json!({"typ": "at+jwt"}), &claims)
            .unwrap(),
        // Our header embeds the forger's key.
        issuer
            .with_header(
                Signed::EdDsa,
                &json!({"typ": "at+jwt", "kid": header["kid"],
            "jwk": issuer.jwk(Signed::EdDsa), "jku": format!("{}/keys", issuer.url())}),
                &claims,
            )
            .unwrap(),
        format!("{}.{}.", encoded(&none), encoded(&claims)),
        format!("{}.{}.{signature}", encoded(&none), encoded(&claims)),
        format!("{}.{}.{signature}", encoded(&header), encoded(&longer)),
        format!("{good}."),
        format!("{good}A"),
        "..".into(),
        ".".into(),
        "a.b.c".into(),
    ] {
        let answer = call(plane, &forged).await.expect(401);
        assert_eq!(
            answer.json()["message"],
            "the token is not valid here",
            "{forged}"
        );
    }
    // A token is no API key, and no credential of the other surfaces.
    plane
        .call("GET", "/keys")
        .header("x-api-key", &good)
        .send()
        .await
        .expect(401);
    plane
        .call("GET", "/customers")
        .key(&good)
        .send()
        .await
        .expect(401);
    plane
        .call("GET", "/admin/customers")
        .admin(&good)
        .send()
        .await
        .expect(403);
    plane
        .call("GET", "/keys")
        .key(&good)
        .header("x-api-key", &company.live)
        .send()
        .await
        .expect(400);
}

// The other issuer's tokens.

#[tokio::test]
async fn a_token_names_a_user_and_the_user_an_account() {
    let world = World::start().await;
    for by in Signed::ALL {
        let token = world.issuer.signed(by, &world.claims(&json!({}))).unwrap();
        assert_eq!(world.status(&token).await, 200, "{by:?}");
    }
    let caller = identified(&world.plane, &world.token(&json!({}))).await;
    assert_eq!(caller.account.id.to_string(), world.company.id);
    assert_eq!(caller.user.unwrap().sub, world.sub);
    assert_eq!(caller.claims, ["Issuer_Admin"]);
    assert_eq!(caller.environment, Environment::Production);
    assert_eq!(
        (caller.actor.kind.as_str(), caller.actor.id),
        ("user", world.sub.to_string())
    );
    assert_eq!(caller.permissions.names(), ["company.keys:list"], "as stored");
    // One more kind, and no kind at all.
    for typ in [json!("at+jwt"), json!(null)] {
        let token = world
            .issuer
            .with_header(Signed::Es256, &json!({"typ": typ}), &world.claims(&json!({})))
            .unwrap();
        assert_eq!(world.status(&token).await, 200, "{typ}");
    }
}

#[tokio::test]
async fn a_token_says_what_its_user_may_do_and_where() {
    let world = World::start().await;
    let account = identified(&world.plane, &world.company.live).await.account;
    let other = world.plane.company("Other").await;
    let other = identified(&world.plane, &other.live).await.account;
    let test_id = account.environments.test.id.to_string();
    let (list, write) = (Permissions::LIST, Permissions::WRITE);
    for (over, names) in [
        (
            json!({"permissions": [list, write, "more", 7]}),
            vec![list, write],
        ),
        (json!({"permissions": [write], "scope": list}), vec![write]),
        (json!({"permissions": [], "scope": list}), vec![]),
        (json!({"permissions": write}), vec![]),
        (json!({"scope": format!("openid {write}")}), vec![write]),
        (json!({"scope": "openid"}), vec![]),
        (json!({"scope": 7}), vec![]),
        (json!({}), vec![list]),
    ] {
        let caller = identified(&world.plane, &world.token(&over)).await;
        assert_eq!(caller.permissions.names(), names, "{over}");
    }
    for (environment, expected) in [
        (json!("test"), Some(Environment::Test)),
        (json!("production"), Some(Environment::Production)),
        (json!(test_id), Some(Environment::Test)),
        (
            json!(account.environments.production.id.to_string()),
            Some(Environment::Production),
        ),
        (json!(other.environments.test.id.to_string()), None),
        (json!("live"), None),
        (json!(["test"]), None),
    ] {
        let token = world.token(&json!({"environment": environment}));
        match expected {
            Some(expected) => assert_eq!(identified(&world.plane, &token).await.environment, expected),
            None => assert_eq!(world.status(&token).await, 403, "{environment}"),
        }
    }
    for (groups, expected) in [
        (json!(["a", "b", 3]), vec!["a", "b"]),
        (json!("one"), vec!["one"]),
        (json!({"a": "b"}), vec![]),
        (json!(null), vec![]),
    ] {
        let caller = identified(&world.plane, &world.token(&json!({"cognito:groups": groups}))).await;
        assert_eq!(caller.claims, expected);
    }
}

#[tokio::test]
async fn a_good_token_of_nobody_who_is_known_is_forbidden() {
    let world = World::start().await;
    for sub in [Uuid::new_v4().to_string(), "ada".into()] {
        assert_eq!(world.status(&world.token(&json!({"sub": sub}))).await, 403);
    }
    let token = world.token(&json!({}));
    assert_eq!(world.status(&token).await, 200);
    let deleted = "UPDATE users SET deleted_at = 2 WHERE sub = $1";
    world.plane.execute(deleted, &[&world.sub.to_string()]).await;
    assert_eq!(world.status(&token).await, 403);
}

#[tokio::test]
async fn a_suspended_accounts_users_may_not_call() {
    let world = World::start().await;
    let path = format!("/admin/customers/{}", world.company.id);
    let suspended = json!({"status": "suspended"});
    world
        .plane
        .admin("PATCH", path)
        .json(&suspended)
        .send()
        .await
        .expect(200);
    let answer = call(&world.plane, &world.token(&json!({}))).await.expect(403);
    // Who is known has a bucket, also when it may not call.
    assert!(answer.header("x-ratelimit-limit").is_some());
}

#[tokio::test]
async fn a_token_counts_only_from_our_issuer_for_us_and_in_its_time() {
    let world = World::start().await;
    let now = world.now();
    for (over, expected) in [
        (json!({"exp": now - 20}), 200),
        (json!({"exp": now - 40}), 401),
        (json!({"nbf": now + 20}), 200),
        (json!({"nbf": now + 40}), 401),
        (json!({"iat": now + 40}), 401),
        (json!({"exp": null}), 401),
        (json!({"sub": null}), 401),
        (json!({"aud": "somebody"}), 401),
        (json!({"aud": ["somebody", "keyward"]}), 200),
        (json!({"aud": null}), 401),
        (json!({"iss": "https://elsewhere.example"}), 401),
        (json!({"iss": format!("{}/", world.issuer.url())}), 401),
        (json!({"iss": null}), 401),
        // Nobody else may speak in our name.
        (json!({"iss": format!("http://{}", world.plane.running.api)}), 401),
        (json!({"padding": "x".repeat(8 * 1_024)}), 401),
    ] {
        assert_eq!(world.status(&world.token(&over)).await, expected, "{over}");
    }
    let expired = call(&world.plane, &world.token(&json!({"exp": now - 40})))
        .await
        .expect(401);
    assert!(expired.text.contains("expired"), "{}", expired.text);
    let foreign = call(&world.plane, &world.token(&json!({"aud": "somebody"})))
        .await
        .expect(401);
    assert!(!foreign.text.contains("expired"), "{}", foreign.text);
}

#[tokio::test]
async fn no_key_is_taken_for_another_kind_of_key() {
    let world = World::start().await;
    let claims = world.claims(&json!({}));
    // Warm, so that what follows is judged by known keys.
    assert_eq!(world.status(&world.token(&json!({}))).await, 200);
    for by in Signed::ALL {
        let forged = world.issuer.forged_with_public_key(by, &claims).unwrap();
        assert_eq!(
            world.status(&forged).await,
            401,
            "HMAC with the public key of {by:?}"
        );
        for other in Signed::ALL.into_iter().filter(|other| *other != by) {
            let kid = world.issuer.jwk(other)["kid"].clone();
            // Signed by one key in another's name, with its own algorithm's name and with the other's.
            let own = world
                .issuer
                .with_header(by, &json!({"kid": kid}), &claims)
                .unwrap();
            assert_eq!(world.status(&own).await, 401, "{by:?} as {other:?}");
            let alg = match other {
                Signed::Rs256 => "RS256",
                Signed::Es256 => "ES256",
                Signed::EdDsa => "EdDSA",
            };
            let named = world
                .issuer
                .with_header(by, &json!({"kid": kid, "alg": alg}), &claims)
                .unwrap();
            assert_eq!(world.status(&named).await, 401, "{by:?} as {other:?}");
        }
        for over in [
            json!({"alg": "none"}),
            json!({"alg": "RS512"}),
            json!({"crit": ["exp"]}),
            json!({"b64": false, "crit": ["b64"]}),
            json!({"typ": "logout+jwt"}),
            json!({"kid": "nobody's", "jwk": world.issuer.jwk(by)}),
        ] {
            let forged = world.issuer.with_header(by, &over, &claims).unwrap();
            assert_eq!(world.status(&forged).await, 401, "{over}");
        }
        // Each algorithm has one key here, so that a token need not name it.
        let unnamed = world
            .issuer
            .with_header(by, &json!({"kid": null}), &claims)
            .unwrap();
        assert_eq!(world.status(&unnamed).await, 200);
    }
}

// The other issuer's keys.

#[tokio::test]
async fn a_rotated_key_is_fetched_once_for_all_who_ask() {
    let world = World::start().await;
    assert_eq!(world.status(&world.token(&json!({}))).await, 200);
    let asked = world.issuer.asked();
    world.issuer.rotate().unwrap();
    let token = world.token(&json!({}));
    world.plane.advance(Duration::from_secs(10));
    let calls = (0..20).map(|_| world.status(&token));
    for status in futures_util::future::join_all(calls).await {
        assert_eq!(status, 200);
    }
    assert_eq!(world.issuer.asked(), asked + 1);
}

#[tokio::test]
async fn a_flood_of_unknown_keys_does_not_become_a_flood_on_the_issuer() {
    let world = World::start().await;
    assert_eq!(world.status(&world.token(&json!({}))).await, 200);
    world.plane.advance(Duration::from_secs(10));
    let asked = world.issuer.asked();
    for n in 0..20 {
        let header = json!({"kid": format!("unknown-{n}")});
        let token = world
            .issuer
            .with_header(Signed::EdDsa, &header, &world.claims(&json!({})))
            .unwrap();
        assert_eq!(world.status(&token).await, 401);
    }
    assert_eq!(world.issuer.asked(), asked + 1);
    // What it took away, it took away: no other key of the old set serves.
    world.issuer.rotate().unwrap();
    let old = world.token(&json!({}));
    world.issuer.rotate().unwrap();
    world.plane.advance(Duration::from_secs(10));
    assert_eq!(world.status(&world.token(&json!({}))).await, 200);
    assert_eq!(world.status(&old).await, 401);
}

#[tokio::test]
async fn known_keys_hold_while_the_issuer_is_away_and_no_call_waits_for_it() {
    let world = World::start().await;
    let token = world.token(&json!({"exp": world.now() + 3_600}));
    assert_eq!(world.status(&token).await, 200);
    for state in [State::Down, State::Broken, State::Hanging] {
        world.issuer.be(state);
        world.plane.advance(Duration::from_secs(10));
        // Somebody makes it ask, which may hang; others don't wait for that.
        let unknown = world
            .issuer
            .with_header(Signed::EdDsa, &json!({"kid": "x"}), &world.claims(&json!({})))
            .unwrap();
        let asking = world.status(&unknown);
        let served = tokio::time::timeout(Duration::from_secs(3), world.status(&token));
        let (refused, served) = tokio::join!(asking, served);
        assert_eq!((refused, served), (401, Ok(200)), "{state:?}");
    }
    world.issuer.be(State::Up);
    world.issuer.rotate().unwrap();
    world.plane.advance(Duration::from_secs(20));
    assert_eq!(world.status(&world.token(&json!({}))).await, 200);
}

#[tokio::test]
async fn known_keys_outlive_a_restart_while_the_issuer_is_away() {
    let World {
        plane,
        issuer,
        company,
        sub,
    } = World::start().await;
    let world = World {
        plane,
        issuer,
        company,
        sub,
    };
    assert_eq!(world.status(&world.token(&json!({}))).await, 200);
    world.issuer.be(State::Down);
    let World {
        plane,
        issuer,
        company,
        sub,
    } = world;
    let world = World {
        plane: plane.restart().await,
        issuer,
        company,
        sub,
    };
    assert_eq!(world.status(&world.token(&json!({}))).await, 200);
    // What lies in the database was put there by somebody who has the master key.
    let changed = "UPDATE settings SET value = 'eyJrZXlzIjpbXX0=' WHERE name = 'oidc_keys'";
    world.plane.execute(changed, &[]).await;
    let World {
        plane,
        issuer,
        company,
        sub,
    } = world;
    let world = World {
        plane: plane.restart().await,
        issuer,
        company,
        sub,
    };
    assert_eq!(world.status(&world.token(&json!({}))).await, 503);
}

#[tokio::test]
async fn a_control_plane_starts_without_the_issuer_and_takes_its_tokens_later() {
    let issuer = Issuer::start().await.unwrap();
    issuer.be(State::Down);
    let plane = Plane::start_with(|config| config.auth.oidc = Some(oidc(&issuer))).await;
    let company = plane.company("Acme").await;
    let sub = Uuid::new_v4();
    user(&plane, &company.id, sub, r#"["company.keys:list"]"#).await;
    let world = World {
        plane,
        issuer,
        company,
        sub,
    };
    let token = world.token(&json!({}));
    // Nothing can be said of it yet, so that nothing is.
    assert_eq!(world.status(&token).await, 503);
    world.issuer.be(State::Up);
    world.plane.advance(Duration::from_secs(20));
    assert_eq!(world.status(&token).await, 200);
}

#[tokio::test]
async fn an_issuer_that_is_another_or_hands_out_keys_in_the_open_is_not_believed() {
    for over in [
        json!({"issuer": "https://login.example.com"}),
        json!({"jwks_uri": "http://login.example.com/keys"}),
        json!({"jwks_uri": null}),
        json!({"jwks_uri": "file:///etc/passwd"}),
    ] {
        let issuer = Issuer::start().await.unwrap();
        issuer.discover(over.clone());
        let plane = Plane::start_with(|config| config.auth.oidc = Some(oidc(&issuer))).await;
        let company = plane.company("Acme").await;
        let world = World {
            plane,
            issuer,
            company,
            sub: Uuid::new_v4(),
        };
        assert_eq!(world.status(&world.token(&json!({}))).await, 503, "{over}");
        assert_eq!(world.issuer.asked(), 0);
    }
}

#[tokio::test]
async fn without_another_issuer_its_tokens_are_nothing() {
    let issuer = Issuer::start().await.unwrap();
    let plane = Plane::start().await;
    let now = UnixMillis(plane.running.registry().clock.now().0).0 / 1_000;
    let claims = json!({"iss": issuer.url(), "aud": "keyward", "sub": Uuid::new_v4(), "exp": now + 60});
    assert_eq!(status(&plane, &issuer.token(&claims).unwrap()).await, 401);
    assert_eq!(issuer.asked(), 0);
}
