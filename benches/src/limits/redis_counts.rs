//! What a Redis says it did and holds.

use anyhow::Context;
use keyward_harness::RedisServer;

/// What it did up to one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RedisCounts {
    /// Scripts that clients had it run: one round trip each.
    pub scripts: u64,
    /// All commands, those within scripts included.
    pub commands: u64,
}

/// What it holds.
#[derive(Clone, Copy, Debug)]
pub struct RedisHeld {
    /// Names.
    pub names: u64,
    /// Bytes of memory in use.
    pub bytes: u64,
}

impl RedisCounts {
    /// Asks it.
    ///
    /// # Errors
    /// When it doesn't answer.
    pub fn of(redis: &RedisServer) -> anyhow::Result<Self> {
        let told = redis.command(&["INFO", "commandstats"])?;
        let scripts = ["evalsha", "eval", "fcall"].map(|name| calls(&told, name));
        Ok(Self {
            scripts: scripts.iter().sum(),
            commands: field(&redis.command(&["INFO", "stats"])?, "total_commands_processed:")?,
        })
    }

    /// What it did since.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            scripts: self.scripts.saturating_sub(before.scripts),
            commands: self.commands.saturating_sub(before.commands),
        }
    }
}

impl RedisHeld {
    /// Asks it.
    ///
    /// # Errors
    /// When it doesn't answer.
    pub fn of(redis: &RedisServer) -> anyhow::Result<Self> {
        Ok(Self {
            names: redis.command(&["DBSIZE"])?.trim().parse()?,
            bytes: field(&redis.command(&["INFO", "memory"])?, "used_memory:")?,
        })
    }
}

fn calls(told: &str, name: &str) -> u64 {
    let start = format!("cmdstat_{name}:calls=");
    let line = told.lines().find_map(|line| line.strip_prefix(&start));
    let count = line.and_then(|rest| rest.split(',').next()?.parse().ok());
    count.unwrap_or_default()
}

fn field(told: &str, name: &str) -> anyhow::Result<u64> {
    let value = told.lines().find_map(|line| line.strip_prefix(name));
    let value = value.with_context(|| format!("Redis doesn't tell {name}"))?;
    Ok(value.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_a_command_are_read_from_its_own_line() {
        let told = "# Commandstats\r\ncmdstat_evalsha:calls=12,usec=3\r\ncmdstat_eval:calls=1,usec=9\r\n";
        assert_eq!(calls(told, "evalsha"), 12);
        assert_eq!(calls(told, "eval"), 1);
        assert_eq!(calls(told, "fcall"), 0);
    }
}
