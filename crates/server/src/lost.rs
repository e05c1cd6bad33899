//! `KEYSPACE LOST`: the writes that failovers of a keyspace lost, wherever they are kept.
//!
//! Every node is asked, since it is the deposed primary that keeps what its successor has not. A node that cannot be reached
//! shows in the list as such. Writes of one group that have keys in common are done again together, in their order, and only
//! if each of those keys still is what it was before the first of them: nobody has changed it since.

use std::collections::BTreeSet;
use std::rc::Rc;

use bytes::Bytes;
use data::{Command, Watch};
use replication::contract::{Admin, Call, Reply};
use replication::{NodeId, PartitionId};
use resp::Value;

use crate::driver::Worker;

/// What is to become of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// They are shown.
    List,
    /// They are done again where that is right.
    Replay,
    /// They are kept no longer.
    Discard,
}

impl Verb {
    /// The one that is spelled so.
    pub fn parse(word: &[u8]) -> Option<Verb> {
        [(&b"replay"[..], Verb::Replay), (&b"discard"[..], Verb::Discard)]
            .into_iter()
            .find_map(|(name, verb)| word.eq_ignore_ascii_case(name).then_some(verb))
    }
}

/// A write that was lost, as its keeper tells.
#[derive(Clone, Debug, PartialEq)]
struct Write {
    partition: PartitionId,
    node: NodeId,
    index: u64,
    term: u64,
    acknowledged: Value,
    found_ms: i64,
    keys: Vec<Bytes>,
    commands: Vec<Vec<Bytes>>,
    before: Option<Vec<Watch>>,
}

/// Runs the command.
pub async fn run(worker: &Rc<Worker>, keyspace: u16, key: Option<Bytes>, verb: Verb) -> Reply {
    let (mut writes, silent) = match collect(worker, keyspace).await {
        Ok(found) => found,
        Err(reply) => return reply,
    };
    writes.retain(|write| key.as_ref().is_none_or(|key| write.keys.contains(key)));
    match verb {
        Verb::List => Reply::Done(list(worker, &writes, &silent)),
        Verb::Discard => match forget(worker, &writes).await {
            Ok(number) => Reply::Done(Value::Integer(number)),
            Err(reply) => reply,
        },
        Verb::Replay => replay(worker, writes).await,
    }
}

/// What all nodes keep, and which of them do not answer.
async fn collect(worker: &Rc<Worker>, keyspace: u16) -> Result<(Vec<Write>, Vec<NodeId>), Reply> {
    let state = worker.node.context.cluster.state();
    let groups: Vec<PartitionId> =
        state.placement.groups_of(keyspace).map(|(partition, _)| partition).collect();
    let (mut writes, mut silent) = (Vec::new(), Vec::new());
    for node in &state.nodes {
        if !state.is_alive(node.id) {
            silent.push(node.id);
            continue;
        }
        for &partition in &groups {
            let call = Call::Admin(Admin::Lost { node: node.id });
            match worker.ask_and_wait(partition, call, worker.deadline()).await {
                Reply::Done(Value::Array(told)) => {
                    writes.extend(told.into_iter().filter_map(|value| understood(partition, node.id, value)));
                }
                Reply::Done(_) | Reply::Unknown(_) | Reply::Refused(_) => {
                    silent.push(node.id);
                    break;
                }
            }
        }
    }
    // The same entry may be kept by several: one that was ahead of the new primary, too, has dropped it.
    writes.sort_by_key(|write| {
        let known = matches!(write.acknowledged, Value::Integer(_)) as u8;
        (write.partition, write.term, write.index, std::cmp::Reverse((known, write.before.is_some())))
    });
    Ok((writes, silent))
}

fn understood(partition: PartitionId, node: NodeId, value: Value) -> Option<Write> {
    let Value::Array(fields) = value else { return None };
    let [index, term, acknowledged, found, keys, commands, before] = <[Value; 7]>::try_from(fields).ok()?;
    let strings = |value: Value| match value {
        Value::Array(strings) => strings
            .into_iter()
            .map(|string| match string {
                Value::Bulk(bytes) => Some(bytes),
                _ => None,
            })
            .collect::<Option<Vec<Bytes>>>(),
        _ => None,
    };
    let Value::Array(commands) = commands else { return None };
    let before = strings(before).and_then(|parts| {
        let watch = |pair: &[Bytes]| {
            let fingerprint = u128::from_le_bytes(pair[1][..].try_into().ok()?);
            Some(Watch { key: pair[0].clone(), fingerprint })
        };
        parts.chunks_exact(2).map(watch).collect()
    });
    Some(Write {
        partition,
        node,
        index: number(&index)? as u64,
        term: number(&term)? as u64,
        acknowledged,
        found_ms: number(&found)?,
        keys: strings(keys)?,
        commands: commands.into_iter().map(strings).collect::<Option<_>>()?,
        before,
    })
}

fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(number) => Some(*number),
        _ => None,
    }
}

