//! What is left in the buckets that gateways share: out of Redis, across all of them. Where that can't be known, of an end
//! customer's bucket what a gateway last saw in it, and of an account's nothing.

use keyward_buckets::{BucketName, BucketState};
use keyward_contract::{AccountId, CustomerId, Environment, Limits, UnixMillis};

use super::Registry;
use crate::domain::account::Account;
use crate::domain::left::Left;
use crate::store::usage::BucketSeen;

/// What is left in an account's two buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfAccount {
    /// In production.
    pub production: Left,
    /// In test.
    pub test: Left,
}

/// What is left in an account's buckets; `None` when Redis isn't configured, or can't say in time.
pub async fn of_account(registry: &Registry, account: &Account, now: UnixMillis) -> Option<OfAccount> {
    let bucket = |environment| (name(account.id, environment, None), account.limits);
    let both = [bucket(Environment::Production), bucket(Environment::Test)];
    let states = registry.live.read(&both).await?;
    let [production, test] = states.as_slice() else {
        return None;
    };
    Some(OfAccount {
        production: left(account.limits, *production, now),
        test: left(account.limits, *test, now),
    })
}

/// An end customer, and what its bucket may hold.
#[derive(Clone, Copy, Debug)]
pub struct CustomersBucket {
    /// Whose customer.
    pub account: AccountId,
    /// Where.
    pub environment: Environment,
    /// Which one.
    pub customer: CustomerId,
    /// Its rate and burst.
    pub limits: Limits,
    /// What a gateway last saw in it.
    pub seen: Option<BucketSeen>,
}

/// What is left in an end customer's bucket.
pub async fn of_customer(registry: &Registry, bucket: CustomersBucket, now: UnixMillis) -> Left {
    let limits = bucket.limits;
    let name = name(bucket.account, bucket.environment, Some(bucket.customer));
    let states = registry.live.read(&[(name, limits)]).await;
    match (states.as_deref(), bucket.seen) {
        (Some([state]), _) => left(limits, *state, now),
        (_, Some(seen)) => Left::since_seen(limits, (seen.millitokens, seen.at), now),
        (_, None) => Left::full(limits, now),
    }
}

fn name(account: AccountId, environment: Environment, customer: Option<CustomerId>) -> BucketName {
    BucketName {
        account,
        environment,
        customer,
    }
}

/// One that isn't there is full.
fn left(limits: Limits, state: Option<BucketState>, now: UnixMillis) -> Left {
    match state {
        Some(state) => Left::shared(limits, (state.level, state.held), now),
        None => Left::full(limits, now),
    }
}
