//! Nodes that die and come back; what was acknowledged stays.

use std::sync::atomic::{AtomicBool, Ordering};

use resp::Value;
use server::Start;

use crate::support::client::bulk;
use crate::support::{Client, Cluster, eventually};

/// Writes rising numbers to keys of its own until told to stop; returns what was acknowledged.
pub fn write_until(stop: &AtomicBool, ports: &[u16], writer: usize) -> Vec<u64> {
    let mut acknowledged = Vec::new();
    let mut client: Option<Client> = None;
    let mut number = 0u64;
    while !stop.load(Ordering::Relaxed) {
        let port = ports[(writer + number as usize) % ports.len()];
        let Some(connected) = client.as_mut() else {
            client = Client::connect(port).ok();
            number += 1;
            continue;
        };
        match connected.try_call(&format!("SET w{writer}:{number} {number}")) {
            Ok(reply) if reply == Value::OK => acknowledged.push(number),
            Ok(reply) => assert!(reply.is_error(), "{reply:?}"),
            Err(_) => client = None,
        }
        number += 1;
    }
    acknowledged
}

#[test]
fn no_acknowledged_write_is_lost_when_nodes_are_killed_under_load() {
    let mut cluster = Cluster::start(3, "");
    let ports: Vec<u16> = cluster.nodes.iter().map(|node| node.port).collect();
    let stop = AtomicBool::new(false);
    let acknowledged: Vec<Vec<u64>> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (stop, ports) = (&stop, &ports);
                scope.spawn(move || write_until(stop, ports, writer))
            })
            .collect();
        for victim in 0..3 {
            std::thread::sleep(std::time::Duration::from_millis(300));
            cluster.nodes[victim].kill();
            // The others go on without it.
            let mut client = cluster.client((victim + 1) % 3);
            eventually("a write in every partition without the dead node", || {
                matches!(client.call("MSET a 1 b 2 c 3 d 4 e 5 f 6 g 7 h 8"), Value::Simple(_)).then_some(())
            });
            cluster.nodes[victim].start(Start::Normal);
            cluster.wait_until_serving(victim);
        }
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().expect("the writer is well")).collect()
    });
    for node in 0..3 {
        let mut client = cluster.client(node);
        for (writer, numbers) in acknowledged.iter().enumerate() {
            assert!(!numbers.is_empty(), "writer {writer} wrote something");
            let commands: Vec<String> =
                numbers.iter().map(|number| format!("GET w{writer}:{number}")).collect();
            let expected: Vec<Value> = numbers.iter().map(|number| bulk(&number.to_string())).collect();
            assert!(client.pipeline(&commands) == expected, "something is missing on node {node}");
        }
    }
}

#[test]
fn all_nodes_killed_at_once_come_back_with_everything() {
    let mut cluster = Cluster::start(3, "");
    let commands: Vec<String> = (0..2000).map(|key| format!("SET k{key} {key}")).collect();
    assert!(cluster.client(1).pipeline(&commands).iter().all(|reply| *reply == Value::OK));
    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.start(Start::Normal);
    }
    for node in 0..3 {
        cluster.wait_until_serving(node);
        assert_eq!(cluster.client(node).call("DBSIZE"), Value::Integer(2000));
    }
    let commands: Vec<String> = (0..2000).map(|key| format!("GET k{key}")).collect();
    let expected: Vec<Value> = (0..2000).map(|key| bulk(&key.to_string())).collect();
    assert!(cluster.client(2).pipeline(&commands) == expected);
}

#[test]
fn a_node_that_was_away_catches_up() {
    // Small logs, so that it has to be caught up by snapshots too.
    let mut cluster = Cluster::start(3, "[storage]\nsnapshot_log_bytes = \"64KiB\"");
    cluster.nodes[0].kill();
    let mut client = cluster.client(1);
    let filler = "x".repeat(500);
    for round in 0..20 {
        let commands: Vec<String> = (0..500).map(|key| format!("SET k{key} {round}{filler}")).collect();
        eventually("a round of writes", || {
            client.pipeline(&commands).iter().all(|reply| *reply == Value::OK).then_some(())
        });
    }
    cluster.nodes[0].start(Start::Normal);
    cluster.wait_until_serving(0);
    // With another node gone, the one that was away is needed for every majority.
    cluster.nodes[2].kill();
    let mut client = cluster.client(0);
    eventually("a write in every partition", || {
        matches!(client.call("MSET a 1 b 2 c 3 d 4 e 5 f 6 g 7 h 8"), Value::Simple(_)).then_some(())
    });
    for key in 0..500 {
        let expected = bulk(&format!("19{filler}"));
        eventually("an answer", || (client.call(&format!("GET k{key}")) == expected).then_some(()));
    }
}

#[test]
fn a_stopped_node_hands_over_and_answers_first() {
    let mut cluster = Cluster::start(3, "");
    for victim in 0..3 {
        let mut idle = cluster.client(victim);
        assert_eq!(idle.call("SET before 1"), Value::OK);
        cluster.nodes[victim].terminate();
        assert_eq!(cluster.nodes[victim].wait().code(), Some(0));
        assert!(idle.read().is_err(), "closed");
        let log = cluster.nodes[victim].log();
        assert!(!log.contains("could not be handed over"), "{log}");
        cluster.nodes[victim].start(Start::Normal);
        cluster.wait_until_serving(victim);
    }
    // SHUTDOWN does the same.
    let mut client = cluster.client(1);
    client.send(b"SHUTDOWN\r\n").unwrap();
    assert!(client.read().is_err(), "it closes without an answer");
    assert_eq!(cluster.nodes[1].wait().code(), Some(0));
    assert_eq!(cluster.client(0).call("GET before"), bulk("1"));
}

#[test]
fn without_a_majority_writes_are_refused_or_unknown_and_reads_are_refused() {
    let mut cluster = Cluster::start(3, "[timing]\nrequest_timeout = \"1s\"");
    assert_eq!(cluster.client(0).call("SET a 1"), Value::OK);
    cluster.nodes[1].kill();
    cluster.nodes[2].kill();
    let mut client = cluster.client(0);
    for command in ["SET a 2", "GET a"] {
        let reply = client.call(command);
        assert!(reply.is_error(), "{command}: {reply:?}");
    }
    assert_eq!(client.call("PING"), Value::Simple("PONG".into()));
    cluster.nodes[1].start(Start::Normal);
    eventually("an answer again", || matches!(client.call("GET a"), Value::Bulk(_)).then_some(()));
}
