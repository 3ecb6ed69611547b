//! A control plane of its own for each test, and a client that checks what every answer must have.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use keyward_config::{
    Auth, ControlPlaneConfig, ControlPlaneListen, LeakPolicy, ManagementLimits, Rules, SecretFiles,
    SyncService, Tier, UsageRetention,
};
use keyward_contract::Limits;
use keyward_control_plane::domain::admin::Role;
use keyward_control_plane::domain::text::Name;
use keyward_control_plane::operations::{Actor, admin_keys};
use keyward_control_plane::store::{Purpose, Store};
use keyward_control_plane::{ControlPlane, RunningControlPlane};
use keyward_harness::postgres::{database_name, shared_database};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{AnyPool, AssertSqlSafe};
use tempfile::TempDir;

/// What a control plane keeps everything in. Each of the two test programs has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Database {
    /// A file in the test's folder.
    Sqlite,
    /// A database of its own on the server that this program's tests share.
    Postgres,
}

// Each program uses one of them.
const _: [Database; 2] = [Database::Sqlite, Database::Postgres];

/// The address of the database that belongs to a folder: the same for the folder's whole life.
pub(crate) fn database_url(folder: &TempDir) -> String {
    match crate::DATABASE {
        Database::Sqlite => format!("sqlite://{}", folder.path().join("control-plane.db").display()),
        Database::Postgres => {
            let file = folder.path().join("database-url");
            std::fs::read_to_string(&file).unwrap_or_else(|_| {
                let url = shared_database(Some(template())).unwrap();
                std::fs::write(&file, &url).unwrap();
                url
            })
        }
    }
}

/// The address of a database with nothing in it, not even a schema, and the folder that it may be in.
pub(crate) fn empty_database() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let url = match crate::DATABASE {
        Database::Sqlite => format!("sqlite://{}?mode=rwc", folder.path().join("empty.db").display()),
        Database::Postgres => shared_database(None).unwrap(),
    };
    (folder, url)
}

/// The database that all others begin as: with a schema and nothing in it.
fn template() -> &'static str {
    static TEMPLATE: OnceLock<String> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let url = shared_database(None).unwrap();
        let name = database_name(&url).unwrap().to_owned();
        // With a runtime of its own, which takes every connection with it: nobody may be connected to a template.
        let opened = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime
                .unwrap()
                .block_on(async { Store::open(&url).await.map(drop) })
        });
        opened.join().unwrap().unwrap();
        name
    })
}

/// Makes such a statement on a table fail, for rows of which `when` holds, until [`mend_writes`] with the same name.
pub(crate) async fn break_writes(
    database: &AnyPool,
    name: &str,
    (verb, table): (&str, &str),
    when: Option<&str>,
) {
    let when = when.map_or(String::new(), |when| format!("WHEN ({when})"));
    let statements = match crate::DATABASE {
        Database::Sqlite => vec![format!(
            "CREATE TRIGGER {name} BEFORE {verb} ON {table} {when} BEGIN SELECT RAISE(ABORT, 'broken'); END"
        )],
        Database::Postgres => vec![
            "CREATE OR REPLACE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql \
             AS $$ BEGIN RAISE EXCEPTION 'broken'; END $$"
                .to_owned(),
            format!(
                "CREATE TRIGGER {name} BEFORE {verb} ON {table} FOR EACH ROW {when} EXECUTE FUNCTION broken()"
            ),
        ],
    };
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement))
            .execute(database)
            .await
            .unwrap();
    }
}

/// Undoes [`break_writes`].
pub(crate) async fn mend_writes(database: &AnyPool, name: &str, table: &str) {
    let statement = match crate::DATABASE {
        Database::Sqlite => format!("DROP TRIGGER {name}"),
        Database::Postgres => format!("DROP TRIGGER {name} ON {table}"),
    };
    sqlx::query(AssertSqlSafe(statement))
        .execute(database)
        .await
        .unwrap();
}

/// A running control plane with an owner's key.
pub(crate) struct Plane {
    pub(crate) running: RunningControlPlane,
    pub(crate) folder: Arc<TempDir>,
    pub(crate) owner: String,
    /// What it starts with again.
    pub(crate) config: ControlPlaneConfig,
    pub(crate) client: reqwest::Client,
}

/// An account with a production and a test key.
pub(crate) struct Company {
    pub(crate) id: String,
    pub(crate) live: String,
    pub(crate) test: String,
}

