//! The gateways on other control planes, as one look at the database saw them.
//!
//! Ages are the database's own and grow by our clock from the end of the look on: a gateway counts rather longer than
//! it should than shorter.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keyward_contract::UnixMillis;

use super::GatewayStatus;
use super::gateway::GRACE;
use super::roster::{Reached, Standings};
use crate::store::gateways::{Elsewhere, Stream};

/// A change that waits for others looks again after so long, should nobody tell it to.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Stands for whoever may be on other control planes while the database can't say.
const UNKNOWN: &str = "?";

/// One look.
#[derive(Debug)]
pub(super) struct Look {
    /// How often others had told something when it began.
    pub(super) told: u64,
    /// When it began.
    pub(super) began: Instant,
    /// When it was over.
    pub(super) ended: Instant,
    /// The askers whom it answers: those up to here asked before it began.
    pub(super) answers: u64,
    pub(super) gateways: Vec<Elsewhere>,
}

/// What is known of other control planes' gateways.
#[derive(Debug)]
pub(super) enum Others {
    /// There can't be any.
    None,
    /// This look was taken after it was asked for.
    Seen(Arc<Look>),
    /// No look could be taken; this is an earlier one.
    Unsure(Option<Arc<Look>>),
}

impl Others {
    /// Adds how far a change has come at those that are live.
    pub(super) fn join(&self, standings: &mut Standings, revision: u64, now: Instant) {
        if matches!(self, Self::Unsure(_)) && revision > 0 {
            standings.add(UNKNOWN, Reached::Awaited, None);
        }
        for (gateway, end) in self.live(now) {
            let standing = &gateway.standing;
            let reached = match standing.refused.contains(&revision) {
                true => Reached::Refused,
                false if standing.revision >= revision => Reached::Acknowledged,
                false if standing.held.is_some() => Reached::Refused,
                false => Reached::Awaited,
            };
            standings.add(&standing.id, reached, Some(end));
        }
    }

    /// Whether a look now could see nothing that this one didn't, by what others told.
    pub(super) fn still_holds(&self, told: u64, now: Instant) -> bool {
        match self {
            Self::None => true,
            Self::Seen(look) => look.told == told && now < look.ended + LOOK_AGAIN,
            Self::Unsure(_) => false,
        }
    }

    /// When to look again, however quiet it is.
    pub(super) fn next_look(&self, now: Instant) -> Option<Instant> {
        let somebody = matches!(self, Self::Unsure(_)) || self.live(now).next().is_some();
        somebody.then(|| now + LOOK_AGAIN)
    }

    /// All of them; `lag` says for how long a revision has not been the newest.
    pub(super) fn status(&self, now: Instant, lag: impl Fn(u64) -> Duration) -> Vec<GatewayStatus> {
        let wall = crate::sync::now();
        let Some(look) = self.look() else {
            return Vec::new();
        };
        let shown = |gateway: &Elsewhere| {
            let standing = &gateway.standing;
            let heard_ago =
                i64::try_from(ago(standing.heard_ago_ms, look, now).as_millis()).unwrap_or(i64::MAX);
            let is_lost = standing.stream.is_up() && !vouched_for(gateway, look, now);
            let stream = if is_lost {
                Stream::Disconnected
            } else {
                standing.stream
            };
            GatewayStatus {
                gateway_id: standing.id.clone(),
                address: standing.address.clone(),
                version: standing.version.clone(),
                revision: standing.revision,
                lag_seconds: lag(standing.revision).as_secs_f64(),
                last_heartbeat: UnixMillis(wall.0.saturating_sub(heard_ago)),
                state: super::shown(stream, standing.held),
                held: standing.held.filter(|_| stream.is_up()),
            }
        };
        look.gateways.iter().map(shown).collect()
    }

    fn look(&self) -> Option<&Arc<Look>> {
        match self {
            Self::None => None,
            Self::Seen(look) => Some(look),
            Self::Unsure(look) => look.as_ref(),
        }
    }

    /// The live ones, each with the instant at which it stops being live if nothing more is heard.
    fn live(&self, now: Instant) -> impl Iterator<Item = (&Elsewhere, Instant)> {
        let looks = self.look().into_iter();
        looks.flat_map(move |look| {
            let gateways = look.gateways.iter();
            gateways.filter_map(move |gateway| Some((gateway, live_until(gateway, look, now)?)))
        })
    }
}

/// `None`: it is not live now.
///
/// A gateway with a stream counts while its control plane says that it lives, and ten seconds more: by then that one
/// has ended the stream itself (`shared`). One that denies when it is stale counts as on its own control plane.
fn live_until(gateway: &Elsewhere, look: &Look, now: Instant) -> Option<Instant> {
    let standing = &gateway.standing;
    let heard = ago(standing.heard_ago_ms, look, now);
    let (counts_for, since) = match (standing.denies_after_ms, standing.stream) {
        (_, Stream::Stopped) => return None,
        (Some(bound), _) => (millis(bound), heard),
        (None, Stream::Disconnected) => (GRACE, heard),
        (None, Stream::Connected | Stream::Syncing) => (GRACE, heard.min(renewed(gateway, look, now))),
    };
    let left = counts_for.checked_sub(since).filter(|left| !left.is_zero())?;
    now.checked_add(left)
}

/// Whether the control plane that has its stream lives.
fn vouched_for(gateway: &Elsewhere, look: &Look, now: Instant) -> bool {
    renewed(gateway, look, now) < GRACE
}

fn renewed(gateway: &Elsewhere, look: &Look, now: Instant) -> Duration {
    gateway
        .renewed_ago_ms
        .map_or(Duration::MAX, |renewed| ago(renewed, look, now))
}

fn ago(ms: i64, look: &Look, now: Instant) -> Duration {
    millis(ms).saturating_add(now.saturating_duration_since(look.ended))
}

/// What is in the future by a clock that was set back is now.
fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or_default())
}
