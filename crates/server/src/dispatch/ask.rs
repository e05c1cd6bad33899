//! What partitions are asked: in which order, how fresh a read has to be, and what a session has seen.
//!
//! A connection's reads that any replica may answer ([`Consistency`]) go out one behind another, as writes do, but among themselves only: what comes
//! behind them waits until they are answered, and behind a write a read goes the way of the write. What a session has seen comes with the replies
//! and goes with its next reads; of what it used before anybody told, the first such read sees all there is.

use bytes::Bytes;
use data::Command;
use replication::PartitionId;
use replication::consistency::Consistency;
use replication::contract::Call;
use resp::Value;

use super::{BUSY, Dispatch, Hold};
use crate::driver::Asker;
use crate::pipeline::Finish;

/// What partitions are asked for one command.
#[derive(Debug)]
pub(super) struct Asks {
    parts: Vec<(PartitionId, Call)>,
    finish: Finish,
    is_write: bool,
    bytes: usize,
    /// They are reads that need not see all that was acknowledged.
    relaxed: bool,
}

impl Dispatch {
    /// Does a command have to keep its place among others of this connection? A read that stands alone may be answered
    /// by any replica; nothing more is taken until it is.
    fn is_ordered(&mut self, is_write: bool) -> bool {
        let ordered = is_write || self.more_behind || self.pipeline.borrow().in_flight() > 0;
        self.alone = !ordered;
        ordered
    }

    /// Notes what is written, and what `CLIENT ACK` asks for.
    pub(super) fn demanding(
        &mut self,
        partition: PartitionId,
        call: Call,
        tells: Option<Option<Consistency>>,
        is_write: bool,
    ) -> Result<Call, Value> {
        let call = self.after_what_was_seen(partition, call, tells, is_write);
        let call = match tells {
            Some(consistency) => Call::At { consistency, call: Box::new(call) },
            None => call,
        };
        let call = self.of_so_many(partition, call);
        if !is_write || matches!(call, Call::Admin(_)) {
            return Ok(call);
        }
        if partition.keyspace() == 0 {
            self.wrote_partitions = true;
            return match self.session.acknowledgement() {
                Some(demand) if demand.copies(usize::MAX) > self.known_replicas().max(0) as usize => {
                    Err(Value::error(
                        "NOREPLICAS a raft keyspace acknowledges a write that a majority holds, which is fewer than CLIENT ACK asks for; nothing was written",
                    ))
                }
                _ => Ok(call),
            };
        }
        if let Some(group) = self.worker.placement().groups.get(&partition) {
            self.written.insert(partition, group.configuration.term);
        } else {
            // Nobody is elected there.
            self.written.insert(partition, 0);
        }
        Ok(match self.session.acknowledgement() {
            Some(demand) => Call::Demanding { demand, call: Box::new(call) },
            None => call,
        })
    }

    /// As many replicas are asked as `CLIENT QUORUM` says.
    fn of_so_many(&self, partition: PartitionId, call: Call) -> Call {
        let placement = self.worker.placement();
        let is_leaderless =
            || placement.primaries.get(&partition).is_some_and(|group| group.leaderless.is_some());
        match self.session.quorum() {
            Some(quorum) if !matches!(call, Call::Admin(_)) && is_leaderless() => {
                Call::Quorum { quorum, call: Box::new(call) }
            }
            _ => call,
        }
    }

    /// How fresh the reads of that call are to be, if the client or its keyspace says so.
    fn level_of(&self, call: &Call) -> Option<Consistency> {
        if let Some(level) = self.session.consistency() {
            return Some(level);
        }
        let placement = self.worker.placement();
        if placement.reads.is_empty() {
            return None;
        }
        let (command, arguments) = match call {
            Call::Command { command, arguments, .. } => (command, arguments),
            Call::Transaction { commands, .. } => {
                commands.first().map(|(command, arguments)| (command, arguments))?
            }
            _ => return None,
        };
        let keys = data::route::keys_of(command, arguments).ok()?;
        placement.read_level(&arguments[*keys.first()?])
    }

