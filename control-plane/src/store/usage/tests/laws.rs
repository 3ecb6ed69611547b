//! Whatever order reports come in, however often and late, whatever is folded and deleted in between: every sum is that
//! of what the gateways counted.

use std::collections::BTreeMap;

use super::*;

const GATEWAYS: [&str; 2] = ["a", "b"];
const KEYS: usize = 2;

/// What happens.
#[derive(Clone, Debug)]
enum Event {
    /// A gateway counts calls.
    Counts {
        gateway: usize,
        key: usize,
        hours_ago: i64,
        calls: u64,
    },
    /// It reports what one of its starts counted so far.
    Reports {
        gateway: usize,
        starts_ago: u64,
        merger: usize,
    },
    /// A report that was sent before comes again, or only now.
    Repeats {
        which: usize,
        merger: usize,
    },
    /// It is killed and starts again.
    Restarts {
        gateway: usize,
    },
    /// Its earlier starts have nothing more to report, and it says so.
    Settles {
        gateway: usize,
    },
    Folds {
        steps: usize,
    },
    Forgets {
        steps: usize,
    },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let gateway = 0..GATEWAYS.len();
    let hours_ago = prop_oneof![0..30i64, 24 * 6..24 * 8i64, 24 * 28..24 * 70i64];
    let one = prop_oneof![
        6 => (gateway.clone(), 0..KEYS, hours_ago, 1..50u64)
            .prop_map(|(gateway, key, hours_ago, calls)| Event::Counts { gateway, key, hours_ago, calls }),
        6 => (gateway.clone(), 0..3u64, 0..2usize)
            .prop_map(|(gateway, starts_ago, merger)| Event::Reports { gateway, starts_ago, merger }),
        4 => (0..40usize, 0..2usize).prop_map(|(which, merger)| Event::Repeats { which, merger }),
        2 => gateway.clone().prop_map(|gateway| Event::Restarts { gateway }),
        2 => gateway.prop_map(|gateway| Event::Settles { gateway }),
        2 => (1..6usize).prop_map(|steps| Event::Folds { steps }),
        2 => (1..4usize).prop_map(|steps| Event::Forgets { steps }),
    ];
    proptest::collection::vec(one, 1..60)
}

const HORIZON: Horizon = Horizon {
    hours: UnixMillis(NOON.0 - 7 * DAY_MS),
    days: UnixMillis(NOON.0 - 30 * DAY_MS),
};

struct World {
    store: Store,
    account: AccountId,
    keys: [KeyId; KEYS],
    mergers: [Merger; 2],
    present: [u64; GATEWAYS.len()],
    /// Calls by gateway, start, key and hour.
    truth: BTreeMap<(usize, u64, usize, i64), u64>,
    sent: Vec<Report>,
    spent: u64,
}

impl World {
    async fn happens(&mut self, event: Event) {
        match event {
            Event::Counts {
                gateway,
                key,
                hours_ago,
                calls,
            } => {
                let counter = (gateway, self.present[gateway], key, NOON.hour() - hours_ago);
                *self.truth.entry(counter).or_default() += calls;
            }
            Event::Reports {
                gateway,
                starts_ago,
                merger,
            } => {
                let start = self.present[gateway].saturating_sub(starts_ago).max(1);
                self.report(gateway, start, merger).await;
            }
            Event::Repeats { which, merger } => {
                if let Some(report) = self.sent.get(which).cloned() {
                    self.merge(merger, report).await;
                }
            }
            Event::Restarts { gateway } => self.present[gateway] += 1,
            Event::Settles { gateway } => self.settle(gateway).await,
            Event::Folds { steps } => {
                let before = self.months().await;
                for _ in 0..steps {
                    fold(&self.store).await.unwrap();
                }
                assert_eq!(self.months().await, before);
            }
            Event::Forgets { steps } => {
                let before = self.months().await;
                for _ in 0..steps {
                    forget(&self.store, HORIZON).await.unwrap();
                }
                assert_eq!(self.months().await, before);
            }
        }
    }

    async fn settle(&mut self, gateway: usize) {
        let present = self.present[gateway];
        for start in 1..present {
            self.report(gateway, start, 0).await;
        }
        let starts = Starts {
            present,
            oldest: present,
        };
        hear(&self.store, GATEWAYS[gateway], starts, NOON).await.unwrap();
    }

    async fn report(&mut self, gateway: usize, start: u64, merger: usize) {
        let counted = self.truth.iter();
        let counters: Vec<_> = counted
            .filter(|((of, boot, ..), _)| (*of, *boot) == (gateway, start))
            .map(|((_, _, key, hour), calls)| feed::UsageCounter {
                boot_epoch: start,
                account_key_id: self.keys[*key].as_uuid().as_bytes().to_vec(),
                ..counter(self.account, *hour, *calls)
            })
            .collect();
        let report = report(GATEWAYS[gateway], counters);
        self.sent.push(report.clone());
        self.merge(merger, report).await;
    }

