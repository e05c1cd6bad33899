//! What the catalogue means for a shard: which partitions it holds, and, where the catalogue itself is held and led, what is
//! to be changed of it.
//!
//! The shard that holds [`CATALOGUE`] reads it whenever it has changed and acts on it at once; the driver hands what it says
//! to the other shards of the node ([`Event::Catalogue`]). A partition that is to be here and is not is opened, empty; its
//! leader will see to it that it gets a state. One that is not to be here is given up as soon as that is safe
//! ([`Replica::may_be_given_up`](crate::ordered::replica)): its log is emptied, term and vote are kept, and once that is
//! durable its snapshots go.
//!
//! While this node leads the catalogue it is its steward ([`catalogue::next_change`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::outbox::{Requester, Wishes, Work};
use super::splits;
use super::strategy::Strategy;
use super::{Recovered, Shard};
use crate::catalogue::{self, CATALOGUE, Catalogue, Change, Report, Situation};
use crate::configuration::{Ask, Configuration, Wish};
#[cfg(any(test, feature = "planted-bugs"))]
use crate::contract::Call;
use crate::contract::{Event, Output, SnapshotWrite, Write};
#[cfg(any(test, feature = "planted-bugs"))]
use crate::ordered::raft;
use crate::ordered::raft::HardState;
use crate::placement::PartitionPlacement;
use crate::time::{Now, Time};
use crate::wire::Message;
use crate::{NodeId, PartitionId, Placement};

/// How often the steward looks around when nothing happens.
const STEER_INTERVAL: Duration = Duration::from_millis(250);
/// A change that does not come about in this time is made up anew.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often it is tried again to give up what could not be given up yet.
const GIVE_UP_INTERVAL: Duration = Duration::from_millis(500);

/// What the shard knows of the catalogue, and of partitions that it held.
#[derive(Debug)]
pub(super) struct Governed {
    /// The catalogue, where it is held.
    catalogue: Option<Arc<Catalogue>>,
    /// The promises of replicas that were given up.
    given_up: BTreeMap<PartitionId, Recovered>,
    /// Given up, and not yet durably so, by the number of the log batch; 0: not yet given out. They are not opened again
    /// before that.
    leaving: BTreeMap<PartitionId, u64>,
    /// There are partitions here that are not to be here.
    tries_again_at: Time,
    steers_at: Time,
    /// The epoch that a change was asked for in, and until when that is waited for.
    asked: Option<(u64, Time)>,
    reports: Vec<Report>,
    asks: Vec<Ask>,
}

impl Governed {
    pub fn new(given_up: BTreeMap<PartitionId, Recovered>) -> Governed {
        Governed {
            catalogue: None,
            given_up,
            leaving: BTreeMap::new(),
            tries_again_at: Time::NEVER,
            steers_at: Time::NEVER,
            asked: None,
            reports: Vec::new(),
            asks: Vec::new(),
        }
    }

    /// What is left of a replica that was given up, or what storage found of one that is not opened yet.
    pub fn take_given_up(&mut self, partition: PartitionId) -> Option<Recovered> {
        self.given_up.remove(&partition)
    }

    /// The groups of which storage found hints that nobody has taken yet.
    pub fn remembered_hints(&self) -> Vec<PartitionId> {
        self.given_up.keys().filter_map(|partition| partition.hinted()).collect()
    }

    /// Is the replica given up, and not yet durably so?
    pub fn is_leaving(&self, partition: PartitionId) -> bool {
        self.leaving.contains_key(&partition)
    }

    /// The replica is given up with the next batch.
    pub fn leaves(&mut self, partition: PartitionId) {
        self.leaving.insert(partition, 0);
    }

    /// Was the partition held here once?
    pub fn was_given_up(&self, partition: PartitionId) -> bool {
        self.given_up.contains_key(&partition)
    }

    /// There is something here that may have to be given up.
    pub fn look_again(&mut self, now: Now) {
        self.tries_again_at = self.tries_again_at.min(now.time + GIVE_UP_INTERVAL);
    }

    pub fn wake_at(&self) -> Time {
        self.steers_at.min(self.tries_again_at)
    }
}

