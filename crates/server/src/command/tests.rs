//! Replies of server commands, byte for byte where clients parse them.

use std::sync::Arc;

use bytes::Bytes;
use replication::catalogue::{Change, MemberState, Policy};
use replication::configuration::{Acknowledgement, PrimaryReplica};
use replication::consistency::Consistency;
use replication::contract::Admin;
use replication::primaries::{Conflict, Counters, Leaderless, Level, MultiPrimary, Quorum, Replicas};
use replication::{NodeId, PartitionId};
use resp::{Protocol, Value};

use super::{Action, COMMANDS, Call, Context, cluster_texts::hexadecimal_id};
use crate::cluster::tests::{status, three_nodes};
use crate::config::{Sources, load};
use crate::session::{ReplyMode, Session};

mod cluster;
mod table;

/// A node of three with one connection.
pub(super) struct Bench {
    pub context: Context,
    pub session: Session,
}

impl Bench {
    fn new(flags: &[(&str, &str)]) -> Bench {
        let flags: Vec<_> = flags.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let config = load(Sources { flags: &flags, ..Sources::default() }).expect("valid").config;
        let context = Context::new(Arc::new(config), Arc::new(three_nodes(6)), 0xabcd);
        let session = Bench::connect(&context);
        Bench { context, session }
    }

    fn connect(context: &Context) -> Session {
        let address = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        context.clients.register(
            address(50_000 + context.clients.len() as u16),
            address(7001),
            &context.users,
        )
    }

    fn act(&mut self, line: &str) -> Action {
        let words: Vec<Bytes> = line.split(' ').map(|word| Bytes::from(word.to_string())).collect();
        let name = line.split(' ').next().unwrap_or_default().to_ascii_lowercase();
        let (_, run) = COMMANDS.iter().find(|(row, _)| *row == name).expect("is a server command");
        run(&mut Call { arguments: &words, session: &mut self.session, context: &self.context })
    }

    pub fn say(&mut self, line: &str) -> Value {
        match self.act(line) {
            Action::Reply(value) => value,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn error(&mut self, line: &str) -> String {
        match self.say(line) {
            Value::Error(text) => text.into_owned(),
            other => panic!("{line}: {other:?}"),
        }
    }

    pub fn text(&mut self, line: &str) -> String {
        match self.say(line) {
            Value::Bulk(bytes) | Value::Verbatim(_, bytes) => {
                String::from_utf8(bytes.to_vec()).expect("is text")
            }
            Value::Simple(text) => text.into_owned(),
            other => panic!("{line}: {other:?}"),
        }
    }
}

fn field<'a>(map: &'a Value, name: &str) -> &'a Value {
    let Value::Map(entries) = map else { panic!("{map:?} is no map") };
    let is_it = |key: &Value| matches!(key, Value::Bulk(bytes) if bytes == name.as_bytes());
    &entries.iter().find(|(key, _)| is_it(key)).unwrap_or_else(|| panic!("no {name} in {map:?}")).1
}

#[test]
fn hello_switches_the_protocol_and_says_who_answers() {
    let mut bench = Bench::new(&[]);
    let reply = bench.say("HELLO 3 SETNAME me");
    assert_eq!(field(&reply, "server"), &Value::bulk("redis"));
    assert_eq!(field(&reply, "proto"), &Value::Integer(3));
    assert_eq!(field(&reply, "mode"), &Value::bulk("cluster"));
    assert_eq!(bench.session.protocol, Protocol::Resp3);
    assert_eq!(bench.text("CLIENT GETNAME"), "me");
    assert_eq!(field(&bench.say("HELLO"), "proto"), &Value::Integer(3), "without a version it stays");
}

