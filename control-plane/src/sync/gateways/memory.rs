//! What a control plane that has its database for itself remembers of its gateways over a restart.
//!
//! A gateway is written down before its stream begins, and struck off when its stream is over and it counts no more. So
//! a control plane that starts knows who may be serving by what an earlier start told it: each of them counts as lost
//! just now, and a change waits for it. Where several control planes share a database its rows there say the same
//! (`shared`). Costs one small write when a stream begins and one when it is over for good; none while it lasts.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use keyward_contract::{UnixMillis, feed};
use parking_lot::Mutex;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::gateway::{Ends, Gateway};
use super::{Gateways, Membership, Unwelcome};
use crate::store::gateways::kept::{self, Kept};
use crate::store::{self, Store};

/// How often it is looked who is to be struck off.
const STRIKE_OFF_EVERY: Duration = Duration::from_secs(1);
/// No statement here takes longer, or it has failed.
const LONGEST: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Memory {
    store: Store,
    /// Under which start and stream each gateway is written down.
    written: Mutex<HashMap<String, (String, u64)>>,
}

impl Memory {
    /// `None` where other control planes may be.
    pub(super) fn over(store: &Store) -> Option<Self> {
        (store.engine() == store::Engine::Sqlite).then(|| Self {
            store: store.clone(),
            written: Mutex::default(),
        })
    }

    /// Takes a gateway in once it is written down.
    pub(super) async fn admit(
        &self,
        gateways: &Gateways,
        hello: &feed::Hello,
        revision: u64,
    ) -> Result<Membership, Unwelcome> {
        let (session, _joining) = gateways.begin_joining(hello)?;
        let standing = Gateway::new(hello, revision, (session, Ends::default()), Instant::now());
        let standing = standing.standing(&hello.gateway_id, Instant::now());
        let stream = (gateways.control_plane().to_owned(), session);
        let kept = Kept {
            id: standing.id,
            stream: stream.clone(),
            boot_epoch: standing.boot_epoch,
            address: standing.address,
            version: standing.version,
            joined_at_ms: crate::sync::now().0,
            denies_after_ms: standing.denies_after_ms,
        };
        match tokio::time::timeout(LONGEST, kept::keep(&self.store, &kept)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "a gateway can't be taken in: it can't be written down");
                return Err(Unwelcome::Unknown);
            }
            Err(_) => return Err(Unwelcome::Unknown),
        }
        self.written.lock().insert(kept.id, stream);
        let now = Instant::now();
        let ends = gateways.0.state.lock().join(hello, revision, session, now);
        Ok(gateways.member(hello, session, ends))
    }

    /// Those of earlier starts count as lost just now.
    pub(super) async fn recall(&self, gateways: &Gateways) -> store::Result<()> {
        for kept in kept::kept(&self.store).await? {
            let hello = feed::Hello {
                gateway_id: kept.id.clone(),
                boot_epoch: kept.boot_epoch,
                address: kept.address,
                version: kept.version,
                max_staleness_ms: kept
                    .denies_after_ms
                    .map_or(0, |ms| u64::try_from(ms).unwrap_or_default()),
                denies_when_stale: kept.denies_after_ms.is_some(),
                ..feed::Hello::default()
            };
            let at = (Instant::now(), UnixMillis(kept.joined_at_ms));
            gateways.0.state.lock().recall(&hello, at);
            self.written.lock().insert(kept.id, kept.stream);
        }
        Ok(())
    }

    /// Strikes off who counts no more, until `shutdown`.
    pub(super) async fn strike_off(&self, gateways: &Gateways, shutdown: CancellationToken) {
        let mut tick = tokio::time::interval(STRIKE_OFF_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = tick.tick() => {}
            }
            let over = self.over_for_good(gateways);
            if over.is_empty() {
                continue;
            }
            match tokio::time::timeout(LONGEST, kept::forget(&self.store, &over)).await {
                Ok(Ok(())) => {
                    let mut written = self.written.lock();
                    for (id, stream) in over {
                        if written.get(&id) == Some(&stream) {
                            written.remove(&id);
                        }
                    }
                }
                Ok(Err(error)) => tracing::warn!(%error, "gateways that are gone can't be struck off"),
                Err(_) => {}
            }
        }
    }

    fn over_for_good(&self, gateways: &Gateways) -> Vec<(String, (String, u64))> {
        let state = gateways.0.state.lock();
        let now = Instant::now();
        let written = self.written.lock();
        let over = written.iter().filter(|(id, _)| !state.may_count(id, now));
        over.map(|(id, stream)| (id.clone(), stream.clone())).collect()
    }
}
