//! `CLIENT CONSISTENCY` and `READ`: how fresh reads are, and what becomes of them when others are gone.

use std::time::{Duration, Instant};

use resp::Value;

use crate::support::client::{bulk, field};
use crate::support::{Client, Cluster, eventually};

/// A connection whose reads are at that level.
fn at(cluster: &Cluster, node: usize, level: &str) -> Client {
    let mut client = cluster.client(node);
    assert_eq!(client.call(&format!("CLIENT CONSISTENCY {level}")), Value::OK);
    assert_eq!(client.call("CLIENT CONSISTENCY"), bulk(level));
    client
}

fn error_of(reply: &Value) -> String {
    match reply {
        Value::Error(text) => text.to_string(),
        other => panic!("no error: {other:?}"),
    }
}

fn done(client: &mut Client, command: &str) -> Value {
    eventually(command, || Some(client.call(command)).filter(|reply| !reply.is_error()))
}

fn token(client: &mut Client) -> String {
    match client.call("CLIENT SESSION TOKEN") {
        Value::Bulk(token) => String::from_utf8_lossy(&token).into_owned(),
        other => panic!("a token: {other:?}"),
    }
}

/// The keyspaces that the tests use, by prefix.
const ORDERED: [(&str, &str); 2] = [("", ""), ("p:", "STRATEGY primary-replica ACK sync")];

fn create(cluster: &Cluster) {
    let mut client = cluster.client(0);
    for (prefix, options) in ORDERED {
        if !prefix.is_empty() {
            eventually("the keyspace", || {
                (client.call(&format!("KEYSPACE CREATE {prefix} {options}")) == Value::OK).then_some(())
            });
        }
        for node in 0..cluster.nodes.len() {
            done(&mut cluster.client(node), &format!("SET {prefix}ready{node} 1"));
        }
    }
}

#[test]
fn with_the_others_gone_each_level_does_what_it_says() {
    let mut cluster = Cluster::start(3, "");
    create(&cluster);
    let mut writer = cluster.client(0);
    let levels = ["strong", "bounded 300", "session", "eventual"];
    for (prefix, _) in ORDERED {
        done(&mut writer, &format!("SET {prefix}key first"));
        // Each of them has been answered by this node since it started.
        let mut readers = levels.map(|level| at(&cluster, 2, level));
        for (reader, level) in readers.iter_mut().zip(levels) {
            eventually(level, || (reader.call(&format!("GET {prefix}key")) == bulk("first")).then_some(()));
        }
    }
    let mut readers = levels.map(|level| at(&cluster, 2, level));
    cluster.nodes[0].kill();
    cluster.nodes[1].kill();
    std::thread::sleep(Duration::from_millis(400));
    for (prefix, _) in ORDERED {
        let key = format!("{prefix}key");
        let [strong, bounded, session, eventual] = &mut readers;
        assert_eq!(eventual.call(&format!("GET {key}")), bulk("first"), "{key}");
        assert_eq!(session.call(&format!("GET {key}")), bulk("first"), "{key}: it has seen nothing yet");
        assert_eq!(
            session.pipeline(&[format!("GET {key}"), format!("STRLEN {key}"), format!("EXISTS {key}")]),
            [bulk("first"), Value::Integer(5), Value::Integer(1)]
        );
        let asked = Instant::now();
        let refused = error_of(&bounded.call(&format!("GET {key}")));
        assert!(refused.starts_with("STALE no replica"), "{key}: {refused}");
        assert!(asked.elapsed() >= Duration::from_millis(250), "it waits for as long as it may");
        let refused = error_of(&strong.call(&format!("GET {key}")));
        assert!(refused.starts_with("CLUSTERDOWN") || refused.starts_with("TIMEOUT"), "{key}: {refused}");
    }
}

#[test]
fn a_session_sees_its_own_writes_wherever_it_goes() {
    let cluster = Cluster::start(3, "");
    create(&cluster);
    for (prefix, _) in ORDERED {
        let mut carried = String::new();
        let mut highest = 0;
        for round in 0..120_i64 {
            // The level is said before or after the write, or the write is of a connection without one.
            let mut client = cluster.client(round as usize % 3);
            if !carried.is_empty() {
                assert_eq!(client.call(&format!("CLIENT SESSION RESUME {carried}")), Value::OK);
            }
            let level = if round % 4 == 0 { "bounded 10000" } else { "session" };
            if round % 2 == 0 {
                client.call(&format!("CLIENT CONSISTENCY {level}"));
            }
            let Value::Integer(written) = done(&mut client, &format!("INCR {prefix}sum")) else {
                panic!("a number")
            };
            assert!(written > highest);
            highest = written;
            client.call(&format!("CLIENT CONSISTENCY {level}"));
            assert_eq!(client.call(&format!("GET {prefix}sum")), bulk(&highest.to_string()));
            carried = token(&mut client);
            let mut other = at(&cluster, (round as usize + 1) % 3, level);
            assert_eq!(other.call(&format!("CLIENT SESSION RESUME {carried}")), Value::OK);
            let seen = other.pipeline(&[format!("GET {prefix}sum"), format!("GET {prefix}sum")]);
            assert_eq!(seen, [bulk(&highest.to_string()), bulk(&highest.to_string())], "round {round}");
        }
    }
}

