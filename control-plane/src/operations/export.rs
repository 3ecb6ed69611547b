//! Everything but secrets, as one state of the database: accounts, users, end customers, keys, in an order in which
//! each refers only to what came before. Holds one page in memory, however much there is.

use keyward_contract::UnixMillis;

use super::{Registry, Result};
use crate::domain::account::Account;
use crate::domain::customer::EndCustomer;
use crate::domain::key::ApiKey;
use crate::domain::user::User;
use crate::store::{Tx, accounts, exports, keys};

const PAGE: i64 = 500;

/// One thing that is exported.
#[derive(Clone, Debug)]
pub enum Exported {
    /// An account with its environments.
    Account(Box<Account>),
    /// A user, with its end when it has one.
    User(User, Option<UnixMillis>),
    /// An end customer, with its end when it has one.
    EndCustomer(EndCustomer, Option<UnixMillis>),
    /// A key, dead ones included.
    Key(Box<ApiKey>),
}

/// A walk through everything.
#[derive(Debug)]
pub struct Walk {
    tx: Tx,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Accounts(String),
    Users(String),
    EndCustomers((String, String, String)),
    Keys(i64),
    Over,
}

impl Walk {
    /// Begins a walk: what changes from now on, it doesn't see.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin(registry: &Registry) -> Result<Self> {
        Ok(Self {
            tx: registry.store.begin_reading().await?,
            stage: Stage::Accounts(String::new()),
        })
    }

    /// The next page; `None` when there is no more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn page(&mut self) -> Result<Option<Vec<Exported>>> {
        loop {
            let (page, next) = match &self.stage {
                Stage::Accounts(after) => accounts(&mut self.tx, after).await?,
                Stage::Users(after) => users(&mut self.tx, after).await?,
                Stage::EndCustomers(after) => end_customers(&mut self.tx, after).await?,
                Stage::Keys(after) => keys(&mut self.tx, *after).await?,
                Stage::Over => return Ok(None),
            };
            self.stage = next;
            if !page.is_empty() {
                return Ok(Some(page));
            }
        }
    }
}

async fn accounts(tx: &mut Tx, after: &str) -> Result<(Vec<Exported>, Stage)> {
    let found = accounts::page(tx, after, PAGE).await?;
    let next = match found.last() {
        Some(last) => Stage::Accounts(last.id.to_string()),
        None => Stage::Users(String::new()),
    };
    let page = found
        .into_iter()
        .map(|account| Exported::Account(Box::new(account)))
        .collect();
    Ok((page, next))
}

async fn users(tx: &mut Tx, after: &str) -> Result<(Vec<Exported>, Stage)> {
    let found = exports::users(tx, after, PAGE).await?;
    let next = match found.last() {
        Some((last, _)) => Stage::Users(last.id.to_string()),
        None => Stage::EndCustomers(Default::default()),
    };
    let page = found
        .into_iter()
        .map(|(user, deleted_at)| Exported::User(user, deleted_at))
        .collect();
    Ok((page, next))
}

async fn end_customers(tx: &mut Tx, after: &(String, String, String)) -> Result<(Vec<Exported>, Stage)> {
    let found = exports::end_customers(tx, after, PAGE).await?;
    let next = match found.last() {
        Some((last, _)) => Stage::EndCustomers((
            last.account.to_string(),
            last.environment.to_string(),
            last.id.to_string(),
        )),
        None => Stage::Keys(i64::MIN),
    };
    let page = found
        .into_iter()
        .map(|(customer, deleted_at)| Exported::EndCustomer(customer, deleted_at))
        .collect();
    Ok((page, next))
}

async fn keys(tx: &mut Tx, after: i64) -> Result<(Vec<Exported>, Stage)> {
    let found = keys::page(tx, after, PAGE).await?;
    let next = match found.last() {
        Some(last) => Stage::Keys(last.number),
        None => Stage::Over,
    };
    let page = found
        .into_iter()
        .map(|key| Exported::Key(Box::new(key)))
        .collect();
    Ok((page, next))
}
