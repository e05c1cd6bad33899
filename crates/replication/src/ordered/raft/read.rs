//! Reading: leases and read-index (6.4).
//!
//! - A leader with a lease answers at once. The lease runs from when the latest round that a majority has answered had
//!   *begun*, for the time that the answerers promise not to vote for another, less what clocks may drift apart.
//! - Without one, a round that begins after the read came has to be answered by a majority: then this was still the
//!   leader after the read came.
//! - A follower asks the leader, one question for all reads since the last `finish`, and again if no answer comes.
//!
//! In any case the leader must have committed an entry of its own term before, since only then it knows all that is
//! committed. Any index at or above the commit index when the read came is right.
//!
//! Clocks: a lease relies on the *rates* of two clocks differing by no more than `clock_drift_ppm`, and only reads rely
//! on the lease.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Message, Raft, ReadRefused};
use crate::NodeId;
use crate::time::Time;

/// Whom a leader answers.
#[derive(Clone, Copy, Debug)]
enum Asker {
    Ticket(u64),
    Batch { node: NodeId, batch: u64 },
}

/// A read that waits at the leader.
#[derive(Debug)]
struct Waiting {
    asker: Asker,
    /// The round that has to be confirmed; `None`: to be begun at the next `finish`.
    round: Option<u64>,
    gives_up_at: Time,
}

/// Reads of a follower that the leader has been asked about.
#[derive(Debug)]
struct Batch {
    number: u64,
    tickets: Vec<u64>,
    ask_again_at: Time,
    gives_up_at: Time,
}

/// The reads under way at one replica.
#[derive(Debug)]
pub(super) struct Reads {
    /// Came since the last `finish`, or wait for a leader to be known.
    fresh: Vec<u64>,
    fresh_gives_up_at: Time,
    asked: VecDeque<Batch>,
    next_batch: u64,
    waiting: VecDeque<Waiting>,
}

impl Reads {
    /// Batches are numbered from a number of this start's own: see [`Raft::new`].
    pub fn new(seed: u64) -> Reads {
        Reads {
            fresh: Vec::new(),
            fresh_gives_up_at: Time::NEVER,
            asked: VecDeque::new(),
            next_batch: crate::random::Random::new(!seed).draw() >> 8,
            waiting: VecDeque::new(),
        }
    }

    pub fn any(&self) -> bool {
        !(self.fresh.is_empty() && self.asked.is_empty() && self.waiting.is_empty())
    }

    pub fn wake_at(&self, leader_known: bool) -> Time {
        let fresh = if leader_known || self.fresh.is_empty() { Time::NEVER } else { self.fresh_gives_up_at };
        let asked = self.asked.iter().map(|batch| batch.ask_again_at.min(batch.gives_up_at)).min();
        let waiting = self.waiting.front().map_or(Time::NEVER, |waiting| waiting.gives_up_at);
        fresh.min(waiting).min(asked.unwrap_or(Time::NEVER))
    }
}

impl Raft {
    /// Asks at which index a linearizable read may be answered, on leader and follower alike. The answer comes in
    /// [`Effects::reads`](super::Effects::reads), many tickets with one round.
    pub fn read(&mut self, ticket: u64, now: Time) {
        if self.reads.fresh.is_empty() {
            self.reads.fresh_gives_up_at = now + self.read_patience();
        }
        self.reads.fresh.push(ticket);
        if self.is_leader() {
            self.wake_up(now);
        } else if self.quiet {
            self.quiet = false;
            self.arm_election_timer(now);
        }
    }

    /// How long a read waits for a leader or its answer.
    fn read_patience(&self) -> Duration {
        self.options.election_timeout * 2
    }

    /// Does the leader have a lease at `now`, and an entry of its own term committed? Then reads at `commit()` are linearizable.
    pub fn has_lease(&self, now: Time) -> bool {
        now < self.lease_until()
    }

    /// The end of the lease on this node's clock; `Time(0)` if there is none.
    pub fn lease_until(&self) -> Time {
        if !self.has_committed_in_term() {
            return Time(0);
        }
        self.bare_lease_until()
    }

    /// The same, without the condition that an entry of the leader's own term is committed.
    pub(super) fn bare_lease_until(&self) -> Time {
        let Some(leading) = &self.leading else { return Time(0) };
        let handing_over = leading.lease_given_up || leading.transfer.is_some();
        if (handing_over && !self.has_bug_lease_in_transfer()) || self.quiet {
            return Time(0);
        }
        if leading.rounds.confirmed() == u64::MAX {
            return Time::NEVER;
        }
        leading.rounds.confirmed_begun().map_or(Time(0), |begun| begun + self.lease_duration())
    }

    fn lease_duration(&self) -> Duration {
        let promised = self.options.election_timeout.as_nanos() as u64;
        #[cfg(any(test, feature = "planted-bugs"))]
        if self.has_bug(super::Bug::LeaseTooLong) {
            return Duration::from_nanos(promised * 3);
        }
        let rate = 1_000_000 - u64::from(self.options.clock_drift_ppm.min(1_000_000));
        Duration::from_nanos((u128::from(promised) * u128::from(rate) / 1_000_000) as u64)
    }

    fn has_bug_lease_in_transfer(&self) -> bool {
        #[cfg(any(test, feature = "planted-bugs"))]
        return self.has_bug(super::Bug::LeaseDuringTransfer);
        #[cfg(not(any(test, feature = "planted-bugs")))]
        false
    }

    /// A follower asks for its reads.
    pub(super) fn on_read_index(&mut self, from: NodeId, term: u64, batch: u64, now: Time) {
        self.catch_up_term(term, now);
        if term == self.term() && self.is_leader() {
            self.wait_for_read(Asker::Batch { node: from, batch }, now);
            self.wake_up(now);
        }
    }

