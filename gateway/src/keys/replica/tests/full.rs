//! A disk without room: what was in force stays, and it goes on when there is room. The bound is one for the size of
//! a process's files, so the process is one of its own: this program, started again for one test alone.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Model, folder};

const FOLDER: &str = "KEYWARD_TEST_REPLICA_FULL";

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Changes until there is no room, goes on trying, and tells when it went on.
#[test]
fn victim_without_room() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        return;
    };
    let model = Model::new();
    let set = model.open(&folder.join("replica"));
    // No merges, for they begin a new journal.
    set.replica
        .compaction
        .least
        .store(usize::MAX / 2, std::sync::atomic::Ordering::Relaxed);
    let last = (set.position().revision..)
        .find(|revision| model.change(&set, revision + 1).is_err())
        .unwrap();
    for _ in 0..3 {
        assert!(model.change(&set, last + 1).is_err());
        assert!(model.snapshot(&set, last + 500).is_err());
        assert_eq!(set.position().revision, last);
        model.verify(&set).unwrap();
        set.acknowledge().unwrap();
    }
    fs::write(folder.join("full"), last.to_string()).unwrap();
    eventually("there is room again", || model.change(&set, last + 1).is_ok());
    set.acknowledge().unwrap();
    model.verify(&set).unwrap();
    model.snapshot(&set, last + 2).unwrap();
    model.verify(&set).unwrap();
    fs::write(folder.join("done"), "").unwrap();
}

#[test]
fn without_room_what_was_in_force_stays_and_with_room_it_goes_on() {
    let (model, folder) = (Model::new(), folder());
    let set = model.open(&folder.path().join("replica"));
    model.snapshot(&set, 10).unwrap();
    model.go_on(&set, 12);
    drop(set);
    // Less than a base of these keys has, and more than the other files. In blocks of 512 bytes.
    let program = std::env::current_exe().unwrap();
    let mut victim = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -S -f 12; exec \"$0\" \"$@\""])
        .arg(program)
        .args(["keys::replica::tests::full::victim_without_room", "--exact"])
        .env(FOLDER, folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut exited = None;
    eventually("the disk is full", || {
        exited = victim.try_wait().unwrap();
        exited.is_some() || folder.path().join("full").exists()
    });
    assert_eq!(exited, None, "it gave up");
    // As if it was killed now: a start on the same files.
    let copy = super::folder();
    for entry in fs::read_dir(folder.path().join("replica"))
        .unwrap()
        .map(|entry| entry.unwrap())
    {
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let set = model.open(copy.path());
    let last: u64 = fs::read_to_string(folder.path().join("full"))
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!((set.set_aside(), set.position().revision), (None, last));
    model.verify(&set).unwrap();
    drop(set);
    let raised = Command::new("prlimit")
        .args(["--fsize=unlimited", "--pid", &victim.id().to_string()])
        .status()
        .unwrap();
    assert!(raised.success());
    assert!(victim.wait().unwrap().success());
    assert!(folder.path().join("done").exists());
    let set = model.open(&folder.path().join("replica"));
    assert_eq!((set.set_aside(), set.position().revision), (None, last + 2));
    model.verify(&set).unwrap();
}
