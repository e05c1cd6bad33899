//! The bad patterns of causal consistency.

use super::order::{Cycle, Order, Without, path, sort};
use crate::finding::Finding;
use crate::values::{Registers, Source, Values};

/// How much is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Causal consistency: what a session has seen, and what that depends on, does not go away (CC).
    Causal,
    /// Also all sessions agree which of two concurrent writes wins (CCv, "causal+").
    Convergent,
}

/// Is the history causally consistent?
pub fn causal(history: &Registers, level: Level) -> Finding {
    let order = match Values::new(history).map_err(Without::Unfit).and_then(Order::new) {
        Ok(order) => order,
        Err(without) => return without.finding(history),
    };
    let writes = order.writes();
    let mut conflicts = Vec::new();
    for &read in &order.counted {
        let Some(source) = order.values.source(read) else { continue };
        let clock = order.clock(read);
        for (session, places) in &writes[order.values.keys[read] as usize] {
            let seen = places.partition_point(|(place, _)| *place <= clock[*session as usize]);
            // Of each session only its last write that the reader knows: what an earlier one forbids, it forbids, too.
            let Some(&(_, newer)) = seen.checked_sub(1).and_then(|last| places.get(last)) else { continue };
            match source {
                Source::Initial => return init_read(&order, newer, read),
                Source::Write(write) if order.precedes(write, newer) => {
                    return co_read(&order, write, newer, read);
                }
                Source::Write(write) if write != newer => conflicts.push((newer, write)),
                Source::Write(_) | Source::ThinAir => {}
            }
        }
    }
    if level == Level::Causal {
        return Finding::Valid;
    }
    let edges: Vec<(usize, usize)> = order.edges().chain(conflicts.iter().copied()).collect();
    match sort(&order.counted, &edges) {
        Ok(_) => Finding::Valid,
        Err(Cycle(circle)) => {
            let steps = told(&order.values, &circle);
            let text = format!("no order of the writes explains which of them won:\n{steps}");
            Finding::invalid("cyclic conflicts", circle, text)
        }
    }
}

impl Without {
    pub(super) fn finding(self, history: &Registers) -> Finding {
        match self {
            Without::Unfit(unfit) => Finding::Unknown(unfit.to_string()),
            Without::ThinAir(read) => {
                let text = format!("{}: nobody wrote that", line(history.operations(), read));
                Finding::invalid("thin air read", vec![read], text)
            }
            Without::Cycle(Cycle(circle)) => {
                let lines: Vec<String> =
                    circle.iter().map(|&index| line(history.operations(), index)).collect();
                let text = format!(
                    "each of these depends on the one before, and the first on the last:\n  {}",
                    lines.join("\n  ")
                );
                Finding::invalid("cyclic causality", circle, text)
            }
        }
    }
}

fn init_read(order: &Order<'_>, newer: usize, read: usize) -> Finding {
    let edges: Vec<_> = order.edges().collect();
    let way = path(&edges, newer, read).unwrap_or_else(|| vec![newer, read]);
    let text = format!("nothing was read, though the reader knew of a write:\n{}", told(&order.values, &way));
    Finding::invalid("write co init read", way, text)
}

fn co_read(order: &Order<'_>, older: usize, newer: usize, read: usize) -> Finding {
    let edges: Vec<_> = order.edges().collect();
    let mut way = path(&edges, older, newer).unwrap_or_else(|| vec![older, newer]);
    way.extend(path(&edges, newer, read).unwrap_or_else(|| vec![newer, read]).into_iter().skip(1));
    let text = format!(
        "the value of the first was read in the end, though the reader knew of a write that replaced it:\n{}",
        told(&order.values, &way)
    );
    Finding::invalid("write co read", way, text)
}

/// The operations, a line each.
pub(super) fn told(values: &Values<'_>, operations: &[usize]) -> String {
    let lines: Vec<String> =
        operations.iter().map(|&index| format!("  {}", line(values.operations, index))).collect();
    lines.join("\n")
}

fn line(operations: &[crate::values::RegisterOperation], index: usize) -> String {
    crate::linearizable::operation_line::<crate::model::Register>(&operations[index], true)
}
