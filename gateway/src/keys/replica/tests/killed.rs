//! `SIGKILL` at any moment, in snapshots, changes and merges. The victim is a process of its own: this program,
//! started again for one test alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Model, folder};

/// Tells a victim where to work; everyone else's test of this name ends at once.
const FOLDER: &str = "KEYWARD_TEST_REPLICA_VICTIM";
/// What was acknowledged is told here, outside of the replica.
const TOLD: &str = "told";
const ROUNDS: usize = 60;

#[test]
fn victim_that_changes_and_takes_snapshots() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        return;
    };
    let (model, set) = (Model::new(), Model::new().open(&folder.join("replica")));
    let told = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(folder.join(TOLD))
        .unwrap();
    loop {
        let revision = set.position().revision + 1;
        // Some snapshots come after a gap, as when the log was compacted.
        if revision == 1 || revision.is_multiple_of(40) {
            model.snapshot(&set, revision + 3).unwrap();
        } else {
            model.change(&set, revision).unwrap();
        }
        set.acknowledge().unwrap();
        let revision = set.position().revision;
        std::os::unix::fs::FileExt::write_all_at(&told, &revision.to_le_bytes(), 0).unwrap();
    }
}

fn start(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "keys::replica::tests::killed::victim_that_changes_and_takes_snapshots",
            "--exact",
            "--nocapture",
        ])
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn after_a_kill_at_any_moment_there_is_one_whole_revision_and_none_that_was_told_is_lost() {
    let (model, folder) = (Model::new(), folder());
    let mut moments = 0;
    for round in 0..ROUNDS {
        let mut victim = start(folder.path());
        // A moment that nobody chose; the first ones are in the start and the first snapshot.
        let moment = crate::random::next() % if round % 4 == 0 { 8_000 } else { 120_000 };
        std::thread::sleep(Duration::from_micros(moment));
        assert_eq!(
            victim.try_wait().unwrap(),
            None,
            "round {round}: it failed by itself"
        );
        victim.kill().unwrap();
        victim.wait().unwrap();
        let told = fs::read(folder.path().join(TOLD))
            .ok()
            .and_then(|told| told.try_into().ok());
        let told = told.map_or(0, u64::from_le_bytes);
        let replica = folder.path().join("replica");
        let set = model.open(&replica);
        assert_eq!(set.set_aside(), None, "round {round}, killed after {moment} µs");
        let revision = set.position().revision;
        assert!(
            revision >= told,
            "round {round}: {revision} after {told} was told"
        );
        if set.is_ready() {
            model
                .verify(&set)
                .unwrap_or_else(|error| panic!("round {round}, after {moment} µs: {error}"));
            moments += 1;
        }
        drop(set);
        let left = fs::read_dir(&replica).unwrap().map(|entry| entry.unwrap().path());
        let left: Vec<_> = left
            .filter(|path| path.extension().is_some_and(|e| e == "draft" || e == "runs"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
    assert!(moments > ROUNDS / 4, "only {moments} rounds had a key set");
}
