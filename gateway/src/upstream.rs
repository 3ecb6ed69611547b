//! Forwarding a permitted call: the worker's own connections to the upstreams.
//!
//! Every worker keeps its own idle connections, so nothing is shared and nothing is locked. [`Pools::forward`]
//! takes a [`Permit`]: forwarding without one can't be written. A pooled connection that turns out to be closed
//! is no error of the call: what was never written is sent on another, and a call without a body whose method
//! is idempotent (RFC 9110 §9.2.2) once more even when it may have been written.

use std::rc::Rc;
use std::time::Duration;

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version};
use hyper::body::Incoming;
use keyward_config::{Timeouts, Upstream};

use crate::body::{BodyFate, BodyFault, RequestBody};
use crate::limits::Permit;
use crate::rejection::Rejection;
use crate::server::watch::ConnectionState;
use crate::worker::Worker;

pub mod pool;

use pool::EndpointPool;
pub use pool::Lease;

/// One worker's connections to every upstream.
#[derive(Debug)]
pub struct Pools {
    upstreams: Vec<Vec<Rc<EndpointPool>>>,
    timeouts: Timeouts,
}

/// A request as it goes on.
#[derive(Debug)]
pub struct Onward {
    /// Its method.
    pub method: Method,
    /// Path and query, as matched.
    pub target: Uri,
    /// Its head, rewritten.
    pub headers: HeaderMap,
    /// Its body.
    pub body: RequestBody,
    /// How the body fares.
    pub fate: Rc<BodyFate>,
    /// The client's connection.
    pub connection: Rc<ConnectionState>,
    /// The most that the whole call may take.
    pub timeout: Duration,
}

/// What came back: the answer, and the connection that its body comes on.
#[derive(Debug)]
pub struct Answered {
    /// The upstream's answer.
    pub response: Response<Incoming>,
    /// Its connection.
    pub lease: Lease,
    /// How long the upstream took to answer the head.
    pub took: Duration,
}

/// A call that no upstream answered.
#[derive(Debug)]
pub struct Unanswered {
    /// What the client is told.
    pub rejection: Rejection,
    /// Whether any upstream may have seen it.
    pub reach: Reach,
}

/// Whether an upstream may have seen a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// None has: what was charged is to be given back.
    Never,
    /// One may have: it is accepted and counted.
    Perhaps,
}

/// Tells the caller that the request is about to be written: from then on it counts as accepted.
pub trait Departure {
    /// The last moment to refuse; called before every attempt to write.
    ///
    /// # Errors
    /// When the permit no longer holds.
    fn depart(&self) -> Result<(), Rejection>;

    /// The request has been written, or may have been. Called once; also when the client goes away meanwhile.
    fn departed(&self);
}

impl Pools {
    /// Empty pools for these upstreams.
    #[must_use]
    pub fn new(upstreams: &[Upstream], timeouts: Timeouts) -> Self {
        let endpoints = |upstream: &Upstream| {
            upstream.endpoints.iter().map(|endpoint| Rc::new(EndpointPool::new(endpoint))).collect()
        };
        Self { upstreams: upstreams.iter().map(endpoints).collect(), timeouts }
    }

    /// Sends a permitted call to one of an upstream's endpoints and waits for its answer's head.
    ///
    /// # Errors
    /// Rows 13, 15 and 16; 400 for a body that turns out malformed.
    pub async fn forward(
        &self,
        worker: &Worker,
        _permit: &Permit,
        upstream: usize,
        mut onward: Onward,
        departure: &impl Departure,
    ) -> Result<Answered, Unanswered> {
        let never = |rejection| Unanswered { rejection, reach: Reach::Never };
        let endpoint = self.endpoint(upstream).ok_or_else(|| never(Rejection::UpstreamUnavailable))?;
        if !onward.headers.contains_key(HOST) {
            onward.headers.insert(HOST, endpoint.authority().clone());
        }
        let began = worker.now().monotonic;
        let limit = self.timeouts.response_headers.min(onward.timeout);
        let fate = Rc::clone(&onward.fate);
        let sent = worker.deadlines().until(began + limit, self.exchange(endpoint, onward, departure)).await;
        match sent {
            Some(Ok((response, lease))) => {
                let took = worker.now().monotonic.saturating_sub(began);
                Ok(Answered { response, lease, took })
            }
            Some(Err(unanswered)) => Err(unanswered),
            // A client that is slow to send must not look like a slow upstream.
            None if fate.is_over() => {
                Err(Unanswered { rejection: Rejection::UpstreamTimeout, reach: Reach::Perhaps })
            }
            None => Err(Unanswered {
                rejection: Rejection::InvalidInput("the request body did not arrive in time"),
                reach: Reach::Perhaps,
            }),
        }
    }

