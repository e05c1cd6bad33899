//! Requests of clients.
//!
//! A write is prepared over the state as it is, applied, and answered once it is durable here, or held by as many as its client asks for
//! (`CLIENT ACK`). A read looks at the state at once; its answer waits until all that is said about its keys is durable, so that what
//! somebody has seen is not gone after a crash.
//!
//! A key that has ended is hidden everywhere at that moment. It is taken away by the replica that decided last when it ends, once, and by
//! others only if that one does not for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use data::merged::bounded::{self, Unbounded};
use data::merged::{Change, Dot, VersionVector, clearing};
use data::{Answer, Stamp, View};
use resp::Value;

use super::Replica;
use super::rights::Lacking;
use crate::configuration::Acknowledgement;
use crate::consistency::Seen;
use crate::contract::{Admin, Call, Event, Reply};
use crate::primaries::Level;
use crate::shard::outbox::{Outbox, Requester, Wishes, Work};
use crate::time::{Now, Time};

/// How long the answer to what was seen waits for the disk.
const SEEN_WAITS: Duration = Duration::from_secs(10);
/// How often answers past their deadline are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);
/// So much later than whoever has to takes another replica away what has ended; each next one as much later.
const EXPIRE_FOR_OTHERS_MS: u64 = 5_000;
/// With more changes than this counters are not waited for to which others have rights.
const MOST_AT_ONCE: usize = 64;
/// Keys that are taken away in one mutation.
const EXPIRED_AT_ONCE: usize = 512;

/// What waits to be answered.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Until the entry of that number is durable.
    durable: BTreeMap<u64, Vec<Waiting>>,
    /// Until enough others hold it.
    held_back: Vec<(Dot, Holders, Waiting)>,
    waits: Vec<Waits>,
    /// Requests of sessions that have seen more than what is here.
    parked: Vec<(VersionVector, Work)>,
    next_sweep: Option<Time>,
}

#[derive(Debug)]
struct Waiting {
    requester: Requester,
    reply: Value,
    deadline: Time,
    /// What was written, and by how many it is to be held.
    written: Option<(Dot, Holders)>,
}

/// By whom a write is to be held before it is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Holders {
    /// As the client asks for.
    demand: Option<Acknowledgement>,
    /// As the keyspace says, if it is for the keyspace to say.
    level: Option<Level>,
}

impl Holders {
    /// Are there any but the replica that wrote it?
    fn are_others(self, others: usize) -> bool {
        self.demand.is_some_and(|demand| demand.copies(others) > 0) || self.level.is_some()
    }
}

/// A `WAIT`.
#[derive(Debug)]
struct Waits {
    dot: Dot,
    copies: u32,
    durably: bool,
    requester: Requester,
    until: Time,
}

/// Writes of an origin that are to be held by the same ones, and the last of them that is.
struct Held {
    holders: Holders,
    last: Dot,
}

impl Held {
    fn includes(&self, dot: Dot, holders: Holders) -> bool {
        self.holders == holders && self.last.origin == dot.origin && dot.counter <= self.last.counter
    }
}

/// Whoever holds a write holds all before it of its origin. So of those that wait in order a few need to be looked at, of many in a pipeline.
fn last_held(waiting: &[(Dot, Holders, Waiting)], is_held: impl Fn(Dot, Holders) -> bool) -> Vec<Held> {
    let mut alike: BTreeMap<(u64, Holders), Vec<Dot>> = BTreeMap::new();
    for (dot, holders, _) in waiting {
        alike.entry((dot.origin, *holders)).or_default().push(*dot);
    }
    let last = |((_, holders), dots): ((u64, Holders), Vec<Dot>)| {
        let held = dots.partition_point(|dot| is_held(*dot, holders));
        let last = *dots.get(held.checked_sub(1)?)?;
        Some(Held { holders, last })
    };
    alike.into_iter().filter_map(last).collect()
}

impl Answers {
    pub fn is_empty(&self) -> bool {
        self.durable.is_empty()
            && self.held_back.is_empty()
            && self.waits.is_empty()
            && self.parked.is_empty()
    }

    pub fn wake_at(&self) -> Time {
        self.next_sweep.unwrap_or(Time::NEVER)
    }

    fn wait(&mut self, index: u64, waiting: Waiting, now: Now) {
        self.durable.entry(index).or_default().push(waiting);
        self.next_sweep.get_or_insert(now.time + SWEEP_INTERVAL);
    }

