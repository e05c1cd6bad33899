//! How many replicas a request of a `leaderless` keyspace asks (N, R and W: DeCandia et al., Dynamo, SOSP 2007, section 4.5).
//!
//! Before a replica looks at the state for a request it asks the others what they hold ([`Causal::ask_what_others_hold`](super::Causal::ask_what_others_hold)), all requests of a batch with one question,
//! and goes on when it has what R - 1 of them held. The first that answer count, so one that is slow costs nothing. A write is asked about as well: it
//! takes away what was there, so it has to know. Then it is done here, goes to all others, and is acknowledged when W hold it durably.
//! With R + W > N one of those that were asked holds what was acknowledged before: a read sees it, or what came after it, and a write
//! replaces it (a regular register, Lamport 1986; written by many, Shao et al. 2011).
//!
//! Nothing is begun that too few can be reached for: that is refused. A write that was begun and is not held by W in time is *unknown*.
//! Requests of one connection go on in their order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use data::Command;
use data::merged::VersionVector;

use super::Replica;
use super::serve::refuse;
use crate::NodeId;
use crate::consistency::Consistency;
use crate::contract::{Call, Event, Reply};
use crate::primaries::{Leaderless, Level, Primaries, Quorum};
use crate::shard::outbox::{Outbox, Work};
use crate::time::{Now, Time};

/// Who has not answered, or holds what is not here, is asked again so often.
const ASK_AGAIN: Duration = Duration::from_millis(25);
/// Who was not heard for so long cannot be reached.
const REACHABLE: Duration = Duration::from_millis(1500);

/// So many replicas, this one among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Needed {
    pub replicas: usize,
    /// In this one's zone.
    pub local: bool,
}

/// Requests that wait for what others hold.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// For the next question.
    next: Vec<Asking>,
    under_way: BTreeMap<u64, Round>,
    /// So many questions were asked.
    pub asked: u64,
    /// As of then, on this node's clock, what was acknowledged is here.
    as_of: Option<Time>,
    /// Of requests with these levels enough replicas can be reached at this moment, as was looked at for one before.
    reachable: Option<(Time, Level, Option<Level>)>,
}

#[derive(Debug)]
struct Asking {
    work: Work,
    /// `None`: nobody need be asked, it only waits for its turn.
    level: Option<Level>,
}

#[derive(Debug)]
struct Round {
    works: Vec<Asking>,
    told: BTreeMap<NodeId, VersionVector>,
    asked_at: Time,
    ask_again_at: Time,
}

impl Rounds {
    pub fn is_empty(&self) -> bool {
        self.next.is_empty() && self.under_way.is_empty()
    }

    pub fn wake_at(&self) -> Time {
        self.under_way.values().map(|round| round.ask_again_at).min().unwrap_or(Time::NEVER)
    }

    /// Nobody will go on with them.
    pub fn give_up(&mut self, outbox: &mut Outbox) {
        let under_way = std::mem::take(&mut self.under_way).into_values().flat_map(|round| round.works);
        for asking in under_way.chain(self.next.drain(..)) {
            let text = "TRYAGAIN the keyspace is no longer held here, nothing was done";
            outbox.answers.push((asking.work.requester, Reply::Refused(text.into())));
        }
    }

    /// Somebody went. Who answered before may lack what that one has given to others meanwhile, and fewer answers are enough now: what waits is asked
    /// about again, in its order.
    pub fn ask_anew(&mut self) {
        let under_way = std::mem::take(&mut self.under_way).into_values().flat_map(|round| round.works);
        let next = std::mem::take(&mut self.next);
        self.next = under_way.chain(next).collect();
    }

    /// Others may be asked from now on.
    pub fn look_anew(&mut self) {
        self.reachable = None;
    }

    fn waits(&self, origin: u64) -> bool {
        let mut waiting = self.under_way.values().flat_map(|round| &round.works).chain(&self.next);
        waiting.any(|asking| asking.work.origin == origin)
    }
}

/// Does it change something only if something else is so? Others may find the same at the same time.
fn compares_and_sets(command: &Command, arguments: &[bytes::Bytes]) -> bool {
    match command.name {
        "setnx" | "msetnx" | "hsetnx" | "renamenx" => true,
        "set" => arguments[3..]
            .iter()
            .any(|word| word.eq_ignore_ascii_case(b"nx") || word.eq_ignore_ascii_case(b"xx")),
        _ => false,
    }
}

