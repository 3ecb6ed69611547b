//! Another program takes over from this one while calls go on: a new version, or the same with other settings.
//!
//! The *elder* starts its *heir* from the same path with the same arguments, and they talk over a socket pair that is the heir's
//! standard input. In order:
//!
//! 1. The heir reads its configuration: `Prepared`. Until then the elder has done nothing.
//! 2. The elder stops following the control plane and gives `Inherit`: the listening sockets
//!    themselves, so that no connection in a queue is lost, and the locks of its folders, so that no third program gets between.
//! 3. The heir opens replica and ledger: `Opened`. The elder gives what its buckets hold: `Levels`.
//! 4. The heir accepts calls: `Serving`. The elder accepts no more, and lets what it has end: `Leaving`. Only now the heir
//!    follows the control plane.
//! 5. While the elder still has calls, every change goes to it too, and the heir acknowledges nothing before the elder says
//!    that no call of its own goes by what was before.
//!
//! Whatever fails before `Serving` ends the heir, and the elder goes on as if nothing had been. From `Inherit` on only the heir
//! writes to the replica; the elder's usage lies in segments of its own, which the heir reads when the elder has ended. When one of the two is killed
//! the other sees the socket end: the heir goes on alone, or the elder takes everything back.

use std::path::PathBuf;
use std::time::Duration;

use keyward_contract::{AccountId, CustomerId, Environment};

pub mod elder;
pub mod heir;
pub mod parting;
pub mod supervisor;
mod wire;

/// Says to a program that it is an heir: its standard input is the socket to its elder.
pub const VARIABLE: &str = "KEYWARD_HANDOVER";

/// How long a configuration may take to be read, and an heir to open its folders: a replica of millions of keys is read whole.
const STEP: Duration = Duration::from_secs(60);

/// Why there was no hand-over. The elder serves on.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The gateway before this one has not ended yet.
    #[error("the gateway that this one took over from still has calls; try again when it has ended")]
    Busy,
    /// Usage that is in memory alone would be lost with this process.
    #[error("the ledger has no room on the disk, and usage in memory can't be handed over")]
    Degraded,
    /// The new program can't be started.
    #[error("can't start {}: {error}", program.display())]
    Start {
        /// What was to be started.
        program: PathBuf,
        /// Why it can't.
        error: std::io::Error,
    },
    /// The new program ended, said something else than it had to, or nothing in time.
    #[error("the new gateway failed before it served ({at}): {error}; its own log says more")]
    Failed {
        /// What was waited for.
        at: &'static str,
        /// What came instead.
        error: std::io::Error,
    },
}

/// What a bucket of this process held that goes to another.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HeldTokens {
    account: [u8; 16],
    is_production: bool,
    customer: Option<String>,
    millitokens: u64,
}

impl HeldTokens {
    /// Of an account, or of an end customer of it.
    #[must_use]
    pub fn new(
        account: AccountId,
        environment: Environment,
        customer: Option<&CustomerId>,
        millitokens: u64,
    ) -> Self {
        Self {
            account: *account.as_uuid().as_bytes(),
            is_production: environment == Environment::Production,
            customer: customer.map(|id| id.as_str().to_owned()),
            millitokens,
        }
    }

    /// Whose; `None` when it is nobody's.
    #[must_use]
    pub fn holder(&self) -> Option<(AccountId, Environment, Option<CustomerId>)> {
        let environment = match self.is_production {
            true => Environment::Production,
            false => Environment::Test,
        };
        let customer = self.customer.as_deref().map(str::parse).transpose().ok()?;
        Some((AccountId::from_slice(&self.account).ok()?, environment, customer))
    }

    /// Thousandths of a token.
    #[must_use]
    pub fn millitokens(&self) -> u64 {
        self.millitokens
    }
}
