//! How old were the values that were read? Bounded staleness, and regularity.
//!
//! One write is known to be newer than another where it was invoked after the other was acknowledged. A read is stale by
//! the time between its invocation and the acknowledgement of the first write that is newer than the value it returned. That
//! is the least that can be said: a system may have been staler, but no clock other than that of the clients is needed, and a
//! system whose versions respect real time is never blamed wrongly.
//!
//! *Regular* is stale by nothing: a read returns the last write that was acknowledged before it, or one under way at the
//! same time (multi-writer regularity, the weak form; Shao, Pierce, Welch: Multi-writer consistency conditions for shared
//! memory objects, DISC 2003). Two reads may still disagree about which of concurrent writes won: that is what
//! linearizability adds.

use crate::finding::Finding;
use crate::history::Outcome;
use crate::linearizable::operation_line;
use crate::model::Register;
use crate::values::{Registers, Source, Unfit, Values, ended_at};

/// The ages of the values that were read, in the history's unit of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Staleness {
    /// Of each answered read, 0 for one that was not stale; sorted.
    pub ages: Vec<u64>,
    /// The read with the greatest age, the value's write (if it was one), and the write that made it stale.
    pub worst: Option<(usize, Option<usize>, usize)>,
}

impl Staleness {
    /// The age that this share of the reads (0 to 1) does not exceed.
    pub fn quantile(&self, share: f64) -> u64 {
        let last = self.ages.len().saturating_sub(1);
        self.ages.get((last as f64 * share.clamp(0.0, 1.0)).round() as usize).copied().unwrap_or_default()
    }

    /// How many reads were stale at all.
    pub fn stale(&self) -> usize {
        self.ages.len() - self.ages.partition_point(|age| *age == 0)
    }
}

/// The acknowledged writes to one key, by their invocation.
#[derive(Default)]
struct Writes {
    /// Invoked at, acknowledged at, place in the history.
    writes: Vec<(u64, u64, usize)>,
    /// For each, the one of the earliest acknowledgement among it and those after it.
    earliest: Vec<usize>,
}

impl Writes {
    fn close(&mut self) {
        self.writes.sort_unstable();
        self.earliest = (0..self.writes.len()).collect();
        for at in (0..self.writes.len().saturating_sub(1)).rev() {
            if self.writes[self.earliest[at + 1]].1 < self.writes[at].1 {
                self.earliest[at] = self.earliest[at + 1];
            }
        }
    }

    /// Of the writes invoked after `time` (`None`: of all), the first acknowledgement, and of which write.
    fn first_after(&self, time: Option<u64>) -> Option<(u64, usize)> {
        let from = time.map_or(0, |time| self.writes.partition_point(|(invoked, ..)| *invoked <= time));
        self.earliest.get(from).map(|&earliest| (self.writes[earliest].1, self.writes[earliest].2))
    }
}

/// A finding of what no bound allows, or the ages.
fn judge(history: &Registers) -> Result<Staleness, Finding> {
    let values = Values::new(history).map_err(|Unfit { reason }| Finding::Unknown(reason))?;
    let operations = history.operations();
    let mut writes: Vec<Writes> = (0..values.key_count).map(|_| Writes::default()).collect();
    for (index, operation) in operations.iter().enumerate().filter(|(index, _)| values.is_write(*index)) {
        if let Some(end) = ended_at(operation) {
            writes[values.keys[index] as usize].writes.push((operation.invoked_at, end, index));
        }
    }
    writes.iter_mut().for_each(Writes::close);
    let mut staleness = Staleness::default();
    let mut greatest = 0;
    for (index, operation) in operations.iter().enumerate() {
        let Some(source) = values.source(index) else { continue };
        let Outcome::Done { at, .. } = operation.outcome else { continue };
        let line = |index: usize| operation_line::<Register>(&operations[index], true);
        let after = match source {
            Source::ThinAir => {
                let text = format!("{}: nobody wrote that", line(index));
                return Err(Finding::invalid("thin air read", vec![index], text));
            }
            Source::Write(write) if operations[write].invoked_at > at => {
                let text = format!("read before it was written:\n  {}\n  {}", line(index), line(write));
                return Err(Finding::invalid("read from the future", vec![index, write], text));
            }
            // A write of unknown outcome may have taken effect after any other.
            Source::Write(write) => ended_at(&operations[write]).map(Some),
            Source::Initial => Some(None),
        };
        let newer = after.and_then(|after| writes[values.keys[index] as usize].first_after(after));
        let age = newer.map_or(0, |(acknowledged, _)| operation.invoked_at.saturating_sub(acknowledged));
        if let (true, Some((_, newer))) = (age > greatest, newer) {
            greatest = age;
            let of = if let Source::Write(write) = source { Some(write) } else { None };
            staleness.worst = Some((index, of, newer));
        }
        staleness.ages.push(age);
    }
    staleness.ages.sort_unstable();
    Ok(staleness)
}

/// Was no read staler than `bound`? Also says how stale the reads were, whatever the verdict.
pub fn bounded(history: &Registers, bound: u64) -> (Finding, Staleness) {
    let staleness = match judge(history) {
        Ok(staleness) => staleness,
        Err(finding) => return (finding, Staleness::default()),
    };
    let age = staleness.ages.last().copied().unwrap_or_default();
    let Some((read, write, newer)) = staleness.worst.filter(|_| age > bound) else {
        return (Finding::Valid, staleness);
    };
    let operations: Vec<usize> = write.into_iter().chain([newer, read]).collect();
    let line =
        |index: &usize| format!("  {}", operation_line::<Register>(&history.operations()[*index], true));
    let lines: Vec<String> = operations.iter().map(line).collect();
    let text = format!(
        "a value was read {age} after a newer one had been acknowledged, {bound} are allowed:\n{}",
        lines.join("\n")
    );
    (Finding::invalid("stale read", operations, text), staleness)
}

/// Is every key a regular register?
pub fn regular(history: &Registers) -> Finding {
    bounded(history, 0).0
}
