//! Clients that want to know a write held by more than their keyspace asks for: `CLIENT ACK` and `WAIT`.
//!
//! Such a write is applied, and others see it, when the keyspace's own acknowledgement is there; who asked for more is answered
//! once that is there, too. If the primary is deposed before, nobody can say what became of it.

use resp::Value;

use super::Replica;
use crate::configuration::Acknowledgement;
use crate::contract::{Event, Reply};
use crate::shard::outbox::{Outbox, Requester};
use crate::time::{Now, Time};

/// A write that is done, and not yet held by as many as somebody wants to know.
#[derive(Debug)]
pub(crate) struct HeldBack {
    index: u64,
    term: u64,
    demand: Acknowledgement,
    requester: Requester,
    reply: Value,
    deadline: Time,
}

/// A `WAIT`.
#[derive(Debug)]
pub(crate) struct Waits {
    index: u64,
    copies: u32,
    durably: bool,
    requester: Requester,
    until: Time,
}

impl Replica {
    /// Why the demand cannot be met, if so.
    pub(super) fn refuse_demand(&self, demand: Acknowledgement) -> Option<String> {
        let group = self.raft.group()?;
        let policy = group.policy.acknowledgement;
        if demand.rank() < policy.rank() {
            return Some(
                "ERR the keyspace asks for more than CLIENT ACK says, and that cannot be weakened; nothing was written"
                    .into(),
            );
        }
        let others = group.configuration.in_sync.len() - 1;
        let needed = demand.copies(others);
        (needed > others).then(|| {
            format!(
                "NOREPLICAS {others} replicas are in sync beside the primary, and {needed} are asked for; nothing was written"
            )
        })
    }

    /// A write is done: its client is told, or waits for more.
    pub(super) fn answer_write(
        &mut self,
        (index, term): (u64, u64),
        demand: Option<Acknowledgement>,
        (requester, deadline): (Requester, Time),
        reply: Value,
        outbox: &mut Outbox,
    ) {
        if let Some(demand) = demand.filter(|demand| self.raft.held_by(*demand) < index) {
            if self.raft.is_leader() && term == self.raft.term() {
                return self.held_back.push(HeldBack { index, term, demand, requester, reply, deadline });
            }
            return outbox.answers.push((requester, too_few()));
        }
        if self.options.announce_applied {
            outbox.event(Event::Acknowledged { partition: self.partition, index, term, demand });
        }
        outbox.answers.push((requester, Reply::Done(reply)));
    }

    /// `WAIT` at the primary.
    pub(super) fn wait_for_copies(
        &mut self,
        requester: Requester,
        (term, copies, milliseconds, durably): (u64, u32, u32, bool),
        now: Now,
        outbox: &mut Outbox,
    ) {
        if self.raft.term() != term {
            return outbox.answers.push((requester, Reply::Done(Value::Integer(0))));
        }
        let until = now.time + std::time::Duration::from_millis(u64::from(milliseconds));
        self.waits.push(Waits { index: self.raft.last_index(), copies, durably, requester, until });
        self.answer_demands(now, outbox);
    }

    /// Answers those whose demand is met, or who waited for long enough.
    pub(super) fn answer_demands(&mut self, now: Now, outbox: &mut Outbox) {
        if self.held_back.is_empty() && self.waits.is_empty() {
            return;
        }
        for held in std::mem::take(&mut self.held_back) {
            if self.raft.held_by(held.demand) >= held.index {
                if self.options.announce_applied {
                    let (partition, index, term) = (self.partition, held.index, held.term);
                    let demand = Some(held.demand);
                    outbox.event(Event::Acknowledged { partition, index, term, demand });
                }
                outbox.answers.push((held.requester, Reply::Done(held.reply)));
            } else if held.deadline <= now.time {
                outbox.answers.push((held.requester, too_few()));
            } else {
                self.held_back.push(held);
            }
        }
        for wait in std::mem::take(&mut self.waits) {
            let copies = self.raft.copies_of(wait.index, wait.durably);
            if copies >= wait.copies as usize || wait.until <= now.time {
                outbox.answers.push((wait.requester, Reply::Done(Value::Integer(copies as i64))));
            } else {
                self.waits.push(wait);
            }
        }
    }

    /// This replica is primary no longer.
    pub(super) fn give_up_demands(&mut self, outbox: &mut Outbox) {
        for held in self.held_back.drain(..) {
            outbox.answers.push((held.requester, too_few()));
        }
        for wait in self.waits.drain(..) {
            outbox.answers.push((wait.requester, Reply::Done(Value::Integer(0))));
        }
    }

    pub(super) fn demands_wake_at(&self) -> Time {
        let held = self.held_back.iter().map(|held| held.deadline);
        held.chain(self.waits.iter().map(|wait| wait.until)).min().unwrap_or(Time::NEVER)
    }
}

fn too_few() -> Reply {
    let text = "the write is done as the keyspace asks, and is not known to be held by as many as CLIENT ACK asks for";
    Reply::Unknown(text.into())
}
