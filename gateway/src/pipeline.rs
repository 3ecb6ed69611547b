//! A call, from top to bottom:
//!
//! **parse → route → identify → authorise → limit → forward → account → answer**
//!
//! Each step is a function of another module and hands the next a proof: `Parsed`, a route, `Presented`,
//! `Identified`, `Admitted`, `Permit`, and only a `Permit` is forwarded. `?` is how a step says no. Around them
//! is one wrapper ([`serve`]): request id, one clock reading, account, refusal → answer, panic → 500.
//!
//! A call that somebody else forwards ([`crate::authz`]) passes the same steps from *route* to *limit* ([`validate`]).

use std::borrow::Cow;
use std::io;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::CONNECTION;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::{Body as _, Incoming};
use keyward_config::{Require, UpstreamProtocol};
use tokio::net::TcpStream;

use crate::admission::{self, Admitted, Claim, Refused};
use crate::body::{AnswerBody, BodyFate, LastWord, RequestBody, Streamed, Trailers};
use crate::call::Call;
use crate::clock::Now;
use crate::connection::Connection;
use crate::cors;
use crate::credential::Presented;
use crate::explain::{self, Told};
use crate::grpc;
use crate::head::{self, Parsed, Target};
use crate::identity;
use crate::limits::fields::Standing;
use crate::limits::{Limiter, Permit};
use crate::me;
use crate::onward::{self, Additions};
use crate::rejection::{self, ErrorForm, Rejection};
use crate::request_id;
use crate::route::Route;
use crate::route::rules::Rules as HeaderRules;
use crate::rules::Terms;
use crate::server::unread::ClientBody;
use crate::upgrade::{self, Switched};
use crate::upstream::balance::Seeker;
use crate::upstream::pump::BodyFraming;
use crate::upstream::{self, Answered, Departure, InHand, Onward, Reach, Unanswered};
use crate::vigil;

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
    let worker = Rc::clone(call.worker());
    let terms = Rc::clone(call.terms());
    let (shared, rules, now) = (worker.shared(), terms.rules(), call.started());
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
    let upstream = route.target(worker.turns());
    call.aim(upstream);
    let (onward, fate) = match asked.onward(body, upstream, &permit, now) {
        Ok(ready) => ready,
        Err(rejection) => return Err(withdraw(&shared.limiter, permit, rejection)),
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
            Err(withdraw(&shared.limiter, permit, unanswered.rejection))
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

/// What is asked for, once it is known how to read it and where it goes.
struct Asked<'a> {
    connection: &'a Rc<Connection>,
    terms: &'a Terms,
    parts: &'a Parts,
    parsed: &'a Parsed<'a>,
    route: &'a Route,
    client: IpAddr,
    request_id: &'a HeaderValue,
}

impl<'a> Asked<'a> {
    /// Makes the call ready to be forwarded.
    fn onward(
        &self,
        body: ClientBody,
        upstream: usize,
        permit: &Permit,
        now: Now,
    ) -> Result<(Onward<'a>, Rc<BodyFate>), Rejection> {
        let (route, pools) = (self.route, self.terms.pools());
        let announced = self.parsed.announced_length;
        if announced.is_some_and(|length| length > route.max_body) {
            return Err(Rejection::PayloadTooLarge(route.max_body));
        }
        let seeker = Seeker {
            caller: permit.caller(),
            client: self.client,
            headers: &self.parts.headers,
        };
        let destination = pools.destination(upstream, &seeker);
        let destination = destination.ok_or(Rejection::UpstreamUnavailable)?;
        let state = Rc::clone(self.connection.state());
        let (body, fate) = RequestBody::new(body, route.max_body, state);
        let body = body.with(if grpc::is_spoken(&self.parts.headers) {
            Trailers::OfGrpc
        } else {
            Trailers::Dropped
        });
        let is_sized = body.is_end_stream() || announced.is_some();
        let framing = if is_sized {
            BodyFraming::Sized
        } else {
            BodyFraming::Chunked
        };
        let credentials = &self.terms.rules().credentials;
        // A connection that carries many calls can't be one's own afterwards.
        let can_switch = destination.protocol() == UpstreamProtocol::Http1;
        let upgrade = upgrade::asked(self.parts, self.parsed, !body.is_end_stream()).filter(|_| can_switch);
        let with = Additions {
            origin: self.connection.origin(),
            caller: permit.caller(),
            credentials: (!route.forward_credentials).then_some(credentials),
            kept_credentials: route.forward_credentials.then_some(credentials),
            request_id: self.request_id,
            default_host: destination.authority(),
            framing,
            upgrade,
            rules: route.request_rules.as_ref(),
            identity: identity::of_call(
                (self.connection.worker(), self.terms.rules()),
                route,
                permit.caller(),
                (upstream, now),
            )?,
        };
        let (method, target) = (&self.parts.method, target(route, self.parsed, self.parts));
        let mut head = pools.head(&destination);
        onward::write_head(&mut head, (method, &target), &self.parts.headers, &with);
        let onward = Onward {
            destination,
            method,
            head,
            body,
            framing,
            upgrade: upgrade.cloned(),
            fate: Rc::clone(&fate),
            began: now.monotonic,
            timeout: patience(route, self.parts),
        };
        Ok((onward, fate))
    }
}

