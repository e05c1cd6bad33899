//! The contract between the core and whatever drives it: the server's driver or the simulator.
//!
//! ```text
//! Input  : Request | Message | Persisted | Fetched | SnapshotWritten | SnapshotFailed | Disk | Placement | Wake
//! Output : Send | Persist | Fetch | Snapshot | Reply | Event
//! ```
//!
//! The driver calls [`Shard::step`](crate::Shard::step) for each input it has at hand and then
//! [`Shard::finish`](crate::Shard::finish) once; `finish` gives out what the whole batch needs to be sent and persisted,
//! so that one frame per peer and one fsync serve many requests and many partitions. It calls again at
//! [`Shard::wake_at`](crate::Shard::wake_at) if nothing came before.
//!
//! Rules. (1) Writes of a [`Batch`] become durable in order; [`Input::Persisted`] names the last batch that is. The
//! core claims durability of its own copy only after that, so the driver may send, write and sync in any order and
//! merge batches. (2) Messages may be lost, delayed, duplicated and reordered. (3) Every [`Request`] gets exactly one
//! [`Output::Reply`] as long as the process lives: done, refused (it did not happen and never will) or unknown (it may
//! have happened or may still happen). (4) A batch that is [`Batch::relaxed`] need be durable only [`RELAXED_SYNC`] later; with
//! [`Batch::tells_written`] the core also wants to know when it would survive the death of the process ([`Input::Written`]).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use data::merged::VersionVector;
use data::{Command, Kind, Watch};
use resp::Value;

use crate::catalogue::{Catalogue, Change};
use crate::configuration::Acknowledgement;
use crate::consistency::{Consistency, Seen};
use crate::ordered::raft::Entry;
use crate::primaries::Quorum;
use crate::time::Time;
use crate::wire::Message;
use crate::{NodeId, PartitionId, Placement};

/// What comes into a shard.
#[derive(Debug)]
pub enum Input {
    /// A client (through this node's own connections) asks for something.
    Request(Request),
    /// A peer's shard says something. `incarnation` is drawn anew at each start of the sender.
    Message { from: NodeId, incarnation: u64, message: Message },
    /// All batches up to and including `number` are durable.
    Persisted { number: u64 },
    /// All batches up to and including `number` are written: they survive the death of the process. That they are durable says the
    /// same and more.
    Written { number: u64 },
    /// The answer to [`Output::Fetch`]: consecutive entries from the one asked for, as many as fitted (at least one,
    /// unless they are gone from the log).
    Fetched { partition: PartitionId, from: u64, entries: Vec<Entry> },
    /// A piece of a snapshot file is written ([`SnapshotWrite::Chunk`]) or the whole file is durable
    /// ([`SnapshotWrite::Finish`]).
    SnapshotWritten { partition: PartitionId, snapshot: u64, sequence: u64 },
    /// The file could not be finished for lack of space and is gone.
    SnapshotFailed { partition: PartitionId, snapshot: u64 },
    /// The disk has run full (writes are refused, reads go on) or has space again.
    Disk { full: bool },
    /// The connection to a peer broke: a hint for failure detection, nothing more.
    PeerLost { node: NodeId },
    /// A new placement.
    Placement(Arc<Placement>),
    /// [`Shard::wake_at`](crate::Shard::wake_at) has come.
    Wake,
}

/// The number that a driver gives a request to find whom to answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A command for one partition.
#[derive(Clone, Debug)]
pub struct Request {
    /// Unique among the requests of this shard since its start.
    pub id: RequestId,
    /// The connection that it came on: requests of one connection for a partition take effect in the order in which they
    /// are given to the shard.
    pub origin: u64,
    /// The partition, which this shard owns.
    pub partition: PartitionId,
    /// How many partitions there were for whoever chose this one ([`Placement::layout`]).
    pub layout: u32,
    /// How many keyspaces had been given groups of their own by then ([`Placement::keyspaces_numbered`]).
    pub keyspaces: u16,
    /// What to do.
    pub call: Call,
    /// When the client must have an answer: later, a write that was proposed is unknown and anything else is refused.
    pub deadline: Time,
    /// The same connection has other requests for this partition under way, or more of them behind this one: for them to
    /// take effect in order, this one has to go to the leader. A connection
    /// gives out a request that is not `ordered` only when it has nothing else under way in the partition, and nothing
    /// more until that one is answered.
    pub ordered: bool,
}

