//! What happens at nodes: messages come in, batches are stepped, disks complete, processes start and die.

use bytes::{Bytes, BytesMut};
use replication::contract::{Input, Output, Role, SnapshotWrite};
use replication::{NodeId, wire};

use super::{Event, World};
use crate::clock::{MILLISECOND, TrueTime};
use crate::node::store::Failure;
use crate::node::{Start, store};
use crate::oracle::Violation;

/// The shortest time between a wake-up and the next: a shard that always wants to be woken at once does not stop time.
const WAKE_GAP: TrueTime = 20_000;

impl World {
    /// The process of a node, if it is still the one of that life.
    pub(super) fn process(&mut self, node: usize, life: u64) -> Option<&mut crate::node::Process> {
        let node = &mut self.nodes[node];
        if node.life == life { node.process.as_mut() } else { None }
    }

    pub(super) fn start_node(&mut self, node: usize) -> Result<(), Violation> {
        let mut options = replication::shard::Options::new(self.nodes[node].id, 0, 0);
        options.raft = self.scenario.raft.clone();
        options.snapshot_log_bytes = self.scenario.snapshot_log_bytes;
        options.announce_applied = true;
        let store = store::Options { segment_bytes: self.scenario.segment_bytes };
        let start = Start { options, placement: self.placement.clone(), store: &store };
        let started = self.nodes[node].start(self.at, start, &mut self.random);
        let found = started.map_err(|failure| {
            Violation::new("recovery", format!("node {} does not start: {failure:?}", self.nodes[node].id.0))
        })?;
        let (id, life) = (self.nodes[node].id, self.nodes[node].life);
        self.counters.add_many("log.recovered_entries", found.entries);
        if found.torn {
            self.counters.add("log.torn_tail");
        }
        self.story.mark(self.at, 1, id.0);
        self.tell(|| format!("node {} starts (life {life}, {} entries found)", id.0, found.entries));
        self.logs.on_start(id);
        for &partition in &self.nodes[node].partitions.clone() {
            self.digests.on_loaded(id, partition, self.logs.highest(partition));
        }
        self.plan_step(node, life);
        Ok(())
    }

    /// The process dies. `power_lost`: the machine too, and with it what was not synced.
    pub(super) fn kill_node(&mut self, node: usize, power_lost: bool) {
        let seed = self.random.next();
        let victim = &mut self.nodes[node];
        let Some(process) = victim.process.take() else { return };
        victim.life += 1;
        victim.paused_until = 0;
        match power_lost {
            true => victim.disk.crash(seed),
            false => victim.disk.kill(),
        }
        let id = victim.id;
        self.leases.on_crash(id);
        self.story.mark(self.at, 2, id.0);
        self.tell(|| {
            format!("node {} dies ({})", id.0, if power_lost { "power lost" } else { "process only" })
        });
        for connection in process.front.open_connections() {
            if let Some(&client) = self.owners.get(&connection) {
                let at = self.at + self.random.between(50_000, 2 * MILLISECOND);
                self.queue.push(at, Event::Lost { client, connection });
            }
        }
        for other in 0..self.nodes.len() {
            if other != node && self.random.chance(600) {
                let at = self.at + self.random.between(50_000, 5 * MILLISECOND);
                let (life, input) = (self.nodes[other].life, Input::PeerLost { node: id });
                self.queue.push(at, Event::Completed { node: other, life, input });
            }
        }
    }

    pub(super) fn on_deliver(
        &mut self,
        to: usize,
        identity: NodeId,
        from: NodeId,
        incarnation: u64,
        frame: Bytes,
    ) -> Result<(), Violation> {
        let life = self.nodes[to].life;
        if self.nodes[to].id != identity || self.nodes[to].process.is_none() {
            return Ok(());
        }
        self.counters.add("message.delivered");
        self.story.mark(self.at, from.0 << 32 | identity.0, xxhash_rust::xxh3::xxh3_64(&frame));
        let message = wire::decode(frame)
            .map_err(|error| Violation::new("wire", format!("a message is not understood: {}", error.0)))?;
        self.tell(|| format!("{} -> {}  {}", from.0, identity.0, super::effects::short(&message)));
        self.take_in(to, life, Input::Message { from, incarnation, message });
        Ok(())
    }

