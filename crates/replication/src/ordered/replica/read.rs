//! Reads: answered from the applied state of this replica, leader or not, once that state is known to hold everything
//! that was committed when the read came (Ongaro's thesis, section 6.4: read-index, and leases to save the round).
//!
//! Keys that have expired count as absent only once their deletion is committed. A read that meets such a key at the
//! leader proposes the deletion and is answered with it; a follower passes the read on to the leader.

use bytes::Bytes;
use data::{Answer, View};
use resp::Value;

use super::Replica;
use crate::contract::{Call, Reply};
use crate::shard::outbox::{Outbox, Requester, Work};
use crate::time::Now;

/// A request that waits for its answer to be certain.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub work: Work,
    /// The index that has to be applied beside the one that the consensus names.
    minimum: u64,
    stage: Stage,
}

#[derive(Debug, PartialEq)]
enum Stage {
    /// The consensus has confirmed an index; what remains is to apply it.
    Confirmed,
    /// As above, for a write that changes nothing: this is its answer, given that the proposals before it commit.
    ConfirmedAnswer(Value),
    /// An answer that holds once the consensus confirms that this node leads.
    Answer(Value),
    /// Neither.
    Ask,
    /// To be started again from the beginning, after the proposals that it waits for.
    Again,
}

impl Waiting {
    /// Starts again once the index that it waits for is applied.
    pub fn again(work: Work) -> Waiting {
        Waiting { work, minimum: 0, stage: Stage::Again }
    }

    /// Does it wait only for what is committed already?
    pub fn survives_leadership(&self) -> bool {
        self.stage == Stage::Confirmed
    }
}

impl Replica {
    /// Takes a read.
    pub(super) fn read(&mut self, work: Work, now: Now, outbox: &mut Outbox) {
        // A read behind writes of its own connection, or one that another node passed on, must see the leader's
        // proposals: it goes where they are.
        if work.after_writes || matches!(work.requester, Requester::Remote { .. }) {
            if !self.raft.is_leader() {
                return outbox.elsewhere.push((self.partition, work, self.raft.leader()));
            }
            if !self.is_serving() {
                return self.parked.push(work);
            }
            if let Some(index) = self.pending_position(&work.call) {
                return self.apply_waits.entry(index).or_default().push(Waiting::again(work));
            }
        }
        if self.may_answer(now) {
            return self.answer(work, now, outbox);
        }
        self.open_reads.push(Waiting { work, minimum: 0, stage: Stage::Ask });
    }

    /// Does the applied state hold all that is committed anywhere, without asking anyone?
    fn may_answer(&self, now: Now) -> bool {
        self.is_serving() && self.applied >= self.raft.commit() && self.raft.has_lease(now.time)
    }

    /// The last proposal that touches what `call` reads.
    fn pending_position(&self, call: &Call) -> Option<u64> {
        if self.pending.is_empty() {
            return None;
        }
        match call {
            Call::Command { command, arguments, .. } => match data::route::keys_of(command, arguments) {
                Ok(keys) if !keys.is_empty() => {
                    keys.iter().filter_map(|&key| self.pending.position_of(&arguments[key])).max()
                }
                // It reads the whole partition.
                _ => {
                    self.proposals.back().map(|proposal| proposal.index).filter(|&index| index > self.applied)
                }
            },
            Call::Fingerprint { keys } => keys.iter().filter_map(|key| self.pending.position_of(key)).max(),
            Call::Transaction { .. } | Call::Admin(_) => None,
        }
    }

    /// A write that changes nothing was prepared against proposals that are not committed: its answer holds once they
    /// are, and once it is certain that this node still leads.
    pub(super) fn answer_after_pending(&mut self, work: Work, reply: Value, now: Now, outbox: &mut Outbox) {
        let minimum = if self.pending.is_empty() { 0 } else { self.raft.last_index() };
        if !self.raft.has_lease(now.time) {
            self.open_reads.push(Waiting { work, minimum, stage: Stage::Answer(reply) });
        } else if minimum <= self.applied {
            outbox.answers.push((work.requester, Reply::Done(reply)));
        } else {
            let waiting = Waiting { work, minimum, stage: Stage::ConfirmedAnswer(reply) };
            self.apply_waits.entry(minimum).or_default().push(waiting);
        }
    }

