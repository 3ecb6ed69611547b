//! Being asked to stop: Ctrl-C or SIGTERM. Once means in good order, twice means at once.

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask the program to stop.
#[derive(Debug)]
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// Begins to listen. From now on the signals no longer end the process by themselves.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("can't listen for signals");
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
        })
    }

    /// Waits until the program is asked to stop. May be dropped and called again.
    pub(crate) async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Ends what runs; a second request to stop cuts that short, and is an error.
    pub(crate) async fn end(&mut self, ending: impl Future<Output = ()>) -> anyhow::Result<()> {
        tokio::select! {
            () = ending => Ok(()),
            () = self.asked() => anyhow::bail!("stopped at once: asked a second time"),
        }
    }
}

/// Runs a program on a runtime of its own. What still runs when it ends is not waited for: it was asked to end,
/// and had its time.
pub(crate) fn run_to_its_end(
    mut runtime: Builder,
    program: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let runtime: Runtime = runtime.enable_all().build().context("can't start a runtime")?;
    let outcome = runtime.block_on(program);
    runtime.shutdown_background();
    outcome
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_still_runs_at_the_end_is_not_waited_for() {
        let (finish, finished) = mpsc::channel::<()>();
        let program = async {
            tokio::task::spawn_blocking(move || finished.recv());
            anyhow::bail!("stopped at once")
        };
        assert!(run_to_its_end(Builder::new_current_thread(), program).is_err());
        drop(finish);
    }
}
