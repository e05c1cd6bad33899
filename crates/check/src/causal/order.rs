//! The causal order, as a clock for each operation: how many operations of each session are in its past.

use crate::history::Outcome;
use crate::map::Map;
use crate::values::{Source, Unfit, Values};

/// Where an operation stands: its session, and its place in it from 1.
type Place = (u32, u32);

/// The clocks of this many bytes are not computed.
const CLOCK_BYTES: usize = 4 << 30;

/// The causal order of a history.
pub(super) struct Order<'a> {
    pub values: Values<'a>,
    /// The operations that count, in the order of time.
    pub counted: Vec<usize>,
    /// The operations of each session. A write of unknown outcome has a session of its own.
    pub sessions: Vec<Vec<usize>>,
    places: Map<usize, Place>,
    /// What directly precedes each operation: in its session, and the write that it read.
    before: Map<usize, [Option<usize>; 2]>,
    clocks: Vec<u32>,
    rows: Map<usize, usize>,
}

/// Causality runs in a circle.
pub(super) struct Cycle(pub Vec<usize>);

/// Why there is no order.
pub(super) enum Without {
    Unfit(Unfit),
    Cycle(Cycle),
    /// A read returned what nobody wrote.
    ThinAir(usize),
}

impl<'a> Order<'a> {
    pub fn new(values: Values<'a>) -> Result<Self, Without> {
        let mut order = Order {
            values,
            counted: Vec::new(),
            sessions: Vec::new(),
            places: Map::default(),
            before: Map::default(),
            clocks: Vec::new(),
            rows: Map::default(),
        };
        order.lay_out()?;
        order.compute()?;
        Ok(order)
    }

    /// Sessions, places and direct predecessors.
    fn lay_out(&mut self) -> Result<(), Without> {
        let operations = self.values.operations;
        let read: Vec<Option<Source>> =
            (0..operations.len()).map(|index| self.values.source(index)).collect();
        let mut wanted = vec![false; operations.len()];
        for source in read.iter().flatten() {
            if let Source::Write(write) = source {
                wanted[*write] = true;
            }
        }
        // What counts: answered operations, and writes of unknown outcome that somebody saw.
        let counts = |index: &usize| match operations[*index].outcome {
            Outcome::Done { .. } => true,
            Outcome::Refused => false,
            Outcome::Unknown => wanted[*index],
        };
        self.counted = (0..operations.len()).filter(counts).collect();
        self.counted.sort_by_key(|&index| operations[index].invoked_at);
        let mut sessions: Map<u64, u32> = Map::default();
        let mut ends: Map<u64, u64> = Map::default();
        for &index in &self.counted {
            let operation = &operations[index];
            let process = operation.process;
            let number = *sessions.entry(process).or_insert_with(|| {
                self.sessions.push(Vec::new());
                self.sessions.len() as u32 - 1
            });
            let last = self.sessions[number as usize].last().copied();
            let session = match operation.outcome {
                Outcome::Unknown => {
                    self.sessions.push(Vec::new());
                    self.sessions.len() as u32 - 1
                }
                _ => number,
            };
            if let Outcome::Done { at, .. } = operation.outcome
                && ends.insert(process, at).is_some_and(|end| end > operation.invoked_at)
            {
                let reason = format!("process {process} has two operations under way at once");
                return Err(Without::Unfit(Unfit { reason }));
            }
            self.sessions[session as usize].push(index);
            self.places.insert(index, (session, self.sessions[session as usize].len() as u32));
            let source = match read[index] {
                Some(Source::Write(write)) => Some(write),
                Some(Source::ThinAir) => return Err(Without::ThinAir(index)),
                Some(Source::Initial) | None => None,
            };
            self.before.insert(index, [last, source]);
        }
        Ok(())
    }

    fn compute(&mut self) -> Result<(), Without> {
        let width = self.sessions.len();
        if self.counted.len() * width * 4 > CLOCK_BYTES {
            let reason = format!("{} operations in {width} sessions are too many", self.counted.len());
            return Err(Without::Unfit(Unfit { reason }));
        }
        let edges: Vec<(usize, usize)> = self.edges().collect();
        let sorted = sort(&self.counted, &edges).map_err(Without::Cycle)?;
        self.clocks = vec![0; sorted.len() * width];
        for (row, &index) in sorted.iter().enumerate() {
            let (earlier, rest) = self.clocks.split_at_mut(row * width);
            let clock = &mut rest[..width];
            for before in self.before[&index].iter().flatten() {
                let other = self.rows[before] * width;
                for (mine, theirs) in clock.iter_mut().zip(&earlier[other..other + width]) {
                    *mine = (*mine).max(*theirs);
                }
            }
            let (session, place) = self.places[&index];
            clock[session as usize] = place;
            self.rows.insert(index, row);
        }
        Ok(())
    }

