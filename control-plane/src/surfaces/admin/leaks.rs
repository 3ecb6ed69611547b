//! `POST /admin/leaks`: keys that somebody found where they must not be.
//!
//! Takes what secret-scanning partners send, an array of `{"token","type","url","source"}`, and answers with what they
//! want to hear, an array of `{"token_hash","token_type","label"}`; `{"reports": […]}` is answered with
//! `{"results": […]}`. Tokens are wiped and never written down.

use axum::extract::State;
use axum::response::Response;
use keyward_contract::{AccountId, Environment, KeyId};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use zeroize::{Zeroize, Zeroizing};

use crate::App;
use crate::domain::refusal::InvalidField;
use crate::operations::identify::AdminCaller;
use crate::operations::leaks::{self, Outcome, Report};
use crate::surfaces::body::AnyJson;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// What was found, bare as scanning partners send it, or wrapped.
#[derive(ToSchema)]
#[serde(untagged)]
pub enum LeakReports {
    /// Bare.
    Bare(Vec<LeakReport>),
    /// Wrapped.
    Wrapped(WrappedReports),
}

/// What was found, wrapped.
#[derive(ToSchema)]
#[schema(example = json!({
    "reports": [{"token": "pk_live_4fQ7xT2mK9sL0bVn3RzY8wJcH5dEuGp6A1B2C3", "type": "keyward_api_key",
        "url": "https://code.example/acme/app/blob/main/.env", "source": "content"}],
}))]
pub struct WrappedReports {
    /// What was found: at least one.
    pub reports: Vec<LeakReport>,
}

/// One text that was found. There is no `Debug`: it may be a key.
#[derive(ToSchema)]
pub struct LeakReport {
    /// The text.
    pub token: String,
    /// What the finder took it for.
    #[schema(rename = "type")]
    pub token_type: Option<String>,
    /// Where it was found.
    pub url: Option<String>,
    /// In what it was found.
    pub source: Option<String>,
}

/// What came of it, in the form in which it was sent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum LeakResults {
    /// Bare.
    Bare(Vec<LeakResult>),
    /// Wrapped.
    Wrapped {
        /// In the order of the reports.
        results: Vec<LeakResult>,
    },
}

/// What came of one report.
#[derive(Debug, Serialize, ToSchema)]
pub struct LeakResult {
    token_hash: String,
    #[schema(required = true)]
    token_type: Option<String>,
    #[schema(pattern = "^(true|false)_positive$")]
    label: &'static str,
    #[schema(pattern = "^(quarantined|revoked|none|already_dead)$")]
    action: &'static str,
    #[schema(required = true)]
    reason: Option<&'static str>,
    /// Whose key it is: `account`, `customer`, `admin` or `gateway`.
    #[schema(required = true)]
    kind: Option<&'static str>,
    #[schema(value_type = Option<String>, format = "uuid", required = true)]
    api_key_id: Option<KeyId>,
    #[schema(value_type = Option<String>, format = "uuid", required = true)]
    customer_id: Option<AccountId>,
    #[schema(value_type = Option<String>, pattern = "^(test|production)$", required = true)]
    environment: Option<Environment>,
    #[schema(required = true)]
    mask: Option<String>,
    #[schema(required = true)]
    status: Option<&'static str>,
}

/// Looks up what was found, and does to the living keys among it what `leaks.policy` says.
///
/// # Errors
/// When the body is no list of reports.
#[utoipa::path(
    post,
    path = "/admin/leaks",
    operation_id = "reportLeaks",
    tag = "keys",
    request_body = LeakReports,
    responses(
        (status = 200, description = "What came of each, in their order.", body = LeakResults),
    ),
)]
pub async fn report(
    State(app): State<App>,
    caller: AdminCaller,
    AnyJson(body): AnyJson,
) -> Result<Response, Problem> {
    let wrapped = body.is_object();
    let reports = reports(body)?;
    let dealt_with = leaks::report(&app.registry, &caller.actor, reports).await?;
    let results: Vec<_> = dealt_with.value.iter().map(result).collect();
    let body = if wrapped {
        LeakResults::Wrapped { results }
    } else {
        LeakResults::Bare(results)
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

fn result(outcome: &Outcome) -> LeakResult {
    let key = outcome.key.as_ref();
    LeakResult {
        token_hash: outcome.token_hash.clone(),
        token_type: outcome.token_type.clone(),
        label: if key.is_some() {
            "true_positive"
        } else {
            "false_positive"
        },
        action: outcome.action.as_str(),
        reason: outcome.reason,
        kind: key.map(|key| key.kind.noun()),
        api_key_id: key.map(|key| key.id),
        customer_id: key.and_then(|key| key.account),
        environment: key.and_then(|key| key.environment),
        mask: key.map(|key| key.mask.as_str().to_owned()),
        status: key.map(|key| key.state),
    }
}
