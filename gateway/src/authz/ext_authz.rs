//! Envoy's external authorization, version 3: `envoy.service.auth.v3.Authorization/Check`.
//!
//! What Envoy tells of a request is made into a head again and decided on like one. The client's address is the one that
//! Envoy names as the source, unless that is in `trusted_proxies`: then the right-most untrusted `X-Forwarded-For` entry.
//! Whoever may pass goes on with its identity and without its keys; whoever may not is answered as by the gateway
//! itself. Where Envoy tells too little to decide on, the call of `Check` fails, which is no permission either.

use std::net::IpAddr;

use http::header::HOST;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};

use super::grpc::{self, Status};
use super::proto::envoy::config::core::v3 as core;
use super::proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use super::proto::envoy::service::auth::v3::attribute_context::HttpRequest;
use super::proto::envoy::service::auth::v3::check_response::HttpResponse;
use super::proto::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use super::proto::envoy::r#type::v3::HttpStatus;
use super::proto::google::rpc;
use super::reply::Reply;
use super::{Allowed, Asker, finish_headers, identity};
use crate::address;
use crate::admission::Refused;
use crate::call::Call;
use crate::credential::CredentialNames;
use crate::explain::Told;
use crate::onward;
use crate::rejection::ErrorForm;
use crate::request_id;
use crate::rules::Rules;
use crate::telemetry::Endpoint;

/// The service.
pub const SERVICE: &str = "envoy.service.auth.v3.Authorization";
/// Its one method.
pub const METHOD: &str = "/envoy.service.auth.v3.Authorization/Check";

const NO_HTTP: Status = Status::new(3, "there is no HTTP request in the question");
const NO_HEAD: Status = Status::new(3, "the HTTP request in the question is malformed");

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// Answers one question.
pub(super) async fn answer(asker: &Asker, question: CheckRequest) -> Result<Response<Reply>, Status> {
    let attributes = question.attributes.ok_or(NO_HTTP)?;
    let source = source(&attributes);
    let http = attributes
        .request
        .and_then(|request| request.http)
        .ok_or(NO_HTTP)?;
    let original = original(http).ok_or(NO_HEAD)?;
    let mut call = asker.begin(Endpoint::ExtAuthz);
    let request_id = request_id::of(&original.headers, call.started().unix.0);
    let client = client(asker, source, &original.headers, call.rules());
    let answer = match super::decide(&mut call, &original, client, &request_id).await {
        Ok(allowed) => allow(&allowed, &call, &original.headers, request_id),
        Err(refused) => {
            let told = super::told(&call, &original, client, &request_id);
            deny(&refused, &mut call, &original.headers, told)
        }
    };
    Ok(grpc::succeeded(&answer))
}

fn source(attributes: &AttributeContext) -> Option<IpAddr> {
    let address = attributes.source.as_ref()?.address.as_ref()?.address.as_ref()?;
    let core::address::Address::SocketAddress(socket) = address;
    socket.address.parse().ok()
}

fn client(asker: &Asker, source: Option<IpAddr>, headers: &HeaderMap, rules: &Rules) -> IpAddr {
    let fields = headers.get_all(X_FORWARDED_FOR).iter().map(HeaderValue::as_bytes);
    let trusted = &rules.trusted;
    match source {
        Some(source) => address::client_address(source, fields, trusted),
        None => address::behind(asker.peer, fields, trusted),
    }
}

/// The head that Envoy tells of; `None` when it is none.
pub(super) fn original(http: HttpRequest) -> Option<Parts> {
    // What follows it would be cut off without a word.
    let path = Some(http.path).filter(|path| !path.contains('#'))?;
    let (mut parts, ()) = Request::builder()
        .method(Method::from_bytes(http.method.as_bytes()).ok()?)
        .uri(Uri::try_from(path).ok()?)
        .version(Version::HTTP_11)
        .body(())
        .ok()?
        .into_parts();
    let raw = http.header_map.into_iter().flat_map(|map| map.headers);
    let raw = raw.map(|header| {
        let value = if header.raw_value.is_empty() {
            header.value.into_bytes()
        } else {
            header.raw_value
        };
        (header.key, value)
    });
    let plain = http
        .headers
        .into_iter()
        .map(|(name, value)| (name, value.into_bytes()));
    for (name, value) in plain.chain(raw) {
        // The pseudo-headers of HTTP/2 are told apart.
        if name.starts_with(':') {
            continue;
        }
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        parts.headers.append(name, HeaderValue::from_bytes(&value).ok()?);
    }
    super::drop_framing(&mut parts.headers);
    if !http.host.is_empty() {
        parts.headers.insert(HOST, HeaderValue::try_from(http.host).ok()?);
    }
    Some(parts)
}

fn allow(allowed: &Allowed, call: &Call, sent: &HeaderMap, request_id: HeaderValue) -> CheckResponse {
    let caller = allowed.permit.caller();
    let headers: Vec<_> = identity(caller)
        .map(|(name, value)| set(name, value.as_bytes()))
        .collect();
    let mut told = HeaderMap::new();
    if let Some(caller) = caller {
        onward::rotation(&mut told, caller);
    }
    finish_headers(&mut told, request_id, allowed.permit.standing(), call);
    // How an answer may be stored is for the upstream to say.
    told.remove(http::header::CACHE_CONTROL);
    let credentials = &call.rules().credentials;
    let credentials = (!allowed.forwards_credentials).then_some(credentials);
    let removed = sent.keys().map(HeaderName::as_str).filter(|name| {
        is_not_for_upstreams(name, credentials) && !identity(caller).any(|(ours, _)| ours == *name)
    });
    CheckResponse {
        status: Some(rpc::Status::default()),
        http_response: Some(HttpResponse::OkResponse(OkHttpResponse {
            headers,
            headers_to_remove: removed.map(str::to_owned).collect(),
            response_headers_to_add: options(&told),
        })),
    }
}

/// Keys, and what only the gateway may say of a caller; also under names that some upstreams take for the same.
fn is_not_for_upstreams(name: &str, credentials: Option<&CredentialNames>) -> bool {
    let folded = name.replace(['_', '.'], "-");
    folded.starts_with("keyward-")
        || credentials.is_some_and(|names| names.iter().any(|credential| *credential == *folded))
}

/// For a gRPC client Envoy makes the answer's shape itself; what it takes from here is `grpc-status` and `-message`.
fn deny(refused: &Refused, call: &mut Call, sent: &HeaderMap, told: Told<'_>) -> CheckResponse {
    let answer = super::refuse(call, refused, ErrorForm::of(sent), told);
    let (parts, body) = answer.into_parts();
    let status: StatusCode = refused.rejection.status();
    CheckResponse {
        status: Some(rpc::Status {
            code: i32::from(refused.rejection.grpc_status()),
            message: refused.rejection.message().to_owned(),
        }),
        http_response: Some(HttpResponse::DeniedResponse(DeniedHttpResponse {
            status: Some(HttpStatus {
                code: i32::from(status.as_u16()),
            }),
            headers: options(&parts.headers),
            body: String::from_utf8_lossy(&body).into_owned(),
        })),
    }
}

fn options(headers: &HeaderMap) -> Vec<core::HeaderValueOption> {
    let fields = headers.iter();
    fields
        .map(|(name, value)| set(name.as_str(), value.as_bytes()))
        .collect()
}

fn set(name: &str, value: &[u8]) -> core::HeaderValueOption {
    core::HeaderValueOption {
        header: Some(core::HeaderValue {
            key: name.to_owned(),
            value: String::from_utf8_lossy(value).into_owned(),
            raw_value: Vec::new(),
        }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
    }
}
