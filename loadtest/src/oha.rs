//! Runs oha: several processes with a key each, and their results as one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use keyward_harness::Program;
use serde::Deserialize;

use crate::report::SHARES;
use crate::requests::Credentials;
use crate::scenario::Effort;

/// Where oha is.
#[derive(Debug)]
pub struct Oha {
    path: PathBuf,
}

/// What came of several processes together.
#[derive(Clone, Debug)]
pub struct OhaOutcome {
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Calls without an answer, to those aside that were under way when the time was over.
    pub failures: u64,
    /// Answers a second.
    pub per_second: f64,
    /// What these shares of all calls didn't exceed.
    pub quantiles: Vec<(f64, Duration)>,
}

/// The part of oha's JSON that is needed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Printed {
    summary: Summary,
    latency_percentiles: BTreeMap<String, Option<f64>>,
    status_code_distribution: BTreeMap<u16, u64>,
    error_distribution: BTreeMap<String, u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    requests_per_sec: f64,
    fastest: Option<f64>,
    slowest: Option<f64>,
}

impl Oha {
    /// Looks for it in `PATH`.
    ///
    /// # Errors
    /// When it isn't there; the message says how to install it.
    pub fn find() -> anyhow::Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path)
            .map(|folder| folder.join("oha"))
            .find(|path| path.is_file());
        let path =
            found.context("oha is missing: `make loadtest` installs it, --without-oha leaves it out")?;
        Ok(Self { path })
    }

    /// Runs one process for each caller, all at once.
    ///
    /// # Errors
    /// When one fails.
    pub async fn run(
        &self,
        url: &str,
        callers: &[&Credentials],
        effort: Effort,
    ) -> anyhow::Result<OhaOutcome> {
        let folder = tempfile::tempdir()?;
        let connections = (effort.connections.get() / callers.len().max(1)).max(1);
        let runs: Vec<_> = callers
            .iter()
            .map(|caller| {
                let program = Program::new(&self.path, folder.path())
                    .args(["--no-tui", "--output-format", "json", "--worker-threads", "1"])
                    .arg("-z")
                    .arg(format!("{}ms", effort.duration.as_millis()))
                    .arg("-c")
                    .arg(connections.to_string())
                    .args(headers(caller))
                    .arg(url);
                tokio::task::spawn_blocking(move || program.run())
            })
            .collect();
        let mut all = Vec::new();
        for run in runs {
            let printed = run.await??;
            all.push(
                serde_json::from_str(&printed)
                    .with_context(|| format!("unknown output of oha: {printed}"))?,
            );
        }
        Ok(together(&all))
    }
}

fn headers(caller: &Credentials) -> Vec<String> {
    let header = |name: &str, value: &Option<String>| {
        let value = value.as_ref()?;
        Some(["-H".to_owned(), format!("{name}: {value}")])
    };
    let both = [
        header("x-api-key", &caller.account_key),
        header("x-customer-key", &caller.customer_key),
    ];
    both.into_iter().flatten().flatten().collect()
}

fn together(all: &[Printed]) -> OhaOutcome {
    let mut statuses = BTreeMap::new();
    let mut failures = 0;
    for printed in all {
        for (status, count) in &printed.status_code_distribution {
            *statuses.entry(*status).or_default() += count;
        }
        let failed = printed.error_distribution.iter();
        failures += failed
            .filter(|(why, _)| !why.contains("deadline"))
            .map(|(_, count)| count)
            .sum::<u64>();
    }
    OhaOutcome {
        statuses,
        failures,
        per_second: all.iter().map(|printed| printed.summary.requests_per_sec).sum(),
        quantiles: SHARES
            .iter()
            .map(|share| (*share, quantile(all, *share)))
            .collect(),
    }
}

/// The duration that this share of the calls of all processes didn't exceed, each process weighing as much
/// as it made calls.
fn quantile(all: &[Printed], share: f64) -> Duration {
    let weight = |printed: &Printed| printed.summary.requests_per_sec;
    let total: f64 = all.iter().map(weight).sum();
    let slowest = all.iter().filter_map(|printed| printed.summary.slowest);
    let (mut low, mut high) = (0.0, slowest.fold(0.0, f64::max));
    for _ in 0..50 {
        let middle = f64::midpoint(low, high);
        let within: f64 = all
            .iter()
            .map(|printed| weight(printed) * printed.share_within(middle))
            .sum();
        if within < share * total {
            low = middle;
        } else {
            high = middle;
        }
    }
    Duration::from_secs_f64(high)
}

impl Printed {
    /// The share of the calls that took no longer, between the known percentiles on straight lines.
    fn share_within(&self, seconds: f64) -> f64 {
        let known = self.latency_percentiles.iter().filter_map(|(name, value)| {
            let percent: f64 = name.strip_prefix('p')?.parse().ok()?;
            Some(((*value)?, percent / 100.0))
        });
        let mut points: Vec<(f64, f64)> = known.collect();
        points.extend(self.summary.fastest.map(|fastest| (fastest, 0.0)));
        points.extend(self.summary.slowest.map(|slowest| (slowest, 1.0)));
        points.sort_by(|left, right| left.0.total_cmp(&right.0).then(left.1.total_cmp(&right.1)));
        let mut before = (0.0, 0.0);
        for point in points {
            if seconds < point.0 {
                let along = (seconds - before.0) / (point.0 - before.0);
                return before.1 + along * (point.1 - before.1);
            }
            before = point;
        }
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(calls: f64, scale: f64) -> Printed {
        let text = format!(
            r#"{{"summary":{{"requestsPerSec":{calls},"fastest":{fastest},"slowest":{slowest},"total":1}},
                "latencyPercentiles":{{"p10":{p10},"p50":{p50},"p99.9":null}},
                "statusCodeDistribution":{{"200":7}},
                "errorDistribution":{{"aborted due to deadline":3,"connection refused":2}}}}"#,
            fastest = 0.0,
            p10 = scale * 0.1,
            p50 = scale * 0.5,
            slowest = scale,
        );
        serde_json::from_str(&text).unwrap()
    }

    fn check(all: &[Printed], share: f64, expected_ms: u128) {
        assert_eq!(
            quantile(all, share).as_micros().div_ceil(100) / 10,
            expected_ms,
            "{share}"
        );
    }

    #[test]
    fn equal_processes_together_are_like_one() {
        let all = [printed(10.0, 1.0), printed(10.0, 1.0)];
        for (share, expected) in [(0.1, 100), (0.3, 300), (0.5, 500), (0.99, 990), (1.0, 1000)] {
            check(&all, share, expected);
        }
    }

    #[test]
    fn a_process_weighs_as_much_as_it_made_calls() {
        // Three quarters of the calls are spread over 1 s and one quarter over 2 s.
        let all = [printed(30.0, 1.0), printed(10.0, 2.0)];
        check(&all, 0.4375, 500);
        check(&all, 0.875, 1000);
        check(&all, 0.9375, 1500);
    }

    #[test]
    fn calls_cut_off_by_the_end_are_no_failures() {
        let outcome = together(&[printed(10.0, 1.0), printed(20.0, 1.0)]);
        assert_eq!(outcome.statuses, BTreeMap::from([(200, 14)]));
        assert_eq!((outcome.failures, outcome.per_second), (4, 30.0));
    }
}