fn is_write(call: &Call) -> bool {
    match call {
        Call::Command { command, .. } => !command.is_read(),
        Call::Transaction { commands, .. } => commands.iter().any(|(command, _)| !command.is_read()),
        _ => false,
    }
}

/// Why a call has no meaning here.
fn refusal(call: &Call) -> Option<&'static str> {
    let is_conditional = match call {
        Call::Command { command, arguments, .. } => compares_and_sets(command, arguments),
        Call::Transaction { commands, watches } => {
            !watches.is_empty()
                || commands.iter().any(|(command, arguments)| compares_and_sets(command, arguments))
        }
        Call::Fingerprint { .. } => true,
        _ => false,
    };
    is_conditional.then_some(
        "ERR a leaderless keyspace does not compare and set: other replicas may find the same at the same time; keep such keys in a keyspace of \
         STRATEGY raft, or write without the condition; nothing was done",
    )
}

/// How many replicas that level means now, for `me`.
pub(super) fn needed(
    primaries: &Primaries,
    zones: &BTreeMap<NodeId, u16>,
    me: NodeId,
    level: Level,
) -> Needed {
    match level {
        Level::LocalQuorum => {
            let zone = zones.get(&me);
            let local = primaries.counted().filter(|node| zones.get(node) == zone).count();
            Needed { replicas: level.of(local) + primaries.needed(Level::Count(0)), local: true }
        }
        _ => Needed { replicas: primaries.needed(level), local: false },
    }
}

/// Does a node count that stands in for a replica, for `me`?
pub(super) fn counts_as_stand_in(
    zones: &BTreeMap<NodeId, u16>,
    me: NodeId,
    node: NodeId,
    needed: Needed,
) -> bool {
    !needed.local || zones.get(&node) == zones.get(&me)
}

/// Does the answer of that replica count, for `me`?
pub(super) fn counts(
    primaries: &Primaries,
    zones: &BTreeMap<NodeId, u16>,
    me: NodeId,
    node: NodeId,
    needed: Needed,
) -> bool {
    primaries.seats.get(&node).is_some_and(|seat| seat.joined && seat.origin != 0)
        && (!needed.local || zones.get(&node) == zones.get(&me))
}

impl Replica {
    fn needed(&self, level: Level) -> Needed {
        needed(&self.primaries, &self.zones, self.options.node, level)
    }

    fn counts(&self, node: NodeId, needed: Needed) -> bool {
        counts(&self.primaries, &self.zones, self.options.node, node, needed) || self.stands_in(node, needed)
    }

    fn stands_in(&self, node: NodeId, needed: Needed) -> bool {
        self.causal.as_ref().is_some_and(|causal| causal.has_stand_in(node))
            && counts_as_stand_in(&self.zones, self.options.node, node, needed)
    }

    /// The options that are to be kept now.
    pub(super) fn in_force(&self) -> Option<Leaderless> {
        #[cfg(any(test, feature = "planted-bugs"))]
        if self.options.planted == Some(crate::merged::causal::Bug::QuorumsAtOnce) {
            return self.primaries.leaderless;
        }
        self.primaries.in_force()
    }

    /// So many hold a write before it is acknowledged; `None`: that is not for the keyspace to say.
    pub(super) fn write_level(&self, quorum: Option<Quorum>) -> Option<Level> {
        let options = self.in_force()?;
        Some(quorum.and_then(|quorum| quorum.write).unwrap_or(options.write))
    }