/// Commands of one pipeline take effect in their order, whichever replica answers the reads.
#[test]
fn reads_and_writes_of_a_pipeline_keep_their_order() {
    let cluster = Cluster::start(3, "");
    create(&cluster);
    for (prefix, _) in ORDERED {
        for (node, level) in
            (0..3).flat_map(|node| ["session", "eventual", "bounded 50"].map(|level| (node, level)))
        {
            let mut client = at(&cluster, node, level);
            let key = format!("{prefix}pipe{node}");
            done(&mut client, &format!("SET {key} 0"));
            for round in 1..=40 {
                let commands = [
                    format!("SET {key} {round}"),
                    format!("GET {key}"),
                    format!("APPEND {key} !"),
                    format!("GET {key}"),
                    format!("STRLEN {key}"),
                    "PING".to_owned(),
                    format!("SET {key} {round}"),
                ];
                let said = client.pipeline(&commands);
                let longer = format!("{round}!");
                let expected = [
                    Value::OK,
                    bulk(&round.to_string()),
                    Value::Integer(longer.len() as i64),
                    bulk(&longer),
                    Value::Integer(longer.len() as i64),
                    Value::Simple("PONG".into()),
                    Value::OK,
                ];
                assert_eq!(said, expected, "{level} at node {node}");
            }
        }
    }
}

#[test]
fn a_keyspace_says_how_its_reads_are_and_what_cannot_be_is_refused() {
    let cluster = Cluster::start(3, "");
    let mut client = cluster.client(0);
    let level_of = |client: &mut Client, prefix: &str| {
        field(&client.call(&format!("KEYSPACE INFO {prefix}")), "read").clone()
    };
    done(&mut client, "KEYSPACE CREATE s: STRATEGY raft READ eventual");
    assert_eq!(level_of(&mut client, "s:"), bulk("eventual"));
    done(&mut client, "KEYSPACE ALTER s: READ bounded 250");
    assert_eq!(level_of(&mut client, "s:"), bulk("bounded 250"));
    done(&mut client, "KEYSPACE ALTER s: READ default");
    assert_eq!(level_of(&mut client, "s:"), bulk("strong"));
    done(&mut client, "KEYSPACE ALTER s: READ session");
    done(&mut client, "SET s:key 1");
    assert_eq!(client.call("GET s:key"), bulk("1"), "its own write");

    done(&mut client, "KEYSPACE CREATE m: STRATEGY multi-primary");
    done(&mut client, "KEYSPACE CREATE l: STRATEGY leaderless");
    done(&mut client, "KEYSPACE CREATE h: STRATEGY leaderless SLOPPY yes");
    for prefix in ["m:", "l:", "h:"] {
        done(&mut client, &format!("SET {prefix}key 1"));
    }
    for (level, prefix, refusal) in [
        ("strong", "m:", "ERR a multi-primary keyspace has no strong reads"),
        ("bounded 50", "m:", "ERR a multi-primary keyspace has no bound"),
        ("strong", "l:", "ERR a leaderless keyspace has no strong reads"),
        ("bounded 50", "h:", "ERR a leaderless keyspace with SLOPPY yes has no bound"),
    ] {
        let mut reader = at(&cluster, 1, level);
        let said = error_of(&reader.call(&format!("GET {prefix}key")));
        assert!(said.starts_with(refusal) && said.contains("session, eventual"), "{said}");
        let said = error_of(&client.call(&format!("KEYSPACE ALTER {prefix} READ {level}")));
        assert!(said.starts_with(refusal), "{said}");
    }
    for (level, prefix) in [("bounded 200", "l:"), ("session", "l:"), ("eventual", "h:"), ("session", "m:")] {
        let mut reader = at(&cluster, 2, level);
        eventually(level, || (reader.call(&format!("GET {prefix}key")) == bulk("1")).then_some(()));
    }
    assert!(client.call("CLIENT CONSISTENCY sometimes").is_error());
    assert!(client.call("CLIENT CONSISTENCY bounded").is_error());
    assert!(client.call("CLIENT CONSISTENCY session now").is_error());
    assert_eq!(client.call("RESET"), Value::Simple("RESET".into()));
    assert_eq!(client.call("CLIENT CONSISTENCY"), bulk("default"));
}

