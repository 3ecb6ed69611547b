//! The load test as a program: starts a stack, runs every scenario, prints a table and writes the report.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use keyward_loadtest::oha::Oha;
use keyward_loadtest::report::{self, Measurement};
use keyward_loadtest::scenario::{self, Effort, Scenario};
use keyward_loadtest::stack::{Size, Stack};

/// Puts load on a Keyward that it starts itself: our own generator over all keys, and oha.
#[derive(Parser)]
#[command(name = "keyward-loadtest", version)]
struct Arguments {
    /// Seconds for each measurement.
    #[arg(long, default_value = "10")]
    seconds: u64,
    /// Connections, each with one call at a time.
    #[arg(long, default_value = "64")]
    connections: NonZeroUsize,
    /// Accounts.
    #[arg(long, default_value = "1000")]
    accounts: usize,
    /// End customers of each account: accounts × customers is how many keys the load is spread over.
    #[arg(long, default_value = "100")]
    customers: usize,
    /// Only the scenarios whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Leaves oha out.
    #[arg(long)]
    without_oha: bool,
    /// Where the report is written.
    #[arg(long, default_value = "target/loadtest/report.html")]
    report: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    // Looked for first, so that nobody waits for a seeded database to learn that it is missing.
    let oha = if arguments.without_oha {
        None
    } else {
        Some(Oha::find()?)
    };
    say("Starting a control plane with its keys, a gateway and an upstream …");
    let size = Size {
        accounts: arguments.accounts,
        customers_per_account: arguments.customers,
    };
    let stack = Stack::start(size).await?;
    let effort = Effort {
        connections: arguments.connections,
        duration: Duration::from_secs(arguments.seconds),
    };
    let mut measurements = Vec::new();
    let scenarios = scenario::all(&stack)?;
    for scenario in scenarios.iter().filter(|s| s.name.contains(&arguments.only)) {
        say(&format!("{} …", scenario.name));
        measurements.extend(run(scenario, &stack, effort, oha.as_ref()).await?);
    }
    say(&format!("\n{}", report::table(&measurements)));
    write(&arguments.report, &report::html(&measurements, effort))?;
    say(&format!("Report: {}", arguments.report.display()));
    let wrong: Vec<_> = measurements.iter().filter_map(|m| m.wrong.as_deref()).collect();
    anyhow::ensure!(
        wrong.is_empty(),
        "not answered as promised:\n{}",
        wrong.join("\n")
    );
    Ok(())
}

async fn run(
    scenario: &Scenario,
    stack: &Stack,
    effort: Effort,
    oha: Option<&Oha>,
) -> anyhow::Result<Vec<Measurement>> {
    let mut measurements = vec![scenario.generate(stack, effort).await?];
    if let Some(oha) = oha {
        measurements.push(scenario.oha(stack, effort, oha).await?);
    }
    Ok(measurements)
}

fn write(path: &std::path::Path, html: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, html).with_context(|| format!("could not write {}", path.display()))
}

#[expect(clippy::print_stdout, reason = "a program's own report to its user")]
fn say(text: &str) {
    println!("{text}");
}