    /// Takes a request of a client, which others may have to be asked about first.
    pub(super) fn handle_leaderless(
        &mut self,
        options: Leaderless,
        work: Work,
        now: Now,
        outbox: &mut Outbox,
    ) {
        if let Some(text) = refusal(&work.call) {
            refuse(work, text, outbox);
            return;
        }
        let quorum = work.wishes.quorum.unwrap_or_default();
        let needs_nobody = match work.relaxed() {
            Some(Consistency::Session | Consistency::Eventual) => true,
            Some(level @ Consistency::Bounded(_)) => self.is_fresh_enough(level, now),
            _ => false,
        };
        if needs_nobody {
            match self.rounds.waits(work.origin) {
                false => self.run(work, now, outbox),
                true => self.rounds.next.push(Asking { work, level: None }),
            }
            return;
        }
        let read = match work.relaxed() {
            Some(_) => self.primaries.all_acknowledged(),
            None => quorum.read.unwrap_or(options.read),
        };
        let levels = [("R", read), ("W", quorum.write.unwrap_or(options.write))];
        for (name, level) in levels {
            let copies = self.primaries.copies;
            if let Level::Count(count) = level
                && count > copies
            {
                let text = format!(
                    "ERR {name} {count} is out of range: there are {copies} replicas; {name} is from 1 to {copies}, or ONE, QUORUM, ALL, LOCAL-QUORUM; \
                     nothing was done"
                );
                refuse(work, text, outbox);
                return;
            }
        }
        let [(_, read), (_, write)] = levels;
        let asked_of = (now.time, read, is_write(&work.call).then_some(write));
        if self.rounds.reachable != Some(asked_of) {
            let levels = [Some(read), asked_of.2].into_iter().flatten();
            let lacking = levels
                .map(|level| self.needed(level))
                .filter(|needed| self.reachable(*needed, now) < needed.replicas)
                .max_by_key(|needed| needed.replicas);
            if let Some(lacking) = lacking {
                refuse(work, self.no_quorum(lacking, now), outbox);
                return;
            }
            self.rounds.reachable = Some(asked_of);
        }
        match self.needed(read).replicas <= 1 && !self.rounds.waits(work.origin) {
            true => self.run(work, now, outbox),
            false => self.rounds.next.push(Asking { work, level: Some(read) }),
        }
    }

    fn is_fresh_enough(&self, level: Consistency, now: Now) -> bool {
        let back = level.reaches_back(self.options.raft.clock_drift_ppm).unwrap_or_default();
        self.rounds.as_of.is_some_and(|as_of| now.time.since(as_of) <= back)
    }

    /// How many of those that count can be reached, this one among them.
    fn reachable(&self, needed: Needed, now: Now) -> usize {
        let Some(causal) = &self.causal else { return 0 };
        let heard = |node: &NodeId| self.counts(*node, needed) && causal.is_heard(*node, REACHABLE, now);
        let others = self.primaries.seats.keys().filter(|node| **node != self.options.node);
        1 + others.filter(|node| heard(node)).count() + self.standing_in(needed)
    }

    /// How many of those that stand in count.
    fn standing_in(&self, needed: Needed) -> usize {
        let Some(causal) = &self.causal else { return 0 };
        causal.stand_ins().filter(|node| self.stands_in(*node, needed)).count()
    }

    fn no_quorum(&self, needed: Needed, now: Now) -> String {
        let place = if needed.local { " in this zone" } else { "" };
        let standing_in = self.standing_in(needed);
        let beside = match self.primaries.leaderless.is_some_and(|options| options.sloppy) {
            true => format!(", {standing_in} nodes stand in for others"),
            false => String::new(),
        };
        format!(
            "NOQUORUM {} of {} replicas{place} can be reached from here{beside}, and {} are asked for; nothing was done",
            self.reachable(needed, now) - standing_in,
            self.primaries.seats.keys().filter(|node| self.counts(**node, needed)).count(),
            needed.replicas
        )
    }

    /// Goes on with what others have answered, and asks for what came since.
    pub(super) fn run_rounds(&mut self, now: Now, outbox: &mut Outbox) {
        let Some(causal) = &mut self.causal else { return };
        if self.rounds.is_empty() {
            causal.take_told();
            return;
        }
        for (node, number, vector) in causal.take_told() {
            // What is held later was asked for earlier, too.
            for round in self.rounds.under_way.range_mut(..=number).map(|(_, round)| round) {
                round.told.entry(node).or_insert_with(|| vector.clone());
            }
        }
        if !self.rounds.next.is_empty() {
            let works = std::mem::take(&mut self.rounds.next);
            self.rounds.next.reserve(works.len());
            let number = causal.ask_what_others_hold();
            if self.options.announce_applied {
                let partition = self.partition;
                outbox.event(Event::Asked { partition, round: number });
            }
            let (asked_at, ask_again_at) = (now.time, now.time + ASK_AGAIN);
            let round = Round { works, told: BTreeMap::new(), asked_at, ask_again_at };
            self.rounds.under_way.insert(number, round);
            self.rounds.asked += 1;
        }
        self.go_on(now, outbox);
        self.ask_again(now, outbox);
        self.rounds.under_way.retain(|_, round| !round.works.is_empty());
    }

