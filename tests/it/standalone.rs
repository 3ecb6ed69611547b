//! What a newcomer sees of `keyward standalone`: one command, three lines to paste, and messages that help.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use keyward_harness::{
    Demo, Process, Program, Signal, Standalone, binary, eventually, free_offset, http_client, metric,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::{Api, By};
use crate::stack::{SOON, page};
use crate::wire::{Keys, Wire};

/// A first start takes well under a second; a busy machine is given more.
const READY: Duration = Duration::from_secs(15);

#[tokio::test]
async fn the_three_printed_lines_answer_as_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let standalone = start(folder.path(), free_offset().unwrap(), &[]);
    let printed = eventually(READY, || async {
        let printed = standalone.stdout()?;
        anyhow::ensure!(printed.contains("Ctrl-C stops."), "not ready: {printed}");
        Ok(printed)
    });
    let printed = printed.await.unwrap();
    let lines: Vec<&str> = printed
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("curl "))
        .collect();
    let answers: Vec<(String, String)> = lines.iter().map(|line| pasted(line)).collect();
    let statuses: Vec<&str> = answers.iter().map(|(status, _)| status.as_str()).collect();
    assert_eq!(statuses, ["200", "401", "200"], "{printed}\n{answers:?}");
    assert!(answers[0].1.contains("keyward-customer"), "{}", answers[0].1);
    assert!(answers[1].1.contains("\"UNAUTHORIZED\""), "{}", answers[1].1);
    assert!(answers[2].1.contains("\"object\":\"list\""), "{}", answers[2].1);
}

#[tokio::test]
async fn the_json_line_comes_within_seconds_with_addresses_and_credentials_that_work() {
    let began = std::time::Instant::now();
    let standalone = Standalone::start().await.unwrap();
    assert!(began.elapsed() < READY, "{:?}", began.elapsed());
    let (addresses, demo) = (standalone.addresses(), standalone.demo().unwrap());
    let upstream = addresses.upstream.clone().unwrap();
    for url in [
        format!("{}/readyz", addresses.gateway_admin),
        format!("{}/readyz", addresses.control_plane_admin),
        format!("{upstream}/hello"),
    ] {
        let answer = http_client().unwrap().get(&url).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{url}");
    }
    let mut wire = Wire::open(socket(&addresses.gateway)).await;
    for environment in [&demo.production, &demo.test] {
        let heard = wire
            .call(Keys {
                account: &environment.account_key,
                customer: &environment.customer_key,
            })
            .await;
        assert_eq!(heard.status, 200, "{}", heard.body);
        let seen = &heard.json()["headers"];
        assert_eq!(seen["keyward-account"], json!([demo.account_id]));
        assert_eq!(seen["keyward-customer"], json!([environment.customer_id]));
        assert_eq!(seen["keyward-tier"], json!(["growth"]));
    }
    let api = Api::new(addresses.control_plane.as_str());
    let account = format!("/admin/customers/{}", demo.account_id);
    let shown = api
        .call(By::Admin(&demo.admin_key), Method::GET, &account, Value::Null)
        .await;
    assert_eq!(shown.expect(200).json()["tier"], "growth");
    standalone.stop(SOON).await.unwrap();
}

#[tokio::test]
async fn a_second_start_finds_everything_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let first = Standalone::start_in(&data, &[]).await.unwrap();
    let demo = first.demo().unwrap().clone();
    let account_key = demo.production.account_key.as_str();
    let api = Api::new(first.addresses().control_plane.as_str());
    let customer = api.customer(account_key, "Acme University").await;
    let before = customers(&api, &demo).await;
    first.stop(SOON).await.unwrap();

    let second = Standalone::start_in(&data, &[]).await.unwrap();
    assert!(second.addresses().demo.is_none(), "credentials were made again");
    let api = Api::new(second.addresses().control_plane.as_str());
    assert_eq!(customers(&api, &demo).await, before);
    let mut wire = Wire::open(socket(&second.addresses().gateway)).await;
    let heard = wire
        .call(Keys {
            account: account_key,
            customer: &customer.key,
        })
        .await;
    assert_eq!(heard.status, 200, "{}", heard.body);
    assert_eq!(
        heard.json()["headers"]["keyward-account"],
        json!([demo.account_id])
    );
    assert_eq!(heard.json()["headers"]["keyward-customer"], json!([customer.id]));
    let accounts = api
        .call(
            By::Admin(&demo.admin_key),
            Method::GET,
            "/admin/customers",
            Value::Null,
        )
        .await;
    assert_eq!(
        accounts.expect(200).json()["customers"].as_array().unwrap().len(),
        1
    );
    second.stop(SOON).await.unwrap();
}

