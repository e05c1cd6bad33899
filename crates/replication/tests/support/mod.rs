//! A cluster of shards whose network, disks and clocks the test moves by hand.
//!
//! Nothing happens by itself: [`Cluster::run_for`] lets time pass and delivers what is allowed through. A disk keeps what was
//! given to it in order, and only what was synced survives [`Cluster::restart`]. Strategy-independent: a test names no
//! role and no message.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use data::{Command, Table};
use replication::contract::{Batch, Call, Event, RequestId, SnapshotWrite, Write};
use replication::ordered::raft;
use replication::placement::PartitionPlacement;
use replication::shard::{Options, Recovered};
use replication::wire::{self, Message};
use replication::{Input, NodeId, Now, Output, PartitionId, Placement, Reply, Request, Shard, Time};
use resp::Value;

pub const PARTITION: PartitionId = PartitionId(0);
const STEP: Duration = Duration::from_millis(1);

/// The disk of a node: what is synced and what is not.
#[derive(Debug, Default)]
struct Disk {
    durable: Vec<Write>,
    waiting: VecDeque<Batch>,
    chunks: BTreeMap<(PartitionId, u64), Vec<Bytes>>,
    snapshots: BTreeMap<PartitionId, (u64, Bytes, Vec<Bytes>)>,
}

#[derive(Debug)]
struct Node {
    shard: Option<Shard>,
    inputs: VecDeque<Input>,
    disk: Disk,
    /// The disk takes writes and never says that they are durable.
    stuck: bool,
    incarnation: u64,
    /// How often it wanted to be woken by the clock.
    wakes: u64,
}

/// The cluster.
#[derive(Debug)]
pub struct Cluster {
    nodes: BTreeMap<NodeId, Node>,
    placement: Arc<Placement>,
    now: Now,
    cut: BTreeSet<(NodeId, NodeId)>,
    /// Every message is delivered twice.
    pub duplicate: bool,
    replies: BTreeMap<RequestId, Reply>,
    next_request: u64,
    pub events: Vec<(NodeId, Event)>,
    /// Answers to forwarded calls which say that nothing was done.
    pub refused_forwards: u64,
    options: Options,
}

impl Cluster {
    /// Nodes 1 to `size`, all of them replicas of one partition, with every time in the options as is.
    pub fn new(size: u64) -> Cluster {
        Cluster::with(size, |_| {})
    }

    pub fn with(size: u64, adjust: impl FnOnce(&mut Options)) -> Cluster {
        let ids: Vec<NodeId> = (1..=size).map(NodeId).collect();
        let mut options = Options::new(NodeId(0), 0, 7);
        adjust(&mut options);
        let mut cluster = Cluster {
            nodes: BTreeMap::new(),
            placement: Arc::new(Placement::round_robin(&ids, 1, size as usize)),
            now: Now { time: Time(1_000_000_000), wall_ms: 1_700_000_000_000 },
            cut: BTreeSet::new(),
            duplicate: false,
            replies: BTreeMap::new(),
            next_request: 0,
            events: Vec::new(),
            refused_forwards: 0,
            options,
        };
        for id in ids {
            cluster.add(id);
        }
        cluster
    }

    /// Adds a node with an empty disk, which knows the placement.
    pub fn add(&mut self, id: NodeId) {
        let disk = Disk::default();
        let node =
            Node { shard: None, inputs: VecDeque::new(), disk, stuck: false, incarnation: 0, wakes: 0 };
        self.nodes.insert(id, node);
        self.restart(id);
    }

    pub fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    /// Kills a node: what was not synced is gone.
    pub fn kill(&mut self, id: NodeId) {
        let node = self.node(id);
        node.shard = None;
        node.inputs.clear();
        node.disk.waiting.clear();
        node.disk.chunks.clear();
        let others = self.ids();
        for other in others {
            if other != id && self.node(other).shard.is_some() {
                self.node(other).inputs.push_back(Input::PeerLost { node: id });
            }
        }
    }

