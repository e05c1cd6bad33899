//! The commands of kind `Server`: those that concern the connection, the server or the cluster and touch no key.
//!
//! [`run`] is synchronous and does no I/O but reading `/proc`; what it cannot do itself it asks for with an [`Action`].

use std::sync::Arc;

use bytes::Bytes;
use data::Command;
use replication::PartitionId;
use replication::contract::Admin;
use resp::Value;

use crate::clients::Clients;
use crate::cluster::ClusterView;
use crate::config::Config;
use crate::session::Session;
use crate::settings::Settings;
use crate::stats::Stats;

/// What commands may look at. Shared by all connections of a node.
#[derive(Clone, Debug)]
pub struct Context {
    /// What the node was started with.
    pub config: Arc<Config>,
    /// What `CONFIG SET` may change.
    pub settings: Arc<Settings>,
    /// The connections.
    pub clients: Arc<Clients>,
    /// The counters.
    pub stats: Arc<Stats>,
    /// The cluster.
    pub cluster: Arc<ClusterView>,
    /// Wall clock milliseconds at the start of the process.
    pub started_ms: u64,
    /// Drawn anew at each start of the process; `INFO` shows it as `run_id`.
    pub incarnation: u64,
}

/// What the connection is to do after a command of kind `Server`.
#[derive(Debug, PartialEq)]
pub enum Action {
    /// Answer this (if [`Session::sends_reply`] says so).
    Reply(Value),
    /// Answer this, then close (`QUIT`).
    Close(Value),
    /// `RESET`: forget `MULTI` and `WATCH`, then answer this. The session has been reset.
    Reset(Value),
    /// Stop the node: hand leadership over and flush, unless `now`. No answer; the connection closes with the process.
    Shutdown {
        /// Do not wait for leadership to be handed over.
        now: bool,
    },
    /// An order for the leader of a partition; its reply is the answer.
    Admin {
        /// The partition.
        partition: PartitionId,
        /// The order.
        admin: Admin,
    },
    /// `CLUSTER COUNTKEYSINSLOT` (`limit` is `None`: answer the number) and `GETKEYSINSLOT` (answer up to so many keys),
    /// from this node's own replica; 0 or none if it has no replica of the slot.
    KeysInSlot {
        /// The slot.
        slot: u16,
        /// The most keys to give; `None` asks for their number.
        limit: Option<usize>,
    },
}

/// Runs a command of kind `Server`. The arity has been checked. Authentication is checked by the caller with
/// [`needs_authentication`].
pub fn run(
    command: &'static Command,
    arguments: &[Bytes],
    session: &mut Session,
    context: &Context,
) -> Action {
    let _ = (command, arguments, session, context);
    Action::Reply(Value::error("ERR not yet"))
}

/// Must a connection that has not said its password be refused this command (with [`NO_AUTHENTICATION`])?
pub fn needs_authentication(command: &Command) -> bool {
    !matches!(command.name, "auth" | "hello" | "quit" | "reset")
}

/// What a connection without authentication is told.
pub const NO_AUTHENTICATION: Value =
    Value::Error(std::borrow::Cow::Borrowed("NOAUTH Authentication required."));
