//! Lets the clients that partners use call through a gateway: curl, nghttp, h2load, wrk, oha, Python's httpx, aiohttp,
//! grpcio and websockets, Node's fetch and ws, and the Autobahn suite. Starts a control plane, the upstreams
//! (`loadtest/clients/upstream.py` and one of ours) and two gateways, one in clear text and one with TLS, writes where all
//! of it is into a file, and leaves the calling to pytest on `loadtest/clients`. Fails when a case does. It ends what it
//! started.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context;
use clap::Parser;
use keyward_harness::{
    Authority, ControlPlaneProcess, ControlPlaneSetup, GatewayProcess, GatewaySetup, Process, Program,
    READY_WITHIN, Validity, eventually, free_address, metric,
};
use keyward_upstream::Upstream;
use serde_json::{Value, json};
use tokio::process::Command;

/// Runs real clients against a gateway in clear text and one with TLS.
#[derive(Parser)]
#[command(name = "clients", version)]
struct Arguments {
    /// The folder of the Python environment that `.ci/clients` makes.
    #[arg(long, default_value = "target/tools/clients")]
    python: PathBuf,
    /// Where the cases are.
    #[arg(long, default_value = "loadtest/clients")]
    cases: PathBuf,
    /// Goes to pytest, such as `-k "websocket and not limits"`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pytest: Vec<String>,
}

/// Generous: the set-up of many accounts is not what is looked at.
const CONTROL_PLANE: &str = "[management_limits]\n\
    portal = { rate = \"100000/s\", burst = 100000 }\n\
    others = { rate = \"100000/s\", burst = 100000 }\n";

/// What the gateways may be asked for. Nothing listens at `nowhere`.
const ROUTES: &str = "\
    [[routes]]\npath = \"/\"\nupstream = \"api\"\nrequire = \"account\"\n\
    [[routes]]\npath = \"/open\"\nupstream = \"api\"\nrequire = \"none\"\n\
    [[routes]]\npath = \"/customers\"\nupstream = \"api\"\n\
    [[routes]]\npath = \"/small\"\nupstream = \"api\"\nrequire = \"account\"\nmax_body = \"1KiB\"\n\
    [[routes]]\npath = \"/short\"\nupstream = \"api\"\nrequire = \"account\"\ntimeout = \"300ms\"\n\
    [[routes]]\npath = \"/wire\"\nupstream = \"wire\"\nrequire = \"account\"\n\
    [[routes]]\npath = \"/fast\"\nupstream = \"fast\"\nrequire = \"account\"\nstrip_prefix = \"/fast\"\n\
    [[routes]]\npath = \"/nowhere\"\nupstream = \"nowhere\"\nrequire = \"account\"\n\
    [[routes]]\npath = \"/ws\"\nupstream = \"websockets\"\nrequire = \"account\"\n\
    [[routes]]\npath = \"/open-ws\"\nupstream = \"websockets\"\nrequire = \"none\"\n\
    [[routes]]\npath = \"/interop.Test\"\nupstream = \"grpc\"\nrequire = \"account\"\n\
    [[routes]]\npath = \"/interop.Customers\"\nupstream = \"grpc\"\n\
    [[routes]]\npath = \"/interop.Unknown\"\nupstream = \"grpc\"\nrequire = \"account\"\n\
    [[routes]]\npath = \"/interop.Nowhere\"\nupstream = \"nowhere\"\nrequire = \"account\"\n";

/// Where the upstreams listen.
struct Upstreams {
    api: SocketAddr,
    wire: SocketAddr,
    websockets: SocketAddr,
    grpc: SocketAddr,
    nowhere: SocketAddr,
    fast: SocketAddr,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let python = std::path::absolute(arguments.python.join("bin/python"))?;
    let cases = std::path::absolute(&arguments.cases)?;
    anyhow::ensure!(
        python.exists(),
        "{} is missing: .ci/clients installs it",
        python.display()
    );
    let folder = tempfile::tempdir()?;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let fast = Upstream::start_on_threads(any, NonZeroUsize::MIN)?;
    let upstreams = Upstreams {
        api: free_address()?,
        wire: free_address()?,
        websockets: free_address()?,
        grpc: free_address()?,
        nowhere: free_address()?,
        fast: fast.address(),
    };
    let _upstream = serve(&upstreams, &python, &cases, folder.path()).await?;
    let setup = ControlPlaneSetup::new(folder.path().join("control-plane"))?.configured(CONTROL_PLANE);
    let plane = ControlPlaneProcess::start(&setup).await?;
    let admin_key = plane.admin_key("clients")?;
    let tls = certificates(folder.path())?;
    let clear_text = gateway("clear", &plane, &upstreams, "").await?;
    let encrypted = gateway("tls", &plane, &upstreams, &tls).await?;
    let stack = json!({
        "clear": clear_text.address().to_string(),
        "clear_admin": clear_text.admin_url(),
        "tls": encrypted.address().to_string(),
        "tls_admin": encrypted.admin_url(),
        "ca": folder.path().join("ca.pem"),
        "api": plane.api_url(),
        "admin_key": admin_key,
        "websockets": upstreams.websockets.to_string(),
        "logs": folder.path(),
    });
    let passed = pytest(&arguments, &python, &cases, &stack, folder.path()).await?;
    anyhow::ensure!(passed, "not every client was served as it expects");
    for gateway in [&clear_text, &encrypted] {
        at_rest(gateway).await?;
    }
    Ok(())
}

