//! What clients and operators do, and what goes wrong; then the healing, and what must work after it.

use std::collections::BTreeMap;

use super::super::super::*;
use super::counters::Counters;
use super::world::{Event, MS, NODES, World};
use crate::random::Random;

/// How wild this run is.
#[derive(Debug)]
pub struct Chaos {
    /// Until the world is healed.
    on: bool,
    /// Between two things happening, at most.
    pause_us: u64,
    /// How often each kind of thing happens, relative to one another.
    crash: u64,
    cut: u64,
    change: u64,
    transfer: u64,
    compact: u64,
    pause: u64,
    /// In a hundred.
    crash_new_leader: u64,
    /// The last transfer that was asked for.
    transfer_to: Option<u64>,
    /// Since when one cannot reach the other.
    unreachable_since: BTreeMap<(u64, u64), u64>,
}

impl Chaos {
    pub fn new(random: &mut Random) -> Chaos {
        let mut pick = |from: &[u64]| from[random.below(from.len() as u64) as usize];
        Chaos {
            on: true,
            pause_us: pick(&[3_000, 10_000, 40_000]),
            crash: pick(&[0, 2, 6]),
            cut: pick(&[0, 3, 8]),
            change: pick(&[0, 2, 6]),
            transfer: pick(&[0, 2, 5]),
            compact: pick(&[0, 3, 8]),
            pause: pick(&[0, 2, 6]),
            crash_new_leader: pick(&[0, 0, 30]),
            transfer_to: None,
            unreachable_since: BTreeMap::new(),
        }
    }

    /// Does this one go down soon, and when?
    pub fn crashes_new_leader(&self, random: &mut Random) -> Option<u64> {
        let doomed = self.on && random.below(100) < self.crash_new_leader;
        doomed.then(|| random.below(3 * MS))
    }

    pub fn on_new_leader(&mut self, id: u64, counters: &mut Counters) {
        counters.leaders_by_transfer += u64::from(self.transfer_to.take() == Some(id));
    }
}

impl World {
    /// The first mood.
    pub fn break_things(&mut self) {
        let end = self.real + 4_000 * MS;
        self.run_until(end, |_| false);
    }

    pub fn on_chaos(&mut self) {
        if self.chaos.on {
            self.do_something();
        }
        let pause = (1 + self.random.below(self.chaos.pause_us)) * 1000;
        self.schedule(pause, Event::Chaos);
    }

    fn do_something(&mut self) {
        let Chaos { crash, cut, change, transfer, compact, pause, .. } = self.chaos;
        let kinds: [(u64, fn(&mut World)); 13] = [
            (40, World::propose),
            (20, World::read),
            (crash, World::crash_one),
            (crash, World::start_one),
            (cut, World::cut_something),
            (cut, World::mend),
            (change, World::change_membership),
            (transfer, World::transfer),
            (compact, World::snapshot_one),
            (pause, World::pause_one),
            (1, World::fill_or_clear_disk),
            (2, World::slow_or_speed_disk),
            (2, World::rest_or_campaign),
        ];
        let total: u64 = kinds.iter().map(|(weight, _)| weight).sum();
        let mut drawn = self.random.below(total);
        for (weight, act) in kinds {
            if drawn < weight {
                return act(self);
            }
            drawn -= weight;
        }
    }

    fn any(&mut self) -> u64 {
        1 + self.random.below(NODES)
    }

    /// One that takes itself for the leader; any, if there is none.
    fn leader_or_any(&mut self) -> u64 {
        let leaders: Vec<u64> =
            self.nodes.values().filter(|node| node.leads()).map(|node| node.id.0).collect();
        if leaders.is_empty() {
            return self.any();
        }
        leaders[self.random.below(leaders.len() as u64) as usize]
    }

    pub fn propose_at(&mut self, id: u64) {
        if self.nodes[&id].paused_until > self.real {
            return;
        }
        let payload = self.payload();
        match self.with(id, |raft, now| raft.propose(payload, now)) {
            Some(Ok(_)) => self.counters.proposals += 1,
            Some(Err(_)) => self.counters.proposals_refused += 1,
            None => {}
        }
    }

    fn propose(&mut self) {
        let id = self.leader_or_any();
        for _ in 0..=self.random.below(4) {
            self.propose_at(id);
        }
    }

