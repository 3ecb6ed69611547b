//! A call, from top to bottom:
//!
//! **parse → route → identify → authorise → limit → forward → account → answer**
//!
//! Each step is a function of another module and hands the next a proof: `Parsed`, a route, `Presented`,
//! `Identified`, `Admitted`, `Permit`, and only a `Permit` is forwarded. `?` is how a step says no. Around them
//! is one wrapper ([`serve`]): request id, one clock reading, account, refusal → answer, panic → 500.
//!
//! A call that somebody else forwards ([`crate::authz`]) passes the same steps from *route* to *limit* ([`validate`]).

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::CONNECTION;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use hyper::body::{Body as _, Incoming};
use keyward_config::Require;

use crate::admission::{self, Admitted, Claim, Refused};
use crate::body::{AnswerBody, LastWord};
use crate::call::Call;
use crate::connection::Connection;
use crate::cors;
use crate::credential::Presented;
use crate::grpc;
use crate::head::{self, Target};
use crate::limits::{Limiter, Permit};
use crate::me;
use crate::onward;
use crate::rejection::Rejection;
use crate::request_id;
use crate::route::Route;
use crate::server::unread::ClientBody;
use crate::upgrade;
use crate::upstream::Reach;

mod answer;
mod asked;
mod leaving;

pub use answer::standing_of;
use answer::{AtEdge, Forwarded, refusal, refuse};
use asked::Asked;
use leaving::Leaving;

