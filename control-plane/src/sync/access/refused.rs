//! Why a gateway is not let in, or let in no longer: what it is told, and how that is counted.

use tonic::Status;

/// Every "no" at the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sync) enum Refused {
    /// Neither a token nor a certificate.
    Nothing,
    /// A token that is none, or was deleted or replaced.
    Token,
    /// A token whose time is over.
    Expired,
    /// A token that is another gateway's.
    OthersToken,
    /// A certificate that isn't good any more, and why.
    Certificate(String),
    /// A certificate that names another gateway.
    OthersCertificate,
    /// Operators have blocked the gateway.
    Blocked,
    /// It is to be sent something else than when it was let in.
    Scope,
}

impl Refused {
    /// What the gateway is told.
    pub(in crate::sync) fn status(&self) -> Status {
        match self {
            Self::Nothing => Status::unauthenticated("no gateway token was shown, and no client certificate"),
            Self::Token => {
                Status::unauthenticated("wrong gateway token: there is none like this, or no more")
            }
            Self::Expired => Status::unauthenticated("the gateway token has expired"),
            Self::OthersToken => Status::permission_denied("the token belongs to a gateway with another id"),
            Self::Certificate(why) => {
                Status::unauthenticated(format!("the client certificate is not taken any more: {why}"))
            }
            Self::OthersCertificate => {
                Status::permission_denied("the client certificate does not name a gateway with this id")
            }
            Self::Blocked => Status::permission_denied("this gateway is blocked by an operator"),
            Self::Scope => Status::aborted("this gateway is to be sent something else: connect again"),
        }
    }

    /// How it is counted.
    pub(in crate::sync) fn reason(&self) -> &'static str {
        match self {
            Self::Nothing => "no_credential",
            Self::Token => "token",
            Self::Expired => "expired_token",
            Self::OthersToken | Self::OthersCertificate => "gateway_id",
            Self::Certificate(_) => "certificate",
            Self::Blocked => "blocked",
            Self::Scope => "scope",
        }
    }
}
