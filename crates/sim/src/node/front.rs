//! A node's client side, as simple as it can be: RESP bytes to [`Request`]s by way of the production decoder and the
//! production routing, replies gathered and given out in the order of the commands.
//!
//! A command that was scattered over partitions is one command to the client: if it is a write and a part of it may have
//! happened while another did not, the outcome is unknown, never refused.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use data::route::Gather;
use data::{Command, Home, Homes, Route, Watch};
use replication::configuration::Acknowledgement;
use replication::consistency::{Consistency, Seen};
use replication::contract::{Call, RequestId};
use replication::{Now, PartitionId, Placement, Reply, Request, Time};
use resp::{Limits, Protocol, RequestDecoder, Value};

use crate::oracle::Violation;

/// How long a client gets until it must have an answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// A reply that is overdue by this much is one that will never come.
const OVERDUE: Duration = Duration::from_secs(2);

/// All connections of one process.
#[derive(Debug, Default)]
pub struct Front {
    connections: BTreeMap<u64, Connection>,
    pending: BTreeMap<RequestId, Pending>,
    next_request: u64,
}

#[derive(Debug)]
struct Connection {
    decoder: RequestDecoder,
    buffer: BytesMut,
    /// The number of the first of `slots`, counted since the connection began.
    first: u64,
    slots: VecDeque<Slot>,
    transaction: Option<Vec<(&'static Command, Vec<Bytes>)>>,
    watches: Vec<Watch>,
    /// A read that any replica may answer is under way: nothing more is taken until it is answered.
    alone: bool,
    /// What its session has seen matters.
    tells: bool,
    /// `CLIENT CONSISTENCY`.
    consistency: Option<Consistency>,
    /// All that is under way are reads that any replica may answer.
    relaxed: bool,
    /// A command that waits until what is under way is answered.
    held: Option<(Slot, Vec<Part>)>,
    memory: Memory,
    /// How many partitions there were for what is under way: with more of them nothing more is taken until it is answered.
    layout: u32,
}

/// What a session has seen: what goes with its token.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// There were so many partitions.
    pub layout: u32,
    seen: BTreeMap<PartitionId, Seen>,
    /// Used without being told what was seen.
    used: BTreeSet<PartitionId>,
    /// Asked for all there is, which is told with the answer.
    telling: BTreeSet<PartitionId>,
}

/// A command that was read and is not yet answered.
#[derive(Debug)]
struct Slot {
    answer: Option<Value>,
    parts: Vec<Option<Reply>>,
    gather: Option<Gather>,
    writes: bool,
    watched: Vec<Bytes>,
}

/// A request that the shard has not answered.
#[derive(Debug)]
struct Pending {
    connection: u64,
    slot: u64,
    part: usize,
    deadline: Time,
}

/// What came of some bytes or replies.
#[derive(Debug, Default)]
pub struct Produced {
    /// For the shard.
    pub requests: Vec<Request>,
    /// For the clients.
    pub answers: Vec<(u64, Bytes)>,
}

/// One part of a command on its way to the shard.
#[derive(Debug)]
struct Part {
    partition: PartitionId,
    call: Call,
}

impl Part {
    fn wish(&mut self, consistency: Option<Consistency>, seen: Option<&Seen>) {
        let mut call = std::mem::replace(&mut self.call, Call::Fingerprint { keys: Vec::new() });
        if let Some(seen) = seen {
            call = Call::After { seen: seen.clone(), call: Box::new(call) };
        }
        self.call = Call::At { consistency, call: Box::new(call) };
    }
}

impl Front {
    /// A client connected.
    pub fn connect(&mut self, connection: u64, tells: bool) {
        let fresh = Connection {
            decoder: RequestDecoder::new(Limits::default()),
            buffer: BytesMut::new(),
            first: 0,
            slots: VecDeque::new(),
            transaction: None,
            watches: Vec::new(),
            alone: false,
            consistency: None,
            tells,
            relaxed: false,
            held: None,
            memory: Memory::default(),
            layout: 0,
        };
        self.connections.insert(connection, fresh);
    }

