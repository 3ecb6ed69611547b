//! The control plane on SQLite and on PostgreSQL, as its release program, in interleaved rounds: calls a second, how
//! long they take, and what they cost; pages of long lists at any depth; and how soon a change is in force at a gateway.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use keyward_benches::management::spread::{self, Follows, Took};
use keyward_benches::management::{Measured, Side, Work, fill, measure, pages};
use keyward_harness::postgres::{Durability, Postgres};
use keyward_loadtest::{Load, Order, Requests};

const CONTROL_PLANE_CORE: usize = 0;
const LOAD_CORE: usize = 1;
/// No page may take longer, at any depth.
const PAGE_GOAL: Duration = Duration::from_millis(20);
/// Nor a change until it is in force.
const CHANGE_GOAL: Duration = Duration::from_secs(1);

/// Measures the control plane on both of its databases.
#[derive(Parser)]
#[command(name = "control-plane-bench", version)]
struct Arguments {
    /// Rounds; in each, every work is measured once on every database.
    #[arg(long, default_value = "5")]
    rounds: usize,
    /// Seconds for each measurement.
    #[arg(long, default_value = "3")]
    seconds: u64,
    /// Connections, each with one call at a time.
    #[arg(long, default_value = "16")]
    connections: NonZeroUsize,
    /// End customers of one account, and as many accounts, before anything is measured.
    #[arg(long, default_value = "10000")]
    customers: u64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let core = core_affinity::CoreId { id: LOAD_CORE };
    anyhow::ensure!(
        core_affinity::set_for_current(core),
        "core {LOAD_CORE} can't be used: the comparison needs two cores"
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::select! {
            compared = compare(&arguments) => compared,
            // What was started is stopped and what was written is removed all the same.
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        }
    })
}

async fn compare(arguments: &Arguments) -> anyhow::Result<()> {
    print_machine();
    let folder = tempfile::tempdir()?;
    let postgres = Postgres::start(Durability::Full)?;
    let sides = sides(arguments, folder.path(), &postgres).await?;
    print_pages(&sides, arguments.customers).await?;
    print_calls(&sides, arguments).await?;
    drop(sides);
    print_spreads(folder.path(), &postgres).await
}

#[expect(clippy::print_stdout, reason = "a program's own report to its user")]
fn print_machine() {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load average before: {}", load.trim());
}

/// Both sides, filled.
#[expect(clippy::print_stdout, reason = "a program's own report to its user")]
async fn sides(arguments: &Arguments, folder: &Path, postgres: &Postgres) -> anyhow::Result<Vec<Side>> {
    let mut sides = Vec::new();
    for (name, url) in [("sqlite", None), ("postgres", Some(postgres.database()?))] {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder)?;
        let side = Side::start(&folder, url, CONTROL_PLANE_CORE).await?;
        let started = Instant::now();
        fill::end_customers(&side.store, &side.account, arguments.customers).await?;
        fill::accounts(&side.store, arguments.customers).await?;
        fill::settle(&side.store).await?;
        println!(
            "{}: {} end customers of one account and as many accounts, filled in {:.0} s",
            side.name,
            arguments.customers,
            started.elapsed().as_secs_f64()
        );
        sides.push(side);
    }
    Ok(sides)
}

#[expect(clippy::print_stdout, reason = "a program's own report to its user")]
async fn print_calls(sides: &[Side], arguments: &Arguments) -> anyhow::Result<()> {
    println!(
        "\n{} connections, medians of {} rounds of {} s; control plane on core {CONTROL_PLANE_CORE}, load and database \
         server on core {LOAD_CORE}; every commit is on the disk",
        arguments.connections, arguments.rounds, arguments.seconds
    );
    println!(
        "{:<12}{:<22}{:>9}{:>10}{:>10}{:>22}{:>16}",
        "", "", "calls/s", "p50 µs", "p99 µs", "control plane CPU µs", "database CPU µs"
    );
    for (side, work, rounds) in run(sides, arguments).await? {
        let median = |value: fn(&Measured) -> f64| median(rounds.iter().map(value).collect());
        println!(
            "{:<12}{:<22}{:>9.0}{:>10.0}{:>10.0}{:>22.0}{:>16.0}",
            side,
            work.name(),
            median(|m| m.per_second),
            median(|m| m.median.as_secs_f64() * 1e6),
            median(|m| m.p99.as_secs_f64() * 1e6),
            median(|m| m.control_plane_us),
            median(|m| m.database_us),
        );
    }
    Ok(())
}

