//! A call that is refused has done nothing at all: no customer, no key, no change, no line in the audit trail.

use reqwest::Method;
use serde_json::{Value, json};

use crate::api::{Account, By, Customer};
use crate::stack::Stack;
use crate::wire::{Keys, call};

/// Method, path, content type, body, status. `{c}` stands for an end customer, `{a}` for its account, `{k}` for
/// the id of the account's key.
type Row = (Method, &'static str, &'static str, String, u16);

const JSON: &str = "application/json";

fn of_partners() -> Vec<Row> {
    let row = |method, path, body: &str, status| (method, path, JSON, body.to_owned(), status);
    vec![
        row(Method::POST, "/customers", "{\"name\": \"New\"", 400),
        row(
            Method::POST,
            "/customers",
            "{\"name\": \"New\", \"name\": \"Newer\"}",
            400,
        ),
        row(Method::POST, "/customers", "{\"name\": \"New\"} {}", 400),
        row(Method::POST, "/customers", "{\"name\": 7}", 400),
        row(Method::POST, "/customers", "{\"name\": NaN}", 400),
        row(Method::POST, "/customers", "[]", 400),
        row(Method::POST, "/customers", "", 400),
        row(Method::POST, "/customers", "{\"name\": \" \"}", 400),
        row(
            Method::POST,
            "/customers",
            &json!({"name": "n".repeat(256)}).to_string(),
            400,
        ),
        row(
            Method::POST,
            "/customers",
            &json!({"name": "New", "more": "n".repeat(70_000)}).to_string(),
            413,
        ),
        row(Method::POST, "/customers", "{\"name\": \"Acme\"}", 409),
        (
            Method::POST,
            "/customers",
            "text/plain",
            "{\"name\": \"New\"}".into(),
            415,
        ),
        row(Method::PUT, "/customers", "{\"name\": \"New\"}", 405),
        row(Method::PATCH, "/customers/{c}", "{\"name\": null}", 400),
        row(Method::PATCH, "/customers/{c}", "{\"name\": \"Other\"", 400),
        row(Method::PATCH, "/customers/{c}", "{\"name\": \"Second\"}", 409),
        row(
            Method::PATCH,
            "/customers/clx8f2k9h0001qr5tgvwxyz99",
            "{\"name\": \"Other\"}",
            404,
        ),
        row(
            Method::POST,
            "/customers/clx8f2k9h0001qr5tgvwxyz99/rotate-key",
            "",
            404,
        ),
        row(Method::DELETE, "/customers/nobody", "", 404),
    ]
}

fn of_operators() -> Vec<Row> {
    let row = |method, path, body: Value, status| (method, path, JSON, body.to_string(), status);
    let account = |field: &str, value: Value| {
        let mut fields = json!({ "company_name": "New", "contact_email": "a@b.example", "tier": "growth" });
        fields[field] = value;
        fields
    };
    vec![
        row(
            Method::POST,
            "/admin/customers",
            account("tier", json!("gold")),
            400,
        ),
        row(
            Method::POST,
            "/admin/customers",
            account("contact_email", json!("nobody")),
            400,
        ),
        row(
            Method::POST,
            "/admin/customers",
            account("overrides", json!({"rate_limit": 9})),
            400,
        ),
        row(
            Method::PATCH,
            "/admin/customers/{a}",
            json!({"tier": "scale", "status": "cancelled"}),
            400,
        ),
        row(
            Method::PATCH,
            "/admin/customers/{a}",
            json!({"company_name": "Other", "tier": "gold"}),
            400,
        ),
        row(
            Method::POST,
            "/admin/customers/{a}/api-keys",
            json!({"environment": "staging"}),
            400,
        ),
        row(
            Method::POST,
            "/admin/customers/{a}/api-keys",
            json!({"name": "x", "allowed_ips": []}),
            400,
        ),
        row(
            Method::POST,
            "/admin/customers/{a}/api-keys/{k}/rotate",
            json!({"grace_seconds": -1}),
            400,
        ),
        row(
            Method::DELETE,
            "/admin/customers/{a}/api-keys/0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e",
            Value::Null,
            404,
        ),
    ]
}

#[tokio::test]
async fn a_refused_call_leaves_everything_as_it_was() {
    let stack = Stack::start().await;
    let account = stack.account().await;
    let customer = stack.api.customer(&account.key, "Acme").await;
    stack.api.customer(&account.key, "Second").await;
    let before = Everything::of(&stack, &account, &customer).await;
    let partners = of_partners()
        .into_iter()
        .map(|row| (By::Account(&account.key), row));
    let operators = of_operators()
        .into_iter()
        .map(|row| (By::Admin(&stack.admin), row));
    for (by, (method, path, content_type, body, status)) in partners.chain(operators) {
        let path = path
            .replace("{c}", &customer.id)
            .replace("{a}", &account.id)
            .replace("{k}", &account.key_id);
        let what = format!("{method} {path} {:.60}", body);
        let content_type = (!body.is_empty()).then_some(content_type);
        let answer = stack
            .api
            .send(by, method, &path, content_type, body.into_bytes())
            .await;
        assert_eq!(answer.status, status, "{what}: {}", answer.text);
        let after = Everything::of(&stack, &account, &customer).await;
        assert_eq!(after, before, "{what}");
    }
    let keys = Keys {
        account: &account.key,
        customer: &customer.key,
    };
    assert_eq!(call(stack.gateway(), keys).await.status, 200);
}

/// All that a partner and an operator can see, and the gateways' position.
#[derive(Debug, PartialEq)]
struct Everything(Vec<Value>);

impl Everything {
    async fn of(stack: &Stack, account: &Account, customer: &Customer) -> Self {
        let mut seen = Vec::new();
        for path in ["/customers".to_owned(), format!("/customers/{}", customer.id)] {
            let shown = stack.portal(&account.key, Method::GET, &path, Value::Null).await;
            seen.push(shown.expect(200).json());
        }
        for path in [
            "/admin/customers".to_owned(),
            format!("/admin/customers/{}/api-keys", account.id),
            "/admin/audit".to_owned(),
        ] {
            let shown = stack.admin(Method::GET, &path, Value::Null).await;
            let mut shown = shown.expect(200).json();
            for key in shown["api_keys"].as_array_mut().into_iter().flatten() {
                // Looking is a use.
                key["last_used_at"] = Value::Null;
            }
            seen.push(shown);
        }
        let gateways = stack.admin(Method::GET, "/admin/gateways", Value::Null).await;
        seen.push(gateways.expect(200).json()["revision"].clone());
        Self(seen)
    }
}
