//! The HTTP client of tests, and how a metric is read.

use std::time::Duration;

/// A client that goes straight to its server and gives up after ten seconds.
///
/// # Errors
/// When it can't be built.
pub fn http_client() -> anyhow::Result<reqwest::Client> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(10));
    Ok(client.build()?)
}

/// The sum of all samples of a metric in Prometheus text whose labels hold all of `labels`, each written
/// `name="value"`; `None` when there is no such sample.
#[must_use]
pub fn metric(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let samples = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (series_name, series_labels) = series.split_once('{').unwrap_or((series, ""));
        let wanted = series_name == name && labels.iter().all(|label| series_labels.contains(label));
        wanted.then(|| value.parse::<f64>().ok()).flatten()
    });
    samples.reduce(|sum, sample| sum + sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE calls counter\ncalls{route=\"/\",code=\"OK\"} 3\ncalls{route=\"/b\",code=\"OK\"} 4\n\
                        calls_more 9\nlevel 1.5\n";

    #[test]
    fn a_metric_is_summed_over_the_samples_that_fit() {
        assert_eq!(metric(TEXT, "calls", &[]), Some(7.0));
        assert_eq!(metric(TEXT, "calls", &["code=\"OK\"", "route=\"/b\""]), Some(4.0));
        assert_eq!(metric(TEXT, "calls", &["code=\"NO\""]), None);
        assert_eq!(metric(TEXT, "level", &[]), Some(1.5));
    }
}