#[tokio::test]
async fn a_stop_lets_the_call_in_flight_end_well() {
    let standalone = Standalone::start().await.unwrap();
    let keys = standalone.demo().unwrap().production.clone();
    let addresses = standalone.addresses().clone();
    let gateway = socket(&addresses.gateway);
    let in_flight = tokio::spawn(async move {
        let keys = Keys {
            account: &keys.account_key,
            customer: &keys.customer_key,
        };
        Wire::open(gateway).await.get("/delay/1500", keys).await
    });
    let begun = eventually(SOON, || async {
        let metrics = page(&format!("{}/metrics", addresses.gateway_admin)).await;
        anyhow::ensure!(metric(&metrics, "keyward_requests_in_flight", &[]) >= Some(1.0));
        Ok(())
    });
    begun.await.unwrap();
    standalone.process().signal(Signal::Terminate).unwrap();
    let heard = in_flight.await.unwrap();
    assert_eq!(heard.status, 200, "{}", heard.body);
    let status = standalone.process().wait(SOON).await.unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(tokio::net::TcpStream::connect(gateway).await.is_err());
}

#[tokio::test]
async fn a_wrong_configuration_is_told_with_its_line_and_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.toml");
    std::fs::write(
        &file,
        "[drain]\ntimeout = \"30s\"\n[listen]\nproxxy = \"127.0.0.1:8080\"\n",
    )
    .unwrap();
    let standalone = start(folder.path(), 0, &["--config", file.to_str().unwrap()]);
    assert_eq!(standalone.wait(SOON).await.unwrap().code(), Some(2));
    let told = standalone.stderr().unwrap();
    let begins = format!("keyward: {}:4: listen.proxxy: ", file.display());
    assert!(told.starts_with(&begins) && told.contains("proxy"), "{told}");
    assert!(!folder.path().join("data").exists(), "it has begun all the same");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let offset = free_offset().unwrap();
    let taken = TcpListener::bind(("127.0.0.1", 8081 + offset)).unwrap();
    let standalone = start(folder.path(), offset, &[]);
    assert_eq!(standalone.wait(SOON).await.unwrap().code(), Some(1));
    let told = standalone.stderr().unwrap();
    let address = taken.local_addr().unwrap();
    assert!(
        told.contains(&format!("{address} (listen.api) is in use")),
        "{told}"
    );
}

#[tokio::test]
async fn a_data_folder_in_use_is_told_and_left_alone() {
    let standalone = Standalone::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = standalone.data().to_str().unwrap();
    let second = start(folder.path(), free_offset().unwrap(), &["--data-dir", data]);
    assert_eq!(second.wait(SOON).await.unwrap().code(), Some(1));
    let told = second.stderr().unwrap();
    let process = standalone.process().pid();
    let expected = format!("the data folder {data} is in use by another keyward (process {process})");
    assert!(told.contains(&expected), "{told}");
    let ready = format!("{}/readyz", standalone.addresses().gateway_admin);
    assert_eq!(
        http_client().unwrap().get(ready).send().await.unwrap().status(),
        200
    );
}

/// Starts the program as a newcomer would, with its data beside its output unless the arguments say otherwise.
fn start(folder: &Path, offset: u16, arguments: &[&str]) -> Process {
    let mut program = Program::new(binary("keyward").unwrap(), folder).arg("standalone");
    if offset > 0 {
        program = program.arg("--listen-offset").arg(offset.to_string());
    }
    if !arguments.contains(&"--data-dir") {
        program = program.arg("--data-dir").arg(folder.join("data"));
    }
    program.args(arguments).spawn().unwrap()
}

/// The status and the whole output of a line that was pasted into a shell.
fn pasted(line: &str) -> (String, String) {
    let script = format!("{line} --silent --noproxy '*'");
    let ran = Command::new("sh").args(["-c", &script]).output().unwrap();
    let output = String::from_utf8(ran.stdout).unwrap();
    let status = output.split(' ').nth(1).unwrap_or_default().to_owned();
    (status, output)
}

/// All end customers of both environments.
async fn customers(api: &Api, demo: &Demo) -> [Value; 2] {
    let listed = async |key: &str| {
        let listed = api
            .call(By::Account(key), Method::GET, "/customers", Value::Null)
            .await;
        listed.expect(200).json()
    };
    [
        listed(&demo.production.account_key).await,
        listed(&demo.test.account_key).await,
    ]
}

fn socket(url: &str) -> SocketAddr {
    url.strip_prefix("http://").unwrap().parse().unwrap()
}
