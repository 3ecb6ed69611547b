//! The machines behind the gateway as all threads see them: every upstream of one configuration.
//!
//! A [`Fleet`] is made from a configuration and never changes its shape; a new configuration makes a new one, which takes over how the machines stood by
//! upstream and address ([`Fleet::after`]). What changes in it does so by atomics: workers and the control thread read
//! and write it without a lock.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use http::StatusCode;
use http::uri::Scheme;
use keyward_config::{
    ActiveChecks, Balance, ClientTls, Endpoint, PassiveChecks, Portion, Upstream, UpstreamProtocol,
};
use serde_json::{Value, json};

use super::balance;
use super::health::{Count, Standing, Tally, Turn};
use super::pool::Unreachable;
use super::resolve::Addresses;
use super::retry::RetryBudget;
use super::tls::UpstreamTls;
use super::wire::Wire;

/// Every upstream of a configuration.
#[derive(Debug)]
pub struct Fleet {
    upstreams: Box<[Arc<Machines>]>,
}

/// The machines of one upstream, and the rules for them.
#[derive(Debug)]
pub struct Machines {
    name: String,
    all: Box<[Arc<Machine>]>,
    balance: Balance,
    active: Option<ActiveChecks>,
    passive: Option<PassiveChecks>,
    panic_threshold: Portion,
    budget: Option<RetryBudget>,
    count: Count,
}

/// One machine.
#[derive(Debug)]
pub struct Machine {
    host: String,
    port: u16,
    authority: String,
    protocol: UpstreamProtocol,
    /// `None`: it is spoken to in clear text.
    tls: Option<Arc<UpstreamTls>>,
    /// What that was made of.
    tls_settings: Option<ClientTls>,
    /// The hash of its authority.
    name: u64,
    addresses: Addresses,
    standing: Standing,
    /// Calls of all workers; counted where something goes by it.
    in_flight: CachePadded<AtomicU32>,
}

impl Fleet {
    /// The upstreams of a configuration, with their TLS in the same order, and the machines as they stood before it.
    #[must_use]
    pub fn after(
        upstreams: &[Upstream],
        tls: &[Option<Arc<UpstreamTls>>],
        earlier: Option<&Self>,
    ) -> Arc<Self> {
        let machines = |(index, upstream): (usize, &Upstream)| {
            let known = earlier.and_then(|fleet| fleet.named(&upstream.name));
            let tls = tls.get(index).and_then(Option::as_ref);
            Arc::new(Machines::new(upstream, tls, known))
        };
        Arc::new(Self {
            upstreams: upstreams.iter().enumerate().map(machines).collect(),
        })
    }

    /// By place in the configuration.
    #[must_use]
    pub fn upstreams(&self) -> &[Arc<Machines>] {
        &self.upstreams
    }

    fn named(&self, name: &str) -> Option<&Machines> {
        let mut upstreams = self.upstreams.iter();
        upstreams.find(|upstream| upstream.name == name).map(Arc::as_ref)
    }

    /// How everything stands, for `/debug/state`.
    #[must_use]
    pub fn detail(&self) -> Value {
        self.upstreams.iter().map(|upstream| upstream.detail()).collect()
    }
}

impl Machines {
    fn new(upstream: &Upstream, tls: Option<&Arc<UpstreamTls>>, earlier: Option<&Self>) -> Self {
        let health = upstream.health.as_ref();
        let tally = earlier.map(|earlier| Arc::clone(earlier.count.tally()));
        let machines = Self {
            name: upstream.name.clone(),
            all: upstream
                .endpoints
                .iter()
                .map(|endpoint| Arc::new(Machine::at(endpoint, upstream, tls)))
                .collect(),
            balance: upstream.balance.clone(),
            active: health.and_then(|health| health.active.clone()),
            passive: health.and_then(|health| health.passive.clone()),
            panic_threshold: health.map_or(Portion::percent(0), |health| health.panic_threshold),
            budget: upstream.retries.clone().map(RetryBudget::new),
            count: Count::with_tally(tally.unwrap_or_default()),
        };
        let passive = machines.passive.as_ref().map(|rules| (rules, machines.all.len()));
        for machine in &machines.all {
            let known = earlier.and_then(|earlier| earlier.at(&machine.authority));
            if let Some(known) = known {
                machine.addresses.inherit(&known.addresses);
                machine.standing.inherit(
                    &known.standing,
                    machines.active.as_ref(),
                    passive,
                    &machines.count,
                );
            }
        }
        machines
    }

    fn at(&self, authority: &str) -> Option<&Machine> {
        let mut machines = self.all.iter();
        machines
            .find(|machine| machine.authority == authority)
            .map(Arc::as_ref)
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// By place in the configuration; at least one.
    #[must_use]
    pub fn all(&self) -> &[Arc<Machine>] {
        &self.all
    }

    /// Which gets a call.
    #[must_use]
    pub fn balance(&self) -> &Balance {
        &self.balance
    }

    /// What is asked of them.
    #[must_use]
    pub fn active(&self) -> Option<&ActiveChecks> {
        self.active.as_ref()
    }

    /// What calls put out.
    #[must_use]
    pub fn passive(&self) -> Option<&PassiveChecks> {
        self.passive.as_ref()
    }

    /// What is sent again; `None`: only what no machine can have seen.
    #[must_use]
    pub fn budget(&self) -> Option<&RetryBudget> {
        self.budget.as_ref()
    }

    /// What has happened to them so far.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        self.count.tally()
    }

    /// How many are healthy.
    #[must_use]
    pub fn healthy(&self) -> usize {
        let out = usize::try_from(self.count.out()).unwrap_or(usize::MAX);
        self.all.len().saturating_sub(out)
    }

