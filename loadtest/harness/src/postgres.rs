//! PostgreSQL as a real server of the tests' own: [`Postgres`] to stop and start at will, [`shared_database`] for
//! everybody else.
//!
//! A server listens on a Unix socket in a folder of its own and on no port, so that any number of them stand
//! beside each other. It takes about a second to make one; a database in it takes some 30 ms. Where the tests run as
//! root, which PostgreSQL refuses, it runs as the user `postgres`.
//!
//! The shared server lives as long as the test program: a shell that waits for the end of a pipe, which this
//! program holds, stops it and removes its folder, however the program ends.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use tempfile::TempDir;

use crate::process::{Process, Signal};
use crate::program::Program;
use crate::{READY_WITHIN, spawner};

/// The superuser of every server made here. Whoever can reach its socket is let in.
const USER: &str = "keyward";
/// The database that a new server has.
const FIRST: &str = "postgres";

/// What becomes of a commit when the machine loses power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It is lost: nothing waits for the disk. For tests, which outlive no power cut.
    None,
    /// It is kept, as in production. For measurements.
    Full,
}

/// A server of one's own. Dropped, it ends and its folder is removed.
#[derive(Debug)]
pub struct Postgres {
    // Before the folder: it is to have ended when that is removed.
    process: Option<Process>,
    cluster: Cluster,
    _folder: TempDir,
}

impl Postgres {
    /// Makes a server and starts it.
    ///
    /// # Errors
    /// When PostgreSQL is missing or doesn't start.
    pub fn start(durability: Durability) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("keyward-pg-").tempdir()?;
        let cluster = Cluster::make(folder.path(), durability)?;
        let mut server = Self {
            process: None,
            cluster,
            _folder: folder,
        };
        server.start_again()?;
        Ok(server)
    }

    /// Makes an empty database and answers its address, `postgres:///NAME?host=…&user=…`.
    ///
    /// # Errors
    /// When the server says no.
    pub fn database(&self) -> anyhow::Result<String> {
        self.cluster.create_database(&next_name(), None)
    }

    /// Ends it as a crash would: connections break, nothing is written down first. What was committed is there after
    /// [`Self::start_again`].
    ///
    /// # Errors
    /// When it doesn't end.
    pub fn stop_immediately(&mut self) -> anyhow::Result<()> {
        if let Some(process) = self.process.take() {
            process.signal(Signal::Quit)?;
            let deadline = Instant::now() + READY_WITHIN;
            while process.exited()?.is_none() {
                anyhow::ensure!(Instant::now() < deadline, "PostgreSQL does not end");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(())
    }

    /// Starts it after [`Self::stop_immediately`], with what it held, and waits until it takes connections.
    ///
    /// # Errors
    /// When it doesn't start.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        let program = Program::new(self.cluster.program("postgres"), &self.cluster.folder)
            .args(self.cluster.server_arguments())
            .as_user(self.cluster.user)
            .when_orphaned(Signal::Quit);
        let process = program.spawn()?;
        self.cluster
            .ready(|| process.exited().is_ok_and(|exited| exited.is_none()))?;
        self.process = Some(process);
        Ok(())
    }
}

impl Drop for Postgres {
    /// Its processes are to have ended, all of them, when the folder is removed, and to leave no shared memory behind.
    fn drop(&mut self) {
        // One that doesn't end in time is killed with its process.
        let _ = self.stop_immediately();
    }
}

/// A fresh database on the server that all tests of this program share, made from the database `template` when one is
/// given. Nothing in it survives a power cut: the server doesn't wait for its disk.
///
/// # Errors
/// When PostgreSQL is missing or doesn't start, or somebody is connected to the template.
pub fn shared_database(template: Option<&str>) -> anyhow::Result<String> {
    let shared = Shared::of_this_program()?;
    shared.cluster.create_database(&next_name(), template)
}

/// The name of a database in its address.
#[must_use]
pub fn database_name(url: &str) -> Option<&str> {
    url.strip_prefix("postgres:///")?.split('?').next()
}

fn next_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The server that all tests of a program share.
struct Shared {
    cluster: Cluster,
    /// Its standard input is the pipe: when this program ends, the shell reads the end of it.
    _shell: Child,
}

impl Shared {
    fn of_this_program() -> anyhow::Result<&'static Self> {
        static SHARED: OnceLock<Result<Shared, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| Self::start().map_err(|error| format!("{error:#}")));
        shared.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
    }

    fn start() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("keyward-pg-").tempdir()?.keep();
        let cluster = Cluster::make(&folder, Durability::None)?;
        let mut command = cluster.as_user(OsStr::new("sh"));
        // Ending with this program is the pipe's work. If the shell itself is killed, its server goes with it.
        let script = "folder=$1; shift; setpriv --pdeathsig QUIT -- \"$@\" & server=$!; \
                      read -r _; kill -s QUIT $server; wait $server; rm -rf \"$folder\"";
        command
            .args(["-c", script, "sh"])
            .arg(&folder)
            .arg(cluster.program("postgres"))
            .args(cluster.server_arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("postgres.stderr"))?);
        let shell = spawner::spawn(command)?;
        cluster.ready(|| true)?;
        Ok(Self {
            cluster,
            _shell: shell,
        })
    }
}

