//! The one thread that starts processes.
//!
//! The kernel sends a child its parent-death signal when the *thread* that started it ends, and test threads
//! and a runtime's blocking threads end early. This thread ends with the program.

use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

use anyhow::Context;

struct Order {
    command: Command,
    answer: Sender<std::io::Result<Child>>,
}

/// Starts a command from the thread that lives as long as this program.
pub(crate) fn spawn(command: Command) -> anyhow::Result<Child> {
    static SPAWNER: OnceLock<Sender<Order>> = OnceLock::new();
    let program = command.get_args().last().map(std::ffi::OsStr::to_os_string);
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, incoming) = channel::<Order>();
        std::thread::spawn(move || {
            for Order { mut command, answer } in incoming {
                // Whoever asked waits for the answer.
                let _ = answer.send(command.spawn());
            }
        });
        orders
    });
    let (answer, answered) = channel();
    spawner
        .send(Order { command, answer })
        .ok()
        .context("the thread that starts processes is gone")?;
    answered
        .recv()
        .context("the thread that starts processes is gone")?
        .with_context(|| format!("could not start {program:?}"))
}
