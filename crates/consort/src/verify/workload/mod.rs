//! What clients do to a keyspace, through ordinary connections, and the history of it.
//!
//! Each workload has a few processes. Keys are used for some hundred operations and then left for others: what a check costs
//! grows faster than linearly with the operations on one key, and more so with those of unknown outcome.

mod stale;
mod values;
mod written;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use check::expiry::ExpiringInput;
use check::model::{
    CounterInput, CounterOutput, RegisterInput, RegisterOutput, Step, StringsInput, StringsOutput,
};
use check::{History, Operation, Outcome};
use resp::Value;

use super::client::{Answer, Asked, Client, Process, Target};
use super::keyspaces::Keyspace;
use super::plan::Draw;
use super::record::Recorder;
use super::staleness::Measured;

/// All histories of a keyspace.
#[derive(Debug, Default)]
pub struct Histories {
    /// Registers: read, write, compare-and-set.
    pub registers: History<RegisterInput, RegisterOutput>,
    /// Registers of sessions that go from node to node: read and write.
    pub sessions: History<RegisterInput, RegisterOutput>,
    /// Lists that are appended to.
    pub lists: History<StringsInput, StringsOutput>,
    /// Counters, half of them with retries of what ended unknown.
    pub counters: History<CounterInput, CounterOutput>,
    /// Transactions over a few strings in one slot.
    pub transactions: History<Vec<Step>, Vec<StringsOutput>>,
    /// Keys that expire.
    pub expiring: History<ExpiringInput, RegisterOutput>,
    /// Writes of a key each: key, value, when it ended, how.
    pub blind: Vec<Blind>,
    /// Members added to sets: set, member, how it ended.
    pub members: Vec<(String, u32, check::durable::Ended)>,
    /// How stale reads were.
    pub staleness: Measured,
    /// What could not be what it seems: an answer of a kind that the command does not have.
    pub absurd: Vec<String>,
}

/// A write of a value of its own to a key of its own.
#[derive(Clone, Debug)]
pub struct Blind {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// When it was sent.
    pub from: u64,
    /// When it was answered.
    pub at: u64,
    /// How it ended.
    pub ended: check::durable::Ended,
}

/// The histories of a keyspace, as its processes write them.
#[derive(Clone, Debug, Default)]
pub struct Shared(Arc<Mutex<Histories>>);

impl Shared {
    /// For reading or writing.
    pub fn lock(&self) -> MutexGuard<'_, Histories> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Which workloads there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Read, write and compare-and-set of registers.
    Registers,
    /// Sessions that go from node to node.
    Sessions,
    /// Lists.
    Lists,
    /// Counters.
    Counters,
    /// Transactions.
    Transactions,
    /// Expiry.
    Expiring,
    /// A key and a value of its own for each write.
    Blind,
    /// Sets.
    Members,
    /// Reads elsewhere, a moment after a write.
    Stale,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 9] = [
        Kind::Registers,
        Kind::Sessions,
        Kind::Lists,
        Kind::Counters,
        Kind::Transactions,
        Kind::Expiring,
        Kind::Blind,
        Kind::Members,
        Kind::Stale,
    ];

    /// Its name on the command line and in the report.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Registers => "registers",
            Kind::Sessions => "sessions",
            Kind::Lists => "lists",
            Kind::Counters => "counters",
            Kind::Transactions => "transactions",
            Kind::Expiring => "expiry",
            Kind::Blind => "writes",
            Kind::Members => "sets",
            Kind::Stale => "staleness",
        }
    }

    /// The one of that name.
    pub fn parse(name: &str) -> Result<Kind, String> {
        let names = Kind::ALL.map(Kind::name).join(", ");
        let found = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| format!("accepted: {names}"))
    }

    /// Does it make sense there?
    pub fn fits(self, keyspace: &Keyspace) -> bool {
        if keyspace.freshness.is_some() {
            // What others read says little of such a keyspace.
            return self == Kind::Sessions;
        }
        match self {
            Kind::Stale => keyspace.leaderless && !keyspace.regular,
            Kind::Registers => !keyspace.merges || keyspace.regular,
            // Where replicas take writes at the same time there is no one order of all operations.
            Kind::Lists | Kind::Transactions | Kind::Expiring => !keyspace.merges,
            // Strings are not set where they may be counters with a bound.
            Kind::Sessions | Kind::Blind => !keyspace.bounded,
            Kind::Counters | Kind::Members => true,
        }
    }

    /// How many processes it has in a cluster of so many nodes.
    fn processes(self, nodes: u64) -> u64 {
        match self {
            // And a reader at each node, which stays with it: who was cut off must not answer with what was.
            Kind::Registers => WRITERS + nodes,
            Kind::Sessions => 4,
            Kind::Lists | Kind::Counters | Kind::Transactions => 3,
            // And one at each node, which stays with it: who was cut off must not go on as if it were not.
            Kind::Blind => BLIND_WRITERS + nodes,
            Kind::Expiring | Kind::Members | Kind::Stale => 2,
        }
    }
}

