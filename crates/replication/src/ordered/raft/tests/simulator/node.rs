//! One replica with its clock, its disk and the state that it has applied.

use std::collections::BTreeMap;

use super::super::super::*;
use super::disk::{Disk, Queue};
use crate::random::Random;

/// A clock that starts anywhere and runs a little fast or slow.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Local nanoseconds per million real ones.
    pub rate: u64,
    pub real_base: u64,
    pub local_base: u64,
}

impl Clock {
    pub fn local(&self, real: u64) -> Time {
        let passed = u128::from(real - self.real_base) * u128::from(self.rate) / 1_000_000;
        Time(self.local_base + passed as u64)
    }

    /// The first real time at which the local clock shows `local`.
    pub fn real(&self, local: Time) -> u64 {
        let wanted = u128::from(local.0.saturating_sub(self.local_base));
        self.real_base + (wanted * 1_000_000).div_ceil(u128::from(self.rate)) as u64
    }
}

#[derive(Debug)]
pub struct Node {
    pub id: NodeId,
    /// `None` while it is down.
    pub raft: Option<Raft>,
    /// Rises with each start: what was under way for an earlier life is dropped.
    pub life: u64,
    pub clock: Clock,
    pub disk: Disk,
    pub queue: Queue,
    /// Memberships in the log as handed out to the disk, first that of the snapshot.
    pub memberships: BTreeMap<u64, Membership>,
    pub last_written: u64,
    pub applied: u64,
    pub digest: u64,
    /// Reads under way: the least index that each may be answered with.
    pub reads: BTreeMap<u64, u64>,
    pub was_leader_in: u64,
    pub was_quiet: bool,
    pub slow_disk: bool,
    /// When a snapshot on its way is given up, by receiver.
    pub sending: BTreeMap<NodeId, u64>,
    pub compacting: bool,
    /// The last time that it took a message of its leader, in any life.
    pub heard_leader_at: u64,
    /// It stands still until then: nothing reaches it, and its clock goes on.
    pub paused_until: u64,
    /// When it is called next.
    pub wake_at: u64,
}

impl Node {
    pub fn new(id: u64, first: Membership) -> Node {
        let mut disk = Disk::default();
        disk.snapshot.meta.membership = first;
        Node {
            id: NodeId(id),
            raft: None,
            life: 0,
            clock: Clock { rate: 1_000_000, real_base: 0, local_base: 0 },
            disk,
            queue: Queue::default(),
            memberships: BTreeMap::new(),
            last_written: 0,
            applied: 0,
            digest: 0,
            reads: BTreeMap::new(),
            was_leader_in: 0,
            was_quiet: false,
            slow_disk: false,
            sending: BTreeMap::new(),
            compacting: false,
            heard_leader_at: 0,
            paused_until: 0,
            wake_at: u64::MAX,
        }
    }

    /// Starts from what is durable. `rate` is the clock's, in local nanoseconds per million real ones.
    pub fn start(&mut self, real: u64, options: Options, rate: u64, random: &mut Random) {
        self.life += 1;
        self.clock = Clock { rate, real_base: real, local_base: random.below(1 << 40) };
        let snapshot = self.disk.snapshot.meta.clone();
        if self.disk.state == HardState::default() && self.disk.log.is_empty() && snapshot.index == 0 {
            // It cannot have answered: that waits until the term is durable.
            self.heard_leader_at = 0;
        }
        self.applied = snapshot.index;
        self.digest = self.disk.snapshot.digest;
        self.memberships = BTreeMap::from([(snapshot.index, snapshot.membership.clone())]);
        for entry in self.disk.log.values().filter(|entry| entry.index > snapshot.index) {
            if entry.kind == EntryKind::Membership {
                self.memberships
                    .insert(entry.index, Membership::decode(&entry.payload).expect("a membership"));
            }
        }
        self.reads.clear();
        self.sending.clear();
        self.compacting = false;
        self.was_quiet = false;
        self.queue = Queue::default();
        let initial = Initial {
            hard_state: self.disk.state,
            snapshot,
            entries: self.disk.log.values().cloned().collect(),
        };
        let raft =
            Raft::new(self.id, PartitionId(1), options, initial, random.draw(), self.clock.local(real));
        self.last_written = raft.last_index();
        self.memberships.retain(|&index, _| index <= raft.last_index());
        self.raft = Some(raft);
    }

    /// Loses what is not durable; some of the records that were on their way may have made it. Says how many did not.
    pub fn crash(&mut self, random: &mut Random) -> u64 {
        self.raft = None;
        self.life += 1;
        self.wake_at = u64::MAX;
        let queue = std::mem::take(&mut self.queue);
        let records: usize = queue.batches.iter().map(|batch| batch.writes.len()).sum();
        let mut survive = random.below(records as u64 + 1);
        let lost = records as u64 - survive;
        for batch in queue.batches {
            for write in batch.writes {
                if survive == 0 {
                    return lost;
                }
                survive -= 1;
                self.disk.write(write);
            }
            // A snapshot counts only when its end is durable: as if that were a record of its own.
            if let Some(snapshot) = batch.snapshot {
                if survive == 0 && random.below(2) == 0 {
                    return lost;
                }
                self.disk.keep_snapshot(snapshot);
            }
        }
        lost
    }

    pub fn is_up(&self) -> bool {
        self.raft.is_some()
    }

    pub fn leads(&self) -> bool {
        self.raft.as_ref().is_some_and(Raft::is_leader)
    }
}
