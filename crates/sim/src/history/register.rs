//! A key that holds one of many unique values, with conditional writes and expiry.
//!
//! Expiry is the one thing that happens by itself: a value with a time to live may be found gone from some moment on,
//! and once it was found gone it must not come back without a write.

use check::{Budget, Model, Outcome, Verdict};
use serde::{Deserialize, Serialize};

use super::Interval;

/// An operation with its interval.
pub type Observed = (Interval, Operation);

/// What was done and what was answered; `None` in place of an answer: unknown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Operation {
    /// `SET`, or a part of `MSET` or of a transaction.
    Write { value: u64, lives_until: Option<u64> },
    /// `SET ... NX`: was it set?
    WriteIfAbsent { value: u64, lives_until: Option<u64>, set: Option<bool> },
    /// `GETSET`.
    Swap { value: u64, old: Option<Option<u64>> },
    /// `WATCH`, `GET`, `MULTI`, `SET`, `EXEC`: went through, seeing `expected`.
    CompareAndSet { expected: Option<u64>, value: u64 },
    /// `GET`.
    Read { value: Option<u64> },
    /// `DEL`: was it there?
    Delete { found: Option<bool> },
    /// `PEXPIRE`: was it there?
    Expire { lives_until: u64, found: Option<bool> },
    /// `PERSIST`: was it there and had a time to live?
    Persist { found: Option<bool> },
}

/// A value and, if it has a time to live, the earliest true time at which it may be found gone.
type State = Option<(u64, Option<u64>)>;

/// The sequential register.
#[derive(Debug, Default)]
struct Register;

/// An operation with its answer, and when that came: what has a time to live may be found gone from some time on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Input {
    operation: Operation,
    returned: u64,
}

impl Model for Register {
    const NAME: &'static str = "register with expiry";
    type State = State;
    type Input = Input;
    type Output = ();

    fn initial(&self) -> State {
        None
    }

    /// One state at the most: if the answer is known it tells whether a value had expired; and if it is not, that the
    /// value had expired and nothing was changed is as if the operation had not taken effect.
    fn step(&mut self, state: &State, input: &Input, _: Option<&()>) -> Option<State> {
        let expired = match state {
            Some((_, Some(lives_until))) if input.returned >= *lives_until => Some(None),
            _ => None,
        };
        step_from(*state, &input.operation).or_else(|| step_from(expired?, &input.operation))
    }

    /// An answer that says that nothing is there may be what makes an expired value vanish for good, so it is no read.
    fn is_read(input: &Input, _: Option<&()>) -> bool {
        matches!(
            input.operation,
            Operation::Read { value: Some(_) } | Operation::WriteIfAbsent { set: Some(false), .. }
        )
    }

    fn overwrites(input: &Input) -> Option<State> {
        match input.operation {
            Operation::Write { value, lives_until } => Some(Some((value, lives_until))),
            Operation::Swap { value, .. } | Operation::CompareAndSet { value, .. } => {
                Some(Some((value, None)))
            }
            _ => None,
        }
    }

    fn makes_use_of(&self, _: &State, input: &Input, _: Option<&()>) -> bool {
        !matches!(input.operation, Operation::Write { .. })
    }

    fn describe_state(&self, state: &State) -> String {
        format!("{state:?}")
    }

    fn describe(input: &Input, _: Option<&()>) -> String {
        format!("{:?}", input.operation)
    }
}

fn step_from(state: State, operation: &Operation) -> Option<State> {
    let there = state.is_some();
    let value_now = state.map(|(value, _)| value);
    // Of two outcomes that are both possible for want of an answer, the one that changes something.
    let fits = |answer: &Option<bool>, truth: bool| answer.is_none_or(|answer| answer == truth);
    match operation {
        Operation::Write { value, lives_until } => Some(Some((*value, *lives_until))),
        Operation::WriteIfAbsent { set: Some(false), .. } if there => Some(state),
        Operation::WriteIfAbsent { value, lives_until, set } if !there && fits(set, true) => {
            Some(Some((*value, *lives_until)))
        }
        Operation::Swap { value, old } if old.is_none_or(|old| old == value_now) => {
            Some(Some((*value, None)))
        }
        Operation::CompareAndSet { expected, value } if *expected == value_now => Some(Some((*value, None))),
        Operation::Read { value } if *value == value_now => Some(state),
        Operation::Delete { found } if fits(found, there) => Some(None),
        Operation::Expire { lives_until, found } if fits(found, there) => {
            Some(state.map(|(value, _)| (value, Some(*lives_until))))
        }
        Operation::Persist { found } if fits(found, matches!(state, Some((_, Some(_))))) => {
            Some(state.map(|(value, _)| (value, None)))
        }
        _ => None,
    }
}

