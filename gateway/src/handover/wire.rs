//! What elder and heir say to each other: frames over a socket pair, and descriptors beside them.
//!
//! A frame is a length, a kind and its content; one that can't be true ends the talk with an error, as the end of the socket
//! does. Both ends block: each has a thread for it.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use keyward_contract::feed;
use prost::Message as _;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use super::HeldTokens;

/// A change holds what one transaction changed; the stream takes no larger frame either.
const LONGEST: u32 = 64 << 20;
/// Descriptors beside one byte.
const TOGETHER: usize = 32;

/// What is said.
#[derive(Debug)]
pub(super) enum Word {
    /// Of the course of the hand-over.
    Step(Step),
    /// A change that the heir puts in force.
    Change(feed::Change),
}

/// The course of a hand-over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Step {
    /// The heir has read its configuration.
    Prepared,
    /// What follows as descriptors.
    Inherit(Estate),
    /// The heir has opened its folders.
    Opened,
    /// What the elder's buckets hold.
    Levels(Vec<HeldTokens>),
    /// The heir accepts calls.
    Serving,
    /// The elder accepts none any more.
    Leaving,
    /// The heir asks: does nothing go by what was before any more?
    Quiet,
    /// The elder: nothing does.
    IsQuiet,
    /// Rights may be gone that can't be told one by one: the elder is to let nobody in any more, and to end soon.
    Shut,
}

/// What the elder gives, in the order of the descriptors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Estate {
    pub(super) boot_epoch: u64,
    pub(super) replica_path: PathBuf,
    pub(super) ledger_path: PathBuf,
    /// Whether there is a whole key set.
    pub(super) is_ready: bool,
    pub(super) pieces: Vec<Piece>,
}

/// One descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Piece {
    /// The lock of the replica's folder.
    ReplicaLock,
    /// The lock of the ledger's folder.
    LedgerLock,
    /// The admin listener.
    Admin,
    /// A listener of the proxy.
    Proxy,
    /// A listener for validations.
    Authz,
}

/// One end of the socket pair.
#[derive(Debug)]
pub(super) struct Wire(UnixStream);

impl Wire {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self(stream)
    }

    pub(super) fn stream(&self) -> &UnixStream {
        &self.0
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    pub(super) fn say(&self, step: &Step) -> io::Result<()> {
        self.frame(0, &serde_json::to_vec(step)?)
    }

    pub(super) fn say_change(&self, change: &feed::Change) -> io::Result<()> {
        self.frame(1, &change.encode_to_vec())
    }

    fn frame(&self, kind: u8, content: &[u8]) -> io::Result<()> {
        let length = u32::try_from(content.len()).map_err(io::Error::other)?;
        let mut frame = Vec::with_capacity(content.len() + 5);
        frame.extend_from_slice(&length.to_le_bytes());
        frame.push(kind);
        frame.extend_from_slice(content);
        (&self.0).write_all(&frame)
    }

    pub(super) fn hear(&self) -> io::Result<Word> {
        let mut head = [0; 5];
        (&self.0).read_exact(&mut head)?;
        let [a, b, c, d, kind] = head;
        let length = u32::from_le_bytes([a, b, c, d]);
        if length > LONGEST {
            return Err(io::Error::new(ErrorKind::InvalidData, "a frame is too long"));
        }
        let mut content = Vec::new();
        (&self.0).take(u64::from(length)).read_to_end(&mut content)?;
        if content.len() as u64 != u64::from(length) {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        match kind {
            0 => Ok(Word::Step(serde_json::from_slice(&content)?)),
            1 => {
                let change = feed::Change::decode(content.as_slice());
                change.map(Word::Change).map_err(io::Error::other)
            }
            _ => Err(io::Error::new(ErrorKind::InvalidData, "a frame of no known kind")),
        }
    }

    /// The next step of the course.
    pub(super) fn hear_step(&self) -> io::Result<Step> {
        match self.hear()? {
            Word::Step(step) => Ok(step),
            Word::Change(_) => Err(io::Error::new(ErrorKind::InvalidData, "a change out of place")),
        }
    }

    /// Waits for this step and no other.
    pub(super) fn expect(&self, wanted: &Step) -> io::Result<()> {
        let heard = self.hear_step()?;
        if heard == *wanted {
            return Ok(());
        }
        Err(io::Error::new(
            ErrorKind::InvalidData,
            "another step than the next one",
        ))
    }

    pub(super) fn give(&self, pieces: &[BorrowedFd<'_>]) -> io::Result<()> {
        for some in pieces.chunks(TOGETHER) {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(TOGETHER))];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            if !beside.push(SendAncillaryMessage::ScmRights(some)) {
                return Err(io::Error::other("too many descriptors at once"));
            }
            sendmsg(&self.0, &[IoSlice::new(&[0])], &mut beside, SendFlags::NOSIGNAL)?;
        }
        Ok(())
    }

    pub(super) fn take(&self, count: usize) -> io::Result<Vec<OwnedFd>> {
        let mut pieces = Vec::with_capacity(count);
        while pieces.len() < count {
            let (mut byte, before) = ([0], pieces.len());
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(TOGETHER))];
            let mut beside = RecvAncillaryBuffer::new(&mut space);
            let mut into = [IoSliceMut::new(&mut byte)];
            let read = recvmsg(&self.0, &mut into, &mut beside, RecvFlags::CMSG_CLOEXEC)?;
            for message in beside.drain() {
                if let RecvAncillaryMessage::ScmRights(came) = message {
                    pieces.extend(came);
                }
            }
            if read.bytes == 0 || pieces.len() == before {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(pieces)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    fn pair() -> (Wire, Wire) {
        let (a, b) = UnixStream::pair().unwrap();
        (Wire::new(a), Wire::new(b))
    }

    #[test]
    fn steps_changes_and_any_number_of_descriptors_arrive_in_order() {
        let (elder, heir) = pair();
        let (kept, given) = UnixStream::pair().unwrap();
        elder.say(&Step::Leaving).unwrap();
        elder.give(&vec![given.as_fd(); 70]).unwrap();
        let change = feed::Change {
            revision: 7,
            ..feed::Change::default()
        };
        elder.say_change(&change).unwrap();
        drop((elder, given));
        heir.expect(&Step::Leaving).unwrap();
        let came = heir.take(70).unwrap();
        assert!(matches!(heir.hear().unwrap(), Word::Change(heard) if heard == change));
        let last = UnixStream::from(came.into_iter().next_back().unwrap());
        (&last).write_all(b"here").unwrap();
        let mut heard = [0; 4];
        (&kept).read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"here");
        assert_eq!(heir.hear().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_can_not_be_true_is_an_error_and_takes_no_room() {
        for bytes in [
            &[255, 255, 255, 255, 0][..],
            &[1, 0, 0, 0, 9, 1],
            &[2, 0, 0, 0, 0, b'{', b'}'],
            &[9, 0],
        ] {
            let (elder, heir) = pair();
            (&elder.0).write_all(bytes).unwrap();
            drop(elder);
            assert!(heir.hear().is_err(), "{bytes:?}");
        }
        let (elder, heir) = pair();
        elder.say(&Step::Quiet).unwrap();
        assert!(heir.expect(&Step::Serving).is_err());
    }
}
