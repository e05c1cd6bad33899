//! What a node holds for members of a group that cannot be reached, though it has no replica of it itself: *hints* (DeCandia et al., Dynamo, SOSP
//! 2007, section 4.6).
//!
//! A member tells it its log from where all members are ([`stand_ins`](super::causal)). It holds mutations as they are, in the order of their causes, each
//! durably before it says so, and never looks into them; so all that it holds, or all members have, is one vector.
//!
//! - It asks all members again and again what they hold. What one of them has lacked for a while it gets from here, a little at a time; what all hold
//!   goes, and nothing else ever does: not for its age, and not for its size.
//! - So there is a bound on what is taken instead: with so many bytes it takes no more, says so, and members do not count on it. Their
//!   writes are refused then, and what could not be hinted comes by anti-entropy, as in any other keyspace.
//! - Members that are away, as the catalogue says, are not waited for: they take a state.
//!
//! No I/O, no clock, no chance: see the crate.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use data::merged::{Dot, Merge, VersionVector};

use super::causal::{self, Message, Round};
use crate::contract::{Event, Write};
use crate::ordered::raft::{Entry, EntryKind, PersistToken};
use crate::primaries::Primaries;
use crate::shard::outbox::Outbox;
use crate::shard::{Options, Recovered};
use crate::time::{Now, Time};
use crate::wire;
use crate::{NodeId, PartitionId};

/// How often members are asked what they hold.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// The same while something is handed over.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// What a member lacks for so long it does not get from others.
const PATIENCE: Duration = Duration::from_secs(1);
/// So much is handed over to a member at a time; with [`ASK_AGAIN`] that is a rate.
const HANDED_OVER_AT_ONCE: usize = 512 << 10;
/// Members that were not heard for so long do not count on what is here.
const GUEST_FOR: Duration = Duration::from_secs(10);
/// Bytes of mutations that came before their causes.
const MOST_HELD: usize = 8 << 20;
/// All entries are of this term: nobody is elected.
const TERM: u64 = 1;

/// What tells questions that are asked for hints from those of a replica in the same process.
pub(crate) fn life(incarnation: u64) -> u64 {
    incarnation.rotate_left(1) ^ 0x6869_6e74
}

/// What a node holds for others, for one group, as a look at it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HintsStatus {
    /// The group.
    pub group: PartitionId,
    /// Mutations that some member has not got.
    pub hints: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The bytes with which no more are taken.
    pub limit: u64,
    /// How long the oldest of them is here, in milliseconds.
    pub oldest_ms: u64,
    /// Mutations that were handed over to members, since the process began.
    pub handed_over: u64,
    /// Mutations that were not taken for want of room, since the process began; they may have come again.
    pub refused: u64,
}

/// A mutation that is held.
#[derive(Debug)]
struct Hint {
    index: u64,
    dot: Dot,
    bytes: Bytes,
    since: Time,
}

/// A member, as it said last.
#[derive(Debug)]
struct Member {
    origin: u64,
    holds: VersionVector,
    /// It has answered since something was handed over to it last.
    has_answered: bool,
    heard_at: Option<Time>,
    /// Since when it lacks something without any progress, or gets it from here.
    lacking_since: Option<Time>,
    gets: bool,
    /// When it was sent something last since a client of it asked.
    repaired_at: Option<Time>,
}

