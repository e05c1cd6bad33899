//! The catalogue: who the members are, which keyspaces there are, which nodes hold which partition.
//!
//! It is the state of a replicated group of its own, the partition [`CATALOGUE`]: consensus, log and snapshots are those of
//! every `raft` partition. Its table holds one key for each [`record`]; a [`Catalogue`] is what the records of a table say.
//! Up to five nodes vote on it, all others follow it as learners, so every node has it, and goes on under the last one it
//! knows when there is no majority for changes.
//!
//! A [`Change`] is checked against a catalogue and becomes a transaction that holds only for that very catalogue (the
//! record `epoch` is watched and rises with each change). So a change can be made up anywhere, by any node, and of two that
//! were made up at once one is refused and made up anew.
//!
//! What the catalogue says of a partition is what is *wanted*; what is so is what the partition's own log says. Its leader
//! moves it to where it is wanted and reports what came of it with the index of the membership in that log ([`Report`]), so
//! reports can come late, twice, or from leaders of former times ([`PartitionPlacement::settled_at`]).
//!
//! A split ([`Change::Split`]) is asked for in the same way: the catalogue names it, the partition's leader puts it into
//! the partition's log, and the first report of the new partition's leader makes it a record of its own.
//!
//! [`plan`] says where partitions ought to be, [`steward`] what is to be changed next.

mod change;
mod explain;
mod keyspace;
pub mod plan;
mod readers;
mod record;
mod steward;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use change::{Change, Refusal, Target};
pub use explain::{Answer, Answers, Explained, Fault, Side, explain};
pub use keyspace::{Keyspace, Policy, StrategyKind};
pub use record::{Record, Unreadable, epoch_of, load, read_epoch};
pub use steward::{Situation, next_change};

use crate::configuration::{Configuration, Group};
use crate::consistency::Consistency;
use crate::placement::{PartitionPlacement, Reader, Split};
use crate::primaries::Primaries;
use crate::{NodeId, PartitionId, Placement};

/// The partition that holds the catalogue.
pub const CATALOGUE: PartitionId = PartitionId(u32::MAX);

/// The most nodes that vote on the catalogue.
pub const CATALOGUE_VOTERS: usize = 5;

/// What the records say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// Rises by one with every change; 0: there is none yet.
    pub epoch: u64,
    /// What holds for the whole cluster.
    pub settings: Settings,
    /// The nodes that vote on the catalogue, or are to.
    pub voters: Vec<NodeId>,
    /// The members.
    pub members: BTreeMap<NodeId, Member>,
    /// Ids of nodes that were removed or replaced, with their names: they are never let in again.
    pub removed: BTreeMap<NodeId, String>,
    /// By prefix.
    pub keyspaces: BTreeMap<Bytes, Keyspace>,
    /// How fresh reads are to be where a keyspace says so and the client does not, by prefix.
    pub reads: BTreeMap<Bytes, Consistency>,
    /// The rules of users, as one line each, by name; what they mean is the server's matter.
    pub users: BTreeMap<Bytes, Bytes>,
    /// By number.
    pub partitions: Vec<PartitionPlacement>,
    /// So many partitions there are to be: they are split, one after the other, until there are. 0: as many as there are.
    pub partitions_wanted: u32,
    /// The split under way.
    pub split: Option<Split>,
    /// See [`Placement::parents`].
    pub parents: Vec<PartitionId>,
    /// The groups of keyspaces that have groups of their own.
    pub groups: BTreeMap<PartitionId, Configuration>,
    /// So many keyspaces were given a number so far.
    pub keyspaces_numbered: u16,
    /// The replicas of keyspaces that take writes on all of them.
    pub primaries: BTreeMap<PartitionId, Primaries>,
    /// Copies for reads alone, by partition or group, where there are any.
    pub readers: BTreeMap<PartitionId, Vec<Reader>>,
}

/// What holds for the whole cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// On how many nodes each partition lives, if there are so many.
    pub replication_factor: u32,
    /// A node that is silent for this long is replaced by others, if there are any; 0: never. Milliseconds.
    pub replace_after_ms: u64,
    /// How many partitions are moved at a time.
    pub moves_at_once: u32,
    /// How fast each of them is copied at the most; 0: as fast as it goes.
    pub move_bytes_per_second: u64,
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name, unique among the members.
    pub name: String,
    /// Where it takes clients (`host:port`).
    pub client: String,
    /// Where it takes its peers.
    pub peer: String,
    /// What fails together is one zone. May be empty.
    pub zone: String,
    /// Its share of partitions and leaderships, relative to the others; 0: none.
    pub weight: u32,
    /// What is to become of it.
    pub state: MemberState,
    /// Drawn when its data folder was formatted: whoever comes under its id with another one has lost its disk.
    pub format: u64,
}

/// What is to become of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberState {
    /// It takes part.
    Active,
    /// Its partitions go elsewhere; it stays a member.
    Draining,
    /// Its partitions go elsewhere; then it is removed.
    Leaving,
    /// It was silent for too long: its partitions go elsewhere. If it is heard of again it is active again.
    Silent,
}

/// What the leader of a partition says of its members: the membership without learners and not joint, committed at that
/// index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The partition.
    pub partition: PartitionId,
    /// The index of the membership.
    pub index: u64,
    /// The voters.
    pub voters: Vec<NodeId>,
}

