//! The server, the cluster, and all keys at once.

use super::{Argument as A, ArgumentKind, Command, Join, Spread};
use crate::commands::{inspect, keyspace};

const FLUSH_MODE: &[A] =
    &[A::one_of("flush-type", &[A::word("async", "ASYNC"), A::word("sync", "SYNC")]).optional()];
const ALWAYS: &str = "loading stale";
const ORDERED: &str = "admin noscript loading stale";
const STRING: ArgumentKind = ArgumentKind::String;

pub(super) const ROWS: &[Command] = &[
    Command::read("dbsize", 1, keyspace::dbsize)
        .flags("readonly fast", "keyspace")
        .spread(Spread::Everywhere(Join::Sum))
        .docs("server", "1.0.0", "O(1)", "Gives the number of keys."),
    Command::write("flushdb", -1, keyspace::flush)
        .flags("write", "keyspace dangerous")
        .spread(Spread::Everywhere(Join::AllOk))
        .docs("server", "1.0.0", "O(N) with N keys", "Deletes every key; atomic within a partition.")
        .arguments(FLUSH_MODE),
    Command::write("flushall", -1, keyspace::flush)
        .flags("write", "keyspace dangerous")
        .spread(Spread::Everywhere(Join::AllOk))
        .docs("server", "1.0.0", "O(N) with N keys", "Deletes every key; atomic within a partition.")
        .arguments(FLUSH_MODE),
    Command::server("acl", -2)
        .docs("server", "6.0.0", "O(1)", "Users and what they may do.")
        .subcommands(ACL),
    Command::server("command", -1)
        .flags(ALWAYS, "connection")
        .docs("server", "2.8.13", "O(N) with N commands", "Describes the commands.")
        .subcommands(COMMAND),
    Command::server("info", -1)
        .flags(ALWAYS, "dangerous")
        .docs("server", "1.0.0", "O(1)", "Gives figures about the server.")
        .arguments(&[A::new("section", STRING).optional().multiple()]),
    Command::server("config", -2)
        .docs("server", "2.0.0", "O(1)", "Reads and changes settings.")
        .subcommands(CONFIG),
    Command::server("cluster", -2)
        .docs("cluster", "3.0.0", "O(1)", "Questions about the cluster.")
        .subcommands(CLUSTER),
    Command::server("time", 1).flags("loading stale fast", "").docs(
        "server",
        "2.6.0",
        "O(1)",
        "Gives the time of the server.",
    ),
    Command::server("role", 1).flags("noscript loading stale fast", "admin dangerous").docs(
        "server",
        "2.8.12",
        "O(1)",
        "Gives the part that the server plays.",
    ),
    Command::server("shutdown", -1)
        .flags("admin noscript loading stale no_multi allow_busy", "")
        .docs("server", "1.0.0", "O(1)", "Stops the server.")
        .arguments(&[
            A::one_of("save-selector", &[A::word("nosave", "NOSAVE"), A::word("save", "SAVE")]).optional(),
            A::word("now", "NOW").optional(),
            A::word("force", "FORCE").optional(),
        ]),
    Command::server("latency", -2)
        .docs("server", "2.8.13", "O(1)", "Questions about delays.")
        .subcommands(LATENCY),
    Command::server("slowlog", -2)
        .docs("server", "2.2.12", "O(1)", "Questions about slow commands.")
        .subcommands(SLOWLOG),
    Command::server("consort", -2)
        .flags("admin noscript", "")
        .docs(
            "server",
            "0.1.0",
            "O(1)",
            "Consort's own questions and orders: the state of the cluster, the catalogue, handing over.",
        )
        .subcommands(CONSORT),
    Command::server("keyspace", -2)
        .flags("admin noscript", "")
        .docs("server", "0.1.0", "O(1)", "How the keys of a prefix are replicated.")
        .subcommands(KEYSPACE),
    Command::server("node", -2)
        .flags("admin noscript", "")
        .docs("server", "0.1.0", "O(1)", "The members of the cluster.")
        .subcommands(NODE),
    Command::read("memory", -2, inspect::memory)
        .docs("server", "4.0.0", "O(1)", "Questions about memory.")
        .subcommands(MEMORY),
];

