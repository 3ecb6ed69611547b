//! Frames that no gateway would send, over real streams to a real control plane on SQLite.

use std::sync::atomic::Ordering;
use std::time::Duration;

use keyward_contract::DigestKey;
use keyward_contract::feed::sync_client::SyncClient;
use keyward_contract::feed::{
    Acknowledge, ControlFrame, GatewayFrame, GatewayHeartbeat, Goodbye, Hello, PROTOCOL, Refusal,
    SnapshotHeld, UsageCounter, UsageReport, control_frame, gateway_frame::Frame,
};
use keyward_control_plane::clock::Clock;
use keyward_control_plane::store::Store;
use keyward_control_plane::sync::{Gateways, SharedToken, SyncSecrets, serve};
use prost::Message;
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};

use super::{At, PANICS, folder, watch_panics};
use crate::chance::Chance;
use crate::simulation::number;
use crate::wire::mutate;

/// Mutated frames in the normal suite.
const FRAMES: u64 = 10_000;
const TOKEN: &str = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlYzE=";

#[tokio::test]
async fn no_frame_of_a_gateway_can_panic_a_control_plane() {
    watch_panics();
    let many = number("KEYWARD_MUTATIONS").unwrap_or(FRAMES);
    let mut seed = number("KEYWARD_MUTATION_SEED").unwrap_or(1);
    let (folder, shutdown) = (folder(), CancellationToken::new());
    let store = Store::open(&format!("sqlite://{}/cp.db", folder.path().display()))
        .await
        .unwrap();
    let token_file = folder.path().join("gateway.token");
    std::fs::write(&token_file, TOKEN).unwrap();
    let secrets = SyncSecrets {
        token: SharedToken::in_file(token_file).unwrap(),
        digest_key: DigestKey::from_bytes([9; 32]),
        tls: None,
        clock: Clock::system(),
    };
    let any_port = "127.0.0.1:0".parse().unwrap();
    let gateways = Gateways::new(Duration::from_millis(50));
    let (address, ended) = serve(store, gateways.clone(), secrets, any_port, shutdown.clone())
        .await
        .unwrap();
    let channel = Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap();

    let (mut tried, mut welcomed) = (0, 0);
    while tried < many {
        let _at = At("frames of a gateway", seed);
        let (frames, count) = frames(&mut Chance::new(seed));
        tried += count;
        welcomed += u64::from(play(&channel, frames).await);
        seed += 1;
    }
    println!("{tried} mutated frames, {welcomed} streams welcomed");
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
    assert!(welcomed > 0);

    // It still takes in who is as it should be, and knows it.
    let hello = GatewayFrame {
        frame: Some(Frame::Hello(hello("the-last"))),
    };
    let mut down = follow(
        &channel,
        tokio_stream::iter([hello]).chain(tokio_stream::pending()),
    )
    .await
    .unwrap();
    let first = down.message().await.unwrap().unwrap().frame;
    assert!(
        matches!(first, Some(control_frame::Frame::Welcome(_))),
        "{first:?}"
    );
    assert!(
        gateways
            .status()
            .iter()
            .any(|gateway| gateway.gateway_id == "the-last")
    );
    shutdown.cancel();
    ended.await.unwrap();
}

/// Sends them all and hears what comes; whether a Welcome did.
async fn play(channel: &Channel, frames: Vec<GatewayFrame>) -> bool {
    let Ok(mut down) = follow(channel, tokio_stream::iter(frames)).await else {
        return false;
    };
    let mut is_welcome = false;
    while let Ok(Some(frame)) = down.message().await {
        is_welcome |= matches!(frame.frame, Some(control_frame::Frame::Welcome(_)));
    }
    is_welcome
}

async fn follow(
    channel: &Channel,
    frames: impl tokio_stream::Stream<Item = GatewayFrame> + Send + 'static,
) -> Result<Streaming<ControlFrame>, tonic::Status> {
    let mut request = Request::new(frames);
    let token = format!("Bearer {TOKEN}").parse().unwrap();
    request.metadata_mut().insert("authorization", token);
    let answer = SyncClient::new(channel.clone()).follow(request).await?;
    Ok(answer.into_inner())
}

fn hello(id: &str) -> Hello {
    Hello {
        gateway_id: id.into(),
        version: "1.2.3".into(),
        protocol: PROTOCOL,
        boot_epoch: 7,
        address: "192.0.2.1:8080".into(),
        max_staleness_ms: 3_000,
        denies_when_stale: true,
        oldest_boot_epoch: 6,
        history: vec![1; 32],
        ..Hello::default()
    }
}

/// A gateway's stream with some frames mutated, and how many were.
fn frames(chance: &mut Chance) -> (Vec<GatewayFrame>, u64) {
    let mut frames = vec![Frame::Hello(hello(&format!("edge-{}", chance.below(5_000))))];
    for sequence in 1..=chance.between(5, 30) {
        frames.push(frame(sequence, chance));
    }
    let mut count = 0;
    let mutated = frames.into_iter().enumerate().filter_map(|(number, frame)| {
        let frame = GatewayFrame { frame: Some(frame) };
        // A Hello that is refused says little of the rest.
        if chance.once_in(if number == 0 { 2 } else { 3 }) {
            return Some(frame);
        }
        count += 1;
        GatewayFrame::decode(mutate(&frame.encode_to_vec(), chance).as_slice()).ok()
    });
    (mutated.collect(), count)
}

fn frame(sequence: u64, chance: &mut Chance) -> Frame {
    match chance.below(12) {
        0 | 1 => Frame::Acknowledge(Acknowledge { revision: 0 }),
        2..=4 => Frame::Heartbeat(GatewayHeartbeat {
            revision: 0,
            sent_at_ms: 1,
            steady_ms: sequence * 1_000,
            oldest_boot_epoch: 6,
        }),
        5 => Frame::Refusal(Refusal {
            revision: 3,
            record: "key 0190".into(),
            reason: "no".into(),
        }),
        6 => Frame::SnapshotHeld(SnapshotHeld {
            revision: 3,
            held: 200,
            dropped: 150,
        }),
        7 if chance.once_in(4) => Frame::Goodbye(Goodbye {}),
        _ => Frame::Usage(UsageReport {
            sequence,
            counters: (0..chance.between(1, 3)).map(|_| counter(chance)).collect(),
        }),
    }
}

fn counter(chance: &mut Chance) -> UsageCounter {
    UsageCounter {
        account_id: vec![chance.below(3) as u8; 16],
        environment: 2,
        customer_id: "clx8f2k9h0001qr5tgvwxyz12".into(),
        account_key_id: vec![1; 16],
        customer_key_id: vec![2; 16],
        route: "/v1".into(),
        hour: 490_000,
        accepted: 5,
        rate_limited: 1,
        quota_refused: 1,
        auth_refused: 1,
        answers: vec![0, 5, 0, 0, 0],
        bytes_in: 10,
        bytes_out: 20,
        latency_us: 30,
        last_accepted_at_ms: 1_764_000_000_000,
        last_refused_at_ms: 1_764_000_000_000,
        bucket_millitokens: 5_000,
        bucket_at_ms: 1_764_000_000_000,
        boot_epoch: 7,
        would_limit: 0,
    }
}