impl Catalogue {
    /// The catalogue that a new cluster begins with: every founder comes to the same by itself.
    pub fn genesis(members: BTreeMap<NodeId, Member>, partitions: u32, settings: Settings) -> Catalogue {
        let mut catalogue = Catalogue { epoch: 1, settings, members, ..Catalogue::default() };
        catalogue.voters = plan::catalogue_voters(&catalogue);
        catalogue.partitions = Placement::of_slots(partitions).partitions;
        let planned = plan::plan(&catalogue);
        for (record, replicas) in catalogue.partitions.iter_mut().zip(planned) {
            record.replicas = replicas;
        }
        catalogue.keyspaces.insert(Bytes::new(), Keyspace::default());
        catalogue
    }

    /// Is there a keyspace for which nodes hold what they have no replica of?
    pub fn has_sloppy(&self) -> bool {
        self.primaries.values().any(|group| group.leaderless.is_some_and(|options| options.sloppy))
    }

    /// What shards act on.
    pub fn placement(&self) -> Placement {
        Placement {
            epoch: self.epoch,
            catalogue: self.voters.clone(),
            members: self.members.keys().copied().collect(),
            move_bytes_per_second: self.settings.move_bytes_per_second,
            split: self.split,
            parents: self.parents.clone(),
            groups: self.placed_groups(),
            primaries: self.primaries.clone(),
            readers: self.readers.clone(),
            zones: self.numbered_zones(),
            active: self
                .members
                .iter()
                .filter(|(_, member)| member.state == MemberState::Active)
                .map(|(&node, _)| node)
                .collect(),
            prefixes: self.numbered_prefixes(),
            reads: self.read_levels(),
            keyspaces_numbered: self.keyspaces_numbered,
            ..Placement::of(self.partitions.clone())
        }
    }

    fn numbered_zones(&self) -> BTreeMap<NodeId, u16> {
        let mut names: Vec<&str> = self.members.values().map(|member| member.zone.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let number = |member: &Member| names.binary_search(&member.zone.as_str()).unwrap_or(0) as u16;
        self.members.iter().map(|(node, member)| (*node, number(member))).collect()
    }

    fn placed_groups(&self) -> BTreeMap<PartitionId, Group> {
        let mut groups = BTreeMap::new();
        for keyspace in self.keyspaces.values() {
            let Policy::PrimaryReplica { number, options } = keyspace.policy else { continue };
            for (partition, configuration) in self.groups_of(number) {
                let readers = self.readers.get(&partition).into_iter().flatten().map(|reader| reader.node);
                let (configuration, readers) = (configuration.clone(), readers.collect());
                groups.insert(partition, Group { configuration, policy: options, readers });
            }
        }
        groups
    }

    /// The groups of the keyspace of that number.
    pub fn groups_of(&self, number: u16) -> impl Iterator<Item = (PartitionId, &Configuration)> {
        // There are none of number 0.
        self.groups
            .range(PartitionId::all_of_keyspace(number))
            .map(|(partition, configuration)| (*partition, configuration))
    }

    /// The groups of the keyspace of that number, if its replicas all take writes.
    pub fn primaries_of(&self, number: u16) -> impl Iterator<Item = (PartitionId, &Primaries)> {
        self.primaries
            .range(PartitionId::all_of_keyspace(number))
            .map(|(partition, group)| (*partition, group))
    }

    fn numbered_prefixes(&self) -> BTreeMap<Bytes, u16> {
        let numbers = self.keyspaces.iter().map(|(prefix, of)| (prefix.clone(), of.policy.number()));
        let numbers: BTreeMap<Bytes, u16> = numbers.collect();
        if numbers.values().all(|number| *number == 0) { BTreeMap::new() } else { numbers }
    }

    fn read_levels(&self) -> BTreeMap<Bytes, Option<Consistency>> {
        if self.reads.is_empty() {
            return BTreeMap::new();
        }
        self.keyspaces.keys().map(|prefix| (prefix.clone(), self.reads.get(prefix).copied())).collect()
    }

    /// The partition that a group lies over, and whose nodes hold it.
    pub fn partition_of_group(&self, group: &Configuration) -> Option<&PartitionPlacement> {
        self.partition_at(group.first_slot)
    }

    fn partition_at(&self, slot: u16) -> Option<&PartitionPlacement> {
        self.partitions.iter().find(|record| (record.first_slot..=record.last_slot).contains(&slot))
    }

    /// Where the groups of a keyspace are to be that lie over a partition: on its nodes, the first `replicas` of them.
    pub(crate) fn home_of_group(&self, first_slot: u16, replicas: u32) -> Vec<NodeId> {
        let mut nodes = self.partition_at(first_slot).map_or(Vec::new(), |record| record.wanted().to_vec());
        if replicas > 0 {
            nodes.truncate(replicas as usize);
        }
        nodes
    }

    /// The member of that name.
    pub fn member_named(&self, name: &str) -> Option<(NodeId, &Member)> {
        self.members.iter().find(|(_, member)| member.name == name).map(|(id, member)| (*id, member))
    }

    /// Does the node hold a partition, or is it to?
    pub fn holds_anything(&self, node: NodeId) -> bool {
        self.partitions
            .iter()
            .any(|record| record.replicas.contains(&node) || record.moving_to.contains(&node))
            || self.groups.values().any(|configuration| configuration.places(node))
            || self.readers.values().flatten().any(|reader| reader.node == node)
            || self.primaries.values().any(|primaries| primaries.seats.contains_key(&node))
    }

    /// How many partitions are being moved.
    pub fn moves(&self) -> usize {
        self.partitions.iter().filter(|record| !record.moving_to.is_empty()).count()
    }

    /// The keyspace of a key: that of the longest prefix. The empty prefix is always there in a catalogue that is.
    pub fn keyspace_of(&self, key: &[u8]) -> Option<(&Bytes, &Keyspace)> {
        crate::placement::longest_prefix(&self.keyspaces, key)
    }
}
