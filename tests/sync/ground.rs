//! A gateway's key set on a disk that takes its time: the gateway's own fence and cells around a small map, and the
//! ground that the gateway's own applier works on.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use keyward_contract::{AccountId, KeyDigest, KeyRecord, Record, feed};
use keyward_gateway::keys::cells::{self, Places};
use keyward_gateway::keys::fence::{Cache, Cached, Fence, Reading};
use keyward_gateway::keys::generations::Stamp;
use keyward_gateway::keys::{Loss, Position, RefusedRecord};
use keyward_gateway::server::Quiescence;
use keyward_gateway::sync::SyncError;
use keyward_gateway::sync::apply::{Event, Ground};

use crate::store::{Content, EPOCH, Subject, account_id, digest, subject};

/// So many slots has the fence: digests share them.
const SLOTS: usize = 3;
/// So many keys each cache holds.
const CACHED: usize = 4;

/// What outlives a crash.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) position: Position,
    pub(crate) content: Content,
}

/// A cache that holds few.
struct Shelf<V>(RefCell<BTreeMap<[u8; 32], V>>);

impl<V: Clone> Cache for Shelf<V> {
    type Value = V;

    fn find(&self, digest: &KeyDigest) -> Option<V> {
        self.0.borrow().get(digest.as_bytes()).cloned()
    }

    fn keep(&self, digest: KeyDigest, value: V) {
        let mut kept = self.0.borrow_mut();
        kept.insert(*digest.as_bytes(), value);
        if kept.len() > CACHED {
            kept.pop_first();
        }
    }

    fn forget(&self, digest: &KeyDigest) {
        self.0.borrow_mut().remove(digest.as_bytes());
    }

    fn forget_all(&self) {
        self.0.borrow_mut().clear();
    }
}

/// An account in memory, shared by its keys: its record.
type Account = RefCell<Record>;

#[derive(Default)]
struct Accounts(RefCell<HashMap<AccountId, Arc<Account>>>);

impl Places<AccountId, Account> for Accounts {
    fn find(&self, id: &AccountId) -> Option<Arc<Account>> {
        self.0.borrow().get(id).cloned()
    }

    fn find_or_make<E>(
        &self,
        id: AccountId,
        make: impl FnOnce() -> Result<Arc<Account>, E>,
    ) -> Result<Arc<Account>, E> {
        if let Some(cell) = self.find(&id) {
            return Ok(cell);
        }
        let cell = make()?;
        self.0.borrow_mut().insert(id, Arc::clone(&cell));
        Ok(cell)
    }
}

/// A known key.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) key: Record,
    pub(crate) account: Arc<Account>,
}

/// A look-up under way.
pub(crate) enum Looked {
    Found(Entry, Stamp),
    Unknown,
    /// What the caches did not know.
    OnDisk(Reading),
}

/// The key set of one process.
pub(crate) struct Keys {
    pub(crate) disk: Rc<RefCell<Disk>>,
    view: RefCell<Rc<Content>>,
    position: RefCell<Position>,
    fence: Fence<Shelf<(Entry, Stamp)>, Shelf<Stamp>, SLOTS>,
    accounts: Accounts,
}

impl Keys {
    /// As it was left on the disk.
    pub(crate) fn open(disk: &Rc<RefCell<Disk>>) -> Self {
        let Disk { position, content } = disk.borrow().clone();
        Self {
            disk: Rc::clone(disk),
            view: RefCell::new(Rc::new(content)),
            position: RefCell::new(position),
            fence: Fence::new(Shelf(RefCell::default()), Shelf(RefCell::default())),
            accounts: Accounts::default(),
        }
    }

    pub(crate) fn position(&self) -> Position {
        self.position.borrow().clone()
    }

    pub(crate) fn view(&self) -> Rc<Content> {
        Rc::clone(&self.view.borrow())
    }

    pub(crate) fn look(&self, key: u64) -> Looked {
        match self.fence.look(&digest(key)) {
            Cached::Known(entry, stamp) => Looked::Found(entry, stamp),
            Cached::Unknown => Looked::Unknown,
            Cached::No(reading) => Looked::OnDisk(reading),
        }
    }

    pub(crate) fn is_current(&self, key: u64, stamp: Stamp) -> bool {
        self.fence.generations().stamp(&digest(key)) == stamp
    }

    /// Keeps what a view said, however long ago that was.
    pub(crate) fn keep(&self, key: u64, reading: Reading, view: &Content) -> Looked {
        let Some(Record::Key(record)) = view.get(&Subject::Key(key)) else {
            self.fence.keep_unknown(&digest(key), reading);
            return Looked::Unknown;
        };
        let entry = self.entry(record);
        let stamp = self.fence.keep_known(&digest(key), reading, entry.clone());
        Looked::Found(entry, stamp)
    }

    fn entry(&self, record: &KeyRecord) -> Entry {
        let newest = || self.view();
        let account = cells::find_or_make(&self.accounts, record.account, newest, |view| {
            let number = u64::from(record.account.as_uuid().as_bytes()[0]);
            let account = view.get(&Subject::Account(number)).cloned();
            account.map(|account| Arc::new(RefCell::new(account))).ok_or(())
        });
        Entry {
            key: Record::Key(record.clone()),
            account: account.expect("every key's account is there"),
        }
    }

    fn tell(&self, content: &Content) {
        for (subject, record) in content {
            if let Subject::Account(number) = subject
                && let Some(cell) = self.accounts.find(&account_id(*number))
            {
                *cell.borrow_mut() = record.clone();
            }
        }
    }

