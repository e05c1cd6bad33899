//! Raft, sans-I/O: one [`Raft`] is one replica's part in the consensus of one partition.

#[cfg(any(test, feature = "planted-bugs"))]
mod bug;
mod message;
mod types;

use bytes::Bytes;

#[cfg(any(test, feature = "planted-bugs"))]
pub use bug::Bug;
pub use message::Message;
pub use types::{
    Effects, Entry, EntryKind, HardState, Initial, Membership, Options, PersistToken, ProposeRefused,
    ReadRefused, SnapshotMeta,
};

use crate::contract::Role;
use crate::time::Time;
use crate::{NodeId, PartitionId};

/// One replica of one group.
#[derive(Debug)]
pub struct Raft {}

#[allow(clippy::todo, missing_docs, unused_variables)]
impl Raft {
    /// A replica as it starts. It promises nothing to anyone for one election timeout after the start, since it may
    /// have promised before the crash.
    pub fn new(
        id: NodeId,
        partition: PartitionId,
        options: Options,
        initial: Initial,
        seed: u64,
        now: Time,
    ) -> Raft {
        todo!()
    }
    pub fn role(&self) -> Role {
        todo!()
    }
    pub fn term(&self) -> u64 {
        todo!()
    }
    pub fn leader(&self) -> Option<NodeId> {
        todo!()
    }
    pub fn is_leader(&self) -> bool {
        todo!()
    }
    pub fn commit(&self) -> u64 {
        todo!()
    }
    pub fn last_index(&self) -> u64 {
        todo!()
    }
    /// The index after which the log (on disk) begins.
    pub fn log_start(&self) -> u64 {
        todo!()
    }
    pub fn membership(&self) -> &Membership {
        todo!()
    }
    /// The latest membership at or before `index` (for snapshots), and the term of the entry at `index` if known.
    pub fn meta_at(&self, index: u64) -> Option<SnapshotMeta> {
        todo!()
    }
    /// Does the leader have a lease at `now`, and an entry of its own term committed? Then reads at `commit()` are linearizable.
    pub fn has_lease(&self, now: Time) -> bool {
        todo!()
    }
    pub fn lease_until(&self) -> Time {
        todo!()
    }
    /// The leader's view of a member: the last entry it is known to hold durably. `None` if this is not the leader or
    /// that is no member.
    /// Is the membership in force committed (no change under way)?
    pub fn membership_is_committed(&self) -> bool {
        todo!()
    }
    /// This replica's own log is durable up to here.
    pub fn durable_index(&self) -> u64 {
        todo!()
    }
    pub fn match_index(&self, node: NodeId) -> Option<u64> {
        todo!()
    }
    pub fn is_quiet(&self) -> bool {
        todo!()
    }

    /// Appends to the leader's log; sent and persisted with the next [`Raft::finish`].
    pub fn propose(&mut self, payload: Bytes, now: Time) -> Result<u64, ProposeRefused> {
        todo!()
    }
    /// Starts a membership change to `target` (voters and learners). Only learners differ: one entry; else through a
    /// joint membership, left automatically when it is committed.
    pub fn propose_membership(&mut self, target: Membership, now: Time) -> Result<u64, ProposeRefused> {
        todo!()
    }
    /// Hands leadership over: stops proposals, catches the other up, tells it to campaign; gives up after an election timeout.
    pub fn transfer(&mut self, to: NodeId, now: Time) -> Result<(), ProposeRefused> {
        todo!()
    }
    /// Asks at which index a linearizable read may be answered, on leader and follower alike. The answer comes in
    /// [`Effects::reads`], many tickets with one round.
    pub fn read(&mut self, ticket: u64, now: Time) {
        todo!()
    }
    pub fn step(&mut self, from: NodeId, message: Message, now: Time) {
        todo!()
    }
    /// Everything that [`Effects::persist`] gave out up to and including the one named by `token` is durable.
    pub fn persisted(&mut self, token: PersistToken, now: Time) {
        todo!()
    }
    /// Entries that were asked for by [`Effects::fetch`] (empty: they are gone).
    pub fn fetched(&mut self, from: u64, entries: Vec<Entry>, now: Time) {
        todo!()
    }
    /// The table has applied everything up to here: memory before it may be released.
    pub fn applied(&mut self, index: u64) {
        todo!()
    }
    /// A durable snapshot holds everything up to `index`: the log before it may go. Gives out `Write::Trim`.
    pub fn compact(&mut self, index: u64) {
        todo!()
    }
    /// A snapshot at `index` has been delivered to `to` (or has failed: `None`): replication goes on.
    pub fn snapshot_delivered(&mut self, to: NodeId, index: Option<u64>, now: Time) {
        todo!()
    }
    /// A chunk of a snapshot came from `from` in `term`: is that the leader we follow (now)? Resets the election timer.
    pub fn hear_leader(&mut self, from: NodeId, term: u64, now: Time) -> bool {
        todo!()
    }
    /// A snapshot was received whole and is durable: the log is reset to it. False if it is older than what is here.
    pub fn restore(&mut self, meta: &SnapshotMeta, now: Time) -> bool {
        todo!()
    }
    /// The node may be dead: a quiet follower of it starts its election timer; the promise of the lease still holds.
    pub fn suspect(&mut self, node: NodeId, now: Time) {
        todo!()
    }
    /// Campaign now if allowed (the preferred leader at a first start).
    pub fn campaign(&mut self, now: Time) {
        todo!()
    }
    /// The disk is full: do not accept entries, as follower; nor campaign.
    pub fn set_disk_full(&mut self, full: bool) {
        todo!()
    }
    /// Time-driven work is due at this time.
    pub fn wake_at(&self) -> Time {
        todo!()
    }
    pub fn tick(&mut self, now: Time) {
        todo!()
    }
    /// Everything that the inputs since the last call led to.
    pub fn finish(&mut self, now: Time, effects: &mut Effects) {
        todo!()
    }
}
