//! Keyspaces whose replicas all take writes.

use resp::Value;
use server::Start;

use crate::support::client::{bulk, elements, field};
use crate::support::{Client, Cluster, eventually};

fn create(cluster: &Cluster, options: &str) {
    let mut client = cluster.client(0);
    let command = format!("KEYSPACE CREATE m: STRATEGY multi-primary {options}");
    eventually("the keyspace", || (client.call(command.trim_end()) == Value::OK).then_some(()));
    for node in 0..cluster.nodes.len() {
        let mut client = cluster.client(node);
        done(&mut client, &format!("SET m:ready{node} 1"));
        // By its own replica, not by passing on what is asked.
        eventually("the replica here to serve", || {
            let Value::Bulk(info) = client.call("INFO consort") else { panic!("INFO is a text") };
            String::from_utf8_lossy(&info).contains("serves=1").then_some(())
        });
    }
}

/// Asks until it is no error: what is refused did not happen.
fn done(client: &mut Client, command: &str) -> Value {
    eventually(command, || Some(client.call(command)).filter(|reply| !reply.is_error()))
}

/// All nodes come to answer so.
fn everywhere(cluster: &Cluster, nodes: &[usize], question: &str, answer: &Value) {
    for &node in nodes {
        let mut client = cluster.client(node);
        let mut last = Value::Null;
        eventually(&format!("{question} at node {node} to be {answer:?}"), || {
            last = client.call(question);
            (last == *answer).then_some(())
        });
    }
}

fn digests(cluster: &Cluster, nodes: &[usize]) -> Vec<Value> {
    let of_node = |&node: &usize| {
        let status = cluster.client(node).call("CONSORT STATUS");
        let group = elements(field(&status, "groups")).first()?.clone();
        Some(field(field(&group, "replica"), "digest").clone())
    };
    nodes.iter().filter_map(of_node).collect()
}

fn become_the_same(cluster: &Cluster, nodes: &[usize]) {
    eventually("the same state on all nodes", || {
        let digests = digests(cluster, nodes);
        (digests.len() == nodes.len() && digests.iter().all(|digest| *digest == digests[0])).then_some(())
    });
}

#[test]
fn every_node_takes_writes_and_nothing_is_lost_with_a_process() {
    let mut cluster = Cluster::start(3, "");
    create(&cluster, "");
    for node in 0..3 {
        let mut client = cluster.client(node);
        for round in 0..20 {
            assert_eq!(client.call(&format!("SADD m:set {node}.{round}")), Value::Integer(1));
            assert!(matches!(client.call("INCR m:sum"), Value::Integer(_)));
            assert!(matches!(client.call(&format!("RPUSH m:list {node}.{round}")), Value::Integer(_)));
        }
        // What was written here is seen here, whatever others have.
        assert_eq!(client.call(&format!("SISMEMBER m:set {node}.19")), Value::Integer(1));
    }
    // Two die; the third goes on alone, without a majority of anything.
    cluster.nodes[1].kill();
    cluster.nodes[2].kill();
    let mut client = cluster.client(0);
    for _ in 0..10 {
        assert!(matches!(client.call("INCR m:sum"), Value::Integer(_)));
    }
    assert_eq!(client.call("SET m:alone 1"), Value::OK);
    assert_eq!(client.call("GET m:alone"), bulk("1"));
    cluster.nodes[0].kill();
    for node in 0..3 {
        cluster.nodes[node].start(Start::Normal);
    }
    everywhere(&cluster, &[0, 1, 2], "GET m:sum", &bulk("70"));
    everywhere(&cluster, &[0, 1, 2], "SCARD m:set", &Value::Integer(60));
    everywhere(&cluster, &[0, 1, 2], "LLEN m:list", &Value::Integer(60));
    everywhere(&cluster, &[0, 1, 2], "GET m:alone", &bulk("1"));
    become_the_same(&cluster, &[0, 1, 2]);
}

