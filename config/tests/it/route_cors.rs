//! `routes.cors`.

use std::time::Duration;

use http::Method;
use keyward_config::{AllowedHeaders, Cors, OriginPattern};

use crate::routes::{one, refused};

fn cors(text: &str) -> Cors {
    let config = one(text).unwrap_or_else(|message| panic!("{message}"));
    config.routes[0]
        .cors
        .clone()
        .unwrap_or_else(|| panic!("it has none"))
}

#[test]
fn the_defaults_let_a_page_call_with_a_key() {
    let cors =
        cors("cors = { origins = [\"https://App.Example:8443\", \"https://*.example.com\", \"null\"] }");
    assert_eq!(
        cors.origins,
        [
            OriginPattern::Exact("https://app.example:8443".to_owned()),
            OriginPattern::Below {
                scheme: "https://".to_owned(),
                end: ".example.com".to_owned()
            },
            OriginPattern::Exact("null".to_owned()),
        ]
    );
    let usual = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
    assert_eq!(
        cors.methods,
        usual.map(|method| method.parse::<Method>().unwrap())
    );
    let AllowedHeaders::Listed(headers) = cors.headers else {
        panic!("every header");
    };
    assert_eq!(
        headers,
        [
            "authorization",
            "x-api-key",
            "x-customer-key",
            "content-type",
            "x-request-id"
        ]
    );
    assert!(cors.expose.is_empty() && !cors.credentials);
    assert_eq!(cors.max_age, Duration::from_secs(600));
}

#[test]
fn everything_can_be_said() {
    let said = cors(
        "methods = [\"GET\", \"PUT\"]\ncors = { origins = [\"http://127.0.0.1:3000\"], methods = [\"PUT\", \"HEAD\"], \
         headers = [\"X-A\"], expose = [\"X-B\"], credentials = true, max_age = \"2h\" }",
    );
    assert_eq!(said.methods, [Method::PUT, Method::HEAD]);
    assert_eq!(said.headers, AllowedHeaders::Listed(vec!["x-a".parse().unwrap()]));
    assert_eq!(said.expose, ["x-b"]);
    assert!(said.credentials);
    assert_eq!(said.max_age, Duration::from_secs(7_200));
    let own = cors("methods = [\"GET\"]\ncors = { origins = [\"*\"], headers = [\"*\"] }");
    assert_eq!(
        (own.methods, own.headers),
        (vec![Method::GET], AllowedHeaders::Any)
    );
    assert_eq!(own.origins, [OriginPattern::Any]);
}

