//! Files of an installation's accounts, users, end customers and keys: reading one in, and writing one.
//!
//! Wire shapes and files alone; what becomes of a line is decided in [`crate::operations::import`]. One batch of lines
//! or one page of rows is in memory at a time. A line may have 64 KiB; keys in clear are wiped after their line, and
//! stand in no report. The form is described in `docs/importing.md`.

mod column;
mod csv;
#[doc(hidden)]
pub mod fuzzing;
mod record;
mod report;
mod source;

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::operations::export::Walk;
use crate::operations::import::{self, BATCH, Item, Line, Outcome, Progress, Run, Status};
use crate::operations::{Error, Registry};
use crate::store::imports;
use record::Digests;
use report::Report;
use source::Source;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Jsonl,
    /// RFC 4180 with a header.
    Csv,
}

impl Format {
    /// What the name of a file says.
    #[must_use]
    pub fn of(file: &Path) -> Self {
        let is_csv = file
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        if is_csv { Self::Csv } else { Self::Jsonl }
    }
}

/// Why a file was not read or written to its end.
#[derive(Debug, thiserror::Error)]
pub enum MovingError {
    /// What was asked for can't be done: a file that isn't there, a header that is none.
    #[error("{0}")]
    Arguments(String),
    /// Reading or writing failed half-way.
    #[error("{0}: {1}")]
    Io(String, io::Error),
    /// The database failed. What was taken before stays.
    #[error(transparent)]
    Operation(#[from] Error),
}

type Result<T> = std::result::Result<T, MovingError>;

/// What is to be imported, and how.
#[derive(Clone, Debug)]
pub struct Import {
    /// The file; `-` is standard input.
    pub file: PathBuf,
    /// How its lines are written; by its name when absent.
    pub format: Option<Format>,
    /// What is done with its lines.
    pub mode: Mode,
    /// Where it is told what became of each line; standard output when absent.
    pub report: Option<PathBuf>,
}

/// What is done with the lines of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They are taken from the first on.
    Whole,
    /// They are taken from where the last run of this file stopped.
    Resumed,
    /// Nothing: it is told what would be done.
    Rehearsed,
}

/// How many lines came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Made.
    pub created: u64,
    /// There already.
    pub existing: u64,
    /// Left out.
    pub failed: u64,
    /// Taken by an earlier run.
    pub skipped: u64,
}

impl Tally {
    fn count(&mut self, outcome: &Outcome) {
        let number = match outcome.status {
            Status::Created => &mut self.created,
            Status::Exists => &mut self.existing,
            Status::Failed => &mut self.failed,
        };
        *number += 1;
    }
}

/// Reads a file in.
///
/// # Errors
/// When the file can't be read, isn't the one that a resumed run stopped in, or the database fails. Bad lines are no
/// error: they are counted.
pub async fn import(registry: &Registry, wanted: &Import) -> Result<Tally> {
    let name = progress_name(&wanted.file);
    if wanted.mode == Mode::Resumed && name.is_none() {
        let text = "--resume: standard input can't be read again: give a file";
        return Err(MovingError::Arguments(text.to_owned()));
    }
    let format = wanted.format.unwrap_or_else(|| Format::of(&wanted.file));
    let source = Source::open(open(&wanted.file)?, format).map_err(|error| at(&wanted.file, error))?;
    let resumed = wanted.mode == Mode::Resumed;
    let mut importing = Importing {
        registry,
        file: &wanted.file,
        name,
        source,
        run: match wanted.mode {
            Mode::Whole | Mode::Resumed => Run::real(),
            Mode::Rehearsed => Run::rehearsal(),
        },
        report: Report::open(wanted.report.as_deref(), resumed)?,
        tally: Tally::default(),
    };
    let mut batch = importing.begin(resumed).await?;
    while let Some(line) = importing.next()? {
        batch.push(line);
        if batch.len() == BATCH {
            importing.take(std::mem::take(&mut batch)).await?;
        }
    }
    if !batch.is_empty() {
        importing.take(batch).await?;
    }
    importing.report.finish()?;
    Ok(importing.tally)
}

struct Importing<'a, R> {
    registry: &'a Registry,
    file: &'a Path,
    name: Option<String>,
    source: Source<R>,
    run: Run,
    report: Report,
    tally: Tally,
}

