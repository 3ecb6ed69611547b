//! What describes the surfaces: one OpenAPI 3.1 document each at `/openapi/{portal,admin,keys,user-keys}.json`,
//! made from the code, and the pages at `/docs` that show them. Open to everybody; nothing is loaded from elsewhere.
//!
//! A document has two sources: the attribute beside each endpoint says what is its own (input, success, what may
//! stand in its way), and [`complete`] adds what holds for every endpoint of a surface, so that no endpoint can
//! forget it. All four are made once, when the router is.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::App;
use crate::operations::Registry;

pub mod admin;
pub mod complete;
pub mod headers;
pub mod keys;
pub mod links;
pub mod pages;
pub mod portal;
pub mod refusals;
pub mod user_keys;
pub mod words;

use complete::Face;

/// How long an answer may be shown again without asking: documents change with versions alone.
pub(super) const CACHED: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// The four surfaces, in the order in which they are shown.
pub const FACES: [fn() -> Face; 4] = [portal::face, admin::face, keys::face, user_keys::face];

/// A document as it is served.
#[derive(Debug)]
struct Document {
    text: Bytes,
    tag: HeaderValue,
}

/// The documents and the pages.
pub fn routes(app: &App) -> Router<App> {
    let documents = documents(&app.registry).into_iter();
    documents.fold(pages::routes(), |routes, (at, document)| {
        let document = Arc::new(Document::new(&document));
        routes.route(at, get(serve).with_state(document))
    })
}

/// Every document with its path.
#[must_use]
pub fn documents(registry: &Registry) -> Vec<(&'static str, Value)> {
    let tiers = registry.catalogue.tiers().iter();
    let known = words::Known {
        tiers: tiers.map(|tier| tier.key.clone()).collect(),
        api_versions: registry.rules.api_versions.clone(),
    };
    FACES
        .iter()
        .map(|face| {
            let face = face();
            (face.at, complete::document(&face, &known))
        })
        .collect()
}

impl Document {
    fn new(document: &Value) -> Self {
        let text = Bytes::from(document.to_string());
        let digest = hex::encode(Sha256::digest(&text));
        // Hex digits in quotes are a header value.
        let tag = HeaderValue::from_str(&format!("\"{digest}\""));
        Self {
            text,
            tag: tag.unwrap_or(HeaderValue::from_static("\"\"")),
        }
    }
}

async fn serve(State(document): State<Arc<Document>>, headers: HeaderMap) -> Response {
    let head = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, CACHED),
        (header::ETAG, document.tag.clone()),
    ];
    if headers.get(header::IF_NONE_MATCH) == Some(&document.tag) {
        return (StatusCode::NOT_MODIFIED, head).into_response();
    }
    (head, document.text.clone()).into_response()
}