    /// Hands an input to a process and plans the step that takes it.
    pub(super) fn take_in(&mut self, node: usize, life: u64, input: Input) {
        if let Some(process) = self.process(node, life) {
            process.take_in(input);
            self.plan_step(node, life);
        }
    }

    fn plan_step(&mut self, node: usize, life: u64) {
        let after = self.random.between(2_000, 80_000);
        let at = (self.at + after).max(self.nodes[node].paused_until);
        if let Some(process) = self.process(node, life)
            && !process.step_planned
        {
            process.step_planned = true;
            self.queue.push(at, Event::Step { node, life });
        }
    }

    pub(super) fn on_step(&mut self, node: usize, life: u64) -> Result<(), Violation> {
        let (now, paused_until) = (self.nodes[node].now(self.at), self.nodes[node].paused_until);
        let at = self.at;
        let Some(process) = self.process(node, life) else { return Ok(()) };
        if paused_until > at {
            self.queue.push(paused_until, Event::Step { node, life });
            return Ok(());
        }
        process.step_planned = false;
        let outputs = process.step(now);
        let more = !process.is_idle();
        self.on_outputs(node, life, outputs)?;
        if self.process(node, life).is_some() {
            if more {
                self.plan_step(node, life);
            }
            self.start_sync(node, life)?;
            self.plan_wake(node, life);
        }
        Ok(())
    }

    fn plan_wake(&mut self, node: usize, life: u64) {
        let from = self.at + WAKE_GAP;
        let clock = self.nodes[node].clock.clone();
        let Some(process) = self.process(node, life) else { return };
        let at = clock.true_at(process.shard.wake_at(), from);
        if at == process.wake_planned {
            return;
        }
        process.wake_planned = at;
        process.wake_number += 1;
        let number = process.wake_number;
        if at != TrueTime::MAX {
            self.queue.push(at, Event::Wake { node, life, number });
        }
    }

    /// After a change of a clock's rate the planned wake-up is wrong.
    pub(super) fn replan_wake(&mut self, node: usize) {
        let life = self.nodes[node].life;
        if let Some(process) = self.process(node, life) {
            process.wake_planned = 0;
            self.plan_wake(node, life);
        }
    }

    pub(super) fn on_wake(&mut self, node: usize, life: u64, number: u64) {
        let Some(process) = self.process(node, life) else { return };
        if process.wake_number == number {
            process.wake_planned = 0;
            self.take_in(node, life, Input::Wake);
        }
    }

    fn on_outputs(&mut self, node: usize, life: u64, outputs: Vec<Output>) -> Result<(), Violation> {
        let mut touched = Vec::new();
        for output in outputs {
            if self.process(node, life).is_none() {
                return Ok(());
            }
            match output {
                Output::Send { to, message } => self.send(node, to, &message),
                Output::Persist(batch) => {
                    let Some(process) = self.process(node, life) else { return Ok(()) };
                    let result = process.persist(&batch);
                    self.count_writes(node, &batch);
                    self.on_disk_result(node, result)?;
                }
                Output::Fetch { partition, from, to, max_bytes } => {
                    self.counters.add("raft.fetch");
                    let Some(process) = self.process(node, life) else { return Ok(()) };
                    match process.store.fetch(partition, from, to, max_bytes) {
                        Ok(entries) => {
                            let at = self.at + self.random.between(50_000, 3 * MILLISECOND);
                            let input = Input::Fetched { partition, from, entries };
                            self.queue.push(at, Event::Completed { node, life, input });
                        }
                        Err(failure) => self.on_disk_result(node, Err(failure))?,
                    }
                }
                Output::Snapshot(write) => self.on_snapshot_write(node, life, write)?,
                Output::Reply { id, reply } => {
                    let mut produced = Default::default();
                    let Some(process) = self.process(node, life) else { return Ok(()) };
                    process.front.on_reply(id, reply, &mut produced)?;
                    self.on_produced(node, life, produced);
                }
                Output::Event(event) => self.on_event(node, event, &mut touched)?,
            }
        }
        self.compare_digests(node, &touched)
    }