#[test]
fn what_would_not_do_what_it_looks_like_is_refused() {
    let example = "write one such as \"https://app.example\" or \"https://*.example.com\", or \"*\" for all";
    for (settings, expected) in [
        (
            "cors = {}",
            "cors.origins: there is none; write [\"https://app.example\"]".to_owned(),
        ),
        (
            "cors = { origins = [\"app.example\"] }",
            format!("cors.origins[0]: \"app.example\" is no origin; {example}"),
        ),
        (
            "cors = { origins = [\"https://app.example/\"] }",
            "cors.origins[0]: \"https://app.example/\" has a path, and an origin has none; write \"https://app.example\"".to_owned(),
        ),
        (
            "cors = { origins = [\"https://app.example:443\"] }",
            "cors.origins[0]: browsers leave the usual port out; write \"https://app.example\"".to_owned(),
        ),
        (
            "cors = { origins = [\"https://*example.com\"] }",
            format!("cors.origins[0]: \"https://*example.com\" is no origin; {example}"),
        ),
        (
            "cors = { origins = [\"https://a.*.example\"] }",
            format!("cors.origins[0]: \"https://a.*.example\" is no origin; {example}"),
        ),
        (
            "cors = { origins = [\"https://u@a.example\"] }",
            format!("cors.origins[0]: \"https://u@a.example\" is no origin; {example}"),
        ),
        (
            "cors = { origins = [\"*\", \"https://a.example\"] }",
            "cors.origins: \"*\" is every origin already; remove the others, or it".to_owned(),
        ),
        (
            "cors = { origins = [\"https://a.example\", \"https://A.example\"] }",
            "cors.origins: \"https://a.example\" is there twice; remove one".to_owned(),
        ),
        (
            "cors = { origins = [\"*\"], credentials = true }",
            "cors.credentials: true lets any page act with its visitor's credentials when origins has \"*\"; list the origins, or remove it".to_owned(),
        ),
        (
            "cors = { origins = [\"*\"], max_age = \"25h\" }",
            "cors.max_age: 25h is too much; write at most 1d".to_owned(),
        ),
        (
            "cors = { origins = [\"http://app.example:80\"] }",
            "cors.origins[0]: browsers leave the usual port out; write \"http://app.example\"".to_owned(),
        ),
        (
            "cors = { origins = [\"HTTPS://app.example\"] }",
            format!("cors.origins[0]: \"HTTPS://app.example\" is no origin; {example}"),
        ),
        (
            "cors = { origins = [\"https://*.\"] }",
            format!("cors.origins[0]: \"https://*.\" is no origin; {example}"),
        ),
        (
            "cors = { origins = [5] }",
            "cors.origins[0]: 5 is a number; write an origin such as \"https://app.example\"".to_owned(),
        ),
        (
            "cors = { origins = [\"*\"], methods = [\"GET\", \"GET\"] }",
            "cors.methods: \"GET\" is there twice; remove one".to_owned(),
        ),
        (
            "cors = { origins = [\"*\"], methods = [\"HEAD\"] }\nmethods = [\"PUT\"]",
            "cors.methods: \"HEAD\" is none of the route's methods; remove it, or add it there".to_owned(),
        ),
        (
            "cors = { origins = [\"*\"], headers = [\"x-a\", \"X-A\"] }",
            "cors.headers: \"x-a\" is there twice; remove one".to_owned(),
        ),
        (
            "cors = { origins = [\"*\"], expose = [\"x-a\", \"\"] }",
            "cors.expose[1]: \"\" is no header name; write one such as \"content-type\"".to_owned(),
        ),
        (
            "cors = { origins = [\"*\"] }\nheaders = { response = { add = { Access-Control-Max-Age = \"1\" } } }",
            "cors: says what \"access-control-max-age\" says, and headers.response has a rule for it; remove one".to_owned(),
        ),
        (
            "cors = { origins = [\"*\"] }\nheaders = { response = { remove = [\"access-control-allow-origin\"] } }",
            "cors: says what \"access-control-allow-origin\" says, and headers.response has a rule for it; remove one".to_owned(),
        ),
        (
            "cors = { origins = [\"*\"], methods = [] }",
            "cors.methods: there is none; write [\"GET\"], or remove it for those of the route".to_owned(),
        ),
        (
            "cors = { origins = [\"*\"], methods = [\"POST\"] }\nmethods = [\"GET\"]",
            "cors.methods: \"POST\" is none of the route's methods; remove it, or add it there".to_owned(),
        ),
        (
            "cors = { origins = [\"*\"], headers = [\"*\", \"x-a\"] }",
            "cors.headers: \"*\" is every header already; remove the others, or it".to_owned(),
        ),
        (
            "cors = { origins = [\"*\"], headers = [\"a b\"] }",
            "cors.headers[0]: \"a b\" is no header name; write one such as \"content-type\"".to_owned(),
        ),
        (
            "cors = { origins = [\"*\"], expose = [\"*\"] }",
            "cors.expose: \"*\" shows pages headers that nobody thought of; list them".to_owned(),
        ),
        (
            "cors = { origins = [\"*\"], expose = [\"x-a\", \"X-A\"] }",
            "cors.expose: \"x-a\" is there twice; remove one".to_owned(),
        ),
        (
            "cors = { origins = [\"*\"] }\nheaders = { response = { set = { access-control-allow-origin = \"*\" } } }",
            "cors: says what \"access-control-allow-origin\" says, and headers.response has a rule for it; remove one".to_owned(),
        ),
        (
            "cors = { origins = [\"*\"], max-age = \"1m\" }",
            "cors.max-age: is no known key; did you mean \"max_age\"?".to_owned(),
        ),
    ] {
        refused(settings, &expected);
    }
}