impl<R: BufRead> Importing<'_, R> {
    /// Reads the first line, which may say something of the whole file, and skips what an earlier run took.
    async fn begin(&mut self, resumed: bool) -> Result<Vec<Line>> {
        let first = self.next()?;
        let taken = match &self.name {
            Some(name) if resumed => imports::progress(&self.registry.store, name)
                .await
                .map_err(Error::from)?,
            _ => None,
        };
        let Some(taken) = taken else {
            return Ok(first.into_iter().collect());
        };
        if let Some(Line {
            item: Ok(Item::Head { digest_key }),
            ..
        }) = &first
        {
            // What is wrong with it was told by the run that took it.
            let _ = self.run.check_head(self.registry, digest_key.as_deref());
        }
        let file = self.file.display();
        let same = self
            .source
            .skip_to(taken.bytes)
            .map_err(|error| at(self.file, error))?;
        if !same || self.source.hash() != taken.hash {
            return Err(MovingError::Arguments(format!(
                "--resume: {file} was changed above line {}, where the last run stopped: run without --resume; what is \
                 there already is left as it is",
                taken.lines + 1
            )));
        }
        self.tally.skipped = taken.lines;
        Ok(Vec::new())
    }

    fn next(&mut self) -> Result<Option<Line>> {
        let line = self.source.next_line().map_err(|error| at(self.file, error))?;
        Ok(line.map(|(number, fields)| record::read(number, fields)))
    }

    async fn take(&mut self, batch: Vec<Line>) -> Result<()> {
        let progress = self.name.as_ref().map(|name| Progress {
            file: name.clone(),
            lines: self.source.lines(),
            bytes: self.source.bytes(),
            hash: self.source.hash(),
        });
        let outcomes = self.run.take(self.registry, batch, progress.as_ref()).await?;
        for outcome in &outcomes {
            self.tally.count(outcome);
            self.report.note(outcome)?;
        }
        self.report.flush()
    }
}

/// Under what the progress of a file is kept: its whole path.
fn progress_name(file: &Path) -> Option<String> {
    let is_file = file.is_file();
    let path = is_file.then(|| file.canonicalize().ok())??;
    Some(path.to_string_lossy().into_owned())
}

fn open(file: &Path) -> Result<Box<dyn BufRead>> {
    let input: Box<dyn Read> = if file == Path::new("-") {
        Box::new(io::stdin())
    } else {
        let opened = File::open(file).and_then(|opened| {
            if opened.metadata()?.is_dir() {
                return Err(io::Error::from(io::ErrorKind::IsADirectory));
            }
            Ok(opened)
        });
        let opened =
            opened.map_err(|error| MovingError::Arguments(format!("{}: {error}", file.display())))?;
        Box::new(opened)
    };
    Ok(Box::new(BufReader::with_capacity(64 * 1024, input)))
}

fn at(file: &Path, error: io::Error) -> MovingError {
    if error.kind() == io::ErrorKind::InvalidData {
        MovingError::Arguments(format!("{}: {error}", file.display()))
    } else {
        MovingError::Io(file.display().to_string(), error)
    }
}

/// What is to be exported, and how.
#[derive(Clone, Debug)]
pub struct Export {
    /// The file; standard output when absent.
    pub out: Option<PathBuf>,
    /// How its lines are written; by its name when absent.
    pub format: Option<Format>,
    /// Whether the keys' digests go with them.
    pub with_digests: bool,
}

/// Writes everything but secrets, as one state of the database. A file has its name only when it is whole, and is its
/// owner's alone. Answers how many lines were written.
///
/// # Errors
/// When the file can't be written or the database fails.
pub async fn export(registry: &Registry, wanted: &Export) -> Result<u64> {
    let named = wanted.out.as_deref().filter(|path| *path != Path::new("-"));
    let by_name = named.map_or(Format::Jsonl, Format::of);
    let format = wanted.format.unwrap_or(by_name);
    let digests = if wanted.with_digests {
        Digests::Included
    } else {
        Digests::LeftOut
    };
    let Some(path) = named else {
        let out = BufWriter::new(io::stdout());
        return write_all(registry, out, (format, digests), Path::new("standard output")).await;
    };
    let unfinished = unfinished(path);
    let file = private(&unfinished)
        .map_err(|error| MovingError::Arguments(format!("{}: {error}", unfinished.display())))?;
    let synced = file.try_clone().map_err(|error| at(path, error))?;
    let written = write_all(registry, BufWriter::new(file), (format, digests), path).await;
    let finished = written.and_then(|lines| {
        synced
            .sync_all()
            .and_then(|()| std::fs::rename(&unfinished, path))
            .map_err(|error| at(path, error))?;
        Ok(lines)
    });
    if finished.is_err() {
        // What went wrong is told; that its half is still there would only hide it.
        let _ = std::fs::remove_file(&unfinished);
    }
    finished
}

async fn write_all(
    registry: &Registry,
    out: impl Write,
    (format, digests): (Format, Digests),
    path: &Path,
) -> Result<u64> {
    let failed = |error| at(path, error);
    let mut out = column::Sink::begin(out, format).map_err(failed)?;
    let fingerprint = (digests == Digests::Included).then(|| import::fingerprint(registry));
    out.write(&record::head(fingerprint)).map_err(failed)?;
    for tier in registry.catalogue.tiers() {
        out.write(&record::tier(tier)).map_err(failed)?;
    }
    let mut walk = Walk::begin(registry).await?;
    while let Some(page) = walk.page().await? {
        for thing in &page {
            out.write(&record::written(thing, digests)).map_err(failed)?;
        }
    }
    out.finish().map_err(failed)
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".unfinished");
    path.with_file_name(name)
}

/// A new file for its owner alone, whatever stood there before.
fn private(path: &Path) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}
