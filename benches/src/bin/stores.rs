//! Which embedded store suits a gateway's replica: each on the same work, one process a phase.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use keyward_benches::stores::{fjall::Fjall, heed::Heed, own::Own, redb::Redb, run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PHASES: [&str; 4] = ["load", "open", "read", "change"];

/// Compares embedded stores.
#[derive(Parser)]
#[command(name = "stores-bench", version)]
struct Arguments {
    /// Keys that are loaded.
    #[arg(long, default_value = "1000000")]
    keys: u64,
    /// Which stores.
    #[arg(long, value_delimiter = ',', default_value = "keyward,redb,lmdb,fjall")]
    only: Vec<String>,
    /// Where the files go; a folder of its own is made in it.
    #[arg(long, default_value = ".")]
    folder: PathBuf,
    /// Runs one phase in this process.
    #[arg(long, hide = true)]
    phase: Option<String>,
}

#[expect(clippy::print_stdout, reason = "a program's own report to its user")]
fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let (Some(phase), Some(store)) = (&arguments.phase, arguments.only.first()) {
        let said = phase_of(store, phase, &arguments.folder, arguments.keys)?;
        println!("{said}");
        return Ok(());
    }
    println!(
        "{} keys, load average {}",
        arguments.keys,
        std::fs::read_to_string("/proc/loadavg")?.trim()
    );
    let folder = tempfile::tempdir_in(&arguments.folder)?;
    for store in &arguments.only {
        let place = folder.path().join(store);
        std::fs::create_dir(&place)?;
        for phase in PHASES {
            println!(
                "{store:<8} {phase:<7} {}",
                in_process(store, phase, &place, arguments.keys)?
            );
        }
        std::fs::remove_dir_all(&place)?;
    }
    Ok(())
}

fn in_process(store: &str, phase: &str, folder: &Path, keys: u64) -> Result<String> {
    let output = Command::new(std::env::current_exe()?)
        .args([
            "--only",
            store,
            "--phase",
            phase,
            "--keys",
            &keys.to_string(),
            "--folder",
        ])
        .arg(folder)
        .output()
        .context("can't start a phase")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{store} {phase}: {error}");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn phase_of(store: &str, phase: &str, folder: &Path, keys: u64) -> Result<String> {
    match store {
        "keyward" => run::<Own>(phase, folder, keys),
        "redb" => run::<Redb>(phase, folder, keys),
        "lmdb" => run::<Heed>(phase, folder, keys),
        "fjall" => run::<Fjall>(phase, folder, keys),
        _ => anyhow::bail!("no such store"),
    }
}