/// Does a placement say where this partition lives?
pub(super) fn is_placed(placement: &Placement, partition: PartitionId) -> bool {
    match partition {
        CATALOGUE => !placement.catalogue.is_empty(),
        _ if partition.keyspace() != 0 => {
            placement.groups.contains_key(&partition) || placement.primaries.contains_key(&partition)
        }
        _ => placement.get(partition).is_some(),
    }
}

/// The nodes that hold a partition, or are to.
pub(super) fn nodes_of(placement: &Placement, partition: PartitionId) -> Vec<NodeId> {
    if let Some(group) = placement.groups.get(&partition) {
        let Configuration { primary, in_sync, .. } = &group.configuration;
        return std::iter::once(primary).chain(in_sync).copied().collect();
    }
    if let Some(primaries) = placement.primaries.get(&partition) {
        let serves = primaries.seats.iter().filter(|(_, seat)| seat.origin != 0 && !seat.leaving);
        return serves.map(|(node, _)| *node).collect();
    }
    let (held, wanted) = match (partition, placement.get(partition)) {
        (CATALOGUE, _) => (&placement.catalogue[..], &[][..]),
        (_, Some(placed)) => (&placed.replicas[..], &placed.moving_to[..]),
        (_, None) => (&[][..], &[][..]),
    };
    held.iter().chain(wanted).copied().collect()
}

/// Where a partition lives, the catalogue's own among them.
pub(super) fn place_of(placement: &Placement, partition: PartitionId) -> Option<PartitionPlacement> {
    if partition != CATALOGUE {
        return placement.get(partition).cloned();
    }
    (!placement.catalogue.is_empty()).then(|| PartitionPlacement {
        first_slot: 0,
        last_slot: data::slot::SLOTS - 1,
        replicas: placement.catalogue.clone(),
        settled_at: 0,
        moving_to: Vec::new(),
    })
}

impl Shard {
    /// The catalogue, as far as it is known here. `None`: this shard does not hold it, or it is still empty.
    pub fn catalogue(&self) -> Option<&Arc<Catalogue>> {
        self.governed.catalogue.as_ref()
    }

    /// The other nodes, as a placement names them.
    pub(super) fn meet(&mut self, placement: &Placement, now: Now) {
        let node = self.options.node;
        if placement.members.is_empty() {
            let nodes = placement.partitions.iter().flat_map(|partition| partition.replicas.iter().copied());
            return self.peers.set(nodes.filter(|&other| other != node), now.time);
        }
        let others: BTreeSet<NodeId> =
            placement.members.iter().copied().filter(|&other| other != node).collect();
        let held = placement.partitions.iter().filter(|placed| placed.places(node));
        let mut near: BTreeSet<NodeId> =
            held.flat_map(|placed| placed.replicas.iter().chain(&placed.moving_to)).copied().collect();
        for (partition, readers) in &placement.readers {
            let mut all = nodes_of(placement, *partition);
            all.extend(readers.iter().map(|reader| reader.node));
            if all.contains(&node) {
                near.extend(all);
            }
        }
        if placement.catalogue.contains(&node) {
            near.extend(&placement.catalogue);
        }
        let primaries = placement.primaries.values().filter(|primaries| primaries.seats.contains_key(&node));
        near.extend(primaries.flat_map(|primaries| primaries.seats.keys()));
        near.remove(&node);
        self.peers.set_only(&others, &near, now.time);
    }

    /// Acts on a placement.
    pub(super) fn set_placement(&mut self, placement: Arc<Placement>, now: Now) {
        self.meet(&placement, now);
        let governed = !placement.catalogue.is_empty();
        if placement.layout() > self.placement.layout() {
            self.forwards.try_again(now.time);
        }
        self.placement = placement;
        if governed {
            self.open_and_give_up(now);
        }
        for (&partition, replica) in &mut self.replicas {
            self.touched.insert(partition);
            if partition.keyspace() != 0 {
                if let Some(group) = self.placement.groups.get(&partition) {
                    replica.set_group(group, now);
                }
                replica.limit_copies(self.placement.move_bytes_per_second);
                continue;
            }
            let place = match place_of(&self.placement, partition) {
                // One that has just come about has no record yet.
                None => splits::place_of_child(&self.placement, partition),
                record => record,
            };
            if place.is_some() || !governed {
                replica.set_readers(self.placement.readers_of(partition));
                replica.set_placement(place.as_ref(), governed && partition != CATALOGUE);
            }
            replica.follow_splits(&self.placement);
            replica.limit_copies(self.placement.move_bytes_per_second);
        }
        if governed {
            self.suspect_strangers(now);
            self.await_readers(now);
        }
    }

