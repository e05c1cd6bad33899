//! One worker's share of the partitions: takes inputs, routes them to replicas, gives out what came of a whole batch.
//!
//! A request for a partition goes to the replica here, if there is one; what that replica cannot serve (it is not the
//! leader) is forwarded ([`forward`]) or waits until someone can. What replicas want sent and persisted is gathered in
//! one [`outbox`], so that one frame a peer and one log batch serve all of them. [`peers`] knows which nodes show signs
//! of life, on behalf of partitions that have fallen quiet.
//!
//! A strategy is a variant of [`Strategy`], chosen in one place ([`Shard::new`]); nothing else here asks which one it is.

pub(crate) mod balance;
pub(crate) mod call;
mod forward;
mod gather;
mod governed;
mod heat;
mod hints;
pub mod lost;
pub(crate) mod outbox;
mod peers;
mod primaries;
mod reads;
mod recovered;
mod splits;
mod strategy;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use data::Table;

use crate::catalogue::{CATALOGUE, Catalogue};
use crate::configuration::Group;
use crate::consistency::Consistency;
use crate::contract::{Input, Lost, Output, Reply, Request};
use crate::histogram::Histogram;
use crate::ordered::raft;
use crate::time::{Now, Time};
use crate::wire::Message;
use crate::{NodeId, PartitionId, Placement};

use self::forward::Forwards;
use self::gather::Gather;
use self::governed::{Governed, is_placed, nodes_of, place_of};
use self::heat::Heat;
use self::lost::LostWrites;
use self::outbox::{Gate, Outbox, Requester, Wishes, Work, is_read};
use self::peers::{Heard, Peers};
use self::splits::Nursery;
use self::strategy::Strategy;
use crate::merged::hints::{Hints, HintsStatus};

pub use self::recovered::{Content, Recovered};

/// How often requests that wait for other nodes are looked through for those past their deadline.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

/// When deadlines are looked at again, of which this is the first.
pub(crate) fn sweep_at(deadline: Time, now: Time) -> Time {
    deadline.clamp(now + SWEEP_INTERVAL / 10, now + SWEEP_INTERVAL)
}
/// How often a node that stops tries again to hand over what it leads.
const HAND_OVER_INTERVAL: Duration = Duration::from_millis(100);

/// What a shard is made with.
#[derive(Clone, Debug)]
pub struct Options {
    /// This node.
    pub node: NodeId,
    /// The number of this shard among those of its node.
    pub lane: u8,
    /// How many shards the node has: partitions go round them by number.
    pub lanes: u8,
    /// Drawn anew at each start of the process; the same for all its shards.
    pub incarnation: u64,
    /// Seed for everything that is left to chance.
    pub seed: u64,
    /// The consensus' numbers.
    pub raft: raft::Options,
    /// A partition's log is cut by a snapshot when it holds more bytes than this (or than its table, if that is more).
    pub snapshot_log_bytes: u64,
    /// A write whose log entry would be larger than this is refused: it has to fit into one frame to each peer, and holds
    /// up heartbeats while it is on its way.
    pub max_payload_bytes: usize,
    /// How long an idempotency token is remembered after its write, in milliseconds.
    pub token_retention_ms: u64,
    /// How many tokens a partition remembers at the most; the oldest go first.
    pub token_limit: usize,
    /// A node that stands in for members of a group takes no more from this many bytes of what they lack on.
    pub hint_bytes: u64,
    /// For so long others stand in for a member that cannot be reached.
    pub hint_window: Duration,
    /// From so many reads a second for each copy, of those that more than one replica may answer, on others are made for reads alone; 0: never.
    pub hot_reads: u32,
    /// How long a write waits at the most for others to share a log batch and frames with, while earlier ones are under
    /// way ([`gather`]). Zero: not at all.
    pub gather: Duration,
    /// Tell every applied entry (for the simulator's oracles).
    pub announce_applied: bool,
    /// A fault built in on purpose in replicas of `multi-primary` keyspaces.
    #[cfg(any(test, feature = "planted-bugs"))]
    pub planted: Option<crate::merged::causal::Bug>,
    /// The catalogue that the cluster begins with, if this node is one of its founders.
    pub founding: Option<Arc<Catalogue>>,
}

