//! What a node is told at its start: from a TOML file, the environment and flags, in that order of precedence rising.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Where somebody listens: a host name or IP address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// A host name or an IP address (an IPv6 address without brackets).
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A node of the cluster as the configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// The name, unique in the cluster.
    pub name: String,
    /// Where it takes clients.
    pub client: Address,
    /// Where it takes its peers.
    pub peer: Address,
}

/// Everything that a node is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The name of the cluster; peers of another name are turned away at the handshake.
    pub cluster: String,
    /// The name of this node, one of those in `nodes`.
    pub node: String,
    /// All nodes of the cluster, this one among them.
    pub nodes: Vec<NodeConfig>,
    /// The folder that holds everything this node must remember.
    pub data: PathBuf,
    /// Where clients are listened for.
    pub listen_client: Address,
    /// Where peers are listened for.
    pub listen_peer: Address,
    /// How many partitions the slots are cut into. Fixed when the cluster is made.
    pub partitions: u32,
    /// On how many nodes each partition lives. Fixed when the cluster is made.
    pub replication_factor: usize,
    /// Worker threads.
    pub workers: usize,
    /// What clients must say in `AUTH`; `None`: nothing.
    pub password: Option<String>,
    /// What peers must prove to know; `None`: nothing.
    pub peer_secret: Option<String>,
    /// What clients may cost.
    pub limits: Limits,
    /// How long things may take.
    pub timing: Timing,
    /// How the log is kept.
    pub storage: Storage,
    /// What is remembered of `IDEMPOTENT` tokens.
    pub tokens: Tokens,
    /// What is logged to standard error: a level, or directives like `info,server=debug`.
    pub log: String,
}

/// What clients may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; one more gets `ERR max number of clients reached`.
    pub max_clients: usize,
    /// The longest bulk string, in bytes.
    pub bulk_bytes: usize,
    /// The longest request, in bytes.
    pub request_bytes: usize,
    /// Bytes of replies that wait for one slow client before it is cut off.
    pub output_buffer_bytes: usize,
    /// Commands of one connection under way at once; more wait unread.
    pub in_flight: usize,
    /// A connection without a command for this long is closed; zero: never.
    pub idle_timeout: Duration,
}

/// How long things may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The shortest time without a leader before an election.
    pub election_timeout: Duration,
    /// How often a leader says that it is there.
    pub heartbeat: Duration,
    /// How long a client's command may take before it is refused or unknown.
    pub request_timeout: Duration,
}

/// How the log is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// A partition whose log holds more bytes than this takes a snapshot.
    pub snapshot_log_bytes: u64,
    /// The size of a log segment.
    pub segment_bytes: u64,
}

/// What is remembered of `IDEMPOTENT` tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// How long.
    pub retention: Duration,
    /// How many a partition remembers.
    pub limit: usize,
}

impl Config {
    /// This node's entry in [`Config::nodes`].
    ///
    /// # Panics
    /// Never for a validated configuration.
    pub fn myself(&self) -> &NodeConfig {
        self.nodes
            .iter()
            .find(|node| node.name == self.node)
            .expect("a validated configuration names its node")
    }
}
