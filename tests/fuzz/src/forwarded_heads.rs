//! The head that is forwarded: read again by another parser, it is one request, framed once, with every field that is
//! the client's own and none that it forged; and an upstream of HTTP/2 is told the same.

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Version};
use keyward_config::Credentials;
use keyward_gateway::credential::CredentialNames;
use keyward_gateway::head::{self, Target};
use keyward_gateway::onward::{Additions, Forwarding, Origin, Scheme, Trust, write_head};
use keyward_gateway::route::rules::Rules;
use keyward_gateway::server::greeting::Wire;
use keyward_gateway::upstream::fuzzing::{http2_head, http2_request};
use keyward_gateway::upstream::pump::BodyFraming;
use keyward_gateway::upstream::request::RequestHead;

use super::{paths, request_heads};

const REQUEST_ID: HeaderValue = HeaderValue::from_static("r-1");
const CREDENTIALS: [&str; 3] = ["authorization", "x-api-key", "x-customer-key"];
/// Never forwarded, whoever wrote it.
const DROPPED: [&str; 20] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "upgrade",
    "http2-settings",
    "expect",
    "x-original-url",
    "x-original-uri",
    "x-original-method",
    "x-original-host",
    "x-host",
    "x-rewrite-url",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "transfer-encoding",
];
/// What says who the client is, believed of a trusted peer alone.
const OF_PROXIES: [&str; 6] = [
    "x-real-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
];
const OURS: [&str; 11] = [
    "host",
    "content-length",
    "via",
    "traceparent",
    "x-request-id",
    "forwarded",
    "x-real-ip",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "transfer-encoding",
];

/// A head as it comes over a connection, after a byte that says whether the peer is trusted.
pub fn check(bytes: &[u8]) {
    let [flags, bytes @ ..] = bytes else { return };
    let Some(parts) = request_heads::parts_of(bytes) else {
        return;
    };
    let Ok(Target::Resource(parsed)) = head::parse(&parts, 8_192) else {
        return;
    };
    let mut target = parsed.path.as_str().to_owned();
    if let Some(query) = parsed.query {
        target = format!("{target}?{query}");
    }
    let trust = if flags & 1 == 0 {
        Trust::Untrusted
    } else {
        Trust::Trusted
    };
    let forwarded = Forwarded {
        method: &parts.method,
        target: &target,
        headers: &parts.headers,
        trust,
        rules: None,
    };
    let fields = forwarded.fields();
    paths::is_safe(parsed.path.as_str());
    nothing_is_forged(&fields, trust);
    is_framed_once(&fields, &parts.headers);
    what_is_ours_is_there(&fields, &parts.headers, trust);
    what_is_the_clients_is_there(&fields, &parts.headers);
    forwarded.is_the_same_in_http2(&fields);
}

/// A head that goes on.
pub(crate) struct Forwarded<'f> {
    pub(crate) method: &'f Method,
    pub(crate) target: &'f str,
    pub(crate) headers: &'f HeaderMap,
    pub(crate) trust: Trust,
    pub(crate) rules: Option<&'f Rules>,
}