/// Processes that write registers.
const WRITERS: u64 = 4;
/// Processes that write keys of their own and go to another node when theirs fails.
const BLIND_WRITERS: u64 = 2;
/// Connections of each that only reads them. When its node is frozen it asks on one after the other, and what it asked last is
/// answered when others have written meanwhile.
const CONNECTIONS: usize = 12;

/// What the processes of a keyspace have in common.
#[derive(Clone)]
pub struct Load {
    /// Where the cluster is.
    pub target: Arc<Target>,
    /// What all keys begin with.
    pub prefix: String,
    /// Where histories go.
    pub histories: Shared,
    /// Where samples go.
    pub recorder: Recorder,
    /// What to do.
    pub kinds: Vec<Kind>,
    /// A session stays at its node: what it has seen there, others may not have yet.
    pub stays: bool,
    /// A session takes along what it has seen.
    pub carries: bool,
    /// Counters are taken from as well, and never fall below zero.
    pub bounded: bool,
    /// The pause between two operations of a process.
    pub pace: Duration,
    /// When it ends, in microseconds since the beginning.
    pub until: u64,
    /// Does the server know `IDEMPOTENT`?
    pub idempotent: bool,
    /// Is what it was told of a token to be told for good? Where writes may be lost, tokens are, too.
    pub repeats: bool,
    /// The seed of the run.
    pub seed: u64,
}

impl Load {
    /// How many processes there will be.
    pub fn processes(kinds: &[Kind], nodes: usize) -> u64 {
        kinds.iter().map(|kind| kind.processes(nodes as u64)).sum()
    }

    /// Starts all processes, numbered from `first` on.
    pub fn start(&self, first: u64) -> Vec<tokio::task::JoinHandle<()>> {
        let mut number = first;
        let mut tasks = Vec::new();
        for &kind in &self.kinds {
            let operations = Arc::new(AtomicU64::new(0));
            for place in 0..kind.processes(self.target.addresses.len() as u64) {
                let client = Client::new(&self.target, number as usize);
                let process = Process::new(number, client, self.recorder.clone(), &self.target);
                let worker = Worker {
                    load: self.clone(),
                    process,
                    place,
                    draw: Draw::new(self.seed ^ number.wrapping_mul(0x5851_f42d_4c95_7f2d)),
                    turn: 0,
                    led: Vec::new(),
                    token: String::new(),
                    again: VecDeque::new(),
                    operations: operations.clone(),
                };
                tasks.push(tokio::spawn(worker.run(kind)));
                number += 1;
            }
        }
        tasks
    }
}

/// One process of a workload.
struct Worker {
    load: Load,
    process: Process,
    /// Its number within its workload.
    place: u64,
    draw: Draw,
    /// How many operations it has done.
    turn: u64,
    /// The slots of which its node took the last write, where it stays with one.
    led: Vec<u64>,
    /// What its session has seen, where it takes that along (`CLIENT SESSION`).
    token: String,
    /// What was done with a token and is to be sent once more.
    again: VecDeque<values::Again>,
    /// How many its workload has done.
    operations: Arc<AtomicU64>,
}

