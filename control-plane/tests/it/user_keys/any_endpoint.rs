//! What holds at every endpoint of surface 4: who may call, where, and the forms of a call.

use keyward_contract::{Environment, KeyKind, Limits, PlainKey};
use serde_json::json;

use super::{
    PATH, Person, create, environment, expect_missing, expect_refusal, one, person, person_in, within,
};
use crate::plane::{Answer, Plane};

/// Method and path below the base.
const ENDPOINTS: [(&str, &str); 5] = [
    ("GET", ""),
    ("POST", ""),
    ("PATCH", "/1"),
    ("DELETE", "/1"),
    ("GET", "/usage"),
];

/// One call of each endpoint at this base.
async fn each(plane: &Plane, base: &str, headers: &[(&str, &str)], check: impl Fn(Answer)) {
    for (method, below) in ENDPOINTS {
        let mut call = plane.call(method, format!("{base}{below}"));
        for (name, value) in headers {
            call = call.header(name, value);
        }
        check(call.send().await);
    }
}

#[tokio::test]
async fn nobody_calls_without_a_living_credential() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company.id, &["Issuer_Dev"]).await;
    let in_test = within(&plane, &company.id, "test").await;
    let customer = plane.customer(&company.live, "Uni").await;
    let dead = create(&plane, &ada, "dead").await;
    ada.call(&plane, "DELETE", one(&dead)).send().await.expect(204);
    let unknown = PlainKey::mint(KeyKind::Account, Environment::Production).unwrap();
    // `{"alg":"none"}`, and a subject that exists.
    let unsigned = {
        use base64::Engine as _;
        let part = |value: serde_json::Value| {
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string())
        };
        format!(
            "{}.{}.",
            part(json!({"alg": "none", "typ": "JWT"})),
            part(json!({"sub": ada.sub, "cognito:groups": ["Super_Dev"], "exp": 4_000_000_000_u64}))
        )
    };
    let bearer = |text: &str| format!("Bearer {text}");
    for base in [PATH, in_test.as_str()] {
        for headers in [
            vec![],
            vec![("authorization", "Basic YTpi".to_owned())],
            vec![("authorization", "Bearer".to_owned())],
            vec![("x-api-key", String::new())],
            vec![("x-api-key", "nonsense".to_owned())],
            vec![("authorization", bearer("nonsense"))],
            vec![("authorization", bearer(&unsigned))],
            vec![("x-api-key", unsigned.clone())],
            vec![("x-api-key", unknown.expose().to_owned())],
            vec![("x-api-key", dead["rawKey"].as_str().unwrap().to_owned())],
            vec![("x-api-key", customer["apiKey"].as_str().unwrap().to_owned())],
            vec![("x-api-key", plane.owner.clone())],
            vec![("authorization", bearer(&plane.owner))],
        ] {
            let headers: Vec<_> = headers
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            each(&plane, base, &headers, |answer| {
                assert!(answer.header("www-authenticate").is_some(), "{answer:?}");
                expect_refusal(answer, 401, "");
            })
            .await;
        }
        let two = [("x-api-key", ada.key.as_str()), ("authorization", "Bearer other")];
        each(&plane, base, &two, |answer| expect_refusal(answer, 400, "two")).await;
    }
    // As a Bearer too, and in both places when it is the same.
    let both = plane
        .call("GET", PATH)
        .key(&ada.key)
        .header("x-api-key", &ada.key);
    both.send().await.expect(200);
    plane.call("GET", PATH).key(&ada.key).send().await.expect(200);
}

#[tokio::test]
async fn only_users_with_a_claim_of_this_surface_may() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let in_test = within(&plane, &company.id, "test").await;
    let no_claim = person(&plane, &company.id, &["Issuer", "super_dev", "admin"]).await;
    for base in [PATH, in_test.as_str()] {
        let key = [("x-api-key", company.live.as_str())];
        each(&plane, base, &key, |answer| {
            expect_refusal(answer, 403, "no user")
        })
        .await;
        let key = [("x-api-key", no_claim.key.as_str())];
        each(&plane, base, &key, |answer| expect_refusal(answer, 403, "claims")).await;
    }
}

#[tokio::test]
async fn an_account_that_may_not_call_is_forbidden_here() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company.id, &["Issuer_Dev"]).await;
    let path = format!("/admin/customers/{}", company.id);
    let key = [("x-api-key", ada.key.as_str())];
    for (change, status) in [
        (json!({"status": "suspended"}), 403),
        (json!({"status": "active"}), 200),
        (
            json!({"contract_start": "2020-01-01", "contract_end": "2020-12-31"}),
            403,
        ),
    ] {
        plane.admin("PUT", &path).json(&change).send().await.expect(200);
        let answer = ada.call(&plane, "GET", PATH).send().await;
        assert_eq!(answer.status.as_u16(), status, "{change}");
        if status == 403 {
            each(&plane, PATH, &key, |answer| {
                expect_refusal(answer, 403, "account")
            })
            .await;
        }
    }
    plane.admin("DELETE", &path).send().await.expect(200);
    each(&plane, PATH, &key, |answer| {
        expect_refusal(answer, 403, "account")
    })
    .await;
}

