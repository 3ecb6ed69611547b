use std::time::Duration;

use proptest::prelude::*;

use super::*;

const NOW: UnixMillis = UnixMillis(1_768_824_000_000); // 2026-01-19
const START: Seen = Seen { told: 0, looked: 0 };
const TODAY: i64 = NOW.0 / 86_400_000;

fn boot(id: &str, epoch: u64) -> Boot {
    Boot {
        gateway_id: id.into(),
        epoch,
    }
}

fn spent(account: AccountId, boot: &Boot, accepted: u64) -> Spent {
    Spent {
        account,
        gateway_id: boot.gateway_id.clone(),
        boot_epoch: boot.epoch,
        day: TODAY,
        accepted,
    }
}

fn counted(boots: &[(&str, u64, u64)]) -> GatewayCounted {
    let boots: Vec<_> = boots
        .iter()
        .map(|(gateway, epoch, accepted)| ((*gateway).to_owned(), *epoch, *accepted))
        .collect();
    GatewayCounted {
        total: boots.iter().map(|(_, _, accepted)| accepted).sum(),
        boots,
    }
}

fn open(book: &QuotaBook, boot: &Boot, counted: &[(AccountId, i64, u64)]) {
    book.open(boot, counted, Instant::now());
}

/// What a boot is told of its only account.
#[track_caller]
fn told(book: &QuotaBook, boot: &Boot) -> feed::QuotaUsage {
    let (told, _) = book.changed(boot, START, 10);
    let [usage] = told.as_slice() else {
        panic!("{told:?}")
    };
    usage.clone()
}

fn named(usage: &feed::QuotaUsage) -> Vec<(&str, u64)> {
    let gateways = usage.gateways.iter();
    gateways
        .map(|gateway| (gateway.gateway_id.as_str(), gateway.used))
        .collect()
}

#[test]
fn each_boot_is_told_what_the_others_spent() {
    let (book, account) = (QuotaBook::default(), AccountId::new());
    let (a, b) = (boot("a", 1), boot("b", 1));
    book.heard(["a".into(), "b".into()], Instant::now());
    book.put(
        Wanted::new(account, None, NOW),
        &counted(&[("a", 1, 30), ("c", 4, 70)]),
    );
    assert_eq!(book.changed(&a, START, 10), (vec![], START));
    open(&book, &a, &[(account, TODAY, 30)]);
    open(&book, &b, &[]);
    let usage = told(&book, &a);
    assert_eq!((usage.used_elsewhere, usage.used_by_others), (70, 70));
    let (_, seen) = book.changed(&a, START, 10);
    book.add(&[spent(account, &a, 5), spent(account, &b, 7)]);
    let (told_a, _) = book.changed(&a, seen, 10);
    assert_eq!((told_a.len(), told_a[0].used_elsewhere), (1, 77));
    assert_eq!(named(&told_a[0]), [("b", 7)]);
    let (told_b, seen) = book.changed(&b, seen, 10);
    assert_eq!(told_b[0].used_elsewhere, 105);
    assert_eq!(named(&told_b[0]), [("a", 35)]);
    assert_eq!(book.changed(&b, seen, 10).0, []);
}

#[test]
fn what_a_gateway_counts_itself_is_no_news_to_it_and_hides_none() {
    let (book, account) = (QuotaBook::default(), AccountId::new());
    let (a, b) = (boot("a", 1), boot("b", 1));
    open(&book, &a, &[]);
    open(&book, &b, &[]);
    book.put(Wanted::new(account, None, NOW), &counted(&[]));
    let (_, seen) = book.changed(&a, START, 10);
    book.add(&[spent(account, &a, 5)]);
    let (told, later) = book.changed(&a, seen, 10);
    assert!(told.is_empty() && later.looked() > seen.looked());
    book.add(&[spent(account, &b, 7)]);
    book.add(&[spent(account, &a, 1)]);
    assert_eq!(book.changed(&a, later, 10).0[0].used_elsewhere, 7);
    // What an earlier start of it counted is news.
    let (_, seen) = book.changed(&a, START, 10);
    book.add(&[spent(account, &boot("a", 0), 3)]);
    assert_eq!(book.changed(&a, seen, 10).0[0].used_here_before, 3);
}

#[test]
fn a_sum_that_is_read_again_and_is_the_same_is_no_news() {
    let (book, account) = (QuotaBook::default(), AccountId::new());
    let a = boot("a", 1);
    open(&book, &a, &[]);
    let wanted = Wanted::new(account, None, NOW);
    book.put(wanted, &counted(&[("b", 1, 7)]));
    let (_, seen) = book.changed(&a, START, 10);
    book.put(wanted, &counted(&[("b", 1, 7)]));
    assert_eq!(book.changed(&a, seen, 10), (vec![], seen));
    book.put(wanted, &counted(&[("b", 1, 8)]));
    assert_eq!(book.changed(&a, seen, 10).0[0].used_elsewhere, 8);
}

