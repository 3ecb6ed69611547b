//! What holds across endpoints: secrets at rest, all or nothing, the change log, starts and stops.

use std::collections::BTreeMap;
use std::path::PathBuf;

use keyward_contract::{Fallback, LimitMode, Record, feed};
use keyward_control_plane::ControlPlane;
use keyward_control_plane::operations::catalogue;
use keyward_control_plane::operations::seed::{self, Plan};
use keyward_control_plane::store::{changes, records};
use prost::Message;
use serde_json::json;
use sqlx::AnyPool;
use sqlx::any::AnyPoolOptions;

use crate::plane::{Database, Plane, config, database_url};

mod all_or_nothing;
mod breaker;
mod follower;

/// The records of one revision, as gateways get them.
pub(crate) async fn change(plane: &Plane, revision: &str) -> Vec<Record> {
    let (bytes,): (Vec<u8>,) = sqlx::query_as("SELECT records FROM changes WHERE revision = $1")
        .bind(revision.parse::<i64>().unwrap())
        .fetch_one(plane.running.registry().store.readers())
        .await
        .unwrap();
    let change = feed::Change::decode(bytes.as_slice()).unwrap();
    change
        .records
        .into_iter()
        .map(|record| Record::try_from(record).unwrap())
        .collect()
}

pub(crate) async fn beside(plane: &Plane) -> AnyPool {
    AnyPoolOptions::new()
        .max_connections(1)
        .connect(&database_url(&plane.folder))
        .await
        .unwrap()
}

#[tokio::test]
async fn no_key_is_in_clear_anywhere_on_disk() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let call = plane
        .call("POST", "/customers")
        .key(&company.live)
        .header("idempotency-key", "kept-answer");
    let made = call
        .json(&json!({"name": "Kept University"}))
        .send()
        .await
        .expect(201)
        .json();
    let path = format!("/customers/{}/rotate-key", made["id"].as_str().unwrap());
    let rotated = plane
        .call("POST", path)
        .key(&company.live)
        .send()
        .await
        .expect(200)
        .json();
    let secrets = [
        plane.owner.as_str(),
        &company.live,
        &company.test,
        made["apiKey"].as_str().unwrap(),
        rotated["apiKey"].as_str().unwrap(),
    ];
    let mut places = vec![plane.folder.path().to_owned()];
    if matches!(crate::DATABASE, Database::Postgres) {
        sqlx::query("CHECKPOINT")
            .execute(&beside(&plane).await)
            .await
            .unwrap();
        let (server,): (String,) = sqlx::query_as("SELECT current_setting('data_directory')")
            .fetch_one(&beside(&plane).await)
            .await
            .unwrap();
        places.push(server.into());
    }
    // Not even what makes it unique: prefix and mask show the first two and last three characters.
    let inner = secrets.map(|secret| &secret[secret.len() - 30..secret.len() - 6]);
    assert_eq!(files_with(&places, &inner), "", "a key is in clear");
    // It would be seen if it were there: an end customer's name is.
    assert_ne!(files_with(&places, &["Kept University"]), "");
}

/// The files at or below these places that hold any of these texts.
fn files_with(places: &[PathBuf], texts: &[&str]) -> String {
    let mut grep = std::process::Command::new("grep");
    grep.args(["--recursive", "--files-with-matches", "--text", "--fixed-strings"]);
    for text in texts {
        grep.args(["-e", text]);
    }
    String::from_utf8(grep.args(places).output().unwrap().stdout).unwrap()
}

#[tokio::test]
async fn a_key_sealed_for_one_customer_is_never_shown_for_another() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let (a, b) = (
        plane.customer(&company.live, "A").await,
        plane.customer(&company.live, "B").await,
    );
    let id = |customer: &serde_json::Value| customer["id"].as_str().unwrap().to_owned();
    sqlx::query(
        "UPDATE api_keys SET sealed = (SELECT sealed FROM api_keys WHERE customer_id = $1) WHERE customer_id = $2",
    )
    .bind(id(&a))
    .bind(id(&b))
    .execute(&beside(&plane).await)
    .await
    .unwrap();
    let shown = plane
        .call("GET", format!("/customers/{}", id(&b)))
        .key(&company.live)
        .send()
        .await;
    assert!(shown.expect(200).json()["apiKey"].is_null());
}

