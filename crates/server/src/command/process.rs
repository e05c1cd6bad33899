//! What the operating system says of this process, from `/proc`. Where there is none everything is zero.

use std::fs;

/// Memory and processor time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Process {
    /// Bytes in memory now.
    pub resident_bytes: u64,
    /// The most bytes in memory so far.
    pub peak_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Processor time spent in the process, in seconds.
    pub user_seconds: f64,
    /// Processor time spent in the kernel for it, in seconds.
    pub system_seconds: f64,
}

/// Linux counts processor time for user space in hundredths of a second on every architecture we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Looks.
pub(crate) fn process() -> Process {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    parse(&status, &stat)
}

fn parse(status: &str, stat: &str) -> Process {
    let number = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    // The second field is the program's name in parentheses and may hold anything; after it the fields are counted.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = |field: usize| -> f64 {
        after_name.split_whitespace().nth(field - 3).and_then(|ticks| ticks.parse().ok()).unwrap_or(0.0)
    };
    Process {
        resident_bytes: number("VmRSS:") << 10,
        peak_bytes: number("VmHWM:") << 10,
        threads: number("Threads:"),
        user_seconds: ticks(14) / TICKS_PER_SECOND,
        system_seconds: ticks(15) / TICKS_PER_SECOND,
    }
}

/// All memory of the machine, in bytes.
pub(crate) fn total_memory() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) << 10
}

/// `Linux 6.1.0 x86_64`.
pub(crate) fn operating_system() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let name = match std::env::consts::OS {
        "linux" => "Linux",
        other => other,
    };
    format!("{name} {} {}", release.trim(), std::env::consts::ARCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_whatever_the_program_is_called() {
        let status = "Name:\tconsort\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t7\n";
        let stat = "12 (a) b (c) S 1 12 12 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 7 0 100 0 0";
        let expected = Process {
            resident_bytes: 1 << 20,
            peak_bytes: 2 << 20,
            threads: 7,
            user_seconds: 2.5,
            system_seconds: 0.5,
        };
        assert_eq!(parse(status, stat), expected);
        assert_eq!(parse("", ""), Process::default());
    }

    #[test]
    fn this_process_takes_memory() {
        assert!(process().resident_bytes > 0 && total_memory() > process().resident_bytes);
    }
}