    /// Nobody listens for signs of life of a node that is no member any more: a quiet group would follow it for ever.
    fn suspect_strangers(&mut self, now: Now) {
        let placement = self.placement.clone();
        for (&partition, replica) in &mut self.replicas {
            let gone = replica.leader().filter(|leader| !placement.members.contains(leader));
            if let Some(gone) = gone {
                self.touched.insert(partition);
                replica.suspect(gone, now);
            }
        }
    }

    fn open_and_give_up(&mut self, now: Now) {
        let node = self.options.node;
        let placement = self.placement.clone();
        self.governed.tries_again_at = Time::NEVER;
        self.open_and_close_groups(&placement, now);
        self.open_and_close_primaries(&placement);
        self.open_and_close_hints(&placement, now);
        let elsewhere: Vec<PartitionId> = self
            .replicas
            .keys()
            .copied()
            .filter(|&partition| partition != CATALOGUE && partition.0 < placement.layout())
            .filter(|&partition| !placement.places(partition, node))
            .collect();
        for partition in elsewhere {
            let may = |replica: &Strategy| match placement.get(partition) {
                Some(placed) => replica.may_be_given_up(placed),
                None => false,
            };
            match self.replicas.get(&partition).is_some_and(may) {
                true => self.give_up(partition),
                false => {
                    self.governed.tries_again_at = now.time + GIVE_UP_INTERVAL;
                    if let Some(placed) = placement.get(partition) {
                        self.with(partition, |replica, _| replica.ask_whether_removed(placed));
                    }
                }
            }
        }
        let child = placement.split.and_then(|split| {
            // That there is none here although the split has happened: it was passed over by a snapshot of the parent.
            let passed = self.replicas.get(&split.parent).is_some_and(|parent| parent.knows_of(split.child));
            let placed = splits::place_of_child(&placement, split.child).filter(|_| passed)?;
            Some((split.child, placed))
        });
        if placement.split.is_some_and(|split| !self.replicas.contains_key(&split.child)) {
            self.governed.tries_again_at = now.time + GIVE_UP_INTERVAL;
        }
        let records = (0..).map(PartitionId).zip(&placement.partitions);
        for (partition, placed) in records.chain(child.iter().map(|(child, placed)| (*child, placed))) {
            let lane = || placement.lane_of(partition, self.options.lanes);
            let is_mine =
                (placed.places(node) || placement.places(partition, node)) && lane() == self.options.lane;
            if is_mine && self.is_expected(partition) {
                self.governed.tries_again_at = now.time + GIVE_UP_INTERVAL;
            } else if is_mine
                && !self.replicas.contains_key(&partition)
                && !self.governed.leaving.contains_key(&partition)
            {
                self.open(partition, placed, now);
            }
        }
    }