#[tokio::test]
async fn a_customer_without_a_living_key_shows_none_and_rotates_into_one() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let made = plane.customer(&company.live, "Uni").await;
    let path = format!("/customers/{}", made["id"].as_str().unwrap());
    sqlx::query("UPDATE api_keys SET state = 'revoked' WHERE customer_id = $1")
        .bind(made["id"].as_str().unwrap())
        .execute(&beside(&plane).await)
        .await
        .unwrap();
    let shown = plane
        .call("GET", &path)
        .key(&company.live)
        .send()
        .await
        .expect(200)
        .json();
    assert!(shown["apiKey"].is_null());
    let rotated = plane
        .call("POST", format!("{path}/rotate-key"))
        .key(&company.live)
        .send()
        .await;
    assert!(rotated.expect(200).json()["apiKey"].is_string());
}

#[tokio::test]
async fn revisions_have_no_gaps_and_follow_the_commits() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let names: Vec<String> = (0..20).map(|number| format!("Customer {number}")).collect();
    let calls = names.iter().map(|name| plane.customer(&company.live, name));
    futures_util::future::join_all(calls).await;
    let revisions: Vec<(i64, i64)> =
        sqlx::query_as("SELECT revision, committed_at FROM changes ORDER BY revision")
            .fetch_all(plane.running.registry().store.readers())
            .await
            .unwrap();
    let numbers: Vec<_> = revisions.iter().map(|(revision, _)| *revision).collect();
    assert_eq!(
        numbers,
        (1..=i64::try_from(revisions.len()).unwrap()).collect::<Vec<_>>()
    );
    assert!(revisions.is_sorted_by_key(|(_, at)| *at));
}

#[tokio::test]
async fn a_locked_database_is_503_and_comes_back() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let mut holder = beside(&plane).await.acquire().await.unwrap();
    let hold: &[&str] = match crate::DATABASE {
        Database::Sqlite => &["BEGIN EXCLUSIVE"],
        Database::Postgres => &["BEGIN", "LOCK TABLE end_customers IN EXCLUSIVE MODE"],
    };
    for statement in hold {
        sqlx::query(*statement).execute(&mut *holder).await.unwrap();
    }
    let make = || {
        plane
            .call("POST", "/customers")
            .key(&company.live)
            .json(&json!({"name": "Uni"}))
            .send()
    };
    let away = make().await.expect_code(503, "SERVICE_UNAVAILABLE");
    assert!(away.header("retry-after").is_some());
    sqlx::query("ROLLBACK").execute(&mut *holder).await.unwrap();
    make().await.expect(201);
}

#[tokio::test]
async fn a_second_start_finds_everything_in_place() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let made = plane.customer(&company.live, "Uni").await;
    let epoch = records::feed_epoch(&plane.running.registry().store)
        .await
        .unwrap();
    let Plane { running, folder, .. } = plane;
    running.shutdown().await;
    let again = ControlPlane::start(config(&folder)).await.unwrap();
    assert_eq!(records::feed_epoch(&again.registry().store).await.unwrap(), epoch);
    let url = format!("http://{}/customers/{}", again.api, made["id"].as_str().unwrap());
    let shown = reqwest::Client::new()
        .get(url)
        .bearer_auth(&company.live)
        .send()
        .await
        .unwrap();
    let shown: serde_json::Value = serde_json::from_str(&shown.text().await.unwrap()).unwrap();
    assert_eq!(shown, made);
    again.shutdown().await;
}

#[tokio::test]
async fn a_changed_catalogue_is_published_in_one_revision_at_the_start() {
    let plane = Plane::start().await;
    for name in ["A", "B", "C"] {
        plane.company(name).await;
    }
    let head = async |running: &keyward_control_plane::RunningControlPlane| {
        changes::head(&running.registry().store).await.unwrap()
    };
    let before = head(&plane.running).await;
    let Plane { running, folder, .. } = plane;
    running.shutdown().await;
    let unchanged = ControlPlane::start(config(&folder)).await.unwrap();
    assert_eq!(head(&unchanged).await, before);
    unchanged.shutdown().await;
    let mut changed = config(&folder);
    changed.tiers[1].rate_limit = 77;
    let changed = ControlPlane::start(changed).await.unwrap();
    assert_eq!(head(&changed).await, before + 1);
    let mut tx = changed.registry().store.begin_reading().await.unwrap();
    let now = changed.registry().clock.now();
    let accounts = records::account_records(&mut tx, None, 100, now).await.unwrap();
    assert!(accounts.len() == 3 && accounts.iter().all(|account| account.limits.rate == 77));
    drop(tx);
    changed.shutdown().await;
}

