//! What the control plane counts of itself. Labels are bounded: surfaces, routes, methods and codes, never a key or
//! a customer.
//!
//! Each control plane has a recorder of its own. What the sync service counts, in tasks that know no [`Telemetry`],
//! goes to the process's recorder, which is that of the first control plane in it: no program has a second one,
//! and the gateway beside it in the standalone program counts by other means.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge, histogram, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

/// Seconds, from what a read takes to what a change waits for its gateways.
const BUCKETS: [f64; 12] = [
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];

/// The control plane's metrics.
pub struct Telemetry {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
}

/// One answered call.
#[derive(Debug)]
pub struct Called<'a> {
    /// The surface.
    pub surface: &'static str,
    /// The method, when it is a known one.
    pub method: &'static str,
    /// The route's pattern.
    pub route: &'a str,
    /// The answer's status.
    pub status: u16,
    /// How long it took.
    pub took: Duration,
}

impl Telemetry {
    /// Metrics that nothing was counted in yet.
    ///
    /// # Errors
    /// Never, with the buckets as they are.
    pub fn new() -> anyhow::Result<Self> {
        let recorder = PrometheusBuilder::new().set_buckets(&BUCKETS)?.build_recorder();
        let handle = recorder.handle();
        let recorder = Arc::new(recorder);
        // Fails for every control plane but the first.
        let _ = metrics::set_global_recorder(Arc::clone(&recorder));
        let telemetry = Self { recorder, handle };
        telemetry.with(|| {
            gauge!("keyward_build_info", "program" => "control-plane", "version" => env!("CARGO_PKG_VERSION"))
                .set(1.0);
        });
        Ok(telemetry)
    }

    /// Counts one answered call.
    pub fn called(&self, called: &Called<'_>) {
        self.with(|| {
            counter!(
                "keyward_control_requests_total",
                "surface" => called.surface,
                "method" => called.method,
                "route" => called.route.to_owned(),
                "code" => called.status.to_string(),
            )
            .increment(1);
            histogram!(
                "keyward_control_request_duration_seconds",
                "surface" => called.surface,
                "route" => called.route.to_owned(),
            )
            .record(called.took.as_secs_f64());
        });
    }

    /// Notes the newest revision and how many gateways there are.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a gauge is a float; revisions stay far below 2^53"
    )]
    pub fn standing(&self, revision: u64, gateways: usize) {
        self.with(|| {
            gauge!("keyward_control_revision").set(revision as f64);
            gauge!("keyward_control_gateways").set(gateways as f64);
        });
    }

    /// Notes how many webhook deliveries are still tried.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    pub fn pending_deliveries(&self, pending: i64) {
        self.with(|| gauge!("keyward_webhook_deliveries_pending").set(pending as f64));
    }

    /// Runs what counts with this recorder in force.
    pub fn with<T>(&self, count: impl FnOnce() -> T) -> T {
        with_local_recorder(&*self.recorder, count)
    }

    /// Folds what was recorded into its histograms. Without it they would grow for as long as nobody scrapes.
    pub fn tidy(&self) {
        self.handle.run_upkeep();
    }

    /// Everything counted, as Prometheus reads it.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Telemetry")
    }
}
