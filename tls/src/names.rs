//! Whom a certificate names.

use rustls::pki_types::CertificateDer;

/// What stands before a gateway's id where a certificate names it by a URI.
const URI: &str = "keyward://gateway/";

/// Whether a certificate names the gateway of this id: as a DNS name that is the id, or as the URI
/// `keyward://gateway/<id>`. Letter by letter; a wildcard names nobody.
#[must_use]
pub fn names_gateway(certificate: &CertificateDer<'_>, id: &str) -> bool {
    let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else {
        return false;
    };
    certificate.valid_dns_names().any(|name| name == id)
        || certificate
            .valid_uri_names()
            .any(|uri| uri.strip_prefix(URI) == Some(id))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    #[test]
    fn a_certificate_names_whom_it_says_and_nobody_else() {
        let mut params = CertificateParams::new(vec!["edge-1".into(), "*.edge.example".into()]).unwrap();
        let uri = "keyward://gateway/edge_2".try_into().unwrap();
        params.subject_alt_names.push(SanType::URI(uri));
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        for (id, named) in [
            ("edge-1", true),
            ("edge_2", true),
            ("Edge-1", false),
            ("edge-2", false),
            ("a.edge.example", false),
            ("keyward://gateway/edge_2", false),
            ("", false),
        ] {
            assert_eq!(names_gateway(made.der(), id), named, "{id}");
        }
        assert!(!names_gateway(&CertificateDer::from(vec![1, 2, 3]), "edge-1"));
    }
}
