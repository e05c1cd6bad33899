//! Requests that another node has to serve: sent there at most once, in order, and their answers brought back.
//!
//! **At most once.** A forward names the process it is meant for (its incarnation) and has a rising number, so that a copy
//! of it, or one that was held up in the network, is never run later. Its sender does not send it again: an answer that
//! does not come makes a write *unknown*. A node that answers "not the leader" has not run it, so it is tried elsewhere.
//!
//! **In order.** Requests of one connection to one partition (a [`Line`]) are run in the order of their arrival, those of
//! different connections in any. So what a line has under way goes to one node: while it does, a request that would have
//! to go elsewhere (the leader changed) waits, which costs its client nothing, since it reads replies in order. One that
//! was sent back, or that nobody serves yet, waits too, and later ones of its line wait behind it, until nothing of the
//! line is under way. So that a node which sent one back does not serve the next one (it may have become leader in
//! between), forwards carry a generation: of one generation, everything after the first that was sent back is sent back
//! too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::balance::Loads;
use super::call::{decode_call, decode_value, encode_value};
use super::outbox::{Outbox, Requester, Wishes, Work, is_read};
use super::peers::Peers;
use crate::consistency::Seen;
use crate::contract::{Event, Reply};
use crate::time::Time;
use crate::wire::Message;
use crate::{NodeId, PartitionId};

const DONE: u8 = 0;
const REFUSED: u8 = 1;
const UNKNOWN: u8 = 2;
const NOT_LEADER: u8 = 3;

/// Of so many in a hundred reads that any replica may answer a second one may be asked, and of so many at once.
const HEDGED_PER_CENT: u32 = 5;
const MOST_HEDGED: u32 = 10;
/// A read that has waited for so long is asked elsewhere beside that, if it is to be expected that another replica answers sooner than that.
const STUCK_AFTER: Duration = Duration::from_millis(100);

/// How long requests wait before they are tried again where nobody was found to serve them.
const RETRY_AFTER: Duration = Duration::from_millis(10);

/// Requests on their way at other nodes, and requests that wait for someone to serve them.
#[derive(Debug, Default)]
pub(crate) struct Forwards {
    lane: u8,
    next: u64,
    sent: BTreeMap<u64, Sent>,
    streams: BTreeMap<PartitionId, Stream>,
    /// How busy other nodes seem.
    pub loads: Loads,
    /// Reads that another replica is to be asked about as well, and when.
    hedges: BTreeSet<(Time, u64)>,
    /// What may be spent on that, in hundredths of a request.
    budget: u32,
}

/// The requests of one partition that go elsewhere.
#[derive(Debug, Default)]
struct Stream {
    generation: u64,
    lines: BTreeMap<u64, Line>,
    /// Waiting, by arrival.
    queue: BTreeMap<u64, Work>,
    /// When what waits is tried again, if anything does.
    retry_at: Time,
    /// Something of this generation was sent back.
    sent_back: bool,
    /// Who leads, as the last one that sent something back said.
    hint: Option<NodeId>,
    /// Who sent something back last and could not say who leads.
    unhelpful: Option<NodeId>,
}

/// What one connection has under way and waiting in a partition; kept while there is any.
#[derive(Debug, Default)]
struct Line {
    under_way: usize,
    waiting: usize,
    /// Where those under way went.
    to: NodeId,
    /// Their generation.
    generation: u64,
    /// So many went out since it began.
    begun: u64,
    /// Two replicas were asked the same: nothing more goes out before one has answered.
    hedged: bool,
    /// What its session has seen by answers that came since it began.
    seen: Option<Seen>,
}

#[derive(Debug)]
struct Sent {
    partition: PartitionId,
    to: NodeId,
    at: Time,
    work: Work,
    /// When another replica is to be asked, too.
    hedge_at: Time,
    /// The same read at another replica: the first answer counts.
    twin: Option<u64>,
}

impl Stream {
    /// When what waits may be tried again.
    fn due_at(&self) -> Time {
        if self.queue.is_empty() { Time::NEVER } else { self.retry_at }
    }

    /// One of a line's requests is not under way any more. What waits for that need not wait longer.
    fn ended(&mut self, origin: u64, now: Time) {
        let Some(line) = self.lines.get_mut(&origin) else { return };
        line.under_way -= 1;
        line.hedged = false;
        if line.under_way == 0 && line.waiting > 0 {
            self.retry_at = now;
        }
        self.drop_if_done(origin);
    }

