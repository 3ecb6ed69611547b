//! The harness on small programs that every machine has.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod licences;
mod postgres;
mod redis;

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use keyward_harness::{Process, ProcessUsage, Program, Signal, eventually, free_offset, free_port};

const SOON: Duration = Duration::from_secs(10);

fn shell(folder: &Path, script: &str) -> Process {
    let program = Program::new("/bin/sh", folder).args(["-c", script]);
    program.spawn().unwrap()
}

fn lives(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test]
async fn a_process_ends_with_its_value() {
    let folder = tempfile::tempdir().unwrap();
    let process = shell(folder.path(), "exec sleep 60");
    let pid = process.pid();
    assert!(lives(pid));
    drop(process);
    assert!(!lives(pid));
}

#[tokio::test]
async fn a_process_outlives_the_thread_that_asked_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_path_buf();
    let started = std::thread::spawn(move || shell(&path, "echo on; exec sleep 60"));
    let process = started.join().unwrap();
    let said = eventually(SOON, || async {
        anyhow::ensure!(process.stdout()? == "on\n");
        Ok(())
    });
    said.await.unwrap();
    assert_eq!(process.exited().unwrap(), None);
}

#[tokio::test]
async fn a_process_is_killed_by_the_kernel_when_its_starter_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    // The starter is a shell in place of a test program: what it starts carries the same mark.
    let script = "setpriv --pdeathsig KILL -- sleep 60 & echo $!; wait";
    let starter = shell(folder.path(), script);
    let child = eventually(SOON, || async {
        let pid: u32 = starter.stdout()?.trim().parse()?;
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm"))?;
        anyhow::ensure!(name == "sleep\n", "still {name}");
        Ok(pid)
    });
    let child = child.await.unwrap();
    starter.kill();
    let gone = eventually(SOON, || async {
        // Nobody may be there to reap it: a zombie is dead.
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        anyhow::ensure!(stat.is_empty() || stat.contains(") Z "), "{stat}");
        Ok(())
    });
    gone.await.unwrap();
}

#[tokio::test]
async fn a_frozen_process_goes_on_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let process = shell(folder.path(), "while :; do :; done");
    let state = |wanted: &'static str| {
        let pid = process.pid();
        eventually(SOON, move || async move {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
            anyhow::ensure!(stat.contains(wanted), "{stat}");
            Ok(())
        })
    };
    state(") R ").await.unwrap();
    process.signal(Signal::Stop).unwrap();
    state(") T ").await.unwrap();
    process.signal(Signal::Continue).unwrap();
    state(") R ").await.unwrap();
    process.signal(Signal::Terminate).unwrap();
    process.wait(SOON).await.unwrap();
    assert!(process.signal(Signal::Terminate).is_err());
}

#[tokio::test]
async fn processor_time_and_memory_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    let process = shell(folder.path(), "while :; do :; done");
    let busy = eventually(SOON, || async {
        let usage = process.usage()?;
        anyhow::ensure!(usage.processor_time() >= Duration::from_millis(50), "{usage:?}");
        Ok(usage)
    });
    assert!(busy.await.unwrap().resident_bytes > 100_000);
    let pid = process.pid();
    drop(process);
    assert!(ProcessUsage::of(pid).is_err());
}

#[tokio::test]
async fn a_program_that_ends_before_it_is_ready_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let process = shell(folder.path(), "echo no such table >&2; exit 3");
    let nobody = format!("http://127.0.0.1:{}/", free_port().unwrap());
    let error = process.ready(&nobody, SOON).await.unwrap_err();
    let told = format!("{error:#}");
    assert!(
        told.contains("no such table") && told.contains("exit status: 3"),
        "{told}"
    );
}

#[tokio::test]
async fn what_never_holds_ends_with_the_last_reason() {
    let mut attempts = 0;
    let outcome = eventually(Duration::from_millis(50), || {
        attempts += 1;
        async move { Err::<(), _>(anyhow::anyhow!("attempt {attempts}")) }
    });
    let told = format!("{:#}", outcome.await.unwrap_err());
    assert!(
        told.starts_with("not within 50ms: attempt ") && attempts > 1,
        "{told}"
    );
}

#[test]
fn no_port_is_given_twice() {
    let ports: HashSet<u16> = (0..50).map(|_| free_port().unwrap()).collect();
    assert_eq!(ports.len(), 50);
    assert_ne!(free_offset().unwrap(), free_offset().unwrap());
}
