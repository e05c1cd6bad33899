//! What goes wrong, and how it is put right again.

use replication::catalogue::CATALOGUE;
use replication::contract::{Admin, Call, Input};
use replication::{NodeId, PartitionId};

use super::{Event, World};
use crate::clock::{MILLISECOND, SECOND, TrueTime};
use crate::network::{Effect, Link, links_between};
use crate::oracle::Violation;
use crate::random::Random;
use crate::scenario::{Fault, Planned, RATE_ERROR_PPM};

/// How something is put right again.
#[derive(Clone, Debug)]
pub enum Undo {
    /// These nodes are started.
    Start(Vec<usize>),
    /// An effect on the network ends.
    Network,
    /// A disk is fast again.
    Fast(usize),
    /// A disk has room again.
    Room(usize),
    /// A wall clock is set right.
    Wall(usize),
    /// A machine whose disk lies loses power.
    PowerCut(usize),
    /// A process with a rotten disk stops and starts.
    Reread(usize),
}

impl World {
    pub(super) fn on_fault(&mut self, index: usize) -> Result<(), Violation> {
        let Planned { fault, lasts, node, chance, .. } = self.scenario.faults[index];
        let rest = std::mem::replace(&mut self.random, Random::new(chance));
        self.aim = node.map(|node| node - 1);
        let done = self.begin_fault(fault, lasts);
        self.aim = None;
        self.random = rest;
        done
    }

    fn begin_fault(&mut self, fault: Fault, lasts: TrueTime) -> Result<(), Violation> {
        let number = self.next_fault;
        self.next_fault += 1;
        self.story.mark(self.at, 3, fault as u64);
        match fault {
            Fault::Crash | Fault::CrashLeader | Fault::CrashSeveral | Fault::CrashAll => {
                self.crash(number, lasts, fault);
            }
            Fault::CutHalves | Fault::CutIsolated | Fault::CutOneWay | Fault::CutRing => {
                let links = self.links_to_cut(fault);
                self.tell(|| format!("#{number} {fault:?} for {} ms: {links:?}", lasts / MILLISECOND));
                self.network.add(number, Effect::Cut(links));
                self.plan_undo(number, lasts, Undo::Network);
            }
            Fault::LinkBad => self.spoil_links(number, lasts),
            Fault::CrashNewLeader => self.doom = Some(lasts),
            Fault::Pause => {
                let node = if self.random.chance(700) { self.some_leader() } else { self.some_node() };
                let lasts = lasts.min(2500 * MILLISECOND);
                let id = self.nodes[node].id.0;
                self.tell(|| format!("node {id} stands still for {} ms", lasts / MILLISECOND));
                self.nodes[node].paused_until = self.nodes[node].paused_until.max(self.at + lasts);
                self.counters.add("fault.pause");
            }
            Fault::DiskSlow => {
                let node = self.some_node();
                self.nodes[node].slow += 1;
                self.counters.add("disk.slow");
                self.plan_undo(number, lasts, Undo::Fast(node));
            }
            Fault::DiskFull => {
                let node = self.some_node();
                let (id, room) = (self.nodes[node].id.0, self.random.below(40_000));
                self.tell(|| {
                    format!("node {id} has {room} bytes of disk left for {} ms", lasts / MILLISECOND)
                });
                self.nodes[node].full += 1;
                self.nodes[node].disk.limit_room(Some(room));
                self.plan_undo(number, lasts, Undo::Room(node));
            }
            Fault::SyncFails => self.fail_sync(number, lasts),
            Fault::WallJump => self.jump_wall_clock(number, lasts),
            Fault::RateChange => {
                let node = self.some_node();
                let rate = self.random.signed_between(-RATE_ERROR_PPM, RATE_ERROR_PPM);
                self.nodes[node].clock.set_rate(self.at, rate);
                self.replan_wake(node);
                self.counters.add("clock.rate_changed");
            }
            Fault::Transfer => self.transfer(),
            Fault::PeerLostHint => {
                let (node, other) = (self.some_node(), self.some_node());
                let (life, peer) = (self.nodes[node].life, self.nodes[other].id);
                if node != other {
                    self.take_in(node, life, Input::PeerLost { node: peer });
                    self.counters.add("fault.peer_lost_hint");
                }
            }
            Fault::Rebuild => self.rebuild(number, lasts),
            Fault::LyingSync => self.lie_about_syncs(number, lasts),
            Fault::BitRot => self.rot(number, lasts),
            Fault::Members => self.want_change(),
            Fault::Split => self.want_split(),
            Fault::Rest => self.rest_until = self.at + lasts,
            Fault::Move => self.move_by_order(),
            Fault::CrashSource | Fault::CrashDestination | Fault::CrashCatalogueLeader => {
                let victim = match fault {
                    Fault::CrashSource => self.moved.map(|moved| moved.source),
                    Fault::CrashDestination => self.moved.map(|moved| moved.destination),
                    _ => self.leaders.latest(CATALOGUE),
                };
                self.aim = victim.and_then(|id| self.index_of.get(&id).copied());
                if self.aim.is_some() {
                    self.crash(number, lasts, Fault::Crash);
                }
            }
        }
        Ok(())
    }

