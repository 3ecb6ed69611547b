//! Holds the four REST surfaces to their documents: starts a control plane, makes an operator, an account, a user
//! and their keys over the surfaces themselves, and lets schemathesis call every operation with all of its checks.
//! Fails when anything was found, or when nothing could be because a credential had died.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::Context;
use clap::Parser;
use keyward_harness::{ControlPlaneProcess, ControlPlaneSetup, http_client};
use serde_json::{Value, json};
use tokio::process::Command;

/// Runs schemathesis against all four surfaces of a control plane that it starts.
#[derive(Parser)]
#[command(name = "contracts", version)]
struct Arguments {
    /// The most cases of each kind for one operation.
    #[arg(long, default_value = "10")]
    examples: u32,
    /// What all cases follow from.
    #[arg(long, default_value = "1")]
    seed: u64,
    /// Only the surface with this name: portal, admin, keys or user-keys.
    #[arg(long)]
    only: Option<String>,
    /// Where schemathesis is.
    #[arg(long, default_value = "target/tools/schemathesis/bin/st")]
    schemathesis: PathBuf,
    /// Where its settings are.
    #[arg(long, default_value = "loadtest/contracts/schemathesis.toml")]
    settings: PathBuf,
}

/// Generous: what is looked for here is what is said, not how often.
const SETTINGS: &str = "[management_limits]\n\
    portal = { rate = \"100000/s\", burst = 100000 }\n\
    others = { rate = \"100000/s\", burst = 100000 }\n\
    [rules]\n\
    api_versions = [\"2026-11-01\", \"2027-02-01\"]\n";

/// A surface with the header that opens it, and a path that answers as long as it does.
struct Surface {
    name: &'static str,
    header: String,
    alive: &'static str,
}

/// What the run calls with.
struct Credentials {
    surfaces: Vec<Surface>,
    user: String,
    own_keys: String,
    samples: Value,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    anyhow::ensure!(
        arguments.schemathesis.is_file(),
        "{} is missing: .ci/schemathesis installs it",
        arguments.schemathesis.display()
    );
    let folder = tempfile::tempdir()?;
    let setup = ControlPlaneSetup::new(folder.path())?.configured(SETTINGS);
    let plane = ControlPlaneProcess::start(&setup).await?;
    let credentials = credentials(&plane).await?;
    let mut failed = Vec::new();
    for surface in &credentials.surfaces {
        if arguments.only.as_deref().is_some_and(|only| only != surface.name) {
            continue;
        }
        let started = Instant::now();
        let held = check(&arguments, &plane, surface, &credentials).await?;
        say(&format!(
            "{}: {} after {} s",
            surface.name,
            if held { "held" } else { "NOT HELD" },
            started.elapsed().as_secs()
        ));
        alive(&plane, surface).await?;
        if !held {
            failed.push(surface.name);
        }
    }
    anyhow::ensure!(failed.is_empty(), "not as documented: {}", failed.join(", "));
    Ok(())
}

/// Runs schemathesis against one surface; says whether everything held.
async fn check(
    arguments: &Arguments,
    plane: &ControlPlaneProcess,
    surface: &Surface,
    credentials: &Credentials,
) -> anyhow::Result<bool> {
    let absolute = |path: &Path| std::path::absolute(path);
    let settings = absolute(&arguments.settings)?;
    let beside = settings.parent().context("the settings lie in no folder")?;
    let status = Command::new(absolute(&arguments.schemathesis)?)
        .arg("--config-file")
        .arg(&settings)
        .arg("run")
        .arg(format!("{}/openapi/{}.json", plane.api_url(), surface.name))
        .args(["--url", &plane.api_url()])
        .args(["--header", &surface.header])
        .args(["--max-examples", &arguments.examples.to_string()])
        .args(["--seed", &arguments.seed.to_string()])
        .args(["--checks", "all"])
        .args(["--phases", "examples,coverage,fuzzing,stateful"])
        .env("KEYWARD_OWN_KEYS", &credentials.own_keys)
        .env("KEYWARD_USER", &credentials.user)
        .env("KEYWARD_SAMPLES", credentials.samples.to_string())
        .env("PYTHONPATH", beside)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(plane.folder())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .context("schemathesis could not be started")?;
    Ok(status.success())
}

