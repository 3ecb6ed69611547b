//! TLS: the control plane's certificate, and gateways' own.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use keyward_config::{CertificateFiles, ClientTls, SyncTls};
use keyward_harness::{Authority, Certificate, Validity};
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tonic::Code;

use super::{let_in, refused, say, token};
use crate::gateway::{Gateway, Shown, hello};
use crate::plane::Plane;

/// A control plane that speaks TLS, and the authorities of both sides.
struct Secured {
    plane: Plane,
    /// Signs the control plane's.
    servers: Authority,
    /// Signs the gateways'.
    gateways: Authority,
    tls: SyncTls,
    files: tempfile::TempDir,
}

impl Secured {
    async fn start() -> Self {
        let files = tempfile::tempdir().unwrap();
        let (servers, gateways) = (
            Authority::new("servers").unwrap(),
            Authority::new("gateways").unwrap(),
        );
        let at = |name: &str| files.path().join(name);
        let certificate = servers.sign(&["localhost"], Validity::Current).unwrap();
        let (cert_file, key_file) = certificate.write(files.path(), "server").unwrap();
        std::fs::write(at("servers.pem"), servers.pem()).unwrap();
        std::fs::write(at("gateways.pem"), gateways.pem()).unwrap();
        std::fs::write(at("revoked.pem"), gateways.revoke(&[]).unwrap()).unwrap();
        let tls = SyncTls {
            cert_file,
            key_file,
            client_ca_file: Some(at("gateways.pem")),
            client_crl_file: Some(at("revoked.pem")),
        };
        let plane = Plane::start_with(|config| config.sync.tls = Some(tls.clone())).await;
        Self {
            plane,
            servers,
            gateways,
            tls,
            files,
        }
    }

    /// What a gateway shows that trusts the control plane.
    fn shown(&self, certificate: Option<&Certificate>) -> Shown {
        let certificate = certificate.map(|certificate| {
            let (cert_file, key_file) = certificate.write(self.files.path(), "gateway").unwrap();
            CertificateFiles { cert_file, key_file }
        });
        Shown {
            token: None,
            tls: Some(ClientTls {
                ca_file: Some(self.ca()),
                certificate,
                server_name: None,
            }),
        }
    }

    fn ca(&self) -> PathBuf {
        self.files.path().join("servers.pem")
    }

    fn revoke(&self, certificates: &[&Certificate]) {
        let list = self.gateways.revoke(certificates).unwrap();
        std::fs::write(self.tls.client_crl_file.as_ref().unwrap(), list).unwrap();
    }
}

#[tokio::test]
async fn a_certificate_lets_in_the_gateway_that_it_names_and_no_other() {
    let secured = Secured::start().await;
    let plane = &secured.plane;
    let by_name = secured.gateways.sign(&["edge-1"], Validity::Current).unwrap();
    let by_uri = secured
        .gateways
        .sign(&["keyward://gateway/edge_2"], Validity::Current)
        .unwrap();
    let shown = secured.shown(Some(&by_name));
    let _one = Gateway::join_by(plane, hello("edge-1", 1), &shown).await.unwrap();
    let others = refused(plane, "edge-2", &shown).await;
    assert_eq!(others.code(), Code::PermissionDenied, "{others:?}");
    let shown = secured.shown(Some(&by_uri));
    let _two = Gateway::join_by(plane, hello("edge_2", 1), &shown).await.unwrap();
    // A token does as well, and what stands in clear text does not.
    let nothing = refused(plane, "edge-3", &secured.shown(None)).await;
    assert_eq!(nothing.code(), Code::Unauthenticated, "{nothing:?}");
    let (_, own) = token(plane, "edge-3", json!({})).await;
    let shown = Shown {
        token: own.token,
        ..secured.shown(None)
    };
    let _three = let_in(plane, "edge-3", 1, &shown).await;
}

#[tokio::test]
async fn a_certificate_of_somebody_elses_or_of_the_past_is_refused_in_the_handshake() {
    let secured = Secured::start().await;
    let stranger = Authority::new("gateways").unwrap();
    for certificate in [
        stranger.sign(&["edge-1"], Validity::Current).unwrap(),
        secured.gateways.sign(&["edge-1"], Validity::Past).unwrap(),
    ] {
        let mut shown = secured.shown(Some(&certificate));
        // Not even with a good token.
        let (_, own) = token(&secured.plane, "edge-1", json!({})).await;
        shown.token = own.token;
        let status = refused(&secured.plane, "edge-1", &shown).await;
        assert!(
            !matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated),
            "{status:?}"
        );
    }
}

