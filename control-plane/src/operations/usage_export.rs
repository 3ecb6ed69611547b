//! Handing out usage row by row: of one account, or of all in a month, for a billing run. Every row is read when it is
//! handed out, so of a time that is over the rows add up to what the usage endpoints show.

use std::collections::{BTreeSet, HashMap};

use keyward_contract::{AccountId, Environment};

use super::account_usage::{Time, checked, kept};
use super::{Registry, Result};
use crate::domain::refusal::Missing;
use crate::domain::series::Span;
use crate::store::accounts;
use crate::store::usage::{Billed, Scope, UsageRow, Walk, billed};

/// The most hours, days or months that are handed out at once.
pub const MOST_ENTRIES: u64 = 10_000;

/// One row, with what a bill says of its account when all accounts are handed out.
#[derive(Clone, Debug)]
pub struct Exported {
    /// Who used what when.
    pub row: UsageRow,
    /// The account.
    pub billed: Option<Billed>,
}

/// Usage on its way out.
#[derive(Clone, Debug)]
pub struct Export {
    walk: Walk,
    names_accounts: bool,
}

impl Export {
    /// Of one account.
    ///
    /// # Errors
    /// When there is none with this id, the time is none or too long, or the database fails.
    pub async fn of_account(
        registry: &Registry,
        account: AccountId,
        environment: Option<Environment>,
        time: Time,
    ) -> Result<Self> {
        let span = checked(time.span(registry.clock.now()), MOST_ENTRIES)?;
        accounts::by_id(registry.store.readers(), account)
            .await?
            .ok_or(Missing::Account)?;
        let scope = Scope {
            account: Some(account),
            environment,
        };
        let (stretch, _) = kept(registry, span);
        Ok(Self {
            walk: Walk::new(scope, stretch),
            names_accounts: false,
        })
    }

    /// Of all accounts.
    ///
    /// # Errors
    /// When the time is none or too long.
    pub fn of_all(registry: &Registry, environment: Option<Environment>, span: Span) -> Result<Self> {
        let scope = Scope {
            account: None,
            environment,
        };
        let (stretch, _) = kept(registry, checked(span, MOST_ENTRIES)?);
        Ok(Self {
            walk: Walk::new(scope, stretch),
            names_accounts: true,
        })
    }

    /// The next rows; none when there are no more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next(&mut self, registry: &Registry) -> Result<Vec<Exported>> {
        let rows = self.walk.next(&registry.store).await?;
        let known = match self.names_accounts {
            true => {
                let ids: BTreeSet<&str> = rows.iter().map(|row| row.caller.account.as_str()).collect();
                billed(&registry.store, &ids).await?
            }
            false => HashMap::new(),
        };
        let exported = rows.into_iter().map(|row| {
            let billed = known.get(&row.caller.account).cloned();
            // Usage of an account that is not known is handed out too: nothing that was counted is left out.
            let billed = billed.or_else(|| self.names_accounts.then(Billed::default));
            Exported { row, billed }
        });
        Ok(exported.collect())
    }
}
