//! Limits that gateways share in Redis, measured with release programs: calls of Redis, latency, memory, and how little
//! of an outage is felt.

use std::time::Duration;

use clap::{Parser, ValueEnum};
use keyward_benches::limits::customers::{Crowd, Held};
use keyward_benches::limits::latency::{MODES, Round};
use keyward_benches::limits::operations::EACH;
use keyward_benches::limits::{customers, latency, median, operations, outages};

/// Calls of Redis for each accepted call, in leased mode.
const OPERATIONS_GOAL: f64 = 0.05;
/// What leases may add to the p99 of local buckets.
const LEASED_GOAL: f64 = 0.05;
/// How much slower the slowest of a hundred calls may be while Redis is away.
const OUTAGE_GOAL: f64 = 2.0;

/// Measures limits that gateways share.
#[derive(Parser)]
#[command(name = "limits-bench", version)]
struct Arguments {
    /// What is measured; all of it by default.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Rounds of the comparison of latencies; in each, every mode is measured once.
    #[arg(long, default_value = "9")]
    rounds: usize,
    /// Seconds for each measurement.
    #[arg(long, default_value = "5")]
    seconds: u64,
    /// Calls a second of the comparison of latencies.
    #[arg(long, default_value = "2000")]
    per_second: u32,
    /// Accounts with 50 calls a second each, over four gateways.
    #[arg(long, default_value = "100")]
    accounts: usize,
    /// End customers that are active at once on one gateway.
    #[arg(long, default_value = "100000")]
    customers: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Calls of Redis for each accepted call.
    Operations,
    /// Added latency.
    Latency,
    /// Many end customers at once.
    Customers,
    /// What is felt of outages.
    Outages,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::select! {
            measured = measure(&arguments) => measured,
            // What was started is stopped and what was written is removed all the same.
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        }
    })
}

