//! What `KEYSPACE EXPLAIN` says of a fault before it comes, and what clients on each side saw in that very fault.
//!
//! Only faults that part nodes cleanly or take them away are asked about, and only those are compared that came alone and lasted for long enough: leases end
//! and failovers are over by then. Where refusals were foretold nothing may have been done; where answers were, most of what was asked has to be.

use std::collections::BTreeSet;
use std::time::Duration;

use check::Finding;
use resp::Value;
use serde::Serialize;

use super::faults::Happened;
use super::judge::{Verdict, plain};
use super::plan::Fault;
use super::record::{Ended, Sample};
use crate::status::{field, text};

/// What is so after this, in microseconds, stays so.
const SETTLED_AFTER: u64 = 3_000_000;
/// What was broken so shortly before may not be whole again.
const WHOLE_AFTER: u64 = 4_000_000;
/// So long an answer may take until it was asked for in vain.
pub const ORDER: Duration = Duration::from_millis(1500);
/// With fewer operations nothing is said.
const FEWEST: usize = 5;

/// What becomes of requests on one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Fate {
    /// They are answered, perhaps by something old.
    Answered,
    /// They are refused.
    Refused,
    /// That depends on the slot, or on the session.
    Mixed,
}

impl Fate {
    /// As the reply says it: one answer, or several with their slots.
    fn of(said: &str) -> Fate {
        let refused: BTreeSet<bool> = said.split("; ").map(|part| part.starts_with("refused")).collect();
        match refused.iter().collect::<Vec<_>>()[..] {
            [true] => Fate::Refused,
            [false] => Fate::Answered,
            _ => Fate::Mixed,
        }
    }
}

/// What was said of one side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Its nodes, by their numbers.
    pub nodes: BTreeSet<usize>,
    /// Writes there.
    pub writes: Fate,
    /// Reads there, at the level that the keyspace says.
    pub reads: Fate,
}

/// What was said of one keyspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Foretold {
    /// Its prefix.
    pub keyspace: String,
    /// Each side of the fault.
    pub sides: Vec<Side>,
}

/// The words that ask about a fault, behind the prefix; `None`: it is none that can be asked about.
pub fn question(fault: &Fault, names: &[String]) -> Option<Vec<String>> {
    let parted = |one: &dyn Fn(usize) -> bool| {
        let side = |wanted: bool| -> Vec<String> {
            let named = names.iter().enumerate().filter(|(node, _)| one(*node) == wanted);
            named.map(|(_, name)| name.clone()).collect()
        };
        let words = [vec!["IF".into()], side(true), vec!["|".into()], side(false), vec!["PARTED".into()]];
        words.concat()
    };
    match fault {
        Fault::Kill { node } | Fault::Pause { node } | Fault::Stop { node } => {
            Some(["IF", "NODE", names.get(*node)?, "FAILS"].map(str::to_owned).to_vec())
        }
        Fault::Isolate { node } => Some(parted(&|other| other == *node)),
        Fault::Halves { node, size } => {
            Some(parted(&|other| (other + names.len() - node) % names.len() < *size))
        }
        _ => None,
    }
}

/// What a node replied. `carries`: sessions go from node to node there with what they have seen, and where replicas may be stale it depends on that
/// whether they are answered.
pub fn parse(keyspace: &str, carries: bool, reply: &Value, names: &[String]) -> Option<Foretold> {
    let side = |side: &Value| {
        let Value::Array(named) = field(side, "nodes")? else { return None };
        let number = |name: &Value| text(name).and_then(|name| names.iter().position(|known| *known == name));
        let nodes = named.iter().map(number).collect::<Option<_>>()?;
        let [writes, reads] = ["writes", "reads"].map(|name| field(side, name).and_then(text));
        let reads = reads?;
        let depends = carries && reads.contains("possibly stale");
        let reads = if depends { Fate::Mixed } else { Fate::of(&reads) };
        Some(Side { nodes, writes: Fate::of(&writes?), reads })
    };
    let Value::Array(sides) = field(reply, "sides")? else { return None };
    let sides = sides.iter().map(side).collect::<Option<_>>()?;
    Some(Foretold { keyspace: keyspace.to_owned(), sides })
}

