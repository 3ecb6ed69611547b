//! A change happens as a whole or not at all, wherever the database breaks: in the store, in the change log, in the
//! audit trail, and in what a gateway that follows holds.

use serde_json::{Value, json};

use super::breaker::{Breaker, Point};
use super::follower::{Follower, stored};
use crate::plane::{Answer, Call, Company, Plane};

/// What a change of an account writes, however many keys it has: the account, the audit row, and the change log's
/// head and row.
const ONE_ACCOUNT: i64 = 4;

struct World {
    plane: Plane,
    company: Company,
    /// An account key, to be rotated and revoked.
    key: String,
    /// An end customer.
    customer: String,
    breaker: Breaker,
}

impl World {
    async fn new() -> Self {
        let plane = Plane::start().await;
        let company = plane.company("Acme").await;
        for _ in 0..3 {
            plane.account_key(&company.id, &json!({})).await;
        }
        let key = plane.account_key(&company.id, &json!({})).await;
        let customer = plane.customer(&company.live, "Uni").await;
        plane.customer(&company.live, "College").await;
        let breaker = Breaker::new(&plane.running.registry().store).await;
        let world = Self {
            breaker,
            key: text(&key["api_key_id"]),
            customer: text(&customer["id"]),
            plane,
            company,
        };
        // The first use of an admin key is written down beside the call.
        let noted = async || {
            let listed = world.plane.admin("GET", "/admin/admin-keys").send().await.json();
            listed["admin_keys"][0]["last_used_at"].is_string()
        };
        world.plane.eventually(noted).await;
        world
    }

    fn account(&self, rest: &str) -> String {
        format!("/admin/customers/{}{rest}", self.company.id)
    }

    fn portal(&self, method: &str, rest: &str) -> Call<'_> {
        let path = format!("/customers{rest}");
        self.plane.call(method, path).key(&self.company.live)
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Makes a call with the database broken at its commit, and then at every row that it writes, one after the other,
/// until it comes through. Answers how many rows it wrote, and its answer.
async fn broken_everywhere<'w>(
    world: &'w World,
    follower: &Follower,
    call: impl Fn() -> Call<'w>,
) -> (i64, Answer) {
    let breaker = &world.breaker;
    let (before, held) = (breaker.dump().await, follower.holding());
    let points = std::iter::once(Point::Commit).chain((0..).map(Point::After));
    for point in points {
        breaker.set(point).await;
        let answer = call().send_among_gateways().await;
        breaker.set(Point::Nowhere).await;
        if answer.status.is_success() {
            let Point::After(rows) = point else {
                panic!("a commit that failed was answered with {answer:?}");
            };
            assert_ne!(breaker.dump().await, before, "nothing changed: {answer:?}");
            assert_eq!(follower.holding(), stored(&world.plane).await, "{answer:?}");
            return (rows, answer);
        }
        assert_eq!(answer.status, 500, "{answer:?}");
        let inner = ["broken", "breaker", "FOREIGN", "constraint"];
        assert!(
            inner.iter().all(|inner| !answer.text.contains(inner)),
            "an inner message got out: {}",
            answer.text
        );
        assert_eq!(breaker.dump().await, before, "{point:?} left something behind");
        assert_eq!(follower.holding(), held, "{point:?}: a gateway heard of it");
        assert_eq!(stored(&world.plane).await, held, "{point:?}");
    }
    unreachable!("points never end")
}

