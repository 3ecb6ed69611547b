//! Completes what was generated from the endpoints by what holds for every endpoint of a surface: refusals with
//! their form, headers, the idempotency key, links, and our own formats in words that every tool knows.

use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

use super::links::Source;
use super::words::Known;
use super::{headers, links, refusals, words};
use crate::surfaces::Surface;
use crate::surfaces::problem::Problem;

/// What is particular to one surface.
pub struct Face {
    /// Which.
    pub surface: Surface,
    /// The path of its document.
    pub at: &'static str,
    /// What readers choose it by.
    pub title: &'static str,
    /// What the endpoints say of themselves.
    pub generated: OpenApi,
    /// Its form of a refusal.
    pub error: fn(&Problem, &str) -> String,
    /// Its security schemes by name; any one of them lets a caller in.
    pub security: Value,
    /// Where it stands below the listener's root, with what each place means.
    pub servers: Value,
    /// Which answers hold the ids that other operations take.
    pub sources: Vec<Source>,
}

/// One operation of a document, and where it stands.
pub struct Operation<'a> {
    /// The path's template.
    pub path: &'a str,
    /// The method, in lower case.
    pub method: &'a str,
    /// What is said of it.
    pub said: &'a mut Map<String, Value>,
}

impl Operation<'_> {
    /// Whether callers must be identified.
    #[must_use]
    pub fn is_guarded(&self) -> bool {
        !self.said.contains_key("security")
    }

    /// Whether it changes anything that gateways hear of.
    #[must_use]
    pub fn changes(&self) -> bool {
        self.is_guarded() && self.method != "get"
    }

    /// Whether an `Idempotency-Key` is looked at.
    #[must_use]
    pub fn acts_once(&self) -> bool {
        self.is_guarded() && self.method == "post"
    }

    /// Its answers by status.
    pub fn answers(&mut self) -> &mut Map<String, Value> {
        object(self.said, "responses")
    }
}

/// The whole document of a surface.
#[must_use]
pub fn document(face: &Face, known: &Known) -> Value {
    let mut document = serde_json::to_value(&face.generated).unwrap_or_default();
    let Some(root) = document.as_object_mut() else {
        return document;
    };
    root.insert("servers".into(), face.servers.clone());
    let any_of = face.security.as_object().into_iter().flatten();
    let any_of: Vec<_> = any_of.map(|(name, _)| json!({name: []})).collect();
    root.insert("security".into(), any_of.into());
    object(root, "components").insert("securitySchemes".into(), face.security.clone());
    each_operation(root, |mut operation| {
        describe(&mut operation);
        take_once(&mut operation);
        refusals::add(face, &mut operation);
        headers::add(face.surface, &mut operation);
    });
    links::add(root, &face.sources);
    words::spell_out(&mut document, known);
    document
}

/// Calls `visit` for every operation.
pub fn each_operation(root: &mut Map<String, Value>, mut visit: impl FnMut(Operation<'_>)) {
    for (path, item) in object(root, "paths").iter_mut() {
        for (method, said) in item.as_object_mut().into_iter().flatten() {
            if let Some(said) = said.as_object_mut() {
                visit(Operation { path, method, said });
            }
        }
    }
}

/// The object with this name, made when it is absent.
pub fn object<'a>(parent: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    let value = parent.entry(name).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(object) => object,
        _ => unreachable!("it was made an object"),
    }
}

/// The array with this name, made when it is absent.
pub fn array<'a>(parent: &'a mut Map<String, Value>, name: &str) -> &'a mut Vec<Value> {
    let value = parent.entry(name).or_insert_with(|| json!([]));
    if !value.is_array() {
        *value = json!([]);
    }
    match value {
        Value::Array(array) => array,
        _ => unreachable!("it was made an array"),
    }
}

/// The heading of the code's documentation is too large for a page about one call. An endpoint of two methods
/// has two operations, and each needs an id of its own.
fn describe(operation: &mut Operation<'_>) {
    if let Some(Value::String(text)) = operation.said.get_mut("description") {
        *text = text.replace("# Errors\n", "**Refused:** ").trim().to_owned();
    }
    let other = match operation.said.get("operationId").and_then(Value::as_str) {
        Some("updateCustomer") if operation.path.starts_with("/admin") => "patchCustomer",
        Some("updateUser") => "patchUser",
        Some("updateWebhook") => "patchWebhook",
        _ => return,
    };
    if operation.method == "patch" {
        operation.said.insert("operationId".into(), other.into());
    }
}

fn take_once(operation: &mut Operation<'_>) {
    if operation.acts_once() {
        array(operation.said, "parameters").push(json!({
            "name": "Idempotency-Key",
            "in": "header",
            "description": "Makes the call once: a repeat with this key and body within a day gets the first answer.",
            "required": false,
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
        }));
    }
}
