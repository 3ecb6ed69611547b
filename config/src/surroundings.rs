//! What a configuration takes from the machine it is read on: the only place that asks the machine.

use std::ffi::OsString;

use crate::error::{ConfigError, Place};

/// Variables that begin so are settings.
pub(crate) const PREFIX: &str = "KEYWARD__";

/// Everything besides the file that a configuration depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// Environment variables, name and value. Those that don't begin with `KEYWARD__` are not looked at.
    pub environment: Vec<(String, String)>,
    /// The machine's name: the default of `gateway.id`.
    pub host_name: String,
    /// How many processors there are: the default of `workers`.
    pub processors: usize,
}

impl Default for Surroundings {
    /// No variables, one processor, a machine called `localhost`: the same everywhere.
    fn default() -> Self {
        Self {
            environment: Vec::new(),
            host_name: "localhost".to_owned(),
            processors: 1,
        }
    }
}

impl Surroundings {
    /// Those of this process.
    ///
    /// # Errors
    /// When a variable that begins with `KEYWARD__` is no UTF-8.
    pub fn of_this_process() -> Result<Self, ConfigError> {
        Ok(Self {
            environment: settings_among(std::env::vars_os())?,
            host_name: host_name(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
        })
    }
}

fn settings_among(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, ConfigError> {
    let mut settings = Vec::new();
    for (name, value) in variables {
        let shown = name.to_string_lossy().into_owned();
        if !shown.starts_with(PREFIX) {
            continue;
        }
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => settings.push((name, value)),
            _ => return Err(ConfigError::one(Place::Variable(shown), "is no UTF-8 text")),
        }
    }
    // The order in which the system hands variables out means nothing.
    settings.sort();
    Ok(settings)
}

fn host_name() -> String {
    let name = ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .into_iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
        .unwrap_or_default();
    let name: String = name
        .trim()
        .chars()
        .filter(|c| crate::leaf::name::allowed(*c))
        .take(64)
        .collect();
    if name.is_empty() {
        "gateway".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_variables_with_the_prefix_are_taken() {
        let variables = [
            ("PATH", "/bin"),
            ("KEYWARD__WORKERS", "2"),
            ("KEYWARD_LOG", "info"),
        ];
        let taken = settings_among(variables.into_iter().map(|(n, v)| (n.into(), v.into())));
        assert_eq!(taken, Ok(vec![("KEYWARD__WORKERS".to_owned(), "2".to_owned())]));
    }

    #[cfg(unix)]
    #[test]
    fn a_setting_that_is_no_text_is_refused_by_name() {
        use std::os::unix::ffi::OsStringExt;
        let odd = [(OsString::from("KEYWARD__WORKERS"), OsString::from_vec(vec![0xff]))];
        let refused = settings_among(odd.into_iter()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "environment variable KEYWARD__WORKERS: is no UTF-8 text"
        );
    }
}
