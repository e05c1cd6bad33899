//! Hashes, lists, sets and sorted sets over nodes, and commands that wait for them.

use std::time::{Duration, Instant};

use resp::Value;
use server::Start;

use crate::support::client::{Client, bulk, elements};
use crate::support::{Cluster, eventually};

/// What is asked of each prefix, and what it says, wherever and whenever it is asked.
fn questions(prefix: &str) -> Vec<(String, Value)> {
    let pair = |one: &str, other: &str| [bulk(one), bulk(other)];
    let members: Vec<Value> = (0..500).map(|number| bulk(&format!("m{number}"))).collect();
    vec![
        (format!("HGET {prefix}h f7"), bulk("v7")),
        (format!("HLEN {prefix}h"), Value::Integer(400)),
        (format!("HGETALL {prefix}short"), Value::Array(pair("a", "1").into())),
        (format!("LRANGE {prefix}l 0 -1"), Value::Array(members.clone())),
        (format!("LINDEX {prefix}l -2"), bulk("m498")),
        (format!("SCARD {prefix}s"), Value::Integer(500)),
        (format!("SISMEMBER {prefix}s m250"), Value::Integer(1)),
        (format!("ZRANGE {prefix}z 0 -1"), Value::Array(members)),
        (format!("ZRANGE {prefix}z 2 2 WITHSCORES"), Value::Array(pair("m2", "2").into())),
        (format!("ZSCORE {prefix}z m77"), bulk("77")),
        (format!("TYPE {prefix}z"), Value::Simple("zset".into())),
    ]
}

fn fill(client: &mut Client, prefix: &str) {
    let many = |count: usize, each: &dyn Fn(usize) -> String| -> String {
        (0..count).map(|number| format!(" {}", each(number))).collect()
    };
    client.call(&format!("HSET {prefix}h{}", many(400, &|number| format!("f{number} v{number}"))));
    client.call(&format!("HSET {prefix}short a 1"));
    client.call(&format!("RPUSH {prefix}l{}", many(500, &|number| format!("m{number}"))));
    client.call(&format!("SADD {prefix}s{}", many(500, &|number| format!("m{number}"))));
    client.call(&format!("ZADD {prefix}z{}", many(500, &|number| format!("{number} m{number}"))));
}

fn ask_all(cluster: &Cluster, prefixes: &[&str], when: &str) {
    for node in 0..cluster.nodes.len() {
        let mut client = cluster.client(node);
        for prefix in prefixes {
            for (question, answer) in questions(prefix) {
                let said =
                    eventually(&question, || Some(client.call(&question)).filter(|said| !said.is_error()));
                assert_eq!(said, answer, "{question} at node {node} {when}");
            }
        }
    }
}

#[test]
fn collections_are_what_they_were_on_every_node_and_after_all_died() {
    let mut cluster = Cluster::start(3, "");
    let mut client = cluster.client(1);
    for keyspace in ["p: STRATEGY primary-replica ACK async", "q: STRATEGY primary-replica ACK sync"] {
        eventually("the keyspace", || {
            (client.call(&format!("KEYSPACE CREATE {keyspace}")) == Value::OK).then_some(())
        });
    }
    let prefixes = ["r:", "p:", "q:"];
    for (node, prefix) in prefixes.iter().enumerate() {
        let mut client = cluster.client(node);
        eventually("the keyspace serves", || {
            (client.call(&format!("SET {prefix}x 1")) == Value::OK).then_some(())
        });
        fill(&mut client, prefix);
    }
    ask_all(&cluster, &prefixes, "at first");
    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.start(Start::Normal);
    }
    (0..3).for_each(|node| cluster.wait_until_serving(node));
    ask_all(&cluster, &prefixes, "after all died");
    // RESP3 has types of its own for them, from any node.
    for node in 0..3 {
        let mut client = cluster.client(node);
        client.call("HELLO 3");
        let map = Value::Map(vec![(bulk("a"), bulk("1"))]);
        assert_eq!(client.call("HGETALL r:short"), map);
        let pair = Value::Array(vec![bulk("m2"), Value::Double(2.0)]);
        assert_eq!(client.call("ZRANGE r:z 2 2 WITHSCORES"), Value::Array(vec![pair]));
        assert!(matches!(client.call("SMEMBERS q:s"), Value::Set(members) if members.len() == 500));
        assert_eq!(client.call("LPOP r:none 3"), Value::Null);
    }
    let mut client = cluster.client(2);
    client.call("MULTI");
    client.call("ZRANGE r:z 0 1 WITHSCORES");
    client.call("BLPOP {r:z}none 0");
    let flat = Value::Array(["m0", "0", "m1", "1"].map(bulk).into());
    assert_eq!(elements(&client.call("EXEC"))[0], flat, "flat in RESP2, in a transaction, too");
}

