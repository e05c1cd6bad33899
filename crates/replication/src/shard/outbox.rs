//! What a batch of inputs leads to, gathered until the batch ends: one frame per peer, one log batch for all partitions.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::call::encode_call;
use crate::catalogue::Report;
use crate::configuration::{Acknowledgement, Ask};
use crate::consistency::{Consistency, Seen};
use crate::contract::Call;
use crate::contract::Lost;
use crate::contract::{Batch, Event, Output, Reply, RequestId, Write};
use crate::ordered::raft;
use crate::ordered::replica::split::Birth;
use crate::primaries::Quorum;
use crate::time::Time;
use crate::wire::Message;
use crate::{NodeId, PartitionId};

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requester {
    /// A connection of this node. `tells`: the reply says what the session has seen of that group.
    Local { id: RequestId, tells: Option<PartitionId> },
    /// Another node, which forwarded what one of its connections asked for.
    Remote { node: NodeId, incarnation: u64, sequence: u64, generation: u64, tells: Option<PartitionId> },
    /// The shard itself, which looks at what came of it.
    Nobody,
}

impl Requester {
    /// The reply says what its session has seen of this group, if it says anything of that.
    pub fn now_of(&mut self, partition: PartitionId) {
        if let Requester::Local { tells, .. } | Requester::Remote { tells, .. } = self
            && tells.is_some()
        {
            *tells = Some(partition);
        }
    }
}

/// What a client asks for beside what its keyspace says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// It is to be acknowledged by so much, if that is more than what the keyspace asks for.
    pub demand: Option<Acknowledgement>,
    /// So many replicas are asked, if the client says so itself.
    pub quorum: Option<Quorum>,
    /// A read is to be so fresh.
    pub consistency: Option<Consistency>,
    /// But by now it has to see all that was acknowledged.
    pub strict: bool,
    /// The reply says what its session has seen.
    pub tells: bool,
    /// Its session has seen so much.
    pub seen: Option<Seen>,
}

impl Wishes {
    /// What is asked for, and what is wished.
    pub fn of(mut call: Call) -> (Call, Wishes) {
        let mut wishes = Wishes::default();
        loop {
            call = match call {
                Call::Demanding { demand, call } => {
                    wishes.demand = Some(demand);
                    *call
                }
                Call::Quorum { quorum, call } => {
                    wishes.quorum = Some(quorum);
                    *call
                }
                Call::At { consistency, call } => {
                    (wishes.consistency, wishes.tells) = (consistency, true);
                    *call
                }
                Call::After { seen, call } => {
                    wishes.seen = Some(seen);
                    *call
                }
                call => return (call, wishes),
            }
        }
    }

    /// The call with all that is wished.
    pub fn with(self, mut call: Call) -> Call {
        if let Some(seen) = self.seen {
            call = Call::After { seen, call: Box::new(call) };
        }
        if self.tells {
            let consistency = if self.strict { Some(Consistency::Strong) } else { self.consistency };
            call = Call::At { consistency, call: Box::new(call) };
        }
        if let Some(quorum) = self.quorum {
            call = Call::Quorum { quorum, call: Box::new(call) };
        }
        if let Some(demand) = self.demand {
            call = Call::Demanding { demand, call: Box::new(call) };
        }
        call
    }
}

/// A request while this shard has it.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub requester: Requester,
    /// Whose it is: [`Request::origin`](crate::contract::Request::origin).
    pub origin: u64,
    pub call: Call,
    pub wishes: Wishes,
    pub deadline: Time,
    /// It has to take effect in the order of its connection's requests: at the leader.
    pub ordered: bool,
    /// How many partitions there were when it was routed.
    pub layout: u32,
    /// How many keyspaces had been given groups of their own, for whoever routed it.
    pub keyspaces: u16,
    /// Its number among the requests of this shard.
    pub arrival: u64,
}

impl Work {
    /// The bytes of the call with all that is wished.
    pub fn encode_call(&self) -> Bytes {
        encode_call(&self.wishes.clone().with(self.call.clone()))
    }

    /// How fresh it is to be, if it is a read that need not see all that was acknowledged.
    pub fn relaxed(&self) -> Option<Consistency> {
        let level = self.wishes.consistency.filter(|_| !self.wishes.strict)?;
        (level != Consistency::Strong && is_read(&self.call)).then_some(level)
    }

    /// The same, seeing all that was acknowledged.
    #[must_use]
    pub fn strictly(mut self) -> Work {
        self.wishes.strict = true;
        self
    }

    /// What a read is told whose time is over; `otherwise`: if it has no time of its own.
    pub fn is_late(&self, otherwise: &str) -> Reply {
        match self.wishes.consistency.filter(|_| is_read(&self.call)) {
            Some(Consistency::Bounded(bound)) => Reply::Refused(format!(
                "STALE no replica that could be asked is known to be at most {bound} ms old, nothing was done"
            )),
            _ => Reply::Refused(otherwise.into()),
        }
    }
}