    /// Starts a node (again) from what is durable.
    pub fn restart(&mut self, id: NodeId) {
        self.kill(id);
        let (placement, now, mut options) = (self.placement.clone(), self.now, self.options.clone());
        let node = self.node(id);
        node.incarnation += 1;
        node.stuck = false;
        options.node = id;
        options.incarnation = id.0 * 1000 + node.incarnation;
        options.seed = options.incarnation;
        let recovered = node.disk.recover();
        let held = placement.get(PARTITION).filter(|placed| placed.replicas.contains(&id));
        let held = held.map(|_| PARTITION).into_iter().collect();
        node.shard = Some(Shard::new(options, placement.clone(), held, recovered, now));
        node.inputs.push_back(Input::Placement(placement));
        node.inputs.push_back(Input::Wake);
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).expect("a node of the cluster")
    }

    /// All nodes learn that the partition is to be moved, or has been.
    pub fn place(&mut self, change: impl FnOnce(&mut PartitionPlacement)) {
        let mut placement = (*self.placement).clone();
        placement.epoch += 1;
        // Governed from somewhere else: what leaders report to it is of no interest here.
        placement.catalogue = vec![NodeId(1000)];
        change(&mut placement.partitions[0]);
        self.placement = Arc::new(placement);
        for id in self.ids() {
            let input = Input::Placement(self.placement.clone());
            self.node(id).inputs.push_back(input);
        }
    }

    /// From now on the disk of this node syncs nothing.
    pub fn stick_disk(&mut self, id: NodeId, stuck: bool) {
        self.node(id).stuck = stuck;
    }

    pub fn disk_full(&mut self, id: NodeId, full: bool) {
        self.node(id).inputs.push_back(Input::Disk { full });
    }

    /// Nothing passes between `id` and the others.
    pub fn isolate(&mut self, id: NodeId) {
        for other in self.ids() {
            self.cut.insert((id, other));
            self.cut.insert((other, id));
        }
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// Moves every node's wall clock.
    pub fn advance_wall(&mut self, by_ms: u64) {
        self.now.wall_ms += by_ms;
        let ids = self.ids();
        for id in ids {
            self.node(id).inputs.push_back(Input::Wake);
        }
    }

    /// Sends a request to a node; the answer is looked up with [`Cluster::reply`].
    pub fn send(&mut self, to: NodeId, call: Call, ordered: bool) -> RequestId {
        self.next_request += 1;
        let id = RequestId(self.next_request);
        let deadline = self.now.time + Duration::from_secs(3);
        // What is to keep its order comes on one connection of the node.
        let origin = if ordered { 0 } else { id.0 };
        let request =
            Request { id, origin, partition: PARTITION, layout: 1, keyspaces: 0, call, deadline, ordered };
        self.node(to).inputs.push_back(Input::Request(request));
        id
    }

    pub fn send_command(&mut self, to: NodeId, words: &[&str]) -> RequestId {
        self.send(to, command(words, None), false)
    }

    pub fn reply(&self, id: RequestId) -> Option<&Reply> {
        self.replies.get(&id)
    }

    /// Sends a command and lets time pass until it is answered.
    pub fn ask(&mut self, to: NodeId, words: &[&str]) -> Reply {
        let id = self.send_command(to, words);
        self.wait(id)
    }

    pub fn wait(&mut self, id: RequestId) -> Reply {
        for _ in 0..10_000 {
            if let Some(reply) = self.replies.get(&id) {
                return reply.clone();
            }
            self.run_for(STEP);
        }
        panic!("request {id:?} was never answered");
    }

    /// Lets time pass: a message or a sync takes one millisecond.
    pub fn run_for(&mut self, duration: Duration) {
        let until = self.now.time + duration;
        while self.now.time < until {
            self.now.time = self.now.time + STEP;
            self.now.wall_ms += 1;
            for id in self.ids() {
                self.turn(id);
            }
        }
    }

    /// Everything that one node has to do at this moment.
    fn turn(&mut self, id: NodeId) {
        let now = self.now;
        let node = self.node(id);
        let Some(mut shard) = node.shard.take() else { return };
        let mut outputs = Vec::new();
        let mut inputs = std::mem::take(&mut node.inputs);
        if let Some(batch) = node.disk.waiting.back().filter(|_| !node.stuck) {
            inputs.push_back(Input::Persisted { number: batch.number });
            let batches: Vec<Batch> = node.disk.waiting.drain(..).collect();
            node.disk.durable.extend(batches.into_iter().flat_map(|batch| batch.writes));
        }
        if shard.wake_at() <= now.time {
            node.wakes += 1;
            inputs.push_back(Input::Wake);
        }
        if !inputs.is_empty() {
            for input in inputs {
                shard.step(now, input, &mut outputs);
            }
            shard.finish(now, &mut outputs);
        }
        node.shard = Some(shard);
        for output in outputs {
            self.carry_out(id, output);
        }
    }

    fn carry_out(&mut self, id: NodeId, output: Output) {
        match output {
            Output::Send { to, message } => self.deliver(id, to, &message),
            Output::Persist(batch) => self.node(id).disk.waiting.push_back(batch),
            Output::Fetch { partition, from, to, .. } => {
                let log = self.node(id).disk.log(partition);
                let entries = log.1.into_iter().filter(|entry| (from..=to).contains(&entry.index)).collect();
                self.node(id).inputs.push_back(Input::Fetched { partition, from, entries });
            }
            Output::Snapshot(write) => {
                let node = self.node(id);
                if let Some(input) = node.disk.snapshot(write) {
                    node.inputs.push_back(input);
                }
            }
            Output::Reply { id: request, reply, .. } => {
                let former = self.replies.insert(request, reply);
                assert!(former.is_none(), "request {request:?} was answered twice");
            }
            Output::Event(event) => self.events.push((id, event)),
        }
    }

    fn deliver(&mut self, from: NodeId, to: NodeId, message: &Message) {
        if self.cut.contains(&(from, to)) || self.nodes.get(&to).is_none_or(|node| node.shard.is_none()) {
            return;
        }
        self.refused_forwards += u64::from(matches!(message, Message::Forwarded { outcome: 1, .. }));
        let incarnation = from.0 * 1000 + self.node(from).incarnation;
        let mut bytes = BytesMut::new();
        wire::encode(message, &mut bytes);
        let bytes = bytes.freeze();
        for _ in 0..if self.duplicate { 2 } else { 1 } {
            let message = wire::decode(bytes.clone()).expect("what was encoded can be decoded");
            self.node(to).inputs.push_back(Input::Message { from, incarnation, message });
        }
    }

    /// A peer forwards a call in these bytes, which it need not have made as we would.
    pub fn forward(&mut self, from: NodeId, to: NodeId, sequence: u64, call: Vec<u8>) {
        let incarnation = from.0 * 1000 + self.node(from).incarnation;
        let receiver_incarnation = to.0 * 1000 + self.node(to).incarnation;
        let message = Message::Forward {
            partition: PARTITION,
            receiver_incarnation,
            sequence,
            generation: 0,
            deadline_ms: 1000,
            layout: 0,
            call: call.into(),
        };
        self.node(to).inputs.push_back(Input::Message { from, incarnation, message });
    }

    /// The node is about to stop.
    pub fn retire(&mut self, id: NodeId) {
        let now = self.now;
        let node = self.node(id);
        node.shard.as_mut().expect("the node runs").hand_over(now);
        node.inputs.push_back(Input::Wake);
    }

    /// How often a node was woken by the clock so far.
    pub fn wakes(&self, id: NodeId) -> u64 {
        self.nodes[&id].wakes
    }

    pub fn shard(&self, id: NodeId) -> &Shard {
        self.nodes[&id].shard.as_ref().expect("the node runs")
    }

    /// The leader that a majority of the running nodes agrees on, after letting time pass until there is one.
    pub fn leader(&mut self) -> NodeId {
        for _ in 0..10_000 {
            self.run_for(STEP);
            let running: Vec<NodeId> =
                self.ids().into_iter().filter(|id| self.nodes[id].shard.is_some()).collect();
            let told: Vec<NodeId> =
                running.iter().filter_map(|&id| self.shard(id).leader(PARTITION)).collect();
            for &leader in &running {
                let votes = told.iter().filter(|&&told| told == leader).count();
                if votes * 2 > self.nodes.len() && !self.shard(leader).leads_none() {
                    return leader;
                }
            }
        }
        panic!("no leader");
    }

    /// Some running node that does not lead.
    pub fn follower(&mut self) -> NodeId {
        let leader = self.leader();
        let others = self.ids().into_iter().filter(|&id| id != leader && self.nodes[&id].shard.is_some());
        others.into_iter().next().expect("a follower")
    }

    /// Lets time pass until all running nodes have applied the same and hold the same.
    pub fn converge(&mut self) {
        for _ in 0..10_000 {
            self.run_for(STEP);
            let states: BTreeSet<(u64, u128)> = self
                .nodes
                .values()
                .filter_map(|node| node.shard.as_ref())
                .flat_map(|shard| shard.status().into_iter().map(|status| (status.applied, status.digest)))
                .collect();
            if states.len() == 1 {
                return;
            }
        }
        panic!("the replicas do not converge");
    }

    /// No replica found another one's state to differ from its own.
    pub fn assert_no_alarm(&self) {
        for (node, event) in &self.events {
            assert!(!matches!(event, Event::DigestMismatch { .. }), "{node:?}: {event:?}");
        }
    }
}

