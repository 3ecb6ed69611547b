//! Reading what an earlier start left: its segments, the notes of its outboxes and the names of its routes.
//!
//! Nothing is written, so it can be read again after another crash. A record that can't be true is left out, and
//! only that one: every record stands for itself, also when its file's header is damaged or its end is missing.

use std::collections::HashMap;
use std::fs::{self, File};
use std::hash::{BuildHasher, BuildHasherDefault};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustc_hash::{FxBuildHasher, FxHasher};

use super::counter::CounterKey;
use super::outbox::{self, Note};
use super::record::{self, Damaged, Place, Tally, Value};
use super::segment::{self, Header};
use super::shelf;

/// Sums by counter.
pub(super) type Sums = HashMap<CounterKey, Tally, FxBuildHasher>;

/// One of `of` parts of all counters: what doesn't fit into memory at once is read in several turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) index: u64,
    pub(super) of: u64,
}

impl Part {
    fn has(self, key: &CounterKey) -> bool {
        self.of <= 1 || BuildHasherDefault::<FxHasher>::default().hash_one(key) % self.of == self.index
    }
}

/// What was found beside the sums.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Records and headers that can't be true.
    pub(super) damaged: u64,
    /// The files that they are in.
    pub(super) damaged_files: Vec<PathBuf>,
    /// Whether something could not be read at all.
    pub(super) is_unreadable: bool,
}

impl Findings {
    /// What was read; `None`, said and noted, when it could not be.
    fn look<T>(&mut self, path: &Path, outcome: io::Result<T>) -> Option<T> {
        outcome
            .inspect_err(|error| {
                tracing::error!(%error, file = %path.display(), "usage of an earlier start can't be read");
                self.is_unreadable = true;
            })
            .ok()
    }
}

/// An earlier start that left something.
#[derive(Debug)]
pub(super) struct OldBoot {
    pub(super) epoch: u64,
    pub(super) folder: PathBuf,
    pub(super) bytes: u64,
    /// How many records its segments say that they hold.
    pub(super) records: u64,
}

/// The earlier starts whose folders are in `root`, the oldest first.
///
/// # Errors
/// When the folder can't be read.
pub(super) fn old_boots(root: &Path, before: u64) -> io::Result<Vec<OldBoot>> {
    let mut boots = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let epoch = entry.file_name().to_str().and_then(epoch_of);
        if let Some(epoch) = epoch.filter(|epoch| *epoch < before)
            && entry.file_type()?.is_dir()
        {
            boots.push(survey(epoch, entry.path()));
        }
    }
    boots.sort_by_key(|boot| boot.epoch);
    Ok(boots)
}

/// The start that a folder of this name belongs to.
pub(super) fn epoch_of(name: &str) -> Option<u64> {
    let epoch: u64 = name.parse().ok()?;
    (epoch.to_string() == name).then_some(epoch)
}

/// What can't be read now is said when it is to be read.
pub(super) fn survey(epoch: u64, folder: PathBuf) -> OldBoot {
    let (mut bytes, mut records) = (0, 0);
    for (path, _) in files(&folder, segment::SUFFIX).unwrap_or_default() {
        let mut header = Vec::new();
        let Ok(file) = File::open(path) else { continue };
        bytes += file.metadata().map_or(0, |file| file.len());
        if file.take(64).read_to_end(&mut header).is_ok() {
            records += Header::read(&header, epoch).used as u64;
        }
    }
    OldBoot {
        epoch,
        folder,
        bytes,
        records,
    }
}

/// The files of this kind, with what their names say before the dot.
fn files(folder: &Path, suffix: &str) -> io::Result<Vec<(PathBuf, String)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == suffix)
            && let Some(stem) = path.file_stem().and_then(|stem| stem.to_str())
        {
            let stem = stem.to_owned();
            files.push((path, stem));
        }
    }
    Ok(files)
}

/// The names of the routes by their numbers at that time. Without them usage is reported under no route's name.
pub(super) fn routes(boot: &OldBoot) -> Vec<String> {
    let names = fs::read(boot.folder.join(shelf::ROUTES));
    names
        .and_then(|names| Ok(serde_json::from_slice(&names)?))
        .unwrap_or_else(|error| {
            tracing::error!(%error, boot_epoch = boot.epoch, "the names of the routes are lost; usage that was \
                 counted then is reported without them");
            Vec::new()
        })
}

/// Sums one part of what a start counted. `meanwhile` is called between two files: there may be a gigabyte of them.
pub(super) fn read(boot: &OldBoot, part: Part, meanwhile: &mut dyn FnMut()) -> (Sums, Findings) {
    let (mut sums, mut findings) = (Sums::default(), Findings::default());
    let notes = notes(boot, &mut findings);
    let segments = findings.look(&boot.folder, files(&boot.folder, segment::SUFFIX));
    for (path, stem) in segments.unwrap_or_default() {
        meanwhile();
        let mut bytes = Vec::new();
        let file = File::open(&path);
        let all = file.and_then(|file| file.take(segment::BYTES as u64).read_to_end(&mut bytes));
        if findings.look(&path, all).is_none() {
            continue;
        }
        let segment = Segment {
            epoch: boot.epoch,
            number: stem.split_once('-').and_then(|(_, number)| number.parse().ok()),
            notes: &notes,
        };
        let damaged = segment.read(&bytes, part, &mut sums);
        // Every part sees all of them.
        if damaged > 0 && part.index == 0 {
            tracing::error!(damaged, file = %path.display(), "usage that was counted is damaged; all else in the file is taken");
            findings.damaged += damaged;
            findings.damaged_files.push(path);
        }
    }
    (sums, findings)
}

/// What workers were sending when they were killed.
fn notes(boot: &OldBoot, findings: &mut Findings) -> HashMap<Place, Note> {
    let boxes = files(&boot.folder, outbox::SUFFIX).unwrap_or_default();
    let mut notes = HashMap::new();
    for (path, _) in boxes {
        let note = findings.look(&path, outbox::left(&path, boot.epoch));
        notes.extend(note.flatten().map(|note| (note.place, note)));
    }
    notes
}

/// A segment's file that is being read.
struct Segment<'n> {
    epoch: u64,
    number: Option<u64>,
    notes: &'n HashMap<Place, Note>,
}

impl Segment<'_> {
    /// Adds its records to the sums. Answers how many could not be true.
    fn read(&self, bytes: &[u8], part: Part, sums: &mut Sums) -> u64 {
        let header = Header::read(bytes, self.epoch);
        let (records, _) = bytes.get(segment::HEADER..).unwrap_or_default().as_chunks();
        let missing = if header.is_sound {
            header.used.saturating_sub(records.len()) as u64
        } else {
            1
        };
        let mut damaged = missing;
        for (index, record) in (0..).zip(records) {
            match record::read(record, self.epoch) {
                Ok(Some((key, tally))) if part.has(&key) => {
                    sums.entry(key).or_default().join(&self.settle(tally, index));
                }
                Ok(_) => {}
                Err(Damaged) => damaged += 1,
            }
        }
        damaged
    }

    /// Finishes a record whose call was taken by the kernel before its worker could count it.
    fn settle(&self, mut tally: Tally, index: u64) -> Tally {
        let place = self.number.map(|segment| Place { segment, index });
        if let Some(note) = place.and_then(|place| self.notes.get(&place)) {
            tally.raise(Value::Accepted, note.accepted);
            tally.raise(Value::LastAccepted, note.at_ms);
        }
        tally
    }
}
