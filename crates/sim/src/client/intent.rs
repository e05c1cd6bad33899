//! What a client wants: the commands it sends for it and what it makes of the answers.

use bytes::{Bytes, BytesMut};
use replication::consistency::Consistency;
use resp::Value;

use crate::clock::MILLISECOND;
use crate::history::register::Operation;
use crate::history::{History, Interval, counter, list, session};
use crate::oracle::Violation;

/// One thing that a client wants done.
#[derive(Clone, Debug)]
pub enum Intent {
    /// `SET`, perhaps with a time to live.
    Set { key: String, value: u64, ttl_ms: Option<u64> },
    /// `SET ... NX`.
    SetIfAbsent { key: String, value: u64, ttl_ms: Option<u64> },
    /// `GET`.
    Get { key: String },
    /// `GETSET`.
    GetSet { key: String, value: u64 },
    /// `DEL`.
    Delete { key: String },
    /// `PEXPIRE`.
    Expire { key: String, ttl_ms: u64 },
    /// `PERSIST`.
    Persist { key: String },
    /// `MSET` over any partitions.
    MSet { pairs: Vec<(String, u64)> },
    /// `MGET` over any partitions.
    MGet { keys: Vec<String> },
    /// `INCR`; with a token, so that it may be sent again.
    Increment { key: String, token: Option<String> },
    /// `INCRBY`, or `DECRBY` of what must not fall below zero.
    Change { key: String, amount: i64 },
    /// `GET` of a counter.
    ReadCounter { key: String },
    /// `APPEND`; with a token, so that it may be sent again.
    Append { key: String, element: String, token: Option<String> },
    /// The same at a level of consistency, so many times in one go.
    ReadAt { key: String, level: Consistency, times: usize },
    /// `GET` of a list.
    ReadList { key: String },
    /// Two keys of one slot get one value together: by `MULTI ... EXEC` or by `MSET`.
    PairWrite { tag: String, value: u64, transaction: bool },
    /// Two keys of one slot are read together: by `MULTI ... EXEC` or by `MGET`.
    PairRead { tag: String, transaction: bool },
    /// `WATCH`; then `GET`; then `MULTI`, `SET`, `EXEC`.
    CompareAndSet { key: String, value: u64, step: Step },
    /// `SET` and `GET` of a key of one's own, sent in one go: the read must see the write.
    Pipeline { key: String, value: u64 },
}

/// Where a compare-and-set stands.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// The key is to be watched.
    Watch,
    /// It is to be read.
    Read,
    /// It is to be written if it still holds this.
    Write { expected: Option<u64> },
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Done,
    /// It did not happen and never will.
    Refused,
    /// It may have happened.
    Unknown,
}

/// What one reply says about the outcome. None (the connection broke, or nobody waited) says nothing.
pub fn outcome_of(reply: Option<&Value>) -> Outcome {
    match reply {
        None => Outcome::Unknown,
        Some(Value::Error(text)) if text.starts_with("UNKNOWN") => Outcome::Unknown,
        Some(Value::Error(_)) => Outcome::Refused,
        Some(_) => Outcome::Done,
    }
}

/// The bytes that stand for a unique value: the number and a filling whose length and content follow from it, so that
/// values differ in size and damage shows.
pub fn value_text(value: u64) -> String {
    let mut mixed = value;
    let spread = crate::random::splitmix(&mut mixed);
    let length = if spread.is_multiple_of(23) { 700 + spread % 900 } else { spread % 90 } as usize;
    let filling = char::from(b'a' + (spread >> 32) as u8 % 26);
    format!("{value}:{}", String::from(filling).repeat(length))
}

/// The number that these bytes stand for.
fn value_number(bytes: &[u8]) -> Result<u64, Violation> {
    let text = String::from_utf8_lossy(bytes);
    let number = text.split(':').next().and_then(|number| number.parse().ok());
    match number {
        Some(number) if value_text(number) == text => Ok(number),
        _ => Err(Violation::new("value", format!("{text:?} was never written by anyone"))),
    }
}

fn command(parts: &[&str]) -> Vec<Bytes> {
    parts.iter().map(|part| Bytes::copy_from_slice(part.as_bytes())).collect()
}

