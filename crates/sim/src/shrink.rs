//! Of a failing scenario, the least that still fails in the same way.
//!
//! Faults are left out in ever smaller groups (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input",
//! 2002: ddmin); then everything else is made simpler, one thing at a time: a shorter run, fewer clients and nodes, a clean
//! network, one kind of operation. It goes round until nothing more can be taken away.
//!
//! What is left out changes what happens afterwards, so that a failure may slip away though nothing that it needs is
//! missing. Each candidate is therefore tried with several streams of chance; the one that fails is kept.

use crate::clock::{MILLISECOND, SECOND, TrueTime};
use crate::oracle::Violation;
use crate::run::run;
use crate::scenario::{Planned, Scenario};

/// How much trouble to take.
#[derive(Clone, Copy, Debug)]
pub struct Shrinking {
    /// The most runs.
    pub runs: usize,
    /// With how many streams of chance a candidate is tried.
    pub tries: u64,
}

impl Default for Shrinking {
    fn default() -> Self {
        Shrinking { runs: 1500, tries: 4 }
    }
}

/// The least scenario that still fails as this one does, with the judge in [`Scenario::alarm`]; `None` if it does not fail.
/// `progress` is told after each run how many there were, and how many faults are left.
pub fn shrink(
    scenario: &Scenario,
    effort: Shrinking,
    mut progress: impl FnMut(usize, usize),
) -> Option<Scenario> {
    let violation = run(scenario, false).violation?;
    let alarm = Some(violation.oracle.to_owned());
    let mut search = Search {
        best: Scenario { alarm, ..scenario.clone() },
        manner: manner(&violation),
        effort,
        runs: 1,
        progress: &mut progress,
    };
    loop {
        let before = search.best.clone();
        search.leave_faults_out();
        search.simplify();
        if search.best == before || search.is_tired() {
            return Some(search.best);
        }
    }
}

/// What two failures must share to count as the same: the judge, and what it says but for numbers.
fn manner(violation: &Violation) -> String {
    let words = violation.text.lines().next().unwrap_or_default();
    let words = words.chars().filter(|letter| !letter.is_ascii_digit()).take(30);
    match violation.oracle {
        "panic" => format!("panic: {}", words.collect::<String>()),
        judge => judge.to_owned(),
    }
}

struct Search<'a> {
    best: Scenario,
    manner: String,
    effort: Shrinking,
    runs: usize,
    progress: &'a mut dyn FnMut(usize, usize),
}

impl Search<'_> {
    fn is_tired(&self) -> bool {
        self.runs >= self.effort.runs
    }

    /// Does this fail as well? Then it is the best so far.
    fn accept(&mut self, candidate: Scenario) -> bool {
        if candidate == self.best {
            return false;
        }
        for attempt in 0..self.effort.tries {
            if self.is_tired() {
                return false;
            }
            let candidate = Scenario { chance: self.best.chance.wrapping_add(attempt), ..candidate.clone() };
            let outcome = run(&candidate, false);
            self.runs += 1;
            (self.progress)(self.runs, self.best.faults.len());
            if outcome.violation.is_some_and(|violation| manner(&violation) == self.manner) {
                self.best = candidate;
                // What would come after the failure can go.
                let end = outcome.simulated_ns;
                self.best.faults.retain(|planned| planned.at <= end);
                return true;
            }
        }
        false
    }

    fn try_with(&mut self, change: impl FnOnce(&mut Scenario)) -> bool {
        let mut candidate = self.best.clone();
        change(&mut candidate);
        self.accept(candidate)
    }

    /// Groups of half of the faults, a quarter, ... one.
    fn leave_faults_out(&mut self) {
        let mut size = self.best.faults.len().div_ceil(2);
        while size > 0 && !self.is_tired() {
            let mut from = 0;
            while from < self.best.faults.len() {
                let to = (from + size).min(self.best.faults.len());
                let left_out = self.try_with(|scenario| drop(scenario.faults.drain(from..to)));
                if !left_out {
                    from = to;
                }
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
    }

    fn simplify(&mut self) {
        self.end_early();
        for clients in [1, 2, 3, 4] {
            if clients < self.best.clients && self.try_with(|scenario| scenario.clients = clients) {
                break;
            }
        }
        self.try_with(|scenario| scenario.partitions = 1);
        for nodes in [3, 4] {
            if nodes < self.best.nodes && self.try_with(|scenario| scenario.take_nodes(nodes)) {
                break;
            }
        }
        self.try_with(|scenario| {
            let network = &mut scenario.network;
            (network.loss_per_mille, network.duplicate_per_mille, network.late_per_mille) = (0, 0, 0);
            network.ordered = true;
        });
        self.try_with(|scenario| scenario.sync_time.fill((100_000, 300_000)));
        self.try_with(|scenario| scenario.wall_trusted = true);
        self.try_with(|scenario| scenario.workload.token_per_mille = 0);
        for kind in 0..self.best.workload.weights.len() {
            let others = |weights: &[u32]| weights.iter().filter(|&&weight| weight > 0).count() > 1;
            if self.best.workload.weights[kind] > 0 && others(&self.best.workload.weights) {
                self.try_with(|scenario| scenario.workload.weights[kind] = 0);
            }
        }
        for index in 0..self.best.faults.len() {
            self.shorten(index);
        }
    }

    /// The run breaks off soon after the last fault has begun.
    fn end_early(&mut self) {
        let last = self.best.faults.iter().map(|planned| planned.at).max().unwrap_or(0);
        for after in [0, SECOND / 2, 2 * SECOND, 6 * SECOND] {
            let end = last + after;
            if end < self.best.breaks_until && self.try_with(|scenario| scenario.breaks_until = end) {
                return;
            }
        }
    }

    /// Faults last no longer than they must, and begin at round times.
    fn shorten(&mut self, index: usize) {
        if index >= self.best.faults.len() {
            return;
        }
        let lasts = self.best.faults[index].lasts;
        for shorter in [0, lasts / 4, lasts / 2, round(lasts)] {
            let change = |scenario: &mut Scenario| scenario.faults[index].lasts = shorter;
            if shorter < lasts && self.try_with(change) {
                break;
            }
        }
        self.try_with(|scenario| {
            let Planned { at, .. } = &mut scenario.faults[index];
            *at = round(*at);
        });
    }
}

fn round(time: TrueTime) -> TrueTime {
    time / (10 * MILLISECOND) * (10 * MILLISECOND)
}

impl Scenario {
    fn take_nodes(&mut self, nodes: usize) {
        self.nodes = nodes;
        self.founders = self.founders.min(nodes);
        self.sync_time.truncate(nodes);
        self.replication_factor = self.replication_factor.min(nodes);
        for planned in &mut self.faults {
            planned.node = planned.node.filter(|&node| node <= nodes);
        }
    }
}