    fn waits_no_more(&mut self, origin: u64) {
        if let Some(line) = self.lines.get_mut(&origin) {
            line.waiting -= 1;
            self.drop_if_done(origin);
        }
    }

    fn drop_if_done(&mut self, origin: u64) {
        if self.lines.get(&origin).is_some_and(|line| line.under_way == 0 && line.waiting == 0) {
            self.lines.remove(&origin);
        }
    }
}

impl Forwards {
    pub fn new(lane: u8) -> Forwards {
        Forwards {
            lane,
            next: 1,
            sent: BTreeMap::new(),
            streams: BTreeMap::new(),
            loads: Loads::default(),
            hedges: BTreeSet::new(),
            budget: 0,
        }
    }

    fn stream(&mut self, partition: PartitionId) -> &mut Stream {
        self.streams.entry(partition).or_default()
    }

    /// Does a request have to wait before this node serves it itself or asks `to`, for the sake of those before it?
    pub fn has_to_wait(&self, partition: PartitionId, origin: u64, to: Option<NodeId>) -> bool {
        let line = self.streams.get(&partition).and_then(|stream| stream.lines.get(&origin));
        line.is_some_and(|line| {
            line.waiting > 0 || (line.under_way > 0 && (line.hedged || to != Some(line.to)))
        })
    }

    /// Does a request have to wait wherever it goes, since others of its line do?
    pub fn waits_in_line(&self, partition: PartitionId, origin: u64) -> bool {
        let line = self.streams.get(&partition).and_then(|stream| stream.lines.get(&origin));
        line.is_some_and(|line| line.waiting > 0)
    }

    /// Where a line has requests under way, if it has any and none that waits; `Some(None)`: some wait.
    pub fn line(&self, partition: PartitionId, origin: u64) -> Option<Option<NodeId>> {
        let line = self.streams.get(&partition)?.lines.get(&origin)?;
        Some((line.waiting == 0 && !line.hedged).then_some(line.to))
    }

    /// Who leads the partition, as another node said last.
    pub fn hint(&self, partition: PartitionId) -> Option<NodeId> {
        self.streams.get(&partition)?.hint
    }

    /// Who was asked last and knew no leader: another one is to be asked next.
    pub fn unhelpful(&self, partition: PartitionId) -> Option<NodeId> {
        self.streams.get(&partition)?.unhelpful
    }

    /// Lets a request wait, in its place.
    pub fn wait(&mut self, partition: PartitionId, work: Work, now: Time) {
        // Those behind it are not to be answered from less than this one.
        let work = Work { ordered: work.ordered || work.relaxed().is_some(), ..work };
        let stream = self.stream(partition);
        if stream.queue.is_empty() {
            stream.retry_at = now + RETRY_AFTER;
        }
        stream.lines.entry(work.origin).or_default().waiting += 1;
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
        let has_to_wait = self.has_to_wait(partition, work.origin, Some(to));
        let Some(receiver_incarnation) = peers.reachable(to).filter(|_| !has_to_wait) else {
            return self.wait(partition, work, now);
        };
        let sequence = (self.next << 8) | u64::from(self.lane);
        self.next += 1;
        let stream = self.stream(partition);
        let current = stream.generation;
        let line = stream.lines.entry(work.origin).or_default();
        if line.under_way == 0 {
            (line.to, line.generation) = (to, current);
        }
        line.under_way += 1;
        line.begun += 1;
        let generation = line.generation;
        outbox.send(to, message(partition, &work, receiver_incarnation, (sequence, generation), now));
        self.loads.sent(to);
        let mut hedge_at = Time::NEVER;
        if work.relaxed().is_some() {
            self.budget = (self.budget + HEDGED_PER_CENT).min(MOST_HEDGED * 100);
            hedge_at = now + self.loads.patience();
            self.hedges.insert((hedge_at, sequence));
        }
        self.sent.insert(sequence, Sent { partition, to, at: now, work, hedge_at, twin: None });
    }

