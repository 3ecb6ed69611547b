//! Why the program ends without success, and with which exit code.

use std::fmt;
use std::process::ExitCode;

use keyward_config::ConfigError;

/// Why the program ends without success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The configuration or the arguments are wrong: exit code 2.
    Configuration(String),
    /// Something failed at run time: exit code 1.
    Runtime(anyhow::Error),
    /// `keyward scan` found keys: exit code 1.
    Found(String),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Configuration(_) => ExitCode::from(2),
            Self::Runtime(_) | Self::Found(_) => ExitCode::from(1),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Configuration(error.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Runtime(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(message) | Self::Found(message) => f.write_str(message),
            // With what led to it, in one line.
            Self::Runtime(error) => write!(f, "{error:#}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_failure_tells_what_led_to_it() {
        let cause = Err::<(), _>(anyhow::anyhow!("permission denied"));
        let failure = Failure::from(cause.context("can't read x").unwrap_err());
        assert_eq!(failure.to_string(), "can't read x: permission denied");
    }
}
