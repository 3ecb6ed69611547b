//! Calls that go on all the time, on several connections at once, while something else happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use keyward_harness::eventually;
use tokio::task::JoinSet;

use crate::stack::SOON;

/// So many calls must have gone well before it counts as a load.
const UNDER_WAY: u64 = 200;

/// Tasks that call until they are told to stop.
pub(crate) struct Load<T> {
    tasks: JoinSet<T>,
    progress: Progress,
}

/// What a task is told, and tells.
#[derive(Clone, Default)]
pub(crate) struct Progress {
    is_over: Arc<AtomicBool>,
    good: Arc<AtomicU64>,
}

impl Progress {
    /// Whether the task is to end.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// A call went as it should.
    pub(crate) fn went_well(&self) {
        self.good.fetch_add(1, Ordering::Relaxed);
    }
}

impl<T: Send + 'static> Load<T> {
    /// A task for each place; answers when they are well under way.
    pub(crate) async fn start<P, W>(
        places: impl IntoIterator<Item = P>,
        work: impl Fn(P, Progress) -> W,
    ) -> Self
    where
        W: Future<Output = T> + Send + 'static,
    {
        let (mut tasks, progress) = (JoinSet::new(), Progress::default());
        for place in places {
            tasks.spawn(work(place, progress.clone()));
        }
        let under_way = eventually(SOON, || async {
            let good = progress.good.load(Ordering::Relaxed);
            anyhow::ensure!(good > UNDER_WAY, "hardly any load: {good} calls");
            Ok(())
        });
        under_way.await.unwrap();
        Self { tasks, progress }
    }

    /// Ends it; what its tasks have to say.
    pub(crate) async fn stop(self) -> Vec<T> {
        self.progress.is_over.store(true, Ordering::Relaxed);
        self.tasks.join_all().await
    }
}