impl Options {
    /// The defaults of a node.
    pub fn new(node: NodeId, incarnation: u64, seed: u64) -> Options {
        Options {
            node,
            lane: 0,
            lanes: 1,
            incarnation,
            seed,
            raft: raft::Options::default(),
            snapshot_log_bytes: 64 << 20,
            max_payload_bytes: 64 << 20,
            token_retention_ms: 600_000,
            token_limit: 100_000,
            hint_bytes: 64 << 20,
            hint_window: Duration::from_secs(3 * 3600),
            hot_reads: 0,
            gather: Duration::from_millis(2),
            announce_applied: false,
            #[cfg(any(test, feature = "planted-bugs"))]
            planted: None,
            founding: None,
        }
    }
}

/// The partitions of one worker.
#[derive(Debug)]
pub struct Shard {
    options: Options,
    placement: Arc<Placement>,
    replicas: BTreeMap<PartitionId, Strategy>,
    /// Those of keyspaces that take writes on all of them.
    primaries: BTreeMap<PartitionId, crate::merged::replica::Replica>,
    /// What is held for members of groups, by the numbers under which it is stored.
    hints: BTreeMap<PartitionId, Hints>,
    releases_at: Time,
    /// Replicas that took an input since the last `finish`.
    touched: BTreeSet<PartitionId>,
    timers: BTreeSet<(Time, PartitionId)>,
    timer_of: BTreeMap<PartitionId, Time>,
    peers: Peers,
    forwards: Forwards,
    gather: Gather,
    /// The same for what primaries that acknowledge alone send to their members.
    ship: Gather,
    gate: Gate,
    outbox: Outbox,
    arrivals: u64,
    next_sweep: Time,
    /// Until then no node can have been silent for so long that its requests are hopeless.
    nobody_gone_before: Time,
    /// When it is looked again who may be, if somebody may.
    looks_for_gone_at: Time,
    next_hand_over: Time,
    governed: Governed,
    heat: Heat,
    nursery: Nursery,
    disk_full: bool,
    /// Writes of deposed primaries that their successors have not.
    lost: BTreeMap<PartitionId, LostWrites>,
}

/// A look at one partition, for `INFO`, `CLUSTER` and `ctl status`.
#[derive(Clone, Debug)]
pub struct PartitionStatus {
    /// The partition.
    pub partition: PartitionId,
    /// The part this node plays in it.
    pub role: crate::contract::Role,
    /// The term.
    pub term: u64,
    /// The leader, as far as known.
    pub leader: Option<NodeId>,
    /// The members.
    pub membership: raft::Membership,
    /// Committed up to.
    pub commit: u64,
    /// Applied up to.
    pub applied: u64,
    /// The last entry of the log here.
    pub last_index: u64,
    /// The index after which the log here begins.
    pub log_start: u64,
    /// Keys held.
    pub keys: u64,
    /// Keys among them that have an expiry.
    pub expiring: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// The digest at `applied`.
    pub digest: u128,
    /// Differences found so far: more than none is an alarm.
    pub digest_mismatches: u64,
    /// Idempotency tokens remembered.
    pub tokens: u64,
    /// Is the group quiet?
    pub quiet: bool,
    /// What the catalogue has decided of it, if it appoints its leaders.
    pub group: Option<Group>,
    /// Up to here every member in sync holds it.
    pub stable: u64,
    /// How far the members in sync are behind, at the primary.
    pub lag: raft::Lag,
    /// Of a replica among those that all take writes.
    pub merged: Option<MergedStatus>,
    /// How stale what it answers was lately. Where there is a log: how long after it had asked all was here that had been acknowledged then; of
    /// replicas that all take writes: how much later than made, by the clocks of both, their mutations came.
    pub staleness: Option<Histogram>,
}