    /// It goes on with a session.
    pub fn resume(&mut self, connection: u64, memory: Memory) {
        if let Some(open) = self.connections.get_mut(&connection) {
            open.memory = memory;
        }
    }

    /// What its session has seen.
    pub fn memory(&self, connection: u64) -> Option<Memory> {
        let open = self.connections.get(&connection)?;
        Some(Memory { layout: open.layout, telling: BTreeSet::new(), ..open.memory.clone() })
    }

    /// A client went away; what it asked for goes on.
    pub fn disconnect(&mut self, connection: u64) {
        self.connections.remove(&connection);
    }

    /// The connections that are open.
    pub fn open_connections(&self) -> Vec<u64> {
        self.connections.keys().copied().collect()
    }

    /// Bytes came from a client.
    ///
    /// # Errors
    /// The decoder refuses what a well-behaved client sent.
    pub fn on_bytes(
        &mut self,
        connection: u64,
        bytes: &[u8],
        now: Now,
        placement: &Placement,
        produced: &mut Produced,
    ) -> Result<(), Violation> {
        let Some(open) = self.connections.get_mut(&connection) else { return Ok(()) };
        open.buffer.extend_from_slice(bytes);
        self.take_commands(connection, now, placement, produced)
    }

    /// Takes the commands that are there, unless a read that stands alone has to be answered first.
    fn take_commands(
        &mut self,
        connection: u64,
        now: Now,
        placement: &Placement,
        produced: &mut Produced,
    ) -> Result<(), Violation> {
        loop {
            self.flush(connection, produced);
            let Some(open) = self.connections.get_mut(&connection) else { return Ok(()) };
            open.alone &= !open.slots.is_empty();
            if open.alone || (open.layout != placement.layout() && !open.slots.is_empty()) {
                return Ok(());
            }
            if open.layout != placement.layout() {
                let layout = open.layout.max(open.memory.layout);
                placement.with_children(&mut open.memory.used, layout);
                open.layout = placement.layout();
            }
            if let Some((slot, parts)) = open.held.take_if(|_| open.slots.is_empty()) {
                self.submit(connection, slot, parts, placement, now, produced);
                continue;
            }
            if open.held.is_some() {
                return Ok(());
            }
            let decoded = open.decoder.decode(&mut open.buffer);
            let arguments = decoded.map_err(|error| Violation::new("resp", error.to_string()))?;
            let Some(arguments) = arguments else { return Ok(()) };
            let (slot, parts) = open.take_command(arguments, placement);
            self.submit(connection, slot, parts, placement, now, produced);
        }
    }

    fn submit(
        &mut self,
        connection: u64,
        slot: Slot,
        mut parts: Vec<Part>,
        placement: &Placement,
        now: Now,
        produced: &mut Produced,
    ) {
        let Some(open) = self.connections.get_mut(&connection) else { return };
        let (layout, keyspaces) = (open.layout, placement.keyspaces_numbered);
        let in_flight = open.slots.iter().any(|slot| slot.answer.is_none());
        let relaxed = open.wish(&mut parts, slot.writes, in_flight, placement);
        if in_flight && open.relaxed && !relaxed && !parts.is_empty() {
            open.held = Some((slot, parts));
            return;
        }
        if relaxed {
            // Nothing else is under way: who was asked for all there is has told it, or never will.
            open.memory.telling.clear();
        } else if open.consistency.is_some() {
            open.memory.telling.extend(parts.iter().map(|part| part.partition));
        }
        let ordered = match relaxed {
            true => in_flight,
            false => slot.writes || !open.buffer.is_empty() || in_flight,
        };
        let writes = slot.writes;
        if !parts.is_empty() {
            open.relaxed = relaxed;
        }
        open.alone = !ordered && !relaxed && !parts.is_empty();
        let number = open.first + open.slots.len() as u64;
        open.slots.push_back(slot);
        let deadline = now.time + REQUEST_TIMEOUT;
        for (index, part) in parts.into_iter().enumerate() {
            self.next_request += 1;
            let id = RequestId(self.next_request);
            self.pending.insert(id, Pending { connection, slot: number, part: index, deadline });
            let Part { partition, call } = part;
            // Some want to know their writes held by more than the keyspace asks for.
            let demand = match self.next_request % 9 {
                0 => Some(Acknowledgement::Sync),
                1 => Some(Acknowledgement::SemiSync(1)),
                _ => None,
            };
            let call = match demand.filter(|_| writes && partition.keyspace() != 0) {
                Some(demand) => Call::Demanding { demand, call: Box::new(call) },
                None => call,
            };
            let origin = connection;
            produced.requests.push(Request {
                id,
                origin,
                partition,
                layout,
                keyspaces,
                call,
                deadline,
                ordered,
            });
        }
    }

