//! What a key may do when nobody interferes: the sequential specifications that linearizability is checked against.

mod counter;
mod register;
mod strings;
mod transactions;

use std::fmt::Debug;
use std::hash::Hash;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use counter::{Counter, CounterInput, CounterOutput};
pub use register::{Register, RegisterInput, RegisterOutput};
pub use strings::{Strings, StringsInput, StringsOutput};
pub use transactions::{Step, Transactions};

/// A sequential object. A model may keep notes (to describe states later), which never change what a step gives.
pub trait Model: Default {
    /// Names the model in files.
    const NAME: &'static str;
    /// All that the next answers depend on.
    type State: Clone + Eq + Hash;
    /// What a client asks.
    type Input: Clone + Debug + Ord + Serialize + DeserializeOwned;
    /// What it is answered.
    type Output: Clone + Debug + PartialEq + Serialize + DeserializeOwned;

    /// The state of a key that was never touched.
    fn initial(&self) -> Self::State;

    /// The state after `input` took effect and answered `output` (`None`: nobody heard the answer), or `None` where
    /// that answer is impossible in `state`.
    fn step(
        &mut self,
        state: &Self::State,
        input: &Self::Input,
        output: Option<&Self::Output>,
    ) -> Option<Self::State>;

    /// Can `input` with this answer (`None`: nobody heard it) never change the state? Such an operation says nothing
    /// when its outcome is unknown.
    fn is_read(input: &Self::Input, output: Option<&Self::Output>) -> bool;

    /// Tells the model of an operation that the search is about, before the first step.
    fn prepare(&mut self, _input: &Self::Input) {}

    /// The state that `input` makes whatever the one before, if it takes effect; `None` where the state after depends on
    /// the state before. See [`makes_use_of`](Self::makes_use_of).
    fn overwrites(input: &Self::Input) -> Option<Self::State>;

    /// An operation of unknown outcome would make `state`. Could the operation here, placed next or after more
    /// that do not [overwrite](Self::overwrites), be the reason that it is needed? Not where it overwrites the state
    /// without looking, and not where its answer (`None`: nobody heard it) rules out that `state` came before it.
    /// Saying yes is always right; saying no keeps a search from trying every order of what was never seen.
    fn makes_use_of(
        &self,
        _state: &Self::State,
        _input: &Self::Input,
        _output: Option<&Self::Output>,
    ) -> bool {
        true
    }

    /// Whatever this operation does stays to be seen: nothing that another one may do takes it back. See
    /// [`shown_by`](Self::shown_by).
    fn only_grows(_input: &Self::Input) -> bool {
        false
    }

    /// Does this answer show that the operation, of unknown outcome, had taken effect before, or that it had not? `None`: neither.
    fn shown_by(_input: &Self::Input, _asked: &Self::Input, _answer: &Self::Output) -> Option<bool> {
        None
    }

    /// The state, for people.
    fn describe_state(&self, state: &Self::State) -> String;

    /// An operation, for people; `None` where its outcome is unknown.
    fn describe(input: &Self::Input, output: Option<&Self::Output>) -> String;
}

/// A value that may be absent, for people.
fn describe_value(value: Option<&str>) -> String {
    match value {
        Some(text) => shortened(text),
        None => "nothing".to_owned(),
    }
}

/// A text in quotes, its middle cut out where it is long.
fn shortened(text: &str) -> String {
    const ENDS: usize = 30;
    let length = text.chars().count();
    if length <= 3 * ENDS {
        return format!("{text:?}");
    }
    let head: String = text.chars().take(ENDS).collect();
    let tail: String = text.chars().skip(length - ENDS).collect();
    format!("{head:?} ({} more) {tail:?}", length - 2 * ENDS)
}
