//! A hand-made history for every anomaly that has a name: the check that is about it finds it, by that name, and the checks
//! that allow it do not.

use std::collections::BTreeMap;

use check::causal::{Guarantee, Level, causal, session};
use check::convergent::{ReplicaState, convergent};
use check::expiry::{ExpiringInput, expiring};
use check::freshness::{bounded, regular};
use check::model::{CounterInput, CounterOutput, RegisterInput, RegisterOutput};
use check::{Budget, Finding, History, Outcome, Registers, counters};

/// Sessions and what they do, one after the other, two moments each: `x=1` writes, `x?1` reads 1, `x?` reads nothing,
/// `x!1` writes with unknown outcome, `x#1` is a write that is refused.
fn registers(lines: &[(u64, &str)]) -> Registers {
    let mut history = History::new();
    for (at, (process, what)) in (0..).step_by(10).zip(lines) {
        let place = what.find(['=', '?', '!', '#']).expect("an operation");
        let (key, value) = (&what[..place], &what[place + 1..]);
        let value = (!value.is_empty()).then(|| value.into());
        let input = match &what[place..=place] {
            "?" => RegisterInput::Read,
            _ => RegisterInput::Write(value.clone()),
        };
        let id = history.invoke(*process, key, input, at);
        match &what[place..=place] {
            "=" => history.done(id, at + 5, RegisterOutput::Written),
            "?" => history.done(id, at + 5, RegisterOutput::Value(value)),
            "#" => history.refused(id),
            _ => {}
        }
    }
    history
}

fn pattern(finding: &Finding) -> Option<&'static str> {
    match finding {
        Finding::Valid => None,
        Finding::Invalid(example) => {
            assert!(!example.text.is_empty());
            Some(example.pattern)
        }
        Finding::Unknown(reason) => panic!("unknown: {reason}"),
    }
}

/// Which guarantees are broken.
fn broken(history: &Registers) -> Vec<&'static str> {
    Guarantee::ALL.iter().filter_map(|guarantee| pattern(&session(history, *guarantee))).collect()
}

fn is_linearizable(history: &Registers) -> bool {
    check::check::<check::model::Register>(history, Budget::default()).is_valid()
}

#[test]
fn what_is_fine() {
    let lines = [
        (1, "x?"),
        (1, "x=1"),
        (2, "x?1"),
        (2, "y=1"),
        (3, "y?1"),
        (3, "x?1"),
        (1, "x#9"),
        (1, "x!2"),
        (3, "x?2"),
        (1, "x?2"),
    ];
    let history = registers(&lines);
    assert!(broken(&history).is_empty());
    assert!(causal(&history, Level::Convergent).is_valid());
    assert!(regular(&history).is_valid());
    assert!(is_linearizable(&history));
}

#[test]
fn read_your_writes() {
    for lines in [vec![(1, "x=1"), (1, "x?")], vec![(1, "x=1"), (2, "x?1"), (2, "x=2"), (2, "x?1")]] {
        let history = registers(&lines);
        assert_eq!(broken(&history), ["read your writes"]);
        assert!(causal(&history, Level::Causal).is_invalid());
        assert!(!is_linearizable(&history));
    }
    // Of concurrent writes either may win.
    assert!(broken(&registers(&[(1, "x=1"), (2, "x=2"), (2, "x?1")])).is_empty());
    // Nothing is owed for what was refused or may not have happened.
    assert!(broken(&registers(&[(1, "x#1"), (1, "x!2"), (1, "x?")])).is_empty());
}

#[test]
fn monotonic_reads() {
    let history = registers(&[(1, "x=1"), (1, "x=2"), (2, "x?2"), (2, "x?1")]);
    // Whoever saw the second write knows of the first, but that it replaced it says only its session's order.
    assert_eq!(broken(&history), ["monotonic reads"]);
    let history = registers(&[(1, "x=1"), (2, "x?1"), (2, "x?")]);
    assert_eq!(broken(&history), ["monotonic reads"]);
    // Another session may be behind.
    assert!(broken(&registers(&[(1, "x=1"), (1, "x=2"), (2, "x?2"), (3, "x?1")])).is_empty());
}

#[test]
fn monotonic_writes() {
    let history = registers(&[(1, "x=1"), (1, "y=1"), (2, "y?1"), (2, "x?")]);
    assert_eq!(broken(&history), ["monotonic writes"]);
    assert_eq!(pattern(&causal(&history, Level::Causal)), Some("write co init read"));
    let history = registers(&[(1, "x=1"), (1, "x=2"), (1, "y!1"), (2, "y?1"), (2, "x?1")]);
    assert_eq!(broken(&history), ["monotonic writes"]);
}

