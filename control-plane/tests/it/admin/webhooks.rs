//! `/admin/webhooks`: one file per endpoint, and what is promised of deliveries.

use serde_json::{Value, json};

use crate::plane::Plane;
use crate::receiver::Receiver;

mod create;
mod delete;
mod deliveries;
mod delivering;
mod delivery;
mod events;
mod list;
mod replay;
mod rotate_secret;
mod show;
mod test;
mod update;

const NOBODY: &str = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e";

/// A webhook at a receiver, with its secret.
struct Hook {
    id: String,
    secret: String,
}

impl Hook {
    async fn at(plane: &Plane, receiver: &Receiver, events: &[&str]) -> Self {
        let made = plane
            .admin("POST", "/admin/webhooks")
            .json(&json!({"url": receiver.url, "events": events}))
            .send()
            .await
            .expect(201)
            .json();
        Self {
            id: made["webhook_id"].as_str().unwrap().to_owned(),
            secret: made["secret"].as_str().unwrap().to_owned(),
        }
    }

    fn path(&self) -> String {
        format!("/admin/webhooks/{}", self.id)
    }

    /// Sends a test message and answers its delivery.
    async fn test(&self, plane: &Plane) -> Value {
        let path = format!("{}/test", self.path());
        plane.admin("POST", path).send().await.expect(202).json()
    }

    async fn deliveries(&self, plane: &Plane, query: &str) -> Vec<Value> {
        let path = format!("{}/deliveries?{query}", self.path());
        let listed = plane.admin("GET", path).send().await.expect(200).json();
        listed["deliveries"].as_array().unwrap().clone()
    }

    /// Waits until its only delivery has this state and so many attempts behind it.
    async fn settles(&self, plane: &Plane, state: &str, attempts: usize) -> Value {
        plane
            .eventually(async || {
                let one = &self.deliveries(plane, "").await[0];
                one["state"] == state && one["attempts"].as_array().unwrap().len() == attempts
            })
            .await;
        self.deliveries(plane, "").await[0].clone()
    }
}

/// The actions in the audit trail about webhooks, newest first.
async fn audited(plane: &Plane) -> Vec<String> {
    let trail = plane.admin("GET", "/admin/audit").send().await.expect(200).json();
    let events = trail["events"].as_array().unwrap();
    let actions = events
        .iter()
        .map(|event| event["action"].as_str().unwrap().to_owned());
    actions.filter(|action| action.starts_with("webhook.")).collect()
}