/// Appends a request to `out` as a client sends it.
pub fn encode_request(arguments: &[Bytes], out: &mut BytesMut) {
    out.extend_from_slice(format!("*{}\r\n", arguments.len()).as_bytes());
    for argument in arguments {
        out.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        out.extend_from_slice(argument);
        out.extend_from_slice(b"\r\n");
    }
}

fn with_token(token: Option<&String>, mut rest: Vec<Bytes>) -> Vec<Bytes> {
    if let Some(token) = token {
        rest.splice(0..0, command(&["IDEMPOTENT", token]));
    }
    rest
}

fn pair(tag: &str) -> (String, String) {
    (format!("{{{tag}}}a"), format!("{{{tag}}}b"))
}

/// In what a counter is kept, or a list (a string or a list). The name of the key says it, so that nothing has to be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Plain,
    Hash,
    SortedSet,
}

impl Held {
    /// Keys are a letter, a number, and more.
    fn of(key: &str) -> Held {
        match key.as_bytes().get(1).copied().unwrap_or(b'0') % 3 {
            0 => Held::Plain,
            1 => Held::Hash,
            _ => Held::SortedSet,
        }
    }
}

impl Intent {
    /// The commands to send in one go.
    pub fn commands(&self) -> Vec<Vec<Bytes>> {
        let set = |key: &str, value: u64, ttl: &Option<u64>, condition: &[&str]| {
            let mut arguments = command(&["SET", key, &value_text(value)]);
            if let Some(ttl) = ttl {
                arguments.extend(command(&["PX", &ttl.to_string()]));
            }
            arguments.extend(command(condition));
            arguments
        };
        match self {
            Intent::Set { key, value, ttl_ms } => vec![set(key, *value, ttl_ms, &[])],
            Intent::SetIfAbsent { key, value, ttl_ms } => vec![set(key, *value, ttl_ms, &["NX"])],
            Intent::Get { key } => vec![command(&["GET", key])],
            Intent::ReadCounter { key } => vec![match Held::of(key) {
                Held::Plain => command(&["GET", key]),
                Held::Hash => command(&["HGET", key, "n"]),
                Held::SortedSet => command(&["ZSCORE", key, "n"]),
            }],
            Intent::ReadAt { key, level, times } => {
                let level = format!("CLIENT CONSISTENCY {}", level.name());
                let read = Intent::ReadCounter { key: key.clone() }.commands();
                let reads = std::iter::repeat_n(read, *times).flatten();
                std::iter::once(command(&level.split(' ').collect::<Vec<_>>())).chain(reads).collect()
            }
            Intent::ReadList { key } => vec![match Held::of(key) {
                Held::Plain => command(&["GET", key]),
                _ => command(&["LRANGE", key, "0", "-1"]),
            }],
            Intent::GetSet { key, value } => vec![command(&["GETSET", key, &value_text(*value)])],
            Intent::Delete { key } => vec![command(&["DEL", key])],
            Intent::Expire { key, ttl_ms } => vec![command(&["PEXPIRE", key, &ttl_ms.to_string()])],
            Intent::Persist { key } => vec![command(&["PERSIST", key])],
            Intent::MSet { pairs } => {
                let mut arguments = command(&["MSET"]);
                for (key, value) in pairs {
                    arguments.extend(command(&[key, &value_text(*value)]));
                }
                vec![arguments]
            }
            Intent::MGet { keys } => {
                let mut arguments = command(&["MGET"]);
                arguments.extend(keys.iter().map(|key| Bytes::copy_from_slice(key.as_bytes())));
                vec![arguments]
            }
            Intent::Increment { key, token } => {
                let increment = match Held::of(key) {
                    Held::Plain => command(&["INCR", key]),
                    Held::Hash => command(&["HINCRBY", key, "n", "1"]),
                    Held::SortedSet => command(&["ZINCRBY", key, "1", "n"]),
                };
                vec![with_token(token.as_ref(), increment)]
            }
            Intent::Change { key, amount } => {
                let name = if *amount < 0 { "DECRBY" } else { "INCRBY" };
                vec![command(&[name, key, &amount.unsigned_abs().to_string()])]
            }
            Intent::Append { key, element, token } => {
                let name = if Held::of(key) == Held::Plain { "APPEND" } else { "RPUSH" };
                vec![with_token(token.as_ref(), command(&[name, key, element]))]
            }
            Intent::PairWrite { tag, value, transaction } => {
                let ((a, b), text) = (pair(tag), value_text(*value));
                match transaction {
                    true => vec![
                        command(&["MULTI"]),
                        command(&["SET", &a, &text]),
                        command(&["SET", &b, &text]),
                        command(&["EXEC"]),
                    ],
                    false => vec![command(&["MSET", &a, &text, &b, &text])],
                }
            }
            Intent::PairRead { tag, transaction } => {
                let (a, b) = pair(tag);
                match transaction {
                    true => vec![
                        command(&["MULTI"]),
                        command(&["GET", &a]),
                        command(&["GET", &b]),
                        command(&["EXEC"]),
                    ],
                    false => vec![command(&["MGET", &a, &b])],
                }
            }
            Intent::CompareAndSet { key, step: Step::Watch, .. } => vec![command(&["WATCH", key])],
            Intent::CompareAndSet { key, step: Step::Read, .. } => vec![command(&["GET", key])],
            Intent::CompareAndSet { key, value, .. } => {
                vec![command(&["MULTI"]), set(key, *value, &None, &[]), command(&["EXEC"])]
            }
            Intent::Pipeline { key, value } => vec![set(key, *value, &None, &[]), command(&["GET", key])],
        }
    }

