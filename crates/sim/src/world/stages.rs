//! The stages of a run, and what each must reach in time.

use replication::PartitionId;

use super::{Event, PROGRESS_BOUND, World};
use crate::client::intent::Intent;
use crate::clock::{MILLISECOND, SECOND, TrueTime};
use crate::oracle::Violation;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Things go wrong.
    Break,
    /// All is healed; clients work on.
    Calm,
    /// Clients finish what they have begun.
    Drain,
    /// Every node must serve every partition.
    Probe,
    /// Every key is read a last time.
    Audit,
    /// All replicas must come to hold the same.
    Converge,
    /// The end.
    Over,
}

const CALM: TrueTime = 3 * SECOND;
const TICK: TrueTime = 100 * MILLISECOND;

impl World {
    pub(super) fn on_tick(&mut self) -> Result<(), Violation> {
        self.queue.push(self.at + TICK, Event::Tick);
        self.look_around()?;
        if (self.at / TICK).is_multiple_of(5) {
            self.ask_for_changes();
        }
        let idle = self.clients.iter().all(crate::client::Client::is_idle);
        let reached = match self.stage {
            Stage::Break | Stage::Calm => self.at >= self.stage_ends,
            Stage::Drain => idle,
            Stage::Probe | Stage::Audit => idle && self.tasks.is_empty(),
            Stage::Converge => self.differences().is_none(),
            Stage::Over => return Ok(()),
        };
        if reached {
            self.next_stage();
        } else if self.at > self.stage_ends {
            return Err(Violation::new("progress", self.what_is_missing()));
        }
        Ok(())
    }

    fn next_stage(&mut self) {
        self.stage = match self.stage {
            Stage::Break => {
                self.heal();
                Stage::Calm
            }
            Stage::Calm => Stage::Drain,
            Stage::Drain => {
                self.plan_probes();
                Stage::Probe
            }
            Stage::Probe => {
                self.plan_audit();
                Stage::Audit
            }
            Stage::Audit => Stage::Converge,
            Stage::Converge | Stage::Over => Stage::Over,
        };
        self.stage_ends = self.at + if self.stage == Stage::Calm { CALM } else { PROGRESS_BOUND };
        let stage = self.stage;
        self.tell(|| format!("==== {stage:?}"));
    }

    /// A write and a read of every partition through every node.
    fn plan_probes(&mut self) {
        let partitions = self.operator.newest().partitions.len() as u32;
        for node in self.inside() {
            for partition in 0..partitions {
                let key = self.key_in(PartitionId(partition), &format!("probe{node}"));
                self.next_unique += 1;
                let (write, read) = match self.scenario.bounded {
                    true => (Intent::Change { key: key.clone(), amount: 1 }, None),
                    false => {
                        let write = Intent::Set { key: key.clone(), value: self.next_unique, ttl_ms: None };
                        (write, Some(Intent::Get { key }))
                    }
                };
                self.tasks.push_back((Some(node), write));
                self.tasks.extend(read.map(|read| (Some(node), read)));
            }
        }
    }

    fn key_in(&self, partition: PartitionId, name: &str) -> String {
        let placement = self.operator.newest().placement();
        // A partition may have very few slots.
        let mut keys = (0..1_000_000).map(|number| format!("{name}.{number}"));
        keys.find(|key| placement.partition_of(data::slot::key_slot(key.as_bytes())) == partition)
            .unwrap_or_default()
    }

    /// A last read of every key, each through some node.
    fn plan_audit(&mut self) {
        let (registers, counters, lists) = self.history.keys();
        let inside = self.inside();
        let node = |random: &mut crate::random::Random| Some(inside[random.index(inside.len())]);
        for key in registers {
            let intent = match key.starts_with('p') && !key.starts_with("probe") {
                true => Intent::PairRead { tag: key, transaction: false },
                false if self.scenario.bounded => Intent::ReadCounter { key },
                false => Intent::Get { key },
            };
            self.tasks.push_back((node(&mut self.random), intent));
        }
        for key in counters {
            self.tasks.push_back((node(&mut self.random), Intent::ReadCounter { key }));
        }
        for key in lists {
            self.tasks.push_back((node(&mut self.random), Intent::ReadList { key }));
        }
    }

