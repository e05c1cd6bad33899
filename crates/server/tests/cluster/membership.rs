//! Nodes that join, are drained and removed, and keyspaces, all while clients write.

use std::sync::atomic::{AtomicBool, Ordering};

use resp::Value;

use crate::faults::write_until;
use crate::support::client::{bulk, elements, field};
use crate::support::{Client, Cluster, eventually};

/// How many partitions each member holds, by name, once nothing is left to be moved.
fn settled(cluster: &Cluster, asked: usize) -> Vec<(String, i64, i64)> {
    eventually("a cluster in which nothing is under way", || {
        let mut client = cluster.client(asked);
        let members = client.call("NODE LIST");
        let quiet = |member: &Value| {
            ["arriving", "leaving"].iter().all(|what| *field(member, what) == Value::Integer(0))
        };
        let counts = elements(&members).iter().map(|member| {
            let number = |name: &str| match field(member, name) {
                Value::Integer(number) => *number,
                other => panic!("{other:?}"),
            };
            let Value::Bulk(name) = field(member, "name") else { panic!("a name") };
            (String::from_utf8_lossy(name).into_owned(), number("partitions"), number("leads"))
        });
        let mut counts: Vec<(String, i64, i64)> = counts.collect();
        counts.sort();
        let (least, most) =
            (counts.iter().map(|(_, held, _)| *held).min()?, counts.iter().map(|(_, held, _)| *held).max()?);
        (elements(&members).iter().all(quiet) && most - least <= 1).then_some(counts)
    })
}

/// Writes; what is refused since a leadership moved is asked again.
fn set(cluster: &Cluster, node: usize, key: &str, value: &str) {
    let mut client = cluster.client(node);
    eventually("a write", || {
        let reply = client.call(&format!("SET {key} {value}"));
        assert!(reply == Value::OK || reply.is_error(), "{reply:?}");
        (reply == Value::OK).then_some(())
    });
}

/// A key has to hold this; an error is no answer, another value is a wrong one.
fn assert_holds(cluster: &Cluster, node: usize, key: &str, value: &str) {
    let mut client = cluster.client(node);
    eventually("an answer", || {
        let reply = client.call(&format!("GET {key}"));
        assert!(reply == bulk(value) || reply.is_error(), "{key} is {reply:?}, not {value}");
        (!reply.is_error()).then_some(())
    });
}

/// Asks for the slots again and again: every answer has to cover all of them.
fn poll_slots(stop: &AtomicBool, port: u16) -> u64 {
    let mut client = Client::connect(port).expect("a connection");
    let mut polls = 0;
    while !stop.load(Ordering::Relaxed) {
        let reply = client.call("CLUSTER SLOTS");
        let mut next = 0;
        for range in elements(&reply) {
            let Value::Array(range) = range else { panic!("{range:?}") };
            assert_eq!(range[0], Value::Integer(next), "{reply:?}");
            let Value::Integer(last) = range[1] else { panic!("{range:?}") };
            next = last + 1;
        }
        assert_eq!(next, 16384, "{reply:?}");
        polls += 1;
    }
    polls
}

#[test]
fn a_cluster_grows_and_shrinks_under_load_and_loses_nothing() {
    let mut cluster = Cluster::start(3, "partitions = 8");
    let ports: Vec<u16> = cluster.nodes.iter().map(|node| node.port).collect();
    let stop = AtomicBool::new(false);
    let acknowledged: Vec<Vec<u64>> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let (stop, ports) = (&stop, &ports);
                scope.spawn(move || write_until(stop, ports, writer))
            })
            .collect();
        let poller = scope.spawn(|| poll_slots(&stop, ports[0]));
        for _ in 0..3 {
            let joined = cluster.add("");
            cluster.join(joined, joined % 3);
            cluster.wait_until_serving(joined);
        }
        let grown = settled(&cluster, 5);
        assert_eq!(grown.len(), 6);
        assert_eq!(grown.iter().map(|(_, held, _)| held).sum::<i64>(), 24, "{grown:?}");
        assert!(grown.iter().all(|(_, _, leads)| (1..=2).contains(leads)), "{grown:?}");

        // A founder goes; its place in the list of the others means nothing.
        assert_eq!(cluster.client(4).call("NODE REMOVE n1"), Value::OK);
        let code = cluster.nodes[1].wait();
        assert_eq!(code.code(), Some(1), "a removed node stops: {}", cluster.nodes[1].log());
        assert!(cluster.nodes[1].log().contains("removed from the cluster"), "{}", cluster.nodes[1].log());
        let shrunk = settled(&cluster, 0);
        assert_eq!(
            shrunk.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>(),
            ["n0", "n2", "n3", "n4", "n5"]
        );

        assert_eq!(cluster.client(2).call("NODE DRAIN n3"), Value::OK);
        eventually("a drained node without partitions", || {
            let members = cluster.client(0).call("NODE LIST");
            let drained = |member: &Value| {
                *field(member, "name") == bulk("n3") && *field(member, "partitions") == Value::Integer(0)
            };
            elements(&members).iter().any(drained).then_some(())
        });
        stop.store(true, Ordering::Relaxed);
        assert!(poller.join().expect("the slots were whole") > 10);
        writers.into_iter().map(|writer| writer.join().expect("the writer is well")).collect()
    });
    for node in [0, 3, 5] {
        for (writer, numbers) in acknowledged.iter().enumerate() {
            assert!(numbers.len() > 10);
            for number in numbers {
                assert_holds(&cluster, node, &format!("w{writer}:{number}"), &number.to_string());
            }
        }
    }
    let refusal = cluster.client(0).call("NODE REMOVE n5");
    assert_eq!(refusal, Value::OK, "three active nodes are left");
    eventually("the refusal to leave too few", || {
        let refusal = cluster.client(0).call("NODE DRAIN n4");
        let Value::Error(text) = refusal else { panic!("{refusal:?}") };
        text.contains("add a node first").then_some(())
    });
}

