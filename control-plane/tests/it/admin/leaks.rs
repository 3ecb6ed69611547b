//! `POST /admin/leaks`

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyward_config::LeakPolicy;
use keyward_contract::{Environment, KeyKind, KeyState, PlainKey, Record};
use keyward_control_plane::domain::admin::Role;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::admin::api_keys::update::patch;
use crate::plane::{Answer, Company, Plane};
use crate::promises::change;

fn hash(token: &str) -> String {
    STANDARD.encode(Sha256::digest(token.as_bytes()))
}

pub(super) async fn report(plane: &Plane, body: &Value) -> Answer {
    plane.admin("POST", "/admin/leaks").json(body).send().await
}

pub(super) async fn works(plane: &Plane, key: &str) -> bool {
    plane.call("GET", "/customers").key(key).send().await.status == 200
}

pub(super) async fn key_id(plane: &Plane, company: &Company, environment: &str) -> String {
    let path = format!("/admin/customers/{}/api-keys", company.id);
    let listed = plane.admin("GET", path).send().await.expect(200).json();
    let keys = listed["api_keys"].as_array().unwrap();
    let key = keys.iter().find(|key| key["environment"] == environment).unwrap();
    key["api_key_id"].as_str().unwrap().to_owned()
}

pub(super) async fn newest_event(plane: &Plane) -> Value {
    let events = plane
        .admin("GET", "/admin/audit?limit=1")
        .send()
        .await
        .expect(200);
    events.json()["events"][0].clone()
}

#[tokio::test]
async fn a_reported_key_is_quarantined_in_one_change_and_the_answer_is_what_scanners_read() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let customer = plane.customer(&company.live, "Uni").await;
    let customer_key = customer["apiKey"].as_str().unwrap();
    let stranger = PlainKey::mint(KeyKind::Account, Environment::Production).unwrap();
    let url = format!("https://code.example/raw?token={}", company.live);
    let answer = report(
        &plane,
        &json!([
            {"token": company.live, "type": "keyward_api_key", "url": url, "source": "content"},
            {"token": customer_key},
            {"token": company.live, "type": "keyward_api_key", "url": "https://elsewhere.example", "source": "commit"},
            {"token": stranger.expose(), "type": "keyward_api_key", "url": null},
            {"token": "nonsense", "type": "t"},
        ]),
    )
    .await
    .expect(200);
    insta::assert_json_snapshot!(answer.json(), {
        "[].token_hash" => "[hash]", "[].api_key_id" => insta::dynamic_redaction(id),
        "[].customer_id" => insta::dynamic_redaction(id), "[].mask" => insta::dynamic_redaction(mask),
    }, @r#"
    [
      {
        "token_hash": "[hash]",
        "token_type": "keyward_api_key",
        "label": "true_positive",
        "action": "quarantined",
        "reason": null,
        "kind": "account",
        "api_key_id": "[id]",
        "customer_id": "[id]",
        "environment": "production",
        "mask": "pk_live_…",
        "status": "disabled"
      },
      {
        "token_hash": "[hash]",
        "token_type": "keyward_customer_key",
        "label": "true_positive",
        "action": "quarantined",
        "reason": null,
        "kind": "customer",
        "api_key_id": "[id]",
        "customer_id": "[id]",
        "environment": "production",
        "mask": "ck_live_…",
        "status": "disabled"
      },
      {
        "token_hash": "[hash]",
        "token_type": "keyward_api_key",
        "label": "true_positive",
        "action": "quarantined",
        "reason": null,
        "kind": "account",
        "api_key_id": "[id]",
        "customer_id": "[id]",
        "environment": "production",
        "mask": "pk_live_…",
        "status": "disabled"
      },
      {
        "token_hash": "[hash]",
        "token_type": "keyward_api_key",
        "label": "false_positive",
        "action": "none",
        "reason": null,
        "kind": null,
        "api_key_id": "null",
        "customer_id": "null",
        "environment": null,
        "mask": "null",
        "status": null
      },
      {
        "token_hash": "[hash]",
        "token_type": "t",
        "label": "false_positive",
        "action": "none",
        "reason": null,
        "kind": null,
        "api_key_id": "null",
        "customer_id": "null",
        "environment": null,
        "mask": "null",
        "status": null
      }
    ]
    "#);
    let hashes: Vec<_> = answer
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["token_hash"].as_str().unwrap().to_owned())
        .collect();
    let tokens = [
        &company.live,
        customer_key,
        &company.live,
        stranger.expose(),
        "nonsense",
    ];
    assert_eq!(hashes, tokens.map(hash));
    for secret in [company.live.as_str(), customer_key, stranger.expose()] {
        assert!(!answer.text.contains(secret));
    }
    // One revision holds both.
    let records = change(&plane, answer.header("keyward-revision").unwrap()).await;
    let states: Vec<_> = records
        .iter()
        .map(|record| match record {
            Record::Key(key) => key.state,
            Record::Account(_) => panic!("an account was touched"),
        })
        .collect();
    assert_eq!(states, [KeyState::Disabled, KeyState::Disabled]);
    assert!(!works(&plane, &company.live).await && works(&plane, &company.test).await);
    // One row of the audit trail, without any key.
    let event = newest_event(&plane).await;
    assert_eq!(event["action"], "keys.leaked");
    assert_eq!(event["customer_id"], company.id.as_str());
    let reports = event["after"]["reports"].as_array().unwrap();
    assert_eq!(reports.len(), 3);
    assert_eq!(reports[0]["action"], "quarantined");
    let mask = reports[0]["mask"].as_str().unwrap();
    assert_eq!(
        reports[0]["url"],
        format!("https://code.example/raw?token={mask}")
    );
    assert!(!event.to_string().contains(&company.live) && !event.to_string().contains(customer_key));
    // A repeat finds them dead.
    let again = report(&plane, &json!({"reports": [{"token": company.live}]}))
        .await
        .expect(200)
        .json();
    assert_eq!(again["results"][0]["action"], "already_dead");
    assert_eq!(again["results"][0]["label"], "true_positive");
    // The operator's list shows it; the end customer's account sees its key as before.
    let listed = plane
        .admin("GET", format!("/admin/customers/{}/api-keys", company.id))
        .send()
        .await;
    assert!(listed.expect(200).text.contains("\"disabled\""));
}

