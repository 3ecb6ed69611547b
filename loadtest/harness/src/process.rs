//! A running process: its signals, its end, and what it wrote.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;

use crate::eventually;
use crate::usage::ProcessUsage;

/// What is sent to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Stop in good order.
    Terminate,
    /// Ctrl-C.
    Interrupt,
    /// Read the configuration again.
    HangUp,
    /// Have the program at its path take over.
    Upgrade,
    /// End at once, without writing anything down.
    Quit,
    /// End here and now.
    Kill,
    /// Freeze.
    Stop,
    /// Go on after [`Signal::Stop`].
    Continue,
}

impl Signal {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Terminate => "TERM",
            Self::Interrupt => "INT",
            Self::HangUp => "HUP",
            Self::Upgrade => "USR2",
            Self::Quit => "QUIT",
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Continue => "CONT",
        }
    }
}

/// A process that was started here. It is killed when this is dropped; if that happens in a test that
/// panics, the end of its standard error is printed.
#[derive(Debug)]
pub struct Process {
    child: Mutex<Child>,
    pid: u32,
    program: PathBuf,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    pub(crate) fn new(child: Child, program: PathBuf, stdout: PathBuf, stderr: PathBuf) -> Self {
        Self {
            pid: child.id(),
            child: Mutex::new(child),
            program,
            stdout,
            stderr,
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        // Not reaped before `exited` says so, therefore the id can't belong to another process yet.
        anyhow::ensure!(self.exited()?.is_none(), "{} has ended", self.program.display());
        send(signal, self.pid)
    }

    /// How it ended, or `None` while it runs.
    ///
    /// # Errors
    /// When the kernel won't say.
    pub fn exited(&self) -> anyhow::Result<Option<ExitStatus>> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(child.try_wait()?)
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// When it still runs after that time.
    pub async fn wait(&self, within: Duration) -> anyhow::Result<ExitStatus> {
        eventually(within, || async {
            self.exited()?
                .with_context(|| format!("{} still runs", self.program.display()))
        })
        .await
    }

    /// Sends [`Signal::Terminate`] and waits until it has ended.
    ///
    /// # Errors
    /// When it had ended already or still runs after that time.
    pub async fn terminate(&self, within: Duration) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::Terminate)?;
        self.wait(within).await
    }

    /// Kills it, if it still runs, and waits for its end.
    pub fn kill(&self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        // Both fail only on a process that has ended already.
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Processor time and memory it has used so far.
    ///
    /// # Errors
    /// When it has ended.
    pub fn usage(&self) -> anyhow::Result<ProcessUsage> {
        ProcessUsage::of(self.pid)
    }

    /// All it has written to standard output.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn stdout(&self) -> anyhow::Result<String> {
        read(&self.stdout)
    }

    /// All it has written to standard error.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn stderr(&self) -> anyhow::Result<String> {
        read(&self.stderr)
    }

    /// Waits until `url` answers 2xx.
    ///
    /// # Errors
    /// When it doesn't within that time, or the process ends; the message holds the end of what the process
    /// wrote to standard error.
    pub async fn ready(&self, url: &str, within: Duration) -> anyhow::Result<()> {
        let answers = async || {
            let answer = crate::http_client()?.get(url).send().await?;
            let status = answer.status();
            anyhow::ensure!(
                status.is_success(),
                "{url} answers {status}: {}",
                answer.text().await?
            );
            anyhow::Ok(())
        };
        let outcome = eventually(within, || async {
            match self.exited()? {
                Some(status) => Ok(Err(anyhow::anyhow!("it ended with {status}"))),
                None => answers().await.map(Ok),
            }
        });
        outcome
            .await
            .and_then(std::convert::identity)
            .with_context(|| format!("{} is not ready:\n{}", self.program.display(), self.last_words()))
    }

    fn last_words(&self) -> String {
        const LINES: usize = 40;
        let text = self.stderr().unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines
            .get(lines.len().saturating_sub(LINES)..)
            .unwrap_or_default()
            .join("\n")
    }
}

impl Drop for Process {
    #[expect(clippy::print_stderr, reason = "read by whoever looks into a failed test")]
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let program = self.program.display();
            eprintln!("--- the last lines of {program}:\n{}\n---", self.last_words());
        }
    }
}

/// Sends a signal to a process that was not started here, but by one that was.
pub(crate) fn send(signal: Signal, pid: u32) -> anyhow::Result<()> {
    // The shell's own `kill`: a bare Debian has no program of that name.
    let sent = Command::new("sh")
        .args(["-c", "kill -s \"$1\" \"$2\"", "sh", signal.name()])
        .arg(pid.to_string())
        .status()?;
    anyhow::ensure!(sent.success(), "could not send {signal:?} to {pid}");
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("could not read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