const MEMORY: &[Command] = &[
    Command::read("memory|usage", -3, inspect::memory)
        .flags("readonly", "")
        .keys(2, 2, 1)
        .docs("server", "4.0.0", "O(1)", "Gives the memory that a key takes, in bytes.")
        .arguments(&[
            A::new("key", ArgumentKind::Key),
            A::new("count", ArgumentKind::Integer).token("SAMPLES").optional(),
        ]),
    row("memory|doctor", 2, "", "", "4.0.0", "Says what takes memory."),
    row("memory|purge", 2, "", "", "4.0.0", "Does nothing: the allocator gives memory back by itself."),
    row("memory|stats", 2, "", "", "4.0.0", "Gives figures about memory."),
    Command::read("memory|help", 2, inspect::memory).flags(ALWAYS, "").docs(
        "server",
        "4.0.0",
        "O(1)",
        "Lists the subcommands.",
    ),
];

const ACL: &[Command] = &[
    row(
        "acl|cat",
        -2,
        "noscript loading stale",
        "",
        "6.0.0",
        "Lists categories of commands, or the commands of one.",
    ),
    row("acl|deluser", -3, ORDERED, "", "6.0.0", "Deletes users."),
    row("acl|dryrun", -4, ORDERED, "", "7.0.0", "Says whether a user may run a command."),
    row("acl|genpass", -2, "noscript loading stale", "", "6.0.0", "Generates a password."),
    row("acl|getuser", 3, ORDERED, "", "6.0.0", "Gives the rules of a user."),
    row("acl|help", 2, ALWAYS, "", "6.0.0", "Lists the subcommands."),
    row("acl|list", 2, ORDERED, "", "6.0.0", "Gives users with their rules."),
    row("acl|log", -2, ORDERED, "", "6.0.0", "Gives what was refused."),
    row("acl|setuser", -3, ORDERED, "", "6.0.0", "Makes or changes a user."),
    row("acl|users", 2, ORDERED, "", "6.0.0", "Gives the names of users."),
    row("acl|whoami", 2, "noscript loading stale", "", "6.0.0", "Gives the name of the connection's user."),
];

const COMMAND: &[Command] = &[
    row("command|count", 2, ALWAYS, "connection", "2.8.13", "Gives the number of commands."),
    row("command|docs", -2, ALWAYS, "connection", "7.0.0", "Documents commands."),
    row(
        "command|getkeys",
        -3,
        ALWAYS,
        "connection",
        "2.8.13",
        "Gives the keys among the arguments of a command.",
    ),
    row(
        "command|getkeysandflags",
        -3,
        ALWAYS,
        "connection",
        "7.0.0",
        "Gives the keys among the arguments of a command, and what it does to them.",
    ),
    row("command|help", 2, ALWAYS, "connection", "5.0.0", "Lists the subcommands."),
    row("command|info", -2, ALWAYS, "connection", "2.8.13", "Describes commands."),
    row("command|list", -2, ALWAYS, "connection", "7.0.0", "Names the commands."),
];

const CONFIG: &[Command] = &[
    row("config|get", -3, ORDERED, "", "2.0.0", "Reads settings."),
    row("config|help", 2, ALWAYS, "", "5.0.0", "Lists the subcommands."),
    row("config|resetstat", 2, ORDERED, "", "2.0.0", "Sets the counters of INFO to zero."),
    row("config|set", -4, ORDERED, "", "2.0.0", "Changes settings."),
];

const CLUSTER: &[Command] = &[
    row("cluster|countkeysinslot", 3, "stale", "", "3.0.0", "Counts the keys in a slot."),
    row("cluster|getkeysinslot", 4, "stale", "", "3.0.0", "Gives keys of a slot."),
    row("cluster|help", 2, ALWAYS, "", "5.0.0", "Lists the subcommands."),
    row("cluster|info", 2, "stale", "", "3.0.0", "Gives the state of the cluster."),
    row("cluster|partitions", 2, "stale", "", "0.1.0", "Says who cannot be reached and what follows."),
    row("cluster|keyslot", 3, "stale", "", "3.0.0", "Gives the slot of a key."),
    row("cluster|links", 2, "stale", "", "7.0.0", "Gives the connections between nodes."),
    row("cluster|myid", 2, "stale", "", "3.0.0", "Gives the id of the node."),
    row("cluster|myshardid", 2, "stale", "", "7.2.0", "Gives the id of the node's shard, which is its own."),
    row("cluster|nodes", 2, "stale", "", "3.0.0", "Describes the nodes, a line for each."),
    row("cluster|replicas", 3, "admin stale", "", "5.0.0", "Gives the replicas of a node."),
    row("cluster|shards", 2, "stale", "", "7.0.0", "Gives slots and nodes, by shard."),
    row("cluster|slaves", 3, "admin stale", "", "3.0.0", "The old name of REPLICAS."),
    row("cluster|slots", 2, "stale", "", "3.0.0", "Gives slots and nodes, by range of slots."),
];