    /// Puts changes on the disk. A repeat is no news.
    fn write(&self, changes: Vec<feed::Change>) -> Vec<Record> {
        let mut disk = self.disk.borrow_mut();
        let mut written = Vec::new();
        for change in changes {
            if change.revision <= disk.position.revision {
                continue;
            }
            disk.position.revision = change.revision;
            disk.position.history = change.history;
            for record in checked(change.records) {
                disk.content.insert(subject(&record), record.clone());
                written.push(record);
            }
        }
        written
    }

    /// Puts in force what is on the disk.
    fn put_in_force(&self, changed: Option<&[Record]>) {
        let Disk { position, content } = self.disk.borrow().clone();
        let publish = || *self.view.borrow_mut() = Rc::new(content.clone());
        match changed {
            Some(records) => {
                let digests: Vec<KeyDigest> = records
                    .iter()
                    .filter_map(|record| match record {
                        Record::Key(key) => Some(key.digest),
                        Record::Account(_) => None,
                    })
                    .collect();
                self.fence.change(publish, || self.tell(&content), &digests);
            }
            None => self.fence.change_all(publish, || self.tell(&content)),
        }
        *self.position.borrow_mut() = position;
    }
}

/// A snapshot that is coming in.
pub(crate) struct Draft(Disk);

/// One step of work on the disk.
type Step = Box<dyn FnOnce()>;

/// Work on the disk: begun, it goes on whatever becomes of the stream that wanted it.
pub(crate) struct Job {
    steps: VecDeque<Step>,
    is_done: Rc<Cell<bool>>,
}

impl Job {
    /// Does one step; whether it was the last.
    pub(crate) fn step(&mut self) -> bool {
        if let Some(step) = self.steps.pop_front() {
            step();
        }
        self.is_done.set(self.steps.is_empty());
        self.steps.is_empty()
    }
}

/// What the applier of one stream stands on.
pub(crate) struct Edge {
    pub(crate) keys: Rc<Keys>,
    pub(crate) quiescence: Quiescence,
    pub(crate) begun: RefCell<Vec<Job>>,
    pub(crate) said: RefCell<Vec<feed::gateway_frame::Frame>>,
    pub(crate) noted: RefCell<Vec<Event>>,
}

impl Edge {
    async fn on_disk(&self, steps: impl IntoIterator<Item = Step>) {
        let is_done = Rc::new(Cell::new(false));
        self.begun.borrow_mut().push(Job {
            steps: steps.into_iter().collect(),
            is_done: Rc::clone(&is_done),
        });
        poll_fn(|_| {
            if is_done.get() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

fn checked(records: Vec<feed::Record>) -> Vec<Record> {
    let checked = records.into_iter().map(Record::try_from);
    checked
        .collect::<Result<_, _>>()
        .expect("the control plane sends what can be true")
}

impl Ground for Edge {
    type Snapshot = Draft;

    fn source(&self) -> (&str, &str) {
        (EPOCH, "")
    }

    fn position(&self) -> Position {
        self.keys.position()
    }

    async fn apply(&self, changes: Vec<feed::Change>) -> Result<Vec<RefusedRecord>, SyncError> {
        let written = Rc::new(RefCell::new(Vec::new()));
        let (keys, records) = (Rc::clone(&self.keys), Rc::clone(&written));
        let write = move || *records.borrow_mut() = keys.write(changes);
        let keys = Rc::clone(&self.keys);
        let put_in_force = move || keys.put_in_force(Some(&written.borrow()));
        self.on_disk([Box::new(write) as Step, Box::new(put_in_force)])
            .await;
        Ok(Vec::new())
    }

    async fn restrict(&self, _: Vec<Record>) -> Result<(), SyncError> {
        Err(SyncError::Protocol("no snapshot of these histories is held"))
    }

    async fn begin(&self, position: Position) -> Result<Draft, SyncError> {
        self.on_disk([Box::new(|| {}) as Step]).await;
        let content = Content::new();
        Ok(Draft(Disk { position, content }))
    }

    async fn add(
        &self,
        mut draft: Draft,
        records: Vec<feed::Record>,
    ) -> Result<(Draft, Vec<RefusedRecord>), SyncError> {
        self.on_disk([Box::new(|| {}) as Step]).await;
        for record in checked(records) {
            draft.0.content.insert(subject(&record), record);
        }
        Ok((draft, Vec::new()))
    }

    async fn complete(&self, draft: Draft) -> Result<(Draft, Vec<RefusedRecord>), SyncError> {
        Ok((draft, Vec::new()))
    }

    async fn loss(&self, draft: Draft) -> Result<(Draft, Option<Loss>), SyncError> {
        Ok((draft, None))
    }

    async fn take_away(&self, _: Draft) -> Result<usize, SyncError> {
        Err(SyncError::Protocol("no snapshot of these histories is held"))
    }

    async fn finish(&self, draft: Draft) -> Result<(), SyncError> {
        let keys = Rc::clone(&self.keys);
        let write = move || *keys.disk.borrow_mut() = draft.0;
        let keys = Rc::clone(&self.keys);
        let put_in_force = move || keys.put_in_force(None);
        self.on_disk([Box::new(write) as Step, Box::new(put_in_force)])
            .await;
        Ok(())
    }

    async fn passed(&self) {
        self.quiescence.passed().await;
    }

    async fn send(&self, frame: feed::gateway_frame::Frame) -> Result<(), SyncError> {
        self.said.borrow_mut().push(frame);
        Ok(())
    }

    fn note(&self, event: Event) {
        self.noted.borrow_mut().push(event);
    }
}
