//! Requests that another node has to serve: sent there at most once, and their answers brought back.
//!
//! A forward names the process it is meant for (its incarnation) and has a rising number, so that a copy of it, or one
//! that was held up in the network, is never run later. Its sender does not send it again: an answer that does not come
//! makes a write *unknown*. A node that answers "not the leader" has not run it, so it is tried elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::call::{decode_call, decode_value, encode_call, encode_value};
use super::outbox::{Outbox, Requester, Work};
use super::peers::Peers;
use crate::contract::{Call, Reply};
use crate::time::Time;
use crate::wire::Message;
use crate::{NodeId, PartitionId};

const DONE: u8 = 0;
const REFUSED: u8 = 1;
const UNKNOWN: u8 = 2;
const NOT_LEADER: u8 = 3;

/// How long a request waits before it is tried again where nobody was found to serve it.
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(20);

/// Requests on their way at other nodes, and requests that wait for someone to serve them.
#[derive(Debug)]
pub(crate) struct Forwards {
    lane: u8,
    next: u64,
    sent: BTreeMap<u64, Sent>,
    /// Nobody to serve them is known; tried again from then on.
    pub waiting: Vec<(Time, PartitionId, Work)>,
}

#[derive(Debug)]
struct Sent {
    partition: PartitionId,
    to: NodeId,
    work: Work,
}

impl Forwards {
    pub fn new(lane: u8) -> Forwards {
        Forwards { lane, next: 1, sent: BTreeMap::new(), waiting: Vec::new() }
    }

    /// Sends `work` to `to`, or lets it wait if that node has not been heard of yet.
    pub fn forward(
        &mut self,
        partition: PartitionId,
        work: Work,
        to: NodeId,
        peers: &Peers,
        now: Time,
        outbox: &mut Outbox,
    ) {
        let Some(receiver_incarnation) = peers.incarnation(to) else {
            return self.waiting.push((now + RETRY_AFTER, partition, work));
        };
        let sequence = (self.next << 8) | u64::from(self.lane);
        self.next += 1;
        let deadline_ms = work.deadline.since(now).as_millis().min(u128::from(u32::MAX)) as u32;
        let call = encode_call(&work.call);
        outbox.send(to, Message::Forward { partition, receiver_incarnation, sequence, deadline_ms, call });
        self.sent.insert(sequence, Sent { partition, to, work });
    }

    /// An answer has come. What was not served goes back to be tried again, with the leader that the answer names.
    pub fn on_forwarded(
        &mut self,
        from: NodeId,
        sequence: u64,
        outcome: u8,
        value: &Bytes,
        now: Time,
        outbox: &mut Outbox,
    ) -> Option<(PartitionId, Work, NodeId)> {
        if self.sent.get(&sequence).is_none_or(|sent| sent.to != from) {
            return None;
        }
        let Sent { partition, work, .. } = self.sent.remove(&sequence)?;
        let text = || String::from_utf8_lossy(value).into_owned();
        let reply = match outcome {
            DONE => match decode_value(value) {
                Some(value) => Reply::Done(value),
                None => {
                    Reply::Unknown("the answer of the node that served the request cannot be read".into())
                }
            },
            REFUSED => Reply::Refused(text()),
            NOT_LEADER => {
                let hint =
                    <[u8; 8]>::try_from(&value[..]).ok().map(|bytes| NodeId(u64::from_le_bytes(bytes)));
                match hint {
                    Some(leader) if leader != from => return Some((partition, work, leader)),
                    _ => self.waiting.push((now + RETRY_AFTER, partition, work)),
                }
                return None;
            }
            _ => Reply::Unknown(text()),
        };
        outbox.answers.push((work.requester, reply));
        None
    }

    /// The process that was asked is gone: writes are unknown; reads never happened and may be asked again.
    pub fn lost(&mut self, node: NodeId, now: Time, outbox: &mut Outbox) {
        for (_, sent) in self.sent.extract_if(.., |_, sent| sent.to == node) {
            if is_read(&sent.work.call) {
                self.waiting.push((now + RETRY_AFTER, sent.partition, sent.work));
            } else {
                let text = "the connection to the node that led the partition broke before it answered";
                outbox.answers.push((sent.work.requester, Reply::Unknown(text.into())));
            }
        }
    }

    /// Answers what is past its deadline.
    pub fn sweep(&mut self, now: Time, outbox: &mut Outbox) {
        for (_, _, work) in self.waiting.extract_if(.., |(_, _, work)| work.deadline <= now) {
            let text = "CLUSTERDOWN no leader of the partition could be reached in time, nothing was done";
            outbox.answers.push((work.requester, Reply::Refused(text.into())));
        }
        for (_, sent) in self.sent.extract_if(.., |_, sent| sent.work.deadline <= now) {
            let reply = if is_read(&sent.work.call) {
                Reply::Refused("TIMEOUT the leader of the partition did not answer in time".into())
            } else {
                Reply::Unknown("the leader of the partition did not answer in time".into())
            };
            outbox.answers.push((sent.work.requester, reply));
        }
    }

    /// The requests whose time to be tried again has come.
    pub fn due(&mut self, now: Time) -> Vec<(PartitionId, Work)> {
        let due = self.waiting.extract_if(.., |(at, _, _)| *at <= now);
        due.map(|(_, partition, work)| (partition, work)).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.sent.is_empty() && self.waiting.is_empty()
    }

    pub fn wake_at(&self) -> Time {
        self.waiting.iter().map(|(at, _, _)| *at).min().unwrap_or(Time::NEVER)
    }
}

fn is_read(call: &Call) -> bool {
    match call {
        Call::Command { command, .. } => command.is_read(),
        Call::Fingerprint { .. } => true,
        Call::Transaction { .. } | Call::Admin(_) => false,
    }
}

/// The request in a forward; `None` if it cannot be read.
pub(super) fn work_of_forward(
    node: NodeId,
    incarnation: u64,
    sequence: u64,
    deadline_ms: u32,
    call: Bytes,
    now: Time,
) -> Option<Work> {
    let requester = Requester::Remote { node, incarnation, sequence };
    let deadline = now + Duration::from_millis(u64::from(deadline_ms));
    Some(Work { requester, call: decode_call(call)?, deadline, after_writes: true })
}

/// Sends an answer to the node that forwarded the request.
pub(super) fn answer(node: NodeId, incarnation: u64, sequence: u64, reply: &Reply, outbox: &mut Outbox) {
    let (outcome, value) = match reply {
        Reply::Done(value) => (DONE, encode_value(value)),
        Reply::Refused(text) => (REFUSED, Bytes::copy_from_slice(text.as_bytes())),
        Reply::Unknown(text) => (UNKNOWN, Bytes::copy_from_slice(text.as_bytes())),
    };
    outbox.send(node, Message::Forwarded { sequence, sender_incarnation: incarnation, outcome, value });
}

/// Says that this node does not lead the partition, and who does, if known: the request was not run.
pub(super) fn answer_not_leader(
    node: NodeId,
    incarnation: u64,
    sequence: u64,
    leader: Option<NodeId>,
    outbox: &mut Outbox,
) {
    let mut value = BytesMut::new();
    if let Some(leader) = leader {
        value.put_u64_le(leader.0);
    }
    let value = value.freeze();
    outbox.send(
        node,
        Message::Forwarded { sequence, sender_incarnation: incarnation, outcome: NOT_LEADER, value },
    );
}
