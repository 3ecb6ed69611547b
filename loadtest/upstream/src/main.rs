//! The sample upstream as a program: listens, says where, and serves until SIGTERM or Ctrl-C.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use clap::Parser;
use keyward_upstream::Upstream;
use tokio::signal::unix::{SignalKind, signal};

/// A sample upstream that answers every call with what it received.
#[derive(Parser)]
#[command(name = "keyward-upstream", version)]
struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8089")]
    listen: SocketAddr,
    /// Threads, each with a listener of its own.
    #[arg(long, default_value = "1")]
    threads: NonZeroUsize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let running = Upstream::start_on_threads(arguments.listen, arguments.threads)?;
    say(running.address());
    tokio::select! {
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
    running.shutdown().await;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a program's own line to its user")]
fn say(address: SocketAddr) {
    println!("listening on http://{address}");
}
