//! Keyspaces without leaders: any node takes a request, and asks as many replicas as it is told to.

use resp::Value;
use server::Start;

use crate::support::client::{bulk, elements, field};
use crate::support::{Client, Cluster, eventually};

/// The keyspace `p:`, once all of its replicas count.
fn create(cluster: &Cluster, options: &str) {
    let mut client = cluster.client(0);
    let command = format!("KEYSPACE CREATE p: STRATEGY leaderless {options}");
    eventually("the keyspace", || (client.call(command.trim_end()) == Value::OK).then_some(()));
    for node in 0..cluster.nodes.len() {
        let mut client = cluster.client(node);
        eventually("all replicas to take part", || {
            let info = client.call("KEYSPACE INFO p:");
            (!info.is_error() && *field(&info, "take_part_at_least") == *field(&info, "replicas"))
                .then_some(())
        });
        done(&mut client, &format!("SET p:ready{node} 1"));
    }
}

/// Asks until it is no error: what is refused did not happen.
fn done(client: &mut Client, command: &str) -> Value {
    eventually(command, || Some(client.call(command)).filter(|reply| !reply.is_error()))
}

fn error_of(reply: &Value) -> String {
    match reply {
        Value::Error(text) => String::from_utf8_lossy(text.as_bytes()).into_owned(),
        other => panic!("no error: {other:?}"),
    }
}

fn digests(cluster: &Cluster, node: usize) -> Vec<Value> {
    let status = cluster.client(node).call("CONSORT STATUS");
    let of_group = |group: &Value| field(field(group, "replica"), "digest").clone();
    elements(field(&status, "groups")).iter().map(of_group).collect()
}

#[test]
fn with_a_majority_nothing_is_refused_and_without_one_nothing_begins() {
    let mut cluster = Cluster::start(3, "");
    create(&cluster, "");
    for round in 0..60 {
        let mut writer = cluster.client(round % 3);
        let mut reader = cluster.client((round + 1) % 3);
        assert_eq!(writer.call(&format!("SET p:{} {round}", round % 7)), Value::OK);
        assert_eq!(
            reader.call(&format!("GET p:{}", round % 7)),
            bulk(&round.to_string()),
            "what was acknowledged is seen"
        );
        assert_eq!(reader.call("INCR p:count"), Value::Integer(round as i64 + 1));
    }
    cluster.nodes[2].kill();
    for round in 0..40 {
        let mut writer = cluster.client(round % 2);
        let mut reader = cluster.client(1 - round % 2);
        assert_eq!(writer.call(&format!("SET p:dead{round} {round}")), Value::OK, "of three one may be dead");
        assert_eq!(reader.call(&format!("GET p:dead{round}")), bulk(&round.to_string()));
    }
    let mut client = cluster.client(0);
    assert_eq!(client.call("CLIENT QUORUM R ALL"), Value::OK);
    // Asked of the group that is written to below: each finds out by itself, up to a heartbeat apart, and a write that
    // begins before is not refused, but unknown.
    eventually("it to be seen that not all can be reached", || {
        let reply = client.call("GET p:refused");
        reply.is_error().then(|| assert!(error_of(&reply).starts_with("NOQUORUM 2 of 3"), "{reply:?}"))
    });
    assert_eq!(client.call("CLIENT QUORUM R ONE W ALL"), Value::OK);
    assert!(matches!(client.call("GET p:1"), Value::Bulk(_)));
    assert!(error_of(&client.call("SET p:refused 1")).starts_with("NOQUORUM"));
    assert_eq!(client.call("CLIENT QUORUM DEFAULT"), Value::OK);
    assert_eq!(client.call("GET p:refused"), Value::Null, "it was refused, so it did not happen");
    cluster.nodes[1].kill();
    eventually("it to be seen that nobody can be reached", || {
        let reply = client.call("SET p:alone 1");
        (reply.is_error() && error_of(&reply).starts_with("NOQUORUM")).then_some(())
    });
    assert_eq!(client.call("CLIENT QUORUM R 1 W 1"), Value::OK);
    assert_eq!(client.call("SET p:alone 2"), Value::OK, "one is enough for who says so");
    assert_eq!(client.call("DEL p:1"), Value::Integer(1));
    cluster.nodes[1].start(Start::Normal);
    cluster.nodes[2].start(Start::Normal);
    for node in 0..3 {
        let mut client = cluster.client(node);
        assert_eq!(done(&mut client, "GET p:count"), bulk("60"));
        eventually("what was written meanwhile", || (client.call("GET p:alone") == bulk("2")).then_some(()));
        assert_eq!(client.call("GET p:1"), Value::Null, "nothing comes back");
    }
    eventually("the same state everywhere", || {
        let first = digests(&cluster, 0);
        (!first.is_empty() && (1..3).all(|node| digests(&cluster, node) == first)).then_some(())
    });
}

