//! The server: the only crate with sockets and a wall clock.
//!
//! [`run`] is a whole node, from its data folder to its last answer. Where to read next: `node` (what a node's threads
//! share, start and stop), `driver` (one shard on one thread), `connection` and `dispatch` (a client), `disk` (the log
//! thread), `peers` (the other nodes), `identity` (the data folder), `command` (commands that touch no key).
#![allow(clippy::disallowed_methods)]

mod acceptor;
pub mod acl;
mod admin;
mod blocking;
mod boot;
pub mod clients;
pub mod clock;
pub mod cluster;
pub mod command;
pub mod config;
mod connection;
mod disk;
mod dispatch;
mod driver;
mod events;
pub mod faults;
mod format;
mod handshake;
pub mod happened;
pub mod identity;
mod import;
mod inbox;
pub mod keyspaces;
mod known;
pub mod lost;
mod marker;
mod node;
mod peers;
mod pipeline;
#[cfg(feature = "planted-bugs")]
mod planted;
pub mod profile;
mod random;
pub mod roster;
mod seen;
pub mod session;
pub mod settings;
mod slab;
pub mod stats;
#[cfg(test)]
mod testing;
mod transaction;
mod under_prefix;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

pub use handshake::dialer;
pub use identity::Start;
pub use peers::HEADER_BYTES as PEER_HEADER_BYTES;

use node::{Node, Workers};

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
    let mut shutdown = std::pin::pin!(shutdown);
    let opened = tokio::select! {
        opened = format::open(&config, start) => opened.map_err(Failure)?,
        () = &mut shutdown => return Ok(()),
    };
    let clients = acceptor::listen(&config.listen_client, "listen_client").await.map_err(Failure)?;
    let peers = acceptor::listen(&config.listen_peer, "listen_peer").await.map_err(Failure)?;
    let node = Arc::new(Node::new(config, opened));
    let mut workers = Workers::start(&node).await.map_err(Failure)?;
    admin::start(&node.context).map_err(Failure)?;
    tracing::info!(node = node.identity.name, clients = %node.context.config.listen_client, "ready");
    let serve = async {
        tokio::join!(acceptor::accept(&node, &mut workers, &clients, &peers), acceptor::keep_house(&node))
    };
    tokio::select! {
        _ = serve => {}
        () = &mut shutdown => {}
        () = node.stop_requested() => {}
        reason = node.failure() => return Err(Failure(reason)),
    }
    drop((clients, peers));
    workers.stop().await.map_err(Failure)
}
