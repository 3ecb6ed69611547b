//! Which files are looked at: all below a folder but `.git`, hidden ones and those that `.gitignore` leaves out too,
//! because that is where keys are forgotten. Links are not followed, nor anything but files opened.

use std::fs::File;
use std::num::NonZero;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;

use ignore::{DirEntry, WalkBuilder, WalkState};
use keyward_contract::find::keys_in;

use super::finding::{Finding, Place, shown};
use super::{Tally, file};

/// Looks at a file, or at everything below a folder.
pub(super) fn scan(path: &Path, gitignore: bool) -> Tally {
    match path.metadata() {
        Err(error) => Tally::unreadable(path, &error),
        // Whatever was named is read, pipes too.
        Ok(metadata) if !metadata.is_dir() => one(path),
        Ok(_) => below(path, gitignore),
    }
}

fn below(folder: &Path, gitignore: bool) -> Tally {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let walk = WalkBuilder::new(folder)
        .standard_filters(false)
        .git_ignore(gitignore)
        .git_exclude(gitignore)
        .ignore(gitignore)
        .parents(gitignore)
        .require_git(false)
        .filter_entry(|entry| entry.depth() == 0 || entry.file_name() != ".git")
        .threads(threads)
        .build_parallel();
    let all = Mutex::new(Tally::default());
    walk.run(|| {
        Box::new(|entry| {
            let tally = match entry {
                Ok(entry) => look_at(&entry),
                Err(error) => Tally {
                    unreadable: vec![keyward_contract::find::redact(&error.to_string()).into_owned()],
                    ..Tally::default()
                },
            };
            all.lock().unwrap_or_else(PoisonError::into_inner).add(tally);
            WalkState::Continue
        })
    });
    all.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn look_at(entry: &DirEntry) -> Tally {
    let mut tally = if entry.file_type().is_some_and(|kind| kind.is_file()) {
        one(entry.path())
    } else {
        Tally::default()
    };
    let name = entry.file_name().to_string_lossy();
    for hit in keys_in(name.as_bytes()) {
        tally
            .findings
            .push(Finding::new(&shown(entry.path()), Place::Name, &hit));
    }
    tally
}

fn one(path: &Path) -> Tally {
    let name = shown(path);
    match File::open(path).and_then(|opened| file::scan(&name, opened)) {
        Ok((findings, bytes)) => Tally {
            findings,
            files: 1,
            bytes,
            ..Tally::default()
        },
        Err(error) => Tally::unreadable(path, &error),
    }
}
