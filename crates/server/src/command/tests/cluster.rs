//! `CLUSTER`: replies read back by a small parser of what cluster clients rely on.

use bytes::Bytes;
use replication::NodeId;
use resp::Value;

use super::{Bench, field};
use crate::cluster::tests::status;
use crate::command::{Action, cluster_texts::hexadecimal_id};

fn array(value: &Value) -> &[Value] {
    match value {
        Value::Array(elements) => elements,
        other => panic!("{other:?} is no array"),
    }
}

fn integer(value: &Value) -> i64 {
    match value {
        Value::Integer(number) => *number,
        other => panic!("{other:?} is no integer"),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Bulk(bytes) => String::from_utf8(bytes.to_vec()).expect("is text"),
        other => panic!("{other:?} is no text"),
    }
}

/// The ports that serve each slot by `CLUSTER SLOTS`, the leader first.
fn slots(reply: &Value) -> Vec<Vec<i64>> {
    let mut map = vec![Vec::new(); 16384];
    for row in array(reply) {
        let row = array(row);
        let ports: Vec<i64> = row[2..].iter().map(|node| integer(&array(node)[1])).collect();
        for slot in integer(&row[0])..=integer(&row[1]) {
            assert!(map[slot as usize].is_empty(), "slot {slot} twice");
            map[slot as usize] = ports.clone();
        }
    }
    map
}

/// The same by `CLUSTER SHARDS`.
fn shards(reply: &Value) -> Vec<Vec<i64>> {
    let mut map = vec![Vec::new(); 16384];
    for shard in array(reply) {
        let nodes = array(field(shard, "nodes"));
        let roles: Vec<String> = nodes.iter().map(|node| text(field(node, "role"))).collect();
        assert_eq!(roles.iter().filter(|role| *role == "master").count(), 1);
        assert_eq!(roles[0], "master");
        let ports: Vec<i64> = nodes.iter().map(|node| integer(field(node, "port"))).collect();
        for range in array(field(shard, "slots")).chunks_exact(2) {
            for slot in integer(&range[0])..=integer(&range[1]) {
                assert!(map[slot as usize].is_empty(), "slot {slot} twice");
                map[slot as usize] = ports.clone();
            }
        }
    }
    map
}

/// The port of the master of each slot by `CLUSTER NODES`.
fn nodes(text: &str) -> Vec<i64> {
    let mut map = vec![0; 16384];
    let mut myself = 0;
    for line in text.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        assert!(fields.len() >= 8, "{line}");
        assert!(fields[0].len() == 40 && fields[0].bytes().all(|byte| byte.is_ascii_hexdigit()));
        let (address, bus) = fields[1].split_once('@').expect("has a bus port");
        assert!(bus.split(',').next().expect("has a port").parse::<u16>().is_ok());
        let port = address.rsplit_once(':').expect("has a port").1.parse().expect("is a number");
        let flags: Vec<&str> = fields[2].split(',').collect();
        assert!(flags.contains(&"master"));
        myself += usize::from(flags.contains(&"myself"));
        assert_eq!(fields[3], "-");
        for range in &fields[8..] {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (usize, usize) =
                (first.parse().expect("a slot"), last.parse().expect("a slot"));
            assert!(map[first..=last].iter().all(|owner| *owner == 0), "{range} overlaps another range");
            map[first..=last].fill(port);
        }
    }
    assert_eq!(myself, 1);
    map
}

fn three_views(bench: &mut Bench) -> (Vec<Vec<i64>>, Vec<Vec<i64>>, Vec<i64>) {
    let (by_slots, by_shards) = (slots(&bench.say("CLUSTER SLOTS")), shards(&bench.say("CLUSTER SHARDS")));
    (by_slots, by_shards, nodes(&bench.text("CLUSTER NODES")))
}

#[test]
fn slots_shards_and_nodes_agree_and_cover_everything() {
    let mut bench = Bench::new(&[]);
    let leaders = [None, Some(vec![1, 2, 3, 1, 2, 3]), Some(vec![2; 6]), Some(vec![3, 3, 1, 1, 1, 2])];
    for leaders in leaders {
        if let Some(leaders) = leaders {
            let statuses = leaders.iter().enumerate().map(|(at, leader)| status(at as u32, Some(*leader)));
            bench.context.cluster.set_status(statuses.collect(), replication::Time::default());
        }
        let (by_slots, by_shards, by_nodes) = three_views(&mut bench);
        for slot in 0..16384 {
            assert_eq!(by_slots[slot].len(), 3, "leader and two replicas");
            assert_eq!(by_slots[slot], by_shards[slot]);
            assert_eq!(by_slots[slot][0], by_nodes[slot]);
        }
    }
}

