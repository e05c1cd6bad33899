//! Reads: answered from the applied state of this replica, leader or not, once that state is known to hold everything
//! that was committed when the read came (Ongaro's thesis, section 6.4: read-index, and leases to save the round).
//!
//! At the leader a read looks at the state at its own place in the order of requests - after the writes that its
//! connection sent before it, before those that came after it - and is answered once it is certain that this node led
//! when it came. A follower asks for an index, applies up to there, and looks.
//!
//! A read that need not see all of that ([`Consistency`]) is answered by any voter, or copy for reads alone, that has caught up once since it started and has what its session
//! has seen, or is known to be fresh enough ([`Freshness`]): as fresh as the time, on this node's own clock, of the last question for an index that
//! has been applied since. Else it goes the way of all reads.
//!
//! Keys that have expired count as absent only once their deletion is committed. A read that meets such a key at the
//! leader proposes the deletion and is answered with it; a follower passes the read on to the leader.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use data::{Answer, View};
use resp::Value;

use super::Replica;
use crate::consistency::{Consistency, Seen};
use crate::contract::{Call, Reply};
use crate::histogram::{Histogram, Recent};
use crate::shard::outbox::{Outbox, Requester, Work};
use crate::time::{Now, Time};

/// As of when this replica's state is known to hold everything that was acknowledged, on its own clock.
#[derive(Debug, Default)]
pub(super) struct Freshness {
    /// `None`: not since it started.
    as_of: Option<Time>,
    /// Questions under way, when each was asked, and what was applied then.
    asked: BTreeMap<u64, (Time, u64)>,
    /// An index that has yet to be applied, when it was asked for, and what was applied then.
    to_come: VecDeque<(u64, Time, u64)>,
    /// An answer would help reads that are to come.
    wanted: bool,
    /// When the last question was asked.
    asked_at: Option<Time>,
    /// How long it took until all was here that had been acknowledged when it was asked.
    staleness: Recent,
}

/// While this replica answers reads that may be stale, it asks so often how stale they are.
const SAMPLED_EVERY: Duration = Duration::from_millis(100);

impl Freshness {
    fn applied(&mut self, applied: u64, is_leader: bool, now: Time) {
        while let Some(&(index, asked_at, had)) = self.to_come.front()
            && index <= applied
        {
            self.as_of = self.as_of.max(Some(asked_at));
            self.to_come.pop_front();
            if !is_leader {
                // What was here already was not stale; of the rest it is known that it was not there for so long at the most.
                let stale = if index <= had { Duration::ZERO } else { now.since(asked_at) };
                self.staleness.add(stale, now.0 / 1000);
            }
        }
    }
}

/// A request that waits for its answer to be certain.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub work: Work,
    /// The index that has to be applied.
    minimum: u64,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// A follower's read: the consensus is to name an index.
    Ask,
    /// It has; once that is applied, the state may be looked at.
    Look,
    /// The leader's state at `minimum` is to be looked at, with the clock of when the read came.
    LookAt { clock_ms: u64 },
    /// This is the answer, if the consensus confirms that this node leads in `term`, and `minimum` is applied.
    Confirm { reply: Value, term: u64 },
    /// This is the answer once `minimum` is applied. `retry`: the request itself is what was proposed there.
    Wait { reply: Value, retry: bool },
}

impl Waiting {
    /// The answer is known and holds once the proposal at `index` is applied.
    pub fn for_proposal(work: Work, reply: Value, index: u64) -> Waiting {
        Waiting { work, minimum: index, stage: Stage::Wait { reply, retry: true } }
    }

    /// Is it the retry of a write that is proposed? Then nobody can say that it will not happen.
    pub fn is_retry(&self) -> bool {
        matches!(self.stage, Stage::Wait { retry: true, .. })
    }

    /// Does it wait only for what is committed already?
    pub fn survives_leadership(&self) -> bool {
        matches!(self.stage, Stage::Look)
    }
}

