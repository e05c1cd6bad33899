//! The operator, who lets nodes join and leave and moves partitions about, and the judges of what comes of it.
//!
//! What is wanted is asked for again and again, each time of some node that is there, until the catalogue shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use replication::catalogue::{
    CATALOGUE, Catalogue, Change, Member, MemberState, Policy, Settings, Target, plan,
};
use replication::configuration::{Acknowledgement, PrimaryReplica};
use replication::contract::Input;
use replication::ordered::raft::HardState;
use replication::primaries::{Conflict, Counters, Leaderless, Level, MultiPrimary, Replicas, Seat};
use replication::{NodeId, PartitionId};

use super::{Move, World};
use crate::node::Node;
use crate::oracle::Violation;
use crate::scenario::Scenario;

/// Who takes part in a partition, each list sorted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Members {
    pub voters: Vec<NodeId>,
    pub learners: Vec<NodeId>,
}

/// How many copies for reads alone have caught up, and how many there are.
fn readers(catalogue: &Catalogue) -> (usize, usize) {
    let all = || catalogue.readers.values().flatten();
    (all().filter(|reader| reader.ready).count(), all().count())
}

/// What an operator wants, and what is known of the catalogue.
#[derive(Debug)]
pub(super) struct Operator {
    /// What the cluster began with.
    pub founding: Arc<Catalogue>,
    /// By epoch: what it was for whoever knew it first.
    known: BTreeMap<u64, Arc<Catalogue>>,
    /// Asked for until it is so.
    wanted: Vec<Change>,
}

fn member(id: NodeId, nodes: usize) -> Member {
    Member {
        name: format!("n{}", id.0),
        client: format!("n{}:7000", id.0),
        peer: format!("n{}:17000", id.0),
        // With many nodes some share a zone.
        zone: format!("z{}", if nodes > 5 { id.0 % 4 } else { id.0 }),
        weight: 1,
        state: MemberState::Active,
        format: id.0,
    }
}

/// The same, with groups for all keys.
fn with_groups(mut founding: Catalogue, acknowledgement: Acknowledgement, relaxed: bool) -> Catalogue {
    let everything = bytes::Bytes::new();
    founding.keyspaces.remove(&everything);
    let options = PrimaryReplica { max_lag_ms: 2_000, relaxed, ..PrimaryReplica::new(acknowledgement) };
    let policy = Policy::PrimaryReplica { number: 0, options };
    let (after, _) = Change::CreateKeyspace { prefix: everything, policy, read: None }
        .apply(&founding)
        .expect("a keyspace of all keys can be made");
    Catalogue { epoch: founding.epoch, ..after }
}

/// The same, with replicas that all take writes of all keys.
fn with_primaries(mut founding: Catalogue, counters: Counters) -> Catalogue {
    let everything = bytes::Bytes::new();
    founding.keyspaces.remove(&everything);
    let options = MultiPrimary { conflict: Conflict::Lww, replicas: Replicas::Count(0), counters };
    let policy = Policy::MultiPrimary { number: 0, options };
    let (after, _) = Change::CreateKeyspace { prefix: everything, policy, read: None }
        .apply(&founding)
        .expect("a keyspace of all keys can be made");
    Catalogue { epoch: founding.epoch, ..after }
}

/// The same, without leaders.
fn with_peers(mut founding: Catalogue, options: Leaderless) -> Catalogue {
    let everything = bytes::Bytes::new();
    founding.keyspaces.remove(&everything);
    let policy = Policy::Leaderless { number: 0, options };
    let (after, _) = Change::CreateKeyspace { prefix: everything, policy, read: None }
        .apply(&founding)
        .expect("a keyspace of all keys can be made");
    Catalogue { epoch: founding.epoch, ..after }
}

impl Operator {
    /// The operator of a scenario.
    pub fn of(scenario: &Scenario, ids: &[NodeId]) -> Operator {
        let founders = scenario.founders();
        let members = ids[..founders].iter().map(|&id| (id, member(id, ids.len()))).collect();
        let settings = Settings {
            replication_factor: scenario.replication_factor.min(founders) as u32,
            replace_after_ms: 4_000 * (scenario.chance % 3),
            moves_at_once: 1 + (scenario.chance % 4) as u32,
            move_bytes_per_second: [0, 200_000, 1_000_000][(scenario.chance / 16 % 3) as usize],
        };
        let mut founding = Catalogue::genesis(members, scenario.partitions, settings);
        if let Some(acknowledgement) = scenario.acknowledgement {
            founding = with_groups(founding, acknowledgement, scenario.relaxed);
        }
        if let Some(options) = scenario.leaderless {
            founding = with_peers(founding, options);
        } else if scenario.merged {
            let counters = if scenario.bounded { Counters::Bounded } else { Counters::Sum };
            founding = with_primaries(founding, counters);
        }
        let founding = Arc::new(founding);
        Operator { founding, known: BTreeMap::new(), wanted: Vec::new() }
    }