    /// What directly precedes what.
    pub fn edges(&self) -> impl Iterator<Item = (usize, usize)> {
        self.counted
            .iter()
            .flat_map(|index| self.before[index].iter().flatten().map(move |before| (*before, *index)))
    }

    /// What the process of an operation had done before it.
    pub fn last_before(&self, index: usize) -> Option<usize> {
        self.before[&index][0]
    }

    pub fn place(&self, index: usize) -> Place {
        self.places[&index]
    }

    /// How many operations of each session are in the past of this one, itself included.
    pub fn clock(&self, index: usize) -> &[u32] {
        let row = self.rows[&index] * self.sessions.len();
        &self.clocks[row..row + self.sessions.len()]
    }

    /// Is the first in the past of the second?
    pub fn precedes(&self, first: usize, second: usize) -> bool {
        let (session, place) = self.place(first);
        first != second && self.clock(second)[session as usize] >= place
    }

    /// The writes to each key, by session, each with its place.
    pub fn writes(&self) -> Vec<Vec<(u32, Vec<(u32, usize)>)>> {
        let mut writes: Vec<Vec<(u32, Vec<(u32, usize)>)>> = vec![Vec::new(); self.values.key_count];
        for (session, operations) in self.sessions.iter().enumerate() {
            for (place, &index) in (1..).zip(operations).filter(|(_, index)| self.values.is_write(**index)) {
                let of_key = &mut writes[self.values.keys[index] as usize];
                match of_key.last_mut().filter(|(last, _)| *last == session as u32) {
                    Some((_, places)) => places.push((place, index)),
                    None => of_key.push((session as u32, vec![(place, index)])),
                }
            }
        }
        writes
    }
}

/// The nodes in an order that all edges agree with.
pub(super) fn sort(nodes: &[usize], edges: &[(usize, usize)]) -> Result<Vec<usize>, Cycle> {
    let mut waits: Map<usize, usize> = nodes.iter().map(|&node| (node, 0)).collect();
    let mut after: Map<usize, Vec<usize>> = Map::default();
    for &(from, to) in edges {
        *waits.entry(to).or_default() += 1;
        after.entry(from).or_default().push(to);
    }
    let mut sorted: Vec<usize> = nodes.iter().copied().filter(|node| waits[node] == 0).collect();
    let mut next = 0;
    while let Some(&node) = sorted.get(next) {
        next += 1;
        for &to in after.get(&node).into_iter().flatten() {
            let left = waits.entry(to).or_default();
            *left -= 1;
            if *left == 0 {
                sorted.push(to);
            }
        }
    }
    if sorted.len() == nodes.len() {
        return Ok(sorted);
    }
    Err(Cycle(shortest_cycle(nodes, edges, &waits)))
}

/// Among the nodes that still wait for others: each has a predecessor among them, so going back ends in a circle. Of the
/// nodes of that circle, the shortest circle through one of them.
fn shortest_cycle(nodes: &[usize], edges: &[(usize, usize)], waits: &Map<usize, usize>) -> Vec<usize> {
    let stuck = |node: &usize| waits.get(node).is_some_and(|left| *left > 0);
    let mut back: Map<usize, usize> = Map::default();
    for (from, to) in edges.iter().filter(|(from, to)| stuck(from) && stuck(to)) {
        back.entry(*to).or_insert(*from);
    }
    let mut at = nodes.iter().copied().find(stuck).unwrap_or_default();
    let mut seen: Map<usize, ()> = Map::default();
    while seen.insert(at, ()).is_none() {
        at = back[&at];
    }
    let begin = at;
    let mut circle = vec![begin];
    while back[&at] != begin {
        at = back[&at];
        circle.push(at);
    }
    let short = circle.iter().take(200).filter_map(|&node| path(edges, node, node));
    short.min_by_key(Vec::len).unwrap_or(circle)
}

/// The shortest way from one node to another along the edges, both ends included (once, if they are the same).
pub(super) fn path(edges: &[(usize, usize)], from: usize, to: usize) -> Option<Vec<usize>> {
    let mut after: Map<usize, Vec<usize>> = Map::default();
    for &(begin, end) in edges {
        after.entry(begin).or_default().push(end);
    }
    let mut came_from: Map<usize, usize> = Map::default();
    let mut queue = std::collections::VecDeque::from([from]);
    while let Some(node) = queue.pop_front() {
        for &next in after.get(&node).into_iter().flatten() {
            if next == to {
                let mut way = if from == to { Vec::new() } else { vec![to] };
                let mut at = node;
                way.push(at);
                while at != from {
                    at = came_from[&at];
                    way.push(at);
                }
                way.reverse();
                return Some(way);
            }
            if next != from && !came_from.contains_key(&next) {
                came_from.insert(next, node);
                queue.push_back(next);
            }
        }
    }
    None
}
