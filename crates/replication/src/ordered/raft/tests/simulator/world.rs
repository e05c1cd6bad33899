//! The world: replicas, network and events in one queue, all from one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::super::super::*;
use super::chaos::Chaos;
use super::counters::Counters;
use super::disk::{Batch, Then};
use super::network::{Fate, Network, Packet};
use super::node::Node;
use super::oracle::Oracle;
use crate::contract::Write;
use crate::random::Random;
use crate::wire;

pub const MS: u64 = 1_000_000;
/// Replicas that there may ever be.
pub const NODES: u64 = 6;

#[derive(Debug)]
pub enum Event {
    Deliver {
        from: u64,
        to: u64,
        packet: Packet,
    },
    Wake {
        node: u64,
        life: u64,
        at: u64,
    },
    DiskDone {
        node: u64,
        life: u64,
    },
    ReadBack {
        node: u64,
        life: u64,
        from: u64,
        to: u64,
        entries: Option<Vec<Entry>>,
    },
    /// The next thing that somebody does or that goes wrong.
    Chaos,
    /// A replica that was just elected goes down.
    Crash {
        node: u64,
    },
    /// A replica that stood still goes on.
    Resume {
        node: u64,
    },
    /// The node-level liveness: who cannot be reached for long is suspected.
    Liveness,
}

pub struct World {
    pub random: Random,
    pub real: u64,
    queue: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    pub nodes: BTreeMap<u64, Node>,
    pub network: Network,
    pub oracle: Oracle,
    pub counters: Counters,
    pub chaos: Chaos,
    pub options: Options,
    /// Candidates by the will of the leader before them.
    transferred: BTreeSet<(u64, NodeId)>,
    pub next_payload: u64,
    pub next_ticket: u64,
    trace: bool,
}

impl World {
    pub fn new(seed: u64, bug: Option<Bug>) -> World {
        let mut random = Random::new(seed);
        let options = Options {
            election_timeout: Duration::from_millis(100),
            heartbeat_interval: Duration::from_millis(20),
            clock_drift_ppm: 50_000,
            max_append_bytes: 300,
            max_inflight_bytes: 1_000,
            memory_tail_bytes: 500,
            max_apply_entries: 3,
            quiet_after: Duration::from_millis(200),
            losses: 0,
            planted: bug,
        };
        let voters = 1 + random.below(5);
        let first = Membership { voters: (1..=voters.max(3)).map(NodeId).collect(), ..Membership::default() };
        let nodes = (1..=NODES).map(|id| {
            let known =
                if first.voters.contains(&NodeId(id)) { first.clone() } else { Membership::default() };
            (id, Node::new(id, known))
        });
        let mut world = World {
            nodes: nodes.collect(),
            real: 1,
            queue: BTreeMap::new(),
            next_event: 0,
            network: Network::new(&mut random),
            oracle: Oracle::default(),
            counters: Counters { runs: 1, ..Counters::default() },
            chaos: Chaos::new(&mut random),
            options,
            transferred: BTreeSet::new(),
            next_payload: 0,
            next_ticket: 0,
            trace: std::env::var_os("RAFT_TRACE").is_some(),
            random,
        };
        for id in 1..=NODES {
            world.start(id);
        }
        world.schedule(MS, Event::Chaos);
        world.schedule(MS, Event::Liveness);
        world
    }

    pub fn schedule(&mut self, after: u64, event: Event) {
        self.next_event += 1;
        self.queue.insert((self.real + after, self.next_event), event);
    }