#[test]
fn nothing_is_told_to_a_boot_that_another_has_followed() {
    let (book, account) = (QuotaBook::default(), AccountId::new());
    let (first, second) = (boot("a", 1), boot("a", 2));
    open(&book, &first, &[]);
    book.put(Wanted::new(account, None, NOW), &counted(&[]));
    book.add(&[spent(account, &first, 5)]);
    open(&book, &second, &[]);
    assert_eq!(book.changed(&first, START, 10).0, []);
    let usage = told(&book, &second);
    assert_eq!((usage.used_elsewhere, usage.used_here_before), (5, 5));
    // What the first start counted and is reported late.
    book.add(&[spent(account, &first, 2), spent(account, &second, 1)]);
    let usage = told(&book, &second);
    assert_eq!((usage.used_elsewhere, usage.used_here_before), (7, 7));
}

#[test]
fn a_gateway_that_was_silent_for_a_day_is_no_longer_named() {
    let (book, account) = (QuotaBook::default(), AccountId::new());
    let (a, began) = (boot("a", 1), Instant::now());
    assert_eq!(book.heard(["a".into(), "b".into()], began), ["a", "b"]);
    book.put(
        Wanted::new(account, None, NOW),
        &counted(&[("b", 1, 7), ("a", 0, 1)]),
    );
    let later = began + Duration::from_secs(86_400);
    book.open(&a, &[], later - Duration::from_secs(1));
    book.forget_silent(later - Duration::from_secs(1));
    assert_eq!(named(&told(&book, &a)), [("b", 7)]);
    book.forget_silent(later);
    let usage = told(&book, &a);
    assert_eq!((named(&usage), usage.used_by_others), (vec![], 7));
    assert_eq!((usage.used_elsewhere, usage.used_here_before), (8, 1));
    // It comes back: its part is not known until all is read again.
    assert_eq!(book.heard(["a".into(), "b".into()], later), ["b"]);
}

#[test]
fn at_most_a_thousand_are_named_those_that_counted_most() {
    let (book, account) = (QuotaBook::default(), AccountId::new());
    let ids: Vec<String> = (0..1_200).map(|at| format!("g{at}")).collect();
    book.heard(ids.iter().cloned(), Instant::now());
    let boots: Vec<(&str, u64, u64)> = ids
        .iter()
        .zip(1..)
        .map(|(id, used)| (id.as_str(), 1, used))
        .collect();
    book.put(Wanted::new(account, None, NOW), &counted(&boots));
    let asker = boot("asker", 1);
    open(&book, &asker, &[]);
    let usage = told(&book, &asker);
    assert_eq!(usage.gateways.len(), MOST_KEPT);
    assert!(usage.gateways.iter().all(|gateway| gateway.used > 200));
    assert_eq!(usage.used_by_others, (1..=200).sum::<u64>());
    assert_eq!(usage.used_elsewhere, (1..=1_200).sum::<u64>());
}

#[test]
fn what_lies_outside_the_period_is_not_counted() {
    let (book, account) = (QuotaBook::default(), AccountId::new());
    let a = boot("a", 1);
    book.put(Wanted::new(account, None, NOW), &counted(&[("b", 1, 100)]));
    open(&book, &a, &[(account, 20_000, 50)]);
    let late = Spent {
        day: 20_000,
        ..spent(account, &a, 9)
    };
    book.add(&[late]);
    assert_eq!(told(&book, &a).used_elsewhere, 100);
}

#[test]
fn what_no_gateway_is_known_to_have_counted_counts_too() {
    let (book, account) = (QuotaBook::default(), AccountId::new());
    let a = boot("a", 1);
    open(&book, &a, &[]);
    let sums = GatewayCounted {
        total: 100,
        ..counted(&[("a", 1, 30)])
    };
    book.put(Wanted::new(account, None, NOW), &sums);
    let usage = told(&book, &a);
    assert_eq!((usage.used_elsewhere, usage.used_by_others), (70, 70));
}

#[test]
fn what_is_told_at_once_is_bounded_and_the_rest_comes_next() {
    let book = QuotaBook::default();
    let a = boot("a", 1);
    open(&book, &a, &[]);
    for _ in 0..25 {
        book.put(Wanted::new(AccountId::new(), None, NOW), &counted(&[("b", 1, 1)]));
    }
    let (mut seen, mut told) = (START, 0);
    for expected in [10, 10, 5, 0] {
        let (some, last) = book.changed(&a, seen, 10);
        assert_eq!(some.len(), expected);
        (seen, told) = (last, told + some.len());
    }
    assert_eq!((told, seen.looked()), (25, *book.newest().borrow()));
}

