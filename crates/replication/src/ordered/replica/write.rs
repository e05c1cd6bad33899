//! Writes at the leader: prepare, propose, remember whom to answer.

use bytes::Bytes;
use data::{Mutation, Prepared, Stamp, View};
use resp::Value;

use super::payload::Payload;
use super::read::Waiting;
use super::{Replica, TOKEN_BYTES};
use crate::configuration::Acknowledgement;
use crate::contract::{Call, Reply};
use crate::ordered::raft::ProposeRefused;
use crate::shard::call::{decode_value, encode_value};
use crate::shard::outbox::{Outbox, Requester, Work};
use crate::time::{Now, Time};

/// A write that stands in the log and is not settled.
#[derive(Debug)]
pub(crate) struct Proposal {
    pub index: u64,
    pub term: u64,
    /// `None`: nobody waits (any more).
    pub requester: Option<Requester>,
    pub deadline: Time,
    pub reply: Value,
    /// It is answered once it is held by so many.
    pub demand: Option<Acknowledgement>,
}

impl Replica {
    /// Takes a write.
    pub(super) fn write(&mut self, work: Work, now: Now, outbox: &mut Outbox) {
        if !self.parked.is_empty() {
            self.parked.push(work);
        } else if !self.raft.is_leader() {
            outbox.elsewhere.push((self.partition, work, self.raft.leader()));
        } else if !self.is_serving() {
            self.parked.push(work);
        } else if let Some(work) = self.answer_known_token(work, outbox) {
            self.prepare_and_propose(work, now, outbox);
        }
    }

    /// A token that was seen before is answered as it was then; one that is under way is waited for.
    fn answer_known_token(&mut self, work: Work, outbox: &mut Outbox) -> Option<Work> {
        let Call::Command { token: Some(token), .. } = &work.call else { return Some(work) };
        if token.is_empty() || token.len() > TOKEN_BYTES {
            let text = format!("ERR an idempotency token has 1 to {TOKEN_BYTES} bytes");
            outbox.answers.push((work.requester, Reply::Refused(text)));
            return None;
        }
        if let Some(reply) = self.tokens.reply(token) {
            outbox.answers.push((work.requester, known_reply(reply)));
            return None;
        }
        if let Some(&index) = self.pending_tokens.get(token) {
            let place = self.proposals.partition_point(|proposal| proposal.index < index);
            let reply = self.proposals[place].reply.clone();
            self.wait_applied(Waiting::for_proposal(work, reply, index));
            return None;
        }
        Some(work)
    }

    fn prepare_and_propose(&mut self, work: Work, now: Now, outbox: &mut Outbox) {
        if self.disk_full {
            return refuse_full(work, outbox);
        }
        if self.has_too_much_to_undo() {
            let text = "NOREPLICAS the replicas in sync are too far behind to keep what a failover would have to take back; nothing was written";
            return outbox.answers.push((work.requester, Reply::Refused(text.into())));
        }
        if let Some(refusal) = work.wishes.demand.and_then(|demand| self.refuse_demand(demand)) {
            return outbox.answers.push((work.requester, Reply::Refused(refusal)));
        }
        let stamp = self.stamp(now);
        let prepared = self.prepare(&work.call, &stamp);
        let token = match &work.call {
            Call::Command { token, .. } => token.clone(),
            _ => None,
        };
        match (prepared.mutation, token) {
            // Nothing changes, so nothing need be logged; but what it says must be as certain as a read.
            (None, None) => {
                let minimum = if self.pending.is_empty() { 0 } else { self.raft.last_index() };
                self.confirm(work, prepared.reply, minimum, now, outbox);
            }
            (mutation, token) => {
                self.propose(work, prepared.reply, mutation, token, stamp.time_ms, now, outbox)
            }
        }
    }

    fn prepare(&self, call: &Call, stamp: &Stamp) -> Prepared {
        let view = View::new(&self.table, Some(&self.pending), stamp.time_ms);
        match call {
            Call::Command { command, arguments, .. } => data::prepare(command, arguments, &view, stamp),
            Call::Transaction { commands, watches } => {
                data::prepare_transaction(commands, watches, &view, stamp)
            }
            Call::Fingerprint { .. }
            | Call::Admin(_)
            | Call::Demanding { .. }
            | Call::Quorum { .. }
            | Call::At { .. }
            | Call::After { .. } => {
                unreachable!("not a write")
            }
        }
    }

    pub(super) fn stamp(&mut self, now: Now) -> Stamp {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let time_ms = self.clock_ms(now);
        let sequence = self.raft.last_index() + 1;
        Stamp {
            time_ms,
            logical: 0,
            origin: self.options.node.0,
            sequence,
            seed: self.seed ^ (self.seed >> 31),
        }
    }

