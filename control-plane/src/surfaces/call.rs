//! One call on a REST surface, from outside in: request id → who calls → may they → how fast → the endpoint →
//! the answer's form. Every answer of the API listener passes through here.
//!
//! The inner part runs in a task of its own: a panic costs that call alone, and a client that goes away can't
//! stop a change between its commit and its announcement.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use keyward_contract::KeyShape;
use tracing::Instrument;

use super::limits::Meter;
use super::problem::Problem;
use super::{Surface, admin, body, credentials, keys, oauth, portal, user_keys};
use crate::App;
use crate::domain::admin::Role;
use crate::operations::idempotency::Mark;
use crate::operations::identify::{AdminCaller, Call, CompanyCaller, PortalCaller};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a call: the caller's, when it sent a well-formed one, else a new UUIDv7.
#[derive(Clone, Debug)]
pub struct RequestId(String);

impl RequestId {
    fn of(headers: &HeaderMap) -> Self {
        let mut sent = headers.get_all(REQUEST_ID).iter();
        let well_formed = |value: &HeaderValue| {
            let text = value.to_str().ok()?;
            let fits = (1..=128).contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
            // It is logged and kept with what was changed: a key that was put there by mistake must not be.
            let is_key = KeyShape::parse(text.as_bytes()).is_ok();
            (fits && !is_key).then(|| text.to_owned())
        };
        match (sent.next().and_then(well_formed), sent.next()) {
            (Some(id), None) => Self(id),
            _ => Self(uuid::Uuid::now_v7().to_string()),
        }
    }

    /// The id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether the caller of this call may call at all. Set before any endpoint runs; endpoints can only get a caller
/// out of it.
#[derive(Clone, Debug)]
pub enum Admission {
    /// The holder of a living account key.
    Portal(Box<PortalCaller>),
    /// The holder of a living admin key.
    Admin(Box<AdminCaller>),
    /// Somebody of a company, by a key or a token.
    Company(Box<CompanyCaller>),
    /// Nobody who may.
    Refused(Problem),
}

impl Admission {
    /// The id of the credential, when it was admitted.
    #[must_use]
    pub fn credential(&self) -> Option<&str> {
        match self {
            Self::Portal(caller) => Some(&caller.actor.id),
            Self::Admin(caller) => Some(&caller.actor.id),
            Self::Company(caller) => Some(&caller.actor.id),
            Self::Refused(_) => None,
        }
    }

    /// Has the caller's change note that it acted under this key.
    pub fn act_once(&mut self, mark: Mark) {
        match self {
            Self::Portal(caller) => caller.actor.once = Some(mark),
            Self::Admin(caller) => caller.actor.once = Some(mark),
            Self::Company(caller) => caller.actor.once = Some(mark),
            Self::Refused(_) => {}
        }
    }
}

/// Answers one call.
pub async fn answer(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let started = app.registry.clock.monotonic();
    let id = RequestId::of(request.headers());
    request.extensions_mut().insert(id.clone());
    // Further in, a nested router has shortened the path.
    let surface = Surface::of(request.uri().path());
    request.extensions_mut().insert(surface);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    // The route and not the path: what callers put there by mistake may be a key.
    let matched = route.as_ref().map_or("none", MatchedPath::as_str);
    let span = tracing::info_span!("call", request_id = %id, %method, route = matched);
    let inner = tokio::spawn(admitted(app.clone(), request, next).instrument(span));
    let response = match inner.await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(request_id = %id, %error, "a call ended in a panic");
            Problem::Internal.into_response()
        }
    };
    let mut response = render(&app, surface, Some(&id), response);
    let headers = response.headers_mut();
    // Uuids and checked texts are header values.
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        headers.insert(REQUEST_ID, value);
    }
    // All but what is public, and says so.
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    app.telemetry.called(&crate::telemetry::Called {
        surface: surface.as_str(),
        method: known_method(&method),
        route: matched,
        status: response.status().as_u16(),
        took: app.registry.clock.monotonic().saturating_sub(started),
    });
    response
}

/// Identifies the caller, takes a token from its bucket, and only then lets the router's endpoint run.
async fn admitted(app: App, mut request: Request, next: Next) -> Response {
    let call = call_of(&request);
    let identified = match Surface::of(request.uri().path()) {
        Surface::Portal => portal::guard::identify(&app, request.headers(), &call).await,
        Surface::Admin => admin::guard::identify(&app, request.headers(), &call).await,
        Surface::Keys | Surface::UserKeys => credentials::identify(&app, request.headers(), &call).await,
        Surface::OAuth | Surface::Elsewhere => (Admission::Refused(Problem::NoCredential), None),
    };
    let (mut admission, mut meter) = identified;
    if let Some((limits, key)) = limits_of(&app, &admission) {
        let (level, taken) = limits.take(key, &app.registry.clock);
        meter = Some(level);
        if let Err(retry_after) = taken {
            admission = Admission::Refused(Problem::RateLimited { retry_after });
        }
    }
    let mut response = match admission {
        // An empty bucket ends every call, whatever its path and method.
        Admission::Refused(problem @ Problem::RateLimited { .. }) => problem.into_response(),
        admission => {
            request.extensions_mut().insert(admission);
            next.run(request).await
        }
    };
    if let Some(meter) = meter {
        Meter::put_on(meter, response.headers_mut());
    }
    response
}

