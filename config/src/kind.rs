//! Which program a configuration file is for, and whether it is right: what `keyward check` asks.

use std::fmt;
use std::path::Path;

use crate::control_plane::ControlPlaneConfig;
use crate::error::ConfigError;
use crate::gateway::GatewayConfig;
use crate::load::text_of;
use crate::standalone::StandaloneConfig;
use crate::surroundings::Surroundings;

/// A program that has a configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `keyward-gateway`.
    Gateway,
    /// `keyward-control-plane`.
    ControlPlane,
    /// `keyward standalone`.
    Standalone,
}

impl Kind {
    /// Every one, the narrower before the wider: what is right for several is said to be the first's.
    pub const ALL: [Self; 3] = [Self::Gateway, Self::ControlPlane, Self::Standalone];

    /// As the command line writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::ControlPlane => "control-plane",
            Self::Standalone => "standalone",
        }
    }

    /// The kind that a file's name speaks of: `edge-gateway.toml` is a gateway's.
    #[must_use]
    pub fn of_name(path: &Path) -> Option<Self> {
        let name = path.file_stem()?.to_str()?.to_ascii_lowercase().replace('_', "-");
        Self::ALL.into_iter().find(|kind| name.contains(kind.as_str()))
    }

    /// Checks a text as this kind.
    ///
    /// # Errors
    /// With everything that is wrong.
    pub fn check(self, text: &str, origin: &str, surroundings: &Surroundings) -> Result<(), ConfigError> {
        match self {
            Self::Gateway => GatewayConfig::from_toml(text, origin, surroundings).map(drop),
            Self::ControlPlane => ControlPlaneConfig::from_toml(text, origin, surroundings).map(drop),
            Self::Standalone => {
                let data_dir = Path::new("keyward-data");
                StandaloneConfig::from_toml(text, origin, data_dir, surroundings).map(drop)
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Checks a file as the program would that reads it, with this process's environment. Without a kind it is the
/// one that the file's name speaks of, or else the one that has the least to say against it.
///
/// # Errors
/// With everything that is wrong.
pub fn check(path: &Path, kind: Option<Kind>) -> Result<Kind, ConfigError> {
    let text = text_of(path)?;
    let origin = path.display().to_string();
    let surroundings = Surroundings::of_this_process()?;
    check_text(
        &text,
        &origin,
        kind.or_else(|| Kind::of_name(path)),
        &surroundings,
    )
}

fn check_text(
    text: &str,
    origin: &str,
    kind: Option<Kind>,
    surroundings: &Surroundings,
) -> Result<Kind, ConfigError> {
    let candidates = kind.map_or_else(|| Kind::ALL.to_vec(), |kind| vec![kind]);
    let mut least: Option<ConfigError> = None;
    for kind in candidates {
        match kind.check(text, origin, surroundings) {
            Ok(()) => return Ok(kind),
            Err(error) => {
                let fewer = |least: &ConfigError| error.problems().len() < least.problems().len();
                if least.as_ref().is_none_or(fewer) {
                    least = Some(error);
                }
            }
        }
    }
    Err(least.unwrap_or_else(|| ConfigError::new(Vec::new())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect(text: &str) -> Result<Kind, String> {
        check_text(text, "x.toml", None, &Surroundings::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_files_name_says_whose_it_is() {
        for (name, kind) in [
            ("config/gateway.toml", Some(Kind::Gateway)),
            ("/etc/keyward/control_plane.toml", Some(Kind::ControlPlane)),
            ("Standalone-test.toml", Some(Kind::Standalone)),
            ("keyward.toml", None),
        ] {
            assert_eq!(Kind::of_name(Path::new(name)), kind, "{name}");
        }
    }

    #[test]
    fn a_file_with_another_name_is_known_by_what_it_holds() {
        let routed = "[[upstreams]]\nname = \"a\"\nendpoints = [\"http://b\"]\n[[routes]]\n";
        assert_eq!(detect(routed), Ok(Kind::Gateway));
        assert_eq!(
            detect("[database]\nurl = \"sqlite://a\"\n"),
            Ok(Kind::ControlPlane)
        );
        let both = format!("{routed}[rules]\nuser_key_lifetime = \"1d\"\n");
        assert_eq!(detect(&both), Ok(Kind::Standalone));
    }

    #[test]
    fn a_wrong_file_is_told_what_its_own_program_would_say() {
        let wrong = "[database]\nurl = \"sqlite://\"\n[secrets]\nmaster_key_file = \"a\"\n";
        let message = detect(wrong).unwrap_err();
        assert!(message.starts_with("x.toml:2: database.url: "), "{message}");
        assert_eq!(message.lines().count(), 1);
    }
}
