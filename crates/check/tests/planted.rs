//! Planted violations of each kind, for each model: the checker must find every one, and must not cry wolf on the
//! harmless history beside it.

use check::model::{
    Counter, CounterInput, CounterOutput, Register, RegisterInput, RegisterOutput, Strings, StringsInput,
    StringsOutput,
};
use check::{Budget, Failure, History, Model, Outcome, Verdict, check};

/// One operation: process, input, when invoked, how it ended.
type Line<M> = (u64, <M as Model>::Input, u64, Outcome<<M as Model>::Output>);

fn verdict<M: Model>(lines: &[Line<M>]) -> Verdict {
    let mut history = History::new();
    for (process, input, invoked_at, outcome) in lines.iter().cloned() {
        history.push(check::Operation { process, key: "k".to_owned(), input, invoked_at, outcome });
    }
    // Another key, which is fine, must not matter.
    for (process, input, invoked_at, _) in lines.iter().cloned() {
        history.invoke(process, "other", input, invoked_at);
    }
    check::<M>(&history, Budget::default())
}

fn done<O>(at: u64, output: O) -> Outcome<O> {
    Outcome::Done { at, output }
}

fn assert_valid<M: Model>(lines: &[Line<M>]) {
    let verdict = verdict::<M>(lines);
    assert!(verdict.is_valid(), "{verdict}");
}

/// The history is invalid, and becomes so with the operation in line `blocked`.
fn assert_invalid<M: Model>(blocked: usize, lines: &[Line<M>]) -> Failure {
    match verdict::<M>(lines) {
        Verdict::Invalid(failure) => {
            assert_eq!(failure.blocked, blocked, "{failure}");
            assert_eq!(failure.key, "k");
            *failure
        }
        other => panic!("should be invalid: {other}"),
    }
}

mod register {
    use super::*;
    use Outcome::{Refused, Unknown};
    use RegisterInput::{CompareAndSet, Read};
    use RegisterOutput::{Swapped, Written};

    fn write(value: &str) -> RegisterInput {
        RegisterInput::Write(Some(value.into()))
    }

    fn swap(expected: &str, new: &str) -> RegisterInput {
        CompareAndSet { expected: Some(expected.into()), new: Some(new.into()) }
    }

    fn value(value: &str) -> RegisterOutput {
        RegisterOutput::Value(Some(value.into()))
    }

    #[test]
    fn stale_read() {
        let history = |second_read: &str| {
            [
                (1, write("a"), 10, done(20, Written)),
                (1, write("b"), 30, done(60, Written)),
                (2, Read, 40, done(45, value("b"))),
                (3, Read, 50, done(55, value(second_read))),
            ]
        };
        assert_valid::<Register>(&history("b"));
        let failure = assert_invalid::<Register>(3, &history("a"));
        assert_eq!(failure.window, [1, 2, 3]);
        assert_eq!(failure.prefix, [0, 1, 2, 3]);
        assert_eq!(failure.states, ["\"a\""]);
        let text = "not linearizable: key \"k\", within the first 4 operations on it.\n\
            Before the last 3 of them the value was \"a\".\n\
            No order explains these answers (> could not be placed before its end):\n  \
            process 1, 30 to 60: write \"b\"\n  \
            process 2, 40 to 45: read -> \"b\"\n\
            > process 3, 50 to 55: read -> \"a\"";
        assert_eq!(failure.text, text);
    }

    #[test]
    fn lost_update() {
        let history = |end: &str| {
            [
                (1, write("0"), 0, done(5, Written)),
                (1, swap("0", "1"), 10, done(30, Swapped(true))),
                (2, swap("1", "2"), 12, done(31, Swapped(true))),
                (3, Read, 40, done(50, value(end))),
            ]
        };
        assert_valid::<Register>(&history("2"));
        assert_invalid::<Register>(3, &history("1"));
        // Two swaps from the same value cannot both succeed.
        assert_invalid::<Register>(
            2,
            &[
                (1, write("0"), 0, done(5, Written)),
                (1, swap("0", "1"), 10, done(30, Swapped(true))),
                (2, swap("0", "2"), 12, done(31, Swapped(true))),
            ],
        );
        // A swap that failed says that another value was there.
        assert_invalid::<Register>(
            1,
            &[(1, write("0"), 0, done(5, Written)), (1, swap("0", "1"), 10, done(30, Swapped(false)))],
        );
    }

    #[test]
    fn an_unknown_write_happens_once_or_never() {
        let history = |reads: [&str; 3]| {
            [
                (1, write("a"), 0, done(5, Written)),
                (2, write("b"), 6, Unknown),
                (1, Read, 10, done(15, value(reads[0]))),
                (1, Read, 20, done(25, value(reads[1]))),
                (1, Read, 30, done(35, value(reads[2]))),
            ]
        };
        assert_valid::<Register>(&history(["a", "a", "a"]));
        assert_valid::<Register>(&history(["a", "a", "b"]));
        assert_valid::<Register>(&history(["b", "b", "b"]));
        assert_invalid::<Register>(3, &history(["b", "a", "a"]));
        assert_invalid::<Register>(4, &history(["a", "b", "a"]));
    }

