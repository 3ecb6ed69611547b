//! The formats that the endpoints' attributes name in one word, spelled out in JSON Schema: bounds, patterns and
//! choices that say exactly what is taken.

use serde_json::{Map, Value, json};

use crate::domain::webhook::EventKind;

/// Unicode white space, which is trimmed, as a class of a regular expression.
const SPACE: &str = r"\u0009-\u000d\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000";
/// Control characters.
const CONTROL: &str = r"\u0000-\u001f\u007f-\u009f";
const SINCE_1970: &str = r"^(19[7-9]|[2-9][0-9]{2})[0-9]-";

/// What is configured.
#[derive(Clone, Debug)]
pub struct Known {
    /// The keys of the tiers.
    pub tiers: Vec<String>,
    /// The versions that a key may be pinned to.
    pub api_versions: Vec<String>,
}

/// Replaces every format of ours below `value`.
pub fn spell_out(value: &mut Value, known: &Known) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| spell_out(item, known)),
        Value::Object(object) => {
            if object.contains_key("in") && object.contains_key("schema") {
                never_null(object.get_mut("schema"));
            }
            if object.contains_key("content") {
                body_never_null(object);
            }
            bound(object);
            collect(object);
            replace(object, known);
            object.values_mut().for_each(|inner| spell_out(inner, known));
        }
        _ => {}
    }
}

fn replace(object: &mut Map<String, Value>, known: &Known) {
    let Some(Value::String(format)) = object.get("format") else {
        return;
    };
    let said = match format.as_str() {
        "day" => json!({"format": "date", "pattern": SINCE_1970}),
        "instant" => json!({"anyOf": [{"format": "date"}, {"format": "date-time"}], "pattern": SINCE_1970}),
        "e-mail" => json!({"format": "email", "maxLength": 254}),
        "customer-id" => json!({"pattern": "^c[0-9a-z]{24}$"}),
        "environment-id" => json!({"pattern": "^[0-9A-Fa-f]{16}$"}),
        "any" => json!({"pattern": format!("^[^{CONTROL}]*$")}),
        "search" => json!({"maxLength": 255, "pattern": format!("^[^{CONTROL}]*$")}),
        "tier" => json!({"enum": known.tiers}),
        "api-version" => json!({"enum": known.api_versions}),
        "gateway-id" => json!({"pattern": "^[0-9A-Za-z._-]{1,64}$"}),
        "role" => json!({"enum": ["owner", "operator", "viewer"]}),
        "environment" => json!({"enum": ["test", "production"]}),
        "account-status" => json!({"enum": ["active", "suspended", "cancelled"]}),
        "settable-status" => json!({"enum": ["active", "suspended"]}),
        "switch" => json!({"enum": ["active", "inactive"]}),
        "never" => json!({"type": "null"}),
        "export-format" => json!({"enum": ["jsonl", "csv"]}),
        "delivery-state" => json!({"enum": ["pending", "delivered", "failed"]}),
        "webhook-status" => json!({"enum": ["active", "disabled"]}),
        "event" => json!({"example": "key.revoked"}),
        "grant-type" => json!({"enum": ["client_credentials"]}),
        "scope" => json!({
            "enum": [
                "company.keys:list",
                "company.keys:write",
                "company.keys:list company.keys:write",
            ],
        }),
        "usage-format" => json!({"enum": ["csv", "json", "ndjson"]}),
        "usage-group" => json!({"enum": ["api_key", "end_customer", "route"]}),
        "usage-fields" => json!({"enum": ["all"]}),
        "any-environment" => json!({"enum": ["test", "production", "all"]}),
        "month" => json!({"pattern": "^(19[7-9]|[2-9][0-9]{2})[0-9]-(0[1-9]|1[0-2])$"}),
        "grant-period" => json!({"enum": ["current", "all"]}),
        "granularity" => json!({"enum": ["hour", "day", "month"]}),
        "address" => json!({
            "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}, {"format": "cidr"}],
            "example": "203.0.113.0/24",
        }),
        "permission" => json!({"enum": ["company.keys:list", "company.keys:write"]}),
        "claim" => json!({"minLength": 1, "maxLength": 100, "pattern": format!("^[^{CONTROL}]+$")}),
        "note" => json!({"maxLength": 500}),
        other => match other
            .strip_prefix("name-")
            .and_then(|most| most.parse::<u32>().ok())
        {
            Some(most) => name(most),
            None => return,
        },
    };
    object.remove("format");
    object.extend(said.as_object().cloned().unwrap_or_default());
}

/// A text that has 1 to so many characters once it is trimmed, without control characters inside.
fn name(most: u32) -> Value {
    let inner = format!("[^{SPACE}{CONTROL}]");
    let between = most.saturating_sub(2);
    let pattern = format!("^[{SPACE}]*{inner}([^{CONTROL}]{{0,{between}}}{inner})?[{SPACE}]*$");
    json!({"minLength": 1, "pattern": pattern})
}

/// What is said of a collection by what it holds: attributes can name the items' format alone.
fn collect(object: &mut Map<String, Value>) {
    let holds = |of: &str, word: &str| {
        let format = object.get(of).and_then(|inner| inner.get("format"));
        format.is_some_and(|format| format == word)
    };
    let (claims, events) = (holds("items", "claim"), holds("items", "event"));
    let reports = object
        .get("items")
        .and_then(|items| items.get("$ref"))
        .is_some_and(|name| name == "#/components/schemas/LeakReport");
    let notes = holds("additionalProperties", "note");
    if claims {
        object.insert("uniqueItems".into(), true.into());
    }
    if events {
        let kinds: Vec<_> = EventKind::ALL.iter().map(|kind| kind.as_str()).collect();
        let either = json!([
            {"items": {"enum": ["*"]}, "maxItems": 1},
            {"items": {"enum": kinds}},
        ]);
        object.insert("minItems".into(), 1.into());
        object.insert("anyOf".into(), either);
    }
    if reports {
        object.insert("minItems".into(), 1.into());
    }
    if notes {
        object.insert("maxProperties".into(), 50.into());
        let names = json!({"minLength": 1, "maxLength": 100});
        object.insert("propertyNames".into(), names);
    }
}

/// No whole number is larger than its format says.
fn bound(object: &mut Map<String, Value>) {
    if object.get("format").and_then(Value::as_str) == Some("int64") {
        object.entry("maximum").or_insert(i64::MAX.into());
    }
}

/// What is absent from a query isn't null there.
fn never_null(schema: Option<&mut Value>) {
    let Some(kind) = schema.and_then(|schema| schema.get_mut("type")) else {
        return;
    };
    let named = kind.as_array().into_iter().flatten().find(|name| *name != "null");
    if let Some(named) = named.cloned() {
        *kind = named;
    }
}

/// A body may be absent, and isn't null then either.
fn body_never_null(body: &mut Map<String, Value>) {
    let contents = body.get_mut("content").and_then(Value::as_object_mut);
    for content in contents.into_iter().flat_map(Map::values_mut) {
        let Some(schema) = content.get_mut("schema") else {
            continue;
        };
        let Some(choices) = schema.get("oneOf").and_then(Value::as_array) else {
            continue;
        };
        let real = choices.iter().find(|choice| choice.get("$ref").is_some());
        if let Some(real) = real.cloned() {
            *schema = real;
        }
    }
}