#[test]
fn who_may_not_join_is_told_why_and_a_restarted_cluster_knows_its_members() {
    let mut cluster = Cluster::start(3, "partitions = 4");
    let joined = cluster.add("");
    cluster.join(joined, 0);
    cluster.wait_until_serving(joined);
    settled(&cluster, 0);
    set(&cluster, 3, "a", "b");

    let mut twin = Cluster::prepare(0, "");
    (0..4).for_each(|_| {
        twin.add("");
    });
    twin.nodes[3].peer = cluster.nodes[0].peer;
    let seed = server::config::Address::loopback(cluster.nodes[0].peer);
    twin.nodes[3].start(server::Start::Join(seed.clone()));
    assert_eq!(twin.nodes[3].wait().code(), Some(1), "its name is taken");
    assert!(twin.nodes[3].log().contains("the name 'n3' is that of node"), "{}", twin.nodes[3].log());
    twin.nodes[2].reconfigure("cluster = \"test\"", "cluster = \"other\"");
    twin.nodes[2].start(server::Start::Join(seed));
    assert_eq!(twin.nodes[2].wait().code(), Some(1), "another cluster");
    assert!(
        twin.nodes[2].log().contains("this is the cluster 'test', not 'other'"),
        "{}",
        twin.nodes[2].log()
    );

    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.start(server::Start::Normal);
    }
    for node in 0..4 {
        cluster.wait_until_serving(node);
        assert_holds(&cluster, node, "a", "b");
    }
    assert_eq!(settled(&cluster, 3).len(), 4);
}

#[test]
fn a_node_that_stays_away_is_replaced_and_taken_back() {
    let mut cluster = Cluster::start(3, "partitions = 4\nmembership.replace_after = \"2s\"");
    for _ in 0..2 {
        let joined = cluster.add("");
        cluster.join(joined, 0);
        cluster.wait_until_serving(joined);
    }
    settled(&cluster, 0);
    set(&cluster, 0, "a", "b");
    cluster.nodes[1].kill();
    let state = |cluster: &Cluster| {
        let members = cluster.client(0).call("NODE LIST");
        let member = elements(&members).iter().find(|member| *field(member, "name") == bulk("n1")).cloned();
        let member = member.expect("it stays a member");
        (field(&member, "state").clone(), field(&member, "partitions").clone())
    };
    eventually("its copies elsewhere", || {
        (state(&cluster) == (bulk("silent"), Value::Integer(0))).then_some(())
    });
    cluster.nodes[1].start(server::Start::Normal);
    cluster.wait_until_serving(1);
    eventually("its return", || (state(&cluster).0 == bulk("active")).then_some(()));
    settled(&cluster, 1);
    assert_holds(&cluster, 1, "a", "b");
}

/// A write that is sent to another node as soon as the keyspace is there would else be of the default keyspace, where nobody looks for it any more.
#[test]
fn whoever_has_made_a_keyspace_finds_it_at_every_node() {
    let cluster = Cluster::start(5, "");
    let mut clients: Vec<Client> = (0..5).map(|node| cluster.client(node)).collect();
    for number in 0..40 {
        let (prefix, maker) = (format!("k{number}:"), number % 5);
        let made =
            clients[maker].call(&format!("KEYSPACE CREATE {prefix} STRATEGY primary-replica ACK async"));
        assert_eq!(made, Value::OK);
        for client in &mut clients {
            let of = client.call(&format!("KEYSPACE OF {prefix}1"));
            assert_eq!(*field(&of, "prefix"), bulk(&prefix));
        }
        assert_eq!(clients[maker].call(&format!("KEYSPACE DROP {prefix} {prefix}")), Value::OK);
        for client in &mut clients {
            let of = client.call(&format!("KEYSPACE OF {prefix}1"));
            assert_eq!(*field(&of, "prefix"), bulk(""));
        }
    }
}