impl Replica {
    /// Takes a read.
    pub(super) fn read(&mut self, work: Work, now: Now, outbox: &mut Outbox) {
        let is_behind_others = work.ordered || matches!(work.requester, Requester::Remote { .. });
        if let Some(level) = work.relaxed() {
            self.relaxed_reads = self.relaxed_reads.saturating_add(1);
            // Of a session nothing overtakes what waits.
            let waits = !(self.parked.is_empty()
                && self.open_reads.is_empty()
                // A question that no read waits for holds nothing up.
                && self.asked_reads.values().all(Vec::is_empty)
                && self.apply_waits.is_empty());
            if !(is_behind_others && waits) && self.is_fresh_enough(level, work.wishes.seen.as_ref(), now) {
                return self.look_now(work, level, now, outbox);
            }
        }
        let ordered = is_behind_others && work.relaxed().is_none();
        if ordered && !self.parked.is_empty() {
            return self.parked.push(work);
        }
        if ordered && !self.raft.is_leader() {
            return outbox.elsewhere.push((self.partition, work, self.raft.leader()));
        }
        if !self.raft.is_leader() && self.raft.group().is_some_and(|group| group.policy.relaxed) {
            // What is acknowledged is applied here only once it is on every disk.
            return outbox.elsewhere.push((self.partition, work, self.raft.leader()));
        }
        if !self.raft.is_leader() {
            return self.open_reads.push(Waiting { work, minimum: 0, stage: Stage::Ask });
        }
        if !self.is_serving() {
            return self.parked.push(work);
        }
        let clock_ms = self.clock_ms(now);
        // What comes later must not see an earlier time, whatever the clock does.
        self.last_stamp_ms = clock_ms;
        let mut minimum = self.raft.commit();
        if ordered {
            minimum = minimum.max(self.pending_position(&work.call));
        }
        if minimum <= self.applied {
            self.look_at(work, clock_ms, now, outbox);
        } else {
            self.wait_applied(Waiting { work, minimum, stage: Stage::LookAt { clock_ms } });
        }
    }

    /// How stale what this replica answers was lately, if it answers anything that may be.
    pub(super) fn staleness(&self) -> Option<Histogram> {
        self.freshness.staleness.shown()
    }

    /// Have reads come since the last look that another replica could answer as well?
    pub fn has_relaxed_reads(&self) -> bool {
        self.relaxed_reads > 0
    }

    /// How many came.
    pub fn take_relaxed_reads(&mut self) -> u32 {
        std::mem::take(&mut self.relaxed_reads)
    }

    /// Has a copy for reads alone caught up, as far as it knows?
    pub fn may_be_read(&self) -> bool {
        let (node, membership) = (self.options.node, self.raft.membership());
        membership.contains(node)
            && self.raft.leader().is_some()
            && self.raft.membership_index() <= self.applied
            && self.applied >= self.exact_at.max(self.raft.commit())
    }

    /// May a read of that level be answered from the state as it is?
    fn is_fresh_enough(&mut self, level: Consistency, seen: Option<&Seen>, now: Now) -> bool {
        let node = self.options.node;
        let takes_part = self.raft.membership().voters.contains(&node) || self.readers.contains(&node);
        if self.applied < self.exact_at || !takes_part {
            return false;
        }
        #[cfg(any(test, feature = "planted-bugs"))]
        let is_blind = self.options.raft.planted == Some(super::raft::Bug::SeenIgnored);
        #[cfg(not(any(test, feature = "planted-bugs")))]
        let is_blind = false;
        let has_seen =
            is_blind || seen.is_none_or(|seen| seen.is_covered_by(self.applied_term, self.applied));
        // What a replica has found on its disk may be from long ago.
        let Some(as_of) = self.freshness.as_of else { return false };
        let is_sampled = !self.raft.is_leader()
            && self.freshness.asked_at.is_none_or(|asked_at| now.time.since(asked_at) >= SAMPLED_EVERY);
        self.freshness.wanted |= is_sampled;
        match level {
            Consistency::Strong => false,
            Consistency::Eventual => true,
            Consistency::Session => has_seen,
            Consistency::Bounded(_) => {
                let back = level.reaches_back(self.options.raft.clock_drift_ppm).unwrap_or_default();
                let age = now.time.since(as_of);
                // The next one need not wait for the answer that this one could do without.
                self.freshness.wanted |= age > back / 2;
                #[cfg(any(test, feature = "planted-bugs"))]
                let age = match self.options.raft.planted {
                    Some(super::raft::Bug::BoundIgnored) => Duration::ZERO,
                    _ => age,
                };
                age <= back && has_seen
            }
        }
    }

