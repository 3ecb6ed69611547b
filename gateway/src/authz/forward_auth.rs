//! `/auth`: what nginx (`auth_request`), Traefik and Caddy (`forward_auth`) ask about a call before they forward it.
//!
//! The head of the question is that of the call, and fields of the proxy's own say what it was sent for: method, target
//! and host in `X-Forwarded-Method`, `-Uri` and `-Host`, or in `X-Original-Method`, `-URI` and `-URL`. Where several say
//! the same thing they must agree, so that a client that writes one of them gains a refusal at most. The client's address
//! is the right-most entry of `X-Forwarded-For` that no trusted proxy wrote about another; the proxy that asks is one of
//! yours. 200 lets the call pass and says whose it is; every refusal is what the client is to get. `?statuses=nginx`
//! makes 401 or 403 of it, which is all that nginx takes, and says in `Keyward-Status` and `Keyward-Code` what it was.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::HOST;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, Version};

use super::reply::Reply;
use super::{Asker, finish_headers, identity};
use crate::address;
use crate::call::Call;
use crate::limits::Permit;
use crate::onward;
use crate::rejection::Rejection;
use crate::request_id;
use crate::rules::Rules;
use crate::telemetry::Endpoint;

/// Where it is asked.
pub const PATH: &str = "/auth";

const METHODS: [&str; 2] = ["x-forwarded-method", "x-original-method"];
const TARGETS: [&str; 2] = ["x-forwarded-uri", "x-original-uri"];
const WHOLE_TARGET: &str = "x-original-url";
const HOSTS: [&str; 1] = ["x-forwarded-host"];
const X_FORWARDED_FOR: &str = "x-forwarded-for";

const KEYWARD_STATUS: HeaderName = HeaderName::from_static("keyward-status");
const KEYWARD_CODE: HeaderName = HeaderName::from_static("keyward-code");

/// Which statuses the proxy that asks understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Statuses {
    /// All of them.
    All,
    /// 401 and 403; every other one it takes for a fault of ours.
    Nginx,
}

impl Statuses {
    /// `None` where something is asked that isn't known: never just ignored.
    fn asked(query: Option<&str>) -> Option<Self> {
        match query {
            None | Some("") => Some(Self::All),
            Some("statuses=nginx") => Some(Self::Nginx),
            Some(_) => None,
        }
    }
}

/// Answers whether the call may pass that this head tells of.
pub(super) async fn answer(asker: &Asker, parts: &Parts) -> Response<Reply> {
    let mut call = asker.begin(Endpoint::ForwardAuth);
    let request_id = request_id::of(&parts.headers, call.started().unix.0);
    let statuses = Statuses::asked(parts.uri.query());
    let client = client(asker, &parts.headers, call.rules());
    let (original, decided) = match asked(parts) {
        Ok(original) => {
            let decided = super::decide(&mut call, &original, client, &request_id).await;
            (original, decided)
        }
        Err(rejection) => (parts.clone(), Err(rejection.into())),
    };
    let answer = match decided {
        Ok(allowed) => allow(&allowed.permit, &call, request_id),
        Err(refused) => {
            let form = super::http_form(&parts.headers);
            let told = super::told(&call, &original, client, &request_id);
            let answer = super::refuse(&mut call, &refused, form, told);
            match statuses {
                Some(Statuses::Nginx) => for_nginx(answer, &refused.rejection),
                Some(Statuses::All) | None => answer,
            }
        }
    };
    answer.map(Reply::of)
}

/// The head of the call that is asked about, where the question is one.
fn asked(question: &Parts) -> Result<Parts, Rejection> {
    Statuses::asked(question.uri.query()).ok_or(bad("`/auth` knows one parameter: `statuses=nginx`"))?;
    original(question)
}

fn client(asker: &Asker, headers: &HeaderMap, rules: &Rules) -> IpAddr {
    let fields = headers.get_all(X_FORWARDED_FOR).iter();
    address::behind(asker.peer, fields.map(HeaderValue::as_bytes), &rules.trusted)
}

fn allow(permit: &Permit, call: &Call, request_id: HeaderValue) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::new());
    let headers = answer.headers_mut();
    for (name, value) in identity(permit.caller()) {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), value.try_into()) {
            headers.insert(name, value);
        }
    }
    if let Some(caller) = permit.caller() {
        onward::rotation(headers, caller);
    }
    finish_headers(headers, request_id, permit.standing(), call);
    answer
}

fn for_nginx(mut answer: Response<Bytes>, rejection: &Rejection) -> Response<Bytes> {
    let status = answer.status();
    let headers = answer.headers_mut();
    headers.insert(KEYWARD_STATUS, status.as_u16().into());
    headers.insert(KEYWARD_CODE, HeaderValue::from_static(rejection.code()));
    if status != StatusCode::UNAUTHORIZED {
        *answer.status_mut() = StatusCode::FORBIDDEN;
    }
    answer
}

