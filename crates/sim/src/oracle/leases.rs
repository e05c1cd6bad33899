//! Leases of two leaders never overlap in true time: while one holds, nobody else may hold one, whatever the clocks say.

use std::collections::BTreeMap;

use replication::{NodeId, PartitionId, Time};

use super::Violation;
use crate::clock::TrueTime;

/// A lease as its holder sees it.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    term: u64,
    until: Time,
}

/// The leases that may hold now.
#[derive(Debug, Default)]
pub struct Leases {
    held: BTreeMap<(PartitionId, NodeId), Lease>,
}

impl Leases {
    /// A leader holds a lease until then on its own clock. `local` shows any node's clock now.
    ///
    /// # Errors
    /// Another leader's lease still holds.
    pub fn on_lease(
        &mut self,
        partition: PartitionId,
        node: NodeId,
        term: u64,
        until: Time,
        at: TrueTime,
        local: &dyn Fn(NodeId) -> Option<Time>,
    ) -> Result<(), Violation> {
        let mine = local(node).unwrap_or(Time::NEVER);
        if until > mine {
            self.held.insert((partition, node), Lease { term, until });
        } else {
            self.held.remove(&(partition, node));
            return Ok(());
        }
        let of_partition = (partition, NodeId(0))..=(partition, NodeId(u64::MAX));
        for ((_, other), lease) in self.held.range(of_partition) {
            let holds = local(*other).is_some_and(|now| now < lease.until);
            if *other != node && holds {
                return Err(Violation::new(
                    "lease",
                    format!(
                        "at {at} ns node {} holds a lease of partition {} in term {term}, and node {} still holds one of \
                         term {}",
                        node.0, partition.0, other.0, lease.term
                    ),
                ));
            }
        }
        Ok(())
    }

    /// A node does not lead this partition (any more).
    pub fn on_not_leading(&mut self, partition: PartitionId, node: NodeId) {
        self.held.remove(&(partition, node));
    }

    /// A node died.
    pub fn on_crash(&mut self, node: NodeId) {
        self.held.retain(|(_, holder), _| *holder != node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_leases_are_an_alarm() {
        let p = PartitionId(0);
        let at = |now: u64| move |_: NodeId| Some(Time(now));
        let mut leases = Leases::default();
        assert!(leases.on_lease(p, NodeId(1), 1, Time(10), 0, &at(0)).is_ok());
        assert!(leases.on_lease(p, NodeId(2), 2, Time(30), 10, &at(10)).is_ok(), "the first has run out");
        assert!(leases.on_lease(PartitionId(1), NodeId(1), 2, Time(30), 10, &at(10)).is_ok());
        assert!(leases.on_lease(p, NodeId(1), 3, Time(40), 20, &at(20)).is_err());
        leases.on_crash(NodeId(2));
        assert!(leases.on_lease(p, NodeId(1), 3, Time(40), 20, &at(20)).is_ok(), "the dead hold nothing");
    }
}
