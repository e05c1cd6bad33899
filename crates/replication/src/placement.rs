//! Which partition holds a slot and which nodes hold a partition. Data with an epoch; the catalogue will make it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, RangeInclusive};

use bytes::Bytes;
use data::slot::SLOTS;
use serde::{Deserialize, Serialize};

use crate::configuration::Group;
use crate::consistency::Consistency;
use crate::primaries::Primaries;

/// The identity of a node: generated when its data folder is formatted, outlives address changes. A node that lost its
/// disk is a new node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u64);

/// A partition: a contiguous range of slots, replicated as one. Numbers rise in the order in which partitions came about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionId(pub u32);

impl PartitionId {
    /// The group number `position` of a keyspace that has groups of its own. Those of the others' partitions, which they
    /// share, have the keyspace number 0.
    pub fn of_keyspace(keyspace: u16, position: u16) -> PartitionId {
        PartitionId(u32::from(keyspace) << 16 | u32::from(position))
    }

    /// Those of all groups of a keyspace, in the order of their slots.
    pub fn all_of_keyspace(keyspace: u16) -> RangeInclusive<PartitionId> {
        PartitionId::of_keyspace(keyspace, 0)..=PartitionId::of_keyspace(keyspace, u16::MAX)
    }

    /// The number of the keyspace whose group it is; 0: a partition of all that have none of their own.
    pub fn keyspace(self) -> u16 {
        match self {
            crate::catalogue::CATALOGUE => 0,
            PartitionId(number) => (number >> 16) as u16,
        }
    }

    /// Under which number a node stores the hints of this group ([`crate::merged::hints`]). No keyspace has a number as high as these seem to be of.
    pub(crate) fn of_hints(self) -> PartitionId {
        PartitionId(self.0 | HINTS)
    }

    /// The group whose hints are stored under this number, if it is such a one.
    pub fn hinted(self) -> Option<PartitionId> {
        let is_of_hints = self != crate::catalogue::CATALOGUE && self.0 & HINTS != 0;
        is_of_hints.then_some(PartitionId(self.0 & !HINTS))
    }
}

/// The bit of the numbers of hints.
const HINTS: u32 = 1 << 31;

/// The map from slots to partitions to nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Rises with every change.
    pub epoch: u64,
    /// The nodes that vote on the catalogue which this follows from; empty if it follows from none.
    pub catalogue: Vec<NodeId>,
    /// All members of the cluster, if it follows from a catalogue.
    pub members: Vec<NodeId>,
    /// How fast a partition is copied to a new member at the most; 0: as fast as it goes.
    #[serde(default)]
    pub move_bytes_per_second: u64,
    /// By partition number. Together they cover all slots, each once.
    pub partitions: Vec<PartitionPlacement>,
    /// The split that is under way.
    #[serde(skip)]
    pub split: Option<Split>,
    /// For each partition that came about by a split, in the order of their numbers, which are the last: the partition that
    /// was split.
    #[serde(skip)]
    pub parents: Vec<PartitionId>,
    /// The numbers of the partitions in the order of their slots.
    #[serde(skip)]
    pub(crate) by_slot: Vec<u32>,
    /// The groups of keyspaces that have groups of their own.
    #[serde(skip)]
    pub groups: BTreeMap<PartitionId, Group>,
    /// The replicas of keyspaces that take writes on all of them: one group for all slots of a `multi-primary` keyspace, one for each range of
    /// slots of a `leaderless` one.
    #[serde(skip)]
    pub primaries: BTreeMap<PartitionId, Primaries>,
    /// So many keyspaces were given a number so far.
    #[serde(skip)]
    pub keyspaces_numbered: u16,
    /// The zones of the members, as numbers.
    #[serde(skip)]
    pub zones: BTreeMap<NodeId, u16>,
    /// The members that may be given something new to hold.
    #[serde(skip)]
    pub active: Vec<NodeId>,
    /// How fresh reads are to be by the prefix of their keyspace, if any keyspace says so.
    #[serde(skip)]
    pub reads: BTreeMap<Bytes, Option<Consistency>>,
    /// Nodes that hold copies for reads alone, by partition or group, if any do.
    #[serde(skip)]
    pub readers: BTreeMap<PartitionId, Vec<Reader>>,
    /// The prefixes of keyspaces and their numbers, if any of them has groups of its own: 0 where it has none.
    #[serde(skip)]
    pub prefixes: BTreeMap<Bytes, u16>,
}

/// A partition is being divided: its slots from `first_slot` on become a partition of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// The partition that is divided.
    pub parent: PartitionId,
    /// The number of the new one: the next.
    pub child: PartitionId,
    /// Its first slot.
    pub first_slot: u16,
}

