//! The systems that are measured: how each is started, where its connections go, and what its processes cost.

mod consort;
mod etcd;
mod limit;
mod redis;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;

use super::children::{Nursery, Server};
use super::keys::Key;
use super::load::Plan;
use super::process;
use super::wire::etcd::Etcd;
use super::wire::resp::Resp;
use super::wire::{Operation, Wire};

/// A system beside which Consort is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// Three nodes of etcd: a majority holds each write on disk, reads are linearizable.
    Etcd,
    /// One Redis that syncs its file before it answers: one copy, so it survives no loss of a machine.
    Redis,
    /// The same Redis with two replicas, which follow without being waited for.
    RedisReplicas,
    /// The same with two replicas, and all three sync each second, as is Redis' default.
    RedisEverysec,
    /// The same with two replicas that sync at once, and after each write a `WAIT` for both.
    RedisWait,
    /// What this machine allows at best: a bare server of our own that does nothing but make batches durable on a
    /// majority.
    Limit,
}

/// Where the connections of a system with several nodes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Route {
    /// Straight to whoever leads, as cluster clients do.
    Leader,
    /// Evenly to all nodes, whatever the key; the nodes forward.
    Any,
}

/// A running system.
pub struct System {
    /// Its name in tables.
    pub name: &'static str,
    /// What it promises, in a few words.
    pub promise: &'static str,
    servers: Vec<Server>,
    /// How its servers are started again, in the order of `servers`; empty for those that never are.
    commands: Vec<Command>,
    /// How its last server is started with nothing, to get everything from the others.
    rebuild: Option<Command>,
    targets: Vec<Target>,
    /// Where a new node may ask to be let in.
    peer: Option<SocketAddr>,
    etcd: bool,
    /// After each write clients wait for so many replicas.
    waits_for: usize,
}

/// How the keys of Consort are replicated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Keyspace {
    /// Consensus.
    Raft,
    /// `primary-replica`, a write is acknowledged by the primary alone.
    Async,
    /// The same, and what is acknowledged is on the disk within a second.
    Relaxed,
    /// `primary-replica`, a write is acknowledged by the primary and one replica.
    SemiSync,
    /// `primary-replica`, a write is acknowledged by all three.
    Sync,
    /// `multi-primary`: a write is acknowledged by the replica that took it, and all of them take writes.
    Multi,
    /// `leaderless`: two of three are asked by a read, and two hold a write.
    Leaderless,
}

impl Keyspace {
    /// The name in tables, the promise, and the strategy and options of `KEYSPACE CREATE`.
    pub fn described(self) -> (&'static str, &'static str, &'static [&'static str]) {
        match self {
            Keyspace::Raft => ("consort", "majority of 3 on disk, linearizable", &[]),
            Keyspace::Async => {
                ("consort-async", "one copy on disk, two follow", &["primary-replica", "ACK", "async"])
            }
            Keyspace::Relaxed => (
                "consort-relaxed",
                "one copy, on disk within a second, two follow",
                &["primary-replica", "ACK", "async", "DURABILITY", "relaxed"],
            ),
            Keyspace::SemiSync => (
                "consort-semi",
                "two copies of 3 on disk, linearizable",
                &["primary-replica", "ACK", "semi-sync", "1"],
            ),
            Keyspace::Multi => {
                ("consort-multi", "one copy on disk, all three take writes", &["multi-primary"])
            }
            Keyspace::Leaderless => {
                ("consort-leaderless", "two copies of 3 on disk, reads ask two", &["leaderless"])
            }
            Keyspace::Sync => {
                ("consort-sync", "three copies on disk, linearizable", &["primary-replica", "ACK", "sync"])
            }
        }
    }
}

/// A place for connections, and the keys that they use there.
struct Target {
    address: SocketAddr,
    keys: Vec<Key>,
}

impl System {
    /// Starts Consort from the binary at `program`, under a name for the tables, and waits until it serves.
    ///
    /// # Errors
    /// It could not be started; with what it printed.
    pub fn consort(
        nursery: &Nursery,
        name: &'static str,
        program: &Path,
        route: Route,
        keys: u32,
        keyspace: Keyspace,
    ) -> Result<Self, String> {
        let system = consort::start(nursery, name, program, route, keys, "")?;
        system.with(keyspace)
    }

    /// The same, without keys, of nodes that can be cut off (`CONSORT FAULT`).
    ///
    /// # Errors
    /// It could not be started; with what it printed.
    pub fn consort_with_faults(
        nursery: &Nursery,
        name: &'static str,
        program: &Path,
        keyspace: Keyspace,
    ) -> Result<Self, String> {
        let settings = "[development]\nfaults = \"yes\"\n";
        consort::start(nursery, name, program, Route::Any, 1, settings)?.with(keyspace)
    }

