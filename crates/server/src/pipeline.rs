//! The answers of one connection, in the order of its commands.
//!
//! Every command takes a place in the line. Its reply may come at once or, from a shard, much later and after those of
//! commands behind it; bytes go into the output only from the front of the line. The driver completes places; the
//! connection flushes the output and is woken when there is something to flush or room for more commands.
//!
//! Bounds: replies are encoded only while the output is short, since a value in the line is most often shared with the
//! table and its encoding never is; [`Pipeline::reply_bytes`] says what all replies hold, those included that stand behind
//! a command without an answer, so that the connection stops taking commands.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use data::route::Gather;
use replication::PartitionId;
use replication::consistency::Seen;
use replication::contract::Reply;
use resp::{Protocol, Value};

/// A pipeline shared by its connection and the driver.
pub type Shared = Rc<RefCell<Pipeline>>;

/// The place of a command in the line of its connection.
pub type Place = u64;

/// Replies are encoded ahead of the client's reading up to about this many bytes.
pub const ENCODE_BYTES: usize = 1 << 20;
/// What a reply holds beside its payload.
const VALUE_BYTES: usize = size_of::<Value>();

/// What is made of a command's reply, or of the replies of its parts.
#[derive(Debug)]
pub enum Finish {
    /// It is the reply.
    Plain,
    /// The parts' replies are joined.
    Gather(Gather),
    /// `SCAN` of one partition; at its end the cursor goes on there (`None`: the scan is over).
    Scan { next: Option<data::Home> },
    /// `EXEC`: replies of commands that the server answered itself are put in at these places, rising.
    Transaction { local: Vec<(usize, Value)> },
    /// `WATCH`: the reply is kept for the connection ([`Pipeline::take_fingerprints`]).
    Watch,
}

/// How a command's reply is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// The protocol that the connection spoke when the command came.
    pub protocol: Protocol,
    /// `CLIENT REPLY` says that it is not wanted.
    pub silent: bool,
}

#[derive(Debug)]
enum State {
    /// Known, waiting for those in front.
    Ready(Value),
    /// Some parts are missing.
    Waiting { gather: Gather, replies: Vec<Option<(Value, Outcome)>>, missing: u32 },
    /// The one part is missing.
    WaitingForOne { finish: Finish },
}

#[derive(Debug)]
struct Entry {
    manner: Manner,
    is_write: bool,
    /// What the command holds while it is under way.
    bytes: usize,
    /// What its replies hold that have come.
    reply_bytes: usize,
    /// When it came, of the few whose time is taken.
    since: Option<Instant>,
    state: State,
}

/// What became of a reply, for the statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Done,
    /// Refused.
    Refused,
    /// Unknown.
    Unknown,
}

/// The line.
#[derive(Debug, Default)]
pub struct Pipeline {
    first: Place,
    entries: VecDeque<Entry>,
    output: BytesMut,
    in_flight: usize,
    in_flight_bytes: usize,
    /// The sum of the entries' replies.
    ready_bytes: usize,
    fingerprints: Option<Value>,
    /// What replies told since it was taken: what the session has seen of which group.
    pub seen: Vec<(PartitionId, Seen)>,
    waker: Option<Waker>,
    abandoned: bool,
    /// Commands that waited for partitions so far.
    waited: u32,
    /// How long commands took whose time was taken, since it was looked at: a write, or not.
    pub took: Vec<(bool, Duration)>,
}

/// Of so many commands the time of one is taken.
const TIMED: u32 = 16;

impl Pipeline {
    /// An empty line.
    pub fn shared() -> Shared {
        Rc::default()
    }

    /// Takes the next place, for a command whose reply is known already.
    pub fn ready(&mut self, manner: Manner, reply: Value) {
        if manner.silent {
            return;
        }
        if self.entries.is_empty() {
            resp::encode(&reply, manner.protocol, &mut self.output);
        } else {
            let reply_bytes = value_bytes(&reply);
            self.ready_bytes += reply_bytes;
            let state = State::Ready(reply);
            self.entries.push_back(Entry {
                manner,
                is_write: false,
                bytes: 0,
                reply_bytes,
                since: None,
                state,
            });
        }
    }