    /// Was it there from the beginning?
    pub fn is_founder(&self, node: NodeId) -> bool {
        self.founding.members.contains_key(&node)
    }

    /// Says what a new node's disk is formatted with.
    pub fn format(&self, node: &mut Node) {
        let id = node.id;
        node.outside = !self.is_founder(id);
        let held = (0..).map(PartitionId).zip(&self.founding.partitions);
        let held = held.filter(|(_, record)| record.replicas.contains(&id)).map(|(partition, _)| partition);
        node.format = Some(match self.is_founder(id) {
            true => held.chain([CATALOGUE]).map(|partition| (partition, HardState::default())).collect(),
            false => vec![(CATALOGUE, HardState::default().forgotten())],
        });
    }

    /// The newest that anyone knows.
    pub fn newest(&self) -> &Arc<Catalogue> {
        self.known.last_key_value().map_or(&self.founding, |(_, catalogue)| catalogue)
    }

    /// What is under way, or ought to be.
    pub fn unsettled(&self, members: &BTreeMap<PartitionId, (u64, Members)>) -> Option<String> {
        let catalogue = self.newest();
        if let Some(change) = self.wanted.first() {
            return Some(format!("an operator still wants {change:?}"));
        }
        if catalogue.split.is_some() || catalogue.partitions.len() < catalogue.partitions_wanted as usize {
            let wanted = catalogue.partitions_wanted;
            return Some(format!("{:?} is under way, {wanted} partitions are wanted", catalogue.split));
        }
        if let Some((partition, readers)) = catalogue.readers.first_key_value() {
            return Some(format!("partition {} is still read at {readers:?}", partition.0));
        }
        let planned = plan::plan(catalogue);
        for ((partition, record), planned) in (0..).map(PartitionId).zip(&catalogue.partitions).zip(planned) {
            if !record.moving_to.is_empty() || record.replicas != planned {
                return Some(format!("partition {} is to be on {planned:?}: {record:?}", partition.0));
            }
            let mut replicas = record.replicas.clone();
            replicas.sort_unstable();
            if let Some((index, members)) = members.get(&partition)
                && (members.voters != replicas || !members.learners.is_empty())
            {
                return Some(format!("partition {} has {members:?} at {index}: {record:?}", partition.0));
            }
        }
        for (partition, group) in &catalogue.groups {
            let mut replicas = group.replicas.clone();
            replicas.sort_unstable();
            let policies = catalogue.keyspaces.values().map(|keyspace| &keyspace.policy);
            let copies = policies.filter_map(|policy| match policy {
                Policy::PrimaryReplica { number, options } if *number == partition.keyspace() => {
                    Some(options.replicas as usize)
                }
                _ => None,
            });
            let copies = copies.filter(|copies| *copies > 0).max().unwrap_or(usize::MAX);
            let planned = catalogue.partition_of_group(group).map(|record| record.wanted());
            let planned = planned.map(|nodes| &nodes[..nodes.len().min(copies)]);
            let is_whole =
                replicas == group.in_sync && group.witnesses.is_empty() && group.settling.is_empty();
            if !is_whole || planned != Some(&group.replicas[..]) {
                return Some(format!("group {:x} is to be on {planned:?}: {group:?}", partition.0));
            }
        }
        for (partition, primaries) in &catalogue.primaries {
            let present: Vec<NodeId> = primaries.seats.keys().copied().collect();
            let mut planned = match primaries.leaderless {
                Some(options) => plan::peers(catalogue, primaries.slots.0, options.replicas),
                None => plan::primaries(catalogue, Replicas::Count(0), &present),
            };
            planned.sort_unstable();
            let in_between = |seat: &Seat| {
                let counts = seat.joined || primaries.leaderless.is_none();
                seat.leaving || seat.away || seat.origin == 0 || !counts
            };
            let is_settled = primaries.former.is_empty();
            if primaries.seats.values().any(in_between) || present != planned || !is_settled {
                return Some(format!("group {:x} is to be on {planned:?}: {primaries:?}", partition.0));
            }
        }
        let (_, group) = members.get(&CATALOGUE)?;
        let everyone: BTreeSet<NodeId> = group.voters.iter().chain(&group.learners).copied().collect();
        let is_whole = group.voters == catalogue.voters
            && catalogue.voters == plan::catalogue_voters(catalogue)
            && everyone == catalogue.members.keys().copied().collect();
        (!is_whole).then(|| format!("the catalogue has {group:?}: {catalogue:?}"))
    }
}

