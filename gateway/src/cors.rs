//! Pages of other origins: the CORS protocol (Fetch standard §3.2) on routes that have `cors`.
//!
//! A preflight (`OPTIONS` with `Origin` and `Access-Control-Request-Method`) is answered here, for the route that the
//! requested method would take: it needs no key, and nothing is charged or counted for it. Every other answer of such
//! a route, refusals included, says who may read it; what the upstream says of that is dropped. An origin that may
//! not is told nothing: its browser refuses by itself. Nothing here fails. Routes without `cors` pay one branch.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use keyward_config::{AllowedHeaders, Cors, OriginPattern};

use crate::head::Parsed;
use crate::rejection::Rejection;
use crate::route::{Route, RouteTable};

/// What a page may always read.
const EXPOSED: &str = "x-request-id, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, ratelimit, \
                       ratelimit-policy, retry-after, deprecation, sunset";

/// What a route lets pages of other origins do; its values are made once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    origins: Box<[OriginPattern]>,
    methods: HeaderValue,
    /// `None`: whatever is asked for.
    headers: Option<HeaderValue>,
    exposed: HeaderValue,
    credentials: bool,
    max_age: HeaderValue,
}

impl Policy {
    /// What a configuration says.
    #[must_use]
    pub fn new(cors: &Cors) -> Self {
        let methods: Vec<&str> = cors.methods.iter().map(Method::as_str).collect();
        let names = |names: &[HeaderName]| {
            let names: Vec<&str> = names.iter().map(HeaderName::as_str).collect();
            names.join(", ")
        };
        let exposed = match names(&cors.expose) {
            more if more.is_empty() => EXPOSED.to_owned(),
            more => format!("{EXPOSED}, {more}"),
        };
        Self {
            origins: cors.origins.as_slice().into(),
            methods: list(methods.join(", ")),
            headers: match &cors.headers {
                AllowedHeaders::Any => None,
                AllowedHeaders::Listed(listed) => Some(list(names(listed))),
            },
            exposed: list(exposed),
            credentials: cors.credentials,
            max_age: cors.max_age.as_secs().into(),
        }
    }

    /// What the page that makes a call may do with its answer.
    #[must_use]
    pub fn grant(self: &Arc<Self>, headers: &HeaderMap) -> Grant {
        let mut origins = headers.get_all(ORIGIN).iter();
        let origin = match (origins.next(), origins.next()) {
            (Some(origin), None) => Some(origin),
            _ => None,
        };
        Grant {
            policy: Arc::clone(self),
            origin: self.allowed(origin),
        }
    }

    /// The `Access-Control-Allow-Origin` for this origin.
    fn allowed(&self, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
        if let [OriginPattern::Any] = &*self.origins {
            return Some(HeaderValue::from_static("*"));
        }
        let origin = origin?;
        let text = origin.to_str().ok()?;
        self.origins
            .iter()
            .any(|pattern| matches(pattern, text))
            .then(|| origin.clone())
    }

    /// The answer to a preflight, without the headers that every answer carries.
    fn preflight(self: &Arc<Self>, asked: &HeaderMap) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        let grant = self.grant(asked);
        grant.write(headers);
        headers.append(
            VARY,
            HeaderValue::from_static("Access-Control-Request-Method, Access-Control-Request-Headers"),
        );
        if grant.origin.is_none() {
            return response;
        }
        headers.remove(ACCESS_CONTROL_EXPOSE_HEADERS);
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
        headers.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        let wanted = asked.get(ACCESS_CONTROL_REQUEST_HEADERS);
        let allowed = match &self.headers {
            Some(listed) => Some(listed),
            None => wanted.filter(|wanted| is_list_of_names(wanted)),
        };
        if let Some(allowed) = allowed.filter(|allowed| !allowed.is_empty()) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed.clone());
        }
        response
    }
}

/// The answer to a preflight, and the route that the method it asks for would take. A preflight for a route without
/// `cors` is a call like any other.
///
/// # Errors
/// Row 2, and 400 for an encoded slash.
pub fn preflight<'t>(
    routes: &'t RouteTable,
    parsed: &Parsed<'_>,
    parts: &Parts,
) -> Result<Option<(&'t Route, Response<Bytes>)>, Rejection> {
    let Some(method) = preflight_for(parts).filter(|_| routes.has_cors()) else {
        return Ok(None);
    };
    let route = routes.take(parsed, &method)?;
    Ok(route
        .cors
        .as_ref()
        .map(|cors| (route, cors.preflight(&parts.headers))))
}

/// Whether a call is a preflight, and for which method it asks.
fn preflight_for(parts: &Parts) -> Option<Method> {
    if parts.method != Method::OPTIONS || !parts.headers.contains_key(ORIGIN) {
        return None;
    }
    let mut methods = parts.headers.get_all(ACCESS_CONTROL_REQUEST_METHOD).iter();
    match (methods.next(), methods.next()) {
        (Some(method), None) => Method::from_bytes(method.as_bytes()).ok(),
        _ => None,
    }
}

/// Who may read one answer.
#[derive(Clone, Debug)]
pub struct Grant {
    policy: Arc<Policy>,
    /// `None`: no page of another origin.
    origin: Option<HeaderValue>,
}

