//! Every metric the gateway can show: name, labels and meaning in one place.
//!
//! A metric that is not here can't be shown: [`super::Sums`] takes only these constants, each typed with its kind
//! and the number of its labels. `docs/metrics.md` is held against this list by a test.

use std::marker::PhantomData;

/// Only ever grows.
#[derive(Clone, Copy, Debug)]
pub enum Counter {}
/// Goes up and down.
#[derive(Clone, Copy, Debug)]
pub enum Gauge {}
/// Durations in buckets.
#[derive(Clone, Copy, Debug)]
pub enum Histogram {}

/// What a metric is called in Prometheus' `# TYPE` lines.
pub trait Kind {
    /// `counter`, `gauge` or `histogram`.
    const NAME: &'static str;
}

impl Kind for Counter {
    const NAME: &'static str = "counter";
}
impl Kind for Gauge {
    const NAME: &'static str = "gauge";
}
impl Kind for Histogram {
    const NAME: &'static str = "histogram";
}

/// One metric of kind `K` with `N` labels.
#[derive(Clone, Copy, Debug)]
pub struct Metric<K, const N: usize> {
    pub(super) name: &'static str,
    pub(super) labels: [&'static str; N],
    pub(super) help: &'static str,
    kind: PhantomData<K>,
}

/// A metric as documentation sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// The name.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

macro_rules! catalogue {
    ($($constant:ident: $kind:ident, $count:literal = $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = concat!("`", $name, "`: ", $help)]
            pub const $constant: Metric<$kind, $count> =
                Metric { name: $name, labels: [$($label),*], help: $help, kind: PhantomData };
        )*

        /// The whole catalogue, in the order of the documentation.
        pub const ALL: &[Description] = &[$(
            Description { name: $name, kind: <$kind as Kind>::NAME, labels: &[$($label),*], help: $help },
        )*];
    };
}

