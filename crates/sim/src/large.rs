//! A large cluster in which nothing goes wrong: what the catalogue, its followers and the signs of life cost at a size that
//! no machine of ours holds as processes. Production shards, over a network and disks that take a fixed time; no clients.
//!
//! [`Large::pass`] lets time go by and counts what was said meanwhile. For faults there is the rest of this crate, at sizes
//! at which they can be tried by the thousand.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use replication::catalogue::{CATALOGUE, Catalogue, Change, Member, MemberState, Settings};
use replication::contract::{Event, Request, RequestId, SnapshotWrite, Write};
use replication::ordered::raft::{Entry, HardState};
use replication::shard::{Options, Recovered};
use replication::wire::{self, Message};
use replication::{Input, NodeId, Now, Output, PartitionId, Placement, Shard, Time};

/// How long a message takes.
const WAY: Duration = Duration::from_micros(500);
/// How long a sync takes.
const SYNC: Duration = Duration::from_millis(1);
/// How long a change of the catalogue may take.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(2);

/// What was said while time went by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Messages.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Signs of life among the messages.
    pub alive: u64,
    /// Changes of the catalogue, as the node that led it first saw them.
    pub changes: u64,
    /// Catalogues that nodes read.
    pub reads: u64,
}

#[derive(Debug)]
struct Process {
    shard: Shard,
    incarnation: u64,
    log: BTreeMap<PartitionId, Vec<Entry>>,
    wakes_at: Time,
}

/// The cluster.
#[derive(Debug)]
pub struct Large {
    now: Time,
    nodes: BTreeMap<NodeId, Process>,
    queue: BinaryHeap<Reverse<(Time, u64, NodeId)>>,
    waiting: BTreeMap<u64, Input>,
    next: u64,
    founding: Arc<Catalogue>,
    newest: Arc<Catalogue>,
    counts: Counts,
}

fn member(number: u64) -> Member {
    Member {
        name: format!("node-{number:05}"),
        client: format!("10.0.{}.{}:7000", number / 250, number % 250),
        peer: format!("10.0.{}.{}:17000", number / 250, number % 250),
        zone: format!("zone-{}", number % 3),
        weight: 1,
        state: MemberState::Active,
        format: number,
    }
}

impl Large {
    /// A cluster of so many founders, each partition on three of them.
    pub fn new(nodes: u64, partitions: u32, settings: Settings) -> Large {
        let members = (1..=nodes).map(|number| (NodeId(number), member(number))).collect();
        let founding = Arc::new(Catalogue::genesis(members, partitions, settings));
        let mut large = Large {
            now: Time(1_000_000_000),
            nodes: BTreeMap::new(),
            queue: BinaryHeap::new(),
            waiting: BTreeMap::new(),
            next: 0,
            newest: founding.clone(),
            founding,
            counts: Counts::default(),
        };
        let placement = Arc::new(large.founding.placement());
        let mut held: BTreeMap<NodeId, Vec<PartitionId>> = BTreeMap::new();
        for (record, number) in large.founding.partitions.clone().iter().zip(0..) {
            record.replicas.iter().for_each(|&node| held.entry(node).or_default().push(PartitionId(number)));
        }
        for node in (1..=nodes).map(NodeId) {
            let mut held = held.remove(&node).unwrap_or_default();
            held.push(CATALOGUE);
            large.start(node, &placement, held, true);
        }
        large
    }

    fn start(&mut self, node: NodeId, placement: &Arc<Placement>, held: Vec<PartitionId>, founder: bool) {
        let options = Options {
            founding: founder.then(|| self.founding.clone()),
            ..Options::new(node, node.0, node.0)
        };
        let state = if founder { HardState::default() } else { HardState::default().forgotten() };
        let found = |&partition: &PartitionId| Recovered {
            state: Some(state.encode()),
            ..Recovered::nothing(partition)
        };
        let recovered = held.iter().map(found).collect();
        let shard = Shard::new(options, placement.clone(), held, recovered, self.both());
        let started = Process { shard, incarnation: node.0, log: BTreeMap::new(), wakes_at: Time::NEVER };
        self.nodes.insert(node, started);
        self.give(node, Duration::ZERO, Input::Wake);
    }

    fn both(&self) -> Now {
        Now { time: self.now, wall_ms: self.now.0 / 1_000_000 }
    }

    fn give(&mut self, node: NodeId, after: Duration, input: Input) {
        self.next += 1;
        self.waiting.insert(self.next, input);
        self.queue.push(Reverse((self.now + after, self.next, node)));
    }

    /// One more node, which asks to be let in.
    pub fn join(&mut self) -> NodeId {
        let number = self.nodes.last_key_value().map_or(1, |(node, _)| node.0 + 1);
        let node = NodeId(number);
        self.start(node, &Arc::new(self.newest.placement()), vec![CATALOGUE], false);
        self.change(&Change::Join { node, member: member(number), replaces: None });
        node
    }

    /// A node dies and does not come back.
    pub fn kill(&mut self, node: NodeId) {
        self.nodes.remove(&node);
        let others: Vec<NodeId> = self.nodes.keys().copied().collect();
        others.into_iter().for_each(|other| self.give(other, WAY, Input::PeerLost { node }));
    }

