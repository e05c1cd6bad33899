//! `SIBLINGS`, `RESOLVE`, `CONFLICTS`: values that were written at the same time. `RIGHTS`: who may take from a counter.

use bytes::Bytes;
use resp::Value;

use super::{integer, is_word};
use crate::collection::{Element as CollectionElement, Kind, score};
use crate::context::Context;
use crate::errors;
use crate::merged::{Conflict, Dot, Element, Facet, HybridTime, MergedTable, bounded};
use crate::view::Found;

const NONE: Value = Value::Error(std::borrow::Cow::Borrowed(
    "ERR no value of this keyspace has siblings: only those of multi-primary keyspaces can be written at the same time",
));
const CHANGED: Value = Value::Error(std::borrow::Cow::Borrowed(
    "CONFLICT the value has been written since its siblings were read, nothing was done: read them again",
));

/// The element that a key, and perhaps a field, names.
fn place(arguments: &[Bytes], field: usize) -> (Facet, Bytes) {
    match arguments.get(field) {
        Some(field) => (Facet::Hash, field.clone()),
        None => (Facet::String, Bytes::new()),
    }
}

/// What somebody has seen who has seen this: the writes that it comes from.
fn context_of(element: &Element) -> String {
    let versions =
        element.versions().iter().map(|version| format!("{}-{}", version.dot.origin, version.dot.counter));
    let parts = element.seen().into_iter().map(|seen| format!("{}+{}", seen.origin, seen.last));
    let all: Vec<String> = versions.chain(parts).collect();
    if all.is_empty() { "-".into() } else { all.join(",") }
}

fn stamp(dot: Dot, time: HybridTime) -> [(Value, Value); 4] {
    let number = |number: u64| Value::Integer(number as i64);
    [
        (Value::bulk("origin"), number(dot.origin)),
        (Value::bulk("number"), number(dot.counter)),
        (Value::bulk("time-ms"), number(time.ms)),
        (Value::bulk("logical"), number(u64::from(time.logical))),
    ]
}

/// `SIBLINGS key [field]`: the context, and each value with its stamp, the one that is shown first.
pub(crate) fn siblings(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    let table = context.merged().ok_or(NONE)?;
    let (facet, name) = place(arguments, 2);
    let element = match context.find(&arguments[1]) {
        Some(_) => table.element(&arguments[1], facet, &name),
        None => Element::default(),
    };
    let mut versions: Vec<_> = element.versions().iter().collect();
    versions.sort_by_key(|version| std::cmp::Reverse((version.time, version.dot)));
    let values = versions.into_iter().map(|version| {
        let mut entry = vec![(Value::bulk("value"), Value::Bulk(version.value.clone()))];
        entry.extend(stamp(version.dot, version.time));
        Value::Map(entry)
    });
    Ok(Value::Map(vec![
        (Value::bulk("context"), Value::bulk(context_of(&element))),
        (Value::bulk("values"), Value::Array(values.collect())),
    ]))
}

/// `RIGHTS key`: by origin how much of the counter its replica may take off.
pub(crate) fn rights(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    let table = context.merged().ok_or(Value::Error(std::borrow::Cow::Borrowed(
        "ERR nobody needs rights to the counters of this keyspace: only those of multi-primary keyspaces with COUNTERS bounded do",
    )))?;
    let all = bounded::rights(&arguments[1], table).into_iter();
    let all =
        all.map(|(origin, rights)| (Value::Integer(origin as i64), Value::bulk(bounded::print(rights))));
    Ok(Value::Map(all.collect()))
}

/// `RESOLVE key context value [field]`: the value takes the place of all that were seen with the context.
pub(crate) fn resolve(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    let table = context.merged().ok_or(NONE)?;
    let (key, seen, value) = (&arguments[1], &arguments[2], &arguments[3]);
    let (facet, name) = place(arguments, 4);
    let found = context.find(key);
    let element = if found.is_some() { table.element(key, facet, &name) } else { Element::default() };
    if context_of(&element).as_bytes() != &seen[..] {
        return Err(CHANGED);
    }
    put(context, found, key, facet, &name, value)?;
    Ok(Value::OK)
}