    /// Groups of keyspaces of their own: which are here is for the catalogue alone to say.
    fn open_and_close_groups(&mut self, placement: &Placement, now: Now) {
        let node = self.options.node;
        let is_group = |partition: &PartitionId| partition.keyspace() != 0;
        let gone: Vec<PartitionId> = self.replicas.keys().copied().filter(is_group).collect();
        for partition in gone {
            match placement.groups.get(&partition) {
                Some(group) if group.places(node) => {}
                Some(group) => {
                    // A node that has restarted may know only an old catalogue for a while.
                    let known = self.replicas.get(&partition).map_or(0, Strategy::version_known);
                    if group.configuration.version > known {
                        self.give_up(partition);
                    }
                }
                None if partition.keyspace() <= placement.keyspaces_numbered => self.drop_group(partition),
                None => {}
            }
        }
        let is_replica = |partition: &PartitionId| is_group(partition) && partition.hinted().is_none();
        let remembered: Vec<PartitionId> =
            self.governed.given_up.keys().copied().filter(is_replica).collect();
        for partition in remembered {
            let dropped = partition.keyspace() <= placement.keyspaces_numbered
                && !placement.groups.contains_key(&partition)
                && !placement.primaries.contains_key(&partition);
            if dropped && !self.governed.leaving.contains_key(&partition) {
                self.drop_group(partition);
            }
        }
        for (&partition, group) in &placement.groups {
            let is_mine =
                group.places(node) && placement.lane_of(partition, self.options.lanes) == self.options.lane;
            if !is_mine
                || self.replicas.contains_key(&partition)
                || self.governed.leaving.contains_key(&partition)
            {
                continue;
            }
            let found = self.governed.given_up.remove(&partition);
            let found = found.unwrap_or_else(|| Recovered::nothing(partition));
            let mut replica = Strategy::start_group(self.options.clone(), found, group, now);
            replica.set_disk_full(self.disk_full);
            replica.limit_copies(placement.move_bytes_per_second);
            self.replicas.insert(partition, replica);
            self.touched.insert(partition);
            self.outbox.event(Event::Opened { partition });
        }
    }

    /// The keyspace was dropped: nothing of the group is kept.
    fn drop_group(&mut self, partition: PartitionId) {
        if self.replicas.contains_key(&partition) {
            self.give_up(partition);
            self.governed.leaving.remove(&partition);
        }
        self.governed.given_up.remove(&partition);
        self.lost.remove(&partition);
        self.outbox.persist(partition, &mut vec![Write::Forget { partition }], None);
    }

    /// An empty replica, for the partition's leader to fill.
    fn open(&mut self, partition: PartitionId, placed: &PartitionPlacement, now: Now) {
        let promises = self.governed.given_up.remove(&partition);
        let recovered = promises.unwrap_or_else(|| {
            let state = match self.is_member_from_birth(partition, placed) {
                true => HardState::default(),
                false => HardState::default().forgotten(),
            };
            Recovered { state: Some(state.encode()), ..Recovered::nothing(partition) }
        });
        // What is known of its members is what its log will say.
        let mut replica = Strategy::start(self.options.clone(), recovered, None, now);
        replica.set_disk_full(self.disk_full);
        replica.set_readers(self.placement.readers_of(partition));
        replica.set_placement(Some(placed), true);
        replica.follow_splits(&self.placement);
        self.replicas.insert(partition, replica);
        self.touched.insert(partition);
        self.outbox.event(Event::Opened { partition });
    }

    /// Is this node among the first members of a partition that came about by a split, and has only missed that? It has
    /// promised nothing there yet and forgotten nothing, so it may vote, as it must where the split reached few.
    fn is_member_from_birth(&self, partition: PartitionId, placed: &PartitionPlacement) -> bool {
        self.placement.parent_of(partition).is_some()
            && placed.settled_at <= 1
            && placed.replicas.contains(&self.options.node)
    }

    fn give_up(&mut self, partition: PartitionId) {
        let Some(mut replica) = self.replicas.remove(&partition) else { return };
        let (promises, newest_snapshot) = replica.give_up(&mut self.outbox);
        self.gate.forget(partition);
        self.touched.remove(&partition);
        if let Some(at) = self.timer_of.remove(&partition) {
            self.timers.remove(&(at, partition));
        }
        let state = Some(promises.encode());
        let kept = Recovered { state, newest_snapshot, ..Recovered::nothing(partition) };
        self.governed.given_up.insert(partition, kept);
        self.governed.leaving.insert(partition, 0);
        self.outbox.event(Event::GivenUp { partition });
    }

    /// A batch was given out: what was given up is in it.
    pub(super) fn note_given_up(&mut self) {
        let number = self.gate.last_number();
        self.governed.leaving.values_mut().filter(|batch| **batch == 0).for_each(|batch| *batch = number);
    }

