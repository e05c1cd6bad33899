//! Who stands in for replicas that cannot be reached, in a `leaderless` keyspace with `SLOPPY yes` (sloppy quorum: DeCandia et al., Dynamo, SOSP
//! 2007, section 4.6).
//!
//! For each replica that is silent another node that has none holds what is written meanwhile ([`crate::merged::hints`]), and counts for R and W like the
//! one it stands in for. So with R = W = 2 of three replicas one that is left goes on. What is lost by that is that any two quorums meet: a read may miss what was
//! acknowledged on the other side of a cut.
//!
//! Chosen are nodes in the zones in which the fewest of the others are, then by chance that is the same for all replicas of a group. One that does not
//! answer, or is full, is passed over for a while. After a time ([`Options::hint_window`](crate::shard::Options)) nobody stands in for a silent replica any more:
//! it is likely to need a state when it is back.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Replica;
use crate::NodeId;
use crate::time::{Now, Time};

/// A replica that was not heard for so long is silent: before it counts as unreachable, so that nothing is refused meanwhile.
const SILENT: Duration = Duration::from_millis(1000);
/// A node that was asked to stand in, and is not heard for so long, does not.
const DOES_NOT: Duration = Duration::from_millis(1500);
/// It is asked again after this time.
const PASSED_OVER_FOR: Duration = Duration::from_secs(10);
/// How often it is looked whether somebody has to stand in.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sloppy {
    look_at: Time,
    silent_since: BTreeMap<NodeId, Time>,
    passed_over: BTreeMap<NodeId, Time>,
    /// The members of the cluster that may be given something to hold.
    active: Vec<NodeId>,
}

impl Sloppy {
    pub fn set_active(&mut self, active: &[NodeId]) {
        if self.active != active {
            self.active = active.to_vec();
        }
    }

    pub fn wake_at(&self) -> Time {
        self.look_at
    }
}

impl Replica {
    fn is_sloppy(&self) -> bool {
        #[cfg(any(test, feature = "planted-bugs"))]
        if self.options.planted == Some(crate::merged::causal::Bug::HintCounted) {
            return self.primaries.leaderless.is_some();
        }
        self.primaries.leaderless.is_some_and(|options| options.sloppy)
    }

    /// Looks who is silent, and who is to stand in.
    pub(super) fn find_stand_ins(&mut self, now: Now) {
        let is_needed = self.is_sloppy() && self.is_serving();
        let me = self.options.node;
        let Some(causal) = &mut self.causal else { return };
        if !is_needed {
            causal.set_stand_ins(&[], now);
            self.sloppy.look_at = Time::NEVER;
            return;
        }
        if self.sloppy.look_at > now.time && self.sloppy.look_at != Time::NEVER {
            return;
        }
        let Sloppy { look_at, silent_since, passed_over, active } = &mut self.sloppy;
        *look_at = now.time + LOOK_EVERY;
        let seats: Vec<NodeId> = self.primaries.counted().filter(|node| *node != me).collect();
        let (present, silent): (Vec<NodeId>, Vec<NodeId>) =
            seats.into_iter().partition(|node| causal.is_heard(*node, SILENT, now));
        silent_since.retain(|node, _| silent.contains(node));
        silent.iter().for_each(|node| {
            silent_since.entry(*node).or_insert(now.time);
        });
        let window = self.options.hint_window;
        let wanted = silent_since.values().filter(|since| **since + window > now.time).count();
        passed_over.retain(|_, at| *at + PASSED_OVER_FOR > now.time);
        let mut chosen = Vec::new();
        for node in causal.stand_ins() {
            let may = active.contains(&node) && !self.primaries.seats.contains_key(&node);
            match may && causal.may_stand_in(node, DOES_NOT, now) {
                true if chosen.len() < wanted => chosen.push(node),
                true => {}
                false => {
                    passed_over.insert(node, now.time);
                }
            }
        }
        let free = |node: &NodeId| {
            !self.primaries.seats.contains_key(node) && !passed_over.contains_key(node) && *node != me
        };
        let mut free: Vec<NodeId> =
            active.iter().copied().filter(free).filter(|node| !chosen.contains(node)).collect();
        while chosen.len() < wanted {
            let zone = |node: NodeId| self.zones.get(&node);
            let beside = |node: NodeId| {
                let others = present.iter().chain(&chosen).chain([&me]);
                others.filter(|other| zone(**other) == zone(node)).count()
            };
            let chance = |node: NodeId| {
                (node.0 ^ u64::from(self.partition.0).rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            };
            let best = free.iter().copied().min_by_key(|node| (beside(*node), chance(*node)));
            let Some(best) = best else { break };
            free.retain(|node| *node != best);
            chosen.push(best);
        }
        causal.set_stand_ins(&chosen, now);
    }
}