    /// The name under which it is counted.
    pub fn name(&self) -> &'static str {
        match self {
            Intent::Set { .. } => "operation.set",
            Intent::SetIfAbsent { .. } => "operation.set_if_absent",
            Intent::Get { .. } => "operation.get",
            Intent::GetSet { .. } => "operation.getset",
            Intent::Delete { .. } => "operation.delete",
            Intent::Expire { .. } | Intent::Persist { .. } => "operation.expire",
            Intent::MSet { .. } => "operation.mset",
            Intent::MGet { .. } => "operation.mget",
            Intent::Increment { .. } => "operation.increment",
            Intent::Append { .. } => "operation.append",
            Intent::Change { amount, .. } if *amount < 0 => "operation.take",
            Intent::Change { .. } => "operation.give",
            Intent::ReadAt { level: Consistency::Strong, .. } => "operation.read_strong",
            Intent::ReadAt { level: Consistency::Bounded(_), .. } => "operation.read_bounded",
            Intent::ReadAt { level: Consistency::Session, .. } => "operation.read_session",
            Intent::ReadAt { level: Consistency::Eventual, .. } => "operation.read_eventual",
            Intent::ReadCounter { .. } | Intent::ReadList { .. } => "operation.read",
            Intent::PairWrite { .. } => "operation.pair_write",
            Intent::PairRead { .. } => "operation.pair_read",
            Intent::CompareAndSet { .. } => "operation.compare_and_set",
            Intent::Pipeline { .. } => "operation.pipeline",
        }
    }

    /// The token under which it may be sent again.
    pub fn token(&self) -> Option<&String> {
        match self {
            Intent::Increment { token, .. } | Intent::Append { token, .. } => token.as_ref(),
            _ => None,
        }
    }

    /// The key that it writes to under a token.
    pub fn key_of_token(&self) -> Option<&String> {
        match self {
            Intent::Increment { key, token: Some(_) } | Intent::Append { key, token: Some(_), .. } => {
                Some(key)
            }
            _ => None,
        }
    }

    /// Is it a read and nothing else?
    pub fn is_read(&self) -> bool {
        matches!(
            self,
            Intent::Get { .. }
                | Intent::MGet { .. }
                | Intent::ReadCounter { .. }
                | Intent::ReadAt { .. }
                | Intent::ReadList { .. }
                | Intent::PairRead { .. }
        )
    }

    /// Writes down what a session did with a counter.
    ///
    /// # Errors
    /// A reply is no number.
    pub fn record_session(
        &self,
        session: u64,
        interval: Interval,
        outcome: Outcome,
        replies: &[Value],
        history: &mut History,
    ) -> Result<(), Violation> {
        let (key, level, replies) = match self {
            Intent::ReadAt { key, level, .. } => (key, Some(*level), replies.get(1..).unwrap_or_default()),
            Intent::Increment { key, .. } if outcome != Outcome::Refused => (key, None, replies),
            _ => return Ok(()),
        };
        let steps = history.sessions.entry(key.clone()).or_default();
        let step = |value| session::Step { session, interval, level, value };
        if level.is_none() && outcome == Outcome::Unknown {
            steps.push(step(None));
            return Ok(());
        }
        for reply in replies.iter().filter(|reply| !matches!(reply, Value::Error(_))) {
            let value = if level.is_none() { counted(reply)? } else { counter_value(reply)? };
            steps.push(step(Some(value)));
        }
        Ok(())
    }

    /// How the whole ended, by the last reply: in a transaction that of `EXEC`.
    pub fn outcome(&self, replies: &[Value], expected: usize) -> Outcome {
        match self {
            Intent::Pipeline { .. } => outcome_of(replies.first()),
            _ if replies.len() < expected => Outcome::Unknown,
            _ => outcome_of(replies.last()),
        }
    }

    /// Writes down what the client saw. `wall_trusted`: clocks are right, so that nothing may expire before its time.
    ///
    /// # Errors
    /// The answer is nothing that was ever written, or not of the kind that the command gives.
    pub fn record(
        &self,
        interval: Interval,
        outcome: Outcome,
        replies: &[Value],
        wall_trusted: bool,
        history: &mut History,
    ) -> Result<(), Violation> {
        let sure = outcome == Outcome::Done;
        if outcome == Outcome::Refused && !matches!(self, Intent::Append { .. }) {
            return Ok(());
        }
        if !sure && self.is_read() {
            return Ok(());
        }
        let interval = if sure { interval } else { Interval::open(interval.invoked) };
        let reply = replies.last().unwrap_or(&Value::Null);
        let lives_until = |ttl_ms: u64| match wall_trusted {
            true => interval.invoked + ttl_ms.saturating_sub(2) * MILLISECOND,
            false => 0,
        };
        let answer = |sure: bool, truth: &dyn Fn() -> Result<bool, Violation>| {
            if sure { truth().map(Some) } else { Ok(None) }
        };
        let mut register = |key: &String, operation| {
            history.registers.entry(key.clone()).or_default().push((interval, operation))
        };
        match self {
            Intent::Set { key, value, ttl_ms } => {
                expect(reply, !sure || *reply == Value::OK)?;
                register(key, Operation::Write { value: *value, lives_until: ttl_ms.map(lives_until) });
            }
            Intent::SetIfAbsent { key, value, ttl_ms } => {
                let set = answer(sure, &|| match reply {
                    Value::Null => Ok(false),
                    reply => expect(reply, *reply == Value::OK).map(|()| true),
                })?;
                register(
                    key,
                    Operation::WriteIfAbsent { value: *value, lives_until: ttl_ms.map(lives_until), set },
                );
            }
            Intent::Get { key } => register(key, Operation::Read { value: optional_value(reply)? }),
            Intent::GetSet { key, value } => {
                let old = if sure { Some(optional_value(reply)?) } else { None };
                register(key, Operation::Swap { value: *value, old });
            }
            Intent::Delete { key } => {
                register(key, Operation::Delete { found: answer(sure, &|| flag(reply))? });
            }
            Intent::Expire { key, ttl_ms } => {
                let found = answer(sure, &|| flag(reply))?;
                register(key, Operation::Expire { lives_until: lives_until(*ttl_ms), found });
            }
            Intent::Persist { key } => {
                register(key, Operation::Persist { found: answer(sure, &|| flag(reply))? });
            }
            Intent::MSet { pairs } => {
                expect(reply, !sure || *reply == Value::OK)?;
                for (key, value) in pairs {
                    register(key, Operation::Write { value: *value, lives_until: None });
                }
            }
            Intent::MGet { keys } => {
                for (key, value) in keys.iter().zip(array(reply, keys.len())?) {
                    register(key, Operation::Read { value: optional_value(value)? });
                }
            }
            Intent::Increment { key, .. } => {
                let counter = history.counters.entry(key.clone()).or_default();
                match sure {
                    true => counter.increments.push((interval, counted(reply)?)),
                    false => counter.unknown.push(interval.invoked),
                }
            }
            Intent::Change { .. } if sure => {
                // It is not below zero.
                integer(reply)?;
            }
            Intent::Change { .. } => {}
            Intent::Append { key, element, .. } => {
                let outcome = match outcome {
                    Outcome::Done if Held::of(key) == Held::Plain => list::Outcome::Done(integer(reply)?),
                    Outcome::Done => list::Outcome::Counted(integer(reply)?),
                    Outcome::Refused => list::Outcome::Refused,
                    Outcome::Unknown => list::Outcome::Unknown,
                };
                let list = history.lists.entry(key.clone()).or_default();
                list.appends.push((interval, element.clone(), outcome));
            }
            Intent::ReadCounter { key } => {
                let counter: &mut counter::History = history.counters.entry(key.clone()).or_default();
                counter.reads.push((interval, counter_value(reply)?));
            }
            // See `Intent::record_session`.
            Intent::ReadAt { .. } => {}
            Intent::ReadList { key } => {
                let list = history.lists.entry(key.clone()).or_default();
                list.reads.push((interval, list_text(reply)?));
            }
            Intent::PairWrite { tag, value, .. } => {
                register(tag, Operation::Write { value: *value, lives_until: None });
            }
            Intent::PairRead { tag, .. } => {
                let values = array(reply, 2)?;
                let (a, b) = (optional_value(&values[0])?, optional_value(&values[1])?);
                if a != b {
                    let text =
                        format!("{tag}: one read saw {a:?} and {b:?}, which are only written together");
                    return Err(Violation::new("atomicity", text));
                }
                register(tag, Operation::Read { value: a });
            }
            Intent::CompareAndSet { key, value, step: Step::Write { expected } } => {
                if *reply != Value::NullArray || !sure {
                    register(key, Operation::CompareAndSet { expected: *expected, value: *value });
                }
            }
            Intent::CompareAndSet { .. } => {}
            Intent::Pipeline { key, value } => {
                register(key, Operation::Write { value: *value, lives_until: None });
                if let [_, read] = replies
                    && outcome_of(Some(read)) == Outcome::Done
                {
                    let seen = optional_value(read)?;
                    if sure && seen != Some(*value) {
                        let text =
                            format!("{key}: a read sent right after the write of {value} saw {seen:?}");
                        return Err(Violation::new("read your writes", text));
                    }
                }
            }
        }
        Ok(())
    }

    /// The last look at a key: writes down what it ended with.
    ///
    /// # Errors
    /// As [`Intent::record`].
    pub fn record_last(&self, reply: &Value, history: &mut History) -> Result<(), Violation> {
        match self {
            Intent::ReadCounter { key } => {
                history.counters.entry(key.clone()).or_default().last = Some(counter_value(reply)?);
            }
            Intent::ReadList { key } => {
                history.lists.entry(key.clone()).or_default().last = Some(list_text(reply)?);
            }
            _ => {}
        }
        Ok(())
    }
}