#[test]
fn bad_numbers_and_conditions_are_refused() {
    let cluster = Cluster::start(3, "");
    let mut client = cluster.client(0);
    for (options, says) in [
        ("R 4", "R 4 is out of range: there are 3 replicas"),
        ("W 9", "W 9 is out of range"),
        ("R 0", "R is a number of replicas from 1 on"),
        ("REPLICAS 5", "more than the 3 nodes"),
        ("ACK sync", "makes no sense for leaderless"),
        ("SLOPPY maybe", "SLOPPY is one of yes, no"),
    ] {
        let reply = client.call(&format!("KEYSPACE CREATE p: STRATEGY leaderless {options}"));
        assert!(error_of(&reply).contains(says), "{options}: {reply:?}");
    }
    create(&cluster, "R ONE W ONE");
    let info = client.call("KEYSPACE INFO p:");
    assert_eq!(*field(&info, "r_plus_w_above_n"), bulk("no"));
    assert_eq!(client.call("KEYSPACE ALTER p: R QUORUM W QUORUM"), Value::OK);
    assert_eq!(*field(&client.call("KEYSPACE INFO p:"), "r_plus_w_above_n"), bulk("yes"));
    assert!(error_of(&client.call("KEYSPACE ALTER p: REPLICAS 2")).contains("cannot be changed"));
    for command in ["SETNX p:a 1", "SET p:a 1 NX", "SET p:a 1 PX 100 XX", "HSETNX p:h f 1", "WATCH p:a"] {
        assert!(error_of(&client.call(command)).contains("raft"), "{command}");
    }
    for command in ["CLIENT QUORUM R 0", "CLIENT QUORUM X 1", "CLIENT QUORUM R", "CLIENT QUORUM R many"] {
        assert!(client.call(command).is_error(), "{command}");
    }
    assert_eq!(client.call("CLIENT QUORUM W 7"), Value::OK);
    assert!(error_of(&client.call("SET p:a 1")).contains("W 7 is out of range: there are 3 replicas"));
    assert_eq!(client.call("CLIENT QUORUM DEFAULT"), Value::OK);
    // That a key was not watched spoils the next transaction.
    client.call("MULTI");
    assert!(error_of(&client.call("EXEC")).starts_with("EXECABORT"));
    // A transaction is of one slot, and becomes visible as a whole.
    client.call("MULTI");
    client.call("SET p:{x}one 1");
    client.call("SADD p:{x}two a");
    assert_eq!(client.call("EXEC"), Value::Array(vec![Value::OK, Value::Integer(1)]));
    // In each group of the keyspace and across them.
    for key in 0..100 {
        assert_eq!(client.call(&format!("SET p:scan{key} 1")), Value::OK);
    }
    let mut cursor = "0".to_owned();
    let mut found = 0;
    loop {
        let reply = client.call(&format!("SCAN {cursor} MATCH p:scan*"));
        let [Value::Bulk(next), keys] = elements(&reply) else { panic!("{reply:?}") };
        found += elements(keys).len();
        cursor = String::from_utf8_lossy(next).into_owned();
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(found, 100);
}

/// What `INFO consort` of a node says under a name, or the value of a field of the first row whose name begins so.
fn info(cluster: &Cluster, node: usize, row: &str, name: Option<&str>) -> Option<String> {
    let Value::Bulk(text) = cluster.client(node).call("INFO consort") else { panic!("INFO is a text") };
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find(|line| line.starts_with(row))?;
    let (_, value) = line.split_once(':')?;
    match name {
        None => Some(value.to_owned()),
        Some(name) => {
            value.split(',').find_map(|part| Some(part.strip_prefix(name)?.strip_prefix('=')?.into()))
        }
    }
}

#[test]
fn others_stand_in_for_replicas_that_are_gone_and_hand_over_what_they_hold() {
    let mut cluster = Cluster::start(5, "partitions = 1");
    create(&cluster, "REPLICAS 3 SLOPPY yes");
    let promise = cluster.client(0).call("KEYSPACE INFO p:");
    assert_eq!(*field(&promise, "sloppy"), bulk("yes"));
    let is_replica =
        |node: &usize| info(&cluster, *node, "keyspace1_group0", Some("serves")).as_deref() == Some("1");
    let (replicas, others): (Vec<usize>, Vec<usize>) = (0..5).partition(is_replica);
    assert_eq!((replicas.len(), others.len()), (3, 2));
    cluster.nodes[replicas[1]].kill();
    cluster.nodes[replicas[2]].kill();
    let mut client = cluster.client(replicas[0]);
    done(&mut client, "SET p:first 1");
    // Through a node that has no replica, too.
    let mut elsewhere = cluster.client(others[0]);
    for round in 0..50 {
        done(&mut client, &format!("SET p:{round} {round}"));
        done(&mut elsewhere, "INCR p:count");
    }
    assert_eq!(done(&mut elsewhere, "GET p:49"), bulk("49"));
    eventually("both to be stood in for", || {
        (info(&cluster, replicas[0], "keyspace1_group0", Some("stand_ins"))? == "2").then_some(())
    });
    for node in &others {
        eventually("hints", || {
            (info(&cluster, *node, "hints:", None)?.parse::<u64>().ok()? >= 100).then_some(())
        });
    }
    // What they hold they hold on.
    cluster.nodes[others[1]].kill();
    cluster.nodes[others[1]].start(Start::Normal);
    // The only replica that has it all is gone.
    cluster.nodes[replicas[0]].kill();
    cluster.nodes[replicas[1]].start(Start::Normal);
    cluster.nodes[replicas[2]].start(Start::Normal);
    for node in [replicas[1], replicas[2], others[0]] {
        let mut client = cluster.client(node);
        eventually("what was written meanwhile", || (client.call("GET p:49") == bulk("49")).then_some(()));
        assert_eq!(done(&mut client, "GET p:first"), bulk("1"));
        eventually("all of it", || {
            let count = client.call("GET p:count");
            matches!(&count, Value::Bulk(bytes) if bytes[..] >= b"50"[..]).then_some(())
        });
    }
    assert_eq!(done(&mut cluster.client(replicas[1]), "DEL p:first"), Value::Integer(1));
    cluster.nodes[replicas[0]].start(Start::Normal);
    for node in 0..5 {
        eventually("nothing to be held any more", || {
            (info(&cluster, node, "hints:", None)? == "0").then_some(())
        });
    }
    eventually("the same state everywhere", || {
        let of = |node: &usize| digests(&cluster, *node);
        let first = of(&replicas[0]);
        (!first.is_empty() && replicas.iter().all(|node| of(node) == first)).then_some(())
    });
    // It may not have heard of the others yet since its start: then it refuses.
    assert_eq!(done(&mut cluster.client(replicas[0]), "GET p:first"), Value::Null, "nothing comes back");
}

/// Other R and W hold once all replicas know them, and have what was acknowledged before.
#[test]
fn other_quorums_hold_once_every_replica_is_there_to_hear_of_them() {
    let mut cluster = Cluster::start(3, "");
    create(&cluster, "R 2 W 2");
    let settled = |client: &mut Client, is: &str| {
        eventually(is, || {
            let info = client.call("KEYSPACE INFO p:");
            (!info.is_error() && *field(&info, "quorums_settled") == bulk(is)).then_some(())
        });
    };
    let mut client = cluster.client(0);
    settled(&mut client, "yes");
    cluster.nodes[2].kill();
    done(&mut client, "SET p:a two-of-three");
    done(&mut client, "KEYSPACE ALTER p: R 1 W 3");
    settled(&mut client, "no");
    eventually("a write to be refused", || {
        let reply = client.call("SET p:b three");
        assert!(reply.is_error(), "two hold it, not three: {reply:?}");
        error_of(&reply).starts_with("NOQUORUM").then_some(())
    });
    assert_eq!(done(&mut client, "GET p:a"), bulk("two-of-three"));
    // The one that is away has not what two of three hold: one replica alone is not asked before it has.
    cluster.nodes[1].kill();
    eventually("a read to be refused", || {
        let reply = client.call("GET p:a");
        (reply.is_error() && error_of(&reply).starts_with("NOQUORUM")).then_some(())
    });
    for node in [1, 2] {
        cluster.nodes[node].start(Start::Normal);
    }
    settled(&mut client, "yes");
    done(&mut client, "SET p:a all");
    cluster.nodes[0].kill();
    cluster.nodes[1].kill();
    let mut last = cluster.client(2);
    assert_eq!(done(&mut last, "GET p:a"), bulk("all"), "any one has what all acknowledged");
}

/// `LOCAL-QUORUM`: a zone goes on by itself, and has what the other one did once that can be heard again.
#[test]
fn a_zone_that_is_asked_alone_goes_on_alone() {
    let mut cluster = Cluster::prepare(4, "development.faults = \"yes\"\n");
    for node in &cluster.nodes {
        for (number, zone) in ["a", "a", "b", "b"].iter().enumerate() {
            node.reconfigure(
                &format!("[[nodes]]\nname = \"n{number}\""),
                &format!("[[nodes]]\nzone = \"{zone}\"\nname = \"n{number}\""),
            );
        }
    }
    for node in &mut cluster.nodes {
        node.start(Start::Bootstrap);
    }
    (0..4).for_each(|node| cluster.wait_until_serving(node));
    create(&cluster, "REPLICAS 4 R LOCAL-QUORUM W LOCAL-QUORUM");
    let info = cluster.client(0).call("KEYSPACE INFO p:");
    assert_eq!(field(&info, "r_plus_w_above_n"), &bulk("by-zone"));
    for (zone, other) in [([0, 1], "n2 n3"), ([2, 3], "n0 n1")] {
        for node in zone {
            assert_eq!(cluster.client(node).call(&format!("CONSORT FAULT CUT {other}")), Value::OK);
        }
    }
    for node in [0, 2] {
        let mut client = cluster.client(node);
        eventually("the cut to be noticed", || {
            let said = client.call("CLUSTER PARTITIONS");
            (elements(field(&said, "unreachable")).len() == 2).then_some(())
        });
    }
    // Both zones write and read, each what it wrote itself, through either of its nodes.
    for (writer, reader, value) in [(0, 1, "of-a"), (2, 3, "of-b")] {
        let mut writer = cluster.client(writer);
        for number in 0..20 {
            assert_eq!(writer.call(&format!("SET p:{value}{number} {value}")), Value::OK);
            let found = cluster.client(reader).call(&format!("GET p:{value}{number}"));
            assert_eq!(found, bulk(value), "a quorum of the zone has it");
        }
        assert_eq!(cluster.client(reader).call("CLIENT QUORUM R QUORUM W QUORUM"), Value::OK);
    }
    // Who asks for more than a zone has is refused.
    let mut strict = cluster.client(0);
    assert_eq!(strict.call("CLIENT QUORUM R QUORUM W QUORUM"), Value::OK);
    let refused = error_of(&strict.call("SET p:strict 1"));
    assert!(refused.starts_with("NOQUORUM 2 of 4 replicas"), "{refused}");
    cluster.nodes[1].kill();
    let mut alone = cluster.client(0);
    eventually("half a zone to refuse", || alone.call("SET p:alone 1").is_error().then_some(()));
    assert_eq!(cluster.client(2).call("SET p:other 1"), Value::OK, "the other zone goes on");
    cluster.nodes[1].start(Start::Normal);
    for node in [0, 2, 3] {
        assert_eq!(cluster.client(node).call("CONSORT FAULT HEAL"), Value::OK);
    }
    for node in 0..4 {
        let mut client = cluster.client(node);
        for key in ["p:of-a19", "p:of-b19", "p:other"] {
            eventually(key, || matches!(client.call(&format!("GET {key}")), Value::Bulk(_)).then_some(()));
        }
    }
}
