use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::*;
use crate::telemetry::{Decision, Finished, TelemetryShape, TierSlot};

struct Running {
    address: SocketAddr,
    ready: Arc<AtomicBool>,
    telemetry: Arc<Telemetry>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

async fn start() -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let ready = Arc::new(AtomicBool::new(true));
    let telemetry = Telemetry::new(TelemetryShape {
        routes: vec!["/v1".to_owned()],
        upstreams: vec!["api".to_owned()],
        decisions: &["accepted"],
        version: "1.2.3",
    });
    let seen = Arc::clone(&ready);
    let state = AdminState {
        telemetry: Arc::clone(&telemetry),
        readiness: Arc::new(move || {
            let ready = seen.load(Ordering::Relaxed);
            Readiness {
                ready,
                detail: json!({ "sync": if ready { "current" } else { "empty" } }),
            }
        }),
        state: Arc::new(|| json!({ "revision": 7 })),
        explain: Arc::new(|id| (id == "r-1").then(|| json!({ "requestId": id }))),
        jwks: Arc::new(|| "{\"keys\":[]}\n".into()),
    };
    let stop = CancellationToken::new();
    let task = tokio::spawn(serve(listener, state, stop.clone()));
    Running {
        address,
        ready,
        telemetry,
        stop,
        task,
    }
}

/// One request on a connection of its own; the answer's head and body.
async fn ask(address: SocketAddr, method: &str, target: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {target} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[track_caller]
fn assert_status(head: &str, status: u16) {
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
}

#[tokio::test]
async fn every_page_answers() {
    let running = start().await;
    let (head, body) = ask(running.address, "GET", "/livez").await;
    assert_status(&head, 200);
    assert_eq!(body, "ok\n");
    let (head, body) = ask(running.address, "GET", "/debug/state?pretty").await;
    assert_status(&head, 200);
    assert!(
        head.contains("content-type: application/json\r\n") && head.contains("cache-control: no-store"),
        "{head}"
    );
    assert_eq!(
        serde_json::from_str::<Value>(&body).unwrap(),
        json!({ "revision": 7 })
    );
    let (head, body) = ask(running.address, "GET", "/metrics").await;
    assert_status(&head, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(
        body.contains("keyward_build_info{version=\"1.2.3\"} 1\n"),
        "{body}"
    );
}

#[tokio::test]
async fn not_ready_is_503_with_the_reason() {
    let running = start().await;
    let (head, body) = ask(running.address, "GET", "/readyz").await;
    assert_status(&head, 200);
    assert_eq!(
        serde_json::from_str::<Value>(&body).unwrap(),
        json!({ "ready": true, "detail": { "sync": "current" } })
    );
    running.ready.store(false, Ordering::Relaxed);
    let (head, body) = ask(running.address, "GET", "/readyz").await;
    assert_status(&head, 503);
    assert_eq!(
        serde_json::from_str::<Value>(&body).unwrap(),
        json!({ "ready": false, "detail": { "sync": "empty" } })
    );
    assert_status(&ask(running.address, "GET", "/livez").await.0, 200);
}

#[tokio::test]
async fn other_paths_are_404_and_other_methods_405() {
    let running = start().await;
    for target in ["/", "/metrics/", "/livez/x", "/admin"] {
        assert_status(&ask(running.address, "GET", target).await.0, 404);
    }
    let (head, _) = ask(running.address, "POST", "/metrics").await;
    assert_status(&head, 405);
    assert!(head.contains("allow: GET, HEAD"), "{head}");
    assert_status(&ask(running.address, "DELETE", "/nowhere").await.0, 404);
}

#[tokio::test]
async fn head_has_the_head_of_get_and_no_body() {
    let running = start().await;
    let (of_get, body) = ask(running.address, "GET", "/readyz").await;
    let (of_head, nothing) = ask(running.address, "HEAD", "/readyz").await;
    let without_date = |head: &str| {
        let mut lines: Vec<String> = head
            .lines()
            .filter(|line| !line.starts_with("date"))
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(without_date(&of_get), without_date(&of_head));
    assert!(
        of_get.contains(&format!("content-length: {}", body.len())),
        "{of_get}"
    );
    assert_eq!(nothing, "");
}

#[tokio::test]
async fn the_metrics_page_does_not_grow_with_what_is_asked_for() {
    let running = start().await;
    let lines = async || ask(running.address, "GET", "/metrics").await.1.lines().count();
    let count = || {
        let worker = running.telemetry.worker();
        for status in 0..1_000 {
            worker.finished(&Finished {
                route: Some(status % 5),
                tier: TierSlot::NONE,
                status,
                decision: Decision::ACCEPTED,
                duration: Duration::ZERO,
                overhead: Duration::ZERO,
                upstream: None,
                upstream_time: Duration::ZERO,
                bytes_in: 0,
                bytes_out: 0,
            });
        }
    };
    count();
    let before = lines().await;
    count();
    for n in 0..50 {
        ask(running.address, "GET", &format!("/flood/{n}")).await;
        ask(running.address, &format!("METHOD{n}"), "/metrics").await;
    }
    assert_eq!(lines().await, before);
}

#[tokio::test]
async fn a_stop_closes_idle_connections_and_ends() {
    let running = start().await;
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: admin\r\n\r\n")
        .await
        .unwrap();
    let mut some = [0; 1024];
    assert!(idle.read(&mut some).await.unwrap() > 0);
    running.stop.cancel();
    timeout(Duration::from_secs(4), running.task)
        .await
        .unwrap()
        .unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_a_place() {
    let running = start().await;
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nhost: admin\r\n\r\n")
            .await
            .unwrap();
        let mut some = [0; 1024];
        assert!(stream.read(&mut some).await.unwrap() > 0);
        held.push(stream);
    }
    let waiting = tokio::spawn(ask(running.address, "GET", "/livez"));
    // Time enough for it to be answered, were there a place.
    for _ in 0..20 {
        let mut some = [0; 1024];
        held[0]
            .write_all(b"GET /livez HTTP/1.1\r\nhost: admin\r\n\r\n")
            .await
            .unwrap();
        assert!(held[0].read(&mut some).await.unwrap() > 0);
    }
    assert!(!waiting.is_finished());
    held.pop();
    let (head, _) = timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
    assert_status(&head, 200);
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed() {
    let running = start().await;
    for beginning in ["", "GET /livez HT"] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        // The paused clock jumps ahead to whatever is waited for.
        let closed = timeout(HEAD * 2, stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "{beginning:?} is still open");
    }
}
