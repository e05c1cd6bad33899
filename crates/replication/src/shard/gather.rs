//! Group commit: which writes share a log batch and the frames to the peers.
//!
//! A write that finds nothing under way goes out at once. While others are under way (sent, not committed), writes are
//! gathered, for all partitions of the shard together, and go out when there are as many as are under way, when those are
//! committed, or when the oldest has waited for [`Options::gather`](super::Options::gather). So a lone client waits for
//! nobody, and the more clients there are the larger are the batches: each costs a sync, a frame to each peer and an answer
//! from each, whatever it holds. It is Nagle's algorithm with a threshold that follows the load (compare RFC 896, and group
//! commit in DeWitt et al., "Implementation Techniques for Main Memory Database Systems", 1984, section 5.2).
//!
//! Where the primary acknowledges alone, nobody waits for what it sends to its members: that is gathered in the same way, while
//! earlier writes are under way to them.
//!
//! Nothing depends on it but speed: what is gathered is an uncommitted suffix of a leader's log like any other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::strategy::Strategy;
use crate::PartitionId;
use crate::time::Time;

/// What of a shard's writes is under way.
#[derive(Debug)]
pub(super) struct Gather {
    /// Of a partition: how many writes are under way, and how many were gathered?
    measure: fn(&Strategy) -> (u64, u64),
    patience: Duration,
    /// Partitions with writes under way or gathered.
    busy: BTreeSet<PartitionId>,
    /// What was gathered goes out then at the latest.
    due: Time,
}

impl Gather {
    /// Writes wait for `patience` at the most.
    pub fn new(measure: fn(&Strategy) -> (u64, u64), patience: Duration) -> Gather {
        Gather { measure, patience, busy: BTreeSet::new(), due: Time::NEVER }
    }

    /// A batch of inputs ends: are writes to be gathered on? If not, every partition that has gathered some is touched.
    pub fn begin(
        &mut self,
        replicas: &BTreeMap<PartitionId, Strategy>,
        touched: &mut BTreeSet<PartitionId>,
        now: Time,
    ) -> bool {
        let (mut under_way, mut gathered) = (0, 0);
        self.busy.extend(touched.iter().filter(|partition| replicas.contains_key(partition)));
        for (_, replica) in self.busy.iter().filter_map(|partition| replicas.get_key_value(partition)) {
            let (sent, kept) = (self.measure)(replica);
            under_way += sent;
            gathered += kept;
        }
        if gathered < under_way && now < self.due.min(now + self.patience) {
            return true;
        }
        touched.extend(self.busy.iter().copied());
        self.due = Time::NEVER;
        false
    }

    /// A partition has ended its batch.
    pub fn note(&mut self, partition: PartitionId, replica: &Strategy, now: Time) {
        match (self.measure)(replica) {
            (0, 0) => {
                self.busy.remove(&partition);
            }
            (_, 0) => {}
            _ => self.due = self.due.min(now + self.patience),
        }
    }

    /// When what was gathered goes out at the latest.
    pub fn wake_at(&self) -> Time {
        self.due
    }
}
