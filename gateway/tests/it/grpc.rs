//! gRPC through the gateway, by a client and a server of a library: all kinds of calls, over HTTP/2 on both sides.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use http::uri::PathAndQuery;
use keyward_contract::KeyKind;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::server::NamedService;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

use crate::cut::eventually;
use crate::fixture::{Keys, World};

/// What is said both ways.
#[derive(Clone, PartialEq, prost::Message)]
struct Words {
    #[prost(string, tag = "1")]
    text: String,
    #[prost(uint64, tag = "2")]
    count: u64,
}

fn words(text: &str, count: u64) -> Words {
    Words {
        text: text.to_owned(),
        count,
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<Words, Status>> + Send>>;

/// Says back what it hears; counts streams that are under way.
#[derive(Clone, Default)]
struct Echo {
    open: Arc<AtomicUsize>,
}

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

/// Counts a stream for as long as it is held.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn begin(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn failure() -> Status {
    Status::with_details(
        Code::FailedPrecondition,
        "not now: é%",
        b"more of it".to_vec().into(),
    )
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut grpc = tonic::server::Grpc::new(ProstCodec::<Words, Words>::default())
            .max_decoding_message_size(64 << 20)
            .max_encoding_message_size(64 << 20);
        // Some servers take no call without it.
        assert_eq!(request.headers()["te"], "trailers");
        let open = Arc::clone(&self.open);
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/test.Echo/Unary" => grpc.unary(service_fn(unary), request).await,
                "/test.Echo/Sum" => grpc.client_streaming(service_fn(sum), request).await,
                "/test.Echo/Count" => {
                    let count = move |request: Request<Words>| {
                        let counted = Counted::begin(&open);
                        async move { Ok::<_, Status>(Response::new(count(request.into_inner(), counted))) }
                    };
                    grpc.server_streaming(service_fn(count), request).await
                }
                _ => grpc.streaming(service_fn(chat), request).await,
            })
        })
    }
}

async fn unary(request: Request<Words>) -> Result<Response<Words>, Status> {
    if request.get_ref().text == "fail" {
        return Err(failure());
    }
    let account = request.metadata().get("keyward-account").cloned();
    let mut response = Response::new(request.into_inner());
    if let Some(account) = account {
        response.metadata_mut().insert("x-seen-account", account);
    }
    Ok(response)
}

async fn sum(request: Request<Streaming<Words>>) -> Result<Response<Words>, Status> {
    let (mut all, mut count) = (request.into_inner(), 0);
    while let Some(word) = all.message().await? {
        count += word.count;
    }
    Ok(Response::new(words("sum", count)))
}

/// So many; an end without an end when none are asked for, and a failure at the end when one is.
fn count(asked: Words, counted: Counted) -> Answers {
    let most = if asked.count == 0 { u64::MAX } else { asked.count };
    let is_failing = asked.text == "fail";
    let all = stream::unfold((0, counted), move |(at, counted)| async move {
        if most == u64::MAX {
            // The pace of a stream without an end.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        match at {
            at if at < most => Some((Ok(words("next", at)), (at + 1, counted))),
            at if at == most && is_failing => Some((Err(failure()), (at + 1, counted))),
            _ => None,
        }
    });
    Box::pin(all)
}

async fn chat(request: Request<Streaming<Words>>) -> Result<Response<Answers>, Status> {
    let heard = request.into_inner();
    Ok(Response::new(Box::pin(heard)))
}

impl Echo {
    fn start(&self) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (address, echo) = (listener.local_addr().unwrap(), self.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let incoming = tonic::transport::server::TcpIncoming::from(listener);
                Server::builder()
                    .add_service(echo)
                    .serve_with_incoming(incoming)
                    .await
                    .unwrap();
            });
        });
        address
    }
}

struct Client {
    grpc: Grpc<Channel>,
    key: String,
}

impl Client {
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request
            .metadata_mut()
            .insert("x-api-key", self.key.parse().unwrap());
        request
    }

    async fn unary(&mut self, message: Words) -> Result<Response<Words>, Status> {
        self.grpc.ready().await.unwrap();
        let request = self.request(message);
        self.grpc.unary(request, path("/test.Echo/Unary"), codec()).await
    }

    async fn sum(&mut self, all: impl Stream<Item = Words> + Send + 'static) -> Result<Words, Status> {
        self.grpc.ready().await.unwrap();
        let request = self.request(all);
        let answer = self
            .grpc
            .client_streaming(request, path("/test.Echo/Sum"), codec());
        Ok(answer.await?.into_inner())
    }

    async fn count(&mut self, message: Words) -> Result<Streaming<Words>, Status> {
        self.grpc.ready().await.unwrap();
        let request = self.request(message);
        let answer = self
            .grpc
            .server_streaming(request, path("/test.Echo/Count"), codec());
        Ok(answer.await?.into_inner())
    }

    async fn chat(
        &mut self,
        all: impl Stream<Item = Words> + Send + 'static,
    ) -> Result<Streaming<Words>, Status> {
        self.grpc.ready().await.unwrap();
        let request = self.request(all);
        let answer = self.grpc.streaming(request, path("/test.Echo/Chat"), codec());
        Ok(answer.await?.into_inner())
    }
}