#[test]
fn a_hello_that_fails_changes_nothing() {
    let mut bench = Bench::new(&[("password", "secret")]);
    assert_eq!(bench.error("HELLO 4"), "NOPROTO unsupported protocol version");
    assert_eq!(bench.error("HELLO x"), "ERR Protocol version is not an integer or out of range");
    assert!(bench.error("HELLO 3").starts_with("NOAUTH HELLO must be called with the client already"));
    let wrong = "WRONGPASS invalid username-password pair or user is disabled.";
    assert_eq!(bench.error("HELLO 3 AUTH default wrong SETNAME x"), wrong);
    assert_eq!(bench.error("HELLO 3 AUTH root secret"), wrong);
    assert_eq!(bench.error("HELLO 3 AUTH default"), "ERR Syntax error in HELLO option 'AUTH'");
    assert_eq!(bench.session.protocol, Protocol::Resp2);
    assert!(!bench.session.authenticated);
    assert_eq!(bench.say("CLIENT GETNAME"), Value::Null);
    bench.say("HELLO 3 AUTH default secret");
    assert!(bench.session.authenticated);
}

#[test]
fn auth_with_and_without_a_password() {
    let mut open = Bench::new(&[]);
    assert!(open.session.authenticated);
    assert!(open.error("AUTH x").starts_with("ERR AUTH <password> called without any password configured"));
    assert_eq!(open.say("AUTH default x"), Value::OK);
    let mut closed = Bench::new(&[("password", "secret")]);
    for wrong in ["AUTH secre", "AUTH secret1", "AUTH SECRET", "AUTH root secret"] {
        assert!(closed.error(wrong).starts_with("WRONGPASS "), "{wrong}");
        assert!(!closed.session.authenticated);
    }
    assert_eq!(closed.error("AUTH a b c"), "ERR syntax error");
    assert_eq!(closed.say("AUTH secret"), Value::OK);
    assert!(closed.session.authenticated);
}

#[test]
fn reset_makes_a_new_connection_of_an_old_one() {
    let mut bench = Bench::new(&[("password", "secret")]);
    bench.say("HELLO 3 AUTH default secret SETNAME x");
    bench.say("READONLY");
    bench.say("CLIENT SETINFO LIB-NAME lib");
    assert_eq!(bench.act("RESET"), Action::Reset(Value::Simple("RESET".into())));
    assert_eq!(bench.session.protocol, Protocol::Resp2);
    assert!(!bench.session.authenticated && !bench.session.readonly);
    let names = bench.session.client.names();
    assert_eq!((names.name.as_str(), names.library.as_str()), ("", "lib"));
}

#[test]
fn small_commands() {
    let mut bench = Bench::new(&[]);
    assert_eq!(bench.text("PING"), "PONG");
    assert_eq!(bench.text("PING hi"), "hi");
    assert_eq!(bench.error("PING a b"), "ERR wrong number of arguments for 'ping' command");
    assert_eq!(bench.text("ECHO hi"), "hi");
    assert_eq!(bench.act("QUIT"), Action::Close(Value::OK));
    assert_eq!(bench.say("SELECT 0"), Value::OK);
    assert_eq!(bench.error("SELECT 1"), "ERR DB index is out of range");
    assert_eq!(bench.error("SELECT x"), "ERR value is not an integer or out of range");
    assert_eq!(bench.say("READONLY"), Value::OK);
    assert!(bench.session.readonly);
    let Value::Array(time) = bench.say("TIME") else { panic!("TIME is an array") };
    assert_eq!(time.len(), 2);
}

#[test]
fn shutdown_options() {
    let mut bench = Bench::new(&[]);
    assert_eq!(bench.act("SHUTDOWN"), Action::Shutdown { now: false });
    assert_eq!(bench.act("SHUTDOWN NOSAVE"), Action::Shutdown { now: false });
    assert_eq!(bench.act("SHUTDOWN SAVE NOW FORCE"), Action::Shutdown { now: true });
    assert_eq!(bench.error("SHUTDOWN ABORT"), "ERR No shutdown in progress.");
    assert_eq!(bench.error("SHUTDOWN NOW ABORT"), "ERR syntax error");
    assert_eq!(bench.error("SHUTDOWN LATER"), "ERR syntax error");
}

