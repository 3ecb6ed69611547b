//! `keyward-control-plane`: the control plane alone, the making of its first admin key and of gateways' tokens, and the check of its audit trail.
//!
//! Exit codes: 0 ended in good order, 1 failed at run time, 2 wrong configuration or arguments.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use keyward_config::ControlPlaneConfig;
use keyward_control_plane::ControlPlane;
use keyward_control_plane::domain::admin::Role;
use keyward_control_plane::domain::gateway::GatewayId;
use keyward_control_plane::domain::text::Name;
use keyward_control_plane::moving::{self, Export, Format, Import, Mode, MovingError};
use keyward_control_plane::operations::gateways::{self, NewToken};
use keyward_control_plane::operations::{Actor, admin_keys, audit_trail};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keyward's control plane: accounts, keys, tiers and usage over REST; the sync service for gateways.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    /// The configuration, such as config/control-plane.toml.
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Operators' keys.
    #[command(subcommand)]
    AdminKey(AdminKeyCommand),
    /// Gateways' own tokens.
    #[command(subcommand)]
    GatewayToken(GatewayTokenCommand),
    /// Reads accounts, users, end customers and keys from a file; docs/importing.md says how they are written.
    Import(ImportArguments),
    /// Writes everything but secrets to a file, which `import` reads.
    Export(ExportArguments),
    /// The audit trail.
    #[command(subcommand)]
    Audit(AuditCommand),
}

#[derive(Args, Debug)]
struct ImportArguments {
    /// The file; - is standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The configuration, such as config/control-plane.toml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// How its lines are written. By default what its name says, and else jsonl.
    #[arg(long, value_enum)]
    format: Option<FormatArgument>,
    /// Change nothing: only tell what would become of each line.
    #[arg(long)]
    dry_run: bool,
    /// Where to tell what became of each line, as JSON lines. Standard output by default.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Go on where the last run of this file was stopped.
    #[arg(long, conflicts_with = "dry_run")]
    resume: bool,
}

