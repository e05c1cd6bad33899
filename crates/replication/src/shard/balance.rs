//! Which replica is asked for a read that more than one may answer: one of the own zone before one of another, and of those the better of two
//! that chance has picked (Mitzenmacher, *The power of two choices in randomized load balancing*, 2001), by how long it took to answer lately and how
//! much it has not answered yet.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::NodeId;
use crate::time::Time;

/// A new measurement has this share in the mean: one in so many.
const WEIGHT: u32 = 8;

/// No other node is asked before this.
const SHORTEST_PATIENCE: Duration = Duration::from_millis(2);

/// What is known of how busy other nodes are.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    of: BTreeMap<NodeId, Load>,
    drawn: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Load {
    /// Requests that are there and not answered.
    under_way: u32,
    /// How long answers took, lately.
    mean: Duration,
    /// When the last one came.
    answered_at: Time,
}

impl Loads {
    /// A request goes there.
    pub fn sent(&mut self, to: NodeId) {
        self.of.entry(to).or_default().under_way += 1;
    }

    /// It was answered after so long.
    pub fn answered(&mut self, by: NodeId, took: Duration, now: Time) {
        let load = self.of.entry(by).or_default();
        load.under_way = load.under_way.saturating_sub(1);
        load.mean = if load.mean.is_zero() { took } else { load.mean - load.mean / WEIGHT + took / WEIGHT };
        load.answered_at = now;
    }

    /// Nobody waits for that answer any more.
    pub fn given_up(&mut self, by: NodeId) {
        let load = self.of.entry(by).or_default();
        load.under_way = load.under_way.saturating_sub(1);
    }

    /// For how long an answer is waited for before another node is asked as well: some times what it takes where it is fast.
    pub fn patience(&self) -> Duration {
        let fastest = self.of.values().map(|load| load.mean).filter(|mean| !mean.is_zero()).min();
        (fastest.unwrap_or_default() * 4).max(SHORTEST_PATIENCE)
    }

    /// The node is gone, and all that was under way there.
    pub fn lost(&mut self, node: NodeId) {
        self.of.remove(&node);
    }

    /// The one of `candidates` to ask: of those of the zone of `me`, if there are any.
    pub fn pick(
        &mut self,
        me: NodeId,
        mut candidates: Vec<NodeId>,
        zones: &BTreeMap<NodeId, u16>,
        now: Time,
    ) -> Option<NodeId> {
        let is_near = |node: &NodeId| zones.get(node) == zones.get(&me);
        if candidates.iter().any(is_near) {
            candidates.retain(is_near);
        }
        let count = candidates.len();
        if count < 2 {
            return candidates.first().copied();
        }
        let one = self.draw(count);
        let other = (one + 1 + self.draw(count - 1)) % count;
        let (one, other) = (candidates[one], candidates[other]);
        Some(if self.cost(one, now) <= self.cost(other, now) { one } else { other })
    }

    /// How long an answer is to be expected to take. What was slow is forgotten after a while, or nobody would see that it is fast again.
    pub fn cost(&self, node: NodeId, now: Time) -> Duration {
        let load = self.of.get(&node).copied().unwrap_or_default();
        let age = now.since(load.answered_at).as_secs().min(20) as u32;
        (load.mean / (1 << age)).max(Duration::from_micros(50)) * (load.under_way + 1)
    }

    /// A number below `below`. Chance need not be good here, and everything is to follow from the seed.
    fn draw(&mut self, below: usize) -> usize {
        self.drawn =
            self.drawn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.drawn >> 33) as usize % below
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

    fn picks(loads: &mut Loads, zones: &BTreeMap<NodeId, u16>, now: Time) -> [usize; 3] {
        let mut picked = [0; 3];
        for _ in 0..300 {
            let node = loads.pick(NodeId(9), NODES.to_vec(), zones, now).expect("there are some");
            picked[node.0 as usize - 1] += 1;
        }
        picked
    }

    #[test]
    fn one_that_is_slow_is_asked_rarely_and_not_for_ever() {
        let (mut loads, mut now) = (Loads::default(), Time(1));
        let even = picks(&mut loads, &BTreeMap::new(), now);
        assert!(even.iter().all(|count| *count > 60), "{even:?}");
        for (node, took) in [(1, 100), (2, 1), (3, 1)] {
            loads.sent(NodeId(node));
            loads.answered(NodeId(node), Duration::from_millis(took), now);
        }
        assert_eq!(picks(&mut loads, &BTreeMap::new(), now)[0], 0, "the other one is always better");
        now = now + Duration::from_secs(12);
        assert!(picks(&mut loads, &BTreeMap::new(), now)[0] > 0, "perhaps it is fast again");
    }

    #[test]
    fn one_with_much_to_do_is_asked_rarely() {
        let mut loads = Loads::default();
        (0..50).for_each(|_| loads.sent(NodeId(2)));
        assert_eq!(picks(&mut loads, &BTreeMap::new(), Time(1))[1], 0);
        loads.lost(NodeId(2));
        assert!(picks(&mut loads, &BTreeMap::new(), Time(1))[1] > 60, "a new process");
    }

    #[test]
    fn the_own_zone_comes_first() {
        let zones = BTreeMap::from([(NodeId(9), 1), (NodeId(1), 0), (NodeId(2), 1), (NodeId(3), 1)]);
        let picked = picks(&mut Loads::default(), &zones, Time(1));
        assert!(picked[0] == 0 && picked[1] > 60 && picked[2] > 60, "{picked:?}");
        let far = BTreeMap::from([(NodeId(9), 7)]);
        assert!(picks(&mut Loads::default(), &far, Time(1)).iter().all(|count| *count > 60), "none is near");
    }
}