/// A member that counts on what is here.
#[derive(Debug, Default)]
struct Guest {
    heard_at: Time,
    /// What it was told to be here.
    told: VersionVector,
    /// It is to be told again.
    owed: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Hints {
    group: PartitionId,
    /// Under which it is stored.
    partition: PartitionId,
    options: Options,
    members: BTreeMap<NodeId, Member>,
    guests: BTreeMap<NodeId, Guest>,
    /// All of this is here, or with all members; and durably so.
    vector: VersionVector,
    durable: VersionVector,
    /// In the order of causes.
    hints: VecDeque<Hint>,
    bytes: u64,
    /// The bytes of all of the log.
    log_bytes: u64,
    /// What came before its causes.
    early: BTreeMap<(u64, u64), Bytes>,
    early_bytes: usize,
    last_index: u64,
    persisted: u64,
    under_way: VecDeque<(u64, Dot)>,
    writes: Vec<Write>,
    events: Vec<causal::Event>,
    is_full: bool,
    disk_full: bool,
    /// The node is to go.
    is_refusing: bool,
    ask_at: Time,
    round: u64,
    idle_since: Time,
    looked_at: Time,
    handed_over: u64,
    refused: u64,
}

impl Hints {
    /// What storage found, or nothing.
    pub fn new(options: Options, recovered: Recovered, group: PartitionId, now: Now) -> Hints {
        let last_index = recovered.log_start + recovered.entries.len() as u64;
        let mut hints = Hints {
            group,
            partition: recovered.partition,
            options,
            members: BTreeMap::new(),
            guests: BTreeMap::new(),
            vector: VersionVector::new(),
            durable: VersionVector::new(),
            hints: VecDeque::new(),
            bytes: 0,
            log_bytes: 0,
            early: BTreeMap::new(),
            early_bytes: 0,
            last_index,
            persisted: last_index,
            under_way: VecDeque::new(),
            writes: Vec::new(),
            events: Vec::new(),
            is_full: false,
            disk_full: false,
            is_refusing: false,
            ask_at: now.time,
            round: 0,
            idle_since: now.time,
            looked_at: now.time,
            handed_over: 0,
            refused: 0,
        };
        for entry in recovered.entries {
            let Ok(merge) = Merge::decode(&entry.payload) else {
                panic!("the hints of group {:08x} hold something else", group.0);
            };
            // What came before it was here, or with all members, when it came.
            hints.vector.raise(merge.dot.origin, merge.dot.counter);
            hints.bytes += entry.payload.len() as u64;
            let hint = Hint { index: entry.index, dot: merge.dot, bytes: entry.payload, since: now.time };
            hints.hints.push_back(hint);
        }
        (hints.durable, hints.log_bytes) = (hints.vector.clone(), hints.bytes);
        hints
    }

    /// The catalogue says who takes part.
    pub fn set_members(&mut self, primaries: &Primaries) {
        let takes_part = |node: NodeId, origin: u64| {
            primaries
                .seats
                .get(&node)
                .is_some_and(|seat| seat.origin == origin && origin != 0 && !seat.leaving && !seat.away)
        };
        self.members.retain(|node, member| takes_part(*node, member.origin));
        for (node, origin) in primaries.members().filter(|(node, origin)| takes_part(*node, *origin)) {
            self.members.entry(node).or_insert(Member {
                origin,
                holds: VersionVector::new(),
                has_answered: false,
                heard_at: None,
                lacking_since: None,
                gets: false,
                repaired_at: None,
            });
        }
    }

    /// The disk ran full, or has space again.
    pub fn set_disk_full(&mut self, full: bool) {
        self.disk_full = full;
    }

    /// A node that is to go takes no more.
    pub fn set_refusing(&mut self, refuses: bool) {
        self.is_refusing = refuses;
    }

    /// Is nothing held?
    pub fn is_empty(&self) -> bool {
        self.hints.is_empty() && self.under_way.is_empty()
    }

    /// A message of a member.
    pub fn receive(&mut self, from: NodeId, message: Message, now: Now, outbox: &mut Outbox) {
        match message {
            Message::Hint { base, mutations } => {
                let guest = self.guests.entry(from).or_default();
                (guest.heard_at, guest.owed) = (now.time, true);
                self.vector.merge(&base);
                self.durable.merge(&base);
                mutations.into_iter().for_each(|bytes| self.take(from, bytes, now));
                self.take_early(now);
            }
            Message::Told { round, vector } if round.life == life(self.options.incarnation) => {
                let Some(member) = self.members.get_mut(&from) else { return };
                (member.heard_at, member.has_answered) = (Some(now.time), true);
                let is_more = !member.holds.includes(&vector);
                member.holds.merge(&vector);
                let lacks = !member.holds.includes(&self.durable);
                if !lacks {
                    (member.lacking_since, member.gets) = (None, false);
                } else if is_more && !member.gets {
                    member.lacking_since = Some(now.time);
                } else {
                    member.lacking_since.get_or_insert(now.time);
                }
            }
            Message::Ask { round, vector } => {
                let told = Message::Told { round, vector: self.durable.clone() };
                self.send(from, told, outbox);
                let Some(member) = self.members.get_mut(&from) else { return };
                // A client waits for it, and it is asked again and again. (What that one has applied may not be durable there: it is not held.)
                if member.repaired_at.is_some_and(|at| at + ASK_AGAIN > now.time) {
                    return;
                }
                member.repaired_at = Some(now.time);
                let batch = self.lacking(&vector, HANDED_OVER_AT_ONCE);
                if !batch.is_empty() {
                    self.send(from, Message::Mutations(batch), outbox);
                }
            }
            _ => {}
        }
    }