impl Forwarded<'_> {
    /// Its fields, as another parser reads them.
    pub(crate) fn fields(&self) -> Vec<(String, Vec<u8>)> {
        let RequestHead::Http1(out) = self.told(RequestHead::Http1(Vec::new())) else {
            panic!("it became another form")
        };
        let mut fields = [httparse::EMPTY_HEADER; 256];
        let mut request = httparse::Request::new(&mut fields);
        let length = request
            .parse(&out)
            .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&out)));
        assert_eq!(
            length,
            httparse::Status::Complete(out.len()),
            "bytes after the head's end"
        );
        assert_eq!(
            (request.method, request.path, request.version),
            (Some(self.method.as_str()), Some(self.target), Some(1))
        );
        let fields = request.headers.iter();
        fields
            .map(|field| (field.name.to_ascii_lowercase(), field.value.to_vec()))
            .collect()
    }

    fn told(&self, mut out: RequestHead) -> RequestHead {
        let forwarding = Forwarding::of([192, 0, 2, 7].into(), Scheme::Http, Wire::Http1);
        let names = CredentialNames::new(&Credentials {
            account: vec![CREDENTIALS[0].into(), CREDENTIALS[1].into()],
            customer: vec![CREDENTIALS[2].into()],
        });
        let with = Additions {
            origin: Origin {
                forwarding: &forwarding,
                trust: self.trust,
            },
            caller: None,
            credentials: Some(&names),
            request_id: &REQUEST_ID,
            default_host: "upstream:80",
            framing: if self.headers.contains_key("transfer-encoding") {
                BodyFraming::Chunked
            } else {
                BodyFraming::Sized
            },
            upgrade: None,
            rules: self.rules,
            kept_credentials: None,
            identity: None,
        };
        write_head(&mut out, (self.method, self.target), self.headers, &with);
        out
    }

    /// An upstream of HTTP/2 is told what one of HTTP/1.1 is, `Host` and framing in its own way.
    pub(crate) fn is_the_same_in_http2(&self, fields: &[(String, Vec<u8>)]) {
        let host = values(fields, "host").concat();
        let Some(request) = http2_request(self.told(http2_head())) else {
            assert!(host.is_empty(), "it can't be said in HTTP/2: {host:?}");
            return;
        };
        assert_eq!(
            (request.method(), request.version()),
            (self.method, Version::HTTP_2)
        );
        let uri = request.uri();
        let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
        assert_eq!(authority, Some(host.as_slice()));
        assert_eq!(uri.path_and_query().map(PathAndQuery::as_str), Some(self.target));
        let told = request.headers();
        let welcome = told.get("te").map(HeaderValue::as_bytes);
        let is_grpc = keyward_gateway::grpc::is_spoken(self.headers);
        assert_eq!(welcome, is_grpc.then_some(b"trailers".as_slice()));
        for name in [
            "connection",
            "keep-alive",
            "proxy-connection",
            "transfer-encoding",
            "upgrade",
            "host",
        ] {
            assert!(!told.contains_key(name), "{name} belongs to HTTP/1.1");
        }
        let is_compared = |name: &str| !matches!(name, "host" | "te" | "transfer-encoding" | "traceparent");
        let mut expected: Vec<(String, Vec<u8>)> = fields
            .iter()
            .filter(|(name, _)| is_compared(name))
            .cloned()
            .collect();
        let mut found: Vec<(String, Vec<u8>)> = told
            .iter()
            .filter(|(name, _)| is_compared(name.as_str()))
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().trim_ascii().to_vec()))
            .collect();
        // The order of fields of one name is what counts.
        expected.sort_by(|one, other| one.0.cmp(&other.0));
        found.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(found, expected);
    }
}

pub(crate) fn folded(name: &str) -> String {
    name.replace(['_', '.'], "-")
}

pub(crate) fn values<'f>(fields: &'f [(String, Vec<u8>)], name: &str) -> Vec<&'f [u8]> {
    let named = fields.iter().filter(|(other, _)| other == name);
    named.map(|(_, value)| value.as_slice()).collect()
}

pub(crate) fn nothing_is_forged(fields: &[(String, Vec<u8>)], trust: Trust) {
    for (name, _) in fields {
        let folded = folded(name);
        assert!(!folded.starts_with("keyward-"), "{name}");
        assert!(!CREDENTIALS.contains(&folded.as_str()), "{name}");
        let is_chunks = name == "transfer-encoding";
        assert!(is_chunks || !DROPPED.contains(&folded.as_str()), "{name}");
        let is_alias = *name != folded;
        assert!(
            !is_alias
                || !(OURS.contains(&folded.as_str()) || OF_PROXIES.contains(&folded.as_str()))
                || folded == "via",
            "{name} is an alias"
        );
        if trust == Trust::Untrusted {
            let is_known = matches!(
                name.as_str(),
                "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-proto"
            );
            assert!(
                is_known || !(folded.starts_with("x-forwarded-") || OF_PROXIES.contains(&folded.as_str())),
                "{name}"
            );
        }
    }
}

