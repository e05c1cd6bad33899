//! The Rust crate `redis`: a plain connection in both versions of the protocol, and the cluster client.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use redis::cluster::{ClusterClient, ClusterPipeline};
use redis::{
    Client, Commands, Connection, ConnectionLike, Expiry, RedisResult, SetExpiry, SetOptions, TypedCommands,
};

use crate::cluster::Cluster;

const BIG: usize = 5 << 20;

fn connect(cluster: &Cluster, node: usize, protocol: u8) -> Connection {
    let address = cluster.nodes()[node].client;
    let client = Client::open(format!("redis://{address}/?protocol=resp{protocol}")).unwrap();
    client.get_connection_with_timeout(Duration::from_secs(30)).unwrap()
}

/// Every family of commands. Keys that one command names together share a hash tag.
fn families(r: &mut impl ConnectionLike) {
    strings(r);
    bits(r);
    keys(r);
    expiry(r);
    big_values(r);
}

fn get(r: &mut impl ConnectionLike, key: &str) -> Option<String> {
    Commands::get(r, key).unwrap()
}

fn strings(r: &mut impl ConnectionLike) {
    let () = Commands::set(r, "s:a", "1").unwrap();
    assert_eq!(get(r, "s:a").as_deref(), Some("1"));
    assert_eq!(get(r, "s:none"), None);
    let options = SetOptions::default().get(true).with_expiration(SetExpiry::EX(100));
    assert_eq!(
        Commands::set_options::<_, _, Option<String>>(r, "s:a", "2", options).unwrap().as_deref(),
        Some("1")
    );
    assert_eq!(TypedCommands::getset(r, "s:a", "3").unwrap().as_deref(), Some("2"));
    assert!(!TypedCommands::set_nx(r, "s:a", "4").unwrap());
    assert_eq!(TypedCommands::append(r, "s:a", "45").unwrap(), 3);
    assert_eq!(TypedCommands::strlen(r, "s:a").unwrap(), 3);
    assert_eq!(TypedCommands::getrange(r, "s:a", 1, -1).unwrap(), "45");
    assert_eq!(TypedCommands::setrange(r, "s:a", 5, "x").unwrap(), 6);
    assert_eq!(Commands::get::<_, Vec<u8>>(r, "s:a").unwrap(), b"345\0\0x");
    TypedCommands::mset(r, &[("{s}m1", "a"), ("{s}m2", "b")]).unwrap();
    let values: Vec<Option<String>> = Commands::mget(r, &["{s}m1", "{s}none", "{s}m2"]).unwrap();
    assert_eq!(values, [Some("a".to_string()), None, Some("b".to_string())]);
    assert!(!TypedCommands::mset_nx(r, &[("{s}m1", "a"), ("{s}m3", "b")]).unwrap());
    assert_eq!(TypedCommands::incr(r, "s:n", 10).unwrap(), 10);
    assert_eq!(TypedCommands::decr(r, "s:n", 30).unwrap(), -20);
    assert_eq!(Commands::incr::<_, _, f64>(r, "s:f", 1.5).unwrap(), 1.5);
    assert_eq!(TypedCommands::get_del(r, "s:f").unwrap().as_deref(), Some("1.5"));
    let error = TypedCommands::incr(r, "s:a", 1).unwrap_err();
    assert!(error.to_string().contains("not an integer"), "{error}");
    let error = redis::cmd("GET").arg("s:a").arg("b").query::<String>(r).unwrap_err();
    assert!(error.to_string().contains("wrong number of arguments"), "{error}");
}

fn bits(r: &mut impl ConnectionLike) {
    assert!(!TypedCommands::setbit(r, "b:a", 100, true).unwrap());
    assert!(TypedCommands::getbit(r, "b:a", 100).unwrap());
    assert_eq!(TypedCommands::bitcount(r, "b:a").unwrap(), 1);
    assert_eq!(redis::cmd("BITPOS").arg("b:a").arg(1).query::<i64>(r).unwrap(), 100);
}

fn keys(r: &mut impl ConnectionLike) {
    let () = Commands::set(r, "{k}a", "1").unwrap();
    assert!(TypedCommands::exists(r, "{k}a").unwrap());
    TypedCommands::rename(r, "{k}a", "{k}b").unwrap();
    assert!(TypedCommands::rename_nx(r, "{k}b", "{k}c").unwrap());
    assert!(TypedCommands::rename(r, "{k}none", "{k}x").is_err());
    assert!(redis::cmd("COPY").arg("{k}c").arg("{k}d").query::<bool>(r).unwrap());
    assert_eq!(TypedCommands::unlink(r, "{k}c").unwrap(), 1);
    assert_eq!(TypedCommands::del(r, &["{k}d", "{k}none"]).unwrap(), 1);
}

