//! nginx as a process: one master and one worker, with a configuration of the caller's.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use crate::process::{Process, Signal};
use crate::program::Program;
use crate::usage::ProcessUsage;
use crate::{READY_WITHIN, eventually};

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    master: Process,
    worker: u32,
}

impl Nginx {
    /// Starts nginx with the text of an `http { … }` block, on one core, and waits until `url` answers.
    ///
    /// # Errors
    /// When nginx is missing, the configuration is wrong, or it isn't ready in time.
    pub async fn start(folder: &Path, http: &str, core: usize, url: &str) -> anyhow::Result<Self> {
        let configuration = folder.join("nginx.conf");
        let text = format!(
            "daemon off;\nworker_processes 1;\npid {pid};\nerror_log stderr crit;\n\
             events {{ worker_connections 4096; }}\n{http}\n",
            pid = folder.join("nginx.pid").display(),
        );
        std::fs::write(&configuration, text)?;
        let path = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"]
            .into_iter()
            .find(|path| Path::new(path).is_file())
            .context("nginx is missing: apt-get install nginx-light")?;
        let master = Program::new(path, folder)
            .arg("-p")
            .arg(folder)
            .arg("-c")
            .arg(&configuration)
            .args(["-e", "stderr"])
            .on_core(core)
            // Its worker would outlive it if it were killed.
            .when_orphaned(Signal::Terminate)
            .spawn()?;
        master.ready(url, READY_WITHIN).await?;
        let worker = eventually(Duration::from_secs(5), || async {
            child_of(master.pid())?.context("no worker yet")
        });
        let worker = worker.await?;
        Ok(Self { master, worker })
    }

    /// The process id of its worker, which does the work.
    #[must_use]
    pub fn worker(&self) -> u32 {
        self.worker
    }

    /// What its worker has used.
    ///
    /// # Errors
    /// When the worker has ended.
    pub fn usage(&self) -> anyhow::Result<ProcessUsage> {
        ProcessUsage::of(self.worker)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master takes its worker down with it; it has a second for that before it is killed itself.
        if self.master.signal(Signal::Terminate).is_ok() {
            for _ in 0..100 {
                if !matches!(self.master.exited(), Ok(None)) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

fn child_of(parent: u32) -> anyhow::Result<Option<u32>> {
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Processes come and go while we look.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        let fields = stat.rsplit_once(") ").map(|(_, fields)| fields);
        let of = fields.and_then(|fields| fields.split(' ').nth(1)?.parse::<u32>().ok());
        if of == Some(parent) {
            return Ok(Some(pid));
        }
    }
    Ok(None)
}
