//! Who is live and what is in force at each: the decisions, with the time as an argument.
//!
//! No I/O and no clock: [`super::Gateways`] keeps one behind its lock, and the simulation of the whole protocol
//! (`tests/sync`) drives it through partitions and restarts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use keyward_contract::{UnixMillis, feed};

use super::gateway::{Ends, Gateway, Link};
use super::holding::shown;
use super::waiting::Waits;
use super::{GatewayStatus, Propagation};

/// A stream that said nothing for so long may be replaced by the next one with its id.
pub(super) const DEAD_AFTER: Duration = Duration::from_secs(3);
/// As many gateways are known at most.
const MOST_GATEWAYS: usize = 10_000;
/// As many commits are remembered, to tell how long a gateway has been behind.
const REMEMBERED_COMMITS: usize = 4_096;
/// As many refused revisions of one gateway are remembered.
const REMEMBERED_REFUSALS: usize = 256;

/// The gateways of one control plane.
#[derive(Debug, Default)]
pub struct Roster {
    pub(super) gateways: BTreeMap<String, Gateway>,
    /// Ids whose gateways are about to join.
    pub(super) joining: BTreeSet<String>,
    sessions: u64,
    pub(super) commits: VecDeque<(u64, Instant)>,
    /// The changes that wait, and for whom.
    pub(super) waits: Waits,
}

/// Why a gateway may not join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwelcome {
    /// A live gateway has this id.
    Taken,
    /// More gateways than one control plane knows.
    TooMany,
    /// Whether another control plane has this id can't be asked now.
    Unknown,
}

/// What a waiting change sees of the live gateways.
#[derive(Debug, Default)]
pub struct Standings {
    pub(super) gateways: BTreeMap<String, Reached>,
    /// When the first of those that are awaited stops being live by itself.
    pub(super) next_end: Option<Instant>,
}

/// How far a change has come at one gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reached {
    /// It is in force.
    Acknowledged,
    /// It may be acknowledged yet.
    Awaited,
    /// It will never be in force.
    Refused,
}

impl Standings {
    /// Of one that is known twice, on its way from one control plane to another, the worse counts.
    pub(super) fn add(&mut self, id: &str, reached: Reached, end: Option<Instant>) {
        let known = self.gateways.entry(id.to_owned()).or_insert(reached);
        *known = reached.max(*known);
        if reached == Reached::Awaited {
            self.next_end = [self.next_end, end].into_iter().flatten().min();
        }
    }

    fn awaited(&self) -> usize {
        self.missing().count()
    }

    /// Who may yet acknowledge.
    pub(super) fn missing(&self) -> impl Iterator<Item = &str> {
        let gateways = self.gateways.iter();
        gateways
            .filter(|(_, reached)| **reached == Reached::Awaited)
            .map(|(id, _)| id.as_str())
    }

    /// What the waiting call is told, once nobody is awaited any more or its time is over; `None`: it waits on.
    #[must_use]
    pub fn verdict(self, deadline: Instant, now: Instant) -> Option<Propagation> {
        (self.awaited() == 0 || now >= deadline).then(|| self.propagation())
    }

    pub(super) fn propagation(self) -> Propagation {
        let mut propagation = Propagation::default();
        for (id, reached) in self.gateways {
            match reached {
                Reached::Acknowledged => propagation.acknowledged += 1,
                Reached::Awaited | Reached::Refused => propagation.missing.push(id),
            }
        }
        propagation
    }
}

impl Roster {
    /// A change was committed.
    pub fn committed(&mut self, revision: u64, now: Instant) {
        if self.commits.back().is_none_or(|(newest, _)| *newest < revision) {
            self.commits.push_back((revision, now));
        }
        if self.commits.len() > REMEMBERED_COMMITS {
            self.commits.pop_front();
        }
    }

    /// How far a revision has come.
    #[must_use]
    pub fn standing(&self, revision: u64, now: Instant) -> Standings {
        let mut standings = Standings::default();
        for (id, gateway) in self.gateways.iter().filter(|(_, gateway)| gateway.is_live(now)) {
            let reached = match gateway.refused.contains(&revision) {
                true => Reached::Refused,
                false if gateway.revision >= revision => Reached::Acknowledged,
                // Not before somebody confirms the snapshot; nobody has to wait for that.
                false if gateway.held.is_some() => Reached::Refused,
                false => Reached::Awaited,
            };
            standings.add(id, reached, gateway.live_until());
        }
        standings
    }