/// Compares what was said of a keyspace with what its clients saw. `None`: there is no fault of which that can be said.
pub fn judge(keyspace: &str, happened: &[Happened], samples: &[Sample]) -> Option<Verdict> {
    let (mut faults, mut operations) = (0, 0);
    let mut wrong = None;
    for (place, fault) in happened.iter().enumerate() {
        let Some(foretold) = fault.foretold.iter().find(|foretold| foretold.keyspace == keyspace) else {
            continue;
        };
        let alone = happened
            .iter()
            .enumerate()
            .all(|(other, of)| other == place || of.to + WHOLE_AFTER < fault.from || of.from > fault.until);
        let from = fault.from + SETTLED_AFTER;
        if !alone || fault.note.is_some() || from >= fault.until {
            continue;
        }
        let mut compared = false;
        for side in &foretold.sides {
            for (writes, fate) in [(true, side.writes), (false, side.reads)] {
                let mut seen = 0;
                let mut done = 0;
                let within = |sample: &&Sample| sample.from >= from && sample.to <= fault.until;
                let here = |sample: &&Sample| sample.writes == writes && side.nodes.contains(&sample.node);
                for sample in samples.iter().filter(within).filter(here) {
                    seen += 1;
                    done += usize::from(sample.ended == Ended::Done);
                }
                let is_wrong = match fate {
                    _ if seen < FEWEST => continue,
                    Fate::Mixed => continue,
                    Fate::Refused => done > 0,
                    Fate::Answered => done * 2 < seen,
                };
                (compared, operations) = (true, operations + seen);
                if is_wrong && wrong.is_none() {
                    let what = if writes { "writes" } else { "reads" };
                    wrong = Some(format!(
                        "{}: {what} at nodes {:?} were to be {fate:?}, and {done} of {seen} were done ({:.1} to {:.1} s)",
                        fault.what,
                        side.nodes,
                        from as f64 / 1e6,
                        fault.until as f64 / 1e6,
                    ));
                }
            }
        }
        faults += usize::from(compared);
    }
    if faults == 0 {
        return None;
    }
    let finding = match wrong {
        None => Finding::Valid,
        Some(text) => super::judge::invalid("not as foretold", text),
    };
    let verdict = plain("each side does what KEYSPACE EXPLAIN foretold", "sides", finding, operations);
    Some(Verdict { note: Some(format!("of {faults} faults")), ..verdict })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        ["n1", "n2", "n3"].map(str::to_owned).to_vec()
    }

    fn fault(from: u64, until: u64, foretold: Vec<Foretold>) -> Happened {
        Happened { from, until, to: until + 100, foretold, ..Happened::default() }
    }

    fn cut() -> Vec<Foretold> {
        let side =
            |nodes: &[usize], writes, reads| Side { nodes: nodes.iter().copied().collect(), writes, reads };
        let sides =
            vec![side(&[0], Fate::Refused, Fate::Answered), side(&[1, 2], Fate::Answered, Fate::Answered)];
        vec![Foretold { keyspace: "k:".into(), sides }]
    }

    /// Ten operations at a node in a fault of ten seconds, so many of them done.
    fn operations(node: usize, writes: bool, done: usize) -> Vec<Sample> {
        let sample = |number: usize| {
            let from = 5_000_000 + number as u64 * 1000;
            let ended = if number < done { Ended::Done } else { Ended::Refused };
            Sample { from, to: from + 500, node, writes, ended }
        };
        (0..10).map(sample).collect()
    }

    #[test]
    fn what_is_foretold_is_held_against_what_was_seen() {
        let faults = [fault(1_000_000, 9_000_000, cut())];
        let judged = |samples: &[Vec<Sample>]| judge("k:", &faults, &samples.concat());
        let good = [operations(0, true, 0), operations(0, false, 10), operations(1, true, 9)];
        let verdict = judged(&good).expect("there is something to compare");
        assert!(verdict.finding.is_valid() && verdict.operations == 30, "{verdict:?}");
        for bad in [operations(0, true, 1), operations(0, false, 4), operations(2, true, 0)] {
            let verdict = judged(std::slice::from_ref(&bad)).expect("there is something to compare");
            assert!(!verdict.finding.is_valid(), "{bad:?}");
        }
        assert!(judge("other:", &faults, &good.concat()).is_none());
    }

    #[test]
    fn nothing_is_said_of_faults_that_are_short_or_not_alone() {
        let bad = operations(0, true, 10);
        let short = [fault(1_000_000, 3_900_000, cut())];
        assert!(judge("k:", &short, &bad).is_none());
        let whole = fault(1_000_000, 9_000_000, cut());
        assert!(judge("k:", std::slice::from_ref(&whole), &bad).is_some());
        for (from, to) in [(500_000, 700_000), (2_000_000, 2_500_000), (8_000_000, 20_000_000)] {
            let other = fault(from, to, Vec::new());
            assert!(judge("k:", &[other, whole.clone()], &bad).is_none(), "{from} to {to}");
        }
        let later = fault(9_500_000, 9_900_000, Vec::new());
        assert!(judge("k:", &[whole, later], &bad).is_some());
    }

    #[test]
    fn faults_are_put_into_words_and_answers_are_read() {
        let words = |fault: &Fault| question(fault, &names()).map(|words| words.join(" "));
        assert_eq!(words(&Fault::Isolate { node: 1 }).as_deref(), Some("IF n2 | n1 n3 PARTED"));
        assert_eq!(words(&Fault::Halves { node: 2, size: 2 }).as_deref(), Some("IF n1 n3 | n2 PARTED"));
        assert_eq!(words(&Fault::Kill { node: 0 }).as_deref(), Some("IF NODE n1 FAILS"));
        assert_eq!(words(&Fault::Ring), None);
        assert_eq!(Fate::of("accepted"), Fate::Answered);
        assert_eq!(Fate::of("accepted for slots 0-5; possibly stale for slots 6-9"), Fate::Answered);
        assert_eq!(Fate::of("refused for slots 0-5; accepted for slots 6-9"), Fate::Mixed);
        assert_eq!(Fate::of("refused"), Fate::Refused);
        assert!(parse("k:", false, &Value::Null, &names()).is_none());
    }
}
