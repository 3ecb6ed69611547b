//! Partners over TLS: which certificate they see, what they show, and that new files are taken without a connection lost.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keyward_contract::KeyKind;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::cut::{eventually, metric};
use crate::fixture::{Key, Keys, World, get};
use crate::http2_client::Http2;

pub(crate) const ROUTE: &str = "[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"\n";

pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes `name.pem` and `name.key` for these names.
    pub(crate) fn sign(&self, folder: &Path, name: &str, names: &[&str]) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        self.write(folder, name, &CertificateParams::new(names).unwrap());
    }

    /// The same for one name that ends so long after the beginning of 1970.
    fn sign_until(&self, folder: &Path, name: &str, end: Duration) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + end;
        self.write(folder, name, &params);
    }

    fn write(&self, folder: &Path, name: &str, params: &CertificateParams) {
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &self.0).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), made.pem()).unwrap();
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }

    pub(crate) fn client(&self, alpn: &[&str], shown: Option<(&Path, &str)>) -> TlsConnector {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots());
        let mut config = match shown {
            Some((folder, name)) => {
                let chain = CertificateDer::pem_file_iter(folder.join(format!("{name}.pem"))).unwrap();
                let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key"))).unwrap();
                let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }
}

/// A gateway with certificates for `api.example` and `*.wild.example`.
pub(crate) struct Place {
    pub(crate) world: World,
    pub(crate) key: Key,
    pub(crate) authority: Authority,
    pub(crate) files: tempfile::TempDir,
}

pub(crate) fn place(more: &str) -> Place {
    place_with(more, "")
}

fn place_with(more: &str, other_tables: &str) -> Place {
    place_like(more, |tls| format!("{ROUTE}{other_tables}[listen]\n{tls}"))
}

fn place_like(more: &str, config: impl Fn(&str) -> String) -> Place {
    let mut keys = Keys::new();
    let account = keys.account(|_| {});
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let (authority, files) = (Authority::new(), tempfile::tempdir().unwrap());
    authority.sign(files.path(), "api", &["api.example", "127.0.0.1"]);
    authority.sign(files.path(), "wild", &["*.wild.example", "api.example"]);
    std::fs::write(files.path().join("ca.pem"), authority.0.pem()).unwrap();
    let tls = format!(
        "[listen.tls]\n{more}\ncertificates = [{{ cert_file = \"F/api.pem\", key_file = \"F/api.key\" }}, \
         {{ cert_file = \"F/wild.pem\", key_file = \"F/wild.key\" }}]\n"
    );
    let config = config(&tls.replace('F', &files.path().display().to_string()));
    Place {
        world: World::start(&keys, &config),
        key,
        authority,
        files,
    }
}

impl Place {
    pub(crate) fn connect(&self, with: &TlsConnector, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        self.world.runtime.block_on(async {
            let stream = TcpStream::connect(self.world.proxy).await?;
            with.connect(name, stream).await
        })
    }

    /// One call over HTTP/1.1; the answer until the connection ends.
    pub(crate) fn call(&self, stream: &mut TlsStream<TcpStream>) -> std::io::Result<String> {
        let request = get("/", &[("x-api-key", self.key.text()), ("connection", "close")]);
        self.world.runtime.block_on(async {
            stream.write_all(request.as_bytes()).await?;
            let mut all = String::new();
            stream.read_to_string(&mut all).await?;
            Ok(all)
        })
    }
}

/// The certificate that the gateway has shown.
fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn a_client_sees_the_certificate_that_it_asks_for_and_speaks_what_it_can() {
    let place = place("");
    let (both, old) = (
        place.authority.client(&["h2", "http/1.1"], None),
        place.authority.client(&[], None),
    );
    // The second certificate has the first one's name too, and the earlier is shown.
    for (name, file) in [("api.example", "api.pem"), ("a.wild.example", "wild.pem")] {
        let mut stream = place.connect(&old, name).unwrap();
        let expected = CertificateDer::from_pem_file(place.files.path().join(file)).unwrap();
        assert_eq!(shown(&stream), *expected, "{name}");
        let answer = place.call(&mut stream).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("\"x-forwarded-proto\":[\"https\"]"), "{answer}");
        let stream = place.connect(&both, name).unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let whole = Http2::over(&place.world, stream).get("/", &[("x-api-key", place.key.text())]);
        assert_eq!(whole.answer.status, 200);
        assert_eq!(
            whole.answer.upstream_saw("forwarded").as_deref(),
            Some("for=127.0.0.1;proto=https;host=\"api.example\"")
        );
    }
    // A name that no certificate has: the first is shown, and this client doesn't take it. So for one that asks for none.
    let error = place.connect(&old, "other.example").unwrap_err().to_string();
    assert!(error.contains("not valid for name"), "{error}");
    place.connect(&old, "127.0.0.1").unwrap();
    let turned_away = "keyward_connections_turned_away_total{reason=\"tls\"} ";
    eventually("it is counted", || metric(&place.world, turned_away) >= Some(1));
}