    pub fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>10.3} {}", self.real as f64 / MS as f64, what());
        }
    }

    /// Works off events until that time, or until `done`.
    pub fn run_until(&mut self, end: u64, mut done: impl FnMut(&World) -> bool) -> bool {
        while !done(self) {
            let Some((&key, _)) = self.queue.first_key_value() else { return false };
            if key.0 > end {
                self.real = self.real.max(end);
                return false;
            }
            let event = self.queue.remove(&key).expect("it is the first");
            self.real = key.0;
            self.counters.steps += 1;
            assert!(self.counters.steps < 1_000_000, "messages breed messages");
            self.handle(event);
            self.counters.times_with_lease += self.oracle.leases(self.real, &self.nodes);
        }
        true
    }

    /// The replica that an event is for.
    fn receiver(event: &Event) -> Option<u64> {
        match event {
            Event::Deliver { to, .. } => Some(*to),
            Event::Wake { node, .. } | Event::DiskDone { node, .. } | Event::ReadBack { node, .. } => {
                Some(*node)
            }
            Event::Chaos | Event::Liveness | Event::Crash { .. } | Event::Resume { .. } => None,
        }
    }

    fn handle(&mut self, event: Event) {
        let paused_until = Self::receiver(&event).map_or(0, |node| self.nodes[&node].paused_until);
        if paused_until > self.real {
            self.schedule(paused_until - self.real, event);
            return;
        }
        match event {
            Event::Deliver { from, to, packet } => self.on_packet(from, to, packet),
            Event::Wake { node, life, at } => {
                let due = self.nodes[&node].life == life && self.nodes[&node].wake_at <= at;
                if due {
                    self.with(node, |raft, now| raft.tick(now));
                    let now = self.nodes[&node].clock.local(self.real);
                    let raft = self.nodes[&node].raft.as_ref().expect("it is up");
                    assert!(raft.wake_at() > now, "{node} wants to be called again at once");
                }
            }
            Event::DiskDone { node, life } if self.nodes[&node].life == life => self.on_disk_done(node),
            Event::ReadBack { node, life, from, to, entries } if self.nodes[&node].life == life => {
                self.on_read_back(node, from, to, entries);
            }
            Event::DiskDone { .. } | Event::ReadBack { .. } => {}
            Event::Crash { node } => self.crash(node),
            Event::Resume { node } => self.resume(node),
            Event::Chaos => self.on_chaos(),
            Event::Liveness => self.on_liveness(),
        }
    }

    fn on_packet(&mut self, from: u64, to: u64, packet: Packet) {
        if !self.nodes[&to].is_up() {
            return;
        }
        self.counters.messages_delivered += 1;
        match packet {
            Packet::Raft(bytes) => {
                let Ok(wire::Message::Raft { message, .. }) = wire::decode(bytes) else {
                    panic!("what was encoded is decoded")
                };
                self.say(|| format!("{from} -> {to} {message:?}"));
                self.count_message(&message);
                let leads = matches!(message, Message::Append { .. } | Message::Heartbeat { .. });
                let term = message.term();
                self.with(to, |raft, now| raft.step(NodeId(from), message, now));
                let node = self.nodes.get_mut(&to).expect("a node");
                let follows = |raft: &Raft| raft.term() == term && raft.leader() == Some(NodeId(from));
                if leads && node.raft.as_ref().is_some_and(follows) {
                    node.heard_leader_at = self.real;
                }
            }
            Packet::Snapshot { term, snapshot } => self.on_snapshot(from, to, term, snapshot),
            Packet::SnapshotAck { index } => self.on_snapshot_ack(from, to, index),
        }
    }

    fn count_message(&mut self, message: &Message) {
        match message {
            Message::Removed { .. } => self.counters.members_told_removed += 1,
            Message::AppendReject { disk_full: true, .. } => self.counters.rejected_as_disk_full += 1,
            _ => {}
        }
    }

    pub fn start(&mut self, id: u64) {
        let drift = u64::from(self.options.clock_drift_ppm);
        let rate = match self.random.below(3) {
            0 => 1_000_000 - drift / 2,
            1 => 1_000_000 + drift / 2,
            _ => 1_000_000 - drift / 2 + self.random.below(drift),
        };
        let options = self.options.clone();
        let node = self.nodes.get_mut(&id).expect("a node");
        let snapshot = node.disk.snapshot.meta.index;
        let behind = snapshot > 0 && node.disk.log.last_key_value().is_none_or(|(&last, _)| last < snapshot);
        self.counters.starts_with_log_behind_snapshot += u64::from(behind);
        node.start(self.real, options, rate, &mut self.random);
        let term = node.raft.as_ref().map_or(0, Raft::term);
        self.say(|| format!("{id} starts in term {term}"));
        self.with(id, |_, _| ());
    }

    /// Calls the replica, then takes what it gives out and checks it.
    pub fn with<T>(&mut self, id: u64, call: impl FnOnce(&mut Raft, Time) -> T) -> Option<T> {
        let node = self.nodes.get_mut(&id).expect("a node");
        let now = node.clock.local(self.real);
        let raft = node.raft.as_mut()?;
        let commit_before = raft.commit();
        let answer = call(raft, now);
        let mut effects = Effects::default();
        raft.finish(now, &mut effects);
        self.check_writes(id, &effects);
        self.send_and_persist(id, &mut effects);
        self.apply(id, &effects.committed);
        self.take_reads(id, &effects.reads);
        self.check_state(id, commit_before, &effects);
        for to in effects.needs_snapshot {
            self.send_snapshot(id, to);
        }
        if let Some((from, to)) = effects.fetch {
            self.read_back(id, from, to);
        }
        self.plan_wake(id);
        if self.nodes[&id].raft.as_ref().is_some_and(Raft::has_more_to_apply) {
            self.with_nothing(id);
        }
        Some(answer)
    }

    fn with_nothing(&mut self, id: u64) {
        self.with(id, (|_, _| ()) as fn(&mut Raft, Time));
    }

    fn check_writes(&mut self, id: u64, effects: &Effects) {
        let node = self.nodes.get_mut(&id).expect("a node");
        let raft = node.raft.as_ref().expect("it is up");
        for write in &effects.persist {
            match write {
                Write::Append { entry, .. } => {
                    if entry.index <= node.last_written {
                        self.counters.truncations += 1;
                        let dropped = node.memberships.split_off(&entry.index);
                        self.counters.memberships_reverted += dropped.len() as u64;
                    }
                    node.last_written = entry.index;
                    if let Some(before) = raft.meta_at(entry.index - 1) {
                        self.oracle.written(entry, before.term);
                    }
                    if entry.kind == EntryKind::Membership {
                        let membership = Membership::decode(&entry.payload).expect("a membership");
                        node.memberships.insert(entry.index, membership);
                    }
                }
                Write::Reset { index, .. } => {
                    node.last_written = *index;
                    let meta = raft.meta_at(*index).expect("the log begins there");
                    let had = node.disk.log.get(index).is_some_and(|entry| entry.term == meta.term);
                    let had_more = node.disk.log.contains_key(&(index + 1));
                    assert!(!(had && had_more), "{id} drops entries that follow the one at {index}");
                    node.memberships = BTreeMap::from([(*index, meta.membership)]);
                }
                Write::State { .. } | Write::Trim { .. } | Write::Forget { .. } | Write::Lost { .. } => {}
            }
        }
        let (_, in_force) = node.memberships.last_key_value().expect("the first is always there");
        assert_eq!(
            raft.membership(),
            in_force,
            "{id} goes by a membership that is not the latest in its log"
        );
        for (_, membership, committed) in &effects.memberships {
            self.counters.joint_memberships_committed += u64::from(*committed && membership.is_joint());
        }
    }

    fn check_state(&mut self, id: u64, commit_before: u64, effects: &Effects) {
        let node = &self.nodes[&id];
        let raft = node.raft.as_ref().expect("it is up");
        assert!(raft.commit() >= commit_before, "the commit index of {id} fell");
        if raft.is_leader() && raft.commit() > commit_before && !effects.memberships.iter().any(|m| !m.2) {
            let newest = raft.meta_at(raft.commit()).map(|meta| meta.term);
            assert_eq!(newest, Some(raft.term()), "{id} commits an entry of an earlier term by itself");
            self.oracle.is_durable(raft.commit(), raft, &self.nodes);
        }
        self.oracle.known_commit = self.oracle.known_commit.max(raft.commit());
        let (leads, term, quiet) = (raft.is_leader(), raft.term(), raft.is_quiet());
        if leads && node.was_leader_in != term {
            self.oracle.leads(node.id, raft);
            let voted = (node.disk.state.term, node.disk.state.vote);
            assert_eq!(voted, (term, Some(node.id)), "{id} leads and its own vote is not durable");
            self.counters.leaders += 1;
            self.chaos.on_new_leader(id, &mut self.counters);
            if let Some(after) = self.chaos.crashes_new_leader(&mut self.random) {
                self.schedule(after, Event::Crash { node: id });
            }
            self.say(|| format!("{id} leads in term {term}"));
        }
        let node = self.nodes.get_mut(&id).expect("a node");
        if leads {
            node.was_leader_in = term;
        }
        self.counters.times_quiet += u64::from(quiet && !node.was_quiet);
        node.was_quiet = quiet;
    }

    /// Whoever has heard of a leader votes for nobody else for an election timeout, not even for itself, and not after a
    /// restart either; unless the leader wants it so.
    fn check_promise(&mut self, id: u64, messages: &[(NodeId, Message)]) {
        let fastest = 1_000_000 + u64::from(self.options.clock_drift_ppm) / 2;
        let promised = self.options.election_timeout.as_nanos() as u64 * 1_000_000 / fastest;
        let holds =
            self.nodes[&id].heard_leader_at + promised > self.real && self.nodes[&id].heard_leader_at > 0;
        for (to, message) in messages {
            match message {
                Message::Vote { term, transfer: true, .. } => {
                    self.transferred.insert((*term, NodeId(id)));
                }
                Message::Vote { .. } => assert!(!holds, "{id} campaigns against a promise"),
                Message::VoteGranted { term } => {
                    let may = !holds || self.transferred.contains(&(*term, *to));
                    assert!(may, "{id} votes for {to:?} in term {term} against a promise");
                }
                _ => {}
            }
        }
    }

    fn send_and_persist(&mut self, id: u64, effects: &mut Effects) {
        self.check_promise(id, &effects.send);
        self.check_promise(id, &effects.send_after_persist);
        for (to, message) in effects.send.drain(..) {
            self.send_message(id, to.0, &message);
        }
        let messages = std::mem::take(&mut effects.send_after_persist);
        let writes = std::mem::take(&mut effects.persist);
        assert_eq!(writes.is_empty(), effects.persist_token.is_none());
        let idle = self.nodes[&id].queue.batches.is_empty();
        if writes.is_empty() && idle {
            for (to, message) in messages {
                self.send_message(id, to.0, &message);
            }
        } else if !(writes.is_empty() && messages.is_empty()) {
            let token = effects.persist_token;
            self.persist(id, Batch { writes, snapshot: None, token, messages, then: Then::Nothing });
        }
    }

    pub fn persist(&mut self, id: u64, batch: Batch) {
        self.nodes.get_mut(&id).expect("a node").queue.batches.push_back(batch);
        self.work_disk(id);
    }

    /// Starts to write what waits, all of it or some.
    fn work_disk(&mut self, id: u64) {
        let slow = self.nodes[&id].slow_disk;
        let most = if slow { 80_000 } else { 2_000 };
        let latency = (100 + self.random.below(most)) * 1000;
        let node = self.nodes.get_mut(&id).expect("a node");
        let waiting = node.queue.batches.len();
        if waiting == 0 || node.queue.in_work > 0 {
            return;
        }
        node.queue.in_work = 1 + self.random.below(waiting as u64) as usize;
        let life = node.life;
        self.schedule(latency, Event::DiskDone { node: id, life });
    }

    fn on_disk_done(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).expect("a node");
        let done: Vec<Batch> = node.queue.batches.drain(..node.queue.in_work).collect();
        node.queue.in_work = 0;
        let mut latest = None;
        for batch in done {
            let node = self.nodes.get_mut(&id).expect("a node");
            for write in batch.writes {
                node.disk.write(write);
            }
            if let Some(snapshot) = batch.snapshot {
                node.disk.keep_snapshot(snapshot);
            }
            latest = batch.token.or(latest);
            for (to, message) in batch.messages {
                self.send_message(id, to.0, &message);
            }
            match batch.then {
                Then::Nothing => {}
                Then::Compact { index } => self.compact(id, index),
                Then::Restore { from, snapshot } => self.restore(id, from, &snapshot),
            }
        }
        if let Some(token) = latest {
            self.with(id, |raft, now| raft.persisted(token, now));
        }
        self.work_disk(id);
    }

    fn apply(&mut self, id: u64, committed: &[Entry]) {
        let node = self.nodes.get_mut(&id).expect("a node");
        let term = node.raft.as_ref().map_or(0, Raft::term);
        for entry in committed {
            assert_eq!(entry.index, node.applied + 1, "{id} is given each entry once and in order");
            node.digest = self.oracle.applied(node.digest, entry, term);
            node.applied = entry.index;
        }
        self.counters.entries_committed = self.oracle.committed_count();
        let applied = node.applied;
        // Now and then the table is a little late.
        if !committed.is_empty() && self.random.below(4) > 0 {
            node.raft.as_mut().expect("it is up").applied(applied);
        }
    }

    fn take_reads(&mut self, id: u64, reads: &[(u64, Result<u64, ReadRefused>)]) {
        let node = self.nodes.get_mut(&id).expect("a node");
        for (ticket, answer) in reads {
            let least = node.reads.remove(ticket).expect("each read is answered once");
            match answer {
                Ok(index) => {
                    assert!(*index >= least, "{id} reads at {index}, {least} was committed before");
                    self.counters.reads_answered += 1;
                    self.counters.reads_answered_by_followers += u64::from(!node.leads());
                }
                Err(ReadRefused) => self.counters.reads_refused += 1,
            }
        }
    }

    fn read_back(&mut self, id: u64, from: u64, to: u64) {
        let node = &self.nodes[&id];
        // The disk reads now and answers later, or reads when it answers.
        let at_once = self.random.below(2) == 0;
        let entries = at_once.then(|| node.disk.read(from, to, 5));
        let life = node.life;
        let after = (100 + self.random.below(20_000)) * 1000;
        self.schedule(after, Event::ReadBack { node: id, life, from, to, entries });
    }

    fn on_read_back(&mut self, id: u64, from: u64, to: u64, entries: Option<Vec<Entry>>) {
        let entries = entries.unwrap_or_else(|| self.nodes[&id].disk.read(from, to, 5));
        self.counters.entries_read_back += entries.len() as u64;
        self.counters.read_backs_in_vain += u64::from(entries.is_empty());
        self.with(id, |raft, now| raft.fetched(from, entries, now));
    }

    fn send_message(&mut self, from: u64, to: u64, message: &Message) {
        let mut out = BytesMut::new();
        let message = wire::Message::Raft { partition: PartitionId(1), message: message.clone() };
        wire::encode(&message, &mut out);
        self.send(from, to, Packet::Raft(out.freeze()));
    }

    pub fn send(&mut self, from: u64, to: u64, packet: Packet) {
        assert_ne!(from, to, "nobody sends to itself");
        match self.network.fate(from, to, &mut self.random) {
            Fate::CutOff => self.counters.messages_cut_off += 1,
            Fate::Lost => self.counters.messages_lost += 1,
            Fate::Arrives(delays) => {
                self.counters.messages_duplicated += delays.len() as u64 - 1;
                for delay in delays {
                    self.schedule(delay, Event::Deliver { from, to, packet: packet.clone() });
                }
            }
        }
    }

    fn plan_wake(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).expect("a node");
        let wake_at = node.raft.as_ref().map_or(Time::NEVER, Raft::wake_at);
        let at = if wake_at == Time::NEVER { u64::MAX } else { node.clock.real(wake_at).max(self.real) };
        if at != node.wake_at {
            node.wake_at = at;
            let life = node.life;
            if at < u64::MAX {
                self.schedule(at - self.real, Event::Wake { node: id, life, at });
            }
        }
    }

    /// A payload that no other proposal has.
    pub fn payload(&mut self) -> Bytes {
        self.next_payload += 1;
        let mut payload = vec![0; 8 + self.random.below(150) as usize];
        payload[..8].copy_from_slice(&self.next_payload.to_le_bytes());
        Bytes::from(payload)
    }
}
