//! Sets.

use super::argument::*;
use super::{Argument as A, ArgumentKind, Command};
use crate::commands::set;

const MEMBERS: A = A::new("member", ArgumentKind::String).multiple();
const COUNT: A = A::new("count", ArgumentKind::Integer).optional();

pub(super) const ROWS: &[Command] = &[
    Command::write("sadd", -3, set::sadd)
        .flags("write denyoom fast", "set")
        .key()
        .docs(
            "set",
            "1.0.0",
            "O(N) with N members",
            "Adds members to a set and gives the number of those that are new.",
        )
        .arguments(&[KEY, MEMBERS]),
    Command::write("srem", -3, set::srem)
        .flags("write fast", "set")
        .key()
        .docs(
            "set",
            "1.0.0",
            "O(N) with N members",
            "Removes members of a set and gives the number of those that were there.",
        )
        .arguments(&[KEY, MEMBERS]),
    Command::read("sismember", 3, set::sismember)
        .flags("readonly fast", "set")
        .key()
        .docs("set", "1.0.0", "O(1)", "Says whether a set has a member.")
        .arguments(&[KEY, A::new("member", ArgumentKind::String)]),
    Command::read("smismember", -3, set::smismember)
        .flags("readonly fast", "set")
        .key()
        .docs("set", "6.2.0", "O(N) with N members", "Says for each of several members whether a set has it.")
        .arguments(&[KEY, MEMBERS]),
    Command::read("scard", 2, set::scard)
        .flags("readonly fast", "set")
        .key()
        .docs("set", "1.0.0", "O(1)", "Gives the number of members of a set.")
        .arguments(&[KEY]),
    Command::read("smembers", 2, set::smembers)
        .flags("readonly", "set")
        .key()
        .docs("set", "1.0.0", "O(N) with N members", "Gives all members of a set.")
        .arguments(&[KEY]),
    Command::write("spop", -2, set::spop)
        .flags("write fast", "set")
        .key()
        .docs("set", "1.0.0", "O(N) with N members given", "Takes members of a set by chance.")
        .arguments(&[KEY, COUNT]),
    Command::read("srandmember", -2, set::srandmember)
        .flags("readonly", "set")
        .key()
        .docs("set", "1.0.0", "O(N) with N members given", "Gives members of a set by chance.")
        .arguments(&[KEY, COUNT]),
    Command::write("smove", 4, set::smove)
        .flags("write fast", "set")
        .keys(1, 2, 1)
        .docs("set", "1.0.0", "O(1)", "Moves a member from a set to another.")
        .arguments(&[
            A::new("source", ArgumentKind::Key),
            A::new("destination", ArgumentKind::Key),
            A::new("member", ArgumentKind::String),
        ]),
    Command::read("sunion", -2, set::sunion)
        .flags("readonly", "set")
        .keys(1, -1, 1)
        .docs(
            "set",
            "1.0.0",
            "O(N) with N members of all sets",
            "Gives the members that any of several sets has.",
        )
        .arguments(&[KEY.multiple()]),
    Command::read("sinter", -2, set::sinter)
        .flags("readonly", "set")
        .keys(1, -1, 1)
        .docs(
            "set",
            "1.0.0",
            "O(N*M) with N members of the smallest of M sets",
            "Gives the members that all of several sets have.",
        )
        .arguments(&[KEY.multiple()]),
    Command::read("sdiff", -2, set::sdiff)
        .flags("readonly", "set")
        .keys(1, -1, 1)
        .docs(
            "set",
            "1.0.0",
            "O(N*M) with N members of the first of M sets",
            "Gives the members that only the first of several sets has.",
        )
        .arguments(&[KEY.multiple()]),
    Command::write("sunionstore", -3, set::sunionstore)
        .flags("write denyoom", "set")
        .keys(1, -1, 1)
        .docs(
            "set",
            "1.0.0",
            "O(N) with N members of all sets",
            "Puts the members that any of several sets has into a key.",
        )
        .arguments(&[A::new("destination", ArgumentKind::Key), KEY.multiple()]),
    Command::write("sinterstore", -3, set::sinterstore)
        .flags("write denyoom", "set")
        .keys(1, -1, 1)
        .docs(
            "set",
            "1.0.0",
            "O(N*M) with N members of the smallest of M sets",
            "Puts the members that all of several sets have into a key.",
        )
        .arguments(&[A::new("destination", ArgumentKind::Key), KEY.multiple()]),
    Command::write("sdiffstore", -3, set::sdiffstore)
        .flags("write denyoom", "set")
        .keys(1, -1, 1)
        .docs(
            "set",
            "1.0.0",
            "O(N*M) with N members of the first of M sets",
            "Puts the members that only the first of several sets has into a key.",
        )
        .arguments(&[A::new("destination", ArgumentKind::Key), KEY.multiple()]),
    Command::read("sintercard", -3, set::sintercard)
        .flags("readonly movablekeys", "set")
        .numkeys(1)
        .docs(
            "set",
            "7.0.0",
            "O(N*M) with N members of the smallest of M sets",
            "Counts the members that all of several sets have.",
        )
        .arguments(&[
            A::new("numkeys", ArgumentKind::Integer),
            KEY.multiple(),
            A::new("limit", ArgumentKind::Integer).token("LIMIT").optional(),
        ]),
    Command::read("sscan", -3, set::sscan)
        .flags("readonly", "set")
        .key()
        .docs(
            "set",
            "2.8.0",
            "O(N) with N members given",
            "Goes through the members of a set, some at a time.",
        )
        .arguments(&[
            KEY,
            A::new("cursor", ArgumentKind::Integer),
            A::new("pattern", ArgumentKind::Pattern).token("MATCH").optional(),
            A::new("count", ArgumentKind::Integer).token("COUNT").optional(),
        ]),
];