/// What is to be known of a replica among those that all take writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergedStatus {
    /// The number by which its writes are named.
    pub origin: u64,
    /// The others that take part.
    pub others: u64,
    /// Those of them that are not waited for.
    pub away: u64,
    /// Mutations here that not all members which are waited for are known to hold durably.
    pub not_everywhere: u64,
    /// Entries and steps that are kept for those.
    pub kept: u64,
    /// The bytes of them, about.
    pub kept_bytes: u64,
    /// Mutations that wait for what they depend on.
    pub held: u64,
    /// So often something that was missed was taken over, as steps or with a state.
    pub repairs: u64,
    /// Values that were written at the same time as others, and lost.
    pub conflicts: u64,
    /// Is the keyspace `leaderless`?
    pub leaderless: bool,
    /// So often the others were asked what they hold, for one request or for many at once.
    pub rounds: u64,
    /// So often mutations were sent to a replica that was found to lack them when it asked.
    pub read_repairs: u64,
    /// So many nodes stand in for replicas that cannot be reached.
    pub stand_ins: u64,
}

impl Shard {
    /// A shard that holds a replica of each of `partitions`, starting from what storage found. A partition that is not in
    /// `recovered` begins with the members that `placement` says; so this is for founders at their first start. What was
    /// recovered and is not among `partitions` are the promises of replicas that were given up ([`Recovered::is_given_up`]).
    /// With [`CATALOGUE`](crate::catalogue::CATALOGUE) among them, other partitions come and go as it says.
    pub fn new(
        options: Options,
        placement: Arc<Placement>,
        partitions: Vec<PartitionId>,
        recovered: Vec<Recovered>,
        now: Now,
    ) -> Shard {
        let mut recovered: BTreeMap<_, _> =
            recovered.into_iter().map(|found| (found.partition, found)).collect();
        let mut lost = BTreeMap::new();
        for found in recovered.values_mut().filter(|found| !found.lost.is_empty()) {
            let writes = std::mem::take(&mut found.lost);
            lost.insert(found.partition, LostWrites { writes, checked: 0 });
        }
        let mut replicas = BTreeMap::new();
        let nursery = Nursery::recover(&mut recovered);
        // Groups begin when the catalogue says what is to become of them.
        let begins = |partition: &PartitionId| !nursery.awaits(*partition) && partition.keyspace() == 0;
        for partition in partitions.into_iter().filter(begins) {
            let found = recovered.remove(&partition).unwrap_or_else(|| Recovered::nothing(partition));
            let place = place_of(&placement, partition);
            replicas.insert(partition, Strategy::start(options.clone(), found, place.as_ref(), now));
        }
        let alive_interval = options.raft.heartbeat_interval * 2;
        let peers = Peers::new(alive_interval, options.raft.election_timeout * 2, now.time);
        let mut shard = Shard {
            forwards: Forwards::new(options.lane),
            gather: Gather::new(Strategy::under_way, options.gather),
            ship: Gather::new(Strategy::to_ship, options.gather),
            options,
            placement: placement.clone(),
            touched: replicas.keys().copied().collect(),
            replicas,
            primaries: BTreeMap::new(),
            hints: BTreeMap::new(),
            releases_at: Time::NEVER,
            timers: BTreeSet::new(),
            timer_of: BTreeMap::new(),
            peers,
            gate: Gate::default(),
            outbox: Outbox::default(),
            arrivals: 0,
            next_sweep: Time::NEVER,
            nobody_gone_before: Time::default(),
            looks_for_gone_at: Time::default(),
            next_hand_over: Time::NEVER,
            governed: Governed::new(recovered),
            heat: Heat::new(),
            nursery,
            disk_full: false,
            lost,
        };
        shard.meet(&placement, now);
        for (&partition, replica) in &mut shard.replicas {
            replica.set_placement(place_of(&placement, partition).as_ref(), false);
        }
        shard
    }

