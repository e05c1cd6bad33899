//! Writes that a primary had and its successor has not: kept until somebody says what is to become of them.
//!
//! A replica gives them out when it drops them. A successor that dies before it has made anything stable may itself be
//! succeeded by one that has them after all: whatever turns up in the log again, stable, is not lost and not listed.
//!
//! The answer to [`Admin::Lost`] has one array for each write: index, term, 1 acknowledged / 0 not / null not known, when it was
//! found (milliseconds), its keys, the commands that would do it again (an array of strings each), and what its keys were before:
//! an array of key and fingerprint (16 bytes, little endian) in turn, or null if that is not known.

use bytes::Bytes;
use resp::Value;

use super::Shard;
use super::outbox::{Requester, Work};
use crate::contract::{Admin, Call, Event, Lost, Reply, Write};
use crate::ordered::{keys_written, operations_of};
use crate::time::Now;
use crate::{NodeId, PartitionId};

/// Those of one group.
#[derive(Debug, Default)]
pub(super) struct LostWrites {
    pub writes: Vec<Lost>,
    /// Up to this entry it is known of each whether it is in the log.
    pub checked: u64,
}

impl Shard {
    /// Keeps what was given out, and lets go of what is not lost after all.
    pub(super) fn keep_lost(&mut self) {
        let mut changed: Vec<_> = Vec::new();
        for (partition, found) in std::mem::take(&mut self.outbox.losses) {
            self.outbox.event(Event::Lost { partition, entries: found.len() as u64 });
            let known = self.lost.entry(partition).or_default();
            let first = found.iter().map(|lost| lost.index).min().unwrap_or(0);
            known.checked = known.checked.min(first.saturating_sub(1));
            known
                .writes
                .retain(|old| !found.iter().any(|new| (new.index, new.term) == (old.index, old.term)));
            known.writes.extend(found);
            changed.push(partition);
        }
        for (&partition, lost) in &mut self.lost {
            let Some(replica) = self.replicas.get(&partition) else { continue };
            let stable = replica.stable();
            if stable <= lost.checked {
                continue;
            }
            let before = lost.writes.len();
            lost.writes.retain(|lost| lost.index > stable || replica.term_at(lost.index) != Some(lost.term));
            lost.checked = stable;
            if lost.writes.len() < before {
                changed.push(partition);
            }
        }
        for partition in changed {
            let entries = self.lost.get(&partition).map_or(Vec::new(), |lost| lost.writes.clone());
            self.outbox.persist(partition, &mut vec![Write::Lost { partition, entries }], None);
        }
        self.lost.retain(|_, lost| !lost.writes.is_empty());
    }
}

impl Shard {
    /// Some requests are for one node, whatever part it plays in the group: those about lost writes, and about what it knows.
    pub(super) fn is_for_node(call: &Call) -> Option<NodeId> {
        match call {
            Call::Admin(Admin::Lost { node } | Admin::ForgetLost { node, .. } | Admin::Epoch { node }) => {
                Some(*node)
            }
            _ => None,
        }
    }

    /// Takes such a request.
    pub(super) fn on_request_for_node(&mut self, partition: PartitionId, work: Work, node: NodeId, now: Now) {
        if node != self.options.node {
            if let Requester::Remote { .. } = work.requester {
                let text = "ERR another node was asked";
                return self.outbox.answers.push((work.requester, Reply::Refused(text.into())));
            }
            return self.forwards.forward(partition, work, node, &self.peers, now.time, &mut self.outbox);
        }
        let value = match &work.call {
            Call::Admin(Admin::ForgetLost { entries, .. }) => {
                let mut gone = 0;
                if let Some(lost) = self.lost.get_mut(&partition) {
                    let before = lost.writes.len();
                    lost.writes.retain(|lost| !entries.contains(&(lost.index, lost.term)));
                    gone = before - lost.writes.len();
                    let entries = lost.writes.clone();
                    self.outbox.persist(partition, &mut vec![Write::Lost { partition, entries }], None);
                }
                Value::Integer(gone as i64)
            }
            Call::Admin(Admin::Epoch { .. }) => Value::Integer(self.placement.epoch as i64),
            _ => {
                let lost = self.lost.get(&partition).map_or(&[][..], |lost| &lost.writes);
                Value::Array(lost.iter().map(described).collect())
            }
        };
        self.outbox.answers.push((work.requester, Reply::Done(value)));
    }
}

fn described(lost: &Lost) -> Value {
    let strings = |strings: Vec<Bytes>| Value::Array(strings.into_iter().map(Value::Bulk).collect());
    let before = lost.before.as_ref().map(|watches| {
        let parts = watches
            .iter()
            .flat_map(|watch| [watch.key.clone(), Bytes::copy_from_slice(&watch.fingerprint.to_le_bytes())]);
        strings(parts.collect())
    });
    let commands = operations_of(&lost.payload, |operation| operation.as_commands());
    Value::Array(vec![
        Value::Integer(lost.index as i64),
        Value::Integer(lost.term as i64),
        lost.acknowledged.map_or(Value::Null, |acknowledged| Value::Integer(i64::from(acknowledged))),
        Value::Integer(lost.found_ms as i64),
        strings(keys_written(&lost.payload)),
        Value::Array(commands.into_iter().flatten().map(strings).collect()),
        before.unwrap_or(Value::Null),
    ])
}
