//! A whole cluster in one thread, from one seed: production shards, production log and recovery, production codecs, over a
//! simulated network, simulated disks and simulated clocks; with clients that remember what they were told, and oracles
//! that see what no node can see.
//!
//! A run has two moods: first things break and nothing may go wrong; then everything is healed and things must go on
//! (`world`). What happens follows from the seed alone. A failing seed prints a story.
//!
//! Where to read next: `world` (what happens next), `node` (one process and its disk), `scenario` (what goes wrong when),
//! `oracle` and `history` (what is judged), `counters` (what was exercised).

mod client;
mod clock;
mod counters;
mod history;
pub mod large;
mod network;
mod node;
mod oracle;
mod queue;
mod random;
mod run;
mod scenario;
mod shrink;
mod story;
mod world;

pub use client::workload::Workload;
pub use counters::Counters;
pub use network::Profile;
pub use oracle::Violation;
#[cfg(feature = "planted-bugs")]
pub use replication::merged::causal::Bug as MergedBug;
#[cfg(feature = "planted-bugs")]
pub use replication::ordered::raft::Bug;
pub use run::{Outcome, run};
pub use scenario::{Consensus, Fault, Focus, Planned, Scenario, Unreadable};
pub use shrink::{Shrinking, shrink};
