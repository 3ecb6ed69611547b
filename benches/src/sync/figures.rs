//! What was measured, beside what it should be, as a table and as part of the report.
//!
//! A figure that misses its goal is shown as missed. One that breaks a promise, whatever the machine was doing, is
//! broken, and the program then ends as failed.

use std::fmt::Write as _;
use std::time::Duration;

use keyward_loadtest::plot::{self, Distribution};
use keyward_loadtest::report;

/// How a figure stands to its goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is no goal.
    Told,
    /// It is reached.
    Met,
    /// It is not, here and now.
    Missed,
    /// It never may be otherwise, and was.
    Broken,
}

impl Verdict {
    fn of(met: bool) -> Self {
        if met { Self::Met } else { Self::Missed }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Told => "",
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::Broken => "BROKEN",
        }
    }
}

/// One line of a table.
#[derive(Clone, Debug)]
pub struct Figure {
    what: String,
    measured: String,
    goal: String,
    verdict: Verdict,
}

impl Figure {
    /// Something without a goal.
    #[must_use]
    pub fn told(what: impl Into<String>, measured: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            measured: measured.into(),
            goal: String::new(),
            verdict: Verdict::Told,
        }
    }

    /// A time that should be at most `goal`.
    #[must_use]
    pub fn within(what: impl Into<String>, measured: Duration, goal: Duration) -> Self {
        Self::told(what, ms(measured)).judged(format!("≤ {}", ms(goal)), measured <= goal)
    }

    /// A number that should be at most `goal`.
    #[must_use]
    pub fn at_most(what: impl Into<String>, (measured, goal): (f64, f64), unit: &str) -> Self {
        Self::told(what, format!("{measured:.2}{unit}"))
            .judged(format!("≤ {goal:.2}{unit}"), measured <= goal)
    }

    /// Memory or disk space that should be at most `goal` bytes.
    #[must_use]
    pub fn bytes_within(what: impl Into<String>, measured: u64, goal: u64) -> Self {
        Self::told(what, mebibytes(measured)).judged(format!("≤ {}", mebibytes(goal)), measured <= goal)
    }

    /// Something that is promised not to happen at all.
    #[must_use]
    pub fn never(what: impl Into<String>, times: u64) -> Self {
        Self {
            what: what.into(),
            measured: times.to_string(),
            goal: "0".to_owned(),
            verdict: if times == 0 { Verdict::Met } else { Verdict::Broken },
        }
    }

    fn judged(self, goal: String, met: bool) -> Self {
        Self {
            goal,
            verdict: Verdict::of(met),
            ..self
        }
    }
}

/// One part of the benchmark.
#[derive(Clone, Debug)]
pub struct Part {
    title: String,
    setting: String,
    figures: Vec<Figure>,
    distributions: Vec<Distribution>,
}

impl Part {
    /// Without figures yet; `setting` says what ran where.
    #[must_use]
    pub fn new(title: impl Into<String>, setting: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            setting: setting.into(),
            figures: Vec::new(),
            distributions: Vec::new(),
        }
    }

    /// Adds a figure.
    pub fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// Adds median and p99 of some times, and draws them.
    pub fn spread(&mut self, what: &str, times: Vec<Duration>, goals: Option<(Duration, Duration)>) {
        let (median, p99) = (quantile(&times, 0.5), quantile(&times, 0.99));
        match goals {
            Some((goal, slow)) => {
                self.add(Figure::within(format!("{what}, p50"), median, goal));
                self.add(Figure::within(format!("{what}, p99"), p99, slow));
            }
            None => self.add(Figure::told(
                format!("{what}, p50 and p99"),
                format!("{}, {}", ms(median), ms(p99)),
            )),
        }
        self.distributions.push(Distribution::of(what, times));
    }

    /// Whether a promise was broken.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.figures
            .iter()
            .any(|figure| figure.verdict == Verdict::Broken)
    }

    /// For the terminal.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!("\n{}\n  {}\n", self.title, self.setting);
        for figure in &self.figures {
            let Figure {
                what,
                measured,
                goal,
                verdict,
            } = figure;
            let _ = writeln!(text, "  {what:<72} {measured:>22} {goal:>14}  {}", verdict.word());
        }
        text
    }

    fn html(&self) -> String {
        let mut rows = String::new();
        for Figure {
            what,
            measured,
            goal,
            verdict,
        } in &self.figures
        {
            let class = match verdict {
                Verdict::Told | Verdict::Met => "",
                Verdict::Missed | Verdict::Broken => " class=\"wrong\"",
            };
            let _ = writeln!(
                rows,
                "<tr{class}><td>{what}</td><td>{measured}</td><td>{goal}</td><td>{}</td></tr>",
                verdict.word()
            );
        }
        let plot = match self.distributions.as_slice() {
            [] => String::new(),
            distributions => plot::latencies(distributions),
        };
        format!(
            "<h2>{}</h2>\n<p>{}</p>\n<table><thead><tr><th></th><th>measured</th><th>goal</th><th></th></tr></thead>\
             <tbody>\n{rows}</tbody></table>\n{plot}\n",
            self.title, self.setting
        )
    }
}

/// The whole report: one file that needs no other.
#[must_use]
pub fn html(parts: &[Part]) -> String {
    let body: String = parts.iter().map(Part::html).collect();
    report::page("How key changes reach gateways", &body)
}

/// The time that this share of all didn't exceed; zero when there are none.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an index into a list"
)]
pub fn quantile(times: &[Duration], share: f64) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// Milliseconds for people.
#[must_use]
pub fn ms(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    if ms < 1_000.0 {
        format!("{ms:.2} ms")
    } else {
        format!("{:.2} s", ms / 1e3)
    }
}

/// Mebibytes for people.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a number of bytes is far below 2^52")]
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_missed_goal_is_shown_and_only_a_broken_promise_fails() {
        let mut part = Part::new("Part", "where");
        part.spread(
            "time",
            (1..=100).map(|n| MS * n).collect(),
            Some((MS * 50, MS * 98)),
        );
        part.add(Figure::never("accepted afterwards", 0));
        let table = part.table();
        assert!(
            table.contains("50.00 ms") && table.contains("99.00 ms"),
            "{table}"
        );
        assert_eq!(
            (table.matches("met").count(), table.matches("MISSED").count()),
            (2, 1),
            "{table}"
        );
        assert!(!part.is_broken());
        part.add(Figure::never("accepted afterwards", 1));
        assert!(part.is_broken());
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_list() {
        let times: Vec<_> = [30, 10, 20].map(|n| MS * n).to_vec();
        let at = |share| quantile(&times, share);
        assert_eq!((at(0.0), at(0.5), at(0.99)), (MS * 10, MS * 20, MS * 30));
        assert_eq!(quantile(&[], 0.5), Duration::ZERO);
    }

    #[test]
    fn the_report_draws_what_was_spread() {
        let mut part = Part::new("Part", "where");
        part.spread("time", vec![MS], None);
        let html = html(&[part]);
        assert!(
            html.contains("<polyline") && html.contains("<td>time, p50 and p99</td>"),
            "{html}"
        );
    }
}