#[tokio::test]
async fn a_changed_catalogue_of_many_accounts_is_published_in_revisions_of_bounded_size() {
    let plane = Plane::start().await;
    let plan = Plan {
        accounts: 1_200,
        customers_per_account: 0,
        tier: "growth".into(),
    };
    seed::run(plane.running.registry(), &plan).await.unwrap();
    let store = plane.running.registry().store.clone();
    let before = changes::head(&store).await.unwrap();
    let Plane { running, folder, .. } = plane;
    running.shutdown().await;
    let mut changed = config(&folder);
    changed.tiers[1].burst_limit = 777;
    let changed = ControlPlane::start(changed).await.unwrap();
    let log = changes::after(&changed.registry().store, before, 100)
        .await
        .unwrap();
    let counts: Vec<_> = log
        .iter()
        .map(|(_, change)| feed::Change::decode(change.as_slice()).unwrap().records.len())
        .collect();
    assert_eq!(counts, [1_000, 200]);
    let mut tx = changed.registry().store.begin_reading().await.unwrap();
    let now = changed.registry().clock.now();
    let accounts = records::account_records(&mut tx, None, 2_000, now).await.unwrap();
    assert!(accounts.len() == 1_200 && accounts.iter().all(|account| account.limits.burst == 777));
    drop(tx);
    changed.shutdown().await;
}

#[tokio::test]
async fn what_the_limits_of_a_tier_do_reaches_gateways_as_revisions_and_every_later_record_says_so() {
    let plane = Plane::start().await;
    let plan = Plan {
        accounts: 1_200,
        customers_per_account: 0,
        tier: "growth".into(),
    };
    seed::run(plane.running.registry(), &plan).await.unwrap();
    let company = plane.company("Acme").await;
    let store = plane.running.registry().store.clone();
    let before = changes::head(&store).await.unwrap();
    let mut plane = plane;
    plane.config.tiers[1].mode = LimitMode::Shadow;
    plane.config.tiers[1].fallback = Some(Fallback::Deny);
    // Nobody is on it.
    plane.config.tiers[2].fallback = Some(Fallback::Allow);
    let plane = plane.restart().await;
    let store = plane.running.registry().store.clone();
    let log = changes::after(&store, before, 100).await.unwrap();
    let told: Vec<_> = log.iter().map(|(_, change)| policies_of(change)).collect();
    let changed = (LimitMode::Shadow, Some(Fallback::Deny));
    assert_eq!(told, [vec![changed; 1_000], vec![changed; 201]]);
    let in_snapshot = async |plane: &Plane| {
        let mut tx = plane.running.registry().store.begin_reading().await.unwrap();
        let now = plane.running.registry().clock.now();
        let accounts = records::account_records(&mut tx, None, 2_000, now).await.unwrap();
        let accounts = accounts.into_iter();
        let policies: Vec<_> = accounts
            .map(|account| (account.limit_mode, account.fallback))
            .collect();
        policies
    };
    assert_eq!(in_snapshot(&plane).await, vec![changed; 1_201]);
    // Another change of it, and one of an account that comes to the tier that nobody was on.
    let path = format!("/admin/customers/{}", company.id);
    for (body, expected) in [
        (json!({"status": "suspended"}), changed),
        (
            json!({"tier": "scale"}),
            (LimitMode::Enforce, Some(Fallback::Allow)),
        ),
    ] {
        let answer = plane.admin("PUT", &path).json(&body).send().await.expect(200);
        let revision: u64 = answer.header("keyward-revision").unwrap().parse().unwrap();
        let log = changes::after(&store, revision - 1, 1).await.unwrap();
        assert_eq!(policies_of(&log[0].1), [expected], "{body}");
    }
    // A start that changes nothing publishes nothing.
    let before = changes::head(&store).await.unwrap();
    let plane = plane.restart().await;
    let store = plane.running.registry().store.clone();
    assert_eq!(changes::head(&store).await.unwrap(), before);
    // One that was cut short is taken up where it ended.
    let (until,): (String,) = sqlx::query_as("SELECT id FROM accounts ORDER BY id LIMIT 1 OFFSET 1099")
        .fetch_one(store.readers())
        .await
        .unwrap();
    let cut = "UPDATE tier_policies SET told_until = $1 WHERE tier = 'growth'";
    plane.execute(cut, &[&until]).await;
    let plane = plane.restart().await;
    let store = &plane.running.registry().store;
    let log = changes::after(store, before, 100).await.unwrap();
    assert_eq!(log.len(), 1);
    let rest = policies_of(&log[0].1).len();
    assert!((100..=101).contains(&rest), "{rest}");
}