fn list(worker: &Rc<Worker>, writes: &[Write], silent: &[NodeId]) -> Value {
    let state = worker.node.context.cluster.state();
    let name = |id: NodeId| match state.node(id) {
        Some(node) => Value::bulk(node.name.clone()),
        None => Value::bulk(format!("{:016x}", id.0)),
    };
    let map = |fields: Vec<(&'static str, Value)>| {
        Value::Map(fields.into_iter().map(|(name, value)| (Value::bulk(name), value)).collect())
    };
    let mut shown: Vec<Value> = Vec::new();
    let mut last = None;
    for write in writes {
        let place = (write.partition, write.term, write.index);
        if last.replace(place) == Some(place) {
            continue;
        }
        let acknowledged = match write.acknowledged {
            Value::Integer(0) => "no",
            Value::Integer(_) => "yes",
            _ => "unknown",
        };
        let strings = |strings: &[Bytes]| Value::Array(strings.iter().cloned().map(Value::Bulk).collect());
        shown.push(map(vec![
            ("group", Value::bulk(format!("{:08x}", write.partition.0))),
            ("term", Value::Integer(write.term as i64)),
            ("index", Value::Integer(write.index as i64)),
            ("kept_by", name(write.node)),
            ("acknowledged", Value::bulk(acknowledged)),
            ("found_ms", Value::Integer(write.found_ms)),
            ("keys", strings(&write.keys)),
            ("commands", Value::Array(write.commands.iter().map(|command| strings(command)).collect())),
        ]));
    }
    shown.extend(silent.iter().map(|&node| map(vec![("unreachable", name(node))])));
    Value::Array(shown)
}

/// They are kept no longer. Returns how many writes that were.
async fn forget(worker: &Rc<Worker>, writes: &[Write]) -> Result<i64, Reply> {
    let mut places: BTreeSet<(PartitionId, u64, u64)> = BTreeSet::new();
    for write in writes {
        let entries = vec![(write.index, write.term)];
        let call = Call::Admin(Admin::ForgetLost { node: write.node, entries });
        match worker.ask_and_wait(write.partition, call, worker.deadline()).await {
            Reply::Done(_) => places.insert((write.partition, write.term, write.index)),
            other => return Err(other),
        };
    }
    Ok(places.len() as i64)
}

/// Writes that have keys in common, and the keys.
type Together = (BTreeSet<Bytes>, Vec<Write>);

async fn replay(worker: &Rc<Worker>, writes: Vec<Write>) -> Reply {
    let mut groups: Vec<(PartitionId, Together)> = Vec::new();
    for write in writes {
        let keys: BTreeSet<Bytes> = write.keys.iter().cloned().collect();
        let partition = write.partition;
        let mut together: Together = (keys, Vec::new());
        let meets = |(of, (known, _)): &mut (PartitionId, Together)| {
            *of == partition && !known.is_disjoint(&together.0)
        };
        let met: Vec<(PartitionId, Together)> = groups.extract_if(.., meets).collect();
        for (_, (known, earlier)) in met {
            together.0.extend(known);
            together.1.extend(earlier);
        }
        together.1.push(write);
        together.1.sort_by_key(|write| (write.term, write.index));
        groups.push((partition, together));
    }
    let (mut replayed, mut changed, mut unclear, mut failed) = (0i64, 0i64, 0i64, Vec::new());
    for (partition, (keys, writes)) in groups {
        let mut once = writes.clone();
        once.dedup_by_key(|write| (write.term, write.index));
        let number = once.len() as i64;
        // What each key was before the first of them.
        let known = |key: &Bytes| {
            let first = once.iter().find(|write| write.keys.contains(key));
            let all = writes.iter().filter(|write| {
                first.is_some_and(|first| (first.term, first.index) == (write.term, write.index))
            });
            let mut prints = all.filter_map(|write| write.before.as_ref());
            prints.find_map(|before| before.iter().find(|watch| watch.key == *key).cloned())
        };
        let watches: Option<Vec<Watch>> = keys.iter().map(known).collect();
        let Some(watches) = watches.filter(|watches| !watches.is_empty()) else {
            unclear += number;
            continue;
        };
        let parsed = once.iter().flat_map(|write| &write.commands).map(|arguments| {
            let command = Command::lookup(arguments.first()?)?;
            Some((command, arguments.clone()))
        });
        let Some(commands) = parsed.collect::<Option<Vec<_>>>() else {
            unclear += number;
            continue;
        };
        let call = Call::Transaction { commands, watches };
        match worker.ask_and_wait(partition, call, worker.deadline()).await {
            Reply::Done(Value::NullArray) => changed += number,
            Reply::Done(_) => {
                replayed += number;
                if let Err(Reply::Refused(text) | Reply::Unknown(text)) = forget(worker, &writes).await {
                    failed.push(format!("done again, but still listed: {text}"));
                }
            }
            Reply::Refused(text) => failed.push(text),
            Reply::Unknown(text) => failed.push(format!("UNKNOWN {text}")),
        }
    }
    let failed = failed.into_iter().map(Value::bulk).collect();
    let fields = [
        ("replayed", Value::Integer(replayed)),
        ("changed_since", Value::Integer(changed)),
        ("cannot_tell", Value::Integer(unclear)),
        ("failed", Value::Array(failed)),
    ];
    Reply::Done(Value::Map(fields.into_iter().map(|(name, value)| (Value::bulk(name), value)).collect()))
}
