//! Surface 1: one file per endpoint.

use keyward_contract::Limits;
use keyward_control_plane::domain::admin::Role;
use keyward_control_plane::store::Purpose;
use serde_json::json;

use crate::plane::{Call, Plane};

mod any_endpoint;
mod create;
mod delete;
mod idempotency;
mod limits;
mod list;
mod rename;
mod rotate_key;
mod show;
mod usage;

/// An endpoint and what it takes.
pub(crate) struct Door<'a> {
    pub(crate) method: &'a str,
    /// After `/customers`; `{}` stands for the id of a customer.
    pub(crate) rest: &'a str,
    /// What it is sent.
    pub(crate) body: &'a str,
    /// The methods that its path takes.
    pub(crate) allow: &'a [&'a str],
}

impl Door<'_> {
    fn call<'p>(&self, plane: &'p Plane, id: &str) -> Call<'p> {
        let path = format!("/customers{}", self.rest.replace("{}", id));
        let call = plane.call(self.method, path);
        if self.body.is_empty() {
            call
        } else {
            call.raw(self.body)
        }
    }

    /// 401, 403, 405, 429 and 500: it opens to nobody but living account keys whose account may call, by its own
    /// methods, no faster than these may call, and it says when it is our fault.
    pub(crate) async fn opens_only_to_whom_it_should(&self) {
        let plane = Plane::start().await;
        let company = plane.company("Acme").await;
        let customer = plane.customer(&company.live, "Uni").await;
        let id = customer["id"].as_str().unwrap();
        let call = || self.call(&plane, id);
        call().send().await.expect_code(401, "UNAUTHORIZED");
        let by_admin_header = call().admin(&plane.owner).send().await;
        by_admin_header.expect_code(401, "UNAUTHORIZED");
        let admin = plane.admin_key(Role::Owner).await;
        for wrong in ["nonsense", customer["apiKey"].as_str().unwrap(), &admin] {
            call().key(wrong).send().await.expect_code(401, "INVALID_API_KEY");
        }
        let path = format!("/customers{}", self.rest.replace("{}", id));
        let other = plane.call("BREW", &path).key(&company.live).send().await;
        let other = other.expect_code(405, "METHOD_NOT_ALLOWED");
        let mut allow: Vec<_> = other.header("allow").unwrap().split(',').map(str::trim).collect();
        allow.sort_unstable();
        assert_eq!(allow, self.allow, "{} {path}", self.method);

        let account = format!("/admin/customers/{}", company.id);
        let suspend = |status: &str| {
            plane
                .admin("PUT", &account)
                .json(&json!({ "status": status }))
                .send()
        };
        suspend("suspended").await.expect(200);
        call()
            .key(&company.live)
            .send()
            .await
            .expect_code(403, "FORBIDDEN");
        suspend("active").await.expect(200);
        rename(&plane, "end_customers", "away").await;
        let broken = call().key(&company.live).send().await;
        broken.expect_code(500, "INTERNAL_ERROR");
        rename(&plane, "away", "end_customers").await;
        let mended = call().key(&company.live).send().await;
        assert!(mended.status.is_success(), "{mended:?}");
        self.opens_no_faster_than_its_key_may_call().await;
    }

    async fn opens_no_faster_than_its_key_may_call(&self) {
        let slow = Plane::start_with(|config| {
            config.management_limits.portal = Limits { rate: 1, burst: 1 };
        })
        .await;
        let company = slow.company("Acme").await;
        slow.call("GET", "/customers")
            .key(&company.live)
            .send()
            .await
            .expect(200);
        let limited = self
            .call(&slow, "clx8f2k9h0001qr5tgvwxyz12")
            .key(&company.live)
            .send()
            .await;
        let limited = limited.expect_code(429, "RATE_LIMITED");
        assert_eq!(limited.header("retry-after"), Some("1"));
    }

    /// 404: of a customer that never was, of an id that can't be one, and of another environment's and account's.
    pub(crate) async fn leads_nowhere_without_a_customer_of_the_caller(&self) {
        let plane = Plane::start().await;
        let (mine, other) = (plane.company("Acme").await, plane.company("Other").await);
        let customer = plane.customer(&mine.live, "Uni").await;
        let id = customer["id"].as_str().unwrap();
        for unknown in ["clx8f2k9h0001qr5tgvwxyz99", "x", "%00", crate::admin::NOBODY] {
            let missing = self.call(&plane, unknown).key(&mine.live).send().await;
            missing.expect_code(404, "NOT_FOUND");
        }
        for stranger in [&mine.test, &other.live] {
            let foreign = self.call(&plane, id).key(stranger).send().await;
            foreign.expect_code(404, "NOT_FOUND");
        }
    }

    /// 400, 413 and 415: it takes no body but a JSON object of at most 64 KiB that means one thing.
    pub(crate) async fn takes_only_plain_json(&self) {
        let plane = Plane::start().await;
        let company = plane.company("Acme").await;
        let customer = plane.customer(&company.live, "Uni").await;
        let path = format!(
            "/customers{}",
            self.rest.replace("{}", customer["id"].as_str().unwrap())
        );
        let call = || plane.call(self.method, &path).key(&company.live);
        for bad in [
            "{",
            "[]",
            "\"x\"",
            "{\"name\":\"a\",\"name\":\"b\"}",
            "{\"name\":NaN}",
        ] {
            call().raw(bad).send().await.expect_invalid("body");
        }
        let text = call()
            .header("content-type", "text/plain")
            .bytes(self.body)
            .send()
            .await;
        text.expect_code(415, "UNSUPPORTED_MEDIA_TYPE");
        let large = call()
            .raw(format!("{{\"x\":\"{}\"}}", "y".repeat(65_536)))
            .send()
            .await;
        large.expect_code(413, "PAYLOAD_TOO_LARGE");
    }
}

async fn rename(plane: &Plane, from: &'static str, to: &'static str) {
    let mut tx = plane
        .running
        .registry()
        .store
        .begin(Purpose::Other)
        .await
        .unwrap();
    let statement = sqlx::AssertSqlSafe(format!("ALTER TABLE {from} RENAME TO {to}"));
    sqlx::query(statement).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
}
