//! Writes that a primary had and its successor has not: kept until somebody says what is to become of them.
//!
//! A replica gives them out when it drops them. A successor that dies before it has made anything stable may itself be
//! succeeded by one that has them after all: whatever turns up in the log again, stable, is not lost and not listed.

use super::Shard;
use crate::contract::{Event, Lost, Write};

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