    /// Round-robin over the endpoints.
    fn endpoint(&self, upstream: usize) -> Option<&Rc<EndpointPool>> {
        let endpoints = self.upstreams.get(upstream)?;
        match endpoints.as_slice() {
            [only] => Some(only),
            [] => None,
            several => several.get(crate::random::next() as usize % several.len()),
        }
    }

    async fn exchange(
        &self,
        endpoint: &Rc<EndpointPool>,
        onward: Onward,
        departure: &impl Departure,
    ) -> Result<(Response<Incoming>, Lease), Unanswered> {
        let Onward { method, target, headers, body, fate, connection, .. } = onward;
        let may_repeat = method.is_idempotent() && fate.is_over();
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = target;
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = headers;

        let mut reach = Reach::Never;
        loop {
            let pooled = endpoint.idle().await;
            let is_pooled = pooled.is_some();
            let mut lease = match pooled {
                Some(lease) => lease,
                None => endpoint.connect(self.timeouts.connect).await.map_err(|error| {
                    tracing::debug!(%error, upstream = %endpoint.name(), "can't connect");
                    Unanswered { rejection: Rejection::UpstreamUnavailable, reach }
                })?,
            };
            departure.depart().map_err(|rejection| Unanswered { rejection, reach })?;
            // Only a call that may be sent again, on a connection that may be stale, pays for a copy.
            let copy = (is_pooled && may_repeat).then(|| copy_of(&request, &connection));
            let leaving = OnTheWay { departure, is_unsent: false };
            match lease.send(request).await {
                Ok(response) => return accept(response, lease),
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) if is_pooled => {
                        leaving.was_not_sent();
                        request = unsent;
                    }
                    Some(_) => {
                        leaving.was_not_sent();
                        return Err(Unanswered { rejection: Rejection::UpstreamUnavailable, reach });
                    }
                    None => {
                        reach = Reach::Perhaps;
                        match copy.filter(|_| is_broken_off(failed.error())) {
                            Some(copy) => request = copy,
                            None => return Err(explain(failed.error(), &fate)),
                        }
                    }
                },
            }
        }
    }
}

/// A request that is being written: unless it is known that nothing was, it has departed, however this ends.
struct OnTheWay<'a, D: Departure> {
    departure: &'a D,
    is_unsent: bool,
}

impl<D: Departure> OnTheWay<'_, D> {
    fn was_not_sent(mut self) {
        self.is_unsent = true;
    }
}

impl<D: Departure> Drop for OnTheWay<'_, D> {
    fn drop(&mut self) {
        if !self.is_unsent {
            self.departure.departed();
        }
    }
}

/// An answer that hyper let pass and that can't be passed on is the upstream's fault.
fn accept(response: Response<Incoming>, lease: Lease) -> Result<(Response<Incoming>, Lease), Unanswered> {
    if response.status() == http::StatusCode::SWITCHING_PROTOCOLS {
        let rejection = Rejection::BadGateway("the service switched protocols without being asked");
        return Err(Unanswered { rejection, reach: Reach::Perhaps });
    }
    Ok((response, lease))
}

fn copy_of(request: &Request<RequestBody>, connection: &Rc<ConnectionState>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::empty(Rc::clone(connection)));
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// The connection ended before a byte of the answer: what a stale connection looks like.
fn is_broken_off(error: &hyper::Error) -> bool {
    error.is_incomplete_message() || error.is_canceled() || error.is_closed() || is_reset(error)
}

fn is_reset(error: &hyper::Error) -> bool {
    let io = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    io.is_some_and(|io| {
        matches!(io.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe)
    })
}

fn explain(error: &hyper::Error, fate: &BodyFate) -> Unanswered {
    let rejection = match fate.fault() {
        Some(BodyFault::Client) => Rejection::InvalidInput("the request body is malformed or broke off"),
        Some(BodyFault::TooLarge) => Rejection::PayloadTooLarge(fate.bytes()),
        None if error.is_parse() => Rejection::BadGateway("the service answered something that is no HTTP"),
        None => Rejection::BadGateway("the service broke off before it answered"),
    };
    Unanswered { rejection, reach: Reach::Perhaps }
}

/// A target of path and query, without a new parse where the client's own can be used.
///
/// # Errors
/// When path and query together are no valid target.
pub fn target(path: &str, query: Option<&str>) -> Result<Uri, Rejection> {
    let text = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    Uri::try_from(text).map_err(|_| Rejection::InvalidInput("the request target is malformed"))
}

/// `Host` for an endpoint.
#[must_use]
pub fn authority(host: &str, port: u16) -> HeaderValue {
    let host = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    HeaderValue::from_str(&host).unwrap_or(HeaderValue::from_static("upstream"))
}
