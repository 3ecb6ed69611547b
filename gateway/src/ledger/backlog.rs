//! What earlier starts counted and the control plane has not acknowledged: read part by part, the oldest start
//! first, reported under the boot epoch that it was counted under, and deleted when all of it is acknowledged.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use keyward_contract::feed;
use parking_lot::Mutex;

use super::counter::CounterKey;
use super::record::Tally;
use super::recovery::{self, Findings, OldBoot, Part};

/// Counters that are held in memory at once: about 16 MiB.
const AT_ONCE: u64 = 65_536;
/// Where damaged segments are kept for people to look at, so many of them.
const DAMAGED: &str = "damaged";
const MOST_DAMAGED: usize = 16;

/// A counter of an earlier start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Old {
    key: CounterKey,
    tally: Tally,
}

/// Of all earlier starts.
#[derive(Debug)]
pub(super) struct Backlog {
    root: PathBuf,
    state: Mutex<State>,
    corrupt: AtomicU64,
    /// A start that another process still counts in; 0: none.
    living: AtomicU64,
}

#[derive(Debug)]
struct State {
    boots: VecDeque<Arc<OldBoot>>,
    /// The part of the first that is being reported.
    part: Part,
    is_read: bool,
    routes: Vec<String>,
    waiting: Vec<Old>,
    outstanding: usize,
    damaged_files: Vec<PathBuf>,
    is_unreadable: bool,
    /// The oldest start of which something could not be read: it is tried again at the next start.
    unreadable: Option<u64>,
}

/// What is to be done next, without the lock.
enum Job {
    Nothing,
    Read(Arc<OldBoot>, Part),
    Finish(Arc<OldBoot>, Vec<PathBuf>),
    Leave(Arc<OldBoot>),
}

impl Backlog {
    /// Of these starts.
    pub(super) fn new(root: &Path, boots: Vec<OldBoot>) -> Self {
        let boots: VecDeque<_> = boots.into_iter().map(Arc::new).collect();
        Self {
            root: root.to_owned(),
            state: Mutex::new(State {
                part: first_part(&boots),
                boots,
                is_read: false,
                routes: Vec::new(),
                waiting: Vec::new(),
                outstanding: 0,
                damaged_files: Vec::new(),
                is_unreadable: false,
                unreadable: None,
            }),
            corrupt: AtomicU64::new(0),
            living: AtomicU64::new(0),
        }
    }

    /// This start still counts, in another process: it is not to be read, nor counts as known, until [`Self::ended`].
    pub(super) fn lives(&self, epoch: u64) {
        self.living.store(epoch, Ordering::Release);
    }

    /// The start that lived has ended: what it left is read.
    pub(super) fn ended(&self) {
        let mut state = self.state.lock();
        let living = self.living.swap(0, Ordering::AcqRel);
        let found = state.boots.iter_mut().find(|boot| boot.epoch == living);
        if let Some(boot) = found {
            // It has counted on since it was looked at.
            *boot = Arc::new(recovery::survey(living, boot.folder.clone()));
        }
        if state.boots.front().is_some_and(|boot| boot.epoch == living) {
            state.part = first_part(&state.boots);
        }
    }

    /// The oldest start of which something is to be reported.
    pub(super) fn oldest(&self) -> Option<u64> {
        let state = self.state.lock();
        let oldest = state.boots.front().map(|boot| boot.epoch);
        match (state.unreadable, oldest) {
            (Some(unreadable), Some(oldest)) => Some(unreadable.min(oldest)),
            (unreadable, oldest) => unreadable.or(oldest),
        }
    }

    pub(super) fn boots(&self) -> usize {
        self.state.lock().boots.len()
    }

    pub(super) fn corrupt(&self) -> u64 {
        self.corrupt.load(Ordering::Relaxed)
    }

    /// Counters that are to be acknowledged; of those that were not read yet, as many as their files say.
    pub(super) fn pending(&self) -> usize {
        let state = self.state.lock();
        let Part { index, of } = state.part;
        let parts_left = of.saturating_sub(index + u64::from(state.is_read));
        let mut boots = state.boots.iter().map(|boot| boot.records);
        let first = boots.next().unwrap_or_default().saturating_mul(parts_left) / of.max(1);
        let unread = usize::try_from(first + boots.sum::<u64>()).unwrap_or(usize::MAX);
        state.waiting.len() + state.outstanding + unread
    }

    /// Up to `limit` counters to be reported.
    pub(super) fn take(&self, limit: usize) -> Vec<Old> {
        let mut state = self.state.lock();
        let from = state.waiting.len().saturating_sub(limit);
        let taken = state.waiting.split_off(from);
        state.outstanding += taken.len();
        taken
    }

    /// As they are reported.
    pub(super) fn wire(&self, taken: &[Old]) -> Vec<feed::UsageCounter> {
        let state = self.state.lock();
        let epoch = state.boots.front().map_or(0, |boot| boot.epoch);
        let route = |old: &Old| {
            state
                .routes
                .get(usize::from(old.key.route))
                .map_or("", String::as_str)
        };
        let wire = taken
            .iter()
            .map(|old| old.tally.wire(&old.key, route(old), epoch));
        wire.collect()
    }

