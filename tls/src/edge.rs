//! The gateway's end towards partners: several certificates, found by the name that a client asks for.
//!
//! A name is looked up as it is, then as a wildcard of its last labels (RFC 6125 §6.4.3: one label, the leftmost); a client
//! that asks for none, or for one that no certificate has, is shown the first. HTTP/2 and HTTP/1.1 are agreed on by ALPN.
//! Where client certificates are asked for, one that is shown must be good; each connection shows its own, so that no session
//! is taken up again there.

use std::collections::HashMap;
use std::sync::Arc;

use keyward_config::{ClientCertificates, ListenTls};
use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;

use crate::{FileError, SettingFile, Source, Sources, pem, provider};

const CERT: &str = "listen.tls.certificates.cert_file";
const KEY: &str = "listen.tls.certificates.key_file";
const CLIENT_CA: &str = "listen.tls.client_ca_file";

/// What `listen.tls` means.
#[derive(Clone, Debug)]
pub struct EdgeTls {
    /// For connections that are opened from now on.
    pub config: Arc<ServerConfig>,
}

impl EdgeTls {
    /// The files.
    #[must_use]
    pub fn files(tls: &ListenTls) -> Vec<SettingFile> {
        let mut files = Vec::new();
        let mut add = |setting, path: &std::path::Path| {
            files.push(SettingFile {
                setting,
                path: path.to_owned(),
            });
        };
        for certificate in &tls.certificates {
            add(CERT, &certificate.cert_file);
            add(KEY, &certificate.key_file);
        }
        if let Some(authorities) = &tls.client_ca_file {
            add(CLIENT_CA, authorities);
        }
        files
    }

    /// Reads what they hold.
    ///
    /// # Errors
    /// When one can't be read, or a certificate and its key don't belong together.
    pub fn make(sources: &Sources, clients: ClientCertificates) -> Result<Self, FileError> {
        let certificates = Certificates::read(sources)?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| of_all(error.to_string()))?;
        let verifier = verifier(sources, clients)?;
        let builder = match &verifier {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(certificates));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        if verifier.is_some() {
            // A session that is taken up again shows no certificate: what has ended meanwhile would still be good.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        } else {
            config.ticketer =
                rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| of_all(error.to_string()))?;
        }
        Ok(Self {
            config: Arc::new(config),
        })
    }
}

fn of_all(reason: String) -> FileError {
    FileError {
        setting: "listen.tls",
        path: "".into(),
        reason,
    }
}

fn verifier(
    sources: &Sources,
    clients: ClientCertificates,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, FileError> {
    let Some(authorities) = sources.of(CLIENT_CA) else {
        return Ok(None);
    };
    let roots = Arc::new(pem::roots(authorities)?);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
    let builder = match clients {
        ClientCertificates::Require => builder,
        ClientCertificates::Optional => builder.allow_unauthenticated(),
    };
    let verifier = builder
        .build()
        .map_err(|error| authorities.wrong(error.to_string()))?;
    Ok(Some(verifier))
}

/// The certificates by the names that they have.
#[derive(Debug)]
struct Certificates {
    by_name: HashMap<String, Arc<CertifiedKey>>,
    first: Arc<CertifiedKey>,
}

impl Certificates {
    fn read(sources: &Sources) -> Result<Self, FileError> {
        let mut by_name = HashMap::new();
        let mut first = None;
        for (cert, key) in sources.all(CERT).zip(sources.all(KEY)) {
            let certified = Arc::new(certified(cert, key)?);
            for name in names(cert, &certified)? {
                // Of two with one name the earlier is shown, as in the configuration.
                by_name.entry(name).or_insert_with(|| Arc::clone(&certified));
            }
            first.get_or_insert(certified);
        }
        let first = first.ok_or_else(|| of_all("has no certificate".to_owned()))?;
        Ok(Self { by_name, first })
    }

    fn of(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        self.by_name.get(&name).or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.by_name.get(&format!("*.{parent}"))
        })
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name().and_then(|name| self.of(name));
        Some(Arc::clone(asked.unwrap_or(&self.first)))
    }
}

fn certified(cert: &Source, key: &Source) -> Result<CertifiedKey, FileError> {
    let chain = pem::chain(cert)?;
    CertifiedKey::from_der(chain, pem::key(key)?, &provider())
        .map_err(|error| key.wrong(format!("does not go with its certificate: {error}")))
}

fn names(cert: &Source, certified: &CertifiedKey) -> Result<Vec<String>, FileError> {
    let own = certified.end_entity_cert();
    let own = own.map_err(|error| cert.wrong(error.to_string()))?;
    let own = webpki::EndEntityCert::try_from(own)
        .map_err(|error| cert.wrong(format!("holds no certificate of a server: {error}")))?;
    Ok(own.valid_dns_names().map(str::to_ascii_lowercase).collect())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use keyward_config::CertificateFiles;

    fn certificate(folder: &std::path::Path, name: &str, names: &[&str]) -> CertificateFiles {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let made = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        let files = CertificateFiles {
            cert_file: folder.join(format!("{name}.pem")),
            key_file: folder.join(format!("{name}.key")),
        };
        std::fs::write(&files.cert_file, made.pem()).unwrap();
        std::fs::write(&files.key_file, key.serialize_pem()).unwrap();
        files
    }

    fn read(certificates: Vec<CertificateFiles>) -> Result<Certificates, FileError> {
        let tls = ListenTls {
            certificates,
            client_ca_file: None,
            client_certificates: ClientCertificates::Require,
        };
        Certificates::read(&Sources::read(&EdgeTls::files(&tls)))
    }

    #[test]
    fn a_name_finds_its_own_certificate_before_a_wildcard() {
        let folder = tempfile::tempdir().unwrap();
        let wild = certificate(folder.path(), "wild", &["*.example.com", "example.com"]);
        let own = certificate(folder.path(), "own", &["API.example.com"]);
        let known = read(vec![wild, own]).unwrap();
        let wild = &known.by_name["*.example.com"];
        let own = &known.by_name["api.example.com"];
        for (name, expected) in [
            ("api.example.com", Some(own)),
            ("Api.Example.Com", Some(own)),
            ("www.example.com", Some(wild)),
            ("example.com", Some(wild)),
            ("a.b.example.com", None),
            ("example.org", None),
            ("com", None),
        ] {
            let found = known.of(name);
            assert_eq!(found.map(Arc::as_ptr), expected.map(Arc::as_ptr), "{name}");
        }
    }

    #[test]
    fn a_key_of_another_certificate_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let one = certificate(folder.path(), "one", &["one.example"]);
        let other = certificate(folder.path(), "other", &["other.example"]);
        let mixed = CertificateFiles {
            cert_file: one.cert_file,
            key_file: other.key_file,
        };
        let error = read(vec![mixed]).unwrap_err().to_string();
        assert!(
            error.contains("does not go with its certificate") && error.starts_with(KEY),
            "{error}"
        );
    }
}