#[test]
fn reply_modes_decide_which_replies_are_sent() {
    let mut bench = Bench::new(&[]);
    let mut sent = |line: &str| {
        bench.say(line);
        bench.session.sends_reply()
    };
    assert!(sent("PING"));
    assert!(!sent("CLIENT REPLY SKIP"));
    assert!(!sent("PING"));
    assert!(sent("PING"));
    assert!(!sent("CLIENT REPLY OFF"));
    assert!(!sent("PING"));
    assert!(!sent("CLIENT REPLY SKIP"));
    assert!(!sent("PING"));
    assert!(!sent("PING"), "SKIP does not end OFF");
    assert!(sent("CLIENT REPLY ON"));
    assert_eq!(bench.session.reply_mode, ReplyMode::On);
}

#[test]
fn names_hold_no_spaces_and_no_control_characters() {
    let mut bench = Bench::new(&[]);
    assert_eq!(
        bench.error("CLIENT SETNAME a\nb"),
        "ERR Client names cannot contain spaces, newlines or special characters."
    );
    assert_eq!(
        bench.error("CLIENT SETINFO lib-ver a\u{7f}"),
        "ERR lib-ver cannot contain spaces, newlines or special characters."
    );
    assert_eq!(bench.error("CLIENT SETINFO lib-x a"), "ERR Unrecognized option 'lib-x'");
    assert_eq!(bench.say("CLIENT SETNAME x"), Value::OK);
    assert_eq!(bench.say("CLIENT SETNAME "), Value::OK, "an empty name takes the name away");
    assert_eq!(bench.say("CLIENT GETNAME"), Value::Null);
}

#[test]
fn client_list_shows_everybody_in_the_fields_of_redis() {
    let mut bench = Bench::new(&[]);
    let other = Bench::connect(&bench.context);
    bench.say("CLIENT SETNAME me");
    let list = bench.text("CLIENT LIST");
    assert_eq!(list.lines().count(), 2);
    let mine: Vec<_> = list.lines().next().unwrap_or_default().split(' ').collect();
    for field in
        ["id=1", "addr=127.0.0.1:50000", "laddr=127.0.0.1:7001", "name=me", "flags=N", "db=0", "resp=2"]
    {
        assert!(mine.contains(&field), "{field} in {mine:?}");
    }
    assert!(mine.iter().all(|field| field.contains('=')));
    assert_eq!(bench.text("CLIENT LIST ID 2").lines().count(), 1);
    assert_eq!(bench.text("CLIENT LIST TYPE pubsub"), "");
    assert_eq!(bench.error("CLIENT LIST TYPE x"), "ERR Unknown client type 'x'");
    assert_eq!(bench.error("CLIENT LIST ID x"), "ERR Invalid client ID");
    assert!(bench.text("CLIENT INFO").starts_with("id=1 "));
    drop(other);
    assert_eq!(bench.text("CLIENT LIST").lines().count(), 1);
}

#[test]
fn client_kill_in_both_forms() {
    let mut bench = Bench::new(&[]);
    let second = Bench::connect(&bench.context);
    let third = Bench::connect(&bench.context);
    assert_eq!(bench.error("CLIENT KILL 1.2.3.4:5"), "ERR No such client");
    assert_eq!(bench.say(&format!("CLIENT KILL {}", second.client.peer)), Value::OK);
    assert!(second.client.is_killed() && !third.client.is_killed());
    assert_eq!(bench.say("CLIENT KILL ID 3 SKIPME yes"), Value::Integer(1));
    assert!(third.client.is_killed());
    assert_eq!(bench.say("CLIENT KILL ID 1"), Value::Integer(0), "SKIPME is the default");
    assert_eq!(bench.act("CLIENT KILL ID 1 SKIPME no"), Action::Close(Value::Integer(1)));
    assert_eq!(bench.say("CLIENT KILL ID 999"), Value::Integer(0));
    assert_eq!(bench.error("CLIENT KILL ID 0"), "ERR client-id should be greater than 0");
    assert_eq!(bench.error("CLIENT KILL USER bob"), "ERR No such user 'bob'");
    assert_eq!(bench.error("CLIENT KILL ID 1 TYPE"), "ERR syntax error");
    assert_eq!(bench.error("CLIENT KILL WHO 1"), "ERR syntax error");
}

