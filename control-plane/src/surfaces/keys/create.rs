//! `POST /keys`

use axum::extract::State;
use axum::response::Response;
use http::{StatusCode, header};
use keyward_contract::UserId;

use super::permission::Writer;
use super::wire::{self, Key};
use crate::App;
use crate::domain::refusal::{InvalidField, Missing, Refusal};
use crate::operations::company_keys::{self, NewKey};
use crate::surfaces::body::Json;
use crate::surfaces::fields::Fields;
use crate::surfaces::problem::Problem;
use crate::surfaces::settled;

/// Makes a key for a user of the company.
///
/// # Errors
/// When there is no such user, or a field breaks a rule.
pub async fn create(State(app): State<App>, writer: Writer, Json(fields): Json) -> Result<Response, Problem> {
    let made = company_keys::create(&app.registry, writer.caller(), wanted(&fields)?).await?;
    let location = format!("/keys/{}", made.value.key.id);
    let answer = (
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        axum::Json(Key::new(&made.value)),
    );
    Ok(settled::with(&made.settled, answer))
}

fn wanted(fields: &Fields) -> Result<NewKey, Problem> {
    let typed = fields.text("userId")?.required("userId")?.trim();
    if typed.is_empty() {
        return Err(InvalidField::new("userId", "must not be empty").into());
    }
    // What is malformed elsewhere is said first: whether there is such a user, only the store knows.
    let (allowed_ips, description) = (wire::whitelisted_ips(fields)?, wire::description(fields)?);
    let user: UserId = typed.parse().map_err(|_| Refusal::from(Missing::User))?;
    Ok(NewKey {
        user,
        allowed_ips: allowed_ips.or_null(),
        description: description.or_null(),
    })
}
