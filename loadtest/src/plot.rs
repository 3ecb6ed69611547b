//! The latency plot: an SVG drawing of how long which share of the calls took, both axes logarithmic.
//!
//! Across, each tenfold step towards "all calls" has the same width, so that the rare slow calls, which are
//! what users notice, are as wide as the many fast ones.

use std::fmt::Write as _;
use std::time::Duration;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 50.0;
/// Distinct also for eyes that don't tell red from green.
const COLOURS: [&str; 8] = [
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#666666", "#b8a800",
];
const SHARES: [(f64, &str); 6] = [
    (0.0, "0"),
    (0.5, "p50"),
    (0.9, "p90"),
    (0.99, "p99"),
    (0.999, "p99.9"),
    (0.9999, "p99.99"),
];

/// What is drawn as one line.
#[derive(Clone, Debug)]
pub struct Distribution {
    /// What the legend calls it.
    pub title: String,
    /// What these shares of all didn't exceed, in ascending order.
    pub quantiles: Vec<(f64, Duration)>,
}

impl Distribution {
    /// Of these durations, each of which is a point of the line.
    #[must_use]
    pub fn of(title: &str, mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        let all = durations.len().max(1) as f64;
        let shares = (1..).map(|rank| f64::from(rank) / all);
        Self {
            title: title.to_owned(),
            quantiles: shares.zip(durations).collect(),
        }
    }
}

/// One line a distribution, and a legend. The slowest of few is drawn at 99.99 %.
#[must_use]
pub fn latencies(distributions: &[Distribution]) -> String {
    let seconds = |(_, duration): &(f64, Duration)| duration.as_secs_f64();
    let all = distributions.iter().flat_map(|d| d.quantiles.iter().map(seconds));
    let scale = Scale::over(all.filter(|seconds| *seconds > 0.0));
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" font-size=\"13\" fill=\"#1b1f24\">\
         <title>Latency by share of calls</title>\n",
        height = HEIGHT + 24.0 * distributions.len() as f64
    );
    grid(&mut svg, &scale);
    for (index, distribution) in distributions.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let points: Vec<_> = distribution
            .quantiles
            .iter()
            .map(|(share, duration)| format!("{:.1},{:.1}", across(*share), scale.up(duration.as_secs_f64())))
            .collect();
        let row = HEIGHT + 24.0 * index as f64;
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <rect x=\"{LEFT}\" y=\"{}\" width=\"18\" height=\"4\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"{}\">{}</text>",
            points.join(" "),
            row + 6.0,
            LEFT + 28.0,
            row + 13.0,
            distribution.title
        );
    }
    svg.push_str("</svg>");
    svg
}

fn across(share: f64) -> f64 {
    // 0 for no call, 4 for 99.99 % of them.
    let nines = -(1.0 - share.clamp(0.0, 0.9999)).log10();
    LEFT + nines / 4.0 * (WIDTH - LEFT - RIGHT)
}

fn grid(svg: &mut String, scale: &Scale) {
    let (floor, end) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    for (share, name) in SHARES {
        let x = across(share);
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{floor}\" stroke=\"#d8dee4\"/>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{name}</text>",
            floor + 20.0
        );
    }
    for power in scale.lowest..=scale.highest {
        let seconds = 10f64.powi(power);
        let y = scale.up(seconds);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{end}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#d8dee4\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{:?}</text>",
            LEFT - 8.0,
            y + 4.0,
            Duration::from_secs_f64(seconds)
        );
    }
}

/// From whole powers of ten of seconds to heights.
struct Scale {
    lowest: i32,
    highest: i32,
}

impl Scale {
    #[expect(clippy::cast_possible_truncation, reason = "the logarithm of a duration")]
    fn over(seconds: impl Iterator<Item = f64>) -> Self {
        let (low, high) = seconds.fold((f64::INFINITY, 0.0), |(low, high), one| {
            (one.min(low), one.max(high))
        });
        if high <= 0.0 {
            return Self {
                lowest: -6,
                highest: 0,
            };
        }
        let lowest = low.log10().floor() as i32;
        Self {
            lowest,
            highest: (high.log10().ceil() as i32).max(lowest + 1),
        }
    }

    fn up(&self, seconds: f64) -> f64 {
        let (lowest, highest) = (f64::from(self.lowest), f64::from(self.highest));
        let along = (seconds.log10().max(lowest) - lowest) / (highest - lowest);
        HEIGHT - BOTTOM - along * (HEIGHT - BOTTOM - TOP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axes_begin_and_end_at_the_edges_of_the_drawing() {
        let scale = Scale::over([0.000_2, 0.03].into_iter());
        assert_eq!((scale.lowest, scale.highest), (-4, -1));
        assert!((scale.up(0.0001) - (HEIGHT - BOTTOM)).abs() < 1e-9);
        assert!((scale.up(0.1) - TOP).abs() < 1e-9);
        assert!((across(0.0) - LEFT).abs() < 1e-9);
        assert!((across(0.9999) - (WIDTH - RIGHT)).abs() < 1e-6);
    }

    #[test]
    fn the_slowest_is_the_last_point() {
        let of = Distribution::of("x", [30, 10, 20, 40].map(Duration::from_millis).to_vec());
        let points: Vec<_> = of
            .quantiles
            .iter()
            .map(|(share, at)| (*share, at.as_millis()))
            .collect();
        assert_eq!(points, [(0.25, 10), (0.5, 20), (0.75, 30), (1.0, 40)]);
    }

    #[test]
    fn nothing_measured_is_still_a_drawing() {
        assert!(latencies(&[]).ends_with("</svg>"));
    }
}