    /// Takes one input. What comes of it is given out by [`Shard::finish`], except answers that need nothing more.
    pub fn step(&mut self, now: Now, input: Input, outputs: &mut Vec<Output>) {
        match input {
            Input::Request(request) => self.on_request(request, now),
            Input::Message { from, incarnation, message } => self.on_message(from, incarnation, message, now),
            Input::Persisted { number } => self.on_persisted(number, now),
            Input::Written { number } => self.on_written(number),
            Input::Fetched { partition, from, entries } => {
                self.with(partition, |replica, _| replica.fetched(from, entries, now));
            }
            Input::SnapshotWritten { partition, snapshot, sequence } => {
                self.with(partition, |replica, outbox| {
                    replica.snapshot_written(snapshot, sequence, now, outbox)
                });
                self.with_primary(partition, |replica, outbox| {
                    replica.snapshot_written(snapshot, sequence, outbox);
                });
            }
            Input::SnapshotFailed { partition, snapshot } => {
                self.with(partition, |replica, _| replica.snapshot_failed(snapshot));
                self.with_primary(partition, |replica, _| replica.snapshot_failed(snapshot));
            }
            Input::Disk { full } => {
                self.disk_full = full;
                self.each(|replica, _| replica.set_disk_full(full));
                self.primaries.values_mut().for_each(|replica| replica.set_disk_full(full));
                self.hints.values_mut().for_each(|hints| hints.set_disk_full(full));
            }
            Input::PeerLost { node } => self.on_peer_lost(node, now),
            // One that was overtaken by a newer one is not taken.
            Input::Placement(placement) if placement.epoch < self.placement.epoch => {}
            Input::Placement(placement) => self.set_placement(placement, now),
            Input::Wake => self.wake(now),
        }
        self.settle(now, outputs);
    }

    /// Runs `act` on a replica, if it is here, and marks it for the next `finish`.
    fn with(&mut self, partition: PartitionId, act: impl FnOnce(&mut Strategy, &mut Outbox)) {
        if let Some(replica) = self.replicas.get_mut(&partition) {
            self.touched.insert(partition);
            act(replica, &mut self.outbox);
        }
    }

    fn each(&mut self, mut act: impl FnMut(&mut Strategy, &mut Outbox)) {
        for (&partition, replica) in &mut self.replicas {
            self.touched.insert(partition);
            act(replica, &mut self.outbox);
        }
    }

    fn on_request(&mut self, request: Request, now: Now) {
        let Request { id, origin, partition, layout, keyspaces, call, deadline, ordered } = request;
        let arrival = self.next_arrival();
        let (call, wishes) = Wishes::of(call);
        if let Some(refusal) = self.refusal(partition, &call, &wishes) {
            let reply = Reply::Refused(refusal.into());
            return self.outbox.answers.push((Requester::Local { id, tells: None }, reply));
        }
        let deadline = match wishes.consistency {
            Some(Consistency::Bounded(bound)) if is_read(&call) => {
                deadline.min(now.time + Duration::from_millis(u64::from(bound)))
            }
            _ => self.patience(partition, deadline, now.time),
        };
        let requester = Requester::Local { id, tells: wishes.tells.then_some(partition) };
        let work = Work { requester, origin, call, wishes, deadline, ordered, layout, keyspaces, arrival };
        self.dispatch(partition, work, now);
    }

    fn next_arrival(&mut self) -> u64 {
        self.arrivals += 1;
        self.arrivals
    }

    /// To the replica here, or to a node that has one.
    fn dispatch(&mut self, partition: PartitionId, work: Work, now: Now) {
        if let Some(node) = Shard::is_for_node(&work.call) {
            return self.on_request_for_node(partition, work, node, now);
        }
        if work.relaxed().is_some()
            && let Some(to) = self.forwards.line(partition, work.origin)
        {
            // An answer from elsewhere could be older than those of its connection's that are under way, or wait.
            return match to {
                Some(to) => self.outbox.elsewhere.push((partition, work, Some(to))),
                None => self.forwards.wait(partition, work, now.time),
            };
        }
        let leads =
            || self.replicas.get(&partition).is_some_and(Strategy::is_leader) || self.is_primary(partition);
        // Mostly its connection has nothing elsewhere, which one look tells.
        if self.forwards.has_to_wait(partition, work.origin, None)
            && (self.forwards.waits_in_line(partition, work.origin) || leads())
        {
            return self.forwards.wait(partition, work, now.time);
        }
        if self.is_primary(partition) {
            return self.handle_primary(partition, work, now);
        }
        if self.is_member(partition) {
            let Some(work) = self.if_no_keyspace_was_made(partition, work) else { return };
            return self.with(partition, |replica, outbox| replica.handle(work, now, outbox));
        }
        if is_placed(&self.placement, partition) {
            let to = match work.relaxed() {
                Some(_) => self.best_member(partition, now),
                None => self.some_member(partition),
            };
            return self.outbox.elsewhere.push((partition, work, to));
        }
        if work.layout > self.placement.layout() || partition.keyspace() != 0 {
            // Another shard of this node has read the catalogue earlier.
            return self.forwards.wait(partition, work, now.time);
        }
        let text = format!("ERR there is no partition {}", partition.0);
        self.outbox.answers.push((work.requester, Reply::Refused(text)));
    }