#[test]
fn a_period_that_is_over_or_a_changed_contract_is_noticed() {
    let (book, account) = (QuotaBook::default(), AccountId::new());
    book.put(Wanted::new(account, None, NOW), &counted(&[("b", 1, 100)]));
    assert_eq!(book.outdated(NOW), []);
    let next_year = UnixMillis(NOW.0 + 365 * 86_400_000);
    assert_eq!(book.outdated(next_year), [Wanted::new(account, None, next_year)]);
    let start = Some(UnixMillis(NOW.0 - 86_400_000));
    book.contract_changed(account, start);
    assert_eq!(book.outdated(NOW), [Wanted::new(account, start, NOW)]);
}

/// What happens to a book.
#[derive(Clone, Debug)]
enum Step {
    /// A merge added this to some account: by which gateway's which start.
    Merge(usize, usize, u64, u64),
    /// Another control plane merged, and nobody has told it yet.
    MergeElsewhere(usize, usize, u64, u64),
    /// A stream of this start began.
    Open(usize, u64),
    /// An account's sums are read again.
    Read(usize),
    /// All are, and everybody was heard.
    ReadAll,
    /// Hours pass, and one gateway is heard.
    Pass(usize, u64),
}

const GATEWAYS: [&str; 4] = ["a", "b", "c", "d"];
const ACCOUNTS: usize = 3;

fn step() -> impl Strategy<Value = Step> {
    let (account, gateway, epoch, accepted) = (0..ACCOUNTS, 0..GATEWAYS.len(), 1..4u64, 1..100u64);
    prop_oneof![
        6 => (account.clone(), gateway.clone(), epoch.clone(), accepted.clone())
            .prop_map(|(a, g, e, n)| Step::Merge(a, g, e, n)),
        2 => (account.clone(), gateway.clone(), epoch.clone(), accepted)
            .prop_map(|(a, g, e, n)| Step::MergeElsewhere(a, g, e, n)),
        3 => (gateway.clone(), epoch).prop_map(|(g, e)| Step::Open(g, e)),
        2 => account.prop_map(Step::Read),
        1 => Just(Step::ReadAll),
        1 => (gateway, 1..30u64).prop_map(|(g, h)| Step::Pass(g, h)),
    ]
}

/// What the database says, and what of it the book was told.
#[derive(Default)]
struct Truth {
    /// By account, gateway and start.
    counted: BTreeMap<(usize, usize, u64), u64>,
    opened: BTreeMap<usize, u64>,
}

impl Truth {
    fn counted(&self, account: usize) -> GatewayCounted {
        let boots = self.counted.iter().filter(|((of, ..), _)| *of == account);
        let boots: Vec<_> = boots
            .map(|((_, gateway, epoch), n)| (GATEWAYS[*gateway], *epoch, *n))
            .collect();
        counted(&boots)
    }

    fn sum(&self, of: impl Fn(&(usize, usize, u64)) -> bool) -> u64 {
        let some = self.counted.iter().filter(|(key, _)| of(key));
        some.map(|(_, n)| n).sum()
    }
}

/// A book and the truth, as they move on together.
struct World {
    book: QuotaBook,
    truth: Truth,
    accounts: Vec<AccountId>,
    now: Instant,
    /// Accounts that another control plane moved and that were not read since.
    stale: BTreeSet<usize>,
}

