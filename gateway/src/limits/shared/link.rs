//! The one connection to Redis: made anew whenever it is lost, with jittered pauses that grow.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use keyward_buckets::{Buckets, Link};
use tokio::sync::Notify;

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How long an attempt may take: a stopped server accepts connections and says nothing.
const ATTEMPT: Duration = Duration::from_secs(1);

/// The present connection, if there is one.
#[derive(Debug, Default)]
pub(super) struct Connected {
    link: RefCell<Option<Rc<Link>>>,
    came: Notify,
    lost: Notify,
}

impl Connected {
    /// The connection, as soon as there is one.
    pub(super) async fn link(&self) -> Rc<Link> {
        loop {
            let came = self.came.notified();
            if let Some(link) = self.present() {
                return link;
            }
            came.await;
        }
    }

    pub(super) fn present(&self) -> Option<Rc<Link>> {
        self.link.borrow().as_ref().map(Rc::clone)
    }

    /// This connection is of no more use.
    pub(super) fn give_up(&self, link: &Rc<Link>) {
        let is_present = self
            .link
            .borrow()
            .as_ref()
            .is_some_and(|present| Rc::ptr_eq(present, link));
        if is_present {
            self.link.replace(None);
            self.lost.notify_one();
        }
    }

    /// Connects whenever there is no connection. `connected` is called before anybody gets a new one, `failed` after every
    /// attempt that fails.
    pub(super) async fn keep(&self, buckets: &Buckets, connected: impl Fn(), failed: impl Fn()) {
        let mut pause = FIRST_PAUSE;
        let mut is_told = false;
        loop {
            if self.present().is_some() {
                self.lost.notified().await;
                continue;
            }
            match tokio::time::timeout(ATTEMPT, buckets.connect()).await {
                Ok(Ok(link)) => {
                    tracing::info!("connected to Redis");
                    connected();
                    self.link.replace(Some(Rc::new(link)));
                    self.came.notify_waiters();
                    (pause, is_told) = (FIRST_PAUSE, false);
                    continue;
                }
                Ok(Err(error)) if !is_told => {
                    tracing::warn!(%error, "Redis is away; limits go by their fallback")
                }
                Err(_) if !is_told => tracing::warn!("Redis does not answer; limits go by their fallback"),
                Ok(Err(_)) | Err(_) => {}
            }
            is_told = true;
            failed();
            tokio::time::sleep(jittered(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Between half of it and all of it, so that gateways don't come back in step.
fn jittered(pause: Duration) -> Duration {
    pause / 2 + pause / 2 * u32::from(crate::random::next() as u16) / u32::from(u16::MAX)
}
