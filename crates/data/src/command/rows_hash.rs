//! Hashes.

use super::argument::*;
use super::{Argument as A, ArgumentKind, Command};
use crate::commands::hash;

const FIELDS_AND_VALUES: A =
    A::block("field_value", &[A::new("field", ArgumentKind::String), A::new("value", ArgumentKind::String)])
        .multiple();
const FIELDS: A = A::new("field", ArgumentKind::String).multiple();

pub(super) const ROWS: &[Command] = &[
    Command::write("hset", -4, hash::hset)
        .flags("write denyoom fast", "hash")
        .key()
        .docs(
            "hash",
            "2.0.0",
            "O(N) with N fields",
            "Sets fields of a hash and gives the number of those that are new.",
        )
        .arguments(&[KEY, FIELDS_AND_VALUES]),
    Command::write("hmset", -4, hash::hmset)
        .flags("write denyoom fast", "hash")
        .key()
        .docs(
            "hash",
            "2.0.0",
            "O(N) with N fields",
            "Sets fields of a hash; HSET does the same and says more.",
        )
        .arguments(&[KEY, FIELDS_AND_VALUES]),
    Command::write("hsetnx", 4, hash::hsetnx)
        .flags("write denyoom fast", "hash")
        .key()
        .docs("hash", "2.0.0", "O(1)", "Sets a field of a hash that has none of this name.")
        .arguments(&[KEY, A::new("field", ArgumentKind::String), A::new("value", ArgumentKind::String)]),
    Command::read("hget", 3, hash::hget)
        .flags("readonly fast", "hash")
        .key()
        .docs("hash", "2.0.0", "O(1)", "Gives the value of a field of a hash.")
        .arguments(&[KEY, A::new("field", ArgumentKind::String)]),
    Command::read("hmget", -3, hash::hmget)
        .flags("readonly fast", "hash")
        .key()
        .docs("hash", "2.0.0", "O(N) with N fields", "Gives the values of several fields of a hash.")
        .arguments(&[KEY, FIELDS]),
    Command::write("hdel", -3, hash::hdel)
        .flags("write fast", "hash")
        .key()
        .docs(
            "hash",
            "2.0.0",
            "O(N) with N fields",
            "Removes fields of a hash and gives the number of those that were there.",
        )
        .arguments(&[KEY, FIELDS]),
    Command::read("hexists", 3, hash::hexists)
        .flags("readonly fast", "hash")
        .key()
        .docs("hash", "2.0.0", "O(1)", "Says whether a hash has a field.")
        .arguments(&[KEY, A::new("field", ArgumentKind::String)]),
    Command::read("hlen", 2, hash::hlen)
        .flags("readonly fast", "hash")
        .key()
        .docs("hash", "2.0.0", "O(1)", "Gives the number of fields of a hash.")
        .arguments(&[KEY]),
    Command::read("hstrlen", 3, hash::hstrlen)
        .flags("readonly fast", "hash")
        .key()
        .docs("hash", "3.2.0", "O(1)", "Gives the length of a field's value, in bytes.")
        .arguments(&[KEY, A::new("field", ArgumentKind::String)]),
    Command::read("hgetall", 2, hash::hgetall)
        .flags("readonly", "hash")
        .key()
        .docs("hash", "2.0.0", "O(N) with N fields", "Gives all fields of a hash and their values.")
        .arguments(&[KEY]),
    Command::read("hkeys", 2, hash::hkeys)
        .flags("readonly", "hash")
        .key()
        .docs("hash", "2.0.0", "O(N) with N fields", "Gives the names of all fields of a hash.")
        .arguments(&[KEY]),
    Command::read("hvals", 2, hash::hvals)
        .flags("readonly", "hash")
        .key()
        .docs("hash", "2.0.0", "O(N) with N fields", "Gives the values of all fields of a hash.")
        .arguments(&[KEY]),
    Command::write("hincrby", 4, hash::hincrby)
        .flags("write denyoom fast", "hash")
        .key()
        .docs("hash", "2.0.0", "O(1)", "Adds to the whole number in a field of a hash.")
        .arguments(&[KEY, A::new("field", ArgumentKind::String), A::new("increment", ArgumentKind::Integer)]),
    Command::write("hincrbyfloat", 4, hash::hincrbyfloat)
        .flags("write denyoom fast", "hash")
        .key()
        .docs("hash", "2.6.0", "O(1)", "Adds to the number in a field of a hash.")
        .arguments(&[KEY, A::new("field", ArgumentKind::String), A::new("increment", ArgumentKind::Double)]),
    Command::read("hrandfield", -2, hash::hrandfield)
        .flags("readonly", "hash")
        .key()
        .docs("hash", "6.2.0", "O(N) with N fields given", "Gives fields of a hash by chance.")
        .arguments(&[
            KEY,
            A::block(
                "options",
                &[A::new("count", ArgumentKind::Integer), A::word("withvalues", "WITHVALUES").optional()],
            )
            .optional(),
        ]),
    Command::read("hscan", -3, hash::hscan)
        .flags("readonly", "hash")
        .key()
        .docs(
            "hash",
            "2.8.0",
            "O(N) with N fields given",
            "Goes through the fields of a hash, some at a time.",
        )
        .arguments(&[
            KEY,
            A::new("cursor", ArgumentKind::Integer),
            A::new("pattern", ArgumentKind::Pattern).token("MATCH").optional(),
            A::new("count", ArgumentKind::Integer).token("COUNT").optional(),
        ]),
];
