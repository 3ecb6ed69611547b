//! What to start: a binary, its arguments and environment, and where it runs.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::process::{Process, Signal};
use crate::spawner;

/// The path of one of the workspace's own programs, built before: in `KEYWARD_BIN_DIR`, or beside the running
/// test, whatever its profile.
///
/// # Errors
/// When it isn't there; the message says how to build it.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let folder = match std::env::var_os("KEYWARD_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => profile_folder(&std::env::current_exe()?).context("where is the target folder?")?,
    };
    let path = folder.join(name);
    anyhow::ensure!(
        path.is_file(),
        "{} is missing: build it with `cargo build --workspace --bins` (or set KEYWARD_BIN_DIR)",
        path.display()
    );
    Ok(path)
}

/// `target/debug` of `target/debug/deps/x`, `target/debug/examples/x` and `target/debug/x`.
fn profile_folder(program: &Path) -> Option<PathBuf> {
    let folder = program.parent()?;
    let nested = folder
        .file_name()
        .is_some_and(|name| name == "deps" || name == "examples");
    if nested {
        folder.parent().map(Path::to_path_buf)
    } else {
        Some(folder.to_path_buf())
    }
}

/// A program that can be started, as often as wanted.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    folder: PathBuf,
    core: Option<usize>,
    user: Option<&'static str>,
    orphaned: Signal,
}

impl Program {
    /// `path`, run in `folder`, where its standard output and standard error are appended to files named
    /// after it.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, folder: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            folder: folder.into(),
            core: None,
            user: None,
            orphaned: Signal::Kill,
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_os_string());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args(self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// An environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let pair = (name.as_ref().to_os_string(), value.as_ref().to_os_string());
        self.environment.push(pair);
        self
    }

    /// Lets it run on one processor core only.
    #[must_use]
    pub fn on_core(mut self, core: usize) -> Self {
        self.core = Some(core);
        self
    }

    /// Lets it run as another user, where one is named: only root may.
    #[must_use]
    pub fn as_user(mut self, user: Option<&'static str>) -> Self {
        self.user = user;
        self
    }

    /// The signal it gets when this program dies first; [`Signal::Kill`] unless it has children to stop.
    #[must_use]
    pub fn when_orphaned(mut self, signal: Signal) -> Self {
        self.orphaned = signal;
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn spawn(&self) -> anyhow::Result<Process> {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        let log = |kind: &str| {
            let mut file = name.to_os_string();
            file.push(kind);
            self.folder.join(file)
        };
        let (stdout, stderr) = (log(".stdout"), log(".stderr"));
        let mut command = self.command();
        command
            .stdin(Stdio::null())
            .stdout(appended(&stdout)?)
            .stderr(appended(&stderr)?);
        let child = spawner::spawn(command)?;
        Ok(Process::new(child, self.path.clone(), stdout, stderr))
    }

    /// Runs it to its end and gives what it wrote to standard output.
    ///
    /// # Errors
    /// When it can't be started or fails; the message holds its standard error.
    pub fn run(&self) -> anyhow::Result<String> {
        let ran = self
            .command()
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("could not start {}", self.path.display()))?;
        anyhow::ensure!(
            ran.status.success(),
            "{} ended with {}: {}",
            self.path.display(),
            ran.status,
            String::from_utf8_lossy(&ran.stderr)
        );
        Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
    }

    /// `setpriv` and `taskset` replace themselves by the program, so the process is the program's own.
    fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        if let Some(user) = self.user {
            command.args([format!("--reuid={user}"), format!("--regid={user}")]);
            command.arg("--clear-groups");
        }
        command.args(["--pdeathsig", self.orphaned.name(), "--"]);
        if let Some(core) = self.core {
            command.args(["taskset", "--cpu-list", &core.to_string()]);
        }
        command
            .arg(&self.path)
            .args(&self.arguments)
            .envs(self.environment.iter().cloned())
            .current_dir(&self.folder);
        command
    }
}

fn appended(path: &Path) -> anyhow::Result<std::fs::File> {
    std::fs::File::options()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("could not open {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_for_beside_the_test_that_needs_them() {
        for program in ["/t/debug/deps/x-1", "/t/debug/examples/x", "/t/debug/x"] {
            assert_eq!(
                profile_folder(Path::new(program)),
                Some(PathBuf::from("/t/debug"))
            );
        }
    }
}
