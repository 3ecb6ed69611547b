use std::time::Duration;

use keyward_contract::{
    AccountRecord, AccountStatus, Contract, EnvironmentId, KeyId, KeyKind, KeyState, Limits, PlainKey, Record,
};
use proptest::prelude::*;

use super::replica::tests::open_once_free;
use super::*;
use crate::telemetry::TierSlot;

struct Fixture {
    folder: tempfile::TempDir,
    set: Arc<KeySet>,
    digest_key: DigestKey,
}

fn open(folder: &Path) -> Arc<KeySet> {
    open_once_free(|| KeySet::open(folder, 1_000, Box::new(|_| TierSlot::NONE)))
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (set, digest_key) = (open(folder.path()), DigestKey::random().unwrap());
        set.adopt_digest_key(digest_key.clone()).unwrap();
        Self {
            folder,
            set,
            digest_key,
        }
    }

    fn snapshot(&self, revision: u64, records: &[Record]) {
        let mut writer = self.set.begin_snapshot(Position::new("epoch", revision)).unwrap();
        assert!(
            writer
                .add(records.iter().map(feed::Record::from).collect())
                .unwrap()
                .is_empty()
        );
        writer.finish().unwrap();
    }

    fn change(&self, revision: u64, records: &[Record]) {
        let records = records.iter().map(feed::Record::from).collect();
        let change = feed::Change {
            revision,
            records,
            ..feed::Change::default()
        };
        assert!(self.set.apply(vec![change]).unwrap().is_empty());
    }

    fn key(&self, account: &AccountRecord) -> (PlainKey, KeyRecord) {
        let plain = PlainKey::mint(KeyKind::Account, Environment::Production).unwrap();
        let record = KeyRecord {
            digest: self.digest_key.digest(plain.expose().as_bytes()),
            id: KeyId::new(),
            account: account.id,
            environment: Environment::Production,
            customer: None,
            state: KeyState::Active,
            expires_at: None,
            allowed_ips: None,
            api_version: String::new(),
            rotated_at: None,
            customer_limits: None,
        };
        (plain, record)
    }
}

fn account() -> AccountRecord {
    AccountRecord {
        id: AccountId::new(),
        status: AccountStatus::Active,
        tier: "growth".into(),
        limits: Limits {
            rate: 100,
            burst: 200,
        },
        annual_limit: 1_000,
        contract: Contract::default(),
        test_environment: EnvironmentId::random().unwrap(),
        production_environment: EnvironmentId::random().unwrap(),
        limit_mode: keyward_contract::LimitMode::Enforce,
        fallback: None,
        grants: Vec::new(),
    }
}

fn state(set: &KeySet, recent: &mut Recent, key: &PlainKey) -> Option<KeyState> {
    match set.find(key.expose().as_bytes(), recent).0 {
        Lookup::Known(key) => Some(key.entry().record.state),
        Lookup::Unknown => None,
        Lookup::Unavailable => panic!("unavailable"),
    }
}

#[test]
fn nothing_can_be_said_before_the_first_snapshot_is_whole() {
    let fixture = Fixture::new();
    let account = account();
    let (plain, key) = fixture.key(&account);
    let mut recent = Recent::with_capacity(64);
    let answer = |recent: &mut Recent| fixture.set.find(plain.expose().as_bytes(), recent).0;
    assert!(!fixture.set.is_ready());
    assert!(matches!(answer(&mut recent), Lookup::Unavailable));
    let mut writer = fixture.set.begin_snapshot(Position::new("epoch", 5)).unwrap();
    writer
        .add(vec![
            (&Record::Account(account)).into(),
            (&Record::Key(key)).into(),
        ])
        .unwrap();
    assert!(matches!(answer(&mut recent), Lookup::Unavailable));
    writer.finish().unwrap();
    assert!(fixture.set.is_ready());
    assert!(matches!(answer(&mut recent), Lookup::Known(_)));
    assert_eq!(fixture.set.position(), Position::new("epoch", 5));
}

#[test]
fn a_change_is_seen_by_every_look_up_that_begins_after_it() {
    let fixture = Fixture::new();
    let account = account();
    let (plain, mut key) = fixture.key(&account);
    let (new_plain, new_key) = fixture.key(&account);
    fixture.snapshot(1, &[Record::Account(account), Record::Key(key.clone())]);
    let mut recent = Recent::with_capacity(64);
    // Looked up twice, so that the worker's own table, the cache and the negative cache all hold the old answer.
    for _ in 0..2 {
        assert_eq!(state(&fixture.set, &mut recent, &plain), Some(KeyState::Active));
        assert_eq!(state(&fixture.set, &mut recent, &new_plain), None);
    }
    key.state = KeyState::Revoked;
    fixture.change(2, &[Record::Key(key), Record::Key(new_key)]);
    assert_eq!(state(&fixture.set, &mut recent, &plain), Some(KeyState::Revoked));
    assert_eq!(
        state(&fixture.set, &mut recent, &new_plain),
        Some(KeyState::Active)
    );
}

