//! Replicas on a network and disks that do as they are told: everything arrives at once and in order unless a story says
//! otherwise. Time passes only by [`Group::pass`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::super::*;
use crate::contract::Write;

pub const PARTITION: PartitionId = PartitionId(7);

/// A replica with what its driver would keep.
pub struct Replica {
    pub raft: Raft,
    pub applied: Vec<Entry>,
    pub reads: Vec<(u64, Result<u64, ReadRefused>)>,
    pub needs_snapshot: Vec<NodeId>,
    pub memberships: Vec<(u64, Membership, bool)>,
    pub log: BTreeMap<u64, Entry>,
    pub state: HardState,
    /// Writes are not completed while it is slow; what waits for them either.
    pub slow_disk: bool,
    waits_for_disk: VecDeque<(Option<PersistToken>, Vec<(NodeId, Message)>)>,
}

pub struct Group {
    pub now: Time,
    pub replicas: BTreeMap<u64, Replica>,
    /// Pairs `(from, to)` between which nothing arrives.
    pub cut: BTreeSet<(u64, u64)>,
    /// All that was sent, delivered or not.
    pub sent: Vec<(u64, u64, Message)>,
    pub options: Options,
    /// Hands back what is asked for from disk at once.
    pub answer_fetches: bool,
}

pub fn ids(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

pub fn voters(list: &[u64]) -> Membership {
    Membership { voters: ids(list), ..Membership::default() }
}

impl Group {
    /// `count` new replicas 1.., all voters.
    pub fn new(count: u64) -> Group {
        Group::with_options(count, Options::default())
    }

    pub fn with_options(count: u64, options: Options) -> Group {
        let mut group = Group {
            now: Time(1_000_000_000),
            replicas: BTreeMap::new(),
            cut: BTreeSet::new(),
            sent: Vec::new(),
            options,
            answer_fetches: true,
        };
        let all: Vec<u64> = (1..=count).collect();
        for &id in &all {
            group.add(id, voters(&all));
        }
        group
    }

    /// A group whose replica 1 leads, with its first entry committed everywhere.
    pub fn led_by_1(count: u64) -> Group {
        let mut group = Group::new(count);
        group.elect(1);
        group
    }

    /// Adds a replica without data, that starts from `membership`.
    pub fn add(&mut self, id: u64, membership: Membership) {
        let initial = Initial {
            snapshot: SnapshotMeta { membership, ..SnapshotMeta::default() },
            ..Initial::default()
        };
        self.start(id, initial);
    }

    fn start(&mut self, id: u64, initial: Initial) {
        let log = initial.entries.iter().map(|entry| (entry.index, entry.clone())).collect();
        let state = initial.hard_state;
        let raft = Raft::new(NodeId(id), PARTITION, self.options.clone(), initial, id + self.now.0, self.now);
        let replica = Replica {
            raft,
            applied: Vec::new(),
            reads: Vec::new(),
            needs_snapshot: Vec::new(),
            memberships: Vec::new(),
            log,
            state,
            slow_disk: false,
            waits_for_disk: VecDeque::new(),
        };
        self.replicas.insert(id, replica);
    }

    /// Stops and starts a replica: it has what was durable.
    pub fn restart(&mut self, id: u64) {
        let old = &self.replicas[&id];
        let membership = old.raft.memberships.at(0).cloned().unwrap_or_default();
        let initial = Initial {
            hard_state: old.state,
            snapshot: SnapshotMeta { membership, ..SnapshotMeta::default() },
            entries: old.log.values().cloned().collect(),
        };
        self.start(id, initial);
    }

    pub fn raft(&mut self, id: u64) -> &mut Raft {
        &mut self.replicas.get_mut(&id).expect("a replica").raft
    }

    pub fn elect(&mut self, id: u64) {
        let now = self.now;
        self.raft(id).campaign(now);
        self.settle();
        assert!(self.raft(id).is_leader(), "{id} leads");
    }

    pub fn propose(&mut self, id: u64, payload: &'static str) -> Result<u64, ProposeRefused> {
        let now = self.now;
        let index = self.raft(id).propose(Bytes::from_static(payload.as_bytes()), now);
        self.settle();
        index
    }

    pub fn read(&mut self, id: u64, ticket: u64) {
        let now = self.now;
        self.raft(id).read(ticket, now);
        self.settle();
    }

    /// Delivers one message, without anything else.
    pub fn deliver(&mut self, from: u64, to: u64, message: Message) {
        let now = self.now;
        self.raft(to).step(NodeId(from), message, now);
    }

    pub fn isolate(&mut self, id: u64) {
        for other in 1..10 {
            self.cut.insert((id, other));
            self.cut.insert((other, id));
        }
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// Lets time pass, in steps of a millisecond.
    pub fn pass(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now = Time(self.now.0 + 1_000_000);
            let now = self.now;
            for replica in self.replicas.values_mut() {
                if replica.raft.wake_at() <= now {
                    replica.raft.tick(now);
                }
            }
            self.settle();
        }
    }

    /// Until nothing is under way.
    pub fn settle(&mut self) {
        loop {
            let mut messages = Vec::new();
            for (&id, replica) in &mut self.replicas {
                for (to, message) in replica.finish(self.now, self.answer_fetches) {
                    messages.push((id, to.0, message));
                }
            }
            if messages.is_empty() {
                return;
            }
            for (from, to, message) in messages {
                self.sent.push((from, to, message.clone()));
                if !self.cut.contains(&(from, to)) && self.replicas.contains_key(&to) {
                    self.deliver(from, to, message);
                }
            }
        }
    }

    /// The payloads applied at a replica.
    pub fn applied(&self, id: u64) -> Vec<String> {
        let text = |entry: &Entry| String::from_utf8_lossy(&entry.payload).into_owned();
        let normal = self.replicas[&id].applied.iter().filter(|entry| entry.kind == EntryKind::Normal);
        normal.map(text).collect()
    }

    pub fn leaders(&self) -> Vec<u64> {
        self.replicas.iter().filter(|(_, replica)| replica.raft.is_leader()).map(|(&id, _)| id).collect()
    }

    /// What was sent since the last call.
    pub fn take_sent(&mut self) -> Vec<(u64, u64, Message)> {
        std::mem::take(&mut self.sent)
    }
}

impl Replica {
    /// One `finish` after another until nothing comes any more; what may be sent.
    fn finish(&mut self, now: Time, answer_fetches: bool) -> Vec<(NodeId, Message)> {
        let mut sent = Vec::new();
        loop {
            let mut effects = Effects::default();
            self.raft.finish(now, &mut effects);
            sent.append(&mut effects.send);
            let after = std::mem::take(&mut effects.send_after_persist);
            self.waits_for_disk.push_back((effects.persist_token, after));
            for write in effects.persist {
                self.write(write);
            }
            if let Some(last) = effects.committed.last() {
                self.raft.applied(last.index);
            }
            self.applied.append(&mut effects.committed);
            self.reads.append(&mut effects.reads);
            self.needs_snapshot.append(&mut effects.needs_snapshot);
            self.memberships.append(&mut effects.memberships);
            let mut again = false;
            if let Some((from, to)) = effects.fetch.filter(|_| answer_fetches) {
                let entries = self.log.range(from..=to).map(|(_, entry)| entry.clone()).collect();
                self.raft.fetched(from, entries, now);
                again = true;
            }
            while !self.slow_disk
                && let Some((token, messages)) = self.waits_for_disk.pop_front()
            {
                sent.extend(messages);
                if let Some(token) = token {
                    self.raft.persisted(token, now);
                    again = true;
                }
            }
            if !again {
                return sent;
            }
        }
    }

    fn write(&mut self, write: Write) {
        match write {
            Write::Append { entry, .. } => {
                self.log.split_off(&entry.index);
                self.log.insert(entry.index, entry);
            }
            Write::State { state, .. } => self.state = HardState::decode(&state).expect("a state"),
            Write::Reset { .. } => self.log.clear(),
            Write::Trim { index, .. } => self.log = self.log.split_off(&(index + 1)),
            Write::Forget { .. } | Write::Lost { .. } => unreachable!("the core never says so"),
        }
    }
}
