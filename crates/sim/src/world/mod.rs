//! The world: one queue of events, nodes, clients, a network, and the judges.
//!
//! A run goes through stages. `Break`: clients work while things go wrong, and nothing they were told may turn out false.
//! Then everything is healed, and things must go on within bounded time: `Calm` (clients work), `Drain` (they finish),
//! `Probe` (a write and a read of every partition through every node), `Audit` (every key is read a last time), and
//! `Converge` (all replicas hold the same). The first violation ends the run.

mod clients;
mod effects;
mod faults;
mod hints;
mod nodes;
mod operator;
mod promises;
mod stages;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use replication::configuration::Acknowledgement;
use replication::contract::Input;
use replication::{NodeId, PartitionId, Placement};

use crate::client::Client;
use crate::client::intent::Intent;
use crate::clock::{Clock, MILLISECOND, SECOND, TrueTime};
use crate::counters::Counters;
use crate::history::History;
use crate::network::Network;
use crate::node::Node;
use crate::oracle::Violation;
use crate::oracle::copies::Copies;
use crate::oracle::digests::Digests;
use crate::oracle::leaders::Leaders;
use crate::oracle::leases::Leases;
use crate::oracle::logs::Logs;
use crate::oracle::merged::Merged;
use crate::queue::Queue;
use crate::random::Random;
use crate::scenario::{RATE_ERROR_PPM, Scenario};
use crate::story::Story;

use self::faults::Undo;
use self::operator::{Members, Operator};
use self::stages::Stage;

/// Something that happens. `life`: only to that process of the node.
#[derive(Debug)]
enum Event {
    /// A message arrives.
    Deliver { to: usize, identity: NodeId, from: NodeId, incarnation: u64, frame: Bytes },
    /// The disk has done something.
    Completed { node: usize, life: u64, input: Input },
    /// A sync that covers batches up to `number` ends.
    Synced { node: usize, life: u64, number: u64, done: bool },
    /// A node steps what came in.
    Step { node: usize, life: u64 },
    /// The shard wanted to be woken.
    Wake { node: usize, life: u64, number: u64 },
    /// A client's bytes arrive.
    ToNode { node: usize, life: u64, connection: u64, bytes: Bytes },
    /// A node's bytes arrive.
    ToClient { client: usize, connection: u64, bytes: Bytes },
    /// A client notices that its connection is gone.
    Lost { client: usize, connection: u64 },
    /// A client looks for something to do, or for a node to do it at.
    Turn { client: usize },
    /// A client does not wait any longer.
    Timeout { client: usize, attempt: u64 },
    /// A node that was just elected dies.
    Doom { node: usize, life: u64, lasts: TrueTime },
    /// The next fault of the schedule.
    Fault { index: usize },
    /// The end of one.
    Undo { number: u64 },
    /// A look at the stage of the run.
    Tick,
}

/// A partition goes from one node to another.
#[derive(Clone, Copy, Debug)]
struct Move {
    source: NodeId,
    destination: NodeId,
    /// Events of the run before it began.
    begun: u64,
    /// Events of the run when the last thing happened to it.
    latest: u64,
}

