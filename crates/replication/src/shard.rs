//! One worker's share of the partitions.

use std::sync::Arc;

use bytes::Bytes;
use data::Table;

use crate::contract::{Input, Output};
use crate::ordered::raft;
use crate::time::{Now, Time};
use crate::{NodeId, PartitionId, Placement};

/// What a shard is made with.
#[derive(Clone, Debug)]
pub struct Options {
    /// This node.
    pub node: NodeId,
    /// Drawn anew at each start of the process.
    pub incarnation: u64,
    /// Seed for everything that is left to chance.
    pub seed: u64,
    /// The consensus' numbers.
    pub raft: raft::Options,
    /// A partition's log is cut by a snapshot when it holds more bytes than this (or than its table, if that is more).
    pub snapshot_log_bytes: u64,
    /// How long an idempotency token is remembered after its write.
    pub token_retention_ms: u64,
    /// How many tokens a partition remembers at the most; the oldest go first.
    pub token_limit: usize,
    /// This node lost its disk and stands in for that one: ask the leaders to be let in.
    pub replaces: Option<NodeId>,
}

/// A partition as storage found it at start.
#[derive(Debug)]
pub struct Recovered {
    /// The partition.
    pub partition: PartitionId,
    /// The latest [`Write::State`](crate::contract::Write::State).
    pub state: Option<Bytes>,
    /// The newest finished snapshot: the `meta` of its `Finish`, and the table with its chunks loaded.
    pub snapshot: Option<(Bytes, Table)>,
    /// The index after which the log begins.
    pub log_start: u64,
    /// The log.
    pub entries: Vec<raft::Entry>,
}

/// The partitions of one worker.
#[derive(Debug)]
pub struct Shard {}

/// A look at one partition, for `INFO`, `CLUSTER` and `ctl status`.
#[derive(Clone, Debug)]
pub struct PartitionStatus {
    /// The partition.
    pub partition: PartitionId,
    /// The part this node plays in it.
    pub role: crate::contract::Role,
    /// The term.
    pub term: u64,
    /// The leader, as far as known.
    pub leader: Option<NodeId>,
    /// The members.
    pub membership: raft::Membership,
    /// Committed up to.
    pub commit: u64,
    /// Applied up to.
    pub applied: u64,
    /// The last entry of the log here.
    pub last_index: u64,
    /// The index after which the log here begins.
    pub log_start: u64,
    /// Keys held.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// The digest at `applied`.
    pub digest: u128,
    /// Differences found so far: more than none is an alarm.
    pub digest_mismatches: u64,
    /// Idempotency tokens remembered.
    pub tokens: u64,
    /// Is the group quiet?
    pub quiet: bool,
}

#[allow(clippy::todo, missing_docs, unused_variables)]
impl Shard {
    /// A shard that owns those partitions of `placement` that `owns` says, starting from what storage found.
    pub fn new(
        options: Options,
        placement: Arc<Placement>,
        partitions: Vec<PartitionId>,
        recovered: Vec<Recovered>,
        now: Now,
    ) -> Shard {
        todo!()
    }
    /// Takes one input. Replies that need nothing more are given out at once.
    pub fn step(&mut self, now: Now, input: Input, outputs: &mut Vec<Output>) {
        todo!()
    }
    /// Ends a batch of inputs: gives out what is to be sent and persisted for all of them.
    pub fn finish(&mut self, now: Now, outputs: &mut Vec<Output>) {
        todo!()
    }
    /// When [`Input::Wake`] is due; [`Time::NEVER`] if nothing is waiting for time to pass.
    pub fn wake_at(&self) -> Time {
        todo!()
    }
    /// The state of each partition.
    pub fn status(&self) -> Vec<PartitionStatus> {
        todo!()
    }
    /// The leader of a partition as known here.
    pub fn leader(&self, partition: PartitionId) -> Option<NodeId> {
        todo!()
    }
    /// The applied state of a partition, for `CLUSTER COUNTKEYSINSLOT`, metrics and oracles.
    pub fn table(&self, partition: PartitionId) -> Option<&Table> {
        todo!()
    }
    /// Hands over every leadership held here (graceful stop); `wake_at`/`finish` go on until [`Shard::leads_none`].
    pub fn hand_over(&mut self, now: Now) {
        todo!()
    }
    /// Does this node lead nothing (any more)?
    pub fn leads_none(&self) -> bool {
        todo!()
    }
}