    /// Whether this one may join.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, hello: &feed::Hello, now: Instant) -> Result<(), Unwelcome> {
        if self.joining.contains(&hello.gateway_id) {
            return Err(Unwelcome::Taken);
        }
        let known = self.gateways.get(&hello.gateway_id);
        if let Some(gateway) = known.filter(|gateway| gateway.is_connected()) {
            let is_dead = now.saturating_duration_since(gateway.heard) >= DEAD_AFTER;
            if !is_dead || hello.boot_epoch < gateway.boot_epoch {
                return Err(Unwelcome::Taken);
            }
        }
        let room = self
            .gateways
            .values()
            .filter(|gateway| gateway.is_shown(now))
            .count();
        if known.is_none() && room >= MOST_GATEWAYS {
            return Err(Unwelcome::TooMany);
        }
        Ok(())
    }

    /// A number that no stream had.
    pub fn next_session(&mut self) -> u64 {
        self.sessions += 1;
        self.sessions
    }

    /// Takes one in that was checked; the stream that it had ends.
    pub fn join(&mut self, hello: &feed::Hello, revision: u64, session: u64, now: Instant) -> Ends {
        self.gateways.retain(|_, gateway| gateway.is_shown(now));
        if let Some(Link::Up(ends)) = self.gateways.get(&hello.gateway_id).map(|gateway| &gateway.link) {
            ends.replaced.cancel();
        }
        let ends = Ends::default();
        let gateway = Gateway::new(hello, revision, (session, ends.clone()), now);
        self.gateways.insert(hello.gateway_id.clone(), gateway);
        ends
    }

    /// For how long a gateway with this revision has not been at the newest one.
    pub(super) fn lag(&self, revision: u64, now: Instant) -> Duration {
        let behind = self.commits.partition_point(|(commit, _)| *commit <= revision);
        let since = self.commits.get(behind);
        since.map_or(Duration::ZERO, |(_, since)| now.saturating_duration_since(*since))
    }

    pub(super) fn status(&self, id: &str, gateway: &Gateway, now: Instant) -> GatewayStatus {
        GatewayStatus {
            gateway_id: id.to_owned(),
            address: gateway.address.clone(),
            version: gateway.version.clone(),
            revision: gateway.revision,
            lag_seconds: self.lag(gateway.revision, now).as_secs_f64(),
            last_heartbeat: gateway.heard_at,
            state: shown(gateway.stream(), gateway.held),
            held: gateway.held,
        }
    }

    /// A gateway that an earlier start of this control plane knew, and that may be serving: it counts as lost just now.
    /// `at`: the present, and when it was heard for people to read.
    pub fn recall(&mut self, hello: &feed::Hello, (now, at): (Instant, UnixMillis)) {
        let mut gateway = Gateway::new(hello, 0, (0, Ends::default()), now);
        gateway.leave(Link::Lost, now);
        gateway.heard_at = at;
        self.gateways.entry(hello.gateway_id.clone()).or_insert(gateway);
    }

    /// Whether a change may wait for this one, now or after its next heartbeat: one that denies when it is stale and was
    /// silent for longer than its bound is live again when it is heard.
    #[must_use]
    pub fn may_count(&self, id: &str, now: Instant) -> bool {
        let known = self.gateways.get(id);
        self.joining.contains(id)
            || known.is_some_and(|gateway| gateway.is_connected() || gateway.is_live(now))
    }

    /// Everything up to here is in force at the gateway that has this stream.
    ///
    /// Costs the same however many gateways there are: of the changes that wait only one that waited for this gateway
    /// alone looks again.
    pub fn acknowledge(&mut self, id: &str, session: u64, revision: u64) {
        self.update(id, session, |gateway| {
            gateway.revision = revision.max(gateway.revision);
            gateway.holds_something = true;
            gateway.held = gateway.held.filter(|held| held.revision > revision);
        });
        self.waits.acknowledged(id, revision);
    }

    /// A record of this revision is not in force there and won't be.
    pub fn refuse(&mut self, id: &str, session: u64, revision: u64) {
        self.update(id, session, |gateway| {
            gateway.refused.insert(revision);
            if gateway.refused.len() > REMEMBERED_REFUSALS {
                gateway.refused.pop_first();
            }
        });
    }

    /// A heartbeat came; answers whether it is one that denies when it is stale.
    pub fn heard(&mut self, id: &str, session: u64, (now, at): (Instant, UnixMillis)) -> bool {
        let mut denies = false;
        self.update(id, session, |gateway| {
            gateway.heard = now;
            gateway.heard_at = at;
            denies = gateway.denies();
        });
        denies
    }

    /// Its stream has ended so.
    pub fn leave(&mut self, id: &str, session: u64, link: Link, now: Instant) {
        self.update(id, session, |gateway| gateway.leave(link, now));
    }

    /// What a stream says counts only while it is the gateway's last one.
    pub(super) fn update(&mut self, id: &str, session: u64, change: impl FnOnce(&mut Gateway)) {
        if let Some(gateway) = self.gateways.get_mut(id)
            && gateway.is_session(session)
        {
            change(gateway);
        }
    }
}
