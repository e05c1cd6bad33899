//! Who leads a group of the `primary-replica` strategy, and who is in sync with it: what the catalogue decides about one
//! (the configuration of PacificA, Lin et al., MSR-TR-2008-25, section 3).
//!
//! A keyspace of this strategy has groups of its own, one for each partition that there was when it was made; their numbers
//! have the keyspace's number in the upper half ([`crate::PartitionId::of_keyspace`]).
//!
//! - `term` rises with each appointment of a primary, also of the same one again. It is the term of the group's log: every
//!   message carries it, and whoever knows a later one takes nothing of an earlier one (fencing).
//! - `version` rises with every change. A change is asked for by a replica for the version that it knows ([`Ask`]), so of
//!   two that were asked for at once one is too late (compare-and-set).
//! - `in_sync` are those who hold every entry that the primary calls stable. Only one of them may become primary.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{NodeId, PartitionId};

/// When a write is acknowledged. In any case it is durable at the primary then, unless the keyspace relaxes that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Acknowledgement {
    /// Once the primary holds it.
    Async,
    /// Once so many replicas in sync hold it, beside the primary.
    SemiSync(u32),
    /// Once all replicas in sync hold it.
    Sync,
}

impl Acknowledgement {
    /// How many replicas beside the primary have to hold a write, of `others` that are in sync.
    pub fn copies(self, others: usize) -> usize {
        match self {
            Acknowledgement::Async => 0,
            Acknowledgement::SemiSync(copies) => copies as usize,
            Acknowledgement::Sync => others,
        }
    }

    /// The one of that [rank](Acknowledgement::rank).
    pub fn of_rank(rank: u32) -> Acknowledgement {
        match rank {
            0 => Acknowledgement::Async,
            u32::MAX => Acknowledgement::Sync,
            copies => Acknowledgement::SemiSync(copies),
        }
    }

    /// How strict it is: of two, the one that asks for more.
    pub fn rank(self) -> u32 {
        match self {
            Acknowledgement::Async => 0,
            Acknowledgement::SemiSync(copies) => copies,
            Acknowledgement::Sync => u32::MAX,
        }
    }
}

/// The options of a `primary-replica` keyspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrimaryReplica {
    /// When a write is acknowledged.
    pub acknowledgement: Acknowledgement,
    /// With fewer members in sync, the primary among them, writes are refused.
    pub min_in_sync: u32,
    /// How many copies there are; 0: as many as each partition has.
    pub replicas: u32,
    /// A member that is behind by more than so many bytes is not in sync any more.
    pub max_lag_bytes: u64,
    /// A member that is behind by more than this is not in sync any more. Milliseconds.
    pub max_lag_ms: u64,
    /// A copy counts for the acknowledgement as soon as it survives the death of the process; it is on the disk within
    /// [`RELAXED_SYNC`](crate::contract::RELAXED_SYNC). Records say so by their version ([`crate::catalogue::Record`]).
    #[serde(skip)]
    pub relaxed: bool,
}

impl PrimaryReplica {
    /// With the defaults of everything else.
    pub fn new(acknowledgement: Acknowledgement) -> PrimaryReplica {
        PrimaryReplica {
            acknowledgement,
            min_in_sync: 1,
            replicas: 0,
            max_lag_bytes: 64 << 20,
            max_lag_ms: 10_000,
            relaxed: false,
        }
    }
}

/// The state of one group, as the catalogue has decided it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// The first slot of its keys.
    pub first_slot: u16,
    /// The last one, included.
    pub last_slot: u16,
    /// Rises with every change.
    pub version: u64,
    /// Rises with every appointment.
    pub term: u64,
    /// The appointed one.
    pub primary: NodeId,
    /// Those who hold everything that is stable, the primary among them; sorted.
    pub in_sync: Vec<NodeId>,
    /// All who are to hold a copy; the first is preferred as primary.
    pub replicas: Vec<NodeId>,
    /// An operator wants that one as primary, rather than the first of `replicas`.
    pub pinned: Option<NodeId>,
    /// The former primary gave up its lease before this one was appointed, or is the same: no promise stands in the way.
    pub handed_over: bool,
    /// While the appointed primary has not yet shown that it holds all that was acknowledged before: those among whom that
    /// is. Empty once it has.
    pub witnesses: Vec<NodeId>,
    /// How many of the witnesses must not be ahead of the primary, itself among them.
    pub consult: u32,
    /// Former primaries whose log may hold what no other has: they get the log, whether they are to hold a copy or not, until
    /// they are found to have given that up (and listed it).
    pub settling: Vec<NodeId>,
    /// What writes were acknowledged by at the least since the last primary was confirmed.
    pub guaranteed: Acknowledgement,
    /// Where copies are not durable at once: those who were taken out of sync, as the primary wished, which may not know yet that this
    /// was decided. If its machine died in between, they may hold what was acknowledged, and it does not. In the catalogue's
    /// record by its version ([`crate::catalogue::Record`]).
    #[serde(skip)]
    pub dismissed: Vec<NodeId>,
}