/// A node that holds a copy for a while, to answer reads with: it has no say, and nobody counts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reader {
    /// The node.
    pub node: NodeId,
    /// It has caught up once: it may be asked.
    pub ready: bool,
}

/// Where one partition lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionPlacement {
    /// The first slot.
    pub first_slot: u16,
    /// The last slot, included.
    pub last_slot: u16,
    /// The nodes that hold it; the first is the preferred leader.
    pub replicas: Vec<NodeId>,
    /// The index, in the partition's own log, of the membership that `replicas` stands for; 0: the first one. A node that is
    /// not wanted here and knows of no later membership may forget the partition.
    pub settled_at: u64,
    /// The nodes that are to hold it instead; empty: these.
    pub moving_to: Vec<NodeId>,
}

impl PartitionPlacement {
    /// Who is to hold it in the end, the preferred leader first.
    pub fn wanted(&self) -> &[NodeId] {
        if self.moving_to.is_empty() { &self.replicas } else { &self.moving_to }
    }

    /// Does the node hold it, or is it to?
    pub fn places(&self, node: NodeId) -> bool {
        self.replicas.contains(&node) || self.moving_to.contains(&node)
    }
}

impl Placement {
    /// What follows from these partitions.
    pub fn of(partitions: Vec<PartitionPlacement>) -> Placement {
        Placement { partitions, ..Placement::default() }.indexed()
    }

    /// The same, ready to be asked for slots: what was read back is not.
    pub fn indexed(mut self) -> Placement {
        self.by_slot = (0..self.partitions.len() as u32).collect();
        self.by_slot.sort_by_key(|&number| self.partitions[number as usize].first_slot);
        self
    }

    /// `partitions` equal ranges of slots, each on `replication_factor` of `nodes`, the preferred leader going round.
    pub fn round_robin(nodes: &[NodeId], partitions: u32, replication_factor: usize) -> Placement {
        let mut placement = Placement { epoch: 1, ..Placement::of_slots(partitions) };
        let copies = replication_factor.min(nodes.len());
        for (number, placed) in placement.partitions.iter_mut().enumerate() {
            placed.replicas = (0..copies).map(|copy| nodes[(number + copy) % nodes.len()]).collect();
        }
        placement
    }

    /// Which slots are in which partition, and nothing else.
    pub fn of_slots(partitions: u32) -> Placement {
        let partitions = partitions.clamp(1, u32::from(SLOTS));
        let first = |partition: u32| (u64::from(partition) * u64::from(SLOTS) / u64::from(partitions)) as u16;
        let place = |partition: u32| PartitionPlacement {
            first_slot: first(partition),
            last_slot: first(partition + 1).wrapping_sub(1).min(SLOTS - 1),
            replicas: Vec::new(),
            settled_at: 0,
            moving_to: Vec::new(),
        };
        Placement::of((0..partitions).map(place).collect())
    }

    /// How fresh the keyspace of a key wants its reads to be, if it says so.
    pub fn read_level(&self, key: &[u8]) -> Option<Consistency> {
        if self.reads.is_empty() {
            return None;
        }
        longest_prefix(&self.reads, key).and_then(|(_, level)| *level)
    }

    /// Of what a session has used the parts that were split off since there were so many partitions: what it did may have been done there.
    pub fn with_children(&self, used: &mut BTreeSet<PartitionId>, layout: u32) {
        let first = self.partitions.len() - self.parents.len().min(self.partitions.len());
        for (number, parent) in self.parents.iter().enumerate() {
            let child = PartitionId((first + number) as u32);
            if child.0 >= layout && used.contains(parent) {
                used.insert(child);
            }
        }
    }

    /// The partition that holds `slot`.
    pub fn partition_of(&self, slot: u16) -> PartitionId {
        let first_slot = |number: &u32| self.partitions[*number as usize].first_slot;
        let after = self.by_slot.partition_point(|number| first_slot(number) <= slot);
        PartitionId(self.by_slot.get(after.saturating_sub(1)).copied().unwrap_or(0))
    }

    /// The partition that is at home there, or the group of a keyspace of its own.
    pub fn at(&self, home: data::Home) -> PartitionId {
        if home.keyspace == 0 {
            return self.partition_of(home.slot);
        }
        // In the order in which they are numbered.
        let groups = self
            .groups_of(home.keyspace)
            .map(|(partition, group)| (partition, group.configuration.first_slot));
        let primaries = self.primaries_of(home.keyspace).map(|(partition, group)| (partition, group.slots.0));
        let up_to = groups.chain(primaries).take_while(|(_, first_slot)| *first_slot <= home.slot);
        up_to.last().map_or(PartitionId::of_keyspace(home.keyspace, 0), |(partition, _)| partition)
    }

