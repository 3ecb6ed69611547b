//! The database of the control plane: what is committed stays, whatever crashes. It knows of every key and account
//! what each revision said, so that what a gateway holds can be compared with what it should.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use keyward_contract::{
    AccountId, AccountRecord, AccountStatus, Contract, Environment, EnvironmentId, KeyDigest, KeyId,
    KeyRecord, KeyState, LimitMode, Limits, Record, feed,
};

use crate::chance::Chance;

pub(crate) const EPOCH: &str = "the-epoch";
pub(crate) const ACCOUNTS: u64 = 2;
pub(crate) const KEYS: u64 = 6;

/// What a change was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Subject {
    Key(u64),
    Account(u64),
}

/// Records as of one revision.
pub(crate) type Content = BTreeMap<Subject, Record>;

pub(crate) struct Store {
    /// The changes `compacted + 1 ..= head`.
    log: VecDeque<Arc<feed::Change>>,
    compacted: u64,
    now: Content,
    /// The gateways that are written down: a control plane that starts recalls them.
    pub(crate) gateways: BTreeMap<String, feed::Hello>,
    /// Each revision's record: `(revision, record)`, in their order.
    said: BTreeMap<Subject, Vec<(u64, Record)>>,
}

impl Store {
    /// Accounts and the first keys are there from the start.
    pub(crate) fn new() -> Self {
        let mut store = Self {
            log: VecDeque::new(),
            compacted: 0,
            now: BTreeMap::new(),
            gateways: BTreeMap::new(),
            said: BTreeMap::new(),
        };
        for account in 0..ACCOUNTS {
            store.commit(Subject::Account(account), true);
        }
        for key in 0..KEYS / 2 {
            store.commit(Subject::Key(key), true);
        }
        store
    }

    pub(crate) fn head(&self) -> u64 {
        self.compacted + self.log.len() as u64
    }

    /// Makes a key or account effective, or takes its rights away; answers the revision.
    pub(crate) fn commit(&mut self, subject: Subject, effective: bool) -> u64 {
        let revision = self.head() + 1;
        let record = match subject {
            Subject::Key(number) => Record::Key(key(number, effective, revision)),
            Subject::Account(number) => Record::Account(account(number, effective, revision)),
        };
        self.log.push_back(Arc::new(feed::Change {
            revision,
            records: vec![feed::Record::from(&record)],
            history: history(revision),
            ..feed::Change::default()
        }));
        self.said
            .entry(subject)
            .or_default()
            .push((revision, record.clone()));
        self.now.insert(subject, record);
        revision
    }

    /// Something that may be changed now, and whether that gives rights.
    pub(crate) fn any_change(&self, chance: &mut Chance) -> (Subject, bool) {
        let subject = match chance.below(4) {
            0 => Subject::Account(chance.below(ACCOUNTS)),
            _ => Subject::Key(chance.below(KEYS)),
        };
        let is_effective = self.now.get(&subject).is_some_and(is_effective);
        (subject, !is_effective)
    }

    /// The newest revision up to this one that changed the subject; 0: there is none.
    pub(crate) fn revision_of(&self, subject: Subject, upto: u64) -> u64 {
        let said = self.said.get(&subject).map_or(&[][..], Vec::as_slice);
        let known = said.partition_point(|(at, _)| *at <= upto);
        known.checked_sub(1).map_or(0, |last| said[last].0)
    }

    /// What was changed by this revision.
    pub(crate) fn subjects_at(&self, revision: u64) -> Vec<Subject> {
        let said = self.said.iter();
        said.filter(|(_, said)| said.iter().any(|(at, _)| *at == revision))
            .map(|(subject, _)| *subject)
            .collect()
    }

    /// What the history up to a revision is called, where the log still has it.
    pub(crate) fn history(&self, revision: u64) -> Option<Vec<u8>> {
        (revision > self.compacted && revision <= self.head()).then(|| history(revision))
    }