/// A refused caller is counted like any other, when it is known who it was.
fn note(call: &mut Call, refused: &Refused) {
    if let Some(caller) = &refused.caller {
        call.identify(caller);
    }
}

/// The target as matched; the client's own text where nothing had to be changed.
fn target<'a>(route: &Route, parsed: &'a Parsed<'_>, parts: &'a Parts) -> Cow<'a, str> {
    let path = route.forwarded_path(&parsed.path);
    match parts.uri.path_and_query() {
        Some(target) if path == parts.uri.path() => Cow::Borrowed(target.as_str()),
        _ => Cow::Owned(match parsed.query {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        }),
    }
}

/// The last moment before a call is written to an upstream.
struct Leaving<'a> {
    call: &'a Call,
    permit: &'a Permit,
    route: &'a Route,
    upstream: usize,
    client: IpAddr,
}

impl Leaving<'_> {
    fn upstream(&self) -> u16 {
        self.call.rules().upstream_label(self.upstream)
    }

    /// Sends the call on and waits for the head of its answer, unless it is cut off meanwhile.
    async fn forward(&self, onward: Onward<'_>) -> Result<Answered, Unanswered> {
        let worker = self.call.worker();
        let forwarding = pin!(
            self.call
                .terms()
                .pools()
                .forward(worker, self.permit, onward, self)
        );
        match self.call.unless_cut(forwarding).await {
            Ok(outcome) => outcome,
            Err(reason) => Err(Unanswered::new(vigil::rejection(reason), self)),
        }
    }
}

impl Departure for Leaving<'_> {
    fn depart(&self) -> Result<(), Rejection> {
        let Some(caller) = self.permit.caller() else {
            return Ok(());
        };
        let worker = self.call.worker();
        admission::confirm(caller, &**worker, &worker.shared().keys, self.route, self.client)
    }

    fn send(&self, socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        self.call
            .send(socket, bytes, self.upstream(), self.permit.standing())
    }

    fn hand_over(&self) {
        self.call.hand_over(self.upstream(), self.permit.standing());
    }

    fn has_departed(&self) -> bool {
        self.call.is_accepted()
    }

    fn is_in_hand(&self, in_hand: InHand) {
        self.call.keep_in_hand(in_hand);
    }
}

/// A call that an upstream answered.
struct Forwarded {
    answered: Answered,
    /// The protocol that it goes on in.
    upgrade: Option<HeaderValue>,
    /// What the route changes in answers.
    rules: Option<Arc<HeaderRules>>,
    fate: Rc<BodyFate>,
    permit: Permit,
    deadline: Duration,
    last_word: LastWord,
}

impl Forwarded {
    fn answer(
        self,
        call: Box<Call>,
        connection: &Rc<Connection>,
        request_id: HeaderValue,
    ) -> Response<AnswerBody> {
        let Self {
            answered: Answered { head, stream, took },
            upgrade,
            rules,
            fate,
            permit,
            deadline,
            last_word,
        } = self;
        let mut headers = head.headers;
        if let Some(rules) = rules {
            rules.change(&mut headers);
        }
        headers.append(http::header::VIA, onward::via(head.version));
        finish_headers(&mut headers, request_id, permit.standing(), &call);
        if let Some(caller) = permit.caller() {
            onward::rotation(&mut headers, caller);
        }
        if let Some(protocol) = upgrade {
            call.switched(took);
            return switch(headers, (protocol, stream.into_connection()), call, connection);
        }
        call.answered(head.status, took);
        let streamed = Streamed {
            stream,
            fate,
            deadline,
            last_word,
        };
        let body = AnswerBody::streamed(streamed, call, Rc::clone(connection.state()));
        let mut response = Response::new(body);
        *response.status_mut() = head.status;
        *response.headers_mut() = headers;
        response
    }
}

