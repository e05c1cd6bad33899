//! The world: replicas, their disks, the network between them, clients.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use data::merged::{Dot, Merge, MergedTable, VersionVector};
use data::{Command, Stamp};

use super::super::state::State;
use super::super::{Bug, Causal, Effects, Event, Message, Options, Recovered, StateFile, Taking};
use crate::NodeId;
use crate::random::Random;
use crate::time::{Now, Time};

const MILLISECOND: u64 = 1_000_000;

/// What happened, so that a run that is idle is noticed.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    pub writes: u64,
    pub acknowledged: u64,
    pub lost_messages: u64,
    pub doubled_messages: u64,
    pub cut_messages: u64,
    pub crashes: u64,
    pub entries_lost_in_crashes: u64,
    pub held: u64,
    pub duplicates: u64,
    pub skewed: u64,
    pub dead_for_good: u64,
    pub joined: u64,
    pub snapshots: u64,
    pub repaired_with_steps: u64,
    pub repaired_with_states: u64,
    pub ejected: u64,
    pub returned: u64,
    pub simulated_ms: u64,
}

impl Counters {
    pub fn add(&mut self, other: &Counters) {
        self.writes += other.writes;
        self.acknowledged += other.acknowledged;
        self.lost_messages += other.lost_messages;
        self.doubled_messages += other.doubled_messages;
        self.cut_messages += other.cut_messages;
        self.crashes += other.crashes;
        self.entries_lost_in_crashes += other.entries_lost_in_crashes;
        self.held += other.held;
        self.duplicates += other.duplicates;
        self.skewed += other.skewed;
        self.dead_for_good += other.dead_for_good;
        self.joined += other.joined;
        self.snapshots += other.snapshots;
        self.repaired_with_steps += other.repaired_with_steps;
        self.repaired_with_states += other.repaired_with_states;
        self.ejected += other.ejected;
        self.returned += other.returned;
        self.simulated_ms += other.simulated_ms;
    }

    pub fn require_not_idle(&self) {
        let each = [
            self.writes,
            self.acknowledged,
            self.lost_messages,
            self.doubled_messages,
            self.cut_messages,
            self.crashes,
            self.entries_lost_in_crashes,
            self.held,
            self.duplicates,
            self.skewed,
            self.dead_for_good,
            self.joined,
            self.snapshots,
            self.repaired_with_steps,
            self.repaired_with_states,
            self.ejected,
            self.returned,
        ];
        assert!(each.iter().all(|count| *count > 20), "something did not happen: {self:?}");
    }
}

struct Node {
    replica: Option<Causal>,
    /// What was written to the disk, and how much of it is synced.
    disk: Vec<(u64, Bytes)>,
    /// The newest state on the disk: its chunks, and what stands beside them.
    state: Option<(Vec<Bytes>, Bytes)>,
    /// A state on its way to the disk: when it is there, and whether it came from elsewhere.
    state_under_way: Option<(u64, bool, StateFile)>,
    /// A snapshot that is being taken, and its chunks so far.
    taking: Option<(Taking, Vec<Bytes>)>,
    synced: usize,
    /// Syncs under way: when they end, and up to which entry.
    syncs: Vec<(u64, u64)>,
    /// Writes to be acknowledged: entry and dot.
    waiting: Vec<(u64, Dot)>,
    /// How far the wall clock is off, in milliseconds.
    skew_ms: i64,
    dead_until: u64,
    gone: bool,
}

pub struct World {
    random: Random,
    bug: Option<Bug>,
    at: u64,
    nodes: Vec<Node>,
    /// Messages on their way: when they arrive, a number, from, to.
    network: BTreeMap<(u64, u64), (usize, usize, Message)>,
    next_message: u64,
    /// From whom to whom nothing gets through.
    cut: Vec<(usize, usize)>,
    /// All mutations that were ever durable or told, by name.
    seen: BTreeMap<Dot, Bytes>,
    acknowledged: Vec<Dot>,
    /// Who is not waited for, as the catalogue says.
    away: Vec<usize>,
    /// Who hears nobody, and from when on is not heard either, until when.
    isolated: Vec<(usize, u64, u64)>,
    broken: bool,
    /// So much is kept one by one.
    recent_bytes: usize,
    pub counters: Counters,
}

