//! One seed from beginning to end.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::clock::TrueTime;
use crate::counters::Counters;
use crate::oracle::Violation;
use crate::scenario::Focus;
use crate::world::World;

/// What came of a seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What went wrong, by whose judgement; nothing in a good run.
    pub violation: Option<String>,
    /// What was exercised.
    pub counters: Counters,
    /// Virtual time that passed, in nanoseconds.
    pub simulated_ns: TrueTime,
    /// The same for every run of the same seed.
    pub trace: u64,
    /// The story, if it was asked for.
    pub story: Vec<String>,
}

/// Something that is made wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Syncs return without having made anything durable.
    SyncsLie,
    /// A fault in the consensus.
    #[cfg(feature = "planted-bugs")]
    Consensus(replication::ordered::raft::Bug),
}

/// Runs a seed of a system in which something is made wrong on purpose.
pub fn run_sabotaged(seed: u64, focus: Option<Focus>, sabotage: Sabotage) -> Outcome {
    run_world(seed, World::sabotaged(seed, focus, sabotage))
}

/// Runs a seed that dwells on something.
pub fn run_focused(seed: u64, focus: Focus) -> Outcome {
    run_world(seed, World::focused(seed, focus, false))
}

/// Runs a seed. `story`: keep the story, which makes the run slower and changes nothing else. A panic is a violation.
pub fn run(seed: u64, story: bool) -> Outcome {
    run_world(seed, World::new(seed, story))
}

fn run_world(seed: u64, mut world: World) -> Outcome {
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
        seed,
        violation: violation.map(|violation| violation.to_string()),
        counters: world.counters.clone(),
        simulated_ns: world.at(),
        trace: world.story.hash(),
        story: world.story.into_lines(),
    }
}