impl Operation {
    /// The value that it writes.
    fn written(&self) -> Option<u64> {
        match self {
            Operation::Write { value, .. }
            | Operation::WriteIfAbsent { value, .. }
            | Operation::Swap { value, .. }
            | Operation::CompareAndSet { value, .. } => Some(*value),
            _ => None,
        }
    }

    /// The value that it saw.
    fn seen(&self) -> Option<u64> {
        match self {
            Operation::Read { value } => *value,
            Operation::Swap { old, .. } => (*old)?,
            Operation::CompareAndSet { expected, .. } => *expected,
            _ => None,
        }
    }

    /// Does it write something with a time to live?
    fn may_vanish(&self) -> bool {
        match self {
            Operation::Write { lives_until, .. } | Operation::WriteIfAbsent { lives_until, .. } => {
                lives_until.is_some()
            }
            _ => false,
        }
    }

    /// Did it see that something was there, without seeing what?
    fn saw_presence(&self) -> bool {
        match self {
            Operation::WriteIfAbsent { set, .. } => *set == Some(false),
            Operation::Delete { found } | Operation::Expire { found, .. } | Operation::Persist { found } => {
                *found == Some(true)
            }
            _ => false,
        }
    }
}

/// What the search for one key may cost: a moment.
const BUDGET: Budget = Budget { steps: 2_000_000, memory_bytes: 256 << 20 };

/// Checks one key. `false`: the search was given up.
///
/// # Errors
/// What is wrong, in words.
pub fn check(key: &str, history: &[Observed]) -> Result<bool, String> {
    let relevant = without_the_unseen(history);
    check_values_have_writers(&relevant)?;
    let mut judged = check::History::new();
    for (interval, operation) in &relevant {
        let Interval { invoked, returned } = *interval;
        let outcome = match interval.is_closed() {
            true => Outcome::Done { at: returned, output: () },
            false => Outcome::Unknown,
        };
        let input = Input { operation: operation.clone(), returned };
        judged.push(check::Operation {
            process: 0,
            key: key.to_owned(),
            input,
            invoked_at: invoked,
            outcome,
        });
    }
    match check::check::<Register>(&judged, BUDGET) {
        Verdict::Valid => Ok(true),
        Verdict::Unknown { .. } => Ok(false),
        Verdict::Invalid(failure) => Err(failure.text),
    }
}

/// Writes of unknown outcome that nobody saw can be taken as never having happened, which keeps the search small. Not so
/// those with a time to live: they may explain why something was gone.
fn without_the_unseen(history: &[Observed]) -> Vec<Observed> {
    let closed = || history.iter().filter(|(interval, _)| interval.is_closed());
    let last_presence = closed()
        .filter(|(_, op)| op.saw_presence())
        .map(|(interval, _)| interval.returned)
        .max()
        .unwrap_or(0);
    // An unknown one may have been seen by another unknown one (a compare-and-set).
    let seen: std::collections::BTreeSet<u64> = history.iter().filter_map(|(_, op)| op.seen()).collect();
    let needed = |(interval, operation): &&Observed| {
        interval.is_closed()
            || interval.invoked < last_presence
            || operation.may_vanish()
            || operation.written().is_none_or(|value| seen.contains(&value))
    };
    history.iter().filter(needed).cloned().collect()
}

