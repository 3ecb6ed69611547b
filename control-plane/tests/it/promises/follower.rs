//! A gateway that follows: it holds what the stream told it, and acknowledges each revision once it does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use keyward_contract::Record;
use keyward_contract::feed::sync_client::SyncClient;
use keyward_contract::feed::{
    self, GatewayFrame, Hello, PROTOCOL, control_frame::Frame, gateway_frame as up, record::Record as Body,
};
use keyward_control_plane::store::records;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint;

use crate::plane::Plane;

/// Every account and key that it decides by, under its id.
pub(super) type Holding = BTreeMap<Vec<u8>, Vec<u8>>;

/// A gateway without an upstream.
pub(super) struct Follower {
    holding: Arc<Mutex<Holding>>,
}

impl Follower {
    /// Connects one, and waits until it holds everything.
    pub(super) async fn join(plane: &Plane) -> Self {
        let token = std::fs::read_to_string(plane.folder.path().join("gateway.token")).unwrap();
        let (up, frames) = mpsc::channel(16);
        let hello = Hello {
            gateway_id: "follower".into(),
            protocol: PROTOCOL,
            boot_epoch: 1,
            address: "192.0.2.1:8080".into(),
            version: "1.2.3".into(),
            ..Hello::default()
        };
        say(&up, up::Frame::Hello(hello)).await;
        let mut request = tonic::Request::new(ReceiverStream::new(frames));
        let value = format!("Bearer {}", token.trim()).parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        let address = format!("http://{}", plane.running.sync);
        let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
        let down = SyncClient::new(channel)
            .follow(request)
            .await
            .unwrap()
            .into_inner();
        let holding = Arc::default();
        tokio::spawn(follow(up, down, Arc::clone(&holding)));
        let follower = Self { holding };
        plane
            .eventually(async || follower.holding() == stored(plane).await)
            .await;
        follower
    }

    /// What it holds now.
    pub(super) fn holding(&self) -> Holding {
        self.holding.lock().unwrap().clone()
    }
}

/// What a gateway that starts now would be told.
pub(super) async fn stored(plane: &Plane) -> Holding {
    let mut tx = plane.running.registry().store.begin_reading().await.unwrap();
    let now = plane.running.registry().clock.now();
    let accounts = records::account_records(&mut tx, None, 10_000, now)
        .await
        .unwrap();
    let keys = records::key_records(&mut tx, 0, 10_000).await.unwrap();
    let accounts = accounts.into_iter().map(Record::Account);
    let keys = keys.into_iter().map(|(_, key)| Record::Key(key));
    accounts
        .chain(keys)
        .map(|record| held(feed::Record::from(&record)))
        .collect()
}

async fn follow(
    up: mpsc::Sender<GatewayFrame>,
    mut down: Streaming<feed::ControlFrame>,
    holding: Arc<Mutex<Holding>>,
) {
    let take = |records: Vec<feed::Record>| {
        holding.lock().unwrap().extend(records.into_iter().map(held));
    };
    while let Ok(Some(frame)) = down.message().await {
        let revision = match frame.frame {
            Some(Frame::Change(change)) => {
                take(change.records);
                change.revision
            }
            Some(Frame::SnapshotChunk(chunk)) => {
                take(chunk.records);
                continue;
            }
            Some(Frame::SnapshotEnd(end)) => end.revision,
            _ => continue,
        };
        say(&up, up::Frame::Acknowledge(feed::Acknowledge { revision })).await;
    }
}

async fn say(up: &mpsc::Sender<GatewayFrame>, frame: up::Frame) {
    // The other end may be gone by now.
    let _ = up.send(GatewayFrame { frame: Some(frame) }).await;
}

fn held(record: feed::Record) -> (Vec<u8>, Vec<u8>) {
    let id = match &record.record {
        Some(Body::Account(account)) => account.account_id.clone(),
        Some(Body::Key(key)) => key.key_id.clone(),
        None => panic!("an empty record"),
    };
    (id, record.encode_to_vec())
}
