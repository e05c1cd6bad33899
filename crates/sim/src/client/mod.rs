//! A client: one operation at a time (a pipeline or a transaction counts as one), over one connection to any node.
//!
//! It speaks RESP bytes, knows nothing of the cluster, and writes into the [`History`] what it saw. An operation with a
//! token whose outcome it does not know it sends again, to any node, until it knows; now and then it sends one again
//! that it does know, and the answer must be the same.

pub mod intent;
pub mod workload;

use bytes::{Bytes, BytesMut};
use resp::{Limits, Value, ValueDecoder};

use crate::clock::{SECOND, TrueTime};
use crate::counters::Counters;
use crate::history::{History, Interval};
use crate::node::front::Memory;
use crate::oracle::Violation;
use crate::random::Random;
use intent::{Intent, Outcome, Step, encode_request};

/// After this long without a definite answer to a token, the client leaves it at unknown.
const TOKEN_PATIENCE: TrueTime = 20 * SECOND;

/// An open connection to a node.
#[derive(Debug)]
pub struct Connection {
    /// Unique in the simulation.
    pub id: u64,
    /// The node.
    pub node: usize,
    decoder: ValueDecoder,
    buffer: BytesMut,
}

impl Connection {
    /// A fresh connection.
    pub fn new(id: u64, node: usize) -> Connection {
        Connection { id, node, decoder: ValueDecoder::new(Limits::default()), buffer: BytesMut::new() }
    }
}

/// What a client is about.
#[derive(Debug)]
struct Running {
    intent: Intent,
    /// Only this node will do (for probes).
    node: Option<usize>,
    /// The very last look at this key.
    last: bool,
    /// Try again until it is done, whatever the outcome (reads and probes).
    insist: bool,
    first_invoked: TrueTime,
    /// An earlier attempt may have taken effect.
    maybe_done: bool,
    /// It was done before with this answer, which must not change.
    answered: Option<Value>,
    expected: usize,
    replies: Vec<Value>,
    /// It was sent and is not yet answered.
    in_flight: bool,
}

/// What a client does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// It waits.
    Wait,
    /// It sends these bytes on its connection and waits for the answer.
    Send(Bytes),
    /// It sends its operation again, on a new connection.
    Reconnect,
    /// It is ready for another operation.
    Ready,
}

/// What a client shares with the others.
#[derive(Debug)]
pub struct Shared<'a> {
    /// Now.
    pub at: TrueTime,
    /// No wall clock is ever wrong in this simulation.
    pub wall_trusted: bool,
    /// Sessions are judged.
    pub sessions: bool,
    /// What was seen.
    pub history: &'a mut History,
    /// What was exercised.
    pub counters: &'a mut Counters,
}

/// A client.
#[derive(Debug)]
pub struct Client {
    /// Its chance.
    pub random: Random,
    /// Its connection.
    pub connection: Option<Connection>,
    /// Counts what it sends, so that a timeout knows whether it still matters.
    pub attempt: u64,
    /// Its session goes on while it takes along what it has seen.
    pub session: u64,
    /// What that is, as of the last answer.
    pub memory: Option<Memory>,
    running: Option<Running>,
}

impl Client {
    /// A client without a connection.
    pub fn new(random: Random) -> Client {
        Client { random, connection: None, attempt: 0, session: 0, memory: None, running: None }
    }

    /// Has it nothing under way?
    pub fn is_idle(&self) -> bool {
        self.running.is_none()
    }

    /// The node that its operation insists on.
    pub fn wanted_node(&self) -> Option<usize> {
        self.running.as_ref().and_then(|running| running.node)
    }

    /// Takes up an operation. `insist`: it is sent again until it is done, at `node` if that is given; `last`: nothing is
    /// written any more.
    pub fn begin(
        &mut self,
        intent: Intent,
        node: Option<usize>,
        insist: bool,
        last: bool,
        shared: &mut Shared,
    ) {
        shared.counters.add(intent.name());
        if intent.token().is_some() {
            shared.counters.add("operation.idempotent");
        }
        let first_invoked = shared.at;
        self.running = Some(Running {
            intent,
            node,
            last,
            insist,
            first_invoked,
            maybe_done: false,
            answered: None,
            expected: 0,
            replies: Vec::new(),
            in_flight: false,
        });
    }

    /// The bytes of the operation under way, to be sent on a connection that is open.
    pub fn attempt(&mut self) -> Option<Bytes> {
        let running = self.running.as_mut()?;
        let commands = running.intent.commands();
        running.expected = commands.len();
        running.replies.clear();
        running.in_flight = true;
        self.attempt += 1;
        let mut bytes = BytesMut::new();
        for arguments in &commands {
            encode_request(arguments, &mut bytes);
        }
        Some(bytes.freeze())
    }

    /// What it is doing, for the story.
    pub fn describe(&self) -> String {
        self.running.as_ref().map_or_else(String::new, |running| format!("{:?}", running.intent))
    }

    /// Bytes came from the node.
    ///
    /// # Errors
    /// The answer breaks a promise, or is no RESP.
    pub fn on_bytes(&mut self, bytes: &[u8], shared: &mut Shared) -> Result<Next, Violation> {
        let Some(connection) = &mut self.connection else { return Ok(Next::Wait) };
        connection.buffer.extend_from_slice(bytes);
        loop {
            let decoded = connection.decoder.decode(&mut connection.buffer);
            let value = decoded.map_err(|error| Violation::new("resp", error.to_string()))?;
            let Some(value) = value else { return Ok(Next::Wait) };
            let Some(running) = &mut self.running else {
                return Err(Violation::new("replies", format!("an answer that nobody asked for: {value:?}")));
            };
            running.replies.push(value);
            if running.replies.len() == running.expected {
                return self.on_answered(shared);
            }
        }
    }

