//! Our own format: one JSON object a line.
//!
//! The first line names the format, its version and the [`Model`]:
//!
//! ```json
//! {"history":"consort","version":1,"model":"register"}
//! ```
//!
//! Every other line is an event. `id` joins an invocation with its end; it is unique in the file. `time` is in any unit,
//! the same for all lines; lines may stand in any order, but an invocation before its end. An operation without an end is
//! of unknown outcome, so a log that was cut off is still a log; a last line without a line end is dropped.
//!
//! ```json
//! {"event":"invoke","id":0,"process":3,"time":100,"key":"a","input":{"write":"x"}}
//! {"event":"done","id":0,"time":120,"output":"written"}
//! {"event":"invoke","id":1,"process":3,"time":130,"key":"a","input":"read"}
//! {"event":"done","id":1,"time":140,"output":{"value":"x"}}
//! {"event":"refused","id":2,"time":150}
//! {"event":"unknown","id":3,"time":150}
//! ```
//!
//! | model | input | output |
//! |---|---|---|
//! | `register` | `"read"`, `{"write":"x"}` (or `null`), `{"compare_and_set":{"expected":"x","new":"y"}}` | `{"value":"x"}` (or `null`), `"written"`, `{"swapped":true}` |
//! | `strings` | `"get"`, `{"put":"x"}`, `{"append":"x"}` | `{"value":"x"}` (or `null`), `"written"`, `{"length":3}` |
//! | `counter` | `"get"`, `{"add":1}` | the sum, as a number |
//! | `transactions` | steps: `[["name","get"],["name",{"append":"x"}]]` | an answer for each step, as of `strings` |
//! | `expiring` | `"get"`, `{"set":{"value":"x","lives":500}}` | as of `register` |
//!
//! The first line may say what is to be checked (`"checks":["causal","read_your_writes"]`, see [`Check`]); files with other
//! content than operations are described there, too.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::ReadError;
use super::file::Check;
use crate::history::{History, OperationId, Outcome};
use crate::model::Model;

/// The version written; every version ever written is read.
const VERSION: u32 = 1;

/// The first line.
#[derive(Serialize, Deserialize)]
pub(super) struct Header {
    history: String,
    version: u32,
    pub model: String,
    /// What to check; nothing: linearizability, as in the files of before there was a choice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
}

/// Every other line.
#[derive(Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<I, O> {
    Invoke { id: u64, process: u64, time: u64, key: String, input: I },
    Done { id: u64, time: u64, output: O },
    Refused { id: u64, time: u64 },
    Unknown { id: u64, time: u64 },
}

/// The history as text, each operation's end after its invocation, to be checked for linearizability.
pub fn write<M: Model>(history: &History<M::Input, M::Output>) -> String {
    write_as(M::NAME, &[], history)
}

/// The history as text, with what is to be checked ([`Check`](super::file::Check); nothing: linearizability).
pub fn write_as<I: Clone + Serialize, O: Clone + Serialize>(
    model: &str,
    checks: &[Check],
    history: &History<I, O>,
) -> String {
    let header = Header {
        history: "consort".to_owned(),
        version: VERSION,
        model: model.to_owned(),
        checks: checks.to_vec(),
    };
    let mut text = json(&header);
    for (id, operation) in (0..).zip(history.operations()) {
        let time = operation.invoked_at;
        let (process, key, input) = (operation.process, operation.key.clone(), operation.input.clone());
        let invoke: Event<I, O> = Event::Invoke { id, process, time, key, input };
        let end: Event<I, O> = match &operation.outcome {
            Outcome::Done { at, output } => Event::Done { id, time: *at, output: output.clone() },
            Outcome::Refused => Event::Refused { id, time },
            Outcome::Unknown => Event::Unknown { id, time },
        };
        // Writing to a string cannot fail.
        let _ = write!(text, "{}{}", json(&invoke), json(&end));
    }
    text
}

/// The first line of a file that is no history of operations.
pub(super) fn header_line(model: &str, checks: &[Check]) -> String {
    let (history, model, checks) = ("consort".to_owned(), model.to_owned(), checks.to_vec());
    json(&Header { history, version: VERSION, model, checks })
}

pub(super) fn json(line: &impl Serialize) -> String {
    // The types above hold nothing that JSON cannot say.
    serde_json::to_string(line).unwrap_or_default() + "\n"
}

/// Reads a history of the model `M`.
///
/// # Errors
/// The first line names another format, version or model, or a line is not as described above.
pub fn read<M: Model>(text: &str) -> Result<History<M::Input, M::Output>, ReadError> {
    read_as(M::NAME, text)
}

/// Reads a history of operations on the model named so.
///
/// # Errors
/// As [`read`].
pub fn read_as<I: DeserializeOwned, O: DeserializeOwned>(
    model: &str,
    text: &str,
) -> Result<History<I, O>, ReadError> {
    let found = header(text)?;
    if found.model != model {
        let reason = format!("the model is {:?}, expected {model:?}", found.model);
        return Err(ReadError { line: 1, reason });
    }
    let mut history = History::new();
    let mut ids: BTreeMap<u64, OperationId> = BTreeMap::new();
    for (number, line) in complete_lines(text).enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty())
    {
        serde_json::from_str(line)
            .map_err(|error| error.to_string())
            .and_then(|event| read_event(&mut history, &mut ids, event))
            .map_err(|reason| ReadError { line: number + 1, reason })?;
    }
    Ok(history)
}

pub(super) fn complete_lines(text: &str) -> impl Iterator<Item = &str> {
    let end = text.rfind('\n').map_or(0, |last| last + 1);
    text[..end].lines()
}

pub(super) fn header(text: &str) -> Result<Header, ReadError> {
    let error = |reason: String| ReadError { line: 1, reason };
    let line = complete_lines(text).next().ok_or_else(|| error("the header is missing".to_owned()))?;
    let header: Header = serde_json::from_str(line).map_err(|reason| error(reason.to_string()))?;
    if header.history != "consort" || header.version != VERSION {
        let Header { history, version, .. } = header;
        return Err(error(format!("{history:?} version {version}, expected \"consort\" version {VERSION}")));
    }
    Ok(header)
}

fn read_event<I, O>(
    history: &mut History<I, O>,
    ids: &mut BTreeMap<u64, OperationId>,
    event: Event<I, O>,
) -> Result<(), String> {
    let mut end = |id: u64| ids.remove(&id).ok_or_else(|| format!("operation {id} is not under way"));
    match event {
        Event::Done { id, time, output } => history.done(end(id)?, time, output),
        Event::Refused { id, .. } => history.refused(end(id)?),
        // That is what an operation is until it ends otherwise.
        Event::Unknown { id, .. } => drop(end(id)?),
        Event::Invoke { id, process, time, key, input } => {
            if ids.insert(id, history.invoke(process, key, input, time)).is_some() {
                return Err(format!("operation {id} is under way already"));
            }
        }
    }
    Ok(())
}