/// Neither the catalogue nor any keyspace with a majority can be had there. The last change of the catalogue is the keyspaces themselves, so that its
/// log on the disk does not say yet that they are committed.
#[test]
fn a_node_that_starts_alone_serves_what_needs_nobody_else() {
    let mut cluster = Cluster::start(3, "");
    create(&cluster, "");
    let mut client = cluster.client(0);
    done(&mut client, "KEYSPACE CREATE l: STRATEGY leaderless R 1 W 1");
    done(&mut client, "SET l:a 1");
    done(&mut client, "SET m:a 1");
    done(&mut client, "SET a 1");
    everywhere(&cluster, &[0, 1, 2], "GET m:a", &bulk("1"));
    everywhere(&cluster, &[0, 1, 2], "GET l:a", &bulk("1"));
    // So often a node notes up to where it has read the catalogue; of keyspaces it does at once.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    for node in 0..3 {
        cluster.nodes[node].kill();
    }
    cluster.nodes[0].start(Start::Normal);
    let mut client =
        eventually("the node to take connections", || Client::connect(cluster.nodes[0].port).ok());
    let first = client.call("GET m:a");
    assert!(matches!(&first, Value::Error(text) if text.starts_with("CLUSTERDOWN")), "{first:?}");
    assert_eq!(done(&mut client, "GET m:a"), bulk("1"), "others may be starting, so it waits for a while");
    for key in ["m:b", "l:b"] {
        assert_eq!(done(&mut client, &format!("SET {key} 2")), Value::OK);
        assert_eq!(done(&mut client, &format!("GET {key}")), bulk("2"));
    }
    let goes_by_last_known = |client: &mut Client| {
        let Value::Bulk(info) = client.call("INFO consort") else { panic!("INFO is a text") };
        String::from_utf8_lossy(&info).contains("goes_by_last_known:1")
    };
    assert!(goes_by_last_known(&mut client));
    // What needs a majority has none.
    assert!(client.call("GET a").is_error());
    assert!(client.call("KEYSPACE CREATE n: STRATEGY multi-primary").is_error());
    for node in 1..3 {
        cluster.nodes[node].start(Start::Normal);
    }
    everywhere(&cluster, &[0, 1, 2], "GET m:b", &bulk("2"));
    everywhere(&cluster, &[0, 1, 2], "GET l:b", &bulk("2"));
    everywhere(&cluster, &[0, 1, 2], "GET a", &bulk("1"));
    eventually("the catalogue to be read", || (!goes_by_last_known(&mut client)).then_some(()));
}

#[test]
fn transactions_span_keys_and_what_cannot_merge_is_refused() {
    let cluster = Cluster::start(3, "");
    create(&cluster, "");
    let mut client = cluster.client(1);
    client.call("MULTI");
    client.call("SET m:one 1");
    client.call("SADD m:other x");
    client.call("INCRBY m:third 5");
    let all = client.call("EXEC");
    assert_eq!(all, Value::Array(vec![Value::OK, Value::Integer(1), Value::Integer(5)]));
    everywhere(&cluster, &[0, 1, 2], "MGET m:one m:third", &Value::Array(vec![bulk("1"), bulk("5")]));
    for (command, says) in [
        ("BLPOP m:list 1", "multi-primary"),
        ("IDEMPOTENT t INCR m:one", "all take writes"),
        ("MSET m:one 1 other 2", ""),
    ] {
        let reply = client.call(command);
        match (says, &reply) {
            ("", reply) => assert!(!reply.is_error(), "{command}: {reply:?}"),
            (says, Value::Error(text)) => assert!(text.contains(says), "{command}: {text}"),
            (_, reply) => panic!("{command}: {reply:?}"),
        }
    }
    // Of what the other client wrote besides, less is known.
    let mut client = cluster.client(2);
    assert_eq!(client.call("CLIENT ACK semi-sync 2"), Value::OK);
    assert_eq!(client.call("SET m:held 1"), Value::OK);
    assert_eq!(client.call("WAIT 2 5000"), Value::Integer(2));
    assert!(client.call("CLIENT ACK semi-sync 3") == Value::OK && client.call("SET m:held 2").is_error());
    assert_eq!(client.call("GET m:held"), bulk("1"), "it was refused");
    // Keys that end are gone everywhere, and taken away once.
    assert_eq!(client.call("CLIENT ACK default"), Value::OK);
    done(&mut client, "SET m:ends 1 PX 300");
    everywhere(&cluster, &[0, 1, 2], "GET m:ends", &Value::Null);
    become_the_same(&cluster, &[0, 1, 2]);
}

