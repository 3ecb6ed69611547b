//! `GET /admin/audit/export`

use keyward_contract::UnixMillis;
use keyward_control_plane::store::Purpose;
use keyward_control_plane::store::audit::{self, Event};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::plane::Plane;

async fn jsonl(plane: &Plane, query: &str) -> Vec<Value> {
    let answer = plane
        .admin("GET", format!("/admin/audit/export{query}"))
        .send()
        .await
        .expect(200);
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let disposition = answer.header("content-disposition").unwrap();
    assert_eq!(disposition, "attachment; filename=\"audit.jsonl\"");
    answer
        .text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// More rows than are held at once.
async fn fill(plane: &Plane, rows: usize) {
    let mut tx = plane
        .running
        .registry()
        .store
        .begin(Purpose::Change)
        .await
        .unwrap();
    for row in 0..rows {
        let event = Event {
            id: uuid::Uuid::now_v7().to_string(),
            at: UnixMillis(1_700_000_000_000 + i64::try_from(row).unwrap()),
            actor_kind: "system".into(),
            actor_id: "test".into(),
            action: "test.made".into(),
            target_kind: "row".into(),
            target_id: row.to_string(),
            account: None,
            before: None,
            after: Some(json!({"name": "comma, \"quote\"\nand line; ü", "n": 1.5}).to_string()),
            request_id: String::new(),
            address: String::new(),
        };
        audit::insert(&mut tx, &event).await.unwrap();
    }
    tx.commit().await.unwrap();
}

/// The hash of an exported row, made as the documentation says by somebody who has nothing but the export.
fn hash(row: &Value) -> String {
    let mut hash = Sha256::new();
    let at = row["at_ms"].as_i64().unwrap().to_string();
    let text = |name: &str| row[name].as_str().map(str::to_owned);
    let names = [
        "actor_kind",
        "actor_id",
        "action",
        "target_kind",
        "target_id",
        "customer_id",
        "before",
        "after",
    ];
    let parts = [text("previous_hash"), text("id"), Some(at)]
        .into_iter()
        .chain(names.into_iter().map(text))
        .chain([text("request_id"), text("address")]);
    for part in parts {
        match part {
            None => hash.update([0]),
            Some(part) => {
                hash.update([1]);
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part.as_bytes());
            }
        }
    }
    hex::encode(hash.finalize())
}

#[tokio::test]
async fn all_of_the_trail_is_handed_out_and_anybody_can_verify_it() {
    let plane = Plane::start().await;
    plane.company("Acme").await;
    fill(&plane, 2_100).await;
    let rows = jsonl(&plane, "").await;
    // The owner's key, the account and its test key came first.
    assert_eq!(rows.len(), 2_103);
    let mut previous = String::new();
    for (place, row) in rows.iter().enumerate() {
        assert_eq!(row["number"], place + 1);
        assert_eq!(row["previous_hash"], previous.as_str());
        assert_eq!(row["hash"], hash(row).as_str(), "row {}", place + 1);
        previous = row["hash"].as_str().unwrap().to_owned();
    }
    let made = &rows[1];
    assert_eq!(made["action"], "account.created");
    assert!(
        made["after"]
            .as_str()
            .unwrap()
            .starts_with("{\"company_name\":\"Acme\"")
    );
    assert_eq!(made["address"], "127.0.0.1");
}

#[tokio::test]
async fn csv_says_the_same() {
    let plane = Plane::start().await;
    plane.company("Acme").await;
    fill(&plane, 3).await;
    let answer = plane
        .admin("GET", "/admin/audit/export?format=csv")
        .send()
        .await
        .expect(200);
    assert_eq!(answer.header("content-type"), Some("text/csv; charset=utf-8"));
    let mut csv = csv::Reader::from_reader(answer.text.as_bytes());
    let names = csv.headers().unwrap().clone();
    let rows = jsonl(&plane, "?format=jsonl").await;
    let keys: Vec<_> = rows[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names.iter().collect::<Vec<_>>(), keys);
    let mut count = 0;
    for (record, row) in csv.records().zip(&rows) {
        for (name, cell) in names.iter().zip(record.unwrap().iter()) {
            let expected = match &row[name] {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            assert_eq!(cell, expected, "{name}");
        }
        count += 1;
    }
    assert_eq!(count, 6);
}

#[tokio::test]
async fn a_span_is_handed_out_with_the_hash_that_it_is_chained_to() {
    let plane = Plane::start().await;
    fill(&plane, 10).await;
    let rows = jsonl(
        &plane,
        "?from=2023-11-14T22:13:20.003Z&to=2023-11-14T22:13:20.006Z",
    )
    .await;
    let numbers: Vec<_> = rows.iter().map(|row| row["number"].as_i64().unwrap()).collect();
    assert_eq!(numbers, [5, 6, 7]);
    let all = jsonl(&plane, "").await;
    assert_eq!(rows[0]["previous_hash"], all[3]["hash"]);
    assert!(jsonl(&plane, "?from=2099-01-01").await.is_empty());
    let empty = plane
        .admin("GET", "/admin/audit/export?from=2099-01-01&format=csv")
        .send()
        .await;
    assert_eq!(empty.expect(200).text.lines().count(), 1);
}

#[tokio::test]
async fn what_is_no_span_or_format_is_400() {
    let plane = Plane::start().await;
    for bad in [
        "format=xml",
        "format=",
        "from=nonsense",
        "to=2026-13-01",
        "from=2026-01-01&from=2026-01-01",
    ] {
        let refused = plane
            .admin("GET", format!("/admin/audit/export?{bad}"))
            .send()
            .await;
        refused.expect_error(400, "invalid_request");
    }
}
