//! Acknowledged writes: what clients were promised must be in the final state, and what was refused must not.
//!
//! For workloads in which every write adds a value of its own and none is taken away: a set, a list, appends to a string,
//! or a key per write. (Where later writes replace earlier ones, read at the end and check
//! [`linearizable`](mod@crate::linearizable).) It needs no search, so it takes histories of any length.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

/// How a write ended; see [`Outcome`](crate::Outcome).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// It must be there.
    Acknowledged,
    /// It must not be there.
    Refused,
    /// It may be there.
    Unknown,
}

/// What is wrong with a final state. Every list is sorted by key, then value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many acknowledged writes were looked for.
    pub acknowledged: usize,
    /// Acknowledged and absent, but listed as lost.
    pub listed: Vec<(String, String)>,
    /// Acknowledged, but absent, and not listed: lost silently.
    pub missing: Vec<(String, String)>,
    /// Refused, but present.
    pub refused_present: Vec<(String, String)>,
    /// Present more than once: a retry was applied twice.
    pub repeated: Vec<(String, String)>,
    /// Present, but never written.
    pub unheard_of: Vec<(String, String)>,
}

impl Report {
    /// Is nothing wrong?
    pub fn is_valid(&self) -> bool {
        [&self.missing, &self.refused_present, &self.repeated, &self.unheard_of]
            .iter()
            .all(|list| list.is_empty())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_valid() {
            return match self.listed.len() {
                0 => write!(f, "durable: all {} acknowledged writes are there", self.acknowledged),
                lost => {
                    let there = self.acknowledged - lost;
                    write!(
                        f,
                        "accounted for: of {} acknowledged writes {there} are there, {lost} are listed as lost",
                        self.acknowledged
                    )
                }
            };
        }
        let lists = [
            ("acknowledged but missing", &self.missing),
            ("refused but present", &self.refused_present),
            ("present more than once", &self.repeated),
            ("present but never written", &self.unheard_of),
        ];
        write!(f, "not durable, of {} acknowledged writes:", self.acknowledged)?;
        for (what, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            write!(f, "\n{what}: {}", list.len())?;
            for (key, value) in list.iter().take(20) {
                write!(f, "\n  key {key:?} value {value:?}")?;
            }
        }
        Ok(())
    }
}

/// Compares the writes that clients sent (key, value, how it ended; no value twice on one key) with the values that each
/// key holds at the end, and with those that the system itself lists as lost. A value that was sent twice counts as acknowledged if either was, and as unknown if either was.
pub fn durable<'a>(
    writes: impl IntoIterator<Item = (&'a str, &'a str, Ended)>,
    held: impl IntoIterator<Item = (&'a str, &'a str)>,
    listed: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Report {
    let mut sent: BTreeMap<(&str, &str), Ended> = BTreeMap::new();
    for (key, value, ended) in writes {
        let known = sent.entry((key, value)).or_insert(ended);
        *known = surest(*known, ended);
    }
    let mut found: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for place in held {
        *found.entry(place).or_default() += 1;
    }
    let owned = |(key, value): &(&str, &str)| (key.to_string(), value.to_string());
    let sent_and = |ended: Ended, present: bool| {
        let chosen = |&(place, known): &(&(&str, &str), &Ended)| {
            *known == ended && found.contains_key(place) == present
        };
        sent.iter().filter(chosen).map(|(place, _)| owned(place)).collect::<Vec<_>>()
    };
    let known_lost: BTreeSet<(&str, &str)> = listed.into_iter().collect();
    let (listed, missing) = sent_and(Ended::Acknowledged, false)
        .into_iter()
        .partition(|(key, value)| known_lost.contains(&(key.as_str(), value.as_str())));
    Report {
        acknowledged: sent.values().filter(|ended| **ended == Ended::Acknowledged).count(),
        listed,
        missing,
        refused_present: sent_and(Ended::Refused, true),
        repeated: found.iter().filter(|(_, count)| **count > 1).map(|(place, _)| owned(place)).collect(),
        unheard_of: found.keys().filter(|place| !sent.contains_key(*place)).map(owned).collect(),
    }
}

fn surest(a: Ended, b: Ended) -> Ended {
    match (a, b) {
        (Ended::Acknowledged, _) | (_, Ended::Acknowledged) => Ended::Acknowledged,
        (Ended::Refused, Ended::Refused) => Ended::Refused,
        _ => Ended::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        let writes = [
            ("a", "1", Ended::Acknowledged),
            ("a", "2", Ended::Acknowledged),
            ("a", "3", Ended::Unknown),
            ("a", "4", Ended::Unknown),
            ("a", "5", Ended::Refused),
            ("b", "1", Ended::Refused),
            ("c", "1", Ended::Refused),
            ("c", "1", Ended::Acknowledged),
            ("d", "1", Ended::Refused),
            ("d", "1", Ended::Unknown),
        ];
        let good = [("a", "1"), ("a", "2"), ("a", "3"), ("c", "1"), ("d", "1")];
        let report = durable(writes, good, []);
        assert!(report.is_valid(), "{report}");
        assert_eq!(report.acknowledged, 3);

        let bad = [("a", "1"), ("a", "1"), ("a", "3"), ("b", "1"), ("c", "1"), ("a", "9")];
        let report = durable(writes, bad, []);
        let place = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
        assert_eq!(report.missing, place("a", "2"));
        assert_eq!(report.refused_present, place("b", "1"));
        assert_eq!(report.repeated, place("a", "1"));
        assert_eq!(report.unheard_of, place("a", "9"));
        assert!(report.to_string().contains("acknowledged but missing: 1\n  key \"a\" value \"2\""));
    }
}
