//! Accounts that use up their contract year are told of at 80, 95 and 100 %, once each.

use keyward_contract::{AccountId, feed};
use keyward_control_plane::ControlPlane;
use keyward_control_plane::operations::thresholds::{self, Told};
use keyward_control_plane::store::usage::{Merger, Report, Reported};
use serde_json::{Value, json};

use crate::admin::grants::grant;
use crate::plane::{Company, Plane, config};
use crate::receiver::Receiver;

/// Says that a gateway counted so many accepted calls this hour, in all.
pub(crate) async fn used(plane: &Plane, company: &Company, environment: feed::Environment, accepted: u64) {
    let registry = plane.running.registry();
    let account: AccountId = company.id.parse().unwrap();
    let counter = feed::UsageCounter {
        account_id: account.as_uuid().as_bytes().to_vec(),
        environment: environment.into(),
        route: "/".into(),
        hour: registry.clock.now().hour(),
        accepted,
        boot_epoch: 1,
        ..feed::UsageCounter::default()
    };
    let report = Report {
        gateway_id: "edge-1".into(),
        counters: vec![Reported::check(counter, 1).unwrap()],
    };
    Merger::default().merge(&registry.store, &[report]).await.unwrap();
}

pub(crate) const LIVE: feed::Environment = feed::Environment::Production;

