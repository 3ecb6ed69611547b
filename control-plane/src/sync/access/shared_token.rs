//! The token that all gateways may share, in a file of one or two lines: both are taken, so that it can be changed on
//! one gateway after the other.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyward_tls::{FileError, Reloading, SettingFile, Source, Sources};
use sha2::{Digest, Sha256};

const SETTING: &str = "secrets.gateway_token_file";
const MOST_LINES: usize = 2;

/// It, or that there is none. No more than its SHA-256 is kept.
#[derive(Debug)]
pub struct SharedToken(Option<Reloading<Vec<[u8; 32]>>>);

impl SharedToken {
    /// None is taken.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// What is in this file, and in force there from then on.
    ///
    /// # Errors
    /// When it can't be read, or holds no token.
    pub fn in_file(path: PathBuf) -> Result<Self, FileError> {
        let file = SettingFile {
            setting: SETTING,
            path,
        };
        Ok(Self(Some(Reloading::open(vec![file], read)?)))
    }

    /// What is kept of a token.
    pub(super) fn digest(shown: &[u8]) -> [u8; 32] {
        Sha256::digest(shown).into()
    }

    /// Whether it is this. Takes equally long whatever was shown.
    pub(super) fn is(&self, shown: &[u8; 32]) -> bool {
        let Some(held) = &self.0 else {
            return false;
        };
        let differs = |token: &[u8; 32]| {
            let difference = shown.iter().zip(token).fold(0, |sum, (a, b)| sum | (a ^ b));
            std::hint::black_box(difference) != 0
        };
        // No early way out.
        held.current()
            .iter()
            .fold(false, |is, token| is | !differs(token))
    }

    /// Reads the file again; whether it has changed.
    pub(super) fn look(&self) -> Result<bool, FileError> {
        match &self.0 {
            Some(held) => Ok(held.look()?.is_some()),
            None => Ok(false),
        }
    }
}

fn read(sources: &Sources) -> Result<Vec<[u8; 32]>, FileError> {
    let Some(source) = sources.of(SETTING) else {
        return Ok(Vec::new());
    };
    let wrong = || {
        source.wrong(
            "must hold one or two lines, each of 32 bytes in base64 (44 characters), such as `openssl rand -base64 32` makes",
        )
    };
    let lines = lines(source)?;
    if lines.is_empty() || lines.len() > MOST_LINES || !lines.iter().all(|line| is_token(line)) {
        return Err(wrong());
    }
    Ok(lines.into_iter().map(SharedToken::digest).collect())
}

fn lines(source: &Source) -> Result<Vec<&[u8]>, FileError> {
    let lines = source
        .bytes()?
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii);
    Ok(lines.filter(|line| !line.is_empty()).collect())
}

fn is_token(line: &[u8]) -> bool {
    STANDARD
        .decode(line)
        .map(zeroize::Zeroizing::new)
        .is_ok_and(|bytes| bytes.len() == 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_or_two_lines_are_taken_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let (one, two) = (STANDARD.encode([1; 32]), STANDARD.encode([2; 32]));
        std::fs::write(&path, format!("{one}\n")).unwrap();
        let token = SharedToken::in_file(path.clone()).unwrap();
        let is = |text: &str| token.is(&SharedToken::digest(text.as_bytes()));
        assert!(is(&one) && !is(&two) && !is(""));
        std::fs::write(&path, format!("{two}\n {one}\n\n")).unwrap();
        assert!(token.look().unwrap());
        assert!(is(&one) && is(&two));
        for bad in ["", "\n", "short", &format!("{one}\n{two}\n{one}")] {
            std::fs::write(&path, bad).unwrap();
            let error = token.look().unwrap_err().to_string();
            assert!(error.contains("openssl rand") && !error.contains(&one), "{error}");
            assert!(is(&one) && is(&two));
        }
        std::fs::write(&path, &two).unwrap();
        assert!(token.look().unwrap());
        assert!(!is(&one) && is(&two));
        assert!(!SharedToken::none().is(&SharedToken::digest(two.as_bytes())));
    }
}
