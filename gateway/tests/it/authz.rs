//! Validation without proxying: three ways to ask, and what they have in common.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use http::uri::PathAndQuery;
use keyward_gateway::authz::ext_authz::METHOD;
use keyward_gateway::authz::proto::envoy::config::core::v3 as core;
use keyward_gateway::authz::proto::envoy::service::auth::v3::attribute_context::{
    HttpRequest, Peer, Request,
};
use keyward_gateway::authz::proto::envoy::service::auth::v3::check_response::HttpResponse;
use keyward_gateway::authz::proto::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse,
};
use serde_json::Value;
use tonic_prost::ProstCodec;

use crate::fixture::{Answer, World, read_answer};

mod envoy;
mod explained;
mod forward_auth;
mod garbage;
mod same;
mod validate;

/// A connection to the listener of those who ask.
fn connect(world: &World) -> TcpStream {
    let stream = TcpStream::connect(world.authz).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

fn send(world: &World, request: &str) -> Answer {
    let mut stream = connect(world);
    stream.write_all(request.as_bytes()).unwrap();
    read_answer(&mut stream)
}

/// What a proxy asks at `/auth` about this call from 127.0.0.1.
fn question(method: &str, target: &str, headers: &[(&str, &str)]) -> String {
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!(
        "GET /auth HTTP/1.1\r\nhost: keyward\r\nx-forwarded-method: {method}\r\nx-forwarded-uri: {target}\r\n\
         x-forwarded-host: api.example\r\nx-forwarded-for: 127.0.0.1\r\n{lines}\r\n"
    )
}

fn forward_auth(world: &World, target: &str, headers: &[(&str, &str)]) -> Answer {
    send(world, &question("GET", target, headers))
}

fn validate(world: &World, asked: &Value) -> Answer {
    let body = asked.to_string();
    let length = body.len();
    send(
        world,
        &format!(
            "POST /v1/validate HTTP/1.1\r\nhost: keyward\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        ),
    )
}

/// What Envoy asks about this call from 127.0.0.1; with raw headers where a name occurs twice.
fn check(method: &str, target: &str, headers: &[(&str, &str)]) -> CheckRequest {
    let mut names: Vec<_> = headers.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    let is_raw = names.windows(2).any(|two| two[0] == two[1]);
    let owned = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let mut http = HttpRequest {
        method: method.to_owned(),
        path: target.to_owned(),
        host: "api.example".to_owned(),
        ..HttpRequest::default()
    };
    if is_raw {
        let headers = owned.map(|(key, value)| core::HeaderValue {
            key,
            raw_value: value.into_bytes(),
            ..core::HeaderValue::default()
        });
        http.header_map = Some(core::HeaderMap {
            headers: headers.collect(),
        });
    } else {
        http.headers = owned.chain([(":method".to_owned(), method.to_owned())]).collect();
    }
    let address = core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: "127.0.0.1".to_owned(),
        })),
    };
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(Peer {
                address: Some(address),
            }),
            request: Some(Request { http: Some(http) }),
        }),
    }
}

/// A client of Envoy's protocol on one connection.
#[derive(Clone)]
struct Envoy {
    channel: tonic::transport::Channel,
}

impl Envoy {
    fn connect(world: &World) -> Self {
        let endpoint = tonic::transport::Endpoint::try_from(format!("http://{}", world.authz)).unwrap();
        let channel = world.runtime.block_on(endpoint.connect()).unwrap();
        Self { channel }
    }

    async fn ask(&self, question: CheckRequest) -> Result<CheckResponse, tonic::Status> {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client
            .ready()
            .await
            .map_err(|error| tonic::Status::unknown(error.to_string()))?;
        let codec = ProstCodec::default();
        let method = PathAndQuery::from_static(METHOD);
        let answer = client.unary(tonic::Request::new(question), method, codec).await?;
        Ok(answer.into_inner())
    }

    fn verdict(&self, world: &World, question: CheckRequest) -> Verdict {
        Verdict::of(world.runtime.block_on(self.ask(question)).unwrap())
    }
}

/// What Envoy makes of an answer.
#[derive(Debug)]
struct Verdict {
    /// Of google.rpc.
    code: i32,
    /// 200 where the call may pass.
    status: u16,
    /// For the client.
    headers: Vec<(String, String)>,
    /// For the upstream.
    upstream: Vec<(String, String)>,
    removed: Vec<String>,
    body: String,
}

impl Verdict {
    fn of(response: CheckResponse) -> Self {
        let fields = |options: Vec<core::HeaderValueOption>| -> Vec<(String, String)> {
            let headers = options.into_iter().map(|option| {
                assert_eq!(option.append_action, 2, "it is to take the place of others");
                option.header.unwrap()
            });
            headers.map(|header| (header.key, header.value)).collect()
        };
        let code = response.status.unwrap().code;
        match response.http_response.unwrap() {
            HttpResponse::OkResponse(ok) => Self {
                code,
                status: 200,
                headers: fields(ok.response_headers_to_add),
                upstream: fields(ok.headers),
                removed: ok.headers_to_remove,
                body: String::new(),
            },
            HttpResponse::DeniedResponse(denied) => Self {
                code,
                status: u16::try_from(denied.status.unwrap().code).unwrap(),
                headers: fields(denied.headers),
                upstream: Vec::new(),
                removed: Vec::new(),
                body: denied.body,
            },
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let known = self.headers.iter().find(|(known, _)| known == name);
        known.map(|(_, value)| value.as_str())
    }

    fn code_of_refusal(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap();
        body["error"]["code"].as_str().unwrap().to_owned()
    }
}