/// Does it change nothing?
pub(crate) fn is_read(call: &Call) -> bool {
    match call {
        Call::Command { command, .. } => command.is_read(),
        Call::Fingerprint { .. } => true,
        _ => false,
    }
}

/// Everything that a batch leads to.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Requests that are settled.
    pub answers: Vec<(Requester, Reply)>,
    /// What sessions have seen by answers that came from other nodes.
    pub seen: BTreeMap<RequestId, Seen>,
    /// Requests whose time is over, and that have had no effect.
    pub unserved: Vec<(PartitionId, Work)>,
    /// Requests that this replica cannot serve and that have had no effect: to be tried at that node, or later.
    pub elsewhere: Vec<(PartitionId, Work, Option<NodeId>)>,
    /// What leaders here have to tell the catalogue.
    pub reports: Vec<Report>,
    /// What replicas here ask the catalogue for.
    pub asks: Vec<Ask>,
    /// Writes that were lost, as they were found.
    pub losses: Vec<(PartitionId, Vec<Lost>)>,
    /// Partitions that come about here.
    pub births: Vec<Birth>,
    /// Everything else, in order.
    pub outputs: Vec<Output>,
    consensus: BTreeMap<NodeId, Vec<(PartitionId, raft::Message)>>,
    writes: Vec<Write>,
    /// Someone waits for the writes to be durable; for them to be written.
    is_strict: bool,
    tells_written: bool,
    tokens: Vec<(PartitionId, raft::PersistToken)>,
    gated_now: Vec<Gated>,
}

/// A message that claims something of what its partition has persisted so far.
#[derive(Debug)]
struct Gated {
    partition: PartitionId,
    to: NodeId,
    message: raft::Message,
    /// That it is durable, or else that it is written.
    durable: bool,
}

impl Outbox {
    /// A message of one partition's consensus; goes out with others for the same node.
    pub fn send_consensus(&mut self, partition: PartitionId, to: NodeId, message: raft::Message) {
        self.consensus.entry(to).or_default().push((partition, message));
    }

    /// Any other message.
    pub fn send(&mut self, to: NodeId, message: Message) {
        self.outputs.push(Output::Send { to, message });
    }

    /// Something to be told.
    pub fn event(&mut self, event: Event) {
        self.outputs.push(Output::Event(event));
    }

    /// Records of a partition, and the token that says what they make durable.
    pub fn persist(
        &mut self,
        partition: PartitionId,
        writes: &mut Vec<Write>,
        token: Option<raft::PersistToken>,
    ) {
        self.persist_as((false, false), partition, writes, token);
    }

    /// The same; `relaxed`: nothing waits for them to be durable. `tells_written`: something waits for them to be written.
    pub fn persist_as(
        &mut self,
        (relaxed, tells_written): (bool, bool),
        partition: PartitionId,
        writes: &mut Vec<Write>,
        token: Option<raft::PersistToken>,
    ) {
        self.is_strict |= !relaxed && (!writes.is_empty() || token.is_some());
        self.tells_written |= tells_written;
        self.writes.append(writes);
        self.tokens.extend(token.map(|token| (partition, token)));
    }

    /// Entries that a deposed primary drops: they become durable elsewhere before that.
    pub fn lost(&mut self, partition: PartitionId, entries: Vec<Lost>) {
        self.losses.push((partition, entries));
    }

    /// The replica of a partition is given up: nothing of it goes out any more.
    pub fn forget(&mut self, partition: PartitionId) {
        self.tokens.retain(|(of, _)| *of != partition);
        self.gated_now.retain(|gated| gated.partition != partition);
        self.consensus.values_mut().for_each(|messages| messages.retain(|(of, _)| *of != partition));
    }

    /// A message that claims durability of what `partition` has persisted so far.
    pub fn send_gated(&mut self, partition: PartitionId, to: NodeId, message: raft::Message) {
        self.gated_now.push(Gated { partition, to, message, durable: true });
    }

    /// A message that claims that what `partition` has persisted so far survives the death of the process.
    pub fn send_written(&mut self, partition: PartitionId, to: NodeId, message: raft::Message) {
        self.gated_now.push(Gated { partition, to, message, durable: false });
    }
}

/// Log batches under way, and what waits for them.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    last_number: u64,
    persisted: u64,
    written: u64,
    /// By partition: the last batch that carries something of it.
    last_of: BTreeMap<PartitionId, u64>,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    tokens: Vec<(PartitionId, raft::PersistToken)>,
    messages: Vec<(PartitionId, NodeId, raft::Message)>,
    /// These wait only for it to be written.
    once_written: Vec<(PartitionId, NodeId, raft::Message)>,
}