impl Disk {
    /// The log of a partition: the index after which it begins, and its entries.
    fn log(&self, of: PartitionId) -> (u64, Vec<raft::Entry>) {
        let (mut start, mut entries) = (0, Vec::<raft::Entry>::new());
        for write in &self.durable {
            match write {
                Write::Append { partition, entry } if *partition == of => {
                    entries.retain(|former| former.index < entry.index);
                    entries.push(entry.clone());
                }
                Write::Trim { partition, index } if *partition == of && *index > start => {
                    start = *index;
                    entries.retain(|entry| entry.index > *index);
                }
                Write::Reset { partition, index } if *partition == of => {
                    start = *index;
                    entries.clear();
                }
                _ => {}
            }
        }
        (start, entries)
    }

    fn recover(&self) -> Vec<Recovered> {
        let state = self.durable.iter().rev().find_map(|write| match write {
            Write::State { partition: PARTITION, state } => Some(state.clone()),
            _ => None,
        });
        let (log_start, entries) = self.log(PARTITION);
        let found = self.snapshots.get(&PARTITION);
        let snapshot = found.map(|(_, meta, chunks)| {
            let mut table = Table::with_slots(0, data::slot::SLOTS - 1);
            for chunk in chunks {
                table.load(chunk).expect("a slice");
            }
            (meta.clone(), table)
        });
        let newest_snapshot = found.map_or(0, |(id, ..)| *id);
        vec![Recovered {
            partition: PARTITION,
            state,
            snapshot: snapshot.map(|(meta, table)| (meta, replication::shard::Content::Table(table))),
            newest_snapshot,
            log_start,
            entries,
            lost: Vec::new(),
        }]
    }

