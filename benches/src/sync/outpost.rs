//! One gateway on a core of its own, and what of it is looked at: how soon it is ready, its disk, its memory, how long
//! calls take.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use keyward_contract::PlainKey;
use keyward_harness::{GatewayProcess, GatewaySetup};
use keyward_loadtest::paced::Heard;
use keyward_loadtest::{Credentials, Lane, Load, Order, Pace, Paced, Requests, generator};

use super::system::ROUTES;

/// The gateway's core; everything else is on the other.
pub const GATEWAY_CORE: usize = 0;
/// Where load, upstream and control plane are.
pub const OTHER_CORE: usize = 1;
/// A snapshot of ten million keys takes its time.
const READY_WITHIN: Duration = Duration::from_secs(3_600);
const STOPPED_WITHIN: Duration = Duration::from_secs(60);
const CONNECTIONS: NonZeroUsize = NonZeroUsize::new(16).unwrap();

/// How a gateway ends before it is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In good order.
    Stopped,
    /// By `kill -9`.
    Killed,
}

/// A gateway, pinned.
pub struct Outpost {
    process: GatewayProcess,
    setup: GatewaySetup,
}

impl Outpost {
    /// Starts one in an empty `folder`, and answers how long it took until it was ready.
    ///
    /// # Errors
    /// When it isn't ready in time.
    pub async fn start(
        folder: PathBuf,
        (url, token_file): (String, PathBuf),
        upstream: SocketAddr,
    ) -> anyhow::Result<(Self, Duration)> {
        let mut setup = GatewaySetup::apart(folder.clone(), url, token_file, upstream)
            .settings("workers = 1")
            .routes(ROUTES)
            .env("KEYWARD_LOG", "info");
        setup.id = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        setup.core = Some(GATEWAY_CORE);
        let began = Instant::now();
        let outpost = Self {
            process: GatewayProcess::launch(&setup)?,
            setup,
        };
        outpost.ready().await?;
        Ok((outpost, began.elapsed()))
    }

    async fn ready(&self) -> anyhow::Result<()> {
        let url = format!("{}/readyz", self.process.admin_url());
        self.process.process().ready(&url, READY_WITHIN).await
    }

    /// Ends it and starts it again: how long it took from the start until it was ready.
    ///
    /// # Errors
    /// When it doesn't end, or isn't ready in time.
    pub async fn again(&mut self, end: End) -> anyhow::Result<Duration> {
        match end {
            End::Stopped => self.process.stop(STOPPED_WITHIN).await?,
            End::Killed => self.process.kill(),
        }
        let began = Instant::now();
        self.process = GatewayProcess::launch(&self.setup)?;
        self.ready().await?;
        Ok(began.elapsed())
    }

    /// From its connection to the control plane until its first snapshot was in force, as its log tells it.
    ///
    /// # Errors
    /// When the log doesn't.
    pub fn snapshot_took(&self) -> anyhow::Result<Duration> {
        let log = self.process.process().stderr()? + &self.process.process().stdout()?;
        let at = |message: &str| {
            let line = log.lines().find(|line| line.contains(message));
            line.and_then(instant)
                .with_context(|| format!("the log doesn't tell when it was {message:?}"))
        };
        let (began, ended) = (
            at("connected to the control plane")?,
            at("the snapshot is in force")?,
        );
        Ok(Duration::from_secs_f64((ended - began).max(0.0)))
    }

    /// Resident bytes now, and at most so far.
    ///
    /// # Errors
    /// When it has ended.
    pub fn memory(&self) -> anyhow::Result<(u64, u64)> {
        let usage = self.process.process().usage()?;
        Ok((usage.resident_bytes, usage.peak_resident_bytes))
    }

    /// Bytes on disk of its replica.
    ///
    /// # Errors
    /// When they can't be counted.
    pub fn disk_bytes(&self) -> anyhow::Result<u64> {
        occupied(&self.setup.folder.join("replica"))
    }

    /// Processor time so far.
    ///
    /// # Errors
    /// When it has ended.
    pub fn processor_time(&self) -> anyhow::Result<Duration> {
        Ok(self.process.process().usage()?.processor_time())
    }

    /// Calls with each of these once, so that they are in its memory.
    ///
    /// # Errors
    /// When one isn't accepted.
    pub async fn warm(&self, requests: Requests) -> anyhow::Result<()> {
        let load = Load {
            target: self.process.address(),
            requests: Arc::new(requests),
            connections: CONNECTIONS,
            duration: READY_WITHIN,
            seed: 1,
        };
        generator::run(&load).await?.all(200)
    }

    /// A load on it at a steady pace.
    #[must_use]
    pub fn steady(&self, requests: &Arc<Requests>, per_second: u32, duration: Duration) -> Paced {
        let lane = Lane {
            target: self.process.address(),
            pace: Pace::steady(per_second),
            connections: CONNECTIONS,
        };
        Paced {
            lanes: vec![lane],
            callers: Arc::clone(requests),
            duration,
        }
    }
}

/// One call with each of these account keys.
pub fn calls<'k>(keys: impl IntoIterator<Item = &'k PlainKey>) -> Requests {
    let credentials = keys.into_iter().map(|key| Credentials {
        account_key: Some(key.expose().to_owned()),
        customer_key: None,
    });
    Requests::render("/a", Order::EachOnce, credentials)
}

/// Fails when a call of a load was not accepted.
///
/// # Errors
/// Then.
pub fn all_accepted(heard: &Heard) -> anyhow::Result<()> {
    anyhow::ensure!(
        heard.accepted() == heard.calls.len() as u64,
        "not all accepted: {:?}",
        heard.answers()
    );
    Ok(())
}

/// Seconds of the day at the beginning of a line of the log.
fn instant(line: &str) -> Option<f64> {
    let at = line.find('T').filter(|at| *at >= 10)?;
    let mut parts = line.get(at + 1..)?.splitn(3, ':');
    let (hours, minutes): (f64, f64) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let seconds: f64 = parts.next()?.split('Z').next()?.parse().ok()?;
    Some((hours * 60.0 + minutes) * 60.0 + seconds)
}

fn occupied(folder: &Path) -> anyhow::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut sum = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += if metadata.is_dir() {
            occupied(&entry.path())?
        } else {
            metadata.blocks() * 512
        };
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_begins_with_its_instant() {
        let plain = instant("2026-11-22T07:08:09.250000Z  INFO keyward_gateway::sync: connected");
        let json = instant("{\"timestamp\":\"2026-11-22T07:08:09.250000Z\",\"level\":\"INFO\"}");
        assert_eq!((plain, json), (Some(25_689.25), Some(25_689.25)));
        assert_eq!(instant("Thread panicked"), None);
    }
}