#[test]
fn writes_follow_reads() {
    let lines = [(1, "x=1"), (2, "x?1"), (2, "x=2"), (3, "x?2"), (3, "y=1"), (4, "y?1"), (4, "x?1")];
    let history = registers(&lines);
    assert_eq!(broken(&history), ["writes follow reads"]);
    assert_eq!(pattern(&causal(&history, Level::Causal)), Some("write co read"));
}

/// Longer chains than the guarantees speak of.
#[test]
fn causality_beyond_sessions() {
    let lines = [(1, "x=1"), (1, "y=1"), (2, "y?1"), (2, "z=1"), (3, "z?1"), (3, "x?")];
    let history = registers(&lines);
    assert!(broken(&history).is_empty());
    let Finding::Invalid(example) = causal(&history, Level::Causal) else { panic!("should be invalid") };
    assert_eq!(example.pattern, "write co init read");
    assert_eq!(example.operations, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn thin_air() {
    for lines in [vec![(1, "x?7")], vec![(1, "x#7"), (2, "x?7")]] {
        let history = registers(&lines);
        assert_eq!(pattern(&causal(&history, Level::Causal)), Some("thin air read"));
        assert_eq!(pattern(&regular(&history)), Some("thin air read"));
        assert_eq!(pattern(&session(&history, Guarantee::MonotonicReads)), Some("thin air read"));
    }
}

#[test]
fn cyclic_causality() {
    let history = registers(&[(1, "x?1"), (1, "y=1"), (2, "y?1"), (2, "x=1")]);
    let Finding::Invalid(example) = causal(&history, Level::Causal) else { panic!("should be invalid") };
    assert_eq!((example.pattern, example.operations.len()), ("cyclic causality", 4));
    assert_eq!(pattern(&regular(&history)), Some("read from the future"));
    assert!(matches!(session(&history, Guarantee::MonotonicReads), Finding::Unknown(_)));
}

/// Two sessions see two concurrent writes end in different orders: causal, but not convergent.
#[test]
fn cyclic_conflicts() {
    let history = registers(&[(1, "x=1"), (2, "x=2"), (1, "x?2"), (2, "x?1")]);
    assert!(broken(&history).is_empty());
    assert!(causal(&history, Level::Causal).is_valid());
    assert_eq!(pattern(&causal(&history, Level::Convergent)), Some("cyclic conflicts"));
}

#[test]
fn what_cannot_be_judged() {
    let twice = registers(&[(1, "x=1"), (2, "x=1")]);
    assert!(matches!(causal(&twice, Level::Causal), Finding::Unknown(_)));
    assert!(matches!(regular(&twice), Finding::Unknown(_)));
    let mut overlapping = registers(&[(1, "x=1")]);
    let id = overlapping.invoke(1, "x", RegisterInput::Read, 2);
    overlapping.done(id, 3, RegisterOutput::Value(None));
    assert!(matches!(causal(&overlapping, Level::Causal), Finding::Unknown(_)));
}

#[test]
fn staleness() {
    // Acknowledged at 5, 15 and 25; read at 30 and 40.
    let history = registers(&[(1, "x=1"), (1, "x=2"), (1, "x=3"), (2, "x?1"), (2, "x?3")]);
    assert_eq!(pattern(&regular(&history)), Some("stale read"));
    assert_eq!(pattern(&bounded(&history, 14).0), Some("stale read"));
    let (finding, staleness) = bounded(&history, 15);
    assert!(finding.is_valid());
    assert_eq!((staleness.ages.as_slice(), staleness.stale()), (&[0, 15][..], 1));
    assert_eq!((staleness.quantile(0.0), staleness.quantile(1.0)), (0, 15));
    assert_eq!(staleness.worst, Some((3, Some(0), 1)));
    // Nothing read, though written.
    assert_eq!(pattern(&regular(&registers(&[(1, "x=1"), (2, "x?")]))), Some("stale read"));
    // A write of unknown outcome may come last.
    assert!(regular(&registers(&[(1, "x!1"), (1, "x=2"), (2, "x?1")])).is_valid());
    // Regular but not linearizable: of two writes under way, two reads see one after the other, then back.
    let mut history = Registers::new();
    for value in ["1", "2"] {
        let id = history.invoke(
            value.parse().expect("a number"),
            "x",
            RegisterInput::Write(Some(value.into())),
            0,
        );
        history.done(id, 100, RegisterOutput::Written);
    }
    for (at, value) in [(10, "1"), (20, "2"), (30, "1")] {
        let id = history.invoke(3, "x", RegisterInput::Read, at);
        history.done(id, at + 5, RegisterOutput::Value(Some(value.into())));
    }
    assert!(regular(&history).is_valid());
    assert!(!is_linearizable(&history));
}

fn counter(lines: &[(u64, CounterInput, Outcome<CounterOutput>)]) -> History<CounterInput, CounterOutput> {
    let mut history = History::new();
    for (at, (process, input, outcome)) in (0..).step_by(10).zip(lines.iter().cloned()) {
        history.push(check::Operation { process, key: "c".to_owned(), input, invoked_at: at, outcome });
    }
    history
}

#[test]
fn counters_that_grow() {
    use CounterInput::{Add, Get};
    let done = |at: u64, sum: i64| Outcome::Done { at, output: CounterOutput(sum) };
    let verdict = |lines: &[_]| pattern(&counters::monotonic(&counter(lines)));
    assert_eq!(
        verdict(&[(1, Add(2), done(5, 2)), (2, Add(3), Outcome::Unknown), (2, Get, done(25, 5))]),
        None
    );
    assert_eq!(
        verdict(&[(1, Add(2), done(5, 2)), (2, Get, done(15, 2)), (2, Get, done(25, 0))]),
        Some("a counter went down")
    );
    assert_eq!(
        verdict(&[(1, Add(2), done(5, 2)), (2, Add(2), done(15, 2)), (2, Add(2), done(25, 3))]),
        Some("an own addition is missing")
    );
    assert_eq!(verdict(&[(1, Add(2), done(5, 3))]), Some("more than was added"));
    assert_eq!(verdict(&[(1, Add(2), Outcome::Refused), (1, Get, done(15, 2))]), Some("more than was added"));

    let history =
        counter(&[(1, Add(2), done(5, 2)), (1, Add(4), Outcome::Unknown), (1, Add(8), Outcome::Refused)]);
    let settled = |sum: i64| pattern(&counters::settled(&history, &BTreeMap::from([("c".to_owned(), sum)])));
    assert_eq!((settled(2), settled(6)), (None, None));
    assert_eq!(settled(1), Some("an addition is missing"));
    assert_eq!(settled(7), Some("added more than once"));
    assert_eq!(pattern(&counters::settled(&history, &BTreeMap::new())), Some("an addition is missing"));
}

#[test]
fn counters_that_have_a_bound() {
    use CounterInput::{Add, Get};
    let done = |at: u64, sum: i64| Outcome::Done { at, output: CounterOutput(sum) };
    let verdict = |lines: &[_], sum: i64| {
        let sums = BTreeMap::from([("c".to_owned(), sum)]);
        pattern(&counters::never_negative(&counter(lines), &sums))
    };
    let sound = [(1, Add(2), done(5, 2)), (2, Add(-2), done(15, 0)), (2, Add(-1), Outcome::Refused)];
    assert_eq!(verdict(&sound, 0), None);
    assert_eq!(verdict(&sound, -1), Some("below zero"));
    assert_eq!(verdict(&[(1, Add(-1), done(5, -1))], 0), Some("below zero"));
    assert_eq!(verdict(&[(1, Get, done(5, -3))], 0), Some("below zero"));
}

#[test]
fn keys_that_expire() {
    let verdict = |reads: &[(u64, Option<&str>)]| {
        let mut history = History::new();
        let set = ExpiringInput::Set { value: "v".into(), lives: 100 };
        let id = history.invoke(1, "k", set, 0);
        history.done(id, 10, RegisterOutput::Written);
        for (at, value) in reads {
            let id = history.invoke(2, "k", ExpiringInput::Get, *at);
            history.done(id, at + 1, RegisterOutput::Value(value.map(Into::into)));
        }
        pattern(&expiring(&history, 5))
    };
    assert_eq!(verdict(&[(5, None), (20, Some("v")), (98, None), (120, None)]), None);
    assert_eq!(verdict(&[(90, None)]), Some("gone too early"));
    assert_eq!(verdict(&[(116, Some("v"))]), Some("outlived"));
    assert_eq!(verdict(&[(100, None), (105, Some("v"))]), Some("came back"));
    assert_eq!(verdict(&[(50, Some("w"))]), Some("thin air read"));
}

#[test]
fn replicas() {
    let state = |group: &str, replica: &str, digest: &str| ReplicaState {
        group: group.to_owned(),
        replica: replica.to_owned(),
        digest: digest.to_owned(),
    };
    let mut states =
        vec![state("1", "a", "x"), state("1", "b", "x"), state("2", "a", "y"), state("2", "b", "y")];
    assert!(convergent(&states).is_valid());
    states[3].digest = "z".to_owned();
    assert_eq!(pattern(&convergent(&states)), Some("replicas differ"));
}
