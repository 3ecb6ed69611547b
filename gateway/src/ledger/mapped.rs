//! Memory that files back, and the system call that writes into it: the one place of the ledger with `unsafe`.
//!
//! **Why reading and writing a mapping is sound here.** A mapping is only ever seen as atomic words, so that the
//! kernel, another thread or a bit that flips on the disk can change a value but can't break a rule of the
//! language. Its file lies in a folder that this process has locked, is made by it, preallocated before it is
//! mapped and never shortened, so every page has a block behind it and none is beyond the file's end. What is
//! handed out ([`Words`], [`Message`]) is checked against the bounds once and holds the mapping.

#![expect(
    unsafe_code,
    reason = "mapped memory and sendmmsg can be had in no other way; the argument is at the head of this file"
)]

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, compiler_fence};

use memmap2::{Advice, MmapOptions, MmapRaw};

/// What changes are noted by.
pub(super) const PAGE: usize = 4_096;

/// Words that outlive this process, or stand in for them.
#[derive(Debug)]
pub(super) struct Mapping {
    memory: Memory,
    /// Pages that were written since the last [`Self::sync`].
    touched: Box<[AtomicBool]>,
}

#[derive(Debug)]
enum Memory {
    File(MmapRaw),
    Heap(Box<[AtomicU64]>),
}

impl Mapping {
    /// The first `bytes` of a file, which must be allocated.
    ///
    /// # Errors
    /// When the kernel has no room for another mapping.
    pub(super) fn of(file: &File, bytes: usize) -> io::Result<Arc<Self>> {
        let raw = MmapOptions::new().len(bytes).populate().map_raw(file)?;
        Ok(Self::new(Memory::File(raw), bytes))
    }

    fn new(memory: Memory, bytes: usize) -> Arc<Self> {
        let touched = (0..bytes.div_ceil(PAGE)).map(|_| AtomicBool::new(true));
        Arc::new(Self {
            memory,
            touched: touched.collect(),
        })
    }

    fn start(&self) -> (*mut u8, usize) {
        match &self.memory {
            Memory::File(raw) => (raw.as_mut_ptr(), raw.len()),
            Memory::Heap(words) => (words.as_ptr().cast_mut().cast(), words.len() * 8),
        }
    }

    fn place<T>(&self, offset: usize) -> Option<NonNull<T>> {
        let (start, length) = self.start();
        let is_inside = offset.checked_add(size_of::<T>())? <= length;
        if !is_inside || !offset.is_multiple_of(8) || align_of::<T>() > 8 {
            return None;
        }
        // SAFETY: `offset` is inside the one allocation that `start` is the beginning of.
        NonNull::new(unsafe { start.add(offset) }.cast())
    }

    /// `N` words at this distance from the beginning; `None` when they aren't all inside or not aligned.
    pub(super) fn words<const N: usize>(self: &Arc<Self>, offset: usize) -> Option<Words<N>> {
        Some(Words {
            first: self.place(offset)?,
            page: offset / PAGE,
            mapping: Arc::clone(self),
        })
    }

    /// Waits until everything that was written before is on the disk. `false` when nothing was.
    ///
    /// # Errors
    /// When the disk fails; what was to be written is tried again by the next call.
    pub(super) fn sync(&self) -> io::Result<bool> {
        let Memory::File(raw) = &self.memory else {
            return Ok(false);
        };
        let changed: Vec<usize> = self
            .touched
            .iter()
            .enumerate()
            .filter(|(_, touched)| touched.swap(false, Ordering::Acquire))
            .map(|(page, _)| page)
            .collect();
        if changed.is_empty() {
            return Ok(false);
        }
        if let Err(error) = raw.flush() {
            changed
                .iter()
                .filter_map(|page| self.touched.get(*page))
                .for_each(|touched| {
                    touched.store(true, Ordering::Relaxed);
                });
            return Err(error);
        }
        // The kernel has made the written pages read-only, to see the next change. Taking that fault here keeps
        // it, and a wait for the file system's journal, off the request path. Older kernels don't know how.
        for page in changed {
            let length = PAGE.min(raw.len().saturating_sub(page * PAGE));
            let _ = raw.advise_range(Advice::PopulateWrite, page * PAGE, length);
        }
        Ok(true)
    }
}