/// With one replica gone a bound is kept by the others; with too few it is refused.
#[test]
fn a_leaderless_keyspace_keeps_a_bound_with_as_many_as_hold_what_was_acknowledged() {
    let mut cluster = Cluster::start(3, "");
    let mut client = cluster.client(0);
    done(&mut client, "KEYSPACE CREATE l: STRATEGY leaderless READ bounded 400");
    for round in 0..50 {
        done(&mut cluster.client(round % 3), &format!("SET l:key {round}"));
        let mut reader = at(&cluster, (round + 1) % 3, "bounded 1");
        std::thread::sleep(Duration::from_millis(3));
        assert_eq!(done(&mut reader, "GET l:key"), bulk(&round.to_string()));
    }
    cluster.nodes[2].kill();
    done(&mut client, "SET l:key last");
    let mut reader = at(&cluster, 1, "bounded 200");
    assert_eq!(done(&mut reader, "GET l:key"), bulk("last"));
    cluster.nodes[0].kill();
    std::thread::sleep(Duration::from_millis(600));
    let refused = error_of(&reader.call("GET l:key"));
    assert!(refused.starts_with("NOQUORUM") || refused.starts_with("STALE"), "{refused}");
    assert_eq!(at(&cluster, 1, "session").call("GET l:key"), bulk("last"));
}

/// The keyspaces of [`explained_is_what_happens`]: of each strategy, with what it can do in a fault.
const EXPLAINED: [(&str, &str); 7] = [
    ("r:", "STRATEGY raft"),
    ("s:", "STRATEGY raft READ session"),
    ("p:", "STRATEGY primary-replica ACK sync"),
    ("q:", "STRATEGY primary-replica ACK semi-sync 2"),
    ("m:", "STRATEGY multi-primary"),
    ("l:", "STRATEGY leaderless"),
    ("a:", "STRATEGY leaderless R 1 W 1"),
];

/// What is said of the one side that is left, for writes and reads.
fn explained(client: &mut Client, prefix: &str, fault: &str) -> (String, String) {
    let said = client.call(format!("KEYSPACE EXPLAIN {prefix} {fault}").trim_end());
    let Value::Array(sides) = field(&said, "sides") else { panic!("{said:?}") };
    let text = |name: &str| match field(&sides[0], name) {
        Value::Bulk(text) => String::from_utf8_lossy(text).into_owned(),
        other => panic!("a text: {other:?}"),
    };
    (text("writes"), text("reads"))
}