/// A value that was seen must have been written, by an operation that had begun by then (a refused one is not in the
/// history at all).
fn check_values_have_writers(history: &[Observed]) -> Result<(), String> {
    for observed in history.iter().filter(|(interval, _)| interval.is_closed()) {
        let Some(value) = observed.1.seen() else { continue };
        let writer = history.iter().find(|(_, operation)| operation.written() == Some(value));
        match writer {
            None => return Err(format!("nobody wrote what this saw: {}", describe(observed))),
            Some(writer) if writer.0.invoked > observed.0.returned => {
                return Err(format!("{} saw {}, which came later", describe(observed), describe(writer)));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn describe((interval, operation): &Observed) -> String {
    let end =
        if interval.is_closed() { format!("{:.3}", interval.returned as f64 / 1e6) } else { "?".into() };
    format!("[{:.3}..{end} ms] {operation:?}", interval.invoked as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::Operation::*;
    use super::*;

    fn legal(history: &[(u64, u64, Operation)]) -> bool {
        let history: Vec<Observed> =
            history.iter().map(|(from, to, op)| (Interval::new(*from, *to), op.clone())).collect();
        check("key", &history) == Ok(true)
    }

    const OPEN: u64 = u64::MAX;

    fn write(value: u64) -> Operation {
        Write { value, lives_until: None }
    }

    fn read(value: u64) -> Operation {
        Read { value: Some(value) }
    }

    #[test]
    fn reads_follow_writes_in_real_time() {
        assert!(legal(&[(1, 2, write(1)), (3, 4, read(1))]));
        assert!(legal(&[(1, 4, write(1)), (2, 3, Read { value: None })]));
        assert!(!legal(&[(1, 2, write(1)), (3, 4, Read { value: None })]), "a lost write");
        assert!(!legal(&[(1, 2, write(1)), (3, 4, write(2)), (5, 6, read(1))]), "a stale read");
        assert!(!legal(&[(1, 2, read(7))]), "a value that nobody wrote");
        let there_and_back =
            [(1, 9, write(1)), (1, 9, write(2)), (2, 3, read(1)), (4, 5, read(2)), (6, 7, read(1))];
        assert!(!legal(&there_and_back), "reads that go back");
    }

    #[test]
    fn an_unknown_write_may_take_effect_late_or_never() {
        assert!(legal(&[(1, OPEN, write(1)), (3, 4, Read { value: None }), (5, 6, read(1))]));
        assert!(legal(&[(1, OPEN, write(1)), (3, 4, Read { value: None })]));
        let twice = [(1, OPEN, write(1)), (3, 4, read(1)), (5, 6, write(2)), (7, 8, read(1))];
        assert!(!legal(&twice), "not twice");
        let presence =
            [(1, OPEN, write(1)), (3, 4, WriteIfAbsent { value: 2, lives_until: None, set: Some(false) })];
        let vanished = [
            (1, 2, write(1)),
            (3, OPEN, Write { value: 2, lives_until: Some(4) }),
            (5, 6, Read { value: None }),
        ];
        assert!(legal(&vanished), "it expired unseen");
        assert!(legal(&presence), "it explains why another write found something");
    }

    #[test]
    fn expiry_may_happen_once_due_and_is_final() {
        let set = Write { value: 1, lives_until: Some(10) };
        assert!(legal(&[(1, 2, set.clone()), (11, 12, Read { value: None })]));
        assert!(legal(&[(1, 2, set.clone()), (11, 12, read(1))]));
        assert!(!legal(&[(1, 2, set.clone()), (4, 5, Read { value: None })]), "gone too early");
        assert!(
            !legal(&[(1, 2, set.clone()), (11, 12, Read { value: None }), (13, 14, read(1))]),
            "came back"
        );
        let kept = [(1, 2, set), (3, 4, Persist { found: Some(true) }), (11, 12, Read { value: None })];
        assert!(!legal(&kept), "made to stay and gone");
        let due = Write { value: 1, lives_until: Some(0) };
        let race =
            [(1, 2, due), (3, 8, Delete { found: Some(true) }), (4, 7, Persist { found: Some(false) })];
        assert!(legal(&race), "it did not expire, it was deleted first");
        let expire = || Expire { lives_until: 0, found: Some(true) };
        let persist = || Persist { found: Some(true) };
        let again =
            [(1, 2, write(1)), (3, 4, expire()), (5, 8, expire()), (6, 7, persist()), (9, 10, persist())];
        assert!(
            legal(&again),
            "a second expiry that changed nothing at first sight, but did after the first was undone"
        );
    }

    #[test]
    fn conditional_writes_see_the_present_value() {
        let absent = |value, set| WriteIfAbsent { value, lives_until: None, set: Some(set) };
        assert!(legal(&[(1, 2, absent(1, true)), (3, 4, absent(2, false)), (5, 6, read(1))]));
        assert!(!legal(&[(1, 2, absent(1, true)), (3, 4, absent(2, true))]));
        assert!(legal(&[(1, 2, write(1)), (3, 4, Swap { value: 2, old: Some(Some(1)) }), (5, 6, read(2))]));
        assert!(!legal(&[(1, 2, write(1)), (3, 4, Swap { value: 2, old: Some(None) })]));
        let lost_update = [
            (1, 2, write(1)),
            (3, 9, CompareAndSet { expected: Some(1), value: 2 }),
            (3, 9, CompareAndSet { expected: Some(1), value: 3 }),
        ];
        assert!(!legal(&lost_update));
        assert!(legal(&[
            (1, 2, write(1)),
            (3, 4, Delete { found: Some(true) }),
            (5, 6, Delete { found: Some(false) })
        ]));
    }
}
