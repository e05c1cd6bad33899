//! What this node knows of the cluster: nodes, placement, leaders. Drivers refresh it, commands read it.
//!
//! A reader takes an immutable [`ClusterState`] and keeps it for as long as it likes. `version` rises only with what a
//! cluster client would see (nodes, members, leaders); the texts of `CLUSTER` are kept beside the version that they
//! were made from, so that thousands of clients asking for the same map cost one rendering ([`crate::command`]).
//!
//! Invariant: the ranges that [`ClusterState::ranges`] gives cover every slot exactly once, whatever is known or not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use data::slot::SLOTS;
use replication::catalogue::Catalogue;
use replication::histogram::Histogram;
use replication::merged::hints::HintsStatus;
use replication::shard::PartitionStatus;
use replication::{NodeId, PartitionId, Placement, Time};

use crate::config::Address;

/// A node as seen from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Its identity.
    pub id: NodeId,
    /// Its name in the configuration.
    pub name: String,
    /// Where it takes clients.
    pub client: Address,
    /// Where it takes peers.
    pub peer: Address,
    /// Is there a connection to it? True for this node.
    pub alive: bool,
}

/// A moment's view of the cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterState {
    /// This node.
    pub myself: NodeId,
    /// All nodes whose identity is known, by identity.
    pub nodes: Vec<NodeView>,
    /// Which partition holds a slot and which nodes hold a partition.
    pub placement: Arc<Placement>,
    /// What the placement follows from; `None`: not known yet.
    pub catalogue: Option<Arc<Catalogue>>,
    /// By partition number: what this node's replica says; `None` where it holds no replica.
    pub partitions: Vec<Option<PartitionStatus>>,
    /// What this node's replicas say of groups of keyspaces of their own.
    pub groups: BTreeMap<PartitionId, PartitionStatus>,
    /// What each of this node's workers holds for replicas that cannot be reached.
    pub hints: BTreeMap<usize, Vec<HintsStatus>>,
    /// By worker: of which nodes nothing is heard, and for how long nothing was, when that was entered last.
    pub silent: BTreeMap<usize, BTreeMap<NodeId, Duration>>,
    /// When what replicas say was entered last.
    pub told_at: Time,
    /// Rises when nodes, placement, members or leaders change (not with every applied entry).
    pub version: u64,
}

/// Contiguous slots that one node answers for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotRange {
    /// The first slot.
    pub first: u16,
    /// The last slot, included.
    pub last: u16,
    /// The node that leads them, as far as known; it forwards if it does not.
    pub owner: NodeId,
    /// The other nodes that hold them.
    pub replicas: Vec<NodeId>,
}

impl ClusterState {
    /// A node by identity.
    pub fn node(&self, id: NodeId) -> Option<&NodeView> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// Is there a connection to it (or is it this node)?
    pub fn is_alive(&self, id: NodeId) -> bool {
        id == self.myself || self.node(id).is_some_and(|node| node.alive)
    }

    /// The nodes of which no worker hears anything, and for how long.
    pub fn unreachable(&self) -> impl Iterator<Item = (NodeId, Duration)> {
        let all = self.silent.values().next().into_iter().flatten();
        all.filter_map(|(node, _)| {
            let of_each: Option<Vec<Duration>> =
                self.silent.values().map(|silent| silent.get(node).copied()).collect();
            Some((*node, of_each?.into_iter().min()?))
        })
    }

    /// The status of the replica here.
    pub fn status(&self, partition: PartitionId) -> Option<&PartitionStatus> {
        match partition.keyspace() {
            0 => self.partitions.get(partition.0 as usize)?.as_ref(),
            _ => self.groups.get(&partition),
        }
    }

    /// The leader that this node knows of, if it can be reached.
    pub fn known_leader(&self, partition: PartitionId) -> Option<NodeId> {
        self.status(partition)?.leader.filter(|leader| self.is_alive(*leader))
    }

    /// The present leader of a partition if known, else the first of its members that can be reached, else the preferred
    /// one. `None` only for a partition that does not exist.
    pub fn leader(&self, partition: PartitionId) -> Option<NodeId> {
        let members = self.members(partition);
        let reachable = || members.iter().find(|member| self.is_alive(**member));
        self.known_leader(partition).or_else(|| reachable().or(members.first()).copied())
    }

