//! Who may open a stream, and how streams end.

use super::*;

#[tokio::test]
async fn a_wrong_or_missing_token_opens_no_stream() {
    let plane = Plane::start().await;
    for token in ["", "wrong", &TOKEN[1..]] {
        let refused = Gateway::open(plane.channel().await, plane.hello("a", 0), token).await;
        assert_eq!(
            refused.err().map(|status| status.code()),
            Some(Code::Unauthenticated),
            "{token}"
        );
    }
    assert_eq!(plane.gateways.status(), []);
}

#[tokio::test]
async fn the_digest_key_goes_only_to_who_asks() {
    let plane = Plane::start().await;
    let asking = Hello {
        wants_digest_key: true,
        ..plane.hello("a", 0)
    };
    assert_eq!(plane.join(asking).await.unwrap().welcome.digest_key, [9; 32]);
    assert!(
        plane
            .join(plane.hello("b", 0))
            .await
            .unwrap()
            .welcome
            .digest_key
            .is_empty()
    );
}

#[tokio::test]
async fn what_is_no_hello_or_no_frame_is_an_invalid_argument() {
    let plane = Plane::start().await;
    let heartbeat = GatewayFrame {
        frame: Some(up::Frame::Heartbeat(wire::GatewayHeartbeat::default())),
    };
    for first in [heartbeat, GatewayFrame { frame: None }] {
        let refused = Gateway::raw(plane.channel().await, Some(first), TOKEN).await;
        assert_eq!(
            refused.err().map(|status| status.code()),
            Some(Code::InvalidArgument)
        );
    }
    let newer = Hello {
        protocol: PROTOCOL + 1,
        ..plane.hello("a", 0)
    };
    assert_eq!(
        plane.join(newer).await.err().map(|s| s.code()),
        Some(Code::FailedPrecondition)
    );

    let second_hello = plane.join(plane.hello("a", 0)).await.unwrap();
    second_hello.say(up::Frame::Hello(plane.hello("a", 0))).await;
    assert_eq!(second_hello.end().await.code(), Code::InvalidArgument);
    let future = plane.join(plane.hello("b", 0)).await.unwrap();
    future.acknowledge(77).await;
    assert_eq!(future.end().await.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_frame_beyond_the_bound_ends_its_stream_alone() {
    let plane = Plane::start().await;
    let (big, mut other) = (
        plane.join(plane.hello("big", 0)).await.unwrap(),
        plane.join(plane.hello("other", 0)).await.unwrap(),
    );
    let refusal = wire::Refusal {
        reason: "x".repeat(door::LARGEST_FRAME + 1),
        ..wire::Refusal::default()
    };
    big.say(up::Frame::Refusal(refusal)).await;
    assert_eq!(big.end().await.code(), Code::OutOfRange);
    other.snapshot().await;
}

#[tokio::test]
async fn a_second_live_process_with_one_id_is_refused_and_a_restarted_one_gets_in_at_once() {
    let plane = Plane::start().await;
    let first = plane.join(plane.hello("a", 0)).await.unwrap();
    let restarted = Hello {
        boot_epoch: 8,
        ..plane.hello("a", 0)
    };
    let refused = plane
        .join(restarted.clone())
        .await
        .err()
        .map(|status| status.code());
    assert_eq!(refused, Some(Code::AlreadyExists));
    drop(first);
    eventually("the restarted one gets in", async || {
        plane.join(restarted.clone()).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_goodbye_ends_what_waits_for_this_gateway() {
    let plane = Plane::start().await;
    let gateway = plane.join(plane.hello("a", 0)).await.unwrap();
    let revision = plane.commit().await;
    gateway.say(up::Frame::Goodbye(wire::Goodbye {})).await;
    assert_eq!(
        plane.gateways.acknowledged(revision).await.to_string(),
        "complete; gateways=0"
    );
    assert_eq!(plane.gateways.status()[0].state, "stopped");
    assert_eq!(gateway.end().await.code(), Code::Ok);
}

#[tokio::test]
async fn a_heartbeat_is_answered_with_its_echo_and_the_head() {
    let plane = Plane::start().await;
    plane.commit().await;
    let mut gateway = plane.join(plane.hello("a", 1)).await.unwrap();
    let heartbeat = wire::GatewayHeartbeat {
        steady_ms: 4_711,
        ..wire::GatewayHeartbeat::default()
    };
    gateway.say(up::Frame::Heartbeat(heartbeat)).await;
    loop {
        let frame = gateway.down.message().await.unwrap().unwrap();
        if let Some(Frame::Heartbeat(heartbeat)) = frame.frame
            && heartbeat.echo_ms == 4_711
        {
            assert_eq!((heartbeat.revision, heartbeat.live_gateways), (1, 1));
            break;
        }
    }
}

#[tokio::test]
async fn a_heartbeat_says_the_head_before_its_changes_are_sent() {
    let plane = Plane::start().await;
    plane.commit().await;
    let mut gateway = plane.join(plane.hello("a", 1)).await.unwrap();
    // Committed, as far as this control plane knows, and not read yet.
    plane.gateways.announce(9);
    let heartbeat = wire::GatewayHeartbeat {
        steady_ms: 4_712,
        ..wire::GatewayHeartbeat::default()
    };
    gateway.say(up::Frame::Heartbeat(heartbeat)).await;
    let told = loop {
        let frame = gateway.down.message().await.unwrap().unwrap();
        if let Some(Frame::Heartbeat(heartbeat)) = frame.frame
            && heartbeat.echo_ms == 4_712
        {
            break heartbeat.revision;
        }
    };
    assert_eq!(told, 9);
}

#[tokio::test]
async fn stopping_ends_every_stream_and_the_listener() {
    let mut plane = Plane::start().await;
    let gateway = plane.join(plane.hello("a", 0)).await.unwrap();
    plane.shutdown.cancel();
    assert_eq!(gateway.end().await.code(), Code::Unavailable);
    let stopped = tokio::time::timeout(Duration::from_secs(10), &mut plane.handle).await;
    stopped.expect("the service never stopped").unwrap();
}