    /// Where nothing but the promises are left, durably, the snapshots go; and the partition may come back.
    pub(super) fn discard_given_up(&mut self, now: Now) {
        let durable = self.gate.persisted_number();
        let mut gone = false;
        let left = self.governed.leaving.extract_if(.., |_, batch| (1..=durable).contains(batch));
        for (partition, _) in left.collect::<Vec<_>>() {
            self.outbox.outputs.push(Output::Snapshot(SnapshotWrite::Discard { partition }));
            // Its parent's log need not bring it back.
            self.note_durable(partition);
            gone = true;
        }
        if gone {
            self.open_and_give_up(now);
        }
    }

    /// Looks whether the catalogue that is held here has changed. Returns whether it has.
    pub(super) fn read_catalogue(&mut self, now: Now) -> bool {
        let Some(replica) = self.replicas.get(&CATALOGUE).filter(|replica| replica.is_exact()) else {
            return false;
        };
        if replica.is_leader() && self.governed.steers_at == Time::NEVER {
            self.governed.steers_at = now.time;
        }
        let known = self.governed.catalogue.as_ref().map_or(0, |catalogue| catalogue.epoch);
        let read = catalogue::epoch_of(replica.table()).and_then(|epoch| match epoch == known {
            true => Ok(None),
            false => catalogue::load(replica.table()).map(Some),
        });
        let applied = replica.applied();
        let read_at = (applied, replica.term_at(applied).unwrap_or_default());
        let catalogue = match read {
            Ok(None) => return false,
            Ok(Some(catalogue)) => Arc::new(catalogue),
            Err(catalogue::Unreadable(text)) => panic!("{text}"),
        };
        self.governed.catalogue = Some(catalogue.clone());
        if self.governed.steers_at != Time::NEVER {
            self.governed.steers_at = now.time;
        }
        self.set_placement(Arc::new(catalogue.placement()), now);
        self.outbox.event(Event::Catalogue(catalogue, read_at));
        true
    }

    /// A leader of a partition, perhaps of former times, says who its members are.
    pub(super) fn on_report(&mut self, report: Report, now: Now) {
        if self.replicas.get(&CATALOGUE).is_some_and(Strategy::is_leader)
            && !self.governed.reports.contains(&report)
        {
            self.governed.reports.push(report);
            self.governed.steers_at = now.time;
        }
    }

    /// A replica of a group asks for something.
    pub(super) fn on_ask(&mut self, ask: Ask, now: Now) {
        let leads = self.replicas.get(&CATALOGUE).is_some_and(Strategy::is_leader);
        if let (Wish::Heat(rate), true) = (&ask.wish, leads) {
            return self.heat.on_told(ask.partition, ask.from, *rate, now.time);
        }
        if leads && !self.governed.asks.contains(&ask) {
            self.governed.asks.push(ask);
            self.governed.steers_at = now.time;
        }
    }

    /// Tells those who vote on the catalogue what leaders here have to report.
    pub(super) fn tell_reports(&mut self, now: Now) {
        for ask in std::mem::take(&mut self.outbox.asks) {
            for to in self.placement.catalogue.clone() {
                match to == self.options.node && self.replicas.contains_key(&CATALOGUE) {
                    true => self.on_ask(ask.clone(), now),
                    false => self.outbox.send(to, Message::Ask(ask.clone())),
                }
            }
        }
        for report in std::mem::take(&mut self.outbox.reports) {
            for to in self.placement.catalogue.clone() {
                // To this very node too, if another of its shards holds the catalogue.
                match to == self.options.node && self.replicas.contains_key(&CATALOGUE) {
                    true => self.on_report(report.clone(), now),
                    false => self.outbox.send(to, Message::Members(report.clone())),
                }
            }
        }
    }

