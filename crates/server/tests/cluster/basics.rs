//! Commands of every route, on every node.

use resp::Value;

use crate::support::client::bulk;
use crate::support::{Cluster, eventually};

#[test]
fn every_node_takes_every_command() {
    let cluster = Cluster::start(3, "");
    let mut clients: Vec<_> = (0..3).map(|node| cluster.client(node)).collect();
    for round in 0..60 {
        let writer = round % 3;
        assert_eq!(clients[writer].call(&format!("SET key:{round} value:{round}")), Value::OK);
        for (reader, client) in clients.iter_mut().enumerate() {
            let reply = client.call(&format!("GET key:{round}"));
            assert_eq!(reply, bulk(&format!("value:{round}")), "written on {writer}, read on {reader}");
        }
    }
    for client in &mut clients {
        assert_eq!(client.call("DBSIZE"), Value::Integer(60));
        let Value::Array(keys) = client.call("KEYS key:*") else { panic!("KEYS gives an array") };
        assert_eq!(keys.len(), 60);
    }
    assert_eq!(clients[1].call("MSET a 1 b 2 c 3 d 4"), Value::OK);
    let wanted = [bulk("4"), bulk("3"), Value::Null, bulk("1")];
    assert_eq!(clients[2].call("MGET d c none a"), Value::Array(wanted.into()));
    assert_eq!(clients[0].call("EXISTS a b c d none"), Value::Integer(4));
    assert_eq!(clients[0].call("DEL a b none"), Value::Integer(2));
    assert_eq!(clients[2].call("FLUSHALL"), Value::OK);
    assert_eq!(clients[1].call("DBSIZE"), Value::Integer(0));
}

/// Two nodes have two workers and one has one: a partition's shard is another one's neighbour on each node.
#[test]
fn several_workers_serve_as_one() {
    let mut cluster = Cluster::prepare(3, "workers = 2\npartitions = 7");
    cluster.nodes[1].reconfigure("workers = 2", "workers = 1");
    for node in &mut cluster.nodes {
        node.start(server::Start::Bootstrap);
    }
    (0..3).for_each(|node| cluster.wait_until_serving(node));
    for node in 0..3 {
        // Two connections: one on each worker.
        let (mut one, mut other) = (cluster.client(node), cluster.client(node));
        let commands: Vec<String> = (0..200).map(|key| format!("SET {node}:{key} {key}")).collect();
        assert!(one.pipeline(&commands).iter().all(|reply| *reply == Value::OK));
        let commands: Vec<String> = (0..200).map(|key| format!("GET {node}:{key}")).collect();
        let expected: Vec<Value> = (0..200).map(|key| bulk(&key.to_string())).collect();
        assert_eq!(other.pipeline(&commands), expected);
        assert_eq!(other.call("DBSIZE"), Value::Integer(200 * (node as i64 + 1)));
    }
}

#[test]
fn pipelines_are_answered_in_order_and_reads_see_the_writes_before_them() {
    let cluster = Cluster::start(3, "");
    for node in 0..3 {
        let mut client = cluster.client(node);
        let mut commands = Vec::new();
        let mut expected = Vec::new();
        for number in 0..500 {
            // Over many partitions, with commands that the server answers itself in between.
            let key = format!("p{node}:{}", number % 50);
            commands.push(format!("SET {key} {number}"));
            expected.push(Value::OK);
            commands.push(format!("GET {key}"));
            expected.push(bulk(&number.to_string()));
            if number % 7 == 0 {
                commands.push(format!("ECHO {number}"));
                expected.push(bulk(&number.to_string()));
            }
        }
        let replies = client.pipeline(&commands);
        for (index, (reply, expected)) in replies.iter().zip(&expected).enumerate() {
            assert_eq!(reply, expected, "answer {index} to {}", commands[index]);
        }
    }
}

#[test]
fn a_scan_over_all_partitions_finds_every_key_once() {
    let cluster = Cluster::start(3, "");
    let mut client = cluster.client(1);
    let commands: Vec<String> = (0..300).map(|key| format!("SET scan:{key} x")).collect();
    client.pipeline(&commands);
    let mut found = Vec::new();
    let mut cursor = "0".to_string();
    loop {
        let Value::Array(page) = client.call(&format!("SCAN {cursor} COUNT 20")) else { panic!("an array") };
        let [Value::Bulk(next), Value::Array(keys)] = &page[..] else { panic!("a cursor and keys") };
        for key in keys {
            let Value::Bulk(key) = key else { panic!("a key") };
            found.push(key.clone());
        }
        cursor = String::from_utf8(next.to_vec()).expect("a number");
        if cursor == "0" {
            break;
        }
    }
    let count = found.len();
    found.sort();
    found.dedup();
    assert_eq!((count, found.len()), (300, 300));
}

#[test]
fn replies_can_be_switched_off() {
    let cluster = Cluster::start(1, "");
    let mut client = cluster.client(0);
    client
        .send(b"CLIENT REPLY SKIP\r\nSET a 1\r\nGET a\r\nCLIENT REPLY OFF\r\nSET a 2\r\nECHO no\r\n")
        .unwrap();
    assert_eq!(client.read().unwrap(), bulk("1"));
    client.send(b"CLIENT REPLY ON\r\nGET a\r\n").unwrap();
    assert_eq!(client.read().unwrap(), Value::OK);
    assert_eq!(client.read().unwrap(), bulk("2"));
}