    fn go_on(&mut self, now: Now, outbox: &mut Outbox) {
        // Of a connection nothing overtakes what waits.
        let mut waits = BTreeSet::new();
        let mut ready = Vec::new();
        let mut under_way = std::mem::take(&mut self.rounds.under_way);
        for (&number, round) in &mut under_way {
            let Some(causal) = &self.causal else { break };
            #[cfg(any(test, feature = "planted-bugs"))]
            let blind = self.options.planted == Some(crate::merged::causal::Bug::ReadBeforeCovered);
            #[cfg(not(any(test, feature = "planted-bugs")))]
            let blind = false;
            let covered: Vec<NodeId> = round
                .told
                .iter()
                .filter(|(_, vector)| blind || causal.vector().includes(vector))
                .map(|(node, _)| *node)
                .collect();
            if self.primaries.leaderless.is_some() {
                let needed = self.needed(self.primaries.all_acknowledged());
                if 1 + covered.iter().filter(|node| self.counts(**node, needed)).count() >= needed.replicas {
                    self.rounds.as_of = self.rounds.as_of.max(Some(round.asked_at));
                }
            }
            // As many as now, of those who count now: members may be others than when it was asked.
            let is_enough = |level: Option<Level>| {
                let Some(level) = level else { return true };
                let needed = self.needed(level);
                let answered = 1 + covered.iter().filter(|node| self.counts(**node, needed)).count();
                #[cfg(any(test, feature = "planted-bugs"))]
                let answered = answered
                    + usize::from(self.options.planted == Some(crate::merged::causal::Bug::ReadQuorumShort));
                answered >= needed.replicas
            };
            // Those of one level stand side by side, mostly.
            let mut known: Option<(Option<Level>, bool)> = None;
            let mut goes_on = |asking: &mut Asking| {
                let enough = match known {
                    Some((level, enough)) if level == asking.level => enough,
                    _ => is_enough(asking.level),
                };
                known = Some((asking.level, enough));
                let goes_on = enough && !waits.contains(&asking.work.origin);
                if !goes_on {
                    waits.insert(asking.work.origin);
                }
                goes_on
            };
            ready.extend(round.works.extract_if(.., |asking| goes_on(asking)).map(|asking| (number, asking)));
        }
        self.rounds.under_way = under_way;
        for (round, asking) in ready {
            if self.options.announce_applied
                && let Some(level) = asking.level
            {
                let (partition, needed) = (self.partition, self.needed(level).replicas);
                let vector = self.causal.as_ref().map(|causal| causal.vector().clone()).unwrap_or_default();
                outbox.event(Event::Covered { partition, round, needed, vector });
            }
            self.run(asking.work, now, outbox);
        }
    }

    /// Asks again who has not answered, and answers those for whom there is no hope.
    fn ask_again(&mut self, now: Now, outbox: &mut Outbox) {
        let mut under_way = std::mem::take(&mut self.rounds.under_way);
        for (&number, round) in &mut under_way {
            if round.ask_again_at > now.time || round.works.is_empty() {
                continue;
            }
            round.ask_again_at = now.time + ASK_AGAIN;
            let hopeless = |asking: &mut Asking| {
                let Some(level) = asking.level else { return asking.work.deadline <= now.time };
                let needed = self.needed(level);
                asking.work.deadline <= now.time || self.reachable(needed, now) < needed.replicas
            };
            let given_up: Vec<Asking> = round.works.extract_if(.., hopeless).collect();
            for asking in given_up {
                let needed = self.needed(asking.level.unwrap_or(Level::Count(1)));
                let text = match self.reachable(needed, now) < needed.replicas {
                    true => self.no_quorum(needed, now),
                    false => {
                        let late = asking
                            .work
                            .is_late("TIMEOUT too few replicas have answered in time, nothing was done");
                        outbox.answers.push((asking.work.requester, late));
                        continue;
                    }
                };
                refuse(asking.work, text, outbox);
            }
            if let Some(causal) = &mut self.causal {
                let vector = causal.vector().clone();
                let lacks = |node| !round.told.get(&node).is_some_and(|told| vector.includes(told));
                causal.ask_again(number, lacks);
            }
        }
        self.rounds.under_way = under_way;
    }
}