    /// Takes the next place, for a command whose reply comes in `parts` parts. `bytes` is what the command holds in
    /// memory while it is under way.
    pub fn wait(
        &mut self,
        manner: Manner,
        finish: Finish,
        parts: usize,
        is_write: bool,
        bytes: usize,
    ) -> Place {
        let state = match finish {
            Finish::Gather(gather) => {
                State::Waiting { gather, replies: vec![None; parts], missing: parts as u32 }
            }
            finish => State::WaitingForOne { finish },
        };
        self.in_flight += 1;
        self.in_flight_bytes += bytes;
        let place = self.first + self.entries.len() as u64;
        self.waited = self.waited.wrapping_add(1);
        let since = (self.waited % TIMED == 1).then(Instant::now);
        self.entries.push_back(Entry { manner, is_write, bytes, reply_bytes: 0, since, state });
        place
    }

    /// The last command waits on purpose: its time says nothing.
    pub fn untimed(&mut self) {
        if let Some(entry) = self.entries.back_mut() {
            entry.since = None;
        }
    }

    /// A part's reply has come. Wakes the connection if that makes a difference to it.
    pub fn complete(&mut self, place: Place, part: u32, reply: Reply) -> Outcome {
        let (value, outcome) = reply_value(reply);
        if place < self.first || self.abandoned {
            return outcome;
        }
        let index = (place - self.first) as usize;
        let Some(entry) = self.entries.get_mut(index) else {
            return outcome;
        };
        match &mut entry.state {
            State::Ready(_) => return outcome,
            State::WaitingForOne { finish } => {
                let finish = std::mem::replace(finish, Finish::Plain);
                let reply = finish_one(finish, value, &mut self.fingerprints);
                self.ready_bytes += entry.become_ready(reply);
            }
            State::Waiting { gather, replies, missing } => {
                let Some(empty) = replies.get_mut(part as usize).filter(|reply| reply.is_none()) else {
                    return outcome;
                };
                let bytes = value_bytes(&value);
                entry.reply_bytes += bytes;
                self.ready_bytes += bytes;
                *empty = Some((value, outcome));
                *missing -= 1;
                if *missing > 0 {
                    return outcome;
                }
                let replies = std::mem::take(replies).into_iter().flatten().collect();
                let reply = join(gather, replies, entry.is_write);
                self.ready_bytes -= entry.reply_bytes;
                self.ready_bytes += entry.become_ready(reply);
            }
        }
        self.in_flight -= 1;
        self.in_flight_bytes -= entry.bytes;
        if let Some(since) = entry.since {
            self.took.push((entry.is_write, since.elapsed()));
        }
        if index == 0 {
            self.advance();
            self.wake();
        }
        outcome
    }

    /// Encodes what is ready at the front of the line, while the output is short. To be called again once the output was
    /// flushed.
    pub fn advance(&mut self) {
        while self.output.len() < ENCODE_BYTES
            && let Some(Entry { state: State::Ready(_), .. }) = self.entries.front()
        {
            let Some(entry) = self.entries.pop_front() else { break };
            self.first += 1;
            self.ready_bytes -= entry.reply_bytes;
            if let (State::Ready(reply), false) = (entry.state, entry.manner.silent) {
                resp::encode(&reply, entry.manner.protocol, &mut self.output);
            }
        }
    }

