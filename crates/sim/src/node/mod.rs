//! One node: a disk, clocks, and a process that lives and dies. The process is what the server's driver is in
//! production: it hands inputs to the shard in batches, writes what the shard wants persisted, syncs in the background,
//! and says so.

pub mod front;
pub mod store;

use std::collections::BTreeMap;
use std::sync::Arc;

use replication::catalogue::CATALOGUE;
use replication::contract::{Batch, Input, Output, Write};
use replication::ordered::raft::HardState;
use replication::shard::{Options, Shard};
use replication::{NodeId, Now, PartitionId, Placement, Time};
use storage::MemoryDisk;

use crate::clock::{Clock, TrueTime};
use crate::random::Random;
use front::Front;
use store::Store;

/// How many inputs one batch takes at the most.
const BATCH: usize = 32;

/// A node.
#[derive(Debug)]
pub struct Node {
    /// Its identity; another one after it lost its disk.
    pub id: NodeId,
    /// What it held when it started, as its disk says.
    pub partitions: Vec<PartitionId>,
    /// What its disk is formatted with at the first start.
    pub format: Option<Vec<(PartitionId, HardState)>>,
    /// It has not joined yet, or is not to take part any more.
    pub outside: bool,
    /// Its disk, which outlives its processes.
    pub disk: MemoryDisk,
    /// Its clocks.
    pub clock: Clock,
    /// For what happens to it.
    pub random: Random,
    /// Counts its processes: what was meant for an earlier one is void.
    pub life: u64,
    /// The process, if it is alive.
    pub process: Option<Process>,
    /// It stands still until then.
    pub paused_until: TrueTime,
    /// Faults that slow its disk down.
    pub slow: u32,
    /// Faults that fill its disk.
    pub full: u32,
    /// Its next sync fails; it comes back after so long.
    pub sync_fails: Option<TrueTime>,
    /// Its syncs do nothing. Once it loses power its disk is as good as gone.
    pub lying: bool,
    /// A bit of its disk is wrong.
    pub rotten: bool,
    /// What its disk held is gone: it comes back as another node.
    pub lost: bool,
    /// How often it has lost what was not on its disk.
    pub losses: u64,
    /// It is not to be started by a fault's end (another fault keeps it down).
    pub kept_down: u32,
}

/// A process.
#[derive(Debug)]
pub struct Process {
    /// Told to peers with each message.
    pub incarnation: u64,
    /// The production shard.
    pub shard: Shard,
    /// The production log.
    pub store: Store,
    /// The clients' side.
    pub front: Front,
    /// Which partition a slot is in, as far as the clients' side knows.
    pub placement: Arc<Placement>,
    inbox: Vec<Input>,
    /// A step is on its way.
    pub step_planned: bool,
    /// When the next wake-up is planned.
    pub wake_planned: TrueTime,
    /// Counts planned wake-ups: only the last one counts.
    pub wake_number: u64,
    /// The last batch that is durable.
    pub synced: u64,
    /// A sync is under way.
    pub syncing: bool,
    /// What is written need be durable only then; `None`: at once, if anything is.
    pub sync_by: Option<TrueTime>,
    /// The shard was told that the disk is full.
    pub told_full: bool,
    /// By partition: the last entry that was written.
    pub last_written: BTreeMap<PartitionId, u64>,
}

/// What a process starts with.
pub struct Start {
    /// How the shard is made; node, incarnation and seed are filled in.
    pub options: Options,
    /// The placement that it knows.
    pub placement: Arc<Placement>,
    /// How the log is kept.
    pub journal: storage::journal::Options,
}

impl Node {
    /// Starts the process: recovers the log and makes the shard.
    ///
    /// # Errors
    /// Recovery fails.
    pub fn start(&mut self, at: TrueTime, start: Start) -> Result<store::Found, store::Broken> {
        self.life += 1;
        let open = || Store::open(&self.disk, start.journal.clone(), &start.placement);
        let (mut store, mut recovered, found) = open()?;
        if let Some(format) = &self.format {
            let write = |(partition, state): &(PartitionId, HardState)| Write::State {
                partition: *partition,
                state: state.encode(),
            };
            let writes = format.iter().map(write).collect();
            store.write(Batch { number: 1, writes, ..Batch::default() })?;
            if store.is_full() {
                return Err(store::Broken("there is no room for a new node".into()));
            }
            store.sync()?;
            drop(store);
            (store, recovered, _) = open()?;
            self.format = None;
        }
        let held = recovered.iter().filter(|found| !found.is_given_up() || found.partition == CATALOGUE);
        self.partitions = held.map(|found| found.partition).collect();
        self.clock.restart(at, Time(self.random.below(1 << 40)));
        let mut options = Options {
            node: self.id,
            incarnation: self.random.next() | 1,
            seed: self.random.next(),
            ..start.options
        };
        options.raft.losses = self.losses;
        let incarnation = options.incarnation;
        let placement = start.placement.clone();
        let shard =
            Shard::new(options, start.placement, self.partitions.clone(), recovered, self.clock.now(at));
        self.process = Some(Process {
            incarnation,
            shard,
            store,
            front: Front::default(),
            placement,
            inbox: Vec::new(),
            step_planned: false,
            wake_planned: TrueTime::MAX,
            wake_number: 0,
            synced: 0,
            syncing: false,
            sync_by: Some(TrueTime::MAX),
            told_full: false,
            last_written: BTreeMap::new(),
        });
        Ok(found)
    }

    /// Both clocks.
    pub fn now(&self, at: TrueTime) -> Now {
        self.clock.now(at)
    }
}

impl Process {
    /// Something is to be stepped.
    pub fn take_in(&mut self, input: Input) {
        self.inbox.push(input);
    }

    /// Is there nothing to be stepped?
    pub fn is_idle(&self) -> bool {
        self.inbox.is_empty()
    }

    /// Steps a batch of what came in, oldest first.
    pub fn step(&mut self, now: Now) -> Vec<Output> {
        let mut outputs = Vec::new();
        let count = self.inbox.len().min(BATCH);
        for input in self.inbox.drain(..count) {
            self.shard.step(now, input, &mut outputs);
        }
        self.shard.finish(now, &mut outputs);
        outputs
    }
}
