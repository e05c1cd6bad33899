//! Long histories of a simulated object: thousands of operations on one key, ten clients at a time, some of them crashing.
//! The verdict must come within a budget that is linear in the length, before and after a violation is planted.

use std::collections::BTreeMap;

use check::model::{
    Counter, CounterInput, CounterOutput, Register, RegisterInput, RegisterOutput, Strings, StringsInput,
    StringsOutput,
};
use check::{Budget, History, Model, Operation, OperationId, Outcome, Text, Verdict, check};

const PROCESSES: u64 = 10;

/// A small seeded generator (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// An operation under way: whether it took effect, and what it will answer.
struct UnderWay<M: Model> {
    id: OperationId,
    input: M::Input,
    output: Option<M::Output>,
}

/// Runs clients against one object that takes each operation at one moment. A client may crash: its operation ends
/// unknown, and took effect already, does so much later, or never.
fn simulate<M: Model>(
    seed: u64,
    (operations, crash_one_in): (usize, u64),
    mut ask: impl FnMut(&mut Random, usize) -> M::Input,
    mut take: impl FnMut(&M::Input) -> M::Output,
) -> History<M::Input, M::Output> {
    let mut random = Random(seed);
    let mut history = History::new();
    let mut clients: BTreeMap<u64, UnderWay<M>> = BTreeMap::new();
    let mut late: Vec<M::Input> = Vec::new();
    let mut time = 0;
    while history.operations().len() < operations {
        time += 1;
        let process = random.below(PROCESSES);
        match clients.remove(&process) {
            None => {
                let input = ask(&mut random, history.operations().len());
                let id = history.invoke(process, "key", input.clone(), time);
                clients.insert(process, UnderWay { id, input, output: None });
            }
            Some(UnderWay { input, output: None, .. }) if random.below(crash_one_in) == 0 => {
                if random.below(2) == 0 {
                    late.push(input);
                }
            }
            // The operation took effect, and its client will never know.
            Some(UnderWay { output: Some(_), .. }) if random.below(crash_one_in) == 0 => {}
            Some(UnderWay { id, input, output: None }) => {
                let output = Some(take(&input));
                clients.insert(process, UnderWay { id, input, output });
            }
            Some(UnderWay { id, output: Some(output), .. }) => history.done(id, time, output),
        }
        if random.below(50) == 0
            && let Some(input) = late.pop()
        {
            take(&input);
        }
    }
    history
}

/// How many operations, and how many of them end without a crash for one that does not. An unknown outcome stays possible
/// to the end of the history, so the second run is shorter and yet harder.
const RUNS: [(usize, u64); 2] = [(10_000, 1000), (3_000, 100)];

