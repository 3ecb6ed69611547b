//! Validation without proxying: somebody else forwards the call and asks here whether it may pass.
//!
//! Three ways to ask, on a listener of its own (`listen.authz`) that the workers serve: Envoy's `ext_authz` ([`ext_authz`],
//! over [`grpc`]), `/auth` of proxies that ask over HTTP ([`forward_auth`]), and `/v1/validate` of applications
//! ([`validate`]). Each turns its question into what [`pipeline::validate`] decides on, and the decision into its answer:
//! the steps themselves are those of every call. Who can reach the listener is believed; it asks for no key of its own.
//!
//! A call is counted before its answer is written. Every "no" is an answer, and nothing but a whole decision is ever a
//! "yes". Costs what a forwarded call costs without the upstream, and some allocations for the answer.

use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response};
use hyper::body::Incoming;

use crate::admission::{Caller, Refused};
use crate::call::Call;
use crate::explain::{self, Told};
use crate::head::{self, Target};
use crate::limits::Permit;
use crate::limits::fields::Standing;
use crate::onward;
use crate::pipeline::{self, Question, Shown};
use crate::rejection::{self, ErrorForm, Rejection};
use crate::request_id;
use crate::telemetry::Endpoint;
use crate::worker::Worker;

pub mod connection;
pub mod ext_authz;
pub mod forward_auth;
#[doc(hidden)]
pub mod fuzzing;
pub mod grpc;
pub mod proto;
pub mod reply;
pub mod validate;

use reply::Reply;

/// Who asks: the other end of a connection, and the worker that answers it.
#[derive(Clone, Debug)]
pub struct Asker {
    worker: Rc<Worker>,
    peer: IpAddr,
}

impl Asker {
    /// At the other end of a connection.
    #[must_use]
    pub fn new(worker: &Rc<Worker>, peer: SocketAddr) -> Self {
        Self {
            worker: Rc::clone(worker),
            peer: peer.ip().to_canonical(),
        }
    }

    /// A call that is asked about now. It is settled when it is decided on: the answer is out when its reader pleases.
    fn begin(&self, endpoint: Endpoint) -> Box<Call> {
        let mut call = Call::begin(&self.worker, self.worker.now());
        call.is_asked_about(endpoint);
        Box::new(call)
    }
}

/// Answers one question. Never fails: every "no" is an answer.
pub async fn answer(asker: &Asker, request: Request<Incoming>) -> Response<Reply> {
    let is_grpc = crate::grpc::is_spoken(request.headers());
    let answered = AssertUnwindSafe(dispatch(asker, request)).catch_unwind().await;
    answered.unwrap_or_else(|_| {
        tracing::error!("a question made the gateway panic; it was answered with 500");
        if is_grpc {
            grpc::failed(grpc::Status::INTERNAL)
        } else {
            faulty(asker, &Rejection::Internal)
        }
    })
}

async fn dispatch(asker: &Asker, request: Request<Incoming>) -> Response<Reply> {
    let (parts, body) = request.into_parts();
    match parts.uri.path() {
        // First, because a proxy hands on the content type of what it asks about.
        forward_auth::PATH => forward_auth::answer(asker, &parts).await,
        validate::PATH => validate::answer(asker, &parts, body).await,
        _ if crate::grpc::is_spoken(&parts.headers) => grpc::answer(asker, &parts, body).await,
        _ => faulty(asker, &Rejection::RouteNotFound),
    }
}

/// The answer to what is no question about a call.
fn faulty(asker: &Asker, rejection: &Rejection) -> Response<Reply> {
    let request_id = request_id::of(&HeaderMap::new(), asker.worker.now().unix.0);
    let terms = asker.worker.terms();
    let documentation_url = &terms.rules().config.documentation_url;
    let id = request_id.to_str().unwrap_or_default();
    let mut answer = rejection::response(rejection, ErrorForm::Keyward, id, documentation_url);
    answer.headers_mut().insert(onward::X_REQUEST_ID, request_id);
    answer.map(Reply::of)
}

/// A call that may pass.
#[derive(Debug)]
struct Allowed {
    permit: Permit,
    /// Whether the upstream sees the headers that carry keys.
    forwards_credentials: bool,
}

/// Decides on the call with this head, which another proxy has received.
async fn decide(
    call: &mut Call,
    original: &Parts,
    client: IpAddr,
    request_id: &HeaderValue,
) -> Result<Allowed, Refused> {
    let terms = Rc::clone(call.terms());
    let rules = terms.rules();
    call.describe(original, request_id, client);
    pipeline::refuse_when_full(call)?;
    let Target::Resource(parsed) = head::parse(original, rules.config.bounds.uri)? else {
        return Err(Rejection::RouteNotFound.into());
    };
    let route = rules.routes.take(&parsed, &original.method)?;
    let question = Question {
        route,
        credentials: Shown::InHeaders(&original.headers),
        client,
    };
    Ok(Allowed {
        permit: pipeline::validate(call, &question).await?,
        forwards_credentials: route.forward_credentials,
    })
}

/// How the body of the call that is asked about is framed is the business of who has received it.
fn drop_framing(headers: &mut HeaderMap) {
    headers.remove(CONTENT_LENGTH);
    headers.remove(TRANSFER_ENCODING);
}

/// The form of an error over HTTP. A gRPC client's refusal has status 200 where it is the answer; to who asks here that
/// would be a permission.
fn http_form(headers: &HeaderMap) -> ErrorForm {
    match ErrorForm::of(headers) {
        ErrorForm::Grpc => ErrorForm::Keyward,
        form @ (ErrorForm::Keyward | ErrorForm::Problem) => form,
    }
}

/// Who calls, as upstreams are told.
fn identity(caller: Option<&Caller>) -> impl Iterator<Item = (&str, &str)> {
    let lines = caller.into_iter().flat_map(Caller::identity);
    lines
        .filter_map(|lines| std::str::from_utf8(lines).ok())
        .flat_map(|lines| lines.lines().filter_map(|line| line.split_once(": ")))
}

/// What every answer about a call tells the client.
fn finish_headers(
    headers: &mut HeaderMap,
    request_id: HeaderValue,
    standing: Option<&Standing>,
    call: &Call,
) {
    headers.insert(onward::X_REQUEST_ID, request_id);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(standing) = standing {
        standing.write(headers, call.started().unix);
    }
}

/// The answer that the client of a refused call is to get. The call is refused, counted as such, and held for an hour.
fn refuse(call: &mut Call, refused: &Refused, form: ErrorForm, told: Told<'_>) -> Response<Bytes> {
    let (rejection, request_id) = (&refused.rejection, told.request_id);
    let documentation_url = &call.rules().config.documentation_url;
    let id = request_id.to_str().unwrap_or_default();
    let mut answer = rejection::response(rejection, form, id, documentation_url);
    call.refused(rejection, rejection.status().as_u16());
    explain::keep(call, refused, told);
    let standing = pipeline::standing_of(refused, call);
    finish_headers(answer.headers_mut(), request_id.clone(), standing.as_ref(), call);
    answer
}

/// What is held of a refused call whose credentials are in this head.
fn told<'a>(call: &Call, original: &'a Parts, client: IpAddr, request_id: &'a HeaderValue) -> Told<'a> {
    Told {
        request_id,
        method: &original.method,
        client,
        sources: call.rules().credentials.sources(&original.headers),
    }
}