    /// The groups of a keyspace whose replicas all take writes, in the order of their slots.
    pub fn primaries_of(&self, keyspace: u16) -> impl Iterator<Item = (PartitionId, &Primaries)> {
        self.primaries
            .range(PartitionId::all_of_keyspace(keyspace))
            .map(|(partition, group)| (*partition, group))
    }

    /// The groups of a keyspace, in the order of their slots.
    pub fn groups_of(&self, keyspace: u16) -> impl Iterator<Item = (PartitionId, &Group)> {
        self.groups
            .range(PartitionId::all_of_keyspace(keyspace))
            .map(|(partition, group)| (*partition, group))
    }

    /// Everything that holds keys: partitions, then groups.
    pub fn all(&self) -> impl Iterator<Item = PartitionId> {
        let groups = self.groups.keys().chain(self.primaries.keys()).copied();
        (0..self.partitions.len() as u32).map(PartitionId).chain(groups)
    }

    /// All partitions, in the order of their slots.
    pub fn in_order(&self) -> impl Iterator<Item = (PartitionId, &PartitionPlacement)> {
        self.by_slot.iter().map(|&number| (PartitionId(number), &self.partitions[number as usize]))
    }

    /// Which of two placements knows of more splits: partitions only ever become more, one at a time.
    pub fn layout(&self) -> u32 {
        self.partitions.len() as u32
    }

    /// The partition that was split to make this one; `None` for those of the beginning.
    pub fn parent_of(&self, partition: PartitionId) -> Option<PartitionId> {
        match self.split {
            Some(split) if split.child == partition => Some(split.parent),
            _ => {
                let founded = self.partitions.len() - self.parents.len();
                self.parents.get((partition.0 as usize).checked_sub(founded)?).copied()
            }
        }
    }

    /// The partition of the beginning that this one's slots were in.
    pub fn root_of(&self, mut partition: PartitionId) -> PartitionId {
        while let Some(parent) = self.parent_of(partition) {
            partition = parent;
        }
        partition
    }

    /// Which of a node's `lanes` shards has a partition, if the node has it: they go round by number, and what a partition
    /// is split into stays where its data is.
    pub fn lane_of(&self, partition: PartitionId, lanes: u8) -> u8 {
        let partition = match partition.keyspace() {
            0 => partition,
            _ => PartitionId(partition.0 & 0xffff),
        };
        (self.root_of(partition).0 % u32::from(lanes.max(1))) as u8
    }

    /// Who holds a copy of a partition or group for reads alone.
    pub fn readers_of(&self, partition: PartitionId) -> &[Reader] {
        self.readers.get(&partition).map_or(&[], |readers| &readers[..])
    }

    /// Does a node hold a copy of a partition, or is it to, if only for reads?
    pub fn places(&self, partition: PartitionId, node: NodeId) -> bool {
        self.get(partition).is_some_and(|placed| placed.places(node))
            || self.readers_of(partition).iter().any(|reader| reader.node == node)
    }

    /// The placement of a partition.
    pub fn get(&self, partition: PartitionId) -> Option<&PartitionPlacement> {
        self.partitions.get(partition.0 as usize)
    }
}

impl data::Homes for Placement {
    fn keyspace_of(&self, key: &[u8]) -> u16 {
        longest_prefix(&self.prefixes, key).map_or(0, |(_, number)| *number)
    }

    fn group_of(&self, home: data::Home) -> u32 {
        self.at(home).0
    }

    /// Where one group holds all slots, keys need not share one.
    fn home_of(&self, key: &[u8]) -> data::Home {
        let keyspace = self.keyspace_of(key);
        let first = self.primaries.get(&PartitionId::of_keyspace(keyspace, 0));
        match first.is_some_and(|group| group.leaderless.is_none()) {
            true => data::Home { keyspace, slot: 0 },
            false => data::Home { keyspace, slot: data::slot::key_slot(key) },
        }
    }
}

/// The entry of a map by prefixes whose prefix is the longest that `key` has.
pub(crate) fn longest_prefix<'a, T>(map: &'a BTreeMap<Bytes, T>, key: &[u8]) -> Option<(&'a Bytes, &'a T)> {
    // Prefixes of a key sort before it, the longest last; what lies between shares less with it.
    let mut end = key.len();
    loop {
        let (prefix, value) =
            map.range::<[u8], _>((Bound::Unbounded, Bound::Included(&key[..end]))).next_back()?;
        if key.starts_with(prefix) {
            return Some((prefix, value));
        }
        end = prefix.iter().zip(key).take_while(|(a, b)| a == b).count();
    }
}