#[test]
fn a_client_can_be_killed_and_others_go_on() {
    let cluster = Cluster::start(1, "");
    let (mut victim, mut other) = (cluster.client(0), cluster.client(0));
    let Value::Integer(id) = victim.call("CLIENT ID") else { panic!("a number") };
    assert_eq!(other.call(&format!("CLIENT KILL ID {id}")), Value::Integer(1));
    assert!(victim.read().is_err(), "closed");
    assert_eq!(other.call("PING"), Value::Simple("PONG".into()));
    eventually("the victim's row to go", || {
        let Value::Bulk(list) = other.call("CLIENT LIST") else { panic!("text") };
        (String::from_utf8_lossy(&list).lines().count() == 1).then_some(())
    });
}

#[test]
fn a_client_that_closes_its_half_gets_its_answers() {
    use std::io::Read;
    let cluster = Cluster::start(3, "");
    let mut client = cluster.client(0);
    client.send(b"SET half 1\r\nGET half\r\nSET other 2\r\n").unwrap();
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answers = Vec::new();
    client.stream.read_to_end(&mut answers).unwrap();
    assert_eq!(String::from_utf8_lossy(&answers), "+OK\r\n$1\r\n1\r\n+OK\r\n");
}

#[test]
fn a_command_with_a_token_runs_once() {
    let cluster = Cluster::start(3, "");
    for node in 0..3 {
        let reply = cluster.client(node).call("IDEMPOTENT token-1 INCR counter");
        assert_eq!(reply, Value::Integer(1), "sent again through node {node}");
    }
    let mut client = cluster.client(0);
    assert_eq!(client.call("IDEMPOTENT token-2 INCR counter"), Value::Integer(2));
    assert_eq!(client.call("GET counter"), bulk("2"));
    for wrong in ["IDEMPOTENT token-3 GET counter", "IDEMPOTENT t MSET a 1 b 2 c 3", "IDEMPOTENT t PING"] {
        assert!(client.call(wrong).is_error(), "{wrong}");
    }
    let long = "t".repeat(65);
    assert!(client.call(&format!("IDEMPOTENT {long} SET a 1")).is_error());
    assert_eq!(client.call("EXISTS a b c"), Value::Integer(0));
    assert_eq!(client.call("WAIT 0 0"), Value::Integer(1), "a majority of three: one beside the leader");
}

/// A connection that has asked for slots is told who leads; one that has not is served wherever it asks.
#[test]
fn who_knows_about_slots_is_redirected_and_nobody_else() {
    let cluster = Cluster::start(3, "");
    let mut plain = cluster.client(0);
    assert_eq!(plain.call("SET key value"), Value::OK);
    let ask_all = |prepare: &[&str], command: &str| -> Vec<Value> {
        let ask = |node| {
            let mut client = cluster.client(node);
            prepare.iter().for_each(|command| assert!(!client.call(command).is_error()));
            client.call(command)
        };
        (0..3).map(ask).collect()
    };
    // Leadership may still go to the node that is meant to lead.
    let eventually_all = |prepare: &[&str], command: &str, so: &dyn Fn(&[Value]) -> bool| {
        eventually(command, || so(&ask_all(prepare, command)).then_some(()));
    };
    // Who leads is the only one that serves, and the others say so.
    eventually("one node that leads", || {
        let replies = ask_all(&["CLUSTER SLOTS"], "SET key value");
        let leader = replies.iter().position(|reply| *reply == Value::OK)?;
        let addresses: Vec<String> = replies
            .iter()
            .filter_map(|reply| match reply {
                Value::Error(text) => Some(text.strip_prefix("MOVED 12539 ")?.to_string()),
                _ => None,
            })
            .collect();
        let address = format!("127.0.0.1:{}", cluster.nodes[leader].port);
        (addresses == [address.clone(), address]).then_some(())
    });
    let moved = |reply: &Value| matches!(reply, Value::Error(text) if text.starts_with("MOVED "));
    let two_moved = |replies: &[Value]| replies.iter().filter(|reply| moved(reply)).count() == 2;
    let three_values = |replies: &[Value]| replies.iter().all(|reply| *reply == bulk("value"));
    for aware in ["CLUSTER SHARDS", "READWRITE", "ASKING"] {
        eventually_all(&[aware], "GET key", &two_moved);
    }
    // Replicas serve reads for who asks for that, but no writes.
    eventually_all(&["READONLY"], "GET key", &three_values);
    eventually_all(&["READONLY"], "SET key value", &two_moved);
    // What is about more than one key's slot is served everywhere.
    for command in ["MGET key other", "RANDOMKEY", "DBSIZE", "SCAN 0"] {
        eventually_all(&["CLUSTER SLOTS"], command, &|replies| replies.iter().all(|reply| !reply.is_error()));
    }
    let in_array = Value::Array(vec![bulk("value")]);
    eventually_all(&["CLUSTER SLOTS", "MULTI", "GET key"], "EXEC", &|replies| {
        replies.iter().all(|reply| *reply == in_array)
    });
    eventually_all(&["CLUSTER SLOTS", "RESET"], "GET key", &three_values);

    eventually_all(&[], "GET key", &three_values);
    eventually_all(&["CONFIG SET cluster-redirect always"], "GET key", &two_moved);
    eventually_all(&["CLUSTER SLOTS", "CONFIG SET cluster-redirect never"], "GET key", &three_values);
    let error = plain.call("CONFIG SET cluster-redirect sometimes");
    assert!(matches!(error, Value::Error(text) if text.contains("never, aware, always")));
}