/// The thresholds in the audit trail of an account, oldest first.
async fn told(plane: &Plane, company: &Company) -> Vec<Value> {
    let path = format!("/admin/audit?customer_id={}", company.id);
    let trail = plane.admin("GET", path).send().await.expect(200).json();
    let mut told: Vec<Value> = trail["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["target"]["kind"] == "account")
        .filter(|event| event["action"].as_str().unwrap().starts_with("quota."))
        .cloned()
        .collect();
    told.reverse();
    told
}

async fn actions(plane: &Plane, company: &Company) -> Vec<String> {
    let told = told(plane, company).await;
    told.iter()
        .map(|event| event["action"].as_str().unwrap().to_owned())
        .collect()
}

/// What a look at all accounts tells that was not told.
async fn look(plane: &Plane) -> usize {
    let found = thresholds::look_at_all(plane.running.registry(), &mut Told::default()).await;
    found.unwrap().len()
}

#[tokio::test]
async fn each_threshold_is_told_once_when_it_is_reached() {
    let (plane, receiver) = (Plane::start().await, Receiver::start().await);
    let hook = json!({"url": receiver.url, "events": ["quota.80", "quota.95", "quota.100"]});
    plane
        .admin("POST", "/admin/webhooks")
        .json(&hook)
        .send()
        .await
        .expect(201);
    let company = plane.company("Acme").await;
    used(&plane, &company, LIVE, 7_999_999).await;
    used(&plane, &company, feed::Environment::Test, 50_000_000).await;
    assert_eq!(look(&plane).await, 0);
    // The job finds out by itself, from what was merged.
    used(&plane, &company, LIVE, 8_000_000).await;
    plane
        .eventually(async || actions(&plane, &company).await == ["quota.80"])
        .await;
    used(&plane, &company, LIVE, 9_400_000).await;
    assert_eq!(look(&plane).await, 0);
    used(&plane, &company, LIVE, 9_500_000).await;
    plane
        .eventually(async || actions(&plane, &company).await == ["quota.80", "quota.95"])
        .await;
    used(&plane, &company, LIVE, 12_000_000).await;
    let all = ["quota.80", "quota.95", "quota.100"];
    plane
        .eventually(async || actions(&plane, &company).await == all)
        .await;
    used(&plane, &company, LIVE, 13_000_000).await;
    assert_eq!(look(&plane).await, 0);

    let year = plane.running.registry().clock.now().date().year();
    let row = &told(&plane, &company).await[0];
    assert_eq!(row["actor"], json!({"kind": "system", "id": "quota"}));
    let expected = json!({
        "threshold": 80, "used": 8_000_000, "annual_limit": 10_000_000, "granted": 0,
        "period_start": format!("{year}-01-01T00:00:00Z"), "period_end": format!("{}-01-01T00:00:00Z", year + 1),
    });
    assert_eq!(row["after"], expected);
    let received = receiver.wait_for(3).await;
    assert_eq!(received.len(), 3);
    let first = received
        .iter()
        .find(|one| one.kind() == "quota.80")
        .unwrap()
        .json();
    assert_eq!(
        (&first["data"]["customer_id"], &first["data"]["used"]),
        (&json!(company.id), &json!(8_000_000))
    );
    let metrics = reqwest::get(format!("http://{}/metrics", plane.running.admin))
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(
        metrics.contains("keyward_quota_crossings_total{threshold=\"100\"} 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_jump_over_several_tells_each_of_them() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    used(&plane, &company, LIVE, 10_000_000).await;
    let all = ["quota.80", "quota.95", "quota.100"];
    plane
        .eventually(async || actions(&plane, &company).await == all)
        .await;
}

#[tokio::test]
async fn a_tier_that_goes_up_and_down_repeats_nothing_and_a_lower_limit_is_noticed() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let tier = async |tier: &str| {
        let path = format!("/admin/customers/{}", company.id);
        plane
            .admin("PUT", path)
            .json(&json!({"tier": tier}))
            .send()
            .await
            .expect(200);
    };
    used(&plane, &company, LIVE, 8_500_000).await;
    plane
        .eventually(async || actions(&plane, &company).await == ["quota.80"])
        .await;
    tier("scale").await;
    assert_eq!(look(&plane).await, 0);
    tier("growth").await;
    assert_eq!(look(&plane).await, 0);
    assert_eq!(actions(&plane, &company).await, ["quota.80"]);
    // With the smaller year it is over: what was told stays told.
    tier("starter").await;
    let all = ["quota.80", "quota.95", "quota.100"];
    plane
        .eventually(async || actions(&plane, &company).await == all)
        .await;
}

#[tokio::test]
async fn two_control_planes_tell_it_once() {
    let plane = Plane::start().await;
    let (second, _) = ControlPlane::open(&config(&plane.folder)).await.unwrap();
    let companies = [
        plane.company("A").await,
        plane.company("B").await,
        plane.company("C").await,
    ];
    for company in &companies {
        used(&plane, company, LIVE, 10_000_000).await;
    }
    let (mut here, mut there) = (Told::default(), Told::default());
    let (here, there) = tokio::join!(
        thresholds::look_at_all(plane.running.registry(), &mut here),
        thresholds::look_at_all(&second, &mut there),
    );
    here.unwrap();
    there.unwrap();
    for company in &companies {
        assert_eq!(
            actions(&plane, company).await,
            ["quota.80", "quota.95", "quota.100"]
        );
    }
}

#[tokio::test]
async fn a_threshold_is_a_share_of_what_was_granted_too() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    grant(&plane, &company.id, 10_000_000).await;
    used(&plane, &company, LIVE, 15_999_999).await;
    assert_eq!(look(&plane).await, 0);
    used(&plane, &company, LIVE, 16_000_000).await;
    plane
        .eventually(async || actions(&plane, &company).await == ["quota.80"])
        .await;
    let after = told(&plane, &company).await[0]["after"].clone();
    assert_eq!(
        (&after["annual_limit"], &after["granted"], &after["used"]),
        (&json!(10_000_000), &json!(10_000_000), &json!(16_000_000))
    );
}

#[tokio::test]
async fn what_a_grant_lifts_above_what_was_used_is_told_again_when_it_is_reached_again() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    used(&plane, &company, LIVE, 10_000_000).await;
    let all = ["quota.80", "quota.95", "quota.100"];
    plane
        .eventually(async || actions(&plane, &company).await == all)
        .await;
    // Of 12 000 000 it has used 83 %: that it has used 80 % was told.
    grant(&plane, &company.id, 2_000_000).await;
    assert_eq!(look(&plane).await, 0);
    used(&plane, &company, LIVE, 11_400_000).await;
    let again = ["quota.80", "quota.95", "quota.100", "quota.95"];
    plane
        .eventually(async || actions(&plane, &company).await == again)
        .await;
    assert_eq!(look(&plane).await, 0);
    // Of 40 000 000 it has used less than 80 %.
    grant(&plane, &company.id, 28_000_000).await;
    assert_eq!(look(&plane).await, 0);
    used(&plane, &company, LIVE, 40_000_000).await;
    let rest = ["quota.80", "quota.95", "quota.100"];
    plane
        .eventually(async || actions(&plane, &company).await == [&again[..], &rest[..]].concat())
        .await;
}
