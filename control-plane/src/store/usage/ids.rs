//! The store's short ids, given once and remembered: of starts of gateways, of subjects, and of those who have so many
//! subjects that they are summed up.

use std::collections::HashMap;

use keyward_contract::AccountId;
use sqlx::{Any, Transaction};

use super::report::Subject;
use crate::store::Result;

/// How many subjects' ids are remembered before all are forgotten.
const REMEMBERED: usize = 200_000;

/// A gateway's id and the epoch of one of its starts.
pub(super) type Boot = (String, i64);

/// Whose totals a subject's calls belong to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owners {
    pub(super) account: i64,
    /// The account key, when there was one.
    pub(super) key: Option<i64>,
}

#[derive(Debug, Default)]
pub(super) struct Ids {
    boots: HashMap<Boot, i64>,
    subjects: HashMap<Subject, i64>,
    owners: HashMap<(AccountId, &'static str, String), i64>,
}

impl Ids {
    /// Ids that were given in a transaction that failed were never given.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    pub(super) fn forget_when_many(&mut self) {
        if self.boots.len() + self.subjects.len() + self.owners.len() > REMEMBERED {
            self.forget();
        }
    }

    pub(super) async fn boot(&mut self, tx: &mut Transaction<'static, Any>, boot: &Boot) -> Result<i64> {
        if let Some(id) = self.boots.get(boot) {
            return Ok(*id);
        }
        let id = boot_id(tx, boot).await?;
        self.boots.insert(boot.clone(), id);
        Ok(id)
    }

    pub(super) async fn subject(
        &mut self,
        tx: &mut Transaction<'static, Any>,
        subject: &Subject,
    ) -> Result<i64> {
        if let Some(id) = self.subjects.get(subject) {
            return Ok(*id);
        }
        sqlx::query(
            "INSERT INTO usage_subjects \
             (id, account_id, environment, customer_id, account_key_id, customer_key_id, route) \
             SELECT COALESCE(MAX(id), 0) + 1, $1, $2, $3, $4, $5, $6 FROM usage_subjects WHERE true \
             ON CONFLICT DO NOTHING",
        )
        .bind(subject.account.to_string())
        .bind(subject.environment)
        .bind(subject.customer.clone())
        .bind(subject.account_key.clone())
        .bind(subject.customer_key.clone())
        .bind(subject.route.clone())
        .execute(&mut **tx)
        .await?;
        let (id,): (i64,) = sqlx::query_as(
            "SELECT id FROM usage_subjects WHERE account_id = $1 AND environment = $2 AND customer_id = $3 \
             AND account_key_id = $4 AND customer_key_id = $5 AND route = $6",
        )
        .bind(subject.account.to_string())
        .bind(subject.environment)
        .bind(subject.customer.clone())
        .bind(subject.account_key.clone())
        .bind(subject.customer_key.clone())
        .bind(subject.route.clone())
        .fetch_one(&mut **tx)
        .await?;
        self.subjects.insert(subject.clone(), id);
        Ok(id)
    }

    pub(super) async fn owners(
        &mut self,
        tx: &mut Transaction<'static, Any>,
        subject: &Subject,
    ) -> Result<Owners> {
        let account = self.owner(tx, subject, "").await?;
        let key = match subject.account_key.as_str() {
            "" => None,
            key => Some(self.owner(tx, subject, key).await?),
        };
        Ok(Owners { account, key })
    }

    async fn owner(
        &mut self,
        tx: &mut Transaction<'static, Any>,
        subject: &Subject,
        key: &str,
    ) -> Result<i64> {
        let owner = (subject.account, subject.environment, key.to_owned());
        if let Some(id) = self.owners.get(&owner) {
            return Ok(*id);
        }
        sqlx::query(
            "INSERT INTO usage_owners (id, account_id, environment, account_key_id) \
             SELECT COALESCE(MAX(id), 0) + 1, $1, $2, $3 FROM usage_owners WHERE true ON CONFLICT DO NOTHING",
        )
        .bind(owner.0.to_string())
        .bind(owner.1)
        .bind(owner.2.clone())
        .execute(&mut **tx)
        .await?;
        let (id,): (i64,) = sqlx::query_as(
            "SELECT id FROM usage_owners WHERE account_id = $1 AND environment = $2 AND account_key_id = $3",
        )
        .bind(owner.0.to_string())
        .bind(owner.1)
        .bind(owner.2.clone())
        .fetch_one(&mut **tx)
        .await?;
        self.owners.insert(owner, id);
        Ok(id)
    }
}

/// Finds or gives the id of a start.
pub(super) async fn boot_id(tx: &mut Transaction<'static, Any>, (gateway, epoch): &Boot) -> Result<i64> {
    sqlx::query(
        "INSERT INTO usage_boots (id, gateway_id, boot_epoch, reports) \
         SELECT COALESCE(MAX(id), 0) + 1, $1, $2, 0 FROM usage_boots WHERE true ON CONFLICT DO NOTHING",
    )
    .bind(gateway.clone())
    .bind(*epoch)
    .execute(&mut **tx)
    .await?;
    let (id,): (i64,) =
        sqlx::query_as("SELECT id FROM usage_boots WHERE gateway_id = $1 AND boot_epoch = $2")
            .bind(gateway.clone())
            .bind(*epoch)
            .fetch_one(&mut **tx)
            .await?;
    Ok(id)
}
