//! Requests that another node has to serve: sent there at most once, in order, and their answers brought back.
//!
//! **At most once.** A forward names the process it is meant for (its incarnation) and has a rising number, so that a copy
//! of it, or one that was held up in the network, is never run later. Its sender does not send it again: an answer that
//! does not come makes a write *unknown*. A node that answers "not the leader" has not run it, so it is tried elsewhere.
//!
//! **In order.** Requests of one partition are given to its leader in the order of their arrival. One that nobody serves
//! yet waits, and later ones wait behind it; they go out again, in order, once no forward of the partition is under way
//! any more. So that a node which sent one back does not serve the next one (it may have become leader in between),
//! forwards carry a generation: of one generation, everything after the first that was sent back is sent back too.
//! What another node serves meanwhile cannot be held back; then what is sent back is refused, not tried again.

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

/// How long requests wait before they are tried again where nobody was found to serve them.
const RETRY_AFTER: Duration = Duration::from_millis(10);

/// Requests on their way at other nodes, and requests that wait for someone to serve them.
#[derive(Debug)]
pub(crate) struct Forwards {
    lane: u8,
    next: u64,
    sent: BTreeMap<u64, Sent>,
    streams: BTreeMap<PartitionId, Stream>,
}

/// The requests of one partition that go elsewhere.
#[derive(Debug)]
struct Stream {
    generation: u64,
    under_way: usize,
    /// Waiting, by arrival.
    queue: BTreeMap<u64, Work>,
    retry_at: Time,
    /// Something of this generation was sent back.
    sent_back: bool,
    /// Who leads, as the last one that sent something back said.
    hint: Option<NodeId>,
    /// Who sent something back last and could not say who leads.
    unhelpful: Option<NodeId>,
    /// Where those under way went.
    to: Option<NodeId>,
    /// The latest request that was served elsewhere while others were under way.
    overtaken_by: u64,
}

#[derive(Debug)]
struct Sent {
    partition: PartitionId,
    to: NodeId,
    work: Work,
}

impl Stream {
    fn new() -> Stream {
        Stream {
            generation: 1,
            under_way: 0,
            queue: BTreeMap::new(),
            retry_at: Time::default(),
            sent_back: false,
            hint: None,
            unhelpful: None,
            to: None,
            overtaken_by: 0,
        }
    }

    /// When what waits may be tried again.
    fn due_at(&self) -> Time {
        if self.queue.is_empty() || self.under_way > 0 { Time::NEVER } else { self.retry_at }
    }
}

impl Forwards {
    pub fn new(lane: u8) -> Forwards {
        Forwards { lane, next: 1, sent: BTreeMap::new(), streams: BTreeMap::new() }
    }

    fn stream(&mut self, partition: PartitionId) -> &mut Stream {
        self.streams.entry(partition).or_insert_with(Stream::new)
    }

    /// Do requests of this partition wait, so that others have to wait behind them?
    pub fn has_waiting(&self, partition: PartitionId) -> bool {
        self.streams.get(&partition).is_some_and(|stream| !stream.queue.is_empty())
    }

    /// Who leads the partition, as another node said last.
    pub fn hint(&self, partition: PartitionId) -> Option<NodeId> {
        self.streams.get(&partition)?.hint
    }

    /// Who was asked last and knew no leader: another one is to be asked next.
    pub fn unhelpful(&self, partition: PartitionId) -> Option<NodeId> {
        self.streams.get(&partition)?.unhelpful
    }

    /// A request that this node serves itself: those under way at a former leader must not be run behind it.
    pub fn overtake(&mut self, partition: PartitionId, arrival: u64) {
        if let Some(stream) = self.streams.get_mut(&partition).filter(|stream| stream.under_way > 0) {
            stream.overtaken_by = arrival.max(stream.overtaken_by);
        }
    }

    /// Lets a request wait, in its place.
    pub fn wait(&mut self, partition: PartitionId, work: Work, now: Time) {
        let stream = self.stream(partition);
        if stream.queue.is_empty() {
            stream.retry_at = now + RETRY_AFTER;
        }
        stream.queue.insert(work.arrival, work);
    }

    /// Sends `work` to `to`, or lets it wait: behind others, or until that node is heard of, or another one leads.
    pub fn forward(
        &mut self,
        partition: PartitionId,
        work: Work,
        to: NodeId,
        peers: &Peers,
        now: Time,
        outbox: &mut Outbox,
    ) {
        let Some(receiver_incarnation) = peers.reachable(to).filter(|_| !self.has_waiting(partition)) else {
            return self.wait(partition, work, now);
        };
        let sequence = (self.next << 8) | u64::from(self.lane);
        self.next += 1;
        let deadline_ms = work.deadline.since(now).as_millis().min(u128::from(u32::MAX)) as u32;
        let call = encode_call(&work.call);
        let stream = self.stream(partition);
        if stream.under_way > 0 && stream.to != Some(to) {
            stream.overtaken_by = work.arrival.max(stream.overtaken_by);
        }
        stream.to = Some(to);
        stream.under_way += 1;
        let generation = stream.generation;
        outbox.send(
            to,
            Message::Forward { partition, receiver_incarnation, sequence, generation, deadline_ms, call },
        );
        self.sent.insert(sequence, Sent { partition, to, work });
    }