impl World {
    pub fn new(seed: u64, bug: Option<Bug>) -> World {
        let mut random = Random::new(seed);
        let count = 3 + random.below(2) as usize;
        let recent_bytes = if random.below(3) == 0 { usize::MAX } else { 400 };
        let mut world = World {
            random,
            bug,
            at: 1000 * MILLISECOND,
            nodes: Vec::new(),
            network: BTreeMap::new(),
            next_message: 0,
            cut: Vec::new(),
            seen: BTreeMap::new(),
            acknowledged: Vec::new(),
            away: Vec::new(),
            isolated: Vec::new(),
            broken: true,
            recent_bytes,
            counters: Counters::default(),
        };
        for node in 0..count {
            world.add_node();
            world.start(node, count);
        }
        world
    }

    fn add_node(&mut self) {
        // Some clocks are a little wrong, some are so much ahead that nobody may follow them.
        let skew_ms = match self.random.below(6) {
            0 => 1500,
            1 => -800,
            kind => kind as i64 * 10,
        };
        self.nodes.push(Node {
            replica: None,
            disk: Vec::new(),
            state: None,
            state_under_way: None,
            taking: None,
            synced: 0,
            syncs: Vec::new(),
            waiting: Vec::new(),
            skew_ms,
            dead_until: 0,
            gone: false,
        });
    }

    fn now(&self, node: usize) -> Now {
        let wall_ms = (self.at / MILLISECOND) as i64 + self.nodes[node].skew_ms;
        Now { time: Time(self.at), wall_ms: wall_ms.max(1) as u64 }
    }

    fn start(&mut self, node: usize, count: usize) {
        let mut options = Options::new(node as u64 + 1);
        options.life = self.random.draw();
        options.max_skew = Duration::from_secs(1);
        options.held_limit = 20;
        options.batch_bytes = 200;
        // Small enough for all that happens only with much.
        options.slice_bytes = 60;
        options.window = 10;
        options.recent_bytes = self.recent_bytes;
        options.planted = self.bug;
        let members: Vec<(NodeId, u64)> = (1..=count as u64).map(|number| (NodeId(number), number)).collect();
        let state = self.nodes[node].state.as_ref().map(|(chunks, meta)| {
            let mut state = State::default();
            chunks.iter().for_each(|chunk| state.load(chunk).expect("well formed"));
            (state, meta.clone())
        });
        let recovered = Recovered { state, log: self.nodes[node].disk.clone() };
        let now = self.now(node);
        let replica = Causal::new(options, &members, recovered, now);
        self.nodes[node].replica = Some(replica.expect("the log is whole"));
        self.turn(node);
    }

    pub fn break_things(&mut self) {
        let end = self.at + (2000 + self.random.below(4000)) * MILLISECOND;
        while self.at < end {
            self.at += self.random.below(4 * MILLISECOND);
            self.step();
            match self.random.below(400) {
                0..3 => self.crash(),
                3..6 => {
                    let (from, to) = (self.any(), self.any());
                    self.cut.push((from, to));
                    if self.random.below(2) == 0 {
                        self.cut.push((to, from));
                    }
                }
                6..10 => self.cut.clear(),
                10 => {
                    let node = self.any();
                    self.nodes[node].skew_ms += self.random.below(400) as i64 - 200;
                }
                11 if self.random.below(8) == 0 => self.lose_for_good(),
                12 => self.join(),
                13 => self.tell_members(),
                14 if self.random.below(3) == 0 => self.eject(),
                15 => self.take_back(),
                16..19 => self.begin_snapshot(),
                19..130 => self.write(),
                _ => {}
            }
        }
    }

    /// Everything works from now on; all that live become the same.
    pub fn heal_and_require_progress(&mut self) {
        self.broken = false;
        self.cut.clear();
        for node in 0..self.nodes.len() {
            self.nodes[node].skew_ms = 0;
            self.nodes[node].dead_until = 0;
        }
        let living = self.nodes.iter().enumerate().filter(|(_, node)| !node.gone);
        let members: Vec<(NodeId, u64)> =
            living.map(|(node, _)| (NodeId(node as u64 + 1), node as u64 + 1)).collect();
        let end = self.at + 30_000 * MILLISECOND;
        loop {
            // Whoever is gone is told to be gone, some time.
            for node in &mut self.nodes {
                if let Some(replica) =
                    node.replica.as_mut().filter(|_| self.at % (500 * MILLISECOND) < MILLISECOND)
                {
                    replica.set_members(&members);
                    let away = self.away.clone();
                    replica.set_away(|node| away.contains(&(node.0 as usize - 1)));
                }
            }
            self.take_back();
            self.at += MILLISECOND;
            self.step();
            if self.is_settled() {
                break;
            }
            assert!(self.at < end, "it does not settle: {}", self.describe());
        }
        self.counters.simulated_ms = self.at / MILLISECOND - 1000;
        let living: Vec<&Causal> = self.living().collect();
        let digest = living[0].table().digest();
        for replica in &living {
            assert_eq!(replica.table().digest(), digest, "replicas differ");
            assert_eq!(replica.table().digest(), replica.table().recompute_digest());
            let missing = self.acknowledged.iter().find(|dot| !replica.vector().covers(**dot));
            assert!(missing.is_none(), "{missing:?} was acknowledged and is lost");
        }
        for node in 0..self.nodes.len() {
            self.check(node);
            self.counters.duplicates += self.nodes[node].replica.as_ref().map_or(0, Causal::duplicates);
        }
    }

