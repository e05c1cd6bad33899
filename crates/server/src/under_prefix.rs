//! The keys under a prefix, looked through some thousands at a time, on behalf of changes of keyspaces.
//!
//! *Before one is made*: is there a key that it would hide? Keys are not moved from one keyspace to another: what stands under the
//! prefix stays where it is, and would be seen by nobody until the new keyspace is dropped. A key that is written meanwhile,
//! before the writer's node knows of the keyspace, is not found; whoever makes a keyspace for keys in use has to stop writing
//! them first.
//!
//! *Before one is dropped* that shares its groups with others, as keyspaces of the strategy `raft` do: its keys are deleted. Those of
//! a keyspace with groups of its own go with the groups. Here, too: a key that is written meanwhile may stay behind.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use data::{Command, Home, Homes};
use replication::PartitionId;
use replication::catalogue::{Catalogue, Change, Policy};
use replication::contract::{Call, Reply};
use resp::Value;

use crate::driver::Worker;

/// Keys that a step looks at.
const SCANNED_AT_ONCE: &str = "2000";
/// Keys that one command deletes.
const DELETED_AT_ONCE: usize = 256;

/// Makes a change, unless it would hide keys, and deletes the keys of a keyspace before that is dropped. Returns the catalogue with the
/// change.
///
/// # Errors
/// Such a key; or why the change cannot be made, and how many keys are deleted all the same.
pub async fn change(worker: &Rc<Worker>, change: &Change) -> Result<Arc<Catalogue>, String> {
    let mut deleted = 0;
    let done = match prepare(worker, change, &mut deleted).await {
        Ok(()) => worker.change(&|_| Ok(change.clone())).await,
        Err(reason) => Err(reason),
    };
    done.map_err(|reason| match deleted {
        0 => reason,
        // Whether it is dropped, the reason says: that may be unknown.
        _ => format!("{reason} ({deleted} keys of the keyspace are deleted by now)"),
    })
}

async fn prepare(worker: &Rc<Worker>, change: &Change, deleted: &mut usize) -> Result<(), String> {
    let Some(catalogue) = worker.node.context.cluster.state().catalogue.clone() else { return Ok(()) };
    let keyspace_of = |key: &[u8]| catalogue.keyspace_of(key).map(|(prefix, _)| prefix);
    let number = Homes::keyspace_of(&*worker.placement(), prefix_of(change));
    match change {
        // Its keys are now in the keyspace of the longest prefix that this one has.
        Change::CreateKeyspace { prefix, policy, .. } if number != 0 || *policy != Policy::Raft => {
            for_each_page(worker, number, prefix, async |_, keys| {
                match keys.iter().find(|key| keyspace_of(key) == keyspace_of(prefix)) {
                    Some(key) => Err(format!(
                        "ERR there are keys with this prefix, such as '{}', and the new keyspace would hide them: move or delete them first",
                        String::from_utf8_lossy(key)
                    )),
                    None => Ok(()),
                }
            })
            .await
        }
        // The empty prefix is refused by the catalogue.
        Change::DropKeyspace { prefix } if number == 0 && keyspace_of(prefix) == Some(prefix) && !prefix.is_empty() => {
            for_each_page(worker, number, prefix, async |partition, keys| {
                let own: Vec<Bytes> = keys.into_iter().filter(|key| keyspace_of(key) == Some(prefix)).collect();
                for some in own.chunks(DELETED_AT_ONCE) {
                    delete(worker, partition, some).await?;
                    *deleted += some.len();
                }
                Ok(())
            })
            .await
        }
        _ => Ok(()),
    }
}

fn prefix_of(change: &Change) -> &[u8] {
    match change {
        Change::CreateKeyspace { prefix, .. } | Change::DropKeyspace { prefix } => prefix,
        _ => b"",
    }
}