    fn plan_undo(&mut self, number: u64, after: TrueTime, undo: Undo) {
        self.undos.insert(number, undo);
        self.queue.push(self.at + after, Event::Undo { number });
    }

    pub(super) fn on_undo(&mut self, number: u64) -> Result<(), Violation> {
        match self.undos.remove(&number) {
            Some(undo) => self.put_right(number, undo),
            None => Ok(()),
        }
    }

    fn put_right(&mut self, number: u64, undo: Undo) -> Result<(), Violation> {
        match undo {
            Undo::Network => {
                self.tell(|| format!("#{number} ends"));
                self.network.remove(number);
            }
            Undo::Fast(node) => self.nodes[node].slow -= 1,
            Undo::Room(node) => {
                self.nodes[node].full -= 1;
                if self.nodes[node].full == 0 {
                    self.nodes[node].disk.limit_room(None);
                }
            }
            Undo::Wall(node) => self.nodes[node].clock.set_wall_offset(0),
            Undo::PowerCut(node) => {
                self.kill_node(node, true);
                self.nodes[node].lost |= self.nodes[node].lying;
                self.come_back(node, 100 * MILLISECOND);
            }
            Undo::Reread(node) => {
                let power_lost = self.nodes[node].random.chance(500);
                self.kill_node(node, power_lost);
                self.come_back(node, 100 * MILLISECOND);
            }
            Undo::Start(nodes) => {
                for node in nodes {
                    self.nodes[node].kept_down -= 1;
                    if self.nodes[node].kept_down == 0 {
                        self.count_restart(node);
                        self.start_node(node)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn count_restart(&mut self, node: usize) {
        self.counters.add("fault.restart");
        let others = (0..self.nodes.len()).filter(|&other| other != node);
        if others.into_iter().any(|other| self.network.is_cut((other, node))) {
            self.counters.add("fault.restart_while_cut");
        }
    }

    /// Everything is put right, now.
    pub(super) fn heal(&mut self) {
        self.network.heal();
        self.rest_until = 0;
        self.doom = None;
        let numbers: Vec<u64> = self.undos.keys().copied().collect();
        for number in numbers {
            self.queue.push(self.at, Event::Undo { number });
        }
        for node in &mut self.nodes {
            node.paused_until = node.paused_until.min(self.at + MILLISECOND);
        }
    }

    /// The node that is aimed at, else any.
    pub(super) fn some_node(&mut self) -> usize {
        let drawn = self.random.index(self.nodes.len());
        self.aim.unwrap_or(drawn)
    }

    /// The node that is aimed at, else one that leads some partition, if one does; else any.
    fn some_leader(&mut self) -> usize {
        let partition = self.random.below(u64::from(self.scenario.partitions)) as u16;
        let partition =
            PartitionId::of_keyspace(u16::from(self.scenario.acknowledgement.is_some()), partition);
        let leader = self.leaders.latest(partition).and_then(|id| self.index_of.get(&id).copied());
        self.aim.or(leader).unwrap_or_else(|| self.some_node())
    }

    fn put_aim_first(&self, order: &mut [usize]) {
        if let Some(place) = order.iter().position(|&node| Some(node) == self.aim) {
            order.swap(0, place);
        }
    }

    fn crash(&mut self, number: u64, lasts: TrueTime, fault: Fault) {
        let count = self.nodes.len();
        let mut victims: Vec<usize> = (0..count).collect();
        self.random.shuffle(&mut victims);
        self.put_aim_first(&mut victims);
        match fault {
            Fault::CrashLeader => victims = vec![self.some_leader()],
            Fault::CrashSeveral => victims.truncate(self.random.between(2, count as u64 - 1) as usize),
            Fault::CrashAll => {}
            _ => victims.truncate(1),
        }
        self.counters.add(match fault {
            Fault::CrashLeader => "fault.crash_leader",
            Fault::CrashSeveral => "fault.crash_several",
            Fault::CrashAll => "fault.crash_all",
            _ => "fault.crash",
        });
        self.tell(|| format!("#{number} {fault:?} for {} ms", lasts / MILLISECOND));
        // All back at once, or one after another.
        let together = self.random.chance(500);
        for &node in &victims {
            let power_lost = self.random.chance(800);
            self.kill_node(node, power_lost);
            self.nodes[node].kept_down += 1;
        }
        match together {
            true => self.plan_undo(number, lasts, Undo::Start(victims)),
            false => {
                for node in victims {
                    let (number, after) = (self.next_fault, self.random.between(lasts / 4, lasts));
                    self.next_fault += 1;
                    self.plan_undo(number, after, Undo::Start(vec![node]));
                }
            }
        }
    }

    /// A node was elected: if a new leader is to die, it dies soon.
    pub(super) fn on_elected(&mut self, node: usize) {
        if let Some(lasts) = self.doom.take() {
            let after = self.nodes[node].random.below(40 * MILLISECOND);
            let life = self.nodes[node].life;
            self.queue.push(self.at + after, Event::Doom { node, life, lasts });
        }
    }

    pub(super) fn on_doom(&mut self, node: usize, life: u64, lasts: TrueTime) {
        if self.process(node, life).is_some() {
            self.counters.add("fault.crash_new_leader");
            self.kill_node(node, true);
            self.come_back(node, lasts);
        }
    }

    fn links_to_cut(&mut self, fault: Fault) -> Vec<Link> {
        let count = self.nodes.len();
        let mut order: Vec<usize> = (0..count).collect();
        self.random.shuffle(&mut order);
        self.put_aim_first(&mut order);
        let alone = if self.random.chance(600) { self.some_leader() } else { order[0] };
        let others: Vec<usize> = (0..count).filter(|&node| node != alone).collect();
        match fault {
            Fault::CutHalves => {
                self.counters.add("fault.cut_halves");
                let (left, right) = order.split_at(count / 2);
                links_between(left, right)
            }
            Fault::CutIsolated => {
                self.counters.add("fault.cut_isolated");
                links_between(&[alone], &others)
            }
            Fault::CutOneWay => {
                self.counters.add("fault.cut_one_way");
                let outward = self.random.chance(500);
                others.iter().map(|&other| if outward { (alone, other) } else { (other, alone) }).collect()
            }
            _ => {
                self.counters.add("fault.cut_ring");
                // Each hears its neighbours in the drawn order; three nodes are all neighbours, so there it is a line.
                let near = |a: usize, b: usize| {
                    let apart = a.abs_diff(b);
                    apart == 1 || (count > 3 && apart == count - 1)
                };
                let place = |node: usize| order.iter().position(|&other| other == node).unwrap_or(0);
                let pairs = (0..count).flat_map(|a| (0..count).map(move |b| (a, b)));
                pairs.filter(|&(a, b)| a != b && !near(place(a), place(b))).collect()
            }
        }
    }

    fn spoil_links(&mut self, number: u64, lasts: TrueTime) {
        let nodes: Vec<usize> = (0..self.nodes.len()).collect();
        let mut links: Vec<Link> =
            links_between(&nodes, &nodes).into_iter().filter(|(from, to)| from != to).collect();
        links.sort_unstable();
        links.dedup();
        if self.random.chance(500) {
            self.random.shuffle(&mut links);
            links.truncate(self.random.between(1, 4) as usize);
        }
        let effect = Effect::Bad {
            links,
            loss_per_mille: *self.random.pick(&[50, 200, 500]),
            duplicate_per_mille: *self.random.pick(&[0, 100, 400]),
            extra_delay: *self.random.pick(&[0, 20, 200]) * MILLISECOND,
        };
        self.tell(|| format!("#{number} for {} ms: {effect:?}", lasts / MILLISECOND));
        self.network.add(number, effect);
        self.counters.add("fault.link_bad");
        self.plan_undo(number, lasts, Undo::Network);
    }

    /// The next sync of a node fails, which ends the process; the machine goes on, and the process is started again.
    fn fail_sync(&mut self, number: u64, lasts: TrueTime) {
        let node = self.some_node();
        if self.nodes[node].process.is_none() {
            return;
        }
        let id = self.nodes[node].id.0;
        self.tell(|| format!("#{number} a sync of node {id} fails"));
        self.nodes[node].disk.fail_syncs(true);
        self.nodes[node].sync_fails = Some(lasts);
    }

    /// A sync failed and the process is dead: it comes back after a while.
    pub(super) fn on_sync_failed(&mut self, node: usize) {
        self.counters.add("disk.sync_failed");
        let lasts = self.nodes[node].sync_fails.take().unwrap_or(100 * MILLISECOND);
        self.come_back(node, lasts);
    }

    /// A node that is down is started after a while.
    pub(super) fn come_back(&mut self, node: usize, after: TrueTime) {
        self.nodes[node].kept_down += 1;
        let number = self.next_fault;
        self.next_fault += 1;
        self.plan_undo(number, after, Undo::Start(vec![node]));
    }

    fn jump_wall_clock(&mut self, number: u64, lasts: TrueTime) {
        let node = self.some_node();
        let most = *self.random.pick(&[50, 2_000, 60_000]);
        let offset = self.random.signed_between(-most, most);
        let id = self.nodes[node].id.0;
        self.tell(|| format!("#{number} node {id}'s wall clock is off by {offset} ms"));
        self.nodes[node].clock.set_wall_offset(offset);
        self.counters.add("clock.wall_jumped");
        self.plan_undo(number, lasts, Undo::Wall(node));
    }

    /// An operator asks some node to see to it that another leads.
    fn transfer(&mut self) {
        let number = self.random.below(u64::from(self.scenario.partitions)) as u16;
        let catalogue = self.operator.newest().clone();
        let group = PartitionId::of_keyspace(1, number);
        let (partition, replicas) = match catalogue.groups.get(&group) {
            Some(configuration) => (group, &configuration.replicas),
            None => (PartitionId(number.into()), &catalogue.partitions[usize::from(number)].replicas),
        };
        let drawn = *self.random.pick(replicas);
        let to = self.aim.map_or(drawn, |aim| self.nodes[aim].id);
        self.aim = None;
        let node = self.some_leader();
        let (life, now) = (self.nodes[node].life, self.nodes[node].now(self.at));
        let Some(process) = self.process(node, life) else { return };
        let call = Call::Admin(Admin::Transfer { to });
        let request = process.front.request(partition, call, now);
        self.counters.add("fault.transfer");
        self.tell(|| format!("partition {} is to be led by node {}", partition.0, to.0));
        self.take_in(node, life, Input::Request(request));
    }

    /// Does every node hold what it has acknowledged, and is no change of members under way? Only then may something
    /// happen that costs one node its disk: the others must hold everything.
    pub(super) fn copies_are_whole(&self) -> bool {
        let whole = |node: &crate::node::Node| !node.lying && !node.rotten && !node.lost;
        // A change that is under way may leave fewer copies than the last one that is known to be committed.
        let under_way = |(partition, proposed): (&PartitionId, &u64)| {
            self.members.get(partition).is_none_or(|(committed, _)| committed < proposed)
        };
        self.nodes.iter().all(whole)
            // What was asked for may be decided when it is too late.
            && (self.scenario.acknowledgement.is_none() || self.at > self.doubted_at + 4 * SECOND)
            && !self.proposed_members.iter().any(under_way)
            && self.operator.unsettled(&self.members).is_none()
            && self.loss_is_made_up_for()
    }

    /// A node loses its disk and comes back under another identity.
    fn rebuild(&mut self, number: u64, lasts: TrueTime) {
        let node = self.some_node();
        if !self.copies_are_whole() || self.nodes[node].partitions.is_empty() || self.nodes[node].outside {
            return;
        }
        self.counters.add("fault.rebuild");
        self.kill_node(node, true);
        self.nodes[node].lost = true;
        self.nodes[node].kept_down += 1;
        self.plan_undo(number, lasts, Undo::Start(vec![node]));
    }

    /// The node gets an empty disk and another identity, under which it asks to be let in for the one that it was.
    pub(super) fn lose_disk(&mut self, node: usize) {
        let (old, new) = (self.nodes[node].id, NodeId(self.next_node_id));
        self.next_node_id += 1;
        self.tell(|| format!("node {} has lost its disk and becomes node {}", old.0, new.0));
        self.index_of.remove(&old);
        self.index_of.insert(new, node);
        let victim = &mut self.nodes[node];
        victim.id = new;
        victim.disk = storage::MemoryDisk::new();
        self.merged.on_loss(old, self.operator.newest().removed.len());
        let victim = &mut self.nodes[node];
        (victim.lying, victim.rotten, victim.lost) = (false, false, false);
        self.come_back_for(node, old);
    }

    /// Syncs of a node do nothing from now on, until the machine loses power.
    fn lie_about_syncs(&mut self, number: u64, lasts: TrueTime) {
        let node = self.some_node();
        if !self.copies_are_whole() || self.nodes[node].process.is_none() {
            return;
        }
        let id = self.nodes[node].id.0;
        self.tell(|| format!("#{number} syncs of node {id} do nothing for {} ms", lasts / MILLISECOND));
        self.nodes[node].lying = true;
        self.nodes[node].disk.lie_about_sync(true);
        self.counters.add("disk.lied");
        self.plan_undo(number, lasts, Undo::PowerCut(node));
    }

    /// A bit of a node's disk turns over; some time later its process starts anew.
    fn rot(&mut self, number: u64, lasts: TrueTime) {
        let (node, seed) = (self.some_node(), self.random.next());
        if !self.copies_are_whole() || self.nodes[node].process.is_none() {
            return;
        }
        let Some(place) = self.nodes[node].disk.rot(seed) else { return };
        let id = self.nodes[node].id.0;
        self.tell(|| format!("#{number} a bit turns over on the disk of node {id}: {place}"));
        self.nodes[node].rotten = true;
        self.counters.add("disk.rot");
        self.plan_undo(number, lasts, Undo::Reread(node));
    }
}
