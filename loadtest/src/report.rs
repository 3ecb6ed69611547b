//! What is shown of a load test: a table for the terminal, and one HTML file that needs nothing else.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::plot::{self, Distribution};
use crate::scenario::Effort;

/// The shares of calls of which the latency is shown.
pub const SHARES: [f64; 9] = [0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999];

/// Who put the load on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Our own generator.
    Generator,
    /// oha.
    Oha,
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Self::Generator => "generator",
            Self::Oha => "oha",
        }
    }
}

/// One scenario by one tool.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// The scenario.
    pub scenario: &'static str,
    /// The tool.
    pub tool: Tool,
    /// How many different callers there were.
    pub keys: usize,
    /// Answers a second.
    pub per_second: f64,
    /// What these shares of the calls didn't exceed.
    pub quantiles: Vec<(f64, Duration)>,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// How the answers differ from what is promised; `None`: they don't.
    pub wrong: Option<String>,
}

impl Measurement {
    fn title(&self) -> String {
        format!("{}, {}", self.scenario, self.tool.name())
    }

    fn distribution(&self) -> Distribution {
        Distribution {
            title: self.title(),
            quantiles: self.quantiles.clone(),
        }
    }

    fn cells(&self) -> [String; 7] {
        let statuses: Vec<_> = self
            .statuses
            .iter()
            .map(|(code, count)| format!("{code}: {count}"))
            .collect();
        [
            self.title(),
            self.keys.to_string(),
            format!("{:.0}", self.per_second),
            self.milliseconds(0.5),
            self.milliseconds(0.9),
            self.milliseconds(0.99),
            statuses.join(", "),
        ]
    }

    fn milliseconds(&self, share: f64) -> String {
        let known = self
            .quantiles
            .iter()
            .find(|(known, _)| (known - share).abs() < 1e-9);
        known.map_or_else(String::new, |(_, duration)| {
            format!("{:.2}", duration.as_secs_f64() * 1e3)
        })
    }
}

const HEADINGS: [&str; 7] = [
    "scenario", "callers", "calls/s", "p50 ms", "p90 ms", "p99 ms", "statuses",
];

/// The table for the terminal.
#[must_use]
pub fn table(measurements: &[Measurement]) -> String {
    let mut text = String::new();
    let rows =
        std::iter::once(HEADINGS.map(str::to_owned)).chain(measurements.iter().map(Measurement::cells));
    for [title, keys, per_second, p50, p90, p99, statuses] in rows {
        let _ = writeln!(
            text,
            "{title:<32}{keys:>9}{per_second:>10}{p50:>9}{p90:>9}{p99:>9}  {statuses}"
        );
    }
    text
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;\
    color:#1b1f24;background:#fff}table{border-collapse:collapse;width:100%}th,td{padding:.35rem .6rem;\
    text-align:right;border-bottom:1px solid #d8dee4;font-variant-numeric:tabular-nums}th:first-child,\
    td:first-child,th:last-child,td:last-child{text-align:left}.wrong{color:#b42318}svg{width:100%;height:auto}";

/// The report: the table, and how latency is spread in each scenario.
#[must_use]
pub fn html(measurements: &[Measurement], effort: Effort) -> String {
    let mut rows = String::new();
    for measurement in measurements {
        let class = measurement.wrong.as_ref().map_or("", |_| " class=\"wrong\"");
        let cells: String = measurement
            .cells()
            .iter()
            .map(|cell| format!("<td>{cell}</td>"))
            .collect();
        let _ = writeln!(rows, "<tr{class}>{cells}</tr>");
    }
    let headings: String = HEADINGS
        .iter()
        .map(|heading| format!("<th>{heading}</th>"))
        .collect();
    let distributions: Vec<_> = measurements.iter().map(Measurement::distribution).collect();
    let body = format!(
        "<p>{connections} connections, {seconds} s for each line, on {cores} processors that gateway, control \
         plane, upstream and load share. The generator draws a caller at random for each call; oha runs as one \
         process for each caller, because it sends the same headers with every call.</p>\n\
         <table><thead><tr>{headings}</tr></thead><tbody>\n{rows}</tbody></table>\n\
         <h2>Latency</h2>\n{plot}",
        connections = effort.connections,
        seconds = effort.duration.as_secs_f64(),
        cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
        plot = plot::latencies(&distributions),
    );
    page("Keyward load test", &body)
}

/// One HTML file that needs nothing else.
#[must_use]
pub fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n{body}\n</body></html>\n"
    )
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    fn measurement(wrong: Option<&str>) -> Measurement {
        let quantiles = SHARES.map(|share| (share, Duration::from_micros(2_500).mul_f64(share)));
        Measurement {
            scenario: "all valid",
            tool: Tool::Generator,
            keys: 100_000,
            per_second: 41_234.4,
            quantiles: quantiles.to_vec(),
            statuses: BTreeMap::from([(200, 9), (429, 1)]),
            wrong: wrong.map(str::to_owned),
        }
    }

    #[test]
    fn a_line_says_what_was_measured() {
        let table = table(&[measurement(None)]);
        let line: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
        let expected = [
            "all",
            "valid,",
            "generator",
            "100000",
            "41234",
            "1.25",
            "2.25",
            "2.48",
            "200:",
            "9,",
            "429:",
            "1",
        ];
        assert_eq!(line, expected);
    }

    #[test]
    fn the_report_is_one_file_that_needs_no_other() {
        let effort = Effort {
            connections: NonZeroUsize::MIN,
            duration: Duration::from_secs(1),
        };
        let html = html(&[measurement(Some("wrong"))], effort);
        assert!(html.contains("<td>all valid, generator</td>") && html.contains("class=\"wrong\""));
        assert!(html.contains("<svg") && html.contains("<polyline"));
        for foreign in ["src=", "href=", "@import", "url("] {
            assert!(!html.contains(foreign), "{foreign}");
        }
    }
}
