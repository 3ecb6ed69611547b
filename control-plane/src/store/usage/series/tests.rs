use proptest::prelude::*;

use super::*;

const HOUR_MS: i64 = 3_600_000;

/// How SQLite goes about a question.
async fn plan(store: &Store, question: Question, sql: &str) -> String {
    let sql = format!("EXPLAIN QUERY PLAN {sql}");
    let rows = question.ask(store.readers(), sql).await.unwrap();
    let steps: Vec<String> = rows.iter().map(|row| row.try_get(3).unwrap()).collect();
    steps.join("\n")
}

#[tokio::test]
async fn usage_is_read_by_ranges_of_whose_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/cp.db", folder.path().display());
    let store = Store::open(&url).await.unwrap();
    let customer: CustomerId = "clx8f2k9h0001qr5tgvwxyz12".parse().unwrap();
    let account = Selection {
        account: AccountId::new(),
        environment: Environment::Production,
        customer: None,
        key: None,
        route: None,
    };
    let of_customer = Selection {
        customer: Some(customer),
        ..account.clone()
    };
    let of_customers_key = Selection {
        key: Some(UsedKey::Customer(KeyId::new(), customer)),
        ..account.clone()
    };
    let of_key = Selection {
        key: Some(UsedKey::Account(KeyId::new())),
        ..account.clone()
    };
    for granularity in [Granularity::Hour, Granularity::Day, Granularity::Month] {
        let stretch = Stretch::new(granularity, UnixMillis(0), UnixMillis(HOUR_MS));
        let mut question = Question::default();
        let inner = totals(&mut question, &account, "", stretch);
        let plan_of_totals = plan(&store, question, &summed(&inner, "")).await;
        assert!(
            plan_of_totals.contains("(owner=? AND unit=? AND start>? AND start<?)"),
            "{plan_of_totals}"
        );
        for of in [&of_customer, &of_customers_key, &of_key, &account] {
            let by = NamedBy::Group(Grouping::Route);
            let mut question = Question::default();
            let inner = subjects(&mut question, of, by, stretch);
            let plan = plan(&store, question, &summed(&inner, "")).await;
            let range = match granularity {
                Granularity::Hour => "(subject=? AND hour>? AND hour<?)",
                _ => "(subject=? AND unit=? AND start>? AND start<?)",
            };
            assert!(plan.contains(range), "{plan}");
            let whose = match of.customer.is_some() || matches!(of.key, Some(UsedKey::Customer(..))) {
                true => "(account_id=? AND environment=? AND customer_id=?",
                false => "(account_id=? AND environment=?",
            };
            assert!(plan.contains(whose), "{plan}");
        }
    }
}

proptest! {
    #[test]
    fn pieces_are_the_same_time_without_gap_or_overlap(from in 0i64..600_000, length in 1i64..30_000, by_day: bool) {
        let granularity = if by_day { Granularity::Day } else { Granularity::Hour };
        let stretch = Stretch::new(granularity, UnixMillis(from * HOUR_MS), UnixMillis((from + length) * HOUR_MS));
        let mut spans: Vec<(UnixMillis, UnixMillis)> = stretch.pieces().into_iter()
            .map(|piece| (piece.start(piece.from), piece.start(piece.to)))
            .collect();
        spans.sort();
        prop_assert_eq!(spans[0].0, stretch.start(stretch.from));
        prop_assert_eq!(spans[spans.len() - 1].1, stretch.start(stretch.to));
        for pair in spans.windows(2) {
            prop_assert_eq!(pair[0].1, pair[1].0);
        }
        prop_assert!(spans.len() <= 5);
    }
}
