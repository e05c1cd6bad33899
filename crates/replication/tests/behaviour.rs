//! What every strategy with strong consistency has to do, whatever it does inside: acknowledged writes survive, reads are
//! never stale, refused means that it did not happen, each request is answered once. Strategies with weaker promises
//! will run the parts that are theirs.

mod support;

use std::time::Duration;

use bytes::Bytes;
use replication::contract::{Call, Event};
use replication::{NodeId, Reply};
use resp::Value;

use support::{Cluster, bulk, command, integer, ok, transaction};

#[test]
fn a_write_at_any_node_is_seen_at_every_node() {
    let mut cluster = Cluster::new(3);
    for id in cluster.ids() {
        let value = format!("from {}", id.0);
        assert_eq!(cluster.ask(id, &["SET", "key", &value]), ok());
        for reader in cluster.ids() {
            assert_eq!(cluster.ask(reader, &["GET", "key"]), bulk(&value));
        }
    }
}

#[test]
fn a_write_is_not_acknowledged_before_a_majority_holds_it_durably() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.leader();
    assert_eq!(cluster.ask(leader, &["SET", "key", "before"]), ok());
    for id in cluster.ids() {
        cluster.stick_disk(id, true);
    }
    let write = cluster.send_command(leader, &["SET", "key", "after"]);
    cluster.run_for(Duration::from_millis(200));
    assert_eq!(cluster.reply(write), None, "nobody has synced it");
    assert_eq!(cluster.ask(leader, &["GET", "key"]), bulk("before"), "and nobody may see it");
    let follower = cluster.follower();
    cluster.stick_disk(leader, false);
    cluster.run_for(Duration::from_millis(200));
    assert_eq!(cluster.reply(write), None, "one of three is no majority");
    cluster.stick_disk(follower, false);
    assert_eq!(cluster.wait(write), ok());
}

#[test]
fn acknowledged_writes_survive_the_crash_of_all_nodes() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.leader();
    for number in 0..50 {
        assert_eq!(cluster.ask(leader, &["SET", &format!("key-{number}"), "value"]), ok());
    }
    for id in cluster.ids() {
        cluster.kill(id);
    }
    for id in cluster.ids() {
        cluster.restart(id);
    }
    for number in 0..50 {
        assert_eq!(cluster.ask(NodeId(2), &["GET", &format!("key-{number}")]), bulk("value"));
    }
}

#[test]
fn the_others_go_on_when_the_leader_dies_and_it_catches_up_when_it_is_back() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.leader();
    assert_eq!(cluster.ask(leader, &["INCR", "counter"]), integer(1));
    cluster.kill(leader);
    let successor = cluster.leader();
    assert_ne!(successor, leader);
    assert_eq!(cluster.ask(successor, &["INCR", "counter"]), integer(2));
    cluster.restart(leader);
    cluster.converge();
    assert_eq!(cluster.ask(leader, &["GET", "counter"]), bulk("2"));
    cluster.assert_no_alarm();
}

#[test]
fn a_leader_that_is_cut_off_answers_no_stale_read_and_its_lost_write_is_refused() {
    let mut cluster = Cluster::new(3);
    let old = cluster.leader();
    assert_eq!(cluster.ask(old, &["SET", "key", "old"]), ok());
    cluster.isolate(old);
    let lost = cluster.send_command(old, &["SET", "key", "lost"]);
    cluster.run_for(Duration::from_millis(1_500));
    let new = cluster.leader();
    assert_ne!(new, old);
    assert_eq!(cluster.ask(new, &["SET", "key", "new"]), ok());
    let read = cluster.send_command(old, &["GET", "key"]);
    cluster.run_for(Duration::from_millis(300));
    assert_eq!(cluster.reply(read), None, "a replica that hears nobody cannot know what is current");
    cluster.heal();
    assert_eq!(cluster.wait(read), bulk("new"));
    match cluster.wait(lost) {
        Reply::Refused(text) => assert!(text.starts_with("TRYAGAIN "), "{text}"),
        other => panic!("another write stands in its place, so it is known not to have happened: {other:?}"),
    }
}

#[test]
fn without_a_majority_reads_are_refused_and_writes_are_unknown_in_time() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.leader();
    assert_eq!(cluster.ask(leader, &["SET", "key", "value"]), ok());
    for id in cluster.ids() {
        if id != leader {
            cluster.kill(id);
        }
    }
    let write = cluster.send_command(leader, &["SET", "key", "other"]);
    cluster.run_for(Duration::from_secs(1));
    let read = cluster.send_command(leader, &["GET", "key"]);
    let late = cluster.send_command(leader, &["SET", "key", "late"]);
    assert!(matches!(cluster.wait(write), Reply::Unknown(_)), "it stands in a log that may yet win");
    assert!(matches!(cluster.wait(read), Reply::Refused(_)));
    assert!(matches!(cluster.wait(late), Reply::Refused(_)), "by then the node knew that it cannot lead");
}