    #[test]
    fn read_of_a_refused_write() {
        let history = |outcome| {
            [
                (1, write("a"), 0, done(5, Written)),
                (2, write("b"), 6, outcome),
                (1, Read, 10, done(15, value("b"))),
            ]
        };
        assert_valid::<Register>(&history(Unknown));
        let failure = assert_invalid::<Register>(2, &history(Refused));
        assert!(failure.text.contains("process 2, 6 to refused: write \"b\" (refused)"), "{failure}");
    }

    #[test]
    fn read_from_the_future() {
        assert_invalid::<Register>(
            0,
            &[(1, Read, 0, done(5, value("a"))), (2, write("a"), 6, done(9, Written))],
        );
        assert_invalid::<Register>(0, &[(1, Read, 0, done(5, value("a"))), (2, write("a"), 6, Unknown)]);
        // Equal times count as concurrent.
        assert_valid::<Register>(&[(1, Read, 0, done(5, value("a"))), (2, write("a"), 5, done(9, Written))]);
        assert_valid::<Register>(&[(1, Read, 0, done(5, value("a"))), (2, write("a"), 5, Unknown)]);
    }

    #[test]
    fn a_failed_read_says_nothing() {
        assert_valid::<Register>(&[
            (1, write("a"), 0, done(5, Written)),
            (2, Read, 10, Unknown),
            (3, Read, 10, Refused),
            (1, Read, 20, done(25, value("a"))),
        ]);
    }
}

mod strings {
    use super::*;
    use Outcome::{Refused, Unknown};
    use StringsInput::Get;
    use StringsOutput::{Length, Written};

    fn append(piece: &str) -> StringsInput {
        StringsInput::Append(piece.into())
    }

    fn put(value: &str) -> StringsInput {
        StringsInput::Put(value.into())
    }

    fn value(value: &str) -> StringsOutput {
        StringsOutput::Value(Some(value.into()))
    }

    #[test]
    fn stale_read() {
        let history = |last: &str| {
            [
                (1, put("x"), 0, done(5, Written)),
                (1, append("y"), 10, done(15, Written)),
                (2, Get, 20, done(25, value(last))),
            ]
        };
        assert_valid::<Strings>(&history("xy"));
        let failure = assert_invalid::<Strings>(2, &history("x"));
        assert_eq!(failure.states, ["\"xy\""]);
    }

    #[test]
    fn lost_update() {
        let history = |last: &str| {
            [
                (1, append("a"), 0, done(9, Written)),
                (2, append("b"), 1, done(8, Written)),
                (3, Get, 20, done(25, value(last))),
            ]
        };
        assert_valid::<Strings>(&history("ab"));
        assert_valid::<Strings>(&history("ba"));
        assert_invalid::<Strings>(2, &history("a"));
        assert_invalid::<Strings>(2, &history("b"));
        // Both appends found an empty string.
        assert_invalid::<Strings>(
            1,
            &[(1, append("a"), 0, done(9, Length(1))), (2, append("b"), 1, done(10, Length(1)))],
        );
    }

    #[test]
    fn an_unknown_append_happens_once_or_never() {
        let history = |last: &str| {
            [
                (1, append("a"), 0, done(9, Written)),
                (2, append("b"), 10, Unknown),
                (3, Get, 20, done(25, value(last))),
            ]
        };
        assert_valid::<Strings>(&history("a"));
        assert_valid::<Strings>(&history("ab"));
        assert_invalid::<Strings>(2, &history("abb"));
    }

    #[test]
    fn read_of_a_refused_write() {
        let history = |outcome| [(1, append("a"), 0, outcome), (3, Get, 20, done(25, value("a")))];
        assert_valid::<Strings>(&history(Unknown));
        let failure = assert_invalid::<Strings>(1, &history(Refused));
        assert_eq!(failure.states, ["nothing"]);
    }
}

mod counter {
    use super::*;
    use CounterInput::{Add, Get};
    use Outcome::{Refused, Unknown};

    fn sum(at: u64, sum: i64) -> Outcome<CounterOutput> {
        done(at, CounterOutput(sum))
    }

    #[test]
    fn stale_read() {
        let history = |last| [(1, Add(1), 0, sum(5, 1)), (2, Get, 10, sum(15, last))];
        assert_valid::<Counter>(&history(1));
        assert_invalid::<Counter>(1, &history(0));
    }

    #[test]
    fn lost_update() {
        let history = |a, b| [(1, Add(1), 0, sum(5, a)), (2, Add(1), 1, sum(6, b))];
        assert_valid::<Counter>(&history(1, 2));
        assert_valid::<Counter>(&history(2, 1));
        assert_invalid::<Counter>(1, &history(1, 1));
        assert_invalid::<Counter>(0, &history(2, 2));
    }

    #[test]
    fn double_apply_of_an_unknown_increment() {
        let history = |first, second| {
            [(1, Add(1), 0, Unknown), (2, Get, 10, sum(15, first)), (2, Add(1), 20, sum(25, second))]
        };
        assert_valid::<Counter>(&history(0, 1));
        assert_valid::<Counter>(&history(0, 2));
        assert_valid::<Counter>(&history(1, 2));
        assert_invalid::<Counter>(1, &history(2, 3));
        assert_invalid::<Counter>(2, &history(1, 3));
    }

    #[test]
    fn read_of_a_refused_write() {
        let history = |outcome| [(1, Add(5), 0, outcome), (2, Get, 10, sum(15, 5))];
        assert_valid::<Counter>(&history(Unknown));
        assert_invalid::<Counter>(1, &history(Refused));
    }
}
