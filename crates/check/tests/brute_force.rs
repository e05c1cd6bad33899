//! A plain twin of the checker, which tries every order by recursion, agrees with it on small random histories.

use check::model::{
    Counter, CounterInput, CounterOutput, Register, RegisterInput, RegisterOutput, Strings, StringsInput,
    StringsOutput,
};
use check::{Budget, History, Model, Operation, Outcome, check};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// Is there an order of the operations of `rest` that may follow `state`?
fn some_order<M: Model>(model: &mut M, state: &M::State, rest: &[&Operation<M::Input, M::Output>]) -> bool {
    let is_done =
        |operation: &Operation<M::Input, M::Output>| matches!(operation.outcome, Outcome::Done { .. });
    if !rest.iter().any(|operation| is_done(operation)) {
        return true;
    }
    (0..rest.len()).any(|chosen| {
        let mut others = rest.to_vec();
        let operation = others.remove(chosen);
        let output = match &operation.outcome {
            Outcome::Done { output, .. } => Some(output),
            Outcome::Refused => return false,
            Outcome::Unknown => None,
        };
        let too_late = others
            .iter()
            .any(|other| matches!(other.outcome, Outcome::Done { at, .. } if at < operation.invoked_at));
        !too_late
            && model
                .step(state, &operation.input, output)
                .is_some_and(|after| some_order(model, &after, &others))
    })
}

fn brute_force<M: Model>(history: &History<M::Input, M::Output>) -> bool {
    ["a", "b"].into_iter().all(|key| {
        let operations: Vec<_> =
            history.operations().iter().filter(|operation| operation.key == key).collect();
        let mut model = M::default();
        let initial = model.initial();
        some_order(&mut model, &initial, &operations)
    })
}

/// A history of up to six operations on each of two keys; each operation comes with an answer that may be wrong.
fn history<M: Model>(
    operation: impl Strategy<Value = (M::Input, M::Output)>,
) -> impl Strategy<Value = History<M::Input, M::Output>> {
    let line = (operation, 0..4_u64, 0..12_u64, 0..6_u64, prop::sample::select(vec!["a", "a", "b"]), 0..5_u8);
    prop::collection::vec(line, 1..10).prop_map(|lines| {
        let mut history = History::new();
        for ((input, output), process, invoked_at, length, key, end) in lines {
            let id = history.invoke(process, key, input, invoked_at);
            match end {
                0 => history.refused(id),
                1 => {}
                _ => history.done(id, invoked_at + length, output),
            }
        }
        history
    })
}

/// Both agree on every history, and enough of either verdict was seen.
fn agree<M: Model>(operation: impl Strategy<Value = (M::Input, M::Output)>)
where
    M::Input: std::fmt::Debug,
{
    let strategy = history::<M>(operation);
    let mut runner = TestRunner::deterministic();
    let (mut valid, mut invalid) = (0, 0);
    for _ in 0..6000 {
        let history = strategy.new_tree(&mut runner).expect("a history").current();
        let expected = brute_force::<M>(&history);
        let verdict = check::<M>(&history, Budget::default());
        assert!(
            verdict.is_valid() == expected && verdict.is_invalid() != expected,
            "{verdict}\n{history:#?}"
        );
        *(if expected { &mut valid } else { &mut invalid }) += 1;
        if let check::Verdict::Invalid(failure) = verdict {
            assert_smallest_prefix::<M>(&history, &failure);
        }
    }
    assert!(valid > 400 && invalid > 400, "{valid} valid, {invalid} invalid");
}