impl Configuration {
    /// The first one of a group.
    pub fn founding(slots: (u16, u16), replicas: Vec<NodeId>, guaranteed: Acknowledgement) -> Configuration {
        let mut in_sync = replicas.clone();
        in_sync.sort_unstable();
        Configuration {
            first_slot: slots.0,
            last_slot: slots.1,
            version: 1,
            term: 1,
            primary: replicas.first().copied().unwrap_or_default(),
            in_sync,
            replicas,
            pinned: None,
            handed_over: true,
            witnesses: Vec::new(),
            consult: 0,
            settling: Vec::new(),
            guaranteed,
            dismissed: Vec::new(),
        }
    }

    /// Who is to be primary, if it can be.
    pub fn preferred(&self) -> Option<NodeId> {
        let pinned = self.pinned.filter(|pinned| self.replicas.contains(pinned));
        pinned.or(self.replicas.first().copied())
    }

    /// Does the node hold a copy, or is it to, or may it have to tell what it holds?
    pub fn places(&self, node: NodeId) -> bool {
        self.primary == node
            || [&self.replicas, &self.in_sync, &self.witnesses, &self.settling, &self.dismissed]
                .iter()
                .any(|nodes| nodes.contains(&node))
    }

    /// Whom an appointed primary asks whether they hold more.
    pub(crate) fn consulted(&self) -> BTreeSet<NodeId> {
        self.witnesses.iter().chain(&self.in_sync).chain(&self.dismissed).copied().collect()
    }

    /// Another primary. Those who may know of more than it does are its witnesses, unless there are such already: a primary
    /// that was appointed and never confirmed has acknowledged nothing.
    pub(crate) fn appoint(&mut self, primary: NodeId, handed_over: bool) {
        if self.witnesses.is_empty() {
            self.witnesses = self.in_sync.clone();
            let others = self.in_sync.len() - 1;
            let copies = self.guaranteed.copies(others).min(others);
            // Who holds an acknowledged write: the primary and so many others. Any set as large as this has one of them.
            self.consult = match self.guaranteed {
                // Some may be lost, as the mode says: whoever can be asked is asked.
                Acknowledgement::Async => 1,
                _ => (self.in_sync.len() - copies) as u32,
            };
            self.handed_over = handed_over;
        } else {
            self.handed_over &= handed_over;
        }
        self.term += 1;
        if self.primary != primary && !self.settling.contains(&self.primary) {
            self.settling.push(self.primary);
        }
        self.settling.retain(|node| *node != primary);
        self.primary = primary;
        if !self.in_sync.contains(&primary) {
            self.in_sync.push(primary);
            self.in_sync.sort_unstable();
        }
    }
}

/// A group as its replicas see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What the catalogue has decided.
    pub configuration: Configuration,
    /// What the keyspace asks for.
    pub policy: PrimaryReplica,
    /// Who holds a copy for reads alone: they get the log, and are never in sync.
    pub readers: Vec<NodeId>,
}

impl Group {
    /// Does the node hold a copy, or is it to, or may it have to tell what it holds?
    pub fn places(&self, node: NodeId) -> bool {
        self.configuration.places(node) || self.readers.contains(&node)
    }
}

/// What a replica asks the catalogue for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ask {
    /// The group.
    pub partition: PartitionId,
    /// The version of the configuration that it is asked of; for a later one it has no meaning.
    pub version: u64,
    /// Who asks.
    pub from: NodeId,
    /// What for.
    pub wish: Wish,
}

/// See [`Ask`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    /// A member in sync does not hear the primary.
    Suspect,
    /// The primary: these are not in sync any more.
    Remove(Vec<NodeId>),
    /// The primary: this one is in sync again.
    Admit(NodeId),
    /// The primary, or one that is appointed and finds that another holds more: that one is to be primary.
    Appoint(NodeId),
    /// The primary has forgotten what it said in its term, or has given up its lease for nothing: it wants another term.
    Renew,
    /// The primary holds everything that was acknowledged before its term, and has made it so; and everything acknowledged is held
    /// as this asks.
    Confirm(Acknowledgement),
    /// The replica there answers so many reads a second that others could answer as well.
    Heat(u32),
    /// A copy for reads alone has caught up.
    Ready,
    /// A former primary has nothing any more that the present one has not.
    Settled(NodeId),
    /// A replica of a keyspace that takes writes on all of them has nothing on its disk, and has drawn this number
    /// ([`crate::primaries`]).
    Claim(u64),
    /// Such a replica that is to go has nothing that others have not.
    Leave,
    /// Such a replica keeps more for that one, which is silent, than there is ([`crate::primaries::Seat::away`]).
    Eject(NodeId),
    /// Such a replica that was away lacks nothing that others do not keep.
    Return,
    /// Such a replica of a `leaderless` keyspace has what may have been acknowledged before it came ([`crate::primaries::Seat::joined`]).
    Join,
    /// All replicas of such a group go by the number of copies that it was raised to, and each has what any had before
    /// ([`crate::primaries::Primaries::raised`]).
    Known,
    /// This one of so many shards of a node that is to go holds nothing for members of groups any more, and will not ([`crate::merged::hints`]).
    Release { lane: u8, lanes: u8 },
}
