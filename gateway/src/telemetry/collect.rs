//! From what the workers counted to the sums of one scrape.

use super::catalogue::{
    AUTHZ_CHECKS, BUILD, CACHE_HITS, CACHE_MISSES, CALLS_CUT, CONNECTIONS, CONNECTIONS_ACCEPTED,
    CONNECTIONS_DOZING, CONNECTIONS_TURNED, DECISIONS, IN_FLIGHT, OVERHEAD, RECEIVED_BYTES, REQUEST_DURATION,
    REQUESTS, SENT_BYTES, UPSTREAM_CONNECTS, UPSTREAM_DURATION, UPSTREAM_FAILURES, UPSTREAM_REQUESTS,
    UPSTREAM_RETRIES, WOULD_LIMIT,
};
use super::counts::{Counts, RouteCounts, STATUSES, UpstreamCounts};
use super::{CacheLevel, CutReason, Endpoint, Telemetry, Turned, UpstreamFailure, UpstreamRetry, process};
use super::{names::Names, sums::Sums};
use crate::limits::Which;

const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

impl Telemetry {
    pub(super) fn collect(&self) -> Sums {
        let mut sums = Sums::default();
        sums.gauge(&BUILD, [self.version], 1.0);
        // The lock is held only for the copy: a worker that starts is not kept waiting.
        let workers = self.workers.lock().clone();
        let (mut connections, mut dozing, mut calls) = (0_i64, 0_i64, 0_i64);
        for counts in &workers {
            self.add_worker(&mut sums, counts);
            connections =
                connections.saturating_add(open(&counts.connections_opened, &counts.connections_closed));
            dozing = dozing.saturating_add(open(&counts.dozes_begun, &counts.dozes_ended));
            calls = calls.saturating_add(open(&counts.calls_begun, &counts.calls_ended));
        }
        sums.gauge(&CONNECTIONS, [], connections as f64);
        sums.gauge(&CONNECTIONS_DOZING, [], dozing as f64);
        sums.gauge(&IN_FLIGHT, [], calls as f64);
        process::observe(&mut sums);
        for observer in self.observers.lock().iter() {
            observer(&mut sums);
        }
        sums
    }

    fn add_worker(&self, sums: &mut Sums, counts: &Counts) {
        let unnamed = counts
            .decisions
            .iter()
            .skip(self.decisions.len())
            .fold(0_u64, |sum, n| sum.wrapping_add(n.value()));
        for (name, count) in self.decisions.iter().zip(&counts.decisions) {
            sums.counter(&DECISIONS, [name], count.value());
        }
        if unnamed > 0 {
            sums.counter(&DECISIONS, ["other"], unnamed);
        }
        for (endpoint, decisions) in Endpoint::ALL.iter().zip(&counts.checks) {
            let counted = self.decisions.iter().zip(decisions);
            for (name, count) in counted.filter(|(_, count)| count.value() > 0) {
                sums.counter(&AUTHZ_CHECKS, [endpoint.label(), name], count.value());
            }
        }
        sums.histogram(&OVERHEAD, [], &counts.overhead.reading());
        sums.counter(&CONNECTIONS_ACCEPTED, [], counts.connections_opened.value());
        for (level, (hits, misses)) in CacheLevel::ALL
            .iter()
            .zip(counts.cache_hits.iter().zip(&counts.cache_misses))
        {
            sums.counter(&CACHE_HITS, [level.label()], hits.value());
            sums.counter(&CACHE_MISSES, [level.label()], misses.value());
        }
        for (place, tier) in counts.would_limit.used() {
            let tier_name = name(&self.tiers, place);
            for (limit, count) in Which::ALL
                .iter()
                .zip(&tier.limits)
                .filter(|(_, count)| count.value() > 0)
            {
                sums.counter(&WOULD_LIMIT, [&tier_name, limit.name()], count.value());
            }
        }
        for (reason, count) in Turned::ALL.iter().zip(&counts.turned) {
            sums.counter(&CONNECTIONS_TURNED, [reason.label()], count.value());
        }
        for (reason, count) in CutReason::ALL.iter().zip(&counts.cut) {
            sums.counter(&CALLS_CUT, [reason.label()], count.value());
        }
        for (place, route) in counts.routes.used() {
            self.add_route(sums, &name(&self.routes, place), route);
        }
        for (place, upstream) in counts.upstreams.used() {
            add_upstream(sums, &name(&self.upstreams, place), upstream);
        }
    }

    fn add_route(&self, sums: &mut Sums, route: &str, counts: &RouteCounts) {
        sums.histogram(&REQUEST_DURATION, [route], &counts.duration.reading());
        sums.counter(&RECEIVED_BYTES, [route], counts.received.value());
        sums.counter(&SENT_BYTES, [route], counts.sent.value());
        for (place, tier) in counts.tiers.used() {
            let tier_name = name(&self.tiers, place);
            for (at, count) in tier
                .statuses
                .iter()
                .enumerate()
                .filter(|(_, count)| count.value() > 0)
            {
                let status = STATUSES
                    .get(at)
                    .map_or_else(|| "other".to_owned(), u16::to_string);
                sums.counter(&REQUESTS, [route, &tier_name, &status], count.value());
            }
        }
    }
}

fn add_upstream(sums: &mut Sums, upstream: &str, counts: &UpstreamCounts) {
    for (class, count) in CLASSES.iter().zip(&counts.classes) {
        sums.counter(&UPSTREAM_REQUESTS, [upstream, class], count.value());
    }
    sums.counter(&UPSTREAM_CONNECTS, [upstream], counts.connects.value());
    for (failure, count) in UpstreamFailure::ALL.iter().zip(&counts.failures) {
        sums.counter(&UPSTREAM_FAILURES, [upstream, failure.label()], count.value());
    }
    for (outcome, count) in UpstreamRetry::ALL.iter().zip(&counts.retries) {
        sums.counter(&UPSTREAM_RETRIES, [upstream, outcome.label()], count.value());
    }
    sums.histogram(&UPSTREAM_DURATION, [upstream], &counts.duration.reading());
}

fn name(names: &Names, place: Option<usize>) -> std::sync::Arc<str> {
    place.map_or_else(|| "none".into(), |place| names.name(place))
}

/// How many are open. The end is read first: what ends in between is then counted as open, never as less than none.
fn open(begun: &super::counts::Sum, ended: &super::counts::Sum) -> i64 {
    let ended = ended.value();
    i64::try_from(begun.value().wrapping_sub(ended)).unwrap_or(0)
}