#[tokio::test]
async fn control_planes_that_say_otherwise_what_limits_do_come_to_one_end() {
    let plane = Plane::start().await;
    let plan = Plan {
        accounts: 2_100,
        customers_per_account: 0,
        tier: "growth".into(),
    };
    seed::run(plane.running.registry(), &plan).await.unwrap();
    let store = &plane.running.registry().store;
    let before = changes::head(store).await.unwrap();
    let with = |fallback| {
        let mut config = config(&plane.folder);
        config.tiers[1].fallback = Some(fallback);
        config
    };
    let (one, other) = (with(Fallback::Allow), with(Fallback::Deny));
    let (one, _) = ControlPlane::open(&one).await.unwrap();
    let (other, _) = ControlPlane::open(&other).await.unwrap();
    let (here, there) = tokio::join!(catalogue::publish(&one), catalogue::publish(&other));
    assert!(here.unwrap() + there.unwrap() >= 2_100);
    let log = changes::after(store, before, 100).await.unwrap();
    let mut last = BTreeMap::new();
    for (_, change) in &log {
        let change = feed::Change::decode(change.as_slice()).unwrap();
        for record in change.records {
            let Record::Account(account) = record.try_into().unwrap() else {
                panic!("no account")
            };
            last.insert(account.id, account.fallback);
        }
    }
    let mut tx = store.begin_reading().await.unwrap();
    let now = plane.running.registry().clock.now();
    let accounts = records::account_records(&mut tx, None, 3_000, now).await.unwrap();
    let in_force = accounts[0].fallback;
    assert!(in_force.is_some());
    assert_eq!((accounts.len(), last.len()), (2_100, 2_100));
    assert!(accounts.iter().all(|account| account.fallback == in_force));
    assert!(last.values().all(|told| *told == in_force));
}

/// What a change says of the limits of each account in it.
fn policies_of(change: &[u8]) -> Vec<(LimitMode, Option<Fallback>)> {
    let change = feed::Change::decode(change).unwrap();
    let records = change
        .records
        .into_iter()
        .map(|record| record.try_into().unwrap());
    records
        .map(|record| match record {
            Record::Account(account) => (account.limit_mode, account.fallback),
            Record::Key(key) => panic!("{key:?}"),
        })
        .collect()
}

#[tokio::test]
async fn a_fresh_database_is_filled_once_with_what_a_first_call_needs() {
    let plane = {
        let folder = tempfile::tempdir().unwrap();
        let running = ControlPlane::start(config(&folder)).await.unwrap();
        (running, folder)
    };
    let (running, folder) = plane;
    let made = running.bootstrap().await.unwrap().expect("the database is empty");
    assert!(running.bootstrap().await.unwrap().is_none());
    let client = reqwest::Client::new();
    let get = |path: &str| client.get(format!("http://{}{path}", running.api));
    let account = get(&format!("/admin/customers/{}", made.account_id));
    let account = account
        .header("x-api-key", made.admin_key.expose())
        .send()
        .await
        .unwrap();
    assert!(account.text().await.unwrap().contains("Demo Company"));
    for environment in [&made.production, &made.test] {
        let customer = get(&format!("/customers/{}", environment.customer_id));
        let customer = customer
            .bearer_auth(environment.account_key.expose())
            .send()
            .await
            .unwrap();
        assert!(
            customer
                .text()
                .await
                .unwrap()
                .contains(environment.customer_key.expose())
        );
    }
    running.shutdown().await;
    drop(folder);
}

#[tokio::test]
async fn seeding_makes_working_keys_in_revisions_of_bounded_size() {
    let plane = Plane::start().await;
    let registry = plane.running.registry();
    let plan = Plan {
        accounts: 3,
        customers_per_account: 900,
        tier: "growth".into(),
    };
    let seeded = seed::run(registry, &plan).await.unwrap();
    assert_eq!(seeded.len(), 3);
    assert!(seeded.iter().all(|account| account.customer_keys.len() == 900));
    let call = plane
        .call("GET", "/customers?limit=1")
        .key(seeded[2].account_key.expose());
    assert_eq!(call.send().await.expect(200).json()["total"], 900);
    for revision in ["2", "3", "4"] {
        assert!((1..=1_000).contains(&change(&plane, revision).await.len()));
    }
    let mut tx = registry.store.begin_reading().await.unwrap();
    let (mut after, mut walked) = (0, 0);
    loop {
        let batch = records::key_records(&mut tx, after, 500).await.unwrap();
        let Some((last, _)) = batch.last() else { break };
        after = *last;
        walked += batch.len();
    }
    assert_eq!(walked, 3 * 901);
}

