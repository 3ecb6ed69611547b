//! `ext_authz`: the call that a `CheckRequest` tells of is decided on as if it had come itself; what could be no call is
//! nothing that is decided on.

use bytes::Bytes;
use keyward_gateway::authz::fuzzing;
use keyward_gateway::authz::grpc::MAX_MESSAGE;
use keyward_gateway::authz::proto::envoy::config::core::v3 as core;
use keyward_gateway::authz::proto::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use keyward_gateway::authz::proto::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use prost::Message;

use super::told_heads::{Told, is_as_if_it_came};

/// More than these, and httparse has no room for them.
const MOST_FIELDS: usize = 60;

/// `b` and the body of a call of `Check`; or lines that one is made of: a byte that says what the rest of the line is, in
/// which `^` stands for a line feed.
pub fn check(bytes: &[u8]) {
    let body = match bytes {
        [b'b', body @ ..] => body.to_vec(),
        lines => made(lines),
    };
    let http = read(&body);
    if http.as_ref().is_some_and(|http| fields(http).len() > MOST_FIELDS) {
        return;
    }
    let decided = fuzzing::check(Bytes::from(body));
    is_as_if_it_came(http.as_ref().map(told).as_ref(), decided.as_ref());
}

fn made(lines: &[u8]) -> Vec<u8> {
    let mut http = HttpRequest {
        method: "GET".into(),
        path: "/".into(),
        host: "api.example".into(),
        ..HttpRequest::default()
    };
    let mut raw = Vec::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let [what, rest @ ..] = line else { continue };
        let rest: Vec<u8> = rest
            .iter()
            .map(|byte| if *byte == b'^' { b'\n' } else { *byte })
            .collect();
        let text = String::from_utf8_lossy(&rest).into_owned();
        let split = rest.iter().position(|byte| *byte == b'=').unwrap_or(rest.len());
        let (name, value) = rest.split_at(split);
        let name = String::from_utf8_lossy(name).into_owned();
        let value = value.get(1..).unwrap_or_default().to_vec();
        match what {
            b'm' => http.method = text,
            b'p' => http.path = text,
            b'h' => http.host = text,
            b'f' => drop(
                http.headers
                    .insert(name, String::from_utf8_lossy(&value).into_owned()),
            ),
            b'r' => raw.push(core::HeaderValue {
                key: name,
                raw_value: value,
                ..core::HeaderValue::default()
            }),
            b'v' => raw.push(core::HeaderValue {
                key: name,
                value: String::from_utf8_lossy(&value).into_owned(),
                ..core::HeaderValue::default()
            }),
            _ => {}
        }
    }
    http.header_map = Some(core::HeaderMap { headers: raw });
    let question = CheckRequest {
        attributes: Some(AttributeContext {
            request: Some(Request { http: Some(http) }),
            ..AttributeContext::default()
        }),
    };
    let message = question.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [[0].as_slice(), &length, &message].concat()
}

/// What a body tells, when it is one whole message.
fn read(body: &[u8]) -> Option<HttpRequest> {
    let ([0, length @ ..], message) = body.split_first_chunk::<5>()? else {
        return None;
    };
    let is_whole = u32::from_be_bytes(*length) as usize == message.len() && message.len() <= MAX_MESSAGE;
    let question = CheckRequest::decode(message).ok().filter(|_| is_whole)?;
    question.attributes?.request?.http
}

fn fields(http: &HttpRequest) -> Vec<(Vec<u8>, Vec<u8>)> {
    let plain = http
        .headers
        .iter()
        .map(|(name, value)| (name.clone().into_bytes(), value.clone().into_bytes()));
    let raw = http.header_map.iter().flat_map(|map| &map.headers).map(|field| {
        let value = match field.raw_value.as_slice() {
            [] => field.value.as_bytes(),
            raw => raw,
        };
        (field.key.clone().into_bytes(), value.to_vec())
    });
    plain
        .chain(raw)
        .filter(|(name, _)| !name.starts_with(b":"))
        .collect()
}

fn told(http: &HttpRequest) -> Told {
    Told {
        method: http.method.clone().into_bytes(),
        target: http.path.clone().into_bytes(),
        host: Some(http.host.clone().into_bytes()).filter(|host| !host.is_empty()),
        fields: fields(http),
    }
}
