//! What a `primary-replica` keyspace promises about writes that were acknowledged, by its mode.

use std::collections::BTreeSet;

use data::merged::Dot;
use replication::PartitionId;
use replication::configuration::Acknowledgement;
use replication::contract::Role;

use super::World;
use crate::oracle::Violation;
use crate::scenario::Fault;

impl World {
    /// A client is told that a write is done.
    pub(super) fn on_acknowledged(
        &mut self,
        node: usize,
        partition: PartitionId,
        (index, term): (u64, u64),
        demand: Option<Acknowledgement>,
    ) -> Result<(), Violation> {
        if partition.keyspace() == 0 {
            return Ok(());
        }
        if self.scenario.merged {
            self.counters.add("merged.acknowledged");
            self.count_hinted(partition, Dot { origin: term, counter: index });
            let survives = self.scenario.leaderless.is_some()
                && matches!(demand, Some(Acknowledgement::SemiSync(copies)) if copies > 0);
            let may_be_lost = || self.scenario.faults.iter().any(|planned| planned.fault == Fault::Rebuild);
            if survives || !may_be_lost() {
                self.merged.on_acknowledged(partition, Dot { origin: term, counter: index }, survives);
            }
            return Ok(());
        }
        self.counters.add("primary.acknowledged");
        if demand.is_some() {
            self.counters.add("primary.demands_met");
        }
        self.acknowledged.insert((partition, index, term), demand);
        self.check_copies(node, (partition, index, term), demand)?;
        let latest = self.leaders.latest_term(partition);
        // With copies to wait for, the last of them may have been given before the successor asked.
        // A deposed primary answers, too, when it learns that its successor has the write; and what every member in sync held
        // before any of them turned to the successor survives, however late its acknowledgements come.
        let leads = |process: &crate::node::Process| {
            let statuses = process.shard.status();
            let found = statuses.iter().find(|status| status.partition == partition);
            let holders = self.copies.holders(&(partition, index, term));
            let all_hold = |group: &replication::configuration::Group| {
                group.configuration.in_sync.iter().all(|node| holders.contains(node))
            };
            found.is_some_and(|status| {
                status.role == Role::Leader
                    && status.term == term
                    && index > status.stable
                    && !status.group.as_ref().is_some_and(all_hold)
            })
        };
        // Who asked for one more copy is answered when that is there, which may have been given before the successor asked.
        if self.scenario.acknowledgement == Some(Acknowledgement::Async)
            && !matches!(demand, Some(Acknowledgement::SemiSync(_)))
            && latest > term
            && self.nodes[node].process.as_ref().is_some_and(leads)
        {
            let id = self.nodes[node].id.0;
            return Err(Violation::new(
                "fence",
                format!(
                    "node {id} acknowledges entry {index} of {:x} in term {term}, but there is a primary of term {latest}",
                    partition.0
                ),
            ));
        }
        Ok(())
    }

    /// Where copies are not durable at once, what is acknowledged may be lost with all of them: so they are counted now.
    fn check_copies(
        &self,
        node: usize,
        name: (PartitionId, u64, u64),
        demand: Option<Acknowledgement>,
    ) -> Result<(), Violation> {
        let (true, Some(process)) = (self.scenario.relaxed, self.nodes[node].process.as_ref()) else {
            return Ok(());
        };
        let (partition, index, term) = name;
        let statuses = process.shard.status();
        let Some(status) = statuses.iter().find(|status| status.partition == partition) else {
            return Ok(());
        };
        let Some(group) =
            status.group.as_ref().filter(|_| status.role == Role::Leader && status.term == term)
        else {
            return Ok(());
        };
        if index <= status.stable {
            return Ok(());
        }
        // What a mode promises has to hold in all of a run, and options change; a demand is as it was.
        let in_sync = &group.configuration.in_sync;
        let holders = self.copies.holders(&name);
        let needed = match (demand, self.scenario.acknowledgement) {
            (Some(Acknowledgement::SemiSync(copies)), _) => copies as usize + 1,
            (Some(Acknowledgement::Sync), _) if in_sync.iter().all(|node| holders.contains(node)) => 1,
            (Some(Acknowledgement::Sync), _) => usize::MAX,
            (_, Some(Acknowledgement::Async)) => 1,
            _ => in_sync.len().min(2),
        };
        if holders.len() >= needed && holders.contains(&self.nodes[node].id) {
            return Ok(());
        }
        let text = format!(
            "entry {index} of {:x} in term {term} is acknowledged ({demand:?}), and {holders:?} hold it of {in_sync:?}",
            partition.0
        );
        Err(Violation::new("copies", text))
    }