    fn is_settled(&self) -> bool {
        let mut vectors = self.living().map(Causal::durable);
        let Some(first) = vectors.next() else { return true };
        vectors.all(|vector| vector == first)
            && self.away.is_empty()
            && self.living().all(|replica| replica.vector() == first && replica.held() == 0)
            && self.nodes.iter().all(|node| node.waiting.is_empty())
    }

    fn living(&self) -> impl Iterator<Item = &Causal> {
        self.nodes.iter().filter_map(|node| node.replica.as_ref())
    }

    fn describe(&self) -> String {
        let one = |replica: &Causal| {
            let (durable, vector, held) = (replica.durable(), replica.vector(), replica.held());
            format!("{durable:?} of {vector:?}, base {:?} ({held} held)", replica.kept.base)
        };
        let all = self.living().map(one).collect::<Vec<_>>().join("\n");
        format!("{all}\naway: {:?}", self.away)
    }

    fn any(&mut self) -> usize {
        self.random.below(self.nodes.len() as u64) as usize
    }

    /// What is due happens.
    fn step(&mut self) {
        let (at, broken) = (self.at, self.broken);
        self.isolated.retain(|(.., until)| broken && *until > at);
        while let Some(entry) = self.network.first_entry()
            && entry.key().0 <= self.at
        {
            let (from, to, message) = entry.remove();
            let at = self.at;
            let is_isolated =
                self.isolated.iter().any(|(node, mute, _)| *node == to || (*node == from && *mute <= at));
            if is_isolated || self.cut.contains(&(from, to)) {
                self.counters.cut_messages += 1;
                continue;
            }
            let now = self.now(to);
            if let Some(replica) = &mut self.nodes[to].replica {
                replica.receive(NodeId(from as u64 + 1), message, now);
                self.turn(to);
            }
        }
        for node in 0..self.nodes.len() {
            let at = self.at;
            if self.nodes[node].replica.is_none() {
                if !self.nodes[node].gone && self.nodes[node].dead_until <= at {
                    self.start(node, self.nodes.len());
                }
                continue;
            }
            let done: Vec<(u64, u64)> =
                self.nodes[node].syncs.extract_if(.., |(due, _)| *due <= at).collect();
            if let Some(index) = done.into_iter().map(|(_, index)| index).max() {
                self.synced(node, index);
            }
            self.go_on_with_state(node);
            let replica = self.nodes[node].replica.as_ref();
            if replica.is_some_and(|replica| replica.wake_at() <= Time(at)) {
                self.turn(node);
            }
        }
    }

    fn synced(&mut self, node: usize, index: u64) {
        let place = self.nodes[node].disk.partition_point(|(at, _)| *at <= index);
        self.nodes[node].synced = self.nodes[node].synced.max(place);
        let synced: Vec<Bytes> =
            self.nodes[node].disk[..place].iter().map(|(_, bytes)| bytes.clone()).collect();
        for bytes in synced {
            self.note(&bytes);
        }
        if let Some(replica) = &mut self.nodes[node].replica {
            replica.persisted(index);
        }
        let done: Vec<(u64, Dot)> = self.nodes[node].waiting.extract_if(.., |(at, _)| *at <= index).collect();
        self.counters.acknowledged += done.len() as u64;
        self.acknowledged.extend(done.into_iter().map(|(_, dot)| dot));
        self.turn(node);
    }

    /// A mutation that may live on has a name that no other one has.
    fn note(&mut self, bytes: &Bytes) {
        let Some(merge) = mutation(bytes) else { return };
        let known = self.seen.entry(merge.dot).or_insert_with(|| bytes.clone());
        assert_eq!(known, bytes, "two mutations are called {:?}", merge.dot);
    }

