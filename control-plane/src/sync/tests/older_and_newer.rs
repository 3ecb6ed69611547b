//! A gateway that is older or newer than the control plane.

use prost::Message;

use super::*;

/// The messages as they were in the first version, before anything was added.
mod first {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Hello {
        #[prost(string, tag = "1")]
        pub(super) gateway_id: String,
        #[prost(string, tag = "2")]
        pub(super) version: String,
        #[prost(uint32, tag = "3")]
        pub(super) protocol: u32,
        #[prost(uint64, tag = "4")]
        pub(super) revision: u64,
        #[prost(string, tag = "5")]
        pub(super) feed_epoch: String,
        #[prost(uint64, tag = "6")]
        pub(super) boot_epoch: u64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Welcome {
        #[prost(uint32, tag = "1")]
        pub(super) protocol: u32,
        #[prost(string, tag = "2")]
        pub(super) feed_epoch: String,
        #[prost(uint64, tag = "3")]
        pub(super) revision: u64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct SnapshotBegin {
        #[prost(uint64, tag = "1")]
        pub(super) revision: u64,
        #[prost(uint64, tag = "2")]
        pub(super) records: u64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct SnapshotEnd {
        #[prost(uint64, tag = "1")]
        pub(super) revision: u64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Change {
        #[prost(uint64, tag = "1")]
        pub(super) revision: u64,
        #[prost(int64, tag = "2")]
        pub(super) committed_at_ms: i64,
        #[prost(message, repeated, tag = "3")]
        pub(super) records: Vec<keyward_contract::feed::Record>,
    }
}

/// What the other side reads of what this one wrote.
fn read<There: Message + Default>(written: &impl Message) -> There {
    There::decode(written.encode_to_vec().as_slice()).unwrap()
}

#[tokio::test]
async fn a_gateway_of_the_first_version_takes_its_snapshot_and_resumes() {
    let plane = Plane::start().await;
    let (_, keys) = plane.add_account(3).await;
    let hello = |id: &str, revision| first::Hello {
        gateway_id: id.into(),
        version: "0.0.1".into(),
        protocol: 1,
        revision,
        feed_epoch: plane.epoch.clone(),
        boot_epoch: 7,
    };
    let mut fresh = plane.join(read(&hello("old", 0))).await.unwrap();
    let welcome: first::Welcome = read(&fresh.welcome);
    assert_eq!((welcome.protocol, welcome.feed_epoch), (1, plane.epoch.clone()));
    let Frame::SnapshotBegin(begin) = fresh.next().await.unwrap() else {
        panic!("no snapshot");
    };
    let begin: first::SnapshotBegin = read(&begin);
    let mut records = 0;
    let end: first::SnapshotEnd = loop {
        match fresh.next().await.unwrap() {
            Frame::SnapshotChunk(chunk) => records += chunk.records.len(),
            Frame::SnapshotEnd(end) => break read(&end),
            other => panic!("in a snapshot: {other:?}"),
        }
    };
    assert_eq!((begin.revision, begin.records), (end.revision, records as u64));
    assert_eq!(records, keys.len() + 1);

    let (account, _) = plane.add_account(1).await;
    let change: first::Change = read(&fresh.next_change().await);
    assert_eq!((change.revision, change.records.len()), (2, 2));
    assert_eq!(change.records[0], wire::Record::from(&Record::Account(account)));
    // It says no history: its word for its revision is taken as it always was.
    let mut resuming = plane.join(read(&hello("resuming", 1))).await.unwrap();
    assert_eq!(resuming.next_change().await.revision, 2);
}

#[tokio::test]
async fn the_highest_protocol_that_both_speak_is_spoken() {
    let plane = Plane::start().await;
    for (oldest_protocol, protocol, spoken) in [
        (0, PROTOCOL, Some(PROTOCOL)),
        (PROTOCOL, PROTOCOL + 3, Some(PROTOCOL)),
        (0, PROTOCOL + 1, None),
        (PROTOCOL + 1, PROTOCOL + 2, None),
        (0, 0, None),
    ] {
        let hello = Hello {
            oldest_protocol,
            protocol,
            ..plane.hello(&format!("gateway-{oldest_protocol}-{protocol}"), 0)
        };
        match (plane.join(hello).await, spoken) {
            (Ok(gateway), Some(spoken)) => assert_eq!(gateway.welcome.protocol, spoken),
            (Err(status), None) => {
                assert_eq!(status.code(), Code::FailedPrecondition);
                let side = if protocol > PROTOCOL {
                    "control plane"
                } else {
                    "gateway"
                };
                let advice = format!("upgrade the {side}");
                assert!(status.message().ends_with(&advice), "{}", status.message());
            }
            (joined, _) => panic!("{oldest_protocol} to {protocol}: {:?}", joined.err()),
        }
    }
}

#[tokio::test]
async fn a_frame_of_a_kind_that_only_a_newer_gateway_knows_is_ignored() {
    let plane = Plane::start().await;
    let mut newer = plane.join(plane.hello("newer", 0)).await.unwrap();
    newer.snapshot().await;
    // Field 99 of GatewayFrame, a message of three bytes.
    let unknown = GatewayFrame::decode(&[0x9a, 0x06, 0x03, 0x0a, 0x01, 0x61][..]).unwrap();
    assert_eq!(unknown, GatewayFrame { frame: None });
    newer.up.send(unknown).await.unwrap();
    let revision = plane.commit().await;
    assert_eq!(newer.next_change().await.revision, revision);
    newer.acknowledge(revision).await;
    assert_eq!(
        plane.gateways.acknowledged(revision).await.to_string(),
        "complete; gateways=1"
    );
}
