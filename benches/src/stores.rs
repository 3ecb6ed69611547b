//! Embedded stores on the work of a gateway's replica: the same keys, loaded as a snapshot, read at random, changed
//! durably, opened again. Each phase runs in a process of its own, so that its memory is its own.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::time::{ClockId, clock_gettime};

pub mod fjall;
pub mod heed;
pub mod own;
pub mod redb;

/// Bytes of a stored key beside its digest: two ids, a version, state and flags.
const VALUE: usize = 46;
/// What is sorted in memory before it is handed over.
const CHUNK: u64 = 500_000;

/// A digest and what is stored of its key.
pub type Entry = ([u8; 32], [u8; VALUE]);

/// What something took: on the clock, and of the processors, which tells more on a machine that is not idle.
#[derive(Clone, Copy, Debug, Default)]
pub struct Took {
    /// On the clock.
    pub wall: Duration,
    /// Of all processors.
    pub cpu: Duration,
}

impl Took {
    /// Adds what `work` takes, and hands on its answer.
    pub fn add<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let (began, cpu) = (Instant::now(), processor_time());
        let done = work();
        self.wall += began.elapsed();
        self.cpu += processor_time().saturating_sub(cpu);
        done
    }
}

impl std::fmt::Display for Took {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.3} s (CPU {:.3} s)",
            self.wall.as_secs_f64(),
            self.cpu.as_secs_f64()
        )
    }
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// A store under test.
pub trait Store: Sized {
    /// Opens what is in the folder, or an empty store.
    ///
    /// # Errors
    /// When the store fails.
    fn open(folder: &Path) -> Result<Self>;

    /// Loads a whole key set; durable when it returns. `chunks` are made as they are asked for and not in the time;
    /// each is in the order in which it came.
    ///
    /// # Errors
    /// When the store fails.
    fn load(&mut self, chunks: &mut dyn Iterator<Item = Vec<Entry>>) -> Result<Took>;

    /// Whether there is such a key, its record read.
    ///
    /// # Errors
    /// When the store fails.
    fn find(&mut self, digest: &[u8; 32]) -> Result<bool>;

    /// Changes keys, all in one durable step.
    ///
    /// # Errors
    /// When the store fails.
    fn change(&mut self, entries: &[Entry]) -> Result<()>;

    /// Reads everything once and puts it under a keyed hash, as a check at the start has to; answers how many keys there are.
    ///
    /// # Errors
    /// When the store fails.
    fn check(&mut self) -> Result<u64>;
}

/// The key of this number.
#[must_use]
pub fn entry(number: u64) -> Entry {
    let digest = digest(number);
    let mut value = [0; VALUE];
    let (front, back) = value.split_at_mut(32);
    front.copy_from_slice(blake3::hash(&digest).as_bytes());
    back.copy_from_slice(b"\x01\x01\x01\x002026-11-01");
    (digest, value)
}

/// Its digest.
#[must_use]
pub fn digest(number: u64) -> [u8; 32] {
    *blake3::hash(&number.to_le_bytes()).as_bytes()
}

/// Sorted as a store likes it best.
#[must_use]
pub fn sorted(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    entries
}

/// What is loaded.
pub fn chunks(keys: u64) -> impl Iterator<Item = Vec<Entry>> {
    (0..keys.div_ceil(CHUNK)).map(move |chunk| {
        let end = keys.min((chunk + 1) * CHUNK);
        (chunk * CHUNK..end).map(entry).collect()
    })
}

/// What a process holds, in MiB: of its own, and of files mapped.
///
/// # Errors
/// When `/proc` can't be read.
pub fn memory() -> Result<(u64, u64)> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let of = |name: &str| -> Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next());
        Ok(number.with_context(|| format!("no {name}"))?.parse::<u64>()? / 1024)
    };
    Ok((of("RssAnon:")?, of("RssFile:")?))
}

/// Bytes that a folder's files take on the disk.
///
/// # Errors
/// When it can't be read.
pub fn disk(folder: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;

    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() {
            disk(&entry.path())?
        } else {
            metadata.blocks() * 512
        };
    }
    Ok(bytes)
}

/// One phase, and what it says in a line.
///
/// # Errors
/// When the store fails, or forgot something.
pub fn run<S: Store>(phase: &str, folder: &Path, keys: u64) -> Result<String> {
    let mut opened = Took::default();
    let mut store = opened.add(|| S::open(folder))?;
    Ok(match phase {
        "load" => {
            let took = store.load(&mut chunks(keys))?;
            let (anon, file) = memory()?;
            drop(store);
            let each = disk(folder)? as f64 / keys as f64;
            format!("{took}, {each:.0} bytes/key, anon {anon} MiB, file {file} MiB")
        }
        "open" => {
            let mut checked = Took::default();
            let found = checked.add(|| store.check())?;
            ensure!(found >= keys, "{found} keys of {keys}");
            format!("{opened}, check {checked}")
        }
        "read" => reads(&mut store, keys)?,
        "change" => changes(&mut store, keys)?,
        _ => anyhow::bail!("no such phase"),
    })
}

/// A number that looks like chance.
fn draw(number: u64, below: u64) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = digest(number ^ 0x5eed_5eed_5eed);
    u64::from_le_bytes([a, b, c, d, e, f, g, h]) % below
}

fn reads<S: Store>(store: &mut S, keys: u64) -> Result<String> {
    const READS: u64 = 200_000;
    let mut each = [Took::default(); 2];
    // The first round fetches pages, the second is measured.
    for round in 0..2 {
        for (kind, took) in each.iter_mut().enumerate() {
            let first = if kind == 0 { 0 } else { keys * 2 };
            let digests: Vec<_> = (0..READS)
                .map(|number| digest(first + draw(number + round * READS, keys)))
                .collect();
            *took = Took::default();
            took.add(|| -> Result<()> {
                for digest in &digests {
                    ensure!(store.find(digest)? == (kind == 0), "a wrong answer");
                }
                Ok(())
            })?;
        }
    }
    let us = |took: Duration| took.as_secs_f64() * 1e6 / READS as f64;
    let [hit, miss] = each.map(|took| format!("{:.2} µs (CPU {:.2} µs)", us(took.wall), us(took.cpu)));
    let (anon, file) = memory()?;
    Ok(format!(
        "hit {hit}, miss {miss}, anon {anon} MiB, file {file} MiB"
    ))
}

fn changes<S: Store>(store: &mut S, keys: u64) -> Result<String> {
    let mut said = Vec::new();
    for batch in [1, 100] {
        let mut took: Vec<Took> = Vec::new();
        for round in 0..100 {
            let entries: Vec<_> = (0..batch)
                .map(|number| entry(draw(round * batch + number, keys)))
                .collect();
            let mut this = Took::default();
            this.add(|| store.change(&entries))?;
            took.push(this);
        }
        took.sort_unstable_by_key(|took| took.wall);
        let median = took.get(50).map_or(0.0, |took| took.wall.as_secs_f64() * 1e3);
        let cpu: Duration = took.iter().map(|took| took.cpu).sum();
        said.push(format!(
            "{batch} keys {median:.2} ms (CPU {:.2} ms)",
            cpu.as_secs_f64() * 10.0
        ));
    }
    let (anon, file) = memory()?;
    Ok(format!("{}, anon {anon} MiB, file {file} MiB", said.join(", ")))
}
