//! Calls in flight end with the rights that they were let in by: one system of real processes, real changes.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use keyward_contract::UnixMillis;
use keyward_harness::metric;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::api::{Account, text};
use crate::stack::{Plan, SOON, Stack};

const REVOKED: Duration = Duration::from_secs(2);
const ROUTES: &str = "[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"\n";

/// An API that answers every call with events for ever, and reads uploads for ever.
async fn endless() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    if head.starts_with(b"POST") {
        loop {
            stream.read_u8().await?;
        }
    }
    stream
        .write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
        )
        .await?;
    loop {
        stream.write_all(b"f\r\ndata: an event\n\r\n").await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A call in flight, which can't come to an end by itself.
struct Call(TcpStream);

impl Call {
    async fn events(stack: &Stack, key: &str) -> Self {
        let mut call = Self(TcpStream::connect(stack.gateway()).await.unwrap());
        let head = format!("GET /events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\n\r\n");
        call.0.write_all(head.as_bytes()).await.unwrap();
        call.goes_on().await;
        call
    }

    /// Something comes, and nothing that came is an end.
    async fn goes_on(&mut self) {
        let mut piece = [0; 512];
        let read = tokio::time::timeout(SOON, self.0.read(&mut piece)).await.unwrap();
        let read = read.unwrap();
        assert!(read > 0, "the call has ended");
    }

    /// It breaks off; answers when.
    async fn broken(&mut self) -> Instant {
        let (mut piece, deadline) = ([0; 512], Instant::now() + SOON);
        loop {
            assert!(Instant::now() < deadline, "the call was not cut");
            match tokio::time::timeout(SOON, self.0.read(&mut piece)).await.unwrap() {
                Ok(0) => panic!("the call came to a clean end"),
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
                    return Instant::now();
                }
            }
        }
    }
}

async fn stack() -> Stack {
    let upstream = endless().await;
    let plan = Plan {
        routes: ROUTES,
        gateway_tables: "[drain]\nrevoked = \"2s\"\n",
        upstream: Some(upstream),
        ..Plan::default()
    };
    Stack::with(plan).await
}

fn key_path(account: &Account) -> String {
    format!("/admin/customers/{}/api-keys/{}", account.id, account.key_id)
}

async fn revoke(stack: &Stack, account: &Account) {
    let path = key_path(account);
    let revoke = stack.admin(Method::DELETE, &path, Value::Null);
    revoke.await.expect(200).in_force_at(1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_end_with_their_rights_and_others_go_on() {
    let stack = stack().await;
    let mut accounts = Vec::new();
    for _ in 0..4 {
        accounts.push(stack.account().await);
    }
    let [revoked, suspended, expiring, other] = accounts.as_slice() else {
        panic!("four accounts")
    };
    let mut of_revoked = Call::events(&stack, &revoked.key).await;
    let mut of_suspended = Call::events(&stack, &suspended.key).await;
    let mut of_expiring = Call::events(&stack, &expiring.key).await;
    let mut of_other = Call::events(&stack, &other.key).await;

    let began = Instant::now();
    revoke(&stack, revoked).await;
    let path = format!("/admin/customers/{}", suspended.id);
    let suspend = stack.admin(Method::PATCH, &path, json!({"status": "suspended"}));
    suspend.await.expect(200).in_force_at(1);
    let end = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + Duration::from_secs(1);
    let end = UnixMillis(end.as_millis().try_into().unwrap()).to_rfc3339_millis();
    let path = key_path(expiring);
    let expire = stack.admin(Method::PATCH, &path, json!({"expires_at": end}));
    expire.await.expect(200).in_force_at(1);
    let changed = Instant::now();

    let slack = Duration::from_secs(3);
    for call in [&mut of_revoked, &mut of_suspended] {
        let ended = call.broken().await;
        assert!(ended - began > REVOKED / 2, "hardly any time was given");
        assert!(ended < changed + REVOKED + slack, "{:?}", ended - changed);
    }
    let ended = of_expiring.broken().await;
    assert!(ended < changed + Duration::from_secs(1) + REVOKED + slack);
    of_other.goes_on().await;
    let metrics = stack.gateways[0].metrics().await.unwrap();
    for (reason, calls) in [("key", 2.0), ("account", 1.0)] {
        let reason = format!("reason=\"{reason}\"");
        assert_eq!(
            metric(&metrics, "keyward_calls_cut_total", &[&reason]),
            Some(calls),
            "{reason}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_ends_with_its_key_and_one_that_was_enabled_again_goes_on() {
    let stack = stack().await;
    let (revoked, spared) = (stack.account().await, stack.account().await);
    let mut of_spared = Call::events(&stack, &spared.key).await;
    let mut upload = TcpStream::connect(stack.gateway()).await.unwrap();
    let head = format!(
        "POST /upload HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nContent-Length: 1000000\r\n\r\nsome",
        revoked.key
    );
    upload.write_all(head.as_bytes()).await.unwrap();
    let set = |status: &str| json!({ "status": status });
    let path = key_path(&spared);
    stack
        .admin(Method::PATCH, &path, set("disabled"))
        .await
        .expect(200)
        .in_force_at(1);
    let disabled = Instant::now();
    revoke(&stack, &revoked).await;
    of_spared.goes_on().await;
    stack
        .admin(Method::PATCH, &path, set("active"))
        .await
        .expect(200)
        .in_force_at(1);

    let mut answer = String::new();
    let read = tokio::time::timeout(SOON, upload.read_to_string(&mut answer))
        .await
        .unwrap();
    assert!(read.is_ok() || !answer.is_empty(), "{read:?}");
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert!(answer.contains("EXPIRED_API_KEY"), "{answer}");
    while disabled.elapsed() < 2 * REVOKED {
        of_spared.goes_on().await;
    }
    let shown = stack
        .admin(
            Method::GET,
            &format!("/admin/customers/{}", spared.id),
            Value::Null,
        )
        .await;
    assert_eq!(text(&shown.expect(200).json()["status"]), "active");
}
