//! The pages at `/docs`: Swagger UI out of the binary, with a chooser of the four documents. Nothing is loaded from
//! another host, and the page may load nothing from one: its policy allows its own files alone.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use http::{HeaderName, HeaderValue, header};
use utoipa_swagger_ui::{Config, Url};

use super::{CACHED, FACES};
use crate::App;
use crate::surfaces::problem::Problem;

/// Swagger UI sets widths and the like on elements; that is all that may be inline.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self' data:; font-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

type Settings = Arc<Config<'static>>;

/// The page and its files.
pub fn routes() -> Router<App> {
    let documents = FACES.iter().map(|face| {
        let face = face();
        Url::new(face.title, face.at)
    });
    // No validator of others, no request that wasn't asked for, and no key that outlives the page.
    let settings = Config::new(documents)
        .validator_url("none")
        .deep_linking(true)
        .display_request_duration(true)
        .persist_authorization(false);
    let settings: Settings = Arc::new(settings);
    Router::new()
        .route("/docs", get(|| async { Redirect::permanent("/docs/") }))
        .route("/docs/", get(front).with_state(settings.clone()))
        .route("/docs/{file}", get(file).with_state(settings))
}

async fn front(State(settings): State<Settings>) -> Result<Response, Problem> {
    served("index.html", settings)
}

async fn file(State(settings): State<Settings>, Path(name): Path<String>) -> Result<Response, Problem> {
    served(&name, settings)
}

fn served(name: &str, settings: Settings) -> Result<Response, Problem> {
    let found = utoipa_swagger_ui::serve(name, settings).map_err(|error| {
        tracing::error!(%error, "a page can't be made");
        Problem::Internal
    })?;
    let file = found.ok_or(Problem::Missing("page".into()))?;
    let kind = HeaderValue::from_str(&file.content_type)
        .unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let head: [(HeaderName, HeaderValue); 5] = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, CACHED),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    Ok((head, file.bytes.into_owned()).into_response())
}
