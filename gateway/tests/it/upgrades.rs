//! Connections that go on in another protocol: WebSockets, and whatever else two sides agree on.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Request};
use keyward_contract::{KeyKind, KeyState};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, client_async};

use crate::cut::{eventually, metric, put_key};
use crate::fixture::{Key, Keys, World, get, read_answer};

/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(3);

/// A WebSocket server that says back what it hears, and keeps the heads that it saw.
#[derive(Clone, Default)]
pub(crate) struct Echo {
    heads: Arc<Mutex<Vec<HeaderMap>>>,
}

impl Echo {
    pub(crate) fn start(&self, runtime: &tokio::runtime::Runtime) -> SocketAddr {
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let (address, echo) = (listener.local_addr().unwrap(), self.clone());
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(echo.clone().serve(stream));
            }
        });
        address
    }

    async fn serve(self, stream: tokio::net::TcpStream) -> Option<()> {
        #[expect(clippy::result_large_err, reason = "the shape of the crate's callback")]
        let note = |request: &Request<()>, response| {
            self.heads.lock().unwrap().push(request.headers().clone());
            Ok(response)
        };
        let mut socket = accept_hdr_async(stream, note).await.ok()?;
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() || message.is_binary() {
                socket.send(message).await.ok()?;
            }
        }
        Some(())
    }
}

pub(crate) type Socket = WebSocketStream<tokio::net::TcpStream>;

pub(crate) async fn connect(proxy: SocketAddr, key: &Key) -> Socket {
    let mut request = format!("ws://{proxy}/chat?room=7").into_client_request().unwrap();
    request
        .headers_mut()
        .insert("x-api-key", key.text().parse().unwrap());
    let stream = tokio::net::TcpStream::connect(proxy).await.unwrap();
    let (socket, response) = client_async::<Request<()>, _>(request, stream).await.unwrap();
    assert_eq!(response.status(), 101);
    assert!(response.headers().contains_key("x-request-id"));
    assert!(response.headers().contains_key("x-ratelimit-remaining"));
    socket
}

pub(crate) async fn says(socket: &mut Socket, message: Message) {
    socket.send(message.clone()).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), message);
}

pub(crate) fn configuration(upstream: SocketAddr, more: &str) -> String {
    format!(
        "[[routes]]\npath = \"/\"\nupstream = \"live\"\nrequire = \"account\"\n\
         [[routes]]\npath = \"/echo\"\nupstream = \"api\"\nrequire = \"account\"\n\
         [[upstreams]]\nname = \"live\"\nendpoints = [\"http://{upstream}\"]\n{more}"
    )
}

/// A gateway before this upstream, and two keys of one account.
pub(crate) fn world(more: &str) -> (World, Echo, [Key; 2]) {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let both = [(); 2].map(|()| keys.key(KeyKind::Account, &account, |_| {}));
    let mut world = World::start(&keys, "");
    let echo = Echo::default();
    let upstream = echo.start(&world.runtime);
    world.drain();
    world.open(&configuration(upstream, more));
    (world, echo, both)
}

#[test]
fn a_websocket_goes_both_ways_and_is_one_call() {
    let (mut world, echo, [key, _]) = world("");
    let proxy = world.proxy;
    world.runtime.block_on(async {
        let mut socket = connect(proxy, &key).await;
        says(&mut socket, Message::text("hello")).await;
        says(&mut socket, Message::binary(vec![7; 3 << 20])).await;
        socket.send(Message::Ping(vec![1].into())).await.unwrap();
        assert_eq!(
            socket.next().await.unwrap().unwrap(),
            Message::Pong(vec![1].into())
        );
        socket.close(None).await.unwrap();
        assert!(matches!(socket.next().await, Some(Ok(Message::Close(_)))));
        assert!(socket.next().await.is_none());
    });
    let heads = echo.heads.lock().unwrap();
    assert_eq!(heads.len(), 1);
    assert!(heads[0].contains_key("keyward-account") && !heads[0].contains_key("x-api-key"));
    drop(heads);
    eventually("it is over", || {
        metric(&world, "keyward_requests_in_flight ") == Some(0)
    });
    world.drain();
}

