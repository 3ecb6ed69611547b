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
fn every_target_has_its_program_its_seeds_and_its_row_and_nothing_else_has() {
    let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    for (folder, what) in [("fuzz_targets", "a program"), ("seeds", "seeds")] {
        let found = entries(&home().join(folder));
        let found = found.iter().filter_map(|path| path.file_stem()?.to_str());
        assert_eq!(found.map(str::to_owned).collect::<BTreeSet<_>>(), names, "{what}");
    }
    let manifest = fs::read_to_string(home().join("Cargo.toml")).unwrap();
    let table = home().join("../../docs/fuzzing.md");
    let table = fs::read_to_string(table).unwrap();
    let rows: BTreeSet<String> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" |").next())
        .flat_map(|first| first.split(", "))
        .map(|name| name.trim_matches('`').to_owned())
        .collect();
    assert_eq!(rows, names, "the table of docs/fuzzing.md");
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

#[test]
fn seeds_are_small() {
    for (name, _) in TARGETS {
        let seeds = entries(&home().join("seeds").join(name));
        let sizes: Vec<u64> = seeds
            .iter()
            .map(|seed| fs::metadata(seed).unwrap().len())
            .collect();
        assert!(
            sizes.len() <= 40 && sizes.iter().sum::<u64>() <= 32 * 1024,
            "{name}: {sizes:?}"
        );
    }
}