/// Serves one call. Never fails: every "no" is an answer.
pub async fn serve(connection: &Rc<Connection>, request: Request<Incoming>) -> Response<AnswerBody> {
    let worker = connection.worker();
    connection.state().call_began();
    let mut call = Box::new(Call::begin(worker, worker.now()));
    let (parts, body) = request.into_parts();
    if !body.is_end_stream() {
        connection.state().body_began();
    }
    let body = ClientBody::new(body, connection.state());
    let request_id = request_id::of(&parts.headers, call.started().unix.0);

    let handled = AssertUnwindSafe(handle(&mut call, connection, &parts, body, &request_id));
    let handled = handled.catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!("a call made the gateway panic; it was answered with 500");
        Err(Rejection::Internal.into())
    });
    let mut ends_connection = false;
    let mut response = match handled {
        Ok(Outcome::Forwarded(forwarded)) => {
            // It was answered before it was sent: what still comes is never taken for the next request.
            ends_connection = !forwarded.fate.is_over();
            forwarded.answer(call, connection, request_id)
        }
        Ok(Outcome::AtEdge(edge)) => edge.answer(call, connection, request_id),
        Err(refused) => {
            ends_connection = refused.rejection.ends_connection() || parts.method == Method::CONNECT;
            refuse(&refused, &parts, call, connection, request_id)
        }
    };
    if ends_connection && parts.version < Version::HTTP_2 {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// What a client is told whose head could not be read at all. It is counted like any other refusal.
pub fn refuse_unreadable(connection: &Rc<Connection>, rejection: Rejection) -> Response<Bytes> {
    let worker = connection.worker();
    let mut call = Call::begin(worker, worker.now());
    let request_id = request_id::of(&HeaderMap::new(), call.started().unix.0);
    // Of its head nothing is known.
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = Method::from_bytes(b"-").unwrap_or_default();
    refusal(&rejection.into(), &parts, &mut call, (connection, request_id))
}

/// How a call went that was not refused.
enum Outcome {
    /// An upstream answered.
    Forwarded(Box<Forwarded>),
    /// The gateway itself was asked.
    AtEdge(Box<AtEdge>),
}

async fn handle(
    call: &mut Call,
    connection: &Rc<Connection>,
    parts: &Parts,
    body: ClientBody,
    request_id: &HeaderValue,
) -> Result<Outcome, Refused> {
    let terms = Rc::clone(call.terms());
    let rules = terms.rules();
    let client = connection.client_address(&parts.headers, &terms);
    call.describe(parts, request_id, client);
    if let Some(unsound) = connection.state().unsound() {
        return Err(Rejection::InvalidInput(unsound.reason()).into());
    }
    refuse_when_full(call)?;

    let parsed = match head::parse(parts, rules.config.bounds.uri)? {
        Target::Resource(parsed) => parsed,
        Target::Server => return Ok(Outcome::AtEdge(Box::new(AtEdge::methods()))),
    };
    if me::is_asked(&parsed) {
        return tell(call, parts, client).map(|told| Outcome::AtEdge(Box::new(told)));
    }
    if let Some((route, response)) = cors::preflight(&rules.routes, &parsed, parts)? {
        call.set_route(route);
        return Ok(Outcome::AtEdge(Box::new(AtEdge::free(response))));
    }
    let route = rules.routes.take(&parsed, &parts.method)?;
    if let Some(cors) = &route.cors {
        call.share(cors.grant(&parts.headers));
    }
    let question = Question {
        route,
        credentials: Shown::InHeaders(&parts.headers),
        client,
    };
    let permit = decide(call, &question).await?;
    if let Some(caller) = permit.caller() {
        call.watch(Claim::of(caller, client), connection.state());
    }
    let asked = Asked {
        connection,
        terms: &terms,
        parts,
        parsed: &parsed,
        route,
        client,
        request_id,
    };
    forward(call, asked, body, permit).await
}

/// Forward → account: a call that may pass goes to an upstream, and what none has got is given back.
async fn forward(
    call: &Call,
    asked: Asked<'_>,
    body: ClientBody,
    permit: Permit,
) -> Result<Outcome, Refused> {
    let (worker, now) = (call.worker(), call.started());
    let limiter = &worker.shared().limiter;
    let Asked {
        route, parts, client, ..
    } = asked;
    let upstream = route.target(worker.turns());
    call.aim(upstream);
    let (onward, fate) = match asked.onward(body, upstream, &permit, now) {
        Ok(ready) => ready,
        Err(rejection) => return Err(withdraw(limiter, permit, rejection)),
    };
    let departure = Leaving {
        call,
        permit: &permit,
        route,
        upstream,
        client,
    };
    let outcome = departure.forward(onward).await;
    match outcome {
        Ok(answered) => Ok(Outcome::Forwarded(Box::new(Forwarded {
            upgrade: upgrade::of(&answered, parts),
            answered,
            rules: route.response_rules.clone(),
            fate,
            permit,
            deadline: now.monotonic + patience(route, parts),
            last_word: last_word(parts),
        }))),
        Err(unanswered) if unanswered.reach == Reach::Never => {
            Err(withdraw(limiter, permit, unanswered.rejection))
        }
        Err(unanswered) => Err(Refused::caller(unanswered.rejection, permit.into_caller())),
    }
}

/// How long the whole call may take: as the route says, and no longer than a gRPC client waits.
fn patience(route: &Route, parts: &Parts) -> Duration {
    match grpc::timeout(&parts.headers).filter(|_| grpc::is_spoken(&parts.headers)) {
        Some(patience) => patience.min(route.timeout),
        None => route.timeout,
    }
}

fn last_word(parts: &Parts) -> LastWord {
    if parts.version == Version::HTTP_2 && grpc::is_spoken(&parts.headers) {
        LastWord::GrpcStatus
    } else {
        LastWord::None
    }
}

/// What is decided on.
#[derive(Debug)]
pub struct Question<'a> {
    /// The route that takes the call.
    pub route: &'a Route,
    /// Who calls, by its own account.
    pub credentials: Shown<'a>,
    /// From where.
    pub client: IpAddr,
}