    /// An answer has come. What was not served waits to be tried again.
    pub fn on_forwarded(
        &mut self,
        from: NodeId,
        sequence: u64,
        outcome: u8,
        (value, seen): (&Bytes, &Bytes),
        now: Time,
        outbox: &mut Outbox,
    ) {
        if self.sent.get(&sequence).is_none_or(|sent| sent.to != from) {
            return;
        }
        let Some(Sent { partition, at, work, hedge_at, twin, .. }) = self.sent.remove(&sequence) else {
            return;
        };
        self.hedges.remove(&(hedge_at, sequence));
        self.loads.answered(from, now.since(at), now);
        if let Some(other) = twin
            && let Some(twin) = self.sent.get_mut(&other)
        {
            twin.twin = None;
            if outcome != DONE {
                // The other one may still answer.
                return;
            }
            self.loads.given_up(twin.to);
            self.hedges.remove(&(twin.hedge_at, other));
            self.sent.remove(&other);
        }
        let stream = self.stream(partition);
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
                let origin = work.origin;
                self.wait(partition, work, now);
                let lines = &mut self.stream(partition).lines;
                return lines.get_mut(&origin).into_iter().for_each(|line| {
                    line.under_way -= 1;
                    line.hedged = false;
                });
            }
            _ => Reply::Unknown(text()),
        };
        if let (Requester::Local { id, .. }, Some(seen)) = (work.requester, Seen::decode(seen)) {
            if let Some(line) = stream.lines.get_mut(&work.origin) {
                line.seen = and(line.seen.take(), Some(seen.clone()));
            }
            outbox.seen.insert(id, seen);
        }
        stream.ended(work.origin, now);
        outbox.answers.push((work.requester, reply));
    }

    /// The process that was asked is gone: writes are unknown, reads did not happen. Neither is tried again, since what
    /// came after it on its connection may have been served; but for a read that any replica may answer and that went out alone.
    pub fn lost(&mut self, node: NodeId, now: Time, outbox: &mut Outbox) {
        self.loads.lost(node);
        let lost: Vec<Sent> =
            self.sent.extract_if(.., |_, sent| sent.to == node).map(|(_, sent)| sent).collect();
        for Sent { partition, work, twin, .. } in lost {
            if let Some(twin) = twin.and_then(|twin| self.sent.get_mut(&twin)) {
                twin.twin = None;
                continue;
            }
            if work.relaxed().is_some() && self.went_alone(partition, work.origin) {
                self.try_elsewhere(partition, work, now);
                continue;
            }
            self.stream(partition).ended(work.origin, now);
            let reply = if is_read(&work.call) {
                Reply::Refused("TRYAGAIN the connection to the node that led the partition broke".into())
            } else {
                let text = "the connection to the node that led the partition broke before it answered";
                Reply::Unknown(text.into())
            };
            outbox.answers.push((work.requester, reply));
        }
    }

    /// Is what a line has under way all that went out of it?
    fn went_alone(&self, partition: PartitionId, origin: u64) -> bool {
        let line = self.streams.get(&partition).and_then(|stream| stream.lines.get(&origin));
        line.is_some_and(|line| line.begun == 1 && line.under_way == 1)
    }

    /// What a line had under way alone waits to be asked of another replica, before all that waits behind it.
    fn try_elsewhere(&mut self, partition: PartitionId, work: Work, now: Time) {
        let origin = work.origin;
        self.wait(partition, work, now);
        let stream = self.stream(partition);
        stream.retry_at = now;
        stream.lines.get_mut(&origin).into_iter().for_each(|line| {
            (line.under_way, line.begun, line.hedged) = (0, 0, false);
        });
    }

    /// Answers what is past its deadline.
    /// Each is told why: what is known of the partition.
    pub fn sweep(&mut self, now: Time, why: &dyn Fn(PartitionId) -> String, outbox: &mut Outbox) {
        for (&partition, stream) in &mut self.streams {
            let late: Vec<Work> =
                stream.queue.extract_if(.., |_, work| work.deadline <= now).map(|(_, work)| work).collect();
            for work in late {
                stream.waits_no_more(work.origin);
                let text = format!("CLUSTERDOWN {}, nothing was done", why(partition));
                outbox.answers.push((work.requester, work.is_late(&text)));
            }
        }
        let late: Vec<Sent> =
            self.sent.extract_if(.., |_, sent| sent.work.deadline <= now).map(|(_, sent)| sent).collect();
        let mut ended = BTreeSet::new();
        for Sent { partition, to, at, work, .. } in late {
            self.loads.answered(to, now.since(at), now);
            if !ended.insert(work.arrival) {
                continue;
            }
            let stream = self.stream(partition);
            stream.ended(work.origin, now);
            // It may be there and not be heard: what comes next asks around again.
            stream.hint = stream.hint.filter(|&hint| hint != to);
            let reply = if is_read(&work.call) {
                work.is_late("TIMEOUT the leader of the partition did not answer in time")
            } else {
                Reply::Unknown("the leader of the partition did not answer in time".into())
            };
            outbox.answers.push((work.requester, reply));
        }
    }

    /// Asks another replica as well about reads that have waited for longer than they mostly do (Dean and Barroso, *The tail at scale*, CACM
    /// 2013), while that is no more than one in twenty of them.
    pub fn hedge(
        &mut self,
        now: Time,
        other: &mut dyn FnMut(PartitionId, NodeId, &mut Loads) -> Option<(NodeId, u64)>,
        outbox: &mut Outbox,
    ) {
        while let Some(&(at, first)) = self.hedges.first()
            && at <= now
        {
            self.hedges.pop_first();
            let Some(sent) = self.sent.get(&first) else { continue };
            let (partition, asked, sent_at) = (sent.partition, sent.to, sent.at);
            if sent.work.deadline <= now {
                continue;
            }
            let waited = now.since(sent_at);
            if self.budget < 100 && waited < STUCK_AFTER {
                // Whoever is asked has too much to do, or is gone and nobody knows it yet. It is looked at again before it is too late.
                let at = sent_at + STUCK_AFTER;
                self.hedges.insert((at, first));
                self.sent.entry(first).and_modify(|sent| sent.hedge_at = at);
                continue;
            }
            let work = sent.work.clone();
            let Some((to, receiver_incarnation)) = other(partition, asked, &mut self.loads) else { continue };
            if self.budget < 100 && self.loads.cost(to, now) >= waited {
                // All have too much to do: to ask more of them would make it worse.
                continue;
            }
            let Some(line) =
                self.streams.get_mut(&partition).and_then(|stream| stream.lines.get_mut(&work.origin))
            else {
                continue;
            };
            if line.begun != 1 {
                // Others of its connection followed it there, and may have been answered from less than what it would be now.
                continue;
            }
            line.hedged = true;
            self.budget = self.budget.saturating_sub(100);
            let sequence = (self.next << 8) | u64::from(self.lane);
            self.next += 1;
            let numbers = (sequence, line.generation);
            outbox.send(to, message(partition, &work, receiver_incarnation, numbers, now));
            outbox.event(Event::Hedged { partition });
            self.loads.sent(to);
            let copy = Sent { partition, to, at: now, work, hedge_at: Time::NEVER, twin: Some(first) };
            self.sent.insert(sequence, copy);
            if let Some(sent) = self.sent.get_mut(&first) {
                sent.twin = Some(sequence);
            }
        }
    }

    /// The requests whose time to be tried again has come, in order.
    pub fn due(&mut self, now: Time) -> Vec<(PartitionId, Work)> {
        let mut due = Vec::new();
        for (&partition, stream) in &mut self.streams {
            if stream.due_at() > now {
                continue;
            }
            stream.generation += u64::from(std::mem::take(&mut stream.sent_back));
            stream.retry_at = now + RETRY_AFTER;
            let lines = &stream.lines;
            let ready = |work: &Work| lines.get(&work.origin).is_none_or(|line| line.under_way == 0);
            let ready: Vec<Work> =
                stream.queue.extract_if(.., |_, work| ready(work)).map(|(_, work)| work).collect();
            for mut work in ready {
                // By now those in front of it may have shown its session more than it knew of.
                let seen = stream.lines.get(&work.origin).and_then(|line| line.seen.clone());
                if work.relaxed().is_some() && seen.is_some() {
                    work.wishes.seen = and(work.wishes.seen.take(), seen);
                }
                stream.waits_no_more(work.origin);
                due.push((partition, work));
            }
        }
        due
    }

    /// There are more partitions now, so what waits may belong elsewhere: it is tried again at once.
    pub fn try_again(&mut self, now: Time) {
        for stream in self.streams.values_mut().filter(|stream| !stream.queue.is_empty()) {
            stream.retry_at = now;
        }
    }

    /// The first deadline of what is not answered; `None`: all is.
    pub fn first_deadline(&self) -> Option<Time> {
        let sent = self.sent.values().map(|sent| sent.work.deadline);
        let waiting = self.streams.values().flat_map(|stream| stream.queue.values());
        sent.chain(waiting.map(|work| work.deadline)).min()
    }

    pub fn wake_at(&self) -> Time {
        let hedge = self.hedges.first().map_or(Time::NEVER, |(at, _)| *at);
        self.streams.values().map(Stream::due_at).min().unwrap_or(Time::NEVER).min(hedge)
    }
}

