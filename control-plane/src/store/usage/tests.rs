//! What merging promises, on a real SQLite file.

use keyward_contract::feed;
use proptest::prelude::*;

use super::*;

mod laws;
mod starts;

const NOON: UnixMillis = UnixMillis(1_768_824_000_000); // 2026-01-19T12:00:00Z
const CUSTOMER: &str = "clx8f2k9h0001qr5tgvwxyz12";

async fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("sqlite://{}/cp.db", folder.path().display()))
        .await
        .unwrap();
    (folder, store)
}

fn counter(account: AccountId, hour: i64, accepted: u64) -> feed::UsageCounter {
    feed::UsageCounter {
        account_id: account.as_uuid().as_bytes().to_vec(),
        environment: feed::Environment::Production.into(),
        customer_id: CUSTOMER.into(),
        route: "/".into(),
        hour,
        accepted,
        last_accepted_at_ms: hour * 3_600_000 + i64::try_from(accepted).unwrap(),
        boot_epoch: 1,
        ..feed::UsageCounter::default()
    }
}

fn report(gateway: &str, counters: Vec<feed::UsageCounter>) -> Report {
    Report {
        gateway_id: gateway.into(),
        counters: counters
            .into_iter()
            .map(|counter| Reported::check(counter, 1).unwrap())
            .collect(),
    }
}

async fn used(store: &Store, account: AccountId) -> CustomerUsage {
    customer_usage(
        store,
        account,
        Environment::Production,
        CUSTOMER.parse().unwrap(),
        NOON,
    )
    .await
    .unwrap()
}

#[tokio::test]
async fn a_repeated_report_adds_nothing() {
    let (_folder, store) = store().await;
    let (account, hour) = (AccountId::new(), NOON.hour());
    let mut merger = Merger::default();
    let reports = [report("a", vec![counter(account, hour, 5)])];
    let spent = merger.merge(&store, &reports).await.unwrap();
    assert_eq!(spent.iter().map(|spent| spent.accepted).sum::<u64>(), 5);
    // The same again, by this process and by one that remembers nothing.
    assert_eq!(merger.merge(&store, &reports).await.unwrap(), []);
    assert_eq!(Merger::default().merge(&store, &reports).await.unwrap(), []);
    assert_eq!(used(&store, account).await.day.accepted, 5);
    // An older one that came late.
    let late = [report("a", vec![counter(account, hour, 3)])];
    assert_eq!(merger.merge(&store, &late).await.unwrap(), []);
    assert_eq!(used(&store, account).await.day.accepted, 5);
}

#[tokio::test]
async fn gateways_and_boots_add_up() {
    let (_folder, store) = store().await;
    let (account, hour) = (AccountId::new(), NOON.hour());
    let second_boot = feed::UsageCounter {
        boot_epoch: 2,
        ..counter(account, hour, 7)
    };
    let reports = [
        report("a", vec![counter(account, hour, 5), second_boot]),
        report("b", vec![counter(account, hour, 11)]),
    ];
    Merger::default().merge(&store, &reports).await.unwrap();
    let period = QuotaPeriod::at(NOON, None);
    let usage = account_usage(&store, account, period, NOON).await.unwrap();
    assert_eq!((usage.in_period, usage.month, usage.year), (23, 23, 23));
    assert_eq!(spent_in(&store, account, period).await.unwrap(), 23);
    let own = spent_by_boot(&store, "a", 2).await.unwrap();
    assert_eq!(own, [(account, day_of(NOON), 7)]);
}

#[tokio::test]
async fn days_months_years_and_periods_are_kept_apart() {
    let (_folder, store) = store().await;
    let (account, hour) = (AccountId::new(), NOON.hour());
    let counters = vec![
        counter(account, hour, 1),
        counter(account, hour - 24, 10),          // yesterday
        counter(account, hour - 24 * 18, 100),    // 1 January
        counter(account, hour - 24 * 19, 1000),   // 31 December
        counter(account, hour - 24 * 400, 10000), // over a year ago
    ];
    Merger::default()
        .merge(&store, &[report("a", counters)])
        .await
        .unwrap();
    let usage = used(&store, account).await;
    assert_eq!(
        (usage.day.accepted, usage.month.accepted, usage.year.accepted),
        (1, 111, 111)
    );
    let contract = Some(UnixMillis(NOON.0 - 30 * DAY_MS));
    let in_contract = account_usage(&store, account, QuotaPeriod::at(NOON, contract), NOON)
        .await
        .unwrap();
    assert_eq!(
        (in_contract.in_period, in_contract.month, in_contract.year),
        (1111, 111, 111)
    );
}