#[test]
fn subcommands_are_checked_as_redis_checks_them() {
    let mut bench = Bench::new(&[]);
    assert_eq!(bench.error("CLIENT NOPE"), "ERR unknown subcommand 'NOPE'. Try CLIENT HELP.");
    assert_eq!(bench.error("CLIENT SETNAME"), "ERR wrong number of arguments for 'client|setname' command");
    assert_eq!(bench.error("CLIENT ID x"), "ERR wrong number of arguments for 'client|id' command");
    assert!(bench.error("CLIENT TRACKING on").starts_with("ERR CLIENT TRACKING is not supported: "));
    for container in ["CLIENT", "CLUSTER", "CONFIG", "MEMORY", "SLOWLOG", "LATENCY", "CONSORT"] {
        let Value::Array(lines) = bench.say(&format!("{container} help")) else { panic!("HELP is a list") };
        assert!(lines.iter().all(|line| matches!(line, Value::Simple(_))));
        assert_eq!(lines.last(), Some(&Value::Simple("    Print this help.".into())));
    }
}

#[test]
fn config_get_takes_patterns_and_gives_a_map() {
    let mut bench = Bench::new(&[]);
    let reply = bench.say("CONFIG GET save appendonly");
    assert_eq!(field(&reply, "appendonly"), &Value::bulk("yes"));
    assert_eq!(field(&reply, "save"), &Value::bulk(""));
    let Value::Map(all) = bench.say("CONFIG GET *") else { panic!("is a map") };
    assert!(all.len() > 20);
    let Value::Map(some) = bench.say("CONFIG GET MAXMEM*") else { panic!("is a map") };
    assert_eq!(some.len(), 2);
    assert_eq!(bench.say("CONFIG GET nothing"), Value::Map(Vec::new()));
}

#[test]
fn config_set_changes_all_or_nothing() {
    let mut bench = Bench::new(&[]);
    assert_eq!(bench.say("CONFIG SET maxclients 5 timeout 7"), Value::OK);
    assert_eq!(bench.context.settings.max_clients.get(), 5);
    assert_eq!(bench.context.settings.idle_timeout_ms.get(), 7_000);
    let failed = |name: &str, why: &str| {
        format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}")
    };
    assert_eq!(
        bench.error("CONFIG SET timeout 9 maxclients x"),
        failed("maxclients", "argument couldn't be parsed into an integer")
    );
    assert_eq!(bench.context.settings.idle_timeout_ms.get(), 7_000, "nothing was changed");
    assert_eq!(
        bench.error("CONFIG SET maxclients 0"),
        failed("maxclients", "argument must be between 1 and 1000000 inclusive")
    );
    assert_eq!(
        bench.error("CONFIG SET nope 1"),
        "ERR Unknown option or number of arguments for CONFIG SET - 'nope'"
    );
    assert!(bench.error("CONFIG SET appendonly no").contains("can't set immutable config"));
    assert_eq!(bench.say("CONFIG SET appendonly yes save "), Value::OK, "what is so may be said");
    assert_eq!(bench.error("CONFIG SET timeout 1 timeout 2"), failed("timeout", "duplicate parameter"));
    assert_eq!(bench.say("CONFIG SET proto-max-bulk-len 1mb"), Value::OK);
    assert_eq!(bench.context.settings.bulk_bytes.get(), 1 << 20);
    bench.say("CONFIG SET requirepass new");
    assert!(!bench.context.users.is_open());
}

#[test]
fn config_set_output_buffer_limit() {
    let mut bench = Bench::new(&[]);
    let mut set = |value: &str| {
        let words: Vec<Bytes> = ["CONFIG", "SET", "client-output-buffer-limit", value]
            .map(|word| Bytes::from(word.to_string()))
            .to_vec();
        let call = &mut Call { arguments: &words, session: &mut bench.session, context: &bench.context };
        (super::parameters::config(call), bench.context.settings.output_buffer_bytes.get())
    };
    assert_eq!(set("normal 1mb 0 0"), (Action::Reply(Value::OK), 1 << 20));
    assert_eq!(set("pubsub 2mb 1mb 60"), (Action::Reply(Value::OK), 1 << 20));
    assert!(matches!(set("normal 1mb 0").0, Action::Reply(Value::Error(_))));
    assert!(matches!(set("friends 1mb 0 0").0, Action::Reply(Value::Error(_))));
    assert!(set("normal 0 0 0").1 > 1 << 40);
}

