//! How many reads a second that more than one replica may answer are answered here, and, at the node that leads the catalogue, by all: from that follows
//! where copies for reads alone come and go ([`crate::catalogue`]'s `readers`).
//!
//! A rate is measured once a second, half of it from the second that is over and half from before. It is told while it is more than a small part of what
//! makes a copy hot; who says nothing for some seconds answers few.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Shard, Strategy};
use crate::configuration::{Ask, Wish};
use crate::time::{Now, Time};
use crate::{NodeId, PartitionId};

/// How often rates are measured.
const MEASURED_EVERY: Duration = Duration::from_secs(1);
/// What was told longer ago says nothing.
const FRESH: Duration = Duration::from_secs(3);
/// A new leader of the catalogue has heard of all rates after this.
const ALL_HEARD_AFTER: Duration = Duration::from_secs(5);
/// Less than this part of what makes a copy hot is not told.
const TOLD_FROM: u32 = 8;

#[derive(Debug)]
pub(super) struct Heat {
    /// What is answered here a second.
    rates: BTreeMap<PartitionId, u32>,
    measured_at: Time,
    /// When they are measured next; never while nothing is read.
    next_at: Time,
    /// What others and this node have told, and when; at the leader of the catalogue.
    told: BTreeMap<(PartitionId, NodeId), (u32, Time)>,
    /// Since when this node leads the catalogue.
    leads_since: Option<Time>,
}

impl Heat {
    pub fn new() -> Heat {
        let (measured_at, next_at) = (Time::default(), Time::NEVER);
        Heat { rates: BTreeMap::new(), measured_at, next_at, told: BTreeMap::new(), leads_since: None }
    }

    /// There is something to be measured.
    pub fn arm(&mut self, now: Time) {
        if self.next_at == Time::NEVER {
            self.measured_at = now;
            self.next_at = now + MEASURED_EVERY;
        }
    }

    pub fn wake_at(&self) -> Time {
        self.next_at
    }

    /// A replica says what it answers; at the leader of the catalogue.
    pub fn on_told(&mut self, partition: PartitionId, from: NodeId, rate: u32, now: Time) {
        self.told.insert((partition, from), (rate, now));
    }

    /// This node does not lead the catalogue.
    pub fn forget_told(&mut self) {
        self.told.clear();
        self.leads_since = None;
    }

    /// What all replicas answer a second. `None`: this node leads the catalogue for too short a time to know.
    pub fn all(&mut self, now: Time) -> Option<BTreeMap<PartitionId, u32>> {
        let since = *self.leads_since.get_or_insert(now);
        self.told.retain(|_, (_, at)| now.since(*at) < FRESH);
        let mut all: BTreeMap<PartitionId, u32> = BTreeMap::new();
        for ((partition, _), (rate, _)) in &self.told {
            let sum = all.entry(*partition).or_default();
            *sum = sum.saturating_add(*rate);
        }
        (now.since(since) >= ALL_HEARD_AFTER).then_some(all)
    }
}

impl Shard {
    /// Is a copy for reads to be made here, and not known to have caught up?
    fn is_awaited(&self, partition: PartitionId) -> bool {
        let here = |reader: &&crate::placement::Reader| reader.node == self.options.node;
        let reader = self.placement.readers_of(partition).iter().find(here);
        reader.is_some_and(|reader| !reader.ready)
    }

    /// Copies for reads alone that are to be here say when they have caught up.
    pub(super) fn await_readers(&mut self, now: Now) {
        if self.placement.readers.keys().any(|partition| self.is_awaited(*partition)) {
            self.heat.arm(now.time);
        }
    }

    /// Measures what is answered, and tells it.
    pub(super) fn measure_heat(&mut self, now: Now) {
        if self.heat.next_at > now.time {
            return;
        }
        let took = now.time.since(self.heat.measured_at).as_millis().max(1) as u64;
        self.heat.next_at = Time::NEVER;
        let (from, mut asks, mut goes_on) = (self.options.node, Vec::new(), false);
        let mut rates = std::mem::take(&mut self.heat.rates);
        for (&partition, replica) in &mut self.replicas {
            let lately =
                (u64::from(replica.take_relaxed_reads()) * 1000 / took).min(u64::from(u32::MAX)) as u32;
            let rate = rates.get(&partition).map_or(0, |rate| rate / 2).saturating_add(lately / 2);
            rates.insert(partition, rate);
            if rate >= (self.options.hot_reads / TOLD_FROM).max(1) {
                asks.push(Ask { partition, version: 0, from, wish: Wish::Heat(rate) });
            }
        }
        rates.retain(|_, rate| *rate > 0);
        goes_on |= !rates.is_empty();
        self.heat.rates = rates;
        let awaited: Vec<PartitionId> =
            self.placement.readers.keys().copied().filter(|partition| self.is_awaited(*partition)).collect();
        for partition in awaited {
            goes_on = true;
            if self.replicas.get(&partition).is_some_and(Strategy::may_be_read) {
                asks.push(Ask { partition, version: 0, from, wish: Wish::Ready });
            }
        }
        if goes_on {
            self.heat.arm(now.time);
        }
        self.outbox.asks.extend(asks);
    }
}
