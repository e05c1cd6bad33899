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
//!
//! **Elsewhere, if need be.** A read that any replica may answer and that has no answer for long is asked of another one. Those of one line that were
//! answered have shown its session something, and those that follow must not show less: a first read alone is asked of both, and the first
//! answer counts; of a pipeline all that has no answer is taken back, and asked of the other one with what the session has seen by then.

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
    /// Something other than reads that any replica may answer went out since it began: it stays where it is.
    mixed: bool,
    /// When the last answer came, or all was taken to another replica.
    moved_on_at: Time,
    /// What its session has seen by answers that came since it began.
    seen: Option<Seen>,
    /// The last one that was answered, by arrival: one before it that was held up may not be answered from more.
    answered: u64,
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
        line.moved_on_at = now;
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
        let is_relaxed = work.relaxed().is_some();
        let stream = self.stream(partition);
        let current = stream.generation;
        let line = stream.lines.entry(work.origin).or_default();
        if line.under_way == 0 {
            // What goes out knows all that those before it have shown.
            (line.to, line.generation, line.begun) = (to, current, 0);
        }
        line.under_way += 1;
        line.begun += 1;
        line.mixed |= !is_relaxed;
        let generation = line.generation;
        let mut hedge_at = Time::NEVER;
        if is_relaxed {
            self.budget = (self.budget + HEDGED_PER_CENT).min(MOST_HEDGED * 100);
            hedge_at = now + self.loads.patience();
        }
        let sent = Sent { partition, to, at: now, work, hedge_at, twin: None };
        self.send(sent, (receiver_incarnation, generation), outbox);
    }

    /// Sends a request, which has its place in its line.
    fn send(&mut self, sent: Sent, (incarnation, generation): (u64, u64), outbox: &mut Outbox) -> u64 {
        let sequence = (self.next << 8) | u64::from(self.lane);
        self.next += 1;
        outbox
            .send(sent.to, message(sent.partition, &sent.work, incarnation, (sequence, generation), sent.at));
        self.loads.sent(sent.to);
        if sent.hedge_at < Time::NEVER {
            self.hedges.insert((sent.hedge_at, sequence));
        }
        self.sent.insert(sequence, sent);
        sequence
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
        let seen = Seen::decode(seen);
        if let Some(line) = stream.lines.get_mut(&work.origin) {
            line.answered = line.answered.max(work.arrival);
            line.seen = and(line.seen.take(), seen.clone());
        }
        if let (Requester::Local { id, .. }, Some(seen)) = (work.requester, seen) {
            outbox.seen.insert(id, seen);
        }
        stream.ended(work.origin, now);
        outbox.answers.push((work.requester, reply));
    }

    /// The process that was asked is gone: writes are unknown, reads did not happen. Neither is tried again, since what
    /// came after it on its connection may have been served; but for reads that any replica may answer and that nothing else went out with.
    pub fn lost(&mut self, node: NodeId, now: Time, outbox: &mut Outbox) {
        self.loads.lost(node);
        let lost: Vec<Sent> =
            self.sent.extract_if(.., |_, sent| sent.to == node).map(|(_, sent)| sent).collect();
        for Sent { partition, work, twin, .. } in lost {
            if let Some(twin) = twin.and_then(|twin| self.sent.get_mut(&twin)) {
                twin.twin = None;
                continue;
            }
            if self.may_go_elsewhere(partition, &work) {
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

    /// Is all that went out of its line since it began what any replica may answer, and none of those behind it answered?
    fn may_go_elsewhere(&self, partition: PartitionId, work: &Work) -> bool {
        let line = self.streams.get(&partition).and_then(|stream| stream.lines.get(&work.origin));
        line.is_some_and(|line| !line.mixed && line.answered < work.arrival)
    }

    /// What a line had under way waits to be asked of another replica, before all that waits behind it.
    fn try_elsewhere(&mut self, partition: PartitionId, work: Work, now: Time) {
        let origin = work.origin;
        self.wait(partition, work, now);
        let stream = self.stream(partition);
        stream.retry_at = now;
        stream.lines.get_mut(&origin).into_iter().for_each(|line| {
            line.under_way -= 1;
            line.hedged = false;
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
        let mut stuck = BTreeMap::new();
        while let Some(&(at, first)) = self.hedges.first()
            && at <= now
        {
            self.hedges.pop_first();
            let Some(sent) = self.sent.get(&first) else { continue };
            let (partition, asked, sent_at) = (sent.partition, sent.to, sent.at);
            let Some(line) =
                self.streams.get_mut(&partition).and_then(|stream| stream.lines.get_mut(&sent.work.origin))
            else {
                continue;
            };
            if sent.work.deadline <= now || line.mixed {
                continue;
            }
            let alone = line.begun == 1;
            let waited = now.since(sent_at.max(line.moved_on_at));
            if (self.budget < 100 || !alone) && waited < STUCK_AFTER {
                // Whoever is asked has too much to do, or is gone and nobody knows it yet. It is looked at again before it is too late.
                self.look_again(first, now - waited + STUCK_AFTER);
                continue;
            }
            if stuck.contains_key(&(partition, sent.work.origin)) {
                continue;
            }
            let work = sent.work.clone();
            let instead = other(partition, asked, &mut self.loads);
            // Where all have too much to do, to ask more of them would make it worse.
            let instead =
                instead.filter(|&(to, _)| (self.budget >= 100 && alone) || self.loads.cost(to, now) < waited);
            let Some((to, receiver_incarnation)) = instead else {
                // That may be over soon, and the one that is asked be gone for good.
                self.look_again(first, now + waited.max(STUCK_AFTER));
                continue;
            };
            if !alone {
                // Others of its connection followed it there, and may have been answered from less than what it would be now.
                stuck.insert((partition, work.origin), (to, receiver_incarnation));
                continue;
            }
            line.hedged = true;
            self.budget = self.budget.saturating_sub(100);
            outbox.event(Event::Hedged { partition });
            let numbers = (receiver_incarnation, line.generation);
            let copy = Sent { partition, to, at: now, work, hedge_at: Time::NEVER, twin: Some(first) };
            let sequence = self.send(copy, numbers, outbox);
            if let Some(sent) = self.sent.get_mut(&first) {
                sent.twin = Some(sequence);
            }
        }
        if !stuck.is_empty() {
            self.take_elsewhere(&stuck, now, outbox);
        }
    }

    fn look_again(&mut self, first: u64, at: Time) {
        self.hedges.insert((at, first));
        self.sent.entry(first).and_modify(|sent| sent.hedge_at = at);
    }

    /// Asks others for all that these lines have under way: what comes of it where they went does not count any more.
    fn take_elsewhere(
        &mut self,
        lines: &BTreeMap<(PartitionId, u64), (NodeId, u64)>,
        now: Time,
        outbox: &mut Outbox,
    ) {
        let line_of = |sent: &Sent| (sent.partition, sent.work.origin);
        let under_way = self.sent.values().filter(|sent| lines.contains_key(&line_of(sent)));
        // Networks that keep the order do not do that.
        let overtaken: BTreeSet<(PartitionId, u64)> = under_way
            .filter(|sent| !self.may_go_elsewhere(sent.partition, &sent.work))
            .map(line_of)
            .collect();
        let is_stuck =
            |sent: &Sent| lines.contains_key(&line_of(sent)) && !overtaken.contains(&line_of(sent));
        let mut taken: Vec<Sent> =
            self.sent.extract_if(.., |_, sent| is_stuck(sent)).map(|(_, sent)| sent).collect();
        taken.sort_by_key(|sent| sent.work.arrival);
        for Sent { partition, to: asked, at, mut work, .. } in taken {
            let (to, incarnation) = lines[&(partition, work.origin)];
            // It took so long at the least; what comes next is rather asked of others.
            self.loads.answered(asked, now.since(at), now);
            let stream = self.stream(partition);
            let current = stream.generation;
            let Some(line) = stream.lines.get_mut(&work.origin) else { continue };
            let stands_before =
                |waiting: &Work| waiting.origin == work.origin && waiting.arrival < work.arrival;
            if line.waiting > 0 && stream.queue.values().any(stands_before) {
                // One before it was sent back: they go on together.
                self.try_elsewhere(partition, work, now);
                continue;
            }
            if line.to != to || line.moved_on_at != now {
                outbox.event(Event::TakenElsewhere { partition });
                (line.to, line.generation, line.moved_on_at) = (to, current, now);
            }
            work.wishes.seen = and(work.wishes.seen.take(), line.seen.clone());
            let generation = line.generation;
            // Were all as slow, they would be taken from one to the next and never be answered: each may take longer than the one before.
            let hedge_at = now + (now.since(at) * 2).max(STUCK_AFTER);
            let sent = Sent { partition, to, at: now, work, hedge_at, twin: None };
            self.send(sent, (incarnation, generation), outbox);
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
#[path = "forward_tests.rs"]
mod tests;
