//! `POST /admin/leaks`: keys that somebody found where they must not be.
//!
//! Takes what secret-scanning partners send, an array of `{"token","type","url","source"}`, and answers with what they
//! want to hear, an array of `{"token_hash","token_type","label"}`; `{"reports": […]}` is answered with
//! `{"results": […]}`. Tokens are wiped and never written down.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value, json};
use zeroize::{Zeroize, Zeroizing};

use crate::App;
use crate::domain::refusal::InvalidField;
use crate::operations::identify::AdminCaller;
use crate::operations::leaks::{self, Outcome, Report};
use crate::surfaces::body::AnyJson;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// Looks up what was found, and does to the living keys among it what `leaks.policy` says.
///
/// # Errors
/// When the body is no list of reports.
pub async fn report(
    State(app): State<App>,
    caller: AdminCaller,
    AnyJson(body): AnyJson,
) -> Result<Response, Problem> {
    let wrapped = body.is_object();
    let reports = reports(body)?;
    let dealt_with = leaks::report(&app.registry, &caller.actor, reports).await?;
    let results: Value = dealt_with.value.iter().map(result).collect();
    let body = if wrapped {
        json!({"results": results})
    } else {
        results
    };
    Ok(settled::with(&dealt_with.settled, axum::Json(body)))
}

fn reports(body: Value) -> Result<Vec<Report>, InvalidField> {
    let list = match body {
        Value::Array(list) => list,
        Value::Object(mut object) => match object.remove("reports") {
            Some(Value::Array(list)) => list,
            Some(mut other) => {
                wipe(&mut other);
                return Err(InvalidField::new("reports", "must be an array"));
            }
            None => {
                object.values_mut().for_each(wipe);
                return Err(InvalidField::new("reports", "is required"));
            }
        },
        mut other => {
            wipe(&mut other);
            return Err(InvalidField::new("body", "must be an array of reports"));
        }
    };
    if list.is_empty() {
        return Err(InvalidField::new("reports", "must have at least one entry"));
    }
    // Every one is read, so that every token is wiped, whatever is wrong with one of them.
    let read: Vec<_> = list.into_iter().enumerate().map(one).collect();
    read.into_iter().collect()
}

fn one((index, value): (usize, Value)) -> Result<Report, InvalidField> {
    let mut object = match value {
        Value::Object(object) => object,
        mut other => {
            wipe(&mut other);
            return Err(InvalidField::new(
                format!("reports[{index}]"),
                "must be an object",
            ));
        }
    };
    let token = match object.remove("token") {
        Some(Value::String(token)) => Ok(Zeroizing::new(token)),
        Some(mut other) => {
            wipe(&mut other);
            Err("must be a text")
        }
        None => Err("is required"),
    };
    let read = |report: &mut Map<String, Value>| {
        let field = |name: &str| format!("reports[{index}].{name}");
        let token = token.map_err(|reason| InvalidField::new(field("token"), reason))?;
        let mut text = |name: &str| match report.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(mut other) => {
                wipe(&mut other);
                Err(InvalidField::new(field(name), "must be a text"))
            }
        };
        Ok(Report {
            token,
            token_type: text("type")?,
            url: text("url")?,
            source: text("source")?,
        })
    };
    let report = read(&mut object);
    object.values_mut().for_each(wipe);
    report
}

/// Overwrites every text in a value: any of them may be a key in the wrong place.
fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(object) => object.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn result(outcome: &Outcome) -> Value {
    let key = outcome.key.as_ref();
    json!({
        "token_hash": outcome.token_hash,
        "token_type": outcome.token_type,
        "label": if key.is_some() { "true_positive" } else { "false_positive" },
        "action": outcome.action.as_str(),
        "reason": outcome.reason,
        "kind": key.map(|key| key.kind.noun()),
        "api_key_id": key.map(|key| key.id),
        "customer_id": key.and_then(|key| key.account),
        "environment": key.and_then(|key| key.environment),
        "mask": key.map(|key| key.mask.as_str()),
        "status": key.map(|key| key.state),
    })
}
