//! What a run exercised. A simulation in which nothing went wrong proves nothing; so each fault and each path of the
//! protocol counts, and a counter that stays at zero over many seeds is reported as a weakness.

use std::collections::BTreeMap;
use std::fmt;

/// Counts by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    counts: BTreeMap<&'static str, u64>,
}

/// Everything that must have happened at least once over a fair number of seeds.
pub const EXPECTED: &[&str] = &[
    "client.done",
    "client.refused",
    "client.retried",
    "client.timeout",
    "client.unknown",
    "client.connection_lost",
    "clock.rate_changed",
    "clock.wall_jumped",
    "disk.full",
    "disk.lied",
    "disk.rot",
    "disk.rot_found",
    "disk.slow",
    "disk.sync_failed",
    "fault.crash",
    "fault.crash_all",
    "fault.crash_leader",
    "fault.crash_new_leader",
    "fault.crash_several",
    "fault.cut_halves",
    "fault.cut_isolated",
    "fault.cut_one_way",
    "fault.cut_ring",
    "fault.link_bad",
    "fault.catalogue_change",
    "fault.members_changed",
    "fault.pause",
    "fault.peer_lost_hint",
    "fault.rebuild",
    "fault.restart",
    "fault.split",
    "fault.restart_while_cut",
    "fault.transfer",
    "message.cut",
    "message.delivered",
    "message.duplicated",
    "message.forwarded",
    "message.lost",
    "message.overtook",
    "operation.append",
    "operation.compare_and_set",
    "operation.delete",
    "operation.expire",
    "operation.get",
    "operation.getset",
    "operation.idempotent",
    "operation.increment",
    "operation.mget",
    "operation.mset",
    "operation.pair_read",
    "operation.pair_write",
    "operation.pipeline",
    "operation.set",
    "operation.set_if_absent",
    "raft.applied",
    "raft.elections",
    "raft.joint",
    "raft.leases",
    "raft.membership_changed",
    "raft.quiet",
    "raft.fetch",
    "raft.snapshot_installed",
    "raft.snapshot_resumed",
    "raft.snapshot_sent",
    "raft.snapshot_taken",
    "raft.truncated",
    "split.applied",
    "split.born",
    "log.recovered_entries",
    "log.recovered_snapshots",
    "log.trimmed",
    "check.linearizable_keys",
];

impl Counters {
    /// One more.
    pub fn add(&mut self, name: &'static str) {
        self.add_many(name, 1);
    }

    /// `count` more.
    pub fn add_many(&mut self, name: &'static str, count: u64) {
        *self.counts.entry(name).or_default() += count;
    }

    /// How many.
    pub fn get(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// Adds another run's counts.
    pub fn merge(&mut self, other: &Counters) {
        for (name, count) in &other.counts {
            self.add_many(name, *count);
        }
    }

    /// Those of [`EXPECTED`] that never happened.
    pub fn missing(&self) -> Vec<&'static str> {
        EXPECTED.iter().copied().filter(|name| self.get(name) == 0).collect()
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut group = "";
        for (name, count) in &self.counts {
            let (this, rest) = name.split_once('.').unwrap_or(("", name));
            if this != group {
                let end = if group.is_empty() { "" } else { "\n" };
                write!(f, "{end}  {this:<10}")?;
                group = this;
            }
            write!(f, " {rest}={count}")?;
        }
        Ok(())
    }
}
