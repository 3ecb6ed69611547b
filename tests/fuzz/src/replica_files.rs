//! The files of a replica with bytes changed, cut off or put in: it is opened or told to be unusable, and what it then
//! says of a key is what was once in force, or nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use keyward_contract::KeyDigest;
use keyward_gateway::keys::{KeySet, Lookup, Recent};

use super::{folder, key_set};

/// A replica with a base and a journal, as it lies on the disk.
static WHOLE: LazyLock<(tempfile::TempDir, Vec<PathBuf>)> = LazyLock::new(|| {
    let whole = folder("whole");
    let keys = key_set::open(whole.path());
    key_set::fill(&keys);
    drop(keys);
    let mut files: Vec<_> = fs::read_dir(whole.path())
        .into_iter()
        .flatten()
        .flatten()
        .map(|file| file.path())
        .filter(|path| path.is_file())
        .collect();
    // Names of chance come last, so that an input means the same at every start.
    files.sort_by_key(|path| {
        (
            path.extension().is_some(),
            path.extension().map(ToOwned::to_owned),
            path.clone(),
        )
    });
    (whole, files)
});

/// Changes, five bytes each: which file, where (two), what is done, and with what.
pub fn check(bytes: &[u8]) {
    let copy = folder("copy");
    for (number, file) in WHOLE.1.iter().enumerate() {
        let mut content = fs::read(file).unwrap_or_default();
        let changes = bytes.as_chunks::<5>().0.iter().take(64);
        for [which, high, low, how, value] in changes {
            if usize::from(*which) % WHOLE.1.len() == number {
                let at = usize::from(u16::from_be_bytes([*high, *low]));
                change(&mut content, at, *how, *value);
            }
        }
        let name = file.file_name().unwrap_or_default();
        assert!(fs::write(copy.path().join(name), content).is_ok());
    }
    use_all(copy.path());
}

fn change(content: &mut Vec<u8>, at: usize, how: u8, value: u8) {
    if content.is_empty() {
        content.push(value);
        return;
    }
    let at = at % content.len();
    match how % 5 {
        0 => content[at] ^= value,
        1 => content[at] = value,
        2 => content.truncate(at),
        3 => content.insert(at, value),
        _ => {
            let end = content.len().min(at + usize::from(value));
            content.drain(at..end);
        }
    }
}

fn use_all(folder: &Path) {
    let Ok(keys) = key_set::try_open(folder) else {
        return;
    };
    let mut recent = Recent::with_capacity(64);
    for number in 0..key_set::KEYS {
        let digest = key_set::digest(number);
        match keys.find_digest(&digest, &mut recent).0 {
            Lookup::Known(held) => assert!(key_set::was_in_force(number, &held.entry().record)),
            Lookup::Unknown | Lookup::Unavailable => {}
        }
    }
    let nobody = keys
        .find_digest(&KeyDigest::from_bytes([0xee; 32]), &mut recent)
        .0;
    assert!(!matches!(nobody, Lookup::Known(_)), "a key that never was");
    goes_on(&keys);
}

/// A change after what is held, and a look at it.
fn goes_on(keys: &KeySet) {
    let next = keys.position().revision.saturating_add(1);
    if keys.apply(vec![key_set::change(next, 0)]).is_ok() && keys.is_ready() {
        let position = keys.position().revision;
        assert!(position == next || position == next - 1);
    }
}
