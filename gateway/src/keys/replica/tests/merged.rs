//! Changes that are merged into a new base while others come.

use super::{Model, folder};

#[test]
fn changes_are_merged_without_a_word_and_nothing_grows() {
    let (model, folder) = (Model::new(), folder());
    let set = model.open(folder.path());
    model.snapshot(&set, 1).unwrap();
    for round in 1..40 {
        model.go_on(&set, round * 50);
        model.verify(&set).unwrap();
    }
    drop(set);
    let files: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| {
            entry
                .path()
                .extension()
                .is_some_and(|extension| extension == "journal")
        })
        .collect();
    assert!(files.len() <= 2, "{files:?}");
    let journals: u64 = files.iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(journals < 200_000, "{journals} bytes of changes are left");
    let set = model.open(folder.path());
    assert_eq!(set.position().revision, 1_950);
    model.verify(&set).unwrap();
}

#[test]
fn a_snapshot_in_the_middle_of_a_merge_wins() {
    let (model, folder) = (Model::new(), folder());
    let set = model.open(folder.path());
    model.snapshot(&set, 1).unwrap();
    for round in 1..30 {
        model.go_on(&set, set.position().revision + 40);
        model.snapshot(&set, round * 60).unwrap();
        model.verify(&set).unwrap();
        set.acknowledge().unwrap();
    }
    drop(set);
    let set = model.open(folder.path());
    assert_eq!((set.set_aside(), set.position().revision), (None, 29 * 60));
    model.verify(&set).unwrap();
}
