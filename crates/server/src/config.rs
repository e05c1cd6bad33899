//! What a node is told at its start.
//!
//! Three sources, each going over the one before: a TOML file, the environment (`CONSORT_...`), flags
//! (`--set field=value`). Every field is a row of the table in [`field`], which holds its name, what follows from its
//! value, what it accepts and how it is read and printed; so the file, the environment, the flags, `CONFIG` printing and
//! the messages cannot disagree. A [`Config`] that [`load()`] gave out has been validated: fields agree with one another.
//!
//! Where to read next: [`field`] (the table), [`load()`] (precedence and unknown names), [`validate`] (the arithmetic).

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::profile::Profile;

pub mod field;
mod load;
mod nodes;
pub mod units;
mod validate;

pub use load::{ConfigError, Loaded, Sources, load};
pub use nodes::MOST_WEIGHT;

/// Where somebody listens: a host name or IP address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// A host name or an IP address (an IPv6 address without brackets).
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl Address {
    /// An address on the loopback interface.
    pub fn loopback(port: u16) -> Address {
        Address { host: "127.0.0.1".into(), port }
    }

    /// Reads `host:port`, `1.2.3.4:port` or `[::1]:port`.
    pub fn parse(text: &str) -> Option<Address> {
        let (host, port) = text.trim().rsplit_once(':')?;
        let host = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']')?,
            None if host.contains(':') => return None,
            None => host,
        };
        let well_formed = !host.is_empty()
            && host.len() <= 253
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte));
        let port = port.parse().ok().filter(|port| *port != 0)?;
        well_formed.then(|| Address { host: host.to_string(), port })
    }
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
    /// Where it takes clients. Told to cluster clients as it stands here, so it must be reachable for them.
    pub client: Address,
    /// Where it takes its peers.
    pub peer: Address,
    /// What fails together is one zone. May be empty.
    pub zone: String,
    /// Its share of partitions and leaderships, relative to the others.
    pub weight: u32,
}

/// What belongs in clusters to try out alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Development {
    /// Whoever may run commands may cut this node off from others.
    pub faults: bool,
    /// Where the process answers HTTP that started this node; the page offers what that can do.
    pub control: Option<Address>,
}

/// Everything that a node is told. What each field means and what follows from its value is said once, in
/// [`field::FIELDS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The name of the cluster; peers of another name are turned away at the handshake.
    pub cluster: String,
    /// The name of this node, one of those in `nodes`.
    pub node: String,
    /// The founders of the cluster (or this node alone, if it joined later), this one among them, sorted by name: the first placement follows from their order, which
    /// must not depend on how a file happens to list them.
    pub nodes: Vec<NodeConfig>,
    /// The folder that holds everything this node must remember.
    pub data: PathBuf,
    /// Where clients are listened for.
    pub listen_client: Address,
    /// Where peers are listened for.
    pub listen_peer: Address,
    /// Where HTTP is answered: the page, metrics, health; `None`: nowhere.
    pub listen_admin: Option<Address>,
    /// How many partitions the slots are cut into. Fixed when the cluster is made.
    pub partitions: u32,
    /// On how many nodes each partition lives, at first.
    pub replication_factor: usize,
    /// Worker threads.
    pub workers: usize,
    /// What clients must say in `AUTH`; `None`: nothing.
    pub password: Option<String>,
    /// Which connections are told who leads a slot instead of being served through this node.
    pub redirect: Redirect,
    /// What holds for connections that have selected a database number: all numbers are the one database.
    pub select_profiles: BTreeMap<u32, Profile>,
    /// From so many reads a second for each copy on others are made for reads alone; 0: never.
    pub hot_reads: u32,
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
    /// What is held for replicas elsewhere that cannot be reached.
    pub hints: Hints,
    /// How the cluster changes its shape.
    pub membership: Membership,
    /// For clusters to try out.
    pub development: Development,
    /// What is logged to standard error: a level, or directives like `info,server=debug`.
    pub log: String,
}

/// Which connections get `MOVED` for a slot that another node leads. All others are served by forwarding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// None.
    Never,
    /// Those that have shown that they know about slots: `CLUSTER SLOTS`, `CLUSTER SHARDS`, `READONLY`, `READWRITE` or
    /// `ASKING` came on them.
    Aware,
    /// All, as in Redis Cluster.
    Always,
}

impl Redirect {
    /// Each with its name in the configuration.
    pub const NAMES: [(&'static str, Redirect); 3] =
        [("never", Redirect::Never), ("aware", Redirect::Aware), ("always", Redirect::Always)];

    /// By name.
    pub fn parse(name: &str) -> Option<Redirect> {
        Redirect::NAMES.iter().find(|(known, _)| *known == name).map(|(_, redirect)| *redirect)
    }

    /// The name.
    pub fn name(self) -> &'static str {
        Redirect::NAMES.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }
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

/// How the cluster changes its shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// A node that is silent for this long is replaced by others; zero: never.
    pub replace_after: Duration,
    /// How many partitions are moved at a time.
    pub moves_at_once: u32,
    /// How fast each of them is copied at the most; 0: as fast as it goes.
    pub move_bytes_per_second: u64,
}

/// What is remembered of `IDEMPOTENT` tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// How long.
    pub retention: Duration,
    /// How many a partition remembers.
    pub limit: usize,
}

/// What a node holds for replicas that cannot be reached, in keyspaces with `SLOPPY yes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hints {
    /// The most bytes, for each group of a keyspace.
    pub bytes: u64,
    /// For how long a replica may be silent.
    pub window: Duration,
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

    /// The configuration as a TOML file that [`load()`] reads back to the same, each field with its meaning before it
    /// when `explained`. Secrets are printed as they are when `secrets`, else left out.
    pub fn to_toml(&self, explained: bool, secrets: bool) -> String {
        field::print(self, explained, secrets)
    }
}

#[cfg(test)]
mod tests;