fn and(one: Option<Seen>, other: Option<Seen>) -> Option<Seen> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.and(other)),
        (one, other) => one.or(other),
    }
}

/// The request in a forward; `None` if it cannot be read.
pub(super) fn work_of_forward(
    mut requester: Requester,
    partition: PartitionId,
    (deadline_ms, layout): (u32, u32),
    call: Bytes,
    arrival: u64,
    now: Time,
) -> Option<Work> {
    let deadline = now + Duration::from_millis(u64::from(deadline_ms));
    let (call, wishes) = Wishes::of(decode_call(call)?);
    let (layout, keyspaces) = (layout & 0xffff, (layout >> 16) as u16);
    if let Requester::Remote { tells, .. } = &mut requester {
        *tells = wishes.tells.then_some(partition);
    }
    Some(Work { requester, origin: 0, call, wishes, deadline, ordered: true, layout, keyspaces, arrival })
}

/// A request on its way.
fn message(
    partition: PartitionId,
    work: &Work,
    receiver_incarnation: u64,
    (sequence, generation): (u64, u64),
    now: Time,
) -> Message {
    Message::Forward {
        partition,
        receiver_incarnation,
        sequence,
        generation,
        deadline_ms: work.deadline.since(now).as_millis().min(u128::from(u32::MAX)) as u32,
        layout: packed(work.layout, work.keyspaces),
        call: work.encode_call(),
    }
}