#[test]
fn a_node_that_is_down_is_marked_and_serves_nothing() {
    let mut bench = Bench::new(&[]);
    bench.context.cluster.set_alive(NodeId(2), false);
    let (by_slots, by_shards, by_nodes) = three_views(&mut bench);
    assert!(by_slots.iter().all(|ports| ports.len() == 2 && !ports.contains(&7002)));
    assert!(by_shards.iter().all(|ports| ports.len() == 3 && ports[0] != 7002), "listed with its health");
    assert!(by_nodes.iter().all(|port| [7001, 7003].contains(port)));
    let text = bench.text("CLUSTER NODES");
    let line = text.lines().find(|line| line.contains(":7002@8002 ")).expect("stays listed");
    assert!(line.contains(" master,fail? - 0 0 1 disconnected"), "{line}");
}

#[test]
fn names_stand_as_host_names() {
    let mut bench = Bench::new(&[]);
    let mut nodes = bench.context.cluster.state().nodes.clone();
    let third = nodes.iter_mut().find(|node| node.id == NodeId(3)).expect("is known");
    third.client.host = "node3.example".into();
    crate::cluster::tests::read(&bench.context.cluster, nodes);
    let text = bench.text("CLUSTER NODES");
    assert!(text.contains(" node3.example:7003@8003,node3.example master - "), "{text}");
}

#[test]
fn texts_are_made_once_for_each_version() {
    let bench = Bench::new(&[]);
    let texts = |bench: &Bench| bench.context.texts.of(&bench.context.cluster);
    let first = texts(&bench);
    bench.context.cluster.set_status(vec![status(0, Some(1))], replication::Time::default());
    let second = texts(&bench);
    assert!(!std::sync::Arc::ptr_eq(&first, &second));
    bench.context.cluster.set_status(vec![status(0, Some(1))], replication::Time::default());
    assert!(std::sync::Arc::ptr_eq(&second, &texts(&bench)));
}

#[test]
fn cluster_info_counts_slots_without_a_leader() {
    let mut bench = Bench::new(&[]);
    let value = |text: &str, name: &str| {
        let prefix = format!("{name}:");
        text.split("\r\n").find_map(|line| line.strip_prefix(&prefix)).map(str::to_string).expect("is there")
    };
    bench.context.cluster.set_status(
        (0..6).map(|partition| status(partition, Some(1))).collect(),
        replication::Time::default(),
    );
    let text = bench.text("CLUSTER INFO");
    assert_eq!(value(&text, "cluster_state"), "ok");
    assert_eq!(value(&text, "cluster_slots_assigned"), "16384");
    assert_eq!(value(&text, "cluster_known_nodes"), "3");
    assert_eq!(value(&text, "cluster_size"), "1");
    bench.context.cluster.set_status(vec![status(0, None)], replication::Time::default());
    let text = bench.text("CLUSTER INFO");
    assert_eq!(value(&text, "cluster_state"), "fail");
    assert_eq!(value(&text, "cluster_slots_fail"), "2730");
}

#[test]
fn questions_about_slots_and_nodes() {
    let mut bench = Bench::new(&[]);
    assert_eq!(bench.say("CLUSTER KEYSLOT {foo}bar"), Value::Integer(12182));
    assert_eq!(bench.text("CLUSTER MYID"), hexadecimal_id(NodeId(1)));
    assert_eq!(bench.act("CLUSTER COUNTKEYSINSLOT 5"), Action::KeysInSlot { slot: 5, limit: None });
    assert_eq!(bench.act("CLUSTER GETKEYSINSLOT 5 10"), Action::KeysInSlot { slot: 5, limit: Some(10) });
    assert_eq!(bench.error("CLUSTER COUNTKEYSINSLOT 16384"), "ERR Invalid slot");
    assert_eq!(bench.error("CLUSTER GETKEYSINSLOT 1 -1"), "ERR Invalid number of keys");
    assert!(bench.error("CLUSTER MEET a 1").starts_with("ERR CLUSTER MEET is not supported: "));
    let replicas = bench.say(&format!("CLUSTER REPLICAS {}", hexadecimal_id(NodeId(1))));
    assert_eq!(array(&replicas).len(), 2);
    assert!(text(&array(&replicas)[0]).contains(&format!(" slave {} ", hexadecimal_id(NodeId(1)))));
    let unknown = Bytes::from_static(b"x");
    assert_eq!(
        bench.error("CLUSTER REPLICAS x"),
        format!("ERR Unknown node {}", String::from_utf8_lossy(&unknown))
    );
}