    /// The control plane has so many of them for good. Answers whether the part is over.
    pub(super) fn acknowledged(&self, count: usize) -> bool {
        let mut state = self.state.lock();
        state.outstanding = state.outstanding.saturating_sub(count);
        state.is_over()
    }

    /// They may never have arrived.
    pub(super) fn withdrawn(&self, taken: Vec<Old>) {
        let mut state = self.state.lock();
        state.outstanding = state.outstanding.saturating_sub(taken.len());
        state.waiting.extend(taken);
    }

    /// Reads the next part, and deletes starts that are over. Answers how many bytes that freed. `meanwhile` is
    /// called again and again.
    pub(super) fn step(&self, meanwhile: &mut dyn FnMut()) -> u64 {
        let mut freed = 0;
        loop {
            let job = self.next_job();
            match job {
                Job::Nothing => return freed,
                Job::Read(boot, part) => self.read(&boot, part, meanwhile),
                Job::Finish(boot, damaged) => {
                    freed += boot.bytes;
                    self.delete(&boot, &damaged);
                }
                Job::Leave(boot) => {
                    tracing::error!(boot_epoch = boot.epoch, folder = %boot.folder.display(), "usage that could \
                         not be read stays where it is; it is tried again at the next start");
                }
            }
        }
    }

    /// Deletes starts that are over, and reads no other: this process is about to end.
    pub(super) fn clear(&self) {
        loop {
            let job = self.next_job();
            let Job::Finish(boot, damaged) = job else { return };
            self.delete(&boot, &damaged);
        }
    }

    fn next_job(&self) -> Job {
        let mut state = self.state.lock();
        let living = self.living.load(Ordering::Acquire);
        match state.boots.front() {
            Some(boot) if boot.epoch == living => Job::Nothing,
            _ => state.next_job(),
        }
    }

    fn read(&self, boot: &OldBoot, part: Part, meanwhile: &mut dyn FnMut()) {
        let (sums, findings) = recovery::read(boot, part, meanwhile);
        // A start that never had room for a segment may not have had any for the names either.
        let routes = if sums.is_empty() {
            Vec::new()
        } else {
            recovery::routes(boot)
        };
        let Findings {
            damaged,
            damaged_files,
            is_unreadable,
        } = findings;
        self.corrupt.fetch_add(damaged, Ordering::Relaxed);
        let mut state = self.state.lock();
        state.routes = routes;
        state.waiting = sums.into_iter().map(|(key, tally)| Old { key, tally }).collect();
        state.damaged_files.extend(damaged_files);
        state.is_unreadable |= is_unreadable;
        state.is_read = true;
    }

    /// What was damaged is kept, everything else goes.
    fn delete(&self, boot: &OldBoot, damaged: &[PathBuf]) {
        for file in damaged {
            if let Err(error) = self.keep(boot, file) {
                tracing::warn!(%error, file = %file.display(), "a damaged segment can't be kept");
            }
        }
        match fs::remove_dir_all(&boot.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, folder = %boot.folder.display(), "what is over can't be deleted");
            }
            _ => tracing::info!(
                boot_epoch = boot.epoch,
                "all usage of an earlier start is acknowledged"
            ),
        }
    }

    fn keep(&self, boot: &OldBoot, file: &Path) -> io::Result<()> {
        let folder = self.root.join(DAMAGED);
        fs::create_dir_all(&folder)?;
        if fs::read_dir(&folder)?.count() < MOST_DAMAGED
            && let Some(name) = file.file_name().and_then(|name| name.to_str())
        {
            fs::rename(file, folder.join(format!("{}-{name}", boot.epoch)))?;
        }
        Ok(())
    }
}

impl State {
    /// Whether everything that was read is acknowledged.
    fn is_over(&self) -> bool {
        self.is_read && self.waiting.is_empty() && self.outstanding == 0
    }

    fn next_job(&mut self) -> Job {
        if self.is_read && !self.is_over() {
            return Job::Nothing;
        }
        // It stays in the list, and so the oldest, until everything of it is acknowledged.
        let Some(boot) = self.boots.front().map(Arc::clone) else {
            return Job::Nothing;
        };
        if std::mem::take(&mut self.is_read) {
            self.part.index += 1;
        }
        if self.part.index < self.part.of {
            return Job::Read(boot, self.part);
        }
        self.boots.pop_front();
        self.part = first_part(&self.boots);
        let damaged = std::mem::take(&mut self.damaged_files);
        if std::mem::take(&mut self.is_unreadable) {
            self.unreadable = Some(self.unreadable.map_or(boot.epoch, |epoch| epoch.min(boot.epoch)));
            return Job::Leave(boot);
        }
        Job::Finish(boot, damaged)
    }
}

fn first_part(boots: &VecDeque<Arc<OldBoot>>) -> Part {
    let records = boots.front().map_or(0, |boot| boot.records);
    Part {
        index: 0,
        of: records.div_ceil(AT_ONCE).max(1),
    }
}
