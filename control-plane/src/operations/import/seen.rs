//! What a dry run would have made, for the lines after it.

use std::collections::{HashMap, HashSet};

use keyward_contract::{AccountId, CustomerId, Environment, KeyDigest};
use uuid::Uuid;

use crate::store::imports::{Reference, Remains};

/// An environment of an account.
pub(super) type Place = (AccountId, Environment);

/// Whose a key is: an account's, or that of its end customer.
pub(super) type Owner = (AccountId, Option<CustomerId>);

/// What would be there. Empty in a real run, where the database has it.
#[derive(Debug, Default)]
pub struct Seen {
    pub(super) references: HashMap<Reference, String>,
    pub(super) accounts: HashSet<String>,
    pub(super) users: HashMap<String, AccountId>,
    pub(super) subs: HashSet<Uuid>,
    pub(super) end_customers: HashMap<(Place, String), Remains>,
    pub(super) names: HashSet<(Place, String)>,
    pub(super) digests: HashMap<KeyDigest, (Owner, String)>,
    pub(super) key_ids: HashSet<String>,
    /// End customers with a living key.
    pub(super) keyed: HashSet<(Place, String)>,
}