/// Waits until so many clients of a node wait.
fn until_blocked(cluster: &Cluster, node: usize, count: usize) {
    let mut client = cluster.client(node);
    eventually("clients wait", || {
        let Value::Bulk(list) = client.call("CLIENT LIST") else { panic!("a list") };
        let list = String::from_utf8_lossy(&list).into_owned();
        (list.lines().filter(|row| row.contains("flags=b")).count() == count).then_some(())
    });
}

#[test]
fn who_waits_gets_what_comes() {
    let cluster = Cluster::start(3, "");
    let mut pusher = cluster.client(0);
    let popped = |value: &str| Value::Array(vec![bulk("q"), bulk(value)]);
    let crossing = Value::Error("CROSSSLOT Keys in request don't hash to the same slot".into());
    assert_eq!(pusher.call("BLPOP other q 0"), crossing);
    // One after another, on different nodes: who came first is served first.
    let mut waiting: Vec<Client> = Vec::new();
    for number in 0..3 {
        let mut client = cluster.client(number);
        client.send(&crate::support::request("BLPOP q 0")).unwrap();
        until_blocked(&cluster, number, 1);
        // Nothing says when the leader has heard of it: a moment is far more than it takes.
        std::thread::sleep(Duration::from_millis(300));
        waiting.push(client);
    }
    for (number, client) in waiting.iter_mut().enumerate() {
        pusher.call(&format!("RPUSH q v{number}"));
        assert_eq!(client.read().unwrap(), popped(&format!("v{number}")));
    }
    assert_eq!(pusher.call("EXISTS q"), Value::Integer(0));

    // What is there is taken at once; time passes; and what stands behind a waiting command waits, too.
    pusher.call("RPUSH q one");
    let mut client = cluster.client(2);
    assert_eq!(client.call("BRPOP q 0"), popped("one"));
    let begun = Instant::now();
    assert_eq!(client.call("BLPOP q 0.2"), Value::NullArray);
    assert!(begun.elapsed() >= Duration::from_millis(200), "not before its time");
    client.send(&crate::support::request("BLMOVE q {q}target LEFT RIGHT 0")).unwrap();
    client.send(&crate::support::request("LLEN {q}target")).unwrap();
    until_blocked(&cluster, 2, 1);
    pusher.call("LPUSH q two");
    assert_eq!(client.read().unwrap(), bulk("two"));
    assert_eq!(client.read().unwrap(), Value::Integer(1));
}

#[test]
fn nothing_is_lost_by_who_waited_and_went() {
    let mut cluster = Cluster::start(3, "");
    let mut pusher = cluster.client(0);
    let ask = crate::support::request("BZPOPMIN z 0");
    for node in 0..3 {
        let mut client = cluster.client(node);
        client.send(&ask).unwrap();
        until_blocked(&cluster, node, 1);
        drop(client);
        until_blocked(&cluster, node, 0);
    }
    pusher.call("ZADD z 1 a");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(pusher.call("ZCARD z"), Value::Integer(1), "those who waited are gone");
    assert_eq!(cluster.client(1).call("BZPOPMIN z 0"), Value::Array(["z", "a", "1"].map(bulk).into()));

    // CLIENT UNBLOCK, as if the time were over or with an error.
    for (how, expected) in [
        ("", Value::NullArray),
        (" ERROR", Value::Error("UNBLOCKED client unblocked via CLIENT UNBLOCK".into())),
    ] {
        let mut client = cluster.client(0);
        let Value::Integer(id) = client.call("CLIENT ID") else { panic!("a number") };
        client.send(&ask).unwrap();
        until_blocked(&cluster, 0, 1);
        assert_eq!(pusher.call(&format!("CLIENT UNBLOCK {id}{how}")), Value::Integer(1));
        assert_eq!(client.read().unwrap(), expected);
        assert_eq!(pusher.call(&format!("CLIENT UNBLOCK {id}")), Value::Integer(0));
    }

    // Whoever leads dies: who waits elsewhere is served by the next one.
    let mut client = cluster.client(0);
    client.send(&ask).unwrap();
    until_blocked(&cluster, 0, 1);
    cluster.nodes[2].kill();
    eventually("somebody takes the write", || {
        matches!(pusher.call("ZADD z 1 b"), Value::Integer(_)).then_some(())
    });
    assert_eq!(client.read().unwrap(), Value::Array(["z", "b", "1"].map(bulk).into()));
    drop(pusher);
}