    async fn merge(&mut self, merger: usize, report: Report) {
        let spent = self.mergers[merger].merge(&self.store, &[report]).await.unwrap();
        self.spent += spent.iter().map(|spent| spent.accepted).sum::<u64>();
    }

    /// Accepted calls by month, as an account's totals and as its subjects' sums.
    async fn months(&self) -> [BTreeMap<i64, u64>; 2] {
        [
            self.shown(Granularity::Month, UnixMillis(0), None, false).await,
            self.shown(Granularity::Month, UnixMillis(0), None, true).await,
        ]
    }

    async fn shown(
        &self,
        granularity: Granularity,
        from: UnixMillis,
        key: Option<KeyId>,
        by_subject: bool,
    ) -> BTreeMap<i64, u64> {
        let of = Selection {
            account: self.account,
            environment: Environment::Production,
            customer: by_subject.then(|| CUSTOMER.parse().unwrap()),
            key: key.map(UsedKey::Account),
            route: None,
        };
        let stretch = Stretch::new(granularity, from, UnixMillis(NOON.0 + 1));
        let series = series(&self.store, &of, stretch).await.unwrap();
        series
            .into_iter()
            .map(|(start, counted)| (start.0, counted.accepted))
            .collect()
    }

    fn expected(&self, granularity: Granularity, from: UnixMillis, key: Option<usize>) -> BTreeMap<i64, u64> {
        let mut sums = BTreeMap::new();
        for ((_, _, of, hour), calls) in &self.truth {
            let start = granularity.start_of(UnixMillis(hour * 3_600_000));
            if start >= granularity.start_of(from) && key.is_none_or(|key| key == *of) {
                *sums.entry(start.0).or_default() += calls;
            }
        }
        sums
    }

    async fn check(&self) {
        let kept = [
            (Granularity::Month, UnixMillis(0)),
            (Granularity::Day, HORIZON.days),
            (Granularity::Hour, HORIZON.hours),
        ];
        for (granularity, from) in kept {
            let from = granularity.start_of(from);
            for key in [None, Some(0), Some(1)] {
                let expected = self.expected(granularity, from, key);
                for by_subject in [false, true] {
                    let id = key.map(|key| self.keys[key]);
                    let shown = self.shown(granularity, from, id, by_subject).await;
                    assert_eq!(shown, expected, "{granularity:?} {key:?} {by_subject}");
                }
            }
        }
        assert_eq!(self.spent, self.truth.values().sum::<u64>());
        self.check_gateways().await;
    }

    /// What each gateway counted stays known, whatever was folded.
    async fn check_gateways(&self) {
        let first = Granularity::Day.start_of(HORIZON.days);
        for (at, gateway) in GATEWAYS.iter().enumerate() {
            let (sum,): (Option<i64>,) = sqlx::query_as(
                "SELECT CAST(SUM(d.accepted) AS BIGINT) FROM usage_boot_days d JOIN usage_boots b ON b.id = d.boot \
                 WHERE b.gateway_id = $1 AND d.day >= $2",
            )
            .bind((*gateway).to_owned())
            .bind(day_of(first))
            .fetch_one(self.store.readers())
            .await
            .unwrap();
            let counted = self
                .truth
                .iter()
                .filter(|((of, _, _, hour), _)| *of == at && hour * 3_600_000 >= first.0);
            let expected: u64 = counted.map(|(_, calls)| calls).sum();
            assert_eq!(sum.map_or(0, count), expected, "{gateway}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_sum_is_exact_whatever_is_repeated_late_folded_and_forgotten(events in events()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_folder, store) = store().await;
            let mut world = World {
                store,
                account: AccountId::new(),
                keys: [KeyId::new(), KeyId::new()],
                mergers: [Merger::default(), Merger::default()],
                present: [1; GATEWAYS.len()],
                truth: BTreeMap::new(),
                sent: Vec::new(),
                spent: 0,
            };
            for event in events {
                world.happens(event).await;
            }
            // In the end everything was reported once more, and the job has run.
            for gateway in 0..GATEWAYS.len() {
                for start in 1..=world.present[gateway] {
                    world.report(gateway, start, 1).await;
                }
            }
            world.check().await;
            while fold(&world.store).await.unwrap() {}
            while forget(&world.store, HORIZON).await.unwrap() > 0 {}
            world.check().await;
        });
    }
}
