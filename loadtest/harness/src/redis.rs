//! Redis as real servers of a test's own: [`RedisServer`] alone, [`RedisSentinels`] with a replica and three
//! sentinels, [`RedisCluster`] with three masters.
//!
//! They keep nothing on disk unless told otherwise, each in a folder of its own that is removed with it. One server
//! answers after some 20 ms, a cluster and its map after about a second.

mod cluster;
mod sentinels;

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use redis::Value;
use tempfile::TempDir;

pub use cluster::{RedisCluster, SlotMove};
pub use sentinels::RedisSentinels;

use crate::process::{Process, Signal};
use crate::program::Program;
use crate::{READY_WITHIN, eventually, free_port};

/// How long one command may take before it counts as failed, also on a server that is paused.
const COMMAND_WITHIN: Duration = Duration::from_secs(5);

/// A server of one's own on a port of 127.0.0.1. Dropped, it ends and its folder is removed.
#[derive(Debug)]
pub struct RedisServer {
    // Before the folder: it is to have ended when that is removed.
    process: Process,
    program: Program,
    port: u16,
    password: Option<String>,
    _folder: TempDir,
}

impl RedisServer {
    /// Starts one and waits until it answers.
    ///
    /// # Errors
    /// When Redis is missing or doesn't start.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_on(free_port()?, &[]).await
    }

    /// Starts one on this port, with more of `redis-server`'s arguments: `["--maxmemory", "2mb"]`.
    ///
    /// # Errors
    /// When Redis is missing or doesn't start.
    pub async fn start_on(port: u16, arguments: &[&str]) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("keyward-redis-").tempdir()?;
        let number = port.to_string();
        let program = redis_server(folder.path())?
            .args(["--port", &number, "--bind", "127.0.0.1", "--daemonize", "no"])
            .args([
                "--save",
                "",
                "--appendonly",
                "no",
                "--repl-diskless-sync-delay",
                "0",
            ])
            .args(arguments);
        let password = arguments
            .iter()
            .position(|argument| *argument == "--requirepass")
            .and_then(|at| arguments.get(at + 1));
        let server = Self {
            process: program.spawn()?,
            program,
            port,
            password: password.map(|password| (*password).to_owned()),
            _folder: folder,
        };
        server.ready().await?;
        Ok(server)
    }

    /// `127.0.0.1:port`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `redis://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// Its process, to send signals to and to measure.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Freezes it: connections stay, and nothing answers.
    ///
    /// # Errors
    /// When it has ended.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.process.signal(Signal::Stop)
    }

    /// Lets it go on after [`Self::pause`].
    ///
    /// # Errors
    /// When it has ended.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.process.signal(Signal::Continue)
    }

    /// Kills it. What it held is gone.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// Starts it on the same port after [`Self::kill`], empty, and waits until it answers.
    ///
    /// # Errors
    /// When it still runs or doesn't start.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(self.process.exited()?.is_some(), "it still runs");
        self.process = self.program.spawn()?;
        self.ready().await
    }

    /// Runs one command over a connection of its own, and gives its answer as `redis-cli` writes it to a pipe: one
    /// line for each element, an empty one for nothing.
    ///
    /// # Errors
    /// When the server doesn't answer within 5 s, or answers an error.
    pub fn command(&self, words: &[&str]) -> anyhow::Result<String> {
        command(&self.address(), self.password.as_deref(), words)
    }

    async fn ready(&self) -> anyhow::Result<()> {
        eventually(READY_WITHIN, || async {
            let ended = self.process.exited()?;
            anyhow::ensure!(ended.is_none(), "it ended: {}", self.process.stdout()?);
            self.command(&["PING"])
        })
        .await
        .context("redis-server is not ready")?;
        Ok(())
    }
}

fn redis_server(folder: &Path) -> anyhow::Result<Program> {
    let path = ["/usr/bin/redis-server", "/usr/local/bin/redis-server"]
        .into_iter()
        .find(|path| Path::new(path).is_file())
        .context("Redis is missing: apt-get install redis-server")?;
    Ok(Program::new(path, folder))
}

fn command(address: &str, password: Option<&str>, words: &[&str]) -> anyhow::Result<String> {
    let client = redis::Client::open(format!("redis://{address}"))?;
    let mut connection = client.get_connection_with_timeout(COMMAND_WITHIN)?;
    connection.set_read_timeout(Some(COMMAND_WITHIN))?;
    if let Some(password) = password {
        redis::cmd("AUTH").arg(password).exec(&mut connection)?;
    }
    let mut words = words.iter();
    let name = words.next().context("no command")?;
    let mut command = redis::cmd(name);
    for word in words {
        command.arg(word);
    }
    let mut lines = Vec::new();
    write_lines(&command.query(&mut connection)?, &mut lines);
    Ok(lines.join("\n"))
}

fn write_lines(value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Nil => lines.push(String::new()),
        Value::Int(number) => lines.push(number.to_string()),
        Value::Okay => lines.push("OK".to_owned()),
        Value::SimpleString(text) => lines.push(text.clone()),
        Value::BulkString(bytes) => lines.push(String::from_utf8_lossy(bytes).into_owned()),
        Value::Array(values) => values.iter().for_each(|value| write_lines(value, lines)),
        other => lines.push(format!("{other:?}")),
    }
}