/// Fails when the clients left anything behind: a call that never ended, or a panic.
async fn at_rest(gateway: &GatewayProcess) -> anyhow::Result<()> {
    eventually(READY_WITHIN, || async {
        let calls = metric(&gateway.metrics().await?, "keyward_requests_in_flight", &[]);
        anyhow::ensure!(calls == Some(0.0), "{calls:?} calls are still in flight");
        Ok(())
    })
    .await?;
    let told = gateway.process().stderr()?;
    anyhow::ensure!(!told.contains("panicked"), "a gateway panicked:\n{told}");
    gateway.stop(READY_WITHIN).await
}

/// A gateway with this name and these tables.
async fn gateway(
    name: &str,
    plane: &ControlPlaneProcess,
    upstreams: &Upstreams,
    tables: &str,
) -> anyhow::Result<GatewayProcess> {
    let upstream = |name: &str, address: SocketAddr, more: &str| {
        format!("[[upstreams]]\nname = \"{name}\"\nendpoints = [\"http://{address}\"]\n{more}\n")
    };
    let folder = plane.folder().with_file_name(name);
    let mut setup = GatewaySetup::new(folder, plane, upstreams.api)
        .settings("workers = 2")
        .routes(ROUTES)
        .configured(tables)
        .configured("[drain]\nrevoked = \"500ms\"")
        .configured(&upstream("wire", upstreams.wire, ""))
        .configured(&upstream("websockets", upstreams.websockets, ""))
        .configured(&upstream("fast", upstreams.fast, ""))
        .configured(&upstream("nowhere", upstreams.nowhere, ""))
        .configured(&upstream("grpc", upstreams.grpc, "protocol = \"h2c\""));
    name.clone_into(&mut setup.id);
    GatewayProcess::start(&setup).await
}

/// A certificate for this machine beside the authority's, and the table that names it.
fn certificates(folder: &Path) -> anyhow::Result<String> {
    let authority = Authority::new("Clients")?;
    std::fs::write(folder.join("ca.pem"), authority.pem())?;
    let signed = authority.sign(&["localhost", "127.0.0.1", "api.example"], Validity::Current)?;
    let (certificate, key) = signed.write(folder, "gateway")?;
    Ok(format!(
        "[listen.tls]\ncertificates = [{{ cert_file = {}, key_file = {} }}]",
        Value::from(certificate.to_string_lossy()),
        Value::from(key.to_string_lossy()),
    ))
}

/// Starts the upstreams that are written in Python.
async fn serve(upstreams: &Upstreams, python: &Path, cases: &Path, folder: &Path) -> anyhow::Result<Process> {
    let program = Program::new(python, folder)
        .arg(cases.join("upstream.py"))
        .args(
            [
                upstreams.api,
                upstreams.wire,
                upstreams.websockets,
                upstreams.grpc,
            ]
            .map(|a| a.to_string()),
        )
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let process = program.spawn()?;
    let ready = format!("http://{}/ready", upstreams.api);
    process.ready(&ready, READY_WITHIN).await?;
    Ok(process)
}

/// Runs all cases; says whether every one passed.
async fn pytest(
    arguments: &Arguments,
    python: &Path,
    cases: &Path,
    stack: &Value,
    folder: &Path,
) -> anyhow::Result<bool> {
    let file = folder.join("stack.json");
    std::fs::write(&file, stack.to_string())?;
    let status = Command::new(python)
        .args(["-m", "pytest", "--config-file"])
        .arg(cases.join("pytest.ini"))
        .args(["--rootdir".as_ref(), cases.as_os_str()])
        .args(&arguments.pytest)
        .arg(cases)
        .env("KEYWARD_CLIENTS", &file)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .context("pytest could not be started")?;
    Ok(status.success())
}