impl World {
    fn read(&mut self, account: usize) {
        let sums = self.truth.counted(account);
        self.book
            .put(Wanted::new(self.accounts[account], None, NOW), &sums);
        self.stale.remove(&account);
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Merge(account, gateway, epoch, n) => {
                *self.truth.counted.entry((account, gateway, epoch)).or_default() += n;
                let boot = boot(GATEWAYS[gateway], epoch);
                let unknown = self.book.add(&[spent(self.accounts[account], &boot, n)]);
                if !unknown.is_empty() {
                    self.read(account);
                }
            }
            Step::MergeElsewhere(account, gateway, epoch, n) => {
                *self.truth.counted.entry((account, gateway, epoch)).or_default() += n;
                self.stale.insert(account);
            }
            Step::Open(gateway, epoch) => {
                let boot = boot(GATEWAYS[gateway], epoch);
                if !self
                    .book
                    .heard([GATEWAYS[gateway].to_owned()], self.now)
                    .is_empty()
                {
                    (0..ACCOUNTS).for_each(|account| self.read(account));
                }
                let rows: Vec<_> = (0..ACCOUNTS)
                    .filter_map(|account| {
                        let n = self.truth.counted.get(&(account, gateway, epoch))?;
                        Some((self.accounts[account], TODAY, *n))
                    })
                    .collect();
                self.book.open(&boot, &rows, self.now);
                self.truth.opened.insert(gateway, epoch);
            }
            Step::Read(account) => self.read(account),
            Step::ReadAll => {
                self.book.heard(GATEWAYS.map(str::to_owned), self.now);
                (0..ACCOUNTS).for_each(|account| self.read(account));
            }
            Step::Pass(gateway, hours) => {
                self.now += Duration::from_secs(hours * 3_600);
                self.book.heard([GATEWAYS[gateway].to_owned()], self.now);
                // A new one was not kept apart: all is read again.
                (0..ACCOUNTS).for_each(|account| self.read(account));
                self.book.forget_silent(self.now);
            }
        }
    }

    /// Every part of everything that any stream is told now.
    fn check(&self) -> Result<(), TestCaseError> {
        for (gateway, epoch) in &self.truth.opened {
            let (told, _) = self.book.changed(&boot(GATEWAYS[*gateway], *epoch), START, 100);
            for usage in told {
                let parts: u64 = usage.gateways.iter().map(|gateway| gateway.used).sum();
                let sum = usage.used_here_before + parts + usage.used_by_others;
                prop_assert_eq!(usage.used_elsewhere, sum, "{:?}", usage);
                let account = self
                    .accounts
                    .iter()
                    .position(|id| id.as_uuid().as_bytes().as_slice() == usage.account_id)
                    .unwrap();
                if !self.stale.contains(&account) {
                    self.check_exact(account, (*gateway, *epoch), &usage)?;
                }
            }
        }
        Ok(())
    }

    fn check_exact(
        &self,
        account: usize,
        (gateway, epoch): (usize, u64),
        usage: &feed::QuotaUsage,
    ) -> Result<(), TestCaseError> {
        let truth = &self.truth;
        let all = truth.sum(|(of, ..)| *of == account);
        let own = truth.sum(|key| *key == (account, gateway, epoch));
        let here = truth.sum(|(of, by, _)| (*of, *by) == (account, gateway));
        prop_assert_eq!(usage.used_elsewhere, all - own);
        prop_assert_eq!(usage.used_here_before, here - own);
        for named in &usage.gateways {
            let by = GATEWAYS.iter().position(|id| *id == named.gateway_id).unwrap();
            prop_assert!(by != gateway);
            prop_assert_eq!(named.used, truth.sum(|(of, who, _)| (*of, *who) == (account, by)));
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Whatever is merged here and elsewhere, starts, is read again or falls silent: the parts come to the whole, of one
    /// moment, and each part is what that gateway counted.
    #[test]
    fn the_parts_that_a_gateway_is_told_come_to_the_whole(steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World {
            book: QuotaBook::default(),
            truth: Truth::default(),
            accounts: (0..ACCOUNTS).map(|_| AccountId::new()).collect(),
            now: Instant::now(),
            stale: BTreeSet::new(),
        };
        for step in steps {
            world.take(step);
            world.check()?;
        }
    }

    /// A stream that follows the changes knows in the end what one that asks anew is told.
    #[test]
    fn who_follows_the_changes_misses_none(steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World {
            book: QuotaBook::default(),
            truth: Truth::default(),
            accounts: (0..ACCOUNTS).map(|_| AccountId::new()).collect(),
            now: Instant::now(),
            stale: BTreeSet::new(),
        };
        let (mut following, mut seen, mut knows) = (None, START, HashMap::new());
        for step in steps {
            world.take(step);
            let opened = world.truth.opened.get(&0).map(|epoch| boot(GATEWAYS[0], *epoch));
            if opened != following {
                (following, seen) = (opened, START);
                knows.clear();
            }
            let Some(boot) = &following else { continue };
            let (told, last) = world.book.changed(boot, seen, 2);
            seen = last;
            for usage in told {
                knows.insert(usage.account_id, usage.used_elsewhere);
            }
        }
        // What other control planes merged is read again within a moment.
        for account in world.stale.clone() {
            world.read(account);
        }
        let Some(boot) = &following else { return Ok(()) };
        while seen.looked() < *world.book.newest().borrow() {
            let (told, last) = world.book.changed(boot, seen, 2);
            if last == seen {
                // It was silent for a day: nothing is told to it before it comes again.
                return Ok(());
            }
            seen = last;
            knows.extend(told.into_iter().map(|usage| (usage.account_id, usage.used_elsewhere)));
        }
        for usage in world.book.changed(boot, START, 100).0 {
            prop_assert_eq!(knows.get(&usage.account_id), Some(&usage.used_elsewhere));
        }
    }
}
