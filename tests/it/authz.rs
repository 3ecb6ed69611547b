//! Validation without proxying, on whole systems: what an acknowledged change ended is allowed by no answer, and a real
//! nginx that asks about every call.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use keyward_gateway::authz::ext_authz::METHOD;
use keyward_gateway::authz::proto::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use keyward_gateway::authz::proto::envoy::service::auth::v3::check_response::HttpResponse;
use keyward_gateway::authz::proto::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse,
};
use keyward_harness::{Nginx, RedisServer, eventually, free_address, metric};
use keyward_upstream::Upstream;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

use crate::api::{Account, Customer};
use crate::load::{Load, Progress};
use crate::stack::{Plan, SOON, Stack, page};
use crate::wire::Wire;

const GATEWAYS: usize = 2;
const REVOCATIONS: usize = 30;
/// Connections under load to each gateway: several for each of its two workers.
const LOADED: usize = 4;
/// Questions about a dead key to each gateway right after its end.
const AFTERWARDS: usize = 6;

/// How it is asked.
#[derive(Clone, Copy, Debug)]
enum Asked {
    AtAuth,
    AtValidate,
    ByEnvoy,
}

impl Asked {
    const WAYS: [Self; 3] = [Self::AtAuth, Self::AtValidate, Self::ByEnvoy];
}

/// Whoever asks: over HTTP/1.1 on one connection, and as Envoy does on another.
struct Asker {
    wire: Wire,
    envoy: Channel,
}

impl Asker {
    async fn open(authz: SocketAddr) -> Self {
        let envoy = Channel::from_shared(format!("http://{authz}")).unwrap();
        Self {
            wire: Wire::open(authz).await,
            envoy: envoy.connect().await.unwrap(),
        }
    }