#[test]
fn an_account_changes_for_all_its_keys_at_once() {
    let fixture = Fixture::new();
    let mut account = account();
    let (plain, key) = fixture.key(&account);
    fixture.snapshot(1, &[Record::Account(account.clone()), Record::Key(key)]);
    let mut recent = Recent::with_capacity(64);
    let Lookup::Known(held) = fixture.set.find(plain.expose().as_bytes(), &mut recent).0 else {
        panic!()
    };
    account.status = AccountStatus::Suspended;
    fixture.change(2, &[Record::Account(account)]);
    assert_eq!(
        held.entry().account.policy().record.status,
        AccountStatus::Suspended
    );
}

#[test]
fn a_slow_read_can_t_bring_an_old_answer_back() {
    let fixture = Fixture::new();
    let account = account();
    let (plain, mut key) = fixture.key(&account);
    fixture.snapshot(1, &[Record::Account(account), Record::Key(key.clone())]);
    // A reader notes the fence and reads the replica, and is held up before it inserts.
    let stamp = fixture.set.generations().stamp(&key.digest);
    let view = fixture.set.replica.view().unwrap();
    let read = view.key(&key.digest).unwrap().unwrap();
    let old = fixture.set.entry(read, &view).unwrap();
    key.state = KeyState::Revoked;
    fixture.change(2, &[Record::Key(key.clone())]);
    fixture.set.fence.known().insert(key.digest, (old, stamp));
    fixture.set.fence.unknown().insert(key.digest, stamp);
    assert_eq!(
        state(&fixture.set, &mut Recent::with_capacity(64), &plain),
        Some(KeyState::Revoked)
    );
}

#[test]
fn a_slow_read_can_t_bring_an_end_customers_old_limits_back() {
    let fixture = Fixture::new();
    let account = account();
    let (plain, mut key) = fixture.key(&account);
    key.customer = "clx8f2k9h0001qr5tgvwxyz12".parse().ok();
    fixture.snapshot(1, &[Record::Account(account.clone()), Record::Key(key.clone())]);
    let old = fixture.set.replica.view().unwrap();
    let lower = Limits { rate: 1, burst: 2 };
    key.customer_limits = Some(lower);
    fixture.change(2, &[Record::Key(key.clone())]);
    let answer = fixture
        .set
        .find(plain.expose().as_bytes(), &mut Recent::with_capacity(64));
    let Lookup::Known(held) = answer.0 else { panic!() };
    // A reader that was held up since before the change makes its entry now.
    let slow = old.key(&key.digest).unwrap().unwrap();
    fixture.set.entry(slow, &old).unwrap();
    assert_eq!(held.entry().customer_limits(account.limits), lower);
}

#[test]
fn a_restart_resumes_where_the_last_change_was() {
    let fixture = Fixture::new();
    let account = account();
    let (plain, mut key) = fixture.key(&account);
    fixture.snapshot(7, &[Record::Account(account), Record::Key(key.clone())]);
    key.state = KeyState::Revoked;
    fixture.change(8, &[Record::Key(key)]);
    let Fixture { folder, set, .. } = fixture;
    drop(set);
    let set = open(folder.path());
    assert!(set.is_ready());
    assert_eq!(set.position(), Position::new("epoch", 8));
    assert_eq!(
        state(&set, &mut Recent::with_capacity(64), &plain),
        Some(KeyState::Revoked)
    );
}

#[test]
fn a_snapshot_replaces_the_whole_and_a_broken_off_one_nothing() {
    let fixture = Fixture::new();
    let account = account();
    let (plain, key) = fixture.key(&account);
    let (other_plain, other) = fixture.key(&account);
    fixture.snapshot(1, &[Record::Account(account.clone()), Record::Key(key)]);
    let mut recent = Recent::with_capacity(64);
    let mut writer = fixture.set.begin_snapshot(Position::new("epoch", 9)).unwrap();
    writer.add(vec![(&Record::Key(other.clone())).into()]).unwrap();
    drop(writer);
    assert_eq!(state(&fixture.set, &mut recent, &plain), Some(KeyState::Active));
    assert_eq!(fixture.set.position().revision, 1);
    fixture.snapshot(10, &[Record::Account(account), Record::Key(other)]);
    assert_eq!(state(&fixture.set, &mut recent, &plain), None);
    assert_eq!(
        state(&fixture.set, &mut recent, &other_plain),
        Some(KeyState::Active)
    );
    let files = std::fs::read_dir(fixture.folder.path()).unwrap().flatten();
    assert_eq!(
        files
            .filter(|file| file.path().extension().is_some_and(|e| e == "base"))
            .count(),
        1
    );
}

