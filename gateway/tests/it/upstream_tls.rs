//! Upstreams over TLS: whom the gateway believes, what it shows, and that HTTP/1.1 is the same over it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::cut::{eventually, metric};
use crate::fixture::{World, get, read_answer};
use crate::services::{all_of, read_head, serve, world_before};

type Secure = StreamOwned<ServerConnection, TcpStream>;

/// Signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Certificate and key, as PEM.
    pub(crate) fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (
            params.signed_by(&key, &self.0).unwrap().pem(),
            key.serialize_pem(),
        )
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        Arc::new(roots)
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// What a server shows; `clients` are asked for a certificate.
pub(crate) fn server_config(
    (certificate, key): &(String, String),
    clients: Option<&Authority>,
    alpn: &[&[u8]],
) -> Arc<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(authority.roots(), provider());
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let mut config = builder
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

/// Serves connections over TLS by this function.
fn serve_secure(
    config: Arc<ServerConfig>,
    speak: impl Fn(&mut Secure) + Send + Sync + 'static,
) -> SocketAddr {
    serve(move |stream| {
        let session = ServerConnection::new(Arc::clone(&config)).unwrap();
        speak(&mut StreamOwned::new(session, stream));
    })
}

/// Answers with what was asked for, its length, and how many bytes of a body came with it.
fn tell(stream: &mut Secure) {
    while let Some(head) = read_head(stream) {
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let mut body = vec![0; length.unwrap_or_default()];
        if stream.read_exact(&mut body).is_err() {
            return;
        }
        let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
        let told = format!("{}|{sum}|{head}", body.len());
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{told}", told.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn upstream(address: SocketAddr, ca: &Path, more: &str) -> String {
    format!(
        "endpoints = [\"https://localhost:{}\"]\n[upstreams.tls]\nca_file = \"{}\"\n{more}",
        address.port(),
        ca.display()
    )
}

fn failures(world: &World, reason: &str) -> Option<u64> {
    metric(
        world,
        &format!("keyward_upstream_failures_total{{upstream=\"service\",reason=\"{reason}\"}}"),
    )
}

#[test]
fn a_call_goes_over_tls_and_its_connection_serves_the_next() {
    let (authority, files) = (Authority::new(), Files::new());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let config = server_config(&authority.sign("localhost"), None, &[b"http/1.1"]);
    let address = serve_secure(config, move |stream| {
        counted.fetch_add(1, Ordering::SeqCst);
        tell(stream);
    });
    let ca = files.write("ca.pem", &authority.pem());
    let world = world_before(&upstream(address, &ca, ""), "");
    let mut client = world.connect();
    for _ in 0..10 {
        client.write_all(get("/x", &[]).as_bytes()).unwrap();
        let answer = read_answer(&mut client);
        let text = String::from_utf8(answer.body).unwrap();
        assert_eq!(answer.status, 200);
        assert!(
            text.contains("GET /x HTTP/1.1") && text.contains("x-forwarded-for: 127.0.0.1"),
            "{text}"
        );
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    // Much more than TLS seals at once, and than a socket takes.
    let body = "y".repeat(3 << 20);
    let post = format!(
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let text = String::from_utf8(world.call(&post).body).unwrap();
    assert!(text.starts_with(&format!("{}|{}|", body.len(), body.len() * usize::from(b'y'))));
}

#[test]
fn a_certificate_of_another_authority_or_name_is_503_and_nothing_is_sent() {
    let (authority, other, files) = (Authority::new(), Authority::new(), Files::new());
    let ca = files.write("ca.pem", &authority.pem());
    let read = Arc::new(AtomicUsize::new(0));
    for (signer, name) in [(&other, "localhost"), (&authority, "elsewhere.example")] {
        let counted = Arc::clone(&read);
        let config = server_config(&signer.sign(name), None, &[]);
        let address = serve_secure(config, move |stream| {
            counted.fetch_add(stream.read(&mut [0]).unwrap_or(0), Ordering::SeqCst);
        });
        let world = world_before(&upstream(address, &ca, ""), "");
        let answer = world.get("/", &[]);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "UPSTREAM_UNAVAILABLE"),
            "{name}"
        );
        assert_eq!(failures(&world, "tls"), Some(1));
        assert_eq!(read.load(Ordering::SeqCst), 0);
    }
    // A name that the certificate has, and that the address has not.
    let config = server_config(&authority.sign("elsewhere.example"), None, &[]);
    let address = serve_secure(config, tell);
    let world = world_before(&upstream(address, &ca, "server_name = \"elsewhere.example\""), "");
    assert_eq!(world.get("/", &[]).status, 200);
}

#[test]
fn a_clients_certificate_is_shown_where_one_is_asked_for() {
    let (authority, clients, files) = (Authority::new(), Authority::new(), Files::new());
    let config = server_config(&authority.sign("localhost"), Some(&clients), &[]);
    let address = serve_secure(config, tell);
    let ca = files.write("ca.pem", &authority.pem());
    let world = world_before(&upstream(address, &ca, ""), "");
    // In TLS 1.3 the refusal comes after the handshake, when a call is under way already.
    assert!([502, 503].contains(&world.get("/", &[]).status));
    let (certificate, key) = clients.sign("gateway");
    let (certificate, key) = (files.write("c.pem", &certificate), files.write("c.key", &key));
    let more = format!(
        "cert_file = \"{}\"\nkey_file = \"{}\"",
        certificate.display(),
        key.display()
    );
    let world = world_before(&upstream(address, &ca, &more), "");
    assert_eq!(world.get("/", &[]).status, 200);
}

#[test]
fn changed_files_are_in_force_for_what_is_opened_next() {
    let (old, new, files) = (Authority::new(), Authority::new(), Files::new());
    let config = server_config(&new.sign("localhost"), None, &[]);
    let address = serve_secure(config, tell);
    let ca = files.write("ca.pem", &old.pem());
    let world = world_before(&upstream(address, &ca, ""), "");
    assert_eq!(world.get("/", &[]).status, 503);
    files.write("ca.pem", "rubbish");
    files.write("ca.pem", &new.pem());
    eventually("the new authority is trusted", || {
        world.get("/", &[]).status == 200
    });
}

#[test]
fn a_file_that_is_no_good_stops_the_start() {
    let files = Files::new();
    let ca = files.write("ca.pem", "rubbish");
    let upstream = upstream(([127, 0, 0, 1], 9).into(), &ca, "");
    let started = std::panic::catch_unwind(|| world_before(&upstream, ""));
    assert!(started.is_err());
}

#[test]
fn an_answer_that_ends_with_its_connection_is_whole_only_when_tls_says_so() {
    let (authority, files) = (Authority::new(), Files::new());
    let config = server_config(&authority.sign("localhost"), None, &[]);
    let address = serve_secure(config, |stream| {
        let Some(head) = read_head(stream) else { return };
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello");
        if head.starts_with("GET /whole") {
            stream.conn.send_close_notify();
        }
        let _ = stream.flush();
    });
    let ca = files.write("ca.pem", &authority.pem());
    let world = world_before(&upstream(address, &ca, ""), "");
    let whole = all_of(&world, &get("/whole", &[("connection", "close")]));
    assert!(whole.ends_with("5\r\nhello\r\n0\r\n\r\n"), "{whole}");
    let cut = all_of(&world, &get("/cut", &[("connection", "close")]));
    assert!(!cut.contains("\r\n0\r\n"), "{cut}");
}

#[test]
fn another_protocol_goes_on_over_tls() {
    let (authority, files) = (Authority::new(), Files::new());
    let config = server_config(&authority.sign("localhost"), None, &[]);
    let seen = Arc::new(Mutex::new(String::new()));
    let noted = Arc::clone(&seen);
    let address = serve_secure(config, move |stream| {
        let Some(head) = read_head(stream) else { return };
        *noted.lock().unwrap() = head;
        let switched = "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\nfirst";
        stream.write_all(switched.as_bytes()).unwrap();
        stream.flush().unwrap();
        let mut heard = [0; 4];
        while stream.read_exact(&mut heard).is_ok() {
            stream
                .write_all(&heard.map(|byte| byte.to_ascii_uppercase()))
                .unwrap();
            stream.flush().unwrap();
        }
    });
    let ca = files.write("ca.pem", &authority.pem());
    let world = world_before(&upstream(address, &ca, ""), "");
    let mut client = world.connect();
    let asked = get("/", &[("connection", "upgrade"), ("upgrade", "chat")]);
    client.write_all(asked.as_bytes()).unwrap();
    assert!(read_head(&mut client).unwrap().starts_with("HTTP/1.1 101"));
    let mut first = [0; 5];
    client.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"first");
    for word in [b"abcd", b"efgh"] {
        client.write_all(word).unwrap();
        let mut heard = [0; 4];
        client.read_exact(&mut heard).unwrap();
        assert_eq!(heard.to_vec(), word.to_ascii_uppercase());
    }
    assert!(seen.lock().unwrap().contains("upgrade: chat"));
}

#[test]
fn an_upstream_that_does_not_agree_to_http2_is_503() {
    let (authority, files) = (Authority::new(), Files::new());
    let ca = files.write("ca.pem", &authority.pem());
    for alpn in [&[][..], &[b"http/1.1".as_slice()][..]] {
        let config = server_config(&authority.sign("localhost"), None, alpn);
        let address = serve_secure(config, tell);
        let settings =
            upstream(address, &ca, "").replace("[upstreams.tls]", "protocol = \"h2\"\n[upstreams.tls]");
        let world = world_before(&settings, "");
        assert_eq!(world.get("/", &[]).status, 503);
        assert_eq!(failures(&world, "tls"), Some(1));
    }
}
