//! Every refusal that an operation can answer with: the status, when it occurs, the surface's form of error, and
//! an example that the surface's own code wrote.

use serde_json::{Map, Value, json};

use super::complete::{Face, Operation, object};
use crate::domain::refusal::InvalidField;
use crate::surfaces::problem::Problem;
use crate::surfaces::{Surface, oauth};

const REQUEST_ID: &str = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d83";

/// Adds what can happen, and gives what the endpoint named itself its form.
pub fn add(face: &Face, operation: &mut Operation<'_>) {
    let of_oauth = operation.path.starts_with("/oauth") || operation.path.starts_with("/.well-known");
    for (when, problem) in possible(face.surface, operation) {
        let status = problem.status().as_str().to_owned();
        let answer = operation
            .answers()
            .entry(status)
            .or_insert_with(|| json!({"description": when}));
        if let Some(answer) = answer.as_object_mut() {
            let form = if of_oauth {
                Form {
                    schema: "#/components/schemas/TokenError",
                    write: |problem, _| oauth::error::body(problem),
                }
            } else {
                Form {
                    schema: "#/components/schemas/Error",
                    write: face.error,
                }
            };
            give_form(&form, answer, &problem);
        }
    }
}

fn possible(surface: Surface, operation: &mut Operation<'_>) -> Vec<(&'static str, Problem)> {
    let invalid = InvalidField::new("limit", "must be a whole number from 1 to 100");
    let mut all = vec![
        (
            "A value breaks a rule; the answer names it.",
            Problem::Invalid(invalid),
        ),
        ("The body is larger than 64 KiB.", Problem::TooLarge),
    ];
    if operation.is_guarded() {
        all.extend(of_credentials(surface));
    }
    if operation.path.contains('{') || operation.answers().contains_key("404") {
        all.push((
            "It isn't there, or isn't the caller's.",
            Problem::Missing("API key".into()),
        ));
    }
    if operation.said.contains_key("requestBody") {
        all.push((
            "The body is of another content type.",
            Problem::UnsupportedMediaType,
        ));
    }
    if !operation.is_guarded() && operation.answers().contains_key("401") {
        // Their forms are OAuth's own; these stand for them.
        all.push(("", Problem::NoCredential));
        all.push(("", Problem::RateLimited { retry_after: 1 }));
    }
    let named = operation.answers().contains_key("409");
    if named {
        all.push((
            "",
            Problem::Conflict("it can't be done in the present state".into()),
        ));
    }
    if operation.acts_once() {
        all.push((
            "The Idempotency-Key is in use, or was used for another body.",
            Problem::Running,
        ));
    }
    all.push(("Something went wrong on our side.", Problem::Internal));
    all.push((
        "The store is away: the call can be tried again.",
        Problem::Unavailable,
    ));
    all
}

fn of_credentials(surface: Surface) -> Vec<(&'static str, Problem)> {
    let mut all = vec![("The caller is not identified.", Problem::NoCredential)];
    // To the admin API, whoever isn't an operator is forbidden.
    if surface != Surface::Admin {
        all.push(("", Problem::UnknownKey));
        all.push(("", Problem::DeadKey));
    }
    all.push((
        "The caller may not do this, or not from here.",
        Problem::Forbidden("the caller may not do this"),
    ));
    let limited = Problem::RateLimited { retry_after: 1 };
    all.push(("Too many calls with this credential.", limited));
    all
}

/// How a refusal is written, and what describes that.
struct Form {
    schema: &'static str,
    write: fn(&Problem, &str) -> String,
}

fn give_form(form: &Form, answer: &mut Map<String, Value>, problem: &Problem) {
    let content = object(object(answer, "content"), "application/json");
    content
        .entry("schema")
        .or_insert_with(|| json!({"$ref": form.schema}));
    let written = (form.write)(problem, REQUEST_ID);
    let example: Value = serde_json::from_str(&written).unwrap_or_default();
    object(content, "examples").insert(name(problem).into(), json!({"value": example}));
}

fn name(problem: &Problem) -> &'static str {
    match problem {
        Problem::Invalid(_) => "invalid",
        Problem::NoCredential => "no credential",
        Problem::UnknownKey => "unknown",
        Problem::DeadKey => "revoked or expired",
        Problem::UnknownToken => "unknown token",
        Problem::DeadToken => "expired token",
        Problem::Forbidden(_) => "forbidden",
        Problem::Missing(_) => "missing",
        Problem::MethodNotAllowed => "another method",
        Problem::Conflict(_) => "conflict",
        Problem::Running => "still running",
        Problem::TooLarge => "too large",
        Problem::UnsupportedMediaType => "another type",
        Problem::RateLimited { .. } => "too fast",
        Problem::Internal => "internal",
        Problem::Unavailable => "unavailable",
    }
}
