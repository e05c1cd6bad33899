//! The connection. The server answers these.

use super::{Argument as A, ArgumentKind, Command};

const EARLY: &str = "noscript loading stale fast no_auth allow_busy";
const ASKED: &str = "noscript loading stale";
const ORDERED: &str = "admin noscript loading stale";
const STRING: ArgumentKind = ArgumentKind::String;

pub(super) const ROWS: &[Command] = &[
    Command::server("hello", -1)
        .flags(EARLY, "connection")
        .docs("connection", "6.0.0", "O(1)", "Agrees on the protocol; may log in and name the connection.")
        .arguments(&[
            A::new("protover", ArgumentKind::Integer).optional(),
            A::block("auth", &[A::new("username", STRING), A::new("password", STRING)])
                .token("AUTH")
                .optional(),
            A::new("clientname", STRING).token("SETNAME").optional(),
        ]),
    Command::server("auth", -2)
        .flags(EARLY, "connection")
        .docs("connection", "1.0.0", "O(1)", "Logs in.")
        .arguments(&[A::new("username", STRING).optional(), A::new("password", STRING)]),
    Command::server("ping", -1)
        .flags("fast", "connection")
        .docs("connection", "1.0.0", "O(1)", "Answers PONG, or the message.")
        .arguments(&[A::new("message", STRING).optional()]),
    Command::server("echo", 2)
        .flags("loading stale fast", "connection")
        .docs("connection", "1.0.0", "O(1)", "Answers the message.")
        .arguments(&[A::new("message", STRING)]),
    Command::server("quit", -1).flags(EARLY, "connection").docs(
        "connection",
        "1.0.0",
        "O(1)",
        "Ends the connection.",
    ),
    Command::server("reset", 1).flags(EARLY, "connection").docs(
        "connection",
        "6.2.0",
        "O(1)",
        "Makes the connection as if it were new.",
    ),
    Command::server("select", 2)
        .flags("loading stale fast", "connection")
        .docs("connection", "1.0.0", "O(1)", "Chooses the database, of which there is only 0.")
        .arguments(&[A::new("index", ArgumentKind::Integer)]),
    Command::server("client", -2)
        .docs("connection", "2.4.0", "O(1)", "Questions and orders about connections.")
        .subcommands(CLIENT),
    Command::server("readonly", 1).flags("loading stale fast", "connection").docs(
        "cluster",
        "3.0.0",
        "O(1)",
        "Lets a cluster client read from replicas.",
    ),
    Command::server("readwrite", 1).flags("loading stale fast", "connection").docs(
        "cluster",
        "3.0.0",
        "O(1)",
        "Ends READONLY.",
    ),
    Command::server("asking", 1).flags("fast", "connection").docs(
        "cluster",
        "3.0.0",
        "O(1)",
        "Follows an ASK redirection, of which there are none.",
    ),
];

const CLIENT: &[Command] = &[
    client_row("client|ack", -3, ASKED, "0.1.0", "Says when writes of the connection are acknowledged."),
    client_row(
        "client|quorum",
        -3,
        ASKED,
        "0.1.0",
        "Says how many replicas of leaderless keyspaces are asked.",
    ),
    client_row("client|consistency", -2, ASKED, "0.1.0", "Says how fresh reads are to be."),
    client_row("client|session", -3, ASKED, "0.1.0", "Gives or takes what a session has seen."),
    client_row("client|getname", 2, ASKED, "2.6.9", "Gives the name of the connection."),
    client_row("client|getredir", 2, ASKED, "6.0.0", "Gives -1: invalidations are not redirected."),
    client_row("client|help", 2, "loading stale", "5.0.0", "Lists the subcommands."),
    client_row("client|id", 2, ASKED, "5.0.0", "Gives the number of the connection."),
    client_row("client|info", 2, ASKED, "6.2.0", "Describes the connection."),
    client_row("client|kill", -3, ORDERED, "2.4.0", "Ends connections."),
    client_row("client|list", -2, ORDERED, "2.4.0", "Describes the connections."),
    client_row("client|no-evict", 3, ORDERED, "7.0.0", "Keeps the connection when memory runs short."),
    client_row(
        "client|no-touch",
        3,
        ASKED,
        "7.2.0",
        "Accepted for clients' sake: times of access are not kept.",
    ),
    client_row("client|reply", 3, ASKED, "3.2.0", "Turns replies on or off."),
    client_row("client|setinfo", 4, ASKED, "7.2.0", "Notes the client library."),
    client_row("client|setname", 3, ASKED, "2.6.9", "Names the connection."),
    client_row("client|unblock", -3, ORDERED, "5.0.0", "Ends the wait of a connection."),
];

const fn client_row(
    name: &'static str,
    arity: i32,
    flags: &'static str,
    since: &'static str,
    summary: &'static str,
) -> Command {
    Command::server(name, arity).flags(flags, "connection").docs("connection", since, "O(1)", summary)
}