/// What the router knew, as it travels: there are at most 16384 partitions.
fn packed(layout: u32, keyspaces: u16) -> u32 {
    u32::from(keyspaces) << 16 | layout.min(0xffff)
}

/// Sends an answer to the node that forwarded the request.
pub(super) fn answer(
    node: NodeId,
    (incarnation, sequence): (u64, u64),
    reply: &Reply,
    seen: Option<Seen>,
    outbox: &mut Outbox,
) {
    let (outcome, value) = match reply {
        Reply::Done(value) => (DONE, encode_value(value)),
        Reply::Refused(text) => (REFUSED, Bytes::copy_from_slice(text.as_bytes())),
        Reply::Unknown(text) => (UNKNOWN, Bytes::copy_from_slice(text.as_bytes())),
    };
    let seen = seen.map(|seen| seen.encode()).unwrap_or_default();
    outbox.send(node, Message::Forwarded { sequence, sender_incarnation: incarnation, outcome, value, seen });
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
    let (outcome, seen) = (NOT_LEADER, Bytes::new());
    outbox.send(node, Message::Forwarded { sequence, sender_incarnation: incarnation, outcome, value, seen });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{Call, Output, RequestId};
    use crate::shard::call::encode_value;

    const PARTITION: PartitionId = PartitionId(0);
    const OLD: NodeId = NodeId(1);
    const NEW: NodeId = NodeId(2);

    const SEQUENCE: u64 = 1 << 8;

    fn write(origin: u64, arrival: u64) -> Work {
        let call = Call::Fingerprint { keys: Vec::new() };
        let requester = Requester::Local { id: RequestId(arrival), tells: None };
        Work {
            requester,
            origin,
            call,
            wishes: Wishes::default(),
            deadline: Time::NEVER,
            ordered: true,
            layout: 0,
            keyspaces: 0,
            arrival,
        }
    }

    /// Request 1 of connection 7 is under way at `OLD`.
    fn begun() -> (Forwards, Peers, Outbox) {
        let mut peers = Peers::new(Duration::from_millis(100), Duration::from_secs(1), Time(0));
        peers.hear(OLD, 11, Time(0));
        peers.hear(NEW, 22, Time(0));
        let mut forwards = Forwards::new(0);
        let mut outbox = Outbox::default();
        forwards.forward(PARTITION, write(7, 1), OLD, &peers, Time(0), &mut outbox);
        (forwards, peers, outbox)
    }

    /// The generations of the forwards sent so far.
    fn generations(outbox: &Outbox) -> Vec<u64> {
        let generation = |output: &Output| match output {
            Output::Send { message: Message::Forward { generation, .. }, .. } => Some(*generation),
            _ => None,
        };
        outbox.outputs.iter().filter_map(generation).collect()
    }

    fn arrivals(due: Vec<(PartitionId, Work)>) -> Vec<u64> {
        due.into_iter().map(|(_, work)| work.arrival).collect()
    }

    /// A request of the same connection for another node would overtake what is under way.
    #[test]
    fn a_connection_keeps_its_order_over_a_change_of_leader() {
        let (mut forwards, peers, mut outbox) = begun();
        assert!(
            forwards.has_to_wait(PARTITION, 7, None),
            "this node would serve it before the one under way"
        );
        forwards.forward(PARTITION, write(7, 2), NEW, &peers, Time(0), &mut outbox);
        forwards.forward(PARTITION, write(8, 3), NEW, &peers, Time(0), &mut outbox);
        assert_eq!(generations(&outbox).len(), 2, "request 2 waits, request 3 is another connection's");
        assert!(forwards.due(Time(0) + RETRY_AFTER).is_empty(), "still under way");

        forwards.on_forwarded(
            OLD,
            SEQUENCE,
            NOT_LEADER,
            (&Bytes::new(), &Bytes::new()),
            Time(1),
            &mut outbox,
        );
        assert!(outbox.answers.is_empty());
        assert_eq!(arrivals(forwards.due(Time(0) + RETRY_AFTER * 2)), [1, 2]);
        assert!(!forwards.has_to_wait(PARTITION, 7, None));
    }

    #[test]
    fn what_waits_for_an_answer_goes_on_when_it_has_come() {
        let (mut forwards, peers, mut outbox) = begun();
        forwards.forward(PARTITION, write(7, 2), NEW, &peers, Time(0), &mut outbox);
        forwards.on_forwarded(
            OLD,
            SEQUENCE,
            REFUSED,
            (&Bytes::from("ERR no"), &Bytes::new()),
            Time(1),
            &mut outbox,
        );
        assert_eq!(forwards.wake_at(), Time(1));
        assert_eq!(arrivals(forwards.due(Time(1))), [2]);
    }

    /// A node that sent a request back must not serve the next one of its connection, whatever it has become meanwhile;
    /// so that one has the same generation although another connection's were tried again.
    #[test]
    fn what_a_connection_has_under_way_is_of_one_generation() {
        let (mut forwards, peers, mut outbox) = begun();
        forwards.forward(PARTITION, write(8, 2), OLD, &peers, Time(0), &mut outbox);
        forwards.on_forwarded(
            OLD,
            2 * SEQUENCE,
            NOT_LEADER,
            (&Bytes::new(), &Bytes::new()),
            Time(1),
            &mut outbox,
        );
        for (partition, work) in forwards.due(Time(1) + RETRY_AFTER) {
            forwards.forward(partition, work, OLD, &peers, Time(1), &mut outbox);
        }
        forwards.forward(PARTITION, write(7, 3), OLD, &peers, Time(1), &mut outbox);
        assert_eq!(generations(&outbox), [0, 0, 1, 0]);
    }

    /// Reads at a level below `strong` of so many connections go to `OLD`.
    fn reads(forwards: &mut Forwards, peers: &Peers, count: u64, outbox: &mut Outbox) {
        for number in 1..=count {
            let wishes = Wishes {
                consistency: Some(crate::consistency::Consistency::Session),
                tells: true,
                ..Wishes::default()
            };
            let work = Work { wishes, ordered: false, ..write(number, number) };
            forwards.forward(PARTITION, work, OLD, peers, Time(0), outbox);
        }
    }

    /// To whom the forwards went.
    fn asked(outbox: &Outbox) -> Vec<NodeId> {
        let to = |output: &Output| match output {
            Output::Send { to, message: Message::Forward { .. } } => Some(*to),
            _ => None,
        };
        outbox.outputs.iter().filter_map(to).collect()
    }

    fn hedging(count: u64) -> (Forwards, Outbox, Time) {
        let mut peers = Peers::new(Duration::from_millis(100), Duration::from_secs(1), Time(0));
        peers.hear(OLD, 11, Time(0));
        peers.hear(NEW, 22, Time(0));
        let (mut forwards, mut outbox) = (Forwards::new(0), Outbox::default());
        reads(&mut forwards, &peers, count, &mut outbox);
        let at = forwards.wake_at();
        assert!(at > Time(0) && at < Time::NEVER, "somebody has to look");
        forwards.hedge(at, &mut |_, _, _| Some((NEW, 22)), &mut outbox);
        (forwards, outbox, at)
    }

    #[test]
    fn of_reads_without_an_answer_one_in_twenty_is_asked_elsewhere_as_well_and_the_first_answer_counts() {
        let (mut forwards, mut outbox, at) = hedging(40);
        assert_eq!(asked(&outbox).into_iter().filter(|to| *to == NEW).count(), 2, "of forty");
        assert!(forwards.has_to_wait(PARTITION, 1, Some(OLD)), "what comes next waits for the answer");
        let answer = (&encode_value(&resp::Value::OK), &Bytes::new());
        forwards.on_forwarded(NEW, 41 * SEQUENCE, DONE, answer, at, &mut outbox);
        assert_eq!(outbox.answers.len(), 1);
        forwards.on_forwarded(OLD, SEQUENCE, DONE, answer, at, &mut outbox);
        assert_eq!(outbox.answers.len(), 1, "it was answered");
        assert!(!forwards.has_to_wait(PARTITION, 1, Some(OLD)));
        // The other one is answered by the first that was asked.
        forwards.on_forwarded(
            NEW,
            42 * SEQUENCE,
            NOT_LEADER,
            (&Bytes::new(), &Bytes::new()),
            at,
            &mut outbox,
        );
        assert_eq!(outbox.answers.len(), 1, "the other one may still answer");
        forwards.on_forwarded(OLD, 2 * SEQUENCE, DONE, answer, at, &mut outbox);
        assert_eq!(outbox.answers.len(), 2);
    }

    /// No more than one in twenty is asked twice at first; but those that have waited for long are, where others are faster.
    #[test]
    fn reads_that_are_stuck_go_elsewhere_before_it_is_too_late() {
        let (mut forwards, mut outbox, _) = hedging(40);
        let asked_of_new = |outbox: &Outbox| asked(outbox).into_iter().filter(|to| *to == NEW).count();
        assert_eq!(asked_of_new(&outbox), 2);
        let at = forwards.wake_at();
        assert_eq!(at, Time(0) + STUCK_AFTER);
        // As long as it is to be expected that the other one is no faster, no more is asked of it.
        forwards.loads.answered(NEW, Duration::from_secs(1), at);
        let (mut slow, mut none) = (hedging(40).0, Outbox::default());
        slow.loads.answered(NEW, Duration::from_secs(1), at);
        slow.hedge(at, &mut |_, _, _| Some((NEW, 22)), &mut none);
        assert_eq!(asked_of_new(&none), 0);
        forwards.loads.lost(NEW);
        forwards.hedge(at, &mut |_, _, _| Some((NEW, 22)), &mut outbox);
        assert_eq!(asked_of_new(&outbox), 40, "all of them");
        assert_eq!(forwards.wake_at(), Time::NEVER, "and once");
    }

    /// What follows a read on its connection may be answered from where that went.
    #[test]
    fn a_read_that_others_followed_is_not_tried_elsewhere() {
        let mut peers = Peers::new(Duration::from_millis(100), Duration::from_secs(1), Time(0));
        peers.hear(OLD, 11, Time(0));
        let (mut forwards, mut outbox) = (Forwards::new(0), Outbox::default());
        reads(&mut forwards, &peers, 1, &mut outbox);
        reads(&mut forwards, &peers, 1, &mut outbox);
        forwards.lost(OLD, Time(1), &mut outbox);
        assert_eq!(outbox.answers.len(), 2);
    }

    #[test]
    fn a_read_that_was_asked_twice_is_answered_once_whatever_becomes_of_the_nodes() {
        let (mut forwards, mut outbox, at) = hedging(20);
        forwards.lost(NEW, at, &mut outbox);
        assert!(outbox.answers.is_empty(), "the first one that was asked is there");
        forwards.lost(OLD, at, &mut outbox);
        assert!(outbox.answers.is_empty(), "another replica can be asked");
        assert_eq!(arrivals(forwards.due(at)), (1..=20).collect::<Vec<u64>>());
        assert!(forwards.streams[&PARTITION].lines.is_empty());
        let (mut forwards, mut outbox, _) = hedging(20);
        forwards.sweep(Time::NEVER, &|_| String::new(), &mut outbox);
        assert_eq!(outbox.answers.len(), 20, "when all are late");
        assert!(forwards.first_deadline().is_none());
    }
}
