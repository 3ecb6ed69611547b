//! The servers that tests get: each its own database, and none left behind.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use keyward_harness::postgres::{Durability, database_name, shared_database};
use keyward_harness::{Postgres, eventually};

const SOON: Duration = Duration::from_secs(20);

/// What the server at this address answers to a statement.
fn ask(url: &str, statement: &str) -> Result<String, String> {
    let psql = Command::new("psql")
        .args(["-Atqc", statement, url])
        .output()
        .unwrap();
    match psql.status.success() {
        true => Ok(String::from_utf8_lossy(&psql.stdout).trim().to_owned()),
        false => Err(String::from_utf8_lossy(&psql.stderr).into_owned()),
    }
}

fn folder_of(url: &str) -> PathBuf {
    let host = url.split("host=").nth(1).and_then(|rest| rest.split('&').next());
    PathBuf::from(host.unwrap())
}

#[test]
fn every_database_is_its_own_and_may_begin_as_another() {
    let first = shared_database(None).unwrap();
    ask(&first, "CREATE TABLE t AS SELECT 7 AS n").unwrap();
    let copy = shared_database(database_name(&first)).unwrap();
    ask(&copy, "UPDATE t SET n = 8").unwrap();
    assert_eq!(ask(&first, "SELECT n FROM t").unwrap(), "7");
    assert_eq!(ask(&copy, "SELECT n FROM t").unwrap(), "8");
    let empty = shared_database(None).unwrap();
    assert!(ask(&empty, "SELECT n FROM t").is_err());
}

#[test]
fn a_server_that_was_stopped_at_once_keeps_what_was_committed() {
    let mut server = Postgres::start(Durability::Full).unwrap();
    let url = server.database().unwrap();
    ask(&url, "CREATE TABLE t AS SELECT 7 AS n").unwrap();
    assert_eq!(ask(&url, "SHOW fsync").unwrap(), "on");
    server.stop_immediately().unwrap();
    assert!(ask(&url, "SELECT n FROM t").is_err());
    server.start_again().unwrap();
    assert_eq!(ask(&url, "SELECT n FROM t").unwrap(), "7");
    let folder = folder_of(&url);
    drop(server);
    assert!(!folder.exists());
}

/// Run again by the test below, in a program that is killed.
#[test]
fn starts_the_shared_server_and_is_killed() {
    let Some(told) = std::env::var_os("KEYWARD_TEST_TELL") else {
        return;
    };
    let url = shared_database(None).unwrap();
    std::fs::write(told, url).unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

#[tokio::test]
async fn the_shared_server_goes_with_its_program_even_if_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("url");
    let mut program = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "postgres::starts_the_shared_server_and_is_killed"])
        .env("KEYWARD_TEST_TELL", &told)
        .spawn()
        .unwrap();
    let url = eventually(SOON, || async {
        let url = std::fs::read_to_string(&told)?;
        anyhow::ensure!(ask(&url, "SELECT 1").is_ok(), "no answer at {url:?}");
        Ok(url)
    });
    let url = url.await.unwrap();
    let data = folder_of(&url);
    assert!(data.exists());
    program.kill().unwrap();
    program.wait().unwrap();
    let gone = eventually(SOON, || async {
        anyhow::ensure!(!data.exists(), "{} is still there", data.display());
        Ok(())
    });
    gone.await.unwrap();
}
