//! The JSON Schemas of the configuration files, made from the types that read them. Editors use them; the
//! copies in `config/schema/` are made by `cargo run -p keyward-config --example write-schema`, and a test
//! holds that they are current.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;

use crate::typed;

/// The file name, without its ending, and the text of each schema.
#[must_use]
pub fn all() -> [(&'static str, String); 3] {
    [
        ("standalone", text::<typed::standalone::Standalone>()),
        ("gateway", text::<typed::gateway::Gateway>()),
        ("control-plane", text::<typed::control_plane::ControlPlane>()),
    ]
}

fn text<T: JsonSchema>() -> String {
    let mut schema = SchemaGenerator::default().into_root_schema_for::<T>();
    remove_null(&mut schema);
    format!("{:#}\n", schema.to_value())
}

/// TOML has no null: a setting that may be absent is just not required.
fn remove_null(schema: &mut Schema) {
    let mut value = std::mem::take(schema).to_value();
    clean(&mut value);
    if let Ok(cleaned) = Schema::try_from(value) {
        *schema = cleaned;
    }
}

fn clean(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|key, value| !(key == "default" && value.is_null()));
            object.values_mut().for_each(clean);
            if let Some(Value::Object(defaults)) = object.get_mut("default") {
                defaults.retain(|_, value| !value.is_null());
            }
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            let only = match object.get_mut("anyOf") {
                Some(Value::Array(choices)) => {
                    choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
                    if choices.len() == 1 { choices.pop() } else { None }
                }
                _ => None,
            };
            if let Some(Value::Object(only)) = only {
                object.remove("anyOf");
                for (key, value) in only {
                    object.entry(key).or_insert(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(clean),
        _ => {}
    }
}