/// The prefix alone is impossible, and without the blocked operation and what began after the others had ended, or with
/// less of it, it is possible.
fn assert_smallest_prefix<M: Model>(history: &History<M::Input, M::Output>, failure: &check::Failure) {
    let operations = history.operations();
    let prefix: Vec<_> = failure.prefix.iter().map(|&index| &operations[index]).collect();
    let mut model = M::default();
    let initial = model.initial();
    assert!(!some_order(&mut model, &initial, &prefix), "{failure}");
    // Let every operation that ends at or after the blocked one have an unknown outcome: the rest can be explained.
    let Outcome::Done { at: end, .. } = operations[failure.blocked].outcome else {
        panic!("only an answer blocks")
    };
    let before: Vec<_> = prefix
        .iter()
        .map(|operation| {
            let mut operation = (*operation).clone();
            if matches!(operation.outcome, Outcome::Done { at, .. } if at >= end) {
                operation.outcome = Outcome::Unknown;
            }
            operation
        })
        .collect();
    assert!(some_order(&mut model, &initial, &before.iter().collect::<Vec<_>>()), "{failure}");
}

#[test]
fn registers() {
    let value = || {
        prop::sample::select(vec![None, Some("1"), Some("2")]).prop_map(|value| value.map(check::Text::from))
    };
    agree::<Register>(prop_oneof![
        value().prop_map(|value| (RegisterInput::Read, RegisterOutput::Value(value))),
        value().prop_map(|value| (RegisterInput::Write(value), RegisterOutput::Written)),
        (value(), value(), any::<bool>()).prop_map(|(expected, new, swapped)| {
            (RegisterInput::CompareAndSet { expected, new }, RegisterOutput::Swapped(swapped))
        }),
    ]);
}

#[test]
fn strings() {
    let read = prop::sample::select(vec![None, Some("x"), Some("y"), Some("xy"), Some("yx"), Some("xx")]);
    let piece = || prop::sample::select(vec!["x", "y"]).prop_map(check::Text::from);
    agree::<Strings>(prop_oneof![
        read.prop_map(|value| (StringsInput::Get, StringsOutput::Value(value.map(check::Text::from)))),
        piece().prop_map(|piece| (StringsInput::Put(piece), StringsOutput::Written)),
        piece().prop_map(|piece| (StringsInput::Append(piece), StringsOutput::Written)),
        (piece(), 1..3_u64)
            .prop_map(|(piece, length)| (StringsInput::Append(piece), StringsOutput::Length(length))),
    ]);
}

/// Where nothing is replaced, what the last answer does not show is left out of the search.
#[test]
fn strings_that_only_grow() {
    let read = prop::sample::select(vec![None, Some("x"), Some("y"), Some("xy"), Some("yx"), Some("xx")]);
    let piece = || prop::sample::select(vec!["x", "y"]).prop_map(check::Text::from);
    agree::<Strings>(prop_oneof![
        3 => read.prop_map(|value| (StringsInput::Get, StringsOutput::Value(value.map(check::Text::from)))),
        2 => piece().prop_map(|piece| (StringsInput::Append(piece), StringsOutput::Written)),
        1 => (piece(), 1..3_u64)
            .prop_map(|(piece, length)| (StringsInput::Append(piece), StringsOutput::Length(length))),
    ]);
}

/// The answer that began last shows nothing of what happened after it, if others had not ended.
#[test]
fn what_the_last_answer_does_not_show_may_have_been_seen_by_one_beside_it() {
    let mut history: History<StringsInput, StringsOutput> = History::new();
    let mut put = |process, input, invoked_at, outcome| {
        history.push(check::Operation { process, key: "k".to_owned(), input, invoked_at, outcome });
    };
    put(0, StringsInput::Append("x".into()), 0, Outcome::Unknown);
    put(1, StringsInput::Append("y".into()), 1, Outcome::Done { at: 10, output: StringsOutput::Length(2) });
    put(2, StringsInput::Get, 2, Outcome::Done { at: 5, output: StringsOutput::Value(None) });
    let verdict = check::<Strings>(&history, Budget::default());
    assert!(verdict.is_valid(), "{verdict}");
}

#[test]
fn counters() {
    agree::<Counter>(prop_oneof![
        (0..3_i64).prop_map(|sum| (CounterInput::Get, CounterOutput(sum))),
        (-1..3_i64, -1..5_i64).prop_map(|(amount, sum)| (CounterInput::Add(amount), CounterOutput(sum))),
    ]);
}
