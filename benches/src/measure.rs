//! One measurement: a load against one side, and what the proxy and the load's own core spent on it.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use keyward_harness::ProcessUsage;
use keyward_loadtest::{Credentials, Load, Order, Requests, generator};

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub struct Side {
    /// What the report calls it.
    pub name: &'static str,
    /// Where it is called.
    pub address: SocketAddr,
    /// The process that works; `None` for no proxy at all.
    pub pid: Option<u32>,
    /// Whether it looks at the key.
    pub checks: bool,
}

/// Proves that a side does the work that it is measured for: a key that nobody was given is refused by one
/// that checks keys, and forwarded by one that doesn't.
///
/// # Errors
/// When it answers otherwise.
pub async fn prove(side: Side, load: &Load) -> anyhow::Result<()> {
    let load = Load {
        target: side.address,
        requests: Arc::new(Requests::render(
            "/plain",
            Order::EachOnce,
            [Credentials::unknown()?],
        )),
        connections: NonZeroUsize::MIN,
        ..load.clone()
    };
    let promised = if side.checks { 401 } else { 200 };
    generator::run(&load).await?.all(promised)
}

/// What one side did in one round.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Calls, each answered 200.
    pub calls: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// Processor time of the proxy.
    pub proxy: Duration,
    /// Processor time of the load generator and the upstream.
    pub load: Duration,
    /// Half of the calls took no longer.
    pub median: Duration,
    /// 99 of 100 calls took no longer.
    pub p99: Duration,
}

/// Puts the load on a side.
///
/// # Errors
/// When a call isn't answered 200, or the side has ended.
pub async fn measure(side: Side, load: &Load) -> anyhow::Result<Measured> {
    let load = Load {
        target: side.address,
        ..load.clone()
    };
    let proxy_used = || match side.pid {
        Some(pid) => ProcessUsage::of(pid).map(|usage| usage.processor_time()),
        None => Ok(Duration::ZERO),
    };
    let own_used = || ProcessUsage::of(std::process::id()).map(|usage| usage.processor_time());
    let (proxy, own) = (proxy_used()?, own_used()?);
    let outcome = generator::run(&load).await?;
    outcome.all(200)?;
    Ok(Measured {
        calls: outcome.answers(),
        elapsed: outcome.elapsed,
        proxy: proxy_used()?.saturating_sub(proxy),
        load: own_used()?.saturating_sub(own),
        median: outcome.latencies.quantile(0.5),
        p99: outcome.latencies.quantile(0.99),
    })
}

#[expect(clippy::cast_precision_loss, reason = "a count of calls is far below 2^52")]
impl Measured {
    /// Processor microseconds of the proxy for each call.
    #[must_use]
    pub fn proxy_us_per_call(&self) -> f64 {
        self.proxy.as_secs_f64() * 1e6 / self.calls.max(1) as f64
    }

    /// Calls a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.calls as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    /// How busy the proxy's core was with the proxy, 0.0 to 1.0.
    #[must_use]
    pub fn proxy_busy(&self) -> f64 {
        share(self.proxy, self.elapsed)
    }

    /// How busy the other core was with load and upstream, 0.0 to 1.0.
    #[must_use]
    pub fn load_busy(&self) -> f64 {
        share(self.load, self.elapsed)
    }
}

fn share(part: Duration, whole: Duration) -> f64 {
    part.as_secs_f64() / whole.as_secs_f64().max(f64::EPSILON)
}
