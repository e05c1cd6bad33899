//! Histories for the checkers of others: Knossos (registers) and Elle (lists that are appended to), as Jepsen writes them.
//!
//! A line is an EDN map; lines are in the order of time. A process of which an operation ended unknown is not used again, as
//! Jepsen wants it: it goes on under another number.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::history::{History, Operation, Outcome};
use crate::model::{RegisterInput, RegisterOutput, StringsInput, StringsOutput};
use crate::{Registers, Text};

/// An operation on registers for Knossos: `:f` is `:read`, `:write` or `:cas`, and values are pairs of key and value
/// (`jepsen.independent`).
pub fn registers(history: &Registers) -> String {
    let value = |text: &Option<Text>| text.as_ref().map_or("nil".to_owned(), |text| quoted(text.as_str()));
    events(history.operations(), |operation, answered| {
        let key = quoted(&operation.key);
        let output = match (&operation.outcome, answered) {
            (Outcome::Done { output, .. }, true) => Some(output),
            _ => None,
        };
        let (function, value) = match (&operation.input, output) {
            (RegisterInput::Read, Some(RegisterOutput::Value(read))) => (":read", value(read)),
            (RegisterInput::Read, _) => (":read", "nil".to_owned()),
            (RegisterInput::Write(written), _) => (":write", value(written)),
            (RegisterInput::CompareAndSet { expected, new }, _) => {
                (":cas", format!("[{} {}]", value(expected), value(new)))
            }
        };
        // Knossos knows a failed compare-and-set as an operation that did not happen.
        let failed = matches!(output, Some(RegisterOutput::Swapped(false)));
        (format!(":f {function}, :value [{key} {value}]"), failed)
    })
}

/// Strings that are appended to, for Elle's list-append: every piece is a number followed by a space.
pub fn lists(history: &History<StringsInput, StringsOutput>) -> String {
    events(history.operations(), |operation, answered| {
        let key = quoted(&operation.key);
        let step = match (&operation.input, &operation.outcome) {
            (StringsInput::Append(piece), _) => format!("[:append {key} {}]", piece.as_str().trim()),
            (StringsInput::Get, Outcome::Done { output: StringsOutput::Value(value), .. }) if answered => {
                let list = value.as_ref().map(|text| text.as_str().trim()).unwrap_or_default();
                format!("[:r {key} [{list}]]")
            }
            (StringsInput::Get | StringsInput::Put(_), _) => format!("[:r {key} nil]"),
        };
        (format!(":f :txn, :value [{step}]"), false)
    })
}

/// Invocations and ends in the order of time. `describe` gives function and value of an invocation (`false`) or an end
/// (`true`), and whether the end means that nothing happened.
fn events<I, O>(
    operations: &[Operation<I, O>],
    describe: impl Fn(&Operation<I, O>, bool) -> (String, bool),
) -> String {
    let mut order: Vec<(u64, u8, usize)> = Vec::with_capacity(2 * operations.len());
    for (index, operation) in operations.iter().enumerate() {
        order.push((operation.invoked_at, 1, index));
        // At one time, ends stand before invocations: a process has one operation under way.
        match operation.outcome {
            Outcome::Done { at, .. } if at > operation.invoked_at => order.push((at, 0, index)),
            Outcome::Done { .. } | Outcome::Refused | Outcome::Unknown => {
                order.push((operation.invoked_at, 2, index));
            }
        }
    }
    order.sort_unstable();
    let processes = operations.iter().map(|operation| operation.process).max().unwrap_or_default() + 1;
    let mut lives: BTreeMap<u64, u64> = BTreeMap::new();
    let mut numbers: BTreeMap<usize, u64> = BTreeMap::new();
    let mut text = String::new();
    for (line, (time, kind, index)) in order.into_iter().enumerate() {
        let operation = &operations[index];
        let life = lives.entry(operation.process).or_default();
        let process = *numbers.entry(index).or_insert(operation.process + *life * processes);
        let (what, failed) = describe(operation, kind != 1);
        let kind = match (kind, &operation.outcome) {
            (1, _) => ":invoke",
            (_, Outcome::Refused) => ":fail",
            (_, Outcome::Unknown) => {
                *life += 1;
                ":info"
            }
            (_, Outcome::Done { .. }) if failed => ":fail",
            (_, Outcome::Done { .. }) => ":ok",
        };
        let _ = writeln!(text, "{{:index {line}, :time {time}, :type {kind}, :process {process}, {what}}}");
    }
    text
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