/// A simulated cluster.
#[derive(Debug)]
pub struct World {
    scenario: Scenario,
    /// For what belongs to no node, link or client; while a fault happens, for that.
    random: Random,
    /// The node that the present fault is aimed at.
    aim: Option<usize>,
    at: TrueTime,
    events: u64,
    queue: Queue<Event>,
    nodes: Vec<Node>,
    index_of: BTreeMap<NodeId, usize>,
    next_node_id: u64,
    /// Which slots are in which partition, and where each was at first.
    placement: Arc<Placement>,
    network: Network,
    clients: Vec<Client>,
    next_connection: u64,
    next_unique: u64,
    /// By connection: the client.
    owners: BTreeMap<u64, usize>,
    /// By connection: when the last bytes arrive at the client.
    last_answer: BTreeMap<u64, TrueTime>,
    rest_until: TrueTime,
    /// The next node that is elected dies, for so long.
    doom: Option<TrueTime>,
    /// What clients are to do in the later stages, each at its node if one is given.
    tasks: VecDeque<(Option<usize>, Intent)>,
    stage: Stage,
    stage_ends: TrueTime,
    undos: BTreeMap<u64, Undo>,
    next_fault: u64,
    /// By partition: the newest membership that is committed for good, and its index.
    members: BTreeMap<PartitionId, (u64, Members)>,
    /// By partition: the index of the newest membership that any replica knew, committed or not.
    proposed_members: BTreeMap<PartitionId, u64>,
    operator: Operator,
    /// By partition that came about by a split: of which, and with which entry.
    splits: BTreeMap<PartitionId, (PartitionId, u64)>,
    /// The move that a [`Fault::Move`](crate::scenario::Fault::Move) began, or the first split.
    moved: Option<Move>,
    /// A violation found where it cannot be returned.
    alarm: Option<Violation>,
    leaders: Leaders,
    merged: Merged,
    /// What clients were told to be done, by group, index and term.
    acknowledged: BTreeMap<(PartitionId, u64, u64), Option<Acknowledgement>>,
    /// By node: what it ever listed as lost, and the keys. With a node that is removed its list goes.
    listed: BTreeMap<NodeId, BTreeMap<(PartitionId, u64, u64), Vec<String>>>,
    /// When a replica of a group last asked for another to be taken out of sync.
    doubted_at: TrueTime,
    copies: Copies,
    logs: Logs,
    leases: Leases,
    digests: Digests,
    history: History,
    /// What was exercised.
    pub counters: Counters,
    /// What happened.
    pub story: Story,
}

impl World {
    /// The world of a scenario.
    pub fn new(scenario: Scenario, keep_story: bool) -> World {
        let part = |part: u64| Random::of_part(scenario.chance, part);
        let ids: Vec<NodeId> = (1..=scenario.nodes as u64).map(NodeId).collect();
        let operator = Operator::of(&scenario, &ids);
        let placement = operator.founding.placement();
        let new = |&id: &NodeId| {
            let mut node = new_node(id, &scenario, part(NODES + id.0));
            operator.format(&mut node);
            node
        };
        let nodes = ids.iter().map(new).collect();
        let members = (0..).map(PartitionId).zip(&placement.partitions).map(|(partition, place)| {
            let mut voters = place.replicas.clone();
            voters.sort_unstable();
            (partition, (0, Members { voters, learners: Vec::new() }))
        });
        let members = members.collect();
        let placement = Arc::new(placement);
        let clients =
            (0..scenario.clients as u64).map(|number| Client::new(part(CLIENTS + number))).collect();
        let world = World {
            network: Network::new(scenario.network.clone(), part(NETWORK).next()),
            stage_ends: scenario.breaks_until,
            random: part(REST),
            aim: None,
            at: 0,
            events: 0,
            queue: Queue::default(),
            nodes,
            index_of: ids.iter().enumerate().map(|(index, &id)| (id, index)).collect(),
            next_node_id: ids.len() as u64 + 1,
            placement,
            clients,
            next_connection: 1,
            next_unique: 1,
            owners: BTreeMap::new(),
            last_answer: BTreeMap::new(),
            rest_until: 0,
            doom: None,
            tasks: VecDeque::new(),
            stage: Stage::Break,
            undos: BTreeMap::new(),
            next_fault: 1,
            members,
            proposed_members: BTreeMap::new(),
            operator,
            splits: BTreeMap::new(),
            moved: None,
            alarm: None,
            leaders: Leaders::default(),
            merged: Merged::default(),
            acknowledged: BTreeMap::new(),
            listed: BTreeMap::new(),
            doubted_at: 0,
            copies: Copies::default(),
            logs: Logs::default(),
            leases: Leases::default(),
            digests: Digests::default(),
            history: History::default(),
            counters: Counters::default(),
            story: Story::new(keep_story),
            scenario,
        };
        if world.scenario.syncs_lie {
            world.nodes.iter().for_each(|node| node.disk.lie_about_sync(true));
        }
        world
    }

    /// Virtual time.
    pub fn at(&self) -> TrueTime {
        self.at
    }

    /// The events between which a partition was moved by order ([`crate::scenario::Fault::Move`]), or first split.
    pub fn moved(&self) -> Option<std::ops::Range<u64>> {
        self.moved.map(|moved| moved.begun..moved.latest)
    }

