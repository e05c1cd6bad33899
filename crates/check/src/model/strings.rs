//! Strings that grow: get, put, append.
//!
//! A state is the fingerprint of the string, so a step costs the same however long the string has grown. How each string
//! came about is noted beside the search, only to describe a state to people.

use serde::{Deserialize, Serialize};

use super::{Model, describe_value};
use crate::Text;
use crate::map::Map;
use crate::text::Fingerprint;

/// A string or nothing; appending to nothing is writing.
#[derive(Clone, Debug, Default)]
pub struct Strings {
    /// How a string came about: what was appended to which string.
    origins: Map<Fingerprint, (Option<Fingerprint>, Text)>,
}

/// What a client asks of a string.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StringsInput {
    /// Answers [`StringsOutput::Value`].
    Get,
    /// Replaces the string. Answers [`StringsOutput::Written`].
    Put(Text),
    /// Extends the string. Answers [`StringsOutput::Written`] or [`StringsOutput::Length`].
    Append(Text),
}

/// What a string answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StringsOutput {
    /// What was read.
    Value(Option<Text>),
    /// It took effect.
    Written,
    /// It took effect, and this is the length of the string after it, in bytes.
    Length(u64),
}

impl Strings {
    fn note(&mut self, before: Option<Fingerprint>, piece: &Text) -> Fingerprint {
        let after = before.map_or(piece.fingerprint(), |before| before.append(piece.fingerprint()));
        self.origins.entry(after).or_insert_with(|| (before, piece.clone()));
        after
    }

    fn spell(&self, state: Fingerprint) -> String {
        let mut pieces = Vec::new();
        let mut at = Some(state);
        // Appending nothing leads from a string to itself: the first note of a string is of another origin, unless
        // the string is empty.
        while let Some(note) = at.and_then(|at| self.origins.get(&at)) {
            pieces.push(note.1.as_str());
            at = note.0.filter(|before| Some(*before) != at);
        }
        pieces.reverse();
        pieces.concat()
    }
}

impl Model for Strings {
    const NAME: &'static str = "strings";
    type State = Option<Fingerprint>;
    type Input = StringsInput;
    type Output = StringsOutput;

    fn initial(&self) -> Self::State {
        None
    }

    fn step(
        &mut self,
        state: &Self::State,
        input: &StringsInput,
        output: Option<&StringsOutput>,
    ) -> Option<Self::State> {
        use {StringsInput as In, StringsOutput as Out};
        match (input, output) {
            (In::Get, Some(Out::Value(value))) => {
                (value.as_ref().map(Text::fingerprint) == *state).then_some(*state)
            }
            (In::Get, None) => Some(*state),
            (In::Put(value), Some(Out::Written) | None) => Some(Some(self.note(None, value))),
            (In::Append(piece), Some(Out::Written) | None) => Some(Some(self.note(*state, piece))),
            (In::Append(piece), Some(Out::Length(length))) => {
                let after = self.note(*state, piece);
                (after.length() == *length).then_some(Some(after))
            }
            _ => None,
        }
    }

    fn makes_use_of(
        &self,
        state: &Self::State,
        input: &StringsInput,
        output: Option<&StringsOutput>,
    ) -> bool {
        let length = state.map_or(0, Fingerprint::length);
        match (input, output) {
            (StringsInput::Get, Some(StringsOutput::Value(value))) => value.as_ref().is_some_and(|value| {
                let prefix = value.prefix(length);
                prefix.is_some() && prefix == *state
            }),
            (StringsInput::Append(piece), Some(StringsOutput::Length(after))) => {
                length + piece.fingerprint().length() <= *after
            }
            // Nobody knows where it was appended.
            (StringsInput::Append(_), Some(StringsOutput::Written)) => true,
            _ => false,
        }
    }

    fn is_read(input: &StringsInput, _output: Option<&StringsOutput>) -> bool {
        matches!(input, StringsInput::Get)
    }

    fn overwrites(input: &StringsInput) -> Option<Self::State> {
        match input {
            StringsInput::Put(value) => Some(Some(value.fingerprint())),
            _ => None,
        }
    }

    fn only_grows(input: &StringsInput) -> bool {
        !matches!(input, StringsInput::Put(_))
    }

    fn shown_by(input: &StringsInput, _asked: &StringsInput, answer: &StringsOutput) -> Option<bool> {
        match (input, answer) {
            (StringsInput::Append(piece), StringsOutput::Value(value)) => {
                Some(value.as_ref().map_or("", Text::as_str).contains(piece.as_str()))
            }
            _ => None,
        }
    }

    fn describe_state(&self, state: &Self::State) -> String {
        describe_value(state.map(|state| self.spell(state)).as_deref())
    }

    fn describe(input: &StringsInput, output: Option<&StringsOutput>) -> String {
        let asked = match input {
            StringsInput::Get => "get".to_owned(),
            StringsInput::Put(value) => format!("put {}", describe_value(Some(value.as_str()))),
            StringsInput::Append(piece) => format!("append {}", describe_value(Some(piece.as_str()))),
        };
        match output {
            Some(StringsOutput::Value(value)) => {
                format!("{asked} -> {}", describe_value(value.as_ref().map(Text::as_str)))
            }
            Some(StringsOutput::Length(length)) => format!("{asked} -> length {length}"),
            Some(StringsOutput::Written) => asked,
            None => format!("{asked} (outcome unknown)"),
        }
    }
}
