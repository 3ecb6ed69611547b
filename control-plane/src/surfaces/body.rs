//! Bodies: read whole, at most 64 KiB, in at most ten seconds; JSON objects as [`Fields`].

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::fields::Fields;
use super::problem::Problem;
use super::strict_json;
use crate::domain::refusal::InvalidField;

/// The most bytes that a body may have.
pub const MAX_BODY: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads a body whole.
///
/// # Errors
/// When it is too large, too slow or broken off.
pub async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    refuse_large(headers)?;
    match tokio::time::timeout(PATIENCE, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::TooLarge),
        Ok(Err(_)) => Err(InvalidField::new("body", "broke off or was malformed").into()),
        Err(_) => Err(InvalidField::new("body", "did not arrive in time").into()),
    }
}

/// Refuses a body by its announced length, also where nobody would read it.
///
/// # Errors
/// When it is too large.
pub fn refuse_large(headers: &HeaderMap) -> Result<(), Problem> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    match announced {
        Some(length) if length > MAX_BODY as u64 => Err(Problem::TooLarge),
        _ => Ok(()),
    }
}

/// A body that must be a JSON object.
#[derive(Debug)]
pub struct Json(pub Fields);

impl<S: Send + Sync> FromRequest<S> for Json {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        match object(request).await? {
            Some(fields) => Ok(Self(fields)),
            None => Err(InvalidField::new("body", "must be a JSON object").into()),
        }
    }
}

/// A body that must be JSON, whatever its shape.
#[derive(Debug)]
pub struct AnyJson(pub serde_json::Value);

impl<S: Send + Sync> FromRequest<S> for AnyJson {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        match value(request).await? {
            Some(value) => Ok(Self(value)),
            None => Err(InvalidField::new("body", "must be JSON").into()),
        }
    }
}

/// A body that may be absent, and else must be a JSON object.
#[derive(Debug)]
pub struct MaybeJson(pub Fields);

impl<S: Send + Sync> FromRequest<S> for MaybeJson {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        Ok(Self(object(request).await?.unwrap_or_default()))
    }
}

/// The object in a body; `None` when there is no body at all.
async fn object(request: Request) -> Result<Option<Fields>, Problem> {
    match value(request).await? {
        None => Ok(None),
        Some(serde_json::Value::Object(object)) => Ok(Some(Fields::new(object))),
        Some(_) => Err(InvalidField::new("body", "must be a JSON object").into()),
    }
}

/// The JSON of a body; `None` when there is no body at all.
async fn value(request: Request) -> Result<Option<serde_json::Value>, Problem> {
    let (parts, body) = request.into_parts();
    let named = parts.headers.contains_key(header::CONTENT_TYPE);
    if (named && !is_json(&parts.headers)) || is_encoded(&parts.headers) {
        return Err(Problem::UnsupportedMediaType);
    }
    let bytes = read(&parts.headers, body).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if !named {
        return Err(Problem::UnsupportedMediaType);
    }
    match strict_json::parse(&bytes) {
        Ok(value) => Ok(Some(value)),
        Err(reason) => Err(InvalidField::new("body", reason).into()),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(first), None) = (types.next(), types.next()) else {
        return false;
    };
    first.to_str().is_ok_and(|text| {
        let mut parts = text.split(';');
        let essence = parts.next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/json") && parts.all(is_utf8_or_no_charset)
    })
}

/// JSON is UTF-8; who says that it is something else would be misread.
fn is_utf8_or_no_charset(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else {
        return true;
    };
    let value = value.trim().trim_matches('"');
    !name.trim().eq_ignore_ascii_case("charset")
        || ["utf-8", "utf8", "us-ascii"]
            .iter()
            .any(|known| value.eq_ignore_ascii_case(known))
}

/// Bodies are taken as they are: a compressed one is no JSON.
fn is_encoded(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    encodings.any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content_type: &'static str, expected: bool) {
        let value = http::HeaderValue::from_static(content_type);
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, value)]);
        assert_eq!(is_json(&headers), expected, "{content_type}");
    }

    #[test]
    fn only_json_in_utf8_is_taken() {
        check("application/json", true);
        check("Application/JSON ; Charset=\"UTF-8\"", true);
        check("application/json; profile=x; charset=us-ascii", true);
        check("application/json;", true);
        check("application/json; charset=iso-8859-1", false);
        check("application/json; charset=\"utf-16\"", false);
        check("application/json, text/plain", false);
        check("application/problem+json", false);
        check("text/json", false);
        check("", false);
    }
}