#[test]
fn info_has_the_fields_that_clients_read() {
    let mut bench = Bench::new(&[]);
    bench.context.cluster.set_status(vec![status(0, Some(1)), status(1, None)], replication::Time::default());
    bench.context.stats.error("ERR x");
    let info = bench.text("INFO");
    let value = |name: &str| {
        let line = info.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name}")).to_string()
    };
    assert_eq!(value("redis_version"), super::REDIS_VERSION);
    assert_eq!(value("redis_mode"), "cluster");
    assert_eq!(value("tcp_port"), "7000");
    assert_eq!(value("connected_clients"), "1");
    assert_eq!(value("role"), "master");
    assert_eq!(value("connected_slaves"), "2");
    assert_eq!(value("slave0"), "ip=127.0.0.1,port=7002,state=online,offset=18,lag=0");
    assert_eq!(value("cluster_enabled"), "1");
    assert_eq!(value("aof_enabled"), "1");
    assert_eq!(value("errorstat_ERR"), "count=1");
    assert_eq!(value("db0"), "keys=10,expires=2,avg_ttl=0");
    assert_eq!(value("partitions_led"), "1");
    assert_eq!(value("partitions_without_leader"), "1");
    assert_eq!(value("tokens_remembered"), "4");
    assert_eq!(value("tokens_retention_ms"), "600000");
    assert!(value("partition0").starts_with("role=leader,leader=n1,term=3,commit=10,applied=9,"));
    assert!(value("used_memory").parse::<u64>().expect("is a number") > 0);
    for name in
        ["uptime_in_seconds", "used_memory_human", "total_commands_processed", "instantaneous_ops_per_sec"]
    {
        value(name);
    }
    let well_formed = |line: &str| line.is_empty() || line.starts_with("# ") || line.contains(':');
    assert!(info.split("\r\n").all(well_formed));
}

#[test]
fn info_gives_the_sections_that_were_asked_for() {
    let mut bench = Bench::new(&[]);
    let two = bench.text("INFO Replication KEYSPACE");
    assert_eq!(two.matches("# ").count(), 2, "{two}");
    assert_eq!(bench.text("INFO nothing"), "");
    assert_eq!(bench.text("INFO everything").matches("# ").count(), bench.text("INFO").matches("# ").count());
}

#[test]
fn consort_orders_name_partition_and_nodes() {
    let mut bench = Bench::new(&[]);
    let transfer =
        |to: u64| Action::Admin { partition: PartitionId(2), admin: Admin::Transfer { to: NodeId(to) } };
    assert_eq!(bench.act("CONSORT TRANSFER 2 n3"), transfer(3));
    assert_eq!(bench.act("CONSORT TRANSFER 2 00000000000000ff"), transfer(255));
    assert_eq!(bench.act(&format!("CONSORT TRANSFER 2 {}", hexadecimal_id(NodeId(7)))), transfer(7));
    assert_eq!(bench.error("CONSORT TRANSFER 6 n1"), "ERR no partition '6'; accepted: a number from 0 to 5");
    assert_eq!(
        bench.error("CONSORT TRANSFER 1 n9"),
        "ERR no node 'n9'; accepted: an id of 16 hexadecimal digits, or n1, n2, n3"
    );
}

#[test]
fn before_the_catalogue_is_read_nothing_is_changed() {
    let mut bench = Bench::new(&[]);
    for command in
        ["NODE LIST", "NODE DRAIN n1", "NODE MOVES", "KEYSPACE LIST", "KEYSPACE OF k", "CONSORT CATALOGUE"]
    {
        assert_eq!(bench.error(command), "CLUSTERDOWN this node has not read the catalogue yet", "{command}");
    }
}