    /// Ends a batch of a node.
    fn turn(&mut self, node: usize) {
        let now = self.now(node);
        let Some(replica) = &mut self.nodes[node].replica else { return };
        let Effects { persist, send, events, state } = replica.finish(now);
        let held = replica.held();
        self.counters.held += u64::from(held > 0);
        let is_repaired = events.iter().any(|event| matches!(event, Event::Repaired { .. }));
        for event in events {
            match event {
                Event::Skewed { .. } => self.counters.skewed += 1,
                Event::Malformed { from } => panic!("{from:?} sent something that is none"),
                Event::Differs { .. } | Event::HintsFull { .. } => panic!("{event:?}"),
                Event::Repaired { with_state: true, .. } => self.counters.repaired_with_states += 1,
                Event::Repaired { .. } => self.counters.repaired_with_steps += 1,
            }
        }
        if let Some(file) = state {
            self.nodes[node].taking = None;
            let due = self.at + self.random.below(400 * MILLISECOND);
            self.nodes[node].state_under_way = Some((due, true, file));
        }
        if let Some((last, _)) = persist.last() {
            let due = self.at + self.random.below(20 * MILLISECOND);
            self.nodes[node].syncs.push((due, *last));
        }
        for (_, bytes) in &persist {
            let Some(merge) = mutation(bytes) else { continue };
            let ahead_ms = merge.time.ms.saturating_sub(now.wall_ms);
            let is_own = merge.dot.origin == node as u64 + 1;
            assert!(is_own || ahead_ms <= 1000, "a time {ahead_ms} ms ahead was taken");
        }
        self.nodes[node].disk.extend(persist);
        for (to, message) in send {
            if let Message::Mutations(mutations) = &message {
                mutations.iter().for_each(|bytes| self.note(bytes));
            }
            self.send(node, to.0 as usize - 1, message);
        }
        if self.random.below(40) == 0 || is_repaired {
            self.check(node);
        }
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        if self.broken && self.random.below(10) == 0 {
            self.counters.lost_messages += 1;
            return;
        }
        let copies = if self.broken && self.random.below(10) == 0 { 2 } else { 1 };
        self.counters.doubled_messages += copies - 1;
        for _ in 0..copies {
            let spread = if self.broken { 60 } else { 3 };
            let due = self.at + MILLISECOND / 2 + self.random.below(spread * MILLISECOND);
            self.next_message += 1;
            self.network.insert((due, self.next_message), (from, to, message.clone()));
        }
    }

    /// A node dies. What was not synced is gone, all of it or what is behind some entry.
    fn crash(&mut self) {
        let node = self.any();
        if self.nodes[node].replica.take().is_none() {
            return;
        }
        let (synced, written) = (self.nodes[node].synced, self.nodes[node].disk.len());
        let left = synced + self.random.below((written - synced) as u64 + 1) as usize;
        self.counters.crashes += 1;
        self.counters.entries_lost_in_crashes += (written - left) as u64;
        self.nodes[node].disk.truncate(left);
        self.nodes[node].synced = left;
        for (_, bytes) in self.nodes[node].disk.clone() {
            self.note(&bytes);
        }
        self.nodes[node].syncs.clear();
        (self.nodes[node].taking, self.nodes[node].state_under_way) = (None, None);
        self.nodes[node].waiting.clear();
        self.nodes[node].dead_until = self.at + self.random.below(800 * MILLISECOND);
    }

    /// A node dies for good. What only it held is lost, so of what it acknowledged only what others hold is asked for.
    fn lose_for_good(&mut self) {
        let node = self.any();
        if self.nodes.iter().any(|node| node.gone) || self.nodes[node].replica.is_none() {
            return;
        }
        self.counters.dead_for_good += 1;
        let dead = &mut self.nodes[node];
        (dead.replica, dead.gone) = (None, true);
        dead.waiting.clear();
        let held_by_others = |dot: &Dot| self.living().any(|other| other.durable().covers(*dot));
        let kept: Vec<Dot> = self.acknowledged.iter().copied().filter(held_by_others).collect();
        self.acknowledged = kept;
    }

    /// A new replica takes the place of one that is gone.
    fn join(&mut self) {
        if self.nodes.iter().filter(|node| node.gone).count() > self.counters.joined as usize {
            self.counters.joined += 1;
            self.add_node();
            let node = self.nodes.len() - 1;
            self.start(node, node + 1);
        }
    }