#[test]
fn a_read_behind_writes_of_its_connection_sees_them_on_every_node() {
    let mut cluster = Cluster::new(3);
    cluster.leader();
    for id in cluster.ids() {
        for number in 0..20 {
            let write = cluster.send(id, command(&["INCR", "counter"], None), false);
            let read = cluster.send(id, command(&["GET", "counter"], None), true);
            let Reply::Done(Value::Integer(count)) = cluster.wait(write) else { panic!("write {number}") };
            assert_eq!(cluster.wait(read), bulk(&count.to_string()));
        }
    }
}

#[test]
fn pipelined_writes_are_prepared_one_over_the_other() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.leader();
    let sent: Vec<_> = (0..100).map(|_| cluster.send_command(leader, &["INCR", "counter"])).collect();
    for (position, id) in sent.into_iter().enumerate() {
        assert_eq!(cluster.wait(id), integer(position as i64 + 1));
    }
    let first = cluster.send_command(leader, &["SET", "lock", "a", "NX"]);
    let second = cluster.send_command(leader, &["SET", "lock", "b", "NX"]);
    assert_eq!(cluster.wait(first), ok());
    assert_eq!(cluster.wait(second), Reply::Done(Value::Null));
}

#[test]
fn a_token_runs_its_write_once_across_nodes_failover_and_restart() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.leader();
    let call = || command(&["INCR", "counter"], Some("token-1"));
    let first = cluster.send(leader, call(), false);
    let again = cluster.send(leader, call(), false);
    assert_eq!(cluster.wait(first), integer(1));
    assert_eq!(cluster.wait(again), integer(1), "while the first one was under way");
    for id in cluster.ids() {
        let again = cluster.send(id, call(), false);
        assert_eq!(cluster.wait(again), integer(1));
    }
    cluster.kill(leader);
    let successor = cluster.leader();
    let again = cluster.send(successor, call(), false);
    assert_eq!(cluster.wait(again), integer(1));
    cluster.restart(leader);
    for id in cluster.ids() {
        cluster.restart(id);
    }
    let again = cluster.send(leader, call(), false);
    assert_eq!(cluster.wait(again), integer(1));
    assert_eq!(cluster.ask(leader, &["INCR", "counter"]), integer(2));
}

#[test]
fn doubled_messages_run_nothing_twice() {
    let mut cluster = Cluster::new(3);
    cluster.duplicate = true;
    let follower = cluster.follower();
    for count in 1..=30 {
        assert_eq!(cluster.ask(follower, &["INCR", "counter"]), integer(count));
    }
    cluster.converge();
}

#[test]
fn a_key_goes_everywhere_at_once_when_its_time_has_come() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.leader();
    assert_eq!(cluster.ask(leader, &["SET", "key", "value", "PX", "5000"]), ok());
    assert_eq!(cluster.ask(leader, &["SET", "other", "value"]), ok());
    assert_eq!(cluster.ask(NodeId(3), &["GET", "key"]), bulk("value"));
    cluster.advance_wall(5_000);
    for id in cluster.ids() {
        assert_eq!(cluster.ask(id, &["GET", "key"]), Reply::Done(Value::Null));
    }
    cluster.converge();
    for id in cluster.ids() {
        assert_eq!(cluster.shard(id).status()[0].keys, 1, "deleted, not hidden");
    }
}

#[test]
fn keys_expire_without_anyone_asking() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.leader();
    for number in 0..300 {
        assert_eq!(cluster.ask(leader, &["SET", &format!("key-{number}"), "value", "PX", "20"]), ok());
    }
    cluster.advance_wall(1_000);
    cluster.run_for(Duration::from_secs(2));
    cluster.converge();
    for id in cluster.ids() {
        assert_eq!(cluster.shard(id).status()[0].keys, 0);
    }
}

