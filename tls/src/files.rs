//! Files that may change while a program runs.
//!
//! They are compared by what they hold, so that it doesn't matter how they are replaced: written over, renamed into
//! place, or behind a link. A half-written one is a bad one, and the next look takes the whole. Of what was seen no more
//! than a digest is kept.

use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use zeroize::Zeroizing;

use crate::FileError;

/// A file, and the setting that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingFile {
    /// Such as `sync.tls.cert_file`.
    pub setting: &'static str,
    /// Where it is.
    pub path: PathBuf,
}

/// What is in a file, or that it can't be read. Wiped when dropped; can't be printed.
pub struct Source {
    file: SettingFile,
    bytes: Result<Zeroizing<Vec<u8>>, ErrorKind>,
}

/// What is in several files, read one after the other.
#[derive(Debug)]
pub struct Sources(Vec<Source>);

impl Source {
    /// What is in it.
    ///
    /// # Errors
    /// When it couldn't be read.
    pub fn bytes(&self) -> Result<&[u8], FileError> {
        match &self.bytes {
            Ok(bytes) => Ok(bytes.as_slice()),
            Err(kind) => Err(self.wrong(format!("can't be read: {kind}"))),
        }
    }

    /// Whether there is no such file.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self.bytes, Err(ErrorKind::NotFound))
    }

    /// Says what is wrong with it.
    #[must_use]
    pub fn wrong(&self, reason: impl Into<String>) -> FileError {
        FileError {
            setting: self.file.setting,
            path: self.file.path.clone(),
            reason: reason.into(),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({})", self.file.path.display())
    }
}

impl Sources {
    /// Reads all of them. What can't be read is told when it is asked for.
    #[must_use]
    pub fn read(files: &[SettingFile]) -> Self {
        let read = |file: &SettingFile| Source {
            bytes: std::fs::read(&file.path)
                .map(Zeroizing::new)
                .map_err(|error| error.kind()),
            file: file.clone(),
        };
        Self(files.iter().map(read).collect())
    }

    /// The file that this setting names, where it names one.
    #[must_use]
    pub fn of(&self, setting: &str) -> Option<&Source> {
        self.0.iter().find(|source| source.file.setting == setting)
    }

    /// The files that this setting names, where it may name several, in their order.
    pub fn all<'s>(&'s self, setting: &'s str) -> impl Iterator<Item = &'s Source> {
        self.0.iter().filter(move |source| source.file.setting == setting)
    }

    fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for source in &self.0 {
            match &source.bytes {
                Ok(bytes) => {
                    hasher.update(&(bytes.len() as u64).to_le_bytes());
                    hasher.update(bytes);
                }
                Err(kind) => {
                    hasher.update(&u64::MAX.to_le_bytes());
                    hasher.update(kind.to_string().as_bytes());
                }
            }
        }
        *hasher.finalize().as_bytes()
    }
}

type Make<T> = dyn Fn(&Sources) -> Result<T, FileError> + Send + Sync;

/// What is made of files, and made anew when they change.
pub struct Reloading<T> {
    files: Vec<SettingFile>,
    make: Box<Make<T>>,
    seen: Mutex<[u8; 32]>,
    current: RwLock<Arc<T>>,
}

impl<T> Reloading<T> {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// When nothing can be made of them.
    pub fn open(
        files: Vec<SettingFile>,
        make: impl Fn(&Sources) -> Result<T, FileError> + Send + Sync + 'static,
    ) -> Result<Self, FileError> {
        let sources = Sources::read(&files);
        let made = make(&sources)?;
        Ok(Self {
            files,
            make: Box::new(make),
            seen: Mutex::new(sources.digest()),
            current: RwLock::new(Arc::new(made)),
        })
    }

    /// What is in force.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.read())
    }

    /// Reads the files again; answers what is newly in force when they have changed.
    ///
    /// # Errors
    /// When nothing can be made of what they hold now: told once, and what was in force stays so.
    pub fn look(&self) -> Result<Option<Arc<T>>, FileError> {
        let mut seen = self.seen.lock();
        let sources = Sources::read(&self.files);
        let digest = sources.digest();
        if *seen == digest {
            return Ok(None);
        }
        *seen = digest;
        let made = Arc::new((self.make)(&sources)?);
        *self.current.write() = Arc::clone(&made);
        Ok(Some(made))
    }
}

impl<T> fmt::Debug for Reloading<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reloading").field(&self.files).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_new_content_is_taken_and_a_bad_one_is_told_once_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        let file = SettingFile {
            setting: "x.number_file",
            path: path.clone(),
        };
        let make = |sources: &Sources| {
            let source = sources.of("x.number_file").unwrap();
            let text = String::from_utf8_lossy(source.bytes()?).into_owned();
            text.parse::<u32>().map_err(|_| source.wrong("is no number"))
        };
        let missing = Reloading::open(vec![file.clone()], make).unwrap_err();
        assert!(missing.to_string().starts_with("x.number_file: "), "{missing}");
        std::fs::write(&path, "1").unwrap();
        let number = Reloading::open(vec![file], make).unwrap();
        assert_eq!((*number.current(), number.look().unwrap()), (1, None));
        for bad in [Some("one"), None] {
            match bad {
                Some(text) => std::fs::write(&path, text).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            assert!(number.look().is_err());
            assert_eq!((number.look(), *number.current()), (Ok(None), 1));
        }
        std::fs::write(&path, "2").unwrap();
        assert_eq!(number.look().unwrap().as_deref(), Some(&2));
        assert_eq!(*number.current(), 2);
    }
}
