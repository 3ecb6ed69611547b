//! `Idempotency-Key` on POST: the call is made once, and its answer given again to every repeat for a day.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use tracing::Instrument;
use zeroize::Zeroizing;

use super::call::{Admission, RequestId, render};
use super::problem::Problem;
use super::settled::{PROPAGATION, REVISION};
use super::{Surface, body};
use crate::App;
use crate::domain::refusal::InvalidField;
use crate::operations::idempotency::{self, Claim, Ended, Ticket};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// The headers of an answer that belong to what was done, and not to the call that asked.
const KEPT: [HeaderName; 4] = [header::CONTENT_TYPE, header::LOCATION, REVISION, PROPAGATION];

#[derive(Serialize, Deserialize)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

/// Makes a POST once, if it asks for that.
///
/// # Errors
/// When the key is malformed, belongs to another call or to one that still runs, or the store is away.
pub async fn once(State(app): State<App>, request: Request, next: Next) -> Result<Response, Problem> {
    let Some(key) = idempotency_key(request.headers())? else {
        return Ok(next.run(request).await);
    };
    let (mut parts, body) = request.into_parts();
    let scope = scope(&parts)?;
    let body = body::read(&parts.headers, body).await?;
    match idempotency::claim(&app.registry, scope, key, &body).await? {
        Claim::First(ticket) => {
            if let Some(admission) = parts.extensions.get_mut::<Admission>() {
                admission.act_once(ticket.mark());
            }
            let id = parts.extensions.get::<RequestId>().cloned();
            let surface = parts.extensions.get::<Surface>().copied();
            let surface = surface.unwrap_or(Surface::Elsewhere);
            let request = Request::from_parts(parts, Body::from(body));
            // A panic in the call must not leave its key taken for a day.
            let response = match tokio::spawn(next.run(request).in_current_span()).await {
                Ok(response) => render(&app, surface, id.as_ref(), response),
                Err(_) => Problem::Internal.into_response(),
            };
            Ok(finish(&app, ticket, response).await)
        }
        Claim::Repeat(answer) => replay(&answer),
        Claim::Running => Err(Problem::Running),
        Claim::Lost => Err(Problem::Conflict(
            "this call was made before, but its answer was lost: look at what it made".into(),
        )),
        Claim::Other => Err(Problem::Conflict(
            "this Idempotency-Key was used for another body before".into(),
        )),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, InvalidField> {
    let invalid = |reason| InvalidField::new("Idempotency-Key", reason);
    let mut values = headers.get_all(KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(invalid("occurs twice"));
    }
    let fits = (1..=255).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic);
    match value.to_str() {
        Ok(key) if fits => Ok(Some(key.to_owned())),
        _ => Err(invalid("must be 1 to 255 visible ASCII characters")),
    }
}

/// Credential, method and path; `/v1` is another spelling of the same path.
fn scope(parts: &http::request::Parts) -> Result<String, Problem> {
    let credential = parts
        .extensions
        .get::<Admission>()
        .and_then(Admission::credential)
        .ok_or(Problem::NoCredential)?;
    let path = parts.uri.path();
    let path = path.strip_prefix("/v1").unwrap_or(path);
    Ok(format!("{credential} {} {path}", parts.method))
}

async fn finish(app: &App, ticket: Ticket, response: Response) -> Response {
    if response.status().is_server_error() {
        ticket.end(&app.registry, Ended::Failed).await;
        return response;
    }
    let (parts, body) = response.into_parts();
    let bytes = match body.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(_) => Bytes::new(),
    };
    let text = |name: &HeaderName| {
        Some((
            name.to_string(),
            parts.headers.get(name)?.to_str().ok()?.to_owned(),
        ))
    };
    let answer = Answer {
        status: parts.status.as_u16(),
        headers: KEPT.iter().filter_map(text).collect(),
        body: String::from_utf8_lossy(&bytes).into_owned(),
    };
    // The change is made: an answer that can't be kept is still the answer.
    match serde_json::to_vec(&answer) {
        Ok(kept) => {
            let ended = Ended::Answered {
                status: answer.status,
                answer: Zeroizing::new(kept),
            };
            ticket.end(&app.registry, ended).await;
        }
        Err(error) => tracing::error!(%error, "an answer could not be written down for repeats"),
    }
    Response::from_parts(parts, Body::from(bytes))
}

fn replay(kept: &[u8]) -> Result<Response, Problem> {
    let broken = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, "a kept answer is broken");
        Problem::Internal
    };
    let answer: Answer = serde_json::from_slice(kept).map_err(|error| broken(&error))?;
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).map_err(|error| broken(&error))?;
    for (name, value) in &answer.headers {
        let name = HeaderName::try_from(name).map_err(|error| broken(&error))?;
        let value = HeaderValue::try_from(value).map_err(|error| broken(&error))?;
        response.headers_mut().insert(name, value);
    }
    response
        .headers_mut()
        .insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}