fn path(path: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(path)
}

fn codec() -> ProstCodec<Words, Words> {
    ProstCodec::default()
}

/// A gateway before the service, a client with a key, and the account that it is of.
fn world() -> (World, Echo, Client, String) {
    let echo = Echo::default();
    let address = echo.start();
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let world = World::start(
        &keys,
        &format!(
            "[[routes]]\npath = \"/\"\nupstream = \"echo\"\nrequire = \"account\"\n\
             [[upstreams]]\nname = \"echo\"\nprotocol = \"h2c\"\nendpoints = [\"http://{address}\"]"
        ),
    );
    let endpoint = Endpoint::from_shared(format!("http://{}", world.proxy)).unwrap();
    let channel = world.runtime.block_on(endpoint.connect()).unwrap();
    let client = Client {
        grpc: Grpc::new(channel)
            .max_decoding_message_size(64 << 20)
            .max_encoding_message_size(64 << 20),
        key: key.text().to_owned(),
    };
    (world, echo, client, account.id.to_string())
}

#[test]
fn all_kinds_of_calls_go_through() {
    let (world, _, mut client, account) = world();
    world.runtime.block_on(async {
        let answer = client.unary(words("hello", 7)).await.unwrap();
        assert_eq!(answer.metadata().get("x-seen-account").unwrap(), account.as_str());
        assert_eq!(answer.into_inner(), words("hello", 7));
        let all = stream::iter((0..1_000).map(|at| words("x", at)));
        assert_eq!(client.sum(all).await.unwrap(), words("sum", 499_500));
        let counted: Vec<_> = client.count(words("go", 1_000)).await.unwrap().collect().await;
        assert_eq!(counted.len(), 1_000);
        assert!(counted.iter().all(Result::is_ok));
    });
}

#[test]
fn both_sides_of_a_call_talk_in_turn() {
    let (world, _, mut client, _) = world();
    world.runtime.block_on(async {
        let (say, said) = tokio::sync::mpsc::channel(1);
        let said = stream::unfold(said, |mut said: tokio::sync::mpsc::Receiver<Words>| async {
            said.recv().await.map(|word| (word, said))
        });
        let mut heard = client.chat(said).await.unwrap();
        for at in 0..50 {
            say.send(words("turn", at)).await.unwrap();
            assert_eq!(heard.message().await.unwrap(), Some(words("turn", at)));
        }
        drop(say);
        assert_eq!(heard.message().await.unwrap(), None);
    });
}

#[test]
fn big_messages_go_both_ways() {
    let (world, _, mut client, _) = world();
    world.runtime.block_on(async {
        let text = "m".repeat(20 << 20);
        let answer = client.unary(words(&text, 1)).await.unwrap().into_inner();
        assert!(answer.text == text);
        let all = stream::iter((0..20).map(|at| words(&"n".repeat(1 << 20), at)));
        let heard: Vec<_> = client.chat(all).await.unwrap().collect().await;
        assert_eq!(heard.len(), 20);
        assert!(
            heard
                .iter()
                .all(|word| word.as_ref().unwrap().text.len() == 1 << 20)
        );
    });
}

#[test]
fn a_failure_comes_with_all_that_was_said_of_it_before_and_after_an_answer_has_begun() {
    let (world, _, mut client, _) = world();
    let is_told = |status: &Status| {
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(status.message(), "not now: é%");
        assert_eq!(status.details(), b"more of it");
    };
    world.runtime.block_on(async {
        is_told(&client.unary(words("fail", 0)).await.unwrap_err());
        let counted: Vec<_> = client.count(words("fail", 3)).await.unwrap().collect().await;
        assert_eq!(counted.len(), 4);
        is_told(counted[3].as_ref().unwrap_err());
        client.key = "pk_wrong".to_owned();
        let refused = client.unary(words("hello", 1)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
    });
}

#[test]
fn a_call_that_its_client_gives_up_ends_at_the_service_too() {
    let (world, echo, mut client, _) = world();
    world.runtime.block_on(async {
        let mut counted = client.count(words("go", 0)).await.unwrap();
        for _ in 0..5 {
            counted.message().await.unwrap().unwrap();
        }
        assert_eq!(echo.open.load(Ordering::SeqCst), 1);
    });
    eventually("the service hears of it", || {
        echo.open.load(Ordering::SeqCst) == 0
    });
    // The connection goes on.
    let again = world.runtime.block_on(client.unary(words("hello", 2)));
    assert_eq!(again.unwrap().into_inner().count, 2);
}
