//! `POST /v1/validate`: an application asks whether a call of its own may pass.
//!
//! It names the route instead of a path (the only one, or the one of `/`, when it names none) and may set the cost. The
//! answer is 200 whatever was decided, with the numbers of the limits; a question that can't be read is refused like any
//! request. Without `client_ip` the address is that of who asks. Keys are never repeated.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::Asker;
use super::reply::Reply;
use crate::admission::{Caller, Refused};
use crate::call::Call;
use crate::clock::Now;
use crate::credential::Presented;
use crate::explain::{self, Told};
use crate::limits::Permit;
use crate::limits::fields::{self, Standing};
use crate::onward;
use crate::path::normalise;
use crate::pipeline::{self, Question, Shown};
use crate::rejection::Rejection;
use crate::request_id;
use crate::route::{Match, Route, RouteTable};
use crate::telemetry::Endpoint;

pub(super) mod asked;

use asked::Asked;

/// Where it is asked.
pub const PATH: &str = "/v1/validate";

/// Bytes that a question may have.
const MAX_QUESTION: usize = 64 << 10;

/// Answers one question.
pub(super) async fn answer(asker: &Asker, parts: &Parts, body: Incoming) -> Response<Reply> {
    let mut call = asker.begin(Endpoint::Validate);
    let request_id = request_id::of(&parts.headers, call.started().unix.0);
    call.describe(parts, &request_id, asker.peer);
    let answer = match read(&call, parts, body).await {
        Ok((asked, route)) => {
            let decided = decide(asker, &mut call, &asked, &route).await;
            let facts = match &decided {
                Ok(permit) => allowed(permit, &call),
                Err(refused) => {
                    let told = Told {
                        request_id: &request_id,
                        method: &parts.method,
                        client: asked.client.unwrap_or(asker.peer),
                        sources: asked.sources(),
                    };
                    denied(refused, &mut call, told)
                }
            };
            answer_with(facts, request_id)
        }
        Err(rejection) => {
            let form = super::http_form(&parts.headers);
            let told = Told {
                request_id: &request_id,
                method: &parts.method,
                client: asker.peer,
                sources: [None, None],
            };
            super::refuse(&mut call, &rejection.into(), form, told)
        }
    };
    answer.map(Reply::of)
}

/// The question, and the route that it is about.
async fn read(call: &Call, parts: &Parts, body: Incoming) -> Result<(Asked, Arc<Route>), Rejection> {
    if parts.method != Method::POST {
        return Err(Rejection::MethodNotAllowed(HeaderValue::from_static("POST")));
    }
    if !is_json(&parts.headers) {
        return Err(Rejection::UnsupportedMediaType);
    }
    let within = call.rules().config.timeouts.request_body_idle;
    let body = Limited::new(body, MAX_QUESTION).collect();
    let body = match tokio::time::timeout(within, body).await {
        Ok(Ok(body)) => Zeroizing::new(body.to_bytes().to_vec()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Err(Rejection::PayloadTooLarge(MAX_QUESTION as u64));
        }
        Ok(Err(_)) => return Err(Rejection::InvalidInput("the body broke off")),
        Err(_) => return Err(Rejection::InvalidInput("the body did not come in time")),
    };
    let asked = Asked::parse(&body)?;
    let mut route = Arc::clone(find(&call.rules().routes, asked.route.as_deref())?);
    if let Some(cost) = asked.cost {
        Arc::make_mut(&mut route).cost = cost;
    }
    Ok((asked, route))
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

fn find<'t>(routes: &'t RouteTable, name: Option<&str>) -> Result<&'t Arc<Route>, Rejection> {
    let all = routes.routes();
    if let Some(name) = name {
        let mut named = all.iter().filter(|route| &*route.name == name);
        return match (named.next(), named.next()) {
            (Some(route), None) => Ok(route),
            (Some(_), Some(_)) => Err(Rejection::InvalidInput("several routes have this name")),
            (None, _) => Err(Rejection::InvalidInput("no route has this name")),
        };
    }
    if let [only] = all {
        return Ok(only);
    }
    let root = normalise("/").ok();
    let of_root = root.and_then(|root| {
        [Method::POST, Method::GET]
            .iter()
            .find_map(|method| match routes.find("", &root, method) {
                Match::Found(route) => Some(route),
                Match::EncodedSlash | Match::MethodMissing(_) | Match::None => None,
            })
    });
    of_root.ok_or(Rejection::InvalidInput(
        "there are several routes and none for `/`; name one in `route`",
    ))
}

