//! `primary-replica` keyspaces: acknowledgement, failover by accident and by order, and what is refused.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use resp::Value;
use server::Start;

use crate::support::client::{bulk, elements, field};
use crate::support::{Client, Cluster, eventually};

fn create(cluster: &Cluster, prefix: &str, options: &str) {
    let made =
        cluster.client(0).call(&format!("KEYSPACE CREATE {prefix} STRATEGY primary-replica {options}"));
    assert_eq!(made, Value::OK, "{prefix} {options}");
    for node in 0..cluster.nodes.len() {
        eventually("the keyspace takes writes through each node", || {
            let mut client = cluster.client(node);
            let all = (0..24).all(|key| client.call(&format!("SET {prefix}first{key} 1")) == Value::OK);
            all.then_some(())
        });
    }
}

fn error_of(value: &Value) -> &str {
    match value {
        Value::Error(text) => text,
        other => panic!("{other:?} is no error"),
    }
}

/// Goes through a writer's keys, one number after the other in each, until it is told to stop. Returns the last number that
/// was acknowledged and the last that was asked for, by key.
fn write_until(stop: &AtomicBool, ports: &[u16], prefix: &str) -> BTreeMap<String, (u64, u64)> {
    let mut known: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut client: Option<Client> = None;
    let mut number = 0u64;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let Some(connected) = client.as_mut() else {
            client = Client::connect(ports[number as usize % ports.len()]).ok();
            continue;
        };
        let key = format!("{prefix}{}", number % 40);
        let entry = known.entry(key.clone()).or_default();
        entry.1 = number;
        match connected.try_call(&format!("SET {key} {number}")) {
            Ok(Value::Simple(_)) => entry.0 = number,
            Ok(reply) => assert!(reply.is_error(), "{reply:?}"),
            Err(_) => client = None,
        }
    }
    known
}

#[test]
fn nothing_acknowledged_is_lost_when_primaries_are_killed_under_load() {
    let mut cluster = Cluster::start(3, "");
    create(&cluster, "s:", "ACK sync");
    create(&cluster, "h:", "ACK semi-sync 1");
    let ports: Vec<u16> = cluster.nodes.iter().map(|node| node.port).collect();
    let stop = AtomicBool::new(false);
    let known = std::thread::scope(|scope| {
        let writers: Vec<_> = ["s:x", "s:y", "h:x", "h:y"]
            .into_iter()
            .map(|prefix| {
                let (stop, ports) = (&stop, &ports);
                scope.spawn(move || write_until(stop, ports, prefix))
            })
            .collect();
        for victim in 0..3 {
            std::thread::sleep(Duration::from_millis(300));
            cluster.nodes[victim].kill();
            let mut client = cluster.client((victim + 1) % 3);
            for prefix in ["s:", "h:"] {
                eventually("a write in every group without the dead node", || {
                    let mut writes = (0..24).map(|key| client.call(&format!("SET {prefix}z{key} {victim}")));
                    writes.all(|reply| reply == Value::OK).then_some(())
                });
            }
            cluster.nodes[victim].start(Start::Normal);
            cluster.wait_until_serving(victim);
            eventually("the node is in sync again", || {
                let info = cluster.client(victim).call("KEYSPACE INFO s:");
                (field(&info, "in_sync_at_least") == &Value::Integer(3)).then_some(())
            });
        }
        stop.store(true, Ordering::Relaxed);
        let writers = writers.into_iter().map(|writer| writer.join().expect("the writer is well"));
        writers.flatten().collect::<BTreeMap<_, _>>()
    });
    assert!(known.len() > 100, "all writers wrote");
    for node in 0..3 {
        let mut client = cluster.client(node);
        for (key, (acknowledged, asked)) in &known {
            let reply = client.call(&format!("GET {key}"));
            let Value::Bulk(bytes) = &reply else {
                panic!("{key} holds {reply:?}, {acknowledged} was acknowledged")
            };
            let held: u64 = std::str::from_utf8(bytes).unwrap().parse().unwrap();
            assert!((*acknowledged..=*asked).contains(&held), "{key}: {held}, not {acknowledged} to {asked}");
        }
        // What a killed primary had on its disk and nobody else is kept, and nobody was told that it is there.
        let Value::Array(lost) = client.call("KEYSPACE LOST s:") else { panic!("a list") };
        for write in lost {
            assert_ne!(field(&write, "acknowledged"), &Value::Bulk("yes".into()), "{write:?}");
        }
    }
}

