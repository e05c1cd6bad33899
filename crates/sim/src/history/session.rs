//! What sessions saw of counters that are only ever incremented by one, at levels that need not show all there is.
//!
//! Checked: a session's reads at `session` and `bounded` never show less than what it has written or seen before, on whichever connection; a read with
//! a bound shows all increments that were acknowledged, to anyone, that long before it was sent; and no read at any level shows more than was ever
//! asked for.

use std::collections::BTreeMap;

use replication::consistency::Consistency;

use super::Interval;
use crate::clock::MILLISECOND;

/// One thing that a session did.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The session.
    pub session: u64,
    /// When.
    pub interval: Interval,
    /// At which level it read; `None`: it was an increment.
    pub level: Option<Consistency>,
    /// The value that it saw or made; `None`: of the increment nothing is known.
    pub value: Option<u64>,
}

/// What was done with one counter, in the order in which answers came.
pub type History = Vec<Step>;

/// Checks one counter.
///
/// # Errors
/// What is wrong, in words.
pub fn check(history: &History) -> Result<(), String> {
    let increments = || history.iter().filter(|step| step.level.is_none());
    let acknowledged = increments().filter(|step| step.value.is_some());
    let mut acknowledged: Vec<u64> = acknowledged.map(|step| step.interval.returned).collect();
    acknowledged.sort_unstable();
    let mut asked: Vec<u64> = increments().map(|step| step.interval.invoked).collect();
    asked.sort_unstable();
    let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
    for step in history {
        let Some(value) = step.value else { continue };
        let highest = seen.entry(step.session).or_default();
        let Interval { invoked, returned } = step.interval;
        if matches!(step.level, Some(Consistency::Session | Consistency::Bounded(_))) && value < *highest {
            return Err(format!(
                "session {} read {value} at {invoked}..{returned} ns, having seen {highest}",
                step.session
            ));
        }
        *highest = value.max(*highest);
        if let Some(level) = step.level {
            let back = match level {
                Consistency::Strong => Some(0),
                Consistency::Bounded(bound) => Some(u64::from(bound) * MILLISECOND),
                Consistency::Session | Consistency::Eventual => None,
            };
            let certain = back.map_or(0, |back| {
                acknowledged.partition_point(|at| *at < invoked.saturating_sub(back)) as u64
            });
            if value < certain {
                return Err(format!(
                    "a read at {invoked}..{returned} ns, {}, showed {value}; {certain} increments had been acknowledged by then",
                    level.name()
                ));
            }
        }
        let possible = asked.partition_point(|at| *at <= returned) as u64;
        if value > possible {
            return Err(format!(
                "{value} was seen at {returned} ns, when only {possible} increments had been asked for"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(session: u64, at: u64, level: Option<Consistency>, value: u64) -> Step {
        let interval = Interval::new(at * MILLISECOND, (at + 1) * MILLISECOND);
        Step { session, interval, level, value: Some(value) }
    }

    #[test]
    fn what_goes_back_is_seen_and_what_may_be_old_is_not() {
        let written = vec![step(1, 10, None, 1), step(1, 20, None, 2)];
        let with = |more: Step| [written.clone(), vec![more]].concat();
        let session = Some(Consistency::Session);
        assert!(check(&with(step(1, 30, session, 1))).is_err(), "its own write");
        assert!(check(&with(step(2, 30, session, 1))).is_ok(), "of another session");
        assert!(check(&with(step(1, 30, Some(Consistency::Eventual), 0))).is_ok());
        assert!(check(&with(step(2, 30, Some(Consistency::Bounded(15)), 1))).is_ok());
        assert!(check(&with(step(2, 30, Some(Consistency::Bounded(5)), 1))).is_err(), "too old");
        assert!(check(&with(step(2, 30, Some(Consistency::Strong), 1))).is_err());
        assert!(check(&with(step(2, 30, session, 3))).is_err(), "nobody wrote that");
        let monotonic = [with(step(2, 30, session, 2)), vec![step(2, 40, session, 1)]].concat();
        assert!(check(&monotonic).is_err(), "it had seen more");
    }
}