/// The files of a server, and how its programs are run.
#[derive(Debug)]
struct Cluster {
    programs: PathBuf,
    folder: PathBuf,
    durability: Durability,
    /// Whom its programs run as, when not as whoever runs the tests.
    user: Option<&'static str>,
}

impl Cluster {
    fn make(folder: &Path, durability: Durability) -> anyhow::Result<Self> {
        let is_root = std::fs::metadata("/proc/self").is_ok_and(|process| is_owned_by_root(&process));
        let cluster = Self {
            programs: newest_programs(Path::new("/usr/lib/postgresql"))?,
            folder: folder.to_path_buf(),
            durability,
            user: is_root.then_some("postgres"),
        };
        // The folder that was made is for its owner alone.
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
        if let Some(user) = cluster.user {
            run(Command::new("chown").arg(format!("{user}:{user}")).arg(folder))?;
        }
        let mut initdb = cluster.as_user(cluster.program("initdb").as_os_str());
        initdb
            .arg("--pgdata")
            .arg(cluster.data())
            .args(["--username", USER, "--auth", "trust", "--no-sync"])
            .args(["--encoding", "UTF8", "--locale", "C.UTF-8"]);
        run(&mut initdb)?;
        Ok(cluster)
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    fn server_arguments(&self) -> Vec<String> {
        let mut settings = vec![
            "listen_addresses=".to_owned(),
            format!("unix_socket_directories={}", self.folder.display()),
            // Every control plane has some of its own, and tests run side by side.
            "max_connections=500".to_owned(),
            "shared_buffers=64MB".to_owned(),
            "log_min_messages=fatal".to_owned(),
        ];
        if self.durability == Durability::None {
            settings
                .extend(["fsync=off", "full_page_writes=off", "synchronous_commit=off"].map(str::to_owned));
        }
        let mut arguments = vec!["-D".to_owned(), self.data().display().to_string()];
        arguments.extend(
            settings
                .into_iter()
                .flat_map(|setting| ["-c".to_owned(), setting]),
        );
        arguments
    }

    fn url(&self, database: &str) -> String {
        format!(
            "postgres:///{database}?host={}&user={USER}",
            self.folder.display()
        )
    }

    fn create_database(&self, name: &str, template: Option<&str>) -> anyhow::Result<String> {
        let mut createdb = Command::new(self.program("createdb"));
        self.connect(&mut createdb);
        if let Some(template) = template {
            createdb.args(["--template", template]);
        }
        run(createdb.args(["--maintenance-db", FIRST, name]))?;
        Ok(self.url(name))
    }

    fn connect(&self, client: &mut Command) {
        client.arg("--host").arg(&self.folder).args(["--username", USER]);
    }

    /// Waits until it takes connections.
    fn ready(&self, lives: impl Fn() -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let mut asks = Command::new(self.program("pg_isready"));
            self.connect(&mut asks);
            let Err(error) = run(asks.args(["--dbname", FIRST])) else {
                return Ok(());
            };
            let words = || std::fs::read_to_string(self.folder.join("postgres.stderr")).unwrap_or_default();
            anyhow::ensure!(lives(), "PostgreSQL has ended: {}", words());
            anyhow::ensure!(
                Instant::now() < deadline,
                "PostgreSQL is not ready: {error}: {}",
                words()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn as_user(&self, program: &OsStr) -> Command {
        let Some(user) = self.user else {
            return Command::new(program);
        };
        let mut command = Command::new("setpriv");
        command.args([
            format!("--reuid={user}"),
            format!("--regid={user}"),
            "--clear-groups".to_owned(),
        ]);
        command.arg("--").arg(program).current_dir(&self.folder);
        command
    }
}

fn is_owned_by_root(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    metadata.uid() == 0
}

/// `…/15/bin` of the newest version that is installed whole.
fn newest_programs(installed: &Path) -> anyhow::Result<PathBuf> {
    let versions = std::fs::read_dir(installed).into_iter().flatten().flatten();
    versions
        .filter_map(|version| {
            let number: u32 = version.file_name().to_str()?.parse().ok()?;
            let programs = version.path().join("bin");
            programs.join("postgres").is_file().then_some((number, programs))
        })
        .max()
        .map(|(_, programs)| programs)
        .with_context(|| {
            format!(
                "PostgreSQL is not in {}: apt-get install postgresql",
                installed.display()
            )
        })
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let ran = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("could not start {command:?}"))?;
    anyhow::ensure!(
        ran.status.success(),
        "{command:?} ended with {}: {}",
        ran.status,
        String::from_utf8_lossy(&ran.stderr)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_taken_and_not_the_one_that_reads_greatest() {
        let folder = tempfile::tempdir().unwrap();
        for version in ["9", "15", "16", "common"] {
            std::fs::create_dir_all(folder.path().join(version).join("bin")).unwrap();
        }
        for version in ["9", "15"] {
            std::fs::write(folder.path().join(version).join("bin/postgres"), "").unwrap();
        }
        assert_eq!(
            newest_programs(folder.path()).unwrap(),
            folder.path().join("15/bin")
        );
        assert!(newest_programs(&folder.path().join("common")).is_err());
    }

    #[test]
    fn a_databases_name_is_read_from_its_address() {
        assert_eq!(
            database_name("postgres:///test_1?host=/tmp/x&user=keyward"),
            Some("test_1")
        );
        assert_eq!(database_name("sqlite:///a"), None);
    }
}