type Rounds = (&'static str, Work, Vec<Measured>);

async fn run(sides: &[Side], arguments: &Arguments) -> anyhow::Result<Vec<Rounds>> {
    let load = Load {
        target: ([127, 0, 0, 1], 0).into(),
        requests: Arc::new(Requests::of([""], Order::Random)),
        connections: arguments.connections,
        duration: Duration::from_secs(arguments.seconds),
        seed: 1,
    };
    let mut all: Vec<Rounds> = Vec::new();
    for work in Work::ALL {
        for side in sides {
            // Once unmeasured: connections are opened, statements prepared.
            let short = Load {
                duration: Duration::from_millis(500),
                ..load.clone()
            };
            measure(side, work, &short).await?;
            all.push((side.name, work, Vec::new()));
        }
    }
    for round in 0..arguments.rounds {
        let load = Load {
            seed: round as u64,
            ..load.clone()
        };
        for (name, work, into) in &mut all {
            for side in sides.iter().filter(|side| side.name == *name) {
                into.push(measure(side, *work, &load).await?);
            }
        }
    }
    Ok(all)
}

#[expect(clippy::print_stdout, reason = "a program's own report to its user")]
async fn print_pages(sides: &[Side], count: u64) -> anyhow::Result<()> {
    for side in sides {
        println!(
            "\n{}, ms:{:<62}{:>8}{:>8}{:>8}",
            side.name, "", "least", "median", "most"
        );
        for page in pages::measure(side, count).await? {
            let ms = |index: usize| page.times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e3);
            let last = page.times.len().saturating_sub(1);
            let above = page.times.get(last / 2).is_some_and(|time| *time > PAGE_GOAL);
            println!(
                "  {:<76}{:>8.2}{:>8.2}{:>8.2}{}",
                page.path,
                ms(0),
                ms(last / 2),
                ms(last),
                if above { "  above the goal" } else { "" }
            );
        }
    }
    println!("  goal: no median above {} ms", PAGE_GOAL.as_millis());
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a program's own report to its user")]
async fn print_spreads(folder: &Path, postgres: &Postgres) -> anyhow::Result<()> {
    println!(
        "\nan account with {} keys, {} times, under calls to the gateway; ms: least, median, most\n{:<48}{:>31}{:>31}",
        spread::KEYS,
        spread::TIMES,
        "",
        "answered, propagation complete",
        "in force at the gateway"
    );
    let settings = [
        ("SQLite", None, Follows::TheSame),
        ("PostgreSQL", Some(postgres.database()?), Follows::TheSame),
        (
            "PostgreSQL, gateway on another control plane",
            Some(postgres.database()?),
            Follows::Another,
        ),
    ];
    for (number, (name, url, follows)) in settings.into_iter().enumerate() {
        let folder = folder.join(format!("spread-{number}"));
        std::fs::create_dir_all(&folder)?;
        println!("{name}");
        for spread in spread::measure(&folder, url.as_deref(), follows, CONTROL_PLANE_CORE).await? {
            println!(
                "  {:<46}{:>31}{:>31}",
                spread.status,
                three(spread.took.iter().map(|took: &Took| took.answered)),
                three(spread.took.iter().map(|took| took.in_force))
            );
        }
    }
    println!("  goal: none above {} ms", CHANGE_GOAL.as_millis());
    Ok(())
}

/// Least, median and most, in ms.
fn three(times: impl Iterator<Item = Duration>) -> String {
    let mut ms: Vec<f64> = times.map(|time| time.as_secs_f64() * 1e3).collect();
    ms.sort_by(f64::total_cmp);
    let of = |value: Option<&f64>| format!("{:>8.1}", value.copied().unwrap_or_default());
    format!("{}{}{}", of(ms.first()), of(ms.get(ms.len() / 2)), of(ms.last()))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values
        .get(values.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or_default()
}
