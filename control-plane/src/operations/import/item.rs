//! What a line of an import asks for, after every check that needs no database.

use keyward_contract::{
    AccountId, AccountStatus, AddressList, Contract, CustomerId, Environment, EnvironmentId, KeyDigest,
    KeyId, KeyMask, KeyState, Limits, PlainKey, UnixMillis, UserId,
};
use uuid::Uuid;

use crate::domain::account::Metadata;
use crate::domain::key::Origin;
use crate::domain::text::Name;
use crate::domain::tier::Overrides;
use crate::domain::user::Permissions;

/// What a line asks for.
#[derive(Debug)]
pub enum Item {
    /// What a file says of itself.
    Head {
        /// The fingerprint of the digest key that its digests were made under.
        digest_key: Option<String>,
    },
    /// A tier that must be in the catalogue, with these numbers when they are given.
    Tier {
        /// Its key.
        key: String,
        /// Validations a contract year.
        annual_limit: Option<u64>,
        /// Calls a second.
        rate_limit: Option<u64>,
        /// Calls at once.
        burst_limit: Option<u64>,
    },
    /// An account.
    Account(Box<NewAccount>),
    /// A user of an account.
    User(Box<NewUser>),
    /// An end customer of an account.
    EndCustomer(Box<NewEndCustomer>),
    /// A key of an account, a user or an end customer.
    ApiKey(Box<NewApiKey>),
}

/// When something was made, changed and ended, when that is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Common {
    /// When it was made; now, when that is not known.
    pub created_at: Option<UnixMillis>,
    /// When it was last changed.
    pub updated_at: Option<UnixMillis>,
    /// When it was deleted.
    pub deleted_at: Option<UnixMillis>,
}

/// An account.
#[derive(Debug)]
pub struct NewAccount {
    /// The id that it keeps.
    pub id: Option<AccountId>,
    /// Its name.
    pub company_name: Name,
    /// Whom to write to.
    pub contact_email: String,
    /// The key of its tier.
    pub tier: String,
    /// Whether it may use what it bought.
    pub status: AccountStatus,
    /// When its contract holds.
    pub contract: Contract,
    /// The operator's notes.
    pub metadata: Metadata,
    /// What it negotiated.
    pub overrides: Option<Overrides>,
    /// Test, then production: the id that it keeps, and how many keys its users may have.
    pub environments: [(Option<EnvironmentId>, Option<u32>); 2],
    /// Whether its test environment gets the sandbox customer.
    pub sandbox: bool,
    /// Its past.
    pub common: Common,
}

/// A user.
#[derive(Debug)]
pub struct NewUser {
    /// The id that it keeps.
    pub id: Option<UserId>,
    /// Whose it is: a reference, or our own id.
    pub customer: String,
    /// Who its tokens say it is; made when it is not given.
    pub sub: Option<Uuid>,
    /// Its name.
    pub name: Name,
    /// Whom to write to.
    pub email: String,
    /// What surface 4 lets it do.
    pub claims: Vec<String>,
    /// What surface 3 lets it do.
    pub permissions: Permissions,
    /// Its past.
    pub common: Common,
}

/// An end customer.
#[derive(Debug)]
pub struct NewEndCustomer {
    /// The id that it keeps.
    pub id: Option<CustomerId>,
    /// Whose it is: a reference, or our own id.
    pub customer: String,
    /// Where it lives.
    pub environment: Environment,
    /// Its name.
    pub name: Name,
    /// A lower limit than the account's.
    pub limits: Option<Limits>,
    /// Its past.
    pub common: Common,
}

/// By what a key will be found.
#[derive(Debug)]
pub enum KeySecret {
    /// Its text.
    Raw(PlainKey),
    /// Its digest under this installation's digest key, and what may be shown of it.
    Digest(KeyDigest, KeyMask),
}

/// A key.
#[derive(Debug)]
pub struct NewApiKey {
    /// The id that it keeps.
    pub id: Option<KeyId>,
    /// Whose it is: a reference, or our own id.
    pub customer: String,
    /// The end customer of a customer key: a reference, or our own id.
    pub end_customer: Option<String>,
    /// The user of an account key: a reference, or our own id.
    pub user: Option<String>,
    /// Where it is valid.
    pub environment: Environment,
    /// By what it will be found.
    pub secret: KeySecret,
    /// What it is called.
    pub name: Option<Name>,
    /// What it is.
    pub state: KeyState,
    /// The first instant at which it is dead.
    pub expires_at: Option<UnixMillis>,
    /// Where it may be used from.
    pub allowed_ips: Option<AddressList>,
    /// On which surface it is managed.
    pub origin: Origin,
    /// The API version that it is pinned to; the newest, when none is given.
    pub api_version: Option<String>,
    /// Since when.
    pub api_version_changed_at: Option<UnixMillis>,
    /// From when on it can't go back.
    pub no_downgrade_after: Option<UnixMillis>,
    /// Since when it is in its rotation grace.
    pub rotated_at: Option<UnixMillis>,
    /// Since when an operator holds it disabled.
    pub held_at: Option<UnixMillis>,
    /// Since when it is revoked.
    pub revoked_at: Option<UnixMillis>,
    /// Who made it.
    pub created_by: Option<String>,
    /// Its past.
    pub common: Common,
}
