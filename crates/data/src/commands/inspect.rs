//! How a key is held: `OBJECT` and `MEMORY`.

use bytes::Bytes;
use resp::Value;

use super::{integer, is_word};
use crate::collection::Kind;
use crate::context::Context;
use crate::errors;
use crate::number::parse_integer;
use crate::view::{Found, FoundCollection};

/// The longest string that Redis embeds in its object.
const EMBEDDED_BYTES: u64 = 44;

/// The longest and the most elements that Redis packs.
const LISTPACK_BYTES: usize = 64;
const LISTPACK_ELEMENTS: usize = 128;
const HASH_LISTPACK_ELEMENTS: usize = 512;
const INTSET_ELEMENTS: usize = 512;

/// The longest whole number has as many digits.
const INTEGER_BYTES: u64 = 20;

pub(crate) fn object(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    let subcommand = &arguments[1];
    if is_word(subcommand, "HELP") {
        return Ok(help(
            "OBJECT",
            &[
                ("ENCODING <key>", "Return the kind of internal representation of the value."),
                ("FREQ <key>", "Return an error: how often keys are used is not counted."),
                ("IDLETIME <key>", "Return 0: when keys were used last is not kept."),
                ("REFCOUNT <key>", "Return 1: values are not shared."),
            ],
        ));
    }
    let Some(found) = arguments.get(2).and_then(|key| context.find(key)) else { return Ok(Value::Null) };
    match () {
        () if is_word(subcommand, "ENCODING") => Ok(Value::bulk(encoding(&found))),
        () if is_word(subcommand, "REFCOUNT") => Ok(Value::Integer(1)),
        () if is_word(subcommand, "IDLETIME") => Ok(Value::Integer(0)),
        () if is_word(subcommand, "FREQ") => Err(Value::error(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching \
             between policies at runtime LRU and LFU data will take some time to adjust.",
        )),
        () => Err(errors::unknown_subcommand(subcommand, context.name)),
    }
}

pub(crate) fn memory(context: &mut Context<'_>, arguments: &[Bytes]) -> Result<Value, Value> {
    if is_word(&arguments[1], "HELP") {
        let usage = "Return the memory that the key and its value take, in bytes. SAMPLES is accepted and not needed.";
        let doctor = "Return a report of memory problems.";
        let purge = "The allocator gives memory back by itself; nothing is done.";
        let rows = [
            ("DOCTOR", doctor),
            ("PURGE", purge),
            ("STATS", "Return what takes memory."),
            ("USAGE <key> [SAMPLES <count>]", usage),
        ];
        return Ok(help("MEMORY", &rows));
    }
    let (Some(key), true) = (arguments.get(2), is_word(&arguments[1], "USAGE")) else {
        return Err(errors::unknown_subcommand(&arguments[1], context.name));
    };
    for option in arguments[3..].chunks(2) {
        match option {
            [samples, count] if is_word(samples, "SAMPLES") && integer(count)? >= 0 => {}
            _ => return Err(errors::SYNTAX),
        }
    }
    let Some(found) = context.find(key) else { return Ok(Value::Null) };
    // A key that is only in pending writes has no place in the table yet: then what it will hold.
    let pending_bytes = || match &found {
        Found::String(string) => string.len() as usize,
        Found::Collection(collection) => collection.content().len(),
    };
    let bytes = context.memory_bytes(key).unwrap_or_else(|| key.len() + pending_bytes());
    Ok(Value::Integer(bytes as i64))
}

fn encoding(found: &Found<'_>) -> &'static str {
    match found {
        Found::String(string) => match string.len() {
            length if length <= INTEGER_BYTES && parse_integer(&string.bytes()).is_some() => "int",
            length if length <= EMBEDDED_BYTES => "embstr",
            _ => "raw",
        },
        Found::Collection(collection) => encoding_of_collection(collection),
    }
}

/// What Redis 7.0 makes of such elements with its default configuration.
fn encoding_of_collection(collection: &FoundCollection<'_>) -> &'static str {
    let is_short = |bytes: &[u8]| bytes.len() <= LISTPACK_BYTES;
    let fits_listpack = |most: usize| {
        collection.len() <= most
            && collection.elements().all(|element| is_short(element.name) && is_short(element.value))
    };
    match collection.kind {
        Kind::List => "quicklist",
        Kind::Hash if fits_listpack(HASH_LISTPACK_ELEMENTS) => "listpack",
        Kind::SortedSet if fits_listpack(LISTPACK_ELEMENTS) => "listpack",
        Kind::Set
            if collection.len() <= INTSET_ELEMENTS
                && collection.elements().all(|element| parse_integer(element.name).is_some()) =>
        {
            "intset"
        }
        Kind::Hash | Kind::Set => "hashtable",
        Kind::SortedSet => "skiplist",
    }
}

fn help(container: &str, rows: &[(&'static str, &'static str)]) -> Value {
    let title = format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
    let mut lines = vec![Value::Simple(title.into())];
    for (usage, about) in rows.iter().chain(&[("HELP", "Print this help.")]) {
        lines.push(Value::Simple((*usage).into()));
        lines.push(Value::Simple(format!("    {about}").into()));
    }
    Value::Array(lines)
}