#[test]
fn a_transaction_is_all_or_nothing_and_a_watched_key_stops_it() {
    let mut cluster = Cluster::new(3);
    let follower = cluster.follower();
    assert_eq!(cluster.ask(follower, &["SET", "{a}balance", "10"]), ok());
    let fingerprint = |cluster: &mut Cluster| {
        let keys = vec![Bytes::from_static(b"{a}balance")];
        let id = cluster.send(follower, Call::Fingerprint { keys }, false);
        let Reply::Done(Value::Array(prints)) = cluster.wait(id) else { panic!("no fingerprint") };
        let Value::Bulk(print) = &prints[0] else { panic!("no fingerprint") };
        let fingerprint = u128::from_le_bytes(print[..].try_into().expect("16 bytes"));
        data::Watch { key: Bytes::from_static(b"{a}balance"), fingerprint }
    };
    let watch = fingerprint(&mut cluster);
    let moves: &[&[&str]] =
        &[&["DECRBY", "{a}balance", "4"], &["INCRBY", "{a}other", "4"], &["GET", "{a}other"]];
    let id = cluster.send(follower, transaction(moves, vec![watch.clone()]), false);
    let four = Value::Bulk(Bytes::from_static(b"4"));
    let expected = Value::Array(vec![Value::Integer(6), Value::Integer(4), four]);
    assert_eq!(cluster.wait(id), Reply::Done(expected));
    let id = cluster.send(follower, transaction(moves, vec![watch]), false);
    assert_eq!(cluster.wait(id), Reply::Done(Value::NullArray), "the watched key is another one now");
    assert_eq!(cluster.ask(follower, &["GET", "{a}balance"]), bulk("6"));
}

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_recovers() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.leader();
    assert_eq!(cluster.ask(leader, &["SET", "key", "value"]), ok());
    for id in cluster.ids() {
        cluster.disk_full(id, true);
    }
    match cluster.ask(leader, &["SET", "key", "other"]) {
        Reply::Refused(text) => assert!(text.starts_with("DISKFULL "), "{text}"),
        other => panic!("{other:?}"),
    }
    for id in cluster.ids() {
        assert_eq!(cluster.ask(id, &["GET", "key"]), bulk("value"));
    }
    for id in cluster.ids() {
        cluster.disk_full(id, false);
    }
    assert_eq!(cluster.ask(leader, &["SET", "key", "other"]), ok());
}

fn fill(cluster: &mut Cluster, at: NodeId, round: u32) {
    let value = "v".repeat(1_000);
    let mut sent = Vec::new();
    for number in 0..400 {
        sent.push(cluster.send_command(at, &["SET", &format!("key-{number}-{}", round % 3), &value]));
    }
    for id in sent {
        assert_eq!(cluster.wait(id), ok());
    }
}

#[test]
fn a_replica_that_was_away_for_long_catches_up_while_writes_go_on() {
    let mut cluster = Cluster::with(3, |options| options.snapshot_log_bytes = 100_000);
    let absent = cluster.follower();
    cluster.kill(absent);
    let leader = cluster.leader();
    for round in 0..6 {
        fill(&mut cluster, leader, round);
    }
    let taken = |cluster: &Cluster| {
        cluster.events.iter().any(|(_, event)| matches!(event, Event::SnapshotTaken { .. }))
    };
    assert!(taken(&cluster), "the log was cut");
    cluster.restart(absent);
    for round in 0..3 {
        fill(&mut cluster, leader, round);
    }
    cluster.converge();
    let installed =
        |(node, event): &(NodeId, Event)| *node == absent && matches!(event, Event::SnapshotInstalled { .. });
    assert!(cluster.events.iter().any(installed), "the log no longer reached back");
    cluster.assert_no_alarm();
    for id in cluster.ids() {
        cluster.restart(id);
    }
    cluster.converge();
    assert_eq!(cluster.ask(absent, &["STRLEN", "key-7-2"]), integer(1_000));
}

#[test]
fn tokens_survive_snapshots() {
    let mut cluster = Cluster::with(3, |options| options.snapshot_log_bytes = 100_000);
    let leader = cluster.leader();
    let id = cluster.send(leader, command(&["INCR", "counter"], Some("token")), false);
    assert_eq!(cluster.wait(id), integer(1));
    for round in 0..3 {
        fill(&mut cluster, leader, round);
    }
    cluster.run_for(Duration::from_millis(200));
    for id in cluster.ids() {
        cluster.restart(id);
    }
    let id = cluster.send(leader, command(&["INCR", "counter"], Some("token")), false);
    assert_eq!(cluster.wait(id), integer(1));
}