#[derive(Args, Debug)]
struct ExportArguments {
    /// The configuration, such as config/control-plane.toml.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// How lines are written. By default what the file's name says, and else jsonl.
    #[arg(long, value_enum)]
    format: Option<FormatArgument>,
    /// The file, made for its owner alone. Standard output by default.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Add the keys' digests, by which an installation with the same digest key takes the keys themselves over.
    #[arg(long)]
    with_digests: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatArgument {
    Jsonl,
    Csv,
}

impl From<FormatArgument> for Format {
    fn from(format: FormatArgument) -> Self {
        match format {
            FormatArgument::Jsonl => Self::Jsonl,
            FormatArgument::Csv => Self::Csv,
        }
    }
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Checks that no row was changed, removed or put in; names the first that was.
    Verify {
        /// The configuration, such as config/control-plane.toml.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum AdminKeyCommand {
    /// Makes an admin key and prints it, once.
    Create {
        /// The configuration, such as config/control-plane.toml.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// What the key is called.
        #[arg(long)]
        name: String,
        /// What its holder may do.
        #[arg(long, value_enum)]
        role: RoleArgument,
    },
}

#[derive(Debug, Subcommand)]
enum GatewayTokenCommand {
    /// Makes a token that lets one gateway in, and prints it, once.
    Create {
        /// The configuration, such as config/control-plane.toml.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The gateway's id, as its gateway.id has it.
        #[arg(long, value_name = "ID")]
        gateway: String,
        /// What the token is called.
        #[arg(long)]
        name: Option<String>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RoleArgument {
    Owner,
    Operator,
    Viewer,
}

enum Failure {
    Arguments(String),
    Running(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Running(error.into())
    }
}

fn main() -> ExitCode {
    let (text, code) = match run(Arguments::parse()) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Arguments(text)) => (text, 2),
        Err(Failure::Running(error)) => (format!("{error:#}"), 1),
    };
    // There is nobody left to tell when even this can't be written.
    let _ = writeln!(std::io::stderr(), "keyward-control-plane: {text}");
    ExitCode::from(code)
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    log_to_standard_error();
    let runtime = tokio::runtime::Runtime::new()?;
    match arguments {
        Arguments {
            command: Some(Command::AdminKey(AdminKeyCommand::Create { config, name, role })),
            ..
        } => runtime.block_on(create_admin_key(&config, &name, role)),
        Arguments {
            command:
                Some(Command::GatewayToken(GatewayTokenCommand::Create {
                    config,
                    gateway,
                    name,
                })),
            ..
        } => runtime.block_on(create_gateway_token(&config, &gateway, name.as_deref())),
        Arguments {
            command: Some(Command::Import(arguments)),
            ..
        } => runtime.block_on(import(arguments)),
        Arguments {
            command: Some(Command::Export(arguments)),
            ..
        } => runtime.block_on(export(arguments)),
        Arguments {
            command: Some(Command::Audit(AuditCommand::Verify { config })),
            ..
        } => runtime.block_on(verify_audit(&config)),
        Arguments { config, .. } => runtime.block_on(serve(&config.unwrap_or_default())),
    }
}

async fn serve(config: &Path) -> Result<(), Failure> {
    // Before anything else: a signal that comes while starting must end it in good order.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let running = ControlPlane::start(load(config)?).await?;
    tracing::info!(api = %running.api, sync = %running.sync, admin = %running.admin, "ready");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("ending: calls in flight may finish");
    running.shutdown().await;
    Ok(())
}

async fn create_admin_key(config: &Path, name: &str, role: RoleArgument) -> Result<(), Failure> {
    let name = Name::parse("--name", name, 100).map_err(|error| Failure::Arguments(error.to_string()))?;
    let role = match role {
        RoleArgument::Owner => Role::Owner,
        RoleArgument::Operator => Role::Operator,
        RoleArgument::Viewer => Role::Viewer,
    };
    let (registry, _) = ControlPlane::open(&load(config)?).await?;
    let made = admin_keys::create(&registry, &Actor::system("admin-key create"), name, role).await?;
    let (_, plain) = &made.value;
    writeln!(std::io::stdout(), "{}", plain.expose())?;
    Ok(())
}

async fn create_gateway_token(config: &Path, gateway: &str, name: Option<&str>) -> Result<(), Failure> {
    let gateway = gateway.parse::<GatewayId>().map_err(|_| {
        let rule = "1 to 64 letters, digits, dots, hyphens and underscores";
        Failure::Arguments(format!("--gateway: `{gateway}` is no gateway's id; write {rule}"))
    })?;
    let wanted = NewToken {
        name: name
            .map(|name| Name::parse("--name", name, 100))
            .transpose()
            .map_err(|error| Failure::Arguments(error.to_string()))?,
        expires_at: None,
    };
    let (registry, _) = ControlPlane::open(&load(config)?).await?;
    let actor = Actor::system("gateway-token create");
    let made = gateways::create_token(&registry, &actor, gateway, wanted).await?;
    let (_, plain) = &made.value;
    writeln!(std::io::stdout(), "{}", plain.expose())?;
    Ok(())
}

async fn import(arguments: ImportArguments) -> Result<(), Failure> {
    let (registry, _) = ControlPlane::open(&load(&arguments.config)?).await?;
    let wanted = Import {
        file: arguments.file,
        format: arguments.format.map(Format::from),
        mode: match (arguments.dry_run, arguments.resume) {
            (true, _) => Mode::Rehearsed,
            (false, true) => Mode::Resumed,
            (false, false) => Mode::Whole,
        },
        report: arguments.report,
    };
    let tally = moving::import(&registry, &wanted).await.map_err(moving_failed)?;
    let told = format!(
        "{} created, {} there already, {} wrong, {} taken before{}",
        tally.created,
        tally.existing,
        tally.failed,
        tally.skipped,
        if arguments.dry_run {
            " (dry run: nothing was changed)"
        } else {
            ""
        },
    );
    if tally.failed > 0 {
        return Err(Failure::Running(anyhow::anyhow!(told)));
    }
    writeln!(std::io::stderr(), "keyward-control-plane: {told}")?;
    Ok(())
}

async fn export(arguments: ExportArguments) -> Result<(), Failure> {
    let (registry, _) = ControlPlane::open(&load(&arguments.config)?).await?;
    let wanted = Export {
        out: arguments.out,
        format: arguments.format.map(Format::from),
        with_digests: arguments.with_digests,
    };
    let lines = moving::export(&registry, &wanted).await.map_err(moving_failed)?;
    writeln!(std::io::stderr(), "keyward-control-plane: {lines} lines written")?;
    Ok(())
}

fn moving_failed(error: MovingError) -> Failure {
    match error {
        MovingError::Arguments(text) => Failure::Arguments(text),
        error => Failure::Running(error.into()),
    }
}

async fn verify_audit(config: &Path) -> Result<(), Failure> {
    let (registry, _) = ControlPlane::open(&load(config)?).await?;
    let verified = audit_trail::verify(&registry).await?;
    if let Some(broken) = verified.broken {
        let text = format!(
            "the audit trail is broken at row {} ({}): {}",
            broken.number, broken.id, broken.reason
        );
        return Err(anyhow::anyhow!(text).into());
    }
    writeln!(
        std::io::stdout(),
        "{} rows, all as they were written; last hash {}",
        verified.rows,
        verified.last_hash
    )?;
    Ok(())
}

fn load(config: &Path) -> Result<ControlPlaneConfig, Failure> {
    ControlPlaneConfig::load(config).map_err(|error| Failure::Arguments(error.to_string()))
}

/// For people on a terminal, as JSON anywhere else. `KEYWARD_LOG`, or else `RUST_LOG`, says how much.
fn log_to_standard_error() {
    let filter = EnvFilter::try_from_env("KEYWARD_LOG")
        .or_else(|_| EnvFilter::try_from_default_env())
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        log.init();
    } else {
        log.json().flatten_event(true).init();
    }
}
