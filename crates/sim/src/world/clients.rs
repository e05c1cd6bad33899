//! What happens at clients.

use bytes::Bytes;

use super::stages::Stage;
use super::{Event, World};
use crate::client::{Connection, Next, Shared};
use crate::clock::{MILLISECOND, SECOND, TrueTime};
use crate::oracle::Violation;

impl World {
    /// A client does one thing, with what it shares at hand.
    fn with_client<R>(
        &mut self,
        client: usize,
        act: impl FnOnce(&mut crate::client::Client, &mut Shared<'_>) -> R,
    ) -> R {
        let mut shared = Shared {
            at: self.at,
            wall_trusted: self.scenario.wall_trusted,
            sessions: !self.scenario.workload.levels.is_empty(),
            history: &mut self.history,
            counters: &mut self.counters,
        };
        act(&mut self.clients[client], &mut shared)
    }

    pub(super) fn on_turn(&mut self, client: usize) -> Result<(), Violation> {
        if self.clients[client].is_idle() && !self.give_work(client) {
            let at = self.at + 20 * MILLISECOND;
            self.queue.push(at.max(self.rest_until), Event::Turn { client });
            return Ok(());
        }
        if !self.connect(client) {
            let at = self.at + self.clients[client].random.between(5, 60) * MILLISECOND;
            self.queue.push(at, Event::Turn { client });
            return Ok(());
        }
        if let Some(bytes) = self.clients[client].attempt() {
            self.send_from_client(client, bytes);
        }
        Ok(())
    }

    /// Something to do, if there is anything.
    fn give_work(&mut self, client: usize) -> bool {
        let (node, intent, insist) = match self.stage {
            Stage::Break | Stage::Calm => {
                if self.rest_until > self.at {
                    return false;
                }
                self.next_unique += 1;
                let unique = self.next_unique;
                let (workload, random) = (&self.scenario.workload, &mut self.clients[client].random);
                (None, workload.next(client, self.at, unique, random), false)
            }
            Stage::Probe | Stage::Audit => match self.tasks.pop_front() {
                Some((node, intent)) => (node, intent, true),
                None => return false,
            },
            _ => return false,
        };
        let last = self.stage == Stage::Audit;
        self.with_client(client, |this, shared| this.begin(intent, node, insist, last, shared));
        true
    }

    /// A connection to a node that lives: the one there is, most of the time.
    fn connect(&mut self, client: usize) -> bool {
        // One that was removed since is not waited for.
        let wanted = self.clients[client].wanted_node().filter(|&node| !self.nodes[node].outside);
        let is_over = !matches!(self.stage, Stage::Break | Stage::Calm);
        if is_over && !self.scenario.workload.levels.is_empty() {
            // What is asked now is asked as by anybody.
            self.disconnect(client);
            self.clients[client].memory = None;
        }
        if let Some(connection) = &self.clients[client].connection {
            let fits = wanted.is_none_or(|wanted| wanted == connection.node);
            if fits && !self.clients[client].random.chance(150) {
                return true;
            }
            self.disconnect(client);
        }
        let node = wanted.unwrap_or_else(|| self.clients[client].random.index(self.nodes.len()));
        let id = self.next_connection;
        let Some(process) = &mut self.nodes[node].process else { return false };
        self.next_connection += 1;
        process.front.connect(id, !self.scenario.workload.levels.is_empty());
        if !self.scenario.workload.levels.is_empty() {
            let this = &mut self.clients[client];
            let memory = this.memory.take().filter(|memory| memory.layout <= process.placement.layout());
            match memory.filter(|_| this.random.chance(800)) {
                Some(memory) => {
                    self.counters.add("client.session_resumed");
                    process.front.resume(id, memory);
                }
                None => {
                    self.next_connection += 1;
                    this.session = self.next_connection;
                }
            }
        }
        self.owners.insert(id, client);
        self.clients[client].connection = Some(Connection::new(id, node));
        true
    }

    fn disconnect(&mut self, client: usize) {
        let Some(connection) = self.clients[client].connection.take() else { return };
        self.owners.remove(&connection.id);
        self.last_answer.remove(&connection.id);
        if let Some(process) = &mut self.nodes[connection.node].process {
            process.front.disconnect(connection.id);
        }
    }

    /// Sends a client's bytes in one piece or in two.
    fn send_from_client(&mut self, client: usize, bytes: Bytes) {
        let doing = self.clients[client].describe();
        let attempt = self.clients[client].attempt;
        let Some((connection, node)) = self.clients[client].connection.as_ref().map(|c| (c.id, c.node))
        else {
            return;
        };
        let id = self.nodes[node].id.0;
        self.tell(|| format!("client {client} asks node {id}: {doing}"));
        let life = self.nodes[node].life;
        let random = &mut self.clients[client].random;
        let mut at = self.at + random.between(20_000, 300_000);
        let cut = if random.chance(100) { random.index(bytes.len()) } else { bytes.len() };
        for piece in [bytes.slice(..cut), bytes.slice(cut..)] {
            if !piece.is_empty() {
                self.queue.push(at, Event::ToNode { node, life, connection, bytes: piece });
                at += random.between(1_000, 100_000);
            }
        }
        let patience = if random.chance(30) { random.between(1, 50) * MILLISECOND } else { 5 * SECOND };
        self.queue.push(self.at + patience, Event::Timeout { client, attempt });
    }

    pub(super) fn on_to_node(
        &mut self,
        node: usize,
        life: u64,
        connection: u64,
        bytes: Bytes,
    ) -> Result<(), Violation> {
        let paused_until = self.nodes[node].paused_until;
        if paused_until > self.at && self.nodes[node].life == life {
            self.queue.push(paused_until, Event::ToNode { node, life, connection, bytes });
            return Ok(());
        }
        let now = self.nodes[node].now(self.at);
        let mut produced = Default::default();
        if let Some(process) = self.process(node, life) {
            let placement = process.placement.clone();
            process.front.on_bytes(connection, &bytes, now, &placement, &mut produced)?;
        }
        self.on_produced(node, life, produced);
        Ok(())
    }

    pub(super) fn on_to_client(
        &mut self,
        client: usize,
        connection: u64,
        bytes: &[u8],
    ) -> Result<(), Violation> {
        if self.clients[client].connection.as_ref().is_none_or(|open| open.id != connection) {
            return Ok(());
        }
        self.story.mark(self.at, connection, xxhash_rust::xxh3::xxh3_64(bytes));
        self.tell(|| {
            format!("client {client} is answered {}", String::from_utf8_lossy(bytes).escape_debug())
        });
        if !self.scenario.workload.levels.is_empty() {
            let node = self.clients[client].connection.as_ref().map_or(0, |open| open.node);
            // Of what was seen after the last token nothing is left when the node dies.
            let process = self.nodes[node].process.as_ref();
            self.clients[client].memory = process.and_then(|process| process.front.memory(connection));
        }
        let next = self.with_client(client, |this, shared| this.on_bytes(bytes, shared))?;
        self.go_on(client, next);
        Ok(())
    }

    pub(super) fn on_lost(&mut self, client: usize, connection: u64) -> Result<(), Violation> {
        if self.clients[client].connection.as_ref().is_none_or(|open| open.id != connection) {
            return Ok(());
        }
        self.counters.add("client.connection_lost");
        self.give_up(client)
    }

    pub(super) fn on_timeout(&mut self, client: usize, attempt: u64) -> Result<(), Violation> {
        if self.clients[client].attempt != attempt || self.clients[client].is_idle() {
            return Ok(());
        }
        if self.clients[client].connection.is_none() {
            return Ok(());
        }
        self.counters.add("client.timeout");
        self.give_up(client)
    }

    fn give_up(&mut self, client: usize) -> Result<(), Violation> {
        self.tell(|| format!("client {client} has no answer"));
        self.disconnect(client);
        let next = self.with_client(client, |this, shared| this.on_connection_lost(shared))?;
        self.go_on(client, next);
        Ok(())
    }

    fn go_on(&mut self, client: usize, next: Next) {
        let pause: TrueTime = match next {
            Next::Wait => return,
            Next::Send(bytes) => return self.send_from_client(client, bytes),
            Next::Reconnect => {
                if self.clients[client].random.chance(700) {
                    self.disconnect(client);
                }
                self.clients[client].random.between(1, 60) * MILLISECOND
            }
            Next::Ready if matches!(self.stage, Stage::Break | Stage::Calm) => {
                self.clients[client].random.below(self.scenario.workload.think)
            }
            Next::Ready => MILLISECOND,
        };
        self.queue.push(self.at + pause, Event::Turn { client });
    }
}