    /// Is there a replica here that takes part in its partition? One that was replaced, or is not yet let in, does not.
    fn is_member(&self, partition: PartitionId) -> bool {
        let takes_part =
            |replica: &Strategy| replica.membership().contains(self.options.node) && !replica.is_removed();
        self.replicas.get(&partition).is_some_and(takes_part)
    }

    /// A request that the replica here could not serve: to the leader, if one is known.
    fn send_elsewhere(&mut self, partition: PartitionId, work: Work, leader: Option<NodeId>, now: Now) {
        if work.requester == Requester::Nobody {
            return;
        }
        if let Requester::Remote { node, incarnation, sequence, generation, .. } = work.requester {
            self.peers.send_back(node, incarnation, sequence, partition, generation);
            return forward::answer_not_leader(node, incarnation, sequence, leader, &mut self.outbox);
        }
        self.next_sweep = self.next_sweep.min(sweep_at(work.deadline, now.time));
        match leader {
            Some(leader) if leader != self.options.node => {
                self.forwards.forward(partition, work, leader, &self.peers, now.time, &mut self.outbox);
            }
            _ => self.forwards.wait(partition, work, now.time),
        }
    }

    fn on_message(&mut self, from: NodeId, incarnation: u64, message: Message, now: Now) {
        if self.peers.hear(from, incarnation, now.time) == Heard::Restarted {
            self.forwards.lost(from, now.time, &mut self.outbox);
            self.suspect(from, now);
        }
        match message {
            Message::Raft { partition, message } => {
                self.with(partition, |replica, _| replica.on_consensus(from, message, now));
            }
            Message::Many(messages) => {
                for (partition, message) in messages {
                    self.with(partition, |replica, _| replica.on_consensus(from, message, now));
                }
            }
            Message::Alive => {}
            Message::Forward {
                partition,
                receiver_incarnation,
                sequence,
                generation,
                deadline_ms,
                layout,
                call,
            } => {
                if receiver_incarnation == self.options.incarnation
                    && (self.peers.take_forward(from, incarnation, sequence) || self.takes_twice())
                {
                    let requester =
                        Requester::Remote { node: from, incarnation, sequence, generation, tells: None };
                    self.on_forward(partition, requester, (deadline_ms, layout), call, now);
                }
            }
            Message::Forwarded { sequence, sender_incarnation, outcome, value, seen } => {
                if sender_incarnation == self.options.incarnation {
                    let (answer, outbox) = ((&value, &seen), &mut self.outbox);
                    self.forwards.on_forwarded(from, sequence, outcome, answer, now.time, outbox);
                }
            }
            Message::SnapshotChunk(chunk) => {
                let partition = chunk.partition;
                self.with(partition, |replica, outbox| replica.on_snapshot_chunk(from, chunk, now, outbox));
            }
            Message::SnapshotAck(ack) => {
                let partition = ack.partition;
                self.with(partition, |replica, outbox| replica.on_snapshot_ack(from, ack, now, outbox));
            }
            Message::Digest { partition, index, digest } => {
                self.with(partition, |replica, outbox| replica.on_digest(from, index, digest, outbox));
            }
            Message::Causal { partition, message } => self.on_causal(from, partition, message, now),
            Message::Members(report) => self.on_report(report, now),
            Message::Ask(ask) => self.on_ask(ask, now),
        }
    }

