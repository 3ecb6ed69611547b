//! What we show the control plane, and whom we take for it: made of files, and made anew when they change.

use std::sync::Arc;

use keyward_config::ControlPlaneLink;
use keyward_tls::{FileError, Purpose, Reloading, SettingFile, Source, Sources, client_config, client_files};
use rustls::ClientConfig;
use secrecy::SecretString;

const TOKEN: &str = "control_plane.token_file";

/// The files, and what is in force of them.
#[derive(Debug)]
pub struct LinkCredentials(Reloading<Credentials>);

/// What they mean. Can't be printed but for what it has.
#[derive(Debug)]
pub(super) struct Credentials {
    /// `None`: a certificate stands for it.
    pub(super) token: Option<SecretString>,
    /// `None`: no address is https.
    pub(super) tls: Option<Arc<ClientConfig>>,
}

impl LinkCredentials {
    /// Reads them for the first time.
    ///
    /// # Errors
    /// When a file that is needed can't be read, or holds something else.
    pub fn open(link: &ControlPlaneLink) -> Result<Self, FileError> {
        let mut files = vec![SettingFile {
            setting: TOKEN,
            path: link.token_file.clone(),
        }];
        files.extend(client_files(&link.tls, Purpose::ControlPlane));
        let has_certificate = link.tls.certificate.is_some();
        let needs_tls = link.urls.iter().any(|url| url.starts_with("https://"));
        let make = move |sources: &Sources| {
            Ok(Credentials {
                token: token(sources, has_certificate)?,
                tls: needs_tls
                    .then(|| client_config(sources, Purpose::ControlPlane))
                    .transpose()?,
            })
        };
        Reloading::open(files, make).map(Self)
    }

    /// What is in force.
    pub(super) fn current(&self) -> Arc<Credentials> {
        self.0.current()
    }

    /// Takes changed files in, and tells what came of it. Reads the disk.
    pub(super) fn look(&self) {
        match self.0.look() {
            Ok(None) => {}
            Ok(Some(_)) => tracing::info!("the credentials for the control plane have changed"),
            Err(error) => {
                tracing::error!(%error, "changed credentials for the control plane are not taken; those before hold");
            }
        }
    }
}

/// The first line: a copy of the control plane's file may have an older token behind it.
fn token(sources: &Sources, has_certificate: bool) -> Result<Option<SecretString>, FileError> {
    let Some(source) = sources.of(TOKEN) else {
        return Ok(None);
    };
    if has_certificate && source.is_absent() {
        return Ok(None);
    }
    match first_line(source)? {
        "" if has_certificate => Ok(None),
        "" => Err(source.wrong("is empty; it must hold the token that the control plane expects")),
        line if line.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Some(SecretString::from(line))),
        _ => Err(source.wrong("holds no token, which is one word of visible ASCII characters")),
    }
}

fn first_line(source: &Source) -> Result<&str, FileError> {
    let text = std::str::from_utf8(source.bytes()?).map_err(|_| source.wrong("holds no text"))?;
    Ok(text.trim().lines().next().unwrap_or_default().trim())
}

#[cfg(test)]
mod tests {
    use keyward_config::{CertificateFiles, ClientTls};
    use secrecy::ExposeSecret;

    use super::*;

    fn shown(token: Option<&str>, tls: ClientTls) -> Result<Option<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let token_file = folder.path().join("token");
        if let Some(token) = token {
            std::fs::write(&token_file, token).unwrap();
        }
        let link = ControlPlaneLink {
            urls: vec!["http://127.0.0.1:8082".into()],
            token_file,
            tls,
        };
        let credentials = LinkCredentials::open(&link).map_err(|error| error.reason)?;
        let token = &credentials.current().token;
        Ok(token.as_ref().map(|token| token.expose_secret().to_owned()))
    }

    #[test]
    fn the_first_line_is_the_token_and_a_certificate_may_stand_for_it() {
        let plain = ClientTls::default;
        let certified = || ClientTls {
            certificate: Some(CertificateFiles {
                cert_file: "nowhere".into(),
                key_file: "nowhere".into(),
            }),
            ..plain()
        };
        assert_eq!(shown(Some(" new \nold\n"), plain()), Ok(Some("new".into())));
        assert_eq!(shown(Some("new"), certified()), Ok(Some("new".into())));
        assert_eq!(shown(None, certified()), Ok(None));
        assert_eq!(shown(Some("\n"), certified()), Ok(None));
        for bad in [None, Some(""), Some("a b"), Some("ö")] {
            assert!(shown(bad, plain()).is_err(), "{bad:?}");
        }
    }
}