#[test]
fn a_failover_by_order_refuses_and_loses_nothing() {
    let cluster = Cluster::start(3, "");
    create(&cluster, "a:", "ACK async");
    let leads_all = |node: usize| {
        let info = cluster.client(node).call("INFO consort");
        let Value::Bulk(text) = info else { panic!("a text") };
        let text = String::from_utf8_lossy(&text).into_owned();
        let row = text.lines().find(|line| line.starts_with("keyspace1:")).expect("a row").to_owned();
        let groups = field(&cluster.client(node).call("KEYSPACE INFO a:"), "groups").clone();
        let Value::Integer(groups) = groups else { panic!("a number") };
        row.contains(&format!(",groups_led={groups},"))
    };
    let ports: Vec<u16> = cluster.nodes.iter().map(|node| node.port).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Whatever happens here, the writer ends.
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let stopping = Stop(&stop);
        let writer = scope.spawn(|| {
            let mut client = Client::connect(ports[0]).expect("it connects");
            let mut number = 0u64;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                let reply = client.call(&format!("SET a:{} {number}", number % 40));
                assert_eq!(reply, Value::OK, "nothing is refused, nothing unknown");
            }
            let last: BTreeMap<u64, u64> =
                (number.saturating_sub(39).max(1)..=number).map(|number| (number % 40, number)).collect();
            for (key, number) in last {
                assert_eq!(client.call(&format!("GET a:{key}")), bulk(&number.to_string()));
            }
        });
        for (node, name) in [(1, "n1"), (2, "n2"), (0, "n0")] {
            assert_eq!(cluster.client(0).call(&format!("KEYSPACE FAILOVER a: TO {name}")), Value::OK);
            eventually("the node leads all groups", || leads_all(node).then_some(()));
        }
        assert_eq!(cluster.client(0).call("KEYSPACE FAILOVER a: BACK"), Value::OK);
        drop(stopping);
        writer.join().expect("the writer is well");
    });
    assert_eq!(cluster.client(1).call("KEYSPACE LOST a:"), Value::Array(Vec::new()));
    let refused = cluster.client(0).call("KEYSPACE FAILOVER a: TO n9");
    assert!(error_of(&refused).starts_with("ERR no member 'n9'"), "{refused:?}");
    assert_eq!(cluster.client(0).call("KEYSPACE CREATE r: STRATEGY raft"), Value::OK);
    let refused = cluster.client(0).call("KEYSPACE FAILOVER r:");
    assert!(error_of(&refused).starts_with("ERR a keyspace of raft has no primaries"), "{refused:?}");
}

