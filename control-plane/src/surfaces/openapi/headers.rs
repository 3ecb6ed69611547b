//! The headers of every answer, by its status.

use serde_json::{Value, json};

use super::complete::{Operation, object};
use crate::surfaces::Surface;

/// Adds the headers that an operation's answers carry.
pub fn add(surface: Surface, operation: &mut Operation<'_>) {
    let (guarded, changes, once) = (operation.is_guarded(), operation.changes(), operation.acts_once());
    let public = operation.path.starts_with("/.well-known");
    for (status, answer) in operation.answers().iter_mut() {
        let success = status.starts_with('2');
        let mut all = vec![request_id()];
        // What everybody may know may be kept.
        if !(public && success) {
            all.push(no_store());
        }
        if guarded && status != "401" {
            all.extend(meter(success || status == "429"));
        }
        if success && changes {
            all.extend(settled());
        }
        if once && !status.starts_with('5') {
            all.push(replayed());
        }
        match status.as_str() {
            "429" | "503" => all.push(retry_after(true)),
            "409" if once => all.push(retry_after(false)),
            "401" if guarded && surface != Surface::Admin => all.push(challenge()),
            _ => {}
        }
        if let Some(answer) = answer.as_object_mut() {
            let headers = object(answer, "headers");
            for (name, header) in all {
                headers.entry(name).or_insert(header);
            }
        }
    }
}

type Header = (&'static str, Value);

fn request_id() -> Header {
    (
        "X-Request-Id",
        json!({
            "description": "The id of the call: the caller's own, when it sent a well-formed one.",
            "required": true,
            "schema": {"type": "string", "pattern": "^[0-9A-Za-z._-]{1,128}$"},
        }),
    )
}

fn no_store() -> Header {
    let schema = json!({"type": "string", "enum": ["no-store"]});
    ("Cache-Control", json!({"required": true, "schema": schema}))
}

/// There is a bucket where a caller was identified.
fn meter(always: impl Into<Value>) -> [Header; 3] {
    let always = always.into();
    let header = |description: &str| {
        json!({
            "description": description,
            "required": always,
            "schema": {"type": "integer", "minimum": 0},
        })
    };
    [
        ("X-RateLimit-Limit", header("How many calls may be made at once.")),
        ("X-RateLimit-Remaining", header("How many of them are left.")),
        (
            "X-RateLimit-Reset",
            header("When all of them are there again, in seconds since 1970."),
        ),
    ]
}

fn settled() -> [Header; 2] {
    [
        (
            "Keyward-Revision",
            json!({
                "description": "The place of this change in the one order of all changes.",
                "required": true,
                "schema": {"type": "integer", "minimum": 0},
            }),
        ),
        (
            "Keyward-Propagation",
            json!({
                "description": "How many gateways have the change in force, and which may not.",
                "required": true,
                "schema": {"type": "string", "pattern": "^(complete|partial); "},
                "example": "complete; gateways=2",
            }),
        ),
    ]
}

fn replayed() -> Header {
    (
        "Idempotent-Replayed",
        json!({
            "description": "There when this is the answer to an earlier call with the same Idempotency-Key.",
            "required": false,
            "schema": {"type": "string", "enum": ["true"]},
        }),
    )
}

fn retry_after(always: impl Into<Value>) -> Header {
    (
        "Retry-After",
        json!({
            "description": "After so many seconds it may be tried again.",
            "required": always.into(),
            "schema": {"type": "integer", "minimum": 1},
        }),
    )
}

fn challenge() -> Header {
    (
        "WWW-Authenticate",
        json!({"required": true, "schema": {"type": "string"}, "example": "Bearer realm=\"keyward\""}),
    )
}
