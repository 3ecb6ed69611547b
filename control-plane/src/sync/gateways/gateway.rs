//! One gateway: what it said of itself, and how long it counts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyward_contract::{UnixMillis, feed};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::store::gateways::{HeldSnapshot, Standing, Stream};

/// A lost gateway counts for so long after its last heartbeat: it may still be serving.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// Gateways that are gone are shown for so long.
const SHOWN_FOR: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) address: String,
    pub(super) version: String,
    pub(super) boot_epoch: u64,
    pub(super) revision: u64,
    /// False until its first snapshot is in force.
    pub(super) holds_something: bool,
    pub(super) refused: BTreeSet<u64>,
    /// The snapshot that it holds until it is confirmed.
    pub(super) held: Option<HeldSnapshot>,
    /// What was confirmed to it over this stream.
    pub(super) confirmed: u64,
    pub(super) heard: Instant,
    pub(super) heard_at: UnixMillis,
    /// Its last stream.
    pub(super) session: u64,
    pub(super) link: Link,
    /// When that stream ended.
    pub(super) left: Option<Instant>,
    /// How long it serves without hearing from us; `None`: for ever.
    denies_after: Option<Duration>,
}

/// How a gateway's last stream stands.
#[derive(Debug)]
pub enum Link {
    /// Its stream is up.
    Up(Ends),
    /// The stream broke.
    Lost,
    /// It said goodbye.
    Stopped,
}

/// What ends a stream from our side.
#[derive(Clone, Debug, Default)]
pub struct Ends {
    /// Another stream has taken its place.
    pub replaced: CancellationToken,
    /// This control plane no longer knows what the others do.
    pub cut_off: CancellationToken,
    /// An operator has confirmed the snapshot that the gateway holds: this ends nothing but the holding.
    pub confirmed: Arc<Notify>,
}

impl Gateway {
    pub(super) fn new(
        hello: &feed::Hello,
        revision: u64,
        (session, ends): (u64, Ends),
        now: Instant,
    ) -> Self {
        let bound = Duration::from_millis(hello.max_staleness_ms);
        Self {
            address: hello.address.clone(),
            version: hello.version.clone(),
            boot_epoch: hello.boot_epoch,
            revision,
            holds_something: hello.revision > 0,
            refused: BTreeSet::new(),
            held: None,
            confirmed: 0,
            heard: now,
            heard_at: super::super::now(),
            session,
            link: Link::Up(ends),
            left: None,
            denies_after: (hello.denies_when_stale && !bound.is_zero()).then_some(bound),
        }
    }

    /// Until when it counts if nothing more is heard of it; `None`: while its stream is up.
    pub(super) fn live_until(&self) -> Option<Instant> {
        match (self.denies_after, &self.link) {
            (_, Link::Stopped) => Some(self.heard),
            // What it counts its bound from was sent before we heard it, so it runs out no later than this.
            (Some(bound), _) => self.heard.checked_add(bound),
            (None, Link::Up(_)) => None,
            (None, Link::Lost) => Some(self.heard + GRACE),
        }
    }

    pub(super) fn is_live(&self, now: Instant) -> bool {
        !matches!(self.link, Link::Stopped) && self.live_until().is_none_or(|end| now < end)
    }

    /// Whether it belongs among those that are shown.
    pub(super) fn is_shown(&self, now: Instant) -> bool {
        self.is_connected() || now < self.heard + SHOWN_FOR
    }

    /// Its stream has ended so.
    pub(super) fn leave(&mut self, link: Link, now: Instant) {
        self.link = link;
        self.left = Some(now);
        self.held = None;
    }

    /// Whether it stops serving when it hears nothing from us.
    pub(super) fn denies(&self) -> bool {
        self.denies_after.is_some()
    }

    pub(super) fn is_connected(&self) -> bool {
        matches!(self.link, Link::Up(_))
    }

    pub(super) fn is_session(&self, wanted: u64) -> bool {
        self.is_connected() && self.session == wanted
    }

    pub(super) fn stream(&self) -> Stream {
        match self.link {
            Link::Up(_) if self.holds_something => Stream::Connected,
            Link::Up(_) => Stream::Syncing,
            Link::Lost => Stream::Disconnected,
            Link::Stopped => Stream::Stopped,
        }
    }

    /// What other control planes are told of it.
    pub(super) fn standing(&self, id: &str, now: Instant) -> Standing {
        let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        Standing {
            id: id.to_owned(),
            session: self.session,
            boot_epoch: self.boot_epoch,
            address: self.address.clone(),
            version: self.version.clone(),
            stream: self.stream(),
            revision: self.revision,
            refused: self.refused.iter().copied().collect(),
            held: self.held,
            heard_ago_ms: ms(now.saturating_duration_since(self.heard)),
            denies_after_ms: self.denies_after.map(ms),
        }
    }
}