    /// Answers from the state as it is.
    fn look_now(&mut self, work: Work, level: Consistency, now: Now, outbox: &mut Outbox) {
        let answer = self.answer(&work.call, self.clock_ms(now));
        // Other replicas may see a key that is gone for this one's clock: a session would go back.
        if !answer.expired.is_empty() && level != Consistency::Eventual {
            return self.read(work.strictly(), now, outbox);
        }
        outbox.answers.push((work.requester, Reply::Done(answer.reply)));
    }

    pub(super) fn wait_applied(&mut self, waiting: Waiting) {
        self.apply_waits.entry(waiting.minimum).or_default().push(waiting);
    }

    /// The last proposal that touches what `call` reads.
    fn pending_position(&self, call: &Call) -> u64 {
        if self.pending.is_empty() {
            return 0;
        }
        let position = match call {
            Call::Command { command, arguments, .. } => match data::route::keys_of(command, arguments) {
                Ok(keys) if !keys.is_empty() => {
                    keys.iter().filter_map(|&key| self.pending.position_of(&arguments[key])).max()
                }
                // It reads the whole partition.
                _ => self.proposals.back().map(|proposal| proposal.index),
            },
            Call::Fingerprint { keys } => keys.iter().filter_map(|key| self.pending.position_of(key)).max(),
            Call::Transaction { .. }
            | Call::Admin(_)
            | Call::Demanding { .. }
            | Call::Quorum { .. }
            | Call::At { .. }
            | Call::After { .. } => None,
        };
        position.unwrap_or(0)
    }

    /// Gives `reply` once it is certain that this node (still) leads and `minimum` is applied.
    pub(super) fn confirm(&mut self, work: Work, reply: Value, minimum: u64, now: Now, outbox: &mut Outbox) {
        if !self.raft.has_lease(now.time) {
            let stage = Stage::Confirm { reply, term: self.raft.term() };
            return self.open_reads.push(Waiting { work, minimum, stage });
        }
        // Nobody else has acknowledged anything by now.
        if self.is_serving() && self.raft.commit() <= self.applied.max(self.exact_at) {
            self.freshness.as_of = self.freshness.as_of.max(Some(now.time));
        }
        if minimum <= self.applied {
            outbox.answers.push((work.requester, Reply::Done(reply)));
        } else {
            self.wait_applied(Waiting { work, minimum, stage: Stage::Wait { reply, retry: false } });
        }
    }