#[test]
fn values_written_at_the_same_time_are_seen_and_resolved() {
    let cluster = Cluster::start(3, "");
    create(&cluster, "CONFLICT siblings");
    let (mut one, mut other) = (cluster.client(0), cluster.client(1));
    // Both are sent before either is answered, until it has happened.
    let (key, siblings) = eventually("a conflict", || {
        let key = format!(
            "m:{}",
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?.as_nanos()
        );
        for (client, value) in [(&mut one, "a"), (&mut other, "b")] {
            client.send(&crate::support::request(&format!("SET {key} {value}"))).ok()?;
        }
        for client in [&mut one, &mut other] {
            assert_eq!(client.read().ok()?, Value::OK);
        }
        become_the_same(&cluster, &[0, 1, 2]);
        let siblings = one.call(&format!("SIBLINGS {key}"));
        (elements(field(&siblings, "values")).len() == 2).then_some((key, siblings))
    });
    let values = elements(field(&siblings, "values"));
    everywhere(&cluster, &[0, 1, 2], &format!("GET {key}"), field(&values[0], "value"));
    let Value::Bulk(context) = field(&siblings, "context") else { panic!("{siblings:?}") };
    let context = String::from_utf8_lossy(context).into_owned();
    let log = one.call("CONFLICTS LOG m:");
    let noted = |entry: &&Value| *field(entry, "key") == bulk(&key);
    let entry = elements(&log).iter().find(noted).unwrap_or_else(|| panic!("{key} is noted in {log:?}"));
    assert_eq!(field(entry, "lost"), field(&values[1], "value"));
    let Value::Bulk(id) = field(entry, "id") else { panic!("{entry:?}") };
    let id = String::from_utf8_lossy(id).into_owned();
    assert_eq!(one.call(&format!("RESOLVE {key} {context} ab")), Value::OK);
    let again = one.call(&format!("RESOLVE {key} {context} c"));
    assert!(matches!(&again, Value::Error(text) if text.starts_with("CONFLICT")), "{again:?}");
    everywhere(&cluster, &[0, 1, 2], &format!("GET {key}"), &bulk("ab"));
    let settled = one.call(&format!("SIBLINGS {key}"));
    assert_eq!(elements(field(&settled, "values")).len(), 1);
    assert_eq!(one.call(&format!("CONFLICTS RESTORE {id}")), Value::OK);
    everywhere(&cluster, &[0, 1, 2], &format!("GET {key}"), field(&values[1], "value"));
    assert!(one.call("SIBLINGS plain").is_error(), "a raft keyspace has none");
}

#[test]
fn a_node_that_joins_takes_the_state_and_one_that_leaves_takes_nothing_with_it() {
    let mut cluster = Cluster::start(3, "");
    // On all nodes that there are.
    create(&cluster, "REPLICAS 3");
    let mut client = cluster.client(0);
    for number in 0..300 {
        done(&mut client, &format!("SET m:{number} {number}"));
        done(&mut client, "INCR m:sum");
    }
    let node = cluster.add("");
    cluster.join(node, 0);
    eventually("the new member", || {
        let members = client.call("NODE LIST");
        (elements(&members).len() == 4).then_some(())
    });
    assert_eq!(done(&mut client, "NODE REMOVE n2"), Value::OK);
    eventually("the new node to hold it, and the other one to be gone", || {
        let members = client.call("NODE LIST");
        let names: Vec<&Value> = elements(&members).iter().map(|member| field(member, "name")).collect();
        done(&mut client, "INCR m:sum");
        (!names.contains(&&bulk("n2"))).then_some(())
    });
    let sum = done(&mut client, "GET m:sum");
    everywhere(&cluster, &[0, 1, node], "GET m:sum", &sum);
    everywhere(&cluster, &[0, 1, node], "GET m:299", &bulk("299"));
    become_the_same(&cluster, &[0, 1, node]);
}