    fn takes_twice(&self) -> bool {
        #[cfg(any(test, feature = "planted-bugs"))]
        return self.options.raft.planted == Some(raft::Bug::DuplicateApply);
        #[cfg(not(any(test, feature = "planted-bugs")))]
        false
    }

    /// A request from another node is served here or sent back; it is not passed on a second time.
    fn on_forward(
        &mut self,
        partition: PartitionId,
        requester: Requester,
        (deadline_ms, layout): (u32, u32),
        call: Bytes,
        now: Now,
    ) {
        let Requester::Remote { node, incarnation, sequence, generation, .. } = requester else { return };
        let arrival = self.next_arrival();
        let knew = (deadline_ms, layout);
        let work = forward::work_of_forward(requester, partition, knew, call, arrival, now.time);
        let Some(work) = work else {
            let text = "ERR the node that leads the partition does not know this command";
            let reply = Reply::Refused(text.into());
            return forward::answer(node, (incarnation, sequence), &reply, None, &mut self.outbox);
        };
        if let Some(node) = Shard::is_for_node(&work.call) {
            return self.on_request_for_node(partition, work, node, now);
        }
        if self.peers.was_sent_back(node, incarnation, sequence, partition, generation)
            || !(self.is_member(partition) || self.is_primary(partition))
        {
            let leader = self.leader(partition);
            return self.send_elsewhere(partition, work, leader, now);
        }
        if self.is_primary(partition) {
            return self.handle_primary(partition, work, now);
        }
        let Some(work) = self.if_no_keyspace_was_made(partition, work) else { return };
        self.with(partition, |replica, outbox| replica.handle(work, now, outbox));
    }

    fn on_persisted(&mut self, number: u64, now: Now) {
        let released = self.gate.persisted(number);
        for (partition, token) in released.tokens {
            self.with(partition, |replica, _| replica.persisted(token, now));
            self.with_primary(partition, |replica, _| replica.persisted(token));
            if let Some(hints) = self.hints.get_mut(&partition) {
                self.touched.insert(partition);
                hints.persisted(token);
            }
        }
        for (partition, to, message) in released.messages {
            self.outbox.send_consensus(partition, to, message);
        }
        self.discard_given_up(now);
    }

    fn on_written(&mut self, number: u64) {
        let released = self.gate.written(number);
        for (partition, token) in released.tokens {
            self.with(partition, |replica, _| replica.written(token));
        }
        for (partition, to, message) in released.messages {
            self.outbox.send_consensus(partition, to, message);
        }
    }

    /// Followers of a node that may be gone look for another leader soon.
    fn suspect(&mut self, node: NodeId, now: Now) {
        for (&partition, replica) in &mut self.replicas {
            if replica.leader() == Some(node) || (partition.keyspace() != 0 && replica.is_leader()) {
                self.touched.insert(partition);
                replica.suspect(node, now);
            }
        }
    }

    fn on_peer_lost(&mut self, node: NodeId, now: Now) {
        self.forwards.lost(node, now.time, &mut self.outbox);
        if self.peers.lost(node) {
            self.suspect(node, now);
        }
    }

    fn wake(&mut self, now: Now) {
        for node in self.peers.wake(now.time, &mut self.outbox) {
            self.suspect(node, now);
        }
        while let Some(&(at, partition)) = self.timers.first() {
            if at > now.time {
                break;
            }
            self.timers.pop_first();
            self.timer_of.remove(&partition);
            if let Some(replica) = self.replicas.get_mut(&partition) {
                self.touched.insert(partition);
                let peers = &self.peers;
                replica.wake(now, &|node| peers.is_alive(node, now.time), &mut self.outbox);
            } else if self.primaries.contains_key(&partition) || self.hints.contains_key(&partition) {
                self.touched.insert(partition);
            }
        }
        if self.next_sweep <= now.time {
            let mut forwards = std::mem::take(&mut self.forwards);
            let mut outbox = std::mem::take(&mut self.outbox);
            forwards.sweep(now.time, &|partition| self.why_unserved(partition, now.time), &mut outbox);
            (self.forwards, self.outbox) = (forwards, outbox);
            let first = self.forwards.first_deadline();
            self.next_sweep = first.map_or(Time::NEVER, |first| sweep_at(first, now.time));
        }
        self.hedge(now);
        for (partition, work) in self.forwards.due(now.time) {
            if let Some((partition, work)) = self.route_anew(partition, work) {
                self.dispatch(partition, work, now);
            }
        }
        if self.next_hand_over <= now.time {
            self.hand_over(now);
        }
        self.steer(now);
        self.measure_heat(now);
    }

