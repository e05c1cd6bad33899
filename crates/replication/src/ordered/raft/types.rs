//! The data of the protocol: entries, memberships, what must survive a restart, options, and what a replica gives out.
//!
//! Durable forms ([`Membership::encode`], [`HardState::encode`]) begin with a version byte.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Message;
use crate::NodeId;
use crate::configuration::Wish;
use crate::contract::Write;

/// The version byte of everything that this module encodes.
const VERSION: u8 = 1;
/// The version byte of the state of a replica that is [`HardState::newcomer`].
const VERSION_NEWCOMER: u8 = 2;
/// The version byte of the state of a replica whose leaders are appointed.
const VERSION_APPOINTED: u8 = 3;
/// The version byte of the state of such a replica that has not always waited for its disk.
const VERSION_RELAXED: u8 = 4;

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

impl EntryKind {
    /// The kind that a byte stands for.
    pub fn from_byte(byte: u8) -> Option<EntryKind> {
        match byte {
            0 => Some(EntryKind::Noop),
            1 => Some(EntryKind::Normal),
            2 => Some(EntryKind::Membership),
            _ => None,
        }
    }
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

impl Entry {
    /// What an entry counts for in limits, in bytes: its payload and a little for the rest, so that empty ones count.
    pub(crate) fn size(&self) -> usize {
        self.payload.len() + 24
    }
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

impl Membership {
    /// Does this node have a vote (in either half of a joint membership)?
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.outgoing.contains(&node)
    }

    /// Does this node take part, with or without a vote?
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.learners.contains(&node)
    }

    /// Is a change under way that needs both majorities?
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Everyone who takes part, each once.
    pub fn members(&self) -> Vec<NodeId> {
        let mut members: Vec<NodeId> =
            self.voters.iter().chain(&self.outgoing).chain(&self.learners).copied().collect();
        members.sort_unstable();
        members.dedup();
        members
    }

    /// The payload of an [`EntryKind::Membership`] entry.
    pub fn encode(&self) -> Bytes {
        encode(self)
    }

    /// The membership in such a payload; `None` if it is not one.
    pub fn decode(bytes: &[u8]) -> Option<Membership> {
        decode(bytes)
    }
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
    /// Where terms began in the log before, as `(first index, term)`: by that a replica whose leaders are appointed knows which
    /// of its entries are not in the log that the snapshot stands for. Empty where leaders are elected. Not on the wire
    /// but with the end of a snapshot.
    #[serde(skip)]
    pub terms: Vec<(u64, u64)>,
}

/// What must survive a restart beside the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The latest term seen.
    pub term: u64,
    /// Who got this replica's vote in it.
    pub vote: Option<NodeId>,
    /// An index known to be committed (a hint: may lag).
    pub commit: u64,
    /// This replica came to a group that was there before it and does not yet hold all that was committed when it came: it
    /// has no vote, whatever the memberships in its log say ([`super::newcomer`]).
    pub newcomer: bool,
    /// The latest version of the group's configuration that this replica knew, if its leaders are appointed; else 0. It is not
    /// given up for an earlier one, which a restarted node may take for the latest for a while.
    pub version: u64,
    /// The replica has said that it holds entries before its disk did. That was true of all of them when the node had lost what was not
    /// on its disk so many times ([`super::relaxed`]).
    pub sound: Option<u64>,
}

impl HardState {
    /// What [`Write::State`] carries.
    pub fn encode(&self) -> Bytes {
        if let Some(sound) = self.sound {
            return encode_as(VERSION_RELAXED, &(self.term, self.vote, self.commit, self.version, sound));
        }
        if self.version > 0 {
            return encode_as(VERSION_APPOINTED, &(self.term, self.vote, self.commit, self.version));
        }
        let version = if self.newcomer { VERSION_NEWCOMER } else { VERSION };
        encode_as(version, &(self.term, self.vote, self.commit))
    }

    /// The state in such bytes; `None` if they are not one.
    pub fn decode(bytes: &[u8]) -> Option<HardState> {
        if *bytes.first()? == VERSION_APPOINTED {
            let (term, vote, commit, version) = decode_as(VERSION_APPOINTED, bytes)?;
            return Some(HardState { term, vote, commit, newcomer: false, version, sound: None });
        }
        if *bytes.first()? == VERSION_RELAXED {
            let (term, vote, commit, version, sound) = decode_as(VERSION_RELAXED, bytes)?;
            return Some(HardState { term, vote, commit, newcomer: false, version, sound: Some(sound) });
        }
        let newcomer = *bytes.first()? == VERSION_NEWCOMER;
        let version = if newcomer { VERSION_NEWCOMER } else { VERSION };
        let (term, vote, commit) = decode_as(version, bytes)?;
        Some(HardState { term, vote, commit, newcomer, version: 0, sound: None })
    }
}

fn encode<T: Serialize>(value: &T) -> Bytes {
    encode_as(VERSION, value)
}

fn decode<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Option<T> {
    decode_as(VERSION, bytes)
}

fn encode_as<T: Serialize>(version: u8, value: &T) -> Bytes {
    let bytes = postcard::to_extend(value, vec![version]);
    Bytes::from(bytes.expect("plain data of numbers and lists always has an encoding"))
}