    /// Has the connection's task polled again.
    pub fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Whom to wake.
    pub fn set_waker(&mut self, waker: &Waker) {
        if self.waker.as_ref().is_none_or(|known| !known.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
    }

    /// Commands whose replies have not come.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Bytes of those commands.
    pub fn in_flight_bytes(&self) -> usize {
        self.in_flight_bytes
    }

    /// Commands in the line, answered or not.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// What the replies hold that were not sent: the encoded ones, and about what those do that stand in the line.
    pub fn reply_bytes(&self) -> usize {
        self.output.len() + self.ready_bytes
    }

    /// Has every command been answered into the output?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Encoded replies to be sent.
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// What the partition said to the last `WATCH`.
    pub fn take_fingerprints(&mut self) -> Option<Value> {
        self.fingerprints.take()
    }

    /// Is the connection gone?
    pub fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// The connection is gone: whatever still comes is dropped.
    pub fn abandon(&mut self) {
        self.abandoned = true;
        self.entries.clear();
        self.ready_bytes = 0;
        self.waker = None;
        self.output = BytesMut::new();
    }
}

impl Entry {
    /// The reply is complete; returns what it holds. Nothing is kept of one that nobody wants.
    fn become_ready(&mut self, reply: Value) -> usize {
        let reply = if self.manner.silent { Value::Null } else { reply };
        self.reply_bytes = value_bytes(&reply);
        self.state = State::Ready(reply);
        self.reply_bytes
    }
}

/// What a value holds in memory, about.
fn value_bytes(value: &Value) -> usize {
    let payload = match value {
        Value::Simple(text) | Value::Error(text) | Value::BigNumber(text) => text.len(),
        Value::Bulk(bytes) | Value::Verbatim(_, bytes) => bytes.len(),
        Value::Array(values) | Value::Set(values) | Value::Push(values) => {
            values.iter().map(value_bytes).sum()
        }
        Value::Map(pairs) | Value::Pairs(pairs) => {
            pairs.iter().map(|(key, value)| value_bytes(key) + value_bytes(value)).sum()
        }
        Value::Integer(_) | Value::Null | Value::NullArray | Value::Double(_) | Value::Boolean(_) => 0,
    };
    VALUE_BYTES + payload
}

/// How a reply of the core is said to a client: an error that begins with `UNKNOWN` may have taken effect, every other
/// has not.
fn reply_value(reply: Reply) -> (Value, Outcome) {
    match reply {
        Reply::Done(value) => (value, Outcome::Done),
        Reply::Refused(text) => (Value::error(text), Outcome::Refused),
        Reply::Unknown(text) if text.starts_with("UNKNOWN ") => (Value::error(text), Outcome::Unknown),
        Reply::Unknown(text) => (Value::error(format!("UNKNOWN {text}")), Outcome::Unknown),
    }
}

/// One reply of many. A write of which one part is done (or may be) and another is not is neither done nor refused.
fn join(gather: &Gather, replies: Vec<(Value, Outcome)>, is_write: bool) -> Value {
    let failed =
        replies.iter().find(|(_, outcome)| *outcome != Outcome::Done).map(|(value, _)| value.clone());
    let refused_whole = replies.iter().all(|(_, outcome)| *outcome == Outcome::Refused);
    match failed {
        None => gather.join(replies.into_iter().map(|(value, _)| value).collect()),
        Some(Value::Error(text)) if is_write && !refused_whole && !text.starts_with("UNKNOWN ") => {
            Value::error(format!("UNKNOWN some keys were written and some not: {text}"))
        }
        Some(failure) => failure,
    }
}

fn finish_one(finish: Finish, reply: Value, fingerprints: &mut Option<Value>) -> Value {
    match (finish, reply) {
        (Finish::Scan { next: Some(next) }, Value::Array(mut parts)) => {
            if let Some(Value::Bulk(cursor)) = parts.first_mut()
                && cursor.as_ref() == b"0"
            {
                *cursor = data::route::scan_cursor(next).to_string().into();
            }
            Value::Array(parts)
        }
        (Finish::Transaction { local }, Value::Array(mut replies)) => {
            for (place, reply) in local {
                replies.insert(place.min(replies.len()), reply);
            }
            Value::Array(replies)
        }
        (Finish::Watch, reply) if !reply.is_error() => {
            *fingerprints = Some(reply);
            Value::OK
        }
        (_, reply) => reply,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOUD: Manner = Manner { protocol: Protocol::Resp2, silent: false };
    const SILENT: Manner = Manner { protocol: Protocol::Resp2, silent: true };

    fn text(pipeline: &mut Pipeline) -> String {
        String::from_utf8_lossy(&pipeline.output().split()).into_owned()
    }

    fn done(number: i64) -> Reply {
        Reply::Done(Value::Integer(number))
    }

    #[test]
    fn replies_leave_in_the_order_of_the_commands() {
        let mut pipeline = Pipeline::default();
        let first = pipeline.wait(LOUD, Finish::Plain, 1, true, 10);
        let second = pipeline.wait(LOUD, Finish::Plain, 1, false, 10);
        pipeline.ready(LOUD, Value::Integer(3));
        let fourth = pipeline.wait(LOUD, Finish::Plain, 1, false, 10);
        assert_eq!((pipeline.in_flight(), pipeline.in_flight_bytes()), (3, 30));
        pipeline.complete(second, 0, done(2));
        assert_eq!(text(&mut pipeline), "", "the first is missing");
        pipeline.complete(first, 0, done(1));
        assert_eq!(text(&mut pipeline), ":1\r\n:2\r\n:3\r\n");
        pipeline.complete(fourth, 0, done(4));
        assert_eq!(text(&mut pipeline), ":4\r\n");
        assert_eq!((pipeline.in_flight(), pipeline.in_flight_bytes()), (0, 0));
        assert!(pipeline.is_empty());
    }

    #[test]
    fn silent_commands_hold_their_place_and_say_nothing() {
        let mut pipeline = Pipeline::default();
        pipeline.ready(SILENT, Value::OK);
        let waiting = pipeline.wait(SILENT, Finish::Plain, 1, false, 0);
        pipeline.ready(LOUD, Value::OK);
        assert_eq!(text(&mut pipeline), "");
        pipeline.complete(waiting, 0, done(1));
        assert_eq!(text(&mut pipeline), "+OK\r\n");
    }

    #[test]
    fn a_second_reply_for_a_place_is_ignored() {
        let mut pipeline = Pipeline::default();
        let first = pipeline.wait(LOUD, Finish::Plain, 1, false, 5);
        let second = pipeline.wait(LOUD, Finish::Plain, 1, false, 5);
        pipeline.complete(second, 0, done(2));
        pipeline.complete(second, 0, done(9));
        pipeline.complete(first, 0, done(1));
        pipeline.complete(first, 0, done(9));
        assert_eq!(text(&mut pipeline), ":1\r\n:2\r\n");
        assert_eq!(pipeline.in_flight(), 0);
    }

    #[test]
    fn unknown_is_said_once_and_refused_as_it_is() {
        let mut pipeline = Pipeline::default();
        for reply in [
            Reply::Unknown("the leader changed".into()),
            Reply::Unknown("UNKNOWN the leader changed".into()),
            Reply::Refused("CLUSTERDOWN no leader".into()),
        ] {
            let place = pipeline.wait(LOUD, Finish::Plain, 1, true, 0);
            pipeline.complete(place, 0, reply);
        }
        let unknown = "-UNKNOWN the leader changed\r\n";
        assert_eq!(text(&mut pipeline), format!("{unknown}{unknown}-CLUSTERDOWN no leader\r\n"));
    }

    /// What a write over two partitions says, by what its parts say.
    #[test]
    fn a_write_that_is_partly_done_is_never_called_refused() {
        let refused = || Reply::Refused("CLUSTERDOWN no leader".into());
        let ok = || Reply::Done(Value::OK);
        let said = |is_write: bool, one: Reply, other: Reply| {
            let mut pipeline = Pipeline::default();
            let place = pipeline.wait(LOUD, Finish::Gather(Gather::AllOk), 2, is_write, 0);
            pipeline.complete(place, 1, other);
            assert_eq!(pipeline.in_flight(), 1);
            pipeline.complete(place, 0, one);
            text(&mut pipeline)
        };
        assert!(said(true, ok(), refused()).starts_with("-UNKNOWN "));
        assert!(said(true, refused(), ok()).starts_with("-UNKNOWN "));
        assert!(said(true, refused(), Reply::Unknown("timeout".into())).starts_with("-UNKNOWN "));
        assert_eq!(said(true, refused(), refused()), "-CLUSTERDOWN no leader\r\n");
        assert_eq!(said(false, ok(), refused()), "-CLUSTERDOWN no leader\r\n");
    }

    #[test]
    fn a_scan_goes_on_with_the_next_partition() {
        let mut pipeline = Pipeline::default();
        let page = |cursor: &'static str| {
            Reply::Done(Value::Array(vec![Value::bulk(cursor), Value::Array(Vec::new())]))
        };
        let home = data::Home { keyspace: 0, slot: 3 };
        let inner = pipeline.wait(LOUD, Finish::Scan { next: Some(home) }, 1, false, 0);
        pipeline.complete(inner, 0, page("77"));
        assert_eq!(text(&mut pipeline), "*2\r\n$2\r\n77\r\n*0\r\n");
        let end = pipeline.wait(LOUD, Finish::Scan { next: Some(home) }, 1, false, 0);
        pipeline.complete(end, 0, page("0"));
        let cursor = data::route::scan_cursor(home).to_string();
        let expected = format!("*2\r\n${}\r\n{cursor}\r\n*0\r\n", cursor.len());
        assert_eq!(text(&mut pipeline), expected);
        let last = pipeline.wait(LOUD, Finish::Scan { next: None }, 1, false, 0);
        pipeline.complete(last, 0, page("0"));
        assert_eq!(text(&mut pipeline), "*2\r\n$1\r\n0\r\n*0\r\n");
    }

    #[test]
    fn replies_of_the_server_take_their_places_in_a_transaction() {
        let mut pipeline = Pipeline::default();
        let local = vec![(0, Value::Integer(0)), (2, Value::Integer(2)), (3, Value::Integer(3))];
        let place = pipeline.wait(LOUD, Finish::Transaction { local: local.clone() }, 1, true, 0);
        pipeline.complete(place, 0, Reply::Done(Value::Array(vec![Value::Integer(1), Value::Integer(4)])));
        assert_eq!(text(&mut pipeline), "*5\r\n:0\r\n:1\r\n:2\r\n:3\r\n:4\r\n");
        let place = pipeline.wait(LOUD, Finish::Transaction { local }, 1, true, 0);
        pipeline.complete(place, 0, Reply::Done(Value::NullArray));
        assert_eq!(text(&mut pipeline), "*-1\r\n", "a watched key changed");
    }

    #[test]
    fn replies_behind_one_that_is_missing_are_counted() {
        let mut pipeline = Pipeline::default();
        let missing = pipeline.wait(LOUD, Finish::Plain, 1, false, 0);
        let gathered = pipeline.wait(LOUD, Finish::Gather(Gather::AllOk), 2, false, 0);
        let silent = pipeline.wait(SILENT, Finish::Plain, 1, false, 0);
        let large = || Reply::Done(Value::Array(vec![Value::bulk(vec![b'v'; 1 << 20])]));
        assert_eq!(pipeline.reply_bytes(), 0);
        pipeline.complete(gathered, 0, large());
        assert!(pipeline.reply_bytes() > 1 << 20, "a part alone holds memory");
        pipeline.complete(gathered, 1, large());
        assert!(
            pipeline.reply_bytes() < 1 << 10,
            "the parts are joined to an OK: {}",
            pipeline.reply_bytes()
        );
        pipeline.complete(silent, 0, large());
        assert!(pipeline.reply_bytes() < 1 << 10, "nobody wants it");
        pipeline.ready(LOUD, Value::bulk(vec![b'v'; 1000]));
        let last = pipeline.wait(LOUD, Finish::Plain, 1, false, 0);
        pipeline.complete(last, 0, large());
        assert!(pipeline.reply_bytes() > (1 << 20) + 1000);
        assert_eq!((pipeline.len(), pipeline.in_flight()), (5, 1));
        pipeline.complete(missing, 0, done(1));
        assert_eq!((pipeline.len(), pipeline.reply_bytes()), (0, pipeline.output.len()));
        pipeline.output.clear();
        assert_eq!(pipeline.reply_bytes(), 0, "what left is counted no more");
    }

    #[test]
    fn no_more_is_encoded_than_the_client_reads() {
        let mut pipeline = Pipeline::default();
        let value = bytes::Bytes::from(vec![b'v'; 16 << 20]);
        let places: Vec<Place> = (0..50).map(|_| pipeline.wait(LOUD, Finish::Plain, 1, false, 0)).collect();
        for place in places {
            pipeline.complete(place, 0, Reply::Done(Value::Bulk(value.clone())));
        }
        pipeline.ready(LOUD, Value::Integer(7));
        for unread in (1..=50).rev() {
            let output = pipeline.output().split();
            assert_eq!((output.len(), pipeline.len()), (value.len() + "$16777216\r\n\r\n".len(), unread));
            drop(output);
            pipeline.advance();
        }
        assert_eq!((text(&mut pipeline).as_str(), pipeline.len(), pipeline.reply_bytes()), (":7\r\n", 0, 0));
    }

    #[test]
    fn an_abandoned_line_takes_replies_and_drops_them() {
        let mut pipeline = Pipeline::default();
        let place = pipeline.wait(LOUD, Finish::Plain, 1, false, 0);
        pipeline.abandon();
        pipeline.complete(place, 0, done(1));
        assert!(pipeline.output().is_empty());
    }
}
