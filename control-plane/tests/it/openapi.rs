//! The documents of the four surfaces, and the pages that show them.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::gateway::{Gateway, hello};
use crate::plane::Plane;

const DOCUMENTS: [&str; 4] = [
    "/openapi/portal.json",
    "/openapi/admin.json",
    "/openapi/keys.json",
    "/openapi/user-keys.json",
];

async fn get(plane: &Plane, method: Method, path: &str) -> reqwest::Response {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}{path}", plane.running.api);
    client.request(method, url).send().await.unwrap()
}

async fn document(plane: &Plane, path: &str) -> Value {
    get(plane, Method::GET, path).await.json().await.unwrap()
}

/// Every path with its methods, with `{}` for each parameter, below every server.
fn described(document: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::new();
    for server in document["servers"].as_array().unwrap() {
        let base = server["url"].as_str().unwrap().trim_end_matches('/');
        for (path, item) in document["paths"].as_object().unwrap() {
            let methods = item.as_object().unwrap().keys();
            let methods = methods.map(|method| method.to_uppercase()).collect();
            all.insert(without_names(&format!("{base}{path}")), methods);
        }
    }
    all
}

fn without_names(path: &str) -> String {
    let segments = path.split('/');
    let segments: Vec<_> = segments
        .map(|segment| if segment.starts_with('{') { "{}" } else { segment })
        .collect();
    segments.join("/")
}

/// What belongs to no surface.
fn is_elsewhere(path: &str) -> bool {
    path.starts_with("/docs") || path.starts_with("/openapi/")
}

/// Every path of the router, out of what it says of itself.
fn routed(plane: &Plane) -> BTreeSet<String> {
    let said = format!("{:?}", keyward_control_plane::router::api(plane.running.app()));
    let (_, paths) = said.split_once("node: Node { paths: {").unwrap();
    let (paths, _) = paths.split_once("} }").unwrap();
    let paths: BTreeSet<_> = paths
        .split('"')
        .skip(1)
        .step_by(2)
        .filter(|path| !is_elsewhere(path))
        .map(str::to_owned)
        .collect();
    assert!(paths.len() > 10, "{said}");
    paths
}

#[tokio::test]
async fn every_route_is_described_and_every_description_has_a_route() {
    let plane = Plane::start().await;
    let mut all = BTreeMap::new();
    for path in DOCUMENTS {
        all.extend(described(&document(&plane, path).await));
    }
    let mut routes = BTreeMap::new();
    for path in routed(&plane) {
        // No route takes this method, so each says which it takes.
        let probe = path.replace(['{', '}'], "");
        let answer = get(&plane, Method::TRACE, &probe).await;
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allow = answer.headers()["allow"].to_str().unwrap();
        let methods: BTreeSet<_> = allow
            .split(',')
            .filter(|method| *method != "HEAD")
            .map(str::to_owned)
            .collect();
        routes.insert(without_names(&path), methods);
    }
    assert_eq!(routes, all);
}

#[tokio::test]
async fn a_document_is_open_cached_and_takes_no_other_method() {
    let plane = Plane::start().await;
    for path in DOCUMENTS {
        let answer = get(&plane, Method::GET, path).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let headers = answer.headers().clone();
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["cache-control"], "public, max-age=300");
        assert!(headers.contains_key("x-request-id"));
        let document: Value = answer.json().await.unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));

        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{}{path}", plane.running.api);
        let again = client.get(url).header("if-none-match", &headers["etag"]);
        assert_eq!(again.send().await.unwrap().status(), StatusCode::NOT_MODIFIED);
        assert_eq!(get(&plane, Method::HEAD, path).await.status(), StatusCode::OK);
        let other = get(&plane, Method::POST, path).await;
        assert_eq!(other.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(other.headers()["allow"], "GET,HEAD");
    }
    let unknown = get(&plane, Method::GET, "/openapi/other.json").await;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_pages_list_every_document_and_load_nothing_from_elsewhere() {
    let plane = Plane::start().await;
    let front = get(&plane, Method::GET, "/docs").await;
    assert_eq!(front.url().path(), "/docs/");
    let policy = front.headers()["content-security-policy"].to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self';"),
        "{policy}"
    );
    let front = front.text().await.unwrap();
    let mut files = vec!["swagger-initializer.js".to_owned()];
    for attribute in ["src=\"", "href=\""] {
        for rest in front.split(attribute).skip(1) {
            let name = rest.split('"').next().unwrap();
            assert!(!name.contains("//"), "{name}");
            files.push(name.trim_start_matches("./").to_owned());
        }
    }
    assert!(files.len() > 4, "{front}");
    assert!(!front.contains("<style"), "the policy refuses styles in the page");
    for name in files {
        let file = get(&plane, Method::GET, &format!("/docs/{name}")).await;
        assert_eq!(file.status(), StatusCode::OK, "{name}");
        assert!(file.headers().contains_key("content-security-policy"));
    }
    let chooser = get(&plane, Method::GET, "/docs/swagger-initializer.js").await;
    let chooser = chooser.text().await.unwrap();
    for path in DOCUMENTS {
        assert!(chooser.contains(path), "{chooser}");
    }
    let missing = get(&plane, Method::GET, "/docs/nothing.js").await;
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
}

/// Follows a reference within the document.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

#[tokio::test]
async fn every_refusal_has_the_surfaces_form_and_an_example() {
    let plane = Plane::start().await;
    for path in DOCUMENTS {
        let document = document(&plane, path).await;
        for (at, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let answers = operation["responses"].as_object().unwrap();
                let refusals = answers.iter().filter(|(status, _)| status.as_str() >= "400");
                for (status, answer) in refusals {
                    let content = &answer["content"]["application/json"];
                    assert!(
                        content["examples"].as_object().is_some_and(|all| !all.is_empty()),
                        "{method} {at} {status}"
                    );
                    assert!(answer["headers"]["X-Request-Id"].is_object());
                }
                for status in ["400", "413", "500", "503"] {
                    assert!(answers.contains_key(status), "{method} {at} {status}");
                }
            }
        }
    }
}