    fn send(&self, to: NodeId, message: Message, outbox: &mut Outbox) {
        outbox.send(to, wire::Message::Causal { partition: self.group, message });
    }

    /// The first of what is here and not covered by that vector.
    fn lacking(&self, vector: &VersionVector, most: usize) -> Vec<Bytes> {
        let mut bytes = 0;
        let lacking =
            self.hints.iter().filter(|hint| hint.index <= self.persisted && !vector.covers(hint.dot));
        let fits = |hint: &&Hint| {
            let has_room = bytes < most;
            bytes += hint.bytes.len();
            has_room
        };
        lacking.take_while(fits).map(|hint| hint.bytes.clone()).collect()
    }

    fn take(&mut self, from: NodeId, bytes: Bytes, now: Now) {
        let Ok(merge) = Merge::decode(&bytes) else {
            return self.events.push(causal::Event::Malformed { from });
        };
        if self.vector.covers(merge.dot) {
            return;
        }
        let is_full = self.log_bytes + bytes.len() as u64 > self.options.hint_bytes;
        if is_full || self.disk_full || self.is_refusing {
            self.refused += 1;
            if is_full && !self.is_full {
                self.is_full = true;
                self.events.push(causal::Event::HintsFull { bytes: self.log_bytes });
            }
            return;
        }
        if self.is_next(&merge) {
            return self.push(merge.dot, bytes, now);
        }
        let name = (merge.dot.origin, merge.dot.counter);
        if self.early_bytes + bytes.len() <= MOST_HELD && !self.early.contains_key(&name) {
            self.early_bytes += bytes.len();
            self.early.insert(name, bytes);
        }
    }

    fn is_next(&self, merge: &Merge) -> bool {
        merge.dot.counter == self.vector.get(merge.dot.origin) + 1 && self.vector.includes(&merge.vector)
    }

    /// What waits for nothing any more.
    fn take_early(&mut self, now: Now) {
        let mut is_more = true;
        while is_more {
            is_more = false;
            let mut after = 0;
            // Of each origin the first that is left.
            while let Some((&(origin, counter), bytes)) = self.early.range((after, 0)..).next() {
                let dot = Dot { origin, counter };
                let is_known = self.vector.covers(dot);
                if !is_known && !Merge::decode(bytes).is_ok_and(|merge| self.is_next(&merge)) {
                    after = origin + 1;
                    continue;
                }
                let bytes = self.early.remove(&(origin, counter)).unwrap_or_default();
                self.early_bytes -= bytes.len();
                if !is_known {
                    self.push(dot, bytes, now);
                    is_more = true;
                }
            }
        }
    }

    fn push(&mut self, dot: Dot, bytes: Bytes, now: Now) {
        self.last_index += 1;
        let (partition, index) = (self.partition, self.last_index);
        let entry = Entry { index, term: TERM, kind: EntryKind::Normal, payload: bytes.clone() };
        self.writes.push(Write::Append { partition, entry });
        self.vector.raise(dot.origin, dot.counter);
        self.bytes += bytes.len() as u64;
        self.log_bytes += bytes.len() as u64;
        self.under_way.push_back((index, dot));
        self.hints.push_back(Hint { index, dot, bytes, since: now.time });
    }

    /// What the token stands for is durable.
    pub fn persisted(&mut self, token: PersistToken) {
        self.persisted = self.persisted.max(token.0);
        while let Some((_, dot)) = self.under_way.pop_front_if(|(index, _)| *index <= self.persisted) {
            self.durable.raise(dot.origin, dot.counter);
        }
    }

    /// Is nothing here, and does nobody count on it?
    pub fn is_done(&self, now: Now) -> bool {
        self.hints.is_empty() && self.guests.is_empty() && self.idle_since + GUEST_FOR <= now.time
    }

    /// When [`Hints::finish`] is to be called.
    pub fn wake_at(&self) -> Time {
        let guests = self.guests.values().map(|guest| guest.heard_at + GUEST_FOR).min();
        let idle_at = if self.hints.is_empty() { self.idle_since + GUEST_FOR } else { self.ask_at };
        idle_at.min(guests.unwrap_or(Time::NEVER))
    }