/// The answer after which both sides speak a protocol that is none of ours.
fn switch(
    mut headers: HeaderMap,
    (protocol, upstream): (HeaderValue, Option<upstream::Connection>),
    call: Box<Call>,
    connection: &Rc<Connection>,
) -> Response<AnswerBody> {
    let is_websocket = upgrade::is_websocket(&protocol);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(http::header::UPGRADE, protocol);
    if let Some(upstream) = upstream {
        connection.switch(Switched {
            upstream,
            call,
            is_websocket,
        });
    }
    let mut response = Response::new(AnswerBody::none(Rc::clone(connection.state())));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    response
}

/// An answer of the gateway's own.
struct AtEdge {
    response: Response<Bytes>,
    standing: Option<Standing>,
}

impl AtEdge {
    /// To `OPTIONS *`.
    fn methods() -> Self {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response.headers_mut().insert(http::header::ALLOW, head::ALLOWED);
        Self::free(response)
    }

    /// To one who need not be known.
    fn free(response: Response<Bytes>) -> Self {
        Self {
            response,
            standing: None,
        }
    }

    fn answer(
        self,
        call: Box<Call>,
        connection: &Rc<Connection>,
        request_id: HeaderValue,
    ) -> Response<AnswerBody> {
        let (mut parts, body) = self.response.into_parts();
        call.answered_at_edge(parts.status.as_u16());
        parts.headers.append(http::header::VIA, onward::VIA_KEYWARD);
        finish_headers(&mut parts.headers, request_id, self.standing.as_ref(), &call);
        Response::from_parts(
            parts,
            AnswerBody::fixed(body, call, Rc::clone(connection.state())),
        )
    }
}

fn refuse(
    refused: &Refused,
    parts: &Parts,
    mut call: Box<Call>,
    connection: &Rc<Connection>,
    request_id: HeaderValue,
) -> Response<AnswerBody> {
    let (parts, body) = refusal(refused, parts, &mut call, (connection, request_id)).into_parts();
    Response::from_parts(
        parts,
        AnswerBody::fixed(body, call, Rc::clone(connection.state())),
    )
}

fn refusal(
    refused: &Refused,
    parts: &Parts,
    call: &mut Call,
    (connection, request_id): (&Rc<Connection>, HeaderValue),
) -> Response<Bytes> {
    let rejection = &refused.rejection;
    let documentation_url = &call.rules().config.documentation_url;
    let answer = rejection::response(
        rejection,
        ErrorForm::of(&parts.headers),
        request_id.to_str().unwrap_or_default(),
        documentation_url,
    );
    call.refused(rejection, answer.status().as_u16());
    let told = Told {
        request_id: &request_id,
        method: &parts.method,
        client: connection.client_address(&parts.headers, call.terms()),
        sources: call.rules().credentials.sources(&parts.headers),
    };
    explain::keep(call, refused, told);
    let (mut parts, body) = answer.into_parts();
    let standing = standing_of(refused, call);
    parts.headers.append(http::header::VIA, onward::VIA_KEYWARD);
    finish_headers(&mut parts.headers, request_id, standing.as_ref(), call);
    Response::from_parts(parts, body)
}

/// The limits that the answer to a refused call shows, if any.
#[must_use]
pub fn standing_of(refused: &Refused, call: &Call) -> Option<Standing> {
    match (&refused.rejection, &refused.caller) {
        (Rejection::RateLimited { standing, .. }, _) => Some(standing.clone()),
        (rejection, Some(caller)) if rejection.shows_limits() => {
            let limiter = &call.worker().shared().limiter;
            Some(limiter.standing(caller, call.started()))
        }
        _ => None,
    }
}

/// What every answer carries.
fn finish_headers(
    headers: &mut HeaderMap,
    request_id: HeaderValue,
    standing: Option<&Standing>,
    call: &Call,
) {
    headers.insert(onward::X_REQUEST_ID, request_id);
    if let Some(grant) = call.grant() {
        grant.write(headers);
    }
    if let Some(standing) = standing {
        standing.write(headers, call.started().unix);
    }
}