#[test]
fn a_session_goes_on_at_another_node() {
    let mut cluster = Cluster::start(3, "");
    create(&cluster, "");
    let mut one = cluster.client(0);
    assert_eq!(one.call("CLIENT SESSION TOKEN"), bulk(""), "it has used none");
    for round in 0..30 {
        let (mut one, mut other) = (cluster.client(round % 3), cluster.client((round + 1) % 3));
        assert_eq!(one.call(&format!("SET m:{round} seen")), Value::OK);
        let Value::Bulk(token) = one.call("CLIENT SESSION TOKEN") else { panic!("a token") };
        let token = String::from_utf8_lossy(&token).into_owned();
        assert_eq!(other.call(&format!("CLIENT SESSION RESUME {token}")), Value::OK);
        // At once, and in order.
        let said = other.pipeline(&[
            format!("GET m:{round}"),
            format!("APPEND m:{round} !"),
            format!("GET m:{round}"),
        ]);
        assert_eq!(said, [bulk("seen"), Value::Integer(5), bulk("seen!")]);
    }
    assert!(one.call("CLIENT SESSION RESUME xyz").is_error());
    // What nobody has who is there cannot be seen: it is refused, not answered from less.
    assert_eq!(one.call("SET m:last 1"), Value::OK);
    let Value::Bulk(token) = one.call("CLIENT SESSION TOKEN") else { panic!("a token") };
    let token = String::from_utf8_lossy(&token).into_owned();
    everywhere(&cluster, &[1, 2], "GET m:last", &bulk("1"));
    cluster.nodes[0].kill();
    let mut other = cluster.client(1);
    assert_eq!(other.call(&format!("CLIENT SESSION RESUME {token}")), Value::OK);
    let said = other.call("GET m:last");
    assert_eq!(said, bulk("1"), "{:?}", other.call("INFO consort"));
}

