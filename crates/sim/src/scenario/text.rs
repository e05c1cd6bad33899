//! Scenarios as text (TOML). Times are milliseconds, with as many digits as a nanosecond needs.

use std::fmt;

use super::Scenario;

/// The text is not a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.trim_end())
    }
}

impl std::error::Error for Unreadable {}

/// Limits within which a scenario makes sense, and ends.
const MOST_NODES: usize = 9;
const MOST_PARTITIONS: u32 = 64;
const MOST_CLIENTS: usize = 64;

impl Scenario {
    /// The scenario as text: [`Scenario::from_text`] makes the same one of it.
    pub fn to_text(&self) -> String {
        toml::to_string(self).expect("numbers, texts and lists always have a form in TOML")
    }

    /// The scenario that a text says.
    ///
    /// # Errors
    /// It is none, or one that makes no sense; with the line and the reason.
    pub fn from_text(text: &str) -> Result<Scenario, Unreadable> {
        let scenario: Scenario = toml::from_str(text).map_err(|error| Unreadable(error.to_string()))?;
        scenario.check()?;
        Ok(scenario)
    }

    fn check(&self) -> Result<(), Unreadable> {
        let nodes = self.nodes;
        let problem = [
            (!(1..=MOST_NODES).contains(&nodes), format!("nodes must be 1 to {MOST_NODES}")),
            (
                !(1..=MOST_PARTITIONS).contains(&self.partitions),
                format!("partitions must be 1 to {MOST_PARTITIONS}"),
            ),
            (self.founders > nodes, "founders must not be more than nodes".to_owned()),
            (
                !(1..=nodes).contains(&self.replication_factor),
                "replication_factor must be 1 to the number of nodes".to_owned(),
            ),
            (!(1..=MOST_CLIENTS).contains(&self.clients), format!("clients must be 1 to {MOST_CLIENTS}")),
            (self.sync_time.len() != nodes, "sync_time must have an entry for each node".to_owned()),
            (
                self.faults
                    .iter()
                    .any(|planned| planned.node.is_some_and(|node| !(1..=nodes).contains(&node))),
                "a fault names a node that there is not".to_owned(),
            ),
            (
                self.faults.iter().any(|planned| planned.at > self.breaks_until),
                "a fault begins after breaks_until".to_owned(),
            ),
            (self.workload.weights.iter().all(|&weight| weight == 0), "all weights are 0".to_owned()),
            (self.workload.keys == 0 || self.workload.epoch == 0, "keys and epoch must not be 0".to_owned()),
            (self.segment_bytes < 4096, "segment_bytes must be 4096 or more".to_owned()),
        ];
        match problem.into_iter().find(|(is, _)| *is) {
            Some((_, text)) => Err(Unreadable(text)),
            None => Ok(()),
        }
    }
}

/// Nanoseconds as milliseconds. Exact for every time below a hundred days.
pub(crate) mod milliseconds {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::clock::{MILLISECOND, TrueTime};

    pub(super) fn of(time: TrueTime) -> f64 {
        time as f64 / MILLISECOND as f64
    }

    pub(super) fn read<E: serde::de::Error>(value: f64) -> Result<TrueTime, E> {
        let nanoseconds = (value * MILLISECOND as f64).round();
        match (0.0..9e15).contains(&nanoseconds) {
            true => Ok(nanoseconds as TrueTime),
            false => Err(E::custom(format!("{value} is not a time in milliseconds"))),
        }
    }

    pub(crate) fn serialize<S: Serializer>(time: &TrueTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(of(*time))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TrueTime, D::Error> {
        read(f64::deserialize(deserializer)?)
    }
}

/// Lists of `[from, to]`, each in milliseconds.
pub(crate) mod ranges {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::milliseconds;
    use crate::clock::TrueTime;

    pub(crate) fn serialize<S: Serializer>(
        ranges: &[(TrueTime, TrueTime)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer
            .collect_seq(ranges.iter().map(|&(from, to)| (milliseconds::of(from), milliseconds::of(to))))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(TrueTime, TrueTime)>, D::Error> {
        let pairs = Vec::<(f64, f64)>::deserialize(deserializer)?;
        pairs.into_iter().map(|(from, to)| Ok((milliseconds::read(from)?, milliseconds::read(to)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Focus;

    #[test]
    fn what_is_written_is_read_again() {
        for seed in 0..200 {
            let drawn = Scenario::of_seed(seed);
            let text = drawn.to_text();
            assert_eq!(Scenario::from_text(&text), Ok(drawn), "{text}");
        }
        for focus in [
            Focus::Members,
            Focus::Pauses,
            Focus::Elections,
            Focus::Moves,
            Focus::Splits,
            Focus::Primary,
            Focus::Relaxed,
            Focus::Merged,
            Focus::Bounded,
            Focus::Leaderless,
            Focus::Sloppy,
            Focus::Reads,
            Focus::Hot,
        ] {
            let drawn = Scenario::of_seed_focused(7, focus);
            assert_eq!(Scenario::from_text(&drawn.to_text()), Ok(drawn));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_reason() {
        let text = Scenario::of_seed(1).to_text();
        let nodes = text.lines().find(|line| line.starts_with("nodes")).unwrap();
        for (from, to, reason) in [
            (nodes, "nodes = 0", "nodes must be"),
            (nodes, "nodes = 99", "nodes must be"),
            ("chance = ", "chances = ", "chances"),
            ("\"Cra", "\"Kra", "Kra"),
            ("lasts = ", "lasts = -", "is not a time"),
            ("clients = ", "clients = 99", "clients must be"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from}");
            let error = Scenario::from_text(&changed).expect_err(to).to_string();
            assert!(error.contains(reason), "{to}: {error}");
        }
        assert!(Scenario::from_text("").is_err());
    }
}
