//! `KEYSPACE IMPORT` from a real Redis, while it is written to, nodes die and the connection breaks. Without a `redis-server` on the
//! PATH the test says so and passes, unless `CONSORT_REQUIRE_CLIENTS` is set.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use resp::Value;
use server::Start;

use crate::support::client::{bulk, field};
use crate::support::{Client, Cluster, eventually};

struct Redis {
    process: Child,
    port: u16,
}

impl Redis {
    fn start(arguments: &[&str]) -> Option<Redis> {
        // A port that was free a moment ago may be another test's by now: then Redis ends, and the next is tried.
        let redis = (0..20).find_map(|_| {
            let port = crate::support::process::free_ports(1)[0];
            let spawned = Command::new("redis-server")
                .args([
                    "--port",
                    &port.to_string(),
                    "--bind",
                    "127.0.0.1",
                    "--save",
                    "",
                    "--appendonly",
                    "no",
                ])
                .args(["--repl-diskless-sync-delay", "0", "--dir"])
                .arg(std::env::temp_dir())
                .args(["--dbfilename", &format!("consort-test-{port}.rdb")])
                .args(arguments)
                .stdout(Stdio::null())
                .spawn();
            let mut redis = match spawned {
                Ok(process) => Redis { process, port },
                Err(error) if error.kind() == ErrorKind::NotFound => return Some(None),
                Err(error) => panic!("redis-server does not start: {error}"),
            };
            let is_up = eventually("redis-server listens or ends", || match redis.process.try_wait() {
                Ok(None) => Client::connect(port).ok().map(|_| true),
                _ => Some(false),
            });
            std::thread::sleep(Duration::from_millis(100));
            let lives = is_up && matches!(redis.process.try_wait(), Ok(None));
            lives.then_some(Some(redis))
        });
        let redis = redis.expect("a port for redis-server");
        if redis.is_none() {
            let is_required = std::env::var("CONSORT_REQUIRE_CLIENTS").is_ok();
            assert!(!is_required, "there is no redis-server on the PATH");
            println!("skipped: there is no redis-server on the PATH");
        }
        redis
    }

    fn client(&self) -> Client {
        Client::connect(self.port).expect("redis-server takes connections")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let file = format!("consort-test-{}.rdb", self.port);
        let _ = std::fs::remove_file(std::env::temp_dir().join(file));
    }
}

fn status(cluster: &Cluster, node: usize, prefix: &str) -> Value {
    cluster.client(node).call(&format!("KEYSPACE IMPORT {prefix}"))
}

fn phase(status: &Value) -> String {
    match field(status, "phase") {
        Value::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("{other:?} is no phase"),
    }
}

/// What all keys of the prefix hold, and whether they expire.
fn content(client: &mut Client, prefix: &str) -> BTreeMap<Vec<u8>, (Value, bool)> {
    let Value::Array(keys) = client.call(&format!("KEYS {prefix}*")) else { panic!("a list of keys") };
    let entry = |key: Value| {
        let Value::Bulk(key) = key else { panic!("a key") };
        let kind = client.call_of(&[b"TYPE", &key]);
        let is = |name: &str| kind == Value::Simple(name.to_owned().into());
        let value = match () {
            () if is("list") => client.call_of(&[b"LRANGE", &key, b"0", b"-1"]),
            () if is("zset") => scores(client.call_of(&[b"ZRANGE", &key, b"0", b"-1", b"WITHSCORES"])),
            () if is("set") => sorted(client.call_of(&[b"SMEMBERS", &key]), 1),
            () if is("hash") => sorted(client.call_of(&[b"HGETALL", &key]), 2),
            () => client.call_of(&[b"GET", &key]),
        };
        let expires = client.call_of(&[b"PTTL", &key]) != Value::Integer(-1);
        (key.to_vec(), (value, expires))
    };
    keys.into_iter().map(entry).collect()
}

/// What has no order in an order.
fn sorted(reply: Value, step: usize) -> Value {
    let Value::Array(elements) = reply else { panic!("{reply:?} is no array") };
    let mut parts: Vec<Vec<Value>> = elements.chunks(step).map(<[Value]>::to_vec).collect();
    parts.sort_by_key(|part| format!("{part:?}"));
    Value::Array(parts.concat())
}

/// Scores are written with other digits by other versions.
fn scores(reply: Value) -> Value {
    let Value::Array(elements) = reply else { panic!("{reply:?} is no array") };
    let number = |value: Value| match value {
        Value::Bulk(text) => Value::Double(
            std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).expect("a score"),
        ),
        other => panic!("{other:?} is no score"),
    };
    let each = elements.into_iter().enumerate();
    Value::Array(each.map(|(place, value)| if place % 2 == 1 { number(value) } else { value }).collect())
}

