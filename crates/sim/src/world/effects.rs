//! What comes out of a process goes to the judges, the counters and the clients.

use std::sync::Arc;

use replication::contract::{Batch, Event as Told, Role, Write};
use replication::merged::causal;
use replication::{PartitionId, wire};

use super::operator::Members;
use super::{Event, World};
use crate::clock::MILLISECOND;
use crate::node::front::Produced;
use crate::oracle::Violation;

impl World {
    /// Something that a shard tells: the judges listen. `touched` gets what was applied, by partition.
    pub(super) fn on_event(
        &mut self,
        node: usize,
        event: Told,
        touched: &mut Vec<(PartitionId, u64)>,
    ) -> Result<(), Violation> {
        let id = self.nodes[node].id;
        if !matches!(event, Told::Applied { .. } | Told::Lease { .. }) {
            self.tell(|| format!("node {} tells {event:?}", id.0));
        }
        match event {
            Told::Causal { event: causal::Event::Differs { from, .. }, .. } => {
                self.look_at_merged()?;
                let text = format!("node {} says that node {} has another state", id.0, from.0);
                return Err(Violation::new("digest", text));
            }
            Told::Asked { partition, round } => self.merged.on_asked(id, partition, round),
            Told::Covered { partition, round, needed, vector } => {
                self.counters.add("quorum.covered");
                let strict = self.operator.newest().primaries.get(&partition).is_some_and(|group| {
                    let copies = group.copies as usize;
                    group.leaderless.is_some_and(|options| {
                        // Whoever goes by former numbers asks enough, too.
                        let reads = group.former.iter().map(|(read, _)| read.of(copies));
                        let least = reads.chain([options.read.of(copies)]).min();
                        options.is_strict(copies) == Some(true)
                            && !options.sloppy
                            && least.is_some_and(|least| needed >= least)
                    })
                });
                if strict {
                    self.counters.add("check.quorum_reads");
                    self.merged.on_covered(id, partition, round, &vector)?;
                }
            }
            Told::Causal { event: causal::Event::HintsFull { .. }, .. } => self.counters.add("hints.full"),
            Told::Causal { event: causal::Event::Malformed { from }, .. } => {
                return Err(Violation::new("wire", format!("node {} sent what cannot be read", from.0)));
            }
            Told::Causal { event: causal::Event::Repaired { with_state, .. }, .. } => {
                let what =
                    if with_state { "merged.repaired_with_state" } else { "merged.repaired_with_steps" };
                self.counters.add(what);
            }
            Told::Causal { event: causal::Event::Skewed { .. }, .. } => self.counters.add("merged.skewed"),
            Told::Role { partition, term, role, .. } => self.on_role(node, partition, term, role)?,
            Told::Applied { partition, index, term, hash } => {
                self.counters.add("raft.applied");
                let latest_term = self.leaders.latest_term(partition);
                self.logs.on_applied(id, partition, index, term, hash, latest_term)?;
                match touched.iter_mut().find(|(touched, _)| *touched == partition) {
                    Some((_, highest)) => *highest = index,
                    None => touched.push((partition, index)),
                }
            }
            Told::Lease { partition, term, until } => {
                self.counters.add("raft.leases");
                let (nodes, index_of, at) = (&self.nodes, &self.index_of, self.at);
                let local = |other| index_of.get(&other).map(|&index: &usize| nodes[index].clock.local(at));
                self.leases.on_lease(partition, id, term, until, at, &local)?;
            }
            Told::DigestMismatch { partition, index, peer, .. } => {
                let text = format!(
                    "node {} says that node {} has another state of partition {} at {index}",
                    id.0, peer.0, partition.0
                );
                return Err(Violation::new("digest", text));
            }
            Told::Membership { partition, index, voters, outgoing, learners, committed } => {
                if !outgoing.is_empty() {
                    self.counters.add("raft.joint");
                }
                let newest = self.proposed_members.entry(partition).or_default();
                *newest = index.max(*newest);
                if committed {
                    self.counters.add("raft.membership_changed");
                    if outgoing.is_empty() {
                        self.on_members(partition, index, Members { voters, learners });
                    }
                }
            }
            Told::SnapshotSent { resumed, finished, .. } => {
                if finished {
                    self.counters.add("raft.snapshot_sent");
                }
                if resumed {
                    self.counters.add("raft.snapshot_resumed");
                }
            }
            Told::SnapshotInstalled { partition, .. }
                if self.scenario.merged && partition.keyspace() != 0 =>
            {
                self.counters.add("merged.state_installed");
            }
            Told::SnapshotInstalled { partition, index } => {
                self.counters.add("raft.snapshot_installed");
                touched.retain(|(touched, _)| *touched != partition);
                self.logs.on_installed(id, partition, index)?;
                self.digests.on_loaded(id, partition, self.logs.highest(partition));
            }
            Told::Hedged { .. } => self.counters.add("forward.hedged"),
            Told::TakenElsewhere { .. } => self.counters.add("forward.taken_elsewhere"),
            Told::SnapshotTaken { .. } => self.counters.add("raft.snapshot_taken"),
            Told::Catalogue(catalogue, _) => {
                if let Some(process) = &mut self.nodes[node].process {
                    process.placement = Arc::new(catalogue.placement());
                }
                self.on_catalogue(node, catalogue)?;
            }
            Told::Split { partition, child, index } => {
                self.counters.add("split.applied");
                self.on_split(node, partition, child, index)?;
            }
            Told::Born { partition } => {
                self.counters.add("split.born");
                self.note_move();
                self.logs.on_born(id, partition);
                touched.push((partition, replication::FIRST_OF_CHILD));
            }
            Told::Steered(_) => self.counters.add("catalogue.steered"),
            Told::Opened { partition } => {
                self.counters.add("catalogue.opened");
                self.logs.on_opened(id, partition);
                self.digests.on_loaded(id, partition, self.logs.highest(partition));
            }
            Told::Lost { entries, .. } => {
                self.counters.add_many("primary.lost_entries", entries);
                self.note_lists(node);
            }
            Told::Acknowledged { partition, index, term, demand } => {
                self.on_acknowledged(node, partition, (index, term), demand)?;
            }
            Told::GivenUp { partition } => {
                self.counters.add("catalogue.given_up");
                self.note_move();
                self.leases.on_not_leading(partition, id);
                touched.retain(|(touched, _)| *touched != partition);
            }
        }
        Ok(())
    }

