//! Surface 2: one file per endpoint.

use keyward_contract::Limits;
use keyward_control_plane::domain::admin::Role;

use crate::plane::Plane;

mod admin_keys;
mod any_endpoint;
mod api_keys;
mod audit;
mod customers;
mod environments;
mod gateways;
pub(crate) mod grants;
mod leaks;
mod tiers;
pub(crate) mod usage;
pub(crate) mod users;
mod webhooks;

/// What is nobody's and nothing's.
pub(crate) const NOBODY: &str = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e";

/// An endpoint and who may call it.
pub(crate) struct Door<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    /// The least role.
    pub(crate) least: Role,
    /// The methods that its path takes.
    pub(crate) allow: &'a [&'a str],
}

impl Door<'_> {
    /// 401, 403, 405 and 429: it opens to nobody but living admin keys of its role, by its own methods, and no faster
    /// than these may call.
    pub(crate) async fn opens_only_to_whom_it_should(&self) {
        let plane = Plane::start().await;
        let company = plane.company("Acme").await;
        let customer = plane.customer(&company.live, "Uni").await;
        let call = || plane.call(self.method, self.path);
        call().send().await.expect_error(401, "unauthorized");
        // A Bearer is no admin credential, whatever it holds.
        call()
            .key(&plane.owner)
            .send()
            .await
            .expect_error(401, "unauthorized");
        let unknown = "ak_00000000000000000000000000000000000000";
        for wrong in [
            "nonsense",
            unknown,
            &company.live,
            customer["apiKey"].as_str().unwrap(),
        ] {
            call().admin(wrong).send().await.expect_error(403, "forbidden");
        }
        for role in [Role::Viewer, Role::Operator, Role::Owner] {
            let key = plane.admin_key(role).await;
            let answer = call().admin(&key).send().await;
            assert_eq!(answer.status == 403, role < self.least, "{role:?}: {answer:?}");
        }
        let other = plane.admin("BREW", self.path).send().await;
        let other = other.expect_error(405, "method_not_allowed");
        let mut allow: Vec<_> = other.header("allow").unwrap().split(',').map(str::trim).collect();
        allow.sort_unstable();
        assert_eq!(allow, self.allow, "{} {}", self.method, self.path);
        self.opens_no_faster_than_its_key_may_call().await;
    }

    async fn opens_no_faster_than_its_key_may_call(&self) {
        let slow = Plane::start_with(|config| {
            config.management_limits.others = Limits { rate: 1, burst: 1 };
        })
        .await;
        slow.admin("GET", "/admin/nothing").send().await.expect(404);
        let limited = slow.admin(self.method, self.path).send().await;
        let limited = limited.expect_error(429, "rate_limited");
        assert_eq!(limited.header("retry-after"), Some("1"));
        assert_eq!(limited.header("x-ratelimit-remaining"), Some("0"));
    }

    /// 400, 413 and 415: it takes no body but a JSON object of at most 64 KiB that means one thing.
    pub(crate) async fn takes_only_plain_json(&self) {
        let plane = Plane::start().await;
        let call = || plane.admin(self.method, self.path);
        for bad in ["{", "[]", "\"x\"", "{\"a\":1,\"a\":2}", "{\"a\":NaN}"] {
            let refused = call().raw(bad).send().await;
            refused.expect_error(400, "invalid_request");
        }
        let text = call().header("content-type", "text/plain").bytes("{}");
        text.send().await.expect_error(415, "unsupported_media_type");
        let large = call().raw(format!("{{\"x\":\"{}\"}}", "y".repeat(65_536)));
        large.send().await.expect_error(413, "payload_too_large");
    }
}

/// 404: each of these paths names something that isn't there.
pub(crate) async fn leads_nowhere(plane: &Plane, method: &str, paths: &[String]) {
    for path in paths {
        let missing = plane
            .admin(method, path)
            .raw("{\"user_key_limit\":1}")
            .send()
            .await;
        missing.expect_error(404, "not_found");
    }
}