#[test]
fn a_running_redis_is_taken_over_and_nothing_is_missing_or_twice() {
    let Some(redis) = Redis::start(&[]) else { return };
    let mut source = redis.client();
    let commands: Vec<String> = (0..3000)
        .map(|number| match number % 5 {
            0 => format!("SET in:{number} {}", "abc".repeat(200)),
            1 => format!("SET in:{number} {number} PX 600000"),
            2 => format!("SET in:{number} -{number}"),
            3 => format!("SET out:{number} x"),
            _ => format!("SET in:{number} short"),
        })
        .collect();
    assert!(source.pipeline(&commands).iter().all(|reply| *reply == Value::OK));
    for other in
        ["RPUSH out:l a b c", "SADD out:s 1 2 x", "ZADD out:z 1.5 a", "HSET out:h f v", "XADD out:x * f v"]
    {
        assert!(!source.call(other).is_error(), "{other}");
    }
    // Short and long ones: each has a form of its own in the snapshot.
    let many = |count: usize, each: &dyn Fn(usize) -> String| -> String {
        (0..count).map(|number| format!(" {}", each(number))).collect()
    };
    for collection in [
        "RPUSH in:l a 5 -1 300000 abc".to_owned(),
        format!("RPUSH in:ll{} {}", many(4000, &|number| format!("value{number}")), "x".repeat(9000)),
        "SADD in:s 1 2 -70000".to_owned(),
        format!("SADD in:sl{}", many(3000, &|number| format!("m{number}"))),
        "ZADD in:z 1.5 a -inf b inf c 0.1 d 7 e".to_owned(),
        format!("ZADD in:zl{}", many(700, &|number| format!("{}.25 m{number}", number % 40))),
        "HSET in:h f v g 12 h -3".to_owned(),
        format!("HSET in:hl{}", many(900, &|number| format!("f{number} v{number}"))),
    ] {
        assert!(!source.call(&collection).is_error(), "{collection}");
    }
    assert_eq!(source.call("EXPIRE in:zl 1000"), Value::Integer(1));
    assert_eq!(source.call("XGROUP CREATE out:x g 0"), Value::OK);
    assert!(!source.call("XREADGROUP GROUP g c STREAMS out:x >").is_error());
    assert_eq!(source.call("SELECT 1"), Value::OK);
    assert_eq!(source.call("SET in:elsewhere 1"), Value::OK);
    assert_eq!(source.call("SELECT 0"), Value::OK);

    let mut cluster = Cluster::start(3, "");
    let from = format!("FROM redis://127.0.0.1:{}", redis.port);
    let none = cluster.client(0).call(&format!("KEYSPACE IMPORT in: {from}"));
    assert!(none.is_error(), "there is no such keyspace: {none:?}");
    assert_eq!(
        cluster.client(0).call("KEYSPACE CREATE in: STRATEGY primary-replica ACK semi-sync 1"),
        Value::OK
    );
    assert!(status(&cluster, 0, "in:").is_error(), "nothing is imported");
    assert_eq!(cluster.client(0).call(&format!("KEYSPACE IMPORT in: {from}")), Value::OK);
    assert!(cluster.client(0).call(&format!("KEYSPACE IMPORT in: {from}")).is_error(), "one at a time");

    // The source is written to all the time, the other two nodes die, and the source breaks the connection.
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut client = redis.client();
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                let key = number % 50;
                let commands = [
                    format!("INCR in:counter{key}"),
                    format!("APPEND in:list{key} {number};"),
                    format!("SET in:set{key} {number} EX 1000"),
                    format!("DEL in:{} out:{number}", number % 700),
                    format!("MSET in:m{key} {number} out:m {number} in:n{key} {number}"),
                    format!("SETRANGE in:r{key} {} x", number % 20),
                    "RPUSH out:l more".to_owned(),
                    format!("RPUSH in:q{key} {number}"),
                    format!("LPUSH in:q{key} {number} {number}"),
                    format!("LPOP in:q{}", number % 70),
                    format!("LINSERT in:q{key} AFTER {number} x"),
                    format!("HINCRBY in:hc{key} f{} 1", number % 7),
                    format!("HINCRBYFLOAT in:hc{key} g 0.5"),
                    format!("ZINCRBY in:zc{key} 0.25 m{}", number % 9),
                    "ZPOPMIN in:zl".to_owned(),
                    format!("SADD in:sc{key} {number} a{number}"),
                    "SPOP in:sl 2".to_owned(),
                    format!("LMOVE in:q{key} in:q{key} LEFT RIGHT"),
                ];
                assert!(client.pipeline(&commands).iter().all(|reply| !reply.is_error()));
                // Changes of one key are taken over one after another, each with a round to the disks.
                std::thread::sleep(Duration::from_millis(25));
            }
        });
        eventually("the snapshot is here", || {
            (phase(&status(&cluster, 0, "in:")) == "following").then_some(())
        });
        for victim in [1, 2] {
            cluster.nodes[victim].kill();
            std::thread::sleep(Duration::from_millis(300));
            let killed = redis.client().call("CLIENT KILL TYPE replica");
            assert!(!killed.is_error(), "{killed:?}");
            std::thread::sleep(Duration::from_millis(300));
            cluster.nodes[victim].start(Start::Normal);
            cluster.wait_until_serving(victim);
            eventually("all are in sync", || {
                let info = cluster.client(0).call("KEYSPACE INFO in:");
                (field(&info, "in_sync_at_least") == &Value::Integer(3)).then_some(())
            });
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().expect("the writer is well");
    });

    // Cut-over: what was written there before is here.
    let mut last = redis.client();
    assert_eq!(last.call("SET in:last 1"), Value::OK);
    eventually("the source knows that everything is here", || {
        (last.call("WAIT 1 1000") == Value::Integer(1)).then_some(())
    });
    assert_eq!(cluster.client(0).call("KEYSPACE IMPORT in: STOP"), Value::OK);
    eventually("it has ended", || (phase(&status(&cluster, 0, "in:")) == "stopped").then_some(()));
    let (there, here) = (content(&mut source, "in:"), content(&mut cluster.client(2), "in:"));
    assert!(there.len() > 1000, "{}", there.len());
    for (key, expected) in &there {
        assert_eq!(here.get(key), Some(expected), "{}", key.escape_ascii());
    }
    assert_eq!(here.len(), there.len());
    assert_eq!(cluster.client(0).call("GET in:elsewhere"), Value::Null, "of another database");
    assert_eq!(cluster.client(1).call("DBSIZE"), Value::Integer(here.len() as i64), "nothing else was taken");
}

