//! Workloads whose answers are checked one by one: registers, sessions, lists, counters, transactions, expiry.

use std::time::Duration;

use check::expiry::ExpiringInput;
use check::model::{CounterInput, CounterOutput, RegisterInput, RegisterOutput, StringsInput, StringsOutput};
use check::{Operation, Outcome, Text};
use resp::Value;

use super::{Worker, integer, optional};
use crate::verify::client::{Answer, Asked, Client};

/// So many more is the number of the session that goes on where another one's token was lost.
const ANOTHER: u64 = 1_000_000;
/// How long a write with a token is tried again.
const RETRIES: Duration = Duration::from_secs(20);

/// What was done with a token is sent once more after so long: leaders that did it may be gone by then.
const REPEATED_AFTER: Duration = Duration::from_secs(8);
/// So much is waiting for that at the most.
const MOST_REPEATED: usize = 64;

/// A write that was done with a token, and what it was answered.
pub(super) struct Again {
    due: tokio::time::Instant,
    words: Vec<String>,
    reply: Value,
}

fn read(value: Value) -> Result<RegisterOutput, Value> {
    optional(value).map(|value| RegisterOutput::Value(value.map(Text::from)))
}

fn written(value: Value) -> Result<RegisterOutput, Value> {
    match value {
        Value::Simple(_) => Ok(RegisterOutput::Written),
        other => Err(other),
    }
}

fn string(value: Value) -> Result<StringsOutput, Value> {
    match value {
        Value::Integer(length) => Ok(StringsOutput::Length(u64::try_from(length).unwrap_or_default())),
        other => optional(other).map(|value| StringsOutput::Value(value.map(Text::from))),
    }
}

/// The bytes of each piece of a list.
const PIECE_BYTES: usize = 14;
/// The field of a hash that is a counter.
const FIELD: &str = "n";

/// Is the list a list, the counter a field of a hash? Others are strings. The key says it.
fn is_collection(key: &str) -> bool {
    key.ends_with('1')
}

pub(super) fn read_list(key: &str) -> Vec<&str> {
    if is_collection(key) { vec!["LRANGE", key, "0", "-1"] } else { vec!["GET", key] }
}

pub(super) fn read_counter(key: &str) -> Vec<&str> {
    if is_collection(key) { vec!["HGET", key, FIELD] } else { vec!["GET", key] }
}

/// A list as one string; none if it is empty.
pub(super) fn one_string(value: Value) -> Result<Value, Value> {
    let Value::Array(elements) = value else { return Ok(value) };
    let mut whole = Vec::new();
    for element in elements {
        let Value::Bulk(bytes) = element else { return Err(element) };
        whole.extend_from_slice(&bytes);
    }
    Ok(if whole.is_empty() { Value::Null } else { Value::bulk(whole) })
}

impl Worker {
    pub(super) async fn registers(&mut self, hops: &mut [Client]) {
        let key = self.key("r", 4, 900);
        let value = self.unique();
        match self.draw.below(10) {
            _ if !hops.is_empty() => {
                let hop = self.turn as usize % hops.len();
                let asked = self.process.ask_by(&mut hops[hop], &["GET", &key], false).await;
                self.note(|all| &mut all.registers, key, RegisterInput::Read, asked, read);
            }
            0..5 => {
                let asked = self.process.ask(&["GET", &key], false).await;
                self.note(|all| &mut all.registers, key, RegisterInput::Read, asked, read);
            }
            5..8 => {
                let asked = self.process.ask(&["SET", &key, &value], true).await;
                let input = RegisterInput::Write(Some(value.into()));
                self.note(|all| &mut all.registers, key, input, asked, written);
            }
            _ => self.compare_and_set(key, value).await,
        }
    }

    /// With `WATCH`, as Redis' users do it. Values are unique, so the transaction goes ahead only if the key still has the
    /// value that was read. Where it does not, there is nothing to record: it may have changed before it was read.
    async fn compare_and_set(&mut self, key: String, value: String) {
        if !matches!(self.process.client.ask(&["WATCH", &key]).await, Answer::Done(_)) {
            return;
        }
        let asked = self.process.ask(&["GET", &key], false).await;
        let Answer::Done(seen) = asked.answer.clone() else { return };
        self.note(|all| &mut all.registers, key.clone(), RegisterInput::Read, asked, read);
        let Ok(expected) = optional(seen) else { return };
        let asked = self.process.transaction(&[vec!["SET", &key, &value]], true).await;
        if matches!(asked.answer, Answer::Done(Value::Null | Value::NullArray)) {
            return;
        }
        let input =
            RegisterInput::CompareAndSet { expected: expected.map(Text::from), new: Some(value.into()) };
        self.note(
            |all| &mut all.registers,
            key,
            input,
            asked,
            |value| match value {
                Value::Array(_) => Ok(RegisterOutput::Swapped(true)),
                other => Err(other),
            },
        );
    }