    /// Some node hears who the members are.
    fn tell_members(&mut self) {
        let node = self.any();
        let living = self.nodes.iter().enumerate().filter(|(_, node)| !node.gone);
        let members: Vec<(NodeId, u64)> =
            living.map(|(node, _)| (NodeId(node as u64 + 1), node as u64 + 1)).collect();
        let away = self.away.clone();
        if let Some(replica) = &mut self.nodes[node].replica {
            replica.set_members(&members);
            replica.set_away(|node| away.contains(&(node.0 as usize - 1)));
        }
    }

    /// The catalogue decides that some replica is not waited for; as ever, more than half are.
    fn eject(&mut self) {
        let node = self.any();
        let seats = self.nodes.iter().filter(|node| !node.gone).count();
        let counted =
            |other: &usize| *other != node && !self.nodes[*other].gone && !self.away.contains(other);
        let others = (0..self.nodes.len()).filter(counted).count();
        if 2 * others > seats && !self.nodes[node].gone && !self.away.contains(&node) {
            self.away.push(node);
            self.counters.ejected += 1;
            // It is away while others go on; for a while, or all the time.
            let mute = self.at + self.random.below(400) * MILLISECOND;
            let until = mute + self.random.below(3000) * MILLISECOND;
            self.isolated.push((node, mute, until));
            for _ in 0..self.random.below(8) {
                self.tell_members();
            }
        }
    }

    /// Those that lack nothing that is not kept are waited for again.
    fn take_back(&mut self) {
        let away = self.away.clone();
        for node in away {
            // It cannot ask for it.
            if self.isolated.iter().any(|(isolated, ..)| *isolated == node) {
                continue;
            }
            let now = self.now(node);
            let is_level = self.nodes[node].replica.as_ref().map(|replica| replica.is_level(now));
            if is_level.unwrap_or(self.nodes[node].gone) {
                self.away.retain(|other| *other != node);
                self.counters.returned += 1;
            }
        }
    }

    fn begin_snapshot(&mut self) {
        let node = self.any();
        if self.nodes[node].state_under_way.is_none()
            && let Some(replica) = &self.nodes[node].replica
        {
            self.nodes[node].taking = Some((replica.begin_snapshot(), Vec::new()));
        }
    }

    /// A snapshot goes on by a chunk, perhaps; a state is durable, perhaps.
    fn go_on_with_state(&mut self, node: usize) {
        let (at, lazy) = (self.at, self.random.below(4) > 0);
        let here = &mut self.nodes[node];
        let Some(replica) = &mut here.replica else { return };
        if let Some((taking, chunks)) = here.taking.as_mut().filter(|_| !lazy) {
            if let Some(chunk) = replica.snapshot_chunk(taking) {
                chunks.push(chunk);
            } else if let Some(meta) = replica.snapshot_end(taking)
                && here.state_under_way.is_none()
            {
                let file = StateFile { chunks: std::mem::take(chunks), meta, index: taking.index() };
                here.taking = None;
                here.state_under_way = Some((at, false, file));
            }
        }
        let Some((_, elsewhere, file)) = here.state_under_way.take_if(|(due, ..)| *due <= at) else { return };
        let trimmed = here.disk.partition_point(|(index, _)| *index <= file.index);
        let gone: Vec<(u64, Bytes)> = here.disk.drain(..trimmed).collect();
        here.synced = here.synced.saturating_sub(trimmed);
        here.state = Some((file.chunks, file.meta));
        match elsewhere {
            true => replica.state_is_durable(),
            false => self.counters.snapshots += 1,
        }
        gone.iter().for_each(|(_, bytes)| self.note(bytes));
        self.turn(node);
    }