/// What was taken from the counter: one at a time until it is said that there is nothing left.
fn take_all(cluster: &Cluster, node: usize, key: &str) -> i64 {
    let mut client = cluster.client(node);
    let mut taken = 0;
    loop {
        match client.call(&format!("DECR {key}")) {
            Value::Integer(left) => {
                assert!(left >= 0, "it is {left}");
                taken += 1;
            }
            Value::Error(text) if text.starts_with("OUTOFBOUNDS") => return taken,
            Value::Error(text) => assert!(text.starts_with("NORIGHTS"), "{text}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn bounded_counters_are_never_below_zero_and_nothing_of_them_is_out_of_reach() {
    let mut cluster = Cluster::start(3, "");
    let mut client = cluster.client(0);
    eventually("the keyspace", || {
        (client.call("KEYSPACE CREATE b: STRATEGY multi-primary COUNTERS bounded") == Value::OK).then_some(())
    });
    for node in 0..3 {
        done(&mut cluster.client(node), &format!("INCR b:ready{node}"));
        eventually("the replica here to serve", || {
            let Value::Bulk(info) = cluster.client(node).call("INFO consort") else {
                panic!("INFO is a text")
            };
            String::from_utf8_lossy(&info).contains("serves=1").then_some(())
        });
    }
    // All is added at one node, and taken at all of them at the same time.
    assert_eq!(client.call("INCRBY b:stock 300"), Value::Integer(300));
    everywhere(&cluster, &[0, 1, 2], "GET b:stock", &bulk("300"));
    let taken: i64 = std::thread::scope(|scope| {
        let cluster = &cluster;
        let all: Vec<_> =
            (0..3).map(|node| scope.spawn(move || take_all(cluster, node, "b:stock"))).collect();
        all.into_iter().map(|one| one.join().expect("a client")).sum()
    });
    assert_eq!(taken, 300);
    everywhere(&cluster, &[0, 1, 2], "GET b:stock", &bulk("0"));
    for (command, says) in [
        ("SET b:stock 5", "INCRBY"),
        ("APPEND b:stock 5", "INCRBY"),
        ("EXPIRE b:stock 5", "does not expire"),
        ("KEYSPACE ALTER b: STRATEGY multi-primary COUNTERS sum", "cannot be changed"),
        ("DECRBY b:none 1", "OUTOFBOUNDS"),
    ] {
        match client.call(command) {
            Value::Error(text) => assert!(text.contains(says), "{command}: {text}"),
            reply => panic!("{command}: {reply:?}"),
        }
    }
    // Who deletes it takes all of it off, and needs what others have.
    done(&mut client, "INCRBY b:gone 7");
    everywhere(&cluster, &[1], "GET b:gone", &bulk("7"));
    let mut other = cluster.client(1);
    done(&mut other, "DEL b:gone");
    everywhere(&cluster, &[0, 1, 2], "EXISTS b:gone", &Value::Integer(0));
    // What only a replica may take that is dead is refused, and what is here goes on.
    done(&mut client, "INCRBY b:away 10");
    everywhere(&cluster, &[1, 2], "GET b:away", &bulk("10"));
    cluster.nodes[0].kill();
    done(&mut other, "INCRBY b:away 3");
    match other.call("DECRBY b:away 5") {
        Value::Error(text) => assert!(text.starts_with("NORIGHTS"), "{text}"),
        reply => panic!("{reply:?}"),
    }
    assert_eq!(other.call("DECRBY b:away 2"), Value::Integer(11));
    cluster.nodes[0].start(Start::Normal);
    assert_eq!(done(&mut other, "DECRBY b:away 11"), Value::Integer(0));
    become_the_same(&cluster, &[0, 1, 2]);
}

/// A number in the line of `INFO` about the keyspace.
fn figure(client: &mut Client, name: &str) -> i64 {
    let Value::Bulk(info) = client.call("INFO consort") else { panic!("INFO is a text") };
    let info = String::from_utf8_lossy(&info).into_owned();
    let line = info.lines().find(|line| line.contains("strategy=multi-primary")).unwrap_or_default();
    let value = line.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    value.and_then(|value| value.parse().ok()).unwrap_or(-1)
}

#[test]
fn who_stays_away_is_not_waited_for_and_comes_back_with_what_it_wrote() {
    let mut cluster = Cluster::start(3, "storage.snapshot_log_bytes = \"64KiB\"");
    create(&cluster, "");
    let mut away = cluster.client(2);
    done(&mut away, "SADD m:set of-the-one-away both");
    done(&mut away, "INCRBY m:sum 5");
    become_the_same(&cluster, &[0, 1, 2]);
    cluster.nodes[2].kill();
    // Keys come and go; what the dead one lacks of them is more than what there is.
    let mut client = cluster.client(0);
    eventually("the dead one not to be waited for", || {
        for number in 0..500 {
            done(&mut client, &format!("SET m:k{number} {}", "x".repeat(200)));
        }
        done(&mut client, "DEL m:sum");
        done(&mut client, "SREM m:set both");
        for number in 0..500 {
            done(&mut client, &format!("DEL m:k{number}"));
        }
        (figure(&mut client, "away") == 1).then_some(())
    });
    for node in 0..2 {
        let mut client = cluster.client(node);
        eventually("nothing to be kept for it", || {
            done(&mut client, "INCR m:others");
            (figure(&mut client, "kept_bytes") < 64 << 10).then_some(())
        });
    }
    cluster.nodes[2].start(Start::Normal);
    eventually("it to be waited for again", || (figure(&mut client, "away") == 0).then_some(()));
    become_the_same(&cluster, &[0, 1, 2]);
    everywhere(&cluster, &[0, 1, 2], "SMEMBERS m:set", &Value::Array(vec![bulk("of-the-one-away")]));
    everywhere(&cluster, &[0, 1, 2], "EXISTS m:sum m:k7", &Value::Integer(0));
    done(&mut cluster.client(2), "INCRBY m:sum 2");
    everywhere(&cluster, &[0, 1, 2], "GET m:sum", &bulk("2"));
}