    /// Hands out answers, and sends on what replicas could not serve, in the order of arrival.
    fn settle(&mut self, now: Now, outputs: &mut Vec<Output>) {
        let mut elsewhere = std::mem::take(&mut self.outbox.elsewhere);
        elsewhere.sort_by_key(|(_, work, _)| work.arrival);
        for (partition, work, leader) in elsewhere {
            self.send_elsewhere(partition, work, leader, now);
        }
        for (partition, work) in std::mem::take(&mut self.outbox.unserved) {
            let text = format!("TIMEOUT {}, nothing was done", self.why_unserved(partition, now.time));
            self.outbox.answers.push((work.requester, work.is_late(&text)));
        }
        for (requester, reply) in std::mem::take(&mut self.outbox.answers) {
            match requester {
                Requester::Nobody => {}
                Requester::Local { id, tells } => {
                    let told = self.outbox.seen.remove(&id);
                    let seen = tells.filter(|_| matches!(reply, Reply::Done(_))).and_then(|partition| {
                        Some((partition, told.or_else(|| self.seen_by_answers(partition))?))
                    });
                    outputs.push(Output::Reply { id, reply, seen });
                }
                Requester::Remote { node, incarnation, sequence, tells, .. } => {
                    let seen = tells.filter(|_| matches!(reply, Reply::Done(_)));
                    let seen = seen.and_then(|partition| self.seen_by_answers(partition));
                    forward::answer(node, (incarnation, sequence), &reply, seen, &mut self.outbox);
                }
            }
        }
    }

    /// Ends a batch of inputs: gives out what is to be sent and persisted for all of them.
    pub fn finish(&mut self, now: Now, outputs: &mut Vec<Output>) {
        let gathering = (
            self.gather.begin(&self.replicas, &mut self.touched, now.time),
            self.ship.begin(&self.replicas, &mut self.touched, now.time),
        );
        let may_differ = self.touched.contains(&CATALOGUE);
        self.finish_replicas(gathering, now);
        if may_differ && self.read_catalogue(now) {
            // Partitions came and went.
            self.finish_replicas(gathering, now);
        }
        self.release_hints(now);
        self.tell_reports(now);
        self.keep_lost();
        self.settle(now, outputs);
        self.gate.flush(&mut self.outbox, outputs);
        self.note_given_up();
    }

    /// Partitions that come about are here when this ends, before it is looked at which ought to be.
    fn finish_replicas(&mut self, gathering: (bool, bool), now: Now) {
        self.finish_touched(gathering, now);
        while self.deliver(now) {
            self.finish_touched(gathering, now);
        }
    }

    fn finish_touched(&mut self, (gathering, keeps_back): (bool, bool), now: Now) {
        for partition in std::mem::take(&mut self.touched) {
            let Some(replica) = self.replicas.get_mut(&partition) else {
                match partition.hinted() {
                    None => self.finish_primary(partition, now),
                    Some(_) => self.finish_hints(partition, now),
                }
                continue;
            };
            replica.gather(gathering);
            replica.keep_back(keeps_back);
            replica.finish(now, &mut self.outbox);
            self.gather.note(partition, replica, now.time);
            self.ship.note(partition, replica, now.time);
            let (at, has_snapshot) = (replica.wake_at(now), replica.has_snapshot());
            let was_read = replica.has_relaxed_reads();
            self.set_timer(partition, at);
            if has_snapshot {
                self.note_durable(partition);
            }
            if was_read && self.options.hot_reads > 0 {
                self.heat.arm(now.time);
            }
        }
    }