    /// Up to here the log has been compacted.
    pub(crate) fn compacted(&self) -> u64 {
        self.compacted
    }

    /// Forgets all but the newest changes.
    pub(crate) fn compact(&mut self, keep: usize) {
        while self.log.len() > keep {
            self.log.pop_front();
            self.compacted += 1;
        }
    }

    /// The changes after a revision, at most so many; `None` when they were compacted.
    pub(crate) fn after(&self, revision: u64, most: usize) -> Option<Vec<Arc<feed::Change>>> {
        let skip = revision.checked_sub(self.compacted)? as usize;
        Some(self.log.iter().skip(skip).take(most).cloned().collect())
    }

    /// All of it, now.
    pub(crate) fn snapshot(&self) -> Vec<feed::Record> {
        self.now.values().map(feed::Record::from).collect()
    }

    /// Whether this is what the revision said.
    pub(crate) fn was(&self, revision: u64, content: &Content) -> bool {
        let expected = self.said.iter().filter_map(|(subject, said)| {
            let upto = said.partition_point(|(at, _)| *at <= revision);
            Some((subject, &said[upto.checked_sub(1)?].1))
        });
        expected.eq(content)
    }
}

/// A name of a history as good as any.
pub(crate) fn history(revision: u64) -> Vec<u8> {
    [revision.to_le_bytes(); 4].concat()
}

pub(crate) fn subject(record: &Record) -> Subject {
    match record {
        Record::Key(key) => Subject::Key(key.digest.head() & 0xFF),
        Record::Account(account) => Subject::Account(u64::from(account.id.as_uuid().as_bytes()[0])),
    }
}

/// Which revision a record is of: records of the simulation carry it where the gateway looks at nothing.
pub(crate) fn revision_of(record: &Record) -> u64 {
    let text = match record {
        Record::Key(key) => &key.api_version,
        Record::Account(account) => &account.tier,
    };
    text[1..].parse().unwrap()
}

pub(crate) fn is_effective(record: &Record) -> bool {
    match record {
        Record::Key(key) => key.state == KeyState::Active,
        Record::Account(account) => account.status == AccountStatus::Active,
    }
}

pub(crate) fn digest(number: u64) -> KeyDigest {
    // The upper bits choose the slot of the fence: some keys share one.
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&((number % 3) << 48 | number).to_le_bytes());
    let digest = KeyDigest::from_bytes(bytes);
    assert_eq!(
        digest.head() & 0xFF,
        number,
        "the head of a digest is its first eight bytes"
    );
    digest
}

pub(crate) fn account_id(number: u64) -> AccountId {
    AccountId::from_slice(&[number as u8; 16]).unwrap()
}

fn key(number: u64, effective: bool, revision: u64) -> KeyRecord {
    KeyRecord {
        digest: digest(number),
        id: KeyId::from_slice(&[number as u8; 16]).unwrap(),
        account: account_id(number % ACCOUNTS),
        environment: Environment::Production,
        customer: None,
        state: if effective {
            KeyState::Active
        } else {
            KeyState::Disabled
        },
        expires_at: None,
        allowed_ips: None,
        api_version: format!("r{revision}"),
        rotated_at: None,
        customer_limits: None,
    }
}

fn account(number: u64, effective: bool, revision: u64) -> AccountRecord {
    let environment = |kind: u8| EnvironmentId::from_slice(&[number as u8, kind, 0, 0, 0, 0, 0, 1]).unwrap();
    AccountRecord {
        id: account_id(number),
        status: if effective {
            AccountStatus::Active
        } else {
            AccountStatus::Suspended
        },
        tier: format!("r{revision}"),
        limits: Limits { rate: 1, burst: 1 },
        annual_limit: 1,
        contract: Contract::default(),
        test_environment: environment(0),
        production_environment: environment(1),
        limit_mode: LimitMode::Enforce,
        fallback: None,
        grants: Vec::new(),
    }
}
