//! What is wrong with a file, and what the other end says of us. Words that hold no secret.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use rustls::AlertDescription;

/// A file that can't be used. Holds nothing of what is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting}{}: {reason}", shown(.path))]
pub struct FileError {
    /// The setting that names the file.
    pub setting: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: String,
}

fn shown(path: &std::path::Path) -> String {
    match path.as_os_str().is_empty() {
        true => String::new(),
        false => format!(": {}", path.display()),
    }
}

/// Why no connection came about, or one ended, as far as TLS tells.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// We don't trust the other end.
    #[error("the certificate of the other side is not trusted: {0}")]
    Untrusted(String),
    /// The other end doesn't take our certificate.
    #[error("the other side refused our certificate: {0}")]
    Certificate(&'static str),
    /// They can't agree, or one of them breaks the rules.
    #[error("TLS failed: {0}")]
    Failed(String),
}

/// What TLS says of a failed read or write; `None` when it is not TLS that failed.
#[must_use]
pub fn refused_by_peer(error: &io::Error) -> Option<Refused> {
    let mut inner: Option<&(dyn Error + 'static)> = error.get_ref().map(|inner| inner as _);
    while let Some(error) = inner {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return Some(Refused::from(error));
        }
        inner = match error.downcast_ref::<io::Error>() {
            Some(error) => error.get_ref().map(|inner| inner as _),
            None => error.source(),
        };
    }
    None
}

impl From<&rustls::Error> for Refused {
    fn from(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(why) => Self::Untrusted(why.to_string()),
            rustls::Error::AlertReceived(alert) => match of_our_certificate(*alert) {
                Some(why) => Self::Certificate(why),
                None => Self::Failed(error.to_string()),
            },
            other => Self::Failed(other.to_string()),
        }
    }
}

fn of_our_certificate(alert: AlertDescription) -> Option<&'static str> {
    Some(match alert {
        AlertDescription::CertificateRevoked => "it is revoked",
        AlertDescription::CertificateExpired => "it has expired, or is not valid yet",
        AlertDescription::UnknownCA => "nobody that is trusted there has signed it",
        AlertDescription::CertificateRequired => "it wants one, and none was shown",
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => "it is not taken there",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tls_says_is_found_however_deep_it_lies() {
        let alert = rustls::Error::AlertReceived(AlertDescription::CertificateRevoked);
        let error = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, alert));
        assert_eq!(
            refused_by_peer(&error),
            Some(Refused::Certificate("it is revoked"))
        );
        assert_eq!(refused_by_peer(&io::ErrorKind::BrokenPipe.into()), None);
    }
}
