//! What the operating system says about this process, read when it is asked for.
//!
//! From `/proc`; what can't be read is left out of the answer.

use std::fs;
use std::time::Duration;

use super::catalogue::{PROCESS_CPU, PROCESS_FDS, PROCESS_MAX_FDS, PROCESS_MEMORY, PROCESS_START};
use super::sums::Sums;

/// Linux counts times for user space in hundredths of a second, on every architecture.
const TICKS_PER_SECOND: u64 = 100;

/// Adds the process metrics.
pub(super) fn observe(sums: &mut Sums) {
    let stat = fs::read_to_string("/proc/self/stat").ok();
    let stat = stat.as_deref().and_then(Stat::parse);
    if let Some(stat) = &stat {
        sums.time(&PROCESS_CPU, [], stat.cpu);
    }
    let booted = fs::read_to_string("/proc/stat")
        .ok()
        .and_then(|text| number_after(&text, "btime "));
    if let Some((stat, booted)) = stat.zip(booted) {
        sums.gauge(
            &PROCESS_START,
            [],
            booted as f64 + stat.started_after_boot.as_secs_f64(),
        );
    }
    let status = fs::read_to_string("/proc/self/status").ok();
    if let Some(kibibytes) = status.and_then(|text| number_after(&text, "VmRSS:")) {
        sums.gauge(&PROCESS_MEMORY, [], kibibytes as f64 * 1024.0);
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        // One of them is the descriptor that reads the folder.
        sums.gauge(&PROCESS_FDS, [], entries.count().saturating_sub(1) as f64);
    }
    let limits = fs::read_to_string("/proc/self/limits").ok();
    if let Some(most) = limits.and_then(|text| number_after(&text, "Max open files")) {
        sums.gauge(&PROCESS_MAX_FDS, [], most as f64);
    }
}

/// What is needed of `/proc/PID/stat` (proc_pid_stat(5)).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu: Duration,
    started_after_boot: Duration,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name may hold spaces and parentheses; the third field begins after the last one.
        let (_, fields) = text.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace();
        let user: u64 = fields.nth(11)?.parse().ok()?;
        let system: u64 = fields.next()?.parse().ok()?;
        let started: u64 = fields.nth(6)?.parse().ok()?;
        Some(Self {
            cpu: ticks(user.saturating_add(system)),
            started_after_boot: ticks(started),
        })
    }
}

fn ticks(ticks: u64) -> Duration {
    Duration::from_millis(ticks.saturating_mul(1000 / TICKS_PER_SECOND))
}

/// The number that follows `name` at the start of a line.
fn number_after(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_can_not_shift_the_fields() {
        let text = "7 (a b) 1 (c) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 9 9 20 0 4 0 12345 99 88 77";
        let expected = Stat {
            cpu: Duration::from_secs(2),
            started_after_boot: Duration::from_millis(123_450),
        };
        assert_eq!(Stat::parse(text), Some(expected));
    }

    #[test]
    fn what_can_not_be_read_is_left_out() {
        assert_eq!(Stat::parse("7 (x) S 1"), None);
        assert_eq!(Stat::parse(""), None);
        assert_eq!(
            number_after("VmPeak: 1 kB\nVmRSS:\t 2048 kB\n", "VmRSS:"),
            Some(2048)
        );
        assert_eq!(
            number_after("Max open files            unlimited", "Max open files"),
            None
        );
    }
}
