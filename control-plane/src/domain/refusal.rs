//! Every way in which the rules say no. Knows no HTTP: each surface has one file that turns these into its form.

use std::borrow::Cow;

/// Why an operation wasn't done. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A value breaks a rule.
    #[error(transparent)]
    Invalid(#[from] InvalidField),
    /// What it is about isn't there, or isn't the caller's.
    #[error("no such {0}")]
    Missing(#[from] Missing),
    /// It can't be done in the present state.
    #[error(transparent)]
    Conflict(#[from] Conflict),
}

/// A value that breaks a rule, by name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {reason}")]
pub struct InvalidField {
    /// The field, parameter or header; `body` for the body as a whole.
    pub field: Cow<'static, str>,
    /// What is wrong with it, to be read after its name.
    pub reason: Cow<'static, str>,
}

impl InvalidField {
    /// Says what is wrong with a field.
    pub fn new(field: impl Into<Cow<'static, str>>, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            field: field.into(),
            reason: reason.into(),
        }
    }
}

/// What isn't there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// An account.
    #[error("account")]
    Account,
    /// An end customer.
    #[error("customer")]
    EndCustomer,
    /// An account key.
    #[error("API key")]
    Key,
    /// An admin key.
    #[error("admin key")]
    AdminKey,
    /// An environment of an account.
    #[error("environment")]
    Environment,
    /// A user of an account.
    #[error("user")]
    User,
    /// Of operators.
    #[error("webhook")]
    Webhook,
    /// Of a webhook.
    #[error("delivery")]
    Delivery,
    /// Neither seen, nor spoken of.
    #[error("gateway")]
    Gateway,
    /// Of a gateway.
    #[error("gateway token")]
    GatewayToken,
}

/// What stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// A living end customer of this environment has the name.
    #[error("a customer with this name exists already")]
    NameTaken,
    /// The account is gone for good.
    #[error("the account is cancelled")]
    AccountCancelled,
    /// No new keys for an account that may not use them.
    #[error("the account is not active: it gets no new keys")]
    AccountNotActive,
    /// Only a living key can be replaced.
    #[error("the key is revoked, disabled or expired and can't be rotated")]
    KeyNotActive,
    /// Its replacement is there already.
    #[error("the key was rotated before and is in its grace period")]
    KeyInGrace,
    /// Time to go back was long enough.
    #[error("the time in which this key could go back to a lower API version is over")]
    VersionSettled,
    /// Leaked, or disabled by an operator: only operators enable it again.
    #[error("the key was disabled by an operator, or because it leaked: ask the operator")]
    KeyHeld,
    /// What is dead for good stays so.
    #[error("the key is revoked for good")]
    KeyRevoked,
    /// Nobody could manage admin keys any more.
    #[error("the last owner key can't be revoked")]
    LastOwner,
    /// Somebody has this `sub`, or had it before.
    #[error("a user with this sub exists already, or existed before")]
    SubTaken,
    /// The environment has as many keys of users as it may have.
    #[error("the environment may have {0} keys of users, and has them")]
    UserKeyLimit(u32),
    /// The account has as many grants in this contract year as there may be.
    #[error("the account has as many quota grants in this contract year as there may be")]
    TooManyGrants,
    /// There is a bound.
    #[error("there are as many webhooks as there may be: delete one first")]
    TooManyWebhooks,
    /// There is a bound.
    #[error("the gateway has as many tokens as it may have: delete one first")]
    TooManyGatewayTokens,
    /// There is nothing to confirm.
    #[error("the gateway holds no snapshot")]
    NoSnapshotHeld,
    /// What is confirmed must be what was looked at.
    #[error("the snapshot that the gateway holds is of revision {0}")]
    OtherSnapshot(u64),
    /// Nothing goes there.
    #[error("the webhook is disabled")]
    WebhookDisabled,
}
