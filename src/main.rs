//! `keyward`: the program that people meet. It parses the command line and hands over; every subcommand is a
//! file of its own.
//!
//! Exit codes: 0 ok, 1 failed at run time, 2 wrong configuration or arguments.

mod check;
mod cli;
mod control_plane;
mod explain;
mod failure;
mod gateway;
mod key;
mod logging;
mod output;
mod scan;
mod standalone;
mod stop;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command, KeyCommand};
use crate::failure::Failure;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&failure);
            failure.exit_code()
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        None => standalone::run(&cli.standalone),
        Some(Command::Standalone(options)) => standalone::run(&options),
        Some(Command::Gateway { config }) => gateway::run(&config),
        Some(Command::ControlPlane { config }) => control_plane::run(&config),
        Some(Command::Check { file, kind }) => check::run(&file, kind),
        Some(Command::Scan(options)) => scan::run(&options),
        Some(Command::Explain(options)) => explain::run(&options),
        Some(Command::Key(KeyCommand::Mint { kind, environment })) => key::mint(kind, environment),
        Some(Command::Key(KeyCommand::Inspect { key })) => key::inspect(key),
    }
}
