//! `listen.tls` in a reload: who comes next meets the new settings, who is there goes on.

use keyward_gateway::reload::ReloadError;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::http2_client::Http2;
use crate::tls::{Place, ROUTE, place};

/// What `listen.tls` says with this one certificate.
fn settings(place: &Place, certificate: &str, more: &str) -> String {
    let folder = place.files.path().display();
    let more = more.replace('F', &folder.to_string());
    format!(
        "{ROUTE}[listen]\n[listen.tls]\n{more}\n\
         certificates = [{{ cert_file = \"{folder}/{certificate}.pem\", key_file = \"{folder}/{certificate}.key\" }}]\n"
    )
}

fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

impl Place {
    /// Whether a client that shows this certificate is served on a connection of its own.
    fn serves(&self, certificate: Option<&str>) -> bool {
        let certificate = certificate.map(|name| (self.files.path(), name));
        let client = self.authority.client(&[], certificate);
        // With TLS 1.3 the client hears of a refusal after its handshake.
        let answer = self
            .connect(&client, "api.example")
            .and_then(|mut stream| self.call(&mut stream));
        answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
    }
}

#[test]
fn new_connections_meet_the_new_settings_and_open_ones_go_on() {
    let place = place("");
    let (key, folder) = (place.key.text(), place.files.path());
    place.authority.sign(folder, "other", &["api.example"]);
    place.authority.sign(folder, "client", &["partner"]);
    let (old, both) = (
        place.authority.client(&[], None),
        place.authority.client(&["h2"], None),
    );
    let mut one_call = place.connect(&old, "api.example").unwrap();
    let open = Http2::over(&place.world, place.connect(&both, "api.example").unwrap());
    let first = shown(&one_call);
    let goes_on = |at: &str| {
        let whole = open.get("/", &[("x-api-key", key)]);
        assert_eq!(whole.answer.status, 200, "{at}");
    };
    goes_on("before any reload");

    place.world.reload(&settings(&place, "other", "")).unwrap();
    let second = shown(&place.connect(&old, "api.example").unwrap());
    assert_ne!(second, first, "files of other names");
    goes_on("after other files");

    let required = settings(&place, "other", "client_ca_file = \"F/ca.pem\"");
    place.world.reload(&required).unwrap();
    assert_eq!((place.serves(None), place.serves(Some("client"))), (false, true));
    goes_on("after client certificates are required");
    let optional = "client_ca_file = \"F/ca.pem\"\nclient_certificates = \"optional\"";
    place.world.reload(&settings(&place, "other", optional)).unwrap();
    assert_eq!((place.serves(None), place.serves(Some("client"))), (true, true));

    place.world.reload(ROUTE).unwrap();
    assert!(!place.serves(None));
    assert_eq!(place.world.get("/", &[("x-api-key", key)]).status, 200);
    goes_on("after TLS was turned off");
    place.world.reload(&settings(&place, "other", "")).unwrap();
    assert!(place.serves(None));
    assert!(place.call(&mut one_call).unwrap().starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_file_that_names_a_certificate_of_no_use_is_refused_as_a_whole() {
    let place = place("");
    let client = place.authority.client(&[], None);
    let before = shown(&place.connect(&client, "api.example").unwrap());
    std::fs::write(place.files.path().join("odd.pem"), "no certificate").unwrap();
    std::fs::write(place.files.path().join("odd.key"), "no key").unwrap();
    for missing in ["odd", "absent"] {
        let more = settings(&place, missing, "").replace("path = \"/\"", "path = \"/new\"");
        let error = place.world.reload(&more).unwrap_err();
        assert!(matches!(error, ReloadError::Unusable(_)), "{error}");
        assert!(error.to_string().contains(&format!("{missing}.pem")), "{error}");
        let mut stream = place.connect(&client, "api.example").unwrap();
        assert_eq!(shown(&stream), before);
        assert!(place.call(&mut stream).unwrap().starts_with("HTTP/1.1 200 "));
    }
}