#[expect(clippy::print_stdout, reason = "a program's own report to its user")]
async fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load average before: {}", load.trim());
    let is_wanted = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    if is_wanted(Part::Operations) {
        print_operations(arguments).await?;
    }
    if is_wanted(Part::Customers) {
        print_customers(arguments).await?;
    }
    if is_wanted(Part::Outages) {
        print_outages().await?;
    }
    // The last: it keeps this thread to one core.
    if is_wanted(Part::Latency) {
        print_latencies(arguments).await?;
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a program's own report to its user")]
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
async fn print_operations(arguments: &Arguments) -> anyhow::Result<()> {
    println!(
        "\n{} accounts, each {EACH} calls/s over four gateways, {} s",
        arguments.accounts, arguments.seconds
    );
    println!(
        "{:<10}{:>12}{:>10}{:>20}{:>22}{:>10}",
        "", "accepted", "others", "scripts per call", "commands per call", "p99 µs"
    );
    for mode in ["leased", "exact"] {
        let lasts = Duration::from_secs(arguments.seconds);
        let measured = operations::measure(mode, arguments.accounts, lasts).await?;
        let each = |count: u64| count as f64 / measured.accepted.max(1) as f64;
        println!(
            "{mode:<10}{:>12}{:>10}{:>20.4}{:>22.4}{:>10.0}",
            measured.accepted,
            measured.others,
            each(measured.redis.scripts),
            each(measured.redis.commands),
            us(measured.p99),
        );
    }
    println!(
        "goal: leased at most {OPERATIONS_GOAL} scripts per call; commands include those within scripts"
    );
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a program's own report to its user")]
async fn print_latencies(arguments: &Arguments) -> anyhow::Result<()> {
    println!(
        "\none gateway of each mode, {} calls/s, medians of {} interleaved rounds of {} s; gateway on core 0, load, \
         upstream and Redis on core 1",
        arguments.per_second, arguments.rounds, arguments.seconds
    );
    println!(
        "{:<10}{:>10}{:>10}{:>18}{:>24}{:>14}",
        "", "p50 µs", "p99 µs", "p99 over local", "rounds, least to most", "CPU µs/call"
    );
    on_core(1);
    let lasts = Duration::from_secs(arguments.seconds);
    let all = latency::measure(arguments.rounds, arguments.per_second, lasts).await?;
    let [local, ..] = &all;
    for (mode, rounds) in MODES.iter().zip(&all) {
        let of = |value: fn(&Round) -> f64| median(rounds.iter().map(value).collect());
        let pairs = rounds.iter().zip(local);
        let mut added: Vec<f64> = pairs
            .map(|(one, local)| (us(one.p99) / us(local.p99).max(f64::EPSILON) - 1.0) * 100.0)
            .collect();
        added.sort_by(f64::total_cmp);
        let (least, most) = (added.first().copied(), added.last().copied());
        println!(
            "{mode:<10}{:>10.0}{:>10.0}{:>17.1}%{:>24}{:>14.1}",
            of(|round| us(round.median)),
            of(|round| us(round.p99)),
            median(added),
            format!(
                "{:.1}% to {:.1}%",
                least.unwrap_or_default(),
                most.unwrap_or_default()
            ),
            of(|round| round.cpu_us),
        );
    }
    println!("goal: leased at most {:.0}% over local", LEASED_GOAL * 100.0);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a program's own report to its user")]
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
async fn print_customers(arguments: &Arguments) -> anyhow::Result<()> {
    let customers = arguments.customers;
    println!(
        "\n{customers} end customers at once on one gateway, each called twice, cost 60 of a burst that fills at 2/s"
    );
    for mode in ["local", "leased"] {
        let crowd = customers::measure(mode, customers).await?;
        println!("{mode}, before:          {}", holding(&crowd.before));
        for (number, pass) in (1..).zip(&crowd.passes) {
            let grown = pass
                .held
                .resident_bytes
                .saturating_sub(crowd.before.resident_bytes);
            println!(
                "  pass {number}: {:?}, {:.0} calls/s, p99 {:.0} µs, CPU {:.1} µs/call, {:.4} scripts/call, \
                 {:.0} bytes resident per customer",
                pass.statuses,
                pass.per_second,
                us(pass.p99),
                pass.cpu_us,
                pass.redis.scripts as f64 / customers.max(1) as f64,
                grown as f64 / customers.max(1) as f64,
            );
            println!("          then:          {}", holding(&pass.held));
        }
        println!("  when idle:             {}", holding(&crowd.after));
        print_gone(&crowd);
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a program's own report to its user")]
fn print_gone(crowd: &Crowd) {
    match crowd.gone_after {
        Some(after) => println!("  all of it was gone after {:.0} s", after.as_secs_f64()),
        None => println!("  IT STAYED"),
    }
}

fn holding(held: &Held) -> String {
    format!(
        "{:.1} MiB resident, {:.0} buckets, {:.0} leases; Redis: {} names, {:.1} MiB",
        mib(held.resident_bytes),
        held.buckets,
        held.leases,
        held.redis.names,
        mib(held.redis.bytes)
    )
}

#[expect(clippy::print_stdout, reason = "a program's own report to its user")]
async fn print_outages() -> anyhow::Result<()> {
    println!(
        "\nfour gateways, 1600 calls/s of 20 accounts, 80 of the 100/s that each may; p99 in µs\n\
         {:<26}{:>10}{:>14}{:>12}{:>10}{:>24}{:>9}",
        "", "before", "first 50 ms", "meanwhile", "after", "meanwhile over before", "harmed"
    );
    for felt in outages::measure().await? {
        let ratio = us(felt.meanwhile) / us(felt.before).max(f64::EPSILON);
        println!(
            "{:<26}{:>10.0}{:>14.0}{:>12.0}{:>10.0}{:>24.2}{:>9}{}",
            felt.fault,
            us(felt.before),
            us(felt.first),
            us(felt.meanwhile),
            us(felt.after),
            ratio,
            felt.harmed,
            if ratio > OUTAGE_GOAL {
                "  above the goal"
            } else {
                ""
            }
        );
    }
    println!("goal: at most {OUTAGE_GOAL} times");
    Ok(())
}

fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[expect(clippy::cast_precision_loss, reason = "a number of bytes is far below 2^52")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1 << 20) as f64
}

/// Keeps this thread, and those that it starts, on one core; where there is no such core, nothing changes.
fn on_core(core: usize) {
    let _ = core_affinity::set_for_current(core_affinity::CoreId { id: core });
}
