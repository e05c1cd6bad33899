//! What a process cost so far, as the kernel counts it in `/proc`.

use std::fs;
use std::time::Duration;

/// The unit of times in `/proc/<pid>/stat` as user space sees it, which is the same on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// User and system time of a process, all its threads together.
///
/// # Errors
/// The process is gone.
pub fn cpu_time(id: u32) -> Result<Duration, String> {
    let path = format!("/proc/{id}/stat");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    // The second field, the name in parentheses, may contain anything; what follows it is regular.
    let fields = text.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect::<Vec<_>>());
    let ticks = fields.and_then(|fields| {
        let number = |index: usize| fields.get(index)?.parse::<u32>().ok();
        Some(number(11)? + number(12)?)
    });
    ticks.map(|ticks| TICK * ticks).ok_or_else(|| format!("{path} is not understood"))
}

/// Resident memory of a process, in bytes.
///
/// # Errors
/// The process is gone.
pub fn resident_bytes(id: u32) -> Result<u64, String> {
    let path = format!("/proc/{id}/status");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kibibytes.map(|number| number * 1024).ok_or_else(|| format!("{path} has no VmRSS"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_has_a_cost() {
        let own = std::process::id();
        assert!(cpu_time(own).is_ok());
        assert!(resident_bytes(own).unwrap() > 100_000);
        assert!(cpu_time(u32::MAX).is_err());
    }
}