/// What a request asks for.
#[derive(Clone, Debug)]
pub enum Call {
    /// A read or write command. With a token a write runs once even if it is sent again ([`crate::ordered`]).
    Command { command: &'static Command, arguments: Vec<Bytes>, token: Option<Bytes> },
    /// `MULTI ... EXEC`.
    Transaction { commands: Vec<(&'static Command, Vec<Bytes>)>, watches: Vec<Watch> },
    /// A write to a group of a keyspace of its own that is to be acknowledged by more than the keyspace asks for.
    Demanding { demand: Acknowledgement, call: Box<Call> },
    /// A request to a `leaderless` keyspace of a client that says itself how many replicas are asked.
    Quorum { quorum: Quorum, call: Box<Call> },
    /// A request of a session whose reads are to be so fresh, or as fresh as its keyspace makes them: what it has seen comes with the reply.
    At { consistency: Option<Consistency>, call: Box<Call> },
    /// `WATCH`: the reply is an array of bulk strings, 16 bytes (little endian) a key.
    Fingerprint { keys: Vec<Bytes> },
    /// A request of a session that has seen so much of the group: a replica that has less waits for it, or asks another one.
    After { seen: Seen, call: Box<Call> },
    /// An operator's order to this partition's leader.
    Admin(Admin),
}

/// Orders of an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admin {
    /// Hand leadership to this node.
    Transfer { to: NodeId },
    /// `WAIT`: to how many members in sync, beside the primary, is everything durable that stands in the log now? Answered
    /// once it is to so many, or after that time; 0 if the primary is of another term: what was written in that one may be lost.
    /// With `durably` (`WAITAOF`) copies on disks are counted, the primary's included, and none before that one.
    Wait { term: u64, copies: u32, milliseconds: u32, durably: bool },
    /// Who waits to pop: answered with 1 once one of the keys holds a value of this kind, as it is applied, or with 0 after that
    /// time. There is one such answer for each element; who has waited for longer has it first.
    Await { kind: Kind, keys: Vec<Bytes>, waited_ms: u32, milliseconds: u32 },
    /// Of a keyspace whose replicas all take writes: what whoever asks has seen at the most, as an encoded vector.
    Seen,
    /// To that node, whether it leads or not: what of the group it keeps as lost. The reply is an array, see
    /// [`crate::shard::lost`].
    Lost { node: NodeId },
    /// To that node: these lost writes, by index and term, need not be kept any longer. The reply is their number.
    ForgetLost { node: NodeId, entries: Vec<(u64, u64)> },
    /// To that node, about the catalogue: the epoch that it goes by.
    Epoch { node: NodeId },
}

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// It was done, and this is the answer (which may be an error of the command: nothing was changed).
    Done(Value),
    /// It did not happen and never will. The text has its prefix (`CLUSTERDOWN`, `TRYAGAIN`, `DISKFULL`, `TIMEOUT`, ...).
    Refused(String),
    /// It may have happened, or may still happen. The text says why; on the wire it begins with `UNKNOWN`.
    Unknown(String),
}

/// What a shard wants done.
#[derive(Debug)]
pub enum Output {
    /// Send this to a peer. May be lost.
    Send { to: NodeId, message: Message },
    /// Make this durable.
    Persist(Batch),
    /// Read entries back from the log, from `from` on, up to and including `to`, at most about `max_bytes`.
    Fetch { partition: PartitionId, from: u64, to: u64, max_bytes: usize },
    /// Write a piece of a snapshot file.
    Snapshot(SnapshotWrite),
    /// Answer a request. `seen`: what its session has seen of which group by that, if the request was one [`Call::At`].
    Reply { id: RequestId, reply: Reply, seen: Option<(PartitionId, Seen)> },
    /// Something happened that logs, metrics, oracles or an operator want to know.
    Event(Event),
}

/// A batch that is relaxed becomes durable after this time at the latest.
pub const RELAXED_SYNC: Duration = Duration::from_secs(1);

/// Log records that become durable together. Numbers rise by one.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The number that [`Input::Persisted`] names.
    pub number: u64,
    /// The records, in order.
    pub writes: Vec<Write>,
    /// Nothing waits for it to be durable.
    pub relaxed: bool,
    /// Something waits for it to be written.
    pub tells_written: bool,
}

/// A record for the write-ahead log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// An entry. An index at or below the partition's last drops that entry and all after it first.
    Append { partition: PartitionId, entry: Entry },
    /// The partition's small state (term, vote, commit): the latest wins.
    State { partition: PartitionId, state: Bytes },
    /// The partition's log is emptied and goes on after `index` (a snapshot from elsewhere took its place).
    Reset { partition: PartitionId, index: u64 },
    /// Entries up to and including `index` are not needed any more (a durable snapshot holds them).
    Trim { partition: PartitionId, index: u64 },
    /// The partition is no longer held here: forget everything about it.
    Forget { partition: PartitionId },
    /// All entries of the partition that primaries had and their successors have not, as far as this node has to keep them:
    /// in the place of those that it kept before, durably before any record of the same batch.
    Lost { partition: PartitionId, entries: Vec<Lost> },
}