impl World {
    /// The nodes that take part.
    pub(super) fn inside(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&node| !self.nodes[node].outside).collect()
    }

    /// The operator has an idea.
    pub(super) fn want_change(&mut self) {
        let (kind, weight) = (self.random.below(9), self.random.between(0, 3) as u32);
        let chosen = self.some_node();
        let shuffled = {
            let mut nodes = self.inside();
            self.random.shuffle(&mut nodes);
            nodes.into_iter().map(|node| self.nodes[node].id).collect::<Vec<_>>()
        };
        let partition = PartitionId(self.random.below(u64::from(self.scenario.partitions)) as u32);
        let whole = self.copies_are_whole();
        let total = self.nodes.len();
        let catalogue = self.operator.newest().clone();
        let node = self.nodes[chosen].id;
        let waiting =
            self.nodes.iter().position(|node| node.outside && !catalogue.removed.contains_key(&node.id));
        let order = match self.scenario.acknowledgement {
            Some(mode) if self.random.chance(500) => Some(self.order_about_groups(mode)),
            _ => None,
        };
        let change = match (kind, waiting) {
            _ if order.is_some() => order.expect("it is there"),
            (3 | 5 | 8, _) if self.scenario.alters => self.other_quorums(&catalogue),
            (0..=2, Some(waiting)) => {
                let node = self.nodes[waiting].id;
                self.nodes[waiting].outside = false;
                self.undos.insert(self.next_fault, super::Undo::Start(vec![waiting]));
                self.nodes[waiting].kept_down += 1;
                self.queue.push(self.at, super::Event::Undo { number: self.next_fault });
                self.next_fault += 1;
                Change::Join { node, member: member(node, total), replaces: None }
            }
            (3, _) => Change::State { node, state: MemberState::Draining },
            // For good: nothing else may have cost a copy meanwhile.
            (4, _) if whole => Change::State { node, state: MemberState::Leaving },
            (5, _) => Change::Weight { node, weight },
            (6, _) => {
                let copies = catalogue.settings.replication_factor as usize;
                let mut to = shuffled;
                to.retain(|node| catalogue.members.contains_key(node));
                to.truncate(copies);
                Change::Place(vec![(partition, to)])
            }
            (7, _) => {
                let replication_factor = if catalogue.settings.replication_factor > 3 { 3 } else { 5 };
                Change::Settings(Settings { replication_factor, ..catalogue.settings.clone() })
            }
            _ => Change::State { node, state: MemberState::Active },
        };
        if !matches!(change, Change::Join { .. }) && change.apply(&catalogue).is_err() {
            return;
        }
        self.counters.add("fault.catalogue_change");
        self.tell(|| format!("an operator wants {change:?}"));
        self.operator.wanted.push(change);
    }

    /// Other numbers for the `leaderless` keyspace, of which it can be said, too, that a read asks one that holds the last write.
    fn other_quorums(&mut self, catalogue: &Catalogue) -> Change {
        const QUORUMS: [(Level, Level); 3] =
            [(Level::Quorum, Level::Quorum), (Level::Count(1), Level::All), (Level::All, Level::Quorum)];
        let (read, write) = QUORUMS[(catalogue.epoch % 3) as usize];
        let options = self.scenario.leaderless.expect("only such keyspaces have quorums");
        self.counters.add("fault.order_about_quorums");
        Change::AlterKeyspace {
            prefix: bytes::Bytes::new(),
            policy: Policy::Leaderless { number: 0, options: Leaderless { read, write, ..options } },
            read: None,
        }
    }

    /// Something about the `primary-replica` keyspace: who is to be primary, or other options.
    fn order_about_groups(&mut self, mode: Acknowledgement) -> Change {
        let prefix = bytes::Bytes::new();
        let node = self.some_node();
        let node = self.nodes[node].id;
        self.counters.add("fault.order_about_groups");
        match self.random.below(4) {
            0 => Change::Failover { prefix, target: Target::Back },
            1 | 2 => Change::Failover { prefix, target: Target::Node(node) },
            _ => {
                // What a mode promises has to hold in all of a run.
                let modes = match mode {
                    Acknowledgement::Async => [Acknowledgement::Async, Acknowledgement::Sync],
                    _ => [Acknowledgement::SemiSync(1), Acknowledgement::Sync],
                };
                let relaxed = self.scenario.relaxed && self.random.chance(700);
                let fewer = self.scenario.relaxed && self.random.chance(300);
                let options = PrimaryReplica {
                    relaxed,
                    replicas: if fewer { 2 } else { 0 },
                    min_in_sync: self.random.between(1, 2) as u32,
                    max_lag_ms: *self.random.pick(&[150, 2_000]),
                    max_lag_bytes: *self.random.pick(&[2_000, 64 << 20]),
                    ..PrimaryReplica::new(*self.random.pick(&modes))
                };
                Change::AlterKeyspace {
                    prefix,
                    policy: Policy::PrimaryReplica { number: 0, options },
                    read: None,
                }
            }
        }
    }

    /// A partition is to be split, somewhere; or there are to be more, wherever.
    pub(super) fn want_split(&mut self) {
        let catalogue = self.operator.newest().clone();
        let chosen = self.random.index(catalogue.partitions.len());
        let record = &catalogue.partitions[chosen];
        let (first, last) = (u64::from(record.first_slot), u64::from(record.last_slot));
        let first_slot = self.random.between(first + 1, last.max(first + 1)) as u16;
        let more = catalogue.partitions.len() as u64 + self.random.between(1, 2);
        let change = match self.random.chance(700) {
            true => Change::Split { partition: PartitionId(chosen as u32), first_slot },
            false => Change::Partitions(more as u32),
        };
        if change.apply(&catalogue).is_err() {
            return;
        }
        self.counters.add("fault.split");
        if self.moved.is_none() {
            // Whoever dies in the middle of a split is one of these.
            let source = record.replicas[0];
            let destination = record.replicas.last().copied().unwrap_or(source);
            self.moved = Some(Move { source, destination, begun: self.events, latest: self.events });
        }
        self.tell(|| format!("an operator wants {change:?}"));
        self.operator.wanted.push(change);
    }

    /// A split is at the same entry for everyone.
    pub(super) fn on_split(
        &mut self,
        node: usize,
        partition: PartitionId,
        child: PartitionId,
        index: u64,
    ) -> Result<(), Violation> {
        self.note_move();
        let known = *self.splits.entry(child).or_insert((partition, index));
        if known == (partition, index) {
            return Ok(());
        }
        let id = self.nodes[node].id.0;
        let (PartitionId(parent), at) = known;
        let text = format!(
            "node {id} splits partition {} at {index} to make {}, which came of {parent} at {at}",
            partition.0, child.0
        );
        Err(Violation::new("split", text))
    }

    /// Partition 0 is to be on another node, in the place of one that is drawn.
    pub(super) fn move_by_order(&mut self) {
        let catalogue = self.operator.newest().clone();
        let replicas = &catalogue.partitions[0].replicas;
        let source = *self.random.pick(replicas);
        let others: Vec<NodeId> =
            catalogue.members.keys().copied().filter(|node| !replicas.contains(node)).collect();
        let aimed = self.aim.map(|node| self.nodes[node].id);
        let Some(destination) = aimed.or(others.first().copied()) else { return };
        let to = replicas.iter().map(|&node| if node == source { destination } else { node }).collect();
        let change = Change::Place(vec![(PartitionId(0), to)]);
        self.tell(|| format!("an operator wants {change:?}"));
        self.moved = Some(Move { source, destination, begun: self.events, latest: self.events });
        self.operator.wanted.push(change);
    }

    /// Something happened that may have been a step of the move.
    pub(super) fn note_move(&mut self) {
        if let Some(moved) = &mut self.moved {
            moved.latest = self.events;
        }
    }

    /// A node that lost its disk wants to be let in for the one that it was.
    pub(super) fn come_back_for(&mut self, node: usize, old: NodeId) {
        let (new, total) = (self.nodes[node].id, self.nodes.len());
        let operator = &mut self.operator;
        operator.format(&mut self.nodes[node]);
        self.nodes[node].outside = false;
        // It may still be waiting to be let in itself.
        let waits = |change: &Change| matches!(change, Change::Join { node, .. } if *node == old);
        let mut replaces = Some(old);
        if let Some(place) = operator.wanted.iter().position(waits)
            && let Change::Join { replaces: before, .. } = operator.wanted.remove(place)
        {
            replaces = before;
        }
        let mut member = member(new, total);
        member.name = operator.newest().members.get(&old).map_or(member.name, |former| former.name.clone());
        operator.wanted.push(Change::Join { node: new, member, replaces });
        self.counters.add("fault.catalogue_rebuild");
    }

    /// Asks for what is wanted.
    pub(super) fn ask_for_changes(&mut self) {
        let operator = &mut self.operator;
        let newest = operator.newest().clone();
        // What is so, or makes no sense any more, is not wanted any more.
        let open = |change: &Change| match change.apply(&newest) {
            Ok((_, touched)) => !touched.is_empty() || newest.epoch <= 1,
            Err(_) => newest.epoch <= 1 || matches!(change, Change::Join { .. }),
        };
        // A first catalogue that nobody has seen yet.
        if operator.known.is_empty() {
            return;
        }
        // In the end the steward has its way with everything but who is to be a member.
        let ends = self.stage != super::Stage::Break;
        operator.wanted.retain(|change| open(change) && (!ends || matches!(change, Change::Join { .. })));
        let Some(change) = operator.wanted.first().cloned() else { return };
        operator.wanted.rotate_left(1);
        let able: Vec<usize> =
            self.inside().into_iter().filter(|&node| self.nodes[node].process.is_some()).collect();
        if able.is_empty() {
            return;
        }
        let node = *self.random.pick(&able);
        let (life, now) = (self.nodes[node].life, self.nodes[node].now(self.at));
        let Some(process) = self.process(node, life) else { return };
        let Some(known) = process.shard.catalogue().cloned() else { return };
        if let Ok(Some(call)) = change.call(&known) {
            let request = process.front.request(CATALOGUE, call, now);
            self.take_in(node, life, Input::Request(request));
        }
    }

    /// A node reads a catalogue: at each epoch there is one, with an owner for each slot.
    pub(super) fn on_catalogue(&mut self, node: usize, catalogue: Arc<Catalogue>) -> Result<(), Violation> {
        let id = self.nodes[node].id;
        self.counters.add("catalogue.read");
        let operator = &mut self.operator;
        let epoch = catalogue.epoch;
        if let Some(known) = operator.known.get(&epoch) {
            self.counters.add("check.catalogues_compared");
            if *known != catalogue {
                let text = format!(
                    "node {} has another catalogue of epoch {epoch}: {catalogue:?}, not {known:?}",
                    id.0
                );
                return Err(Violation::new("catalogue", text));
            }
            return Ok(());
        }
        let mut next = 0u32;
        for (_, record) in catalogue.placement().in_order() {
            let first = u32::from(record.first_slot);
            if first != next || record.replicas.is_empty() {
                let text = format!("slot {next} has not exactly one owner in epoch {epoch}: {record:?}");
                return Err(Violation::new("catalogue", text));
            }
            next = u32::from(record.last_slot) + 1;
        }
        if next != 16384 {
            return Err(Violation::new(
                "catalogue",
                format!("slots from {next} on have no owner in epoch {epoch}"),
            ));
        }
        self.counters.add("catalogue.changed");
        if catalogue.partitions.iter().any(|record| !record.moving_to.is_empty()) {
            self.counters.add("catalogue.moving");
        }
        let (ready, seats) = readers(&catalogue);
        let (had_ready, had_seats) = readers(operator.newest());
        for (name, is_so) in [
            ("readers.added", seats > had_seats),
            ("readers.ready", ready > had_ready),
            ("readers.dropped", seats < had_seats),
        ] {
            if is_so {
                self.counters.add(name);
            }
        }
        operator.known.insert(epoch, catalogue.clone());
        self.note_move();
        // Who was removed is switched off.
        for gone in self.inside() {
            if operator_removed(&catalogue, self.nodes[gone].id) && !self.nodes[gone].lost {
                self.counters.add("catalogue.removed");
                self.nodes[gone].outside = true;
                self.kill_node(gone, true);
            }
        }
        Ok(())
    }

    /// A membership is committed for good, as some replica tells.
    pub(super) fn on_members(&mut self, partition: PartitionId, index: u64, members: Members) {
        if self.members.get(&partition).is_none_or(|(known, _)| *known < index) {
            self.counters.add("fault.members_changed");
            self.members.insert(partition, (index, members));
        }
    }

    /// A replica that ought not to be there any more, if there is one.
    pub(super) fn left_over(&self) -> Option<String> {
        let catalogue = self.operator.newest();
        for node in &self.nodes {
            let Some(process) = &node.process else { continue };
            for status in process.shard.status() {
                let placed = catalogue.partitions.get(status.partition.0 as usize);
                let group = catalogue.groups.get(&status.partition);
                if placed.is_some_and(|record| !record.replicas.contains(&node.id))
                    || group.is_some_and(|group| !group.places(node.id))
                {
                    return Some(format!("node {} still holds {status:?}", node.id.0));
                }
            }
        }
        None
    }
}

fn operator_removed(catalogue: &Catalogue, node: NodeId) -> bool {
    catalogue.removed.contains_key(&node)
}
