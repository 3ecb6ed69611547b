//! `POST /customers/{customerId}/rotate-key`

use crate::plane::Plane;
use crate::portal::Door;

#[tokio::test]
async fn the_new_key_takes_the_place_of_the_old_one() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let made = plane.customer(&company.live, "Uni").await;
    let path = format!("/customers/{}", made["id"].as_str().unwrap());
    let mut keys = vec![made["apiKey"].as_str().unwrap().to_owned()];
    for body in ["", "ignored"] {
        let call = plane
            .call("POST", format!("{path}/rotate-key"))
            .key(&company.live);
        let rotated = call.bytes(body).send().await.expect(200).json();
        assert_eq!((&rotated["id"], &rotated["name"]), (&made["id"], &made["name"]));
        keys.push(rotated["apiKey"].as_str().unwrap().to_owned());
        let shown = plane
            .call("GET", &path)
            .key(&company.live)
            .send()
            .await
            .expect(200)
            .json();
        assert_eq!(shown["apiKey"], rotated["apiKey"]);
    }
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 3);
}

#[tokio::test]
async fn gateways_are_told_of_both_keys_in_one_revision() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let made = plane.customer(&company.live, "Uni").await;
    let path = format!("/customers/{}/rotate-key", made["id"].as_str().unwrap());
    let answer = plane
        .call("POST", path)
        .key(&company.live)
        .send()
        .await
        .expect(200);
    let change = crate::promises::change(&plane, answer.header("keyward-revision").unwrap()).await;
    let digest = |key: &serde_json::Value| plane.running.registry().digest(key.as_str().unwrap());
    let states: Vec<_> = change
        .iter()
        .map(|record| match record {
            keyward_contract::Record::Key(key) => (key.digest, key.state),
            keyward_contract::Record::Account(_) => panic!("an account was touched"),
        })
        .collect();
    use keyward_contract::KeyState::{Active, Revoked};
    let expected = [
        (digest(&made["apiKey"]), Revoked),
        (digest(&answer.json()["apiKey"]), Active),
    ];
    assert_eq!(states, expected);
}

#[tokio::test]
async fn it_opens_only_to_whom_it_should() {
    door().opens_only_to_whom_it_should().await;
}

#[tokio::test]
async fn it_leads_nowhere_without_a_customer_of_the_caller() {
    door().leads_nowhere_without_a_customer_of_the_caller().await;
}

fn door() -> Door<'static> {
    Door {
        method: "POST",
        rest: "/{}/rotate-key",
        body: "",
        allow: &["POST"],
    }
}