    /// Proposes what `work` leads to; `reply` is for when it is committed.
    pub(super) fn propose(
        &mut self,
        work: Work,
        reply: Value,
        mutation: Option<Mutation>,
        token: Option<Bytes>,
        time_ms: u64,
        now: Now,
        outbox: &mut Outbox,
    ) {
        let kept = token.clone().map(|token| (token, encode_value(&reply)));
        let payload = Payload { time_ms, token: kept, mutation, division: None };
        let (bytes, mutation) = payload.encode_into(&mut self.payloads);
        if bytes.len() > self.options.max_payload_bytes {
            let most = self.options.max_payload_bytes;
            let text = format!(
                "ERR the write takes {} bytes in the log, and {most} is the most, nothing was done",
                bytes.len()
            );
            return outbox.answers.push((work.requester, Reply::Refused(text)));
        }
        match self.raft.propose(bytes, now.time) {
            Ok(index) => {
                if let Some(mutation) = &mutation {
                    self.pending.record(index, mutation);
                }
                if let Some(token) = token {
                    self.pending_tokens.insert(token, index);
                }
                // Replies that later entries are prepared against must not run behind the clock of this one.
                self.last_stamp_ms = self.last_stamp_ms.max(time_ms);
                let (requester, deadline, demand) = (Some(work.requester), work.deadline, work.wishes.demand);
                self.proposals.push_back(Proposal {
                    index,
                    term: self.raft.term(),
                    requester,
                    deadline,
                    reply,
                    demand,
                });
            }
            Err(ProposeRefused::NotLeader(leader)) => outbox.elsewhere.push((self.partition, work, leader)),
            Err(ProposeRefused::DiskFull) => refuse_full(work, outbox),
            Err(ProposeRefused::NotInSync { have, need }) => {
                let text = format!(
                    "NOREPLICAS {have} replicas are in sync, the primary among them, and the keyspace asks for {need}; nothing was written"
                );
                outbox.answers.push((work.requester, Reply::Refused(text)));
            }
            Err(ProposeRefused::Lagging { bytes }) => {
                let text = format!(
                    "NOREPLICAS the replicas in sync are {bytes} bytes behind, and the catalogue cannot be reached to do without them; nothing was written"
                );
                outbox.answers.push((work.requester, Reply::Refused(text)));
            }
            // Leadership is on its way to another node: the request follows it.
            Err(_) => outbox.elsewhere.push((self.partition, work, None)),
        }
    }

    /// Proposes a mutation that no client asked for (expiry). Nothing happens if it cannot be.
    pub(super) fn propose_own(&mut self, mutation: Mutation, now: Now) {
        let time_ms = self.clock_ms(now);
        self.last_stamp_ms = time_ms;
        let payload = Payload { time_ms, token: None, mutation: Some(mutation), division: None };
        let (bytes, mutation) = payload.encode_into(&mut self.payloads);
        if let Ok(index) = self.raft.propose(bytes, now.time)
            && let Some(mutation) = &mutation
        {
            self.pending.record(index, mutation);
        }
    }

    /// Keys whose time has come are deleted through the log, so that every replica agrees on when they went.
    pub(super) fn expire_due(&mut self, now: Now) {
        const MOST_AT_ONCE: usize = 512;
        let clock_ms = self.clock_ms(now);
        #[cfg(any(test, feature = "planted-bugs"))]
        if self.raft.has_bug(crate::ordered::raft::Bug::ExpiryByFollower) && !self.raft.is_leader() {
            let expired = self.table.expired(now.wall_ms, MOST_AT_ONCE);
            if let Some(mutation) = (data::Answer { reply: Value::Null, expired }).expire() {
                self.table.apply(&mutation).expect("an own mutation is well formed");
            }
        }
        if self.disk_full || self.table.next_expiry_ms().is_none_or(|at| at > clock_ms) || !self.is_serving()
        {
            return;
        }
        let mut expired = self.table.expired(clock_ms, MOST_AT_ONCE);
        expired.retain(|key| self.pending.position_of(key).is_none());
        if let Some(mutation) = (data::Answer { reply: Value::Null, expired }).expire() {
            self.propose_own(mutation, now);
        }
    }
}

fn known_reply(reply: &Bytes) -> Reply {
    match decode_value(reply) {
        Some(value) => Reply::Done(value),
        None => Reply::Unknown("the write with this token was done, its reply cannot be read back".into()),
    }
}

pub(super) fn refuse_full(work: Work, outbox: &mut Outbox) {
    let text = "DISKFULL the disk of the partition's leader is full, nothing was written";
    outbox.answers.push((work.requester, Reply::Refused(text.into())));
}
