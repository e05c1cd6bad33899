//! Keyspaces: a key prefix and how its keys are replicated.

use serde::{Deserialize, Serialize};

use crate::configuration::PrimaryReplica;
use crate::primaries::{Leaderless, MultiPrimary};

/// How the copies of a keyspace's keys agree. The set is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StrategyKind {
    /// Consensus on a log (Ongaro 2014).
    #[default]
    Raft,
    /// One writer and its replicas, chosen by the catalogue (Lin et al., MSR-TR-2008-25).
    PrimaryReplica,
    /// Every replica takes writes; causal delivery and merging.
    MultiPrimary,
    /// Any replica coordinates; quorums of reads and writes (DeCandia et al. 2007).
    Leaderless,
}

impl StrategyKind {
    /// All of them.
    pub const ALL: [StrategyKind; 4] = [
        StrategyKind::Raft,
        StrategyKind::PrimaryReplica,
        StrategyKind::MultiPrimary,
        StrategyKind::Leaderless,
    ];

    /// As it is spelled in `KEYSPACE CREATE ... STRATEGY`.
    pub fn name(self) -> &'static str {
        match self {
            StrategyKind::Raft => "raft",
            StrategyKind::PrimaryReplica => "primary-replica",
            StrategyKind::MultiPrimary => "multi-primary",
            StrategyKind::Leaderless => "leaderless",
        }
    }

    /// The one that is spelled so, in any case.
    pub fn parse(name: &[u8]) -> Option<StrategyKind> {
        StrategyKind::ALL.into_iter().find(|kind| name.eq_ignore_ascii_case(kind.name().as_bytes()))
    }
}

/// How a keyspace is replicated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Policy {
    /// Consensus; it has no options.
    #[default]
    Raft,
    /// One primary and its replicas in each group of the keyspace's own.
    PrimaryReplica {
        /// The keyspace's number, which its groups carry and which is never given to another one; 0 in a change that is asked
        /// for.
        number: u16,
        /// How writes are acknowledged, and what goes with it.
        options: PrimaryReplica,
    },
    /// Every replica takes writes, and they merge.
    MultiPrimary {
        /// As above.
        number: u16,
        /// What becomes of what was written at the same time, and on how many nodes.
        options: MultiPrimary,
    },
    /// Any replica takes a request, and asks others before it answers.
    Leaderless {
        /// As above.
        number: u16,
        /// How many are asked.
        options: Leaderless,
    },
}

impl Policy {
    /// Its strategy.
    pub fn strategy(&self) -> StrategyKind {
        match self {
            Policy::Raft => StrategyKind::Raft,
            Policy::PrimaryReplica { .. } => StrategyKind::PrimaryReplica,
            Policy::MultiPrimary { .. } => StrategyKind::MultiPrimary,
            Policy::Leaderless { .. } => StrategyKind::Leaderless,
        }
    }

    /// The number of the keyspace, if it has groups of its own; else 0.
    pub fn number(&self) -> u16 {
        match self {
            Policy::Raft => 0,
            Policy::PrimaryReplica { number, .. }
            | Policy::MultiPrimary { number, .. }
            | Policy::Leaderless { number, .. } => *number,
        }
    }
}

/// A keyspace. Its prefix is its key in the catalogue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyspace {
    /// How it is replicated.
    pub policy: Policy,
    /// The epoch of the catalogue that it was made in: another keyspace of the same prefix is another one.
    pub since: u64,
}