#[test]
fn the_replica_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let replica = folder.path().join("replica");
    drop(open(&replica));
    let mode = std::fs::metadata(&replica).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
}

#[test]
fn a_bad_record_is_refused_alone() {
    let fixture = Fixture::new();
    let account = account();
    let (plain, key) = fixture.key(&account);
    fixture.snapshot(1, &[Record::Account(account)]);
    let broken = feed::Record {
        record: Some(feed::record::Record::Key(feed::Key::default())),
    };
    let change = feed::Change {
        revision: 2,
        records: vec![broken, (&Record::Key(key)).into()],
        ..feed::Change::default()
    };
    let refused = fixture.set.apply(vec![change]).unwrap();
    assert_eq!((refused.len(), refused[0].revision), (1, 2));
    assert_eq!(
        state(&fixture.set, &mut Recent::with_capacity(64), &plain),
        Some(KeyState::Active)
    );
}

#[test]
fn a_flood_of_unknown_keys_leaves_little_behind() {
    let fixture = Fixture::new();
    fixture.snapshot(1, &[Record::Account(account())]);
    let mut recent = Recent::with_capacity(64);
    for number in 0..60_000u32 {
        let answer = fixture.set.find(&number.to_le_bytes(), &mut recent).0;
        assert!(matches!(answer, Lookup::Unknown));
    }
    fixture.set.fence.unknown().run_pending_tasks();
    assert!(fixture.set.fence.unknown().entry_count() <= UNKNOWN_ENTRIES);
    assert_eq!(fixture.set.accounts.len() + fixture.set.customers.len(), 0);
}

#[test]
fn what_is_idle_is_forgotten_and_what_still_says_something_is_kept() {
    let fixture = Fixture::new();
    let account = account();
    let (plain, mut key) = fixture.key(&account);
    key.customer = "clx8f2k9h0001qr5tgvwxyz12".parse().ok();
    fixture.snapshot(1, &[Record::Account(account.clone()), Record::Key(key.clone())]);
    {
        let mut recent = Recent::with_capacity(64);
        let Lookup::Known(held) = fixture.set.find(plain.expose().as_bytes(), &mut recent).0 else {
            panic!()
        };
        held.entry()
            .customer
            .as_ref()
            .unwrap()
            .allowance
            .bucket
            .take(1_000, account.limits, 200);
    }
    fixture.set.fence.known().invalidate_all();
    // The cache lets go of its entries when it gets round to it.
    let cell_count = || fixture.set.customers.len() + fixture.set.accounts.len();
    let is_let_go = || {
        fixture.set.fence.known().run_pending_tasks();
        fixture
            .set
            .customers
            .iter()
            .all(|cell| Arc::strong_count(&cell) == 1)
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !is_let_go() {
        assert!(
            std::time::Instant::now() < deadline,
            "the cache keeps its entries"
        );
        std::thread::yield_now();
    }
    fixture.set.forget_idle(1_500);
    assert_eq!(cell_count(), 2, "a bucket that is not full was forgotten");
    fixture.set.forget_idle(3_000);
    assert_eq!(cell_count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the order of look-ups and changes, a look-up answers what the last change said.
    #[test]
    fn look_ups_follow_the_changes(steps in proptest::collection::vec((0usize..6, any::<bool>()), 1..40)) {
        let fixture = Fixture::new();
        let account = account();
        let mut keys: Vec<_> = (0..6).map(|_| fixture.key(&account)).collect();
        fixture.snapshot(1, &[Record::Account(account)]);
        let mut recent = Recent::with_capacity(64);
        let mut known = [None; 6];
        for (step, (index, is_change)) in steps.into_iter().enumerate() {
            if is_change {
                let record = &mut keys[index].1;
                let dead = known[index] == Some(KeyState::Active);
                record.state = if dead { KeyState::Disabled } else { KeyState::Active };
                known[index] = Some(record.state);
                fixture.change(step as u64 + 2, &[Record::Key(record.clone())]);
            }
            prop_assert_eq!(state(&fixture.set, &mut recent, &keys[index].0), known[index]);
        }
    }
}