/// A write that was in the log of a primary and is not in that of its successor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Where it stood.
    pub index: u64,
    /// The term in which it was written.
    pub term: u64,
    /// Had the client been told that it was done? `None`: not known, as after a restart.
    pub acknowledged: Option<bool>,
    /// When it was found to be lost, in wall clock milliseconds.
    pub found_ms: u64,
    /// The entry's payload.
    pub payload: Bytes,
    /// What its keys were before it, as `WATCH` sees them, in the log that goes on without it; `None`: not known.
    pub before: Option<Vec<Watch>>,
}

/// Pieces of a snapshot file of one partition. A file without `Finish` never counts. `snapshot` is unique per partition;
/// a finished file replaces the partition's older ones.
#[derive(Clone, Debug)]
pub enum SnapshotWrite {
    /// A slice of the table ([`data::Table::slice`]). Sequences count from 0.
    Chunk { partition: PartitionId, snapshot: u64, sequence: u64, bytes: Bytes },
    /// The last piece: what the snapshot stands for, opaque to storage.
    Finish { partition: PartitionId, snapshot: u64, sequence: u64, meta: Bytes },
    /// Throw the unfinished file away.
    Abort { partition: PartitionId, snapshot: u64 },
    /// Throw all files of the partition away, finished or not: it was given up, and its log is empty (durably so).
    Discard { partition: PartitionId },
}

impl SnapshotWrite {
    /// The file that it is about: partition and number.
    pub fn file(&self) -> (PartitionId, u64) {
        match *self {
            SnapshotWrite::Chunk { partition, snapshot, .. }
            | SnapshotWrite::Finish { partition, snapshot, .. }
            | SnapshotWrite::Abort { partition, snapshot } => (partition, snapshot),
            SnapshotWrite::Discard { partition } => (partition, u64::MAX),
        }
    }
}

/// Things worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A replica became leader, follower, candidate...
    Role { partition: PartitionId, term: u64, role: Role, leader: Option<NodeId> },
    /// An entry was applied here (for oracles; the driver may drop it). `hash` is that of term and payload.
    Applied { partition: PartitionId, index: u64, term: u64, hash: u64 },
    /// The leader holds a lease until then, on its own clock.
    Lease { partition: PartitionId, term: u64, until: Time },
    /// Two replicas hold different states at the same index: an alarm.
    DigestMismatch { partition: PartitionId, index: u64, ours: u128, theirs: u128, peer: NodeId },
    /// The members of a partition changed (effective when appended, `committed` when it is final).
    Membership {
        partition: PartitionId,
        index: u64,
        voters: Vec<NodeId>,
        outgoing: Vec<NodeId>,
        learners: Vec<NodeId>,
        committed: bool,
    },
    /// A snapshot transfer to a peer began, ended or went on after a break.
    SnapshotSent { partition: PartitionId, to: NodeId, index: u64, resumed: bool, finished: bool },
    /// A snapshot from a peer took the place of this replica's state.
    SnapshotInstalled { partition: PartitionId, index: u64 },
    /// A snapshot of our own became durable and the log before it was dropped.
    SnapshotTaken { partition: PartitionId, index: u64 },
    /// The catalogue is another one now, as far as known here: after that entry of its log (index and term).
    Catalogue(Arc<Catalogue>, (u64, u64)),
    /// This node leads the catalogue and asks for this change of it.
    Steered(Box<Change>),
    /// A replica of the partition is here from now on, empty at first.
    Opened { partition: PartitionId },
    /// An entry was applied that makes two partitions of one.
    Split { partition: PartitionId, child: PartitionId, index: u64 },
    /// A replica of the partition is here from now on, with the part of its parent's state that is its own.
    Born { partition: PartitionId },
    /// A deposed primary had entries that its successor has not: they are kept.
    Lost { partition: PartitionId, entries: u64 },
    /// A read that had no answer for long was sent to another replica as well.
    Hedged { partition: PartitionId },
    /// Reads of one connection that had no answer for long were taken to another replica.
    TakenElsewhere { partition: PartitionId },
    /// A client is told that the write at this entry is done, as was asked for (for oracles).
    Acknowledged { partition: PartitionId, index: u64, term: u64, demand: Option<Acknowledgement> },
    /// A replica of a `leaderless` keyspace asks the others what they hold (for oracles).
    Asked { partition: PartitionId, round: u64 },
    /// A request of that round goes on: so many replicas were asked, this one among them, and it has applied `vector` (for oracles).
    Covered { partition: PartitionId, round: u64, needed: usize, vector: VersionVector },
    /// Of a replica among those that all take writes.
    Causal { partition: PartitionId, event: crate::merged::causal::Event },
    /// The partition is no longer held here.
    GivenUp { partition: PartitionId },
}

/// The part that a replica plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Votes and follows.
    Follower,
    /// Asks whether an election could succeed, without raising the term.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
    /// Follows without a vote.
    Learner,
}