fn id(value: insta::internals::Content, _: insta::internals::ContentPath<'_>) -> &'static str {
    if value.as_str().is_some() { "[id]" } else { "null" }
}

fn mask(value: insta::internals::Content, _: insta::internals::ContentPath<'_>) -> String {
    value
        .as_str()
        .map_or_else(|| "null".to_owned(), |mask| format!("{}…", &mask[..8]))
}

#[tokio::test]
async fn one_key_alone_has_an_event_of_its_own() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    report(&plane, &json!([{"token": company.live}]))
        .await
        .expect(200);
    let event = newest_event(&plane).await;
    assert_eq!(
        (&event["action"], &event["target"]["kind"]),
        (&json!("key.quarantined"), &json!("api_key"))
    );
    assert_eq!(
        event["target"]["id"],
        key_id(&plane, &company, "production").await
    );
    // What is none of ours leaves no trace.
    let stranger = PlainKey::mint(KeyKind::Customer, Environment::Test).unwrap();
    let answer = report(&plane, &json!([{"token": stranger.expose()}]))
        .await
        .expect(200);
    assert_eq!(answer.json()[0]["label"], "false_positive");
    assert_eq!(newest_event(&plane).await["id"], event["id"]);
}

#[tokio::test]
async fn the_policy_may_revoke_or_only_note() {
    for (policy, action, works_on) in [
        (LeakPolicy::Revoke, "revoked", false),
        (LeakPolicy::Report, "none", true),
    ] {
        let plane = Plane::start_with(|config| config.leaks = policy).await;
        let company = plane.company("Acme").await;
        let found = report(&plane, &json!([{"token": company.live}]))
            .await
            .expect(200)
            .json();
        assert_eq!(
            (&found[0]["action"], &found[0]["label"]),
            (&json!(action), &json!("true_positive"))
        );
        assert_eq!(works(&plane, &company.live).await, works_on);
        let event = newest_event(&plane).await;
        let expected = if works_on { "keys.leaked" } else { "key.revoked" };
        assert_eq!(event["action"], expected);
        assert_eq!(event["after"]["reports"][0]["action"], action);
        if !works_on {
            let id = key_id(&plane, &company, "production").await;
            patch(&plane, &company, &id, &json!({"status": "active"}))
                .await
                .expect_error(409, "conflict");
        }
    }
}