    /// The other node that a client should ask about a partition, if this one is not to serve it: the leader, where one is
    /// known and can be reached. A replica here serves reads that ask for `any_replica`.
    pub fn elsewhere(&self, partition: PartitionId, any_replica: bool) -> Option<&NodeView> {
        let leader = match self.status(partition) {
            Some(_) if any_replica => None,
            Some(_) => self.known_leader(partition),
            None => self.leader(partition),
        };
        self.node(leader.filter(|leader| *leader != self.myself && self.is_alive(*leader))?)
    }

    /// The voters of a partition as far as known, the preferred leader first.
    pub fn members(&self, partition: PartitionId) -> &[NodeId] {
        if let Some(group) = self.placement.groups.get(&partition) {
            return &group.configuration.replicas;
        }
        if self.placement.primaries.contains_key(&partition) {
            return self.status(partition).map_or(&[], |status| &status.membership.voters);
        }
        let placed = self.placement.get(partition).map_or(&[][..], |placed| &placed.replicas);
        match self.status(partition) {
            Some(status) if !status.membership.voters.is_empty() => {
                let voters = &status.membership.voters;
                let same = voters.len() == placed.len() && placed.iter().all(|node| voters.contains(node));
                if same { placed } else { voters }
            }
            _ => placed,
        }
    }

    /// The slots of a partition or group, in words.
    pub fn slots_of(&self, partition: PartitionId) -> String {
        let group = self.placement.groups.get(&partition).map(|group| &group.configuration);
        let group = group.map(|of| (of.first_slot, of.last_slot));
        let slots = group.or_else(|| self.placement.get(partition).map(|of| (of.first_slot, of.last_slot)));
        let (first, last) = slots.unwrap_or((0, SLOTS - 1));
        let mut keyspaces = self.placement.prefixes.iter();
        let keyspace = keyspaces.find(|(_, number)| **number == partition.keyspace() && **number != 0);
        match keyspace {
            Some((prefix, _)) => {
                format!("slots {first}-{last} of keyspace {}", String::from_utf8_lossy(prefix))
            }
            None => format!("slots {first}-{last}"),
        }
    }

    /// Who holds a copy for reads alone that has caught up.
    pub fn readers(&self, partition: PartitionId) -> impl Iterator<Item = NodeId> {
        self.placement.readers_of(partition).iter().filter(|reader| reader.ready).map(|reader| reader.node)
    }

    /// Who answers for which slots: all 16384, in order, neighbours with the same nodes merged.
    pub fn ranges(&self) -> Vec<SlotRange> {
        let mut ranges: Vec<SlotRange> = Vec::new();
        for (partition, placed) in self.placement.in_order() {
            let owner = self.leader(partition).unwrap_or(self.myself);
            let mut replicas = self.members(partition).to_vec();
            replicas.extend(self.readers(partition));
            replicas.retain(|node| *node != owner);
            replicas.sort_unstable();
            replicas.dedup();
            let range = SlotRange { first: placed.first_slot, last: placed.last_slot, owner, replicas };
            match ranges.last_mut() {
                Some(last) if last.owner == range.owner && last.replicas == range.replicas => {
                    last.last = range.last;
                }
                _ => ranges.push(range),
            }
        }
        if ranges.is_empty() {
            ranges.push(SlotRange { first: 0, last: SLOTS - 1, owner: self.myself, replicas: Vec::new() });
        }
        ranges
    }

    /// The partitions that this node leads.
    pub fn led(&self) -> impl Iterator<Item = &PartitionStatus> {
        self.statuses().filter(|status| status.role == replication::contract::Role::Leader)
    }

    /// How stale what this node's replicas of the keyspace of that number answer was lately; nothing is counted where all is answered by who leads.
    pub fn staleness(&self, number: u16) -> Histogram {
        let mut all = Histogram::default();
        let of_it = self.statuses().filter(|status| status.partition.keyspace() == number);
        of_it.filter_map(|status| status.staleness.as_ref()).for_each(|measured| all.merge(measured));
        all
    }

    /// The status of every replica here.
    pub fn statuses(&self) -> impl Iterator<Item = &PartitionStatus> {
        self.partitions.iter().flatten().chain(self.groups.values())
    }
}

/// The shared view.
#[derive(Debug, Default)]
pub struct ClusterView {
    state: Mutex<Arc<ClusterState>>,
}

