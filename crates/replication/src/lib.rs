//! Who holds which key and how the copies agree. Pure: everything here is a state machine that does no I/O, reads no
//! clock and draws no randomness. Inputs come in through [`Shard::step`], outputs go out ([`contract`]); the same code runs
//! under the server's driver and under the simulator.
//!
//! Where to read next: `contract` (what goes in and out), `shard` (one worker's partitions), `placement` (which partition
//! holds a slot, which nodes hold a partition), `catalogue` (who decides that), `ordered::raft` (consensus).

pub mod catalogue;
pub mod configuration;
pub mod consistency;
pub mod contract;
pub mod histogram;
pub mod merged;
pub mod ordered;
pub mod placement;
pub mod primaries;
pub mod quorum;
pub mod random;
pub mod shard;
pub mod time;
pub mod wire;

pub use contract::{Event, Input, Output, Reply, Request};
pub use ordered::FIRST_OF_CHILD;
pub use placement::{NodeId, PartitionId, Placement};
pub use shard::Shard;
pub use time::{Now, Time};
