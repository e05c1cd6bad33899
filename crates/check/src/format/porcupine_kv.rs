//! Logs of porcupine's key-value tests: string keys with put, get and append.
//!
//! A line is an EDN map: `{:process 0, :type :invoke, :f :append, :key "8", :value "x 1 y"}`; `:type` is `:invoke` or
//! `:ok`. A key that was never written reads as the empty string; no client writes that, so here it means no value.

use std::collections::BTreeMap;

use super::{ByProcess, ReadError};
use crate::history::History;
use crate::model::{StringsInput, StringsOutput};

/// Reads a log.
///
/// # Errors
/// A line is not as described above, or does not fit the lines before it.
pub fn read(text: &str) -> Result<History<StringsInput, StringsOutput>, ReadError> {
    let mut log = ByProcess::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let event = fields(line).ok_or_else(|| "not a map of fields".to_owned());
        event
            .and_then(|event| read_event(&mut log, &event, number + 1))
            .map_err(|reason| ReadError { line: number + 1, reason })?;
    }
    Ok(log.history)
}

fn read_event(
    log: &mut ByProcess<StringsInput, StringsOutput>,
    event: &BTreeMap<&str, String>,
    line: usize,
) -> Result<(), String> {
    let field =
        |name: &str| event.get(name).map(String::as_str).ok_or_else(|| format!("field {name} is missing"));
    let process = field(":process")?.parse().map_err(|_| "the process is not a number".to_owned())?;
    let (function, value) = (field(":f")?, field(":value")?);
    match field(":type")? {
        ":invoke" => {
            let input = match function {
                ":get" => StringsInput::Get,
                ":put" => StringsInput::Put(value.into()),
                ":append" => StringsInput::Append(value.into()),
                other => return Err(format!("unknown function {other}")),
            };
            log.invoke(process, field(":key")?, input, line)
        }
        ":ok" => {
            let id = log.end(process)?;
            let output = match function {
                ":get" => StringsOutput::Value((!value.is_empty()).then(|| value.into())),
                _ => StringsOutput::Written,
            };
            log.history.done(id, line as u64, output);
            Ok(())
        }
        other => Err(format!("unknown type {other}")),
    }
}

/// The fields of an EDN map of keywords to keywords, numbers, strings and `nil`.
fn fields(line: &str) -> Option<BTreeMap<&str, String>> {
    let mut rest = line.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut fields = BTreeMap::new();
    while !rest.is_empty() {
        let (name, after) = rest.split_once(' ')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(text) => quoted(text)?,
            None => {
                let end = after.find(',').unwrap_or(after.len());
                (after[..end].to_owned(), &after[end..])
            }
        };
        fields.insert(name, value);
        rest = after.trim_start_matches([',', ' ']);
    }
    Some(fields)
}

/// The string whose opening quote was taken off, and what follows its closing quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}
