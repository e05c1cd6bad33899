//! A string or a list that only grows: each `APPEND` or `RPUSH` adds an element that nobody else adds.
//!
//! The last value shows the order in which all appends took effect, which makes the check complete and cheap: every
//! acknowledged element is there once and ends where its answer said; an unknown one is there at most once, a refused
//! one never; every read is a beginning of the last value; and all of them grow with real time.

use std::collections::BTreeMap;

use super::{Interval, check_growth};

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done; the string was this long afterwards.
    Done(u64),
    /// Done; there were so many elements afterwards.
    Counted(u64),
    /// Refused.
    Refused,
    /// Unknown.
    Unknown,
}

/// What was done to one list.
#[derive(Debug, Default)]
pub struct History {
    /// Appends: interval, element (with its separator), outcome.
    pub appends: Vec<(Interval, String, Outcome)>,
    /// Reads.
    pub reads: Vec<(Interval, String)>,
    /// What the list held at the very end.
    pub last: Option<String>,
}

/// Elements end with this.
pub const SEPARATOR: char = ';';

/// Checks one list.
///
/// # Errors
/// What is wrong, in words.
pub fn check(history: &History) -> Result<(), String> {
    let longest = history.reads.iter().map(|(_, value)| value).max_by_key(|value| value.len());
    let Some(last) = history.last.as_ref().or(longest) else {
        return Ok(());
    };
    if let Some((interval, read)) = history.reads.iter().find(|(_, read)| !last.starts_with(read.as_str())) {
        return Err(format!(
            "a read at {}..{} ns saw {read:?}, which is no beginning of {last:?}",
            interval.invoked, interval.returned
        ));
    }
    let ends = element_ends(last)?;
    let mut seen: Vec<(Interval, u64, bool)> = Vec::new();
    for (interval, element, outcome) in &history.appends {
        let end = ends.get(element.as_str()).copied();
        match (outcome, end) {
            (Outcome::Done(length), Some((end, _))) if *length == end => seen.push((*interval, end, true)),
            (Outcome::Counted(count), Some((end, number))) if *count == number => {
                seen.push((*interval, end, true));
            }
            (Outcome::Counted(count), Some((_, number))) => {
                return Err(format!("{element} was answered with {count} and is the {number}th in {last:?}"));
            }
            (Outcome::Done(length), Some((end, _))) => {
                return Err(format!("{element} was answered with {length} and ends at {end} in {last:?}"));
            }
            // Without a last value the longest read may be older than the append.
            (Outcome::Done(_) | Outcome::Counted(_), None) if history.last.is_none() => {}
            (Outcome::Done(_) | Outcome::Counted(_), None) => {
                return Err(format!("{element} was acknowledged at {} ns and is lost", interval.returned));
            }
            (Outcome::Refused, Some(_)) => {
                return Err(format!("{element} was refused at {} ns and is there", interval.returned));
            }
            (Outcome::Unknown, Some((end, _))) => seen.push((Interval::open(interval.invoked), end, true)),
            (Outcome::Refused | Outcome::Unknown, None) => {}
        }
    }
    seen.extend(history.reads.iter().map(|(interval, value)| (*interval, value.len() as u64, false)));
    check_growth(&seen)
}

/// Where each element ends, and the how manieth it is.
fn element_ends(list: &str) -> Result<BTreeMap<&str, (u64, u64)>, String> {
    let mut ends = BTreeMap::new();
    let mut end = 0;
    for (element, number) in list.split_inclusive(SEPARATOR).zip(1..) {
        end += element.len() as u64;
        if ends.insert(element, (end, number)).is_some() {
            return Err(format!("{element} was appended twice"));
        }
    }
    Ok(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(appends: &[(u64, u64, &str, Outcome)], reads: &[(u64, u64, &str)], last: &str) -> History {
        History {
            appends: appends
                .iter()
                .map(|&(from, to, element, outcome)| (Interval::new(from, to), element.to_owned(), outcome))
                .collect(),
            reads: reads
                .iter()
                .map(|&(from, to, value)| (Interval::new(from, to), value.to_owned()))
                .collect(),
            last: Some(last.to_owned()),
        }
    }

    #[test]
    fn examples() {
        use Outcome::{Counted, Done, Refused, Unknown};
        type Case = (&'static str, History, bool);
        let cases: [Case; 11] = [
            (
                "in order",
                history(&[(1, 2, "a;", Done(2)), (3, 4, "b;", Done(4))], &[(5, 6, "a;b;")], "a;b;"),
                true,
            ),
            ("unknown either way", history(&[(1, 2, "a;", Unknown), (3, 4, "b;", Unknown)], &[], "b;"), true),
            ("lost", history(&[(1, 2, "a;", Done(2)), (3, 4, "b;", Done(4))], &[], "a;"), false),
            ("twice", history(&[(1, 2, "a;", Done(2))], &[], "a;a;"), false),
            ("refused and there", history(&[(1, 2, "a;", Refused)], &[], "a;"), false),
            ("a stale read", history(&[(1, 2, "a;", Done(2))], &[(3, 4, "")], "a;"), false),
            ("a read of another past", history(&[(1, 2, "a;", Done(2))], &[(1, 4, "b;")], "a;"), false),
            ("counted", history(&[(1, 2, "a;", Counted(1)), (3, 4, "b;", Counted(2))], &[], "a;b;"), true),
            ("counted wrong", history(&[(1, 2, "a;", Counted(2))], &[], "a;"), false),
            ("a wrong answer", history(&[(1, 2, "a;", Done(4))], &[], "a;"), false),
            (
                "against real time",
                history(&[(3, 4, "a;", Done(2)), (1, 2, "b;", Done(4))], &[], "a;b;"),
                false,
            ),
        ];
        for (name, history, legal) in cases {
            assert_eq!(check(&history).is_ok(), legal, "{name}: {:?}", check(&history));
        }
    }
}
