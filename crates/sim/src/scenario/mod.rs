//! What a simulation is made of: a cluster, its options, its clients, and a schedule of what goes wrong when. A seed makes one
//! (`draw`); as text it can be kept, read and changed (`text`); of a failing one the least that still fails is sought
//! ([`crate::shrink`]).
//!
//! A scenario settles everything that happens. What it does not name (how long a message takes, what a client wants) follows
//! from its `chance`, for each node, link, client and fault from a stream of numbers of its own: a fault that is left out
//! changes for the others only what follows from it.

mod draw;
mod text;

use serde::{Deserialize, Serialize};

use replication::configuration::Acknowledgement;
use replication::primaries::Leaderless;

use crate::client::workload::Workload;
use crate::clock::TrueTime;
use crate::network::Profile;

pub use draw::Focus;
pub use text::Unreadable;
pub(crate) use text::milliseconds;

/// Something that goes wrong, or an operator's doing. Who is hit is drawn when it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// One node dies.
    Crash,
    /// The leader of some partition dies.
    CrashLeader,
    /// The next node that is elected dies right afterwards.
    CrashNewLeader,
    /// Several nodes die at once.
    CrashSeveral,
    /// All nodes die at once.
    CrashAll,
    /// The nodes fall into two groups that do not hear one another.
    CutHalves,
    /// One node, by preference a leader, hears nobody and is not heard.
    CutIsolated,
    /// One node is not heard, or hears nobody.
    CutOneWay,
    /// Each node hears only its two neighbours in a ring (with three nodes: one link is cut).
    CutRing,
    /// Some links lose, double and delay.
    LinkBad,
    /// A process stands still and then goes on.
    Pause,
    /// Syncs of one node take long.
    DiskSlow,
    /// The disk of one node is full.
    DiskFull,
    /// A sync fails: the process dies, the machine does not.
    SyncFails,
    /// A wall clock jumps.
    WallJump,
    /// A monotonic clock runs at another rate.
    RateChange,
    /// Leadership is handed over by order.
    Transfer,
    /// A node is told that its connection to a peer broke, though it may not have.
    PeerLostHint,
    /// A node loses its disk and comes back as another node in its place.
    Rebuild,
    /// A disk says that it has synced and has not; in the end the machine loses power, and its disk counts as lost.
    LyingSync,
    /// A bit turns over on a disk; the process stops and reads everything again.
    BitRot,
    /// An operator changes the catalogue: a node joins, leaves, is drained, is taken back or gets another share, a partition
    /// is to be elsewhere, or all are to have more or fewer replicas.
    Members,
    /// An operator has a partition split.
    Split,
    /// The clients rest, so that groups fall quiet.
    Rest,
    /// An operator wants partition 0 in the place of one of its replicas, drawn, on the node that is hit (without a
    /// number: on one that does not hold it).
    Move,
    /// The replica that such a move takes away dies; of a partition that was split, the preferred leader.
    CrashSource,
    /// The replica that such a move brings dies; of a partition that was split, the last of the list.
    CrashDestination,
    /// The leader of the catalogue dies.
    CrashCatalogueLeader,
}

/// A fault with its time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    /// What it is.
    pub fault: Fault,
    /// When it begins.
    #[serde(with = "text::milliseconds")]
    pub at: TrueTime,
    /// How long it lasts.
    #[serde(with = "text::milliseconds")]
    pub lasts: TrueTime,
    /// The number of the node that it hits, from 1; else that is drawn (by preference a leader, where that makes sense).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<usize>,
    /// What else there is to draw for it follows from this.
    #[serde(default)]
    pub chance: u64,
    /// It begins right after so many events of the run, not at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_event: Option<u64>,
}