    /// A client does something at some node, by real commands.
    fn write(&mut self) {
        let node = self.any();
        let now = self.now(node);
        let key = self.random.below(4);
        let (one, other) = (self.random.below(5), self.random.below(9));
        let text = match self.random.below(14) {
            0 => format!("SET s{key} {other}"),
            1 => format!("INCR s{key}"),
            2 => format!("INCRBY s{key} {other}"),
            3 => format!("HSET h{key} f{one} {other}"),
            4 => format!("HINCRBY h{key} f{one} {other}"),
            5 => format!("SADD m{key} a{one} a{other}"),
            6 => format!("SREM m{key} a{one}"),
            7 => format!("RPUSH l{key} {other}"),
            8 => format!("LPOP l{key}"),
            9 => format!("ZADD z{key} {other} a{one}"),
            10 => format!("ZINCRBY z{key} {other} a{one}"),
            11 => format!("DEL s{key} h{key} m{key} l{key} z{key}"),
            12 => format!("LINSERT l{key} BEFORE {other} {one}"),
            _ => format!("PEXPIRE h{key} {}", 1_000_000 + other),
        };
        let arguments: Vec<Bytes> =
            text.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
        let command = Command::lookup(&arguments[0]).expect("a command");
        let Some(replica) = &mut self.nodes[node].replica else { return };
        let (dot, stamp) = (replica.next_dot(), Stamp { time_ms: now.wall_ms, ..Stamp::default() });
        let prepared = data::prepare_merged(command, &arguments, replica.table(), dot, &stamp);
        if !prepared.changes.is_empty() {
            let index = replica.write(prepared.changes, usize::MAX, now).expect("it may be as long as it is");
            self.nodes[node].waiting.push((index, dot));
            self.counters.writes += 1;
            self.turn(node);
        }
    }

    /// What a replica has applied is closed under causes, and its state is what the specification says: that of all that it has
    /// applied, in the order of their times.
    fn check(&self, node: usize) {
        let Some(replica) = &self.nodes[node].replica else { return };
        // What a living replica is known to hold it holds durably.
        for (peer, known) in &replica.peers {
            let other = self.nodes.get(peer.0 as usize - 1).and_then(|node| node.replica.as_ref());
            if let Some(other) = other {
                let what = format!("{} is believed to hold {:?}", peer.0, known.holds);
                assert!(other.durable().includes(&known.holds), "{what}, and holds {:?}", other.durable());
            }
        }
        let own = self.nodes[node].disk.iter().filter_map(|(_, bytes)| mutation(bytes));
        let own: BTreeMap<Dot, Merge> = own.map(|merge| (merge.dot, merge)).collect();
        let mut all: Vec<Merge> = Vec::new();
        for last in replica.vector().iter() {
            for counter in 1..=last.counter {
                let dot = Dot { counter, ..last };
                let known = own.get(&dot).cloned().or_else(|| mutation(self.seen.get(&dot)?));
                let merge = known.unwrap_or_else(|| panic!("{dot:?} is applied, and nobody made it"));
                let has_causes = replica.vector().includes(&merge.vector);
                assert!(has_causes, "{dot:?} was applied before what it depends on");
                all.push(merge);
            }
        }
        all.sort_by_key(|merge| (merge.time, merge.dot));
        let (mut table, mut applied) = (MergedTable::new(), VersionVector::new());
        for merge in &all {
            assert!(applied.includes(&merge.vector), "{:?} is earlier than what it depends on", merge.dot);
            applied.raise(merge.dot.origin, merge.dot.counter);
            table.apply(merge);
        }
        require_same(&table, replica.table(), "another order gives another state");
        // What is kept for others stands for all that is not in its base.
        let (mut table, mut base) = (MergedTable::new(), replica.kept.base.clone());
        // Whoever has it has the causes of it.
        for merge in all.iter().filter(|merge| replica.kept.base.covers(merge.dot)) {
            base.merge(&merge.vector);
        }
        let base = &base;
        all.iter().filter(|merge| base.covers(merge.dot)).for_each(|merge| table.apply(merge));
        let steps = replica.kept.all_steps(u64::MAX);
        let steps = data::merged::resolve(steps, &table, |_, _| base, &Vec::new)
            .expect("it is known who took it away");
        table.apply_steps(&steps, |_, _| base);
        require_same(&table, replica.table(), "what is kept for others is not all");
    }
}

fn require_same(expected: &MergedTable, found: &MergedTable, what: &str) {
    if expected.digest() == found.digest() {
        return;
    }
    for key in ["s", "h", "m", "l", "z"].iter().flat_map(|kind| (0..4).map(move |key| format!("{kind}{key}")))
    {
        let elements = |table: &MergedTable| {
            let mut elements = table.elements(key.as_bytes());
            elements.sort_by_key(|(facet, name, _)| (*facet, name.clone()));
            elements
        };
        let (expected, found) = (elements(expected), elements(found));
        if expected != found {
            println!("{key}: expected {expected:?}\n    found {found:?}");
        }
    }
    panic!("{what}");
}

/// The mutation in an entry, if it is one and not steps.
fn mutation(bytes: &Bytes) -> Option<Merge> {
    (bytes.first() == Some(&1)).then(|| Merge::decode(bytes).expect("well formed"))
}
