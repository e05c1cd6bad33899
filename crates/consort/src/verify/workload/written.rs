//! Workloads that are judged by what is there in the end: a key for each write, and sets that members are added to.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use check::Text;
use check::model::{RegisterInput, RegisterOutput, StringsInput, StringsOutput};
use resp::Value;

use super::values::{done, one_string, read_counter, read_list};
use super::{Blind, Histories, Settled, Shared, Worker, ended, optional};
use crate::verify::client::{Answer, Client, Target};

/// The strings of a slot that transactions are about.
pub(super) const NAMES: [&str; 3] = ["a", "b", "c"];
/// Members of one set.
const SET_SIZE: u64 = 20_000;
/// Keys that are read together.
const TOGETHER: usize = 200;
/// So many slots share the keys that are each written once.
const SLOTS: u64 = 16;
/// Who stays with a node tries whether that leads another slot with every so many-th write.
const TRIED_EVERY: u64 = 4;
/// How long what is quiet is asked before it counts as unreadable.
const LIMIT: Duration = Duration::from_secs(20);
/// The first of the processes that read in the end.
const READER: u64 = 999_999;

impl Worker {
    /// A key of its own. Who stays with a node (`resident`) writes to the slots of which that node takes its writes, and tries another one now
    /// and then, as a client of a primary would that is cut off and does not know it; it is no measure of what clients see.
    pub(super) async fn blind(&mut self, resident: Option<&mut Client>) {
        let value = self.unique();
        // Many keys of few slots: what is written to one log can be told apart from what is written to another.
        let turn = self.process.number + self.turn;
        let slot = match self.led.len() as u64 {
            0 => turn % SLOTS,
            _ if turn.is_multiple_of(TRIED_EVERY) => turn / TRIED_EVERY % SLOTS,
            led => self.led[(turn % led) as usize],
        };
        let key = format!("{}b:{{{slot}}}:{value}", self.load.prefix);
        let command = ["SET", &key, &value];
        let stays = resident.is_some();
        let asked = match resident {
            None => self.process.ask(&command, true).await,
            Some(client) => self.process.ask_apart(client, &command).await,
        };
        let ended = ended(&asked.answer);
        if stays {
            self.led.retain(|led| *led != slot);
            self.led.extend((ended == check::durable::Ended::Acknowledged).then_some(slot));
        }
        self.load.histories.lock().blind.push(Blind { key, value, from: asked.from, at: asked.to, ended });
    }

    /// Each member is added once: it must be new.
    pub(super) async fn members(&mut self) {
        let number = 2 * self.turn + self.place;
        let (set, member) = (format!("{}m:{}", self.load.prefix, number / SET_SIZE), number % SET_SIZE);
        let asked = self.process.ask(&["SADD", &set, &member.to_string()], true).await;
        let mut all = self.load.histories.lock();
        if let Answer::Done(added) = &asked.answer
            && *added != Value::Integer(1)
        {
            all.absurd
                .push(format!("key {set:?}: member {member} was added once, and {added:?} of it were new"));
        }
        all.members.push((set, member as u32, ended(&asked.answer)));
    }
}

