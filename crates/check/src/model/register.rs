//! A register: read, write, compare-and-set.

use serde::{Deserialize, Serialize};

use super::{Model, describe_value};
use crate::Text;

/// One value or none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Register;

/// What a client asks of a register.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegisterInput {
    /// Answers [`RegisterOutput::Value`].
    Read,
    /// Sets the value, or removes it. Answers [`RegisterOutput::Written`].
    Write(Option<Text>),
    /// Sets the value if it is the expected one. Answers [`RegisterOutput::Swapped`].
    CompareAndSet {
        /// What must be there.
        expected: Option<Text>,
        /// What takes its place.
        new: Option<Text>,
    },
}

/// What a register answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegisterOutput {
    /// What was read.
    Value(Option<Text>),
    /// The write took effect.
    Written,
    /// Was the expected value there, and replaced?
    Swapped(bool),
}

impl Model for Register {
    const NAME: &'static str = "register";
    type State = Option<Text>;
    type Input = RegisterInput;
    type Output = RegisterOutput;

    fn initial(&self) -> Self::State {
        None
    }

    fn step(
        &mut self,
        state: &Self::State,
        input: &RegisterInput,
        output: Option<&RegisterOutput>,
    ) -> Option<Self::State> {
        use {RegisterInput as In, RegisterOutput as Out};
        match (input, output) {
            (In::Read, Some(Out::Value(value))) => (value == state).then(|| state.clone()),
            (In::Read, None) => Some(state.clone()),
            (In::Write(value), Some(Out::Written) | None) => Some(value.clone()),
            (In::CompareAndSet { expected, new }, answer) => {
                let swaps = expected == state;
                let possible = match answer {
                    Some(Out::Swapped(swapped)) => *swapped == swaps,
                    Some(_) => false,
                    None => true,
                };
                possible.then(|| if swaps { new.clone() } else { state.clone() })
            }
            _ => None,
        }
    }

    fn overwrites(input: &RegisterInput) -> Option<Self::State> {
        match input {
            RegisterInput::Read => None,
            RegisterInput::Write(new) | RegisterInput::CompareAndSet { new, .. } => Some(new.clone()),
        }
    }

    fn makes_use_of(
        &self,
        state: &Self::State,
        input: &RegisterInput,
        output: Option<&RegisterOutput>,
    ) -> bool {
        match (input, output) {
            (RegisterInput::Read, Some(RegisterOutput::Value(value))) => value == state,
            (RegisterInput::CompareAndSet { expected, .. }, answer) => {
                (expected == state) == (answer != Some(&RegisterOutput::Swapped(false)))
            }
            _ => false,
        }
    }

    fn is_read(input: &RegisterInput, output: Option<&RegisterOutput>) -> bool {
        matches!(input, RegisterInput::Read) || output == Some(&RegisterOutput::Swapped(false))
    }

    fn describe_state(&self, state: &Self::State) -> String {
        describe_value(state.as_ref().map(Text::as_str))
    }

    fn describe(input: &RegisterInput, output: Option<&RegisterOutput>) -> String {
        let value = |value: &Option<Text>| describe_value(value.as_ref().map(Text::as_str));
        let asked = match input {
            RegisterInput::Read => "read".to_owned(),
            RegisterInput::Write(new) => format!("write {}", value(new)),
            RegisterInput::CompareAndSet { expected, new } => {
                format!("compare-and-set {} to {}", value(expected), value(new))
            }
        };
        match output {
            Some(RegisterOutput::Value(read)) => format!("{asked} -> {}", value(read)),
            Some(RegisterOutput::Swapped(true)) => format!("{asked} -> swapped"),
            Some(RegisterOutput::Swapped(false)) => format!("{asked} -> not swapped"),
            Some(RegisterOutput::Written) => asked,
            None => format!("{asked} (outcome unknown)"),
        }
    }
}