    pub fn read_at(&mut self, id: u64) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let least = self.oracle.known_commit;
        let node = self.nodes.get_mut(&id).expect("a node");
        if node.is_up() && node.paused_until <= self.real {
            self.counters.reads += 1;
            node.reads.insert(ticket, least);
            self.with(id, |raft, now| raft.read(ticket, now));
        }
    }

    fn read(&mut self) {
        let id = if self.random.below(3) == 0 { self.leader_or_any() } else { self.any() };
        for _ in 0..=self.random.below(3) {
            self.read_at(id);
        }
    }

    fn crash_one(&mut self) {
        let id = if self.random.below(2) == 0 { self.leader_or_any() } else { self.any() };
        self.crash(id);
    }

    pub fn crash(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).expect("a node");
        if self.chaos.on && node.is_up() {
            self.counters.crashes += 1;
            self.counters.records_lost_in_crashes += node.crash(&mut self.random);
            self.say(|| format!("{id} crashes"));
            if self.random.below(2) == 0 {
                self.start(id);
            }
        }
    }

    /// A machine that stands still for a while: its clock goes on, and what comes has to wait.
    fn pause_one(&mut self) {
        let id = if self.random.below(2) == 0 { self.leader_or_any() } else { self.any() };
        let pause = self.random.below(400) * MS;
        let node = self.nodes.get_mut(&id).expect("a node");
        if node.paused_until < self.real {
            self.counters.pauses += 1;
            node.paused_until = self.real + pause;
            self.say(|| format!("{id} stands still for {} ms", pause / MS));
            self.schedule(pause, Event::Resume { node: id });
        }
    }

    /// The first that it sees may be a client.
    pub fn resume(&mut self, id: u64) {
        if self.random.below(2) == 0 {
            self.read_at(id);
            self.propose_at(id);
        }
    }

    fn start_one(&mut self) {
        let down: Vec<u64> = self.nodes.values().filter(|node| !node.is_up()).map(|node| node.id.0).collect();
        if !down.is_empty() {
            let id = down[self.random.below(down.len() as u64) as usize];
            self.start(id);
        }
    }

    fn cut_something(&mut self) {
        self.counters.partitions += 1;
        let one = if self.random.below(2) == 0 { self.leader_or_any() } else { self.any() };
        match self.random.below(5) {
            0 => {
                let other = self.any();
                self.counters.one_way_partitions += 1;
                self.network.cut.insert((one, other));
            }
            4 => {
                let other = self.any();
                self.network.cut.extend([(one, other), (other, one)]);
            }
            1 => {
                let outward = self.random.below(2) == 0;
                self.counters.one_way_partitions += 1;
                for other in 1..=NODES {
                    self.network.cut.insert(if outward { (one, other) } else { (other, one) });
                }
            }
            2 => {
                for other in 1..=NODES {
                    self.network.cut.extend([(one, other), (other, one)]);
                }
            }
            _ => {
                let side = self.random.draw();
                for a in 1..=NODES {
                    for b in (1..=NODES).filter(|b| side >> a & 1 != side >> b & 1) {
                        self.network.cut.insert((a, b));
                    }
                }
            }
        }
        self.say(|| format!("cut {:?}", self.network.cut));
    }

    fn mend(&mut self) {
        self.network.cut.clear();
        self.say(|| "all links are whole".to_string());
    }

    fn change_membership(&mut self) {
        let id = self.leader_or_any();
        let mut target = Membership::default();
        for node in 1..=NODES {
            match self.random.below(5) {
                0..=2 => target.voters.push(NodeId(node)),
                3 => target.learners.push(NodeId(node)),
                _ => {}
            }
        }
        let text = format!("{target:?}");
        if let Some(Ok(index)) = self.with(id, |raft, now| raft.propose_membership(target, now)) {
            self.counters.membership_changes += 1;
            self.say(|| format!("{id} changes at {index} to {text}"));
        }
    }

    fn transfer(&mut self) {
        let id = self.leader_or_any();
        let to = self.any();
        if let Some(Ok(())) = self.with(id, |raft, now| raft.transfer(NodeId(to), now)) {
            self.counters.transfers += 1;
            self.chaos.transfer_to = Some(to);
            self.say(|| format!("{id} hands over to {to}"));
        }
    }

    fn snapshot_one(&mut self) {
        let id = if self.random.below(2) == 0 { self.leader_or_any() } else { self.any() };
        if self.random.below(3) == 0 && self.nodes[&id].leads() {
            // One that nobody asked for, or that was asked for long ago.
            let to = self.any();
            if to != id {
                self.send_snapshot(id, NodeId(to));
            }
        } else {
            self.begin_snapshot(id);
        }
    }

    fn fill_or_clear_disk(&mut self) {
        let id = self.any();
        let full = self.random.below(2) == 0;
        self.counters.disks_full += u64::from(full);
        self.with(id, |raft, _| raft.set_disk_full(full));
    }

    fn slow_or_speed_disk(&mut self) {
        let id = self.any();
        let slow = self.random.below(2) == 0;
        self.counters.slow_disks += u64::from(slow);
        self.nodes.get_mut(&id).expect("a node").slow_disk = slow;
    }

    /// Nothing for a while, so that the group falls quiet; or somebody campaigns.
    fn rest_or_campaign(&mut self) {
        if self.random.below(2) == 0 {
            let end = self.real + 600 * MS;
            self.chaos.on = false;
            let at = self.real;
            self.say(|| format!("a rest, until {at}"));
            self.run_until(end, |_| false);
            self.chaos.on = true;
        } else {
            let id = self.any();
            self.with(id, Raft::campaign);
        }
    }

    /// Every replica learns of others that it cannot reach; deliveries of snapshots that fail are noticed.
    pub fn on_liveness(&mut self) {
        for id in 1..=NODES {
            if self.nodes[&id].paused_until > self.real {
                continue;
            }
            self.give_up_snapshots(id);
            for peer in (1..=NODES).filter(|&peer| peer != id) {
                let paused = self.nodes[&peer].paused_until > self.real;
                let reaches = !paused && self.nodes[&peer].is_up() && !self.network.cut.contains(&(peer, id));
                if reaches {
                    self.chaos.unreachable_since.remove(&(peer, id));
                    continue;
                }
                let real = self.real;
                let since = *self.chaos.unreachable_since.entry((peer, id)).or_insert(real);
                let leads = |raft: &Raft| raft.leader() == Some(NodeId(peer));
                if real - since > 100 * MS && self.nodes[&id].raft.as_ref().is_some_and(leads) {
                    self.counters.suspicions += 1;
                    self.chaos.unreachable_since.insert((peer, id), real);
                    self.with(id, |raft, now| raft.suspect(NodeId(peer), now));
                }
            }
        }
        self.schedule(20 * MS, Event::Liveness);
    }

    /// The second mood: everything works from now on.
    pub fn heal(&mut self) {
        self.say(|| "everything heals".to_string());
        self.chaos.on = false;
        self.network.heal();
        for id in 1..=NODES {
            let node = self.nodes.get_mut(&id).expect("a node");
            node.slow_disk = false;
            node.paused_until = 0;
            if !self.nodes[&id].is_up() {
                self.start(id);
            }
            self.with(id, |raft, _| raft.set_disk_full(false));
        }
    }

    /// A proposal commits, a follower's read is answered, and the group falls quiet with equal logs.
    pub fn require_progress(&mut self) {
        let proposals = self.next_payload;
        let commit = self.oracle.committed_count();
        let mut attempts = 0;
        while self.oracle.committed_count() <= commit || self.next_payload == proposals {
            attempts += 1;
            assert!(attempts < 200, "no proposal commits after everything has healed");
            let leaders: Vec<u64> = self.nodes.values().filter(|node| node.leads()).map(|n| n.id.0).collect();
            for id in leaders {
                self.propose_at(id);
            }
            let end = self.real + 50 * MS;
            self.run_until(end, |_| false);
        }
        self.require_reads();
        // What was sent while the network was bad has come by then.
        let arrived = self.real + 4_000 * MS;
        self.run_until(arrived, |_| false);
        let end = self.real + 20_000 * MS;
        let quiet = self.run_until(end, World::all_quiet);
        assert!(quiet, "the group does not fall quiet");
        let still = self.real + 1_000 * MS;
        self.run_until(still, |_| false);
        assert!(self.all_quiet(), "the group does not stay quiet");
        for node in self.nodes.values() {
            assert!(node.reads.is_empty(), "reads at {:?} were never answered", node.id);
        }
    }

    fn require_reads(&mut self) {
        let mut attempts = 0;
        loop {
            attempts += 1;
            assert!(attempts < 100, "no follower's read is answered");
            let before = self.counters.reads_answered_by_followers;
            let followers: Vec<u64> =
                self.members().into_iter().filter(|id| !self.nodes[id].leads()).collect();
            if followers.is_empty() {
                return;
            }
            for id in followers {
                self.read_at(id);
            }
            let end = self.real + 100 * MS;
            self.run_until(end, |_| false);
            if self.counters.reads_answered_by_followers > before {
                return;
            }
        }
    }

    /// By the word of the leader of the highest term.
    fn members(&self) -> Vec<u64> {
        let leaders =
            self.nodes.values().filter_map(|node| node.raft.as_ref()).filter(|raft| raft.is_leader());
        let latest = leaders.max_by_key(|raft| raft.term());
        latest.map_or(Vec::new(), |raft| raft.membership().members().iter().map(|node| node.0).collect())
    }

    fn all_quiet(&self) -> bool {
        let members = self.members();
        let count = self.oracle.committed_count();
        !members.is_empty()
            && members.iter().all(|id| {
                let node = &self.nodes[id];
                node.raft.as_ref().is_some_and(|raft| {
                    raft.is_quiet()
                        && raft.wake_at() == Time::NEVER
                        && raft.last_index() == count
                        && raft.commit() == count
                        && node.applied == count
                        && node.digest == self.oracle.digest_at(count)
                })
            })
    }
}