    fn on_role(
        &mut self,
        node: usize,
        partition: PartitionId,
        term: u64,
        role: Role,
    ) -> Result<(), Violation> {
        let id = self.nodes[node].id;
        if role != Role::Leader {
            self.leases.on_not_leading(partition, id);
            return Ok(());
        }
        let Some(process) = &self.nodes[node].process else { return Ok(()) };
        let incarnation = process.incarnation;
        let status = process.shard.status().into_iter().find(|status| status.partition == partition);
        if self.leaders.on_leader(partition, term, id, incarnation)? {
            self.counters.add("raft.elections");
            self.on_elected(node);
            if let Some(status) = status {
                self.logs.on_leader(id, partition, term, status.last_index)?;
            }
        }
        Ok(())
    }

    /// After a batch: equal index, equal state.
    pub(super) fn compare_digests(
        &mut self,
        node: usize,
        touched: &[(PartitionId, u64)],
    ) -> Result<(), Violation> {
        let Some(process) = &self.nodes[node].process else { return Ok(()) };
        let id = self.nodes[node].id;
        for &(partition, index) in touched {
            let Some(table) = process.shard.table(partition) else { continue };
            // A primary may be ahead of what is final.
            if process.shard.applied(partition) != Some(index) {
                continue;
            }
            if self.digests.on_digest(id, partition, index, table.digest())? {
                self.counters.add("check.digests_compared");
            }
        }
        Ok(())
    }

    /// Bytes for clients, and requests for the shard.
    pub(super) fn on_produced(&mut self, node: usize, life: u64, produced: Produced) {
        for (connection, bytes) in produced.answers {
            if let Some(&client) = self.owners.get(&connection) {
                // A connection keeps the order of its bytes.
                let at = self.at + self.clients[client].random.between(20_000, 300_000);
                let last = self.last_answer.entry(connection).or_default();
                let at = at.max(*last + 1);
                *last = at;
                self.queue.push(at, Event::ToClient { client, connection, bytes });
            }
        }
        for request in produced.requests {
            self.take_in(node, life, replication::Input::Request(request));
        }
    }

    /// Looks through what is written: an entry at or below the last one takes its place.
    pub(super) fn count_writes(&mut self, node: usize, batch: &Batch) {
        let id = self.nodes[node].id;
        let Some(process) = &mut self.nodes[node].process else { return };
        for write in &batch.writes {
            match write {
                Write::Append { partition, entry } => {
                    if self.scenario.merged && partition.keyspace() != 0 && partition.hinted().is_none() {
                        let noted = self.merged.on_logged(*partition, &entry.payload);
                        self.alarm = self.alarm.take().or(noted.err());
                    }
                    if self.scenario.relaxed {
                        self.copies.on_written(id, *partition, entry);
                    }
                    let last = process.last_written.insert(*partition, entry.index).unwrap_or(0);
                    if entry.index <= last {
                        self.counters.add("raft.truncated");
                    }
                }
                Write::Reset { partition, index } => {
                    process.last_written.insert(*partition, *index);
                }
                Write::Trim { .. } => self.counters.add("log.trimmed"),
                Write::State { .. } | Write::Forget { .. } | Write::Lost { .. } => {}
            }
        }
    }

    /// Now and then: nothing may be left without an answer; which groups sleep?
    pub(super) fn look_around(&mut self) -> Result<(), Violation> {
        for node in 0..self.nodes.len() {
            if self.nodes[node].paused_until <= self.at {
                self.look_for_room(node);
            }
        }
        for node in &self.nodes {
            let Some(process) = &node.process else { continue };
            if node.paused_until + 3000 * MILLISECOND > self.at && node.paused_until > 0 {
                continue;
            }
            process.front.check_overdue(node.now(self.at)).map_err(|violation| {
                Violation::new(violation.oracle, format!("node {}: {}", node.id.0, violation.text))
            })?;
            let quiet = process.shard.status().iter().filter(|status| status.quiet).count();
            self.counters.add_many("raft.quiet", quiet as u64);
        }
        self.check_disks()?;
        if self.scenario.merged && (self.at / (100 * MILLISECOND)).is_multiple_of(30) {
            self.look_at_merged()?;
        }
        Ok(())
    }
}

/// A message in one line of bounded length.
pub(super) fn short(message: &wire::Message) -> String {
    let mut text = match message {
        wire::Message::SnapshotChunk(chunk) => format!(
            "SnapshotChunk p{} term {} {:?} from {:x} next {:x?} ({} bytes)",
            chunk.partition.0,
            chunk.term,
            chunk.meta,
            chunk.from,
            chunk.next,
            chunk.bytes.len()
        ),
        message => format!("{message:?}"),
    };
    if text.len() > 420 {
        let mut end = 420;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str("...");
    }
    text
}