    /// An answer has come. What was not served waits to be tried again.
    pub fn on_forwarded(
        &mut self,
        from: NodeId,
        sequence: u64,
        outcome: u8,
        value: &Bytes,
        now: Time,
        outbox: &mut Outbox,
    ) {
        if self.sent.get(&sequence).is_none_or(|sent| sent.to != from) {
            return;
        }
        let Some(Sent { partition, work, .. }) = self.sent.remove(&sequence) else { return };
        let stream = self.stream(partition);
        stream.under_way -= 1;
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
                stream.hint = hint.filter(|&leader| leader != from);
                stream.unhelpful = stream.hint.is_none().then_some(from);
                stream.sent_back = true;
                if work.ordered && work.arrival < stream.overtaken_by {
                    let text = "TRYAGAIN the leader changed, and later requests of this node went ahead: nothing was done";
                    return outbox.answers.push((work.requester, Reply::Refused(text.into())));
                }
                return self.wait(partition, work, now);
            }
            _ => Reply::Unknown(text()),
        };
        outbox.answers.push((work.requester, reply));
    }

    /// The process that was asked is gone: writes are unknown, reads did not happen. Neither is tried again, since what
    /// came after it on its connection may have been served.
    pub fn lost(&mut self, node: NodeId, outbox: &mut Outbox) {
        let lost: Vec<Sent> =
            self.sent.extract_if(.., |_, sent| sent.to == node).map(|(_, sent)| sent).collect();
        for Sent { partition, work, .. } in lost {
            self.stream(partition).under_way -= 1;
            let reply = if is_read(&work.call) {
                Reply::Refused("TRYAGAIN the connection to the node that led the partition broke".into())
            } else {
                let text = "the connection to the node that led the partition broke before it answered";
                Reply::Unknown(text.into())
            };
            outbox.answers.push((work.requester, reply));
        }
    }

    /// Answers what is past its deadline.
    pub fn sweep(&mut self, now: Time, outbox: &mut Outbox) {
        for stream in self.streams.values_mut() {
            for (_, work) in stream.queue.extract_if(.., |_, work| work.deadline <= now) {
                let text =
                    "CLUSTERDOWN no leader of the partition could be reached in time, nothing was done";
                outbox.answers.push((work.requester, Reply::Refused(text.into())));
            }
        }
        let late: Vec<Sent> =
            self.sent.extract_if(.., |_, sent| sent.work.deadline <= now).map(|(_, sent)| sent).collect();
        for Sent { partition, to, work } in late {
            let stream = self.stream(partition);
            stream.under_way -= 1;
            // It may be there and not be heard: what comes next asks around again.
            stream.hint = stream.hint.filter(|&hint| hint != to);
            let reply = if is_read(&work.call) {
                Reply::Refused("TIMEOUT the leader of the partition did not answer in time".into())
            } else {
                Reply::Unknown("the leader of the partition did not answer in time".into())
            };
            outbox.answers.push((work.requester, reply));
        }
    }

    /// The requests whose time to be tried again has come, in order.
    pub fn due(&mut self, now: Time) -> Vec<(PartitionId, Work)> {
        let mut due = Vec::new();
        for (&partition, stream) in &mut self.streams {
            if stream.due_at() <= now {
                stream.generation += u64::from(std::mem::take(&mut stream.sent_back));
                due.extend(std::mem::take(&mut stream.queue).into_values().map(|work| (partition, work)));
            }
        }
        due
    }

    pub fn is_empty(&self) -> bool {
        self.sent.is_empty() && self.streams.values().all(|stream| stream.queue.is_empty())
    }

    pub fn wake_at(&self) -> Time {
        self.streams.values().map(Stream::due_at).min().unwrap_or(Time::NEVER)
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
    requester: Requester,
    deadline_ms: u32,
    call: Bytes,
    arrival: u64,
    now: Time,
) -> Option<Work> {
    let deadline = now + Duration::from_millis(u64::from(deadline_ms));
    Some(Work { requester, call: decode_call(call)?, deadline, ordered: true, arrival })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::RequestId;

    const PARTITION: PartitionId = PartitionId(0);
    const OLD: NodeId = NodeId(1);
    const NEW: NodeId = NodeId(2);

    fn write(arrival: u64) -> Work {
        let call = Call::Fingerprint { keys: Vec::new() };
        let requester = Requester::Local(RequestId(arrival));
        Work { requester, call, deadline: Time::NEVER, ordered: true, arrival }
    }

    fn sent_back(overtaken: bool) -> (Forwards, Outbox) {
        let mut peers = Peers::new(Duration::from_millis(100), Duration::from_secs(1), Time(0));
        peers.hear(OLD, 11, Time(0));
        peers.hear(NEW, 22, Time(0));
        let mut forwards = Forwards::new(0);
        let mut outbox = Outbox::default();
        forwards.forward(PARTITION, write(1), OLD, &peers, Time(0), &mut outbox);
        if overtaken {
            forwards.forward(PARTITION, write(2), NEW, &peers, Time(0), &mut outbox);
        }
        forwards.on_forwarded(OLD, 1 << 8, NOT_LEADER, &Bytes::new(), Time(1), &mut outbox);
        (forwards, outbox)
    }

    #[test]
    fn what_is_sent_back_is_tried_again() {
        let (forwards, outbox) = sent_back(false);
        assert!(forwards.has_waiting(PARTITION) && outbox.answers.is_empty());
    }

    /// A later request of the connection went to the next leader and may have been served: running this one now would
    /// turn their order round.
    #[test]
    fn what_is_sent_back_behind_a_later_request_is_refused() {
        let (forwards, outbox) = sent_back(true);
        assert!(!forwards.has_waiting(PARTITION));
        assert!(
            matches!(&outbox.answers[..], [(_, Reply::Refused(text))] if text.starts_with("TRYAGAIN ")),
            "{:?}",
            outbox.answers
        );
    }
}
