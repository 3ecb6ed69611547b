//! `POST /oauth/token`: a token for an account's id and one of its keys.

use std::net::IpAddr;

use axum::Json;
use axum::extract::{Request as HttpRequest, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, header};
use keyward_contract::AccountId;
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::{Presented, Refusal};
use super::form::{Form, Unreadable, decode};
use crate::App;
use crate::operations::tokens::issue::{self, Issued, Request, Secret, Unissued};
use crate::surfaces::body;
use crate::surfaces::call::call_of;
use crate::surfaces::limits::Meter;
use crate::surfaces::problem::Problem;

/// What is asked for. The id and the secret may be in `Authorization: Basic` instead.
#[derive(ToSchema)]
#[schema(example = json!({
    "grant_type": "client_credentials", "client_id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e",
    "client_secret": "pk_live_4fQ7xT2mK9sL0bVn3RzY8wJcH5dEuGp6A1B2C3", "scope": "company.keys:list",
}))]
pub struct TokenRequest {
    /// `client_credentials`.
    #[schema(format = "grant-type")]
    pub grant_type: String,
    /// The account's id.
    #[schema(format = "uuid", nullable = false)]
    pub client_id: Option<String>,
    /// One of the account's keys.
    #[schema(nullable = false)]
    pub client_secret: Option<String>,
    /// What the token is to allow, separated by spaces; all that the key may when left out.
    #[schema(format = "scope", nullable = false)]
    pub scope: Option<String>,
}

/// A token.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "access_token": "eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJFUzI1NiJ9.e30.c2ln", "token_type": "Bearer",
    "expires_in": 3_600, "scope": "company.keys:list",
}))]
pub struct TokenAnswer {
    access_token: String,
    #[schema(pattern = "^Bearer$")]
    token_type: &'static str,
    /// Seconds.
    #[schema(minimum = 0, maximum = 3_600)]
    expires_in: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(required = false)]
    scope: String,
}