    /// Nobody will answer any more.
    pub fn give_up(&mut self, outbox: &mut Outbox) {
        let durable = std::mem::take(&mut self.durable).into_values().flatten();
        let held_back = std::mem::take(&mut self.held_back).into_iter().map(|(.., waiting)| waiting);
        for waiting in durable.chain(held_back) {
            let reply = match waiting.written {
                Some(_) => Reply::Unknown("the keyspace was dropped, or is no longer held here".into()),
                None => Reply::Refused("TRYAGAIN the keyspace is no longer held here".into()),
            };
            outbox.answers.push((waiting.requester, reply));
        }
        for wait in self.waits.drain(..) {
            outbox.answers.push((wait.requester, Reply::Done(Value::Integer(0))));
        }
        for (_, work) in self.parked.drain(..) {
            outbox.answers.push((work.requester, behind()));
        }
    }
}

fn behind() -> Reply {
    let text = "TRYAGAIN this replica has not yet what the session has seen, nothing was done";
    Reply::Refused(text.into())
}

/// Nothing was written.
pub(super) fn refuse(work: Work, text: impl Into<String>, outbox: &mut Outbox) -> Option<Lacking> {
    outbox.answers.push((work.requester, Reply::Refused(text.into())));
    None
}

impl Replica {
    /// Takes a request; the caller has seen to it that this replica serves.
    pub fn handle(&mut self, work: Work, now: Now, outbox: &mut Outbox) {
        match self.in_force() {
            Some(options) if !matches!(work.call, Call::Admin(_)) => {
                self.handle_leaderless(options, work, now, outbox);
            }
            _ => self.run(work, now, outbox),
        }
    }

    /// Carries a request out.
    pub(super) fn run(&mut self, work: Work, now: Now, outbox: &mut Outbox) {
        if work.wishes.seen.is_some() {
            return self.after(work, now, outbox);
        }
        match &work.call {
            Call::Command { command, .. } if command.is_read() => self.read(work, now, outbox),
            Call::Fingerprint { .. } => self.read(work, now, outbox),
            Call::Command { token: Some(_), .. } => {
                let text = "ERR a keyspace whose replicas all take writes remembers no idempotency tokens: another replica would not know them";
                outbox.answers.push((work.requester, Reply::Refused(text.into())));
            }
            Call::Command { .. } | Call::Transaction { .. } => self.write(work, now, outbox),
            Call::Admin(admin) => {
                let admin = admin.clone();
                self.admin(work.requester, &admin, now, outbox);
            }
            Call::Demanding { .. } | Call::Quorum { .. } | Call::At { .. } | Call::After { .. } => {
                unreachable!("the shard takes wishes apart")
            }
        }
    }

    /// A request of a session that has seen something, perhaps elsewhere: at once, or when that has come.
    fn after(&mut self, mut work: Work, now: Now, outbox: &mut Outbox) {
        let Some(causal) = &self.causal else { return };
        let Some(Seen::Vector(vector)) = work.wishes.seen.take() else {
            let text = "ERR the session token is of another keyspace, nothing was done";
            return outbox.answers.push((work.requester, Reply::Refused(text.into())));
        };
        // Nothing overtakes what waits.
        match self.answers.parked.is_empty() && causal.vector().includes(&vector) {
            true => self.run(work, now, outbox),
            false => {
                self.answers.parked.push((vector, work));
                self.answers.next_sweep.get_or_insert(now.time + SWEEP_INTERVAL);
            }
        }
    }

    fn admin(&mut self, requester: Requester, admin: &Admin, now: Now, outbox: &mut Outbox) {
        let refuse = |text: &str| Reply::Refused(text.into());
        let reply = match admin {
            Admin::Wait { copies, milliseconds, durably, .. } => {
                let Some(causal) = &self.causal else { return };
                let last = causal.next_dot();
                let dot = Dot { counter: last.counter - 1, ..last };
                let until = now.time + Duration::from_millis(u64::from(*milliseconds));
                let (copies, durably) = (*copies, *durably);
                self.answers.waits.push(Waits { dot, copies, durably, requester, until });
                self.answers.next_sweep = Some(now.time);
                return;
            }
            Admin::Await { .. } => refuse(
                "ERR a command does not wait for elements in a keyspace whose replicas all take writes: several replicas might give the same one; ask again, or use a keyspace of another strategy",
            ),
            Admin::Seen => {
                let Some(causal) = &self.causal else { return };
                let mut vector = BytesMut::new();
                causal.vector().encode(&mut vector);
                let (index, reply) = (causal.last_index(), Value::Bulk(vector.freeze()));
                let deadline = now.time + SEEN_WAITS;
                self.answers.wait(index, Waiting { requester, reply, deadline, written: None }, now);
                return;
            }
            Admin::Transfer { .. } => {
                refuse("ERR a keyspace whose replicas all take writes has no leader to hand over")
            }
            Admin::Lost { .. } => Reply::Done(Value::Array(Vec::new())),
            Admin::ForgetLost { .. } | Admin::Epoch { .. } => Reply::Done(Value::Integer(0)),
        };
        outbox.answers.push((requester, reply));
    }

