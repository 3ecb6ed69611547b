//! Who calls, and whether they may: rows 3 to 10 of the decision table, in its order.
//!
//! [`identify`] turns what was presented into [`Identified`] (which keys these are); [`authorise`] turns that
//! into [`Admitted`] (they may call this route from this address). Both types can be made only here. Cost: one
//! look-up a credential, no allocation.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::Guard;
use keyward_config::Require;
use keyward_contract::{AccountStatus, Environment, KeyDigest, KeyKind, KeyShape, KeyState, UnixMillis};

use crate::credential::{Credential, Presented};
use crate::keys::{AccountCell, AccountPolicy, CustomerCell, HeldKey, KeyEntry, KeySet, Lookup};
use crate::rejection::Rejection;
use crate::route::Route;

/// What looks a key up by its text; the worker in the gateway, a bare key set in tests and benchmarks.
pub trait FindKey {
    /// Looks a key up by its text.
    fn find_key(&self, text: &[u8]) -> Lookup;

    /// Looks a key up by its digest.
    fn find_digest(&self, digest: &KeyDigest) -> Lookup;

    /// The wall clock.
    fn now(&self) -> UnixMillis;
}

/// The keys of a call, found.
#[derive(Debug)]
pub struct Identified {
    /// The key that decides the account; `None` on public routes.
    key: Option<HeldKey>,
    end_customer: EndCustomer,
}

#[derive(Debug)]
enum EndCustomer {
    /// None was sent, or this route doesn't look at it.
    Absent,
    /// There is such a key, in whatever state.
    Known(HeldKey),
    /// It is malformed, unknown or of another kind: row 10, once the rows before it have been asked.
    Refused,
}

/// Who calls: an account in one environment, perhaps for an end customer.
#[derive(Debug)]
pub struct Caller {
    /// Decides the account: the account key, or the customer key where that stands alone.
    key: HeldKey,
    /// The customer key beside an account key.
    end_customer: Option<HeldKey>,
    policy: Guard<Arc<AccountPolicy>>,
}

impl Caller {
    fn new(key: HeldKey) -> Self {
        let policy = key.entry().account.policy();
        Self {
            key,
            end_customer: None,
            policy,
        }
    }

    /// The key that decides the account.
    #[must_use]
    pub fn key(&self) -> &KeyEntry {
        self.key.entry()
    }

    /// The account key, when one was used.
    #[must_use]
    pub fn account_key(&self) -> Option<&KeyEntry> {
        Some(self.key()).filter(|key| key.record.customer.is_none())
    }

    /// The customer key, when one was used.
    #[must_use]
    pub fn customer_key(&self) -> Option<&KeyEntry> {
        let beside = self.end_customer.as_ref().map(HeldKey::entry);
        beside.or_else(|| Some(self.key()).filter(|key| key.record.customer.is_some()))
    }

    /// The end customer, if any.
    #[must_use]
    pub fn customer(&self) -> Option<&Arc<CustomerCell>> {
        self.customer_key()?.customer.as_ref()
    }

    /// The account.
    #[must_use]
    pub fn account(&self) -> &Arc<AccountCell> {
        &self.key().account
    }

    /// Who it is, as lines of a head that upstreams are told: `name: value`, each with its line end.
    pub fn identity(&self) -> impl Iterator<Item = &[u8]> {
        let customer = self.customer().map(|customer| &*customer.identity);
        [self.policy().identity(self.environment()), &self.key().identity]
            .into_iter()
            .chain(customer)
    }

    /// Which environment of the account.
    #[must_use]
    pub fn environment(&self) -> Environment {
        self.key().record.environment
    }

    /// The account's policy, as it was when the call was authorised.
    #[must_use]
    pub fn policy(&self) -> &AccountPolicy {
        &self.policy
    }