/// Puts a value where one was, and leaves the key's expiry as it is.
fn put(
    context: &mut Context<'_>,
    found: Option<Found<'_>>,
    key: &Bytes,
    facet: Facet,
    name: &[u8],
    value: &[u8],
) -> Result<(), Value> {
    let expire_at_ms = found.as_ref().and_then(Found::expire_at_ms);
    match (facet, found) {
        (Facet::String, None | Some(Found::String(_))) => context.set(key, value, expire_at_ms),
        (Facet::Hash | Facet::SortedSet, found) => {
            let kind = if facet == Facet::Hash { Kind::Hash } else { Kind::SortedSet };
            if matches!(&found, Some(Found::String(_)))
                || matches!(&found, Some(Found::Collection(found)) if found.kind != kind)
            {
                return Err(errors::WRONG_TYPE);
            }
            let is_new = match &found {
                Some(Found::Collection(found)) => found.get(name).is_none(),
                _ => true,
            };
            context.set_element(key, kind, CollectionElement { name, value }, is_new);
        }
        _ => return Err(errors::WRONG_TYPE),
    }
    Ok(())
}

/// `CONFLICTS LOG [prefix] [COUNT count]` and `CONFLICTS RESTORE id`.
pub(crate) fn conflicts(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    if is_word(&arguments[1], "LOG") {
        return log(context, &arguments[2..]);
    }
    if !is_word(&arguments[1], "RESTORE") {
        return Err(errors::SYNTAX);
    }
    let table = context.merged().ok_or(NONE)?;
    let id = &arguments[2];
    let Some(conflict) = table.conflicts().iter().find(|conflict| conflict.id() == *id) else {
        return Err(Value::error("ERR this replica keeps no conflict of this id: see CONFLICTS LOG"));
    };
    let Conflict { key, facet, name, lost, .. } = conflict.clone();
    let found = context.find(&key);
    put(context, found, &key, facet, &name, &lost.value)?;
    Ok(Value::OK)
}

/// The newest first.
fn log(context: &mut Context<'_>, rest: &[Bytes]) -> Result<Value, Value> {
    let (prefix, count) = match rest {
        [] => (Bytes::new(), 100),
        [prefix] => (prefix.clone(), 100),
        [word, count] if is_word(word, "COUNT") => (Bytes::new(), integer(count)?),
        [prefix, word, count] if is_word(word, "COUNT") => (prefix.clone(), integer(count)?),
        _ => return Err(errors::SYNTAX),
    };
    let count = usize::try_from(count).map_err(|_| errors::SYNTAX)?;
    let Some(table) = context.merged() else { return Ok(Value::Array(Vec::new())) };
    let kept = table.conflicts().iter().rev().filter(|conflict| conflict.key.starts_with(&prefix));
    Ok(Value::Array(kept.take(count).map(|conflict| entry(table, conflict)).collect()))
}

fn entry(table: &MergedTable, conflict: &Conflict) -> Value {
    let value = match conflict.facet {
        Facet::SortedSet => Value::Double(score::decode(&conflict.lost.value)),
        _ => Value::Bulk(conflict.lost.value.clone()),
    };
    let element = table.element(&conflict.key, conflict.facet, &conflict.name);
    let is_sibling = element.versions().iter().any(|version| version.dot == conflict.lost.dot);
    let mut entry = vec![
        (Value::bulk("id"), Value::Bulk(conflict.id())),
        (Value::bulk("key"), Value::Bulk(conflict.key.clone())),
        (Value::bulk("element"), Value::Bulk(conflict.name.clone())),
        (Value::bulk("rule"), Value::bulk("last-write-wins")),
        (Value::bulk("lost"), value),
    ];
    entry.extend(stamp(conflict.lost.dot, conflict.lost.time));
    let (dot, time) = conflict.by;
    entry.push((Value::bulk("by"), Value::Map(stamp(dot, time).into())));
    entry.push((Value::bulk("is-sibling"), Value::Integer(i64::from(is_sibling))));
    Value::Map(entry)
}