/// An answer whose head every test may look at.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }

    /// A refusal of the portal API with this code, in its whole form.
    #[track_caller]
    pub(crate) fn expect_code(self, status: u16, code: &str) -> Self {
        let answer = self.expect(status);
        let body = answer.json();
        assert_eq!(body["object"], "error");
        let error = &body["error"];
        assert_eq!(error["code"], code, "{body}");
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()));
        let page = code.to_lowercase().replace('_', "-");
        assert_eq!(
            error["documentationUrl"],
            format!("https://docs.example/errors/{page}")
        );
        assert_eq!(error["requestId"], answer.header("x-request-id").unwrap());
        assert_eq!(answer.header("content-type"), Some("application/json"));
        answer
    }

    /// A 400 of the portal API about this field.
    #[track_caller]
    pub(crate) fn expect_invalid(self, field: &str) -> Self {
        let answer = self.expect_code(400, "INVALID_INPUT");
        let details = &answer.json()["error"]["details"];
        assert_eq!(details["field"], field, "{details}");
        assert!(details["reason"].is_string());
        answer
    }

    /// A refusal of the admin API with this code.
    #[track_caller]
    pub(crate) fn expect_error(self, status: u16, code: &str) -> Self {
        let answer = self.expect(status);
        let body = answer.json();
        assert_eq!(body["error"], code, "{body}");
        assert_eq!(body["request_id"], answer.header("x-request-id").unwrap());
        assert!(body["message"].is_string());
        answer
    }
}

/// One call to be made.
pub(crate) struct Call<'a> {
    plane: &'a Plane,
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Call<'_> {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }

    pub(crate) fn admin(self, key: &str) -> Self {
        self.header("x-api-key", key)
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.raw(body.to_string())
    }

    pub(crate) fn raw(self, body: impl Into<Vec<u8>>) -> Self {
        self.header("content-type", "application/json").bytes(body)
    }

    pub(crate) fn bytes(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sends it where no gateway is connected.
    pub(crate) async fn send(self) -> Answer {
        let answer = self.send_among_gateways().await;
        if answer.headers.contains_key("keyward-revision") {
            assert_eq!(answer.header("keyward-propagation"), Some("complete; gateways=0"));
        }
        answer
    }

    /// Sends it where gateways may be connected.
    pub(crate) async fn send_among_gateways(self) -> Answer {
        let url = format!("http://{}{}", self.plane.running.api, self.path);
        let mut request = self.plane.client.request(self.method.clone(), url);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(body) = self.body {
            request = request.body(body);
        }
        let response = request.send().await.unwrap();
        let answer = Answer {
            status: response.status(),
            headers: response.headers().clone(),
            text: response.text().await.unwrap(),
        };
        assert!(
            answer.header("x-request-id").is_some(),
            "no X-Request-Id: {answer:?}"
        );
        let public = self.path.starts_with("/.well-known/") && answer.status.is_success();
        let kept = if public { "public, max-age=300" } else { "no-store" };
        assert_eq!(answer.header("cache-control"), Some(kept));
        // A token is no change of anything.
        let changes = !matches!(self.method, Method::GET | Method::HEAD)
            && answer.status.is_success()
            && !self.path.starts_with("/oauth/");
        assert_eq!(
            answer.headers.contains_key("keyward-revision"),
            changes,
            "{answer:?}"
        );
        let propagation = answer.header("keyward-propagation");
        assert_eq!(propagation.is_some(), changes, "{answer:?}");
        answer
    }
}

