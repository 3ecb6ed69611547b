//! What a process has used, as `/proc` tells it.

use std::time::Duration;

use anyhow::Context;

/// The unit of times in `/proc/PID/stat`: 1/100 s on every Linux that user space sees (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// What a process has used up to one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessUsage {
    /// Processor time in user space, in steps of 10 ms.
    pub user: Duration,
    /// Processor time in the kernel, in steps of 10 ms.
    pub system: Duration,
    /// Memory that is resident, in bytes.
    pub resident_bytes: u64,
    /// The most that ever was.
    pub peak_resident_bytes: u64,
}

impl ProcessUsage {
    /// Reads it for a process.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            std::fs::read_to_string(&path).with_context(|| format!("could not read {path}"))
        };
        Self::parse(&read("stat")?, &read("status")?).context("/proc has an unknown form")
    }

    /// User and system time together.
    #[must_use]
    pub fn processor_time(&self) -> Duration {
        self.user + self.system
    }

    fn parse(stat: &str, status: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, which may hold spaces and parentheses.
        let (_, fields) = stat.rsplit_once(") ")?;
        let mut times = fields
            .split(' ')
            .skip(11)
            .map_while(|ticks| ticks.parse::<u32>().ok());
        // A process that has just ended has no memory lines any more.
        let bytes = |name| match status.lines().find_map(|line| line.strip_prefix(name)) {
            Some(text) => Some(text.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024),
            None => Some(0),
        };
        Some(Self {
            user: TICK * times.next()?,
            system: TICK * times.next()?,
            resident_bytes: bytes("VmRSS:")?,
            peak_resident_bytes: bytes("VmHWM:")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_s_name_may_look_like_fields() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 99";
        let usage =
            ProcessUsage::parse(stat, "Name:\ta\nVmHWM:\t    3072 kB\nVmRSS:\t    2048 kB\n").unwrap();
        assert_eq!(usage.user, Duration::from_millis(2_500));
        assert_eq!(usage.system, Duration::from_millis(500));
        assert_eq!(usage.processor_time(), Duration::from_secs(3));
        assert_eq!(
            (usage.resident_bytes, usage.peak_resident_bytes),
            (2 << 20, 3 << 20)
        );
    }
}
