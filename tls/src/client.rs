//! The client's end: whom it trusts, and the certificate that it shows. What it is for decides what the settings are
//! called, what is spoken over it, and whether sessions are taken up again.

use std::sync::Arc;

use keyward_config::ClientTls;
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};

use crate::{FileError, SettingFile, Sources, pem, provider};

/// Sessions that are kept to be taken up again: a few for each endpoint and worker.
const SESSIONS: usize = 256;

/// What a client's end is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The link to the control plane (HTTP/2): `control_plane.tls`.
    ControlPlane,
    /// An upstream that speaks HTTP/1.1: `upstreams.tls`.
    UpstreamHttp1,
    /// An upstream that speaks HTTP/2.
    UpstreamHttp2,
}

/// What the files are called in the configuration.
struct Settings {
    ca: &'static str,
    cert: &'static str,
    key: &'static str,
}

impl Purpose {
    fn settings(self) -> Settings {
        match self {
            Self::ControlPlane => Settings {
                ca: "control_plane.tls.ca_file",
                cert: "control_plane.tls.cert_file",
                key: "control_plane.tls.key_file",
            },
            Self::UpstreamHttp1 | Self::UpstreamHttp2 => Settings {
                ca: "upstreams.tls.ca_file",
                cert: "upstreams.tls.cert_file",
                key: "upstreams.tls.key_file",
            },
        }
    }

    /// What is offered to be spoken (RFC 7301).
    fn alpn(self) -> &'static [u8] {
        match self {
            Self::ControlPlane | Self::UpstreamHttp2 => b"h2",
            Self::UpstreamHttp1 => b"http/1.1",
        }
    }

    /// A control plane must see the certificate each time, so that a revoked one is refused.
    fn resumption(self) -> Resumption {
        match self {
            Self::ControlPlane => Resumption::disabled(),
            Self::UpstreamHttp1 | Self::UpstreamHttp2 => Resumption::in_memory_sessions(SESSIONS),
        }
    }
}

/// The files that these settings name.
#[must_use]
pub fn client_files(tls: &ClientTls, purpose: Purpose) -> Vec<SettingFile> {
    let settings = purpose.settings();
    let mut files = Vec::new();
    let mut add = |setting, path: &std::path::Path| {
        files.push(SettingFile {
            setting,
            path: path.to_owned(),
        });
    };
    if let Some(ca) = &tls.ca_file {
        add(settings.ca, ca);
    }
    if let Some(certificate) = &tls.certificate {
        add(settings.cert, &certificate.cert_file);
        add(settings.key, &certificate.key_file);
    }
    files
}

/// What they mean. Without a `ca_file` the system's roots are trusted.
///
/// # Errors
/// When a file can't be read, or they don't belong together, or the system has no roots.
pub fn client_config(sources: &Sources, purpose: Purpose) -> Result<Arc<ClientConfig>, FileError> {
    let settings = purpose.settings();
    let of_the_system = |reason: String| FileError {
        setting: settings.ca,
        path: "".into(),
        reason,
    };
    let roots = match sources.of(settings.ca) {
        Some(source) => pem::roots(source)?,
        None => system_roots().map_err(|reason| of_the_system(reason.to_owned()))?,
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| of_the_system(error.to_string()))?
        .with_root_certificates(roots);
    let mut config = match (sources.of(settings.cert), sources.of(settings.key)) {
        (Some(cert), Some(key)) => builder
            .with_client_auth_cert(pem::chain(cert)?, pem::key(key)?)
            .map_err(|error| key.wrong(format!("does not go with {}: {error}", settings.cert)))?,
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![purpose.alpn().to_vec()];
    config.resumption = purpose.resumption();
    Ok(Arc::new(config))
}

/// What is broken among them is left out; there must be some.
fn system_roots() -> Result<RootCertStore, &'static str> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        return Err("the system has no root certificates; name the authority that signed the server's");
    }
    Ok(roots)
}
