//! `keyward scan`: finds keys of our form in files, folders and diffs. Touches no database and no network.
//!
//! A text is a key when its checksum fits; whether anybody made it, only `POST /admin/leaks` can tell. What is
//! printed holds a key's mask and never the key, whatever the files are called. Files are read in pieces of 256 KiB,
//! several at a time; memory grows with what is found alone.

mod allow;
mod diff;
mod file;
mod finding;
mod walk;

use std::io;
use std::path::Path;
use std::time::Instant;

use crate::cli::ScanOptions;
use crate::failure::Failure;
use crate::output;

use allow::Allowed;
use finding::{Finding, shown};

/// What was looked at, and what was found in it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    findings: Vec<Finding>,
    unreadable: Vec<String>,
    files: u64,
    bytes: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.findings.extend(other.findings);
        self.unreadable.extend(other.unreadable);
        self.files += other.files;
        self.bytes += other.bytes;
    }

    fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Self {
        Self {
            unreadable: vec![format!("{}: {error}", shown(path))],
            ..Self::default()
        }
    }
}

/// Looks for keys, prints where each is, and fails when there is one.
pub(crate) fn run(options: &ScanOptions) -> Result<(), Failure> {
    let began = Instant::now();
    let allowed = match &options.allow {
        Some(file) => Allowed::read(file)?,
        None => Allowed::default(),
    };
    let mut tally = Tally::default();
    for path in &options.paths {
        tally.add(match path.to_str() {
            Some("-") => standard_input(),
            _ => walk::scan(path, options.gitignore),
        });
    }
    tally.findings.retain(|finding| !allowed.allows(finding.mask()));
    tally.findings.sort();
    tally.findings.dedup();
    for finding in &tally.findings {
        if options.json {
            output::say(finding.to_json());
        } else {
            output::say(finding);
        }
    }
    conclude(&tally, began)
}

fn standard_input() -> Tally {
    match diff::scan(io::stdin().lock()) {
        Ok((findings, bytes)) => Tally {
            findings,
            files: 1,
            bytes,
            ..Tally::default()
        },
        Err(error) => Tally::unreadable(Path::new("standard input"), &error),
    }
}

fn conclude(tally: &Tally, began: Instant) -> Result<(), Failure> {
    for complaint in &tally.unreadable {
        output::complain(complaint);
    }
    let seconds = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "people read three digits of it")]
    let megabytes = tally.bytes as f64 / 1e6;
    let looked_at = format!(
        "{}, {megabytes:.1} MB in {seconds:.2} s, {:.0} MB/s",
        counted(tally.files, "file"),
        megabytes / seconds.max(1e-6)
    );
    let found = match tally.findings.len() as u64 {
        0 => "no key found".to_owned(),
        keys => format!("{} found", counted(keys, "key")),
    };
    let told = format!("{found} ({looked_at})");
    match tally.unreadable.len() as u64 {
        0 if tally.findings.is_empty() => {
            output::complain(&told);
            Ok(())
        }
        0 => Err(Failure::Found(told)),
        unread => Err(Failure::Configuration(format!(
            "{told}; {} could not be read",
            counted(unread, "path")
        ))),
    }
}

fn counted(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