/// Keyspaces of the strategy `raft` have no groups that could go with them.
#[test]
fn the_keys_of_a_dropped_keyspace_are_gone() {
    let cluster = Cluster::start(3, "");
    let mut client = cluster.client(0);
    let mut ask = |line: &str| client.call(line);
    for prefix in ["cart:", "cart:vip:"] {
        assert_eq!(ask(&format!("KEYSPACE CREATE {prefix} STRATEGY raft")), Value::OK);
    }
    for number in 0..1500 {
        assert_eq!(ask(&format!("SET cart:{number} v")), Value::OK);
    }
    for key in ["cart:vip:1", "cart", "other"] {
        assert_eq!(ask(&format!("SET {key} v")), Value::OK);
    }
    assert!(ask("KEYSPACE DROP cart: cart").is_error(), "named differently");
    assert_eq!(ask("DBSIZE"), Value::Integer(1503));
    assert_eq!(ask("KEYSPACE DROP cart: cart:"), Value::OK);
    assert_eq!(ask("DBSIZE"), Value::Integer(3));
    for key in ["cart:vip:1", "cart", "other"] {
        assert_eq!(ask(&format!("GET {key}")), bulk("v"));
    }
    // Within a keyspace that has groups of its own, too: its keys would be hidden and come back with the next of that name.
    assert_eq!(ask("KEYSPACE CREATE a: STRATEGY multi-primary"), Value::OK);
    assert_eq!(ask("SET a:r:1 hidden"), Value::OK);
    let hides = ask("KEYSPACE CREATE a:r: STRATEGY raft");
    assert!(matches!(&hides, Value::Error(text) if text.contains("such as 'a:r:1'")), "{hides:?}");
    assert_eq!(ask("DEL a:r:1"), Value::Integer(1));
    assert_eq!(ask("KEYSPACE CREATE a:r: STRATEGY raft"), Value::OK);
    assert_eq!(ask("SET a:r:1 v"), Value::OK);
    // Keys of a keyspace within are not hidden by one around it.
    assert_eq!(ask("KEYSPACE CREATE cart: STRATEGY primary-replica ACK sync"), Value::OK);
    assert_eq!(ask("GET cart:vip:1"), bulk("v"));
    for _ in 0..2 {
        assert_eq!(ask("KEYSPACE DROP a:r: a:r:"), Value::OK);
        assert_eq!(ask("KEYSPACE CREATE a:r: STRATEGY raft"), Value::OK);
        assert_eq!(ask("GET a:r:1"), Value::Null);
    }
}

#[test]
fn keyspaces_are_known_everywhere_and_survive() {
    let mut cluster = Cluster::start(3, "");
    assert_eq!(cluster.client(0).call("KEYSPACE CREATE cart: STRATEGY raft"), Value::OK);
    assert_eq!(cluster.client(1).call("KEYSPACE CREATE cart:vip: STRATEGY raft"), Value::OK);
    let again = cluster.client(0).call("KEYSPACE CREATE cart: STRATEGY raft");
    assert!(matches!(&again, Value::Error(text) if text.contains("already")), "{again:?}");
    for node in 0..3 {
        eventually("the keyspaces", || {
            let keyspaces = cluster.client(node).call("KEYSPACE LIST");
            (elements(&keyspaces).len() == 3).then_some(())
        });
        let of = cluster.client(node).call("KEYSPACE OF cart:vip:7");
        assert_eq!(*field(&of, "prefix"), bulk("cart:vip:"));
    }
    // Without a majority they are still known, and cannot be changed.
    cluster.nodes[1].kill();
    cluster.nodes[2].kill();
    let of = cluster.client(0).call("KEYSPACE OF cart:1");
    assert_eq!(*field(&of, "prefix"), bulk("cart:"));
    let refused = cluster.client(0).call("KEYSPACE DROP cart: cart:");
    assert!(refused.is_error(), "{refused:?}");
    for node in [1, 2] {
        cluster.nodes[node].start(server::Start::Normal);
    }
    cluster.wait_until_serving(2);
    assert_eq!(cluster.client(2).call("KEYSPACE DROP cart:vip: cart:vip:"), Value::OK);
    assert_eq!(*field(&cluster.client(2).call("KEYSPACE OF cart:vip:7"), "strategy"), bulk("raft"));
}
