//! The control plane's end: its certificate, and whose client certificates it takes.
//!
//! A client need not show a certificate (it may have a token), but one that it shows must be good: signed by an authority
//! of `client_ca_file`, in its time, and on no list of `client_crl_file`. Sessions are never resumed, so that every
//! connection is checked by what holds when it is opened.

use std::sync::Arc;

use keyward_config::SyncTls;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};

use crate::{ALPN, FileError, Refused, SettingFile, Sources, pem, provider};

const CERT: &str = "sync.tls.cert_file";
const KEY: &str = "sync.tls.key_file";
const CLIENT_CA: &str = "sync.tls.client_ca_file";
const CLIENT_CRL: &str = "sync.tls.client_crl_file";

/// What the files of `sync.tls` mean.
#[derive(Debug)]
pub struct ServerTls {
    /// For connections that are opened from now on.
    pub config: Arc<ServerConfig>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

impl ServerTls {
    /// The files.
    #[must_use]
    pub fn files(tls: &SyncTls) -> Vec<SettingFile> {
        let file = |setting, path: &Option<std::path::PathBuf>| {
            let path = path.clone()?;
            Some(SettingFile { setting, path })
        };
        let files = [
            file(CERT, &Some(tls.cert_file.clone())),
            file(KEY, &Some(tls.key_file.clone())),
            file(CLIENT_CA, &tls.client_ca_file),
            file(CLIENT_CRL, &tls.client_crl_file),
        ];
        files.into_iter().flatten().collect()
    }

    /// Reads what they hold.
    ///
    /// # Errors
    /// When one can't be read, or they don't belong together.
    pub fn make(sources: &Sources) -> Result<Self, FileError> {
        let absent = |setting: &'static str| FileError {
            setting,
            path: "".into(),
            reason: "is not set".to_owned(),
        };
        let cert = sources.of(CERT).ok_or_else(|| absent(CERT))?;
        let key = sources.of(KEY).ok_or_else(|| absent(KEY))?;
        let verifier = verifier(sources)?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| cert.wrong(error.to_string()))?;
        let builder = match &verifier {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(pem::chain(cert)?, pem::key(key)?)
            .map_err(|error| key.wrong(format!("does not go with {CERT}: {error}")))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self {
            config: Arc::new(config),
            verifier,
        })
    }

    /// Whether a client that showed this certificate, with what leads to its root, would be let in at this moment.
    ///
    /// # Errors
    /// Why it would not.
    pub fn takes(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Refused> {
        let (Some(verifier), Some((certificate, rest))) = (&self.verifier, chain.split_first()) else {
            return Err(Refused::Untrusted("client certificates are not taken".to_owned()));
        };
        verifier
            .verify_client_cert(certificate, rest, now)
            .map(drop)
            .map_err(|error| Refused::from(&error))
    }
}

fn verifier(sources: &Sources) -> Result<Option<Arc<dyn ClientCertVerifier>>, FileError> {
    let Some(authorities) = sources.of(CLIENT_CA) else {
        return Ok(None);
    };
    let roots = Arc::new(pem::roots(authorities)?);
    let crl = sources.of(CLIENT_CRL);
    let lists = crl.map(pem::revoked).transpose()?.unwrap_or_default();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
        .with_crls(lists)
        // An authority that has published no list has revoked nothing.
        .allow_unknown_revocation_status()
        .allow_unauthenticated()
        .build();
    let verifier = verifier.map_err(|error| crl.unwrap_or(authorities).wrong(error.to_string()))?;
    Ok(Some(verifier))
}