    /// Each operation at another node: what the session has seen or done must be known there.
    pub(super) async fn sessions(&mut self, hops: &mut [Client], writing: &mut [Client]) {
        let key = self.key("s", 3, 600);
        let hop = match self.load.stays {
            true => self.place as usize % hops.len(),
            false => self.draw.below(hops.len() as u64) as usize,
        };
        if self.draw.one_in(2) {
            let asked = self.process.ask_by(&mut hops[hop], &["GET", &key], false).await;
            self.note(|all| &mut all.sessions, key, RegisterInput::Read, asked, read);
        } else {
            let value = self.unique();
            let asked = self.process.ask_by(&mut writing[hop], &["SET", &key, &value], true).await;
            let input = RegisterInput::Write(Some(value.into()));
            self.note(|all| &mut all.sessions, key, input, asked, written);
        }
    }

    /// A session that goes from node to node with what it has seen.
    pub(super) async fn carried(&mut self, hops: &mut [Client]) {
        let key = self.key("s", 3, 600);
        let hop = &mut hops[self.draw.below(hops.len() as u64) as usize];
        if !self.token.is_empty()
            && !matches!(
                hop.ask(&["CLIENT", "SESSION", "RESUME", &self.token]).await,
                Answer::Done(Value::Simple(_))
            )
        {
            return;
        }
        if self.draw.one_in(2) {
            let asked = self.process.ask_by(hop, &["GET", &key], false).await;
            self.note(|all| &mut all.sessions, key, RegisterInput::Read, asked, read);
        } else {
            let value = self.unique();
            let asked = self.process.ask_by(hop, &["SET", &key, &value], true).await;
            let input = RegisterInput::Write(Some(value.into()));
            self.note(|all| &mut all.sessions, key, input, asked, written);
        }
        match hop.ask(&["CLIENT", "SESSION", "TOKEN"]).await {
            Answer::Done(Value::Bulk(token)) => self.token = String::from_utf8_lossy(&token).into_owned(),
            // Nobody can say what it has seen: another one begins.
            _ => {
                self.process.number += ANOTHER;
                self.token.clear();
            }
        }
    }

    pub(super) async fn lists(&mut self) {
        let key = self.key("l", 3, 300);
        if self.draw.one_in(2) {
            let asked = self.process.ask(&read_list(&key), false).await;
            self.note(
                |all| &mut all.lists,
                key,
                StringsInput::Get,
                asked,
                |value| string(one_string(value)?),
            );
        } else {
            let number = self.process.number * 1_000_000 + self.turn;
            let piece = format!("{number:0width$} ", width = PIECE_BYTES - 1);
            let name = if is_collection(&key) { "RPUSH" } else { "APPEND" };
            let asked = self.process.ask(&[name, &key, &piece], true).await;
            // All pieces have one length, so the number of elements is one of bytes.
            let unit = if name == "RPUSH" { PIECE_BYTES as i64 } else { 1 };
            self.note(
                |all| &mut all.lists,
                key,
                StringsInput::Append(piece.into()),
                asked,
                |value| match value {
                    Value::Integer(number) => string(Value::Integer(number * unit)),
                    other => string(other),
                },
            );
        }
    }

    /// Half of the additions carry a token and are sent again until their outcome is known; of those that were done, half are sent
    /// once more much later.
    pub(super) async fn counters(&mut self) {
        if self.again.front().is_some_and(|again| again.due <= tokio::time::Instant::now())
            && let Some(again) = self.again.pop_front()
        {
            return self.repeat(again).await;
        }
        let key = self.key("c", 3, 300);
        // Fields of hashes have no bound.
        let key = if self.load.bounded { format!("{key}b") } else { key };
        let sum = |value: Value| integer(value).map(CounterOutput);
        if self.draw.one_in(3) {
            let asked = self.process.ask(&read_counter(&key), false).await;
            return self.note(
                |all| &mut all.counters,
                key,
                CounterInput::Get,
                asked,
                |value| {
                    let text = optional(value.clone())?;
                    text.map_or(Ok(0), |text| text.parse()).map(CounterOutput).map_err(|_| value)
                },
            );
        }
        // As often as it is added to: then it is at its bound now and again.
        let takes = self.load.bounded && self.draw.one_in(2);
        let amount = self.draw.between(1, 9) as i64 * if takes { -1 } else { 1 };
        let text = amount.to_string();
        let add: &[&str] =
            if is_collection(&key) { &["HINCRBY", &key, FIELD, &text] } else { &["INCRBY", &key, &text] };
        let asked = match self.load.idempotent && self.draw.one_in(2) {
            false => self.process.ask(add, true).await,
            true => {
                let token = format!("{:x}.{}", self.load.seed, self.unique());
                let words = [&["IDEMPOTENT", &token], add].concat();
                let asked = self.insist(&words).await;
                if let Answer::Done(reply) = &asked.answer
                    && self.load.repeats
                    && self.again.len() < MOST_REPEATED
                    && self.draw.one_in(2)
                {
                    let due = tokio::time::Instant::now() + REPEATED_AFTER;
                    let words = words.iter().map(|word| (*word).to_owned()).collect();
                    self.again.push_back(Again { due, words, reply: reply.clone() });
                }
                asked
            }
        };
        self.note(|all| &mut all.counters, key, CounterInput::Add(amount), asked, sum);
    }