#[tokio::test]
async fn health_and_metrics_are_on_their_own_listener() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    plane
        .call("GET", "/customers")
        .key(&company.live)
        .send()
        .await
        .expect(200);
    for invented in ["/a", "/b", "/customers/x/y"] {
        plane.call("BREW", invented).send().await.expect(404);
    }
    let get = async |path: &str| {
        let response = reqwest::get(format!("http://{}{path}", plane.running.admin))
            .await
            .unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(get("/livez").await.0, 200);
    let (status, ready) = get("/readyz").await;
    let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
    assert_eq!(
        (status, &ready["ready"], &ready["store"]),
        (200, &json!(true), &json!("up"))
    );
    let (_, metrics) = get("/metrics").await;
    for expected in [
        "keyward_control_requests_total{surface=\"portal\",method=\"GET\",route=\"/customers\",code=\"200\"} 1",
        "keyward_control_requests_total{surface=\"none\",method=\"other\",route=\"none\",code=\"404\"} 2",
        "keyward_control_revision 3",
        "keyward_build_info{",
        "keyward_control_request_duration_seconds_bucket{",
    ] {
        assert!(metrics.contains(expected), "no {expected} in\n{metrics}");
    }
    assert!(!metrics.contains(&company.id) && !metrics.contains("/b"));
    plane.call("GET", "/metrics").send().await.expect(404);
}

#[tokio::test]
async fn a_panic_costs_its_own_call_and_says_nothing() {
    use axum::routing::get;
    use keyward_control_plane::surfaces::call::answer;
    use tower::ServiceExt;

    async fn broken() -> &'static str {
        panic!("an inner secret")
    }
    let plane = Plane::start().await;
    let app = plane.running.app().clone();
    let router = axum::Router::new()
        .route("/customers/broken", get(broken))
        .route("/admin/broken", get(broken))
        .layer(axum::middleware::from_fn_with_state(app, answer));
    for (path, code) in [
        ("/customers/broken", "INTERNAL_ERROR"),
        ("/admin/broken", "internal_error"),
    ] {
        let request = http::Request::get(path)
            .header("x-request-id", "kept")
            .body(axum::body::Body::empty());
        let response = router.clone().oneshot(request.unwrap()).await.unwrap();
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()["x-request-id"], "kept");
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let body = std::str::from_utf8(&body).unwrap();
        assert!(
            body.contains(code) && body.contains("kept") && !body.contains("secret"),
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_change_that_answers_an_error_has_not_been_made() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let made = plane.customer(&company.live, "Uni").await;
    let id = made["id"].as_str().unwrap();
    let database = beside(&plane).await;
    let run = async |sql: &'static str| {
        sqlx::query(sql).execute(&database).await.unwrap();
    };
    // What the answers tell beside the change itself can't be read.
    run("ALTER TABLE usage_keys RENAME TO away").await;
    let rotate = format!("/customers/{id}/rotate-key");
    let call = plane.call("POST", &rotate).key(&company.live);
    call.send().await.expect_code(500, "INTERNAL_ERROR");
    let call = plane.call("PATCH", format!("/customers/{id}")).key(&company.live);
    call.json(&json!({"name": "Renamed"}))
        .send()
        .await
        .expect_code(500, "INTERNAL_ERROR");
    run("ALTER TABLE away RENAME TO usage_keys").await;
    let shown = plane.call("GET", format!("/customers/{id}")).key(&company.live);
    assert_eq!(shown.send().await.expect(200).json(), made);
}

/// Takes what is logged.
#[derive(Clone, Default)]
struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_key_in_the_wrong_place_is_not_logged() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let made = plane.customer(&company.live, "Uni").await;
    let key = made["apiKey"].as_str().unwrap();
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(move || writer.clone())
        .finish();
    // For every test of this program: what the others log holds other keys.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    // Something is logged with every call.
    let database = beside(&plane).await;
    sqlx::query("ALTER TABLE end_customers RENAME TO away")
        .execute(&database)
        .await
        .unwrap();
    for path in [
        format!("/customers?name={key}"),
        format!("/customers/{}?key={key}", made["id"].as_str().unwrap()),
        format!("/customers/{key}"),
        format!("/customers/{key}/usage"),
        format!("/{key}"),
    ] {
        let call = plane.call("GET", path).key(&company.live);
        let answer = call.header("x-request-id", key).send().await;
        assert!(answer.status.is_client_error() || answer.status.is_server_error());
        assert_ne!(answer.header("x-request-id"), Some(key));
    }
    let log = log.0.lock().unwrap();
    let log = String::from_utf8_lossy(&log);
    assert!(log.contains("the store refused") && log.contains("route=\"/customers/{customer_id}\""));
    for secret in [key, &company.live] {
        assert!(!log.contains(&secret[8..40]));
    }
}
