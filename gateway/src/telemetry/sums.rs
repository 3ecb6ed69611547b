//! The sums of one scrape, and how they become Prometheus text.
//!
//! Counters and gauges are handed to the `metrics` recorder, which keeps and renders them. Histograms are written
//! here: that recorder takes single values only and keeps each until the next scrape, so that handing it an hour
//! of calls would cost an hour of calls in memory and time.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Write as _;
use std::time::Duration;

use metrics::{Key, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::formatting::sanitize_label_value;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::catalogue::{ALL, Counter, Gauge, Histogram, Kind, Metric};
use super::histogram::Reading;

/// Collects the values of one scrape. Counters and histograms with the same labels add up, from wherever they
/// come; of gauges the last one counts.
#[derive(Debug, Default)]
pub struct Sums {
    counters: BTreeMap<Series, u64>,
    gauges: BTreeMap<Series, f64>,
    times: BTreeMap<Series, Duration>,
    histograms: BTreeMap<Series, Reading>,
}

/// A metric with its labels' values.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    name: &'static str,
    help: &'static str,
    labels: Vec<(&'static str, String)>,
}

impl Series {
    fn new<K, const N: usize>(metric: &Metric<K, N>, values: [&str; N]) -> Self {
        let labels = metric
            .labels
            .into_iter()
            .zip(values)
            .map(|(label, value)| (label, value.to_owned()));
        Self {
            name: metric.name,
            help: metric.help,
            labels: labels.collect(),
        }
    }
}

impl Sums {
    /// Adds to a counter.
    pub fn counter<const N: usize>(&mut self, metric: &Metric<Counter, N>, labels: [&str; N], value: u64) {
        let sum = self.counters.entry(Series::new(metric, labels)).or_default();
        *sum = sum.wrapping_add(value);
    }

    /// Adds to a counter of seconds.
    pub fn time<const N: usize>(&mut self, metric: &Metric<Counter, N>, labels: [&str; N], value: Duration) {
        let sum = self.times.entry(Series::new(metric, labels)).or_default();
        *sum = sum.saturating_add(value);
    }

    /// Sets a gauge.
    pub fn gauge<const N: usize>(&mut self, metric: &Metric<Gauge, N>, labels: [&str; N], value: f64) {
        self.gauges.insert(Series::new(metric, labels), value);
    }

    /// Adds to a histogram.
    pub fn histogram<const N: usize>(
        &mut self,
        metric: &Metric<Histogram, N>,
        labels: [&str; N],
        value: &Reading,
    ) {
        match self.histograms.entry(Series::new(metric, labels)) {
            Entry::Occupied(mut sum) => sum.get_mut().add(value),
            Entry::Vacant(place) => {
                place.insert(value.clone());
            }
        }
    }
}

/// A recorder of this gateway's own: one process may run several programs, so none may be the global one.
#[derive(Debug)]
pub(super) struct Exposition {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

impl Exposition {
    pub(super) fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        for metric in ALL {
            let (name, help) = (metric.name.into(), metric.help.into());
            match metric.kind {
                Counter::NAME => recorder.describe_counter(name, None::<Unit>, help),
                Gauge::NAME => recorder.describe_gauge(name, None::<Unit>, help),
                _ => {}
            }
        }
        let handle = recorder.handle();
        Self { recorder, handle }
    }

    pub(super) fn render(&self, sums: &Sums) -> String {
        let metadata = Metadata::new(module_path!(), Level::INFO, None);
        for (series, value) in &sums.counters {
            self.recorder
                .register_counter(&key(series), &metadata)
                .absolute(*value);
        }
        for (series, value) in &sums.gauges {
            self.recorder.register_gauge(&key(series), &metadata).set(*value);
        }
        let mut text = self.handle.render();
        write_times(&mut text, &sums.times);
        write_histograms(&mut text, &sums.histograms);
        text
    }
}

fn key(series: &Series) -> Key {
    let labels: Vec<Label> = series
        .labels
        .iter()
        .map(|(label, value)| Label::new(*label, value.clone()))
        .collect();
    Key::from_parts(series.name, labels)
}

/// Counters of seconds: the recorder's counters hold whole numbers only.
fn write_times(text: &mut String, times: &BTreeMap<Series, Duration>) {
    let mut family = "";
    for (series, time) in times {
        begin_family(text, &mut family, series, Counter::NAME);
        write_line(text, series, "", None, time.as_secs_f64());
    }
}

fn write_histograms(text: &mut String, histograms: &BTreeMap<Series, Reading>) {
    let mut family = "";
    for (series, reading) in histograms {
        begin_family(text, &mut family, series, Histogram::NAME);
        for (le, count) in reading.cumulative() {
            write_line(text, series, "_bucket", Some(le), count);
        }
        write_line(text, series, "_sum", None, reading.seconds());
        write_line(text, series, "_count", None, reading.count());
    }
}

fn begin_family(text: &mut String, family: &mut &'static str, series: &Series, kind: &str) {
    if *family != series.name {
        *family = series.name;
        let _ = writeln!(
            text,
            "# HELP {0} {1}\n# TYPE {0} {kind}",
            series.name, series.help
        );
    }
}

fn write_line(
    text: &mut String,
    series: &Series,
    suffix: &str,
    le: Option<&str>,
    value: impl std::fmt::Display,
) {
    let _ = write!(text, "{}{suffix}", series.name);
    let labels = series
        .labels
        .iter()
        .map(|(label, value)| (*label, value.as_str()));
    let mut before = '{';
    for (label, value) in labels.chain(le.map(|le| ("le", le))) {
        let _ = write!(text, "{before}{label}=\"{}\"", sanitize_label_value(value));
        before = ',';
    }
    let end = if before == '{' { "" } else { "}" };
    let _ = writeln!(text, "{end} {value}");
}