    /// Runs from the beginning to the end.
    ///
    /// # Errors
    /// The first violation.
    pub fn run(&mut self) -> Result<(), Violation> {
        for node in 0..self.nodes.len() {
            if !self.nodes[node].outside {
                self.start_node(node)?;
            }
        }
        for client in 0..self.clients.len() {
            let at = self.clients[client].random.between(MILLISECOND, 500 * MILLISECOND);
            self.queue.push(at, Event::Turn { client });
        }
        let mut after_event = BTreeMap::new();
        for (index, planned) in self.scenario.faults.iter().enumerate() {
            match planned.after_event {
                Some(event) => drop(after_event.insert(event, index)),
                None => self.queue.push(planned.at, Event::Fault { index }),
            }
        }
        self.queue.push(50 * MILLISECOND, Event::Tick);
        while self.stage != Stage::Over {
            let Some((at, event)) = self.queue.pop() else { break };
            debug_assert!(at >= self.at);
            self.events += 1;
            if self.events > EVENT_LIMIT {
                let seconds = self.at / SECOND;
                return Err(Violation::new(
                    "progress",
                    format!("{EVENT_LIMIT} events in {seconds} s: something spins"),
                ));
            }
            self.at = at;
            self.happen(event)?;
            if let Some(index) = after_event.remove(&self.events) {
                self.on_fault(index)?;
            }
            if let Some(violation) = self.alarm.take() {
                return Err(violation);
            }
        }
        let lost_keys = self.check_promises()?;
        self.history.forget(&lost_keys);
        if self.scenario.merged {
            // What clients see there is not one order of all operations.
            self.history.check_sessions()?;
            return self.check_merged();
        }
        self.history.check(&mut self.counters)
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Deliver { to, identity, from, incarnation, frame } => {
                self.on_deliver(to, identity, from, incarnation, frame)
            }
            Event::Completed { node, life, input } => {
                self.take_in(node, life, input);
                Ok(())
            }
            Event::Synced { node, life, number, done } => {
                self.on_synced(node, life, number, done);
                Ok(())
            }
            Event::Step { node, life } => self.on_step(node, life),
            Event::Wake { node, life, number } => {
                self.on_wake(node, life, number);
                Ok(())
            }
            Event::ToNode { node, life, connection, bytes } => self.on_to_node(node, life, connection, bytes),
            Event::ToClient { client, connection, bytes } => self.on_to_client(client, connection, &bytes),
            Event::Lost { client, connection } => self.on_lost(client, connection),
            Event::Turn { client } => self.on_turn(client),
            Event::Timeout { client, attempt } => self.on_timeout(client, attempt),
            Event::Doom { node, life, lasts } => {
                self.on_doom(node, life, lasts);
                Ok(())
            }
            Event::Fault { index } => self.on_fault(index),
            Event::Undo { number } => self.on_undo(number),
            Event::Tick => self.on_tick(),
        }
    }

    fn tell(&mut self, line: impl FnOnce() -> String) {
        self.story.tell(self.at, line);
    }
}

fn new_node(id: NodeId, scenario: &Scenario, mut random: Random) -> Node {
    let wall_trusted = scenario.wall_trusted;
    let rate = random.signed_between(-RATE_ERROR_PPM, RATE_ERROR_PPM);
    let skew = if wall_trusted { 0 } else { random.signed_between(-400, 400) };
    Node {
        id,
        partitions: Vec::new(),
        format: None,
        outside: false,
        disk: storage::MemoryDisk::new(),
        clock: Clock::new(0, replication::Time(random.below(1 << 40)), rate, skew),
        random,
        life: 0,
        process: None,
        paused_until: 0,
        slow: 0,
        full: 0,
        sync_fails: None,
        lying: false,
        rotten: false,
        lost: false,
        losses: 0,
        kept_down: 0,
    }
}

/// Numbers of streams, see [`Random::of_part`].
const NETWORK: u64 = 1;
const REST: u64 = 2;
const NODES: u64 = 1 << 16;
const CLIENTS: u64 = 1 << 17;
/// Far more than any run needs.
const EVENT_LIMIT: u64 = 5_000_000;
/// How long things may take after everything was healed.
const PROGRESS_BOUND: TrueTime = 20 * SECOND;
