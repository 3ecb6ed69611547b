//! The gateway's end: whom it trusts, and the certificate that it shows.

use std::sync::Arc;

use keyward_config::LinkTls;
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};

use crate::{ALPN, FileError, SettingFile, Sources, pem, provider};

const CA: &str = "control_plane.tls.ca_file";
const CERT: &str = "control_plane.tls.cert_file";
const KEY: &str = "control_plane.tls.key_file";

/// The files of `control_plane.tls`.
#[must_use]
pub fn client_files(tls: &LinkTls) -> Vec<SettingFile> {
    let mut files = Vec::new();
    let mut add = |setting, path: &std::path::Path| {
        files.push(SettingFile {
            setting,
            path: path.to_owned(),
        });
    };
    if let Some(ca) = &tls.ca_file {
        add(CA, ca);
    }
    if let Some(certificate) = &tls.certificate {
        add(CERT, &certificate.cert_file);
        add(KEY, &certificate.key_file);
    }
    files
}

/// What they mean. Without a `ca_file` the system's roots are trusted.
///
/// # Errors
/// When a file can't be read, or they don't belong together, or the system has no roots.
pub fn client_config(sources: &Sources) -> Result<Arc<ClientConfig>, FileError> {
    let roots = match sources.of(CA) {
        Some(source) => pem::roots(source)?,
        None => system_roots()?,
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| of_the_system(error.to_string()))?
        .with_root_certificates(roots);
    let mut config = match (sources.of(CERT), sources.of(KEY)) {
        (Some(cert), Some(key)) => builder
            .with_client_auth_cert(pem::chain(cert)?, pem::key(key)?)
            .map_err(|error| key.wrong(format!("does not go with {CERT}: {error}")))?,
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// What is broken among them is left out; there must be some.
fn system_roots() -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        return Err(of_the_system(
            "the system has no root certificates; name the authority that signed the control plane's"
                .to_owned(),
        ));
    }
    Ok(roots)
}

fn of_the_system(reason: String) -> FileError {
    FileError {
        setting: CA,
        path: "".into(),
        reason,
    }
}
