//! The files beside this crate: they load, they say the truth about the defaults, and none is out of date.

use std::path::{Path, PathBuf};

use keyward_config::{ControlPlaneConfig, GatewayConfig, StandaloneConfig, Surroundings, schema};
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[expect(
    clippy::unwrap_used,
    reason = "a shipped file that can't be read is a failed test"
)]
fn text(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

fn here() -> Surroundings {
    Surroundings::default()
}

#[test]
fn what_gateway_toml_says_are_the_defaults() {
    let shipped = GatewayConfig::from_toml(&text("gateway.toml"), "gateway.toml", &here()).unwrap();
    let plain = GatewayConfig::from_toml(crate::LEAST, "least", &here()).unwrap();
    assert_eq!(format!("{shipped:#?}"), format!("{plain:#?}"));
}

#[test]
fn what_control_plane_toml_says_are_the_defaults() {
    let shipped =
        ControlPlaneConfig::from_toml(&text("control-plane.toml"), "control-plane.toml", &here()).unwrap();
    let plain = ControlPlaneConfig::from_toml("", "empty", &here()).unwrap();
    assert_eq!(format!("{shipped:#?}"), format!("{plain:#?}"));
}

#[test]
fn what_standalone_toml_says_are_the_defaults() {
    let data = Path::new("keyward-data");
    let shipped =
        StandaloneConfig::from_toml(&text("standalone.toml"), "standalone.toml", data, &here()).unwrap();
    let plain = StandaloneConfig::from_toml("", "empty", data, &here()).unwrap();
    assert_eq!(format!("{shipped:#?}"), format!("{plain:#?}"));
}

#[test]
fn the_files_load_from_disk() {
    GatewayConfig::load(&folder().join("gateway.toml")).unwrap();
    ControlPlaneConfig::load(&folder().join("control-plane.toml")).unwrap();
    let standalone = folder().join("standalone.toml");
    StandaloneConfig::load(Some(&standalone), Path::new("keyward-data"), 0).unwrap();
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let message = GatewayConfig::load(Path::new("nowhere/gateway.toml"))
        .unwrap_err()
        .to_string();
    assert!(
        message.starts_with("nowhere/gateway.toml: can't be read: "),
        "{message}"
    );
}

#[test]
fn the_schemas_are_current() {
    for (name, expected) in schema::all() {
        let shipped = text(&format!("schema/{name}.json"));
        assert!(
            shipped == expected,
            "config/schema/{name}.json is out of date: cargo run -p keyward-config --example write-schema"
        );
    }
}

#[test]
fn every_setting_is_in_its_manual() {
    for (name, schema) in schema::all() {
        let manual = text(&format!("{name}.toml"));
        let schema: Value = serde_json::from_str(&schema).unwrap();
        let mut missing = Vec::new();
        for table in std::iter::once(&schema).chain(schema["$defs"].as_object().unwrap().values()) {
            let Some(settings) = table["properties"].as_object() else {
                continue;
            };
            for (key, setting) in settings {
                let later = setting.get("not").is_some();
                let mentioned = manual
                    .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                    .any(|word| word == key);
                if !later && !mentioned {
                    missing.push(key.clone());
                }
            }
        }
        assert!(missing.is_empty(), "{name}.toml does not speak of {missing:?}");
    }
}
