//! Raft, sans-I/O: one [`Raft`] is one replica's part in the consensus of one partition.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::contract::{Role, Write};
use crate::time::Time;
use crate::{NodeId, PartitionId};

/// What an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum EntryKind {
    /// The first of a leader's term: commits what went before.
    Noop = 0,
    /// A mutation, opaque here.
    Normal = 1,
    /// A [`Membership`], encoded.
    Membership = 2,
}

/// A log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the log, from 1.
    pub index: u64,
    /// The term of the leader that made it.
    pub term: u64,
    /// What it is for.
    pub kind: EntryKind,
    /// Its content.
    pub payload: Bytes,
}

/// Who takes part. While `outgoing` is not empty the membership is joint: both majorities are needed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The voters (of the incoming membership, while joint), sorted.
    pub voters: Vec<NodeId>,
    /// The voters of the membership that is being left; empty when not joint.
    pub outgoing: Vec<NodeId>,
    /// Those that get the log and have no vote, sorted.
    pub learners: Vec<NodeId>,
}

/// What a snapshot stands for: all entries up to `index`, plus effects of entries up to `exact_at`, which have to be
/// applied again before the state may be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotMeta {
    /// The last entry that is in it for certain.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// The membership at `index`.
    pub membership: Membership,
    /// The state is exact once entries up to this one have been applied (known to be committed).
    pub exact_at: u64,
}

/// What must survive a restart beside the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardState {
    /// The latest term seen.
    pub term: u64,
    /// Who got this replica's vote in it.
    pub vote: Option<NodeId>,
    /// An index known to be committed (a hint: may lag).
    pub commit: u64,
}

/// The numbers of the protocol.
#[derive(Clone, Debug)]
pub struct Options {
    /// The shortest time without a leader after which a follower asks for an election; also how long a follower
    /// promises a leader that it has heard of not to vote for another. The timeout is drawn from `[x, 2x)`.
    pub election_timeout: Duration,
    /// How often a leader says that it is there.
    pub heartbeat_interval: Duration,
    /// How far the rates of two clocks may differ, in parts per million. A lease is shorter than the promise by that.
    pub clock_drift_ppm: u32,
    /// The most payload bytes in one append message.
    pub max_append_bytes: usize,
    /// The most payload bytes sent to one follower and not yet acknowledged.
    pub max_inflight_bytes: usize,
    /// Applied entries are kept in memory up to this many bytes, for followers a little behind.
    pub memory_tail_bytes: usize,
    /// A leader without proposals and reads for this long, whose followers hold everything, falls quiet.
    pub quiet_after: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            election_timeout: Duration::from_millis(300),
            heartbeat_interval: Duration::from_millis(60),
            clock_drift_ppm: 50_000,
            max_append_bytes: 1 << 20,
            max_inflight_bytes: 8 << 20,
            memory_tail_bytes: 1 << 20,
            quiet_after: Duration::from_secs(2),
        }
    }
}

/// What a replica starts from.
#[derive(Clone, Debug, Default)]
pub struct Initial {
    /// From the log; the default for a new replica.
    pub hard_state: HardState,
    /// What the table was loaded from. A new group starts from `index` 0, `term` 0 and its first membership.
    pub snapshot: SnapshotMeta,
    /// The log after the snapshot's index, consecutive.
    pub entries: Vec<Entry>,
}

/// Messages of the protocol. `round` numbers let a leader know which of its questions an answer belongs to: a heartbeat
/// or append that carries `round` and is answered proves that the answerer followed this leader in this term after the
/// round had begun.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Message {
    /// A place holder until the core defines its messages.
    Placeholder,
}

/// One replica of one group.
#[derive(Debug)]
pub struct Raft {}

/// What a batch of inputs led to. Filled by [`Raft::finish`].
#[derive(Debug, Default)]
pub struct Effects {
    /// To be sent at once.
    pub send: Vec<(NodeId, Message)>,
    /// To be sent once `persist` of this and of all earlier effects is durable (votes, acknowledgements).
    pub send_after_persist: Vec<(NodeId, Message)>,
    /// To be made durable, in order.
    pub persist: Vec<Write>,
    /// Entries to apply now, in order; each exactly once over the life of this value.
    pub committed: Vec<Entry>,
    /// Reads that may go ahead once everything up to the index is applied, by ticket; `Err` if the leader is not known
    /// or changed (ask again or refuse: a read never happened).
    pub reads: Vec<(u64, Result<u64, ReadRefused>)>,
    /// Log entries that a follower needs and that are no longer in memory: `(from, to)`, at most `max_append_bytes`.
    pub fetch: Option<(u64, u64)>,
    /// Followers that need a snapshot, reported once each time a follower falls into that state.
    pub needs_snapshot: Vec<NodeId>,
    /// Role, term or leader changed.
    pub role_changed: bool,
    /// Memberships that were appended or committed: `(index, membership, committed)`.
    pub memberships: Vec<(u64, Membership, bool)>,
}

/// Why a read cannot go ahead here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRefused;

/// A proposal was not accepted; nothing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProposeRefused {
    /// Not the leader; perhaps that one is.
    NotLeader(Option<NodeId>),
    /// Leadership is being handed over.
    Transferring,
    /// A membership change is still under way.
    ChangeUnderWay,
    /// Not a membership that can be changed to.
    Invalid(&'static str),
}

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
    /// Everything that [`Effects::persist`] gave out up to and including this call's count of finished batches is durable:
    /// the log up to `index` of `term`, and the hard state.
    pub fn persisted(&mut self, index: u64, term: u64, now: Time) {
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