/// Everything that is called with, made over the surfaces themselves.
async fn credentials(plane: &ControlPlaneProcess) -> anyhow::Result<Credentials> {
    let admin_key = plane.admin_key("contracts")?;
    let operator = Caller {
        url: plane.api_url(),
        header: ("x-api-key", admin_key.clone()),
    };
    let account = json!({"company_name": "Contracts", "contact_email": "it@example.com", "tier": "custom"});
    let account = operator.send("POST", "/admin/customers", Some(account)).await?;
    let id = text(&account, "/customer/customer_id")?;
    let account_key = text(&account, "/api_key")?;
    let shown = operator
        .send("GET", &format!("/admin/customers/{id}"), None)
        .await?;
    // Room for as many keys as the run may make.
    for environment in ["/environments/0/environment_id", "/environments/1/environment_id"] {
        let path = format!(
            "/admin/customers/{id}/environments/{}",
            text(&shown, environment)?
        );
        let room = json!({"user_key_limit": 100_000});
        operator.send("PUT", &path, Some(room)).await?;
    }
    let user = json!({"name": "Contracts", "email": "it@example.com", "claims": ["Issuer_Admin"]});
    let user = operator
        .send("POST", &format!("/admin/customers/{id}/users"), Some(user))
        .await?;
    let user = text(&user, "/user_id")?;
    let company = Caller {
        url: plane.api_url(),
        header: ("x-api-key", account_key.clone()),
    };
    let user_key = company
        .send("POST", "/keys", Some(json!({"userId": user})))
        .await?;
    let admin_keys = operator.send("GET", "/admin/admin-keys", None).await?;
    let own_keys = [
        text(&account, "/customer/api_key_id")?,
        text(&user_key, "/id")?,
        text(&admin_keys, "/admin_keys/0/admin_key_id")?,
    ];
    let surface = |name, header, alive| Surface { name, header, alive };
    Ok(Credentials {
        surfaces: vec![
            surface(
                "portal",
                format!("Authorization: Bearer {account_key}"),
                "/customers",
            ),
            surface("keys", format!("X-API-KEY: {account_key}"), "/keys"),
            surface(
                "user-keys",
                format!("X-API-KEY: {}", text(&user_key, "/key")?),
                "/api/v1/psp/product-manager/customer-user-api-keys",
            ),
            // Last: it deletes accounts.
            surface("admin", format!("x-api-key: {admin_key}"), "/admin/tiers"),
        ],
        user,
        own_keys: own_keys.join(" "),
        samples: samples(&operator).await?,
    })
}

/// Another account with all that belongs to one, for calls that random ids would never reach.
async fn samples(operator: &Caller) -> anyhow::Result<Value> {
    let account = json!({"company_name": "Samples", "contact_email": "it@example.com", "tier": "growth"});
    let account = operator.send("POST", "/admin/customers", Some(account)).await?;
    let customer = text(&account, "/customer/customer_id")?;
    let path = format!("/admin/customers/{customer}");
    let shown = operator.send("GET", &path, None).await?;
    let user = json!({"name": "Samples", "email": "it@example.com"});
    let user = operator
        .send("POST", &format!("{path}/users"), Some(user))
        .await?;
    Ok(json!({
        "customer_id": customer,
        "environment_id": text(&shown, "/environments/0/environment_id")?,
        "api_key_id": text(&account, "/customer/api_key_id")?,
        "user_id": text(&user, "/user_id")?,
    }))
}

/// Fails when the surface's credential doesn't open it any more: then most of what was called said nothing.
async fn alive(plane: &ControlPlaneProcess, surface: &Surface) -> anyhow::Result<()> {
    let (name, value) = surface.header.split_once(": ").context("no header")?;
    let url = format!("{}{}", plane.api_url(), surface.alive);
    let answer = http_client()?.get(url).header(name, value).send().await?;
    anyhow::ensure!(
        answer.status().is_success(),
        "the run ended its own credential on {}: {}",
        surface.name,
        answer.status()
    );
    Ok(())
}

struct Caller {
    url: String,
    header: (&'static str, String),
}

impl Caller {
    async fn send(&self, method: &str, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.url);
        let mut call = http_client()?
            .request(method.parse()?, url)
            .header(self.header.0, &self.header.1);
        if let Some(body) = body {
            call = call.json(&body);
        }
        let answer = call.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        anyhow::ensure!(status.is_success(), "{method} {path} answered {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }
}

fn text(value: &Value, at: &str) -> anyhow::Result<String> {
    let found = value.pointer(at).and_then(Value::as_str);
    found
        .map(str::to_owned)
        .with_context(|| format!("no {at} in {value}"))
}

#[expect(clippy::print_stdout, reason = "a program's own report to its user")]
fn say(text: &str) {
    println!("{text}");
}
