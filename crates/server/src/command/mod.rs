//! The commands of kind `Server`: those that concern the connection, the server or the cluster and touch no key.
//!
//! [`run`] is synchronous and does no I/O but reading `/proc`; what it cannot do itself it asks for with an [`Action`].
//! Texts of replies and errors are those of Redis 7.2, since clients and scripts compare them.
//!
//! A command is a function and a row in [`COMMANDS`]; a command with subcommands is a table of [`subcommand`]s, from which
//! `HELP`, the checks of arity and `COMMAND INFO` follow. Where to read next: `connection` (HELLO, AUTH, ...), `client`,
//! `cluster` (what cluster clients ask), `info`, `parameters` (CONFIG), `consort` (our own).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use data::Command;
use replication::PartitionId;
use replication::catalogue::Change;
use replication::contract::Admin;
use resp::Value;

use crate::acl::Users;
use crate::clients::Clients;
use crate::cluster::ClusterView;
use crate::config::Config;
use crate::faults::Faults;
use crate::happened::Happened;
use crate::session::Session;
use crate::settings::Settings;
use crate::stats::Stats;

mod acl;
mod client;
mod cluster;
mod cluster_texts;
mod command_table;
mod connection;
mod consort;
mod diagnostics;
pub(crate) mod explain;
pub(crate) mod info;
pub(crate) mod keyspace;
mod node;
mod parameters;
mod process;
mod subcommand;

pub use acl::Edit;
use cluster_texts::ClusterTexts;

/// The version of Redis whose commands and texts these are: clients test it to know what they may use.
pub const REDIS_VERSION: &str = "7.2.5";

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
    /// Who may do what.
    pub users: Arc<Users>,
    /// What is wrong with the ways to peers, where somebody wants to see that.
    pub faults: Arc<Faults>,
    /// What became of keyspaces on this side.
    pub happened: Arc<Happened>,
    /// What this node takes over from elsewhere.
    pub imports: Arc<crate::import::Imports>,
    /// Wall clock milliseconds at the start of the process.
    pub started_ms: u64,
    /// Drawn anew at each start of the process; `INFO` shows it as `run_id`.
    pub incarnation: u64,
    texts: Arc<ClusterTexts>,
}

impl Context {
    /// The context of a node that starts now.
    pub fn new(config: Arc<Config>, cluster: Arc<ClusterView>, incarnation: u64) -> Context {
        Context {
            settings: Arc::new(Settings::new(&config)),
            users: Arc::new(Users::new(config.password.as_deref())),
            config,
            clients: Arc::default(),
            faults: Arc::default(),
            happened: Arc::default(),
            imports: Arc::default(),
            stats: Arc::default(),
            cluster,
            started_ms: crate::clock::wall_clock_ms(),
            incarnation,
            texts: Arc::default(),
        }
    }
}

impl Context {
    /// The catalogue's users are these: connections of those that are gone end.
    pub fn follow_users(&self, texts: &BTreeMap<Bytes, Bytes>) {
        let before = self.users.version();
        self.users.follow(texts);
        if self.users.version() == before {
            return;
        }
        for client in self.clients.all() {
            if self.users.find(&client.names().user).is_none() {
                client.kill();
            }
        }
    }
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
    /// A change of the catalogue; `OK` once this node has read it.
    Change(Change),
    /// Other users.
    Users(Edit),
    /// `CLIENT SESSION TOKEN`.
    SessionToken,
    /// `KEYSPACE LOST`: asks every node.
    Lost {
        /// Of the keyspace of this number.
        keyspace: u16,
        /// Only what wrote this key.
        key: Option<bytes::Bytes>,
        /// What to do with it.
        verb: crate::lost::Verb,
    },
    /// `KEYSPACE IMPORT ... FROM`: the import is to be run.
    Import(Arc<crate::import::Import>),
    /// `CLUSTER COUNTKEYSINSLOT` (`limit` is `None`: answer the number) and `GETKEYSINSLOT` (answer up to so many keys),
    /// from this node's own replica; 0 or none if it has no replica of the slot.
    KeysInSlot {
        /// The slot.
        slot: u16,
        /// The most keys to give; `None` asks for their number.
        limit: Option<usize>,
    },
}

impl From<Value> for Action {
    fn from(value: Value) -> Action {
        Action::Reply(value)
    }
}

impl From<Result<Value, Value>> for Action {
    fn from(result: Result<Value, Value>) -> Action {
        Action::Reply(result.unwrap_or_else(|error| error))
    }
}

