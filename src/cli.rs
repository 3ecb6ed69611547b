//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use keyward_config::Kind;
use keyward_contract::{Environment, KeyKind};
use secrecy::SecretString;

use crate::explain::{AdminAddress, request_id};

/// An edge gateway for companies that sell an API. Without a command it runs everything in one process.
#[derive(Debug, Parser)]
#[command(name = "keyward", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) standalone: StandaloneOptions,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything in one process: gateway, control plane, database, and a sample upstream
    Standalone(StandaloneOptions),
    /// Run the data plane alone
    Gateway {
        /// Its configuration, such as config/gateway.toml
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Run the control plane alone
    ControlPlane {
        /// Its configuration, such as config/control-plane.toml
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Check a configuration file, and say everything that is wrong with it
    Check {
        /// The file; its name, or else what it holds, says for which program it is
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// For which program it is
        #[arg(long, value_name = "KIND", value_parser = kind)]
        kind: Option<Kind>,
    },
    /// Find keys in files, folders and diffs; touches no database and no network
    ///
    /// Says where each is and its mask, never the key. Ends with 0 when there is none, 1 when there is one, 2 when
    /// something could not be read. As a hook before each commit: git diff --cached | keyward scan -
    Scan(ScanOptions),
    /// Say why a gateway refused a call of the last hour
    ///
    /// Asks at the gateway's admin listener. Ends with 1 when nothing is held about the id, or the gateway can't be asked.
    Explain(ExplainOptions),
    /// Make or look at the text of keys; touches no database
    #[command(subcommand)]
    Key(KeyCommand),
}

/// `keyward key`.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Print a new key. No control plane knows it
    Mint {
        /// pk: account, ck: end customer, ak: operator
        #[arg(long)]
        kind: MintedKind,
        /// test or production; admin keys have none
        #[arg(long, required_if_eq_any([("kind", "pk"), ("kind", "ck")]))]
        environment: Option<MintedEnvironment>,
    },
    /// Say what a key is, without showing it
    Inspect {
        /// The key. Better left out: then it is read from standard input, which other users of the machine
        /// can't see
        #[arg(value_parser = secret, hide_default_value = true)]
        key: Option<SecretString>,
    },
}

/// Options of `keyward` and `keyward standalone`.
#[derive(Args, Debug)]
pub(crate) struct StandaloneOptions {
    /// The folder of everything that is kept
    #[arg(long, value_name = "DIR", default_value = "keyward-data")]
    pub(crate) data_dir: PathBuf,
    /// A configuration file, such as config/standalone.toml
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Added to every port, so that several can run
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) listen_offset: u16,
    /// Print one JSON line on standard output once everything is ready
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `keyward scan`.
#[derive(Args, Debug)]
pub(crate) struct ScanOptions {
    /// Files and folders; - is standard input, where of a diff only the added lines are looked at
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// One JSON line for each key
    #[arg(long)]
    pub(crate) json: bool,
    /// Leave out what .gitignore and .ignore leave out. Left-out files hold keys too, so the default is to look
    #[arg(long)]
    pub(crate) gitignore: bool,
    /// A file of masks, one a line, that are known and not to be reported; # begins a comment
    #[arg(long, value_name = "FILE")]
    pub(crate) allow: Option<PathBuf>,
}

/// Options of `keyward explain`.
#[derive(Args, Debug)]
pub(crate) struct ExplainOptions {
    /// The call's id: X-Request-Id of its answer, and requestId in its body
    #[arg(value_name = "ID", value_parser = request_id)]
    pub(crate) id: String,
    /// The admin listener of the gateway that refused
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9090")]
    pub(crate) admin: AdminAddress,
    /// For people, or for programs
    #[arg(long, value_name = "FORM", default_value = "table")]
    pub(crate) output: Output,
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Text
    Table,
    /// JSON
    Json,
}

/// A kind of key, as its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MintedKind {
    /// An account's
    Pk,
    /// An end customer's
    Ck,
    /// An operator's
    Ak,
}

impl From<MintedKind> for KeyKind {
    fn from(kind: MintedKind) -> Self {
        match kind {
            MintedKind::Pk => Self::Account,
            MintedKind::Ck => Self::Customer,
            MintedKind::Ak => Self::Admin,
        }
    }
}

/// An environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MintedEnvironment {
    /// The free one
    Test,
    /// The billed one
    Production,
}

impl From<MintedEnvironment> for Environment {
    fn from(environment: MintedEnvironment) -> Self {
        match environment {
            MintedEnvironment::Test => Self::Test,
            MintedEnvironment::Production => Self::Production,
        }
    }
}

fn kind(text: &str) -> Result<Kind, String> {
    let known = Kind::ALL.map(Kind::as_str);
    Kind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .ok_or_else(|| format!("write {}", known.join(", ")))
}

/// Can't fail, so that no message ever quotes it.
fn secret(text: &str) -> Result<SecretString, std::convert::Infallible> {
    Ok(SecretString::from(text))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn standalone_options_need_no_command() {
        let short = parse("keyward --json --listen-offset 7 --data-dir d").unwrap();
        assert!(short.command.is_none() && short.standalone.json);
        assert_eq!(short.standalone.listen_offset, 7);
        let Some(Command::Standalone(long)) = parse("keyward standalone --json").unwrap().command else {
            panic!("no standalone command");
        };
        assert!(long.json);
        assert_eq!(long.data_dir, PathBuf::from("keyward-data"));
    }

    #[test]
    fn a_wrong_command_line_is_told_with_exit_code_2() {
        for line in [
            "keyward serve",
            "keyward gateway",
            "keyward --listen-offset 70000",
            "keyward check",
            "keyward check a.toml --kind proxy",
            "keyward scan",
            "keyward explain",
            "keyward explain a/b",
            "keyward explain r-1 --admin edge-1:9090",
            "keyward explain r-1 --output xml",
            "keyward key mint",
            "keyward key mint --kind pk",
            "keyward key mint --kind xk --environment test",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
        assert!(parse("keyward key mint --kind ak").is_ok());
    }

    #[test]
    fn a_key_on_the_command_line_never_shows_in_debug_output() {
        let cli = parse("keyward key inspect pk_live_abc").unwrap();
        assert!(!format!("{cli:?}").contains("pk_live_abc"));
    }
}
