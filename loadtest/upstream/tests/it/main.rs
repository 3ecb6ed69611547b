//! The sample upstream over a real socket.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;

use keyward_upstream::{Running, Upstream};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

async fn started() -> (Running, String) {
    let running = Upstream::start(ANY).await.unwrap();
    let base = format!("http://{}", running.address());
    (running, base)
}

async fn get(url: String) -> reqwest::Response {
    reqwest::get(url).await.unwrap()
}

#[tokio::test]
async fn an_echo_shows_all_that_was_received() {
    let (upstream, _) = started().await;
    let mut stream = tokio::net::TcpStream::connect(upstream.address()).await.unwrap();
    let request = "POST /a/b?c=d HTTP/1.1\r\nHost: h\r\nX-Two: 1\r\nX-One: x\r\nX-Two: 2\r\n\
                   Connection: close\r\nContent-Length: 3\r\n\r\nabc";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(
        serde_json::from_str::<Value>(body).unwrap(),
        json!({
            "method": "POST", "target": "/a/b?c=d", "path": "/a/b", "query": "c=d", "version": "HTTP/1.1",
            "headers": {
                "host": ["h"], "x-two": ["1", "2"], "x-one": ["x"], "connection": ["close"],
                "content-length": ["3"],
            },
            "body_length": 3, "body": "abc", "trailers": {},
        })
    );
}

#[tokio::test]
async fn a_long_body_is_counted_and_not_kept() {
    let (_upstream, base) = started().await;
    let sent = reqwest::Client::new().post(&base).body(vec![b'a'; 3_000_000]);
    let echo: Value = sent.send().await.unwrap().json().await.unwrap();
    assert_eq!(echo["body_length"], 3_000_000);
    assert_eq!(echo["body"], Value::Null);
}

#[tokio::test]
async fn a_status_is_answered_as_asked() {
    let (_upstream, base) = started().await;
    for code in [200, 204, 304, 404, 503, 599] {
        let answer = get(format!("{base}/status/{code}")).await;
        assert_eq!(answer.status().as_u16(), code);
    }
    for nonsense in ["100", "600", "99999999999999999999", "x"] {
        let answer = get(format!("{base}/status/{nonsense}")).await;
        assert_eq!(answer.status().as_u16(), 400, "{nonsense}");
    }
}

#[tokio::test]
async fn bytes_come_with_their_length_and_chunks_without() {
    let (_upstream, base) = started().await;
    for length in [0, 1, 100_000] {
        let answer = get(format!("{base}/bytes/{length}")).await;
        assert_eq!(answer.headers()["content-length"], length.to_string().as_str());
        assert_eq!(answer.bytes().await.unwrap().len(), length);
    }
    for (chunks, text) in [(0, ""), (2, "chunk 0\nchunk 1\n")] {
        let answer = get(format!("{base}/stream/{chunks}")).await;
        assert_eq!(answer.headers()["transfer-encoding"], "chunked");
        assert_eq!(answer.text().await.unwrap(), text);
    }
}

#[tokio::test]
async fn the_count_is_of_calls_other_than_its_own() {
    let (_upstream, base) = started().await;
    for path in ["/plain", "/a", "/count"] {
        get(format!("{base}{path}")).await;
    }
    let counted: Value = get(format!("{base}/count")).await.json().await.unwrap();
    assert_eq!(counted, json!({ "count": 2 }));
}

#[tokio::test]
async fn the_plain_answer_is_thirteen_bytes() {
    let (_upstream, base) = started().await;
    assert_eq!(
        get(format!("{base}/plain")).await.text().await.unwrap(),
        "Hello, world!"
    );
}

#[tokio::test]
async fn a_stop_lets_the_call_in_flight_end_and_closes_the_port() {
    let (upstream, base) = started().await;
    let address = upstream.address();
    let slow = tokio::spawn(get(format!("{base}/delay/300")));
    // The call is in flight once it was counted.
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(5);
    loop {
        let counted: Value = get(format!("{base}/count")).await.json().await.unwrap();
        if counted["count"] == 1 {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline);
    }
    upstream.shutdown().await;
    assert_eq!(slow.await.unwrap().status(), 200);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn several_threads_share_one_port() {
    let threads = std::num::NonZeroUsize::new(3).unwrap();
    let upstream = Upstream::start_on_threads(ANY, threads).unwrap();
    for _ in 0..8 {
        let answer = get(format!("http://{}/plain", upstream.address())).await;
        assert_eq!(answer.status(), 200);
    }
    upstream.shutdown().await;
}