fn expect(reply: &Value, holds: bool) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation::new("reply", format!("unexpected answer {reply:?}"))) }
}

/// The value of a register as `GET` and its kin answer it.
pub fn optional_value(reply: &Value) -> Result<Option<u64>, Violation> {
    match reply {
        Value::Null => Ok(None),
        Value::Bulk(bytes) => value_number(bytes).map(Some),
        _ => expect(reply, false).map(|()| None),
    }
}

/// What an increment answers: the score of a member as a string.
fn counted(reply: &Value) -> Result<u64, Violation> {
    match reply {
        Value::Bulk(_) => counter_value(reply),
        _ => integer(reply),
    }
}

/// A list as a string: its elements one after another.
fn list_text(reply: &Value) -> Result<String, Violation> {
    match reply {
        Value::Array(elements) => elements.iter().map(text).collect(),
        _ => text(reply),
    }
}

fn counter_value(reply: &Value) -> Result<u64, Violation> {
    let text = text(reply)?;
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| Violation::new("reply", format!("{text:?} is no counter")))
}

fn text(reply: &Value) -> Result<String, Violation> {
    match reply {
        Value::Null => Ok(String::new()),
        Value::Bulk(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
        _ => expect(reply, false).map(|()| String::new()),
    }
}

fn integer(reply: &Value) -> Result<u64, Violation> {
    match reply {
        Value::Integer(number) if *number >= 0 => Ok(*number as u64),
        _ => expect(reply, false).map(|()| 0),
    }
}

fn flag(reply: &Value) -> Result<bool, Violation> {
    let number = integer(reply)?;
    expect(reply, number <= 1).map(|()| number == 1)
}

fn array(reply: &Value, length: usize) -> Result<&[Value], Violation> {
    match reply {
        Value::Array(values) if values.len() == length => Ok(values),
        _ => Err(Violation::new("reply", format!("{reply:?} instead of {length} values"))),
    }
}
