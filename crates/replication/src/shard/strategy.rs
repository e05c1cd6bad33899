//! The strategies that a partition can be replicated by, as the shard sees them: a closed set.
//!
//! What a strategy has to do: take requests and answer each once ([`Outbox::answers`]) or hand it back untouched
//! ([`Outbox::elsewhere`]); take its messages, completions and wake-ups; at the end of a batch say what to send and
//! persist. The behavioural suite in `tests/` runs every strategy through the same expectations.

use data::Table;

use super::outbox::{Outbox, Work};
use super::{Options, PartitionStatus, Recovered};
use crate::configuration::Group;
use crate::consistency::Seen;
use crate::ordered::raft;
use crate::ordered::replica::Replica;
use crate::placement::{PartitionPlacement, Reader};
use crate::time::{Now, Time};
use crate::wire::{SnapshotAck, SnapshotChunk};
use crate::{NodeId, PartitionId, Placement};

/// One replica under its strategy.
#[derive(Debug)]
pub(crate) enum Strategy {
    /// Consensus.
    Raft(Box<Replica>),
    /// One primary and its replicas, appointed by the catalogue.
    PrimaryReplica(Box<Replica>),
}

/// Every variant answers to the same verbs.
macro_rules! each {
    ($self:ident, $replica:ident => $act:expr) => {
        match $self {
            Strategy::Raft($replica) | Strategy::PrimaryReplica($replica) => $act,
        }
    };
}

impl Strategy {
    pub fn start(
        options: Options,
        recovered: Recovered,
        placement: Option<&PartitionPlacement>,
        now: Now,
    ) -> Strategy {
        Strategy::Raft(Box::new(Replica::new(options, recovered, placement, None, now)))
    }

    /// A replica of a group of its keyspace's own.
    pub fn start_group(options: Options, recovered: Recovered, group: &Group, now: Now) -> Strategy {
        Strategy::PrimaryReplica(Box::new(Replica::new(options, recovered, None, Some(group), now)))
    }

    pub fn version_known(&self) -> u64 {
        each!(self, replica => replica.version_known())
    }

    pub fn set_group(&mut self, group: &Group, now: Now) {
        each!(self, replica => replica.set_group(group, now))
    }

    pub fn handle(&mut self, work: Work, now: Now, outbox: &mut Outbox) {
        each!(self, replica => replica.handle(work, now, outbox))
    }

    pub fn on_consensus(&mut self, from: NodeId, message: raft::Message, now: Now) {
        each!(self, replica => replica.step(from, message, now))
    }

    pub fn on_snapshot_chunk(&mut self, from: NodeId, chunk: SnapshotChunk, now: Now, outbox: &mut Outbox) {
        each!(self, replica => replica.on_snapshot_chunk(from, chunk, now, outbox))
    }

    pub fn on_snapshot_ack(&mut self, from: NodeId, ack: SnapshotAck, now: Now, outbox: &mut Outbox) {
        each!(self, replica => replica.on_snapshot_ack(from, ack, now, outbox))
    }

    pub fn on_digest(&mut self, from: NodeId, index: u64, digest: u128, outbox: &mut Outbox) {
        each!(self, replica => replica.on_digest(from, index, digest, outbox))
    }

    pub fn ask_whether_removed(&mut self, placed: &PartitionPlacement) {
        each!(self, replica => replica.ask_whether_removed(placed))
    }

    pub fn persisted(&mut self, token: raft::PersistToken, now: Now) {
        each!(self, replica => replica.persisted(token, now))
    }

    pub fn written(&mut self, token: raft::PersistToken) {
        each!(self, replica => replica.written(token))
    }

    pub fn fetched(&mut self, from: u64, entries: Vec<raft::Entry>, now: Now) {
        each!(self, replica => replica.fetched(from, entries, now))
    }

    pub fn snapshot_written(&mut self, snapshot: u64, sequence: u64, now: Now, outbox: &mut Outbox) {
        each!(self, replica => replica.snapshot_written(snapshot, sequence, now, outbox))
    }

    pub fn snapshot_failed(&mut self, snapshot: u64) {
        each!(self, replica => replica.snapshot_failed(snapshot))
    }

    pub fn suspect(&mut self, node: NodeId, now: Now) {
        each!(self, replica => replica.suspect(node, now))
    }