/// Some words of a mapping.
#[derive(Debug)]
pub(super) struct Words<const N: usize> {
    first: NonNull<[AtomicU64; N]>,
    page: usize,
    mapping: Arc<Mapping>,
}

// SAFETY: the words are atomics in memory that lives as long as `mapping`, which any thread may hold.
unsafe impl<const N: usize> Send for Words<N> {}
// SAFETY: as above; a shared reference gives nothing but shared references to atomics.
unsafe impl<const N: usize> Sync for Words<N> {}

impl<const N: usize> Words<N> {
    /// Words that are lost with the process.
    pub(super) fn in_memory() -> Self {
        let words: Box<[AtomicU64; N]> = Box::new([const { AtomicU64::new(0) }; N]);
        let first = NonNull::from(&*words);
        Self {
            first,
            page: 0,
            mapping: Mapping::new(Memory::Heap(words), N * 8),
        }
    }

    /// Notes that they were written. After the writing, so that [`Mapping::sync`] sees both or neither.
    pub(super) fn touch(&self) {
        if let Some(touched) = self.mapping.touched.get(self.page) {
            touched.store(true, Ordering::Release);
        }
    }
}

impl<const N: usize> Deref for Words<N> {
    type Target = [AtomicU64; N];

    fn deref(&self) -> &[AtomicU64; N] {
        // SAFETY: checked to be inside and aligned when it was made; the mapping is held; any bits are a valid
        // `AtomicU64`, and nothing looks at this memory but through atomics or the kernel.
        unsafe { self.first.as_ref() }
    }
}

/// A message as `sendmmsg` wants it, in a mapping: the kernel notes there how much of it was taken.
///
/// **Why the note is exact.** `sendmmsg` hands the bytes to the socket and stores the count in `msg_len` within
/// one system call. A `SIGKILL` ends a thread only where it would return to user mode, and nothing in between
/// waits (`MSG_DONTWAIT`), so a killed process has either both or neither. The store can fail only when its page
/// was just then written back and the kill comes while the kernel waits to make it writable again: nobody but
/// the kernel's own half-minute flush writes this page back, and it was written a moment before.
///
/// Belongs to one thread: it is neither `Send` nor `Sync`.
#[derive(Debug)]
pub(super) struct Message {
    header: NonNull<libc::mmsghdr>,
    _held: Words<MESSAGE_WORDS>,
}

/// Words that a message takes.
pub(super) const MESSAGE_WORDS: usize = 8;

impl Message {
    /// In these words; nothing else may use them.
    pub(super) fn of(words: Words<MESSAGE_WORDS>) -> Self {
        const { assert!(size_of::<libc::mmsghdr>() <= MESSAGE_WORDS * 8 && align_of::<libc::mmsghdr>() <= 8) };
        Self {
            header: words.first.cast(),
            _held: words,
        }
    }

    /// Where the kernel's note lies in a message, and its four bytes.
    pub(super) const TAKEN_AT: usize = std::mem::offset_of!(libc::mmsghdr, msg_len);

    fn taken(&self) -> &AtomicU32 {
        // SAFETY: inside the message, aligned as its field is; only atomics and the kernel touch it.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.header.as_ptr()).msg_len) }
    }

    /// Says that nothing was taken.
    pub(super) fn clear(&self) {
        self.taken().store(0, Ordering::Relaxed);
    }

    /// Hands bytes to a socket without waiting, and leaves a note of how many it took.
    ///
    /// # Errors
    /// What the system said; `WouldBlock` when the socket has no room. Nothing was taken then.
    pub(super) fn send(&self, socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
        let mut piece = libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        // SAFETY: all zeros is a message without a name, control data or pieces.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = &raw mut piece;
        header.msg_iovlen = 1;
        // SAFETY: inside the mapping, aligned, and this thread's alone. Volatile: the system call reads it.
        unsafe { (&raw mut (*self.header.as_ptr()).msg_hdr).write_volatile(header) };
        compiler_fence(Ordering::SeqCst);
        loop {
            // SAFETY: one message is described; its piece points to `bytes`, which are only read and outlive the
            // call; the kernel writes `msg_len` alone.
            let messages = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    self.header.as_ptr(),
                    1,
                    (libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) as _,
                )
            };
            compiler_fence(Ordering::SeqCst);
            if messages == 1 {
                let taken = self.taken().load(Ordering::Relaxed);
                return Ok(usize::try_from(taken).unwrap_or(usize::MAX));
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}
