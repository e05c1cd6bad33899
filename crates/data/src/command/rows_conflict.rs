//! Values that were written at the same time (`multi-primary` keyspaces).

use super::argument::*;
use super::{Argument as A, ArgumentKind, Command, Join, Spread};
use crate::commands::conflict;

const CONTEXT: A = A::new("context", ArgumentKind::String);
const FIELD: A = A::new("field", ArgumentKind::String).optional();

pub(super) const ROWS: &[Command] = &[
    Command::read("siblings", -2, conflict::siblings)
        .flags("readonly fast", "keyspace")
        .key()
        .docs(
            "generic",
            "0.1.0",
            "O(N) with N siblings",
            "Gives all values that were written at the same time, and their context.",
        )
        .arguments(&[KEY, FIELD]),
    Command::read("rights", 2, conflict::rights)
        .flags("readonly fast", "keyspace")
        .key()
        .docs(
            "generic",
            "0.1.0",
            "O(N) with N replicas",
            "Says which replica may take how much from a counter that must not fall below zero.",
        )
        .arguments(&[KEY]),
    Command::write("resolve", -4, conflict::resolve)
        .flags("write denyoom fast", "keyspace")
        .key()
        .docs(
            "generic",
            "0.1.0",
            "O(N) with N siblings",
            "Puts a value in the place of all that were seen with a context.",
        )
        .arguments(&[KEY, CONTEXT, VALUE, FIELD]),
    Command::write("conflicts", -2, conflict::conflicts)
        .flags("write", "keyspace")
        .docs(
            "generic",
            "0.1.0",
            "O(N) with N conflicts kept",
            "Values that lost to others written at the same time.",
        )
        .subcommands(CONFLICTS),
];

const CONFLICTS: &[Command] = &[
    Command::read("conflicts|log", -2, conflict::conflicts)
        .flags("readonly", "keyspace")
        .spread(Spread::Everywhere(Join::Concatenate))
        .docs(
            "generic",
            "0.1.0",
            "O(N) with N conflicts kept",
            "Gives the conflicts that the replica here has noted.",
        )
        .arguments(&[
            A::new("prefix", ArgumentKind::String).optional(),
            A::new("count", ArgumentKind::Integer).token("COUNT").optional(),
        ]),
    Command::write("conflicts|restore", 3, conflict::conflicts)
        .flags("write", "keyspace")
        .keys(2, 2, 1)
        .docs("generic", "0.1.0", "O(N) with N conflicts kept", "Writes the value again that lost.")
        .arguments(&[KEY]),
];