    fn with(self, keyspace: Keyspace) -> Result<Self, String> {
        let (_, promise, options) = keyspace.described();
        if !options.is_empty() {
            consort::make_keyspace(&self.addresses(), options)?;
        }
        Ok(System { promise, ..self })
    }

    /// Starts a peer and waits until it serves.
    ///
    /// # Errors
    /// It is not installed or could not be started; with what it printed.
    pub fn peer(nursery: &Nursery, peer: Peer, route: Route, keys: u32) -> Result<Self, String> {
        match peer {
            Peer::Etcd => etcd::start(nursery, route, keys),
            Peer::Redis => redis::start(nursery, "redis", keys, 0, "always"),
            Peer::RedisReplicas => redis::start(nursery, "redis-replicas", keys, 2, "always"),
            Peer::RedisEverysec => {
                let promise = "one copy, on disk within seconds";
                let system = redis::start(nursery, "redis-everysec", keys, 2, "everysec")?;
                Ok(System { promise, ..system })
            }
            Peer::RedisWait => {
                let promise = "one copy on disk, two more told before the answer";
                let system = redis::start(nursery, "redis-wait", keys, 2, "always")?;
                Ok(System { promise, waits_for: 2, ..system })
            }
            Peer::Limit => limit::start(nursery, keys),
        }
    }

    /// `connections` connections for `operation` on all keys, spread evenly over the places that take them.
    pub fn plans(&self, operation: Operation, connections: usize) -> Vec<Plan<'_>> {
        (0..connections)
            .map(|index| {
                let target = &self.targets[index % self.targets.len()];
                self.plan(operation, target, &target.keys)
            })
            .collect()
    }

    /// A connection to each place, each for all keys of that place.
    pub fn filling_plans(&self) -> Vec<Plan<'_>> {
        self.targets.iter().map(|target| self.plan(Operation::Set, target, &target.keys)).collect()
    }

    fn plan<'a>(&self, operation: Operation, target: &Target, keys: &'a [Key]) -> Plan<'a> {
        let wire: Box<dyn Wire> = match self.etcd {
            true => Box::new(Etcd::new(target.address, operation)),
            false => Box::new(Resp::new(operation, self.waits_for)),
        };
        Plan { address: target.address, wire, keys }
    }

    /// Time that all its processes took from the processors so far.
    ///
    /// # Errors
    /// One of them ended.
    pub fn cpu_time(&self) -> Result<Duration, String> {
        self.servers.iter().map(|server| process::cpu_time(server.id())).sum()
    }

    /// Resident memory of each of its processes, in bytes.
    ///
    /// # Errors
    /// One of them ended.
    pub fn resident_bytes(&self) -> Result<Vec<u64>, String> {
        self.servers.iter().map(|server| process::resident_bytes(server.id())).collect()
    }

    /// Fails if one of its processes ended.
    ///
    /// # Errors
    /// With what it printed last.
    pub fn check(&mut self) -> Result<(), String> {
        self.servers.iter_mut().try_for_each(Server::check)
    }

    /// Where its nodes take connections.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.targets.iter().map(|target| target.address).collect()
    }

    /// Can a node of it come back without its disk?
    pub fn can_rebuild(&self) -> bool {
        self.rebuild.is_some()
    }

    /// Kills its last process and starts it again with nothing.
    ///
    /// # Errors
    /// It cannot be done with this system, or could not be started.
    pub fn rebuild_last(&mut self, nursery: &Nursery) -> Result<(), String> {
        let command = self.rebuild.as_mut().ok_or("no node of it can be rebuilt")?;
        drop(self.servers.pop());
        self.servers.push(nursery.start(&format!("{}-rebuilt", self.name), command)?);
        Ok(())
    }

    /// Starts one more node, the `index`th, which joins.
    ///
    /// # Errors
    /// It cannot be done with this system, or it could not be started.
    pub fn join(&mut self, nursery: &Nursery, program: &Path, index: usize) -> Result<(), String> {
        let peer = self.peer.ok_or("no node can join it")?;
        self.servers.push(consort::join(nursery, self.name, program, index, peer)?);
        Ok(())
    }

    /// Kills all its processes at once and starts them again.
    ///
    /// # Errors
    /// One could not be started.
    pub fn restart(&mut self, nursery: &Nursery) -> Result<(), String> {
        self.servers.clear();
        for (index, command) in self.commands.iter_mut().enumerate() {
            self.servers.push(nursery.start(&format!("{}-again-{index}", self.name), command)?);
        }
        Ok(())
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Starts all `commands` under names that begin with `name`.
fn start_all(nursery: &Nursery, name: &str, commands: &mut [Command]) -> Result<Vec<Server>, String> {
    commands
        .iter_mut()
        .enumerate()
        .map(|(index, command)| nursery.start(&format!("{name}-{index}"), command))
        .collect()
}
