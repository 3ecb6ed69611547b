//! What the client is answered: what an upstream said, what the gateway itself says, or a refusal; and what every answer carries.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::admission::Refused;
use crate::body::{AnswerBody, BodyFate, LastWord, Streamed};
use crate::call::Call;
use crate::connection::Connection;
use crate::explain::{self, Told};
use crate::head;
use crate::limits::Permit;
use crate::limits::fields::Standing;
use crate::onward;
use crate::rejection::{self, ErrorForm, Rejection};
use crate::route::rules::Rules as HeaderRules;
use crate::upgrade::{self, Switched};
use crate::upstream::{self, Answered};

/// A call that an upstream answered.
pub(super) struct Forwarded {
    pub(super) answered: Answered,
    /// The protocol that it goes on in.
    pub(super) upgrade: Option<HeaderValue>,
    /// What the route changes in answers.
    pub(super) rules: Option<Arc<HeaderRules>>,
    pub(super) fate: Rc<BodyFate>,
    pub(super) permit: Permit,
    pub(super) deadline: Duration,
    pub(super) last_word: LastWord,
}

impl Forwarded {
    pub(super) fn answer(
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
pub(super) struct AtEdge {
    pub(super) response: Response<Bytes>,
    pub(super) standing: Option<Standing>,
}

impl AtEdge {
    /// To `OPTIONS *`.
    pub(super) fn methods() -> Self {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response.headers_mut().insert(http::header::ALLOW, head::ALLOWED);
        Self::free(response)
    }

    /// To one who need not be known.
    pub(super) fn free(response: Response<Bytes>) -> Self {
        Self {
            response,
            standing: None,
        }
    }

    pub(super) fn answer(
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

/// The answer to a refused call; the call is refused and counted as such.
pub(super) fn refuse(
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

/// [`refuse`], while its body is still bytes.
pub(super) fn refusal(
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