    fn snapshot(&mut self, write: SnapshotWrite) -> Option<Input> {
        match write {
            SnapshotWrite::Chunk { partition, snapshot, sequence, bytes } => {
                let chunks = self.chunks.entry((partition, snapshot)).or_default();
                assert_eq!(chunks.len() as u64, sequence, "chunks come in order");
                chunks.push(bytes);
                Some(Input::SnapshotWritten { partition, snapshot, sequence })
            }
            SnapshotWrite::Finish { partition, snapshot, sequence, meta } => {
                let chunks = self.chunks.remove(&(partition, snapshot)).unwrap_or_default();
                assert_eq!(chunks.len() as u64, sequence);
                self.snapshots.insert(partition, (snapshot, meta, chunks));
                Some(Input::SnapshotWritten { partition, snapshot, sequence })
            }
            SnapshotWrite::Abort { partition, snapshot } => {
                self.chunks.remove(&(partition, snapshot));
                None
            }
            SnapshotWrite::Discard { partition } => {
                self.chunks.retain(|(of, _), _| *of != partition);
                self.snapshots.remove(&partition);
                None
            }
        }
    }
}

fn arguments(words: &[&str]) -> Vec<Bytes> {
    words.iter().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect()
}

/// A call of a command by its words.
pub fn command(words: &[&str], token: Option<&str>) -> Call {
    let command = Command::lookup(words[0].as_bytes()).expect("a known command");
    let token = token.map(|token| Bytes::copy_from_slice(token.as_bytes()));
    Call::Command { command, arguments: arguments(words), token }
}

/// A call of `MULTI ... EXEC`.
pub fn transaction(commands: &[&[&str]], watches: Vec<data::Watch>) -> Call {
    let commands = commands.iter().map(|words| {
        let command = Command::lookup(words[0].as_bytes()).expect("a known command");
        (command, arguments(words))
    });
    Call::Transaction { commands: commands.collect(), watches }
}

pub fn bulk(text: &str) -> Reply {
    Reply::Done(Value::Bulk(Bytes::copy_from_slice(text.as_bytes())))
}

pub fn ok() -> Reply {
    Reply::Done(Value::OK)
}

pub fn integer(number: i64) -> Reply {
    Reply::Done(Value::Integer(number))
}
