//! What is counted and logged of a call when it is over: metrics, usage, and one line of the access log.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Uri};
use keyward_contract::{AccountId, CustomerId, Environment, KeyId};

use super::Call;
use crate::access_log::{Entry, Verdict};
use crate::limits::Which;
use crate::path::normalise;
use crate::rejection::{ACCEPTED, CLIENT_GONE};
use crate::telemetry::{Decision, Endpoint, Finished};
use crate::vigil;

/// What only the access log needs; absent when there is none.
#[derive(Debug)]
pub(super) struct Logged {
    pub(super) request_id: HeaderValue,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) host: Option<HeaderValue>,
    pub(super) client: IpAddr,
    pub(super) caller: Option<Who>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Who {
    pub(super) account: AccountId,
    pub(super) environment: Environment,
    pub(super) key: KeyId,
    pub(super) customer: Option<CustomerId>,
}

impl Call {
    pub(super) fn settle(&mut self) {
        let duration = self.worker.now().monotonic.saturating_sub(self.started.monotonic);
        let (bytes_in, bytes_out, status) = (self.bytes_in.get(), self.bytes_out.get(), self.status.get());
        let decision = self.decision.get();
        if decision == Some(ACCEPTED)
            && let Some(counter) = &self.counter
        {
            let latency_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
            counter.answered(status, bytes_in, bytes_out, latency_us);
        }
        if decision == Some(ACCEPTED)
            && let Some(reason) = self.cut.get()
        {
            self.worker.telemetry().cut(reason);
            self.code.set(vigil::code(reason));
        }
        if decision == Some(ACCEPTED)
            && let Some(limit) = self.would_limit.get()
        {
            self.worker.telemetry().would_limit(self.tier.get(), limit);
            if let Some(counter) = &self.counter {
                counter.would_limit();
            }
        }
        self.count(decision, duration);
        self.log(duration);
    }

    fn count(&self, decision: Option<u8>, duration: Duration) {
        let decision = Decision(decision.unwrap_or(CLIENT_GONE));
        if let Some(endpoint) = self.endpoint {
            self.worker.telemetry().checked(endpoint, decision);
            return;
        }
        self.worker.telemetry().finished(&Finished {
            route: self.route_label(),
            tier: self.tier.get(),
            status: self.status.get(),
            decision,
            duration,
            overhead: duration.saturating_sub(self.upstream_time.get()),
            upstream: self.upstream.get(),
            upstream_time: self.upstream_time.get(),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
        });
    }

    fn log(&mut self, duration: Duration) {
        let (Some(log), Some(writer)) = (self.log.take(), self.worker.access_log()) else {
            return;
        };
        let is_accepted = self.decision.get() == Some(ACCEPTED);
        let verdict = if is_accepted {
            Verdict::Accepted
        } else {
            Verdict::Refused
        };
        if !writer.wants(self.rules().sampling, verdict) {
            return;
        }
        let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let routes = self.rules().routes.routes();
        writer.log(Entry {
            time: self.started.unix,
            request_id: text(&log.request_id),
            method: log.method,
            host: log.host.as_ref().map(text).unwrap_or_default(),
            path: normalise(log.uri.path())
                .map(|path| path.into_text().into_owned())
                .unwrap_or_default(),
            route: self
                .route
                .get()
                .and_then(|route| Some(Arc::clone(&routes.get(usize::from(route.index))?.name))),
            status: self.status.get(),
            code: self.code.get(),
            would_limit: self.would_limit.get().map(Which::name),
            account: log.caller.map(|who| who.account),
            environment: log.caller.map(|who| who.environment),
            key_id: log.caller.map(|who| who.key),
            customer: log.caller.and_then(|who| who.customer),
            client: log.client,
            endpoint: self.endpoint.map(Endpoint::label),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            duration,
            upstream_time: self.upstream.get().map(|_| self.upstream_time.get()),
        });
    }
}