impl Plane {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut ControlPlaneConfig)) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let mut config = config(&folder);
        change(&mut config);
        let running = ControlPlane::start(config.clone()).await.unwrap();
        let owner = admin_key(&running, Role::Owner).await;
        Self {
            running,
            folder,
            owner,
            config,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    /// The same after an end and another start.
    pub(crate) async fn restart(self) -> Self {
        let Self {
            running,
            folder,
            owner,
            config,
            client,
        } = self;
        running.shutdown().await;
        let running = ControlPlane::start(config.clone()).await.unwrap();
        Self {
            running,
            folder,
            owner,
            config,
            client,
        }
    }

    /// Runs a statement of SQL with texts as its parameters, for what no surface can do.
    pub(crate) async fn execute(&self, sql: &str, texts: &[&str]) {
        let store = &self.running.registry().store;
        let mut tx = store.begin(Purpose::Other).await.unwrap();
        let mut query = sqlx::query(AssertSqlSafe(sql.to_owned()));
        for text in texts {
            query = query.bind((*text).to_owned());
        }
        query.execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub(crate) async fn admin_key(&self, role: Role) -> String {
        admin_key(&self.running, role).await
    }

    pub(crate) fn call(&self, method: &str, path: impl Into<String>) -> Call<'_> {
        Call {
            plane: self,
            method: method.parse().unwrap(),
            path: path.into(),
            headers: Vec::new(),
            body: None,
        }
    }

    /// A call with the owner's key.
    pub(crate) fn admin(&self, method: &str, path: impl Into<String>) -> Call<'_> {
        self.call(method, path).admin(&self.owner)
    }

    pub(crate) async fn company(&self, name: &str) -> Company {
        let body = json!({"company_name": name, "contact_email": "it@example.com", "tier": "growth"});
        let created = self
            .admin("POST", "/admin/customers")
            .json(&body)
            .send()
            .await
            .expect(201)
            .json();
        let id = created["customer"]["customer_id"].as_str().unwrap().to_owned();
        let test = self.account_key(&id, &json!({"environment": "test"})).await;
        Company {
            live: created["api_key"].as_str().unwrap().to_owned(),
            test: test["api_key"].as_str().unwrap().to_owned(),
            id,
        }
    }

    pub(crate) async fn account_key(&self, account: &str, body: &Value) -> Value {
        let path = format!("/admin/customers/{account}/api-keys");
        self.admin("POST", path)
            .json(body)
            .send()
            .await
            .expect(201)
            .json()
    }

    pub(crate) async fn customer(&self, key: &str, name: &str) -> Value {
        self.call("POST", "/customers")
            .key(key)
            .json(&json!({"name": name}))
            .send()
            .await
            .expect(201)
            .json()
    }

    /// The id of an end customer's only key, which no surface shows.
    pub(crate) async fn key_of(&self, customer: &str) -> String {
        let (id,): (String,) = sqlx::query_as("SELECT id FROM api_keys WHERE customer_id = $1")
            .bind(customer.to_owned())
            .fetch_one(self.running.registry().store.readers())
            .await
            .unwrap();
        id
    }

    /// A number that a statement of SQL answers with.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let (number,): (i64,) = sqlx::query_as(AssertSqlSafe(sql.to_owned()))
            .fetch_one(self.running.registry().store.readers())
            .await
            .unwrap();
        number
    }

    /// Waits until something holds, at most ten seconds.
    pub(crate) async fn eventually(&self, holds: impl AsyncFn() -> bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while !holds().await {
            assert!(
                tokio::time::Instant::now() < deadline,
                "it did not come to hold in time"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.running.registry().clock.advance(by);
    }
}

async fn admin_key(running: &RunningControlPlane, role: Role) -> String {
    let name = Name::parse("name", role.as_str(), 100).unwrap();
    let made = admin_keys::create(running.registry(), &Actor::system("test"), name, role)
        .await
        .unwrap();
    made.value.1.expose().to_owned()
}

pub(crate) fn config(folder: &TempDir) -> ControlPlaneConfig {
    let path = |name: &str| folder.path().join(name);
    let any = "127.0.0.1:0".parse().unwrap();
    let plenty = Limits {
        rate: 10_000,
        burst: 10_000,
    };
    ControlPlaneConfig {
        listen: ControlPlaneListen {
            api: any,
            sync: any,
            admin: any,
        },
        database_url: database_url(folder),
        database_password: None,
        secrets: SecretFiles {
            master_key: path("master.key"),
            digest_key: path("digest.key"),
            gateway_token: path("gateway.token"),
        },
        sync: SyncService {
            shared_token: true,
            tls: None,
        },
        propagation_wait: Duration::from_secs(1),
        auth: Auth {
            issuer: None,
            token_lifetime: Duration::from_secs(3_600),
            signing_key_lifetime: Duration::from_secs(30 * 86_400),
            oidc: None,
        },
        rules: Rules {
            api_versions: vec!["2026-11-01".into()],
            api_version_downgrade_window: Duration::from_secs(72 * 3_600),
            user_key_lifetime: Duration::from_secs(365 * 86_400),
        },
        leaks: LeakPolicy::Quarantine,
        usage: UsageRetention {
            keep_hours: Duration::from_secs(90 * 86_400),
            keep_days: Duration::from_secs(1_100 * 86_400),
        },
        redis: None,
        management_limits: ManagementLimits {
            portal: plenty,
            others: plenty,
        },
        documentation_url: "https://docs.example".into(),
        tiers: tiers(),
    }
}

fn tiers() -> Vec<Tier> {
    [
        ("starter", 100_000, 2_000_000, 50, "99.9%"),
        ("growth", 250_000, 10_000_000, 100, "99.95%"),
        ("scale", 500_000, 30_000_000, 200, "99.95%"),
        ("enterprise", 1_000_000, 80_000_000, 500, "99.99%"),
        ("custom", 2_000_000, 200_000_000, 1_000, "99.99%"),
    ]
    .into_iter()
    .map(|(key, annual_price, annual_limit, rate_limit, sla)| Tier {
        key: key.into(),
        name: key[..1].to_uppercase() + &key[1..],
        annual_price,
        annual_limit,
        rate_limit,
        burst_limit: rate_limit * 2,
        sla: sla.into(),
        mode: keyward_contract::LimitMode::Enforce,
        fallback: None,
        negotiable: key == "custom",
    })
    .collect()
}
