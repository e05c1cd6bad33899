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
    eventually("it to be seen that not all can be reached", || {
        let reply = client.call("GET p:1");
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
        ("SLOPPY yes", "not built"),
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
