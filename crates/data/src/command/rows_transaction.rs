//! Several commands as one, and commands that run once.

use super::argument::KEY;
use super::{Argument as A, ArgumentKind, Command};

const FREE: &str = "noscript loading stale fast allow_busy";

pub(super) const ROWS: &[Command] = &[
    Command::server("multi", 1).flags(FREE, "transaction").docs(
        "transactions",
        "1.2.0",
        "O(1)",
        "Begins a transaction: commands are queued from here on.",
    ),
    Command::server("exec", 1).flags("noscript loading stale skip_slowlog", "transaction").docs(
        "transactions",
        "1.2.0",
        "What the queued commands cost",
        "Runs the queued commands as one.",
    ),
    Command::server("discard", 1).flags(FREE, "transaction").docs(
        "transactions",
        "2.0.0",
        "O(N) with N commands",
        "Drops the queued commands.",
    ),
    Command::server("watch", -2)
        .flags(FREE, "transaction")
        .keys(1, -1, 1)
        .docs(
            "transactions",
            "2.2.0",
            "O(N) with N keys",
            "Makes the next EXEC depend on these keys being unchanged.",
        )
        .arguments(&[KEY.multiple()]),
    Command::server("unwatch", 1).flags(FREE, "transaction").docs(
        "transactions",
        "2.2.0",
        "O(1)",
        "Lets go of all watched keys.",
    ),
    Command::server("idempotent", -3)
        .flags("write noscript", "transaction")
        .docs(
            "transactions",
            "0.1.0",
            "What the command costs",
            "Runs a write once, however often it is sent with this token.",
        )
        .arguments(&[
            A::new("token", ArgumentKind::String),
            A::new("command", ArgumentKind::String),
            A::new("argument", ArgumentKind::String).optional().multiple(),
        ]),
];