    /// Whether so few are healthy that all are used.
    #[must_use]
    pub fn is_panicking(&self) -> bool {
        self.panic_threshold
            .is_more_than(self.healthy() as u64, self.all.len() as u64)
    }

    /// Who may be used now. As long as none is out that is one read.
    pub fn usable(&self) -> impl Fn(usize) -> bool + Copy + '_ {
        let is_any = self.count.out() == 0 || self.is_panicking();
        move |place| {
            is_any
                || self
                    .all
                    .get(place)
                    .is_some_and(|machine| machine.standing.is_healthy())
        }
    }

    /// The machine that scores highest with a hash, of those that may be used.
    pub fn by_hash(&self, hash: u64, may: impl Fn(usize) -> bool) -> Option<usize> {
        balance::highest(hash, self.all.iter().map(|machine| machine.name), may)
    }

    /// Of two drawn at random from those that may be used, the one with fewer calls.
    pub fn by_load(&self, random: u64, may: impl Fn(usize) -> bool) -> Option<usize> {
        balance::lighter_of_two(random, self.all.len(), may, |place| {
            self.all
                .get(place)
                .map_or(u32::MAX, |machine| machine.in_flight.load(Ordering::Relaxed))
        })
    }

    /// Whether an answer with this status is a failure.
    #[must_use]
    pub fn is_failure(&self, status: StatusCode) -> bool {
        let passive = self.passive.as_ref();
        passive.is_some_and(|rules| rules.statuses.contains(&status))
    }

    /// A machine failed a call.
    pub fn failed(&self, machine: &Machine, now: Duration) {
        let Some(rules) = &self.passive else { return };
        let turn = machine
            .standing
            .failed(rules, &self.count, self.all.len(), as_ms(now));
        self.tell(machine, turn, "calls on it failed");
    }

    /// Brings back whose time is over.
    pub fn pass_time(&self, now: Duration) {
        let Some(rules) = &self.passive else { return };
        for machine in &self.all {
            let turn = machine.standing.pass_time(rules, &self.count, as_ms(now));
            self.tell(machine, turn, "its time is over");
        }
    }

    /// A check of a machine went this way.
    pub fn checked(&self, machine: &Machine, is_good: bool) {
        let Some(rules) = &self.active else { return };
        let turn = machine.standing.checked(is_good, rules, &self.count);
        self.tell(machine, turn, "its checks say so");
    }

    fn tell(&self, machine: &Machine, turn: Turn, why: &str) {
        let (upstream, machine) = (&self.name, &machine.authority);
        match turn {
            Turn::None => {}
            Turn::Out => tracing::warn!(upstream, machine, why, "a machine gets no more calls"),
            Turn::Back => tracing::info!(upstream, machine, why, "a machine gets calls again"),
        }
    }

    fn detail(&self) -> Value {
        let is_counted = self.balance == Balance::LeastRequests;
        let machine = |machine: &Arc<Machine>| {
            json!({
                "address": machine.authority,
                "state": machine.standing.word(),
                "failuresInARow": machine.standing.failures(),
                "inFlight": is_counted.then(|| machine.in_flight.load(Ordering::Relaxed)),
                "resolved": machine.addresses.known(),
            })
        };
        json!({
            "name": self.name,
            "healthy": self.healthy(),
            "panic": self.is_panicking(),
            "machines": self.all.iter().map(machine).collect::<Vec<_>>(),
        })
    }
}

impl Machine {
    fn at(endpoint: &Endpoint, upstream: &Upstream, tls: Option<&Arc<UpstreamTls>>) -> Self {
        let (host, port) = (endpoint.host.clone(), endpoint.port);
        let authority = if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
        Self {
            name: balance::hash(authority.as_bytes()),
            addresses: Addresses::of(&host, port),
            standing: Standing::default(),
            in_flight: CachePadded::default(),
            protocol: upstream.protocol,
            tls: tls.map(Arc::clone),
            tls_settings: upstream.tls.clone(),
            host,
            port,
            authority,
        }
    }

    /// Its host, a name or an address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `Host` for requests that come without one, and its name in logs.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// A call on it went well.
    pub(super) fn succeeded(&self) {
        self.standing.succeeded();
    }

    /// A call on it begins, where calls are counted.
    pub(super) fn add_call(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// A call that was counted has ended.
    pub(super) fn end_call(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Where it is.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// What is spoken with it.
    #[must_use]
    pub fn protocol(&self) -> UpstreamProtocol {
        self.protocol
    }

    /// Whether that is over TLS.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        if self.tls_settings.is_some() {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        }
    }

    /// Whether it is the same machine, spoken to in the same way, so that connections to it may be kept.
    #[must_use]
    pub fn is_spoken_to_like(&self, other: &Self) -> bool {
        self.authority == other.authority
            && self.protocol == other.protocol
            && self.tls_settings == other.tls_settings
    }

    /// A new connection, hands shaken where it is TLS.
    ///
    /// # Errors
    /// When there is none within the limit.
    pub async fn wire(&self, limit: Duration) -> Result<Wire, Unreachable> {
        let connecting = async {
            let connected = self.addresses.connect(limit).await;
            let socket = connected.and_then(|socket| socket.set_nodelay(true).map(|()| socket));
            let socket = socket.map_err(|error| match error.kind() {
                io::ErrorKind::TimedOut => Unreachable::Late,
                kind => Unreachable::Refused(kind),
            })?;
            match &self.tls {
                None => Ok(Wire::Plain(socket)),
                Some(tls) => {
                    let stream = tls.handshake(&self.host, socket).await;
                    Ok(Wire::Tls(Box::new(stream.map_err(Unreachable::Tls)?)))
                }
            }
        };
        let connected = tokio::time::timeout(limit, connecting).await;
        connected.unwrap_or(Err(Unreachable::Late))
    }
}

fn as_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
