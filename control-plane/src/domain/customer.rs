//! An end customer: a customer of an account, inside one of its environments, with at most one live key.

use keyward_contract::{AccountId, CustomerId, Environment, Limits, UnixMillis};

use super::text::Name;

/// The id of the customer that every account's test environment is seeded with.
pub const SANDBOX_ID: &str = "clx8f2k9h0001qr5tgvwxyz12";
/// Its name.
pub const SANDBOX_NAME: &str = "Northern Virginia Community College";

/// A customer of an account.
#[derive(Clone, Debug, PartialEq)]
pub struct EndCustomer {
    /// Whose it is.
    pub account: AccountId,
    /// Where it lives.
    pub environment: Environment,
    /// Its id, unique in account and environment.
    pub id: CustomerId,
    /// Its name, unique among the living ones of account and environment.
    pub name: Name,
    /// A lower limit than the account's.
    pub limits: Option<Limits>,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it was last changed.
    pub updated_at: UnixMillis,
}