    /// Deadlines move away with every sign of life, so a timer is only ever moved to an earlier time: one that goes off
    /// too early finds nothing due and is set anew.
    fn set_timer(&mut self, partition: PartitionId, at: Time) {
        let former = self.timer_of.get(&partition).copied().unwrap_or(Time::NEVER);
        if former <= at {
            return;
        }
        if former != Time::NEVER {
            self.timers.remove(&(former, partition));
        }
        self.timers.insert((at, partition));
        self.timer_of.insert(partition, at);
    }

    /// When [`Input::Wake`] is due; [`Time::NEVER`] if nothing is waiting for time to pass.
    pub fn wake_at(&self) -> Time {
        let timer = self.timers.first().map_or(Time::NEVER, |&(at, _)| at);
        let own = self
            .peers
            .wake_at()
            .min(self.forwards.wake_at())
            .min(self.gather.wake_at())
            .min(self.ship.wake_at())
            .min(self.heat.wake_at());
        let governed = self.governed.wake_at();
        timer.min(own).min(self.releases_at).min(self.next_sweep).min(self.next_hand_over).min(governed)
    }

    /// Writes of deposed primaries that their successors have not, and that this node has kept, by group.
    pub fn lost(&self) -> impl Iterator<Item = (PartitionId, &[Lost])> {
        self.lost.iter().map(|(partition, lost)| (*partition, &lost.writes[..]))
    }

    /// The state of each partition.
    pub fn status(&self) -> Vec<PartitionStatus> {
        let primaries = self.primaries.values().map(crate::merged::replica::Replica::status);
        self.replicas.values().map(Strategy::status).chain(primaries).collect()
    }

    /// What is held for members of groups that have no replica here.
    pub fn hints(&self) -> Vec<HintsStatus> {
        self.hints.values().map(Hints::status).collect()
    }

    /// Did storage find something that is held for members of a group, and this node does not know yet what became of the group?
    pub fn has_unopened_hints(&self, group: PartitionId) -> bool {
        self.governed.remembered_hints().contains(&group)
    }

    /// The mutations that are held durably for members of a group.
    pub fn hinted(&self, group: PartitionId) -> Vec<data::merged::Dot> {
        self.hints.get(&group.of_hints()).map(|hints| hints.dots().collect()).unwrap_or_default()
    }

    /// The leader of a partition as known here.
    pub fn leader(&self, partition: PartitionId) -> Option<NodeId> {
        self.replicas.get(&partition)?.leader()
    }

    /// The applied state of a partition, for `CLUSTER COUNTKEYSINSLOT`, metrics and oracles.
    pub fn table(&self, partition: PartitionId) -> Option<&Table> {
        self.replicas.get(&partition).map(Strategy::table)
    }

    /// The replica here of a keyspace that takes writes on all of them.
    pub fn causal(&self, partition: PartitionId) -> Option<&crate::merged::causal::Causal> {
        self.primaries.get(&partition)?.causal()
    }

    /// The last entry that is applied here.
    pub fn applied(&self, partition: PartitionId) -> Option<u64> {
        self.replicas.get(&partition).map(Strategy::applied)
    }

    /// Has `node` been heard of lately?
    pub fn is_alive(&self, node: NodeId, now: Now) -> bool {
        node == self.options.node || self.peers.is_alive(node, now.time)
    }

    /// Hands over every leadership held here and takes none any more (graceful stop); go on stepping until
    /// [`Shard::leads_none`].
    pub fn hand_over(&mut self, now: Now) {
        self.next_hand_over = if self.leads_none() { Time::NEVER } else { now.time + HAND_OVER_INTERVAL };
        let peers = &self.peers;
        for (&partition, replica) in &mut self.replicas {
            self.touched.insert(partition);
            replica.hand_over(now, &|node| peers.is_alive(node, now.time));
        }
    }

    /// Does this node lead nothing (any more)?
    pub fn leads_none(&self) -> bool {
        self.replicas.values().all(|replica| !replica.is_leader())
    }

    /// Is nothing on its way to the disk?
    pub fn is_persisted(&self) -> bool {
        self.gate.is_idle()
    }
}
