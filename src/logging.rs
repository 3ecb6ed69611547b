//! Where log lines go: to standard error, for people on a terminal and as JSON otherwise.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::failure::Failure;

/// The variables that say what is logged, in the order in which they are asked.
const VARIABLES: [&str; 2] = ["KEYWARD_LOG", "RUST_LOG"];

/// Begins logging. Called once, before anything is started.
pub(crate) fn begin() -> Result<(), Failure> {
    let filter = filter(|name| std::env::var(name).ok()).map_err(Failure::Configuration)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter);
    let begun = if io::stderr().is_terminal() {
        lines.with_writer(Terminal).try_init()
    } else {
        lines
            .json()
            .flatten_event(true)
            .with_ansi(false)
            .with_writer(io::stderr)
            .try_init()
    };
    begun.map_err(|error| Failure::Runtime(anyhow::anyhow!("can't log: {error}")))
}

fn filter(variable: impl Fn(&str) -> Option<String>) -> Result<EnvFilter, String> {
    let found = VARIABLES.iter().find_map(|name| {
        variable(name)
            .filter(|value| !value.is_empty())
            .map(|value| (name, value))
    });
    let Some((name, value)) = found else {
        return Ok(EnvFilter::new("info"));
    };
    EnvFilter::try_new(&value).map_err(|error| {
        format!("environment variable {name}: \"{value}\" is no log filter: {error}; write one such as \"info\" or \"warn,keyward_gateway=debug\"")
    })
}

/// Standard error on a terminal, where the live status may stand in the line: it is wiped first.
struct Terminal;

impl<'a> MakeWriter<'a> for Terminal {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl Write for Terminal {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut out = io::stderr().lock();
        out.write_all(b"\r\x1b[K")?;
        out.write_all(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_logged_is_said_by_the_first_variable_that_is_set() {
        let environment = |name: &str| match name {
            "KEYWARD_LOG" => Some("warn".to_owned()),
            "RUST_LOG" => Some("debug".to_owned()),
            _ => None,
        };
        assert_eq!(filter(environment).unwrap().to_string(), "warn");
        assert_eq!(filter(|_| None).unwrap().to_string(), "info");
        assert_eq!(filter(|_| Some(String::new())).unwrap().to_string(), "info");
    }

    #[test]
    fn a_filter_that_is_none_is_refused_by_its_variable() {
        let message = filter(|_| Some("keyward=loud".to_owned())).unwrap_err();
        assert!(
            message.starts_with("environment variable KEYWARD_LOG: \"keyward=loud\""),
            "{message}"
        );
    }
}