    /// Whether what the session has seen is to come with the reply, and at which level it reads.
    fn tells(&self, partition: PartitionId, call: &Call) -> Option<Option<Consistency>> {
        if matches!(call, Call::Admin(_)) {
            return None;
        }
        match self.level_of(call) {
            Some(level) => Some(Some(level)),
            // Now this replica may answer, now that one.
            None => {
                let placement = self.worker.placement();
                let here = self.worker.node.identity.node();
                let is_elsewhere =
                    placement.primaries.get(&partition).is_some_and(|group| !group.seats.contains_key(&here));
                is_elsewhere.then_some(None)
            }
        }
    }

    /// Nothing will tell what the session sees of that group.
    pub(super) fn used_untold(&mut self, partition: PartitionId) {
        if self.last_used != Some(partition) {
            self.session.used.insert(partition);
            self.last_used = Some(partition);
        }
    }

    /// Takes over what replies have told since.
    pub(super) fn note_seen(&mut self) {
        for (partition, seen) in std::mem::take(&mut self.pipeline.borrow_mut().seen) {
            let seen = match self.session.seen.remove(&partition) {
                Some(former) => former.and(seen),
                None => seen,
            };
            self.session.seen.insert(partition, seen);
            if self.telling.remove(&partition) {
                self.session.used.remove(&partition);
                self.last_used = None;
            }
        }
    }

    /// A session sees no less than what it has seen, whichever replica answers.
    fn after_what_was_seen(
        &mut self,
        partition: PartitionId,
        call: Call,
        tells: Option<Option<Consistency>>,
        is_write: bool,
    ) -> Call {
        let merges = self.worker.placement().primaries.contains_key(&partition);
        // What has a log is written by who leads, and that one has everything.
        let is_free = matches!(tells, Some(Some(Consistency::Strong | Consistency::Eventual)));
        if matches!(call, Call::Admin(_)) || (!merges && (is_write || tells.is_none())) || is_free {
            return call;
        }
        match self.session.seen.get(&partition) {
            Some(seen) => Call::After { seen: seen.clone(), call: Box::new(call) },
            None => call,
        }
    }

    pub(super) fn ask_one(
        &mut self,
        partition: PartitionId,
        call: Call,
        finish: Finish,
        is_write: bool,
        bytes: usize,
    ) {
        if !self.is_plain(partition) {
            return self.ask_parts(vec![(partition, call)], finish, is_write, bytes);
        }
        if !self.worker.has_room(1) {
            return self.fail(BUSY);
        }
        self.used_untold(partition);
        let call = match self.demanding(partition, call, None, is_write) {
            Ok(call) => call,
            Err(error) => return self.fail(error),
        };
        let ordered = self.is_ordered(is_write);
        self.relaxed = false;
        let deadline = self.worker.deadline();
        let asker = self.take_place(finish, 1, is_write, bytes)(0);
        self.worker.ask(partition, call, deadline, ordered, asker);
    }

    /// Is what goes to that partition to be answered by who leads it, with nothing to be told, as is what was asked before and is under way? Mostly it
    /// is; this costs less then than [`Dispatch::ask_parts`], which comes to the same.
    fn is_plain(&self, partition: PartitionId) -> bool {
        let says_nothing = self.session.consistency().is_none() && !self.relaxed;
        let placement = self.worker.placement();
        says_nothing
            && placement.reads.is_empty()
            && (partition.keyspace() == 0 || !placement.primaries.contains_key(&partition))
            && self.pipeline.borrow().seen.is_empty()
    }