#[test]
fn a_node_that_lost_its_disk_comes_back_under_a_new_name() {
    let mut cluster = Cluster::with(3, |options| options.snapshot_log_bytes = 100_000);
    let lost = cluster.follower();
    let leader = cluster.leader();
    for round in 0..3 {
        fill(&mut cluster, leader, round);
    }
    cluster.kill(lost);
    let new = NodeId(9);
    cluster.add(new);
    cluster.place(|placed| {
        placed.moving_to = placed.replicas.iter().map(|&id| if id == lost { new } else { id }).collect();
    });
    let is_voter = |cluster: &Cluster| cluster.shard(leader).status()[0].membership.voters.contains(&new);
    for _ in 0..100 {
        cluster.run_for(Duration::from_millis(100));
        if is_voter(&cluster) {
            break;
        }
    }
    let membership = cluster.shard(leader).status()[0].membership.clone();
    assert!(membership.voters.contains(&new) && !membership.voters.contains(&lost), "{membership:?}");
    cluster.converge();
    // The new one counts: with another node gone it makes up the majority.
    let other =
        cluster.ids().into_iter().find(|&id| id != leader && id != new && id != lost).expect("a third node");
    cluster.kill(other);
    assert_eq!(cluster.ask(leader, &["SET", "key", "value"]), ok());
    assert_eq!(cluster.ask(new, &["GET", "key"]), bulk("value"));
}

/// The node that was replaced still runs: it has no part in the partition, so it passes requests on, and rests.
#[test]
fn a_node_that_was_replaced_passes_requests_on() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.leader();
    let new = NodeId(9);
    cluster.add(new);
    let old = leader;
    let replicas: Vec<NodeId> = cluster.ids().into_iter().filter(|&id| id != old).collect();
    cluster.place(|placed| placed.moving_to.clone_from(&replicas));
    cluster.run_for(Duration::from_secs(1));
    assert_eq!(cluster.shard(new).status()[0].membership.voters, replicas);
    cluster.place(|placed| {
        placed.replicas.clone_from(&placed.moving_to);
        placed.moving_to.clear();
        placed.settled_at = 1_000;
    });
    cluster.run_for(Duration::from_secs(1));
    assert!(cluster.shard(old).status().is_empty(), "it gave its replica up");
    assert_eq!(cluster.ask(old, &["SET", "key", "value"]), ok());
    assert_eq!(cluster.ask(old, &["GET", "key"]), bulk("value"));
    cluster.run_for(Duration::from_secs(10));
    let before = cluster.wakes(old);
    cluster.run_for(Duration::from_secs(1));
    let woken = cluster.wakes(old) - before;
    assert!(woken < 50, "it woke {woken} times in a second");
}

#[test]
fn leadership_is_handed_over_and_every_request_is_served() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.leader();
    let to = cluster.follower();
    let order = Call::Admin(replication::contract::Admin::Transfer { to });
    let mut sent = Vec::new();
    for number in 0..40 {
        sent.push(cluster.send_command(leader, &["INCR", "counter"]));
        if number == 20 {
            let order = cluster.send(leader, order.clone(), false);
            sent.push(order);
        }
        cluster.run_for(Duration::from_millis(2));
    }
    let done =
        sent.into_iter().filter(|&id| matches!(cluster.wait(id), Reply::Done(Value::Integer(_)))).count();
    assert_eq!(cluster.ask(to, &["GET", "counter"]), bulk(&done.to_string()), "each that was done ran once");
    assert!(done >= 39, "a transfer refuses next to nothing: {done}");
}

