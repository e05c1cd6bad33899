//! A counter that is only ever incremented by one.
//!
//! Checked: every increment that was answered made a value of its own; values grow with real time; no value is higher
//! than the number of increments that could have run; the last value lies between the acknowledged increments and those
//! plus the unknown ones. A write that ran twice or was lost breaks one of these.

use super::{Interval, check_growth};

/// What was done to one counter.
#[derive(Debug, Default)]
pub struct History {
    /// Increments that were answered, with their answers.
    pub increments: Vec<(Interval, u64)>,
    /// When increments of unknown outcome were asked for.
    pub unknown: Vec<u64>,
    /// Reads (an absent key counts as 0).
    pub reads: Vec<(Interval, u64)>,
    /// What the counter held at the very end.
    pub last: Option<u64>,
}

/// Checks one counter.
///
/// # Errors
/// What is wrong, in words.
pub fn check(history: &History) -> Result<(), String> {
    let mut values: Vec<u64> = history.increments.iter().map(|(_, value)| *value).collect();
    values.sort_unstable();
    if let Some(twice) = values.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("two increments were both answered with {}", twice[0]));
    }
    let mut seen: Vec<(Interval, u64, bool)> = Vec::new();
    seen.extend(history.increments.iter().map(|&(interval, value)| (interval, value, true)));
    seen.extend(history.reads.iter().map(|&(interval, value)| (interval, value, false)));
    check_growth(&seen)?;
    check_bounds(history, &seen)?;
    let acknowledged = history.increments.len() as u64;
    let possible = acknowledged + history.unknown.len() as u64;
    match history.last {
        Some(last) if last < acknowledged => {
            Err(format!("{acknowledged} increments were acknowledged and the counter ended at {last}"))
        }
        Some(last) if last > possible => Err(format!(
            "the counter ended at {last}, with {acknowledged} increments acknowledged and {} unknown",
            possible - acknowledged
        )),
        _ => Ok(()),
    }
}

/// No value may be higher than the number of increments asked for before it was seen.
fn check_bounds(history: &History, seen: &[(Interval, u64, bool)]) -> Result<(), String> {
    let mut asked: Vec<u64> = history.increments.iter().map(|(interval, _)| interval.invoked).collect();
    asked.extend(&history.unknown);
    asked.sort_unstable();
    for (interval, value, _) in seen {
        let possible = asked.partition_point(|&at| at <= interval.returned) as u64;
        if *value > possible {
            return Err(format!(
                "{value} was seen at {} ns, when only {possible} increments had been asked for",
                interval.returned
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(
        increments: &[(u64, u64, u64)],
        unknown: &[u64],
        reads: &[(u64, u64, u64)],
        last: u64,
    ) -> History {
        let seen = |list: &[(u64, u64, u64)]| {
            list.iter().map(|&(from, to, value)| (Interval::new(from, to), value)).collect()
        };
        History {
            increments: seen(increments),
            unknown: unknown.to_vec(),
            reads: seen(reads),
            last: Some(last),
        }
    }

    #[test]
    fn examples() {
        type Case = (&'static str, History, bool);
        let cases: [Case; 9] = [
            ("in order", history(&[(1, 2, 1), (3, 4, 2)], &[], &[(5, 6, 2)], 2), true),
            ("overlapping, either way", history(&[(1, 9, 2), (2, 8, 1)], &[], &[], 2), true),
            ("unknown ran", history(&[(1, 2, 1), (5, 6, 3)], &[3], &[], 3), true),
            ("unknown did not run", history(&[(1, 2, 1), (5, 6, 2)], &[3], &[], 2), true),
            ("a lost write", history(&[(1, 2, 1)], &[], &[], 0), false),
            ("a write that ran twice", history(&[(1, 2, 1)], &[], &[], 2), false),
            ("two writes with one value", history(&[(1, 2, 1), (3, 4, 1)], &[3], &[], 2), false),
            ("a stale read", history(&[(1, 2, 1), (3, 4, 2)], &[], &[(5, 6, 1)], 2), false),
            ("a value out of nowhere", history(&[(1, 2, 2)], &[5], &[], 2), false),
        ];
        for (name, history, legal) in cases {
            assert_eq!(check(&history).is_ok(), legal, "{name}: {:?}", check(&history));
        }
    }
}
