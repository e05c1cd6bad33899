//! What `ctl status` makes of the nodes' answers.

use super::*;
use crate::status::Node;

fn replica(role: &str, term: u64, applied: u64, digest: &str) -> Replica {
    Replica {
        role: role.into(),
        term,
        outgoing: Vec::new(),
        learners: Vec::new(),
        commit: applied,
        applied,
        keys: 1,
        bytes: 10,
        digest: digest.into(),
        digest_mismatches: 0,
    }
}

/// Node `n<number>` with one partition, which it believes `leader` to lead.
fn status(number: u64, leader: Option<u64>, replica: Replica) -> Status {
    let id = |number: u64| format!("{number:016x}");
    let node = |number: u64| Node {
        name: format!("n{number}"),
        id: id(number),
        client: format!("127.0.0.1:700{number}"),
        peer: format!("127.0.0.1:800{number}"),
        alive: true,
    };
    Status {
        version: "1".into(),
        cluster: "c".into(),
        node: format!("n{number}"),
        id: id(number),
        pid: number,
        uptime_ms: 1,
        nodes: (1..=3).map(node).collect(),
        partitions: vec![Partition {
            partition: 0,
            first_slot: 0,
            last_slot: 16383,
            leader: leader.map(id),
            voters: (1..=3).map(id).collect(),
            replica: Some(replica),
        }],
        keyspaces: Vec::new(),
        groups: Vec::new(),
        counters: BTreeMap::new(),
    }
}

fn report(statuses: Vec<Status>) -> Report {
    let seed = statuses[0].clone();
    let answers = statuses.into_iter().map(|status| (status.node.clone(), status)).collect();
    Report::put_together("127.0.0.1:7001", &seed, answers)
}

#[test]
fn a_healthy_cluster_has_no_alarm() {
    let report = report(vec![
        status(1, Some(1), replica("leader", 4, 9, "aa")),
        status(2, Some(1), replica("follower", 4, 9, "aa")),
        status(3, Some(1), replica("follower", 4, 9, "aa")),
    ]);
    assert_eq!(report.alarms, Vec::<String>::new());
    assert_eq!(report.partitions[0].digests, Digests::Equal);
    let lines = report.lines();
    assert!(
        lines.contains(&"0          0-16383  n1      4     n1 n2 n3  n1:9 n2:9 n3:9  equal".to_string()),
        "{lines:#?}"
    );
    assert_eq!(lines.last().map(String::as_str), Some("no alarm"));
}

#[test]
fn different_states_at_the_same_entry_are_an_alarm() {
    let report = report(vec![
        status(1, Some(1), replica("leader", 4, 9, "aa")),
        status(2, Some(1), replica("follower", 4, 9, "bb")),
        status(3, Some(1), replica("follower", 4, 8, "cc")),
    ]);
    assert_eq!(report.partitions[0].digests, Digests::Alarm);
    assert_eq!(report.alarms, ["partition 0: replicas hold different states; save the data folders"]);
}

#[test]
fn a_difference_that_a_replica_noticed_is_an_alarm_even_if_it_is_over() {
    let noticed = Replica { digest_mismatches: 1, ..replica("follower", 4, 9, "aa") };
    assert_eq!(Digests::compare([&replica("leader", 4, 9, "aa"), &noticed].into_iter()), Digests::Alarm);
}

#[test]
fn different_states_at_different_entries_say_nothing() {
    let replicas = [replica("leader", 4, 9, "aa"), replica("follower", 4, 8, "bb")];
    assert_eq!(Digests::compare(replicas.iter()), Digests::Moving);
    assert_eq!(Digests::compare([].iter()), Digests::Unknown);
}

#[test]
fn a_dead_node_and_its_leadership_are_told() {
    let report = report(vec![
        status(2, Some(1), replica("follower", 4, 9, "aa")),
        status(3, Some(1), replica("follower", 4, 9, "aa")),
    ]);
    assert_eq!(
        report.alarms,
        ["partition 0 has no leader that answers", "node n1 does not answer at 127.0.0.1:7001"]
    );
}

#[test]
fn the_highest_term_knows_the_leader() {
    let report = report(vec![
        status(1, Some(1), replica("leader", 4, 9, "aa")),
        status(2, Some(3), replica("follower", 5, 9, "aa")),
        status(3, Some(3), replica("leader", 5, 9, "aa")),
    ]);
    assert_eq!(report.partitions[0].leader.as_deref(), Some("n3"));
    assert_eq!(report.partitions[0].term, 5);
}
