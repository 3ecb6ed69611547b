//! `keyward explain` as an operator runs it: with the id that a partner was shown.

use std::process::{Command, Output};

use keyward_harness::{Standalone, binary};
use serde_json::Value;

use crate::stack::SOON;
use crate::wire::{Keys, Wire};

fn explain(arguments: &[&str]) -> Output {
    let program = binary("keyward").unwrap();
    Command::new(program)
        .arg("explain")
        .args(arguments)
        .output()
        .unwrap()
}

#[tokio::test]
async fn a_partners_request_id_is_all_that_an_operator_needs() {
    let standalone = Standalone::start().await.unwrap();
    let addresses = standalone.addresses().clone();
    let demo = standalone.demo().unwrap().clone();
    let gateway = addresses.gateway.strip_prefix("http://").unwrap();
    let mut wire = Wire::open(gateway.parse().unwrap()).await;
    let (ours, wrong) = (&demo.production, &demo.test);
    // A customer key of the other environment.
    let keys = Keys {
        account: &ours.account_key,
        customer: &wrong.customer_key,
    };
    let heard = wire.call(keys).await;
    assert_eq!((heard.status, heard.code().as_str()), (403, "FORBIDDEN"));
    let id = heard.header("x-request-id").unwrap();
    let admin = addresses.gateway_admin.as_str();

    let ran = explain(&[id, "--admin", admin]);
    let text = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(ran.status.code(), Some(0), "{text}");
    assert!(
        text.starts_with("403 FORBIDDEN: the customer key is not valid here\n"),
        "{text}"
    );
    let refused: Vec<_> = text.lines().filter(|line| line.contains("REFUSED")).collect();
    assert_eq!(
        refused,
        [
            "  REFUSED      authorise  the customer key, if any, is a living one of this account and environment"
        ]
    );
    for secret in [&ours.account_key, &wrong.customer_key] {
        assert!(!text.contains(secret.as_str()), "{text}");
    }

    let ran = explain(&[id, "--admin", admin, "--output", "json"]);
    let told: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(told["requestId"], id);
    assert_eq!(told["refusals"][0]["caller"]["account"], demo.account_id);

    let unknown = explain(&["never-was", "--admin", admin]);
    let complaint = String::from_utf8(unknown.stderr).unwrap();
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        complaint.starts_with("keyward: no refusal with this id is held here"),
        "{complaint}"
    );
    assert_eq!(explain(&["a/b", "--admin", admin]).status.code(), Some(2));
    standalone.stop(SOON).await.unwrap();
    assert_eq!(explain(&[id, "--admin", admin]).status.code(), Some(1));
}