#[test]
fn what_cannot_be_acknowledged_is_refused_before_it_takes_effect() {
    let mut cluster = Cluster::start(3, "");
    let mut client = cluster.client(1);
    assert_eq!(client.call("SET a:[*]old 1"), Value::OK);
    let occupied = client.call("KEYSPACE CREATE a:[*] STRATEGY primary-replica ACK sync");
    assert!(error_of(&occupied).contains("such as 'a:[*]old'"), "{occupied:?}");
    assert_eq!(client.call("SET a:xold 1"), Value::OK);
    assert_eq!(client.call("DEL a:[*]old"), Value::Integer(1));
    assert_eq!(client.call("KEYSPACE CREATE a:[*] STRATEGY primary-replica ACK sync"), Value::OK);
    assert_eq!(client.call("DEL a:xold"), Value::Integer(1));
    create(&cluster, "a:", "ACK async");
    create(&cluster, "m:", "ACK sync MIN-IN-SYNC 2");
    let mut client = cluster.client(0);
    // All three in sync.
    assert_eq!(client.call("SET a:w 1"), Value::OK);
    assert_eq!(client.call("WAIT 2 5000"), Value::Integer(2));
    assert_eq!(client.call("WAITAOF 1 2 5000"), Value::Array(vec![Value::Integer(1), Value::Integer(2)]));
    assert_eq!(client.call("CLIENT ACK SYNC"), Value::OK);
    assert_eq!(client.call("SET a:w 2"), Value::OK);
    assert_eq!(client.call("WAIT 2 1"), Value::Integer(2), "it was acknowledged by both");
    assert_eq!(client.call("CLIENT ACK ASYNC"), Value::OK);
    let weaker = client.call("SET m:w 1");
    assert!(error_of(&weaker).contains("cannot be weakened; nothing was written"), "{weaker:?}");
    assert_eq!(client.call("CLIENT ACK SEMI-SYNC 3"), Value::OK);
    let too_many = client.call("SET a:w 3");
    assert!(error_of(&too_many).starts_with("NOREPLICAS 2 replicas are in sync"), "{too_many:?}");
    assert_eq!(client.call("GET a:w"), bulk("2"), "it had no effect");
    assert_eq!(client.call("CLIENT ACK DEFAULT"), Value::OK);
    // Keys of keyspaces that are replicated apart are not written together.
    let apart = client.call("MSETNX {k}1 1 a:{k} 2");
    assert!(error_of(&apart).starts_with("CROSSSLOT Keys in request are in keyspaces"), "{apart:?}");
    assert_eq!(client.call("MSET a:{k} 1 m:{k} 2 {k} 3"), Value::OK, "MSET is split");
    assert_eq!(client.call("MGET a:{k} m:{k} {k}"), Value::Array(vec![bulk("1"), bulk("2"), bulk("3")]));
    let mut cursor = "0".to_owned();
    let mut found = std::collections::BTreeSet::new();
    loop {
        let reply = client.call(&format!("SCAN {cursor} MATCH *{{k}}*"));
        let [Value::Bulk(next), keys] = elements(&reply) else { panic!("{reply:?}") };
        cursor = String::from_utf8_lossy(next).into_owned();
        found.extend(elements(keys).iter().map(|key| format!("{key:?}")));
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(found.len(), 3, "SCAN goes through all keyspaces: {found:?}");
    // One node left: what asks for two is refused, what does not goes on, as far as this node can be sure to be primary.
    let led = |cluster: &Cluster| {
        eventually("n0 leads all groups", || {
            let mut client = cluster.client(0);
            let moved = ["a:", "m:"].map(|prefix| client.call(&format!("KEYSPACE FAILOVER {prefix} TO n0")));
            assert_eq!(moved, [Value::OK, Value::OK]);
            let Value::Bulk(text) = client.call("INFO consort") else { panic!("a text") };
            let text = String::from_utf8_lossy(&text).into_owned();
            let is_asked = |line: &&str| line.contains("prefix=a:,") || line.contains("prefix=m:,");
            let rows: Vec<&str> = text.lines().filter(is_asked).collect();
            let groups = field(&client.call("KEYSPACE INFO a:"), "groups").clone();
            let Value::Integer(groups) = groups else { panic!("a number") };
            rows.iter().all(|row| row.contains(&format!(",groups_led={groups},"))).then_some(())
        });
    };
    led(&cluster);
    cluster.nodes[2].kill();
    eventually("two are in sync", || {
        let info = cluster.client(0).call("KEYSPACE INFO a:");
        (field(&info, "in_sync_at_least") == &Value::Integer(2)).then_some(())
    });
    eventually("writes go on", || {
        let mut client = cluster.client(0);
        (client.call("SET a:w 4") == Value::OK && client.call("SET m:w 4") == Value::OK).then_some(())
    });
    assert_eq!(cluster.client(0).call("KEYSPACE ALTER m: MIN-IN-SYNC 3"), Value::OK);
    let refused = eventually("the primary has read that", || {
        let reply = cluster.client(0).call("SET m:w 5");
        reply.is_error().then_some(reply)
    });
    assert!(error_of(&refused).starts_with("NOREPLICAS 2 replicas are in sync"), "{refused:?}");
    assert_eq!(cluster.client(0).call("GET m:w"), bulk("4"));
    cluster.nodes[2].start(Start::Normal);
    eventually("all are in sync again, and it is taken", || {
        (cluster.client(0).call("SET m:w 6") == Value::OK).then_some(())
    });
    assert_eq!(cluster.client(1).call("GET m:w"), bulk("6"));
    // Its keys go with the keyspace.
    assert_eq!(cluster.client(1).call("KEYSPACE DROP a: a:"), Value::OK);
    eventually("the keys are gone", || (cluster.client(2).call("GET a:w") == Value::Null).then_some(()));
}

/// Writes numbers to a keyspace and returns how many were taken.
fn write_all(client: &mut Client, prefix: &str, value: &str) -> usize {
    let commands: Vec<String> = (0..300).map(|key| format!("SET {prefix}{key} {value}{key}")).collect();
    client.pipeline(&commands).iter().filter(|reply| **reply == Value::OK).count()
}

/// Which replies of a keyspace's keys are not what was written.
fn wrong(client: &mut Client, prefix: &str, value: &str) -> usize {
    let commands: Vec<String> = (0..300).map(|key| format!("GET {prefix}{key}")).collect();
    let replies = client.pipeline(&commands);
    let is_right = |(key, reply): (usize, &Value)| *reply == bulk(&format!("{value}{key}"));
    replies.iter().enumerate().filter(|(key, reply)| !is_right((*key, reply))).count()
}

#[test]
fn copies_that_are_not_yet_on_disks_survive_processes_and_the_death_of_a_machine() {
    let mut cluster = Cluster::start(3, "");
    create(&cluster, "r:", "ACK sync DURABILITY relaxed");
    let info = cluster.client(0).call("KEYSPACE INFO r:");
    assert_eq!(field(&info, "durability"), &bulk("relaxed"));
    let mut client = cluster.client(0);
    assert_eq!(write_all(&mut client, "r:", "a"), 300);
    assert_eq!(client.call("WAIT 2 5000"), Value::Integer(2));
    assert_eq!(client.call("WAITAOF 1 2 5000"), Value::Array(vec![Value::Integer(1), Value::Integer(2)]));
    // All processes at once: the kernel has what they had written.
    assert_eq!(write_all(&mut client, "r:", "b"), 300);
    cluster.nodes.iter_mut().for_each(|node| node.kill());
    cluster.nodes.iter_mut().for_each(|node| node.start(Start::Normal));
    (0..3).for_each(|node| cluster.wait_until_serving(node));
    eventually("everything is there again", || (wrong(&mut cluster.client(1), "r:", "b") == 0).then_some(()));
    // One that its file says to have run on a machine that has died since: it does not vouch for anything, and the others do.
    eventually("all are in sync", || {
        let info = cluster.client(0).call("KEYSPACE INFO r:");
        (field(&info, "in_sync_at_least") == &Value::Integer(3)).then_some(())
    });
    assert_eq!(write_all(&mut cluster.client(0), "r:", "c"), 300);
    for victims in [&[0][..], &[0, 1, 2]] {
        victims.iter().for_each(|&node| cluster.nodes[node].kill());
        for &node in victims {
            let file = cluster.nodes[node].data().join("boot.toml");
            let text = std::fs::read_to_string(&file).expect("it is there");
            assert!(text.contains("stopped = false"), "{text}");
            let other =
                text.lines().map(|line| if line.starts_with("boot") { "boot = \"other\"" } else { line });
            std::fs::write(&file, other.collect::<Vec<_>>().join("\n")).unwrap();
            cluster.nodes[node].start(Start::Normal);
        }
        victims.iter().for_each(|&node| cluster.wait_until_serving(node));
        eventually("everything is there again", || {
            (wrong(&mut cluster.client(2), "r:", "c") == 0).then_some(())
        });
    }
    let text = std::fs::read_to_string(cluster.nodes[0].data().join("boot.toml")).unwrap();
    assert!(text.contains("losses = 2"), "{text}");
    // The other way is a change of the keyspace like any other.
    assert_eq!(cluster.client(1).call("KEYSPACE ALTER r: DURABILITY durable"), Value::OK);
    eventually("it takes writes", || (write_all(&mut cluster.client(2), "r:", "d") == 300).then_some(()));
    assert_eq!(wrong(&mut cluster.client(0), "r:", "d"), 0);
    let wrong = cluster.client(1).call("KEYSPACE ALTER r: DURABILITY none");
    assert_eq!(error_of(&wrong), "ERR DURABILITY is one of durable, relaxed");
    let raft = cluster.client(1).call("KEYSPACE CREATE c: STRATEGY raft DURABILITY relaxed");
    assert!(error_of(&raft).contains("makes no sense for raft"), "{raft:?}");
}

#[test]
fn the_number_of_copies_can_be_changed_while_clients_write() {
    let cluster = Cluster::start(3, "");
    create(&cluster, "c:", "ACK semi-sync 1");
    let in_sync = |wanted: i64| {
        eventually("so many are in sync", || {
            let info = cluster.client(1).call("KEYSPACE INFO c:");
            (field(&info, "in_sync_at_least") == &Value::Integer(wanted)).then_some(())
        });
    };
    in_sync(3);
    let ports: Vec<u16> = cluster.nodes.iter().map(|node| node.port).collect();
    let stop = AtomicBool::new(false);
    let known = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write_until(&stop, &ports, "c:x"));
        for copies in [2, 3] {
            let altered = cluster.client(0).call(&format!("KEYSPACE ALTER c: REPLICAS {copies}"));
            assert_eq!(altered, Value::OK);
            in_sync(copies);
            let info = cluster.client(1).call("KEYSPACE INFO c:");
            assert_eq!(field(&info, "replicas"), &Value::Integer(copies));
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().expect("the writer is well")
    });
    let mut client = cluster.client(2);
    for (key, (acknowledged, asked)) in &known {
        let held = client.call(&format!("GET {key}"));
        let may_be = (*acknowledged..=*asked).any(|number| held == bulk(&number.to_string()));
        assert!(may_be, "{key}: {held:?}, not {acknowledged} to {asked}");
    }
    let few = client.call("KEYSPACE ALTER c: REPLICAS 1");
    assert!(error_of(&few).contains("ACK semi-sync 1 makes no sense with 1 copies"), "{few:?}");
    let many = client.call("KEYSPACE ALTER c: REPLICAS 4");
    assert!(error_of(&many).contains("more than the 3 copies"), "{many:?}");
}

/// Until it has read the catalogue a node that starts knows of no keyspace: it must not look for keys, or put them, where they
/// would be without one.
#[test]
fn a_node_that_has_just_started_knows_where_keys_are_before_it_serves_them() {
    let mut cluster = Cluster::start(3, "");
    create(&cluster, "s:", "ACK sync");
    for round in 0..6 {
        let victim = round % 3;
        cluster.nodes[victim].kill();
        cluster.nodes[victim].start(Start::Normal);
        let mut client = cluster.nodes[victim].client();
        assert_eq!(client.call("READONLY"), Value::OK);
        eventually("a read through the node", || {
            let answers: Vec<Value> = (0..24).map(|key| client.call(&format!("GET s:first{key}"))).collect();
            let wrong = answers.iter().find(|answer| !answer.is_error() && **answer != Value::bulk("1"));
            assert_eq!(wrong, None, "round {round}");
            answers.iter().all(|answer| !answer.is_error()).then_some(())
        });
    }
}