    pub fn set_disk_full(&mut self, full: bool) {
        each!(self, replica => replica.set_disk_full(full))
    }

    pub fn set_placement(&mut self, placement: Option<&PartitionPlacement>, governed: bool) {
        each!(self, replica => replica.set_placement(placement, governed))
    }

    pub fn set_readers(&mut self, readers: &[Reader]) {
        each!(self, replica => replica.set_readers(readers))
    }

    pub fn has_relaxed_reads(&self) -> bool {
        each!(self, replica => replica.has_relaxed_reads())
    }

    pub fn take_relaxed_reads(&mut self) -> u32 {
        each!(self, replica => replica.take_relaxed_reads())
    }

    pub fn may_be_read(&self) -> bool {
        each!(self, replica => replica.may_be_read())
    }

    pub fn limit_copies(&mut self, bytes_per_second: u64) {
        each!(self, replica => replica.limit_copies(bytes_per_second))
    }

    pub fn follow_splits(&mut self, placement: &Placement) {
        each!(self, replica => replica.follow_splits(placement))
    }

    pub fn knows_of(&self, child: PartitionId) -> bool {
        each!(self, replica => replica.knows_of(child))
    }

    pub fn child_is_durable(&mut self, child: PartitionId) {
        each!(self, replica => replica.child_is_durable(child))
    }

    pub fn begin_life(&mut self, leads: bool, now: Now) {
        each!(self, replica => replica.begin_life(leads, now))
    }

    pub fn has_snapshot(&self) -> bool {
        each!(self, replica => replica.has_snapshot())
    }

    pub fn want_members(&mut self, voters: Vec<NodeId>, learners: Vec<NodeId>, now: Now) {
        each!(self, replica => replica.want_members(voters, learners, now))
    }

    pub fn may_be_given_up(&self, placed: &PartitionPlacement) -> bool {
        each!(self, replica => replica.may_be_given_up(placed))
    }

    pub fn give_up(&mut self, outbox: &mut Outbox) -> (raft::HardState, u64) {
        each!(self, replica => replica.give_up(outbox))
    }

    pub fn is_exact(&self) -> bool {
        each!(self, replica => replica.is_exact())
    }

    pub fn is_serving(&self) -> bool {
        each!(self, replica => replica.is_serving())
    }

    pub fn wake(&mut self, now: Now, alive: &dyn Fn(NodeId) -> bool, outbox: &mut Outbox) {
        each!(self, replica => replica.wake(now, alive, outbox))
    }

    pub fn wake_at(&self, now: Now) -> Time {
        each!(self, replica => replica.wake_at(now))
    }

    pub fn keep_back(&mut self, keeps_back: bool) {
        each!(self, replica => replica.keep_back(keeps_back))
    }

    pub fn to_ship(&self) -> (u64, u64) {
        each!(self, replica => replica.to_ship())
    }

    pub fn gather(&mut self, gathering: bool) {
        each!(self, replica => replica.gather(gathering))
    }

    pub fn under_way(&self) -> (u64, u64) {
        each!(self, replica => replica.under_way())
    }

    pub fn finish(&mut self, now: Now, outbox: &mut Outbox) {
        each!(self, replica => replica.finish(now, outbox))
    }

    pub fn hand_over(&mut self, now: Now, alive: &dyn Fn(NodeId) -> bool) {
        each!(self, replica => replica.hand_over(now, alive))
    }

    pub fn status(&self) -> PartitionStatus {
        each!(self, replica => replica.status())
    }

    pub fn is_removed(&self) -> bool {
        each!(self, replica => replica.is_removed())
    }

    pub fn membership(&self) -> &raft::Membership {
        each!(self, replica => replica.membership())
    }

    pub fn seen(&self) -> Seen {
        each!(self, replica => replica.seen())
    }

    pub fn stable(&self) -> u64 {
        each!(self, replica => replica.stable())
    }

    pub fn term_at(&self, index: u64) -> Option<u64> {
        each!(self, replica => replica.term_at(index))
    }

    pub fn applied(&self) -> u64 {
        each!(self, replica => replica.applied())
    }

    pub fn table(&self) -> &Table {
        each!(self, replica => replica.table())
    }

    pub fn leader(&self) -> Option<NodeId> {
        each!(self, replica => replica.leader())
    }

    pub fn is_leader(&self) -> bool {
        each!(self, replica => replica.is_leader())
    }
}