    pub(super) fn ask_many(
        &mut self,
        command: &'static Command,
        calls: Vec<(PartitionId, Vec<Bytes>)>,
        finish: Finish,
        is_write: bool,
        bytes: usize,
    ) {
        let of = |(partition, arguments)| (partition, Call::Command { command, arguments, token: None });
        self.ask_parts(calls.into_iter().map(of).collect(), finish, is_write, bytes);
    }

    fn ask_parts(&mut self, calls: Vec<(PartitionId, Call)>, finish: Finish, is_write: bool, bytes: usize) {
        if !self.worker.has_room(calls.len()) {
            return self.fail(BUSY);
        }
        self.note_seen();
        let mut tells: Vec<_> = calls.iter().map(|(partition, call)| self.tells(*partition, call)).collect();
        let in_flight = self.pipeline.borrow().in_flight() > 0;
        let is_relaxed = |tells: &Option<Option<Consistency>>| matches!(tells, Some(Some(level)) if *level != Consistency::Strong);
        let mut relaxed = !is_write
            && calls.iter().all(|(_, call)| matches!(call, Call::Command { .. }))
            && tells.iter().all(is_relaxed)
            // Behind a write of its own a read goes the way of that.
            && (self.relaxed || !in_flight);
        let merges = |partition: &PartitionId| self.worker.placement().primaries.contains_key(partition);
        for ((partition, _), tells) in calls.iter().zip(&mut tells) {
            let is_session = matches!(tells, Some(Some(Consistency::Session | Consistency::Bounded(_))));
            if is_relaxed(tells)
                && !merges(partition)
                && (!relaxed || (is_session && self.session.used.contains(partition)))
            {
                // Nobody has told what was seen before: all there is, from now on.
                *tells = Some(Some(Consistency::Strong));
                relaxed = false;
            }
        }
        let mut parts = Vec::with_capacity(calls.len());
        for ((partition, call), tells) in calls.into_iter().zip(tells) {
            if tells.is_none() {
                self.used_untold(partition);
            }
            match self.demanding(partition, call, tells, is_write) {
                Ok(call) => parts.push((partition, call)),
                Err(error) => return self.fail(error),
            }
        }
        let asks = Asks { parts, finish, is_write, bytes, relaxed };
        // What comes behind such reads must not overtake them.
        match in_flight && self.relaxed && !relaxed {
            true => self.hold = Some(Hold::Ask(asks)),
            false => self.ask(asks),
        }
    }

    pub(super) fn ask(&mut self, Asks { parts, finish, is_write, bytes, relaxed }: Asks) {
        let ordered = match relaxed {
            true => self.pipeline.borrow().in_flight() > 0,
            false => self.is_ordered(is_write),
        };
        self.relaxed = relaxed;
        if relaxed {
            // Nothing else is under way: who was asked for all there is has told it, or never will. What these tell is not that.
            self.telling.clear();
        } else {
            self.note_seen();
            let tells = |call: &Call| {
                matches!(call, Call::Demanding { call, .. } if matches!(**call, Call::At { .. }))
                    || matches!(call, Call::At { .. })
            };
            let told = parts.iter().filter(|(_, call)| tells(call)).map(|(partition, _)| *partition);
            self.telling.extend(told);
        }
        let deadline = self.worker.deadline();
        let asker = self.take_place(finish, parts.len(), is_write, bytes);
        for (part, (partition, call)) in parts.into_iter().enumerate() {
            self.worker.ask(partition, call, deadline, ordered, asker(part as u32));
        }
    }

    /// Takes a place in the line for a command that partitions answer; the result makes the asker of each part.
    pub(super) fn take_place(
        &mut self,
        finish: Finish,
        parts: usize,
        is_write: bool,
        bytes: usize,
    ) -> impl Fn(u32) -> Asker + use<> {
        let manner = self.manner();
        let place = self.pipeline.borrow_mut().wait(manner, finish, parts, is_write, bytes);
        let (client, pipeline) = (self.session.client.id, self.pipeline.clone());
        move |part| Asker { client, pipeline: pipeline.clone(), place, part }
    }
}
