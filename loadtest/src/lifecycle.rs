//! A gateway that is reloaded and upgraded again and again while calls come at a steady pace and WebSockets are open.
//!
//! Every call must be accepted. A WebSocket lives through reloads, and hears a Close (1001) when its gateway is taken over from;
//! its client then opens another. What an idle connection costs is measured after that, on gateways that nothing happens to
//! (`lifecycle/idle.rs`).

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

pub use self::idle::Wire;
use crate::histogram::Histogram;
use crate::paced::{Heard, Lane, Pace, Paced, latencies};
use crate::requests::{Credentials, Order, Requests};
use crate::stack::{Size, Stack};

mod idle;
mod websockets;

/// More than the load takes; it is stopped before.
const LONGEST: Duration = Duration::from_secs(600);
/// How long a gateway may drain.
const DRAIN: &str = "[drain]\ntimeout = \"2s\"\n";
const DRAINED: Duration = Duration::from_secs(30);
const ANSWERED: Duration = Duration::from_secs(10);
const SIZE: Size = Size {
    accounts: 4,
    customers_per_account: 4,
};

/// What is done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Calls a second, all the while.
    pub per_second: u32,
    /// Connections that they come on.
    pub connections: usize,
    /// Reloads.
    pub reloads: usize,
    /// From the beginning of one to that of the next, at least.
    pub reload_every: Duration,
    /// Upgrades.
    pub upgrades: usize,
    /// From the beginning of one to that of the next, at least.
    pub upgrade_every: Duration,
    /// WebSockets that are open all the while.
    pub sockets: usize,
    /// Idle keep-alive connections whose memory is measured, of each kind.
    pub idle: usize,
    /// The kinds.
    pub wires: &'static [Wire],
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Report {
    plan: Plan,
    calls: u64,
    failed: Vec<String>,
    lasted: Duration,
    latencies: Histogram,
    idle: Vec<(Wire, u64)>,
}

impl Report {
    /// Calls that were sent.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// Resident memory that an idle keep-alive connection of each kind costs, in bytes.
    #[must_use]
    pub fn idle(&self) -> &[(Wire, u64)] {
        &self.idle
    }

    /// Whether nothing was lost.
    ///
    /// # Errors
    /// What was.
    pub fn verdict(&self) -> anyhow::Result<()> {
        let some: Vec<_> = self.failed.iter().take(5).collect();
        ensure!(
            self.failed.is_empty(),
            "{} of {} calls failed: {some:?}",
            self.failed.len(),
            self.calls
        );
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan {
            reloads,
            upgrades,
            sockets,
            idle,
            per_second,
            ..
        } = self.plan;
        writeln!(
            f,
            "{reloads} reloads and {upgrades} upgrades under {per_second} calls/s, {:.1} s",
            self.lasted.as_secs_f64()
        )?;
        let quantile = |share| self.latencies.quantile(share).as_secs_f64() * 1000.0;
        writeln!(
            f,
            "calls: {}, failed: {}, p50 {:.2} ms, p99 {:.2} ms",
            self.calls,
            self.failed.len(),
            quantile(0.5),
            quantile(0.99)
        )?;
        write!(
            f,
            "WebSockets: {sockets}, all lived through reloads and were told at upgrades"
        )?;
        for (wire, bytes) in &self.idle {
            write!(f, "\nidle connections, {wire}: {idle}, {bytes} bytes each")?;
        }
        Ok(())
    }
}

/// Does it all.
///
/// # Errors
/// When a program fails, or a WebSocket is lost. Failed calls are in the report.
pub async fn run(plan: Plan) -> anyhow::Result<Report> {
    let heard = tokio::time::timeout(LONGEST, change(plan)).await??;
    let failed = heard.calls.iter().filter(|call| !call.accepted());
    let failed = failed.map(|call| format!("{call:?}")).collect();
    let mut idle = Vec::new();
    if plan.idle > 0 {
        for wire in plan.wires {
            idle.push((*wire, idle::bytes_each(*wire, plan.idle).await?));
        }
    }
    Ok(Report {
        plan,
        calls: heard.calls.len() as u64,
        failed,
        lasted: heard.elapsed,
        latencies: latencies(&heard.calls),
        idle,
    })
}

/// Reloads and upgrades under load.
async fn change(plan: Plan) -> anyhow::Result<Heard> {
    let echo = websockets::echo().await?;
    let routes = format!(
        "[[routes]]\npath = \"/\"\nupstream = \"api\"\n[[routes]]\npath = \"/socket\"\nupstream = \"echo\"\n\
         [[upstreams]]\nname = \"echo\"\nendpoints = [\"http://{echo}\"]\n"
    );
    let mut stack = Stack::start_with(SIZE, |setup| setup.routes(&routes).configured(DRAIN)).await?;
    let target = stack.gateway.address();
    let load = Paced {
        lanes: vec![Lane {
            target,
            pace: Pace::steady(plan.per_second),
            connections: NonZeroUsize::new(plan.connections).context("no connections")?,
        }],
        callers: Arc::new(Requests::render(
            "/plain",
            Order::Random,
            stack.valid.iter().cloned(),
        )),
        duration: LONGEST,
    };
    let caller = stack.valid.first().context("no caller")?.clone();
    let mut sockets = websockets::open(target, &caller, plan.sockets).await?;
    let load = load.start().await?;
    reload(&stack, plan, &mut sockets).await?;
    for upgrade in 0..plan.upgrades {
        let next = Instant::now() + plan.upgrade_every;
        stack.gateway.begin_upgrade()?;
        stack.gateway.upgraded().await?;
        for socket in &mut sockets {
            websockets::hear_goodbye(socket)
                .await
                .with_context(|| format!("at upgrade {upgrade}"))?;
        }
        sockets = websockets::open(target, &caller, plan.sockets).await?;
        stack.gateway.is_alone(DRAINED).await?;
        tokio::time::sleep_until(next).await;
    }
    load.stop().await
}

/// Each takes a route away that the one before brought.
async fn reload(stack: &Stack, plan: Plan, sockets: &mut [TcpStream]) -> anyhow::Result<()> {
    for number in 0..plan.reloads {
        let next = Instant::now() + plan.reload_every;
        let mark = "# changes from here";
        let route = format!("{mark}\n[[routes]]\npath = \"/route-{number}\"\nupstream = \"api\"\n");
        let change = |text: String| {
            let kept = text.split(mark).next().unwrap_or_default().to_owned();
            format!("{kept}{route}")
        };
        stack.gateway.reload(change).await?;
        for socket in &mut *sockets {
            websockets::say_and_hear(socket)
                .await
                .with_context(|| format!("at reload {number}"))?;
        }
        tokio::time::sleep_until(next).await;
    }
    Ok(())
}

fn head(path: &str, more: &str, caller: &Credentials) -> String {
    let key = |key: &Option<String>| key.clone().unwrap_or_default();
    format!(
        "GET {path} HTTP/1.1\r\nHost: api.example.com\r\nX-Api-Key: {}\r\nX-Customer-Key: {}\r\n{more}\r\n",
        key(&caller.account_key),
        key(&caller.customer_key)
    )
}

/// Reads until this has come.
async fn until(stream: &mut (impl AsyncRead + Unpin), end: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut came = Vec::new();
    let reading = async {
        while !came.ends_with(end) {
            ensure!(stream.read_buf(&mut came).await? > 0, "the connection ended");
        }
        Ok(())
    };
    tokio::time::timeout(ANSWERED, reading).await??;
    Ok(came)
}
