//! Who may read and who may change the keys of a company: proofs that only a call with the permission gets.

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::operations::identify::CompanyCaller;
use crate::surfaces::problem::Problem;

/// Somebody with the permission `company.keys:list`.
#[derive(Clone, Debug)]
pub struct Lister(CompanyCaller);

/// Somebody with the permission `company.keys:write`.
#[derive(Clone, Debug)]
pub struct Writer(CompanyCaller);

impl Lister {
    /// Who it is.
    #[must_use]
    pub fn caller(&self) -> &CompanyCaller {
        &self.0
    }
}

impl Writer {
    /// Who it is.
    #[must_use]
    pub fn caller(&self) -> &CompanyCaller {
        &self.0
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Lister {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = CompanyCaller::from_request_parts(parts, state).await?;
        if caller.permissions.list {
            Ok(Self(caller))
        } else {
            Err(Problem::Forbidden("this needs the permission company.keys:list"))
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Writer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = CompanyCaller::from_request_parts(parts, state).await?;
        if caller.permissions.write {
            Ok(Self(caller))
        } else {
            Err(Problem::Forbidden("this needs the permission company.keys:write"))
        }
    }
}
