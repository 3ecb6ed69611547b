//! Ed25519 keys in files: the one that signs, made when it is absent, and public halves of others.
//!
//! A private key is PKCS#8 in PEM, as `openssl genpkey -algorithm ed25519` writes it; a public one is what
//! `openssl pkey -pubout` makes of it (RFC 8410). A key is written whole and for its owner alone before it has its name,
//! and never over another: of two processes that make one, both use the first.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context, bail};
use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use zeroize::Zeroizing;

/// What stands before the 32 bytes of a public key (RFC 8410 §4).
const PUBLIC_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// A public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PublicKey(pub(super) [u8; 32]);

impl PublicKey {
    /// Reads the public half from a file that holds either half.
    pub(super) fn read(file: &Path) -> anyhow::Result<Self> {
        let pem = Zeroizing::new(fs::read(file)?);
        if let Ok(public) = SubjectPublicKeyInfoDer::from_pem_slice(&pem) {
            let bytes = public.as_ref().strip_prefix(PUBLIC_PREFIX.as_slice());
            let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
            return bytes
                .map(Self)
                .context("it holds a public key, but no Ed25519 key");
        }
        Ok(Self::of(&private(&pem)?))
    }

    /// The member `x` of its JWK (RFC 8037 §2).
    pub(super) fn encoded(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Its thumbprint: the members that define it in the order of RFC 7638 §3.
    pub(super) fn thumbprint(&self) -> String {
        let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, self.encoded());
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, members.as_bytes()))
    }
}

/// The private key in this file, which is made when there is none.
pub(super) fn open_or_make(file: &Path) -> anyhow::Result<Ed25519KeyPair> {
    match fs::read(file).map(Zeroizing::new) {
        Ok(pem) => private(&pem),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(file).context("there is none, and none can be made")?;
            private(&Zeroizing::new(fs::read(file)?))
        }
        Err(error) => Err(error.into()),
    }
}

fn private(pem: &[u8]) -> anyhow::Result<Ed25519KeyPair> {
    let Ok(der) = PrivatePkcs8KeyDer::from_pem_slice(pem) else {
        bail!("it holds no private key in PKCS#8 and PEM: \"-----BEGIN PRIVATE KEY-----\"");
    };
    Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der())
        .map_err(|_| anyhow::anyhow!("it holds a private key, but no Ed25519 key"))
}

fn make(file: &Path) -> anyhow::Result<()> {
    let der = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new())
        .map_err(|_| anyhow::anyhow!("the system gave no randomness"))?;
    let pem = Zeroizing::new(format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        Zeroizing::new(STANDARD.encode(der.as_ref())).as_str()
    ));
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let draft = file.with_extension(format!("{}.draft", std::process::id()));
    let _ = fs::remove_file(&draft);
    let written = write(&draft, pem.as_bytes()).and_then(|()| match fs::hard_link(&draft, file) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    let _ = fs::remove_file(&draft);
    written?;
    // Upstreams may know it soon, so it must not be another one after a loss of power.
    fs::File::open(folder)?.sync_all()?;
    tracing::info!(file = %file.display(), "made the key that signs identities");
    Ok(())
}

fn write(file: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(file)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    /// RFC 8037 appendix A.1 to A.3.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";

    fn read(content: &str) -> Result<PublicKey, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.pem");
        fs::write(&file, content).unwrap();
        PublicKey::read(&file).map_err(|error| error.to_string())
    }

    #[test]
    fn the_key_of_rfc_8037_has_the_thumbprint_of_rfc_8037() {
        for either in [PRIVATE, PUBLIC] {
            let key = read(either).unwrap();
            assert_eq!(key.encoded(), "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
            assert_eq!(key.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        }
    }

    #[test]
    fn what_is_no_ed25519_key_is_refused_and_not_quoted() {
        let other = rcgen::KeyPair::generate().unwrap();
        for (content, expected) in [
            (
                "",
                "it holds no private key in PKCS#8 and PEM: \"-----BEGIN PRIVATE KEY-----\"",
            ),
            (
                &other.serialize_pem(),
                "it holds a private key, but no Ed25519 key",
            ),
            (
                &other.public_key_pem(),
                "it holds a public key, but no Ed25519 key",
            ),
        ] {
            assert_eq!(read(content).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_key_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/identity.pem");
        let first = PublicKey::of(&open_or_make(&file).unwrap());
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(PublicKey::of(&open_or_make(&file).unwrap()), first);
        // One that another process made meanwhile stays.
        make(&file).unwrap();
        assert_eq!(PublicKey::read(&file).unwrap(), first);
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }
}
