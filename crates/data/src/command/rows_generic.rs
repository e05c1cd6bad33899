//! Keys of whatever type.

use super::argument::*;
use super::{Argument as A, ArgumentKind, Command, Join, Spread};
use crate::commands::{expire, inspect, keyspace, scan};

const CONDITION: A = A::one_of(
    "condition",
    &[A::word("nx", "NX"), A::word("xx", "XX"), A::word("gt", "GT"), A::word("lt", "LT")],
)
.optional();

const NEW_KEY: A = A::new("newkey", ArgumentKind::Key);
const PER_KEY: &str = "O(N) with N keys";

pub(super) const ROWS: &[Command] = &[
    Command::write("del", -2, keyspace::del)
        .flags("write", "keyspace")
        .keys(1, -1, 1)
        .spread(Spread::Parts(Join::Sum))
        .docs("generic", "1.0.0", PER_KEY, "Deletes keys and gives the number of those that existed.")
        .arguments(&[KEY.multiple()]),
    Command::write("unlink", -2, keyspace::del)
        .flags("write fast", "keyspace")
        .keys(1, -1, 1)
        .spread(Spread::Parts(Join::Sum))
        .docs("generic", "4.0.0", PER_KEY, "The same as DEL.")
        .arguments(&[KEY.multiple()]),
    Command::read("exists", -2, keyspace::exists)
        .flags("readonly fast", "keyspace")
        .keys(1, -1, 1)
        .spread(Spread::Parts(Join::Sum))
        .docs("generic", "1.0.0", PER_KEY, "Counts those of the keys that exist.")
        .arguments(&[KEY.multiple()]),
    Command::read("touch", -2, keyspace::exists)
        .flags("readonly fast", "keyspace")
        .keys(1, -1, 1)
        .spread(Spread::Parts(Join::Sum))
        .docs(
            "generic",
            "3.2.1",
            PER_KEY,
            "Counts those of the keys that exist; times of access are not kept.",
        )
        .arguments(&[KEY.multiple()]),
    Command::read("type", 2, keyspace::type_of)
        .flags("readonly fast", "keyspace")
        .key()
        .docs("generic", "1.0.0", "O(1)", "Gives the type of what a key holds.")
        .arguments(&[KEY]),
    Command::write("expire", -3, expire::expire)
        .flags("write fast", "keyspace")
        .key()
        .docs("generic", "1.0.0", "O(1)", "Lets a key end after so many seconds.")
        .arguments(&[KEY, SECONDS, CONDITION]),
    Command::write("pexpire", -3, expire::pexpire)
        .flags("write fast", "keyspace")
        .key()
        .docs("generic", "2.6.0", "O(1)", "Lets a key end after so many milliseconds.")
        .arguments(&[KEY, MILLISECONDS, CONDITION]),
    Command::write("expireat", -3, expire::expireat)
        .flags("write fast", "keyspace")
        .key()
        .docs("generic", "1.2.0", "O(1)", "Lets a key end at a time, in seconds since 1970.")
        .arguments(&[KEY, AT_SECONDS, CONDITION]),
    Command::write("pexpireat", -3, expire::pexpireat)
        .flags("write fast", "keyspace")
        .key()
        .docs("generic", "2.6.0", "O(1)", "Lets a key end at a time, in milliseconds since 1970.")
        .arguments(&[KEY, AT_MILLISECONDS, CONDITION]),
    Command::read("ttl", 2, expire::ttl)
        .flags("readonly fast", "keyspace")
        .key()
        .docs("generic", "1.0.0", "O(1)", "Gives the seconds until a key ends.")
        .arguments(&[KEY]),
    Command::read("pttl", 2, expire::pttl)
        .flags("readonly fast", "keyspace")
        .key()
        .docs("generic", "2.6.0", "O(1)", "Gives the milliseconds until a key ends.")
        .arguments(&[KEY]),
    Command::read("expiretime", 2, expire::expiretime)
        .flags("readonly fast", "keyspace")
        .key()
        .docs("generic", "7.0.0", "O(1)", "Gives the time when a key ends, in seconds since 1970.")
        .arguments(&[KEY]),
    Command::read("pexpiretime", 2, expire::pexpiretime)
        .flags("readonly fast", "keyspace")
        .key()
        .docs("generic", "7.0.0", "O(1)", "Gives the time when a key ends, in milliseconds since 1970.")
        .arguments(&[KEY]),
    Command::write("persist", 2, expire::persist)
        .flags("write fast", "keyspace")
        .key()
        .docs("generic", "2.2.0", "O(1)", "Removes the expiry of a key.")
        .arguments(&[KEY]),
    Command::write("rename", 3, keyspace::rename)
        .flags("write", "keyspace")
        .keys(1, 2, 1)
        .docs(
            "generic",
            "1.0.0",
            "O(N) with N bytes of value",
            "Gives what a key holds to another, whatever that held.",
        )
        .arguments(&[KEY, NEW_KEY]),
    Command::write("renamenx", 3, keyspace::renamenx)
        .flags("write fast", "keyspace")
        .keys(1, 2, 1)
        .docs(
            "generic",
            "1.0.0",
            "O(N) with N bytes of value",
            "Gives what a key holds to another that does not exist.",
        )
        .arguments(&[KEY, NEW_KEY]),
    Command::write("copy", -3, keyspace::copy)
        .flags("write denyoom", "keyspace")
        .keys(1, 2, 1)
        .docs("generic", "6.2.0", "O(N) with N bytes of value", "Copies what a key holds to another.")
        .arguments(&[
            A::new("source", ArgumentKind::Key),
            A::new("destination", ArgumentKind::Key),
            A::new("destination-db", ArgumentKind::Integer).token("DB").optional(),
            A::word("replace", "REPLACE").optional(),
        ]),
    Command::read("randomkey", 1, scan::randomkey)
        .flags("readonly", "keyspace")
        .spread(Spread::Everywhere(Join::PickOne))
        .docs("generic", "1.0.0", "O(N) with N hundreds of keys", "Gives a key by chance."),
    Command::read("scan", -2, scan::scan)
        .flags("readonly", "keyspace")
        .spread(Spread::Cursor)
        .docs("generic", "2.8.0", "O(COUNT) for each call", "Goes through the keys piece by piece.")
        .arguments(&[
            A::new("cursor", ArgumentKind::Integer),
            A::new("pattern", ArgumentKind::Pattern).token("MATCH").optional(),
            A::new("count", ArgumentKind::Integer).token("COUNT").optional(),
            A::new("type", ArgumentKind::String).token("TYPE").optional(),
        ]),
    Command::read("keys", 2, scan::keys)
        .flags("readonly", "keyspace dangerous")
        .spread(Spread::Everywhere(Join::Concatenate))
        .docs("generic", "1.0.0", "O(N) with N keys in all", "Gives the keys that match a pattern.")
        .arguments(&[A::new("pattern", ArgumentKind::Pattern)]),
    Command::server("wait", 3)
        .flags("noscript", "connection")
        .docs(
            "generic",
            "3.0.0",
            "O(1)",
            "Waits until the writes of this connection are on so many replicas.",
        )
        .arguments(&[A::new("numreplicas", ArgumentKind::Integer), A::new("timeout", ArgumentKind::Integer)]),
    Command::server("waitaof", 4)
        .flags("noscript", "connection")
        .docs(
            "generic",
            "7.2.0",
            "O(1)",
            "Waits until the writes of this connection are on the disks of the primary and of so many replicas.",
        )
        .arguments(&[
            A::new("numlocal", ArgumentKind::Integer),
            A::new("numreplicas", ArgumentKind::Integer),
            A::new("timeout", ArgumentKind::Integer),
        ]),
    Command::read("object", -2, inspect::object)
        .docs("generic", "2.2.3", "O(1)", "Questions about how a key is held.")
        .subcommands(OBJECT),
];

const OBJECT: &[Command] = &[
    object_row("object|encoding", "Gives the name that Redis has for how the value would be held."),
    object_row("object|freq", "Gives how often a key was asked for, which is not counted here."),
    object_row("object|idletime", "Gives the seconds since a key was asked for, which are not counted here."),
    object_row("object|refcount", "Gives the number of references to the value, which is 1."),
    Command::read("object|help", 2, inspect::object).flags("loading stale", "keyspace").docs(
        "generic",
        "6.2.0",
        "O(1)",
        "Lists the subcommands.",
    ),
];

const fn object_row(name: &'static str, summary: &'static str) -> Command {
    Command::read(name, 3, inspect::object)
        .flags("readonly", "keyspace")
        .keys(2, 2, 1)
        .docs("generic", "2.2.3", "O(1)", summary)
        .arguments(&[KEY])
}
