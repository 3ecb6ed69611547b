//! Reading each kind of configuration: from a file with this process's surroundings, or from a text with
//! given ones.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::check;
use crate::check::standalone::Arguments;
use crate::control_plane::ControlPlaneConfig;
use crate::document::Document;
use crate::error::{ConfigError, Place};
use crate::gateway::GatewayConfig;
use crate::reading;
use crate::report::Report;
use crate::standalone::StandaloneConfig;
use crate::surroundings::Surroundings;
use crate::typed;

impl GatewayConfig {
    /// Reads a file and this process's environment.
    ///
    /// # Errors
    /// With everything that is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        of_file(path, Self::from_toml)
    }

    /// Reads a text; `origin` is what messages call it.
    ///
    /// # Errors
    /// With everything that is wrong.
    pub fn from_toml(text: &str, origin: &str, surroundings: &Surroundings) -> Result<Self, ConfigError> {
        let (typed, mut report): (typed::gateway::Gateway, _) = stage_one(text, origin, surroundings)?;
        let mut listeners = vec![
            ("listen.proxy", typed.listen.proxy.0),
            ("listen.admin", typed.listen.admin.0),
        ];
        listeners.extend(typed.listen.authz.map(|authz| ("listen.authz", authz.0)));
        check::listeners(&listeners, &mut report);
        let config = check::gateway::gateway(typed, surroundings, &mut report);
        report.finish(config)
    }
}

impl ControlPlaneConfig {
    /// Reads a file and this process's environment.
    ///
    /// # Errors
    /// With everything that is wrong.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        of_file(path, Self::from_toml)
    }

    /// Reads a text; `origin` is what messages call it.
    ///
    /// # Errors
    /// With everything that is wrong.
    pub fn from_toml(text: &str, origin: &str, surroundings: &Surroundings) -> Result<Self, ConfigError> {
        let (typed, mut report): (typed::control_plane::ControlPlane, _) =
            stage_one(text, origin, surroundings)?;
        let listeners = [
            ("listen.api", typed.listen.api.0),
            ("listen.sync", typed.listen.sync.0),
            ("listen.admin", typed.listen.admin.0),
        ];
        check::listeners(&listeners, &mut report);
        let config = check::control_plane::control_plane(typed, &mut report);
        report.finish(config)
    }
}

impl StandaloneConfig {
    /// Reads a file, when there is one, and this process's environment. `listen_offset` is added to each port.
    ///
    /// # Errors
    /// With everything that is wrong.
    pub fn load(path: Option<&Path>, data_dir: &Path, listen_offset: u16) -> Result<Self, ConfigError> {
        let (text, origin) = match path {
            Some(path) => (text_of(path)?, path.display().to_string()),
            None => (String::new(), "built-in configuration".to_owned()),
        };
        let arguments = Arguments {
            data_dir,
            listen_offset,
        };
        standalone(&text, &origin, &arguments, &Surroundings::of_this_process()?)
    }

    /// Reads a text; `origin` is what messages call it. No port is moved.
    ///
    /// # Errors
    /// With everything that is wrong.
    pub fn from_toml(
        text: &str,
        origin: &str,
        data_dir: &Path,
        surroundings: &Surroundings,
    ) -> Result<Self, ConfigError> {
        let arguments = Arguments {
            data_dir,
            listen_offset: 0,
        };
        standalone(text, origin, &arguments, surroundings)
    }
}

fn standalone(
    text: &str,
    origin: &str,
    arguments: &Arguments<'_>,
    surroundings: &Surroundings,
) -> Result<StandaloneConfig, ConfigError> {
    let (typed, mut report) = stage_one(text, origin, surroundings)?;
    let config = check::standalone::standalone(typed, arguments, surroundings, &mut report);
    report.finish(config)
}

fn stage_one<'a, T: DeserializeOwned>(
    text: &'a str,
    origin: &'a str,
    surroundings: &'a Surroundings,
) -> Result<(T, Report<'a>), ConfigError> {
    reading::read(Document::parse(text, origin, &surroundings.environment)?)
}

/// What the text of a file means in this process's surroundings.
fn of_file<T>(
    path: &Path,
    read: impl Fn(&str, &str, &Surroundings) -> Result<T, ConfigError>,
) -> Result<T, ConfigError> {
    let text = text_of(path)?;
    read(
        &text,
        &path.display().to_string(),
        &Surroundings::of_this_process()?,
    )
}

pub(crate) fn text_of(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| {
        let place = Place::File {
            origin: path.display().to_string(),
            line: None,
        };
        ConfigError::one(place, format!("can't be read: {error}"))
    })
}