    /// A request of the simulator's own, whose reply goes nowhere.
    pub fn request(&mut self, partition: PartitionId, call: Call, now: Now) -> Request {
        self.next_request += 1;
        let id = RequestId(self.next_request);
        let deadline = now.time + REQUEST_TIMEOUT;
        self.pending.insert(id, Pending { connection: u64::MAX, slot: 0, part: 0, deadline });
        let origin = u64::MAX - id.0;
        Request {
            id,
            origin,
            partition,
            layout: u32::MAX,
            keyspaces: u16::MAX,
            call,
            deadline,
            ordered: false,
        }
    }

    /// The shard answered.
    ///
    /// # Errors
    /// Nobody asked, or this was answered before, or the text says something else than the kind of the reply.
    pub fn on_reply(
        &mut self,
        id: RequestId,
        (reply, seen): (Reply, Option<(PartitionId, Seen)>),
        now: Now,
        placement: &Placement,
        produced: &mut Produced,
    ) -> Result<(), Violation> {
        let Some(pending) = self.pending.remove(&id) else {
            return Err(Violation::new(
                "replies",
                format!("request {} was answered again with {reply:?}", id.0),
            ));
        };
        if let Reply::Refused(text) = &reply
            && text.starts_with("UNKNOWN")
        {
            return Err(Violation::new("replies", format!("refused with {text:?}")));
        }
        let Some(open) = self.connections.get_mut(&pending.connection) else { return Ok(()) };
        if let Some((partition, seen)) = seen {
            let seen = match open.memory.seen.remove(&partition) {
                Some(former) => former.and(seen),
                None => seen,
            };
            open.memory.seen.insert(partition, seen);
            if open.memory.telling.remove(&partition) {
                open.memory.used.remove(&partition);
            }
        }
        let Some(slot) = open.slots.get_mut((pending.slot - open.first) as usize) else { return Ok(()) };
        slot.parts[pending.part] = Some(reply);
        if slot.parts.iter().all(Option::is_some) {
            let value = slot.join();
            if !slot.watched.is_empty() {
                let watches = watches_of(&slot.watched, &value);
                let done = matches!(watches, Ok(Some(_)));
                open.watches.extend(watches?.unwrap_or_default());
                slot.answer = Some(if done { Value::OK } else { value });
            } else {
                slot.answer = Some(value);
            }
        }
        self.take_commands(pending.connection, now, placement, produced)
    }

    /// Requests that should have been answered long ago.
    ///
    /// # Errors
    /// There is one.
    pub fn check_overdue(&self, now: Now) -> Result<(), Violation> {
        match self.pending.iter().find(|(_, pending)| pending.deadline + OVERDUE < now.time) {
            None => Ok(()),
            Some((id, pending)) => {
                let since = now.time.since(pending.deadline).as_millis();
                Err(Violation::new(
                    "replies",
                    format!("request {} has no reply {since} ms after its deadline", id.0),
                ))
            }
        }
    }

    /// Gives out the answers that are complete and next in order.
    fn flush(&mut self, connection: u64, produced: &mut Produced) {
        let Some(open) = self.connections.get_mut(&connection) else { return };
        let mut out = BytesMut::new();
        while let Some(answer) = open.slots.front_mut().and_then(|slot| slot.answer.take()) {
            resp::encode(&answer, Protocol::Resp2, &mut out);
            open.slots.pop_front();
            open.first += 1;
        }
        if !out.is_empty() {
            produced.answers.push((connection, out.freeze()));
        }
    }
}

