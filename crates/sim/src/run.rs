//! One scenario from beginning to end.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::clock::TrueTime;
use crate::counters::Counters;
use crate::oracle::Violation;
use crate::scenario::Scenario;
use crate::world::World;

/// What came of a scenario.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What went wrong, and by whose judgement; nothing in a good run.
    pub violation: Option<Violation>,
    /// What was exercised.
    pub counters: Counters,
    /// Virtual time that passed, in nanoseconds.
    pub simulated_ns: TrueTime,
    /// The same for every run of the same scenario.
    pub trace: u64,
    /// The events between which a partition was moved by order, or first split, if one was.
    pub moved: Option<std::ops::Range<u64>>,
    /// The story, if it was asked for.
    pub story: Vec<String>,
}

/// Runs a scenario. `story`: keep the story, which makes the run slower and changes nothing else. A panic is a violation.
pub fn run(scenario: &Scenario, story: bool) -> Outcome {
    let mut world = World::new(scenario.clone(), story);
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    let violation = match ended {
        Ok(result) => result.err(),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Some(Violation::new("panic", text.unwrap_or_default()))
        }
    };
    Outcome {
        violation,
        counters: world.counters.clone(),
        simulated_ns: world.at(),
        moved: world.moved(),
        trace: world.story.hash(),
        story: world.story.into_lines(),
    }
}