#[test]
fn a_trusted_proxy_says_whose_connection_it_is_before_tls_begins() {
    let place = place_like("", |tls| {
        format!("trusted_proxies = [\"127.0.0.0/8\"]\n{ROUTE}[listen]\nproxy_protocol = true\n{tls}")
    });
    let client = place.authority.client(&[], None);
    let mut stream = place.world.runtime.block_on(async {
        let mut stream = TcpStream::connect(place.world.proxy).await.unwrap();
        let header = b"PROXY TCP4 192.0.2.7 127.0.0.1 12345 443\r\n";
        stream.write_all(header).await.unwrap();
        client
            .connect("api.example".try_into().unwrap(), stream)
            .await
            .unwrap()
    });
    let answer = place.call(&mut stream).unwrap();
    assert!(answer.contains("\"x-forwarded-for\":[\"192.0.2.7\"]"), "{answer}");
    assert!(answer.contains("\"x-forwarded-proto\":[\"https\"]"), "{answer}");
    // Who does not begin with it is not heard.
    assert!(place.connect(&client, "api.example").is_err());
}

#[test]
fn new_certificates_are_taken_and_open_connections_stay() {
    let place = place("");
    let client = place.authority.client(&["http/1.1"], None);
    let mut before = place.connect(&client, "api.example").unwrap();
    let old = shown(&before);
    // A key that is not that certificate's is refused, and nothing changes.
    let key = place.files.path().join("api.key");
    let good = std::fs::read(&key).unwrap();
    std::fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let bad = place.world.gateway.as_ref().unwrap().shared().rules();
    // Whoever looks first is told of it.
    eventually("the bad key has been seen", || {
        matches!(bad.tls.as_ref().unwrap().look(), Ok(None))
    });
    assert_eq!(shown(&place.connect(&client, "api.example").unwrap()), old);
    std::fs::write(&key, good).unwrap();
    place.authority.sign(place.files.path(), "api", &["api.example"]);
    eventually("the new certificate is shown", || {
        shown(&place.connect(&client, "api.example").unwrap()) != old
    });
    assert!(place.call(&mut before).unwrap().starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_client_without_a_good_certificate_is_turned_away_where_one_is_required() {
    for (setting, without_one) in [("require", false), ("optional", true)] {
        let place = place(&format!(
            "client_ca_file = \"F/ca.pem\"\nclient_certificates = \"{setting}\""
        ));
        place.authority.sign(place.files.path(), "client", &["partner"]);
        let stranger = Authority::new();
        stranger.sign(place.files.path(), "stranger", &["partner"]);
        let folder = place.files.path();
        for (shown, is_served) in [
            (Some((folder, "client")), true),
            (Some((folder, "stranger")), false),
            (None, without_one),
        ] {
            let client = place.authority.client(&[], shown);
            // With TLS 1.3 the client hears of it after its handshake.
            let answer = place
                .connect(&client, "api.example")
                .and_then(|mut stream| place.call(&mut stream));
            let was_served = answer
                .as_ref()
                .is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "));
            assert_eq!(was_served, is_served, "{setting} {shown:?} {answer:?}");
        }
    }
}

#[test]
fn half_a_handshake_and_clear_text_are_not_waited_for() {
    let place = place_with("", "[timeouts]\nhandshake = \"200ms\"\n");
    for sent in [
        &b""[..],
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        let mut stream = place.world.connect();
        stream.write_all(sent).unwrap();
        let mut rest = Vec::new();
        let _reset = stream.read_to_end(&mut rest);
        assert!(!rest.starts_with(b"HTTP"), "it was answered in clear text");
    }
    eventually("none is open", || {
        metric(&place.world, "keyward_connections ") == Some(0)
    });
}

#[test]
fn a_client_certificate_is_good_for_no_longer_than_it_says_and_its_authority_is_trusted() {
    let place = place("client_ca_file = \"F/ca.pem\"");
    let folder = place.files.path();
    // Whatever it is told: it may call more often than its rate allows.
    let is_let_in = |client: &TlsConnector| {
        let answer = place
            .connect(client, "api.example")
            .and_then(|mut stream| place.call(&mut stream));
        answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 "))
    };
    let soon = SystemTime::UNIX_EPOCH.elapsed().unwrap() + Duration::from_secs(6);
    place.authority.sign_until(folder, "short", soon);
    place.authority.sign(folder, "long", &["partner"]);
    let [short, long] = ["short", "long"].map(|name| place.authority.client(&[], Some((folder, name))));
    // What a client keeps of its first connection is no certificate: each is asked for one.
    assert!(is_let_in(&short) && is_let_in(&long));
    eventually("the certificate that has ended lets nobody in", || {
        !is_let_in(&short)
    });
    assert!(is_let_in(&long));
    let other = Authority::new();
    std::fs::write(folder.join("ca.pem"), other.0.pem()).unwrap();
    eventually("another authority is trusted", || !is_let_in(&long));
    other.sign(folder, "other", &["partner"]);
    assert!(is_let_in(&place.authority.client(&[], Some((folder, "other")))));
}