catalogue! {
    REQUESTS: Counter, 3 = "keyward_requests_total" ["route", "tier", "code"]
        "Answered calls. `code` is the HTTP status; `none` where no route or tier was known, `other` past the bound.";
    DECISIONS: Counter, 1 = "keyward_decisions_total" ["decision"]
        "What was decided on calls: `accepted`, or the code of the refusal.";
    AUTHZ_CHECKS: Counter, 2 = "keyward_authz_checks_total" ["endpoint", "decision"]
        "Those of them on calls that somebody else forwards: by `ext_authz`, `forward_auth` or `validate`.";
    REQUEST_DURATION: Histogram, 1 = "keyward_request_duration_seconds" ["route"]
        "From the end of a request's head to the end of its answer.";
    OVERHEAD: Histogram, 0 = "keyward_overhead_seconds" []
        "The time of a call in the gateway, without the upstream's.";
    RECEIVED_BYTES: Counter, 1 = "keyward_received_bytes_total" ["route"]
        "Bytes of request bodies.";
    SENT_BYTES: Counter, 1 = "keyward_sent_bytes_total" ["route"]
        "Bytes of answers' bodies.";
    CONNECTIONS: Gauge, 0 = "keyward_connections" []
        "Open client connections.";
    CONNECTIONS_DOZING: Gauge, 0 = "keyward_connections_dozing" []
        "Of these, the HTTP/1.1 ones that had no call for a second or more, and hold no buffers.";
    CONNECTIONS_ACCEPTED: Counter, 0 = "keyward_connections_accepted_total" []
        "Client connections ever opened.";
    CONNECTIONS_TURNED: Counter, 1 = "keyward_connections_turned_away_total" ["reason"]
        "Client connections that the gateway closed before their time: over the `bound`, without the `proxy_protocol`, without `tls`, too `slow` with either, or after a `flood` of HTTP/2 frames.";
    IN_FLIGHT: Gauge, 0 = "keyward_requests_in_flight" []
        "Calls that are being answered.";
    UPSTREAM_REQUESTS: Counter, 2 = "keyward_upstream_requests_total" ["upstream", "code_class"]
        "Calls that were forwarded, by class of the upstream's answer (`2xx`); `none` where there was no answer.";
    UPSTREAM_DURATION: Histogram, 1 = "keyward_upstream_duration_seconds" ["upstream"]
        "The time that calls waited for the upstream.";
    UPSTREAM_CONNECTS: Counter, 1 = "keyward_upstream_connects_total" ["upstream"]
        "Connections opened to the upstream.";
    UPSTREAM_FAILURES: Counter, 2 = "keyward_upstream_failures_total" ["upstream", "reason"]
        "Attempts that the upstream failed: `connect`, `connect_timeout`, `tls`, `http2`, `full`, `refused`, `response_timeout`, `closed`, `malformed`, `body`.";
    UPSTREAM_RETRIES: Counter, 2 = "keyward_upstream_retries_total" ["upstream", "outcome"]
        "Calls that were to be sent again after a listed status or a broken connection: `sent`; `over_budget`; `too_late`.";
    UPSTREAM_MACHINES: Gauge, 1 = "keyward_upstream_machines" ["upstream"]
        "Machines of the upstream.";
    UPSTREAM_HEALTHY: Gauge, 1 = "keyward_upstream_healthy" ["upstream"]
        "Of these, the ones that are healthy.";
    UPSTREAM_PANIC: Gauge, 1 = "keyward_upstream_panic" ["upstream"]
        "1 while so few of them are healthy that all are used.";
    UPSTREAM_EJECTIONS: Counter, 1 = "keyward_upstream_ejections_total" ["upstream"]
        "Times that a machine was put out for a time because calls on it failed.";
    UPSTREAM_CHECKS: Counter, 2 = "keyward_upstream_checks_total" ["upstream", "outcome"]
        "Health checks that the gateway made by itself: `good` or `bad`.";
    CACHE_HITS: Counter, 1 = "keyward_cache_hits_total" ["level"]
        "Key look-ups answered at this level: `connection`, `memory`, `replica`.";
    CACHE_MISSES: Counter, 1 = "keyward_cache_misses_total" ["level"]
        "Key look-ups that this level could not answer.";
    CACHE_ENTRIES: Gauge, 0 = "keyward_cache_entries" []
        "Keys held in memory, known and unknown ones.";
    LIMITER_LEASES: Gauge, 0 = "keyward_limiter_leases" [] "Shared buckets of which this process holds tokens.";
    LIMITER_AWAY: Gauge, 0 = "keyward_limiter_away" [] "Share of the shared buckets that can't be reached, 0 to 1: their accounts go by the fallback.";
    LIMITER_OUTAGES: Counter, 0 = "keyward_limiter_outages_total" [] "Times that shared buckets went away.";
    LIMITER_BATCHES: Counter, 0 = "keyward_limiter_batches_total" [] "Questions sent to Redis, each about many buckets.";
    LIMITER_ASKS: Counter, 0 = "keyward_limiter_asks_total" [] "Buckets and quotas asked about.";
    LIMITER_FAILURES: Counter, 0 = "keyward_limiter_failures_total" [] "Of these, without an answer.";
    LIMITER_WAITS: Counter, 0 = "keyward_limiter_waits_total" [] "Times that a call waited for tokens from Redis.";
    LIMITER_FALLBACKS: Counter, 0 = "keyward_limiter_fallbacks_total" [] "Calls decided while the shared buckets were away.";
    LIMITER_BUCKETS: Gauge, 0 = "keyward_limiter_buckets" []
        "Token buckets held in this process.";
    WOULD_LIMIT: Counter, 2 = "keyward_would_limit_total" ["tier", "limit"]
        "Accepted calls that a limit in shadow mode would have refused: `account`, `customer`, `route` or `quota`.";
    CALLS_CUT: Counter, 1 = "keyward_calls_cut_total" ["reason"]
        "Calls in flight that were ended because rights were gone: of the `key`, the `customer` key, the `account` or the `address`.";
    SYNC_REVISION: Gauge, 0 = "keyward_sync_revision" []
        "The revision of the key set that is in force.";
    SYNC_LAG: Gauge, 0 = "keyward_sync_lag_seconds" []
        "Time since the control plane was last heard.";
    SYNC_STATE: Gauge, 1 = "keyward_sync_state" ["state"]
        "1 for the state that the stream of key changes is in.";
    SYNC_HELD: Gauge, 0 = "keyward_sync_held_snapshot_dropped_keys" []
        "Keys that a snapshot would drop that waits for confirmation; 0 when none does.";
    SYNC_CHANGES: Counter, 0 = "keyward_sync_changes_total" []
        "Changes put in force.";
    SYNC_REFUSED: Counter, 0 = "keyward_sync_refused_total" []
        "Records from the control plane that failed the checks; the last good one stays in force.";
    REPLICA_KEYS: Gauge, 0 = "keyward_replica_keys" []
        "Keys that the replica on disk holds.";
    REPLICA_BYTES: Gauge, 0 = "keyward_replica_bytes" []
        "Bytes of the replica on disk.";
    REPLICA_SET_ASIDE: Gauge, 0 = "keyward_replica_set_aside" []
        "1 while the replica's files are not believed and no snapshot has taken their place.";
    LEDGER_PENDING: Gauge, 0 = "keyward_ledger_pending" []
        "Usage counters that the control plane has not acknowledged, those of earlier starts included.";
    LEDGER_SEGMENTS: Gauge, 0 = "keyward_ledger_segments" []
        "Segment files of this start's usage.";
    LEDGER_BYTES: Gauge, 0 = "keyward_ledger_bytes" []
        "Bytes of all segment files, those of earlier starts included.";
    LEDGER_LIMIT: Gauge, 0 = "keyward_ledger_limit_bytes" []
        "Bytes that they may have: `ledger.max_size`.";
    LEDGER_DEGRADED: Gauge, 0 = "keyward_ledger_degraded" []
        "1 while there is no room for usage on the disk: what is new is counted in memory, and a kill would lose it.";
    LEDGER_IN_MEMORY: Gauge, 0 = "keyward_ledger_in_memory" []
        "Usage counters that are in memory alone for that reason.";
    LEDGER_OLD_BOOTS: Gauge, 0 = "keyward_ledger_old_boots_pending" []
        "Earlier starts whose usage the control plane has not acknowledged.";
    LEDGER_CORRUPT: Counter, 0 = "keyward_ledger_corrupt_records_total" []
        "Records of earlier starts that were damaged and left out; their segments are kept in the folder `damaged`.";
    ACCESS_LOG_LINES: Counter, 1 = "keyward_access_log_lines_total" ["outcome"]
        "Access log lines: `written`; `dropped`, because the queue was full; `failed`, because the file took no more.";
    CONFIG_LOADED: Gauge, 0 = "keyward_config_loaded_timestamp_seconds" []
        "When the configuration in force was read.";
    CONFIG_RELOADS: Counter, 1 = "keyward_config_reloads_total" ["outcome"]
        "Configurations read again: `applied`; `refused`, because they were wrong or need a restart.";
    CONFIG_LAST_SUCCESS: Gauge, 0 = "keyward_config_last_reload_success_timestamp_seconds" []
        "When a configuration was last put in force, at the start or by a reload.";
    CONFIG_LAST_OUTCOME: Gauge, 0 = "keyward_config_last_reload_successful" []
        "1 when the last configuration that was read is in force, 0 when it was refused.";
    UPGRADES: Counter, 1 = "keyward_upgrades_total" ["outcome"]
        "Hand-overs to another program: `taken_over`, 1 when this one took over from another; `failed`, when another was to take over from this one and did not.";
    BUILD: Gauge, 1 = "keyward_build_info" ["version"]
        "Always 1.";
    PROCESS_CPU: Counter, 0 = "process_cpu_seconds_total" []
        "User and system time of the process.";
    PROCESS_MEMORY: Gauge, 0 = "process_resident_memory_bytes" []
        "Resident memory of the process.";
    PROCESS_FDS: Gauge, 0 = "process_open_fds" []
        "Open file descriptors of the process.";
    PROCESS_MAX_FDS: Gauge, 0 = "process_max_fds" []
        "How many file descriptors the process may open.";
    PROCESS_START: Gauge, 0 = "process_start_time_seconds" []
        "When the process started.";
}
