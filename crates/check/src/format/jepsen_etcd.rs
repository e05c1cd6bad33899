//! Logs of Jepsen's etcd test: one register with read, write and compare-and-set.
//!
//! A line is a log prefix, ` - `, then process, type, function and value, parted by blanks:
//! `INFO  jepsen.util - 3  :ok  :cas  [1 2]`. `nil` is the empty register. `:info` means unknown. A failed
//! compare-and-set did compare: the register did not hold the expected value. A failed read says nothing.

use super::{ByProcess, ReadError};
use crate::history::History;
use crate::model::{RegisterInput, RegisterOutput};

/// The key under which the one register is reported.
const KEY: &str = "register";

/// Reads a log. Lines that are not about an operation are skipped.
///
/// # Errors
/// A line is about an operation but not as described above, or does not fit the lines before it.
pub fn read(text: &str) -> Result<History<RegisterInput, RegisterOutput>, ReadError> {
    let mut log = ByProcess::new();
    for (number, line) in text.lines().enumerate() {
        if let Some((_, event)) = line.split_once(" - ") {
            read_event(&mut log, event, number + 1)
                .map_err(|reason| ReadError { line: number + 1, reason })?;
        }
    }
    Ok(log.history)
}

fn read_event(
    log: &mut ByProcess<RegisterInput, RegisterOutput>,
    event: &str,
    line: usize,
) -> Result<(), String> {
    let mut words = event.split_whitespace();
    let (Some(process), Some(kind), Some(function)) = (words.next(), words.next(), words.next()) else {
        return Ok(());
    };
    // A nemesis and other narrators have no number.
    let Ok(process) = process.parse() else { return Ok(()) };
    let values: Vec<&str> = words.map(|word| word.trim_matches(['[', ']'])).collect();
    if kind == ":invoke" {
        let input = match (function, values.as_slice()) {
            (":read", _) => RegisterInput::Read,
            (":write", [new]) => RegisterInput::Write(value(new)),
            (":cas", [expected, new]) => {
                RegisterInput::CompareAndSet { expected: value(expected), new: value(new) }
            }
            _ => return Err(format!("not an operation: {event}")),
        };
        return log.invoke(process, KEY, input, line);
    }
    let id = log.end(process)?;
    let at = line as u64;
    match (kind, function, values.as_slice()) {
        (":info", _, _) => {}
        (":ok", ":read", [read]) => log.history.done(id, at, RegisterOutput::Value(value(read))),
        (":ok", ":write", _) => log.history.done(id, at, RegisterOutput::Written),
        (":ok", ":cas", _) => log.history.done(id, at, RegisterOutput::Swapped(true)),
        (":fail", ":cas", _) => log.history.done(id, at, RegisterOutput::Swapped(false)),
        (":fail", ":read" | ":write", _) => log.history.refused(id),
        _ => return Err(format!("not the end of an operation: {event}")),
    }
    Ok(())
}

fn value(word: &str) -> Option<crate::Text> {
    (word != "nil").then(|| word.into())
}
