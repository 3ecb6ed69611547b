//! Calls of pages: an answer names an origin only when the route lists it, by an own reading of the origin, never every
//! origin together with credentials, and says that it depends on it; what an upstream says of origins is nowhere.

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use keyward_config::{GatewayConfig, Surroundings};
use keyward_gateway::cors;
use keyward_gateway::head::{self, Target};
use keyward_gateway::route::RouteTable;

const CONFIG: &str = r#"
[[upstreams]]
name = "api"
endpoints = ["http://127.0.0.1:3000"]
[[routes]]
path = "/any"
cors = { origins = ["*"], methods = ["GET", "PUT"], headers = ["*"] }
[[routes]]
path = "/listed"
cors = { origins = ["https://app.example", "https://*.example.com", "http://*.test.example:8080"], headers = ["x-api-key"], credentials = true }
[[routes]]
path = "/null"
methods = ["GET"]
cors = { origins = ["null"], headers = ["*"], expose = ["x-more"] }
[[routes]]
path = "/closed"
"#;

static ROUTES: LazyLock<RouteTable> = LazyLock::new(|| {
    let config = GatewayConfig::from_toml(CONFIG, "gateway.toml", &Surroundings::default());
    RouteTable::compile(&config.unwrap_or_else(|error| panic!("{error}")))
});
const PATHS: [&str; 4] = ["/any", "/listed", "/null", "/closed"];
const METHODS: [Method; 3] = [Method::OPTIONS, Method::GET, Method::PUT];
const OF_CALL: [&str; 4] = [
    "origin",
    "access-control-request-method",
    "access-control-request-headers",
    "accept",
];
const OF_ANSWER: [&str; 6] = [
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-allow-private-network",
    "vary",
    "x-more",
    "content-type",
];

/// A byte that says which route and method, then lines: a byte that says which field of the call or, in capitals, of the
/// upstream's answer; and its value.
pub fn check(bytes: &[u8]) {
    let [which, rest @ ..] = bytes else { return };
    let path = PATHS[usize::from(*which) % PATHS.len()];
    let method = METHODS[usize::from(which >> 2) % METHODS.len()].clone();
    let (mut call, mut answer) = (HeaderMap::new(), HeaderMap::new());
    for line in rest.split(|byte| *byte == b'\n').take(40) {
        let [name, value @ ..] = line else { continue };
        let Ok(value) = HeaderValue::from_bytes(value.trim_ascii()) else {
            continue;
        };
        match name {
            b'A'..=b'Z' => {
                let name = OF_ANSWER[usize::from(name - b'A') % OF_ANSWER.len()];
                answer.append(HeaderName::from_static(name), value);
            }
            name => {
                let name = OF_CALL[usize::from(name.wrapping_sub(b'a')) % OF_CALL.len()];
                call.append(HeaderName::from_static(name), value);
            }
        }
    }
    let may_read = may_read(path, &call);
    preflight(path, &method, &call, may_read.as_ref());
    granted(path, &call, &answer, may_read.as_ref());
}

/// The value that an answer to this call has for who may read it.
fn may_read(path: &str, call: &HeaderMap) -> Option<HeaderValue> {
    let origins: Vec<_> = call.get_all("origin").iter().collect();
    match path {
        "/any" => Some(HeaderValue::from_static("*")),
        _ => match origins.as_slice() {
            [origin] if is_listed(path, origin.to_str().ok()?) => Some((*origin).clone()),
            _ => None,
        },
    }
}

fn is_listed(path: &str, origin: &str) -> bool {
    if path == "/null" {
        return origin == "null";
    }
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let is_name = host
        .bytes()
        .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'));
    let is_below = |end: &str| host.len() > end.len() && host.ends_with(end) && !host.starts_with('.');
    path == "/listed"
        && is_name
        && match (scheme, port) {
            ("https", None) => host == "app.example" || is_below(".example.com"),
            ("http", Some("8080")) => is_below(".test.example"),
            _ => false,
        }
}