impl Worker {
    async fn run(mut self, kind: Kind) {
        // Not all at the same time.
        tokio::time::sleep(self.load.pace.mul_f64(self.draw.below(1000) as f64 / 1000.0)).await;
        let mut hops: Vec<Client> = match kind {
            Kind::Registers if self.place >= WRITERS => {
                let node = (self.place - WRITERS) as usize;
                (0..CONNECTIONS).map(|_| Client::hasty(&self.load.target, node)).collect()
            }
            Kind::Blind if self.place >= BLIND_WRITERS => {
                vec![Client::hasty(&self.load.target, (self.place - BLIND_WRITERS) as usize)]
            }
            Kind::Sessions | Kind::Expiring => (0..self.load.target.addresses.len())
                .map(|at| Client::of_one(&self.load.target, at))
                .collect(),
            Kind::Stale => (0..self.load.target.addresses.len())
                .map(|at| Client::through_one(&self.load.target, at))
                .collect(),
            _ => Vec::new(),
        };
        // A curve takes many points.
        let pace = if kind == Kind::Stale { self.load.pace / 8 } else { self.load.pace };
        // Whoever says READONLY is told who leads when it writes.
        let mut writing: Vec<Client> = match kind {
            Kind::Sessions => (0..hops.len()).map(|at| Client::through_one(&self.load.target, at)).collect(),
            _ => Vec::new(),
        };
        while self.process.now() < self.load.until {
            let began = tokio::time::Instant::now();
            match kind {
                Kind::Registers => self.registers(&mut hops).await,
                Kind::Sessions if self.load.carries => self.carried(&mut writing).await,
                Kind::Sessions => self.sessions(&mut hops, &mut writing).await,
                Kind::Lists => self.lists().await,
                Kind::Counters => self.counters().await,
                Kind::Transactions => self.transactions().await,
                Kind::Expiring => self.expiring(&mut hops).await,
                Kind::Blind => self.blind(hops.first_mut()).await,
                Kind::Members => self.members().await,
                Kind::Stale => self.stale(&mut hops).await,
            }
            self.turn += 1;
            tokio::time::sleep_until(began + pace).await;
        }
    }

    /// A key for now: a few are in use at a time, and others after so many operations of the whole workload, about.
    fn key(&mut self, kind: &str, at_once: u64, operations: u64) -> String {
        let generation = self.operations.fetch_add(1, Ordering::Relaxed) / operations;
        format!("{}{kind}:{generation}:{}", self.load.prefix, self.draw.below(at_once))
    }

    /// A value that nobody else writes.
    fn unique(&self) -> String {
        format!("{}.{}", self.process.number, self.turn)
    }

    /// Adds an operation to a history.
    fn note<I, O>(
        &self,
        history: impl FnOnce(&mut Histories) -> &mut History<I, O>,
        key: String,
        input: I,
        asked: Asked,
        understood: impl FnOnce(Value) -> Result<O, Value>,
    ) {
        let outcome = match asked.answer {
            Answer::Refused(_) => Outcome::Refused,
            Answer::Unknown => Outcome::Unknown,
            Answer::Done(value) => match understood(value) {
                Ok(output) => Outcome::Done { at: asked.to, output },
                Err(value) => {
                    self.load.histories.lock().absurd.push(format!("key {key:?}: {value:?}"));
                    return;
                }
            },
        };
        let operation =
            Operation { process: self.process.number, key, input, invoked_at: asked.from, outcome };
        history(&mut self.load.histories.lock()).push(operation);
    }
}

/// How a write ended, for the accounts.
fn ended(answer: &Answer) -> check::durable::Ended {
    match answer {
        Answer::Done(_) => check::durable::Ended::Acknowledged,
        Answer::Refused(_) => check::durable::Ended::Refused,
        Answer::Unknown => check::durable::Ended::Unknown,
    }
}

/// A bulk or nothing.
fn optional(value: Value) -> Result<Option<String>, Value> {
    match value {
        Value::Null | Value::NullArray => Ok(None),
        Value::Bulk(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        other => Err(other),
    }
}

fn integer(value: Value) -> Result<i64, Value> {
    match value {
        Value::Integer(number) => Ok(number),
        other => Err(other),
    }
}

/// What is read when all is quiet.
#[derive(Debug, Default)]
pub struct Settled {
    /// Values of the blind keys that are there.
    pub held: BTreeMap<String, String>,
    /// Members of the sets.
    pub members: BTreeMap<String, Vec<u32>>,
    /// Sums of the counters.
    pub sums: BTreeMap<String, i64>,
}

/// Reads what the workloads left behind.
///
/// # Errors
/// It cannot be read though all is quiet.
pub async fn settle(target: &Arc<Target>, prefix: &str, histories: &Shared) -> Result<Settled, String> {
    written::settle(target, prefix, histories).await
}

/// All keys that were written.
pub fn keys(prefix: &str, histories: &Shared) -> Vec<String> {
    written::keys(prefix, &histories.lock())
}

/// Deletes keys.
pub async fn delete(target: &Arc<Target>, keys: &[String]) {
    written::delete(target, keys).await;
}

/// The key of a string of a transaction: what stands in braces decides its slot, what stands before them its keyspace.
fn in_slot(prefix: &str, slot: &str, name: &str) -> String {
    format!("{prefix}{{{}}}{name}", slot.strip_prefix(prefix).unwrap_or(slot))
}
