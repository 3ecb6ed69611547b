//! `GET /admin/audit/verify`, `keyward-control-plane audit verify`, and that the trail only grows

use std::process::{Command, Output};

use keyward_control_plane::store::{Engine, Purpose};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::plane::{Plane, config};

async fn verify(plane: &Plane) -> Value {
    plane
        .admin("GET", "/admin/audit/verify")
        .send()
        .await
        .expect(200)
        .json()
}

/// Runs statements as one who has the database itself.
async fn tamper(plane: &Plane, statements: &[&str]) -> Result<(), sqlx::Error> {
    let mut tx = plane
        .running
        .registry()
        .store
        .begin(Purpose::Other)
        .await
        .unwrap();
    for statement in statements {
        sqlx::query(AssertSqlSafe((*statement).to_owned()))
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await
}

async fn take_the_guards_away(plane: &Plane) {
    let statements = match plane.running.registry().store.engine() {
        Engine::Sqlite => ["DROP TRIGGER audit_rows_stay", "DROP TRIGGER audit_rows_are_kept"],
        Engine::Postgres => [
            "DROP TRIGGER audit_rows_stay ON audit",
            "DROP TRIGGER audit_rows_are_kept ON audit",
        ],
    };
    tamper(plane, &statements).await.unwrap();
}

#[tokio::test]
async fn a_trail_as_it_was_written_is_intact() {
    let plane = Plane::start().await;
    plane.company("Acme").await;
    let found = verify(&plane).await;
    let trail = plane
        .admin("GET", "/admin/audit?limit=1")
        .send()
        .await
        .expect(200)
        .json();
    let expected =
        json!({"intact": true, "events": 3, "last_hash": trail["events"][0]["hash"], "broken": null});
    assert_eq!(found, expected);
}

#[tokio::test]
async fn the_first_row_that_was_changed_or_is_missing_is_named() {
    let plane = Plane::start().await;
    for name in ["A", "B", "C"] {
        plane.company(name).await;
    }
    take_the_guards_away(&plane).await;
    tamper(
        &plane,
        &["UPDATE audit SET actor_id = 'somebody' WHERE number IN (3, 5)"],
    )
    .await
    .unwrap();
    let found = verify(&plane).await;
    assert_eq!((&found["intact"], &found["events"]), (&json!(false), &json!(2)));
    assert_eq!(found["broken"]["number"], 3);
    assert_eq!(
        found["broken"]["reason"],
        "its hash is not that of its content and the row before it"
    );
    tamper(&plane, &["DELETE FROM audit WHERE number = 2"])
        .await
        .unwrap();
    let found = verify(&plane).await;
    assert_eq!(found["broken"]["number"], 3);
    assert_eq!(found["broken"]["reason"], "rows before it are missing");
}

#[tokio::test]
async fn the_database_itself_refuses_to_change_or_remove_a_row() {
    let plane = Plane::start().await;
    plane.company("Acme").await;
    for statement in [
        "UPDATE audit SET action = 'x' WHERE number = 1",
        "DELETE FROM audit",
    ] {
        let refused = tamper(&plane, &[statement]).await.unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{refused}");
    }
    assert_eq!(verify(&plane).await["events"], 3);
}

#[tokio::test]
async fn the_program_says_the_same() {
    let plane = Plane::start().await;
    plane.company("Acme").await;
    let found = config(&plane.folder);
    let path = |path: &std::path::Path| path.display().to_string();
    let text = format!(
        "[database]\nurl = \"{}\"\n[secrets]\nmaster_key_file = \"{}\"\ndigest_key_file = \"{}\"\n\
         gateway_token_file = \"{}\"\n",
        found.database_url,
        path(&found.secrets.master_key),
        path(&found.secrets.digest_key),
        path(&found.secrets.gateway_token),
    );
    let file = plane.folder.path().join("control-plane.toml");
    std::fs::write(&file, text).unwrap();
    let run = async || -> Output {
        let mut program = Command::new(env!("CARGO_BIN_EXE_keyward-control-plane"));
        program.args(["audit", "verify", "--config"]).arg(&file);
        tokio::task::spawn_blocking(move || program.output().unwrap())
            .await
            .unwrap()
    };
    let intact = run().await;
    let said = String::from_utf8(intact.stdout).unwrap();
    let last = verify(&plane).await["last_hash"].as_str().unwrap().to_owned();
    assert_eq!(
        intact.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&intact.stderr)
    );
    assert_eq!(
        said,
        format!("3 rows, all as they were written; last hash {last}\n")
    );
    take_the_guards_away(&plane).await;
    tamper(&plane, &["UPDATE audit SET before = 'null' WHERE number = 2"])
        .await
        .unwrap();
    let broken = run().await;
    let said = String::from_utf8(broken.stderr).unwrap();
    assert_eq!(broken.status.code(), Some(1));
    assert!(said.contains("the audit trail is broken at row 2"), "{said}");
}
