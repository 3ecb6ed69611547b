//! The link between gateways and the control plane, as processes: TLS on both sides, tokens that are changed under a
//! living stream, and gateways that are sent a part.

use std::path::{Path, PathBuf};
use std::time::Duration;

use keyward_harness::{
    Authority, Certificate, ControlPlaneProcess, ControlPlaneSetup, GatewayProcess, GatewaySetup, Validity,
    eventually,
};
use keyward_upstream::Upstream;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::{Account, Api, By};
use crate::stack::{Plan, SOON, Stack, page};
use crate::wire::Wire;

const ROUTES: &str = "[[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"\n";
const SETTINGS: &str = "[propagation]\nwait = \"15s\"\n";

async fn call(gateway: &GatewayProcess, key: &str) -> u16 {
    let mut wire = Wire::open(gateway.address()).await;
    wire.get_as_account("/hello", key).await.status
}

/// What a gateway says of its link.
async fn link(gateway: &GatewayProcess) -> Value {
    let told = page(&format!("{}/readyz", gateway.admin_url())).await;
    let told: Value = serde_json::from_str(&told).unwrap();
    told["detail"]["sync"].clone()
}

/// Waits until it says why it is not let in, in these words.
async fn says(gateway: &GatewayProcess, words: &str) {
    let said = eventually(SOON, || async {
        let link = link(gateway).await;
        let error = link["lastError"].as_str().unwrap_or_default().to_owned();
        anyhow::ensure!(error.contains(words), "`{words}` is not in {link}");
        Ok(())
    });
    said.await.unwrap();
}

async fn follows(gateway: &GatewayProcess) {
    let follows = eventually(SOON, || async {
        let link = link(gateway).await;
        anyhow::ensure!(
            link["state"] == "following" && link["lastError"].is_null(),
            "{link}"
        );
        Ok(())
    });
    follows.await.unwrap();
}

/// A control plane that takes certificates alone, and a gateway that has one.
struct Secured {
    gateway: GatewayProcess,
    control_plane: ControlPlaneProcess,
    api: Api,
    admin: String,
    authority: Authority,
    own: Certificate,
    upstream: keyward_upstream::Running,
    folder: TempDir,
}

impl Secured {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let authority = Authority::new("link").unwrap();
        let server = authority.sign(&["127.0.0.1"], Validity::Current).unwrap();
        server.write(folder.path(), "server").unwrap();
        std::fs::write(at("ca.pem"), authority.pem()).unwrap();
        std::fs::write(at("crl.pem"), authority.revoke(&[]).unwrap()).unwrap();
        let tls = format!(
            "[sync]\nshared_token = false\n[sync.tls]\ncert_file = {}\nkey_file = {}\nclient_ca_file = {}\nclient_crl_file = {}\n",
            quoted(&at("server.pem")),
            quoted(&at("server.key")),
            quoted(&at("ca.pem")),
            quoted(&at("crl.pem")),
        );
        let setup = ControlPlaneSetup::new(at("control-plane")).unwrap();
        let setup = setup.configured(SETTINGS).configured(&tls);
        let control_plane = ControlPlaneProcess::start(&setup).await.unwrap();
        let admin = control_plane.admin_key("tests").unwrap();
        let own = authority.sign(&["edge-1"], Validity::Current).unwrap();
        own.write(folder.path(), "edge-1").unwrap();
        let upstream = Upstream::start(([127, 0, 0, 1], 0).into()).await.unwrap();
        let setup = gateway(&folder, &control_plane, &upstream, &at("ca.pem"));
        Self {
            gateway: GatewayProcess::start(&setup).await.unwrap(),
            api: Api::new(control_plane.api_url()),
            control_plane,
            admin,
            authority,
            own,
            upstream,
            folder,
        }
    }

    fn revoke(&self, certificates: &[&Certificate]) {
        let list = self.authority.revoke(certificates).unwrap();
        std::fs::write(self.folder.path().join("crl.pem"), list).unwrap();
    }
}

