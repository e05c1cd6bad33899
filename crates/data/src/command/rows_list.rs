//! Lists.

use super::argument::*;
use super::{Argument as A, ArgumentKind, Command};
use crate::commands::list;

const ELEMENTS: A = A::new("element", ArgumentKind::String).multiple();
const COUNT: A = A::new("count", ArgumentKind::Integer).optional();
const WHEREFROM: A = A::one_of("wherefrom", &[A::word("left", "LEFT"), A::word("right", "RIGHT")]);
const WHERETO: A = A::one_of("whereto", &[A::word("left", "LEFT"), A::word("right", "RIGHT")]);
const WHERE: A = A::one_of("where", &[A::word("left", "LEFT"), A::word("right", "RIGHT")]);
const COUNT_OPTION: A = A::new("count", ArgumentKind::Integer).token("COUNT").optional();

pub(super) const ROWS: &[Command] = &[
    Command::write("lpush", -3, list::lpush)
        .flags("write denyoom fast", "list")
        .key()
        .docs("list", "1.0.0", "O(N) with N values", "Puts values before the first of a list.")
        .arguments(&[KEY, ELEMENTS]),
    Command::write("rpush", -3, list::rpush)
        .flags("write denyoom fast", "list")
        .key()
        .docs("list", "1.0.0", "O(N) with N values", "Puts values after the last of a list.")
        .arguments(&[KEY, ELEMENTS]),
    Command::write("lpushx", -3, list::lpushx)
        .flags("write denyoom fast", "list")
        .key()
        .docs("list", "2.2.0", "O(N) with N values", "Puts values before the first of a list that exists.")
        .arguments(&[KEY, ELEMENTS]),
    Command::write("rpushx", -3, list::rpushx)
        .flags("write denyoom fast", "list")
        .key()
        .docs("list", "2.2.0", "O(N) with N values", "Puts values after the last of a list that exists.")
        .arguments(&[KEY, ELEMENTS]),
    Command::write("lpop", -2, list::lpop)
        .flags("write fast", "list")
        .key()
        .docs("list", "1.0.0", "O(N) with N values given", "Takes values from the front of a list.")
        .arguments(&[KEY, COUNT]),
    Command::write("rpop", -2, list::rpop)
        .flags("write fast", "list")
        .key()
        .docs("list", "1.0.0", "O(N) with N values given", "Takes values from the end of a list.")
        .arguments(&[KEY, COUNT]),
    Command::read("llen", 2, list::llen)
        .flags("readonly fast", "list")
        .key()
        .docs("list", "1.0.0", "O(1)", "Gives the length of a list.")
        .arguments(&[KEY]),
    Command::read("lindex", 3, list::lindex)
        .flags("readonly", "list")
        .key()
        .docs(
            "list",
            "1.0.0",
            "O(N) with N runs of elements before it",
            "Gives the value at an index of a list.",
        )
        .arguments(&[KEY, A::new("index", ArgumentKind::Integer)]),
    Command::read("lrange", 4, list::lrange)
        .flags("readonly", "list")
        .key()
        .docs("list", "1.0.0", "O(N) with N values given", "Gives the values between two indices of a list.")
        .arguments(&[KEY, A::new("start", ArgumentKind::Integer), A::new("stop", ArgumentKind::Integer)]),
    Command::write("lset", 4, list::lset)
        .flags("write denyoom", "list")
        .key()
        .docs(
            "list",
            "1.0.0",
            "O(N) with N runs of elements before it",
            "Replaces the value at an index of a list.",
        )
        .arguments(&[KEY, A::new("index", ArgumentKind::Integer), A::new("element", ArgumentKind::String)]),
    Command::write("lrem", 4, list::lrem)
        .flags("write", "list")
        .key()
        .docs(
            "list",
            "1.0.0",
            "O(N) with N values in the list",
            "Removes values equal to a given one from a list.",
        )
        .arguments(&[KEY, A::new("count", ArgumentKind::Integer), A::new("element", ArgumentKind::String)]),
    Command::write("ltrim", 4, list::ltrim)
        .flags("write", "list")
        .key()
        .docs(
            "list",
            "1.0.0",
            "O(N) with N values removed",
            "Removes what is outside of two indices of a list.",
        )
        .arguments(&[KEY, A::new("start", ArgumentKind::Integer), A::new("stop", ArgumentKind::Integer)]),
    Command::write("linsert", 5, list::linsert)
        .flags("write denyoom", "list")
        .key()
        .docs(
            "list",
            "2.2.0",
            "O(N) with N values before it",
            "Puts a value before or after another one of a list.",
        )
        .arguments(&[
            KEY,
            A::one_of("where", &[A::word("before", "BEFORE"), A::word("after", "AFTER")]),
            A::new("pivot", ArgumentKind::String),
            A::new("element", ArgumentKind::String),
        ]),
    Command::read("lpos", -3, list::lpos)
        .flags("readonly", "list")
        .key()
        .docs(
            "list",
            "6.0.6",
            "O(N) with N values in the list",
            "Gives the indices at which a value stands in a list.",
        )
        .arguments(&[
            KEY,
            A::new("element", ArgumentKind::String),
            A::new("rank", ArgumentKind::Integer).token("RANK").optional(),
            A::new("num-matches", ArgumentKind::Integer).token("COUNT").optional(),
            A::new("len", ArgumentKind::Integer).token("MAXLEN").optional(),
        ]),
    Command::write("lmove", 5, list::lmove)
        .flags("write denyoom", "list")
        .keys(1, 2, 1)
        .docs("list", "6.2.0", "O(1)", "Moves a value from an end of a list to an end of another.")
        .arguments(&[
            A::new("source", ArgumentKind::Key),
            A::new("destination", ArgumentKind::Key),
            WHEREFROM,
            WHERETO,
        ]),
    Command::write("rpoplpush", 3, list::rpoplpush)
        .flags("write denyoom", "list")
        .keys(1, 2, 1)
        .docs("list", "1.2.0", "O(1)", "Moves a value from the end of a list to the front of another.")
        .arguments(&[A::new("source", ArgumentKind::Key), A::new("destination", ArgumentKind::Key)]),
    Command::write("lmpop", -4, list::lmpop)
        .flags("write movablekeys", "list")
        .numkeys(1)
        .docs(
            "list",
            "7.0.0",
            "O(N) with N keys and values given",
            "Takes values from the first of several lists that has some.",
        )
        .arguments(&[A::new("numkeys", ArgumentKind::Integer), KEY.multiple(), WHERE, COUNT_OPTION]),
    Command::write("blpop", -3, list::blpop)
        .flags("write noscript blocking", "blocking list")
        .keys(1, -2, 1)
        .docs(
            "list",
            "2.0.0",
            "O(N) with N keys",
            "Takes a value from the front of the first list that has some; waits for one.",
        )
        .arguments(&[KEY.multiple(), A::new("timeout", ArgumentKind::Double)]),
    Command::write("brpop", -3, list::brpop)
        .flags("write noscript blocking", "blocking list")
        .keys(1, -2, 1)
        .docs(
            "list",
            "2.0.0",
            "O(N) with N keys",
            "Takes a value from the end of the first list that has some; waits for one.",
        )
        .arguments(&[KEY.multiple(), A::new("timeout", ArgumentKind::Double)]),
    Command::write("blmove", 6, list::blmove)
        .flags("write denyoom noscript blocking", "blocking list")
        .keys(1, 2, 1)
        .docs(
            "list",
            "6.2.0",
            "O(1)",
            "Moves a value from an end of a list to an end of another; waits for one.",
        )
        .arguments(&[
            A::new("source", ArgumentKind::Key),
            A::new("destination", ArgumentKind::Key),
            WHEREFROM,
            WHERETO,
            A::new("timeout", ArgumentKind::Double),
        ]),
    Command::write("brpoplpush", 4, list::brpoplpush)
        .flags("write denyoom noscript blocking", "blocking list")
        .keys(1, 2, 1)
        .docs(
            "list",
            "2.2.0",
            "O(1)",
            "Moves a value from the end of a list to the front of another; waits for one.",
        )
        .arguments(&[
            A::new("source", ArgumentKind::Key),
            A::new("destination", ArgumentKind::Key),
            A::new("timeout", ArgumentKind::Double),
        ]),
    Command::write("blmpop", -5, list::blmpop)
        .flags("write blocking movablekeys", "blocking list")
        .numkeys(2)
        .docs(
            "list",
            "7.0.0",
            "O(N) with N keys and values given",
            "Takes values from the first of several lists that has some; waits for one.",
        )
        .arguments(&[
            A::new("timeout", ArgumentKind::Double),
            A::new("numkeys", ArgumentKind::Integer),
            KEY.multiple(),
            WHERE,
            COUNT_OPTION,
        ]),
    Command::write("lput", -4, list::lput)
        .flags("write denyoom", "list")
        .key()
        .docs(
            "list",
            "0.1.0",
            "O(N) with N values",
            "Puts values at positions of a list, to do again what KEYSPACE LOST lists.",
        )
        .arguments(&[
            KEY,
            A::block(
                "data",
                &[A::new("position", ArgumentKind::String), A::new("value", ArgumentKind::String)],
            )
            .multiple(),
        ]),
    Command::write("ltake", -3, list::ltake)
        .flags("write", "list")
        .key()
        .docs(
            "list",
            "0.1.0",
            "O(N) with N positions",
            "Takes what stands at positions of a list, to do again what KEYSPACE LOST lists.",
        )
        .arguments(&[KEY, A::new("position", ArgumentKind::String).multiple()]),
];