/// `KEYSPACE EXPLAIN` says what will be, and it is: with one node killed, and with two.
#[test]
fn explained_is_what_happens() {
    let mut cluster = Cluster::start(3, "");
    let mut client = cluster.client(0);
    for (prefix, options) in EXPLAINED {
        done(&mut client, &format!("KEYSPACE CREATE {prefix} {options}"));
        for node in 0..3 {
            let mut client = cluster.client(node);
            done(&mut client, &format!("SET {prefix}key{node} 1"));
            done(&mut client, &format!("GET {prefix}key{node}"));
        }
    }
    eventually("all to take part", || {
        let mut all = |prefix: &str| {
            let info = client.call(&format!("KEYSPACE INFO {prefix}"));
            *field(&info, "take_part_at_least") == Value::Integer(3)
        };
        (all("l:") && all("a:")).then_some(())
    });
    for (killed, fault) in [(2, "IF NODE n2 FAILS"), (1, "IF NODE n1 n2 FAILS")] {
        let foretold = EXPLAINED.map(|(prefix, _)| explained(&mut client, prefix, fault));
        cluster.nodes[killed].kill();
        eventually("it to be noticed", || {
            let said = client.call("CLUSTER PARTITIONS");
            let Value::Array(gone) = field(&said, "unreachable") else { panic!("{said:?}") };
            (gone.len() == 3 - killed).then_some(())
        });
        for ((prefix, _), (writes, reads)) in EXPLAINED.into_iter().zip(foretold) {
            // The failover that was foretold may be over by now.
            let kind = |text: &str| (text.contains("refused"), text.contains("possibly stale"));
            let now = explained(&mut client, prefix, "");
            let is_as_foretold = kind(&now.0) == kind(&writes) && kind(&now.1) == kind(&reads);
            assert!(is_as_foretold, "{prefix}: {writes}, {reads}; now {now:?}");
            for (command, said) in [("SET", writes), ("GET", reads)] {
                let command = match command {
                    "SET" => format!("SET {prefix}key0 2"),
                    _ => format!("GET {prefix}key0"),
                };
                let is_refused = said.contains("refused");
                if is_refused {
                    let reply = error_of(&client.call(&command));
                    assert!(!reply.starts_with("UNKNOWN"), "{command}, {said}: {reply}");
                } else {
                    done(&mut client, &command);
                }
            }
        }
    }
    let said = client.call("KEYSPACE EXPLAIN r:");
    assert!(format!("{said:?}").contains("no majority: 1 of 3 replicas are here, 2 are needed"), "{said:?}");
    let refused = error_of(&client.call("GET r:key0"));
    assert!(
        refused.contains("no majority for slots") && refused.contains("2 of 3 replicas unreachable for"),
        "{refused}"
    );
    for wrong in [
        "IF",
        "IF NODE FAILS",
        "IF NODE n9 FAILS",
        "IF ZONE n1 FAILS",
        "IF n0 PARTED",
        "IF n0 | PARTED",
        "IF n0 | n0 PARTED",
    ] {
        assert!(client.call(&format!("KEYSPACE EXPLAIN r: {wrong}")).is_error(), "{wrong}");
    }
    assert!(client.call("KEYSPACE EXPLAIN nothing:").is_error());
}

/// What is said of one side of a partition: writes, reads, and reads by level.
fn of_side(client: &mut Client, prefix: &str, fault: &str, side: usize) -> Vec<(String, String)> {
    let said = client.call(format!("KEYSPACE EXPLAIN {prefix} {fault}").trim_end());
    let Value::Array(sides) = field(&said, "sides") else { panic!("{said:?}") };
    let text = |value: &Value| match value {
        Value::Bulk(text) => String::from_utf8_lossy(text).into_owned(),
        other => panic!("a text: {other:?}"),
    };
    let mut all: Vec<(String, String)> = ["writes", "reads"]
        .iter()
        .map(|name| ((*name).to_owned(), text(field(&sides[side], name))))
        .collect();
    match field(&sides[side], "reads_by_level") {
        Value::Map(levels) => all.extend(levels.iter().map(|(level, answer)| (text(level), text(answer)))),
        Value::Array(flat) => {
            all.extend(flat.chunks(2).map(|pair| (text(&pair[0]), text(&pair[1]))));
        }
        other => panic!("{other:?}"),
    }
    all
}

/// Cuts every way between the nodes of one side and those of the other, as a network does that loses everything.
fn part(cluster: &Cluster, one: &[usize], other: &[usize]) {
    for (side, away) in [(one, other), (other, one)] {
        let names: Vec<String> = away.iter().map(|node| format!("n{node}")).collect();
        for &node in side {
            let reply = cluster.client(node).call(&format!("CONSORT FAULT CUT {}", names.join(" ")));
            assert_eq!(reply, Value::OK);
        }
    }
}