#[tokio::test]
async fn a_foreign_or_unknown_environment_is_not_found() {
    let plane = Plane::start().await;
    let (acme, other) = (plane.company("Acme").await, plane.company("Other").await);
    let foreign = environment(&plane, &other.id, "production").await;
    for claims in ["Issuer_Admin", "Super_Dev"] {
        // Whoever has both may make keys too.
        let caller = person(&plane, &acme.id, &[claims, "Issuer_Dev"]).await;
        let key = [("x-api-key", caller.key.as_str())];
        for id in [
            foreign.as_str(),
            "0123456789abcdef",
            "0123456789abcde",
            "production",
            "xyz",
            "%00",
        ] {
            let base = format!("/environments/{id}{PATH}");
            each(&plane, &base, &key, expect_missing).await;
        }
    }
}

#[tokio::test]
async fn a_key_of_test_does_nothing_in_production() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let in_production = within(&plane, &company.id, "production").await;
    let in_test = within(&plane, &company.id, "test").await;
    let caller = person_in(&plane, &company.id, &["Issuer_Admin", "Super_Dev"], "test").await;
    let key = [("x-api-key", caller.key.as_str())];
    each(&plane, &in_production, &key, |answer| {
        expect_refusal(answer, 403, "production");
    })
    .await;
    caller.call(&plane, "GET", in_test).send().await.expect(200);
}

#[tokio::test]
async fn claims_are_those_that_the_user_has_now() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company.id, &["Issuer_Dev"]).await;
    let path = format!("/admin/customers/{}/users/{}", ada.account, ada.id);
    for (claims, status) in [(json!([]), 403), (json!(["Super_Dev"]), 200), (json!(["x"]), 403)] {
        let body = json!({"claims": claims});
        plane.admin("PUT", &path).json(&body).send().await.expect(200);
        let answer = ada.call(&plane, "GET", PATH).send().await;
        assert_eq!(answer.status.as_u16(), status, "{claims}");
    }
}

#[tokio::test]
async fn each_path_says_what_it_takes() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company.id, &["Issuer_Dev"]).await;
    let in_test = within(&plane, &company.id, "test").await;
    for base in [PATH, in_test.as_str()] {
        for (method, below, allowed) in [
            ("PUT", "", &["GET", "POST"][..]),
            ("DELETE", "", &["GET", "POST"]),
            ("GET", "/1", &["PATCH", "DELETE"]),
            ("PUT", "/1", &["PATCH", "DELETE"]),
            ("POST", "/usage", &["GET"]),
        ] {
            let answer = ada.call(&plane, method, format!("{base}{below}")).send().await;
            let allow = answer.header("allow").unwrap().to_owned();
            assert!(allowed.iter().all(|method| allow.contains(method)), "{allow}");
            expect_refusal(answer, 405, "method");
        }
        for below in ["/", "/1/2", "/usage/1"] {
            expect_missing(ada.call(&plane, "GET", format!("{base}{below}")).send().await);
        }
    }
}

#[tokio::test]
async fn calls_are_limited_per_credential() {
    let plane = Plane::start_with(|config| {
        config.management_limits.others = Limits { rate: 1, burst: 30 };
    })
    .await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company.id, &["Issuer_Dev"]).await;
    let bea = person(&plane, &company.id, &["Issuer_Dev"]).await;
    let call = async |person: &Person| person.call(&plane, "GET", PATH).send().await;
    let mut answer = call(&ada).await;
    for _ in 0..60 {
        if answer.status == 429 {
            break;
        }
        assert_eq!(answer.header("x-ratelimit-limit"), Some("30"));
        answer = call(&ada).await;
    }
    assert!(answer.header("retry-after").is_some());
    expect_refusal(answer, 429, "too many");
    call(&bea).await.expect(200);
}

#[tokio::test]
async fn without_the_store_everything_is_unavailable() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company.id, &["Issuer_Dev"]).await;
    plane.running.registry().store.readers().close().await;
    let key = [("x-api-key", ada.key.as_str())];
    each(&plane, PATH, &key, |answer| {
        assert_eq!(answer.header("retry-after"), Some("1"));
        expect_refusal(answer, 503, "PSP Product Manager Api is unavailable.");
    })
    .await;
}