#[test]
fn what_came_with_the_switch_is_not_lost_and_an_end_is_handed_on() {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let mut world = World::start(&keys, "");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let answer =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat/1.0\r\n\r\nfirst ";
        stream.write_all(answer).unwrap();
        let mut heard = [0; 5];
        stream.read_exact(&mut heard).unwrap();
        stream.write_all(&heard).unwrap();
        String::from_utf8(head).unwrap()
    });
    world.drain();
    world.open(&configuration(upstream, ""));
    let mut stream = world.connect();
    let request = get(
        "/chat",
        &[
            ("x-api-key", key.text()),
            ("connection", "keep-alive, upgrade"),
            ("upgrade", "chat/1.0"),
        ],
    );
    // What follows comes in the same packet, before anybody agreed to anything.
    stream.write_all(format!("{request}early").as_bytes()).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    let (head, rest) = said.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let lower = head.to_ascii_lowercase();
    assert!(
        lower.contains("\r\nupgrade: chat/1.0") && lower.contains("\r\nconnection: upgrade"),
        "{head}"
    );
    assert_eq!(rest, "first early");
    let head = server.join().unwrap().to_ascii_lowercase();
    assert!(
        head.contains("\r\nupgrade: chat/1.0\r\n") && head.contains("\r\nconnection: upgrade\r\n"),
        "{head}"
    );
    world.drain();
}

#[test]
fn whoever_does_not_ask_plainly_is_served_as_if_it_had_not_asked() {
    let (mut world, _, [key, _]) = world("");
    let mut stream = world.connect();
    for fields in [
        [("connection", "upgrade, http2-settings"), ("upgrade", "h2c")],
        [("connection", "close-not"), ("upgrade", "websocket")],
        [("connection", "upgrade"), ("upgrade", "websocket, h2c")],
        // The sample API knows no other protocol.
        [("connection", "upgrade"), ("upgrade", "websocket")],
    ] {
        let request = get("/echo", &[("x-api-key", key.text()), fields[0], fields[1]]);
        stream.write_all(request.as_bytes()).unwrap();
        let answer = read_answer(&mut stream);
        assert_eq!(answer.status, 200, "{fields:?}");
    }
    drop(stream);
    world.drain();
}

async fn closed(socket: &mut Socket) -> CloseFrame {
    loop {
        match socket.next().await {
            Some(Ok(Message::Close(Some(frame)))) => return frame,
            Some(Ok(_)) => {}
            other => panic!("no close but {other:?}"),
        }
    }
}

#[test]
fn a_websocket_of_a_revoked_key_is_closed_with_1008_and_another_keys_goes_on() {
    let (mut world, _, [key, other]) = world("[drain]\nrevoked = \"1s\"\n");
    let proxy = world.proxy;
    let (mut socket, mut spared) = world.runtime.block_on(async {
        let (mut socket, mut spared) = (connect(proxy, &key).await, connect(proxy, &other).await);
        says(&mut socket, Message::text("a")).await;
        says(&mut spared, Message::text("b")).await;
        (socket, spared)
    });
    let revoked = Instant::now();
    put_key(&world, &key, |key| key.state = KeyState::Revoked);
    world.runtime.block_on(async {
        let frame = closed(&mut socket).await;
        assert_eq!(u16::from(frame.code), 1008, "{frame}");
        assert!(revoked.elapsed() < Duration::from_secs(1) + SLACK);
        says(&mut spared, Message::text("still here")).await;
    });
    eventually("it is counted", || {
        metric(&world, "keyward_calls_cut_total{reason=\"key\"}") == Some(1)
    });
    drop((socket, spared));
    world.drain();
}

#[test]
fn a_gateway_that_stops_says_so_to_its_websockets() {
    let (mut world, _, [key, _]) = world("");
    let proxy = world.proxy;
    let mut socket = world.runtime.block_on(connect(proxy, &key));
    let began = Instant::now();
    let closing = world.runtime.spawn(async move { closed(&mut socket).await });
    world.drain();
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "it waited for its limit"
    );
    let frame = world.runtime.block_on(closing).unwrap();
    assert_eq!(u16::from(frame.code), 1001, "{frame}");
}

#[test]
fn a_silent_one_ends_and_one_that_says_something_does_not() {
    let (mut world, _, [key, other]) = world("[timeouts]\nupgraded_idle = \"1s\"\n");
    let proxy = world.proxy;
    world.runtime.block_on(async {
        let (mut silent, mut busy) = (connect(proxy, &key).await, connect(proxy, &other).await);
        let began = Instant::now();
        let ended = tokio::spawn(async move {
            while let Some(Ok(_)) = silent.next().await {}
            began.elapsed()
        });
        while began.elapsed() < Duration::from_millis(2_500) {
            says(&mut busy, Message::text("here")).await;
            tokio::task::yield_now().await;
        }
        let ended = ended.await.unwrap();
        assert!(
            (Duration::from_millis(900)..Duration::from_secs(1) + SLACK).contains(&ended),
            "{ended:?}"
        );
    });
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream
        .write_all(get("/echo", &[("x-api-key", key.text())]).as_bytes())
        .unwrap();
    assert_eq!(read_answer(&mut stream).status, 200);
    drop(stream);
    world.drain();
}