/// What became durable, or was written.
#[derive(Debug, Default)]
pub(crate) struct Released {
    pub tokens: Vec<(PartitionId, raft::PersistToken)>,
    pub messages: Vec<(PartitionId, NodeId, raft::Message)>,
}

impl Gate {
    /// All batches up to `number` are written.
    pub fn written(&mut self, number: u64) -> Released {
        assert!(number <= self.last_number, "a batch is written that was never given out");
        let mut released = Released::default();
        let from = self.waiting.partition_point(|waiting| waiting.number <= self.written);
        for waiting in self.waiting.range_mut(from..).take_while(|waiting| waiting.number <= number) {
            released.tokens.extend_from_slice(&waiting.tokens);
            released.messages.append(&mut waiting.once_written);
        }
        self.written = self.written.max(number);
        released
    }

    /// All batches up to `number` are durable.
    pub fn persisted(&mut self, number: u64) -> Released {
        assert!(number <= self.last_number, "a batch is durable that was never given out");
        self.persisted = self.persisted.max(number);
        self.written = self.written.max(number);
        let mut released = Released::default();
        while self.waiting.front().is_some_and(|waiting| waiting.number <= self.persisted) {
            if let Some(waiting) = self.waiting.pop_front() {
                released.tokens.extend(waiting.tokens);
                released.messages.extend(waiting.messages);
                released.messages.extend(waiting.once_written);
            }
        }
        released
    }

    /// The last batch that was given out.
    pub fn last_number(&self) -> u64 {
        self.last_number
    }

    /// All batches up to this one are durable.
    pub fn persisted_number(&self) -> u64 {
        self.persisted
    }

    /// The replica of a partition is given up: a later one must not take what becomes durable for its own.
    pub fn forget(&mut self, partition: PartitionId) {
        for waiting in &mut self.waiting {
            waiting.tokens.retain(|(of, _)| *of != partition);
            waiting.messages.retain(|(of, ..)| *of != partition);
            waiting.once_written.retain(|(of, ..)| *of != partition);
        }
    }

    /// Is anything on its way to the disk?
    pub fn is_idle(&self) -> bool {
        self.persisted == self.last_number
    }

    /// Turns what the outbox gathered into outputs: first messages (a leader's appends need not wait for its own
    /// disk), then one batch.
    pub fn flush(&mut self, outbox: &mut Outbox, outputs: &mut Vec<Output>) {
        let number = self.last_number + 1;
        for (partition, _) in &outbox.tokens {
            self.last_of.insert(*partition, number);
        }
        let mut waits: Vec<(u64, Gated)> = Vec::new();
        for gated in outbox.gated_now.drain(..) {
            let reached = if gated.durable { self.persisted } else { self.written };
            match self.last_of.get(&gated.partition) {
                Some(&batch) if batch > reached => waits.push((batch, gated)),
                _ => outbox.consensus.entry(gated.to).or_default().push((gated.partition, gated.message)),
            }
        }
        outputs.append(&mut outbox.outputs);
        for (to, messages) in std::mem::take(&mut outbox.consensus) {
            send_together(to, messages, outputs);
        }
        if !outbox.writes.is_empty() || !outbox.tokens.is_empty() {
            self.last_number = number;
            let tokens = std::mem::take(&mut outbox.tokens);
            self.waiting.push_back(Waiting {
                number,
                tokens,
                messages: Vec::new(),
                once_written: Vec::new(),
            });
            let writes = std::mem::take(&mut outbox.writes);
            let relaxed = !std::mem::take(&mut outbox.is_strict);
            let tells_written = std::mem::take(&mut outbox.tells_written);
            outputs.push(Output::Persist(Batch { number, writes, relaxed, tells_written }));
        }
        for (batch, Gated { partition, to, message, durable }) in waits {
            let place = self.waiting.partition_point(|waiting| waiting.number < batch);
            let waiting = &mut self.waiting[place];
            let line = if durable { &mut waiting.messages } else { &mut waiting.once_written };
            line.push((partition, to, message));
        }
    }
}

/// Small messages of many partitions share a frame; those with entries go alone, so that no frame grows without bound.
fn send_together(to: NodeId, messages: Vec<(PartitionId, raft::Message)>, outputs: &mut Vec<Output>) {
    let mut small = Vec::new();
    for (partition, message) in messages {
        if message.carries_entries() {
            outputs.push(Output::Send { to, message: Message::Raft { partition, message } });
        } else {
            small.push((partition, message));
        }
    }
    match small.len() {
        0 => {}
        1 => {
            let (partition, message) = small.remove(0);
            outputs.push(Output::Send { to, message: Message::Raft { partition, message } });
        }
        _ => outputs.push(Output::Send { to, message: Message::Many(small) }),
    }
}
