//! The server: the only crate with sockets and a wall clock.
//!
//! [`run`] is a whole node, from its data folder to its last answer. Where to read next: `node` (what a node's threads
//! share, start and stop), `driver` (one shard on one thread), `connection` and `dispatch` (a client), `disk` (the log
//! thread), `peers` (the other nodes), `identity` (the data folder), `command` (commands that touch no key).
#![allow(clippy::disallowed_methods)]

pub mod clients;
pub mod clock;
pub mod cluster;
pub mod command;
pub mod config;
pub mod identity;
mod random;
pub mod roster;
pub mod session;
pub mod settings;
pub mod stats;

use std::fmt;
use std::future::Future;

pub use identity::Start;

/// Why a node did not start or could not go on. The text says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

/// Runs a node until `shutdown` completes or a client says `SHUTDOWN`: then hands leadership over, answers what is under
/// way, and returns. To be awaited on a tokio runtime with I/O and time (the node makes its own threads beside it).
///
/// # Errors
/// The node cannot start: the data folder, the addresses or the peers do not allow it.
pub async fn run(
    config: config::Config,
    start: Start,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let _ = (config, start);
    shutdown.await;
    Err(Failure("not built yet".into()))
}