fn limits_of<'a>(app: &'a App, admission: &Admission) -> Option<(&'a super::limits::CallLimits, uuid::Uuid)> {
    match admission {
        Admission::Portal(caller) => Some((&app.portal_limits, *caller.key.id.as_uuid())),
        Admission::Admin(caller) => Some((&app.admin_limits, *caller.key.id.as_uuid())),
        Admission::Company(caller) => Some((&app.company_limits, caller.credential.bucket())),
        Admission::Refused(_) => None,
    }
}

/// Gives a problem the form of the surface; leaves every other answer alone.
pub(super) fn render(
    app: &App,
    surface: Surface,
    id: Option<&RequestId>,
    mut response: Response,
) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else {
        return response;
    };
    let id = id.map_or("", RequestId::as_str);
    if surface != Surface::Admin && response.status() == http::StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static(match problem {
            Problem::UnknownToken | Problem::DeadToken => "Bearer realm=\"keyward\", error=\"invalid_token\"",
            _ => "Bearer realm=\"keyward\"",
        });
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    let body = match surface {
        Surface::Admin => admin::error::body(&problem, id),
        Surface::Keys => keys::error::body(&problem, id),
        Surface::UserKeys => user_keys::error::body(&problem, id),
        Surface::OAuth => oauth::error::body(&problem),
        Surface::Portal | Surface::Elsewhere => portal::error::body(&problem, id, &app.documentation_url),
    };
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let json = HeaderValue::from_static("application/json");
    parts.headers.insert(header::CONTENT_TYPE, json);
    Response::from_parts(parts, body.into())
}

/// Lets nobody pass but holders of an account key.
///
/// # Errors
/// Why the caller may not.
pub async fn require_account_key(request: Request, next: Next) -> Result<Response, Problem> {
    match request.extensions().get::<Admission>() {
        Some(Admission::Portal(_)) => {
            body::refuse_large(request.headers())?;
            Ok(next.run(request).await)
        }
        other => Err(refusal(other)),
    }
}

/// Lets nobody pass but operators of at least this role.
///
/// # Errors
/// Why the caller may not.
pub async fn require_role(
    State(role): State<Role>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    match request.extensions().get::<Admission>() {
        Some(Admission::Admin(caller)) if caller.key.role >= role => {
            body::refuse_large(request.headers())?;
            Ok(next.run(request).await)
        }
        Some(Admission::Admin(_)) => Err(Problem::Forbidden(
            "the role of this admin key does not allow this",
        )),
        other => Err(refusal(other)),
    }
}

/// Lets nobody pass but somebody of a company, by a key or a token. What it may do, endpoints ask.
///
/// # Errors
/// Why the caller may not.
pub async fn require_company(request: Request, next: Next) -> Result<Response, Problem> {
    match request.extensions().get::<Admission>() {
        Some(Admission::Company(_)) => {
            body::refuse_large(request.headers())?;
            Ok(next.run(request).await)
        }
        other => Err(refusal(other)),
    }
}

fn refusal(admission: Option<&Admission>) -> Problem {
    match admission {
        Some(Admission::Refused(problem)) => problem.clone(),
        _ => Problem::NoCredential,
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PortalCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match parts.extensions.get::<Admission>() {
            Some(Admission::Portal(caller)) => Ok(Self::clone(caller)),
            other => Err(refusal(other)),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for AdminCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match parts.extensions.get::<Admission>() {
            Some(Admission::Admin(caller)) => Ok(Self::clone(caller)),
            other => Err(refusal(other)),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for CompanyCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match parts.extensions.get::<Admission>() {
            Some(Admission::Company(caller)) => Ok(Self::clone(caller)),
            other => Err(refusal(other)),
        }
    }
}

/// What operations are told of this call.
pub(super) fn call_of(request: &Request) -> Call {
    Call {
        request_id: request
            .extensions()
            .get::<RequestId>()
            .map(ToString::to_string)
            .unwrap_or_default(),
        address: peer(request),
    }
}

fn peer(request: &Request) -> Option<IpAddr> {
    let ConnectInfo(peer) = request.extensions().get::<ConnectInfo<SocketAddr>>()?;
    Some(peer.ip().to_canonical())
}

/// Methods are for callers to invent; labels are not.
fn known_method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
