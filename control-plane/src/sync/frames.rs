//! What goes out to a gateway, and how much of it may wait.
//!
//! A change or a piece of a snapshot is encoded once, and the same bytes go to all gateways. What waits for a slow
//! connection is bounded by bytes and by number; whoever has more to send waits.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes};
use keyward_contract::feed::{ControlFrame, GatewayFrame, control_frame::Frame};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::Stream;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// As many frames wait for a slow connection.
const FRAMES_AHEAD: usize = 256;
/// As many bytes of them; a frame that is longer waits alone.
const BYTES_AHEAD: usize = 1024 * 1024;
/// The number of `ControlFrame.change`.
const CHANGE: u32 = 5;

/// One message to a gateway.
#[derive(Clone, Debug)]
pub(super) enum Outgoing {
    /// For this gateway alone.
    Frame(ControlFrame),
    /// An encoded [`ControlFrame`] that others are sent too.
    Encoded(Bytes),
}

impl Outgoing {
    fn bytes(&self) -> usize {
        match self {
            Self::Frame(frame) => frame.encoded_len(),
            Self::Encoded(bytes) => bytes.len(),
        }
    }
}

impl From<Frame> for Outgoing {
    fn from(frame: Frame) -> Self {
        Self::Frame(ControlFrame { frame: Some(frame) })
    }
}

/// An encoded change as an encoded frame.
pub(super) fn change_frame(change: &[u8]) -> Bytes {
    let length = change.len() as u64;
    let mut frame = Vec::with_capacity(key_len(CHANGE) + encoded_len_varint(length) + change.len());
    encode_key(CHANGE, WireType::LengthDelimited, &mut frame);
    encode_varint(length, &mut frame);
    frame.extend_from_slice(change);
    frame.into()
}

/// The gateway is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// The way out to one gateway.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    frames: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
}

#[derive(Debug)]
struct Waiting {
    message: Result<Outgoing, Status>,
    _room: Option<OwnedSemaphorePermit>,
}

/// What the connection takes out of an [`Outbox`].
#[derive(Debug)]
pub(super) struct Outbound(mpsc::Receiver<Waiting>);

/// A way out with nothing in it.
pub(super) fn outbox() -> (Outbox, Outbound) {
    let (frames, waiting) = mpsc::channel(FRAMES_AHEAD);
    let room = Arc::new(Semaphore::new(BYTES_AHEAD));
    (Outbox { frames, room }, Outbound(waiting))
}

impl Outbox {
    /// Hands a message over once there is room for it.
    pub(super) async fn send(&self, message: Outgoing) -> Result<(), Gone> {
        let bytes = u32::try_from(message.bytes().min(BYTES_AHEAD)).unwrap_or(u32::MAX);
        let room = tokio::select! {
            room = Arc::clone(&self.room).acquire_many_owned(bytes) => room.map_err(|_| Gone)?,
            () = self.frames.closed() => return Err(Gone),
        };
        let waiting = Waiting {
            message: Ok(message),
            _room: Some(room),
        };
        self.frames.send(waiting).await.map_err(|_| Gone)
    }

    /// The last word.
    pub(super) async fn end(&self, status: Status) {
        let waiting = Waiting {
            message: Err(status),
            _room: None,
        };
        let _ = self.frames.send(waiting).await;
    }

    /// Until the gateway is gone.
    pub(super) async fn closed(&self) {
        self.frames.closed().await;
    }
}

impl Stream for Outbound {
    type Item = Result<Outgoing, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.0.poll_recv(context);
        next.map(|waiting| waiting.map(|waiting| waiting.message))
    }
}

/// Encodes what is [`Outgoing`], decodes what gateways send.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Frames;

impl Codec for Frames {
    type Encode = Outgoing;
    type Decode = GatewayFrame;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self::Encoder {
        Self
    }

    fn decoder(&mut self) -> Self::Decoder {
        Self
    }
}

impl Encoder for Frames {
    type Item = Outgoing;
    type Error = Status;

    fn encode(&mut self, message: Outgoing, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        match message {
            Outgoing::Encoded(bytes) => to.put(bytes),
            Outgoing::Frame(frame) => frame
                .encode(to)
                .map_err(|_| Status::internal("a frame can't be encoded"))?,
        }
        Ok(())
    }
}

impl Decoder for Frames {
    type Item = GatewayFrame;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<GatewayFrame>, Status> {
        GatewayFrame::decode(from)
            .map(Some)
            .map_err(|_| Status::invalid_argument("a frame is malformed"))
    }
}

#[cfg(test)]
mod tests {
    use keyward_contract::feed::Change;
    use tokio_stream::StreamExt;

    use super::*;

    #[test]
    fn a_change_that_was_encoded_once_is_the_frame_that_it_would_have_been() {
        let change = Change {
            revision: 300,
            history: vec![7; 32],
            ..Change::default()
        };
        let expected = ControlFrame {
            frame: Some(Frame::Change(change.clone())),
        };
        assert_eq!(
            change_frame(&change.encode_to_vec()),
            expected.encode_to_vec().as_slice()
        );
    }

    #[tokio::test]
    async fn what_waits_for_a_connection_that_takes_nothing_is_bounded_in_bytes() {
        let (outbox, mut outbound) = outbox();
        let long = Outgoing::Encoded(Bytes::from(vec![0; BYTES_AHEAD / 4]));
        for _ in 0..4 {
            outbox.send(long.clone()).await.unwrap();
        }
        let fifth = outbox.clone();
        let mut fifth = tokio::spawn(async move { fifth.send(long).await });
        let waits = tokio::time::timeout(std::time::Duration::from_millis(50), &mut fifth).await;
        assert!(waits.is_err(), "more than the bound is waiting");
        outbound.next().await.unwrap().unwrap();
        assert_eq!(fifth.await.unwrap(), Ok(()));
        // One beyond the bound goes when nothing else waits; when the connection is gone nobody waits for ever.
        for _ in 0..4 {
            outbound.next().await.unwrap().unwrap();
        }
        let longest = Outgoing::Encoded(Bytes::from(vec![0; 2 * BYTES_AHEAD]));
        outbox.send(longest.clone()).await.unwrap();
        let gone = tokio::spawn(async move { outbox.send(longest).await });
        drop(outbound);
        assert_eq!(gone.await.unwrap(), Err(Gone));
    }
}