async fn decide(asker: &Asker, call: &mut Call, asked: &Asked, route: &Route) -> Result<Permit, Refused> {
    pipeline::refuse_when_full(call)?;
    let [account, customer] = [&asked.account_key, &asked.customer_key]
        .map(|key| key.as_ref().map(|key| key.expose_secret().as_bytes()));
    let question = Question {
        route,
        credentials: Shown::Apart(Presented::of(account, customer)),
        client: asked.client.unwrap_or(asker.peer),
    };
    pipeline::validate(call, &question).await
}

fn allowed(permit: &Permit, call: &Call) -> Map<String, Value> {
    let mut facts = Map::new();
    facts.insert("allowed".into(), true.into());
    facts.insert("code".into(), "ACCEPTED".into());
    facts.insert("message".into(), "the call may pass".into());
    if let Some(caller) = permit.caller() {
        describe(&mut facts, caller, call);
    }
    if let Some(standing) = permit.standing() {
        facts.insert("rate_limit".into(), rate_limit(standing, call.started(), None));
    }
    facts
}

fn denied(refused: &Refused, call: &mut Call, told: Told<'_>) -> Map<String, Value> {
    let rejection = &refused.rejection;
    call.refused(rejection, rejection.status().as_u16());
    explain::keep(call, refused, told);
    let mut facts = Map::new();
    facts.insert("allowed".into(), false.into());
    facts.insert("code".into(), rejection.code().into());
    facts.insert("message".into(), rejection.message().into());
    facts.insert("status".into(), rejection.status().as_u16().into());
    let retry_after = rejection.retry_after();
    if let Some(seconds) = retry_after {
        facts.insert("retry_after_seconds".into(), seconds.into());
    }
    if let Some(caller) = refused.caller.as_deref().filter(|_| rejection.shows_limits()) {
        describe(&mut facts, caller, call);
    }
    if let Some(standing) = pipeline::standing_of(refused, call) {
        facts.insert(
            "rate_limit".into(),
            rate_limit(&standing, call.started(), retry_after),
        );
    }
    facts
}

/// Who calls, under the names that upstreams know with `_` for `-`, and what is left of its year.
fn describe(facts: &mut Map<String, Value>, caller: &Caller, call: &Call) {
    for (name, value) in super::identity(Some(caller)) {
        let name = name.strip_prefix("keyward-").unwrap_or(name).replace('-', "_");
        facts.insert(name, value.into());
    }
    let limiter = &call.worker().shared().limiter;
    if let Some(quota) = limiter.levels(caller, call.started()).quota {
        let level = json!({
            "limit": quota.limit, "used": quota.used, "remaining": quota.remaining(),
            "resets_at": quota.resets_at.to_rfc3339_millis(),
        });
        facts.insert("quota".into(), level);
    }
}

/// The numbers of the rate headers.
fn rate_limit(standing: &Standing, now: Now, retry_after: Option<u64>) -> Value {
    let mut level = json!({
        "bucket": standing.which.name(),
        "limit": standing.level.limits.burst,
        "remaining": standing.level.remaining(),
        "reset": fields::reset(now.unix, standing.reset_after),
    });
    if let Some(seconds) = retry_after {
        level["retry_after_seconds"] = seconds.into();
    }
    level
}

fn answer_with(mut facts: Map<String, Value>, request_id: HeaderValue) -> Response<Bytes> {
    facts.insert("requestId".into(), request_id.to_str().unwrap_or_default().into());
    let mut answer = Response::new(Bytes::from(Value::Object(facts).to_string()));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(onward::X_REQUEST_ID, request_id);
    answer
}
