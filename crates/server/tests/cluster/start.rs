//! What a node needs to be let start, and to be let in.

use std::fs;

use resp::Value;
use server::Start;

use crate::support::client::{bulk, elements, field};
use crate::support::{Cluster, eventually};

#[test]
fn an_empty_folder_needs_consent() {
    let mut cluster = Cluster::prepare(1, "");
    let node = &mut cluster.nodes[0];
    node.start(Start::Normal);
    assert_eq!(node.wait().code(), Some(1));
    assert!(node.log().contains("--bootstrap") && node.log().contains("--rebuild"), "{}", node.log());
    node.start(Start::Bootstrap);
    cluster.wait_until_serving(0);
    assert_eq!(cluster.client(0).call("SET a 1"), Value::OK);
    // The flag may stay; and a fixed field may not change.
    for start in [Start::Bootstrap, Start::Normal] {
        cluster.nodes[0].kill();
        cluster.nodes[0].start(start);
        cluster.wait_until_serving(0);
        assert_eq!(cluster.client(0).call("GET a"), bulk("1"));
    }
    let node = &mut cluster.nodes[0];
    node.kill();
    node.reconfigure("cluster = \"test\"", "cluster = \"other\"");
    node.start(Start::Normal);
    assert_eq!(node.wait().code(), Some(1));
    assert!(node.log().contains("formatted with cluster = test"), "{}", node.log());
}

#[test]
fn one_folder_serves_one_process() {
    let mut cluster = Cluster::start(1, "");
    let port = cluster.nodes[0].port;
    let mut twin = Cluster::prepare(1, "");
    let data = cluster.nodes[0].data();
    twin.nodes[0].reconfigure(&twin.nodes[0].data().display().to_string(), &data.display().to_string());
    assert_ne!(port, twin.nodes[0].port);
    twin.nodes[0].start(Start::Normal);
    assert_eq!(twin.nodes[0].wait().code(), Some(1));
    assert!(twin.nodes[0].log().contains("shard-0"), "{}", twin.nodes[0].log());
    assert_eq!(cluster.client(0).call("SET a 1"), Value::OK);
    cluster.nodes[0].kill();
}

#[test]
fn a_node_of_another_cluster_is_turned_away() {
    let mut cluster = Cluster::prepare(3, "");
    cluster.nodes[2].reconfigure("cluster = \"test\"", "cluster = \"other\"");
    for node in &mut cluster.nodes {
        node.start(Start::Bootstrap);
    }
    cluster.wait_until_serving(0);
    assert_eq!(cluster.client(1).call("SET a 1"), Value::OK);
    for node in [0, 2] {
        let text = "`cluster` differs";
        eventually("the reason in the log", || cluster.nodes[node].log().contains(text).then_some(()));
    }
    let reply = cluster.client(2).call("GET a");
    assert!(reply.is_error(), "it is alone: {reply:?}");
}

#[test]
fn neither_the_order_of_the_nodes_matters_nor_later_their_list() {
    let mut cluster = Cluster::prepare(3, "");
    cluster.nodes[2].reverse_nodes();
    for node in &mut cluster.nodes {
        node.start(Start::Bootstrap);
    }
    for node in 0..3 {
        cluster.wait_until_serving(node);
    }
    let voters = |cluster: &Cluster, node: usize| -> Vec<Value> {
        let status = cluster.client(node).call("CONSORT STATUS");
        let partitions = elements(field(&status, "partitions"));
        partitions.iter().map(|partition| field(partition, "voters").clone()).collect()
    };
    assert_eq!(voters(&cluster, 0), voters(&cluster, 2));

    let node = &mut cluster.nodes[1];
    node.kill();
    let fourth = "[[nodes]]\nname = \"a\"\nclient = \"127.0.0.1:1\"\npeer = \"127.0.0.1:2\"\n\n[[nodes]]\nname = \"n0\"";
    node.reconfigure("[[nodes]]\nname = \"n0\"", fourth);
    node.start(Start::Normal);
    cluster.wait_until_serving(1);
    assert_eq!(voters(&cluster, 1), voters(&cluster, 0), "the list is for founders");
}

#[test]
fn a_node_without_one_of_its_shards_does_not_start() {
    let mut cluster = Cluster::start(1, "");
    let node = &mut cluster.nodes[0];
    node.kill();
    fs::remove_dir_all(node.data().join("shard-0")).unwrap();
    node.start(Start::Bootstrap);
    assert_eq!(node.wait().code(), Some(1));
    assert!(node.log().contains("shard-0 does not belong to the node.toml beside it"), "{}", node.log());
}

#[test]
fn peers_must_share_the_secret() {
    let mut cluster = Cluster::prepare(3, "peer_secret = \"one\"");
    cluster.nodes[2].reconfigure("peer_secret = \"one\"", "peer_secret = \"two\"");
    for node in &mut cluster.nodes {
        node.start(Start::Bootstrap);
    }
    cluster.wait_until_serving(0);
    let text = "`peer_secret` differs";
    eventually("the reason in the log", || cluster.nodes[2].log().contains(text).then_some(()));
    cluster.nodes[2].kill();
    cluster.nodes[2].reconfigure("peer_secret = \"two\"", "peer_secret = \"one\"");
    cluster.nodes[2].start(Start::Normal);
    cluster.wait_until_serving(2);
}

#[test]
fn a_wiped_node_must_be_rebuilt_and_then_holds_everything() {
    let mut cluster = Cluster::start(3, "");
    let commands: Vec<String> = (0..200).map(|key| format!("SET k{key} {key}")).collect();
    assert!(cluster.client(0).pipeline(&commands).iter().all(|reply| *reply == Value::OK));
    cluster.nodes[2].kill();
    fs::remove_dir_all(cluster.nodes[2].data()).unwrap();

    cluster.nodes[2].start(Start::Normal);
    assert_eq!(cluster.nodes[2].wait().code(), Some(1), "an empty folder");
    cluster.nodes[2].start(Start::Bootstrap);
    assert_eq!(cluster.nodes[2].wait().code(), Some(1), "the peers know it with another disk");
    assert!(cluster.nodes[2].log().contains("Start it with --rebuild"), "{}", cluster.nodes[2].log());

    cluster.nodes[2].start(Start::Rebuild(None));
    cluster.wait_until_serving(2);
    // The rebuilt node must become a full member everywhere: then the cluster can do without another one.
    cluster.wait_until_member(2);
    cluster.nodes[1].kill();
    let mut client = cluster.client(2);
    for key in 0..200 {
        let expected = bulk(&key.to_string());
        eventually("an answer", || (client.call(&format!("GET k{key}")) == expected).then_some(()));
    }
    // The old identity is gone for good, also where a node restarts.
    cluster.nodes[1].start(Start::Normal);
    cluster.wait_until_serving(1);
    assert_eq!(cluster.client(1).call("DBSIZE"), Value::Integer(200));
}
