//! Where a call of surface 4 acts, who acts, and which key it is about: read from the path and the caller's claims
//! before anything else of the call is looked at.
//!
//! Refusals, in this order: no user or no sufficient claim 403, no such environment 404.

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;
use keyward_contract::{Environment, EnvironmentId};

use crate::domain::claims::{self, Sight};
use crate::operations::identify::CompanyCaller;
use crate::operations::user_keys::Viewer;
use crate::surfaces::problem::Problem;

/// A user who sees keys.
#[derive(Clone, Debug)]
pub struct Sees(pub Viewer);

/// A user who may make keys too.
#[derive(Clone, Debug)]
pub struct Creates(pub Viewer);

/// The number of a key in the path.
#[derive(Clone, Copy, Debug)]
pub struct Number(pub i64);

impl<S: Send + Sync> FromRequestParts<S> for Sees {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = CompanyCaller::from_request_parts(parts, state).await?;
        viewer(parts, state, caller).await.map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Creates {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = CompanyCaller::from_request_parts(parts, state).await?;
        let may = claims::may_create(caller.claims.iter().map(String::as_str));
        let viewer = viewer(parts, state, caller).await?;
        if !may {
            return Err(Problem::Forbidden(
                "none of the caller's claims allows to make keys",
            ));
        }
        Ok(Self(viewer))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Number {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = param(parts, state, "api_key_id").await?;
        text.as_deref().and_then(number).map(Self).ok_or_else(missing)
    }
}

async fn viewer<S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
    caller: CompanyCaller,
) -> Result<Viewer, Problem> {
    let Some(user) = caller.user.clone() else {
        return Err(Problem::Forbidden("the API key belongs to no user"));
    };
    let Some(sight) = Sight::among(caller.claims.iter().map(String::as_str)) else {
        return Err(Problem::Forbidden("none of the caller's claims allows this"));
    };
    let environment = match param(parts, state, "environment_id").await? {
        Some(id) => named(&caller, &id)?,
        None => caller.environment,
    };
    Ok(Viewer {
        account: caller.account.id,
        environment,
        user,
        sight,
        actor: caller.actor,
    })
}

/// The kind of the environment with this id: one of the caller's account, also for those who see every account,
/// since either of its two stands for all of its kind.
fn named(caller: &CompanyCaller, id: &str) -> Result<Environment, Problem> {
    let id: EnvironmentId = id.parse().map_err(|_| missing())?;
    let both = caller.account.environments.both();
    let (kind, _) = both
        .into_iter()
        .find(|(_, settings)| settings.id == id)
        .ok_or_else(missing)?;
    let of_key = caller.credential.key().map(|key| key.environment);
    match (of_key, kind) {
        // What lies about in test set-ups must not open production.
        (Some(Environment::Test), Environment::Production) => Err(Problem::Forbidden(
            "a key of the test environment can't act in production",
        )),
        _ => Ok(kind),
    }
}

/// A whole number as we write it: nothing else is an id of a key.
fn number(text: &str) -> Option<i64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| digits)
}

async fn param<S: Send + Sync>(parts: &mut Parts, state: &S, name: &str) -> Result<Option<String>, Problem> {
    let params = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| missing())?;
    let mut params = params.iter();
    Ok(params
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned()))
}

fn missing() -> Problem {
    Problem::Missing("API key".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_number_as_we_write_it_is_an_id() {
        assert_eq!(number("1"), Some(1));
        assert_eq!(number("9223372036854775807"), Some(i64::MAX));
        for bad in [
            "",
            "0",
            "01",
            "+1",
            "-1",
            "1.0",
            "1e3",
            " 1",
            "0x1",
            "x",
            "١",
            "9223372036854775808",
        ] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }
}