/// Within the budget the history is valid; with the answer of one operation in its last quarter replaced by `wrong` it
/// is not, and the explanation leads there.
fn assert_verdicts<M: Model>(
    history: &History<M::Input, M::Output>,
    is_read: impl Fn(&M::Output) -> bool,
    wrong: impl Fn(&History<M::Input, M::Output>, usize) -> M::Output,
) {
    let budget = Budget { steps: 1000 * history.operations().len() as u64, memory_bytes: 512 << 20 };
    let verdict = check::<M>(history, budget);
    assert!(verdict.is_valid(), "{verdict}");

    let operations = history.operations();
    let count = operations.len();
    let victim = (count * 3 / 4..count)
        .find(|&index| matches!(&operations[index].outcome, Outcome::Done { output, .. } if is_read(output)))
        .expect("a read in the last quarter");
    let mut bad = History::new();
    for (index, operation) in operations.iter().enumerate() {
        let mut operation: Operation<M::Input, M::Output> = operation.clone();
        if let Outcome::Done { output, .. } = &mut operation.outcome
            && index == victim
        {
            *output = wrong(history, index);
        }
        bad.push(operation);
    }
    match check::<M>(&bad, budget) {
        Verdict::Invalid(failure) => {
            assert!(failure.prefix.contains(&victim), "{failure}");
            assert!(failure.prefix.len() < count * 4 / 5, "{failure}");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn register() {
    for (seed, run) in (1..).zip(RUNS) {
        let mut value: Option<Text> = None;
        let history = simulate::<Register>(
            seed,
            run,
            |random, number| match random.below(4) {
                0 => RegisterInput::Write(Some(number.to_string().into())),
                // Written shortly before, so that some comparisons succeed.
                1 => RegisterInput::CompareAndSet {
                    expected: Some(number.saturating_sub(random.below(20) as usize).to_string().into()),
                    new: Some(number.to_string().into()),
                },
                _ => RegisterInput::Read,
            },
            |input| match input {
                RegisterInput::Read => RegisterOutput::Value(value.clone()),
                RegisterInput::Write(new) => {
                    value = new.clone();
                    RegisterOutput::Written
                }
                RegisterInput::CompareAndSet { expected, new } => {
                    let swapped = value == *expected;
                    if swapped {
                        value = new.clone();
                    }
                    RegisterOutput::Swapped(swapped)
                }
            },
        );
        // The value that was there a thousand operations ago.
        assert_verdicts::<Register>(
            &history,
            |output| matches!(output, RegisterOutput::Value(_)),
            |history, index| {
                let old = history.operations()[..index - 1000].iter().rev().find_map(|operation| {
                    match (&operation.input, &operation.outcome) {
                        (RegisterInput::Write(Some(text)), Outcome::Done { .. })
                            if text.as_str().len() > 2 =>
                        {
                            Some(text.clone())
                        }
                        _ => None,
                    }
                });
                RegisterOutput::Value(old)
            },
        );
    }
}

#[test]
fn strings() {
    for (seed, run) in (1..).zip(RUNS) {
        let mut value = String::new();
        let history = simulate::<Strings>(
            seed,
            run,
            |random, number| match random.below(400) {
                0 => StringsInput::Put(format!("<{number}>").into()),
                1..200 => StringsInput::Append(format!("{number},").into()),
                _ => StringsInput::Get,
            },
            |input| match input {
                StringsInput::Get => StringsOutput::Value((!value.is_empty()).then(|| value.as_str().into())),
                StringsInput::Put(new) => {
                    value = new.as_str().to_owned();
                    StringsOutput::Written
                }
                StringsInput::Append(piece) => {
                    value.push_str(piece.as_str());
                    StringsOutput::Length(value.len() as u64)
                }
            },
        );
        // The string without its first byte.
        assert_verdicts::<Strings>(
            &history,
            |output| matches!(output, StringsOutput::Value(Some(_))),
            |history, index| match &history.operations()[index].outcome {
                Outcome::Done { output: StringsOutput::Value(Some(text)), .. } => {
                    StringsOutput::Value(Some(text.as_str()[1..].into()))
                }
                _ => panic!("chosen as a read"),
            },
        );
    }
}

#[test]
fn counter() {
    for (seed, run) in (1..).zip(RUNS) {
        let mut sum = 0;
        let history = simulate::<Counter>(
            seed,
            run,
            |random, _| if random.below(2) == 0 { CounterInput::Get } else { CounterInput::Add(1) },
            |input| {
                if let CounterInput::Add(amount) = input {
                    sum += amount;
                }
                CounterOutput(sum)
            },
        );
        // An update is lost: a sum that was left behind long ago.
        assert_verdicts::<Counter>(&history, |_| true, |_, _| CounterOutput(100));
    }
}

/// Fifty clients write at once, for ever, and nobody reads: any order will do, and the search must take the first.
#[test]
fn many_concurrent_writes() {
    let mut history = History::new();
    for round in 0..200_u64 {
        for process in 0..50 {
            let input = RegisterInput::Write(Some(format!("{round} {process}").into()));
            let id = history.invoke(process, "key", input, round * 100 + process);
            history.done(id, round * 100 + 99, RegisterOutput::Written);
        }
    }
    let verdict = check::<Register>(&history, Budget { steps: 20_000, memory_bytes: 64 << 20 });
    assert!(verdict.is_valid(), "{verdict}");
}

/// A search that is not done within its budget says so.
#[test]
fn an_exhausted_budget_is_no_verdict() {
    let mut history = History::new();
    for process in 0..20 {
        let add = history.invoke(process, "key", CounterInput::Add(1 << process), 0);
        // No subset of the others adds up to this.
        history.done(add, 10, CounterOutput(-1));
    }
    history.invoke(99, "key", CounterInput::Add(1), 0);
    let verdict = check::<Counter>(&history, Budget { steps: 3, memory_bytes: 1 << 20 });
    assert_eq!(verdict, Verdict::Unknown { key: "key".to_owned() });
    assert!(check::<Counter>(&history, Budget::default()).is_invalid());
}