/// Gives a token. No answer of it may be kept (RFC 6749, 5.1).
#[utoipa::path(
    post,
    path = "/oauth/token",
    operation_id = "getToken",
    tag = "tokens",
    security(()),
    request_body(content = TokenRequest, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "A token.", body = TokenAnswer),
        (status = 401, description = "The client id is no account, or the secret is no living key of it."),
        (status = 429, description = "Too many calls by this client."),
    ),
)]
pub async fn token(State(app): State<App>, request: HttpRequest) -> Response {
    let (outcome, meter) = exchange(&app, request).await;
    let mut response = match outcome {
        Ok(issued) => Json(answer(issued)).into_response(),
        Err(refusal) => refusal.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    if let Some(meter) = meter {
        meter.put_on(headers);
    }
    response
}

async fn exchange(app: &App, request: HttpRequest) -> (Result<Issued, Refusal>, Option<Meter>) {
    let call = call_of(&request);
    let (parts, body) = request.into_parts();
    let asked = async {
        if parts.uri.query().is_some_and(|query| !query.is_empty()) {
            // Addresses end up in logs.
            return Err(Refusal::Request(
                "parameters go into the body, never into the address",
            ));
        }
        if !is_form(&parts.headers) {
            return Err(Problem::UnsupportedMediaType.into());
        }
        let bytes = body::read(&parts.headers, body).await?;
        Asked::read(&parts.headers, &Form::parse(&bytes)?)
    };
    let asked = match asked.await {
        Ok(asked) => asked,
        Err(refusal) => return (Err(refusal), None),
    };
    let bucket = bucket(asked.client, call.address);
    let (meter, taken) = app.token_limits.take(bucket, &app.registry.clock);
    if let Err(retry_after) = taken {
        let problem = Problem::RateLimited { retry_after };
        return (Err(problem.into()), Some(meter));
    }
    let request = Request {
        client: asked.client,
        secret: &asked.secret,
        scope: asked.scope.as_deref(),
    };
    let issued = match issue::issue(&app.registry, request, &call).await {
        Ok(Ok(issued)) => Ok(issued),
        Ok(Err(Unissued::Client)) => Err(Refusal::Client(asked.presented)),
        Ok(Err(Unissued::Scope)) => Err(Refusal::Scope),
        Err(error) => Err(Problem::from(error).into()),
    };
    (issued, Some(meter))
}

fn answer(issued: Issued) -> TokenAnswer {
    TokenAnswer {
        access_token: issued.token,
        token_type: "Bearer",
        expires_in: issued.expires_in,
        scope: issued.scope,
    }
}

/// What was asked for, by somebody who is not authenticated yet.
struct Asked {
    client: AccountId,
    secret: Secret,
    scope: Option<String>,
    presented: Presented,
}

impl Asked {
    fn read(headers: &HeaderMap, form: &Form) -> Result<Self, Refusal> {
        let grant_type = form.one("grant_type")?;
        let scope = form.one("scope")?.map(str::to_owned);
        let in_body = (form.one("client_id")?, form.one("client_secret")?);
        let (id, secret, presented) = match (basic(headers)?, in_body) {
            (Some(_), (_, Some(_))) => {
                return Err(Refusal::Request(
                    "the client showed who it is twice: in the Authorization header and in the body",
                ));
            }
            (Some((id, _)), (Some(other), None)) if id != other => {
                return Err(Refusal::Request(
                    "client_id is another one than in the Authorization header",
                ));
            }
            (Some((id, secret)), _) => (id, secret, Presented::InHeader),
            (None, (Some(id), Some(secret))) => (id.to_owned(), secret.to_owned(), Presented::InBody),
            (None, _) => (String::new(), String::new(), Presented::InBody),
        };
        match grant_type {
            None => return Err(Refusal::Request("grant_type is missing")),
            Some("client_credentials") => {}
            Some(_) => return Err(Refusal::GrantType),
        }
        Ok(Self {
            client: id.parse().map_err(|_| Refusal::Client(presented))?,
            secret: Secret::new(secret),
            scope,
            presented,
        })
    }
}

/// Id and secret of `Authorization: Basic`, each form-urlencoded (RFC 6749, 2.3.1).
fn basic(headers: &HeaderMap) -> Result<Option<(String, String)>, Refusal> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Refusal::Request("the Authorization header occurs twice"));
    }
    let pair = || {
        let (scheme, rest) = value.as_bytes().split_at_checked("Basic ".len())?;
        let encoded = scheme
            .eq_ignore_ascii_case(b"Basic ")
            .then_some(rest.trim_ascii())?;
        let decoded = STANDARD.decode(encoded).ok()?;
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        Some((decode(decoded.get(..colon)?)?, decode(decoded.get(colon + 1..)?)?))
    };
    pair().map(Some).ok_or(Refusal::Client(Presented::InHeader))
}

impl From<Unreadable> for Refusal {
    fn from(unreadable: Unreadable) -> Self {
        Self::Request(match unreadable {
            Unreadable::Twice => "a parameter occurs twice",
            Unreadable::Form => "the body is no well-formed form in UTF-8",
        })
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(first), None) = (types.next(), types.next()) else {
        return false;
    };
    let encoded = headers.contains_key(header::CONTENT_ENCODING);
    let essence = first.to_str().ok().and_then(|text| text.split(';').next());
    !encoded
        && essence.is_some_and(|essence| {
            essence
                .trim()
                .eq_ignore_ascii_case("application/x-www-form-urlencoded")
        })
}

/// One bucket a client and address: who knows another's id can't use up its tokens from elsewhere.
fn bucket(client: AccountId, address: Option<IpAddr>) -> Uuid {
    let hash = Sha256::digest(format!("{client} {address:?}"));
    Uuid::from_slice(hash.get(..16).unwrap_or_default()).unwrap_or_default()
}