impl Grant {
    /// Says so on the answer, and nothing else that may be there.
    pub fn write(&self, headers: &mut HeaderMap) {
        let theirs = |name: &&HeaderName| name.as_str().starts_with("access-control-");
        let theirs: Vec<HeaderName> = headers.keys().filter(theirs).cloned().collect();
        for name in theirs {
            headers.remove(name);
        }
        if !varies_by_origin(headers) {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        let Some(origin) = &self.origin else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, self.policy.exposed.clone());
        if self.policy.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}

fn varies_by_origin(headers: &HeaderMap) -> bool {
    headers.get_all(VARY).iter().any(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
            .any(|name| name == b"*" || name.eq_ignore_ascii_case(b"origin"))
    })
}

/// Origins are compared as browsers write them: in lower case, without a usual port.
fn matches(pattern: &OriginPattern, origin: &str) -> bool {
    match pattern {
        OriginPattern::Any => true,
        OriginPattern::Exact(exact) => exact == origin,
        OriginPattern::Below { scheme, end } => origin
            .strip_prefix(scheme.as_str())
            .and_then(|rest| rest.strip_suffix(end.as_str()))
            .is_some_and(is_labels),
    }
}

/// Whether a text can stand before the end of a host: nothing in it ends one.
fn is_labels(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    !text.is_empty() && !text.starts_with('.') && text.bytes().all(is_plain)
}

fn is_list_of_names(value: &HeaderValue) -> bool {
    value
        .as_bytes()
        .split(|byte| *byte == b',')
        .all(|name| HeaderName::from_bytes(name.trim_ascii()).is_ok())
}

/// Names and commas are always a valid value.
fn list(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn policy(origins: Vec<OriginPattern>, change: impl FnOnce(&mut Cors)) -> Arc<Policy> {
        let mut cors = Cors {
            origins,
            methods: vec![Method::GET, Method::PUT],
            headers: AllowedHeaders::Listed(vec![HeaderName::from_static("x-api-key")]),
            expose: Vec::new(),
            credentials: false,
            max_age: Duration::from_secs(600),
        };
        change(&mut cors);
        Arc::new(Policy::new(&cors))
    }

    fn below(end: &str) -> OriginPattern {
        OriginPattern::Below {
            scheme: "https://".to_owned(),
            end: end.to_owned(),
        }
    }

    fn allowed(policy: &Policy, origin: &'static str) -> Option<HeaderValue> {
        policy.allowed(Some(&HeaderValue::from_static(origin)))
    }

    #[test]
    fn an_origin_is_allowed_as_it_is_listed_and_no_other_is() {
        let app = OriginPattern::Exact("https://app.example".to_owned());
        let policy = policy(vec![app, below(".example.com")], |_| {});
        for origin in [
            "https://app.example",
            "https://a.example.com",
            "https://a.b.example.com",
            "https://xn--4ca.example.com",
        ] {
            assert_eq!(allowed(&policy, origin).unwrap(), origin);
        }
        for origin in [
            "http://app.example",
            "https://app.example:8443",
            "https://app.example.evil",
            "https://example.com",
            "https://.example.com",
            "https://evilexample.com",
            "https://evil.test/.example.com",
            "https://evil.test#.example.com",
            "https://evil.test:1.example.com",
            "https://u@a.example.com",
            "https://A.example.com",
            "null",
            "",
        ] {
            assert_eq!(allowed(&policy, origin), None, "{origin}");
        }
        assert_eq!(policy.allowed(None), None);
    }

    #[test]
    fn null_is_an_origin_only_when_it_is_listed() {
        let null = OriginPattern::Exact("null".to_owned());
        assert!(allowed(&policy(vec![null], |_| {}), "null").is_some());
        let any = policy(vec![OriginPattern::Any], |_| {});
        assert_eq!(allowed(&any, "null").unwrap(), "*");
        assert_eq!(any.allowed(None).unwrap(), "*");
    }

    #[test]
    fn what_the_upstream_says_of_origins_is_replaced() {
        let policy = policy(vec![below(".example.com")], |cors| cors.credentials = true);
        let mut asked = HeaderMap::new();
        asked.insert(ORIGIN, HeaderValue::from_static("https://a.example.com"));
        let mut answer = HeaderMap::new();
        for name in [
            "access-control-allow-origin",
            "access-control-allow-private-network",
        ] {
            answer.insert(HeaderName::from_static(name), HeaderValue::from_static("evil"));
        }
        answer.insert(VARY, HeaderValue::from_static("accept, ORIGIN"));
        policy.grant(&asked).write(&mut answer);
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_ORIGIN], "https://a.example.com");
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        assert!(!answer.contains_key("access-control-allow-private-network"));
        assert_eq!(answer.get_all(VARY).iter().count(), 1);

        // Two origins are none.
        asked.append(ORIGIN, HeaderValue::from_static("https://b.example.com"));
        policy.grant(&asked).write(&mut answer);
        assert!(!answer.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
    }

    #[test]
    fn whatever_headers_are_asked_for_are_allowed_when_all_are() {
        let policy = policy(vec![OriginPattern::Any], |cors| {
            cors.headers = AllowedHeaders::Any
        });
        let mut asked = HeaderMap::new();
        asked.insert(ORIGIN, HeaderValue::from_static("https://a.example"));
        for (wanted, told) in [
            ("x-a,authorization", Some("x-a,authorization")),
            ("x-a, b c", None),
            ("", None),
        ] {
            asked.insert(ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static(wanted));
            let answer = policy.preflight(&asked);
            let answer = answer.headers().get(ACCESS_CONTROL_ALLOW_HEADERS);
            assert_eq!(answer.map(|value| value.to_str().unwrap()), told);
        }
    }
}
