//! What stands in PEM files.

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::{FileError, Source};

/// A certificate and those that lead to its root, in their order.
pub(crate) fn chain(source: &Source) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(source.bytes()?).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(source.wrong("holds no certificate; it must be PEM: -----BEGIN CERTIFICATE-----")),
        Err(_) => Err(source.wrong("holds a certificate that is no PEM")),
    }
}

/// The one private key.
pub(crate) fn key(source: &Source) -> Result<PrivateKeyDer<'static>, FileError> {
    PrivateKeyDer::from_pem_slice(source.bytes()?)
        .map_err(|_| source.wrong("holds no private key; it must be PEM: -----BEGIN PRIVATE KEY-----"))
}

/// The authorities that are trusted.
pub(crate) fn roots(source: &Source) -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(source)? {
        roots
            .add(certificate)
            .map_err(|error| source.wrong(format!("holds a certificate that can't be trusted: {error}")))?;
    }
    Ok(roots)
}

/// What authorities have revoked. An empty file revokes nothing.
pub(crate) fn revoked(source: &Source) -> Result<Vec<CertificateRevocationListDer<'static>>, FileError> {
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(source.bytes()?).collect();
    lists.map_err(|_| source.wrong("holds a revocation list that is no PEM: -----BEGIN X509 CRL-----"))
}