#[test]
fn what_cannot_be_taken_over_ends_an_import_with_the_reason() {
    let Some(redis) = Redis::start(&["--requirepass", "secret"]) else { return };
    let mut source = redis.client();
    assert_eq!(source.call("AUTH secret"), Value::OK);
    assert!(!source.call("XADD k:x * f v").is_error());
    assert_eq!(source.call("SET k:s 1"), Value::OK);
    let cluster = Cluster::start(1, "");
    let mut client = cluster.client(0);
    let mut ends = |from: &str, with: &str| {
        eventually("it begins", || {
            let begun = client.call_of(&[b"KEYSPACE", b"IMPORT", b"", b"FROM", from.as_bytes()]);
            (begun == Value::OK).then_some(())
        });
        let status = eventually("it fails", || {
            let status = client.call_of(&[b"KEYSPACE", b"IMPORT", b""]);
            (phase(&status) == "failed").then_some(status)
        });
        let Value::Bulk(error) = field(&status, "error") else { panic!("{status:?}") };
        assert!(String::from_utf8_lossy(error).contains(with), "{error:?}");
    };
    ends(&format!("redis://:wrong@127.0.0.1:{}", redis.port), "does not let this node in");
    ends(&format!("redis://127.0.0.1:{}", redis.port), "NOAUTH");
    let from = format!("redis://:secret@127.0.0.1:{}", redis.port);
    ends(&from, "the key 'k:x' holds a stream");
    let skipping = [b"KEYSPACE".as_slice(), b"IMPORT", b"", b"FROM", from.as_bytes(), b"SKIP-OTHER-TYPES"];
    assert_eq!(client.call_of(&skipping), Value::OK);
    eventually("the string is here", || (client.call("GET k:s") == bulk("1")).then_some(()));
    assert_eq!(source.call("FLUSHALL"), Value::OK);
    let status = eventually("it fails", || {
        let status = client.call_of(&[b"KEYSPACE", b"IMPORT", b""]);
        (phase(&status) == "failed").then_some(status)
    });
    assert_eq!(field(&status, "keys_left_out"), &Value::Integer(1));
    assert_eq!(field(&status, "error"), &bulk("the source was told to FLUSHALL, which cannot be followed"));
    // Nobody there: it goes on trying, until it is stopped.
    drop(redis);
    assert_eq!(client.call_of(&[b"KEYSPACE", b"IMPORT", b"", b"FROM", b"redis://127.0.0.1:1"]), Value::OK);
    eventually("it says what it waits for", || {
        let status = client.call_of(&[b"KEYSPACE", b"IMPORT", b""]);
        (field(&status, "waiting_for") != &bulk("")).then_some(())
    });
    assert_eq!(client.call_of(&[b"KEYSPACE", b"IMPORT", b"", b"STOP"]), Value::OK);
    eventually("it has ended", || {
        (phase(&client.call_of(&[b"KEYSPACE", b"IMPORT", b""])) == "stopped").then_some(())
    });
    assert!(client.call("KEYSPACE IMPORT [] FROM http://x").is_error());
}