const LATENCY: &[Command] = &[
    row("latency|help", 2, ALWAYS, "", "2.8.13", "Lists the subcommands."),
    row("latency|latest", 2, ORDERED, "", "2.8.13", "Gives the latest delays, of which none are kept."),
    row("latency|reset", -2, ORDERED, "", "2.8.13", "Forgets delays, of which none are kept."),
];

const SLOWLOG: &[Command] = &[
    row(
        "slowlog|get",
        -2,
        "admin loading stale",
        "",
        "2.2.12",
        "Gives slow commands, of which none are kept.",
    ),
    row("slowlog|help", 2, ALWAYS, "", "6.2.0", "Lists the subcommands."),
    row(
        "slowlog|len",
        2,
        "admin loading stale",
        "",
        "2.2.12",
        "Counts slow commands, of which none are kept.",
    ),
    row(
        "slowlog|reset",
        2,
        "admin loading stale",
        "",
        "2.2.12",
        "Forgets slow commands, of which none are kept.",
    ),
];

const CONSORT: &[Command] = &[
    row("consort|catalogue", 2, ORDERED, "", "0.1.0", "Gives the catalogue as this node knows it."),
    row("consort|fault", -2, ORDERED, "", "0.1.0", "Cuts this node off from others, in clusters to try out."),
    row("consort|help", 2, ALWAYS, "", "0.1.0", "Lists the subcommands."),
    row("consort|status", 2, ORDERED, "", "0.1.0", "Gives nodes, partitions and counters."),
    row("consort|transfer", 4, ORDERED, "", "0.1.0", "Hands a partition's leadership to a node."),
];

const KEYSPACE: &[Command] = &[
    row("keyspace|alter", -4, ORDERED, "", "0.1.0", "Changes the options of a keyspace."),
    row("keyspace|create", -5, ORDERED, "", "0.1.0", "Makes a keyspace of all keys with a prefix."),
    row("keyspace|drop", 4, ORDERED, "", "0.1.0", "Drops a keyspace and the keys in it."),
    row("keyspace|explain", -3, ORDERED, "", "0.1.0", "Says what a fault does to a keyspace."),
    row("keyspace|failover", -3, ORDERED, "", "0.1.0", "Hands a keyspace over to other primaries."),
    row("keyspace|help", 2, ALWAYS, "", "0.1.0", "Lists the subcommands."),
    row("keyspace|import", -3, ORDERED, "", "0.1.0", "Follows a Redis and takes its keys of a prefix over."),
    row("keyspace|info", 3, ORDERED, "", "0.1.0", "Gives the policy of a keyspace."),
    row("keyspace|list", 2, ORDERED, "", "0.1.0", "Gives all keyspaces."),
    row("keyspace|lost", -3, ORDERED, "", "0.1.0", "Gives, does again or drops writes that failovers lost."),
    row("keyspace|of", 3, ORDERED, "", "0.1.0", "Gives the keyspace of a key."),
];

const NODE: &[Command] = &[
    row("node|activate", 3, ORDERED, "", "0.1.0", "Lets a node take part again."),
    row("node|drain", 3, ORDERED, "", "0.1.0", "Moves all partitions of a node to others."),
    row("node|help", 2, ALWAYS, "", "0.1.0", "Lists the subcommands."),
    row("node|list", 2, ORDERED, "", "0.1.0", "Gives the members of the cluster."),
    row("node|moves", 2, ORDERED, "", "0.1.0", "Gives the partitions that are being moved."),
    row("node|remove", 3, ORDERED, "", "0.1.0", "Takes a node out of the cluster."),
    row("node|setting", -2, ORDERED, "", "0.1.0", "Gives or changes what holds for the whole cluster."),
    row("node|split", -3, ORDERED, "", "0.1.0", "Makes two partitions of one."),
    row("node|weight", 4, ORDERED, "", "0.1.0", "Changes a node's share."),
];

const fn row(
    name: &'static str,
    arity: i32,
    flags: &'static str,
    categories: &'static str,
    since: &'static str,
    summary: &'static str,
) -> Command {
    Command::server(name, arity).flags(flags, categories).docs("server", since, "O(1)", summary)
}
