//! One store, four faces: a key made on any surface holds at the gateway as soon as its 2xx has come, and what any
//! surface changes of it holds with the very next call.

use std::time::{SystemTime, UNIX_EPOCH};

use keyward_contract::UnixMillis;
use keyward_harness::eventually;
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::{Account, Answer, text};
use crate::stack::{Plan, SOON, Stack};
use crate::wire::{Heard, Keys, Wire, call};

/// Two versions, so that a key can go from one to the other; and a route that only production may use.
const VERSIONS: &str = "[rules]\napi_versions = [\"2026-05-01\", \"2026-11-01\"]\n";
const ROUTES: &str = "[[routes]]\npath = \"/live\"\nupstream = \"api\"\nrequire = \"account\"\nenvironments = [\"production\"]\n\
     [[routes]]\npath = \"/any\"\nupstream = \"api\"\nrequire = \"account\"\n";

/// Gateways read the calendar now and then, and the test's own reading is not theirs.
const CLOCKS_DIFFER_BY: i64 = 250;

/// A surface on which account keys are made. (Surface 1 makes the keys of end customers.)
#[derive(Clone, Copy, Debug)]
enum Surface {
    /// 2: by an operator.
    Admin,
    /// 3: by the company.
    Keys,
}

impl Surface {
    const ALL: [Self; 2] = [Self::Admin, Self::Keys];
}

/// A company with somebody to make keys for.
struct Company {
    stack: Stack,
    account: Account,
    user: String,
}

/// An account key.
#[derive(Clone, Debug)]
struct Made {
    id: String,
    key: String,
}

impl Company {
    async fn start() -> Self {
        let plan = Plan {
            control_plane_tables: VERSIONS,
            gateway_tables: ROUTES,
            ..Plan::default()
        };
        let stack = Stack::with(plan).await;
        let account = stack.account().await;
        let user = json!({"name": "Ada", "email": "ada@acme.example"});
        let path = format!("/admin/customers/{}/users", account.id);
        let user = stack.admin(Method::POST, &path, user).await.expect(201).json();
        Self {
            user: text(&user["user_id"]),
            stack,
            account,
        }
    }

    /// Makes a key of production on a surface, for these addresses alone.
    async fn make(&self, surface: Surface, addresses: &Value) -> Made {
        let (answer, id, key) = match surface {
            Surface::Admin => {
                let path = format!("/admin/customers/{}/api-keys", self.account.id);
                let body = json!({"allowed_ips": addresses});
                let answer = self.stack.admin(Method::POST, &path, body).await;
                (answer, "api_key_id", "api_key")
            }
            Surface::Keys => {
                let body = json!({"userId": self.user, "whitelistedIPs": addresses});
                (self.keys(Method::POST, "", body).await, "id", "key")
            }
        };
        let made = answer.expect(201).in_force_at(1).json();
        Made {
            id: text(&made[id]),
            key: text(&made[key]),
        }
    }

    /// A call of surface 3 by the company's first key, below `/keys`.
    async fn keys(&self, method: Method, rest: &str, body: Value) -> Answer {
        let path = format!("/keys{rest}");
        self.stack.portal(&self.account.key, method, &path, body).await
    }

    async fn edit(&self, key: &Made, body: Value) {
        let edited = self.keys(Method::PUT, &format!("/{}", key.id), body).await;
        edited.expect(200).in_force_at(1);
    }

    /// Rotates a key on the operators' surface.
    async fn rotate(&self, key: &Made, body: Value) -> Made {
        let path = format!("/admin/customers/{}/api-keys/{}/rotate", self.account.id, key.id);
        let rotated = self.stack.admin(Method::POST, &path, body).await;
        let rotated = rotated.expect(200).in_force_at(1).json();
        Made {
            id: text(&rotated["api_key_id"]),
            key: text(&rotated["api_key"]),
        }
    }

    /// What the operators' list says of a key.
    async fn listed(&self, key: &Made) -> Value {
        let path = format!("/admin/customers/{}/api-keys", self.account.id);
        let listed = self.stack.admin(Method::GET, &path, Value::Null).await;
        let listed = listed.expect(200).json();
        let mut keys = listed["api_keys"].as_array().unwrap().iter();
        keys.find(|listed| listed["api_key_id"] == key.id.as_str())
            .unwrap()
            .clone()
    }

    async fn wire(&self) -> Wire {
        Wire::open(self.stack.gateway()).await
    }
}

/// A call with an account key alone.
async fn with(wire: &mut Wire, path: &str, key: &str) -> Heard {
    let head = format!("GET {path} HTTP/1.1\r\nHost: api.example\r\nx-api-key: {key}\r\n\r\n");
    wire.send(&head).await
}

#[track_caller]
fn accepted(heard: &Heard) -> Value {
    assert_eq!(heard.status, 200, "{}", heard.body);
    heard.json()["headers"].clone()
}

