//! What the fuzz targets were begun with and what they once found, tried again, each in the time that one takes.

#![expect(
    unreachable_pub,
    reason = "the targets are a library of their own to cargo-fuzz"
)]

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

#[path = "src/lib.rs"]
mod targets;

use targets::TARGETS;

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let read = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = read.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

#[test]
fn what_was_once_found_by_fuzzing_stays_found() {
    let mut broken = Vec::new();
    for (name, check) in TARGETS {
        let seeds = entries(&home().join("seeds").join(name));
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for seed in seeds {
            let bytes = fs::read(&seed).unwrap();
            if catch_unwind(|| check(&bytes)).is_err() {
                broken.push(seed);
            }
        }
        // Nothing at all, too, and what is not text.
        for bytes in [b"".as_slice(), b"\0", b"\xff\xff\xff\xff"] {
            assert!(catch_unwind(|| check(bytes)).is_ok(), "{name}: {bytes:?}");
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_target_has_its_program_and_no_program_is_without_one() {
    let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    for (folder, what) in [("fuzz_targets", "a program"), ("seeds", "seeds")] {
        let found = entries(&home().join(folder));
        let found = found.iter().filter_map(|path| path.file_stem()?.to_str());
        assert_eq!(found.map(str::to_owned).collect::<BTreeSet<_>>(), names, "{what}");
    }
    let manifest = fs::read_to_string(home().join("Cargo.toml")).unwrap();
    for name in &names {
        assert!(
            manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")),
            "{name}"
        );
        let program = fs::read_to_string(home().join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(
            program.contains(&format!("keyward_fuzz::{name}::check")),
            "{name}"
        );
    }
}
