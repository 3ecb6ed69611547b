//! `GET /.well-known/oauth-authorization-server`

use insta::assert_json_snapshot;

use crate::plane::Plane;

const PATH: &str = "/.well-known/oauth-authorization-server";

#[tokio::test]
async fn it_says_where_everything_is() {
    let plane =
        Plane::start_with(|config| config.auth.issuer = Some("https://keys.example.com".into())).await;
    let answer = plane.call("GET", PATH).send().await.expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_json_snapshot!(answer.json(), @r#"
    {
      "issuer": "https://keys.example.com",
      "token_endpoint": "https://keys.example.com/oauth/token",
      "jwks_uri": "https://keys.example.com/.well-known/jwks.json",
      "scopes_supported": [
        "company.keys:list",
        "company.keys:write"
      ],
      "response_types_supported": [],
      "grant_types_supported": [
        "client_credentials"
      ],
      "token_endpoint_auth_methods_supported": [
        "client_secret_basic",
        "client_secret_post"
      ]
    }
    "#);
}

#[tokio::test]
async fn without_a_setting_the_issuer_is_this_machine() {
    let plane = Plane::start().await;
    let metadata = plane.call("GET", PATH).send().await.expect(200).json();
    let issuer = format!("http://{}", plane.running.api);
    assert_eq!(metadata["issuer"], issuer);
    // What it names is there.
    for name in ["token_endpoint", "jwks_uri"] {
        let path = metadata[name]
            .as_str()
            .unwrap()
            .strip_prefix(&issuer)
            .unwrap()
            .to_owned();
        let answer = plane.call("GET", path).send().await;
        assert!(answer.status == 200 || answer.status == 405, "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn it_takes_no_other_method_and_no_credential() {
    let plane = Plane::start().await;
    let answer = plane.call("POST", PATH).send().await.expect(405);
    assert_eq!(answer.header("allow"), Some("GET,HEAD"));
    assert_eq!(answer.json()["error"], "invalid_request");
    plane.call("HEAD", PATH).send().await.expect(200);
    plane.call("GET", PATH).key("nonsense").send().await.expect(200);
    let unknown = plane
        .call("GET", "/.well-known/openid-configuration")
        .send()
        .await
        .expect(404);
    assert_eq!(unknown.json()["error"], "invalid_request");
}
