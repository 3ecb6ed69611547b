//! A worker's outbox: a call is counted and its first bytes are handed to the kernel as one act.
//!
//! Before the bytes go, the outbox says which record is to become what; the kernel itself notes beside it, in the
//! system call that takes the bytes, that it took them ([`Message`]). Then the record is written. Whoever is killed
//! in between left a note, and the next start finishes the record from it: setting it to what it was to become
//! does no harm when that was done already. The next call begins by clearing the note.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::atomic::{Ordering, compiler_fence};
use std::{fs, io};

use super::mapped::{MESSAGE_WORDS, Mapping, Message, PAGE, Words};
use super::record::Place;

/// "KWOUTBX1", so that a file of another kind or version is not taken for one.
const MAGIC: u64 = u64::from_le_bytes(*b"KWOUTBX1");
/// Where the message lies.
const MESSAGE_AT: usize = 64;
const TAKEN_AT: usize = MESSAGE_AT + Message::TAKEN_AT;
/// What its file is called.
pub(super) const SUFFIX: &str = "outbox";

const MAGIC_WORD: usize = 0;
const EPOCH: usize = 1;
const SEGMENT: usize = 2;
const INDEX: usize = 3;
const ACCEPTED: usize = 4;
const AT_MS: usize = 5;

/// Which record becomes what when the bytes are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// Where it lies.
    pub(super) place: Place,
    /// Its accepted calls then.
    pub(super) accepted: u64,
    /// When the last of them was.
    pub(super) at_ms: u64,
}

/// One worker's.
#[derive(Debug)]
pub(super) struct Outbox {
    note: Words<8>,
    message: Message,
}

impl Outbox {
    /// A new file in this folder.
    ///
    /// # Errors
    /// When there is no room for it.
    pub(super) fn create(folder: &Path, worker: u32, epoch: u64) -> io::Result<Self> {
        let path = folder.join(format!("{worker}.{SUFFIX}"));
        let file = super::segment::preallocated(&path, PAGE)?;
        let mapping = Mapping::of(&file, PAGE)?;
        match (mapping.words(0), mapping.words(MESSAGE_AT)) {
            (Some(note), Some(message)) => Ok(Self::new(note, message, epoch)),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// One that a kill takes with it.
    pub(super) fn in_memory(epoch: u64) -> Self {
        Self::new(Words::in_memory(), Words::in_memory(), epoch)
    }

    fn new(note: Words<8>, message: Words<MESSAGE_WORDS>, epoch: u64) -> Self {
        let message = Message::of(message);
        message.clear();
        note[EPOCH].store(epoch, Ordering::Relaxed);
        note[MAGIC_WORD].store(MAGIC, Ordering::Relaxed);
        Self { note, message }
    }

    /// Hands bytes to the socket; `note` holds when it took at least one.
    ///
    /// # Errors
    /// What the system said; `WouldBlock` when the socket has no room. The note doesn't hold then.
    pub(super) fn send(&self, socket: BorrowedFd<'_>, bytes: &[u8], note: Note) -> io::Result<usize> {
        // A kill comes between two instructions, so their order is all that counts.
        self.message.clear();
        compiler_fence(Ordering::SeqCst);
        self.note[SEGMENT].store(note.place.segment, Ordering::Relaxed);
        self.note[INDEX].store(note.place.index, Ordering::Relaxed);
        self.note[ACCEPTED].store(note.accepted, Ordering::Relaxed);
        self.note[AT_MS].store(note.at_ms, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        self.message.send(socket, bytes)
    }
}

/// The note that a killed worker left, when its bytes were taken.
///
/// # Errors
/// When the file can't be read.
pub(super) fn left(path: &Path, epoch: u64) -> io::Result<Option<Note>> {
    let bytes = fs::read(path)?;
    let word = |at: usize| {
        let bytes = bytes.get(at * 8..)?.first_chunk()?;
        Some(u64::from_ne_bytes(*bytes))
    };
    let taken = bytes.get(TAKEN_AT..).and_then(|rest| rest.first_chunk());
    let is_ours = word(MAGIC_WORD) == Some(MAGIC) && word(EPOCH) == Some(epoch);
    if !is_ours || taken.is_none_or(|taken| u32::from_ne_bytes(*taken) == 0) {
        return Ok(None);
    }
    let note = || {
        Some(Note {
            place: Place {
                segment: word(SEGMENT)?,
                index: word(INDEX)?,
            },
            accepted: word(ACCEPTED)?,
            at_ms: word(AT_MS)?,
        })
    };
    Ok(note())
}
