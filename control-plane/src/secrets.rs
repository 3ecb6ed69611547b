//! The secret files: 32 bytes in base64, made on the first start, mode 0600.
//!
//! A file that is missing although the database was used before is an error, and so is one with another content:
//! a new secret would silently make every key unknown or unreadable.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyward_config::SecretFiles;
use keyward_contract::DigestKey;
use zeroize::Zeroizing;

use crate::domain::seal::MasterKey;
use crate::store::{Store, settings};
use crate::sync::SharedToken;

const DIGEST_CHECK: &str = "digest_key_check";
const MASTER_CHECK: &str = "master_key_check";

/// The control plane's secrets.
#[derive(Debug)]
pub struct Secrets {
    /// Seals what must be shown again.
    pub master_key: MasterKey,
    /// Keys every digest.
    pub digest_key: DigestKey,
}

/// Reads the secret files, makes them on the first start, and checks that they are this database's.
///
/// # Errors
/// When a file can't be read or made, holds no secret, or isn't the one that this database was used with.
pub async fn open(files: &SecretFiles, store: &Store) -> anyhow::Result<Secrets> {
    let digest_check = settings::value(store, DIGEST_CHECK).await?;
    let master_check = settings::value(store, MASTER_CHECK).await?;
    let absent = if digest_check.is_some() {
        Absent::IsAnError
    } else {
        Absent::IsMade
    };
    let master_key = MasterKey::from_bytes(*secret("secrets.master_key_file", &files.master_key, absent)?);
    let digest_key = DigestKey::from_bytes(*secret("secrets.digest_key_file", &files.digest_key, absent)?);
    let digest = hex::encode(digest_key.digest(DIGEST_CHECK.as_bytes()).as_bytes());
    match digest_check {
        None => settings::set_once(store, DIGEST_CHECK, &digest).await?,
        Some(known) if known == digest => {}
        Some(_) => bail!(
            "secrets.digest_key_file: {} is not the key that this database was used with: put that one back",
            files.digest_key.display()
        ),
    }
    match master_check {
        None => {
            let sealed = master_key.seal(MASTER_CHECK.as_bytes(), MASTER_CHECK.as_bytes())?;
            settings::set_once(store, MASTER_CHECK, &STANDARD.encode(sealed)).await?;
        }
        Some(sealed) => {
            let opened = master_key.open(MASTER_CHECK.as_bytes(), &STANDARD.decode(sealed)?);
            opened.map_err(|_| {
                anyhow::anyhow!(
                    "secrets.master_key_file: {} is not the key that this database was used with: put that one back",
                    files.master_key.display()
                )
            })?;
        }
    }
    Ok(Secrets {
        master_key,
        digest_key,
    })
}

/// The token that gateways may share. Made when it is absent: losing it is harmless, gateways are given the new one.
///
/// # Errors
/// When the file can't be read or made, or holds no token.
pub fn shared_token(path: &Path) -> anyhow::Result<SharedToken> {
    const KEY: &str = "secrets.gateway_token_file";
    match fs::exists(path) {
        Ok(true) => warn_if_readable(path)?,
        Ok(false) => {
            make(path).with_context(|| format!("{KEY}: {} can't be made", path.display()))?;
        }
        Err(error) => return Err(error).with_context(|| format!("{KEY}: {} can't be read", path.display())),
    }
    Ok(SharedToken::in_file(path.to_owned())?)
}

#[derive(Clone, Copy)]
enum Absent {
    IsMade,
    IsAnError,
}

fn secret(key: &str, path: &Path, absent: Absent) -> anyhow::Result<Zeroizing<[u8; 32]>> {
    match (fs::read_to_string(path), absent) {
        (Ok(text), _) => read(key, path, &Zeroizing::new(text)),
        (Err(error), Absent::IsMade) if error.kind() == ErrorKind::NotFound => {
            make(path).with_context(|| format!("{key}: {} can't be made", path.display()))
        }
        (Err(error), Absent::IsAnError) if error.kind() == ErrorKind::NotFound => bail!(
            "{key}: {} is missing, but this database was used before: put the file back",
            path.display()
        ),
        (Err(error), _) => Err(error).with_context(|| format!("{key}: {} can't be read", path.display())),
    }
}

/// A password that stands alone on the first line of a file.
pub(crate) fn password(path: &Path) -> std::io::Result<Zeroizing<String>> {
    let text = Zeroizing::new(fs::read_to_string(path)?);
    warn_if_readable(path)?;
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

fn warn_if_readable(path: &Path) -> std::io::Result<()> {
    if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
        tracing::warn!(file = %path.display(), "others may read this secret file: chmod 600 it");
    }
    Ok(())
}

fn read(key: &str, path: &Path, text: &str) -> anyhow::Result<Zeroizing<[u8; 32]>> {
    warn_if_readable(path)?;
    let bytes = STANDARD.decode(text.trim()).map(Zeroizing::new).ok();
    let secret = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok());
    match secret {
        Some(secret) => Ok(Zeroizing::new(secret)),
        None => bail!(
            "{key}: {} must hold 32 bytes in base64 (44 characters), such as `openssl rand -base64 32` makes",
            path.display()
        ),
    }
}

fn make(path: &Path) -> anyhow::Result<Zeroizing<[u8; 32]>> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut secret = Zeroizing::new([0; 32]);
    getrandom::fill(secret.as_mut_slice())?;
    let text = Zeroizing::new(format!("{}\n", STANDARD.encode(secret.as_slice())));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn in_folder() -> (tempfile::TempDir, SecretFiles, Store) {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join("secrets").join(name);
        let files = SecretFiles {
            master_key: path("master"),
            digest_key: path("digest"),
            gateway_token: path("token"),
        };
        let store = Store::open(&format!("sqlite://{}/cp.db", folder.path().display()))
            .await
            .unwrap();
        (folder, files, store)
    }

    #[tokio::test]
    async fn absent_files_are_made_for_their_owner_alone_and_read_again() {
        let (_folder, files, store) = in_folder().await;
        let first = open(&files, &store).await.unwrap();
        let mode = fs::metadata(&files.master_key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let second = open(&files, &store).await.unwrap();
        assert_eq!(first.digest_key.expose(), second.digest_key.expose());
    }

    #[tokio::test]
    async fn a_lost_or_replaced_secret_stops_the_start() {
        let (_folder, files, store) = in_folder().await;
        open(&files, &store).await.unwrap();
        for path in [&files.digest_key, &files.master_key] {
            let kept = fs::read(path).unwrap();
            fs::remove_file(path).unwrap();
            let error = open(&files, &store).await.unwrap_err().to_string();
            assert!(error.contains("is missing"), "{error}");
            fs::write(path, STANDARD.encode([9; 32])).unwrap();
            let error = open(&files, &store).await.unwrap_err().to_string();
            assert!(error.contains("is not the key"), "{error}");
            fs::write(path, "too short").unwrap();
            let error = open(&files, &store).await.unwrap_err().to_string();
            assert!(
                error.contains("32 bytes in base64") && !error.contains("too short"),
                "{error}"
            );
            fs::write(path, kept).unwrap();
        }
        open(&files, &store).await.unwrap();
    }
}