impl ClusterView {
    /// The view of a node that knows this much.
    pub fn new(myself: NodeId, mut nodes: Vec<NodeView>, placement: Arc<Placement>) -> ClusterView {
        nodes.sort_by_key(|node| node.id);
        let partitions = placement.partitions.iter().map(|_| None).collect();
        let groups = BTreeMap::new();
        let state = ClusterState {
            myself,
            nodes,
            placement,
            catalogue: None,
            partitions,
            groups,
            hints: BTreeMap::new(),
            silent: BTreeMap::new(),
            told_at: Time::default(),
            version: 1,
        };
        ClusterView { state: Mutex::new(Arc::new(state)) }
    }

    /// The present view.
    pub fn state(&self) -> Arc<ClusterState> {
        self.lock().clone()
    }

    /// Enters what a worker's shard says of its partitions. To be called by each worker after roles changed and about
    /// every 100 ms.
    pub fn set_status(&self, statuses: Vec<PartitionStatus>, now: Time) {
        self.change(|state| {
            state.told_at = now;
            let mut changed = false;
            for status in statuses {
                if status.partition.keyspace() != 0 {
                    state.groups.insert(status.partition, status);
                    continue;
                }
                let number = status.partition.0 as usize;
                if number >= state.partitions.len() {
                    // The catalogue's own: no client asks for its slots.
                    continue;
                }
                let before = &state.partitions[number];
                changed |= before.as_ref().is_none_or(|before| {
                    before.leader != status.leader || before.membership != status.membership
                });
                state.partitions[number] = Some(status);
            }
            changed
        });
    }

    /// Enters what a worker's shard holds for replicas that cannot be reached.
    pub fn set_hints(&self, worker: usize, hints: Vec<HintsStatus>) {
        if self.lock().hints.get(&worker).map_or(&[][..], |known| &known[..]) != hints {
            self.change(|state| {
                state.hints.insert(worker, hints);
                false
            });
        }
    }

    /// Enters of which nodes a worker hears nothing.
    pub fn set_silent(&self, worker: usize, silent: BTreeMap<NodeId, Duration>) {
        self.change(|state| {
            state.silent.insert(worker, silent);
            false
        });
    }

    /// This node holds the partition no longer.
    pub fn clear_status(&self, partition: PartitionId) {
        self.change(|state| match state.partitions.get_mut(partition.0 as usize) {
            _ if partition.keyspace() != 0 => {
                state.groups.remove(&partition);
                false
            }
            Some(status) => status.take().is_some(),
            None => false,
        });
    }

    /// A connection to a node was made or lost.
    pub fn set_alive(&self, node: NodeId, alive: bool) {
        self.change(|state| match state.nodes.iter_mut().find(|known| known.id == node) {
            Some(known) => std::mem::replace(&mut known.alive, alive) != alive,
            None => false,
        });
    }

    /// The catalogue is another one: its members, and where partitions live.
    pub fn set_catalogue(
        &self,
        catalogue: Arc<Catalogue>,
        placement: Arc<Placement>,
        mut nodes: Vec<NodeView>,
    ) {
        self.change(|state| {
            for node in &mut nodes {
                node.alive = node.id == state.myself || state.is_alive(node.id);
            }
            nodes.sort_by_key(|node| node.id);
            let same = state.nodes == nodes
                && state.placement.partitions == placement.partitions
                && state.placement.readers == placement.readers;
            state.nodes = std::mem::take(&mut nodes);
            state.groups.retain(|partition, _| {
                placement.groups.contains_key(partition) || placement.primaries.contains_key(partition)
            });
            state.partitions.resize(placement.partitions.len(), None);
            state.placement = placement;
            state.catalogue = Some(catalogue);
            !same
        });
    }

    /// See [`ClusterState::leader`].
    pub fn leader(&self, partition: PartitionId) -> Option<NodeId> {
        self.lock().leader(partition)
    }

    /// Changes the state; `change` says whether cluster clients would see it. A reader that holds the old state keeps it.
    fn change(&self, change: impl FnOnce(&mut ClusterState) -> bool) {
        let mut shared = self.lock();
        let state = Arc::make_mut(&mut shared);
        if change(state) {
            state.version += 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Arc<ClusterState>> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
pub(crate) mod tests;