#[test]
fn members_are_named_and_changed() {
    let mut bench = Bench::new(&[]);
    crate::cluster::tests::read(&bench.context.cluster, bench.context.cluster.state().nodes.clone());
    let state = |state| Action::Change(Change::State { node: NodeId(2), state });
    assert_eq!(bench.act("NODE DRAIN n2"), state(MemberState::Draining));
    assert_eq!(bench.act("NODE REMOVE 0000000000000002"), state(MemberState::Leaving));
    assert_eq!(
        bench.act(&format!("NODE ACTIVATE {}", hexadecimal_id(NodeId(2)))),
        state(MemberState::Active)
    );
    assert_eq!(bench.act("NODE WEIGHT n2 7"), Action::Change(Change::Weight { node: NodeId(2), weight: 7 }));
    assert_eq!(bench.error("NODE WEIGHT n2 1001"), "ERR weight is '1001'; accepted: a number from 0 to 1000");
    assert_eq!(
        bench.error("NODE DRAIN n9"),
        "ERR no member 'n9'; accepted: an id of 16 hexadecimal digits, or n1, n2, n3"
    );
    assert_eq!(field(&bench.say("NODE SETTING"), "replication-factor"), &Value::Integer(3));
    let Action::Change(Change::Settings(changed)) = bench.act("NODE SETTING Moves-At-Once 5") else {
        panic!()
    };
    assert_eq!(changed.moves_at_once, 5);
    assert_eq!(
        bench.error("NODE SETTING moves-at-once 0"),
        "ERR moves-at-once takes one value: a number from 1 to 1000"
    );
    assert!(
        bench
            .error("NODE SETTING speed 1")
            .starts_with("ERR no setting 'speed'; accepted: move-bytes-per-second, ")
    );
    assert!(bench.error("NODE JOIN h:1").contains("consort server --join"));
    let Value::Array(members) = bench.say("NODE LIST") else { panic!("a list") };
    assert_eq!(members.len(), 3);
    assert_eq!(field(&members[0], "name"), &Value::bulk("n1"));
    assert_eq!(field(&members[0], "partitions"), &Value::Integer(6));
    assert_eq!(field(&members[0], "leads"), &Value::Integer(2));
    assert_eq!(bench.say("NODE MOVES"), Value::Array(Vec::new()));
    assert_eq!(field(&bench.say("CONSORT CATALOGUE"), "epoch"), &Value::Integer(1));
}

/// The change by which a keyspace that takes writes on all of its replicas is made.
fn multi_with(conflict: Conflict, replicas: Replicas, counters: Counters) -> Action {
    let options = MultiPrimary { conflict, replicas, counters };
    let policy = Policy::MultiPrimary { number: 0, options };
    Action::Change(Change::CreateKeyspace { prefix: bytes::Bytes::from_static(b"m:"), policy, read: None })
}

