//! Messages of the sync stream and the records in them: what is taken can be sent again and is taken as the same.

use keyward_contract::Record;
use keyward_contract::feed::{self, ControlFrame, GatewayFrame, control_frame::Frame};
use prost::Message;

/// A message of either side, or a record alone.
pub fn check(bytes: &[u8]) {
    if let Ok(record) = feed::Record::decode(bytes) {
        one(record);
    }
    if let Some(frame) = again::<ControlFrame>(bytes) {
        let records = match frame.frame {
            Some(Frame::Change(change)) => change.records,
            Some(Frame::SnapshotChunk(chunk)) => chunk.records,
            _ => Vec::new(),
        };
        records.into_iter().for_each(one);
    }
    again::<GatewayFrame>(bytes);
}

/// What is decoded is encoded to what is decoded to the same.
fn again<M: Message + Default + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> Option<M> {
    let message = M::decode(bytes).ok()?;
    assert_eq!(
        M::decode(message.encode_to_vec().as_slice()).as_ref(),
        Ok(&message)
    );
    Some(message)
}

fn one(wire: feed::Record) {
    match Record::try_from(wire.clone()) {
        Ok(record) => {
            let sent = wire;
            let wire = feed::Record::from(&record);
            says_the_same(&sent, &wire);
            assert_eq!(Record::try_from(wire.clone()).as_ref(), Ok(&record));
            let bytes = wire.encode_to_vec();
            let decoded = feed::Record::decode(bytes.as_slice());
            assert_eq!(
                decoded.map(|decoded| Record::try_from(decoded) == Ok(record)),
                Ok(true)
            );
        }
        Err(invalid) => {
            assert!(!invalid.record.is_empty() && !invalid.reason.is_empty());
            assert!(invalid.to_string().len() < 1_000, "{invalid}");
        }
    }
}

/// What decides of a record is taken as it was sent; lists may come in another form.
fn says_the_same(sent: &feed::Record, taken: &feed::Record) {
    use feed::record::Record::{Account, Key};

    match (&sent.record, &taken.record) {
        (Some(Key(sent)), Some(Key(taken))) => {
            let taken = feed::Key {
                allowed_ips: sent.allowed_ips.clone(),
                ..taken.clone()
            };
            assert_eq!(*sent, taken);
        }
        (Some(Account(sent)), Some(Account(taken))) => {
            let taken = feed::Account {
                grants: sent.grants.clone(),
                ..taken.clone()
            };
            assert_eq!(*sent, taken);
        }
        _ => panic!("one became the other"),
    }
}