    /// The connection broke, or the client did not want to wait any longer: what was not answered is unknown.
    ///
    /// # Errors
    /// As [`Client::on_bytes`].
    pub fn on_connection_lost(&mut self, shared: &mut Shared) -> Result<Next, Violation> {
        self.connection = None;
        if !self.running.as_ref().is_some_and(|running| running.in_flight) {
            return Ok(Next::Wait);
        }
        self.on_answered(shared)
    }

    /// All replies are there that will ever be.
    fn on_answered(&mut self, shared: &mut Shared) -> Result<Next, Violation> {
        let Some(mut running) = self.running.take() else { return Ok(Next::Ready) };
        // From here on no timeout of this attempt counts.
        self.attempt += 1;
        running.in_flight = false;
        let outcome = running.intent.outcome(&running.replies, running.expected);
        shared.counters.add(match outcome {
            Outcome::Done => "client.done",
            Outcome::Refused => "client.refused",
            Outcome::Unknown => "client.unknown",
        });
        match running.replies.last() {
            Some(Value::Error(text)) if text.starts_with("OUTOFBOUNDS") => {
                shared.counters.add("bounded.out_of_bounds");
            }
            Some(Value::Error(text)) if text.starts_with("NORIGHTS") => {
                shared.counters.add("bounded.no_rights")
            }
            _ => {}
        }
        if running.answered.is_some() {
            return Ok(self.on_repeated(running, outcome, shared));
        }
        if let Intent::CompareAndSet { step: Step::Watch | Step::Read, .. } = running.intent {
            return self.on_compared(running, outcome, shared);
        }
        if outcome != Outcome::Done && self.shall_retry(&running, outcome, shared) {
            if running.insist && !running.intent.is_read() && outcome == Outcome::Unknown {
                // A probe without a token: each attempt that may have run stands for itself.
                self.record(&running, outcome, shared)?;
                running.first_invoked = shared.at;
            }
            running.maybe_done |= outcome == Outcome::Unknown;
            self.running = Some(running);
            shared.counters.add("client.retried");
            return Ok(Next::Reconnect);
        }
        let outcome = match outcome {
            Outcome::Refused if running.maybe_done && !running.insist => Outcome::Unknown,
            outcome => outcome,
        };
        self.record(&running, outcome, shared)?;
        if outcome == Outcome::Done && running.intent.token().is_some() && self.random.chance(200) {
            running.answered = running.replies.last().cloned();
            self.running = Some(running);
            shared.counters.add("client.repeated");
            return Ok(Next::Reconnect);
        }
        Ok(Next::Ready)
    }

    fn record(&self, running: &Running, outcome: Outcome, shared: &mut Shared) -> Result<(), Violation> {
        let interval = Interval::new(running.first_invoked, shared.at);
        let Running { intent, replies, .. } = running;
        intent.record(interval, outcome, replies, shared.wall_trusted, shared.history)?;
        if shared.sessions {
            intent.record_session(self.session, interval, outcome, replies, shared.history)?;
        }
        match replies.last() {
            Some(reply) if running.last && outcome == Outcome::Done => {
                intent.record_last(reply, shared.history)
            }
            _ => Ok(()),
        }
    }

    fn shall_retry(&self, running: &Running, outcome: Outcome, shared: &Shared) -> bool {
        let patient = shared.at < running.first_invoked + TOKEN_PATIENCE;
        let uncertain = outcome == Outcome::Unknown || running.maybe_done;
        // Tokens have no meaning there: to ask again is of no use.
        let is_misuse =
            matches!(running.replies.last(), Some(Value::Error(text)) if text.starts_with("ERR "));
        running.insist || (running.intent.token().is_some() && uncertain && patient && !is_misuse)
    }

    /// An operation that had been done was sent again under its token.
    fn on_repeated(&mut self, running: Running, outcome: Outcome, shared: &mut Shared) -> Next {
        if outcome == Outcome::Done && running.answered.as_ref() != running.replies.last() {
            let (first, second) = (&running.answered, running.replies.last());
            let text = format!(
                "{:?} was answered with {first:?}, and when sent again with {second:?}",
                running.intent
            );
            let key = running.intent.key_of_token().cloned().unwrap_or_default();
            shared.history.repeated_otherwise.insert(key, text);
        }
        Next::Ready
    }

    /// A step before the last of a compare-and-set was answered: now the next, on the same connection.
    fn on_compared(
        &mut self,
        running: Running,
        outcome: Outcome,
        shared: &mut Shared,
    ) -> Result<Next, Violation> {
        let Intent::CompareAndSet { key, value, step } = running.intent else { return Ok(Next::Ready) };
        if outcome != Outcome::Done || self.connection.is_none() {
            // The connection may be watching the key: no other transaction must depend on that.
            self.connection = None;
            return Ok(Next::Ready);
        }
        let step = match (step, running.replies.last()) {
            (Step::Read, Some(reply)) => Step::Write { expected: intent::optional_value(reply)? },
            _ => Step::Read,
        };
        self.running = Some(Running {
            intent: Intent::CompareAndSet { key, value, step },
            first_invoked: shared.at,
            replies: Vec::new(),
            ..running
        });
        Ok(self.attempt().map_or(Next::Ready, Next::Send))
    }
}
