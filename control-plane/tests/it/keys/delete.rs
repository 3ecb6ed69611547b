//! `DELETE /keys/{keyId}`

use serde_json::json;

use super::{get, make, path, person, plane, set};

#[tokio::test]
async fn a_deleted_key_is_dead_and_a_repeat_finds_nothing() {
    let plane = plane().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company).await;
    let key = make(&plane, &company.live, &ada, json!({})).await;
    let plain = key["key"].as_str().unwrap();
    let delete = || plane.call("DELETE", path(&key)).key(&company.live).send();
    let answer = delete().await.expect(204);
    assert!(answer.text.is_empty());
    let refused = plane.call("GET", "/keys").key(plain).send().await;
    refused.expect_message(401, "revoked");
    delete().await.expect_message(404, "no such API key");
    assert_eq!(get(&plane, &company.live, "/keys").await["total"], 1);
    assert_eq!(
        get(&plane, &company.live, "/keys?status=inactive").await["total"],
        1
    );
}

#[tokio::test]
async fn keys_of_other_surfaces_and_dead_ones_are_deleted_too() {
    let plane = plane().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company).await;
    let by_operator = plane.account_key(&company.id, &json!({})).await;
    let disabled = make(&plane, &company.live, &ada, json!({})).await;
    set(&plane, disabled["id"].as_str().unwrap(), "state", "disabled").await;
    for id in [&by_operator["api_key_id"], &disabled["id"]] {
        let path = format!("/keys/{}", id.as_str().unwrap());
        let call = plane.call("DELETE", &path).key(&company.live);
        call.send().await.expect(204);
        let shown = get(&plane, &company.live, &path).await;
        assert!(shown["deletedAt"].is_string(), "{shown}");
        let call = plane.call("DELETE", &path).key(&company.live);
        call.send().await.expect(404);
    }
}

#[tokio::test]
async fn a_key_may_delete_itself() {
    let plane = plane().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company).await;
    let key = make(&plane, &company.live, &ada, json!({})).await;
    let itself = key["key"].as_str().unwrap();
    let call = plane.call("DELETE", path(&key)).key(itself);
    call.send().await.expect(204);
    let call = plane.call("DELETE", path(&key)).key(itself);
    call.send().await.expect(401);
}

#[tokio::test]
async fn of_many_deletions_at_once_one_succeeds() {
    let plane = plane().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company).await;
    let key = make(&plane, &company.live, &ada, json!({})).await;
    let calls = (0..5).map(|_| plane.call("DELETE", path(&key)).key(&company.live).send());
    let answers = futures_util::future::join_all(calls).await;
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 404, 404, 404, 404]);
}