    fn send(&mut self, node: usize, to: NodeId, message: &wire::Message) {
        let from = self.nodes[node].id;
        let Some(&target) = self.index_of.get(&to) else { return };
        let Some(process) = &self.nodes[node].process else { return };
        let incarnation = process.incarnation;
        let mut bytes = BytesMut::new();
        wire::encode(message, &mut bytes);
        let frame = bytes.freeze();
        if matches!(message, wire::Message::Forward { .. }) {
            self.counters.add("message.forwarded");
        }
        let passage = self.network.pass((node, target), self.at, frame.len(), &mut self.random);
        if passage.cut {
            self.counters.add("message.cut");
        } else if passage.arrival.is_none() {
            self.counters.add("message.lost");
            self.tell(|| format!("{} -x {}  {}", from.0, to.0, super::effects::short(message)));
        }
        if passage.overtakes {
            self.counters.add("message.overtook");
        }
        if passage.copy.is_some() {
            self.counters.add("message.duplicated");
        }
        for at in passage.arrival.into_iter().chain(passage.copy) {
            let frame = frame.clone();
            self.queue.push(at, Event::Deliver { to: target, identity: to, from, incarnation, frame });
        }
    }

    fn on_snapshot_write(&mut self, node: usize, life: u64, write: SnapshotWrite) -> Result<(), Violation> {
        let answer = match &write {
            SnapshotWrite::Chunk { partition, snapshot, sequence, .. }
            | SnapshotWrite::Finish { partition, snapshot, sequence, .. } => {
                Some((*partition, *snapshot, *sequence))
            }
            SnapshotWrite::Abort { .. } => None,
        };
        let Some(process) = self.process(node, life) else { return Ok(()) };
        let result = process.store.snapshot(write);
        let written = result.is_ok();
        self.on_disk_result(node, result)?;
        if let (true, Some((partition, snapshot, sequence))) = (written, answer) {
            let at = self.at + self.sync_time(node);
            let input = Input::SnapshotWritten { partition, snapshot, sequence };
            self.queue.push(at, Event::Completed { node, life, input });
        }
        Ok(())
    }

    fn sync_time(&mut self, node: usize) -> TrueTime {
        let (low, high) = self.scenario.sync_time;
        let usual = self.random.between(low, high);
        let slow = if self.nodes[node].slow > 0 { self.random.between(20, 400) * MILLISECOND } else { 0 };
        usual + slow
    }

    /// If something was written since the last sync and none is under way, one begins. Whether the disk is done early and
    /// the answer takes its time, or the other way round, nobody can tell; both are tried.
    fn start_sync(&mut self, node: usize, life: u64) -> Result<(), Violation> {
        let takes = self.sync_time(node);
        let early = self.random.chance(500);
        let at = self.at + takes;
        let Some(process) = self.process(node, life) else { return Ok(()) };
        if process.syncing || process.written == process.synced {
            return Ok(());
        }
        process.syncing = true;
        let number = process.written;
        let result = if early { process.store.sync() } else { Ok(()) };
        self.queue.push(at, Event::Synced { node, life, number, done: early });
        self.on_disk_result(node, result)
    }

    pub(super) fn on_synced(
        &mut self,
        node: usize,
        life: u64,
        number: u64,
        done: bool,
    ) -> Result<(), Violation> {
        let Some(process) = self.process(node, life) else { return Ok(()) };
        let result = if done { Ok(()) } else { process.store.sync() };
        if result.is_ok() {
            process.syncing = false;
            process.synced = number;
            self.take_in(node, life, Input::Persisted { number });
            self.start_sync(node, life)?;
        }
        self.on_disk_result(node, result)
    }

    /// A failed sync or write ends the process; a full disk does not.
    fn on_disk_result(&mut self, node: usize, result: Result<(), Failure>) -> Result<(), Violation> {
        match result {
            Ok(()) | Err(Failure::Full) => Ok(()),
            Err(Failure::Broken(text)) => {
                let id = self.nodes[node].id;
                self.tell(|| format!("node {}: {text}", id.0));
                self.counters.add("disk.broken");
                self.kill_node(node, false);
                Ok(())
            }
        }
    }

    /// A disk has room again.
    pub(super) fn on_room(&mut self, _node: usize) -> Result<(), Violation> {
        Ok(())
    }

    /// Does this node lead something?
    pub(super) fn leads(&self, node: usize) -> bool {
        let process = self.nodes[node].process.as_ref();
        process.is_some_and(|process| process.shard.status().iter().any(|status| status.role == Role::Leader))
    }
}
