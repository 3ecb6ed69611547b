//! Gateways that hold a snapshot, because it would drop more than half of their keys, until an operator confirms it.
//!
//! The stream over which it was held sends it again, confirmed. Who confirms may be on another control plane: the
//! confirmation then waits in the gateway's row until its own control plane looks, within about a second.

use super::gateway::Link;
use super::{Gateways, HeldSnapshot, Membership};
use crate::store::gateways::{Renewed, Stream};

/// Whether the snapshot of a revision can be confirmed to a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirming {
    /// It is the one that is held.
    Held(HeldSnapshot),
    /// The gateway holds another.
    Other(HeldSnapshot),
    /// It holds none.
    Nothing,
    /// There is no such gateway.
    Unknown,
}

/// The state of a gateway for people.
pub(super) fn shown(stream: Stream, held: Option<HeldSnapshot>) -> &'static str {
    match held {
        Some(_) if stream.is_up() => "holding",
        Some(_) | None => stream.as_str(),
    }
}

impl Gateways {
    /// Whether this gateway, wherever it is, holds the snapshot of this revision.
    pub async fn confirming(&self, id: &str, revision: u64) -> Confirming {
        self.look().await;
        let gateways = self.status();
        match gateways.iter().find(|gateway| gateway.gateway_id == id) {
            None => Confirming::Unknown,
            Some(gateway) => match gateway.held {
                None => Confirming::Nothing,
                Some(held) if held.revision == revision => Confirming::Held(held),
                Some(held) => Confirming::Other(held),
            },
        }
    }

    /// An operator has confirmed the snapshot of this revision: if the gateway is here and holds it, it is sent again.
    pub fn confirmed(&self, id: &str, revision: u64) {
        let mut state = self.0.state.lock();
        if let Some(gateway) = state.gateways.get_mut(id)
            && gateway.held.is_some_and(|held| held.revision == revision)
            && gateway.confirmed != revision
            && let Link::Up(ends) = &gateway.link
        {
            gateway.confirmed = revision;
            ends.confirmed.notify_one();
        }
    }

    /// Takes in what was confirmed on other control planes.
    pub(super) fn confirmed_elsewhere(&self, renewed: &Renewed) {
        for (id, revision) in &renewed.confirmed {
            self.confirmed(id, *revision);
        }
    }
}

impl Membership {
    /// The gateway holds a snapshot.
    pub(in crate::sync) fn hold(&self, held: HeldSnapshot) {
        self.update(|gateway| gateway.held = Some(held));
        self.gateways.moved();
        self.tell_others();
    }
}