#[test]
fn keyspaces_are_made_with_what_makes_sense() {
    let mut bench = Bench::new(&[]);
    crate::cluster::tests::read(&bench.context.cluster, bench.context.cluster.state().nodes.clone());
    let prefix = bytes::Bytes::from_static(b"cart:");
    let create = Change::CreateKeyspace { prefix: prefix.clone(), policy: Policy::Raft, read: None };
    assert_eq!(bench.act("KEYSPACE CREATE cart: STRATEGY Raft"), Action::Change(create));
    let options = Leaderless {
        replicas: 5,
        read: Level::Count(2),
        write: Level::All,
        conflict: Conflict::Siblings,
        sloppy: true,
    };
    let policy = Policy::Leaderless { number: 0, options };
    let create = Change::CreateKeyspace { prefix: prefix.clone(), policy, read: None };
    let words = "KEYSPACE CREATE cart: STRATEGY leaderless REPLICAS 5 R 2 W all SLOPPY yes CONFLICT siblings";
    assert_eq!(bench.act(words), Action::Change(create));
    for (option, says) in [
        ("R", "ERR R has no value"),
        ("R none", "ERR R is a number of replicas from 1 on, or ONE, QUORUM, ALL, LOCAL-QUORUM"),
        ("SLOPPY maybe", "ERR SLOPPY is one of yes, no"),
        ("CONFLICT none", "ERR CONFLICT is one of lww, siblings"),
        ("REPLICAS many", "ERR REPLICAS is a number"),
        ("COUNTERS sum", "ERR COUNTERS makes no sense for leaderless; it is an option of multi-primary"),
    ] {
        assert_eq!(bench.error(&format!("KEYSPACE CREATE cart: STRATEGY leaderless {option}")), says);
    }
    assert_eq!(
        bench.error("KEYSPACE CREATE cart: STRATEGY raft R 2"),
        "ERR R makes no sense for raft; it is an option of leaderless"
    );
    assert_eq!(
        bench.error("KEYSPACE CREATE cart: STRATEGY paxos"),
        "ERR no strategy 'paxos'; accepted: raft, primary-replica, multi-primary, leaderless"
    );
    assert!(bench.error("KEYSPACE CREATE cart: WITH raft").starts_with("ERR STRATEGY comes first"));
    assert!(
        bench
            .error("KEYSPACE CREATE cart: STRATEGY raft FAST")
            .starts_with("ERR no option 'FAST'; there are READ, ACK, ")
    );
    let mut read = |words: &str| bench.error(&format!("KEYSPACE CREATE cart: STRATEGY raft {words}"));
    for wrong in ["READ", "READ fast", "READ bounded", "READ bounded 0", "READ bounded x"] {
        assert!(read(wrong).starts_with("ERR READ is one of strong, bounded <ms>"), "{wrong}");
    }
    assert!(read("READ session FAST").starts_with("ERR no option 'FAST'"));
    let multi = |conflict, replicas| multi_with(conflict, replicas, Counters::Sum);
    let create_multi = "KEYSPACE CREATE m: STRATEGY multi-primary";
    assert_eq!(bench.act(create_multi), multi(Conflict::Lww, Replicas::Count(0)));
    assert_eq!(
        bench.act(&format!("{create_multi} CONFLICT siblings COUNTERS sum REPLICAS all-zones")),
        multi(Conflict::Siblings, Replicas::AllZones)
    );
    assert_eq!(bench.act(&format!("{create_multi} REPLICAS 2")), multi(Conflict::Lww, Replicas::Count(2)));
    assert_eq!(
        bench.act(&format!("{create_multi} COUNTERS bounded")),
        multi_with(Conflict::Lww, Replicas::Count(0), Counters::Bounded)
    );
    assert_eq!(bench.error(&format!("{create_multi} COUNTERS x")), "ERR COUNTERS is one of sum, bounded");
    assert_eq!(bench.error(&format!("{create_multi} CONFLICT x")), "ERR CONFLICT is one of lww, siblings");
    assert_eq!(bench.error(&format!("{create_multi} REPLICAS")), "ERR REPLICAS has no value");
    assert!(
        bench.error("KEYSPACE DROP a: b:").starts_with("ERR the two prefixes differ, nothing was dropped")
    );
    assert_eq!(bench.act("KEYSPACE DROP cart: cart:"), Action::Change(Change::DropKeyspace { prefix }));
    assert_eq!(bench.error("KEYSPACE INFO cart:"), "ERR there is no keyspace of the prefix 'cart:'");
    assert_eq!(
        bench.error("KEYSPACE ALTER cart: STRATEGY raft"),
        "ERR there is no keyspace of the prefix 'cart:'"
    );
    let create = |options: PrimaryReplica| {
        let policy = Policy::PrimaryReplica { number: 0, options };
        Action::Change(Change::CreateKeyspace {
            prefix: bytes::Bytes::from_static(b"p:"),
            policy,
            read: None,
        })
    };
    let of = PrimaryReplica::new;
    for (words, options) in [
        ("ACK async", of(Acknowledgement::Async)),
        ("ack SEMI-SYNC 2", of(Acknowledgement::SemiSync(2))),
        ("ACK sync MIN-IN-SYNC 2", PrimaryReplica { min_in_sync: 2, ..of(Acknowledgement::Sync) }),
        (
            "REPLICAS 2 ACK semi-sync 1 MAX-LAG-MS 500 MAX-LAG-BYTES 1000",
            PrimaryReplica {
                replicas: 2,
                max_lag_ms: 500,
                max_lag_bytes: 1000,
                ..of(Acknowledgement::SemiSync(1))
            },
        ),
    ] {
        let command = format!("KEYSPACE CREATE p: STRATEGY primary-replica {words}");
        assert_eq!(bench.act(&command), create(options), "{words}");
    }
    for (words, refusal) in [
        ("", "ERR when is a write acknowledged?"),
        ("ACK", "ERR ACK has no value"),
        ("ACK often", "ERR ACK is one of async, "),
        ("ACK semi-sync", "ERR ACK semi-sync takes the number of replicas"),
        ("ACK semi-sync 0", "ERR ACK semi-sync takes the number of replicas"),
        ("ACK sync MIN-IN-SYNC two", "ERR the value of MIN-IN-SYNC is not a number: 'two'"),
        ("ACK sync R 2", "ERR R makes no sense for primary-replica"),
    ] {
        let text = bench.error(format!("KEYSPACE CREATE p: STRATEGY primary-replica {words}").trim());
        assert!(text.starts_with(refusal), "{words}: {text}");
    }
    assert_eq!(field(&bench.say("KEYSPACE OF anything"), "strategy"), &Value::bulk("raft"));
    let Value::Array(keyspaces) = bench.say("KEYSPACE LIST") else { panic!("a list") };
    assert_eq!(keyspaces.len(), 1);
}