    /// Asks some node for a change of the catalogue.
    pub fn change(&mut self, change: &Change) {
        let Ok(Some(call)) = change.call(&self.newest) else { return };
        let Some(node) = self.nodes.keys().next().copied() else { return };
        let (id, deadline) = (RequestId(self.next), self.now + CHANGE_TIMEOUT);
        let (origin, partition, layout) = (self.next, CATALOGUE, u32::MAX);
        let request = Request { id, origin, partition, layout, keyspaces: 0, call, deadline, ordered: false };
        self.give(node, Duration::ZERO, Input::Request(request));
    }

    /// The newest catalogue that any node has read.
    pub fn catalogue(&self) -> &Catalogue {
        &self.newest
    }

    /// How many nodes know the newest catalogue.
    pub fn informed(&self) -> usize {
        let knows = |node: &&Process| {
            node.shard.catalogue().is_some_and(|catalogue| catalogue.epoch == self.newest.epoch)
        };
        self.nodes.values().filter(knows).count()
    }

    /// How many partitions have a leader.
    pub fn led(&self) -> usize {
        let ours = |(id, node): (&NodeId, &Process)| {
            let statuses = node.shard.status();
            statuses
                .iter()
                .filter(|status| status.leader == Some(*id) && status.partition != CATALOGUE)
                .count()
        };
        self.nodes.iter().map(ours).sum()
    }

    /// Lets time go by; returns what was said.
    pub fn pass(&mut self, time: Duration) -> Counts {
        self.counts = Counts::default();
        let until = self.now + time;
        while let Some(&Reverse((at, _, _))) = self.queue.peek() {
            if at > until {
                break;
            }
            let Some(Reverse((at, number, node))) = self.queue.pop() else { break };
            self.now = at;
            let mut inputs: Vec<Input> = self.waiting.remove(&number).into_iter().collect();
            // What comes to the same node at the same moment is one batch.
            while let Some(&Reverse((also, number, same))) = self.queue.peek() {
                if also != at || same != node {
                    break;
                }
                self.queue.pop();
                inputs.extend(self.waiting.remove(&number));
            }
            self.step(node, inputs);
        }
        self.now = until;
        self.counts
    }

    fn step(&mut self, id: NodeId, inputs: Vec<Input>) {
        let now = self.both();
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.wakes_at <= now.time {
            node.wakes_at = Time::NEVER;
        }
        let mut outputs = Vec::new();
        for input in inputs {
            node.shard.step(now, input, &mut outputs);
        }
        node.shard.finish(now, &mut outputs);
        let incarnation = node.incarnation;
        for output in outputs {
            self.happen(id, incarnation, output);
        }
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let at = node.shard.wake_at().max(now.time);
        if at < node.wakes_at {
            node.wakes_at = at;
            let after = at.since(now.time);
            self.give(id, after, Input::Wake);
        }
    }

    fn happen(&mut self, id: NodeId, incarnation: u64, output: Output) {
        match output {
            Output::Send { to, message } => {
                self.counts.messages += 1;
                self.counts.alive += u64::from(message == Message::Alive);
                let mut bytes = BytesMut::new();
                wire::encode(&message, &mut bytes);
                self.counts.bytes += bytes.len() as u64;
                self.give(to, WAY, Input::Message { from: id, incarnation, message });
            }
            Output::Persist(batch) => {
                let Some(node) = self.nodes.get_mut(&id) else { return };
                for write in batch.writes {
                    match write {
                        Write::Append { partition, entry } => {
                            let log = node.log.entry(partition).or_default();
                            log.retain(|known| known.index < entry.index);
                            log.push(entry);
                        }
                        Write::Reset { partition, .. } | Write::Forget { partition } => {
                            node.log.remove(&partition);
                        }
                        Write::State { .. } | Write::Trim { .. } | Write::Lost { .. } => {}
                    }
                }
                self.give(id, SYNC, Input::Persisted { number: batch.number });
            }
            Output::Fetch { partition, from, to, .. } => {
                let Some(node) = self.nodes.get(&id) else { return };
                let entries = node.log.get(&partition).into_iter().flatten();
                let entries = entries.filter(|entry| (from..=to).contains(&entry.index)).cloned().collect();
                self.give(id, SYNC, Input::Fetched { partition, from, entries });
            }
            Output::Snapshot(
                SnapshotWrite::Chunk { partition, snapshot, sequence, .. }
                | SnapshotWrite::Finish { partition, snapshot, sequence, .. },
            ) => self.give(id, SYNC, Input::SnapshotWritten { partition, snapshot, sequence }),
            Output::Snapshot(_) | Output::Reply { .. } => {}
            Output::Event(Event::Catalogue(catalogue, _)) => {
                self.counts.reads += 1;
                if catalogue.epoch > self.newest.epoch || self.newest.epoch == self.founding.epoch {
                    self.counts.changes += u64::from(catalogue.epoch > self.newest.epoch);
                    self.newest = catalogue;
                }
            }
            Output::Event(_) => {}
        }
    }
}