    /// Ends a batch.
    pub fn finish(&mut self, now: Now, outbox: &mut Outbox) {
        self.looked_at = now.time;
        self.guests.retain(|_, guest| guest.heard_at + GUEST_FOR > now.time);
        self.drop_what_all_hold();
        if !self.hints.is_empty() || !self.guests.is_empty() {
            self.idle_since = now.time;
        }
        let last = self.under_way.back().map(|(index, _)| PersistToken(*index));
        let is_new = self.writes.iter().any(|write| matches!(write, Write::Append { .. }));
        if !self.writes.is_empty() {
            outbox.persist(self.partition, &mut self.writes, last.filter(|_| is_new));
        }
        #[cfg(any(test, feature = "planted-bugs"))]
        if self.options.planted == Some(causal::Bug::HintedBeforeDurable) {
            self.durable.merge(&self.vector.clone());
        }
        self.answer_guests(outbox);
        if !self.hints.is_empty() {
            self.hand_over(now, outbox);
            self.ask(now, outbox);
        }
        for event in std::mem::take(&mut self.events) {
            outbox.event(Event::Causal { partition: self.group, event });
        }
    }

    fn drop_what_all_hold(&mut self) {
        if self.members.is_empty() {
            return;
        }
        #[cfg(any(test, feature = "planted-bugs"))]
        let early = self.options.planted == Some(causal::Bug::HintsDroppedEarly);
        #[cfg(not(any(test, feature = "planted-bugs")))]
        let early = false;
        while let Some(hint) = self.hints.front() {
            let mut hold = self.members.values().map(|member| member.holds.covers(hint.dot));
            let all_hold = if early { hold.any(|holds| holds) } else { hold.all(|holds| holds) };
            if hint.index > self.persisted || !all_hold {
                break;
            }
            self.bytes -= hint.bytes.len() as u64;
            self.hints.pop_front();
        }
        if self.hints.is_empty() && self.last_index > 0 && self.under_way.is_empty() {
            // A log has no beginning but a snapshot's or the first entry: it goes when all of it can.
            self.writes.push(Write::Forget { partition: self.partition });
            (self.last_index, self.persisted, self.log_bytes, self.is_full) = (0, 0, 0, false);
        }
    }

    fn answer_guests(&mut self, outbox: &mut Outbox) {
        let takes = !self.is_full && !self.disk_full && !self.is_refusing;
        for (&node, guest) in &mut self.guests {
            if !guest.owed && guest.told == self.durable {
                continue;
            }
            guest.owed = false;
            guest.told.clone_from(&self.durable);
            let message = Message::Hinted { vector: self.durable.clone(), takes };
            outbox.send(node, wire::Message::Causal { partition: self.group, message });
        }
    }

    /// Members that lack something get some of it.
    fn hand_over(&mut self, now: Now, outbox: &mut Outbox) {
        let is_late = |member: &Member| {
            member.gets || member.lacking_since.is_some_and(|since| since + PATIENCE <= now.time)
        };
        let late = self.members.iter().filter(|(_, member)| member.has_answered && is_late(member));
        let late: Vec<NodeId> = late.map(|(node, _)| *node).collect();
        for node in late {
            let Some(holds) = self.members.get(&node).map(|member| member.holds.clone()) else { continue };
            let batch = self.lacking(&holds, HANDED_OVER_AT_ONCE);
            let Some(member) = self.members.get_mut(&node) else { continue };
            (member.has_answered, member.gets) = (false, !batch.is_empty());
            if !batch.is_empty() {
                self.handed_over += batch.len() as u64;
                self.ask_at = self.ask_at.min(now.time + ASK_AGAIN);
                self.send(node, Message::Mutations(batch), outbox);
            }
        }
    }

    fn ask(&mut self, now: Now, outbox: &mut Outbox) {
        if self.ask_at > now.time {
            return;
        }
        let hands_over = self.members.values().any(|member| member.gets);
        self.ask_at = now.time + if hands_over { ASK_AGAIN } else { ASK_EVERY };
        self.round += 1;
        let round = Round { life: life(self.options.incarnation), number: self.round };
        for &node in self.members.keys() {
            self.send(node, Message::Ask { round, vector: self.durable.clone() }, outbox);
        }
    }

    /// A look at it.
    pub fn status(&self) -> HintsStatus {
        let since = self.hints.front().map_or(self.looked_at, |hint| hint.since);
        HintsStatus {
            group: self.group,
            hints: self.hints.len() as u64,
            bytes: self.bytes,
            limit: self.options.hint_bytes,
            oldest_ms: self.looked_at.since(since).as_millis() as u64,
            handed_over: self.handed_over,
            refused: self.refused,
        }
    }

    /// The mutations that are here durably.
    pub fn dots(&self) -> impl Iterator<Item = Dot> {
        self.hints.iter().filter(|hint| hint.index <= self.persisted).map(|hint| hint.dot)
    }
}

#[cfg(test)]
mod tests;