/// Where the credentials of a call are.
#[derive(Debug)]
pub enum Shown<'a> {
    /// In its head.
    InHeaders(&'a HeaderMap),
    /// Beside it.
    Apart(Presented<'a>),
}

/// Identify → authorise → limit, whoever forwards the call.
async fn decide(call: &mut Call, question: &Question<'_>) -> Result<Permit, Refused> {
    let (worker, now) = (Rc::clone(call.worker()), call.started());
    let &Question { route, client, .. } = question;
    call.set_route(route);
    if route.require != Require::None {
        hold_unless_fresh(call)?;
    }
    let presented = match question.credentials {
        Shown::InHeaders(headers) => call.rules().credentials.present(headers)?,
        Shown::Apart(presented) => presented,
    };
    let identified = admission::identify(&*worker, &presented, route.require)?;
    let admitted = admission::authorise(identified, route, client, now.unix)
        .inspect_err(|refused| note(call, refused))?;
    if let Some(caller) = admitted.caller() {
        call.identify(caller);
    }
    limit(call, admitted, route, client).await
}

/// Decides on a call that somebody else forwards, and counts it as accepted when it may pass: once charged, it is not
/// given back, because nobody says what became of it. Its place among the calls in flight is kept only until the answer is out.
///
/// The last look at the key set, the count and the return are one turn of the worker: who writes the answer without
/// waiting for anything in between has no old decision left once [`crate::server::Quiescence`] has passed.
///
/// # Errors
/// Rows 3 to 12, and row 14; nothing is charged then.
pub async fn validate(call: &mut Call, question: &Question<'_>) -> Result<Permit, Refused> {
    let permit = decide(call, question).await?;
    let worker = Rc::clone(call.worker());
    let shared = worker.shared();
    let confirmed = permit.caller().map_or(Ok(()), |caller| {
        admission::confirm(caller, &*worker, &shared.keys, question.route, question.client)
    });
    if let Err(rejection) = confirmed {
        return Err(withdraw(&shared.limiter, permit, rejection));
    }
    call.allow(permit.standing());
    Ok(permit)
}

/// Sheds what comes beyond the calls that the worker may have in flight, before any work is done on it.
///
/// # Errors
/// Row 14.
pub fn refuse_when_full(call: &Call) -> Result<(), Rejection> {
    if call.worker().is_full(call.rules()) {
        return Err(Rejection::Overloaded(
            "the gateway serves as many calls as it can; come back soon",
        ));
    }
    Ok(())
}

/// Refuses where the operator wants no decisions on old keys.
fn hold_unless_fresh(call: &Call) -> Result<(), Rejection> {
    if call.worker().shared().sync.is_stale(call.started().monotonic) {
        return Err(Rejection::Overloaded(
            "the gateway has not heard from its control plane for too long",
        ));
    }
    Ok(())
}

/// What the holder of a key is told of it: identified and authorised as on a route, and then nothing is charged.
fn tell(call: &mut Call, parts: &Parts, client: IpAddr) -> Result<AtEdge, Refused> {
    let (worker, now) = (Rc::clone(call.worker()), call.started());
    me::check_method(&parts.method)?;
    hold_unless_fresh(call)?;
    let presented = call.rules().credentials.present(&parts.headers)?;
    let route = Route::at_edge(me::required_of(&presented));
    let identified = admission::identify(&*worker, &presented, route.require)?;
    let admitted = admission::authorise(identified, &route, client, now.unix)?;
    let caller = admitted.into_caller().ok_or(Rejection::Unauthorized)?;
    call.recognise(&caller);
    let limiter = &worker.shared().limiter;
    let mut response = me::response(&caller, limiter.levels(&caller, now), now);
    onward::rotation(response.headers_mut(), &caller);
    Ok(AtEdge {
        response,
        standing: Some(limiter.standing(&caller, now)),
    })
}

/// A place among the calls in flight first, because it charges nothing; then quota and buckets. Without a key it is the
/// client's address that is charged.
async fn limit(
    call: &mut Call,
    admitted: Admitted,
    route: &Route,
    client: IpAddr,
) -> Result<Permit, Refused> {
    let (worker, now) = (Rc::clone(call.worker()), call.started());
    let limiter = &worker.shared().limiter;
    let entered = match admitted.caller() {
        Some(caller) => limiter
            .enter(caller, route, now)
            .map(|entered| call.enter(entered)),
        None => limiter.pass(client, route, now).map(|passed| call.pass(passed)),
    };
    if let Err(rejection) = entered {
        return Err(Refused::caller(rejection, admitted.into_caller()));
    }
    let permit = limiter.charge(admitted, route, now).await?;
    if let Some(limit) = permit.would_limit() {
        call.would_limit(limit);
    }
    Ok(permit)
}

/// A call that no upstream got: what it took is given back.
fn withdraw(limiter: &Limiter, permit: Permit, rejection: Rejection) -> Refused {
    limiter.give_back(&permit);
    Refused::caller(rejection, permit.into_caller())
}

/// A refused caller is counted like any other, when it is known who it was.
fn note(call: &mut Call, refused: &Refused) {
    if let Some(caller) = &refused.caller {
        call.identify(caller);
    }
}
