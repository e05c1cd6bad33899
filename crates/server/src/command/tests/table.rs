//! `COMMAND`, and that the command table and what runs agree.

use data::Command;
use data::command::Kind;
use resp::Value;

use super::{Bench, field};
use crate::command::{COMMANDS, CONTAINERS};

/// Those of kind `Server` that the connection runs by itself, since they are about its transaction or its pipeline.
const OF_THE_CONNECTION: [&str; 8] =
    ["discard", "exec", "idempotent", "multi", "unwatch", "wait", "waitaof", "watch"];

fn array(value: &Value) -> &[Value] {
    match value {
        Value::Array(elements) => elements,
        other => panic!("{other:?} is no array"),
    }
}

fn names(value: &Value) -> Vec<String> {
    let name = |value: &Value| match value {
        Value::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("{other:?} is no name"),
    };
    array(value).iter().map(name).collect()
}

#[test]
fn every_server_command_of_the_table_runs_and_every_one_that_runs_is_in_the_table() {
    for command in Command::all().iter().filter(|command| command.kind == Kind::Server) {
        let runs = COMMANDS.iter().any(|(name, _)| *name == command.name);
        assert!(runs || OF_THE_CONNECTION.contains(&command.name), "{} does not run", command.name);
    }
    for (name, _) in COMMANDS {
        assert!(Command::lookup(name.as_bytes()).is_some(), "{name} is not in the table");
    }
}

#[test]
fn subcommands_of_the_table_and_those_that_run_agree() {
    for container in CONTAINERS {
        let row = Command::lookup(container.name.as_bytes()).expect("is in the table");
        for subcommand in container.subcommands {
            let listed = row.subcommand(subcommand.name.as_bytes());
            let listed =
                listed.unwrap_or_else(|| panic!("{}|{} is not in the table", row.name, subcommand.name));
            assert_eq!(listed.arity, subcommand.arity, "{}", listed.name);
        }
        for listed in row.subcommands.iter().filter(|listed| listed.kind == Kind::Server) {
            let name = listed.name.rsplit('|').next().expect("has a name");
            let runs = name == "help" || container.subcommands.iter().any(|row| row.name == name);
            assert!(runs, "{} does not run", listed.name);
        }
    }
}

#[test]
fn command_describes_all_or_those_asked_for() {
    let mut bench = Bench::new(&[]);
    let count = Command::all().len();
    assert_eq!(bench.say("COMMAND COUNT"), Value::Integer(count as i64));
    assert_eq!(array(&bench.say("COMMAND")).len(), count);
    assert_eq!(array(&bench.say("COMMAND INFO")).len(), count);
    let some = bench.say("COMMAND INFO get nope CLIENT|ID");
    let get = array(&array(&some)[0]);
    assert_eq!(get.len(), 10);
    assert_eq!(get[..2], [Value::bulk("get"), Value::Integer(2)]);
    assert_eq!(get[3..6], [Value::Integer(1), Value::Integer(1), Value::Integer(1)]);
    let Value::Set(flags) = &get[2] else { panic!("flags are a set") };
    assert!(flags.contains(&Value::Simple("readonly".into())));
    assert_eq!(array(&some)[1], Value::NullArray);
    assert_eq!(array(&array(&some)[2])[0], Value::bulk("client|id"));
}

#[test]
fn key_specifications_count_from_the_first_key() {
    let mut bench = Bench::new(&[]);
    let range = |info: &Value| {
        let spec = array(&array(&array(info)[0])[8])[0].clone();
        let range = field(field(&spec, "find_keys"), "spec").clone();
        (field(&range, "lastkey").clone(), field(&range, "keystep").clone())
    };
    assert_eq!(range(&bench.say("COMMAND INFO get")), (Value::Integer(0), Value::Integer(1)));
    assert_eq!(range(&bench.say("COMMAND INFO mset")), (Value::Integer(-1), Value::Integer(2)));
    assert_eq!(range(&bench.say("COMMAND INFO rename")), (Value::Integer(1), Value::Integer(1)));
    assert!(array(&array(&array(&bench.say("COMMAND INFO ping"))[0])[8]).is_empty());
}

#[test]
fn command_docs_have_what_clients_show() {
    let mut bench = Bench::new(&[]);
    let docs = bench.say("COMMAND DOCS set nope");
    let Value::Map(entries) = &docs else { panic!("is a map") };
    assert_eq!(entries.len(), 1, "unknown names are left out");
    for name in ["summary", "since", "group", "complexity", "arguments"] {
        field(field(&docs, "set"), name);
    }
    let Value::Map(all) = bench.say("COMMAND DOCS") else { panic!("is a map") };
    assert_eq!(all.len(), Command::all().len());
    for (name, entry) in &all {
        let Value::Bulk(summary) = field(entry, "summary") else { panic!("{name:?} has no summary") };
        assert!(!summary.is_empty(), "{name:?}");
    }
}

#[test]
fn command_list_filters() {
    let mut bench = Bench::new(&[]);
    let all = names(&bench.say("COMMAND LIST"));
    assert!(all.contains(&"get".into()) && all.contains(&"client|id".into()));
    assert_eq!(names(&bench.say("COMMAND LIST FILTERBY PATTERN GETR*")), ["getrange"]);
    assert!(names(&bench.say("COMMAND LIST FILTERBY ACLCAT string")).contains(&"set".into()));
    assert_eq!(names(&bench.say("COMMAND LIST FILTERBY MODULE json")), Vec::<String>::new());
    assert_eq!(bench.error("COMMAND LIST FILTERBY NAME x"), "ERR syntax error");
    assert_eq!(bench.error("COMMAND LIST x"), "ERR syntax error");
}

#[test]
fn command_getkeys() {
    let mut bench = Bench::new(&[]);
    assert_eq!(names(&bench.say("COMMAND GETKEYS MSET a 1 b 2")), ["a", "b"]);
    assert_eq!(bench.error("COMMAND GETKEYS PING"), "ERR The command has no key arguments");
    let pairs = bench.say("COMMAND GETKEYSANDFLAGS SET a 1");
    assert_eq!(array(&array(&pairs)[0])[0], Value::bulk("a"));
    assert!(bench.error("COMMAND GETKEYS NOPE a").starts_with("ERR Invalid command"));
}
