//! A whole cluster in one thread, from one seed: production shards, production log and recovery, production codecs, over a
//! simulated network, simulated disks and simulated clocks; with clients that remember what they were told, and oracles
//! that see what no node can see.
//!
//! A run has two moods: first things break and nothing may go wrong; then everything is healed and things must go on
//! ([`world`]). What happens follows from the seed alone. A failing seed prints a story.
//!
//! Where to read next: `world` (what happens next), `node` (one process and its disk), `scenario` (what goes wrong when),
//! `oracle` and `history` (what is judged), `counters` (what was exercised).

#![allow(clippy::disallowed_methods)]

pub mod client;
pub mod clock;
pub mod counters;
pub mod history;
pub mod network;
pub mod oracle;
pub mod queue;
pub mod random;
pub mod story;
