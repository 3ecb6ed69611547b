//! The scenarios: whose keys are sent, and how Keyward has promised to answer.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use crate::generator::{self, Load, Outcome};
use crate::oha::Oha;
use crate::report::{Measurement, Tool};
use crate::requests::{Credentials, Order, Requests};
use crate::stack::Stack;

const UNKNOWN: usize = 100_000;
/// oha sends the same key with every call of a process: so many processes, with a key each.
const OHA_PROCESSES: usize = 8;

/// How hard, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Connections in all.
    pub connections: NonZeroUsize,
    /// For each measurement.
    pub duration: Duration,
}

/// One kind of load.
pub struct Scenario {
    /// What it is called.
    pub name: &'static str,
    callers: Vec<Credentials>,
    promised: Promise,
}

#[derive(Clone, Copy)]
enum Promise {
    /// This status and no other.
    Always(u16),
    /// 200 up to the limit and 429 above it.
    UpToTheLimit,
}

/// Every scenario.
///
/// # Errors
/// When the operating system has no randomness for keys.
pub fn all(stack: &Stack) -> anyhow::Result<Vec<Scenario>> {
    let unknown = (0..UNKNOWN).map(|_| Credentials::unknown());
    Ok(vec![
        Scenario {
            name: "all valid",
            callers: stack.valid.clone(),
            promised: Promise::Always(200),
        },
        Scenario {
            name: "revoked keys",
            callers: stack.revoked.clone(),
            promised: Promise::Always(401),
        },
        Scenario {
            name: "unknown random keys",
            callers: unknown.collect::<anyhow::Result<_>>()?,
            promised: Promise::Always(401),
        },
        Scenario {
            name: "over the limit",
            callers: vec![stack.limited.clone()],
            promised: Promise::UpToTheLimit,
        },
    ])
}

impl Scenario {
    /// Puts the load on with our own generator, with keys drawn from all.
    ///
    /// # Errors
    /// When the gateway can't be connected to or leaves calls unanswered.
    pub async fn generate(&self, stack: &Stack, effort: Effort) -> anyhow::Result<Measurement> {
        let callers = self.callers.iter().cloned();
        let outcome = generator::run(&Load {
            target: stack.gateway.address(),
            requests: Arc::new(Requests::render("/plain", Order::Random, callers)),
            connections: effort.connections,
            duration: effort.duration,
            seed: 1,
        })
        .await?;
        Ok(self.measured(Tool::Generator, self.callers.len(), &outcome))
    }

    /// Puts the load on with oha, with a few of the keys.
    ///
    /// # Errors
    /// When oha fails.
    pub async fn oha(&self, stack: &Stack, effort: Effort, oha: &Oha) -> anyhow::Result<Measurement> {
        let processes = OHA_PROCESSES.min(self.callers.len());
        let step = self.callers.len() / processes;
        let callers: Vec<_> = self.callers.iter().step_by(step).take(processes).collect();
        let url = format!("{}/plain", stack.gateway.url());
        let outcome = oha.run(&url, &callers, effort).await?;
        Ok(Measurement {
            scenario: self.name,
            tool: Tool::Oha,
            keys: processes,
            wrong: self.wrong(&outcome.statuses, outcome.failures),
            per_second: outcome.per_second,
            quantiles: outcome.quantiles,
            statuses: outcome.statuses,
        })
    }

    fn measured(&self, tool: Tool, keys: usize, outcome: &Outcome) -> Measurement {
        let at = |share: &f64| (*share, outcome.latencies.quantile(*share));
        Measurement {
            scenario: self.name,
            tool,
            keys,
            wrong: self.wrong(&outcome.statuses, outcome.failures),
            per_second: outcome.per_second(),
            quantiles: crate::report::SHARES.iter().map(at).collect(),
            statuses: outcome.statuses.clone(),
        }
    }

    fn wrong(&self, statuses: &BTreeMap<u16, u64>, failures: u64) -> Option<String> {
        let kept = match self.promised {
            Promise::Always(status) => statuses.keys().eq([&status]),
            Promise::UpToTheLimit => {
                statuses.contains_key(&429) && statuses.keys().all(|status| [200, 429].contains(status))
            }
        };
        let name = self.name;
        (!kept || failures > 0).then(|| format!("{name}: {statuses:?}, {failures} calls without an answer"))
    }
}
