//! Transactions over a few strings: every step of a transaction is of the same moment.
//!
//! The object is all the strings together (a slot), so that linearizability of it is strict serializability of the
//! transactions.

use std::collections::BTreeMap;

use super::{Model, Strings, StringsInput, StringsOutput};
use crate::Text;
use crate::text::Fingerprint;

/// Strings by name.
#[derive(Clone, Debug, Default)]
pub struct Transactions {
    strings: Strings,
    names: BTreeMap<Fingerprint, String>,
}

/// One step of a transaction: a string's name and what is asked of it.
pub type Step = (Text, StringsInput);

impl Model for Transactions {
    const NAME: &'static str = "transactions";
    /// The strings that are there, by name.
    type State = Vec<(Fingerprint, Fingerprint)>;
    type Input = Vec<Step>;
    type Output = Vec<StringsOutput>;

    fn initial(&self) -> Self::State {
        Vec::new()
    }

    fn step(
        &mut self,
        state: &Self::State,
        input: &Vec<Step>,
        output: Option<&Vec<StringsOutput>>,
    ) -> Option<Self::State> {
        if output.is_some_and(|output| output.len() != input.len()) {
            return None;
        }
        let mut after = state.clone();
        for (at, (name, asked)) in input.iter().enumerate() {
            let name = name.fingerprint();
            let place = after.binary_search_by_key(&name, |(name, _)| *name);
            let before = place.ok().map(|place| after[place].1);
            let answer = output.map(|output| &output[at]);
            match (self.strings.step(&before, asked, answer)?, place) {
                (Some(value), Ok(place)) => after[place].1 = value,
                (Some(value), Err(place)) => after.insert(place, (name, value)),
                (None, Ok(place)) => drop(after.remove(place)),
                (None, Err(_)) => {}
            }
        }
        Some(after)
    }

    fn is_read(input: &Vec<Step>, _output: Option<&Vec<StringsOutput>>) -> bool {
        input.iter().all(|(_, asked)| Strings::is_read(asked, None))
    }

    fn prepare(&mut self, input: &Vec<Step>) {
        for (name, asked) in input {
            self.names.entry(name.fingerprint()).or_insert_with(|| name.as_str().to_owned());
            self.strings.prepare(asked);
        }
    }

    fn overwrites(_input: &Vec<Step>) -> Option<Self::State> {
        None
    }

    fn only_grows(input: &Vec<Step>) -> bool {
        input.iter().all(|(_, asked)| Strings::only_grows(asked))
    }

    fn shown_by(input: &Vec<Step>, asked: &Vec<Step>, answer: &Vec<StringsOutput>) -> Option<bool> {
        let steps = input.iter().flat_map(|(name, step)| {
            let answers = asked.iter().zip(answer).filter(move |((other, _), _)| other == name);
            answers.filter_map(move |((_, asked), answer)| Strings::shown_by(step, asked, answer))
        });
        // All steps are of one moment, so what one shows holds for all.
        steps.fold(None, |shown, step| Some(shown.unwrap_or(false) || step))
    }

    fn describe_state(&self, state: &Self::State) -> String {
        let one = |(name, value): &(Fingerprint, Fingerprint)| {
            let name = self.names.get(name).map(String::as_str).unwrap_or_default();
            format!("{name}={}", self.strings.describe_state(&Some(*value)))
        };
        let all: Vec<String> = state.iter().map(one).collect();
        if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
    }

    fn describe(input: &Vec<Step>, output: Option<&Vec<StringsOutput>>) -> String {
        let step = |(at, (name, asked)): (usize, &Step)| {
            let told = Strings::describe(asked, output.and_then(|output| output.get(at)));
            format!("{} {}", name.as_str(), told.replace(" (outcome unknown)", ""))
        };
        let steps: Vec<String> = input.iter().enumerate().map(step).collect();
        let end = if output.is_none() { " (outcome unknown)" } else { "" };
        format!("{}{end}", steps.join("; "))
    }
}