    /// Whether nothing that the decision rests on can have changed since it was made.
    #[must_use]
    pub fn is_current(&self, keys: &KeySet) -> bool {
        let generations = keys.generations();
        self.key.is_current(generations)
            && self
                .end_customer
                .as_ref()
                .is_none_or(|key| key.is_current(generations))
            && Arc::ptr_eq(&self.policy, &self.account().policy())
    }
}

/// A caller who may call this route now, or anyone on a public route.
#[derive(Debug)]
pub struct Admitted {
    caller: Option<Caller>,
}

impl Admitted {
    /// Who calls; `None` on public routes.
    #[must_use]
    pub fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }

    /// Gives up the admission and keeps who it was, for a refusal by a later step.
    #[must_use]
    pub fn into_caller(self) -> Option<Caller> {
        self.caller
    }
}

/// A call that goes no further, and who it was as far as that is known.
#[derive(Debug)]
pub struct Refused {
    /// Which row of the decision table.
    pub rejection: Rejection,
    /// Who called; boxed because refusing is the rarer way and should not make the other one wider.
    pub caller: Option<Box<Caller>>,
}

impl Refused {
    /// A refusal of a known caller.
    #[must_use]
    pub fn caller(rejection: Rejection, caller: Option<Caller>) -> Self {
        Self {
            rejection,
            caller: caller.map(Box::new),
        }
    }
}

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        Self {
            rejection,
            caller: None,
        }
    }
}

/// Finds the keys that a call presents, as far as the route looks at them.
///
/// # Errors
/// Rows 3 and 4 for the account key; row 9 or 10 for a customer key that stands alone.
pub fn identify(
    keys: &impl FindKey,
    presented: &Presented<'_>,
    require: Require,
) -> Result<Identified, Rejection> {
    match require {
        Require::None => Ok(Identified {
            key: None,
            end_customer: EndCustomer::Absent,
        }),
        Require::CustomerOnly => {
            let credential = presented.customer().ok_or(Rejection::CustomerKeyMissing)?;
            match find(keys, credential, KeyKind::Customer)? {
                Some(key) => Ok(Identified {
                    key: Some(key),
                    end_customer: EndCustomer::Absent,
                }),
                None => Err(Rejection::CustomerKeyRefused),
            }
        }
        Require::Account | Require::Customer => {
            let credential = presented.account().ok_or(Rejection::Unauthorized)?;
            let key = find(keys, credential, KeyKind::Account)?.ok_or(Rejection::InvalidApiKey)?;
            let end_customer = match presented.customer().filter(|_| require == Require::Customer) {
                None => EndCustomer::Absent,
                Some(credential) => find(keys, credential, KeyKind::Customer)?
                    .map_or(EndCustomer::Refused, EndCustomer::Known),
            };
            Ok(Identified {
                key: Some(key),
                end_customer,
            })
        }
    }
}

/// `None`: the text is no key of this kind, or an unknown one.
fn find(
    keys: &impl FindKey,
    credential: Credential<'_>,
    kind: KeyKind,
) -> Result<Option<HeldKey>, Rejection> {
    let Some(text) = credential.text() else {
        return Ok(None);
    };
    if !KeyShape::parse(text).is_ok_and(|shape| shape.kind == kind) {
        return Ok(None);
    }
    match keys.find_key(text) {
        Lookup::Known(key) => Ok(Some(key)),
        Lookup::Unknown => Ok(None),
        Lookup::Unavailable => Err(Rejection::Overloaded("the key set has not been loaded yet")),
    }
}

