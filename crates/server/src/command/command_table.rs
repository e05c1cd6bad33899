//! `COMMAND`: the command table as clients read it. Cluster clients take from it where the keys of a command stand.

use bytes::Bytes;
use data::Command;
use data::command::{Argument, Keys, Kind};
use data::glob::matches;
use data::route::get_keys;
use resp::Value;

use super::subcommand::{Container, Subcommand};
use super::{Action, Call, bulk, integer, map, simple, syntax_error};

pub(super) const COMMAND: Container = Container {
    name: "command",
    subcommands: &[
        Subcommand {
            name: "count",
            arity: 2,
            usage: "COUNT",
            about: "Return the total number of commands in this server.",
            run: |_| integer(Command::all().len()).into(),
        },
        Subcommand {
            name: "docs",
            arity: -2,
            usage: "DOCS [<command-name> [<command-name> ...]]",
            about: "Return documentation details about the commands, all of them without a name.",
            run: docs,
        },
        Subcommand {
            name: "getkeys",
            arity: -3,
            usage: "GETKEYS <full-command>",
            about: "Return the keys from a full command.",
            run: |call| get_keys(&call.arguments[2..]).map(|keys| list(keys, Value::Bulk)).into(),
        },
        Subcommand {
            name: "getkeysandflags",
            arity: -3,
            usage: "GETKEYSANDFLAGS <full-command>",
            about: "Return the keys and the access flags from a full command.",
            run: get_keys_and_flags,
        },
        Subcommand {
            name: "info",
            arity: -2,
            usage: "INFO [<command-name> ...]",
            about: "Return details about the commands, all of them without a name.",
            run: info,
        },
        Subcommand {
            name: "list",
            arity: -2,
            usage: "LIST [FILTERBY (MODULE <name>|ACLCAT <category>|PATTERN <pattern>)]",
            about: "Return the names of the commands.",
            run: list_names,
        },
    ],
    absent: &[],
};

pub(super) fn command(call: &mut Call<'_>) -> Action {
    match call.arguments.len() {
        1 => list(Command::all(), describe).into(),
        _ => COMMAND.run(call),
    }
}

fn list<T>(elements: impl IntoIterator<Item = T>, value: impl FnMut(T) -> Value) -> Value {
    Value::Array(elements.into_iter().map(value).collect())
}

/// A command, or a subcommand written `container|name`.
fn find(name: &[u8]) -> Option<&'static Command> {
    match name.iter().position(|byte| *byte == b'|') {
        Some(bar) => Command::lookup(&name[..bar])?.subcommand(&name[bar + 1..]),
        None => Command::lookup(name),
    }
}

fn info(call: &mut Call<'_>) -> Action {
    match &call.arguments[2..] {
        [] => list(Command::all(), describe).into(),
        names => list(names, |name| find(name).map_or(Value::NullArray, describe)).into(),
    }
}

/// Name, arity, flags, first key, last key, step, categories, tips, key specifications, subcommands.
fn describe(command: &Command) -> Value {
    let Keys { first, last, step } = command.keys;
    Value::Array(vec![
        bulk(command.name),
        integer(command.arity),
        Value::Set(command.flag_names().map(simple).collect()),
        integer(first),
        integer(last),
        integer(step),
        Value::Set(command.category_names().into_iter().map(|name| simple(format!("@{name}"))).collect()),
        Value::Array(Vec::new()),
        list((first > 0).then(|| key_specification(command)), |specification| specification),
        list(command.subcommands, describe),
    ])
}

/// What a command does to its keys: Redis' words for it.
fn access(command: &Command) -> Value {
    let words: &[&'static str] =
        if command.kind == Kind::Write { &["RW", "access", "update"] } else { &["RO", "access"] };
    Value::Set(words.iter().map(|word| simple(*word)).collect())
}

fn key_specification(command: &Command) -> Value {
    let Keys { first, last, step } = command.keys;
    // Counted from the first key here, unless it is counted from the end.
    let last = if last < 0 { last } else { last - first as i32 };
    map([
        ("flags", access(command)),
        ("begin_search", map([("type", bulk("index")), ("spec", map([("index", integer(first))]))])),
        (
            "find_keys",
            map([
                ("type", bulk("range")),
                (
                    "spec",
                    map([("lastkey", integer(last)), ("keystep", integer(step)), ("limit", integer(0))]),
                ),
            ]),
        ),
    ])
}

fn docs(call: &mut Call<'_>) -> Action {
    let entry = |command: &Command| (bulk(command.name), document(command));
    let entries = match &call.arguments[2..] {
        [] => Command::all().iter().map(entry).collect(),
        names => names.iter().filter_map(|name| find(name)).map(entry).collect(),
    };
    Value::Map(entries).into()
}

fn document(command: &Command) -> Value {
    let mut fields = vec![
        (bulk("summary"), bulk(command.summary)),
        (bulk("since"), bulk(command.since)),
        (bulk("group"), bulk(command.group)),
        (bulk("complexity"), bulk(command.complexity)),
    ];
    if !command.arguments.is_empty() {
        fields.push((bulk("arguments"), list(command.arguments, document_argument)));
    }
    if !command.subcommands.is_empty() {
        let entry = |row: &Command| (bulk(row.name), document(row));
        fields.push((bulk("subcommands"), Value::Map(command.subcommands.iter().map(entry).collect())));
    }
    Value::Map(fields)
}

fn document_argument(argument: &Argument) -> Value {
    let mut fields = vec![(bulk("name"), bulk(argument.name)), (bulk("type"), bulk(argument.kind.name()))];
    if argument.kind.name() == "key" {
        fields.push((bulk("key_spec_index"), integer(0)));
    }
    if argument.inner.is_empty() {
        fields.push((bulk("display_text"), bulk(argument.name)));
    }
    if let Some(token) = argument.token {
        fields.push((bulk("token"), bulk(token)));
    }
    let flags = [(argument.optional, "optional"), (argument.multiple, "multiple")];
    let flags: Vec<Value> = flags.iter().filter(|(set, _)| *set).map(|(_, name)| simple(*name)).collect();
    if !flags.is_empty() {
        fields.push((bulk("flags"), Value::Array(flags)));
    }
    if !argument.inner.is_empty() {
        fields.push((bulk("arguments"), list(argument.inner, document_argument)));
    }
    Value::Map(fields)
}

fn get_keys_and_flags(call: &mut Call<'_>) -> Action {
    let full = &call.arguments[2..];
    let flags = find(&full[0]).map_or(Value::Null, |command| access(command.resolve(full)));
    let pair = |key: Bytes| Value::Array(vec![Value::Bulk(key), flags.clone()]);
    get_keys(full).map(|keys| list(keys, pair)).into()
}

fn list_names(call: &mut Call<'_>) -> Action {
    let wanted = call.arguments.get(4).map(|word| word.to_ascii_lowercase()).unwrap_or_default();
    let keep: Box<dyn Fn(&Command) -> bool> = match call.arguments.len() {
        2 => Box::new(|_| true),
        5 if !call.is(2, "filterby") => return syntax_error().into(),
        5 if call.is(3, "module") => Box::new(|_| false),
        5 if call.is(3, "aclcat") => {
            Box::new(move |command| command.category_names().iter().any(|name| name.as_bytes() == wanted))
        }
        5 if call.is(3, "pattern") => Box::new(move |command| matches(&wanted, command.name.as_bytes())),
        _ => return syntax_error().into(),
    };
    let all = Command::all().iter().flat_map(|command| std::iter::once(command).chain(command.subcommands));
    list(all.filter(|command| keep(command)), |command| bulk(command.name)).into()
}