/// `KEYSPACE EXPLAIN ... PARTED` says of both sides what will be, at each level, and it is; and what may be stale is.
#[test]
fn explained_of_a_partition_is_what_happens_on_both_sides() {
    let cluster = Cluster::start(3, "development.faults = \"yes\"\n");
    let mut client = cluster.client(0);
    for (prefix, options) in EXPLAINED {
        done(&mut client, &format!("KEYSPACE CREATE {prefix} {options}"));
        for node in 0..3 {
            let mut client = cluster.client(node);
            done(&mut client, &format!("SET {prefix}key{node} old"));
            done(&mut client, &format!("GET {prefix}key{node}"));
        }
    }
    eventually("all to take part", || {
        let mut all = |prefix: &str| {
            let info = client.call(&format!("KEYSPACE INFO {prefix}"));
            *field(&info, "take_part_at_least") == Value::Integer(3)
        };
        (all("l:") && all("a:")).then_some(())
    });
    let keys = |prefix: &str| [0, 1, 2].map(|node| format!("{prefix}key{node}"));
    for (prefix, _) in EXPLAINED {
        for node in 0..3 {
            // Every replica has it, and has been heard to.
            let mut reader = at(&cluster, node, "eventual");
            for key in keys(prefix) {
                eventually("the replica", || {
                    (reader.call(&format!("GET {key}")) == bulk("old")).then_some(())
                });
            }
        }
    }
    let fault = "IF n0 n1 | n2 PARTED";
    let foretold = EXPLAINED.map(|(prefix, _)| [0, 1].map(|side| of_side(&mut client, prefix, fault, side)));
    part(&cluster, &[0, 1], &[2]);
    for (node, away) in [(0, 1), (1, 1), (2, 2)] {
        let mut client = cluster.client(node);
        eventually("it to be noticed", || {
            let said = client.call("CLUSTER PARTITIONS");
            let Value::Array(gone) = field(&said, "unreachable") else { panic!("{said:?}") };
            (gone.len() == away).then_some(())
        });
    }
    let mut cut_off = cluster.client(2);
    eventually("it is told what happened", || {
        let said = cut_off.call("CLUSTER PARTITIONS");
        let events = format!("{:?}", field(&said, "events"));
        let fares = format!("{:?}", field(&said, "keyspaces"));
        let tells = events.contains("n0 cannot be reached from here")
            && events.contains("keyspace r:: writes refused, reads refused (slots 0-16383: no majority")
            && events.contains("keyspace m:: writes accepted, reads possibly stale");
        (tells && fares.contains("for_ms")).then_some(())
    });
    let kind = |text: &str| (text.contains("refused"), text.contains("possibly stale"));
    // The side that goes on writes first, so that the other one has something to lack.
    for (side, node) in [(0, 0), (1, 2)] {
        let mut client = cluster.client(node);
        for ((prefix, _), foretold) in EXPLAINED.into_iter().zip(&foretold) {
            let now = of_side(&mut client, prefix, "", 0);
            for ((what, said), (_, now)) in foretold[side].iter().zip(&now) {
                assert_eq!(kind(said), kind(now), "{prefix} at n{node}, {what}: {said}; now {now}");
            }
            let (writes, reads) = (&foretold[side][0].1, &foretold[side][1].1);
            let write = |client: &mut Client, value: &str| {
                for key in keys(prefix) {
                    let set = format!("SET {key} {value}");
                    match writes.contains("refused") {
                        true => {
                            let reply = error_of(&client.call(&set));
                            assert!(!reply.starts_with("UNKNOWN"), "{set}, {writes}: {reply}");
                        }
                        false => drop(done(client, &set)),
                    }
                }
            };
            let current = if writes.contains("refused") { "old" } else { "new" };
            if side == 0 {
                write(&mut client, "new");
            }
            for (level, said) in foretold[side][1..].iter() {
                let level = match &level[..] {
                    "reads" => "default",
                    level if level.starts_with("bounded") => "bounded 200",
                    level => level,
                };
                let mut reader = cluster.client(node);
                assert_eq!(reader.call(&format!("CLIENT CONSISTENCY {level}")), Value::OK);
                for key in keys(prefix) {
                    let get = format!("GET {key}");
                    let what = format!("{get} at n{node}, {level}, {said}");
                    if said.contains("refused") {
                        let reply = error_of(&reader.call(&get));
                        assert!(!reply.starts_with("UNKNOWN"), "{what}: {reply}");
                    } else if said.contains("possibly stale") && side == 1 {
                        assert_eq!(done(&mut reader, &get), bulk("old"), "{what}");
                    } else {
                        let found = done(&mut reader, &get);
                        // What is current on the side that wrote.
                        assert!(
                            side == 1 || said.contains("possibly stale") || found == bulk(current),
                            "{what}: {found:?}"
                        );
                    }
                }
            }
            if side == 1 {
                write(&mut client, "other");
            }
            assert!(side == 1 || !reads.contains("refused"), "{prefix}: {reads}");
        }
    }
    for node in 0..3 {
        assert_eq!(cluster.client(node).call("CONSORT FAULT HEAL"), Value::OK);
    }
    for (prefix, _) in EXPLAINED {
        for key in keys(prefix) {
            done(&mut cluster.client(2), &format!("SET {key} healed"));
            for node in 0..3 {
                let mut reader = cluster.client(node);
                eventually("all sides", || {
                    (reader.call(&format!("GET {key}")) == bulk("healed")).then_some(())
                });
            }
        }
    }
}

/// What a node was not started for it does not do.
#[test]
fn faults_are_made_only_where_that_is_allowed() {
    let cluster = Cluster::start(1, "");
    let reply = cluster.client(0).call("CONSORT FAULT CUT n1");
    assert!(error_of(&reply).starts_with("ERR this node makes no faults"), "{reply:?}");
}