impl Slot {
    fn answered(value: Value) -> (Slot, Vec<Part>) {
        let slot =
            Slot { answer: Some(value), parts: Vec::new(), gather: None, writes: false, watched: Vec::new() };
        (slot, Vec::new())
    }

    fn waiting(
        parts: Vec<Part>,
        gather: Option<Gather>,
        writes: bool,
        watched: Vec<Bytes>,
    ) -> (Slot, Vec<Part>) {
        let slot =
            Slot { answer: None, parts: parts.iter().map(|_| None).collect(), gather, writes, watched };
        (slot, parts)
    }

    /// One value of all replies.
    fn join(&mut self) -> Value {
        let replies: Vec<Reply> = self.parts.drain(..).flatten().collect();
        let any_refused = replies.iter().any(|reply| matches!(reply, Reply::Refused(_)));
        let all_refused = replies.iter().all(|reply| matches!(reply, Reply::Refused(_)));
        if self.writes && any_refused && !all_refused {
            return Value::error("UNKNOWN some keys may have been written and others not");
        }
        let unknown = replies.iter().find_map(|reply| match reply {
            Reply::Unknown(text) => Some(format!("UNKNOWN {text}")),
            _ => None,
        });
        if let Some(text) = unknown {
            return Value::error(text);
        }
        let mut values: Vec<Value> = replies
            .into_iter()
            .map(|reply| match reply {
                Reply::Done(value) => value,
                Reply::Refused(text) | Reply::Unknown(text) => Value::error(text),
            })
            .collect();
        match &self.gather {
            Some(gather) => gather.join(values),
            None => values.pop().unwrap_or(Value::Null),
        }
    }
}

impl Connection {
    /// What is to be done for one command.
    /// Says with each part how fresh it is to be and what the session has seen, as a node does. Are they reads that any replica may answer?
    fn wish(&mut self, parts: &mut [Part], writes: bool, in_flight: bool, placement: &Placement) -> bool {
        let Some(level) = self.consistency else {
            for part in parts {
                // A node asks such a replica when somebody asks for the token.
                match placement.primaries.contains_key(&part.partition) && self.tells {
                    true => part.wish(None, self.memory.seen.get(&part.partition)),
                    false => drop(self.memory.used.insert(part.partition)),
                }
            }
            return false;
        };
        let is_command = |part: &Part| matches!(part.call, Call::Command { .. });
        let mut relaxed = !writes
            && level != Consistency::Strong
            && parts.iter().all(is_command)
            && (self.relaxed || !in_flight);
        for part in parts.iter_mut() {
            let merges = placement.primaries.contains_key(&part.partition);
            let is_unknown = self.memory.used.contains(&part.partition);
            let mut level = level;
            if !merges && !writes && (!relaxed || (is_unknown && level != Consistency::Eventual)) {
                level = Consistency::Strong;
                relaxed = false;
            }
            let is_free = matches!(level, Consistency::Strong | Consistency::Eventual);
            let seen = self.memory.seen.get(&part.partition).filter(|_| !is_free && (merges || !writes));
            part.wish(Some(level), seen);
        }
        relaxed
    }

    fn take_command(&mut self, mut arguments: Vec<Bytes>, placement: &Placement) -> (Slot, Vec<Part>) {
        let name = arguments[0].to_ascii_uppercase();
        match name.as_slice() {
            b"CLIENT" => {
                self.consistency = Consistency::parse(&arguments[2..]).map(|(level, _)| level);
                return Slot::answered(Value::OK);
            }
            b"MULTI" => {
                self.transaction = Some(Vec::new());
                return Slot::answered(Value::OK);
            }
            b"EXEC" => {
                let commands = self.transaction.take().unwrap_or_default();
                let watches = std::mem::take(&mut self.watches);
                return transaction(commands, watches, placement);
            }
            b"WATCH" => {
                let keys: Vec<Bytes> = arguments.split_off(1);
                let partition = placement.at(placement.home_of(&keys[0]));
                let call = Call::Fingerprint { keys: keys.clone() };
                return Slot::waiting(vec![Part { partition, call }], None, false, keys);
            }
            _ => {}
        }
        let token = (name == b"IDEMPOTENT" && arguments.len() > 2).then(|| arguments[1].clone());
        if token.is_some() {
            arguments.drain(..2);
        }
        let Some(command) = Command::lookup(&arguments[0]) else {
            return Slot::answered(Value::error("ERR unknown command"));
        };
        if let Err(error) = command.check_arity(&arguments) {
            return Slot::answered(error);
        }
        if let Some(commands) = &mut self.transaction {
            commands.push((command, arguments));
            return Slot::answered(Value::Simple("QUEUED".into()));
        }
        routed(command, arguments, token, placement)
    }
}