fn decode_as<T: for<'a> Deserialize<'a>>(version: u8, bytes: &[u8]) -> Option<T> {
    let (&found, rest) = bytes.split_first()?;
    if found != version {
        return None;
    }
    match postcard::take_from_bytes(rest) {
        Ok((value, [])) => Some(value),
        _ => None,
    }
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
    /// The most entries that one [`Raft::finish`](super::Raft::finish) gives out to be applied: after a restart there may be
    /// many, and messages and timers must not wait for all of them.
    pub max_apply_entries: u64,
    /// A leader without proposals and reads for this long, whose followers hold everything, falls quiet.
    pub quiet_after: Duration,
    /// How many times this node has come back without what was not on its disk: its machine died, or its disk failed
    /// ([`super::relaxed`]).
    pub losses: u64,
    /// A fault built in on purpose, to see that the tests find it.
    #[cfg(any(test, feature = "planted-bugs"))]
    pub planted: Option<super::Bug>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            election_timeout: Duration::from_millis(300),
            heartbeat_interval: Duration::from_millis(60),
            clock_drift_ppm: 50_000,
            max_append_bytes: 1 << 20,
            max_inflight_bytes: 8 << 20,
            memory_tail_bytes: 256 << 10,
            max_apply_entries: 4096,
            quiet_after: Duration::from_secs(2),
            losses: 0,
            #[cfg(any(test, feature = "planted-bugs"))]
            planted: None,
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
    /// The log, consecutive. Entries at or before the snapshot's index are skipped.
    pub entries: Vec<Entry>,
}

/// Names what one [`Effects::persist`] gave out. Handed back through [`Raft::persisted`](super::Raft::persisted) once
/// that is durable; the latest token stands for all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PersistToken(pub(crate) u64);

/// What a batch of inputs led to. Filled anew by each [`Raft::finish`](super::Raft::finish).
#[derive(Debug, Default)]
pub struct Effects {
    /// To be sent at once.
    pub send: Vec<(NodeId, Message)>,
    /// To be sent once `persist` of this and of all earlier effects is durable (votes, acknowledgements). If there is
    /// nothing to persist and nothing earlier is under way: at once.
    pub send_after_persist: Vec<(NodeId, Message)>,
    /// The same, once it would survive the death of the process.
    pub send_after_write: Vec<(NodeId, Message)>,
    /// To be made durable, in order.
    pub persist: Vec<Write>,
    /// Names `persist`; `None` if that is empty.
    pub persist_token: Option<PersistToken>,
    /// Nothing waits for `persist` to be durable: it is enough if that happens within [`RELAXED_SYNC`](crate::contract::RELAXED_SYNC).
    pub persist_relaxed: bool,
    /// Something waits for `persist` to be written, durable or not: [`Raft::written`](super::Raft::written).
    pub waits_for_write: bool,
    /// Entries to apply now, in order; each exactly once over the life of this value.
    pub committed: Vec<Entry>,
    /// Reads that may go ahead once everything up to the index is applied, by ticket; `Err` if the leader is not known
    /// or changed (ask again or refuse: a read never happened).
    pub reads: Vec<(u64, Result<u64, ReadRefused>)>,
    /// Log entries that a follower needs and that are no longer in memory: `(from, to)`, at most `max_append_bytes`.
    /// No other is asked for before [`Raft::fetched`](super::Raft::fetched).
    pub fetch: Option<(u64, u64)>,
    /// Followers that need a snapshot, reported once each time a follower falls into that state.
    pub needs_snapshot: Vec<NodeId>,
    /// Role, term or leader changed.
    pub role_changed: bool,
    /// Memberships that were appended or committed: `(index, membership, committed)`.
    pub memberships: Vec<(u64, Membership, bool)>,
    /// What this replica asks the catalogue for.
    pub asks: Vec<Wish>,
    /// A deposed primary had applied more than what is stable, which goes up to here: the rest is to be undone, before
    /// anything of `committed` is applied.
    pub rolled_back: Option<u64>,
    /// Entries that were dropped since a later primary does not have them; and were they acknowledged, as far as known here?
    /// They are to be durable elsewhere before `persist` is.
    pub lost: Vec<(Entry, Option<bool>)>,
}

impl Effects {
    /// Empties everything and keeps the room.
    pub fn clear(&mut self) {
        self.send.clear();
        self.send_after_persist.clear();
        self.send_after_write.clear();
        self.persist.clear();
        self.persist_token = None;
        self.persist_relaxed = false;
        self.waits_for_write = false;
        self.committed.clear();
        self.reads.clear();
        self.fetch = None;
        self.needs_snapshot.clear();
        self.role_changed = false;
        self.memberships.clear();
        self.asks.clear();
        self.rolled_back = None;
        self.lost.clear();
    }
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
    /// The disk is full.
    DiskFull,
    /// A leader that has committed nothing in its term yet cannot change the membership, nor can it make voters of nodes
    /// of whom it has not heard of a majority lately; it soon may.
    NotReady,
    /// A membership change is still under way.
    ChangeUnderWay,
    /// Too few members are in sync for what the keyspace asks.
    NotInSync {
        /// How many are, the primary among them.
        have: u32,
        /// How many there have to be.
        need: u32,
    },
    /// Members in sync are too far behind, and cannot be given up.
    Lagging {
        /// By how much.
        bytes: u64,
    },
    /// Not a membership that can be changed to.
    Invalid(&'static str),
}
