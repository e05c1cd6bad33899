//! Strings and numbers.

use super::argument::*;
use super::{Argument as A, ArgumentKind, Command, Join, Spread};
use crate::commands::{counter, expiring, many, string};

const SET_OPTIONS: &[A] = &[
    KEY,
    VALUE,
    A::one_of("condition", &[A::word("nx", "NX"), A::word("xx", "XX")]).optional(),
    A::word("get", "GET").optional(),
    A::one_of(
        "expiration",
        &[
            SECONDS.token("EX"),
            MILLISECONDS.token("PX"),
            AT_SECONDS.token("EXAT"),
            AT_MILLISECONDS.token("PXAT"),
            A::word("keepttl", "KEEPTTL"),
        ],
    )
    .optional(),
];

const GETEX_OPTIONS: &[A] = &[
    KEY,
    A::one_of(
        "expiration",
        &[
            SECONDS.token("EX"),
            MILLISECONDS.token("PX"),
            AT_SECONDS.token("EXAT"),
            AT_MILLISECONDS.token("PXAT"),
            A::word("persist", "PERSIST"),
        ],
    )
    .optional(),
];

pub(super) const ROWS: &[Command] = &[
    Command::read("get", 2, string::get)
        .flags("readonly fast", "string")
        .key()
        .docs("string", "1.0.0", "O(1)", "Gives the string in a key.")
        .arguments(&[KEY]),
    Command::write("set", -3, expiring::set)
        .flags("write denyoom", "string")
        .key()
        .docs(
            "string",
            "1.0.0",
            "O(1)",
            "Puts a string into a key, whatever it held, unless a condition forbids it.",
        )
        .arguments(SET_OPTIONS),
    Command::write("setnx", 3, string::setnx)
        .flags("write denyoom fast", "string")
        .key()
        .docs("string", "1.0.0", "O(1)", "Puts a string into a key that does not exist.")
        .arguments(&[KEY, VALUE]),
    Command::write("setex", 4, expiring::setex)
        .flags("write denyoom", "string")
        .key()
        .docs("string", "2.0.0", "O(1)", "Puts a string into a key that ends after so many seconds.")
        .arguments(&[KEY, SECONDS, VALUE]),
    Command::write("psetex", 4, expiring::psetex)
        .flags("write denyoom", "string")
        .key()
        .docs("string", "2.6.0", "O(1)", "Puts a string into a key that ends after so many milliseconds.")
        .arguments(&[KEY, MILLISECONDS, VALUE]),
    Command::write("getset", 3, string::getset)
        .flags("write denyoom fast", "string")
        .key()
        .docs("string", "1.0.0", "O(1)", "Puts a string into a key and gives the one before.")
        .arguments(&[KEY, VALUE]),
    Command::write("getdel", 2, string::getdel)
        .flags("write fast", "string")
        .key()
        .docs("string", "6.2.0", "O(1)", "Gives the string in a key and deletes the key.")
        .arguments(&[KEY]),
    Command::write("getex", -2, expiring::getex)
        .flags("write fast", "string")
        .key()
        .docs("string", "6.2.0", "O(1)", "Gives the string in a key and sets or removes its expiry.")
        .arguments(GETEX_OPTIONS),
    Command::read("mget", -2, many::mget)
        .flags("readonly fast", "string")
        .keys(1, -1, 1)
        .spread(Spread::Parts(Join::Interleave))
        .docs("string", "1.0.0", "O(N) with N keys", "Gives the strings in several keys.")
        .arguments(&[KEY.multiple()]),
    Command::write("mset", -3, many::mset)
        .flags("write denyoom", "string")
        .keys(1, -1, 2)
        .spread(Spread::Parts(Join::AllOk))
        .docs(
            "string",
            "1.0.1",
            "O(N) with N keys",
            "Puts strings into several keys; atomic within a partition.",
        )
        .arguments(&[KEY_VALUE]),
    Command::write("msetnx", -3, many::msetnx)
        .flags("write denyoom", "string")
        .keys(1, -1, 2)
        .docs("string", "1.0.1", "O(N) with N keys", "Puts strings into several keys if none of them exists.")
        .arguments(&[KEY_VALUE]),
    Command::write("append", 3, string::append)
        .flags("write denyoom fast", "string")
        .key()
        .docs("string", "2.0.0", "O(N) with N bytes appended", "Appends bytes to the string in a key.")
        .arguments(&[KEY, VALUE]),
    Command::read("strlen", 2, string::strlen)
        .flags("readonly fast", "string")
        .key()
        .docs("string", "2.2.0", "O(1)", "Gives the length of the string in a key, in bytes.")
        .arguments(&[KEY]),
    Command::read("getrange", 4, string::getrange)
        .flags("readonly", "string")
        .key()
        .docs("string", "2.4.0", "O(N) with N bytes given", "Gives a part of the string in a key.")
        .arguments(&[KEY, START, END]),
    Command::read("substr", 4, string::getrange)
        .flags("readonly", "string")
        .key()
        .docs("string", "1.0.0", "O(N) with N bytes given", "The old name of GETRANGE.")
        .arguments(&[KEY, START, END]),
    Command::write("setrange", 4, string::setrange)
        .flags("write denyoom", "string")
        .key()
        .docs("string", "2.2.0", "O(N) with N bytes written", "Overwrites a part of the string in a key.")
        .arguments(&[KEY, OFFSET, VALUE]),
    Command::write("incr", 2, counter::incr)
        .flags("write denyoom fast", "string")
        .key()
        .docs("string", "1.0.0", "O(1)", "Adds one to the whole number in a key.")
        .arguments(&[KEY]),
    Command::write("decr", 2, counter::decr)
        .flags("write denyoom fast", "string")
        .key()
        .docs("string", "1.0.0", "O(1)", "Takes one from the whole number in a key.")
        .arguments(&[KEY]),
    Command::write("incrby", 3, counter::incrby)
        .flags("write denyoom fast", "string")
        .key()
        .docs("string", "1.0.0", "O(1)", "Adds to the whole number in a key.")
        .arguments(&[KEY, INCREMENT]),
    Command::write("decrby", 3, counter::decrby)
        .flags("write denyoom fast", "string")
        .key()
        .docs("string", "1.0.0", "O(1)", "Takes from the whole number in a key.")
        .arguments(&[KEY, DECREMENT]),
    Command::write("incrbyfloat", 3, counter::incrbyfloat)
        .flags("write denyoom fast", "string")
        .key()
        .docs("string", "2.6.0", "O(1)", "Adds to the number in a key.")
        .arguments(&[KEY, A::new("increment", ArgumentKind::Double)]),
];
