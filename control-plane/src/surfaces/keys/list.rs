//! `GET /keys`

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use keyward_contract::KeyId;

use super::permission::Lister;
use super::wire::{Key, Page, Status};
use crate::App;
use crate::domain::refusal::InvalidField;
use crate::operations::company_keys::{self, From, Neighbour, Wanted};
use crate::surfaces::params::Params;
use crate::surfaces::problem::Problem;

/// Lists the account keys of the caller's environment, newest first.
///
/// # Errors
/// When a parameter is out of range, a cursor is unknown, or a cursor and an offset are sent together.
pub async fn list(State(app): State<App>, lister: Lister, params: Params) -> Result<Response, Problem> {
    let status = match params.text("status")? {
        Some(typed) => Status::parse("status", typed)?,
        None => Status::Active,
    };
    let wanted = Wanted {
        standing: status.into(),
        limit: params.whole_number("limit", 1..=100)?.unwrap_or(25),
        from: from(&params)?,
    };
    let listed = company_keys::list(&app.registry, lister.caller(), wanted).await?;
    let filters = format!("/keys?status={}&limit={}", status.as_str(), wanted.limit);
    let url = |neighbour: Neighbour, cursor: &str| match neighbour {
        Neighbour::Key(id) => format!("{filters}&{cursor}={id}"),
        Neighbour::Offset(0) => filters.clone(),
        Neighbour::Offset(offset) => format!("{filters}&offset={offset}"),
    };
    let data: Vec<_> = listed.keys.iter().map(Key::new).collect();
    let page = Page {
        status: 200,
        total: listed.total,
        count: data.len(),
        next_url: listed.older.map(|older| url(older, "startingAfter")),
        previous_url: listed.newer.map(|newer| url(newer, "endingBefore")),
        data,
    };
    Ok(Json(page).into_response())
}

fn from(params: &Params) -> Result<From, InvalidField> {
    let offset = params.whole_number("offset", 0..=i64::MAX)?;
    let (after, before) = (cursor(params, "startingAfter")?, cursor(params, "endingBefore")?);
    match (offset, after, before) {
        (Some(offset), None, None) => Ok(From::Offset(offset)),
        (Some(_), _, _) => Err(InvalidField::new("offset", "can't be sent with a cursor")),
        (None, after, before) => Ok(From::Cursors { after, before }),
    }
}

fn cursor(params: &Params, name: &'static str) -> Result<Option<KeyId>, InvalidField> {
    let Some(typed) = params.text(name)? else {
        return Ok(None);
    };
    let id = typed
        .parse()
        .map_err(|_| InvalidField::new(name, "is no key id"))?;
    Ok(Some(id))
}