#[tokio::test]
async fn kinds_of_refusal_the_bucket_and_last_use_are_told() {
    let (_folder, store) = store().await;
    let (account, account_key, customer_key) = (AccountId::new(), KeyId::new(), KeyId::new());
    let counter = feed::UsageCounter {
        rate_limited: 2,
        quota_refused: 3,
        auth_refused: 4,
        account_key_id: account_key.as_uuid().as_bytes().to_vec(),
        customer_key_id: customer_key.as_uuid().as_bytes().to_vec(),
        last_refused_at_ms: NOON.0 + 9,
        bucket_millitokens: 1500,
        bucket_at_ms: NOON.0,
        ..counter(account, NOON.hour(), 1)
    };
    let older = feed::UsageCounter {
        bucket_millitokens: 9,
        bucket_at_ms: NOON.0 - 1,
        ..counter.clone()
    };
    let mut merger = Merger::default();
    for counter in [counter, older] {
        merger.merge(&store, &[report("a", vec![counter])]).await.unwrap();
    }
    let usage = used(&store, account).await;
    assert_eq!(
        usage.day,
        UsageCounts {
            accepted: 1,
            limited: 5,
            refused: 4
        }
    );
    assert_eq!(usage.last_request_at, Some(UnixMillis(NOON.0 + 9)));
    assert_eq!(usage.bucket.map(|bucket| bucket.millitokens), Some(1500));
    let stranger = KeyId::new();
    let used = last_used(&store, &[account_key, customer_key, stranger])
        .await
        .unwrap();
    assert_eq!(
        used.get(&account_key),
        Some(&UnixMillis(NOON.hour() * 3_600_000 + 1))
    );
    assert_eq!(used.get(&customer_key), used.get(&account_key));
    assert_eq!(used.get(&stranger), None);
}

/// One counter as it grew, and the order in which its values arrive.
#[derive(Clone, Debug)]
struct Arrival {
    gateway: usize,
    boot: u64,
    hour: i64,
    accepted: u64,
}

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let one = (0..2usize, 1..3u64, 0..3i64, 0..50u64).prop_map(|(gateway, boot, hour, accepted)| Arrival {
        gateway,
        boot,
        hour,
        accepted,
    });
    proptest::collection::vec(one, 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever the order, repetition and grouping of reports, the sums are those of the greatest values.
    #[test]
    fn any_order_and_repetition_of_reports_gives_the_same_sums(
        arrivals in arrivals(), again in arrivals().prop_shuffle(), group in 1..5usize,
    ) {
        let account = AccountId::new();
        let mut greatest: HashMap<(usize, u64, i64), u64> = HashMap::new();
        let all: Vec<Arrival> = arrivals.iter().chain(&again).chain(&arrivals).cloned().collect();
        for arrival in &all {
            let value = greatest.entry((arrival.gateway, arrival.boot, arrival.hour)).or_default();
            *value = (*value).max(arrival.accepted);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (sum, spent) = runtime.block_on(async {
            let (_folder, store) = store().await;
            let mut merger = Merger::default();
            let mut spent = 0;
            for batch in all.chunks(group) {
                let reports: Vec<Report> = batch.iter().map(|arrival| {
                    let counter = counter(account, NOON.hour() - arrival.hour * 24, arrival.accepted);
                    report(["a", "b"][arrival.gateway], vec![feed::UsageCounter { boot_epoch: arrival.boot, ..counter }])
                }).collect();
                let added = merger.merge(&store, &reports).await.unwrap();
                spent += added.iter().map(|spent| spent.accepted).sum::<u64>();
            }
            (account_usage(&store, account, QuotaPeriod::at(NOON, None), NOON).await.unwrap(), spent)
        });
        let expected: u64 = greatest.values().sum();
        prop_assert_eq!((sum.in_period, sum.month, spent), (expected, expected, expected));
    }
}
