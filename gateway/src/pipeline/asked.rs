//! A call that may pass becomes one that goes on: where to, with what head, and with what body.

use std::borrow::Cow;
use std::net::IpAddr;
use std::rc::Rc;

use http::HeaderValue;
use http::request::Parts;
use hyper::body::Body as _;
use keyward_config::UpstreamProtocol;

use crate::body::{BodyFate, RequestBody, Trailers};
use crate::clock::Now;
use crate::connection::Connection;
use crate::grpc;
use crate::head::Parsed;
use crate::identity;
use crate::limits::Permit;
use crate::onward::{self, Additions};
use crate::rejection::Rejection;
use crate::route::Route;
use crate::rules::Terms;
use crate::server::unread::ClientBody;
use crate::upgrade;
use crate::upstream::balance::Seeker;
use crate::upstream::pump::BodyFraming;
use crate::upstream::request::RequestHead;
use crate::upstream::{Destination, Onward};

/// What is asked for, once it is known how to read it and where it goes.
pub(super) struct Asked<'a> {
    pub(super) connection: &'a Rc<Connection>,
    pub(super) terms: &'a Terms,
    pub(super) parts: &'a Parts,
    pub(super) parsed: &'a Parsed<'a>,
    pub(super) route: &'a Route,
    pub(super) client: IpAddr,
    pub(super) request_id: &'a HeaderValue,
}

impl<'a> Asked<'a> {
    /// Makes the call ready to be forwarded.
    pub(super) fn onward(
        &self,
        body: ClientBody,
        upstream: usize,
        permit: &Permit,
        now: Now,
    ) -> Result<(Onward<'a>, Rc<BodyFate>), Rejection> {
        let route = self.route;
        let announced = self.parsed.announced_length;
        if announced.is_some_and(|length| length > route.max_body) {
            return Err(Rejection::PayloadTooLarge(route.max_body));
        }
        let seeker = Seeker {
            caller: permit.caller(),
            client: self.client,
            headers: &self.parts.headers,
        };
        let destination = self.terms.pools().destination(upstream, &seeker);
        let destination = destination.ok_or(Rejection::UpstreamUnavailable)?;
        let (body, fate) = self.body(body);
        let framing = if body.is_end_stream() || announced.is_some() {
            BodyFraming::Sized
        } else {
            BodyFraming::Chunked
        };
        // A connection that carries many calls can't be one's own afterwards.
        let can_switch = destination.protocol() == UpstreamProtocol::Http1;
        let upgrade = upgrade::asked(self.parts, self.parsed, !body.is_end_stream()).filter(|_| can_switch);
        let head = self.head(&destination, permit, (framing, upgrade), (upstream, now))?;
        let onward = Onward {
            destination,
            method: &self.parts.method,
            head,
            body,
            framing,
            upgrade: upgrade.cloned(),
            fate: Rc::clone(&fate),
            began: now.monotonic,
            timeout: super::patience(route, self.parts),
        };
        Ok((onward, fate))
    }

    /// The client's body, as far as the route lets it come.
    fn body(&self, body: ClientBody) -> (RequestBody, Rc<BodyFate>) {
        let state = Rc::clone(self.connection.state());
        let (body, fate) = RequestBody::new(body, self.route.max_body, state);
        let trailers = if grpc::is_spoken(&self.parts.headers) {
            Trailers::OfGrpc
        } else {
            Trailers::Dropped
        };
        (body.with(trailers), fate)
    }

    /// The head as it is sent.
    fn head(
        &self,
        destination: &Destination,
        permit: &Permit,
        (framing, upgrade): (BodyFraming, Option<&HeaderValue>),
        at: (usize, Now),
    ) -> Result<RequestHead, Rejection> {
        let (route, rules) = (self.route, self.terms.rules());
        let credentials = &rules.credentials;
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
            identity: identity::of_call((self.connection.worker(), rules), route, permit.caller(), at)?,
        };
        let target = target(route, self.parsed, self.parts);
        let mut head = self.terms.pools().head(destination);
        onward::write_head(
            &mut head,
            (&self.parts.method, &target),
            &self.parts.headers,
            &with,
        );
        Ok(head)
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