/// Every property that a schema has, and those that it demands.
fn properties<'a>(
    document: &'a Value,
    schema: &'a Value,
) -> (BTreeMap<&'a str, &'a Value>, BTreeSet<&'a str>) {
    let schema = resolved(document, schema);
    let (mut all, mut demanded) = (BTreeMap::new(), BTreeSet::new());
    for part in schema["allOf"].as_array().into_iter().flatten() {
        let (more, more_demanded) = properties(document, part);
        all.extend(more);
        demanded.extend(more_demanded);
    }
    let own = schema["properties"].as_object().into_iter().flatten();
    all.extend(own.map(|(name, property)| (name.as_str(), property)));
    let own = schema["required"].as_array().into_iter().flatten();
    demanded.extend(own.filter_map(Value::as_str));
    (all, demanded)
}

/// Whether an example has what its schema has, and nothing else.
fn fits(document: &Value, schema: &Value, example: &Value, at: &str) {
    if let Some(items) = example.as_array() {
        let schema = &resolved(document, schema)["items"];
        items.iter().for_each(|item| fits(document, schema, item, at));
    }
    let (all, demanded) = properties(document, schema);
    let Some(object) = example.as_object().filter(|_| !all.is_empty()) else {
        return;
    };
    for name in demanded {
        assert!(object.contains_key(name), "{at}: the example has no {name}");
    }
    for (name, value) in object {
        let property = all.get(name.as_str());
        let property = property.unwrap_or_else(|| panic!("{at}: the example has {name}, the schema has not"));
        fits(document, property, value, &format!("{at}.{name}"));
    }
}

#[tokio::test]
async fn every_example_has_the_shape_of_what_it_is_one_of() {
    let plane = Plane::start().await;
    let mut seen = 0;
    for path in DOCUMENTS {
        let document = document(&plane, path).await;
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            if schema["example"].is_object() {
                fits(&document, schema, &schema["example"], name);
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "{seen}");
}

/// What a request's example needs before it, and what it may then be called on.
#[tokio::test]
async fn the_examples_of_requests_are_taken() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let customer = plane.customer(&company.live, "Before").await;
    let key = plane.account_key(&company.id, &json!({})).await;
    let shown = plane.admin("GET", format!("/admin/customers/{}", company.id));
    let shown = shown.send().await.json();
    let user = json!({"name": "Ada", "email": "ada@example.com", "claims": ["Issuer_Admin"]});
    let users = plane.admin("POST", format!("/admin/customers/{}/users", company.id));
    let user = users.json(&user).send().await.expect(201).json();
    let for_keys = plane.call("POST", "/keys").admin(&company.live);
    let of_user = for_keys.json(&json!({"userId": user["user_id"]})).send().await;
    let of_user = of_user.expect(201).json();
    let of_user = of_user["key"].as_str().unwrap();
    let own = plane.call("POST", "/api/v1/psp/product-manager/customer-user-api-keys");
    let own = own.key(of_user).json(&json!({"name": "own"})).send().await;
    let own = json!(own.expect(201).json()["id"].to_string());
    let webhook = plane.admin("POST", "/admin/webhooks");
    let webhook = webhook.json(&json!({"url": "http://127.0.0.1:9/"})).send().await;
    let webhook = webhook.expect(201).json();
    let gateway = Gateway::join(&plane, hello("edge-1", 1)).await.unwrap();
    let (held, _) = gateway.snapshot();
    gateway.hold(held, 120, 90).await;
    let holding = async || {
        let shown = plane.admin("GET", "/admin/gateways").send().await.json();
        shown["gateways"][0]["state"] == "holding"
    };
    plane.eventually(holding).await;
    let gateway_id = json!("edge-1");
    let ids = [
        ("{gateway_id}", &gateway_id),
        ("{webhook_id}", &webhook["webhook_id"]),
        ("{user_id}", &user["user_id"]),
        ("{keyId}", &key["api_key_id"]),
        ("{apiKeyId}", &own),
        ("{customerId}", &customer["id"]),
        ("{customer_id}", &shown["customer_id"]),
        ("{api_key_id}", &key["api_key_id"]),
        ("{environment_id}", &shown["environments"][0]["environment_id"]),
    ];
    let mut tried = 0;
    for path in DOCUMENTS {
        let document = document(&plane, path).await;
        for (at, item) in document["paths"].as_object().unwrap() {
            let mut real = at.clone();
            for (name, id) in ids {
                real = real.replace(name, id.as_str().unwrap());
            }
            for (method, operation) in item.as_object().unwrap() {
                let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
                let schema = resolved(&document, schema);
                let example = &schema["example"];
                if !example.is_object() {
                    continue;
                }
                let call = plane.call(&method.to_uppercase(), real.clone());
                let call = if real.starts_with("/admin") {
                    call.admin(&plane.owner)
                } else if real.starts_with("/api") {
                    call.key(of_user)
                } else {
                    call.key(&company.live)
                };
                let mut example = example.clone();
                if example.get("userId").is_some() {
                    example["userId"] = user["user_id"].clone();
                }
                if real.ends_with("/confirm-snapshot") {
                    example["revision"] = json!(held);
                }
                let answer = call.json(&example).send_among_gateways().await;
                assert!(
                    answer.status.is_success(),
                    "{method} {real} {example}: {}",
                    answer.text
                );
                tried += 1;
            }
        }
    }
    assert!(tried >= 15, "{tried}");
}