    /// Whether these keys may pass.
    async fn allows(&mut self, asked: Asked, account: &str, customer: &str) -> bool {
        match asked {
            Asked::AtAuth => {
                let question = format!(
                    "GET /auth HTTP/1.1\r\nHost: keyward\r\nX-Forwarded-Uri: /x\r\nX-Forwarded-Host: api.example\r\n\
                     Authorization: Bearer {account}\r\nX-Customer-Key: {customer}\r\n\r\n"
                );
                let heard = self.wire.send(&question).await;
                assert!([200, 401, 403].contains(&heard.status), "{heard:?}");
                heard.status == 200
            }
            Asked::AtValidate => {
                let body = json!({ "account_key": account, "customer_key": customer }).to_string();
                let question = format!(
                    "POST /v1/validate HTTP/1.1\r\nHost: keyward\r\nContent-Type: application/json\r\n\
                     Content-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                let heard = self.wire.send(&question).await;
                assert_eq!(heard.status, 200, "{heard:?}");
                heard.json()["allowed"].as_bool().unwrap()
            }
            Asked::ByEnvoy => {
                let answer = self.check(check(account, customer)).await;
                let is_allowed = matches!(answer.http_response, Some(HttpResponse::OkResponse(_)));
                assert_eq!(answer.status.map(|status| status.code == 0), Some(is_allowed));
                is_allowed
            }
        }
    }

    async fn check(&self, question: CheckRequest) -> CheckResponse {
        let mut client = tonic::client::Grpc::new(self.envoy.clone());
        client.ready().await.unwrap();
        let (method, codec) = (PathAndQuery::from_static(METHOD), ProstCodec::default());
        let answer = client.unary(tonic::Request::new(question), method, codec).await;
        answer.unwrap().into_inner()
    }
}

/// What Envoy asks about a call with these keys.
fn check(account: &str, customer: &str) -> CheckRequest {
    let headers = [
        ("authorization", format!("Bearer {account}")),
        ("x-customer-key", customer.to_owned()),
    ];
    let http = HttpRequest {
        method: "GET".to_owned(),
        path: "/x".to_owned(),
        host: "api.example".to_owned(),
        headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
        ..HttpRequest::default()
    };
    CheckRequest {
        attributes: Some(AttributeContext {
            request: Some(Request { http: Some(http) }),
            ..AttributeContext::default()
        }),
    }
}

/// An end customer whose rights will end.
struct Victim {
    customer: Customer,
    /// Set once the end was acknowledged: questions that begin later must be answered with no.
    is_dead: AtomicBool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_allows_a_key_after_its_end_was_acknowledged_under_load() {
    let plan = Plan {
        gateways: GATEWAYS,
        authz: true,
        ..Plan::default()
    };
    let stack = Stack::with(plan).await;
    let account = Arc::new(stack.account().await);
    let mut victims = Vec::new();
    for number in 0..REVOCATIONS {
        let customer = stack
            .api
            .customer(&account.key, &format!("customer {number}"))
            .await;
        victims.push(Victim {
            customer,
            is_dead: AtomicBool::new(false),
        });
    }
    let victims = Arc::new(victims);
    let places = stack.asked_at.iter();
    let places = places.flat_map(|authz| (0..LOADED).map(|first| (*authz, first * 7)));
    let load = Load::start(places, |place, progress| {
        ask_all_the_time(place, (Arc::clone(&account), Arc::clone(&victims)), progress)
    });
    let load = load.await;
    for victim in victims.iter() {
        let path = format!("/customers/{}", victim.customer.id);
        let deleted = stack
            .portal(&account.key, Method::DELETE, &path, Value::Null)
            .await;
        deleted.expect(204).in_force_at(GATEWAYS);
        victim.is_dead.store(true, Ordering::SeqCst);
        for authz in &stack.asked_at {
            let mut asker = Asker::open(*authz).await;
            for asked in Asked::WAYS.into_iter().cycle().take(AFTERWARDS) {
                let is_allowed = asker.allows(asked, &account.key, &victim.customer.key).await;
                assert!(!is_allowed, "{asked:?}");
            }
        }
    }
    load.stop().await;
}

async fn ask_all_the_time(
    (authz, first): (SocketAddr, usize),
    (account, victims): (Arc<Account>, Arc<Vec<Victim>>),
    progress: Progress,
) {
    let mut asker = Asker::open(authz).await;
    let ways = Asked::WAYS.into_iter().cycle();
    for (victim, asked) in victims.iter().cycle().skip(first).zip(ways) {
        if progress.is_over() {
            break;
        }
        // Looked at before the question.
        let is_dead = victim.is_dead.load(Ordering::SeqCst);
        let is_allowed = asker.allows(asked, &account.key, &victim.customer.key).await;
        assert!(!(is_dead && is_allowed), "{asked:?} allowed a key after its end");
        if is_allowed {
            progress.went_well();
        }
    }
}

/// Redis answers nobody for a second while a question waits for its tokens.
const SHARED: &str = "mode = \"exact\"\ntimeout = \"1s\"\nmax_wait = \"1s\"\nfallback = \"allow\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_waits_for_its_tokens_is_answered_by_what_holds_when_they_come() {
    let redis = RedisServer::start().await.unwrap();
    let limiter = format!("[limiter]\nredis = \"{}\"\n{SHARED}", redis.url());
    let plan = Plan {
        gateway_tables: &limiter,
        authz: true,
        ..Plan::default()
    };
    let stack = Stack::with(plan).await;
    let account = stack.account().await;
    for asked in Asked::WAYS {
        // On a busy machine the end may be acknowledged later than the wait is over: then it says nothing.
        let mut is_judged = false;
        for attempt in 0..10 {
            let customer = stack
                .api
                .customer(&account.key, &format!("{asked:?} {attempt}"))
                .await;
            is_judged = is_refused_while_it_waits(&stack, &redis, (&account, &customer), asked).await;
            if is_judged {
                break;
            }
        }
        assert!(is_judged, "{asked:?}: no end was acknowledged in time");
    }
}

/// Ends the rights of an end customer while a question about it waits; whether that was in time.
async fn is_refused_while_it_waits(
    stack: &Stack,
    redis: &RedisServer,
    (account, customer): (&Account, &Customer),
    asked: Asked,
) -> bool {
    let gateway = &stack.gateways[0];
    let redis_is_up = eventually(SOON, || async {
        let told = page(&format!("{}/readyz", gateway.admin_url())).await;
        let told: Value = serde_json::from_str(&told)?;
        anyhow::ensure!(told["detail"]["limiter"]["redis"] == "up", "{told}");
        Ok(())
    });
    redis_is_up.await.unwrap();
    let mut asker = Asker::open(stack.asked_at[0]).await;
    assert!(asker.allows(asked, &account.key, &customer.key).await);
    redis.pause().unwrap();
    let began = Instant::now();
    let end = async {
        let is_asked = eventually(SOON, || async {
            let told = gateway.metrics().await?;
            anyhow::ensure!(metric(&told, "keyward_requests_in_flight", &[]) == Some(1.0));
            Ok(())
        });
        is_asked.await.unwrap();
        let path = format!("/customers/{}", customer.id);
        let deleted = stack
            .portal(&account.key, Method::DELETE, &path, Value::Null)
            .await;
        deleted.expect(204).in_force_at(1);
        // No answer can have come before: it waits for a whole second.
        began.elapsed() < Duration::from_millis(900)
    };
    let (is_allowed, is_in_time) = tokio::join!(asker.allows(asked, &account.key, &customer.key), end);
    redis.resume().unwrap();
    assert!(!(is_allowed && is_in_time), "{asked:?}");
    is_in_time
}

/// The lines of docs/validation.md that configure nginx, with addresses of this test.
fn nginx(keyward: SocketAddr, upstream: SocketAddr, here: SocketAddr) -> String {
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/validation.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    let lines = manual
        .split_once("```nginx\n")
        .unwrap()
        .1
        .split_once("```")
        .unwrap()
        .0;
    let lines = lines
        .replace("127.0.0.1:9080", &keyward.to_string())
        .replace("127.0.0.1:3000", &upstream.to_string())
        .replace(
            "listen 80;",
            &format!("listen {here};\n    location = /ready {{ return 204; }}"),
        );
    format!("http {{\naccess_log off;\n{lines}\n}}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_asks_about_every_call_and_passes_on_what_it_is_told() {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let behind = Upstream::start(any).await.unwrap();
    let plan = Plan {
        authz: true,
        routes: "[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"\nmethods = [\"GET\", \"POST\"]\n\
                 [[routes]]\npath = \"/public\"\nupstream = \"api\"\nrequire = \"none\"\n",
        ..Plan::default()
    };
    let stack = Stack::with(plan).await;
    let account = stack.account().await;
    let slow = stack.account_with(1, 2).await;
    let here = free_address().unwrap();
    let text = nginx(stack.asked_at[0], behind.address(), here);
    let nginx = Nginx::start(stack.folder(), &text, 0, &format!("http://{here}/ready"))
        .await
        .unwrap();
    let client = keyward_harness::http_client().unwrap();
    let call = async |method: Method, path: &str, key: &str| {
        let request = client
            .request(method, format!("http://{here}{path}"))
            .header("x-api-key", key)
            .header("keyward-account", "forged")
            .header("x-forwarded-uri", path)
            .header("x-forwarded-method", "GET")
            .header("x-forwarded-for", "192.0.2.1");
        request.send().await.unwrap()
    };

    let allowed = call(Method::POST, "/echo?a=b", &account.key).await;
    assert_eq!(allowed.status(), StatusCode::OK);
    assert!(allowed.headers().contains_key("x-ratelimit-remaining"));
    let seen = allowed.json::<Value>().await.unwrap()["headers"].clone();
    assert_eq!(seen["keyward-account"], json!([account.id]));
    assert_eq!(seen["keyward-key-id"], json!([account.key_id]));
    assert_eq!(seen["x-api-key"], Value::Null);
    let public = call(Method::GET, "/public", "").await;
    let seen = public.json::<Value>().await.unwrap()["headers"].clone();
    assert_eq!(
        seen["keyward-account"],
        Value::Null,
        "what the client forged has reached the upstream"
    );

    let told = async |method: Method, path: &str, key: &str| {
        let answer = call(method, path, key).await;
        let status = answer.status().as_u16();
        let retry_after = answer.headers().contains_key("retry-after");
        let code = answer.json::<Value>().await.unwrap()["error"]["code"].clone();
        (status, code, retry_after)
    };
    assert_eq!(
        told(Method::GET, "/", "nonsense").await,
        (401, json!("INVALID_API_KEY"), false)
    );
    assert_eq!(told(Method::GET, "/", "").await.0, 401);
    // The client says that it reads; nginx says what is true.
    assert_eq!(
        told(Method::DELETE, "/", &account.key).await,
        (405, json!("METHOD_NOT_ALLOWED"), false)
    );
    let mut refused = None;
    for _ in 0..20 {
        let answer = call(Method::GET, "/", &slow.key).await;
        if answer.status() != StatusCode::OK {
            refused = Some((
                answer.status().as_u16(),
                answer.headers().contains_key("retry-after"),
            ));
            break;
        }
    }
    assert_eq!(refused, Some((429, true)));
    let suspended = json!({ "status": "suspended" });
    let path = format!("/admin/customers/{}", account.id);
    stack
        .admin(Method::PATCH, &path, suspended)
        .await
        .expect(200)
        .in_force_at(1);
    assert_eq!(
        told(Method::GET, "/", &account.key).await,
        (403, json!("ACCOUNT_SUSPENDED"), false)
    );
    drop(nginx);
}
