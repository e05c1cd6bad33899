//! What clients saw, and whether a linearizable store could have shown it.
//!
//! Three kinds of keys, each with a check of its own: `register` (unique values, conditional writes, expiry), `counter`
//! (increments by one) and `list` (appends of unique elements, which also show double and lost executions). All times
//! are virtual, so "before" is exact. An operation whose outcome is unknown has no end: it may take effect at any
//! later time or never. A refused one must never show.

pub mod counter;
pub mod list;
pub mod register;
pub mod session;

use std::collections::BTreeMap;

use crate::clock::TrueTime;
use crate::counters::Counters;
use crate::oracle::Violation;

/// When an operation was asked for and when its answer came ([`TrueTime::MAX`]: it never came for certain).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// The client sent it.
    pub invoked: TrueTime,
    /// The client had the answer.
    pub returned: TrueTime,
}

impl Interval {
    /// Between these times.
    pub fn new(invoked: TrueTime, returned: TrueTime) -> Interval {
        Interval { invoked, returned }
    }

    /// Never answered for certain.
    pub fn open(invoked: TrueTime) -> Interval {
        Interval { invoked, returned: TrueTime::MAX }
    }

    /// Is the outcome known?
    pub fn is_closed(&self) -> bool {
        self.returned != TrueTime::MAX
    }
}

/// Everything that clients saw, by key.
#[derive(Debug, Default)]
pub struct History {
    /// Registers.
    pub registers: BTreeMap<String, Vec<register::Observed>>,
    /// Counters.
    pub counters: BTreeMap<String, counter::History>,
    /// Lists.
    pub lists: BTreeMap<String, list::History>,
    /// Counters as sessions saw them that read at all levels.
    pub sessions: BTreeMap<String, session::History>,
    /// By key: a write that was sent again under its token had another answer than at first.
    pub repeated_otherwise: BTreeMap<String, String>,
}

impl History {
    /// Of these nothing can be said: some of their writes were lost, as their keyspace may lose them.
    pub fn forget(&mut self, keys: &std::collections::BTreeSet<String>) {
        self.registers.retain(|key, _| !keys.contains(key));
        self.counters.retain(|key, _| !keys.contains(key));
        self.lists.retain(|key, _| !keys.contains(key));
        self.repeated_otherwise.retain(|key, _| !keys.contains(key));
    }

    /// Checks every key.
    ///
    /// # Errors
    /// The first key that no linearizable store could have shown.
    pub fn check(&self, counters: &mut Counters) -> Result<(), Violation> {
        if let Some(text) = self.repeated_otherwise.values().next() {
            return Err(Violation::new("idempotence", text.clone()));
        }
        self.check_sessions()?;
        for (key, history) in &self.counters {
            counter::check(history).map_err(|text| Violation::new("counter", format!("{key}: {text}")))?;
        }
        for (key, history) in &self.lists {
            list::check(history).map_err(|text| Violation::new("list", format!("{key}: {text}")))?;
        }
        for (key, history) in &self.registers {
            match register::check(key, history) {
                Ok(true) => counters.add("check.linearizable_keys"),
                Ok(false) => counters.add("check.undecided_keys"),
                Err(text) => return Err(Violation::new("register", text)),
            }
        }
        Ok(())
    }

    /// Checks what sessions saw.
    ///
    /// # Errors
    /// The first key of which one saw what it must not have seen.
    pub fn check_sessions(&self) -> Result<(), Violation> {
        for (key, history) in &self.sessions {
            session::check(history).map_err(|text| Violation::new("sessions", format!("{key}: {text}")))?;
        }
        Ok(())
    }

    /// Every key that was touched, for the last reads.
    pub fn keys(&self) -> (Vec<String>, Vec<String>, Vec<String>) {
        (
            self.registers.keys().cloned().collect(),
            self.counters.keys().cloned().collect(),
            self.lists.keys().cloned().collect(),
        )
    }
}

/// Checks that values that only ever grow were seen growing: `seen` holds, per operation, its interval, the value it
/// showed and whether it made that value itself. An operation that began after another had ended must show no less, and
/// more if it made its value.
fn check_growth(seen: &[(Interval, u64, bool)]) -> Result<(), String> {
    let mut ends: Vec<(TrueTime, u64)> =
        seen.iter().map(|(interval, value, _)| (interval.returned, *value)).collect();
    ends.sort_unstable();
    let mut starts: Vec<&(Interval, u64, bool)> = seen.iter().collect();
    starts.sort_unstable_by_key(|(interval, value, _)| (interval.invoked, *value));
    let mut ends = ends.into_iter().peekable();
    let mut highest = None;
    for (interval, value, made) in starts {
        while let Some((_, ended)) = ends.next_if(|(at, _)| *at < interval.invoked) {
            highest = highest.max(Some(ended));
        }
        if let Some(highest) = highest
            && (*value < highest || (*made && *value == highest))
        {
            let what = if *made { "a write made" } else { "a read saw" };
            return Err(format!(
                "{what} {value} at {}..{} ns, after {highest} had been seen",
                interval.invoked, interval.returned
            ));
        }
    }
    Ok(())
}
