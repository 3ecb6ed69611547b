//! Surface 3.

mod any_endpoint;
mod create;
mod delete;
mod list;
mod show;
mod update;

use keyward_config::Rules;
use keyward_control_plane::store::Purpose;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::plane::{Answer, Company, Plane};

/// What the tests of this surface know of: three versions, the newest last.
const VERSIONS: [&str; 3] = ["2026-05-01", "2026-11-01", "2027-02-01"];

/// A person of an account.
struct Person {
    id: String,
    sub: String,
}

/// A control plane with more than one API version.
async fn plane() -> Plane {
    Plane::start_with(|config| {
        config.rules = Rules {
            api_versions: VERSIONS.map(str::to_owned).to_vec(),
            ..config.rules.clone()
        };
    })
    .await
}

/// Runs one statement on the control plane's own database, whichever that is.
async fn run(plane: &Plane, statement: &'static str, values: &[&str]) {
    let mut tx = plane
        .running
        .registry()
        .store
        .begin(Purpose::Other)
        .await
        .unwrap();
    let mut query = sqlx::query(statement);
    for value in values {
        query = query.bind((*value).to_owned());
    }
    query.execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
}

async fn person(plane: &Plane, company: &Company) -> Person {
    let (id, sub) = (Uuid::now_v7().to_string(), Uuid::new_v4().to_string());
    run(
        plane,
        "INSERT INTO users (id, account_id, sub, name, email, claims, status, created_at, permissions, updated_at) \
         VALUES ($1, $2, $3, 'Ada', 'ada@example.com', '[]', 'active', 0, '[]', 0)",
        &[&id, &company.id, &sub],
    )
    .await;
    Person { id, sub }
}

/// Makes a key here with these fields and a `userId`.
async fn make(plane: &Plane, credential: &str, person: &Person, fields: Value) -> Value {
    let mut body = json!({"userId": person.id});
    let more = fields.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(more);
    plane
        .call("POST", "/keys")
        .key(credential)
        .json(&body)
        .send()
        .await
        .expect(201)
        .json()
}

fn path(key: &Value) -> String {
    format!("/keys/{}", key["id"].as_str().unwrap())
}

async fn get(plane: &Plane, credential: &str, path: impl Into<String>) -> Value {
    plane
        .call("GET", path)
        .key(credential)
        .send()
        .await
        .expect(200)
        .json()
}

/// Lets a key stand as if it had been made on surface 4, or been disabled, before those surfaces are asked.
async fn set(plane: &Plane, key_id: &str, column: &str, value: &str) {
    let statement = match column {
        "state" => "UPDATE api_keys SET state = $2 WHERE id = $1",
        "origin" => "UPDATE api_keys SET origin = $2 WHERE id = $1",
        "user_id" => "UPDATE api_keys SET user_id = $2 WHERE id = $1",
        other => panic!("{other}?"),
    };
    run(plane, statement, &[key_id, value]).await;
}

impl Answer {
    /// A refusal of this surface, in its whole form, whose message holds this.
    #[track_caller]
    fn expect_message(self, status: u16, part: &str) -> Self {
        let answer = self.expect(status);
        let body = answer.json();
        let message = body["message"].as_str().unwrap_or_default();
        let request_id = answer.header("x-request-id").unwrap();
        assert_eq!(
            body,
            json!({"status": status, "message": message, "requestId": request_id})
        );
        assert!(message.contains(part), "`{part}` is not in {body}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        answer
    }
}
