//! How key changes reach gateways, measured with release programs: each part of what is promised, with its goal beside
//! it. Prints tables, and writes them with their plots to `target/loadtest/sync.html`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use keyward_benches::sync::figures::{self, Part};
use keyward_benches::sync::{fan_out, herd, key_sets, outpost, pair, propagation};
use keyward_harness::postgres::{Durability, Postgres};

/// Measures how changes reach gateways.
#[derive(Parser)]
#[command(name = "sync-bench", version)]
struct Arguments {
    /// What is measured; all of it by default.
    #[arg(long, value_delimiter = ',')]
    only: Vec<What>,
    /// Rounds of what is measured in turn.
    #[arg(long, default_value = "6")]
    rounds: usize,
    /// Seconds of one measurement that is compared with others.
    #[arg(long, default_value = "10")]
    seconds: u64,
    /// Calls a second.
    #[arg(long, default_value = "2000")]
    calls: u32,
    /// Revocations.
    #[arg(long, default_value = "200")]
    revocations: usize,
    /// Keys of a large set, from a real control plane.
    #[arg(long, default_value = "1000000")]
    keys: usize,
    /// Keys of a huge set, from a simulated one. Ten million take some gigabytes of disk.
    #[arg(long, default_value = "10000000")]
    huge: u64,
    /// Where those lie; the system's folder for temporary files by default.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Gateways of one control plane.
    #[arg(long, default_value = "200")]
    gateways: usize,
    /// Seconds of everything that is measured once.
    #[arg(long, default_value = "60")]
    lasts: u64,
    /// Where the report is written.
    #[arg(long, default_value = "target/loadtest/sync.html")]
    report: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Revocations under load, to the last accepted call.
    Propagation,
    /// A million keys from a control plane: the first snapshot, and starts without it.
    Keys,
    /// What calls feel of a thousand changes a second.
    Changes,
    /// Ten million keys at one gateway.
    Huge,
    /// Two hundred gateways, on SQLite and on PostgreSQL.
    FanOut,
    /// Two control planes on one PostgreSQL.
    Pair,
    /// Twenty new gateways at once.
    Herd,
}

impl What {
    /// Whether its programs are pinned, and this one with what it runs.
    fn is_pinned(self) -> bool {
        matches!(self, Self::Keys | Self::Changes | Self::Huge)
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let chosen = match arguments.only.as_slice() {
        [] => What::value_variants(),
        only => only,
    };
    let mut parts = Vec::new();
    for what in chosen {
        say(&format!("\nload average: {}", load_average()));
        // A thread of its own, so that the next part runs where it likes.
        let measured = std::thread::scope(|scope| scope.spawn(|| run(*what, &arguments)).join());
        let measured = measured.map_err(|_| anyhow::anyhow!("a part panicked"))??;
        for part in &measured {
            say(&part.table());
        }
        parts.extend(measured);
        write(&arguments.report, &figures::html(&parts))?;
    }
    say(&format!(
        "\nload average: {}\nReport: {}",
        load_average(),
        arguments.report.display()
    ));
    anyhow::ensure!(!parts.iter().any(Part::is_broken), "a promise was broken");
    Ok(())
}

fn run(what: What, arguments: &Arguments) -> anyhow::Result<Vec<Part>> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if what.is_pinned() {
        let core = core_affinity::CoreId {
            id: outpost::OTHER_CORE,
        };
        anyhow::ensure!(
            core_affinity::set_for_current(core),
            "core {} can't be used: the measurement needs two cores",
            outpost::OTHER_CORE
        );
        runtime = tokio::runtime::Builder::new_current_thread();
    }
    runtime.enable_all().build()?.block_on(async {
        tokio::select! {
            measured = measure(what, arguments) => measured,
            // What was started is stopped and what was written is removed all the same.
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        }
    })
}

async fn measure(what: What, arguments: &Arguments) -> anyhow::Result<Vec<Part>> {
    let effort = key_sets::Effort {
        rounds: arguments.rounds,
        seconds: arguments.seconds,
        per_second: arguments.calls,
    };
    let lasts = Duration::from_secs(arguments.lasts);
    Ok(vec![match what {
        What::Propagation => {
            let plan = propagation::Plan {
                gateways: 3,
                revocations: arguments.revocations,
                per_second: arguments.calls,
            };
            propagation::measure(plan).await?
        }
        What::Keys => key_sets::stored(arguments.keys, arguments.rounds).await?,
        What::Changes => key_sets::changing(arguments.keys as u64, effort).await?,
        What::Huge => {
            let place = match &arguments.folder {
                Some(folder) => tempfile::tempdir_in(folder)?,
                None => tempfile::tempdir()?,
            };
            key_sets::huge(arguments.huge, effort, place.path()).await?
        }
        What::FanOut => return fan_out(arguments).await,
        What::Pair => {
            let plan = pair::Plan {
                lasts,
                kills: arguments.rounds,
                moved_within: Duration::from_secs(60),
            };
            pair::measure(plan).await?
        }
        What::Herd => herd::measure(20, 100_000).await?,
    }])
}

async fn fan_out(arguments: &Arguments) -> anyhow::Result<Vec<Part>> {
    let plan = fan_out::Plan {
        gateways: arguments.gateways,
        changes: 100,
        lasts: Duration::from_secs(arguments.lasts / 2),
    };
    let postgres = Postgres::start(Durability::Full)?;
    let database = postgres.database()?;
    Ok(vec![
        fan_out::measure(plan, "SQLite", None).await?,
        fan_out::measure(plan, "PostgreSQL", Some(&database)).await?,
    ])
}

fn load_average() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.trim().to_owned()
}

fn write(path: &Path, html: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    Ok(std::fs::write(path, html)?)
}

#[expect(clippy::print_stdout, reason = "a program's own report to its user")]
fn say(text: &str) {
    println!("{text}");
}