    fn wait_for_read(&mut self, asker: Asker, now: Time) {
        let gives_up_at = now + self.read_patience();
        self.reads.waiting.push_back(Waiting { asker, round: None, gives_up_at });
    }

    /// At the leader's `finish`, before anything is sent: answers what can be answered, and has a round begun for the rest.
    pub(super) fn answer_reads(&mut self, now: Time) {
        if !self.is_leader() {
            return;
        }
        for ticket in std::mem::take(&mut self.reads.fresh) {
            self.wait_for_read(Asker::Ticket(ticket), now);
        }
        if self.reads.waiting.is_empty() {
            return;
        }
        let confirmed = self.confirmed_for_reads(now);
        if self.has_committed_in_term() {
            let waiting = std::mem::take(&mut self.reads.waiting);
            for read in waiting {
                // A fresh read needs a round of its own, even a round begun at the same time is too early for it.
                if read.round.unwrap_or(u64::MAX) <= confirmed {
                    self.answer_read(read.asker, Ok(self.commit));
                } else {
                    self.reads.waiting.push_back(read);
                }
            }
        }
        self.begin_round_for_reads(now);
    }

    /// The latest round that counts as confirmed; `u64::MAX` if none is needed.
    fn confirmed_for_reads(&self, now: Time) -> u64 {
        #[cfg(any(test, feature = "planted-bugs"))]
        if self.has_bug(super::Bug::ReadWithoutConfirming) {
            return u64::MAX;
        }
        if self.has_lease(now) {
            return u64::MAX;
        }
        self.leading.as_ref().map_or(0, |leading| leading.rounds.confirmed())
    }

    fn begin_round_for_reads(&mut self, now: Time) {
        let Some(leading) = &mut self.leading else { return };
        if self.reads.waiting.iter().any(|read| read.round.is_none()) {
            let round = leading.rounds.open(now);
            leading.heartbeat_due = true;
            for read in &mut self.reads.waiting {
                read.round.get_or_insert(round);
            }
        }
    }

    fn answer_read(&mut self, asker: Asker, answer: Result<u64, ReadRefused>) {
        match (asker, answer) {
            (Asker::Ticket(ticket), answer) => self.outbox.reads.push((ticket, answer)),
            (Asker::Batch { node, batch }, Ok(index)) => {
                self.send(node, Message::ReadIndexOk { term: self.term(), batch, index });
            }
            (Asker::Batch { .. }, Err(ReadRefused)) => {}
        }
    }

    /// At a follower's `finish`: asks the leader for what came since the last one.
    pub(super) fn ask_for_reads(&mut self, now: Time) {
        let Some(leader) = self.leader.filter(|&leader| leader != self.id) else { return };
        if self.reads.fresh.is_empty() {
            return;
        }
        let tickets = std::mem::take(&mut self.reads.fresh);
        let number = self.reads.next_batch;
        self.reads.next_batch += 1;
        let ask_again_at = now + self.options.heartbeat_interval * 2;
        let gives_up_at = now + self.read_patience();
        self.reads.asked.push_back(Batch { number, tickets, ask_again_at, gives_up_at });
        self.send(leader, Message::ReadIndex { term: self.term(), batch: number });
    }

    pub(super) fn on_read_index_ok(&mut self, from: NodeId, term: u64, batch: u64, index: u64) {
        if term != self.term() || self.leader != Some(from) {
            return;
        }
        if let Some(position) = self.reads.asked.iter().position(|asked| asked.number == batch)
            && let Some(answered) = self.reads.asked.remove(position)
        {
            let answers = answered.tickets.into_iter().map(|ticket| (ticket, Ok(index)));
            self.outbox.reads.extend(answers);
        }
    }

    /// The leader (another or this replica) does not lead any more: what it was asked for gets no answer from it.
    pub(super) fn refuse_asked_reads(&mut self) {
        for batch in std::mem::take(&mut self.reads.asked) {
            self.outbox.reads.extend(batch.tickets.into_iter().map(|ticket| (ticket, Err(ReadRefused))));
        }
        for read in std::mem::take(&mut self.reads.waiting) {
            self.answer_read(read.asker, Err(ReadRefused));
        }
    }

    /// Asks again, and gives up what has waited for too long.
    pub(super) fn on_read_tick(&mut self, now: Time) {
        if self.leader.is_none() && !self.reads.fresh.is_empty() && now >= self.reads.fresh_gives_up_at {
            let tickets = std::mem::take(&mut self.reads.fresh);
            self.outbox.reads.extend(tickets.into_iter().map(|ticket| (ticket, Err(ReadRefused))));
        }
        while self.reads.waiting.front().is_some_and(|read| now >= read.gives_up_at) {
            let Some(read) = self.reads.waiting.pop_front() else { break };
            self.answer_read(read.asker, Err(ReadRefused));
        }
        while self.reads.asked.front().is_some_and(|batch| now >= batch.gives_up_at) {
            let Some(batch) = self.reads.asked.pop_front() else { break };
            self.outbox.reads.extend(batch.tickets.into_iter().map(|ticket| (ticket, Err(ReadRefused))));
        }
        let Some(leader) = self.leader else { return };
        let term = self.ballot.term;
        for batch in self.reads.asked.iter_mut().filter(|batch| now >= batch.ask_again_at) {
            batch.ask_again_at = now + self.options.heartbeat_interval * 2;
            self.outbox.send.push((leader, Message::ReadIndex { term, batch: batch.number }));
        }
    }
}