    /// What was done with this token is not done again: its answer is that of the first time, and sums and histories know nothing of
    /// it.
    async fn repeat(&mut self, again: Again) {
        let words: Vec<&str> = again.words.iter().map(String::as_str).collect();
        if let Answer::Done(reply) = self.process.ask(&words, true).await.answer
            && reply != again.reply
        {
            let text = format!(
                "{words:?}, done with the answer {:?}, was sent again {} s later and answered {reply:?}",
                again.reply,
                REPEATED_AFTER.as_secs()
            );
            self.load.histories.lock().absurd.push(text);
        }
    }

    /// Sends a command that may be sent twice until its outcome is known.
    async fn insist(&mut self, command: &[&str]) -> Asked {
        let mut asked = self.process.ask(command, true).await;
        let deadline = tokio::time::Instant::now() + RETRIES;
        let mut open = asked.answer == Answer::Unknown;
        while open && tokio::time::Instant::now() < deadline {
            let again = self.process.ask(command, true).await;
            asked.to = again.to;
            if let Answer::Done(_) = again.answer {
                open = false;
                asked.answer = again.answer;
            }
        }
        asked
    }

    /// A few strings of one slot in one transaction.
    pub(super) async fn transactions(&mut self) {
        let slot = self.key("t", 2, 160);
        let count = self.draw.between(1, 3) as usize;
        let mut names = super::written::NAMES;
        names.rotate_left(self.draw.below(3) as usize);
        let piece = format!("{} ", self.process.number * 1_000_000 + self.turn);
        let reads_alone = self.draw.one_in(3);
        let mut steps = Vec::new();
        let mut commands: Vec<[String; 3]> = Vec::new();
        for name in &names[..count] {
            let key = super::in_slot(&self.load.prefix, &slot, name);
            if reads_alone || self.draw.one_in(3) {
                steps.push((Text::from(*name), StringsInput::Get));
                commands.push(["GET".into(), key, String::new()]);
            } else {
                steps.push((Text::from(*name), StringsInput::Append(piece.as_str().into())));
                commands.push(["APPEND".into(), key, piece.clone()]);
            }
        }
        let words: Vec<Vec<&str>> = commands
            .iter()
            .map(|command| command.iter().map(String::as_str).filter(|word| !word.is_empty()).collect())
            .collect();
        let asked = self.process.transaction(&words, !reads_alone).await;
        self.note(
            |all| &mut all.transactions,
            slot,
            steps,
            asked,
            |value| match value {
                Value::Array(answers) => answers.into_iter().map(string).collect(),
                other => Err(other),
            },
        );
    }

    /// A key that is to live for a while, read from all sides until it is gone and a little longer.
    pub(super) async fn expiring(&mut self, hops: &mut [Client]) {
        let lives = self.draw.between(200, 1_500);
        let (key, value) = (format!("{}e:{}", self.load.prefix, self.unique()), self.unique());
        let milliseconds = lives.to_string();
        let asked = self.process.ask(&["SET", &key, &value, "PX", &milliseconds], true).await;
        let input = ExpiringInput::Set { value: value.into(), lives: lives * 1_000 };
        self.note(|all| &mut all.expiring, key.clone(), input, asked, written);
        let end = tokio::time::Instant::now() + Duration::from_millis(lives + 300);
        while tokio::time::Instant::now() < end {
            let hop = self.draw.below(hops.len() as u64) as usize;
            let asked = self.process.ask_by(&mut hops[hop], &["GET", &key], false).await;
            self.note(|all| &mut all.expiring, key.clone(), ExpiringInput::Get, asked, read);
            let pause = Duration::from_millis(self.draw.between(20, 120)).max(self.load.pace);
            tokio::time::sleep(pause).await;
        }
    }
}

/// An answer that was heard, as an operation that is done; for those that read what others left.
pub(super) fn done<I, O>(
    key: String,
    process: u64,
    input: I,
    asked: (u64, u64),
    output: O,
) -> Operation<I, O> {
    Operation { process, key, input, invoked_at: asked.0, outcome: Outcome::Done { at: asked.1, output } }
}
