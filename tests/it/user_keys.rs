//! A user's day: keys are made on surface 4, switched off and on, deleted, and end with their user. What the API has
//! answered holds at the gateway with the very next call, on connections that carried the key and on new ones.

use reqwest::Method;
use serde_json::{Value, json};

use crate::api::{Account, Answer, text};
use crate::stack::Stack;
use crate::wire::{Keys, Wire, call};

const PATH: &str = "/api/v1/psp/product-manager/customer-user-api-keys";

/// A user with a key to call surface 4 with, and an end customer to call the gateway with.
struct Person {
    stack: Stack,
    account: Account,
    id: String,
    key: String,
    customer: String,
}

/// A key that was made on surface 4.
struct Made {
    path: String,
    key: String,
}

impl Person {
    async fn start() -> Self {
        let stack = Stack::start().await;
        let account = stack.account().await;
        let customer = stack.api.customer(&account.key, "Acme University").await;
        let of_account = format!("/admin/customers/{}", account.id);
        let ada = json!({"name": "Ada", "email": "ada@acme.example", "claims": ["Issuer_Dev"]});
        let ada = stack
            .admin(Method::POST, &format!("{of_account}/users"), ada)
            .await;
        let id = text(&ada.expect(201).json()["user_id"]);
        let first = json!({"name": "first", "user_id": id});
        let first = stack
            .admin(Method::POST, &format!("{of_account}/api-keys"), first)
            .await;
        let key = text(&first.expect(201).in_force_at(1).json()["api_key"]);
        Self {
            stack,
            account,
            id,
            key,
            customer: customer.key,
        }
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> Answer {
        self.stack.portal(&self.key, method, path, body).await
    }

    async fn make(&self) -> Made {
        let made = self.call(Method::POST, PATH, json!({"name": "ci"})).await;
        let made = made.expect(201).in_force_at(1).json();
        Made {
            path: format!("{PATH}/{}", made["id"]),
            key: text(&made["rawKey"]),
        }
    }

    async fn switch(&self, made: &Made, status: &str) {
        let body = json!({"status": status});
        let answer = self.call(Method::PATCH, &made.path, body).await;
        answer.expect(200).in_force_at(1);
    }

    fn keys<'k>(&'k self, key: &'k str) -> Keys<'k> {
        Keys {
            account: key,
            customer: &self.customer,
        }
    }

    async fn accepted(&self, wire: &mut Wire, key: &str) {
        let gateway = self.stack.gateway();
        for heard in [
            wire.call(self.keys(key)).await,
            call(gateway, self.keys(key)).await,
        ] {
            assert_eq!(heard.status, 200, "{}", heard.body);
        }
    }

    async fn refused(&self, wire: &mut Wire, key: &str) {
        let gateway = self.stack.gateway();
        for heard in [
            wire.call(self.keys(key)).await,
            call(gateway, self.keys(key)).await,
        ] {
            assert_eq!((heard.status, heard.code().as_str()), (401, "EXPIRED_API_KEY"));
        }
    }
}

#[tokio::test]
async fn a_user_s_key_works_while_it_is_active_and_no_call_longer() {
    let ada = Person::start().await;
    let mut wire = Wire::open(ada.stack.gateway()).await;
    let made = ada.make().await;
    ada.accepted(&mut wire, &made.key).await;
    for _ in 0..5 {
        ada.switch(&made, "inactive").await;
        ada.refused(&mut wire, &made.key).await;
        ada.switch(&made, "active").await;
        ada.accepted(&mut wire, &made.key).await;
    }
    let deleted = ada.call(Method::DELETE, &made.path, Value::Null).await;
    deleted.expect(204).in_force_at(1);
    ada.refused(&mut wire, &made.key).await;
    // What is deleted is not switched on again.
    let body = json!({"status": "active"});
    ada.call(Method::PATCH, &made.path, body).await.expect(404);
    ada.refused(&mut wire, &made.key).await;
}

#[tokio::test]
async fn a_deleted_user_s_keys_are_all_refused_from_its_204_on() {
    let ada = Person::start().await;
    let mut wire = Wire::open(ada.stack.gateway()).await;
    let (on, off) = (ada.make().await, ada.make().await);
    ada.switch(&off, "inactive").await;
    for key in [&ada.key, &on.key] {
        ada.accepted(&mut wire, key).await;
    }
    let path = format!("/admin/customers/{}/users/{}", ada.account.id, ada.id);
    let deleted = ada.stack.admin(Method::DELETE, &path, Value::Null).await;
    deleted.expect(204).in_force_at(1);
    for key in [&ada.key, &on.key, &off.key] {
        ada.refused(&mut wire, key).await;
    }
    ada.call(Method::GET, PATH, Value::Null).await.expect(401);
    // The account's own key is nobody's, and goes on.
    ada.accepted(&mut wire, &ada.account.key).await;
}