/// Goes through all keys with this prefix in the groups of a keyspace, some at a time, with the partition that they are in.
async fn for_each_page(
    worker: &Rc<Worker>,
    keyspace: u16,
    prefix: &[u8],
    mut take: impl AsyncFnMut(PartitionId, Vec<Bytes>) -> Result<(), String>,
) -> Result<(), String> {
    let command = Command::lookup(b"scan").expect("SCAN is a command");
    for (partition, first_slot, last_slot) in groups_of(worker, keyspace) {
        let cursor = |slot: u16| data::route::scan_cursor(Home { keyspace, slot }).to_string();
        let end = if last_slot + 1 < data::slot::SLOTS { cursor(last_slot + 1) } else { "0".into() };
        let mut at = cursor(first_slot);
        loop {
            let text = |word: &'static str| Bytes::from_static(word.as_bytes());
            let (pattern, count) = (pattern(prefix), text(SCANNED_AT_ONCE));
            let arguments = vec![text("SCAN"), at.into(), text("MATCH"), pattern, text("COUNT"), count];
            let reply = ask(worker, partition, command, arguments).await?;
            let Value::Array(parts) = reply else { return Err(unreadable(&reply)) };
            let [Value::Bulk(next), Value::Array(keys)] = &parts[..] else {
                return Err("ERR the keys could not be looked through".into());
            };
            let keys = keys.iter().filter_map(|key| match key {
                Value::Bulk(key) => Some(key.clone()),
                _ => None,
            });
            take(partition, keys.collect()).await?;
            at = String::from_utf8_lossy(next).into_owned();
            if at == end || at == "0" {
                break;
            }
        }
    }
    Ok(())
}

/// The groups that hold keys of a keyspace, each with its first and its last slot.
fn groups_of(worker: &Rc<Worker>, keyspace: u16) -> Vec<(PartitionId, u16, u16)> {
    let placement = worker.placement();
    match keyspace {
        0 => placement.in_order().map(|(number, of)| (number, of.first_slot, of.last_slot)).collect(),
        keyspace if placement.primaries_of(keyspace).next().is_some() => placement
            .primaries_of(keyspace)
            .map(|(number, group)| (number, group.slots.0, group.slots.1))
            .collect(),
        keyspace => placement
            .groups_of(keyspace)
            .map(|(number, group)| (number, group.configuration.first_slot, group.configuration.last_slot))
            .collect(),
    }
}

async fn delete(worker: &Rc<Worker>, partition: PartitionId, keys: &[Bytes]) -> Result<(), String> {
    let command = Command::lookup(b"del").expect("DEL is a command");
    let arguments = std::iter::once(Bytes::from_static(b"DEL")).chain(keys.iter().cloned()).collect();
    match ask(worker, partition, command, arguments).await? {
        Value::Integer(_) => Ok(()),
        other => Err(unreadable(&other)),
    }
}

async fn ask(
    worker: &Rc<Worker>,
    partition: PartitionId,
    command: &'static Command,
    arguments: Vec<Bytes>,
) -> Result<Value, String> {
    let call = Call::Command { command, arguments, token: None };
    match worker.ask_and_wait(partition, call, worker.deadline()).await {
        Reply::Done(value) => Ok(value),
        Reply::Refused(text) => Err(text),
        Reply::Unknown(text) => Err(format!("UNKNOWN {text}")),
    }
}

fn unreadable(reply: &Value) -> String {
    match reply {
        Value::Error(text) => text.clone().into_owned(),
        other => format!("ERR the keys could not be looked through: {other:?}"),
    }
}

/// What all keys with the prefix match, and no others.
fn pattern(prefix: &[u8]) -> Bytes {
    let special = |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\' | b'^' | b'-');
    let escape = |byte: &u8| special(byte).then_some(b'\\');
    let literal = prefix.iter().flat_map(|byte| escape(byte).into_iter().chain([*byte]));
    literal.chain([b'*']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_takes_a_prefix_as_it_is() {
        assert_eq!(pattern(b"a:[*]"), &b"a:\\[\\*\\]*"[..]);
        assert_eq!(pattern(b"\xe2\x82:"), &b"\xe2\x82:*"[..]);
        assert_eq!(pattern(b""), &b"*"[..]);
    }
}
