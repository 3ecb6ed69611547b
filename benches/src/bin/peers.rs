//! The gateway against nginx on the same work: processor time for each call, in interleaved rounds.
//!
//! Each proxy has core 0 for itself; this program, which is load generator and upstream in one, has core 1.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use keyward_benches::measure::{Side, measure, prove};
use keyward_benches::nginx::NginxPeer;
use keyward_benches::peer::GatewayPeer;
use keyward_benches::report::{self, Rounds};
use keyward_benches::responder;
use keyward_loadtest::{Credentials, Load, Order, Requests};

const PROXY_CORE: usize = 0;
const LOAD_CORE: usize = 1;
const REFERENCE: &str = "nginx, key map and limit_req";

/// Compares the gateway with nginx: the same keys, the same limits, the same upstream, the same load.
#[derive(Parser)]
#[command(name = "peers", version)]
struct Arguments {
    /// Rounds; in each, every side is measured once.
    #[arg(long, default_value = "7")]
    rounds: usize,
    /// Seconds for each measurement.
    #[arg(long, default_value = "5")]
    seconds: u64,
    /// Keys, drawn at random.
    #[arg(long, default_value = "100000")]
    keys: usize,
    /// Connections, each with one call at a time.
    #[arg(long, default_value = "64")]
    connections: NonZeroUsize,
    /// The gateway's program; by default the one beside this.
    #[arg(long)]
    gateway_bin: Option<PathBuf>,
    /// Measures nginx alone.
    #[arg(long)]
    without_gateway: bool,
}

/// The proxies that run, for as long as they are measured.
struct Peers {
    nginx: NginxPeer,
    gateway: Option<GatewayPeer>,
    requests: Arc<Requests>,
    keys: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let core = core_affinity::CoreId { id: LOAD_CORE };
    anyhow::ensure!(
        core_affinity::set_for_current(core),
        "core {LOAD_CORE} can't be used: the comparison needs two cores"
    );
    // Interrupted, the runtime stops and everything that was started is stopped with it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(compare(&arguments))
}

#[expect(clippy::print_stdout, reason = "a program's own report to its user")]
async fn compare(arguments: &Arguments) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let upstream = responder::start().await?;
    let peers = start(arguments, folder.path(), upstream).await?;
    let load = Load {
        target: upstream,
        requests: Arc::clone(&peers.requests),
        connections: arguments.connections,
        duration: Duration::from_secs(arguments.seconds),
        seed: 1,
    };
    println!(
        "{} keys drawn at random, {} connections, {} rounds of {} s; proxy on core {PROXY_CORE}, load and upstream on core {LOAD_CORE}",
        peers.requests.len(),
        arguments.connections,
        arguments.rounds,
        arguments.seconds
    );
    let rounds = run(&peers, upstream, &load, arguments.rounds).await?;
    println!("\n{}", report::table(&rounds, REFERENCE));
    Ok(())
}

async fn start(arguments: &Arguments, folder: &Path, upstream: SocketAddr) -> anyhow::Result<Peers> {
    let (keys, gateway) = if arguments.without_gateway {
        let unknown = (0..arguments.keys).map(|_| Credentials::unknown());
        let keys = unknown.map(|made| made?.account_key.context("an account key"));
        (keys.collect::<anyhow::Result<Vec<_>>>()?, None)
    } else {
        let binary = arguments.gateway_bin.clone();
        let peer = GatewayPeer::start(folder, arguments.keys, upstream, PROXY_CORE, binary).await?;
        (peer.keys.clone(), Some(peer))
    };
    let nginx = NginxPeer::start(folder, upstream, PROXY_CORE, keys.iter().map(String::as_str)).await?;
    Ok(Peers {
        nginx,
        gateway,
        requests: render(&keys, Order::Random),
        keys,
    })
}

fn render(keys: &[String], order: Order) -> Arc<Requests> {
    let credentials = keys.iter().map(|key| Credentials {
        account_key: Some(key.clone()),
        customer_key: None,
    });
    Arc::new(Requests::render("/plain", order, credentials))
}

impl Peers {
    fn sides(&self, upstream: SocketAddr) -> Vec<Side> {
        let nginx = Some(self.nginx.nginx.worker());
        let side = |name, address, pid, checks| Side {
            name,
            address,
            pid,
            checks,
        };
        let mut sides = vec![
            side("no proxy", upstream, None, false),
            side("nginx, plain", self.nginx.plain, nginx, false),
            side(REFERENCE, self.nginx.checked, nginx, true),
            side(
                "nginx, the same and all headers",
                self.nginx.with_headers,
                nginx,
                true,
            ),
        ];
        if let Some(peer) = &self.gateway {
            let (address, pid) = (peer.gateway.address(), peer.gateway.process().pid());
            sides.push(side("Keyward", address, Some(pid), true));
        }
        sides
    }
}

async fn run(peers: &Peers, upstream: SocketAddr, load: &Load, rounds: usize) -> anyhow::Result<Vec<Rounds>> {
    let sides = &peers.sides(upstream);
    let mut all = Vec::new();
    for side in sides {
        // Every key once, so that no side is measured while it meets a key for the first time.
        let warm_up = Load {
            duration: Duration::from_secs(60),
            requests: render(&peers.keys, Order::EachOnce),
            ..load.clone()
        };
        prove(*side, &warm_up).await.with_context(|| side.name)?;
        measure(*side, &warm_up).await.with_context(|| side.name)?;
        all.push(Rounds {
            name: side.name,
            measured: Vec::new(),
        });
    }
    for round in 0..rounds {
        for (side, into) in sides.iter().zip(&mut all) {
            let load = Load {
                seed: round as u64,
                ..load.clone()
            };
            let measured = measure(*side, &load).await.with_context(|| side.name)?;
            into.measured.push(measured);
        }
    }
    Ok(all)
}