/// Reads what all workloads left behind. The last values of registers, lists and transactions go into their histories, as reads of
/// one more process: what was acknowledged last must be there, too.
pub(super) async fn settle(
    target: &Arc<Target>,
    prefix: &str,
    histories: &Shared,
) -> Result<Settled, String> {
    let mut reader = Reader { target: target.clone(), client: Client::new(target, 0) };
    let mut settled = Settled::default();
    let (blind, sets, counters, registers, sessions, lists, slots) = {
        let all = histories.lock();
        let blind: Vec<String> = all.blind.iter().map(|write| write.key.clone()).collect();
        let sets: BTreeSet<String> = all.members.iter().map(|(set, ..)| set.clone()).collect();
        let keys = |operations: &mut dyn Iterator<Item = &String>| -> Vec<String> {
            operations.cloned().collect::<BTreeSet<_>>().into_iter().collect()
        };
        (
            blind,
            sets,
            keys(&mut all.counters.operations().iter().map(|operation| &operation.key)),
            keys(&mut all.registers.operations().iter().map(|operation| &operation.key)),
            keys(&mut all.sessions.operations().iter().map(|operation| &operation.key)),
            keys(&mut all.lists.operations().iter().map(|operation| &operation.key)),
            keys(&mut all.transactions.operations().iter().map(|operation| &operation.key)),
        )
    };
    for keys in blind.chunks(TOGETHER) {
        for (key, value, _) in reader.values(keys).await? {
            settled.held.extend(value.map(|value| (key, value)));
        }
    }
    for set in sets {
        let (Value::Array(members) | Value::Set(members)) = reader.ask(&["SMEMBERS", &set]).await?.0 else {
            return Err(format!("{set} holds no set"));
        };
        let number = |member: Value| optional(member).ok().flatten()?.parse().ok();
        let members: Option<Vec<u32>> = members.into_iter().map(number).collect();
        settled
            .members
            .insert(set.clone(), members.ok_or_else(|| format!("{set} has members that nobody added"))?);
    }
    for key in counters {
        let value = reader.ask(&read_counter(&key)).await?.0;
        let text = optional(value).map_err(|other| format!("{key} holds {other:?}"))?;
        let sum = text.map_or(Ok(0), |text| text.parse()).map_err(|_| format!("{key} holds no number"))?;
        settled.sums.insert(key, sum);
    }
    // Keys that are read together are read at one moment, which no session does: each by a process of its own.
    let mut number = READER;
    for (of_sessions, keys) in [(false, registers), (true, sessions)] {
        for keys in keys.chunks(TOGETHER) {
            for (key, value, asked) in reader.values(keys).await? {
                let output = RegisterOutput::Value(value.map(Into::into));
                number += 1;
                let operation = done(key, number, RegisterInput::Read, asked, output);
                let mut all = histories.lock();
                match of_sessions {
                    true => all.sessions.push(operation),
                    false => all.registers.push(operation),
                };
            }
        }
    }
    for key in lists {
        let (value, asked) = reader.ask(&read_list(&key)).await?;
        let value = one_string(value).and_then(optional).map_err(|other| format!("{key} holds {other:?}"))?;
        let output = StringsOutput::Value(value.map(Into::into));
        histories.lock().lists.push(done(key, READER, StringsInput::Get, asked, output));
    }
    for slot in slots {
        let strings = NAMES.map(|name| super::in_slot(prefix, &slot, name));
        let values = reader.values(&strings).await?;
        let asked = values.first().map_or((0, 0), |(.., asked)| *asked);
        let steps = NAMES.map(|name| (Text::from(name), StringsInput::Get)).to_vec();
        let outputs = values.into_iter().map(|(_, value, _)| StringsOutput::Value(value.map(Into::into)));
        let operation = done(slot, READER, steps, asked, outputs.collect());
        histories.lock().transactions.push(operation);
    }
    Ok(settled)
}

/// Asks until it is answered.
struct Reader {
    target: Arc<Target>,
    client: Client,
}

impl Reader {
    async fn ask(&mut self, command: &[&str]) -> Result<(Value, (u64, u64)), String> {
        let mut last = String::new();
        let deadline = tokio::time::Instant::now() + LIMIT;
        while tokio::time::Instant::now() < deadline {
            let from = self.target.now();
            match self.client.ask(command).await {
                Answer::Done(value) => return Ok((value, (from, self.target.now()))),
                Answer::Refused(text) => last = text,
                Answer::Unknown => last = "no answer".into(),
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        Err(format!("{} cannot be read though all is quiet: {last}", command.get(1).unwrap_or(&"?")))
    }

    /// The values of some keys, each with the moments of the reading.
    async fn values(&mut self, keys: &[String]) -> Result<Vec<(String, Option<String>, (u64, u64))>, String> {
        let command: Vec<&str> = std::iter::once("MGET").chain(keys.iter().map(String::as_str)).collect();
        let (value, asked) = self.ask(&command).await?;
        let Value::Array(values) = value else { return Err(format!("MGET is answered with {value:?}")) };
        keys.iter()
            .zip(values)
            .map(|(key, value)| match optional(value) {
                Ok(value) => Ok((key.clone(), value, asked)),
                Err(other) => Err(format!("MGET is answered with {other:?}")),
            })
            .collect()
    }
}

/// All keys that were written.
pub(super) fn keys(prefix: &str, all: &Histories) -> Vec<String> {
    let mut keys: BTreeSet<String> = BTreeSet::new();
    keys.extend(all.blind.iter().map(|write| write.key.clone()));
    keys.extend(all.members.iter().map(|(set, ..)| set.clone()));
    keys.extend(all.counters.operations().iter().map(|operation| operation.key.clone()));
    keys.extend(all.registers.operations().iter().map(|operation| operation.key.clone()));
    keys.extend(all.sessions.operations().iter().map(|operation| operation.key.clone()));
    keys.extend(all.lists.operations().iter().map(|operation| operation.key.clone()));
    keys.extend(all.expiring.operations().iter().map(|operation| operation.key.clone()));
    keys.extend(all.staleness.keys.iter().cloned());
    for operation in all.transactions.operations() {
        keys.extend(NAMES.map(|name| super::in_slot(prefix, &operation.key, name)));
    }
    keys.into_iter().collect()
}

/// Deletes keys, as far as the cluster lets us.
pub(super) async fn delete(target: &Arc<Target>, keys: &[String]) {
    let mut reader = Reader { target: target.clone(), client: Client::new(target, 0) };
    for keys in keys.chunks(TOGETHER) {
        let command: Vec<&str> = std::iter::once("DEL").chain(keys.iter().map(String::as_str)).collect();
        if reader.ask(&command).await.is_err() {
            return;
        }
    }
}