/// A command as its function sees it.
pub(crate) struct Call<'a> {
    /// The arguments, name included.
    pub arguments: &'a [Bytes],
    /// The connection that asks.
    pub session: &'a mut Session,
    /// The node.
    pub context: &'a Context,
}

impl Call<'_> {
    /// An argument as text, for names of options and for messages.
    fn text(&self, index: usize) -> String {
        self.arguments.get(index).map(|argument| lossy(argument)).unwrap_or_default()
    }

    /// Is the argument this word, in any case?
    fn is(&self, index: usize, word: &str) -> bool {
        self.arguments.get(index).is_some_and(|argument| argument.eq_ignore_ascii_case(word.as_bytes()))
    }
}

/// Every command here, by its name in lower case.
const COMMANDS: &[(&str, fn(&mut Call<'_>) -> Action)] = &[
    ("acl", acl::acl),
    ("asking", connection::asking),
    ("auth", connection::auth),
    ("client", client::client),
    ("cluster", cluster::cluster),
    ("command", command_table::command),
    ("config", parameters::config),
    ("consort", consort::consort),
    ("echo", connection::echo),
    ("hello", connection::hello),
    ("info", info::info),
    ("keyspace", keyspace::keyspace),
    ("latency", diagnostics::latency),
    ("memory", diagnostics::memory),
    ("node", node::node),
    ("ping", connection::ping),
    ("quit", connection::quit),
    ("readonly", connection::readonly),
    ("readwrite", connection::readwrite),
    ("reset", connection::reset),
    ("role", connection::role),
    ("select", connection::select),
    ("shutdown", connection::shutdown),
    ("slowlog", diagnostics::slowlog),
    ("time", connection::time),
];

/// Every command with subcommands here.
#[cfg(test)]
const CONTAINERS: &[&subcommand::Container] = &[
    &acl::ACL,
    &client::CLIENT,
    &cluster::CLUSTER,
    &command_table::COMMAND,
    &consort::CONSORT,
    &diagnostics::LATENCY,
    &diagnostics::MEMORY,
    &diagnostics::SLOWLOG,
    &keyspace::KEYSPACE,
    &node::NODE,
    &parameters::CONFIG,
];

/// Runs a command of kind `Server`. The arity has been checked. Authentication is checked by the caller with
/// [`needs_authentication`].
pub fn run(
    command: &'static Command,
    arguments: &[Bytes],
    session: &mut Session,
    context: &Context,
) -> Action {
    match COMMANDS.iter().find(|(name, _)| *name == command.name) {
        Some((_, run)) => run(&mut Call { arguments, session, context }),
        None => error(format!("ERR command '{}' is not one that the server answers", command.name)).into(),
    }
}

/// Must a connection that has not said its password be refused this command (with [`NO_AUTHENTICATION`])?
pub fn needs_authentication(command: &Command) -> bool {
    !matches!(command.name, "auth" | "hello" | "quit" | "reset")
}

/// What a connection without authentication is told.
pub const NO_AUTHENTICATION: Value =
    Value::Error(std::borrow::Cow::Borrowed("NOAUTH Authentication required."));

pub(crate) use acl::permit;

fn error(text: impl Into<std::borrow::Cow<'static, str>>) -> Value {
    Value::error(text)
}

fn syntax_error() -> Value {
    error("ERR syntax error")
}

fn wrong_arity(name: &str) -> Value {
    error(format!("ERR wrong number of arguments for '{name}' command"))
}

fn not_an_integer() -> Value {
    error("ERR value is not an integer or out of range")
}

/// Bytes from a client as text for a message: no line breaks, no control characters, not too long.
fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(128)]).replace(|c: char| c.is_control(), " ")
}

fn parse_integer(bytes: &[u8]) -> Option<i64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

fn simple(text: impl Into<std::borrow::Cow<'static, str>>) -> Value {
    Value::Simple(text.into())
}

fn bulk(text: impl Into<String>) -> Value {
    Value::Bulk(Bytes::from(text.into()))
}

/// A text of several lines: verbatim in RESP3, as Redis marks it.
fn text(text: impl Into<String>) -> Value {
    Value::Verbatim(*b"txt", Bytes::from(text.into()))
}

fn integer(number: impl TryInto<i64>) -> Value {
    Value::Integer(number.try_into().unwrap_or(i64::MAX))
}

/// A map with text keys.
fn map<const N: usize>(entries: [(&'static str, Value); N]) -> Value {
    Value::Map(entries.into_iter().map(|(name, value)| (Value::bulk(name), value)).collect())
}

#[cfg(test)]
mod tests;
