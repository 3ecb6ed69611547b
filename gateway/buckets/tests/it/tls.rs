//! A server that is spoken to in TLS, and trusted by the roots of the system.

use std::path::Path;
use std::process::Command;

use keyward_buckets::Buckets;
use keyward_contract::AccountId;
use keyward_harness::{RedisServer, free_port};

use crate::{ask_lease, config, lease};

const URL: &str = "KEYWARD_TEST_TLS_REDIS";

/// Run again by the test below, in a program with other roots.
#[tokio::test]
async fn asks_the_server_that_the_environment_names() {
    let Ok(url) = std::env::var(URL) else {
        return;
    };
    let mut config = config(&url);
    config.tls = true;
    let link = Buckets::new(config, "one".to_owned()).connect().await.unwrap();
    assert_eq!(ask_lease(&link, lease(AccountId::new(), 3)).await.granted, 3000);
}

fn certificate(folder: &Path) {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ])
        .args([
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
            "-days",
            "2",
            "-subj",
            "/CN=redis",
        ])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn asks(url: &str, roots: &Path) -> (bool, String) {
    let asked = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tls::asks_the_server_that_the_environment_names"])
        .env(URL, url)
        .env("SSL_CERT_FILE", roots)
        .output()
        .unwrap();
    (
        asked.status.success(),
        String::from_utf8_lossy(&asked.stdout).into_owned(),
    )
}

#[tokio::test]
async fn a_server_is_trusted_by_the_systems_roots_and_by_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (cert, key, tls_port) = (
        path("cert.pem"),
        path("key.pem"),
        free_port().unwrap().to_string(),
    );
    let arguments = [
        "--tls-port",
        &tls_port,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
    ];
    let arguments = [
        &arguments[..],
        &["--tls-ca-cert-file", &cert, "--tls-auth-clients", "no"],
    ]
    .concat();
    let redis = RedisServer::start_on(free_port().unwrap(), &arguments)
        .await
        .unwrap();
    let url = format!("redis://127.0.0.1:{tls_port}");
    let (trusted, told) = asks(&url, &folder.path().join("cert.pem"));
    assert!(trusted, "{told}");
    assert_ne!(redis.command(&["DBSIZE"]).unwrap(), "0");

    let other = tempfile::tempdir().unwrap();
    certificate(other.path());
    let (trusted, told) = asks(&url, &other.path().join("cert.pem"));
    assert!(!trusted && told.contains("certificate"), "{told}");
}