    /// Why the replicas of some partition cannot be said to hold the same, if so.
    fn differences(&self) -> Option<String> {
        if let Some(text) = self.operator.unsettled(&self.members) {
            return Some(text);
        }
        if let Some(text) = self.left_over() {
            return Some(text);
        }
        if let Some(text) = self.undelivered() {
            return Some(text);
        }
        let different = |partition: &PartitionId| self.difference_of_primaries(*partition);
        if let Some(text) = self.operator.newest().primaries.keys().find_map(different) {
            return Some(text);
        }
        let groups = self.operator.newest().groups.keys().copied();
        (0..self.scenario.partitions)
            .map(PartitionId)
            .chain(groups)
            .find_map(|partition| self.difference(partition))
    }

    /// The same of replicas that all take writes.
    fn difference_of_primaries(&self, partition: PartitionId) -> Option<String> {
        let catalogue = self.operator.newest();
        let seats = catalogue.primaries.get(&partition)?.seats.keys();
        let mut first: Option<(u64, u128)> = None;
        for id in seats {
            let node = self.nodes.iter().find(|node| node.id == *id);
            let replica = node.and_then(|node| node.process.as_ref()?.shard.causal(partition));
            let Some(replica) = replica else { return Some(format!("node {} holds no replica", id.0)) };
            let count = replica.vector().iter().map(|dot| dot.counter).sum::<u64>();
            if replica.durable() != replica.vector() {
                return Some(format!("what node {} holds is not durable", id.0));
            }
            let state = (count, replica.table().digest());
            if *first.get_or_insert(state) != state {
                return Some(format!("node {} holds {state:x?}, another {first:x?}", id.0));
            }
        }
        None
    }

    fn difference(&self, partition: PartitionId) -> Option<String> {
        let statuses: Vec<_> = self
            .nodes
            .iter()
            .filter_map(|node| {
                let all = node.process.as_ref()?.shard.status();
                Some((node.id, all.into_iter().find(|status| status.partition == partition)?))
            })
            .collect();
        let leader = statuses.iter().find(|(id, status)| status.leader == Some(*id));
        let Some((_, leader)) = leader else {
            return Some(format!("partition {} has no leader", partition.0));
        };
        if leader.membership.is_joint() || !leader.membership.learners.is_empty() {
            return Some(format!("partition {} is left with {:?}", partition.0, leader.membership));
        }
        for voter in &leader.membership.voters {
            let Some((_, status)) = statuses.iter().find(|(id, _)| id == voter) else {
                return Some(format!("partition {}: member {} is nowhere", partition.0, voter.0));
            };
            if (status.applied, status.digest) != (leader.applied, leader.digest) {
                return Some(format!(
                    "partition {}: node {} is at {} with {:032x}, the leader at {} with {:032x}",
                    partition.0, voter.0, status.applied, status.digest, leader.applied, leader.digest
                ));
            }
        }
        None
    }

    /// What a stage that takes too long is waiting for.
    fn what_is_missing(&self) -> String {
        let seconds = PROGRESS_BOUND / SECOND;
        let mut text = format!("{:?} is not over {seconds} s after it began", self.stage);
        for (number, client) in self.clients.iter().enumerate().filter(|(_, client)| !client.is_idle()) {
            text.push_str(&format!("\n    client {number} wants {}", client.describe()));
        }
        if let Some(difference) = self.differences() {
            text.push_str(&format!("\n    {difference}"));
        }
        for node in &self.nodes {
            match &node.process {
                None => text.push_str(&format!("\n    node {} is down", node.id.0)),
                Some(process) => {
                    for status in process.shard.status() {
                        text.push_str(&format!("\n    node {}: {status:?}", node.id.0));
                    }
                }
            }
        }
        text
    }
}