#[track_caller]
fn refused(heard: &Heard, status: u16, code: &str) {
    assert_eq!(
        (heard.status, heard.code().as_str()),
        (status, code),
        "{}",
        heard.body
    );
}

fn unix_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

#[tokio::test]
async fn a_key_of_any_surface_calls_as_soon_as_its_201_has_come() {
    let company = Company::start().await;
    let mut wire = company.wire().await;
    for surface in Surface::ALL {
        for _ in 0..5 {
            let made = company.make(surface, &Value::Null).await;
            let customer = company.stack.api.customer(&made.key, &made.id).await;
            let keys = Keys {
                account: &made.key,
                customer: &customer.key,
            };
            let headers = accepted(&wire.call(keys).await);
            assert_eq!(
                headers["keyward-account"],
                json!([company.account.id]),
                "{surface:?}"
            );
            assert_eq!(headers["keyward-key-id"], json!([made.id]), "{surface:?}");
            assert_eq!(headers["keyward-customer"], json!([customer.id]), "{surface:?}");
            assert_eq!(
                headers["keyward-api-version"],
                json!(["2026-11-01"]),
                "{surface:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_address_list_and_a_version_hold_from_the_answer_on() {
    let company = Company::start().await;
    let mut wire = company.wire().await;
    for surface in Surface::ALL {
        let made = company.make(surface, &json!(["203.0.113.0/24"])).await;
        for (list, is_allowed) in [
            (json!(["203.0.113.0/24", "127.0.0.0/8"]), true),
            (json!(["2001:db8::/32"]), false),
            (Value::Null, true),
            (json!(["127.0.0.2"]), false),
            (json!(["::ffff:127.0.0.1"]), true),
        ] {
            let before = with(&mut wire, "/any", &made.key).await;
            assert_eq!(before.status == 200, !is_allowed, "{surface:?}");
            company.edit(&made, json!({"whitelistedIPs": list})).await;
            for heard in [
                with(&mut wire, "/any", &made.key).await,
                with(&mut company.wire().await, "/any", &made.key).await,
            ] {
                if is_allowed {
                    accepted(&heard);
                } else {
                    refused(&heard, 403, "IP_NOT_ALLOWED");
                }
            }
        }
        for version in ["2026-05-01", "2026-11-01", "2026-05-01"] {
            company.edit(&made, json!({"apiVersion": version})).await;
            let headers = accepted(&with(&mut wire, "/any", &made.key).await);
            assert_eq!(headers["keyward-api-version"], json!([version]), "{surface:?}");
        }
    }
}

#[tokio::test]
async fn a_key_is_refused_from_the_moment_it_expires() {
    let company = Company::start().await;
    let expires_at = UnixMillis((unix_ms() / 1_000 + 3) * 1_000);
    let path = format!("/admin/customers/{}/api-keys", company.account.id);
    let body = json!({"expires_at": expires_at.to_rfc3339_seconds()});
    let made = company.stack.admin(Method::POST, &path, body).await;
    let made = made.expect(201).in_force_at(1).json();
    let key = text(&made["api_key"]);
    let mut wire = company.wire().await;
    let over = eventually(SOON, || async {
        let mut wire = company.wire().await;
        let began = unix_ms();
        let heard = with(&mut wire, "/any", &key).await;
        if heard.status == 200 {
            assert!(
                began < expires_at.0 + CLOCKS_DIFFER_BY,
                "accepted after its expiry"
            );
            anyhow::bail!("it lives");
        }
        assert!(
            unix_ms() > expires_at.0 - CLOCKS_DIFFER_BY,
            "refused before its expiry"
        );
        refused(&heard, 401, "EXPIRED_API_KEY");
        Ok(())
    });
    over.await.unwrap();
    refused(&with(&mut wire, "/any", &key).await, 401, "EXPIRED_API_KEY");
    let shown = company
        .keys(
            Method::GET,
            &format!("/{}", text(&made["api_key_id"])),
            Value::Null,
        )
        .await;
    assert_eq!(shown.expect(200).json()["status"], "inactive");
}

#[tokio::test]
async fn a_key_is_good_in_its_environment_alone() {
    let company = Company::start().await;
    let path = format!("/admin/customers/{}/api-keys", company.account.id);
    let by_operator = company
        .stack
        .admin(Method::POST, &path, json!({"environment": "test"}))
        .await;
    let by_operator = text(&by_operator.expect(201).json()["api_key"]);
    let body = json!({"userId": company.user});
    let by_company = company
        .stack
        .portal(&by_operator, Method::POST, "/keys", body)
        .await;
    let by_company = text(&by_company.expect(201).in_force_at(1).json()["key"]);
    let live = company.stack.api.customer(&company.account.key, "live").await;
    let mut wire = company.wire().await;
    let production = accepted(&with(&mut wire, "/live", &company.account.key).await);
    for key in [&by_operator, &by_company] {
        assert!(key.starts_with("pk_test_"));
        refused(&with(&mut wire, "/live", key).await, 401, "INVALID_API_KEY");
        let headers = accepted(&with(&mut wire, "/any", key).await);
        assert_eq!(headers["keyward-account"], production["keyward-account"]);
        assert_ne!(headers["keyward-environment"], production["keyward-environment"]);
        // In test a customer key may be left out, but another environment's is nobody's.
        accepted(&with(&mut wire, "/hello", key).await);
        let keys = Keys {
            account: key,
            customer: &live.key,
        };
        refused(&wire.call(keys).await, 403, "FORBIDDEN");
    }
}

#[tokio::test]
async fn both_keys_of_a_rotation_call_until_the_old_one_ends_by_itself() {
    let company = Company::start().await;
    let mut wire = company.wire().await;
    for surface in Surface::ALL {
        let old = company.make(surface, &json!(["127.0.0.1"])).await;
        company.edit(&old, json!({"apiVersion": "2026-05-01"})).await;
        let before = accepted(&with(&mut wire, "/any", &old.key).await);
        let rotated_at = unix_ms() / 1_000;
        let new = company.rotate(&old, json!({"grace_seconds": 4})).await;

        let heard = with(&mut wire, "/any", &old.key).await;
        assert_eq!(accepted(&heard), before, "{surface:?}");
        let deprecation = heard.header("deprecation").unwrap().strip_prefix('@').unwrap();
        let deprecation: i64 = deprecation.parse().unwrap();
        assert!((rotated_at..=unix_ms() / 1_000).contains(&deprecation));
        assert!(heard.header("sunset").unwrap().ends_with(" GMT"));
        let heard = with(&mut wire, "/any", &new.key).await;
        let mut headers = accepted(&heard);
        assert_eq!(
            (heard.header("deprecation"), heard.header("sunset")),
            (None, None)
        );
        assert_eq!(headers["keyward-key-id"], json!([new.id]));
        for own in ["keyward-key-id", "x-request-id"] {
            headers[own] = before[own].clone();
        }
        assert_eq!(headers["keyward-api-version"], json!(["2026-05-01"]));

        // An operator sees that the old key is still in use, and the company that both are good.
        let used = eventually(SOON, || async {
            let listed = company.listed(&old).await;
            anyhow::ensure!(listed["last_used_at"].is_string(), "{listed}");
            Ok(())
        });
        used.await.unwrap();
        let over = eventually(SOON, || async {
            let heard = with(&mut company.wire().await, "/any", &old.key).await;
            anyhow::ensure!(heard.status != 200, "it lives");
            refused(&heard, 401, "EXPIRED_API_KEY");
            Ok(())
        });
        over.await.unwrap();
        accepted(&with(&mut wire, "/any", &new.key).await);
        let shown = company
            .keys(Method::GET, &format!("/{}", new.id), Value::Null)
            .await;
        let shown = shown.expect(200).json();
        assert_eq!(
            (&shown["status"], &shown["whitelistedIPs"]),
            (&json!("active"), &json!(["127.0.0.1"]))
        );
        let again = matches!(surface, Surface::Keys);
        assert_eq!(shown["key"] == new.key.as_str(), again, "{surface:?}");
    }
}

#[tokio::test]
async fn a_rotation_without_grace_kills_the_old_key_at_once() {
    let company = Company::start().await;
    let mut wire = company.wire().await;
    for surface in Surface::ALL {
        let mut old = company.make(surface, &Value::Null).await;
        for _ in 0..5 {
            accepted(&with(&mut wire, "/any", &old.key).await);
            let new = company.rotate(&old, json!({})).await;
            dead(&company, &mut wire, &old).await;
            accepted(&with(&mut wire, "/any", &new.key).await);
            old = new;
        }
    }
}

#[tokio::test]
async fn a_key_that_its_company_deletes_is_refused_from_the_204_on() {
    let company = Company::start().await;
    let mut wire = company.wire().await;
    for surface in Surface::ALL {
        for _ in 0..5 {
            let made = company.make(surface, &Value::Null).await;
            accepted(&with(&mut wire, "/any", &made.key).await);
            // By itself, even.
            let path = format!("/keys/{}", made.id);
            let deleted = company
                .stack
                .portal(&made.key, Method::DELETE, &path, Value::Null)
                .await;
            deleted.expect(204).in_force_at(1);
            dead(&company, &mut wire, &made).await;
        }
    }
}

/// Refused on a connection that has carried it and on a new one.
async fn dead(company: &Company, wire: &mut Wire, key: &Made) {
    refused(&with(wire, "/any", &key.key).await, 401, "EXPIRED_API_KEY");
    let keys = Keys {
        account: &key.key,
        customer: "ck_live_nonsense",
    };
    let heard = call(company.stack.gateway(), keys).await;
    refused(&heard, 401, "EXPIRED_API_KEY");
}