#[test]
fn a_write_that_fits_into_no_frame_is_refused() {
    let mut cluster = Cluster::with(3, |options| options.max_payload_bytes = 10_000);
    let leader = cluster.leader();
    assert_eq!(cluster.ask(leader, &["SETRANGE", "{a}big", "9000", "x"]), integer(9_001));
    assert_eq!(cluster.ask(leader, &["COPY", "{a}big", "{a}copy"]), integer(1));
    let copies: &[&[&str]] = &[&["COPY", "{a}big", "{a}b"], &["COPY", "{a}big", "{a}c"]];
    let id = cluster.send(leader, transaction(copies, Vec::new()), false);
    match cluster.wait(id) {
        Reply::Refused(text) => assert!(text.starts_with("ERR "), "{text}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(cluster.ask(leader, &["EXISTS", "{a}b"]), integer(0));
}

/// A node that stops hands over, to one that lives, and does not take leadership back although it is preferred.
#[test]
fn a_node_that_stops_leads_nothing_any_more() {
    let mut cluster = Cluster::new(3);
    let leader = cluster.leader();
    assert_eq!(cluster.ask(leader, &["SET", "key", "value"]), ok());
    cluster.retire(leader);
    for _ in 0..50 {
        cluster.run_for(Duration::from_millis(100));
    }
    assert!(cluster.shard(leader).leads_none());
    assert_ne!(cluster.leader(), leader);
    assert_eq!(cluster.ask(leader, &["GET", "key"]), bulk("value"), "it still serves until it is gone");
}

/// A request for a leader that is gone waits for the next one; it is not sent into the void and then called unknown.
#[test]
fn requests_wait_for_the_next_leader() {
    let mut cluster = Cluster::new(3);
    let follower = cluster.follower();
    assert_eq!(cluster.ask(follower, &["INCR", "counter"]), integer(1));
    let leader = cluster.leader();
    cluster.kill(leader);
    cluster.run_for(Duration::from_millis(5));
    assert_eq!(cluster.ask(follower, &["INCR", "counter"]), integer(2));
}

/// Commands of one connection take effect in the order in which they were sent, whoever leads meanwhile, and a read
/// sees what stands before it and nothing of what stands behind it.
#[test]
fn a_pipeline_keeps_its_order_while_the_leader_changes() {
    for at in 1..=3 {
        let mut cluster = Cluster::new(3);
        cluster.leader();
        let mut sent = Vec::new();
        for number in 0..120 {
            let words: &[&str] = if number % 2 == 0 { &["INCR", "counter"] } else { &["GET", "counter"] };
            sent.push(cluster.send(NodeId(at), command(words, None), true));
            if number % 30 == 29 {
                let to = cluster.follower();
                let order = Call::Admin(replication::contract::Admin::Transfer { to });
                let leader = cluster.leader();
                cluster.send(leader, order, false);
            }
            if number % 3 == 0 {
                cluster.run_for(Duration::from_millis(1));
            }
        }
        let (mut counted, mut done) = (0, 0);
        for id in sent {
            match cluster.wait(id) {
                Reply::Done(Value::Integer(count)) => {
                    assert!(count > counted, "{count} came after {counted}, through node {at}");
                    counted = count;
                    done += 1;
                }
                Reply::Done(Value::Bulk(seen)) => {
                    assert_eq!(seen, counted.to_string().as_bytes(), "read through node {at}");
                    done += 1;
                }
                Reply::Done(Value::Null) => assert_eq!(counted, 0),
                Reply::Refused(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(done >= 100, "{done} of 120 done through node {at}");
    }
}

/// After a restart of all, the node that is meant to lead does so at once: nobody has to hand leadership over again.
#[test]
fn after_a_restart_of_all_the_preferred_node_leads_first() {
    for _ in 0..3 {
        let mut cluster = Cluster::new(3);
        cluster.run_for(Duration::from_secs(8));
        let preferred = cluster.ids()[0];
        assert_eq!(cluster.leader(), preferred, "it was handed over to it");
        let leader = cluster.leader();
        assert_eq!(cluster.ask(leader, &["SET", "key", "value"]), ok());
        cluster.ids().into_iter().for_each(|id| cluster.kill(id));
        cluster.ids().into_iter().for_each(|id| cluster.restart(id));
        cluster.run_for(Duration::from_millis(700));
        assert!(cluster.shard(preferred).leader(replication::PartitionId(0)) == Some(preferred));
        assert_eq!(cluster.ask(preferred, &["GET", "key"]), bulk("value"));
    }
}

/// A peer whose frames are not what they should be is refused, and the node goes on.
#[test]
fn calls_that_no_node_would_forward_are_refused() {
    let mut cluster = Cluster::new(3);
    let (leader, follower) = (cluster.leader(), cluster.follower());
    let about = |tag: u8, node: u64| [&[tag][..], &node.to_le_bytes()].concat();
    // KEYSPACE LOST of a node that is not the one that gets the request, to whoever leads and to whoever does not.
    let lost = [about(5, 99), about(6, 99)];
    // A demand of a demand of a demand.
    let nested = [7, 0, 0, 0, 0].repeat(1 << 20);
    let mut sequence = 1 << 40;
    for call in lost.into_iter().chain([nested, Vec::new(), vec![200]]) {
        for (from, to) in [(follower, leader), (leader, follower)] {
            sequence += 1 << 8;
            let refused = cluster.refused_forwards;
            cluster.forward(from, to, sequence, call.clone());
            cluster.run_for(Duration::from_millis(50));
            assert_eq!(cluster.refused_forwards, refused + 1, "{:?}", &call[..call.len().min(9)]);
        }
    }
    assert_eq!(cluster.ask(leader, &["SET", "k", "v"]), Reply::Done(Value::OK));
}
