//! Is there a key that a new keyspace with groups of its own would hide?
//!
//! Keys are not moved from one keyspace to another: what stands under the prefix stays where it is, and would be seen by nobody
//! until the new keyspace is dropped. So it is looked for first, some thousand keys at a time. A key that is written meanwhile,
//! before the writer's node knows of the keyspace, is not found; whoever makes a keyspace for keys in use has to stop writing
//! them first.

use std::rc::Rc;

use bytes::Bytes;
use data::{Command, Home, Homes};
use replication::catalogue::{Change, Policy};
use replication::contract::{Call, Reply};
use resp::Value;

use crate::driver::Worker;

/// Refuses a change that would hide keys.
///
/// # Errors
/// Such a key, or why it cannot be told.
pub async fn check(worker: &Rc<Worker>, change: &Change) -> Result<(), String> {
    let Change::CreateKeyspace { prefix, policy, .. } = change else { return Ok(()) };
    if matches!(policy, Policy::Raft) {
        return Ok(());
    }
    let placement = worker.placement();
    // Its keys are now in the keyspace of the longest prefix that this one has.
    let parent = Homes::keyspace_of(&*placement, prefix);
    let places: Vec<_> = match parent {
        0 => placement.in_order().map(|(number, of)| (number, of.first_slot, of.last_slot)).collect(),
        parent if placement.primaries_of(parent).next().is_some() => placement
            .primaries_of(parent)
            .map(|(number, group)| (number, group.slots.0, group.slots.1))
            .collect(),
        parent => placement
            .groups_of(parent)
            .map(|(number, group)| (number, group.configuration.first_slot, group.configuration.last_slot))
            .collect(),
    };
    let command = Command::lookup(b"scan").expect("SCAN is a command");
    for (partition, first_slot, last_slot) in places {
        let cursor = |slot: u16| data::route::scan_cursor(Home { keyspace: parent, slot }).to_string();
        let end = if last_slot + 1 < data::slot::SLOTS { cursor(last_slot + 1) } else { "0".into() };
        let mut at = cursor(first_slot);
        loop {
            let words = ["SCAN", &at, "MATCH", &pattern(prefix), "COUNT", "2000"];
            let arguments: Vec<Bytes> =
                words.iter().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
            let call = Call::Command { command, arguments, token: None };
            let parts = match worker.ask_and_wait(partition, call, worker.deadline()).await {
                Reply::Done(Value::Array(parts)) => parts,
                Reply::Refused(text) => return Err(text),
                other => return Err(format!("ERR the keys could not be looked through: {other:?}")),
            };
            let [Value::Bulk(next), Value::Array(keys)] = &parts[..] else {
                return Err("ERR the keys could not be looked through".into());
            };
            if let Some(Value::Bulk(key)) = keys.first() {
                return Err(format!(
                    "ERR there are keys with this prefix, such as '{}', and the new keyspace would hide them: move or delete them first",
                    String::from_utf8_lossy(key)
                ));
            }
            at = String::from_utf8_lossy(next).into_owned();
            if at == end || at == "0" {
                break;
            }
        }
    }
    Ok(())
}

/// What all keys with the prefix match, and no others.
fn pattern(prefix: &[u8]) -> String {
    let mut pattern = String::new();
    for character in String::from_utf8_lossy(prefix).chars() {
        match character {
            '*' | '?' | '[' | ']' | '\\' | '^' | '-' => {
                pattern.push('\\');
                pattern.push(character);
            }
            // Bytes that are no text.
            char::REPLACEMENT_CHARACTER => pattern.push('?'),
            _ => pattern.push(character),
        }
    }
    pattern.push('*');
    pattern
}