#[tokio::test]
async fn an_accounts_change_that_breaks_at_any_step_leaves_everything_as_it_was() {
    let world = World::new().await;
    let follower = Follower::join(&world.plane).await;
    let put = |body: Value| world.plane.admin("PUT", world.account("")).json(&body);
    for body in [
        json!({"status": "suspended"}),
        json!({"status": "active"}),
        json!({"tier": "scale"}),
        json!({"tier": "custom", "overrides": {"rate_limit": 7}, "status": "suspended"}),
        json!({"status": "active", "metadata": {"segment": "bank"}}),
    ] {
        let (rows, _) = broken_everywhere(&world, &follower, || put(body.clone())).await;
        assert_eq!(rows, ONE_ACCOUNT, "{body}");
    }
    let shown = world.plane.admin("GET", world.account("")).send().await.json();
    let environment = text(&shown["environments"][0]["environment_id"]);
    let path = world.account(&format!("/environments/{environment}"));
    let limit = json!({"user_key_limit": 3});
    broken_everywhere(&world, &follower, || world.plane.admin("PUT", &path).json(&limit)).await;
    let granted = json!({"validations": 5, "reason": "spring"});
    let grant = || {
        let path = world.account("/quota-grants");
        world.plane.admin("POST", path).json(&granted)
    };
    let (rows, _) = broken_everywhere(&world, &follower, grant).await;
    assert_eq!(rows, ONE_ACCOUNT, "granting");
    let delete = || world.plane.admin("DELETE", world.account(""));
    let (rows, _) = broken_everywhere(&world, &follower, delete).await;
    assert_eq!(rows, ONE_ACCOUNT, "deleting");
    let new = json!({"company_name": "New", "contact_email": "a@b.co", "tier": "starter"});
    let create = || world.plane.admin("POST", "/admin/customers").json(&new);
    let (rows, _) = broken_everywhere(&world, &follower, create).await;
    // The account, two environments, the sandbox and its place in the list, two keys, and the three of every change.
    assert_eq!(rows, 1 + 2 + 2 + 2 + 3);
}

#[tokio::test]
async fn a_keys_change_that_breaks_at_any_step_leaves_everything_as_it_was() {
    let world = World::new().await;
    let follower = Follower::join(&world.plane).await;
    let post = |rest: &str, body: Value| world.plane.admin("POST", world.account(rest)).json(&body);
    broken_everywhere(&world, &follower, || post("/api-keys", json!({"name": "ci"}))).await;
    let mut key = world.key.clone();
    for grace in [0, 60] {
        let rest = format!("/api-keys/{key}/rotate");
        let rotate = || post(&rest, json!({"grace_seconds": grace}));
        let (rows, answer) = broken_everywhere(&world, &follower, rotate).await;
        assert_eq!(rows, 2 + 3, "both keys and the three of every change");
        key = text(&answer.json()["api_key_id"]);
    }
    let revoke = || {
        world
            .plane
            .admin("DELETE", world.account(&format!("/api-keys/{key}")))
    };
    broken_everywhere(&world, &follower, revoke).await;
    let body = json!({"name": "second", "role": "viewer"});
    let create = || world.plane.admin("POST", "/admin/admin-keys").json(&body);
    let (_, made) = broken_everywhere(&world, &follower, create).await;
    let path = format!("/admin/admin-keys/{}", text(&made.json()["admin_key_id"]));
    broken_everywhere(&world, &follower, || world.plane.admin("DELETE", &path)).await;
}

#[tokio::test]
async fn an_end_customers_change_that_breaks_at_any_step_leaves_everything_as_it_was() {
    let world = World::new().await;
    let follower = Follower::join(&world.plane).await;
    let named = |name: &str| json!({ "name": name });
    broken_everywhere(&world, &follower, || world.portal("POST", "").json(&named("New"))).await;
    let one = format!("/{}", world.customer);
    broken_everywhere(&world, &follower, || {
        world.portal("PATCH", &one).json(&named("Renamed"))
    })
    .await;
    let rotate = format!("{one}/rotate-key");
    broken_everywhere(&world, &follower, || world.portal("POST", &rotate)).await;
    let (rows, _) = broken_everywhere(&world, &follower, || world.portal("DELETE", &one)).await;
    assert_eq!(
        rows,
        3 + 3,
        "the customer, its place in the list, its key, and the three of every change"
    );
}
