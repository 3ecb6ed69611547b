//! What a gateway is sent.

use keyward_contract::feed::{self, Hello, record::Record as Kind};
use serde_json::json;
use tonic::Code;

use super::say;
use crate::gateway::{Gateway, hello};
use crate::plane::Plane;

/// The accounts that records are of.
fn accounts<'a>(records: impl IntoIterator<Item = &'a feed::Record>) -> Vec<String> {
    let mut accounts: Vec<String> = records
        .into_iter()
        .filter_map(|record| match record.record.as_ref()? {
            Kind::Account(account) => Some(&account.account_id),
            Kind::Key(key) => Some(&key.account_id),
        })
        .map(|id| keyward_contract::AccountId::from_slice(id).unwrap().to_string())
        .collect();
    accounts.sort();
    accounts.dedup();
    accounts
}

#[tokio::test]
async fn a_gateway_is_sent_what_is_in_its_scope_and_a_changed_one_is_a_snapshot() {
    let plane = Plane::start().await;
    let (ours, theirs) = (plane.company("Ours").await, plane.company("Theirs").await);
    say(&plane, "edge-1", json!({"accounts": [ours.id]})).await;
    let gateway = Gateway::join(&plane, hello("edge-1", 1)).await.unwrap();
    let (revision, records) = gateway.snapshot();
    assert_eq!(accounts(&records), [ours.id.as_str()]);
    let made = plane
        .call("POST", "/customers")
        .key(&theirs.live)
        .json(&json!({"name": "x"}));
    let made = made.send_among_gateways().await.expect(201);
    // Their revisions go by all the same: nobody waits for this gateway longer.
    assert_eq!(made.header("keyward-propagation"), Some("complete; gateways=1"));
    let made = plane
        .call("POST", "/customers")
        .key(&ours.live)
        .json(&json!({"name": "x"}));
    made.send_among_gateways().await.expect(201);
    let changes = gateway.changes();
    let sent = changes.iter().flat_map(|change| &change.records);
    assert_eq!(accounts(sent), [ours.id.as_str()]);

    // Wider now: its stream ends with a word, and what it holds can't be gone on from.
    let widening = say(&plane, "edge-1", json!({"accounts": null}));
    let (_, end) = tokio::join!(widening, gateway.end());
    assert_eq!(end.code(), Code::Aborted, "{end:?}");
    let scoped = Hello {
        revision,
        scope: "0123456789abcdef0123456789abcdef".into(),
        ..hello("edge-1", 1)
    };
    let again = Gateway::join(&plane, scoped).await.unwrap();
    plane.eventually(async || again.snapshot().0 > 0).await;
    let mut all = [ours.id, theirs.id];
    all.sort();
    assert_eq!(accounts(&again.snapshot().1), all);
}

#[tokio::test]
async fn a_gateway_that_holds_its_scope_goes_on_from_there() {
    let plane = Plane::start().await;
    say(&plane, "edge-1", json!({"environment": "test"})).await;
    let scope = keyward_control_plane::sync::Scope {
        accounts: None,
        environment: Some(keyward_contract::Environment::Test),
    };
    let resuming = |scope: String| Hello {
        revision: 1,
        scope,
        ..hello("edge-1", 1)
    };
    let gateway = Gateway::join(&plane, resuming(scope.name())).await.unwrap();
    let body = json!({"company_name": "Acme", "contact_email": "it@example.com", "tier": "growth"});
    let made = plane
        .admin("POST", "/admin/customers")
        .json(&body)
        .send_among_gateways()
        .await;
    made.expect(201);
    plane.eventually(async || !gateway.changes().is_empty()).await;
    assert_eq!(gateway.snapshot().0, 0);
}

#[tokio::test]
async fn what_accounts_spent_is_told_to_those_alone_that_are_sent_them() {
    let plane = Plane::start().await;
    let (ours, theirs) = (plane.company("Ours").await, plane.company("Theirs").await);
    say(&plane, "edge-1", json!({"accounts": [ours.id]})).await;
    let scoped = Gateway::join(&plane, hello("edge-1", 1)).await.unwrap();
    let whole = Gateway::join(&plane, hello("edge-2", 1)).await.unwrap();
    let (ours, theirs) = (ours.id.parse().unwrap(), theirs.id.parse().unwrap());
    let counting = Gateway::join(&plane, hello("edge-3", 1)).await.unwrap();
    // What was counted before a scope was narrowed counts.
    scoped.report(theirs, 7).await;
    plane
        .eventually(async || whole.spent_elsewhere(theirs) == Some(7))
        .await;
    counting.report(ours, 5).await;
    plane
        .eventually(async || scoped.spent_elsewhere(ours) == Some(5))
        .await;
    assert_eq!(scoped.spent_elsewhere(theirs), None);
}