/// The head of the call that is asked about, as its proxy tells it.
///
/// # Errors
/// Row 1, when that is not told, told in two ways, or is no head.
pub(super) fn original(parts: &Parts) -> Result<Parts, Rejection> {
    let mut original = parts.clone();
    original.version = Version::HTTP_11;
    super::drop_framing(&mut original.headers);
    original.method = match told(&parts.headers, &METHODS)? {
        Some(method) => Method::from_bytes(method).map_err(|_| bad("the original method is malformed"))?,
        None => parts.method.clone(),
    };
    let whole = told(&parts.headers, &[WHOLE_TARGET])?.map(uri).transpose()?;
    let target = told(&parts.headers, &TARGETS)?.map(uri).transpose()?;
    original.uri = match (&target, &whole) {
        (Some(target), Some(whole)) if target.path_and_query() != whole.path_and_query() => {
            return Err(bad("the proxy tells two targets that differ"));
        }
        (Some(target), _) => target.clone(),
        (None, Some(whole)) => whole.clone(),
        (None, None) => {
            return Err(bad(
                "the proxy must tell the target: X-Forwarded-Uri or X-Original-URI",
            ));
        }
    };
    let authority = whole.as_ref().and_then(|whole| whole.authority());
    let host = match (told(&parts.headers, &HOSTS)?, authority) {
        (Some(host), Some(authority)) if !authority.as_str().as_bytes().eq_ignore_ascii_case(host) => {
            return Err(bad("the proxy tells two hosts that differ"));
        }
        (Some(host), _) => Some(host),
        (None, authority) => authority.map(|authority| authority.as_str().as_bytes()),
    };
    let own = parts
        .uri
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    if let Some(host) = host.or_else(|| own.filter(|_| !parts.headers.contains_key(HOST))) {
        let host = HeaderValue::from_bytes(host).map_err(|_| bad("the original host is malformed"))?;
        original.headers.insert(HOST, host);
    }
    Ok(original)
}

/// What these fields say; empty ones say nothing.
fn told<'p>(headers: &'p HeaderMap, names: &[&str]) -> Result<Option<&'p [u8]>, Rejection> {
    let values = names.iter().flat_map(|name| headers.get_all(*name));
    let mut values = values
        .map(HeaderValue::as_bytes)
        .filter(|value| !value.is_empty());
    let first = values.next();
    if values.any(|other| Some(other) != first) {
        return Err(bad(
            "the proxy tells one thing about the call in two ways that differ",
        ));
    }
    Ok(first)
}

/// A fragment would be cut off without a word, and then another target be decided on than is forwarded.
fn uri(text: &[u8]) -> Result<Uri, Rejection> {
    let uri = Uri::try_from(text).ok().filter(|_| !text.contains(&b'#'));
    uri.ok_or_else(|| bad("the original target is malformed"))
}

fn bad(reason: &'static str) -> Rejection {
    Rejection::InvalidInput(reason)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[track_caller]
    fn check(fields: &[(&str, &str)], expected: Option<(&str, &str, &str)>) {
        let question = fields.iter().fold(
            Request::builder().uri(PATH).header("host", "own.example"),
            |question, (name, value)| question.header(*name, *value),
        );
        let (parts, ()) = question.body(()).unwrap().into_parts();
        let read = original(&parts).ok().map(|original| {
            let host = original.headers[HOST].to_str().unwrap().to_owned();
            let target = original.uri.path_and_query().map(ToString::to_string);
            (original.method.to_string(), host, target.unwrap_or_default())
        });
        let expected = expected.map(|(method, host, target)| (method.into(), host.into(), target.into()));
        assert_eq!(read, expected, "{fields:?}");
    }

    #[test]
    fn the_call_is_read_from_either_family_of_fields() {
        check(
            &[
                ("x-forwarded-method", "PUT"),
                ("x-forwarded-uri", "/a?b=c"),
                ("x-forwarded-host", "api.example"),
            ],
            Some(("PUT", "api.example", "/a?b=c")),
        );
        check(
            &[("x-original-method", "POST"), ("x-original-uri", "/a")],
            Some(("POST", "own.example", "/a")),
        );
        check(
            &[("x-original-url", "https://api.example/a?b")],
            Some(("GET", "api.example", "/a?b")),
        );
        check(
            &[
                ("x-original-uri", "/a"),
                ("x-forwarded-uri", ""),
                ("x-forwarded-host", ""),
            ],
            Some(("GET", "own.example", "/a")),
        );
    }

    #[test]
    fn what_is_told_in_two_ways_that_differ_is_refused() {
        let target = ("x-original-uri", "/a");
        check(
            &[target, ("x-forwarded-uri", "/a")],
            Some(("GET", "own.example", "/a")),
        );
        check(&[target, ("x-forwarded-uri", "/public")], None);
        check(&[target, ("x-original-uri", "/public")], None);
        check(&[target, ("x-original-url", "http://own.example/public")], None);
        check(
            &[
                target,
                ("x-original-method", "GET"),
                ("x-forwarded-method", "POST"),
            ],
            None,
        );
        check(
            &[
                ("x-original-url", "http://own.example/a"),
                ("x-forwarded-host", "other.example"),
            ],
            None,
        );
    }

    #[test]
    fn a_question_without_a_target_or_with_a_malformed_one_is_refused() {
        check(&[], None);
        check(&[("x-forwarded-host", "api.example")], None);
        check(&[("x-forwarded-uri", "/a#b")], None);
        check(&[("x-forwarded-uri", "/a b")], None);
        check(
            &[("x-forwarded-uri", "/a"), ("x-forwarded-method", "G E T")],
            None,
        );
    }
}