/// A command on its way to one partition or to several.
fn routed(
    command: &'static Command,
    arguments: Vec<Bytes>,
    token: Option<Bytes>,
    placement: &Placement,
) -> (Slot, Vec<Part>) {
    let writes = !command.is_read();
    let call = |arguments| Call::Command { command, arguments, token: token.clone() };
    match data::route(command, &arguments, placement, 0) {
        Err(error) => Slot::answered(error),
        Ok(Route::Server) => Slot::answered(Value::error("ERR not in a simulation")),
        Ok(Route::Home(home)) => {
            let part = Part { partition: placement.at(home), call: call(arguments) };
            Slot::waiting(vec![part], None, writes, Vec::new())
        }
        Ok(Route::Scatter { parts, gather }) => {
            let parts = parts
                .into_iter()
                .map(|part| Part { partition: PartitionId(part.group), call: call(part.arguments) })
                .collect();
            Slot::waiting(parts, Some(gather), writes, Vec::new())
        }
        Ok(Route::Every { gather }) => {
            let parts =
                placement.all().map(|partition| Part { partition, call: call(arguments.clone()) }).collect();
            Slot::waiting(parts, Some(gather), writes, Vec::new())
        }
    }
}

/// Every slot by itself: what a transaction is atomic in.
struct PerSlot<'a>(&'a Placement);

impl Homes for PerSlot<'_> {
    fn keyspace_of(&self, key: &[u8]) -> u16 {
        self.0.keyspace_of(key)
    }

    fn group_of(&self, home: Home) -> u32 {
        u32::from(home.keyspace) << 16 | u32::from(home.slot)
    }
}

/// `EXEC`: all commands in one slot.
fn transaction(
    commands: Vec<(&'static Command, Vec<Bytes>)>,
    watches: Vec<Watch>,
    placement: &Placement,
) -> (Slot, Vec<Part>) {
    let mut homes: Vec<Home> = Vec::new();
    for (command, arguments) in &commands {
        match data::route(command, arguments, &PerSlot(placement), 0) {
            Ok(Route::Home(home)) => homes.push(home),
            Ok(Route::Scatter { parts, .. }) => homes.extend(parts.iter().map(|part| part.home)),
            Ok(_) => return Slot::answered(Value::error("EXECABORT not in a transaction")),
            Err(error) => return Slot::answered(error),
        }
    }
    homes.dedup();
    match homes[..] {
        [] => Slot::answered(Value::Array(Vec::new())),
        [home] => {
            let writes = commands.iter().any(|(command, _)| !command.is_read());
            let part = Part { partition: placement.at(home), call: Call::Transaction { commands, watches } };
            Slot::waiting(vec![part], None, writes, Vec::new())
        }
        _ => Slot::answered(Value::error("CROSSSLOT Keys in request don't hash to the same slot")),
    }
}

/// The watches that an answer to [`Call::Fingerprint`] stands for; none if it was not done.
fn watches_of(keys: &[Bytes], value: &Value) -> Result<Option<Vec<Watch>>, Violation> {
    let Value::Array(prints) = value else { return Ok(None) };
    let wrong = || Violation::new("replies", format!("no fingerprints: {value:?}"));
    let mut watches = Vec::new();
    for (key, print) in keys.iter().zip(prints) {
        let Value::Bulk(bytes) = print else { return Err(wrong()) };
        let bytes: [u8; 16] = bytes[..].try_into().map_err(|_| wrong())?;
        watches.push(Watch { key: key.clone(), fingerprint: u128::from_le_bytes(bytes) });
    }
    Ok(Some(watches))
}