#[test]
fn consort_status_is_a_map_of_nodes_partitions_and_counters() {
    let mut bench = Bench::new(&[]);
    bench.context.cluster.set_status(vec![status(0, Some(1))], replication::Time::default());
    let reply = bench.say("CONSORT STATUS");
    let (Value::Array(nodes), Value::Array(partitions)) =
        (field(&reply, "nodes"), field(&reply, "partitions"))
    else {
        panic!("are lists")
    };
    assert_eq!((nodes.len(), partitions.len()), (3, 6));
    let replica = field(&partitions[0], "replica");
    assert_eq!(field(replica, "role"), &Value::bulk("leader"));
    assert_eq!(field(replica, "digest"), &Value::bulk(format!("{:032x}", 77)));
    assert_eq!(field(&partitions[1], "replica"), &Value::Null);
    assert_eq!(field(field(&reply, "counters"), "led"), &Value::Integer(1));
}

/// For clients that can send no command of Consort's own.
#[test]
fn a_database_number_may_stand_for_a_profile() {
    let profiles = "1 consistency=session, 7 consistency=bounded:100 ack=sync r=1 w=all";
    let mut bench = Bench::new(&[("select.profiles", profiles)]);
    for (number, level) in [(7, "bounded 100"), (1, "session"), (0, "default")] {
        assert_eq!(bench.say(&format!("SELECT {number}")), Value::OK);
        assert_eq!(bench.say("CLIENT CONSISTENCY"), Value::bulk(level));
    }
    assert_eq!(bench.error("SELECT 2"), "ERR DB index is out of range");
    // What the client says itself comes first, of each for itself.
    bench.say("SELECT 7");
    assert_eq!(bench.say("CLIENT QUORUM R 2"), Value::OK);
    assert_eq!(bench.say("CLIENT CONSISTENCY EVENTUAL"), Value::OK);
    let quorum = Quorum { read: Some(Level::Count(2)), write: Some(Level::All) };
    let session = &bench.session;
    assert_eq!(
        (session.consistency(), session.acknowledgement(), session.quorum()),
        (Some(Consistency::Eventual), Some(Acknowledgement::Sync), Some(quorum))
    );
    bench.say("SELECT 0");
    assert_eq!(bench.session.acknowledgement(), None);
    assert_eq!(bench.session.consistency(), Some(Consistency::Eventual));
    let twice = "1 consistency=session,1 r=1";
    for wrong in [
        "",
        "1",
        "1 ",
        "0 r=1",
        twice,
        "1 consistency=fast",
        "1 consistency=bounded",
        "1001 r=1",
        "1=session",
        "1 w=0",
    ] {
        let flags = [("select.profiles".to_owned(), wrong.to_owned())];
        assert!(load(Sources { flags: &flags, ..Sources::default() }).is_err(), "{wrong}");
    }
}