fn expiry(r: &mut impl ConnectionLike) {
    TypedCommands::set_ex(r, "e:a", "1", 100).unwrap();
    let ttl: i64 = Commands::ttl(r, "e:a").unwrap();
    assert!((95..=100).contains(&ttl), "{ttl}");
    assert!(TypedCommands::persist(r, "e:a").unwrap());
    assert!(TypedCommands::expire(r, "e:a", 50).unwrap());
    assert_eq!(TypedCommands::get_ex(r, "e:a", Expiry::PERSIST).unwrap().as_deref(), Some("1"));
    TypedCommands::pset_ex(r, "e:b", "soon gone", 60).unwrap();
    while get(r, "e:b").is_some() {
        thread::sleep(Duration::from_millis(20));
    }
}

fn big_values(r: &mut impl ConnectionLike) {
    let big: Vec<u8> = (0..BIG).map(|index| index as u8).collect();
    let () = Commands::set(r, "big:a", &big).unwrap();
    assert!(Commands::get::<_, Vec<u8>>(r, "big:a").unwrap() == big);
    assert_eq!(TypedCommands::del(r, "big:a").unwrap(), 1);
}

fn scan(r: &mut Connection) {
    let expected: BTreeSet<String> = (0..500).map(|number| format!("scan:{number}")).collect();
    for key in &expected {
        let () = Commands::set(r, key, "x").unwrap();
    }
    let found: BTreeSet<String> =
        Commands::scan_match(r, "scan:*").unwrap().map(RedisResult::unwrap).collect();
    assert_eq!(found, expected);
}

fn transactions(r: &mut Connection, other: &mut Connection) {
    let (first, second): (String, i64) =
        redis::pipe().atomic().set("{t}a", 1).incr("{t}a", 1).query(r).unwrap();
    assert_eq!((first.as_str(), second), ("OK", 2));
    let mut tries = 0;
    // Another client writes between WATCH and EXEC the first time, so the crate has to run the closure again.
    let (sum,): (i64,) = redis::transaction(r, &["{t}a"], |r, pipe| {
        tries += 1;
        let value: i64 = Commands::get(r, "{t}a")?;
        if tries == 1 {
            let () = Commands::set(other, "{t}a", 10)?;
        }
        pipe.set("{t}a", value + 1).ignore().incr("{t}a", 1).query(r)
    })
    .unwrap();
    assert_eq!((tries, sum), (2, 12));
}

fn pipeline(r: &mut Connection) {
    let mut pipe = redis::pipe();
    for number in 0..1000 {
        pipe.set(format!("p:{number}"), number).ignore().incr(format!("p:{number}"), 1);
    }
    let query = |r: &mut Connection| match pipe.query::<Vec<i64>>(r) {
        // An election on a machine with much else to do: what was refused was not done.
        Err(error) if error.to_string().contains("TryAgain") => None,
        numbers => Some(numbers.unwrap()),
    };
    let numbers = (0..5).find_map(|_| query(r)).expect("elections end");
    assert_eq!(numbers, (1..=1000).collect::<Vec<_>>());
}

#[test]
fn redis_crate() {
    let cluster = Cluster::start("redis_crate");
    for protocol in [2, 3] {
        let mut r = connect(&cluster, 0, protocol);
        let () = redis::cmd("FLUSHALL").query(&mut r).unwrap();
        assert!(r.check_connection());
        families(&mut r);
        scan(&mut r);
        transactions(&mut r, &mut connect(&cluster, 1, protocol));
        pipeline(&mut r);
        let info: redis::InfoDict = redis::cmd("INFO").query(&mut r).unwrap();
        assert!(info.get::<String>("redis_version").is_some());
        let config: BTreeMap<String, String> =
            redis::cmd("CONFIG").arg("GET").arg("maxclients").query(&mut r).unwrap();
        assert_eq!(config.len(), 1);
        let client: String = redis::cmd("CLIENT").arg("INFO").query(&mut r).unwrap();
        assert!(client.contains("lib-name=redis-rs"), "{client}");
    }
}

#[test]
fn redis_crate_cluster() {
    let cluster = Cluster::start("redis_crate_cluster");
    let addresses = cluster.nodes().iter().map(|node| format!("redis://{}", node.client));
    let client = ClusterClient::new(addresses).unwrap();
    let mut r = client.get_connection().unwrap();
    families(&mut r);
    for number in 0..300 {
        let () = Commands::set(&mut r, format!("c:{number}"), number).unwrap();
        assert_eq!(Commands::get::<_, i64>(&mut r, format!("c:{number}")).unwrap(), number);
    }
    let mut pipe = ClusterPipeline::new();
    for number in 0..1000 {
        pipe.cmd("INCRBY").arg(format!("p:{number}")).arg(number);
    }
    let numbers: Vec<i64> = pipe.query(&mut r).unwrap();
    assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
}
