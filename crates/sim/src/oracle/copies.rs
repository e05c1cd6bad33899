//! Who holds the entries of groups whose keyspace is `DURABILITY relaxed`: by that one can tell what went with the machines that died
//! from what was lost otherwise.

use std::collections::{BTreeMap, BTreeSet};

use replication::catalogue::Catalogue;
use replication::ordered::raft::{Entry, EntryKind};
use replication::shard::Recovered;
use replication::{NodeId, PartitionId};

/// An entry, by its group, index and term.
pub type Name = (PartitionId, u64, u64);

/// See the module.
#[derive(Debug, Default)]
pub struct Copies {
    entries: BTreeMap<Name, Copied>,
}

#[derive(Debug, Default)]
struct Copied {
    /// Who ever wrote it.
    ever: BTreeSet<NodeId>,
    /// Who has it still.
    now: BTreeSet<NodeId>,
    /// There was a moment when nobody who was in sync had it.
    gone: bool,
    keys: Vec<String>,
}

impl Copies {
    /// A node writes an entry.
    pub fn on_written(&mut self, node: NodeId, partition: PartitionId, entry: &Entry) {
        if partition.keyspace() == 0 || entry.kind != EntryKind::Normal {
            return;
        }
        let copied = self.entries.entry((partition, entry.index, entry.term)).or_insert_with(|| {
            let keys = replication::ordered::keys_written(&entry.payload);
            let keys = keys.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect();
            Copied { keys, ..Copied::default() }
        });
        copied.ever.insert(node);
        copied.now.insert(node);
    }

    /// A node comes back, with this; by what the catalogue says of the groups, who is in sync now?
    pub fn on_start(&mut self, node: NodeId, found: &Found, catalogue: &Catalogue) {
        let in_sync = |partition: &PartitionId| {
            catalogue.groups.get(partition).map_or(&[][..], |group| group.in_sync.as_slice())
        };
        for (name, copied) in &mut self.entries {
            if copied.now.contains(&node) && !found.has(name) {
                copied.now.remove(&node);
                copied.gone |= !in_sync(&name.0).iter().any(|node| copied.now.contains(node));
            }
        }
    }

    /// Did every copy that counts go with a machine?
    pub fn is_gone(&self, name: &Name) -> bool {
        self.entries.get(name).is_some_and(|copied| copied.gone)
    }

    /// Who ever wrote it.
    pub fn holders(&self, name: &Name) -> BTreeSet<NodeId> {
        self.entries.get(name).map(|copied| copied.ever.clone()).unwrap_or_default()
    }

    /// Those that are gone, and the keys that they wrote: others may have seen what nobody was told to be done.
    pub fn gone(&self) -> impl Iterator<Item = (&Name, &[String])> {
        let gone = self.entries.iter().filter(|(_, copied)| copied.gone);
        gone.map(|(name, copied)| (name, copied.keys.as_slice()))
    }
}

/// What a node has of its groups when it starts.
#[derive(Clone, Debug, Default)]
pub struct Found {
    groups: BTreeMap<PartitionId, Group>,
}

#[derive(Clone, Debug, Default)]
struct Group {
    /// Everything up to here is in a snapshot.
    start: u64,
    entries: BTreeSet<(u64, u64)>,
}

impl Found {
    /// What recovery found.
    pub fn of(recovered: &[Recovered]) -> Found {
        let groups = recovered.iter().filter(|found| found.partition.keyspace() != 0).map(|found| {
            let log = found.entries.iter().map(|entry| (entry.index, entry.term));
            let lost = found.lost.iter().map(|lost| (lost.index, lost.term));
            (found.partition, Group { start: found.log_start, entries: log.chain(lost).collect() })
        });
        Found { groups: groups.collect() }
    }

    fn has(&self, &(partition, index, term): &Name) -> bool {
        let group = self.groups.get(&partition);
        group.is_some_and(|group| index <= group.start || group.entries.contains(&(index, term)))
    }
}

#[cfg(test)]
mod tests {
    use replication::configuration::{Acknowledgement, Configuration};

    use super::*;

    #[test]
    fn an_entry_is_gone_once_nobody_has_it() {
        let group = PartitionId::of_keyspace(1, 0);
        let (name, mut copies) = ((group, 7, 2), Copies::default());
        let entry = Entry { index: 7, term: 2, kind: EntryKind::Normal, payload: Default::default() };
        copies.on_written(NodeId(1), group, &entry);
        copies.on_written(NodeId(2), group, &entry);
        copies.on_written(NodeId(3), group, &entry);
        let acknowledgement = Acknowledgement::Sync;
        let founding = Configuration::founding((0, 16383), vec![NodeId(1), NodeId(2)], acknowledgement);
        let mut catalogue = Catalogue::default();
        catalogue.groups.insert(group, founding);
        let nothing = Found::default();
        copies.on_start(NodeId(1), &nothing, &catalogue);
        assert!(!copies.is_gone(&name), "another one has it");
        let with = Recovered { entries: vec![entry.clone()], ..Recovered::nothing(group) };
        copies.on_start(NodeId(2), &Found::of(&[with]), &catalogue);
        assert!(!copies.is_gone(&name));
        let trimmed = Recovered { log_start: 7, ..Recovered::nothing(group) };
        copies.on_start(NodeId(2), &Found::of(&[trimmed]), &catalogue);
        assert!(!copies.is_gone(&name));
        copies.on_start(NodeId(2), &nothing, &catalogue);
        assert!(copies.is_gone(&name), "whoever else has it does not count");
        copies.on_written(NodeId(1), group, &entry);
        assert!(copies.is_gone(&name), "for a moment it was");
        assert_eq!(copies.holders(&name).len(), 3);
    }
}
