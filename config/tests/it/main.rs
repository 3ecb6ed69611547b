//! What the configuration promises: good files mean what they say, and every way of being wrong is told where
//! it is, what is wrong and what would be right.

mod control_plane;
mod gateway;
mod identity;
mod limiter;
mod overrides;
mod route_cors;
mod route_headers;
mod route_split;
mod routes;
mod shipped;
mod standalone;

use keyward_config::{ControlPlaneConfig, GatewayConfig, Surroundings};

/// The least that a gateway needs.
const LEAST: &str = r#"
[[upstreams]]
name = "api"
endpoints = ["http://127.0.0.1:3000"]
[[routes]]
path = "/"
"#;

/// A gateway's configuration with these settings above the least that it needs.
fn gateway(settings: &str) -> GatewayConfig {
    parse_gateway(&format!("{settings}{LEAST}"), &[]).unwrap_or_else(|message| panic!("{message}"))
}

fn parse_gateway(text: &str, environment: &[(&str, &str)]) -> Result<GatewayConfig, String> {
    GatewayConfig::from_toml(text, "gateway.toml", &surroundings(environment)).map_err(|e| e.to_string())
}

fn parse_control_plane(text: &str, environment: &[(&str, &str)]) -> Result<ControlPlaneConfig, String> {
    ControlPlaneConfig::from_toml(text, "control-plane.toml", &surroundings(environment))
        .map_err(|e| e.to_string())
}

fn surroundings(environment: &[(&str, &str)]) -> Surroundings {
    let environment = environment.iter();
    Surroundings {
        environment: environment
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..Surroundings::default()
    }
}

/// A gateway's settings, put above the least that it needs, are refused with exactly these lines, each
/// without `gateway.toml:`.
#[track_caller]
fn refused(settings: &str, expected: &[&str]) {
    let message = parse_gateway(&format!("{settings}{LEAST}"), &[]).err();
    let message = message.unwrap_or_else(|| panic!("was taken: {settings}"));
    let lines: Vec<_> = message
        .lines()
        .map(|line| line.trim_start_matches("gateway.toml:"))
        .collect();
    assert_eq!(lines, expected);
}