/// A gateway with the certificate of `edge-1` and no token, that trusts this authority.
fn gateway(
    folder: &TempDir,
    control_plane: &ControlPlaneProcess,
    upstream: &keyward_upstream::Running,
    authority: &Path,
) -> GatewaySetup {
    let at = |name: &str| folder.path().join(name);
    let url = control_plane.sync_url().replace("http://", "https://");
    let mut setup = GatewaySetup::apart(at("gateway"), url, at("no-token"), upstream.address());
    "edge-1".clone_into(&mut setup.id);
    setup.routes(ROUTES).configured(&format!(
        "[control_plane.tls]\nca_file = {}\ncert_file = {}\nkey_file = {}\n",
        quoted(authority),
        quoted(&at("edge-1.pem")),
        quoted(&at("edge-1.key")),
    ))
}

fn quoted(path: &Path) -> String {
    Value::from(path.to_string_lossy()).to_string()
}

#[tokio::test]
async fn revocations_hold_over_tls_and_a_gateway_says_why_it_is_not_let_in() {
    let secured = Secured::start().await;
    let gateway = &secured.gateway;
    follows(gateway).await;
    let account = secured.api.account(&secured.admin, 1_000_000, 1_000_000).await;
    assert_eq!(call(gateway, &account.key).await, 200);
    let path = format!("/admin/customers/{}/api-keys", account.id);
    let by = By::Admin(&secured.admin);
    let second = secured
        .api
        .call(by, Method::POST, &path, json!({}))
        .await
        .in_force_at(1);
    let second = second.expect(201).json()["api_key"].as_str().unwrap().to_owned();
    let path = format!("{path}/{}", account.key_id);
    let revoked = secured.api.call(by, Method::DELETE, &path, Value::Null).await;
    revoked.expect(200).in_force_at(1);
    assert_eq!(call(gateway, &account.key).await, 401);

    // Its certificate is revoked: it says so, and serves on with what it knows.
    secured.revoke(&[&secured.own]);
    says(gateway, "refused our certificate: it is revoked").await;
    assert_eq!(call(gateway, &second).await, 200);
    secured.revoke(&[]);
    follows(gateway).await;

    // A certificate for another gateway, in its files: told at once, in force at the next connection.
    let other = secured.authority.sign(&["edge-2"], Validity::Current).unwrap();
    other.write(secured.folder.path(), "edge-1").unwrap();
    secured.revoke(&[&secured.own]);
    says(gateway, "does not name a gateway with this id").await;
    secured.revoke(&[]);
    secured.own.write(secured.folder.path(), "edge-1").unwrap();
    follows(gateway).await;

    // Somebody else's control plane, as far as this one can tell.
    let stranger = Authority::new("link").unwrap();
    let roots: PathBuf = secured.folder.path().join("stranger.pem");
    std::fs::write(&roots, stranger.pem()).unwrap();
    gateway.kill();
    let mut distrusting = self::gateway(&secured.folder, &secured.control_plane, &secured.upstream, &roots);
    distrusting.folder = secured.folder.path().join("distrusting");
    let distrusting = GatewayProcess::launch(&distrusting).unwrap();
    let up = eventually(SOON, || async {
        let live = format!("{}/livez", distrusting.admin_url());
        Ok(keyward_harness::http_client()?.get(live).send().await.map(drop)?)
    });
    up.await.unwrap();
    says(&distrusting, "is not trusted").await;
}