fn preflight(path: &str, method: &Method, call: &HeaderMap, may_read: Option<&HeaderValue>) {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "api.example");
    for (name, value) in call {
        request = request.header(name, value);
    }
    let Ok((parts, ())) = request.body(()).map(Request::into_parts) else {
        return;
    };
    let Ok(Target::Resource(parsed)) = head::parse(&parts, 1_024) else {
        panic!("{path} is no head")
    };
    let wanted: Vec<_> = call.get_all("access-control-request-method").iter().collect();
    let wanted = match wanted.as_slice() {
        [wanted] if *method == Method::OPTIONS && call.contains_key("origin") => {
            Method::from_bytes(wanted.as_bytes()).ok()
        }
        _ => None,
    };
    let takes = |wanted: &Method| {
        let is_listed = path != "/null" || matches!(*wanted, Method::GET | Method::HEAD);
        is_listed && !matches!(*wanted, Method::CONNECT | Method::TRACE)
    };
    match (cors::preflight(&ROUTES, &parsed, &parts), wanted) {
        (Ok(None), wanted) => assert!(wanted.is_none() || path == "/closed"),
        (Err(refusal), Some(wanted)) => assert!(!takes(&wanted), "{refusal:?}"),
        (Ok(Some((route, answer))), Some(wanted)) => {
            assert!(takes(&wanted) && route.cors.is_some() && answer.body().is_empty());
            assert_eq!(answer.status(), 204);
            is_sound(path, answer.headers(), may_read);
            let allowed = answer.headers().get("access-control-allow-headers");
            let asked = call.get("access-control-request-headers");
            match (may_read, path) {
                (None, _) => assert_eq!(answer.headers().keys().filter(|name| *name != "vary").count(), 0),
                (_, "/listed") => {
                    assert_eq!(allowed.map(HeaderValue::as_bytes), Some(b"x-api-key".as_slice()))
                }
                _ => assert_eq!(allowed, asked.filter(|asked| is_list(asked.as_bytes()))),
            }
        }
        (other, None) => panic!("{other:?} to what is no preflight"),
    }
}

fn is_list(text: &[u8]) -> bool {
    let is_name = |name: &[u8]| {
        let name = name.trim_ascii();
        !name.is_empty()
            && name
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
    };
    text.split(|byte| *byte == b',').all(is_name)
}

fn granted(path: &str, call: &HeaderMap, answer: &HeaderMap, may_read: Option<&HeaderValue>) {
    let route = ROUTES.routes().iter().find(|route| *route.name == *path);
    let Some(policy) = route.and_then(|route| route.cors.as_ref()) else {
        assert_eq!(path, "/closed");
        return;
    };
    let mut changed = answer.clone();
    policy.grant(call).write(&mut changed);
    is_sound(path, &changed, may_read);
    // The rest is the upstream's own.
    for name in ["x-more", "content-type"] {
        assert!(changed.get_all(name).iter().eq(answer.get_all(name)), "{name}");
    }
    for value in answer.get_all("vary") {
        assert!(changed.get_all("vary").iter().any(|kept| kept == value));
    }
}

fn is_sound(path: &str, answer: &HeaderMap, may_read: Option<&HeaderValue>) {
    let said: Vec<_> = answer.get_all("access-control-allow-origin").iter().collect();
    assert_eq!(said, may_read.into_iter().collect::<Vec<_>>(), "on {path}");
    let credentials: Vec<_> = answer
        .get_all("access-control-allow-credentials")
        .iter()
        .collect();
    let takes_credentials = path == "/listed" && may_read.is_some();
    assert_eq!(
        credentials,
        if takes_credentials {
            vec!["true"]
        } else {
            Vec::new()
        }
    );
    assert!(!answer.contains_key("access-control-allow-private-network"));
    let varies = answer.get_all("vary").iter().any(|value| {
        let names = value.as_bytes().split(|byte| *byte == b',');
        names
            .map(<[u8]>::trim_ascii)
            .any(|name| name == b"*" || name.eq_ignore_ascii_case(b"origin"))
    });
    assert!(varies, "a cache would take one page's answer for another's");
}
