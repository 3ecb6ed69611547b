//! The thread that writes the lines.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::{QUEUE, Shared};

/// How long a line may wait to be written in company.
const INTERVAL: Duration = Duration::from_millis(100);
/// Bytes that are written at once, about.
const BATCH: usize = 64 * 1024;

/// Where lines go.
#[derive(Debug)]
pub(super) enum Destination {
    StandardOutput,
    File { path: PathBuf, file: File },
}

impl Destination {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self::StandardOutput);
        }
        Ok(Self::File {
            path: path.to_owned(),
            file: open_file(path)?,
        })
    }
}

impl Write for Destination {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::StandardOutput => io::stdout().lock().write(bytes),
            Self::File { file, .. } => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::StandardOutput => io::stdout().lock().flush(),
            Self::File { .. } => Ok(()),
        }
    }
}

/// Whole lines into something that may fail between any two bytes.
#[derive(Debug)]
struct Lines<W> {
    out: W,
    /// The last write ended inside a line.
    torn: bool,
}

impl<W: Write> Lines<W> {
    fn new(out: W) -> Self {
        Self { out, torn: false }
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.torn {
            // Ends the line that a failed write has begun: one line is broken, and not the next one too.
            self.write_bytes(b"\n")?;
        }
        self.write_bytes(lines)?;
        self.out.flush()
    }

    fn write_bytes(&mut self, mut rest: &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            match self.out.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    let (done, left) = rest.split_at(written.min(rest.len()));
                    self.torn = done.last() != Some(&b'\n');
                    rest = left;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Client addresses are nobody's business but the operator's.
fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

/// The state of the thread.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    output: Lines<Destination>,
    /// Lines that are not written yet.
    lines: Vec<u8>,
    count: u64,
    failing: bool,
}

/// What a look into the queues found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// Nothing.
    Idle,
    /// All that there was.
    Emptied,
    /// More than one round takes.
    MoreToCome,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, destination: Destination) -> Self {
        let lines = Vec::with_capacity(2 * BATCH);
        Self {
            shared,
            output: Lines::new(destination),
            lines,
            count: 0,
            failing: false,
        }
    }

    /// Writes until it is told to stop and nothing is left.
    pub(super) fn run(&mut self) {
        loop {
            // Read before the queues are: what was logged before the stop is in them.
            let stop = self.shared.stop.load(Ordering::Acquire);
            let reopen = self.shared.reopen.swap(false, Ordering::AcqRel);
            self.shared.hurry.store(false, Ordering::Release);
            let round = self.round();
            if reopen {
                self.reopen();
            }
            match round {
                Round::Idle if stop => return,
                Round::MoreToCome => {}
                Round::Idle | Round::Emptied if stop => {}
                Round::Idle | Round::Emptied => thread::park_timeout(INTERVAL),
            }
        }
    }

    /// Writes what the queues hold, at most one queue's length from each: no worker keeps the others waiting.
    fn round(&mut self) -> Round {
        let queues = self.shared.queues.lock().clone();
        let mut round = Round::Idle;
        for queue in queues {
            for taken in 1..=QUEUE {
                let Some(entry) = queue.pop() else { break };
                if taken == QUEUE {
                    round = Round::MoreToCome;
                } else if round == Round::Idle {
                    round = Round::Emptied;
                }
                let before = self.lines.len();
                match entry.write(&mut self.lines) {
                    Ok(()) => self.count += 1,
                    Err(_) => {
                        self.lines.truncate(before);
                        self.shared.failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
                if self.lines.len() >= BATCH {
                    self.flush();
                }
            }
        }
        self.flush();
        round
    }

    /// Writes the lines, or loses them: a full disk must not fill memory.
    fn flush(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        let outcome = self.output.write(&self.lines);
        let counter = if outcome.is_ok() {
            &self.shared.written
        } else {
            &self.shared.failed
        };
        counter.fetch_add(self.count, Ordering::Relaxed);
        match outcome {
            Ok(()) if self.failing => tracing::info!("access log is written again"),
            Err(ref error) if !self.failing => {
                tracing::warn!(%error, "access log can not be written; lines are lost")
            }
            _ => {}
        }
        self.failing = outcome.is_err();
        self.lines.clear();
        self.count = 0;
    }

    fn reopen(&mut self) {
        let Destination::File { path, .. } = &self.output.out else {
            return;
        };
        match Destination::open(path) {
            Ok(destination) => self.output = Lines::new(destination),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "access log not reopened; the old file stays in use");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a few bytes at a time, and fails while it is full.
    struct Narrow {
        taken: Vec<u8>,
        room: usize,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let now = bytes.len().min(3).min(self.room);
            if now == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= now;
            self.taken.extend_from_slice(&bytes[..now]);
            Ok(now)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_torn_by_a_full_disk_breaks_no_other() {
        for room in 0..10 {
            let mut lines = Lines::new(Narrow {
                taken: Vec::new(),
                room,
            });
            let lost = lines.write(b"{1}\n{2}\n").is_err();
            assert_eq!(lost, room < 8);
            lines.out.room = 100;
            lines.write(b"{3}\n{4}\n").unwrap();
            let text = String::from_utf8(lines.out.taken).unwrap();
            assert!(
                text.ends_with("\n{3}\n{4}\n") || text == "{3}\n{4}\n",
                "{room}: {text:?}"
            );
            assert!(!text.contains("\n\n"), "{room}: {text:?}");
        }
    }
}
