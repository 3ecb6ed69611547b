//! The decision, check by check, in the order in which a call meets them, and which of them a refusal was.

use keyward_config::Require;

use crate::admission::Caller;
use crate::rejection::Rejection;
use crate::route::Route;

/// One thing that a call must pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    Capacity,
    Head,
    Route,
    KeySet,
    Credentials,
    AccountKeySent,
    AccountKeyKnown,
    AccountKeyLives,
    Environment,
    Account,
    Address,
    CustomerKeySent,
    CustomerKeyGood,
    CustomerAddress,
    Quota,
    Rate,
    Body,
    Reachable,
    Answer,
}

use Check::{
    Account, AccountKeyKnown, AccountKeyLives, AccountKeySent, Address, Answer, Body, Capacity, Credentials,
    CustomerAddress, CustomerKeyGood, CustomerKeySent, Environment, Head, KeySet, Quota, Rate, Reachable,
};

const HEAD: &[Check] = &[Capacity, Head, Check::Route];
const CREDENTIALS: &[Check] = &[KeySet, Credentials];
const ACCOUNT_KEY: &[Check] = &[AccountKeySent, AccountKeyKnown, AccountKeyLives, Environment];
const ACCOUNT: &[Check] = &[Account, Address];
const CUSTOMER_KEY: &[Check] = &[CustomerKeySent, CustomerKeyGood];
const ONWARD: &[Check] = &[Rate, Body, Reachable, Answer];

/// What a call must pass, in order, on a route that requires this; without a route, as on most.
pub(super) fn in_order(require: Option<Require>) -> Vec<Check> {
    let of_keys: &[&[Check]] = match require {
        None | Some(Require::Customer) => &[
            CREDENTIALS,
            ACCOUNT_KEY,
            ACCOUNT,
            CUSTOMER_KEY,
            &[CustomerAddress],
            &[Quota],
        ],
        Some(Require::Account) => &[CREDENTIALS, ACCOUNT_KEY, ACCOUNT, &[Quota]],
        Some(Require::CustomerOnly) => &[CREDENTIALS, CUSTOMER_KEY, ACCOUNT, &[Quota]],
        Some(Require::None) => &[&[Credentials]],
    };
    [HEAD, &of_keys.concat(), ONWARD].concat()
}

impl Check {
    /// The step of the pipeline that it belongs to.
    pub(super) fn step(self) -> &'static str {
        match self {
            Self::Capacity | Self::Head => "parse",
            Self::Route => "route",
            Self::KeySet | Self::Credentials | Self::AccountKeySent | Self::AccountKeyKnown => "identify",
            Self::AccountKeyLives
            | Self::Environment
            | Self::Account
            | Self::Address
            | Self::CustomerKeySent
            | Self::CustomerKeyGood
            | Self::CustomerAddress => "authorise",
            Self::Quota | Self::Rate => "limit",
            Self::Body | Self::Reachable | Self::Answer => "forward",
        }
    }

    /// What it asks, for people.
    pub(super) fn question(self) -> &'static str {
        match self {
            Self::Capacity => "the gateway has room for one more call",
            Self::Head => "the head can be read in one way only",
            Self::Route => "there is a route for host, path and method",
            Self::KeySet => "the key set is there and fresh",
            Self::Credentials => "no credential is ambiguous",
            Self::AccountKeySent => "an account key was sent",
            Self::AccountKeyKnown => "the account key is well-formed and known",
            Self::AccountKeyLives => "the account key is neither revoked, deleted, disabled nor expired",
            Self::Environment => "the route serves the key's environment",
            Self::Account => "the account is active and its contract holds",
            Self::Address => "the key may be used from this address",
            Self::CustomerKeySent => "a customer key was sent, where it is required",
            Self::CustomerKeyGood => {
                "the customer key, if any, is a living one of this account and environment"
            }
            Self::CustomerAddress => "the customer key, if any, may be used from this address",
            Self::Quota => "the yearly quota has a validation left",
            Self::Rate => "every bucket has the tokens, and the route a place",
            Self::Body => "the request body is well-formed and within the route's limit",
            Self::Reachable => "an endpoint of the upstream can be reached",
            Self::Answer => "the upstream answered in time and by the rules of HTTP",
        }
    }
}

/// Which check a refusal was. `None`: the gateway failed, and it can't be told where.
pub(super) fn refused_at(
    rejection: &Rejection,
    route: Option<&Route>,
    caller: Option<&Caller>,
    is_accepted: bool,
) -> Option<Check> {
    Some(match rejection {
        Rejection::InvalidInput(_) if route.is_none() => Head,
        Rejection::InvalidInput(_) if is_accepted || caller.is_some() => Body,
        Rejection::InvalidInput(_) => Credentials,
        Rejection::UriTooLong
        | Rejection::HeadTooLarge
        | Rejection::VersionNotSupported
        | Rejection::UnsupportedMediaType => Head,
        Rejection::RouteNotFound | Rejection::MethodNotAllowed(_) => Check::Route,
        Rejection::Unauthorized => AccountKeySent,
        Rejection::InvalidApiKey => {
            let is_elsewhere =
                |caller: &Caller| route.is_some_and(|route| !route.serves(caller.environment()));
            if caller.is_some_and(is_elsewhere) {
                Environment
            } else {
                AccountKeyKnown
            }
        }
        Rejection::ExpiredApiKey => AccountKeyLives,
        Rejection::AccountSuspended => Account,
        Rejection::IpNotAllowed => {
            // The account key's own list is asked before any customer key is.
            let has_both =
                |caller: &Caller| caller.account_key().is_some() && caller.customer_key().is_some();
            if caller.is_some_and(has_both) {
                CustomerAddress
            } else {
                Address
            }
        }
        Rejection::CustomerKeyMissing => CustomerKeySent,
        Rejection::CustomerKeyRefused => CustomerKeyGood,
        Rejection::QuotaExceeded(_) => Quota,
        Rejection::RateLimited { .. } => Rate,
        // Of a question; that of a call has a route.
        Rejection::PayloadTooLarge(_) if route.is_none() => Head,
        Rejection::PayloadTooLarge(_) => Body,
        Rejection::Overloaded(_) if route.is_none() => Capacity,
        Rejection::Overloaded(_) => KeySet,
        Rejection::UpstreamUnavailable => Reachable,
        Rejection::BadGateway(_) | Rejection::UpstreamTimeout => Answer,
        Rejection::Internal => return None,
    })
}
