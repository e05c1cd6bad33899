//! The command table: arity, flags and keys as Redis has them.

use super::*;

fn arguments(words: &str) -> Vec<Bytes> {
    words.split_ascii_whitespace().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect()
}

fn check(words: &str) -> Result<(), Value> {
    let arguments = arguments(words);
    Command::lookup(&arguments[0]).expect("a command").check_arity(&arguments)
}

#[test]
fn every_row_is_found_in_any_case() {
    for row in Command::all() {
        for name in [row.name.to_owned(), row.name.to_uppercase()] {
            let found = Command::lookup(name.as_bytes()).expect("a row");
            assert!(std::ptr::eq(found, row), "{name} stands in the table once");
        }
    }
    for name in ["", "nosuch", "gett", "object|encoding"] {
        assert!(Command::lookup(name.as_bytes()).is_none(), "{name}");
    }
}

#[test]
fn rows_are_complete() {
    let containers = Command::all().iter().flat_map(|row| row.subcommands);
    for row in Command::all().iter().chain(containers) {
        assert!(!row.summary.is_empty() && row.summary.ends_with('.'), "{} has a summary", row.name);
        assert!(!row.group.is_empty() && !row.since.is_empty() && !row.complexity.is_empty(), "{}", row.name);
        assert_eq!(row.name, row.name.to_lowercase());
        assert_eq!(
            row.handler.is_some(),
            row.kind != Kind::Server,
            "{} has code here or in the server",
            row.name
        );
        assert_eq!(
            row.kind == Kind::Write,
            row.has_flag("write") && row.name != "idempotent",
            "{}",
            row.name
        );
        assert!(row.keys.first == 0 || row.keys.step > 0, "{}", row.name);
        let key_arguments = row.arguments.iter().any(|argument| {
            argument.kind == ArgumentKind::Key
                || argument.inner.iter().any(|inner| inner.kind == ArgumentKind::Key)
        });
        assert_eq!(key_arguments, row.has_keys(), "{} documents its keys", row.name);
    }
}

#[test]
fn arity_is_checked_in_the_words_of_redis() {
    assert_eq!(check("GET a"), Ok(()));
    assert_eq!(check("SET a b NX"), Ok(()));
    assert_eq!(check("get"), Err(Value::error("ERR wrong number of arguments for 'get' command")));
    assert_eq!(check("GET a b"), Err(Value::error("ERR wrong number of arguments for 'get' command")));
    let sub = Value::error("ERR wrong number of arguments for 'object|encoding' command");
    assert_eq!(check("OBJECT ENCODING"), Err(sub));
    assert_eq!(check("OBJECT what k"), Err(Value::error("ERR unknown subcommand 'what'. Try OBJECT HELP.")));
    assert_eq!(check("CLIENT NOSUCH"), Ok(()), "the server checks its own");
}

#[test]
fn categories_follow_from_flags() {
    let names = |name: &str| Command::lookup(name.as_bytes()).expect("a row").category_names();
    assert_eq!(names("get"), ["fast", "read", "string"]);
    assert_eq!(names("flushall"), ["dangerous", "keyspace", "slow", "write"]);
    assert_eq!(names("shutdown"), ["admin", "dangerous", "slow"]);
}

#[test]
fn the_commands_of_the_foundation_are_there() {
    let names = "hello auth ping echo quit reset select client command info config cluster readonly readwrite asking \
        dbsize flushdb flushall time role shutdown wait memory object get set setnx setex psetex getset getdel getex \
        mget mset msetnx append strlen getrange substr setrange incr decr incrby decrby incrbyfloat setbit getbit \
        bitcount bitpos del unlink exists touch type expire pexpire expireat pexpireat ttl pttl expiretime pexpiretime \
        persist rename renamenx copy randomkey scan keys multi exec discard watch unwatch idempotent";
    for name in names.split_ascii_whitespace() {
        assert!(Command::lookup(name.as_bytes()).is_some(), "{name}");
    }
}