/// Decides whether the keys may be used on this route, at this time, from this address.
///
/// # Errors
/// Rows 5 to 10, whichever comes first.
pub fn authorise(
    identified: Identified,
    route: &Route,
    client: IpAddr,
    now: UnixMillis,
) -> Result<Admitted, Refused> {
    let Some(key) = identified.key else {
        return Ok(Admitted { caller: None });
    };
    let stands_alone = route.require == Require::CustomerOnly;
    let mut caller = Caller::new(key);
    let refused = |rejection, caller| Err(Refused::caller(rejection, Some(caller)));

    if !is_live(caller.key(), now) {
        let dead = if stands_alone {
            Rejection::CustomerKeyRefused
        } else {
            Rejection::ExpiredApiKey
        };
        return refused(dead, caller);
    }
    if !route.serves(caller.environment()) {
        let elsewhere = if stands_alone {
            Rejection::CustomerKeyRefused
        } else {
            Rejection::InvalidApiKey
        };
        return refused(elsewhere, caller);
    }
    let account = &caller.policy().record;
    if account.status != AccountStatus::Active || !account.contract.holds_at(now) {
        return refused(Rejection::AccountSuspended, caller);
    }
    if !allows(caller.key(), client) {
        return refused(Rejection::IpNotAllowed, caller);
    }
    match identified.end_customer {
        EndCustomer::Absent => {
            let is_required =
                route.require == Require::Customer && caller.environment() == Environment::Production;
            if is_required {
                return refused(Rejection::CustomerKeyMissing, caller);
            }
        }
        EndCustomer::Refused => return refused(Rejection::CustomerKeyRefused, caller),
        EndCustomer::Known(key) => {
            let record = &key.entry().record;
            let belongs =
                record.account == caller.account().id() && record.environment == caller.environment();
            if !belongs || !is_live(key.entry(), now) {
                return refused(Rejection::CustomerKeyRefused, caller);
            }
            let is_allowed = allows(key.entry(), client);
            caller.end_customer = Some(key);
            if !is_allowed {
                return refused(Rejection::IpNotAllowed, caller);
            }
        }
    }
    Ok(Admitted { caller: Some(caller) })
}

/// Decides again, shortly before a call is forwarded, when something that it rests on has changed since it was
/// authorised. Nearly always nothing has: then this costs two or three loads.
///
/// # Errors
/// Rows 4 to 10, as they now are.
pub fn confirm(
    caller: &Caller,
    finder: &impl FindKey,
    keys: &KeySet,
    route: &Route,
    client: IpAddr,
) -> Result<(), Rejection> {
    if caller.is_current(keys) {
        return Ok(());
    }
    decide_again(&Claim::of(caller, client), finder, route)
}

/// What a call was let in by: enough to decide on it again, however long it takes, without holding on to anything.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    key: KeyDigest,
    end_customer: Option<KeyDigest>,
    client: IpAddr,
}

impl Claim {
    /// Of this caller, from this address.
    #[must_use]
    pub fn of(caller: &Caller, client: IpAddr) -> Self {
        let digest = |key: &HeldKey| key.entry().record.digest;
        Self {
            key: digest(&caller.key),
            end_customer: caller.end_customer.as_ref().map(digest),
            client,
        }
    }
}

/// Decides by everything as it is now: one look-up a key.
///
/// # Errors
/// Rows 4 to 10; row 14 when a key can't be looked up.
pub fn decide_again(claim: &Claim, finder: &impl FindKey, route: &Route) -> Result<(), Rejection> {
    let find = |digest, unknown| match finder.find_digest(digest) {
        Lookup::Known(key) => Ok(key),
        Lookup::Unknown => Err(unknown),
        Lookup::Unavailable => Err(Rejection::Overloaded("the key set can't be read")),
    };
    let key = Some(find(&claim.key, Rejection::InvalidApiKey)?);
    let end_customer = match &claim.end_customer {
        None => EndCustomer::Absent,
        Some(digest) => EndCustomer::Known(find(digest, Rejection::CustomerKeyRefused)?),
    };
    let admitted = authorise(
        Identified { key, end_customer },
        route,
        claim.client,
        finder.now(),
    );
    admitted.map(drop).map_err(|refused| refused.rejection)
}

fn is_live(key: &KeyEntry, now: UnixMillis) -> bool {
    key.record.state == KeyState::Active && key.record.expires_at.is_none_or(|end| now < end)
}

fn allows(key: &KeyEntry, client: IpAddr) -> bool {
    key.record
        .allowed_ips
        .as_ref()
        .is_none_or(|list| list.allows(client))
}
