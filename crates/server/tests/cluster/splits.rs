//! Partitions that are split while clients write, and what a whole database is afterwards.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use resp::Value;
use server::Start;

use crate::support::client::elements;
use crate::support::{Client, Cluster, eventually};

fn partitions(cluster: &Cluster, node: usize) -> usize {
    let info = cluster.client(node).call("INFO");
    let Value::Bulk(text) = info else { panic!("{info:?}") };
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("partitions:")).expect("a line");
    line.trim().parse().expect("a number")
}

fn wait_for(cluster: &Cluster, wanted: usize) {
    for node in 0..cluster.nodes.len() {
        eventually("as many partitions as are wanted, by the catalogue", || {
            let known = !cluster.client(node).call("NODE SETTING").is_error();
            (known && partitions(cluster, node) == wanted).then_some(())
        });
    }
}

/// Counts up in pipelines over some keys, through one node: each reply has to follow from the one before, so none may be lost,
/// doubled, or overtake another, and none may be an error. Returns how far each key has come.
fn count_up(port: u16, name: &str, stop: &AtomicBool) -> Vec<i64> {
    let mut client = Client::connect(port).expect("a connection");
    let mut counts = vec![0; 100];
    while !stop.load(Ordering::Relaxed) {
        // Each key twice, one behind the other.
        let commands = (0..counts.len()).flat_map(|key| [key, key]);
        let commands: Vec<String> = commands.map(|key| format!("INCR {name}:{key}")).collect();
        let replies = client.pipeline(&commands);
        for (place, reply) in replies.into_iter().enumerate() {
            let count = &mut counts[place / 2];
            *count += 1;
            assert_eq!(reply, Value::Integer(*count), "{name}:{}", place / 2);
        }
    }
    counts
}

/// Ends the counters, also where the test fails.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// All keys, by way of SCAN: each once.
fn scan(client: &mut Client) -> BTreeSet<Vec<u8>> {
    let (mut found, mut cursor) = (BTreeSet::new(), "0".to_string());
    loop {
        let reply = client.call(&format!("SCAN {cursor} COUNT 50"));
        let [Value::Bulk(next), keys] = elements(&reply) else { panic!("{reply:?}") };
        for key in elements(keys) {
            let Value::Bulk(key) = key else { panic!("{key:?}") };
            assert!(found.insert(key.to_vec()), "{key:?} came twice");
        }
        cursor = String::from_utf8_lossy(next).into_owned();
        if cursor == "0" {
            return found;
        }
    }
}

fn assert_whole(cluster: &Cluster, names: &[String], counts: &[Vec<i64>]) {
    for node in 0..cluster.nodes.len() {
        let mut client = cluster.client(node);
        for (name, counts) in names.iter().zip(counts) {
            for (key, count) in counts.iter().enumerate() {
                let reply = client.call(&format!("GET {name}:{key}"));
                assert_eq!(reply, Value::Bulk(count.to_string().into()), "{name}:{key} through node {node}");
            }
        }
        let keys = names.len() * counts[0].len();
        assert_eq!(client.call("DBSIZE"), Value::Integer(keys as i64));
        assert_eq!(scan(&mut client).len(), keys);
        assert_eq!(elements(&client.call("KEYS *")).len(), keys);
    }
}

#[test]
fn partitions_are_split_under_load_and_nothing_is_lost_refused_or_out_of_order() {
    let mut cluster = Cluster::start(3, "partitions = 2\nworkers = 2");
    wait_for(&cluster, 2);
    let stop = AtomicBool::new(false);
    let names: Vec<String> = (0..3).map(|number| format!("split{number}")).collect();
    let ports: Vec<u16> = cluster.nodes.iter().map(|node| node.port).collect();
    let counts: Vec<Vec<i64>> = std::thread::scope(|scope| {
        let counters: Vec<_> = names
            .iter()
            .zip(&ports)
            .map(|(name, port)| {
                let stop = &stop;
                scope.spawn(move || count_up(*port, name, stop))
            })
            .collect();
        let stops = Stops(&stop);
        assert_eq!(cluster.client(1).call("NODE SPLIT 0 100"), Value::OK);
        wait_for(&cluster, 3);
        assert_eq!(cluster.client(2).call("NODE SETTING partitions 13"), Value::OK);
        wait_for(&cluster, 13);
        drop(stops);
        counters.into_iter().map(|counter| counter.join().expect("a counter went on")).collect()
    });
    assert_whole(&cluster, &names, &counts);

    // What came about by a split is there after a restart of everything, and can be split again.
    for node in 0..3 {
        cluster.nodes[node].kill();
    }
    for node in 0..3 {
        cluster.nodes[node].start(Start::Normal);
    }
    for node in 0..3 {
        cluster.wait_until_serving(node);
    }
    wait_for(&cluster, 13);
    assert_whole(&cluster, &names, &counts);
    assert_eq!(cluster.client(0).call("NODE SPLIT 12"), Value::OK);
    wait_for(&cluster, 14);
    assert_whole(&cluster, &names, &counts);

    assert_eq!(cluster.client(0).call("FLUSHALL"), Value::OK);
    assert_eq!(cluster.client(1).call("DBSIZE"), Value::Integer(0));
}

#[test]
fn what_cannot_be_split_is_refused() {
    let cluster = Cluster::start(3, "partitions = 4");
    wait_for(&cluster, 4);
    let mut client = cluster.client(0);
    for (command, says) in [
        ("NODE SPLIT 4", "no partition '4'; accepted: a number from 0 to 3"),
        ("NODE SPLIT -1", "no partition '-1'"),
        ("NODE SPLIT x", "no partition 'x'"),
        ("NODE SPLIT 1 4096", "partition 1 can be split at slots 4097 to 8191"),
        ("NODE SPLIT 1 8192", "partition 1 can be split at slots 4097 to 8191"),
        ("NODE SPLIT 1 70000", "the slot to split at is a number from 1 to 16383"),
        ("NODE SPLIT 1 5000 1", "the slot to split at is a number from 1 to 16383"),
        ("NODE SETTING partitions 3", "there are 4 partitions; they can be made more"),
        ("NODE SETTING partitions 16385", "up to 16384"),
        ("NODE SETTING partitions", "partitions takes one value"),
    ] {
        let reply = client.call(command);
        let Value::Error(text) = &reply else { panic!("{command}: {reply:?}") };
        assert!(text.starts_with("ERR ") && text.contains(says), "{command}: {text}");
    }
    assert_eq!(partitions(&cluster, 0), 4);
}