/// The numbers of the consensus that a scenario chooses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consensus {
    /// The most payload bytes in one append message.
    pub max_append_bytes: usize,
    /// The most payload bytes sent to one follower and not yet acknowledged.
    pub max_inflight_bytes: usize,
    /// Applied entries are kept in memory up to this many bytes.
    pub memory_tail_bytes: usize,
    /// The most entries that are applied at once.
    pub max_apply_entries: u64,
    /// A leader with nothing to do falls quiet after so long.
    #[serde(with = "text::milliseconds")]
    pub quiet_after: TrueTime,
}

/// What a run is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is about, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// The judge that has to raise the alarm. Without one nothing may go wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarm: Option<String>,
    /// A fault built in on purpose.
    #[cfg(feature = "planted-bugs")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planted: Option<replication::ordered::raft::Bug>,
    /// A fault built in on purpose in replicas of a `multi-primary` keyspace.
    #[cfg(feature = "planted-bugs")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planted_merged: Option<replication::merged::causal::Bug>,
    /// All syncs of all disks do nothing, which no promise survives.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub syncs_lie: bool,
    /// Everything that is not named follows from this.
    pub chance: u64,
    /// Nodes.
    pub nodes: usize,
    /// So many of them found the cluster, the others may join; 0: all of them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub founders: usize,
    /// Partitions.
    pub partitions: u32,
    /// Replicas of each.
    pub replication_factor: usize,
    /// Clients.
    pub clients: usize,
    /// All keys are in a `primary-replica` keyspace with this acknowledgement; without one, in one of `raft`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledgement: Option<Acknowledgement>,
    /// That keyspace is `DURABILITY relaxed`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub relaxed: bool,
    /// All keys are in a `multi-primary` keyspace.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub merged: bool,
    /// That keyspace is `COUNTERS bounded`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bounded: bool,
    /// All keys are in a `leaderless` keyspace with these numbers; `merged` is set, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaderless: Option<Leaderless>,
    /// Now and then that keyspace is given other numbers of which the same can be said.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alters: bool,
    /// Copies for reads alone come about from so many reads a second for each copy on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hot_reads: u32,
    /// When logs are cut: after so many bytes.
    pub snapshot_log_bytes: u64,
    /// The size of a segment of the log.
    pub segment_bytes: u64,
    /// Wall clocks are right to the millisecond and never jump: then nothing may expire early.
    pub wall_trusted: bool,
    /// Things break until then; afterwards all is healed.
    #[serde(with = "text::milliseconds")]
    pub breaks_until: TrueTime,
    /// The usual time of a sync, at the least and at the most, by node. Where they differ much, what one node holds
    /// durably another will not for long.
    #[serde(with = "text::ranges")]
    pub sync_time: Vec<(TrueTime, TrueTime)>,
    /// What clients do.
    pub workload: Workload,
    /// The network between nodes.
    pub network: Profile,
    /// The consensus' numbers.
    pub consensus: Consensus,
    /// What goes wrong.
    #[serde(default)]
    pub faults: Vec<Planned>,
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

/// How far a clock's rate may be off: two clocks then differ by less than the stated bound.
pub const RATE_ERROR_PPM: i64 = 24_000;

impl Scenario {
    /// May nodes stand in for replicas that cannot be reached?
    pub fn is_sloppy(&self) -> bool {
        self.leaderless.is_some_and(|options| options.sloppy)
    }

    /// How many nodes found the cluster.
    pub(crate) fn founders(&self) -> usize {
        if self.founders == 0 { self.nodes } else { self.founders }
    }

    /// The consensus' options.
    pub(crate) fn raft(&self) -> replication::ordered::raft::Options {
        replication::ordered::raft::Options {
            max_append_bytes: self.consensus.max_append_bytes,
            max_inflight_bytes: self.consensus.max_inflight_bytes,
            memory_tail_bytes: self.consensus.memory_tail_bytes,
            max_apply_entries: self.consensus.max_apply_entries,
            quiet_after: std::time::Duration::from_nanos(self.consensus.quiet_after),
            #[cfg(feature = "planted-bugs")]
            planted: self.planted,
            ..replication::ordered::raft::Options::default()
        }
    }
}