#[tokio::test]
async fn an_admin_key_is_revoked_but_never_the_last_owners() {
    let plane = Plane::start().await;
    let operator = plane.admin_key(Role::Operator).await;
    let body = json!([{"token": operator}, {"token": plane.owner}]);
    let answer = report(&plane, &body).await.expect(200).json();
    assert_eq!(
        (&answer[0]["action"], &answer[0]["kind"]),
        (&json!("revoked"), &json!("admin"))
    );
    assert_eq!(answer[1]["action"], "none");
    assert!(answer[1]["reason"].as_str().unwrap().contains("last owner"));
    plane
        .call("GET", "/admin/tiers")
        .admin(&operator)
        .send()
        .await
        .expect_error(403, "forbidden");
    plane.admin("GET", "/admin/tiers").send().await.expect(200);
    let second = plane.admin_key(Role::Owner).await;
    let answer = report(&plane, &json!([{"token": plane.owner}]))
        .await
        .expect(200)
        .json();
    assert_eq!(answer[0]["action"], "revoked");
    plane
        .call("GET", "/admin/tiers")
        .admin(&second)
        .send()
        .await
        .expect(200);
}

#[tokio::test]
async fn a_body_that_is_no_list_of_reports_is_refused_by_its_field() {
    let plane = Plane::start().await;
    for (body, field) in [
        (json!({}), "reports"),
        (json!({"reports": {}}), "reports"),
        (json!([]), "reports"),
        (json!("x"), "body"),
        (json!([7]), "reports[0]"),
        (json!([{"token": "a"}, {"type": "t"}]), "reports[1].token"),
        (json!([{"token": 7}]), "reports[0].token"),
        (json!([{"token": "a", "url": ["b"]}]), "reports[0].url"),
    ] {
        let answer = report(&plane, &body)
            .await
            .expect_error(400, "invalid_request")
            .json();
        assert!(
            answer["message"]
                .as_str()
                .unwrap()
                .contains(&format!("`{field}`")),
            "{body}: {answer}"
        );
    }
    let call = || plane.admin("POST", "/admin/leaks");
    call().send().await.expect_error(400, "invalid_request");
    call()
        .raw("[{\"token\":\"a\",\"token\":\"b\"}]")
        .send()
        .await
        .expect_error(400, "invalid_request");
    let text = call().header("content-type", "text/plain").bytes("[]");
    text.send().await.expect_error(415, "unsupported_media_type");
    let large = json!([{"token": "x".repeat(70_000)}]);
    report(&plane, &large)
        .await
        .expect_error(413, "payload_too_large");
    plane
        .call("POST", "/admin/leaks")
        .json(&json!([]))
        .send()
        .await
        .expect_error(401, "unauthorized");
    let viewer = plane.admin_key(Role::Viewer).await;
    let refused = plane
        .call("POST", "/admin/leaks")
        .admin(&viewer)
        .json(&json!([{"token": "a"}]));
    refused.send().await.expect_error(403, "forbidden");
    let wrong = plane
        .admin("GET", "/admin/leaks")
        .send()
        .await
        .expect_error(405, "method_not_allowed");
    assert!(wrong.header("allow").unwrap().contains("POST"));
}

#[tokio::test]
async fn a_repeat_under_an_idempotency_key_is_answered_the_same() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let make = || {
        plane
            .admin("POST", "/admin/leaks")
            .header("idempotency-key", "k")
            .json(&json!([{"token": company.live}]))
            .send()
    };
    let (first, repeat) = (make().await.expect(200), make().await.expect(200));
    assert_eq!(first.text, repeat.text);
    assert_eq!(first.json()[0]["action"], "quarantined");
    assert_eq!(repeat.header("idempotent-replayed"), Some("true"));
}
