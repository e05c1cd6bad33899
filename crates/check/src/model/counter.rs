//! A counter: add and learn the sum, or read it.

use serde::{Deserialize, Serialize};

use super::Model;

/// A sum that begins at zero.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counter {
    /// Does anybody add less than zero? If not, a sum that was passed never comes back.
    falls: bool,
}

/// What a client asks of a counter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CounterInput {
    /// Answers the sum.
    Get,
    /// Adds, and answers the sum after it. Past the range of 64 bits it is impossible.
    Add(i64),
}

/// The sum that a counter answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterOutput(pub i64);

impl Model for Counter {
    const NAME: &'static str = "counter";
    type State = i64;
    type Input = CounterInput;
    type Output = CounterOutput;

    fn initial(&self) -> i64 {
        0
    }

    fn step(&mut self, state: &i64, input: &CounterInput, output: Option<&CounterOutput>) -> Option<i64> {
        let after = match input {
            CounterInput::Get => *state,
            CounterInput::Add(amount) => state.checked_add(*amount)?,
        };
        output.is_none_or(|output| output.0 == after).then_some(after)
    }

    fn is_read(input: &CounterInput, _output: Option<&CounterOutput>) -> bool {
        matches!(input, CounterInput::Get)
    }

    fn prepare(&mut self, input: &CounterInput) {
        self.falls |= matches!(input, CounterInput::Add(..0));
    }

    fn overwrites(_input: &CounterInput) -> Option<i64> {
        None
    }

    fn makes_use_of(&self, state: &i64, _input: &CounterInput, output: Option<&CounterOutput>) -> bool {
        self.falls || output.is_some_and(|sum| *state <= sum.0)
    }

    fn describe_state(&self, state: &i64) -> String {
        state.to_string()
    }

    fn describe(input: &CounterInput, output: Option<&CounterOutput>) -> String {
        let asked = match input {
            CounterInput::Get => "get".to_owned(),
            CounterInput::Add(amount) => format!("add {amount}"),
        };
        match output {
            Some(CounterOutput(sum)) => format!("{asked} -> {sum}"),
            None => format!("{asked} (outcome unknown)"),
        }
    }
}
