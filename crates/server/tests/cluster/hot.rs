//! Where reads go: copies for reads alone come where many are asked for, and go again; a replica that stands still is read past.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use resp::Value;

use crate::support::client::{bulk, elements, field};
use crate::support::{Client, Cluster, eventually};

/// Reads a key again and again at some node until told to stop.
fn read_on(
    cluster: &Cluster,
    node: usize,
    key: &str,
    stop: &Arc<AtomicBool>,
    done: &Arc<AtomicU64>,
) -> JoinHandle<()> {
    let (mut client, stop, done) = (cluster.client(node), stop.clone(), done.clone());
    let gets = vec![format!("GET {key}"); 20];
    std::thread::spawn(move || {
        client.call("CLIENT CONSISTENCY session");
        while !stop.load(Ordering::Relaxed) {
            let replies = client.pipeline(&gets);
            let good = replies.iter().filter(|reply| !reply.is_error()).count();
            done.fetch_add(good as u64, Ordering::Relaxed);
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    })
}

/// A member's name.
fn name_of(catalogue: &Value, id: &Value) -> String {
    let members = elements(field(catalogue, "members"));
    let member = members.iter().find(|member| field(member, "id") == id).expect("a member");
    match field(member, "name") {
        Value::Bulk(name) => String::from_utf8_lossy(name).into_owned(),
        other => panic!("a name: {other:?}"),
    }
}

/// The names of the nodes that hold copies for reads alone, and of those that have caught up.
fn readers(client: &mut Client) -> (usize, Vec<String>) {
    let catalogue = client.call("CONSORT CATALOGUE");
    let all = elements(field(&catalogue, "readers"));
    let ready =
        all.iter().filter(|of| matches!(field(of, "ready"), Value::Boolean(true) | Value::Integer(1)));
    (all.len(), ready.map(|of| name_of(&catalogue, field(of, "node"))).collect())
}

/// How many nodes `CLUSTER SLOTS` names for the first slots.
fn nodes_of_slots(client: &mut Client) -> usize {
    elements(&elements(&client.call("CLUSTER SLOTS"))[0]).len() - 2
}

fn copies_for_reads(prefix: &str, options: &str) {
    let cluster = Cluster::start(5, "partitions = 1\nreads.hot = 100");
    let mut client = cluster.client(0);
    if !prefix.is_empty() {
        eventually("the keyspace", || {
            (client.call(&format!("KEYSPACE CREATE {prefix} {options}")) == Value::OK).then_some(())
        });
    }
    let key = format!("{prefix}much-read");
    eventually("a write", || (client.call(&format!("SET {key} 0")) == Value::OK).then_some(()));
    assert_eq!(readers(&mut client).0, 0);
    assert_eq!(nodes_of_slots(&mut client), 3);
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let loads: Vec<JoinHandle<()>> = (0..5).map(|node| read_on(&cluster, node, &key, &stop, &done)).collect();
    let ready = eventually("two more copies", || {
        let (all, ready) = readers(&mut client);
        (all == 2 && ready.len() == 2).then_some(ready)
    });
    if prefix.is_empty() {
        eventually("cluster clients see them", || (nodes_of_slots(&mut client) == 5).then_some(()));
    }
    let Value::Bulk(text) = client.call("INFO") else { panic!("a text") };
    assert!(String::from_utf8_lossy(&text).contains("read_copies:2"));
    // A session goes from the writer to each of the copies and sees what it wrote.
    for round in 1..=40_u64 {
        let written = client.call(&format!("INCR {key}"));
        assert_eq!(written, Value::Integer(round as i64));
        client.call("CLIENT CONSISTENCY session");
        let Value::Bulk(token) = client.call("CLIENT SESSION TOKEN") else { panic!("a token") };
        for name in &ready {
            let node = name[1..].parse().expect("a number");
            let mut reader = cluster.client(node);
            reader.call("CLIENT CONSISTENCY session");
            let token = String::from_utf8_lossy(&token);
            assert_eq!(reader.call(&format!("CLIENT SESSION RESUME {token}")), Value::OK);
            assert_eq!(reader.call(&format!("GET {key}")), bulk(&round.to_string()), "at {name}");
        }
    }
    assert!(done.load(Ordering::Relaxed) > 0);
    stop.store(true, Ordering::Relaxed);
    loads.into_iter().for_each(|load| load.join().expect("it ends well"));
    eventually("nobody reads, and the copies go", || (readers(&mut client).0 == 0).then_some(()));
    eventually("the slots are where they were", || (nodes_of_slots(&mut client) == 3).then_some(()));
    assert_eq!(client.call(&format!("GET {key}")), bulk("40"));
    eventually("what it was is said", || {
        let happened = format!("{:?}", client.call("CLUSTER PARTITIONS"));
        (happened.contains("since many reads come") && happened.contains("are no more read at")).then_some(())
    });
}

#[test]
fn copies_of_a_partition_come_and_go_with_the_reads() {
    copies_for_reads("", "");
}

#[test]
fn copies_of_a_group_come_and_go_with_the_reads() {
    copies_for_reads("p:", "STRATEGY primary-replica ACK sync");
}

/// Reads that wait for a replica go to another one long before their time is over.
#[test]
fn a_replica_that_stands_still_makes_no_read_fail() {
    let cluster = Cluster::start(5, "partitions = 1");
    let mut client = cluster.client(0);
    eventually("a write", || (client.call("SET key value") == Value::OK).then_some(()));
    let catalogue = client.call("CONSORT CATALOGUE");
    let holders = elements(field(&elements(field(&catalogue, "partitions"))[0], "replicas")).to_vec();
    let number = |id: &Value| {
        let name = name_of(&catalogue, id);
        name[1..].parse::<usize>().expect("n and a number")
    };
    let holders: Vec<usize> = holders.iter().map(number).collect();
    let outside = (0..5).find(|node| !holders.contains(node)).expect("two hold nothing");
    // Sessions of others have not seen the write, so replicas that do not have it yet may answer them.
    for holder in &holders {
        let mut client = cluster.client(*holder);
        client.call("CLIENT CONSISTENCY eventual");
        eventually("the value to be there", || (client.call("GET key") == bulk("value")).then_some(()));
    }
    let stands_still = &cluster.nodes[holders[2]];
    let over = AtomicBool::new(false);
    let failed: Vec<Value> = std::thread::scope(|scope| {
        let (cluster, over) = (&cluster, &over);
        // Every other one sends several at once. All replicas are busy, so that each is asked.
        let reader = |number: usize| {
            move || {
                let mut client = cluster.client(outside);
                client.call("CLIENT CONSISTENCY session");
                let reads = vec!["GET key".to_owned(); if number.is_multiple_of(2) { 1 } else { 8 }];
                let mut failed = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    failed
                        .extend(client.pipeline(&reads).into_iter().filter(|reply| *reply != bulk("value")));
                }
                failed
            }
        };
        let readers: Vec<_> = (0..16).map(|number| scope.spawn(reader(number))).collect();
        std::thread::sleep(std::time::Duration::from_millis(300));
        stands_still.pause();
        std::thread::sleep(std::time::Duration::from_millis(1500));
        over.store(true, Ordering::Relaxed);
        readers.into_iter().flat_map(|reader| reader.join().expect("it ends well")).collect()
    });
    stands_still.go_on();
    assert_eq!(failed, Vec::new());
    let Value::Bulk(info) = cluster.client(outside).call("INFO consort") else { panic!("INFO is a text") };
    let info = String::from_utf8_lossy(&info).into_owned();
    let taken = info.lines().find_map(|line| line.strip_prefix("reads_taken_elsewhere:"));
    assert!(taken.is_some_and(|taken| taken != "0"), "those of pipelines are: {info}");
}