    /// Looks at all replicas that take writes.
    ///
    /// # Errors
    /// One of them holds something else than it ought to.
    pub(super) fn look_at_merged(&mut self) -> Result<(), Violation> {
        let primaries: Vec<PartitionId> = self.operator.newest().primaries.keys().copied().collect();
        let newest = self.operator.newest().clone();
        for partition in primaries {
            let seats = newest.primaries[&partition].seats.values();
            self.counters.add_many("merged.away", seats.filter(|seat| seat.away).count() as u64);
            for node in &self.nodes {
                let replica = node.process.as_ref().and_then(|process| process.shard.causal(partition));
                if let Some(replica) = replica {
                    self.merged.look(node.id, partition, self.scenario.bounded, replica)?;
                    self.counters.add("check.merged_states");
                }
            }
        }
        Ok(())
    }

    /// At the end.
    pub(super) fn check_merged(&mut self) -> Result<(), Violation> {
        self.look_at_merged()?;
        let catalogue = self.operator.newest().clone();
        for (&partition, primaries) in &catalogue.primaries {
            let takes_part = |origin| primaries.members().any(|(_, other)| other == origin);
            for node in &self.nodes {
                let replica = node.process.as_ref().and_then(|process| process.shard.causal(partition));
                if let Some(replica) = replica {
                    // What a replica had that was removed without having told it to others went with it.
                    self.merged.check_acknowledged(partition, replica, |origin| !takes_part(origin))?;
                }
            }
        }
        self.counters.add_many("check.acknowledged_kept", self.merged.acknowledged() as u64);
        Ok(())
    }

    /// What a node lists as lost now.
    pub(super) fn note_lists(&mut self, node: usize) {
        let Some(process) = &self.nodes[node].process else { return };
        let listed = self.listed.entry(self.nodes[node].id).or_default();
        for (partition, lost) in process.shard.lost() {
            for lost in lost {
                let keys = replication::ordered::keys_written(&lost.payload);
                let keys = keys.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect();
                listed.insert((partition, lost.index, lost.term), keys);
            }
        }
    }

    /// At the end: whatever was acknowledged is there, or (`async` only) it is listed as lost; and nothing that is there is
    /// listed. Returns the keys of what is listed.
    ///
    /// # Errors
    /// It is not so.
    pub(super) fn check_promises(&mut self) -> Result<BTreeSet<String>, Violation> {
        let mut listed = BTreeSet::new();
        let mut keys = BTreeSet::new();
        for process in self.nodes.iter().filter_map(|node| node.process.as_ref()) {
            for (partition, lost) in process.shard.lost() {
                for lost in lost {
                    listed.insert((partition, lost.index, lost.term));
                    let written = replication::ordered::keys_written(&lost.payload);
                    keys.extend(written.iter().map(|key| String::from_utf8_lossy(key).into_owned()));
                }
            }
        }
        if let Some((partition, index, term)) = listed
            .iter()
            .find(|(partition, index, term)| self.logs.term_at(*partition, *index) == Some(*term))
        {
            let text =
                format!("entry {index} of {:x} in term {term} is listed as lost, and is there", partition.0);
            return Err(Violation::new("lost writes", text));
        }
        // The list of a node that was removed went with it.
        let removed = self.nodes.iter().filter(|node| node.outside);
        for (name, written) in removed.filter_map(|node| self.listed.get(&node.id)).flatten() {
            listed.insert(*name);
            keys.extend(written.iter().cloned());
        }
        let is_lost = |name: &&(PartitionId, u64, u64)| self.logs.term_at(name.0, name.1) != Some(name.2);
        let gone = self.copies.gone().filter(|(name, _)| is_lost(name));
        let gone: BTreeSet<String> = gone.flat_map(|(_, keys)| keys.iter().cloned()).collect();
        let may_be_lost = self.scenario.acknowledgement == Some(Acknowledgement::Async);
        for (&(partition, index, term), demand) in &self.acknowledged {
            if self.logs.term_at(partition, index) == Some(term) {
                self.counters.add("check.acknowledged_kept");
                continue;
            }
            if self.copies.is_gone(&(partition, index, term)) {
                self.counters.add("check.acknowledged_gone_with_machines");
                continue;
            }
            let is_listed = listed.contains(&(partition, index, term));
            // What every member in sync was asked to hold is not lost, whatever the keyspace's own mode.
            if may_be_lost && is_listed && *demand != Some(Acknowledgement::Sync) {
                self.counters.add("check.acknowledged_listed");
                continue;
            }
            let listed = if is_listed { "is listed as lost" } else { "is nowhere" };
            let text =
                format!("entry {index} of {:x} in term {term} was acknowledged and {listed}", partition.0);
            return Err(Violation::new("acknowledged writes", text));
        }
        // Without that nothing that was acknowledged is among them, so clients cannot have seen them.
        let keys = if may_be_lost { keys } else { BTreeSet::new() };
        Ok(keys.iter().chain(&gone).map(|key| tag_of(key)).collect())
    }
}

/// Keys that are written together are judged by their tag.
fn tag_of(key: &str) -> String {
    key.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or(key, |(tag, _)| tag).to_owned()
}
