//! The load generator against the sample upstream.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use keyward_loadtest::{Credentials, Load, Order, Requests, generator};
use keyward_upstream::{Running, Upstream};

async fn upstream() -> Running {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Upstream::start(any).await.unwrap()
}

fn load(target: SocketAddr, path: &str, requests: usize) -> Load {
    let unknown = (0..requests).map(|_| Credentials::unknown().unwrap());
    Load {
        target,
        requests: Arc::new(Requests::render(path, Order::EachOnce, unknown)),
        connections: NonZeroUsize::new(4).unwrap(),
        duration: Duration::from_secs(60),
        seed: 1,
    }
}

#[tokio::test]
async fn every_request_is_sent_once_and_its_answer_counted() {
    let upstream = upstream().await;
    for (path, status) in [("/plain", 200), ("/status/403", 403), ("/bytes/100000", 200)] {
        let outcome = generator::run(&load(upstream.address(), path, 100))
            .await
            .unwrap();
        outcome.all(status).unwrap();
        assert_eq!((outcome.answers(), outcome.latencies.len()), (100, 100));
    }
    let url = format!("http://{}/count", upstream.address());
    let counted: serde_json::Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    assert_eq!(counted["count"], 300);
}

#[tokio::test]
async fn answers_that_are_not_all_as_wanted_are_an_error() {
    let upstream = upstream().await;
    let outcome = generator::run(&load(upstream.address(), "/status/500", 10))
        .await
        .unwrap();
    let told = outcome.all(200).unwrap_err().to_string();
    assert!(told.contains("500: 10"), "{told}");
}

#[tokio::test]
async fn a_load_without_answers_ends_in_failures() {
    let upstream = upstream().await;
    // Chunked: this generator can't frame it.
    let outcome = generator::run(&load(upstream.address(), "/stream/3", 10))
        .await
        .unwrap();
    assert_eq!((outcome.answers(), outcome.failures), (0, 10));
}