    fn now_ms(&mut self, now: Now) -> u64 {
        self.clock_ms = self.clock_ms.max(now.wall_ms);
        self.clock_ms
    }

    fn next_seed(&mut self) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.seed ^ (self.seed >> 31)
    }

    fn read(&mut self, work: Work, now: Now, outbox: &mut Outbox) {
        let (now_ms, seed) = (self.now_ms(now), self.next_seed());
        let Some(causal) = &self.causal else { return };
        let view = View::of_merged(causal.table(), causal.next_dot(), now_ms);
        let view = view.of_slots(self.primaries.slots);
        let reply = match &work.call {
            Call::Command { command, arguments, .. } => {
                let Answer { reply, .. } = data::answer(command, arguments, &view, seed);
                reply
            }
            Call::Fingerprint { keys } => {
                let prints = keys.iter().map(|key| data::fingerprint(key, &view).to_le_bytes());
                Value::Array(prints.map(|print| Value::Bulk(Bytes::copy_from_slice(&print))).collect())
            }
            Call::Transaction { .. }
            | Call::Admin(_)
            | Call::Demanding { .. }
            | Call::Quorum { .. }
            | Call::At { .. }
            | Call::After { .. } => {
                unreachable!("not a read")
            }
        };
        let minimum = self.durable_for(&work.call);
        self.answer_at(minimum, reply, work, None, now, outbox);
    }

    /// The entry that has to be durable for an answer to this.
    fn durable_for(&self, call: &Call) -> u64 {
        let Some(causal) = &self.causal else { return 0 };
        let of = |key: &Bytes| causal.unstable_at(key);
        let all = causal.last_index();
        if all <= causal.persisted_index() {
            return 0;
        }
        match call {
            Call::Command { command, arguments, .. } => match data::route::keys_of(command, arguments) {
                Ok(keys) if !keys.is_empty() => {
                    keys.iter().map(|&key| of(&arguments[key])).max().unwrap_or(all)
                }
                _ => all,
            },
            Call::Fingerprint { keys } => keys.iter().map(of).max().unwrap_or(all),
            _ => all,
        }
    }

    fn answer_at(
        &mut self,
        index: u64,
        reply: Value,
        work: Work,
        written: Option<Dot>,
        now: Now,
        outbox: &mut Outbox,
    ) {
        #[cfg(any(test, feature = "planted-bugs"))]
        let planted = self.options.planted == Some(crate::merged::causal::Bug::AnsweredBeforeDurable);
        #[cfg(any(test, feature = "planted-bugs"))]
        let index = if planted { 0 } else { index };
        let persisted = self.causal.as_ref().map_or(0, super::Causal::persisted_index);
        if index <= persisted && written.is_none() {
            return outbox.answers.push((work.requester, Reply::Done(reply)));
        }
        let Work { requester, deadline, wishes: Wishes { demand, quorum, .. }, .. } = work;
        let written = written.map(|dot| (dot, Holders { demand, level: self.write_level(quorum) }));
        self.answers.wait(index, Waiting { requester, reply, deadline, written }, now);
    }

    fn write(&mut self, work: Work, now: Now, outbox: &mut Outbox) {
        if let Some(lacking) = self.try_write(work, now, outbox) {
            self.wait_for_rights(lacking, now, outbox);
        }
    }

    /// Does a write, or refuses it; gives it back if it takes more from a counter than this replica may.
    pub(super) fn try_write(&mut self, work: Work, now: Now, outbox: &mut Outbox) -> Option<Lacking> {
        if self.disk_full {
            let text = "DISKFULL the disk of this replica is full, nothing was written";
            return refuse(work, text, outbox);
        }
        let (time_ms, seed) = (self.now_ms(now), self.next_seed());
        let causal = self.causal.as_mut()?;
        let others = causal.others();
        if let Some(demand) = work.wishes.demand.filter(|demand| demand.copies(others) > others) {
            let needed = demand.copies(others);
            let text = format!(
                "NOREPLICAS there are {others} other replicas, and {needed} are asked for; nothing was written"
            );
            return refuse(work, text, outbox);
        }
        let dot = causal.next_dot();
        let stamp = Stamp { time_ms, logical: 0, origin: dot.origin, sequence: dot.counter, seed };
        let prepared = match &work.call {
            Call::Command { command, arguments, .. } => {
                data::prepare_merged(command, arguments, causal.table(), dot, &stamp)
            }
            Call::Transaction { commands, watches } => {
                data::prepare_merged_transaction(commands, watches, causal.table(), dot, &stamp)
            }
            _ => unreachable!("not a write"),
        };
        if prepared.changes.is_empty() {
            let minimum = self.durable_for(&work.call);
            self.answer_at(minimum, prepared.reply, work, None, now, outbox);
            return None;
        }
        if self.primaries.bounded {
            let checked = bounded::check(&prepared.changes, causal.table(), dot.origin);
            #[cfg(any(test, feature = "planted-bugs"))]
            let planted = self.options.planted == Some(crate::merged::causal::Bug::RightsIgnored);
            #[cfg(any(test, feature = "planted-bugs"))]
            let checked = if planted { Ok(()) } else { checked };
            match checked {
                Ok(()) => {}
                Err(Unbounded::Never(text)) => return refuse(work, text, outbox),
                Err(Unbounded::Short { missing: bounded::ALL, .. })
                    if prepared.changes.len() > MOST_AT_ONCE =>
                {
                    let text = format!(
                        "ERR more than {MOST_AT_ONCE} keys would go, with counters among them to which others have rights: DEL a few at a \
                         time, or KEYSPACE DROP; nothing was written"
                    );
                    return refuse(work, text, outbox);
                }
                Err(Unbounded::Short { key, missing }) => return Some(Lacking { work, key, missing }),
            }
        }
        match causal.write(prepared.changes, self.options.max_payload_bytes, now) {
            Ok(index) => self.answer_at(index, prepared.reply, work, Some(dot), now, outbox),
            Err(bytes) => {
                let most = self.options.max_payload_bytes;
                let text = format!(
                    "ERR the write takes {bytes} bytes in the log, and {most} is the most, nothing was done"
                );
                refuse(work, text, outbox);
            }
        }
        None
    }

    /// Goes on with what waited for something to come. Has any of it come?
    pub(super) fn resume_parked(&mut self, now: Now, outbox: &mut Outbox) -> bool {
        let (parked, causal) = (&mut self.answers.parked, self.causal.as_ref());
        let has_come = |seen: &VersionVector| causal.is_some_and(|causal| causal.vector().includes(seen));
        let ready: Vec<Work> =
            parked.extract_if(.., |(seen, _)| has_come(seen)).map(|(_, work)| work).collect();
        let any = !ready.is_empty();
        for work in ready {
            self.run(work, now, outbox);
        }
        any
    }

    /// Answers what is durable, what is held by enough, and what is past its deadline.
    pub(super) fn answer_durable(&mut self, now: Now, outbox: &mut Outbox) {
        let Some(causal) = &self.causal else { return };
        let answers = &mut self.answers;
        let mut done = Vec::new();
        while let Some(entry) = answers.durable.first_entry() {
            if *entry.key() > causal.persisted_index() {
                break;
            }
            for waiting in entry.remove() {
                match waiting.written {
                    Some((dot, holders)) if holders.are_others(causal.others()) => {
                        answers.held_back.push((dot, holders, waiting));
                    }
                    _ => done.push(waiting),
                }
            }
        }
        let (primaries, zones, me) = (&self.primaries, &self.zones, self.options.node);
        #[cfg(any(test, feature = "planted-bugs"))]
        let more = usize::from(self.options.planted == Some(crate::merged::causal::Bug::WriteQuorumShort));
        #[cfg(not(any(test, feature = "planted-bugs")))]
        let more = 0;
        let is_held = |dot: Dot, holders: Holders| {
            let by_demand =
                holders.demand.is_none_or(|demand| causal.copies_of(dot) > demand.copies(causal.others()));
            by_demand
                && holders.level.is_none_or(|level| {
                    let needed = super::quorum::needed(primaries, zones, me, level);
                    let counts = |node| super::quorum::counts(primaries, zones, me, node, needed);
                    let stands_in = |node| super::quorum::counts_as_stand_in(zones, me, node, needed);
                    let copies = causal.copies_among(dot, counts) + causal.stand_in_copies(dot, stands_in);
                    1 + more + copies >= needed.replicas
                })
        };
        let last = last_held(&answers.held_back, is_held);
        let is_held = |dot: &Dot, holders: &Holders| last.iter().any(|of| of.includes(*dot, *holders));
        let held = answers.held_back.extract_if(.., |(dot, holders, _)| is_held(dot, holders));
        done.extend(held.map(|(.., waiting)| waiting));
        for Waiting { requester, reply, written, .. } in done {
            if let (true, Some((dot, holders))) = (self.options.announce_applied, written) {
                let (partition, index, term) = (self.partition, dot.counter, dot.origin);
                let replicas = holders.level.map_or(1, |level| self.primaries.needed(level) as u32);
                let beside = Some(replicas - 1).filter(|copies| *copies > 0);
                let demand = holders.demand.or(beside.map(Acknowledgement::SemiSync));
                outbox.event(Event::Acknowledged { partition, index, term, demand });
            }
            outbox.answers.push((requester, Reply::Done(reply)));
        }
        // The copy here is durable; beside it, or with it if disks are counted, so many hold what was written.
        let copies_of = |wait: &Waits| match wait.dot.counter {
            0 => causal.others() + usize::from(wait.durably),
            _ => causal.copies_of(wait.dot).saturating_sub(usize::from(!wait.durably)),
        };
        let is_done = |wait: &Waits| copies_of(wait) >= wait.copies as usize || wait.until <= now.time;
        for wait in answers.waits.extract_if(.., |wait| is_done(wait)) {
            let copies = copies_of(&wait) as i64;
            outbox.answers.push((wait.requester, Reply::Done(Value::Integer(copies))));
        }
        if answers.next_sweep.is_some_and(|at| at <= now.time) {
            self.sweep(now, outbox);
        }
    }

    fn sweep(&mut self, now: Now, outbox: &mut Outbox) {
        let answers = &mut self.answers;
        let late = |waiting: &Waiting| waiting.deadline <= now.time;
        for waiting in
            answers.durable.values_mut().flat_map(|waiting| waiting.extract_if(.., |one| late(one)))
        {
            let reply = match waiting.written {
                Some(_) => {
                    Reply::Unknown("the write is not on the disk yet: it may or may not happen".into())
                }
                None => Reply::Refused("TIMEOUT what would be answered is not on the disk yet".into()),
            };
            outbox.answers.push((waiting.requester, reply));
        }
        answers.durable.retain(|_, waiting| !waiting.is_empty());
        for (.., waiting) in answers.held_back.extract_if(.., |(.., waiting)| late(waiting)) {
            let text =
                "the write is done here, and is not known to be held by as many replicas as are asked for";
            outbox.answers.push((waiting.requester, Reply::Unknown(text.into())));
        }
        for (_, work) in answers.parked.extract_if(.., |(_, work)| work.deadline <= now.time) {
            outbox.answers.push((work.requester, behind()));
        }
        answers.next_sweep = (!answers.is_empty()).then(|| now.time + SWEEP_INTERVAL);
    }

    /// Takes keys away that have ended.
    pub(super) fn expire_due(&mut self, now: Now) {
        if self.disk_full || !self.is_serving() {
            return;
        }
        let now_ms = self.now_ms(now);
        let Some(causal) = &mut self.causal else { return };
        if causal.table().next_expiry_ms().is_none_or(|at_ms| at_ms > now_ms) {
            return;
        }
        let dot = causal.next_dot();
        let rank = self.primaries.members().take_while(|(_, origin)| *origin != dot.origin).count() as u64;
        let patience_ms = EXPIRE_FOR_OTHERS_MS * (rank + 1);
        let table = causal.table();
        let mut due = table.expired(now_ms, EXPIRED_AT_ONCE);
        due.retain(|key| {
            table.expiry_origin(key) == Some(dot.origin)
                || table.expire_at_ms(key).is_some_and(|at_ms| at_ms + patience_ms <= now_ms)
        });
        let changes: Vec<Change> = clearing(&due, table, dot);
        if !changes.is_empty() {
            // It has no more bytes than what it takes away.
            let _ = causal.write(changes, usize::MAX, now);
        }
    }
}