    /// Puts the one question of all reads since the last batch to the consensus.
    pub(super) fn ask_reads(&mut self, now: Now, outbox: &mut Outbox) {
        for waiting in std::mem::take(&mut self.open_reads) {
            self.keep_if_leading(waiting, outbox, |replica, waiting| replica.open_reads.push(waiting));
        }
        let wanted = std::mem::take(&mut self.freshness.wanted) && self.asked_reads.is_empty();
        if self.open_reads.is_empty() && !wanted {
            return;
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.asked_reads.insert(ticket, std::mem::take(&mut self.open_reads));
        self.freshness.asked.insert(ticket, (now.time, self.applied));
        self.freshness.asked_at = Some(now.time);
        self.raft.read(ticket, now.time);
    }

    /// What was looked up by a leader says nothing once that leader's term is over.
    fn keep_if_leading(
        &mut self,
        waiting: Waiting,
        outbox: &mut Outbox,
        keep: impl FnOnce(&mut Self, Waiting),
    ) {
        match waiting.stage {
            Stage::Confirm { term, .. } if !self.raft.is_leader() || term != self.raft.term() => {
                self.give_up_wait(waiting.work, outbox);
            }
            _ => keep(self, waiting),
        }
    }

    /// Leadership is lost before the answer was certain. Nothing was done; but what came later on the same connection
    /// may have been, so only a request that stands alone is tried again.
    pub(super) fn give_up_wait(&mut self, work: Work, outbox: &mut Outbox) {
        let is_behind_others = work.ordered || matches!(work.requester, Requester::Remote { .. });
        if is_behind_others && work.relaxed().is_none() {
            let text = "TRYAGAIN the leader changed before the answer was certain, nothing was done";
            outbox.answers.push((work.requester, Reply::Refused(text.into())));
        } else {
            // Those of its connection that were answered here may have seen what this replica drops now.
            let work = match work.relaxed() {
                Some(_) => Work { ordered: true, ..work.strictly() },
                None => work,
            };
            outbox.elsewhere.push((self.partition, work, self.raft.leader()));
        }
    }

    /// The consensus has answered: the index to be applied first, or that it cannot be told here.
    pub(super) fn read_settled(
        &mut self,
        ticket: u64,
        index: Option<u64>,
        now: Now,
        outbox: &mut Outbox,
    ) -> bool {
        let asked_at = self.freshness.asked.remove(&ticket);
        let later = self.asked_reads.split_off(&(ticket + 1));
        let waits = match index {
            // What was answered to a later question does for earlier ones, too; so reads go on in the order in which they came.
            Some(index) => {
                self.freshness.asked.retain(|earlier, _| *earlier > ticket);
                if let Some((asked_at, had)) = asked_at {
                    self.freshness.to_come.push_back((index.max(self.exact_at), asked_at, had));
                    self.freshness.applied(self.applied, self.raft.is_leader(), now.time);
                }
                std::mem::replace(&mut self.asked_reads, later).into_values().flatten().collect()
            }
            None => {
                let waits = self.asked_reads.remove(&ticket).unwrap_or_default();
                self.asked_reads.extend(later);
                waits
            }
        };
        if index.is_none() {
            // They are answered from elsewhere. Those of their connections that are behind them must not be answered from less than that, and those
            // before them not from more: all that any replica may answer goes elsewhere, in the order in which it came.
            let is_relaxed = |waiting: &mut Waiting| waiting.work.relaxed().is_some();
            let lists = self.apply_waits.values_mut().chain(self.asked_reads.values_mut());
            let lists = lists.chain(std::iter::once(&mut self.open_reads));
            let relaxed: Vec<Waiting> = lists.flat_map(|reads| reads.extract_if(.., is_relaxed)).collect();
            self.apply_waits.retain(|_, reads| !reads.is_empty());
            for waiting in relaxed {
                self.give_up_wait(waiting.work, outbox);
            }
        }
        let mut more = false;
        for waiting in waits {
            let Some(index) = index else {
                self.give_up_wait(waiting.work, outbox);
                continue;
            };
            self.keep_if_leading(waiting, outbox, |replica, mut waiting| {
                match waiting.stage {
                    Stage::Ask => {
                        // Answers may overtake one another: none of a session is from less than those before it.
                        let before = replica.apply_waits.last_key_value().map_or(0, |(minimum, _)| *minimum);
                        let before = if waiting.work.relaxed().is_some() { before } else { 0 };
                        waiting.minimum = index.max(replica.exact_at).max(before);
                        waiting.stage = Stage::Look;
                    }
                    Stage::Confirm { reply, .. } => waiting.stage = Stage::Wait { reply, retry: false },
                    _ => {}
                }
                replica.wait_applied(waiting);
            });
        }
        more |= self.wake_applied(now, outbox);
        more
    }

    /// Goes on with what waited for entries that are now applied.
    pub(super) fn wake_applied(&mut self, now: Now, outbox: &mut Outbox) -> bool {
        let mut more = false;
        // A state from elsewhere may be looked at only once it is exact, whatever a read asked for before it came.
        if self.applied < self.exact_at {
            return more;
        }
        self.freshness.applied(self.applied, self.raft.is_leader(), now.time);
        while let Some(entry) = self.apply_waits.first_entry() {
            if *entry.key() > self.applied {
                break;
            }
            for waiting in entry.remove() {
                more |= self.go_on(waiting, now, outbox);
            }
        }
        more
    }

    fn go_on(&mut self, waiting: Waiting, now: Now, outbox: &mut Outbox) -> bool {
        match waiting.stage {
            Stage::Look => {
                self.look(waiting.work, now, outbox);
                true
            }
            Stage::LookAt { clock_ms } => {
                self.look_at(waiting.work, clock_ms, now, outbox);
                true
            }
            Stage::Wait { reply, .. } => {
                outbox.answers.push((waiting.work.requester, Reply::Done(reply)));
                false
            }
            Stage::Ask | Stage::Confirm { .. } => unreachable!("those wait for the consensus"),
        }
    }

    /// A read whose index the consensus has named.
    fn look(&mut self, work: Work, now: Now, outbox: &mut Outbox) {
        let Some(work) = self.if_here(work, outbox) else { return };
        let clock_ms = self.clock_ms(now);
        let answer = self.answer(&work.call, clock_ms);
        if answer.expired.is_empty() {
            return outbox.answers.push((work.requester, Reply::Done(answer.reply)));
        }
        // Only the leader may say that a key is gone.
        self.read(Work { ordered: true, ..work.strictly() }, now, outbox);
    }

    /// Looks at the leader's present state.
    fn look_at(&mut self, work: Work, clock_ms: u64, now: Now, outbox: &mut Outbox) {
        let Some(work) = self.if_here(work, outbox) else { return };
        let answer = self.answer(&work.call, clock_ms);
        if answer.expired.is_empty() {
            return self.confirm(work, answer.reply, 0, now, outbox);
        }
        if self.disk_full {
            // Nothing can be deleted now. A key is there until it is.
            let answer = self.answer(&work.call, 0);
            return self.confirm(work, answer.reply, 0, now, outbox);
        }
        if !self.is_serving() {
            return self.give_up_wait(work, outbox);
        }
        let pending = answer.expired.iter().filter_map(|key| self.pending.position_of(key)).max();
        let (decided, due): (Vec<_>, Vec<_>) =
            answer.expired.into_iter().partition(|key| self.pending.position_of(key).is_some());
        if !decided.is_empty() && !work.ordered {
            // Writes that were there before this read may have been prepared before the key expired: behind those.
            return self.read(Work { ordered: true, ..work.strictly() }, now, outbox);
        }
        // Writes that came after this read were prepared when the key had expired already: with them it is gone. What
        // none of them decides is deleted now, behind all of them.
        let reply = answer.reply;
        match (Answer { reply: Value::Null, expired: due }).expire() {
            Some(mutation) => self.propose(work, reply, Some(mutation), None, clock_ms, now, outbox),
            None => self.confirm(work, reply, pending.unwrap_or(0), now, outbox),
        }
    }

    fn answer(&self, call: &Call, clock_ms: u64) -> Answer {
        let view = View::new(&self.table, None, clock_ms);
        match call {
            Call::Command { command, arguments, .. } => {
                data::answer(command, arguments, &view, self.seed ^ self.applied)
            }
            Call::Fingerprint { keys } => {
                let prints = keys.iter().map(|key| data::fingerprint(key, &view).to_le_bytes());
                let prints = prints.map(|print| Value::Bulk(Bytes::copy_from_slice(&print))).collect();
                Answer { reply: Value::Array(prints), expired: Vec::new() }
            }
            Call::Transaction { .. }
            | Call::Admin(_)
            | Call::Demanding { .. }
            | Call::Quorum { .. }
            | Call::At { .. }
            | Call::After { .. } => {
                unreachable!("not a read")
            }
        }
    }
}
