//! What happens at nodes: messages come in, batches are stepped, disks complete, processes start and die.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use replication::configuration::{Ask, Wish};
use replication::contract::{Batch, Input, Output, SnapshotWrite};
use replication::merged::causal;
use replication::ordered::raft;
use replication::{NodeId, wire};

use super::{Event, World};
use crate::clock::{MILLISECOND, TrueTime};
use crate::node::store::Broken;
use crate::node::{Node, Start};
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
        if self.nodes[node].outside {
            return Ok(());
        }
        if self.nodes[node].lost {
            self.lose_disk(node);
        }
        let mut options = replication::shard::Options::new(self.nodes[node].id, 0, 0);
        options.raft = self.scenario.raft();
        #[cfg(feature = "planted-bugs")]
        {
            options.planted = self.scenario.planted_merged;
        }
        options.snapshot_log_bytes = self.scenario.snapshot_log_bytes;
        options.announce_applied = true;
        options.hot_reads = self.scenario.hot_reads;
        if self.scenario.is_sloppy() {
            let chance = self.scenario.chance;
            options.hint_bytes = [64 << 20, 64 << 20, 4 << 10][(chance / 5 % 3) as usize];
            options.hint_window = Duration::from_secs([3600, 3600, 4][(chance / 15 % 3) as usize]);
        }
        let journal = storage::journal::Options {
            segment_bytes: self.scenario.segment_bytes,
            maintain_bytes: self.scenario.segment_bytes / 4,
            ..storage::journal::Options::default()
        };
        if self.operator.is_founder(options.node) {
            options.founding = Some(self.operator.founding.clone());
        }
        let start = Start { options, placement: self.placement.clone(), journal };
        let started = self.nodes[node].start(self.at, start);
        let found = match started {
            Ok(found) => found,
            // Without any room a process may not even start; it is tried again.
            Err(_) if self.nodes[node].full > 0 => {
                self.counters.add("disk.too_full_to_start");
                self.come_back(node, 300 * MILLISECOND);
                return Ok(());
            }
            Err(Broken(text)) if self.nodes[node].rotten => {
                let id = self.nodes[node].id.0;
                self.tell(|| format!("node {id} does not start: {text}"));
                self.counters.add("disk.rot_found");
                self.lose_disk(node);
                return self.start_node(node);
            }
            Err(Broken(text)) => {
                let id = self.nodes[node].id.0;
                return Err(Violation::new("recovery", format!("node {id} does not start: {text}")));
            }
        };
        let (id, life) = (self.nodes[node].id, self.nodes[node].life);
        self.counters.add_many("log.recovered_entries", found.entries);
        self.counters.add_many("log.recovered_snapshots", found.snapshots);
        self.story.mark(self.at, 1, id.0);
        self.tell(|| format!("node {} starts (life {life}, {} entries found)", id.0, found.entries));
        self.logs.on_start(id);
        self.copies.on_start(id, &found.groups, self.operator.newest());
        for &partition in &self.nodes[node].partitions.clone() {
            self.digests.on_loaded(id, partition, self.logs.highest(partition));
        }
        self.nodes[node].rotten = false;
        Ok(())
    }

    /// The process dies. `power_lost`: the machine too, and with it what was not synced.
    pub(super) fn kill_node(&mut self, node: usize, power_lost: bool) {
        let victim = &mut self.nodes[node];
        let seed = victim.random.next();
        let Some(process) = victim.process.take() else { return };
        victim.life += 1;
        victim.paused_until = 0;
        match power_lost {
            true => victim.disk.crash(seed),
            false => victim.disk.kill(),
        }
        victim.lost |= power_lost && victim.lying;
        victim.losses += u64::from(power_lost);
        let id = victim.id;
        self.leases.on_crash(id);
        self.story.mark(self.at, 2, id.0);
        self.tell(|| {
            format!("node {} dies ({})", id.0, if power_lost { "power lost" } else { "process only" })
        });
        for connection in process.front.open_connections() {
            if let Some(&client) = self.owners.get(&connection) {
                let at = self.at + self.clients[client].random.between(50_000, 2 * MILLISECOND);
                self.queue.push(at, Event::Lost { client, connection });
            }
        }
        for other in 0..self.nodes.len() {
            if other != node && self.nodes[other].random.chance(600) {
                let at = self.at + self.nodes[other].random.between(50_000, 5 * MILLISECOND);
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
        let after = self.nodes[node].random.between(2_000, 80_000);
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
            self.start_sync(node, life);
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
                Output::Send { to, message } => {
                    if let wire::Message::Ask(Ask { wish: Wish::Remove(_) | Wish::Suspect, .. }) = &message {
                        self.doubted_at = self.at;
                    }
                    if let wire::Message::Causal { partition, message: causal::Message::Mutations(all) } =
                        &message
                    {
                        for payload in all {
                            self.merged.on_told(*partition, payload)?;
                        }
                    }
                    self.on_hint_sent(&message)?;
                    if matches!(
                        message,
                        wire::Message::Causal { message: causal::Message::Rights { .. }, .. }
                    ) {
                        self.counters.add("bounded.rights_asked");
                    }
                    self.send(node, to, &message);
                }
                Output::Persist(batch) => self.on_persist(node, life, batch),
                Output::Fetch { partition, from, to, max_bytes } => {
                    self.counters.add("raft.fetch");
                    let Some(process) = self.process(node, life) else { return Ok(()) };
                    match process.store.fetch(partition, from, to, max_bytes) {
                        Ok(entries) => {
                            let at = self.at + self.random.between(50_000, 3 * MILLISECOND);
                            let input = Input::Fetched { partition, from, entries };
                            self.queue.push(at, Event::Completed { node, life, input });
                        }
                        Err(broken) => self.on_disk_result(node, Err(broken)),
                    }
                }
                Output::Snapshot(write) => self.on_snapshot_write(node, life, write),
                Output::Reply { id, reply, seen } => {
                    let mut produced = Default::default();
                    let now = self.nodes[node].now(self.at);
                    let Some(process) = self.process(node, life) else { return Ok(()) };
                    let placement = process.placement.clone();
                    process.front.on_reply(id, (reply, seen), now, &placement, &mut produced)?;
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
        if let wire::Message::Forward { partition, .. } = message {
            self.counters.add("message.forwarded");
            let mut readers = self.operator.newest().readers.get(partition).into_iter().flatten();
            if readers.any(|reader| reader.node == self.nodes[target].id && reader.ready) {
                self.counters.add("readers.asked");
            }
        }
        let passage = self.network.pass((node, target), self.at, frame.len());
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
        if let wire::Message::Raft { message: raft::Message::GrantedInDoubt { .. }, .. } = message {
            self.counters.add("primary.granted_in_doubt");
        }
        for at in passage.arrival.into_iter().chain(passage.copy) {
            let frame = frame.clone();
            self.queue.push(at, Event::Deliver { to: target, identity: to, from, incarnation, frame });
        }
    }

    fn on_persist(&mut self, node: usize, life: u64, batch: Batch) {
        self.count_writes(node, &batch);
        // A driver syncs soon what need not be durable at once; how soon, nobody may count on.
        let mut later = |from, to| if batch.tells_written { self.random.between(from, to) } else { 0 };
        let relaxed_by = self.at + later(1, 900) * MILLISECOND;
        let told_at = self.at + later(20_000, 500_000);
        let (number, tells_written) = (batch.number, batch.tells_written);
        let Some(process) = self.process(node, life) else { return };
        process.sync_by = match batch.relaxed {
            true => process.sync_by.map(|by| by.min(relaxed_by)),
            false => None,
        };
        let result = process.store.write(batch);
        let is_written = process.store.written >= number;
        if tells_written && is_written && result.is_ok() {
            self.counters.add("log.written_before_durable");
            let input = Input::Written { number };
            self.queue.push(told_at, Event::Completed { node, life, input });
        }
        self.on_disk_result(node, result);
        self.tell_of_room(node, life);
    }

    fn on_snapshot_write(&mut self, node: usize, life: u64, write: SnapshotWrite) {
        let Some(process) = self.process(node, life) else { return };
        match process.store.snapshot(write) {
            Ok(None) => {}
            Ok(Some(input)) => {
                let at = self.at + self.sync_time(node);
                self.queue.push(at, Event::Completed { node, life, input });
            }
            Err(broken) => self.on_disk_result(node, Err(broken)),
        }
        self.tell_of_room(node, life);
    }

    /// Tells the shard when the disk has run full, and when it has room again.
    pub(super) fn tell_of_room(&mut self, node: usize, life: u64) {
        let Some(process) = self.process(node, life) else { return };
        let full = process.store.is_full();
        if full == process.told_full {
            return;
        }
        process.told_full = full;
        let id = self.nodes[node].id.0;
        self.tell(|| format!("node {id}: the disk {}", if full { "is full" } else { "has room again" }));
        if full {
            self.counters.add("disk.full");
        }
        self.take_in(node, life, Input::Disk { full });
    }

    /// A driver whose disk is full looks again from time to time.
    pub(super) fn look_for_room(&mut self, node: usize) {
        let life = self.nodes[node].life;
        let Some(process) = self.process(node, life) else { return };
        if !process.told_full {
            return;
        }
        let result = process.store.try_again();
        self.on_disk_result(node, result);
        self.tell_of_room(node, life);
        self.start_sync(node, life);
    }

    fn sync_time(&mut self, node: usize) -> TrueTime {
        let (low, high) = self.scenario.sync_time[node];
        let Node { random, slow, .. } = &mut self.nodes[node];
        let usual = random.between(low, high);
        let slow = if *slow > 0 { random.between(20, 400) * MILLISECOND } else { 0 };
        usual + slow
    }

    /// If something was written since the last sync and none is under way, one begins. Whether the disk is done early and
    /// the answer takes its time, or the other way round, nobody can tell; both are tried.
    fn start_sync(&mut self, node: usize, life: u64) {
        let takes = self.sync_time(node);
        let early = self.nodes[node].random.chance(500);
        let at = self.at + takes;
        let Some(process) = self.process(node, life) else { return };
        if process.syncing || process.store.written == process.synced {
            return;
        }
        if process.sync_by.is_some_and(|by| at < by) {
            return;
        }
        process.syncing = true;
        process.sync_by = Some(TrueTime::MAX);
        let number = process.store.written;
        let result = if early { process.store.sync() } else { Ok(()) };
        self.queue.push(at, Event::Synced { node, life, number, done: early });
        self.on_disk_result(node, result)
    }

    pub(super) fn on_synced(&mut self, node: usize, life: u64, number: u64, done: bool) {
        let Some(process) = self.process(node, life) else { return };
        let result = if done { Ok(()) } else { process.store.sync() };
        if result.is_ok() {
            process.syncing = false;
            process.synced = number;
            self.take_in(node, life, Input::Persisted { number });
            self.start_sync(node, life);
        }
        self.on_disk_result(node, result);
    }

    /// A failed sync or write ends the process; it is started again after a while.
    fn on_disk_result(&mut self, node: usize, result: Result<(), Broken>) {
        if let Err(Broken(text)) = result {
            let id = self.nodes[node].id.0;
            self.tell(|| format!("node {id}: {text}"));
            if self.nodes[node].sync_fails.is_none() && !self.nodes[node].rotten {
                let text = format!("node {id} stops though nothing was done to its disk: {text}");
                self.alarm.get_or_insert(Violation::new("storage", text));
            }
            self.kill_node(node, false);
            self.nodes[node].losses += 1;
            self.on_sync_failed(node);
        }
    }
}