fn is_framed_once(fields: &[(String, Vec<u8>)], sent: &HeaderMap) {
    let (encodings, lengths) = (
        values(fields, "transfer-encoding"),
        values(fields, "content-length"),
    );
    if sent.contains_key("transfer-encoding") {
        assert_eq!((encodings, lengths.len()), (vec![b"chunked".as_slice()], 0));
    } else {
        let sent = sent.get("content-length").map(HeaderValue::as_bytes);
        assert_eq!((encodings.len(), lengths), (0, sent.into_iter().collect()));
    }
}

fn what_is_ours_is_there(fields: &[(String, Vec<u8>)], sent: &HeaderMap, trust: Trust) {
    let host = sent
        .get("host")
        .map_or(b"upstream:80".as_slice(), HeaderValue::as_bytes);
    assert_eq!(values(fields, "host"), [host]);
    assert_eq!(values(fields, "x-request-id"), [b"r-1"]);
    let [via] = values(fields, "via")[..] else {
        panic!("not one Via")
    };
    assert!(via == b"1.1 keyward" || via.ends_with(b", 1.1 keyward"));
    let [trace] = values(fields, "traceparent")[..] else {
        panic!("not one traceparent")
    };
    assert!(trace.len() >= 55 && trace.is_ascii());
    let [from] = values(fields, "x-forwarded-for")[..] else {
        panic!("not one X-Forwarded-For")
    };
    let [forwarded] = values(fields, "forwarded")[..] else {
        panic!("not one Forwarded")
    };
    match trust {
        Trust::Untrusted => {
            assert_eq!(
                (from, values(fields, "x-forwarded-proto")),
                (b"192.0.2.7".as_slice(), vec![b"http".as_slice()])
            );
            assert!(forwarded.starts_with(b"for=192.0.2.7;proto=http;host=\"") && forwarded.ends_with(b"\""));
            assert_eq!(forwarded.iter().filter(|byte| **byte == b'"').count(), 2);
        }
        Trust::Trusted => assert!(from.ends_with(b"192.0.2.7")),
    }
}

/// Every field that nobody nominated, in its order.
fn what_is_the_clients_is_there(fields: &[(String, Vec<u8>)], sent: &HeaderMap) {
    let nominated: Vec<String> = sent
        .get_all("connection")
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|name| String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase())
        .collect();
    let is_plain = |name: &str| {
        let folded = folded(name);
        !folded.starts_with("keyward-")
            && !folded.starts_with("x-forwarded-")
            && !DROPPED.contains(&folded.as_str())
            && !OURS.contains(&folded.as_str())
            && !OF_PROXIES.contains(&folded.as_str())
            && !CREDENTIALS.contains(&folded.as_str())
            && !nominated.iter().any(|other| other == name)
    };
    let expected: Vec<(&str, &[u8])> = sent
        .iter()
        .filter(|(name, _)| is_plain(name.as_str()))
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    let found: Vec<(&str, &[u8])> = fields
        .iter()
        .filter(|(name, _)| is_plain(name))
        .map(|(name, value)| (name.as_str(), value.as_slice()))
        .collect();
    // The order of fields of one name is what counts.
    for (name, _) in &expected {
        let of = |fields: &[(&str, &[u8])]| {
            let named = fields.iter().filter(|(other, _)| other == name);
            named
                .map(|(_, value)| value.trim_ascii().to_vec())
                .collect::<Vec<_>>()
        };
        assert_eq!(of(&expected), of(&found), "{name}");
    }
    assert_eq!(expected.len(), found.len());
}