    /// Asks for the next change of the catalogue, if this node leads it and the one before is done.
    pub(super) fn steer(&mut self, now: Now) {
        if self.governed.tries_again_at <= now.time {
            self.open_and_give_up(now);
        }
        if self.governed.steers_at > now.time {
            return;
        }
        self.governed.steers_at = now.time + STEER_INTERVAL;
        let Some(replica) = self.replicas.get(&CATALOGUE) else { return };
        if !replica.is_leader() {
            self.governed.steers_at = Time::NEVER;
            self.governed.reports.clear();
            self.governed.asks.clear();
            self.governed.asked = None;
            self.heat.forget_told();
            return;
        }
        if !replica.is_serving() {
            return;
        }
        let known = self.governed.catalogue.clone();
        let epoch = known.as_ref().map_or(0, |catalogue| catalogue.epoch);
        if self.governed.asked.is_some_and(|(asked, until)| asked == epoch && now.time < until) {
            return;
        }
        let change = match &known {
            None => {
                self.options.founding.clone().map(|founding| Change::Found(Box::new((*founding).clone())))
            }
            Some(catalogue) => {
                self.follow_voters(catalogue, now);
                let node = self.options.node;
                let peers = &self.peers;
                let silent_for =
                    |other| if other == node { Duration::ZERO } else { peers.silent_for(other, now.time) };
                let reports = std::mem::take(&mut self.governed.reports);
                let asks = std::mem::take(&mut self.governed.asks);
                let (all, hot) = (self.heat.all(now.time), self.options.hot_reads);
                let situation = Situation {
                    catalogue,
                    silent_for: &silent_for,
                    reports: &reports,
                    asks: &asks,
                    heat: all.as_ref(),
                    hot,
                };
                let next = catalogue::next_change(&situation);
                // All that were not looked at yet are kept; those that say nothing new go.
                self.governed.asks = asks;
                self.governed.asks.retain(|ask| {
                    let group = catalogue.groups.get(&ask.partition).map(|record| record.version);
                    let primaries = catalogue.primaries.get(&ask.partition).map(|record| record.version);
                    let is_leaving = || {
                        let member = catalogue.members.get(&ask.from);
                        member.is_some_and(|member| member.state == catalogue::MemberState::Leaving)
                    };
                    match ask.wish {
                        Wish::Release { .. } => is_leaving(),
                        Wish::Ready => {
                            let mut readers = catalogue.readers.get(&ask.partition).into_iter().flatten();
                            readers.any(|reader| reader.node == ask.from && !reader.ready)
                        }
                        _ => group.or(primaries) == Some(ask.version),
                    }
                });
                self.governed.reports = reports;
                self.governed.reports.retain(|report| {
                    let is_new = catalogue.split.is_some_and(|split| split.child == report.partition);
                    let known = catalogue.partitions.get(report.partition.0 as usize);
                    is_new || known.is_some_and(|record| report.index > record.settled_at)
                });
                next
            }
        };
        let Some(change) = change else { return };
        let before = known.unwrap_or_default();
        if let Ok(Some(call)) = change.call(&before) {
            #[cfg(any(test, feature = "planted-bugs"))]
            let call = match (call, self.options.raft.planted) {
                (Call::Transaction { commands, .. }, Some(raft::Bug::ChangeOfAnyEpoch)) => {
                    Call::Transaction { commands, watches: Vec::new() }
                }
                (call, _) => call,
            };
            self.governed.asked = Some((epoch, now.time + CHANGE_TIMEOUT));
            self.outbox.event(Event::Steered(Box::new(change)));
            let (deadline, arrival) = (now.time + CHANGE_TIMEOUT, self.next_arrival());
            let (requester, layout) = (Requester::Nobody, self.placement.layout());
            let keyspaces = self.placement.keyspaces_numbered;
            let work = Work {
                requester,
                origin: 0,
                call,
                wishes: Wishes::default(),
                deadline,
                ordered: false,
                layout,
                keyspaces,
                arrival,
            };
            self.with(CATALOGUE, |replica, outbox| replica.handle(work, now, outbox));
        }
    }

    /// The members of the catalogue's own group: those who vote as it says, all others as learners.
    fn follow_voters(&mut self, catalogue: &Catalogue, now: Now) {
        let mut voters = catalogue.voters.clone();
        voters.sort_unstable();
        let learners: Vec<_> =
            catalogue.members.keys().copied().filter(|node| !voters.contains(node)).collect();
        let present = self.replicas.get(&CATALOGUE).map(Strategy::membership);
        let differs = present.is_some_and(|present| {
            present.is_joint() || present.voters != voters || present.learners != learners
        });
        if differs {
            self.with(CATALOGUE, |replica, _| replica.want_members(voters, learners, now));
        }
    }
}