    /// Puts the one question of all reads since the last batch to the consensus.
    pub(super) fn ask_reads(&mut self, now: Now) {
        if self.open_reads.is_empty() {
            return;
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.asked_reads.insert(ticket, std::mem::take(&mut self.open_reads));
        self.raft.read(ticket, now.time);
    }

    /// The consensus has answered: the index to be applied first, or that it cannot be told here.
    pub(super) fn read_settled(
        &mut self,
        ticket: u64,
        index: Option<u64>,
        now: Now,
        outbox: &mut Outbox,
    ) -> bool {
        let waits = self.asked_reads.remove(&ticket).unwrap_or_default();
        let mut more = false;
        for mut waiting in waits {
            let Some(index) = index else {
                outbox.elsewhere.push((self.partition, waiting.work, None));
                continue;
            };
            let minimum = waiting.minimum.max(index).max(self.exact_at);
            waiting.stage = match waiting.stage {
                Stage::Answer(reply) => Stage::ConfirmedAnswer(reply),
                Stage::Ask => Stage::Confirmed,
                other => other,
            };
            if minimum <= self.applied {
                more |= self.go_on(waiting, now, outbox);
            } else {
                self.apply_waits.entry(minimum).or_default().push(waiting);
            }
        }
        more
    }

    /// Goes on with what waited for entries that are now applied.
    pub(super) fn wake_applied(&mut self, now: Now, outbox: &mut Outbox) -> bool {
        let mut more = false;
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
            Stage::Confirmed => {
                self.answer(waiting.work, now, outbox);
                true
            }
            Stage::ConfirmedAnswer(reply) => {
                outbox.answers.push((waiting.work.requester, Reply::Done(reply)));
                false
            }
            Stage::Again | Stage::Ask | Stage::Answer(_) => {
                self.handle(waiting.work, now, outbox);
                true
            }
        }
    }

    /// Answers from the applied state.
    fn answer(&mut self, work: Work, now: Now, outbox: &mut Outbox) {
        let clock_ms = self.clock_ms(now);
        let answer = self.look(&work.call, clock_ms);
        if answer.expired.is_empty() {
            return outbox.answers.push((work.requester, Reply::Done(answer.reply)));
        }
        if self.disk_full {
            // Nothing can be deleted now. A key is there until it is.
            let answer = self.look(&work.call, 0);
            return outbox.answers.push((work.requester, Reply::Done(answer.reply)));
        }
        if !self.is_serving() {
            let work = Work { after_writes: true, ..work };
            return outbox.elsewhere.push((self.partition, work, self.raft.leader()));
        }
        // A proposal under way for such a key decides first.
        if let Some(index) = answer.expired.iter().filter_map(|key| self.pending.position_of(key)).max() {
            return self.apply_waits.entry(index).or_default().push(Waiting::again(work));
        }
        let mutation = answer.expire();
        self.propose(work, answer.reply, mutation, None, clock_ms, now, outbox);
    }

    fn look(&self, call: &Call, clock_ms: u64) -> Answer {
        let view = View { table: &self.table, pending: None, now_ms: clock_ms };
        match call {
            Call::Command { command, arguments, .. } => {
                data::answer(command, arguments, &view, self.seed ^ self.applied)
            }
            Call::Fingerprint { keys } => {
                let prints = keys.iter().map(|key| data::fingerprint(key, &view).to_le_bytes());
                let prints = prints.map(|print| Value::Bulk(Bytes::copy_from_slice(&print))).collect();
                Answer { reply: Value::Array(prints), expired: Vec::new() }
            }
            Call::Transaction { .. } | Call::Admin(_) => unreachable!("not a read"),
        }
    }
}