#[tokio::test]
async fn a_token_is_changed_in_its_file_and_deleted_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let setup = ControlPlaneSetup::new(folder.path().join("control-plane")).unwrap();
    let setup = setup
        .configured(SETTINGS)
        .configured("[sync]\nshared_token = false\n");
    let control_plane = ControlPlaneProcess::start(&setup).await.unwrap();
    let (api, admin) = (
        Api::new(control_plane.api_url()),
        control_plane.admin_key("tests").unwrap(),
    );
    let by = By::Admin(&admin);
    let upstream = Upstream::start(([127, 0, 0, 1], 0).into()).await.unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, control_plane.gateway_token("edge-1").unwrap()).unwrap();
    let mut setup = GatewaySetup::apart(
        folder.path().join("gateway"),
        control_plane.sync_url(),
        file.clone(),
        upstream.address(),
    );
    "edge-1".clone_into(&mut setup.id);
    let gateway = GatewayProcess::start(&setup.routes(ROUTES)).await.unwrap();
    follows(&gateway).await;
    let tokens = "/admin/gateways/edge-1/tokens";
    let first = api
        .call(by, Method::GET, tokens, Value::Null)
        .await
        .expect(200)
        .json();
    let first = format!("{tokens}/{}", first["tokens"][0]["token_id"].as_str().unwrap());
    let second = api
        .call(by, Method::POST, tokens, json!({"name": "second"}))
        .await
        .expect(201)
        .json();

    // Deleted before the file was changed: it says so, and is in again once it was.
    api.call(by, Method::DELETE, &first, Value::Null)
        .await
        .expect(204);
    says(&gateway, "does not take our credential: wrong gateway token").await;
    std::fs::write(&file, format!("{}\n", second["token"].as_str().unwrap())).unwrap();
    follows(&gateway).await;
    let account: Account = api.account(&admin, 1_000_000, 1_000_000).await;
    assert_eq!(call(&gateway, &account.key).await, 200);

    let blocked = json!({"blocked": true});
    let gateways = "/admin/gateways/edge-1";
    api.call(by, Method::PUT, gateways, blocked).await.expect(200);
    says(&gateway, "this gateway is blocked").await;
    api.call(by, Method::PUT, gateways, json!({"blocked": false}))
        .await
        .expect(200);
    follows(&gateway).await;
    let logs = page(&format!("{}/debug/state", gateway.admin_url())).await;
    assert!(!logs.contains(second["token"].as_str().unwrap()));
}

#[tokio::test]
async fn a_gateway_knows_no_key_outside_its_scope_and_has_none_on_its_disk() {
    let plan = Plan {
        routes: ROUTES,
        ..Plan::default()
    };
    let mut stack = Stack::with(plan).await;
    let (ours, theirs) = (stack.account().await, stack.account().await);
    assert_eq!(call(&stack.gateways[0], &theirs.key).await, 200);
    let state = page(&format!("{}/debug/state", stack.gateways[0].admin_url())).await;
    let state: Value = serde_json::from_str(&state).unwrap();
    let all_keys = state["keys"]["onDisk"].as_u64().unwrap();
    let scope = json!({"accounts": [ours.id]});
    let scoped = stack.admin(Method::PUT, "/admin/gateways/edge-1", scope).await;
    scoped.expect(200);
    let gateway = &stack.gateways[0];
    let narrowed = eventually(SOON, || async {
        let told = page(&format!("{}/debug/state", gateway.admin_url())).await;
        let told: Value = serde_json::from_str(&told)?;
        anyhow::ensure!(told["keys"]["onDisk"] == all_keys / 2, "{told}");
        Ok(())
    });
    narrowed.await.unwrap();
    assert_eq!(call(gateway, &theirs.key).await, 401);
    assert_eq!(call(gateway, &ours.key).await, 200);
    // A change of theirs is acknowledged all the same.
    let path = format!("/admin/customers/{}/api-keys", theirs.id);
    let made = stack.admin(Method::POST, &path, json!({})).await.in_force_at(1);
    let made = made.expect(201).json()["api_key"].as_str().unwrap().to_owned();
    assert_eq!(call(gateway, &made).await, 401);

    // Wider again: from its own disk it could not know them.
    let all = stack
        .admin(Method::PUT, "/admin/gateways/edge-1", json!({"accounts": null}))
        .await;
    all.expect(200);
    let widened = eventually(SOON, || async {
        let status = call(gateway, &made).await;
        anyhow::ensure!(status == 200, "{status}");
        Ok(())
    });
    widened.await.unwrap();
    assert_eq!(call(gateway, &theirs.key).await, 200);
    stack.gateways.clear();
    stack.control_plane.stop(Duration::from_secs(20)).await.unwrap();
}
