//! The table of a comparison.

use std::fmt::Write as _;

use crate::measure::Measured;

/// A core this busy sets the pace.
const SATURATED: f64 = 0.95;

/// All rounds of one side.
#[derive(Clone, Debug)]
pub struct Rounds {
    /// What the side is called.
    pub name: &'static str,
    /// One measurement a round, in order.
    pub measured: Vec<Measured>,
}

impl Rounds {
    fn values(&self, value: impl Fn(&Measured) -> f64) -> Vec<f64> {
        self.measured.iter().map(value).collect()
    }
}

/// The table, one line a side, and the ratio of each to `reference`, round by round.
#[must_use]
pub fn table(sides: &[Rounds], reference: &str) -> String {
    let mut text = format!(
        "{:<34}{:>12}{:>16}{:>10}{:>10}{:>10}{:>12}  paced by\n",
        "", "CPU µs/call", "(least–most)", "calls/s", "p50 µs", "p99 µs", "busy"
    );
    for side in sides {
        let _ = writeln!(text, "{}", line(side));
    }
    text.push_str(
        "busy: the proxy's core with the proxy, the other core with load and upstream. Where neither sets the \
         pace, something else had the processors: cost for each call stands, calls/s and latency don't.\n",
    );
    if let Some(reference) = sides.iter().find(|side| side.name == reference) {
        let _ = writeln!(text, "\nCPU per call, in proportion to {}:", reference.name);
        for side in sides
            .iter()
            .filter(|side| side.measured.iter().any(|m| !m.proxy.is_zero()))
        {
            let ratios = ratios(side, reference);
            let each: Vec<_> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
            let _ = writeln!(
                text,
                "{:<34}{:>12.2}  rounds: {}",
                side.name,
                quantile(&ratios, 0.5),
                each.join(" ")
            );
        }
    }
    text
}

fn line(side: &Rounds) -> String {
    let cost = side.values(Measured::proxy_us_per_call);
    let (proxy, load) = (
        quantile(&side.values(Measured::proxy_busy), 0.5),
        quantile(&side.values(Measured::load_busy), 0.5),
    );
    let pace = match (proxy >= SATURATED, load >= SATURATED) {
        (true, true) => "both",
        (true, false) => "the proxy",
        (false, true) => "load and upstream",
        (false, false) => "neither",
    };
    format!(
        "{:<34}{:>12.2}{:>16}{:>10.0}{:>10.0}{:>10.0}{:>12}  {pace}",
        side.name,
        quantile(&cost, 0.25),
        format!("({:.2}–{:.2})", quantile(&cost, 0.0), quantile(&cost, 1.0)),
        quantile(&side.values(Measured::per_second), 0.5),
        quantile(&side.values(|m| m.median.as_secs_f64() * 1e6), 0.5),
        quantile(&side.values(|m| m.p99.as_secs_f64() * 1e6), 0.5),
        format!("{:.0}% {:.0}%", proxy * 100.0, load * 100.0),
    )
}

fn ratios(side: &Rounds, reference: &Rounds) -> Vec<f64> {
    let pairs = side.measured.iter().zip(&reference.measured);
    pairs
        .map(|(side, reference)| side.proxy_us_per_call() / reference.proxy_us_per_call().max(f64::EPSILON))
        .collect()
}

/// The value at this share of the sorted list, the lower of two neighbours; 0 when there is none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an index into a short list"
)]
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (share * sorted.len().saturating_sub(1) as f64) as usize;
    sorted.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn rounds(name: &'static str, proxy_ms: &[u64]) -> Rounds {
        let measured = |proxy: &u64| Measured {
            calls: 1_000,
            elapsed: Duration::from_millis(20),
            proxy: Duration::from_millis(*proxy),
            load: Duration::from_millis(20),
            median: Duration::from_micros(70),
            p99: Duration::from_micros(90),
        };
        Rounds {
            name,
            measured: proxy_ms.iter().map(measured).collect(),
        }
    }

    #[test]
    fn cost_is_the_lower_quartile_and_ratios_are_taken_round_by_round() {
        let sides = [
            rounds("a", &[10, 20, 12, 10, 10]),
            rounds("b", &[5, 20, 6, 5, 9]),
            rounds("no proxy", &[0; 5]),
        ];
        let table = table(&sides, "a");
        let lines: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[1][1..4], ["10.00", "(10.00–20.00)", "50000"]);
        assert_eq!(lines[2][1..3], ["5.00", "(5.00–20.00)"]);
        assert_eq!(
            lines.last().unwrap()[..],
            ["b", "0.50", "rounds:", "0.50", "1.00", "0.50", "0.50", "0.90"]
        );
        assert_eq!(quantile(&[], 0.5), 0.0);
    }
}
