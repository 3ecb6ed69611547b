//! A sign of life: how gateways stand is written, and what that tells of the others is taken in.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{LONGEST, Shared, Which};
use crate::store;
use crate::store::gateways::{self, News, Renewed, Standing};
use crate::sync::gateways::Gateways;
use crate::sync::gateways::gateway::Link;

impl Gateways {
    /// Writes how gateways stand, and takes in what that tells; answers when it began.
    pub(super) async fn renew(&self, shared: &Shared, which: Which, news: News) -> store::Result<Instant> {
        let began = Instant::now();
        let changed = std::mem::take(&mut *shared.changed.lock());
        let standings = self.standings(which, &changed);
        let news = if news == News::Standing && changed.is_empty() {
            News::None
        } else {
            news
        };
        let renewing = gateways::renew(&shared.store, self.control_plane(), &standings, news);
        let renewed = match tokio::time::timeout(LONGEST, renewing).await {
            Ok(Ok(renewed)) => renewed,
            failed => {
                shared.changed.lock().extend(changed);
                return failed
                    .unwrap_or_else(|_| Err(store::StoreError::too_slow()))
                    .map(|_| began);
            }
        };
        shared.others_live.store(renewed.others_live, Ordering::Relaxed);
        self.announce(renewed.head);
        if which == Which::All {
            self.0.recorded.send_replace(began);
        }
        self.end_replaced(&standings, &renewed);
        self.confirmed_elsewhere(&renewed);
        let strays = self.strays(&renewed);
        if !strays.is_empty() {
            gateways::disown(&shared.store, self.control_plane(), &strays).await?;
        }
        Ok(began)
    }

    fn standings(&self, which: Which, changed: &BTreeSet<String>) -> Vec<Standing> {
        let now = Instant::now();
        let state = self.0.state.lock();
        let gateways = state.gateways.iter();
        gateways
            .filter(|(id, gateway)| changed.contains(*id) || (which == Which::All && gateway.is_connected()))
            .map(|(id, gateway)| gateway.standing(id, now))
            .collect()
    }

    /// Streams whose gateway is on another control plane by now end here.
    fn end_replaced(&self, written: &[Standing], renewed: &Renewed) {
        let state = self.0.state.lock();
        let ours: BTreeSet<&str> = renewed.ours.iter().map(String::as_str).collect();
        for standing in written
            .iter()
            .filter(|standing| !ours.contains(standing.id.as_str()))
        {
            if let Some(gateway) = state.gateways.get(&standing.id)
                && gateway.session == standing.session
                && let Link::Up(ends) = &gateway.link
            {
                ends.replaced.cancel();
            }
        }
    }

    /// Rows that say of a stream here what isn't so: it ended before it began.
    fn strays(&self, renewed: &Renewed) -> Vec<(String, u64)> {
        let state = self.0.state.lock();
        let streams = renewed.streams.iter();
        let strays = streams.filter(|(id, session)| {
            let is_up = state
                .gateways
                .get(id)
                .is_some_and(|gateway| gateway.is_session(*session));
            !is_up && !state.joining.contains(id)
        });
        strays.cloned().collect()
    }
}
