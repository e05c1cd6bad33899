//! Cluster clients, each unmodified, through the two things that a cluster does to them: partitions move to a node that
//! joined and away from one that is drained, during which nothing may fail; and a node that leads is killed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};
use std::{env, thread};

use redis::cluster::{ClusterClient, ClusterConnection};
use redis::{Client, Commands, Value};

use crate::cluster::Cluster;
use crate::tools;

const PATIENCE: Duration = Duration::from_secs(60);

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// The fourth node; killed when dropped.
struct Joined {
    process: Child,
    client: SocketAddr,
}

impl Drop for Joined {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn join(cluster: &Cluster) -> Joined {
    let founder = cluster.nodes()[0].client;
    // The ports of `consort dev` are free up to the tenth.
    let client = SocketAddr::new(founder.ip(), founder.port() + 3);
    let peer = SocketAddr::new(founder.ip(), client.port() + 1000);
    let log = File::create(cluster.folder().join("n4.log")).unwrap();
    let process = Command::new(env!("CARGO_BIN_EXE_consort"))
        .args(["server", "--set", "name=n4", "--set", &format!("cluster={}", cluster_name(cluster))])
        .args(["--set", &format!("listen.client={client}"), "--set", &format!("listen.peer={peer}")])
        .args(["--set", &format!("data={}", cluster.folder().join("n4-data").display())])
        .args(["--join", &SocketAddr::new(founder.ip(), founder.port() + 1000).to_string()])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    Joined { process, client }
}

fn ask(address: SocketAddr, words: &[&str]) -> redis::RedisResult<Value> {
    let mut connection = Client::open(format!("redis://{address}"))?.get_connection()?;
    words[1..]
        .iter()
        .fold(&mut redis::cmd(words[0]), |command, word| command.arg(*word))
        .query(&mut connection)
}

fn cluster_name(cluster: &Cluster) -> String {
    let text = std::fs::read_to_string(cluster.folder().join("n1/consort.toml")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("cluster = \"")).unwrap();
    line.trim_end_matches('"').to_string()
}

/// What `NODE LIST` says of each node: partitions held, led, arriving and leaving, by name.
fn shares(address: SocketAddr) -> BTreeMap<String, [i64; 4]> {
    let rows: Vec<BTreeMap<String, Value>> = ask(address, &["NODE", "LIST"])
        .and_then(|reply| Ok(redis::from_redis_value(reply)?))
        .unwrap_or_default();
    let number = |row: &BTreeMap<String, Value>, name: &str| -> i64 {
        redis::from_redis_value(row[name].clone()).unwrap()
    };
    rows.iter()
        .map(|row| {
            let name = redis::from_redis_value(row["name"].clone()).unwrap();
            (name, ["partitions", "leads", "arriving", "leaving"].map(|what| number(row, what)))
        })
        .collect()
}

/// The ports of the nodes that lead slots, as `CLUSTER SLOTS` says.
fn leaders(address: SocketAddr) -> Vec<u16> {
    let rows: Vec<Vec<Value>> = ask(address, &["CLUSTER", "SLOTS"])
        .and_then(|reply| Ok(redis::from_redis_value(reply)?))
        .expect("an answer");
    let port = |row: &Vec<Value>| {
        let node: Vec<Value> = redis::from_redis_value(row[2].clone()).unwrap();
        redis::from_redis_value(node[1].clone()).unwrap()
    };
    rows.iter().map(port).collect()
}

/// Takes a cluster through moves and a failover while a client is `going`; `failover` is told before the first thing that
/// may disturb it.
fn disturb(cluster: &Cluster, joined: &Joined, failover: impl FnOnce()) {
    let [n1, _, n3] = [0, 1, 2].map(|node| cluster.nodes()[node].client);
    let settled = |row: &[i64; 4]| row[2] == 0 && row[3] == 0;
    eventually("n4 holds its share", || {
        let shares = shares(n1);
        shares.values().all(settled) && shares.get("n4").is_some_and(|row| row[0] >= 8 && row[1] >= 2)
    });
    ask(n1, &["NODE", "SETTING", "partitions", "24"]).unwrap();
    eventually("every partition is split, and n4 holds its share of them", || {
        let shares = shares(n1);
        let held: i64 = shares.values().map(|row| row[0]).sum();
        held == 72 && shares.values().all(settled) && shares["n4"][0] >= 17
    });
    ask(n1, &["NODE", "DRAIN", "n1"]).unwrap();
    eventually("n1 holds nothing", || {
        let shares = shares(joined.client);
        shares.values().all(settled) && shares.get("n1").is_some_and(|row| row[..2] == [0, 0])
    });
    // The client goes on for a moment with the map that it has.
    thread::sleep(Duration::from_millis(500));
    failover();
    cluster.kill(1);
    let victim = cluster.nodes()[1].client.port();
    eventually("other nodes lead everything", || !leaders(n3).contains(&victim));
    thread::sleep(Duration::from_secs(1));
}

/// Runs a script that prints `going` once it is and ends when its standard input does. A cluster that is `strict` redirects
/// every connection, as Redis Cluster does; another one serves all that do not ask for slots on the same connection.
fn with_script(test: &str, strict: bool, mut command: Command) {
    let cluster = Cluster::start(test);
    for node in cluster.nodes().iter().filter(|_| strict) {
        ask(node.client, &["CONFIG", "SET", "cluster-redirect", "always"]).unwrap();
    }
    let address = cluster.nodes()[0].client;
    let new = SocketAddr::new(address.ip(), address.port() + 3);
    let mut script = command
        .env("CLIENT_TEST_NODES", cluster.addresses())
        .env("CLIENT_TEST_NEW", new.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut printed = BufReader::new(script.stdout.take().unwrap()).lines();
    assert_eq!(printed.next().expect("a line").unwrap(), "going");
    let mut input = script.stdin.take().unwrap();
    let joined = join(&cluster);
    disturb(&cluster, &joined, || writeln!(input, "failover").unwrap());
    drop(input);
    printed.for_each(|line| println!("{}", line.unwrap()));
    assert!(script.wait().unwrap().success(), "the script failed");
}

#[test]
fn redis_py_cluster_through_moves_and_a_failover() {
    let test = "redis_py_cluster_through_moves_and_a_failover";
    match tools::python() {
        Ok(python) => {
            let mut command = Command::new(python);
            command.env("PYTHONDONTWRITEBYTECODE", "1").arg(tools::scripts("python").join("moves.py"));
            with_script(test, false, command);
        }
        Err(missing) => tools::skip(test, &missing),
    }
}

#[test]
fn ioredis_cluster_through_moves_and_a_failover() {
    let test = "ioredis_cluster_through_moves_and_a_failover";
    match tools::node_modules() {
        Ok(modules) => {
            let mut command = Command::new("node");
            command.env("NODE_PATH", modules).arg(tools::scripts("node").join("moves.js"));
            // This client asks who leads only when it is redirected.
            with_script(test, true, command);
        }
        Err(missing) => tools::skip(test, &missing),
    }
}

/// Writes a key and reads it back; whether both worked. `possible` is what the key may hold.
fn step(
    client: &mut ClusterConnection,
    key: &str,
    possible: &mut Vec<Option<u64>>,
    value: u64,
) -> redis::RedisResult<()> {
    possible.push(Some(value));
    let () = client.set(key, value)?;
    *possible = vec![Some(value)];
    let found: Option<u64> = client.get(key)?;
    assert!(possible.contains(&found), "{key}: read {found:?}, possible is {possible:?}");
    Ok(())
}

/// Ends the client, also where the test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// This client asks who leads only when it is redirected, never when a node is gone (version 1.8), so an application makes
/// its connection anew after an error, as this one does.
#[test]
fn redis_crate_cluster_through_moves_and_a_failover() {
    let cluster = Cluster::start("redis_crate_cluster_through_moves_and_a_failover");
    let addresses: Vec<String> =
        cluster.nodes().iter().map(|node| format!("redis://{}", node.client)).collect();
    let (failover, ended) = (AtomicBool::new(false), AtomicBool::new(false));
    let keys: Vec<String> = (0..64).map(|number| format!("move:{number}")).collect();
    thread::scope(|scope| {
        let going = scope.spawn(|| {
            let client = ClusterClient::new(addresses).unwrap();
            let mut connection = client.get_connection().unwrap();
            let mut possible = vec![vec![None]; keys.len()];
            let (mut number, mut failed) = (0, 0);
            while !ended.load(SeqCst) {
                number += 1;
                let which = number as usize % keys.len();
                if let Err(error) = step(&mut connection, &keys[which], &mut possible[which], number) {
                    let told = failover.load(SeqCst);
                    assert!(told, "{} failed while partitions moved: {error}", keys[which]);
                    failed += 1;
                    connection = client.get_connection().unwrap_or(connection);
                }
                thread::sleep(Duration::from_millis(1));
            }
            for (key, possible) in keys.iter().zip(&mut possible) {
                step(&mut connection, key, possible, number + 1).expect("each key can be written again");
            }
            println!("{number} written and read, {failed} failed");
        });
        let ends = Ends(&ended);
        let joined = join(&cluster);
        disturb(&cluster, &joined, || failover.store(true, SeqCst));
        drop(ends);
        going.join().expect("the client went on");
    });
}
