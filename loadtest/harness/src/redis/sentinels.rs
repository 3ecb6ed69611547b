//! A master, its replica, and three sentinels that watch them.

use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;

use super::{RedisServer, command, redis_server};
use crate::process::Process;
use crate::{READY_WITHIN, eventually, free_port};

/// What the sentinels call the master.
const SERVICE: &str = "mymaster";
const QUORUM: usize = 2;
const SENTINELS: usize = 3;

/// One master, one replica, and three sentinels, of which two must agree. A master that is away for half a second is
/// replaced.
#[derive(Debug)]
pub struct RedisSentinels {
    servers: [RedisServer; 2],
    sentinels: Vec<Sentinel>,
    /// Which of the servers was the master when this was last asked.
    master: usize,
}

#[derive(Debug)]
struct Sentinel {
    _process: Process,
    address: String,
    // After its process.
    _folder: TempDir,
}

impl RedisSentinels {
    /// Starts all of them and waits until every sentinel knows the replica and the other sentinels.
    ///
    /// # Errors
    /// When Redis is missing or doesn't start.
    pub async fn start() -> anyhow::Result<Self> {
        let master = RedisServer::start().await?;
        let port = master.port().to_string();
        let replica = RedisServer::start_on(free_port()?, &["--replicaof", "127.0.0.1", &port]).await?;
        let sentinels = (0..SENTINELS).map(|_| Sentinel::start(master.port()));
        let sentinels = Self {
            sentinels: sentinels.collect::<anyhow::Result<_>>()?,
            servers: [master, replica],
            master: 0,
        };
        for sentinel in &sentinels.sentinels {
            sentinel.ready().await?;
        }
        Ok(sentinels)
    }

    /// `redis+sentinel://h:p,h:p,h:p/mymaster`.
    #[must_use]
    pub fn url(&self) -> String {
        let addresses: Vec<&str> = self.sentinels.iter().map(|one| one.address.as_str()).collect();
        format!("redis+sentinel://{}/{SERVICE}", addresses.join(","))
    }

    /// The server that is the master, or was until [`Self::kill_master`].
    #[must_use]
    pub fn master(&self) -> &RedisServer {
        &self.servers[self.master]
    }

    /// The other server.
    #[must_use]
    pub fn replica(&self) -> &RedisServer {
        &self.servers[1 - self.master]
    }

    /// Kills the master. The sentinels notice by themselves.
    pub fn kill_master(&self) {
        self.master().kill();
    }

    /// Waits until the sentinels have made the replica the master: [`Self::master`] is that one from now on.
    ///
    /// # Errors
    /// When they don't within that time.
    pub async fn promoted(&mut self, within: Duration) -> anyhow::Result<()> {
        let wanted = self.replica().port().to_string();
        eventually(within, || async {
            let role = self.replica().command(&["ROLE"])?;
            anyhow::ensure!(role.starts_with("master"), "still {role}");
            for sentinel in &self.sentinels {
                let address = sentinel.ask(&["SENTINEL", "get-master-addr-by-name", SERVICE])?;
                anyhow::ensure!(address.ends_with(&wanted), "a sentinel still says {address}");
            }
            Ok(())
        })
        .await
        .context("the replica was not made the master")?;
        self.master = 1 - self.master;
        Ok(())
    }

    /// Starts the killed server again, empty: the sentinels make it a replica of the new master.
    ///
    /// # Errors
    /// When it still runs or doesn't start.
    pub async fn start_killed_again(&mut self) -> anyhow::Result<()> {
        let killed = 1 - self.master;
        self.servers[killed].start_again().await
    }
}

impl Sentinel {
    fn start(master: u16) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("keyward-sentinel-").tempdir()?;
        let port = free_port()?;
        // A sentinel writes down in this file what it learns.
        let configuration = folder.path().join("sentinel.conf");
        let text = format!(
            "port {port}\nbind 127.0.0.1\ndaemonize no\n\
             sentinel monitor {SERVICE} 127.0.0.1 {master} {QUORUM}\n\
             sentinel down-after-milliseconds {SERVICE} 500\n\
             sentinel failover-timeout {SERVICE} 3000\n"
        );
        std::fs::write(&configuration, text)?;
        let program = redis_server(folder.path())?.arg(&configuration).arg("--sentinel");
        Ok(Self {
            _process: program.spawn()?,
            address: format!("127.0.0.1:{port}"),
            _folder: folder,
        })
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let hurried = ["SENTINEL", "DEBUG", "publish-period", "200", "info-period", "200"];
        eventually(READY_WITHIN, || async { self.ask(&["PING"]) }).await?;
        // They tell each other every two seconds that they are there. Before version 7 that can't be changed.
        let _ = self.ask(&hurried);
        eventually(READY_WITHIN, || async {
            let told = self.ask(&["SENTINEL", "MASTER", SERVICE])?;
            let told: Vec<&str> = told.lines().collect();
            let number = |name: &str| {
                let at = told.iter().position(|line| *line == name);
                at.and_then(|at| told.get(at + 1)?.parse::<usize>().ok())
            };
            let others = number("num-other-sentinels");
            anyhow::ensure!(others == Some(SENTINELS - 1), "other sentinels: {others:?}");
            let replicas = number("num-slaves");
            anyhow::ensure!(replicas == Some(1), "replicas: {replicas:?}");
            let replica = self.ask(&["SENTINEL", "REPLICAS", SERVICE])?;
            anyhow::ensure!(
                replica.contains("master-link-status\nok"),
                "the replica is behind"
            );
            Ok(())
        })
        .await
        .context("a sentinel is not ready")
    }

    fn ask(&self, words: &[&str]) -> anyhow::Result<String> {
        command(&self.address, None, words)
    }
}
