//! What follows from counters: sums by day and month of each subject, totals by hour, day and month of accounts and
//! their keys, what each start of a gateway counted by itself, and when keys were last used. One batch's differences
//! are put together first, so that a thousand counters of one account move its totals once.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use keyward_contract::AccountId;
use sqlx::{Any, Transaction};

use super::ids::{Boot, Owners};
use super::merge::Spent;
use super::report::{Subject, Values};
use super::rows::{Cell, Table, counted, write};
use super::units::{day_and_month, unit};
use crate::domain::series::Granularity;
use crate::store::Result;

/// Where a counter moves sums.
pub(super) struct Place<'a> {
    pub(super) subject: &'a Subject,
    pub(super) owners: Owners,
    /// Subject, hour, boot.
    pub(super) key: (i64, i64, i64),
}

/// The differences of one batch, by the rows of the derived tables that they move.
#[derive(Default)]
pub(super) struct Sums {
    /// By subject, unit, start.
    subjects: BTreeMap<(i64, i64, i64), Values>,
    /// By owner, unit, start.
    totals: BTreeMap<(i64, i64, i64), Values>,
    /// By boot, account, day.
    boots: BTreeMap<(i64, AccountId, i64), i64>,
    keys: BTreeMap<String, i64>,
}

impl Sums {
    pub(super) fn add(&mut self, place: &Place<'_>, old: Values, new: Values) {
        let more = new.since(old);
        let (subject, hour, boot) = place.key;
        let (day, month) = day_and_month(hour);
        let units = [
            (unit(Granularity::Hour), hour),
            (unit(Granularity::Day), day),
            (unit(Granularity::Month), month),
        ];
        for (unit, start) in units {
            for owner in [Some(place.owners.account), place.owners.key]
                .into_iter()
                .flatten()
            {
                let total = self.totals.entry((owner, unit, start)).or_default();
                *total = total.and(more);
            }
        }
        for (unit, start) in units.into_iter().skip(1) {
            let sum = self.subjects.entry((subject, unit, start)).or_default();
            *sum = sum.and(more);
        }
        let who = place.subject;
        if who.environment == "production" && more.accepted() > 0 {
            *self.boots.entry((boot, who.account, day)).or_default() += more.accepted();
        }
        if new.last_accepted_at() > old.last_accepted_at() {
            for key in [&who.account_key, &who.customer_key] {
                if !key.is_empty() {
                    let last = self.keys.entry(key.clone()).or_default();
                    *last = (*last).max(new.last_accepted_at());
                }
            }
        }
    }

    pub(super) async fn write(&self, tx: &mut Transaction<'static, Any>) -> Result<()> {
        let rows = |sums: &BTreeMap<(i64, i64, i64), Values>| -> Vec<Vec<Cell>> {
            let rows = sums.iter();
            rows.map(|((of, unit, start), values)| counted(&[*of, *unit, *start], *values))
                .collect()
        };
        SUBJECTS.write(tx, &rows(&self.subjects)).await?;
        TOTALS.write(tx, &rows(&self.totals)).await?;
        let boots: Vec<_> = self
            .boots
            .iter()
            .map(|((boot, account, day), accepted)| boot_day(*boot, account.to_string(), *day, *accepted))
            .collect();
        write_boot_days(tx, &boots).await?;
        let keys: Vec<_> = self
            .keys
            .iter()
            .map(|(key, last)| vec![Cell::Text(key.clone()), Cell::Int(*last)])
            .collect();
        write(tx, KEYS.0, &keys, KEYS.1).await
    }

    pub(super) fn spent(self, boots: &HashMap<i64, Boot>) -> Vec<Spent> {
        self.boots
            .into_iter()
            .filter_map(|((boot, account, day), accepted)| {
                let (gateway_id, boot_epoch) = boots.get(&boot)?.clone();
                Some(Spent {
                    account,
                    gateway_id,
                    boot_epoch: u64::try_from(boot_epoch).ok()?,
                    day,
                    accepted: u64::try_from(accepted).ok()?,
                })
            })
            .collect()
    }
}

/// What one start of a gateway counted for an account in a day.
pub(super) fn boot_day(boot: i64, account: String, day: i64, accepted: i64) -> Vec<Cell> {
    vec![
        Cell::Int(boot),
        Cell::Text(account),
        Cell::Int(day),
        Cell::Int(accepted),
    ]
}

pub(super) async fn write_boot_days(tx: &mut Transaction<'static, Any>, rows: &[Vec<Cell>]) -> Result<()> {
    write(tx, BOOTS.0, rows, BOOTS.1).await
}

static SUBJECTS: LazyLock<Table> =
    LazyLock::new(|| Table::adding("usage_subject_sums", &["subject", "unit", "start"]));
static TOTALS: LazyLock<Table> = LazyLock::new(|| Table::adding("usage_totals", &["owner", "unit", "start"]));

const BOOTS: (&str, &str) = (
    "INSERT INTO usage_boot_days (boot, account_id, day, accepted)",
    "ON CONFLICT (boot, account_id, day) DO UPDATE SET \
     accepted = usage_boot_days.accepted + excluded.accepted",
);

const KEYS: (&str, &str) = (
    "INSERT INTO usage_keys (key_id, last_used_at)",
    "ON CONFLICT (key_id) DO UPDATE SET last_used_at = CASE WHEN excluded.last_used_at > \
     usage_keys.last_used_at THEN excluded.last_used_at ELSE usage_keys.last_used_at END",
);
