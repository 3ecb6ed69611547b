//! The law: whatever is made and deleted, in whatever order, a page is what a sorted list would show.

use keyward_contract::{CustomerId, Limits};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::super::{Page, bury_cut, insert_cut, list};
use super::*;
use crate::domain::account::{Account, EnvironmentSettings, Environments, Metadata};
use crate::domain::customer::EndCustomer;
use crate::domain::text::Name;
use crate::store::{Purpose, Store, accounts};

/// So small that a few dozen customers are many ranges.
const SMALL: Cut = Cut { full: 4, sparse: 3 };

#[derive(Clone, Debug)]
enum Step {
    /// One is made this long after the newest, or before it when a clock is behind.
    Make(i64),
    /// The one at this place among the living is deleted.
    Delete(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        // Equal instants are common: a thousand customers are made in one by a bulk load.
        3 => prop_oneof![Just(0), 1i64..5].prop_map(Step::Make),
        1 => (-40i64..0).prop_map(Step::Make),
        2 => any::<prop::sample::Index>().prop_map(Step::Delete),
    ]
}

async fn store() -> (tempfile::TempDir, Store, AccountId) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("sqlite://{}/cp.db", folder.path().display()))
        .await
        .unwrap();
    let account = Account {
        id: AccountId::new(),
        company_name: Name::from_stored("Acme".into()),
        contact_email: "it@example.com".into(),
        tier: "growth".into(),
        status: keyward_contract::AccountStatus::Active,
        contract: keyward_contract::Contract::default(),
        overrides: None,
        metadata: Metadata::default(),
        limits: Limits { rate: 1, burst: 1 },
        annual_limit: 1,
        environments: Environments {
            test: EnvironmentSettings::random().unwrap(),
            production: EnvironmentSettings::random().unwrap(),
        },
        created_at: UnixMillis(0),
        updated_at: UnixMillis(0),
    };
    let mut tx = store.begin(Purpose::Change).await.unwrap();
    accounts::insert(&mut tx, &account).await.unwrap();
    tx.commit().await.unwrap();
    (folder, store, account.id)
}

fn customer(account: AccountId, made: i64, number: usize) -> EndCustomer {
    EndCustomer {
        account,
        environment: Environment::Production,
        id: CustomerId::mint(UnixMillis(made)).unwrap(),
        name: Name::from_stored(format!("Customer {number}")),
        limits: None,
        created_at: UnixMillis(made),
        updated_at: UnixMillis(made),
    }
}

/// Newest first, id as tie-break.
fn sorted(living: &[EndCustomer]) -> Vec<CustomerId> {
    let mut order: Vec<_> = living
        .iter()
        .map(|customer| (customer.created_at, customer.id.to_string(), customer.id))
        .collect();
    order.sort_by(|a, b| (b.0, &b.1).cmp(&(a.0, &a.1)));
    order.into_iter().map(|(_, _, id)| id).collect()
}

async fn ranges(tx: &mut Tx, account: AccountId) -> Vec<(i64, i64)> {
    sqlx::query_as(
        "SELECT start_at, live FROM end_customer_chunks WHERE account_id = $1 AND environment = 'production' \
         ORDER BY start_at",
    )
    .bind(account.to_string())
    .fetch_all(&mut **tx)
    .await
    .unwrap()
}

/// All pages of three, and what lies beyond the end.
async fn check_pages(tx: &mut Tx, account: AccountId, living: &[EndCustomer]) {
    let expected = sorted(living);
    let total = i64::try_from(expected.len()).unwrap();
    for offset in (0..expected.len() + 5).chain([usize::try_from(i64::MAX).unwrap()]) {
        let page = Page {
            limit: 3,
            offset: i64::try_from(offset).unwrap(),
        };
        let (shown, counted) = list(tx, account, Environment::Production, page).await.unwrap();
        let shown: Vec<_> = shown.iter().map(|customer| customer.id).collect();
        let wanted: Vec<_> = expected.iter().skip(offset).take(3).copied().collect();
        assert_eq!((shown, counted), (wanted, total), "at {offset}");
    }
}

#[test]
fn any_page_is_what_a_sorted_list_would_show_after_any_creations_and_deletions() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (_folder, store, account) = runtime.block_on(store());
    let mut runner = TestRunner::new(ProptestConfig::with_cases(64));
    let steps = prop::collection::vec(step(), 1..60);
    let law = runner.run(&steps, |steps| {
        runtime.block_on(async {
            // Rolled back at the end: every case begins with an empty list.
            let mut tx = store.begin(Purpose::Change).await.unwrap();
            let mut living: Vec<EndCustomer> = Vec::new();
            let mut now = 1_000;
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Make(after) => {
                        now += after.max(0);
                        let made = customer(account, now + after.min(0), number);
                        insert_cut(&mut tx, &made, SMALL).await.unwrap();
                        living.push(made);
                    }
                    Step::Delete(_) if living.is_empty() => {}
                    Step::Delete(which) => {
                        let gone = living.swap_remove(which.index(living.len()));
                        bury_cut(&mut tx, &gone, UnixMillis(now), SMALL).await.unwrap();
                    }
                }
            }
            check_pages(&mut tx, account, &living).await;
            let ranges = ranges(&mut tx, account).await;
            for neighbours in ranges.windows(2) {
                assert!(neighbours[0].1 + neighbours[1].1 > SMALL.sparse, "{ranges:?}");
            }
        });
        Ok(())
    });
    law.unwrap();
}

#[tokio::test]
async fn the_migration_cuts_what_was_there_as_changes_would_have() {
    let (_folder, store, account) = store().await;
    let mut tx = store.begin(Purpose::Change).await.unwrap();
    let mut living = Vec::new();
    // Three at each instant, but 1 500 at one.
    for number in 0..4_500usize {
        let at = match number {
            1_500..3_000 => 900,
            number => i64::try_from(number / 3).unwrap() + 100,
        };
        let made = customer(account, at, number);
        insert_cut(&mut tx, &made, CUT).await.unwrap();
        living.push(made);
    }
    for gone in living.drain(..10) {
        bury_cut(&mut tx, &gone, UnixMillis(9_000), CUT).await.unwrap();
    }
    let text = include_str!("../../../../migrations/sqlite/0008_lists.sql");
    let fill = text
        .split(';')
        .find(|statement| statement.contains("INSERT INTO"))
        .unwrap();
    sqlx::query("DELETE FROM end_customer_chunks")
        .execute(&mut *tx)
        .await
        .unwrap();
    sqlx::query(fill).execute(&mut *tx).await.unwrap();
    let ranges = ranges(&mut tx, account).await;
    let (starts, counts): (Vec<_>, Vec<_>) = ranges.iter().copied().unzip();
    assert_eq!(starts[0], 0);
    assert_eq!(counts.iter().sum::<i64>(), 4_490);
    assert!((4..=5).contains(&ranges.len()), "{ranges:?}");
    let expected = sorted(&living);
    for offset in [0, 999, 1_000, 1_499, 2_000, 3_000, 4_489, 4_490] {
        let page = Page { limit: 100, offset };
        let (shown, total) = list(&mut tx, account, Environment::Production, page)
            .await
            .unwrap();
        let shown: Vec<_> = shown.iter().map(|customer| customer.id).collect();
        let wanted: Vec<_> = expected
            .iter()
            .skip(usize::try_from(offset).unwrap())
            .take(100)
            .copied()
            .collect();
        assert_eq!((shown, total), (wanted, 4_490), "at {offset}");
    }
}