#[tokio::test]
async fn a_revoked_certificate_ends_its_stream_and_is_refused_from_then_on() {
    let secured = Secured::start().await;
    let plane = &secured.plane;
    let (leaked, kept) = (
        secured.gateways.sign(&["edge-1"], Validity::Current).unwrap(),
        secured.gateways.sign(&["edge-2"], Validity::Current).unwrap(),
    );
    let shown = secured.shown(Some(&leaked));
    let gateway = Gateway::join_by(plane, hello("edge-1", 1), &shown).await.unwrap();
    let other = Gateway::join_by(plane, hello("edge-2", 1), &secured.shown(Some(&kept)))
        .await
        .unwrap();
    // A list that is none changes nothing.
    std::fs::write(
        secured.tls.client_crl_file.as_ref().unwrap(),
        "-----BEGIN X509 CRL-----\nx",
    )
    .unwrap();
    secured.revoke(&[&leaked]);
    let began = Instant::now();
    let end = gateway.end().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(end.code(), Code::Unauthenticated, "{end:?}");
    let shown = secured.shown(Some(&leaked));
    let status = refused(plane, "edge-1", &shown).await;
    assert!(
        status.code() != Code::Unauthenticated,
        "after the handshake: {status:?}"
    );
    assert!(!other.has_ended());
    secured.revoke(&[]);
    let_in(plane, "edge-1", 1, &shown).await;
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_restart_and_ends_no_stream() {
    let secured = Secured::start().await;
    let plane = &secured.plane;
    let own = secured.gateways.sign(&["edge-1"], Validity::Current).unwrap();
    let gateway = Gateway::join_by(plane, hello("edge-1", 1), &secured.shown(Some(&own)))
        .await
        .unwrap();
    let (_, second) = token(plane, "edge-2", json!({})).await;
    let shown = Shown {
        token: second.token,
        ..secured.shown(None)
    };
    // From an authority that nobody trusts yet; first half of it.
    let next = Authority::new("next").unwrap();
    let certificate = next.sign(&["localhost"], Validity::Current).unwrap();
    std::fs::write(&secured.tls.cert_file, &certificate.certificate).unwrap();
    drop(let_in(plane, "edge-2", 1, &shown).await);
    std::fs::write(&secured.tls.key_file, &certificate.key).unwrap();
    plane
        .eventually(async || Gateway::join_by(plane, hello("edge-2", 1), &shown).await.is_err())
        .await;
    std::fs::write(secured.ca(), next.pem()).unwrap();
    let_in(plane, "edge-2", 1, &shown).await;
    assert!(!gateway.has_ended());
    let _ = secured.servers;
}

#[tokio::test]
async fn handshakes_that_are_never_finished_keep_nobody_out() {
    let secured = Secured::start().await;
    let plane = &secured.plane;
    let mut silent = Vec::new();
    for _ in 0..600 {
        silent.push(TcpStream::connect(plane.running.sync).await.unwrap());
    }
    let own = secured.gateways.sign(&["edge-1"], Validity::Current).unwrap();
    let began = Instant::now();
    let joined = Gateway::join_by(plane, hello("edge-1", 1), &secured.shown(Some(&own))).await;
    let gateway = joined.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // Their number is bounded: the oldest have made room, long before their time was over.
    let mut byte = [0];
    let oldest = silent.first_mut().unwrap().read(&mut byte);
    let closed = tokio::time::timeout(Duration::from_secs(3), oldest).await;
    assert!(matches!(closed, Ok(Ok(0) | Err(_))), "it is still open");
    // Nor does one in clear text that says nothing.
    say(plane, "edge-1", json!({"blocked": true})).await;
    assert_eq!(gateway.end().await.code(), Code::PermissionDenied);
    drop(silent);
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_its_key_stops_the_start() {
    let files = tempfile::tempdir().unwrap();
    let authority = Authority::new("servers").unwrap();
    let [one, other] = [0, 1].map(|_| authority.sign(&["localhost"], Validity::Current).unwrap());
    let (cert_file, _) = one.write(files.path(), "one").unwrap();
    let (_, key_file) = other.write(files.path(), "other").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut config = crate::plane::config(&folder);
    config.sync.tls = Some(SyncTls {
        cert_file,
        key_file,
        client_ca_file: None,
        client_crl_file: None,
    });
    let error = keyward_control_plane::ControlPlane::start(config)
        .await
        .unwrap_err();
    let error = format!("{error:#}");
    assert!(error.starts_with("sync.tls.key_file"), "{error}");
    assert!(error.contains("does not go with sync.tls.cert_file"), "{error}");
}
