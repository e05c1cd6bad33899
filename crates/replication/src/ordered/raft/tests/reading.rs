//! Leases, rounds, reads on followers.

use super::super::*;
use super::group::Group;

type Reads = Vec<(u64, Result<u64, ReadRefused>)>;

fn reads(group: &mut Group, id: u64) -> Reads {
    std::mem::take(&mut group.replicas.get_mut(&id).expect("a replica").reads)
}

fn sent_heartbeats(group: &mut Group) -> usize {
    let sent = group.take_sent();
    sent.iter().filter(|(_, _, message)| matches!(message, Message::Heartbeat { .. })).count()
}

#[test]
fn a_leader_with_a_lease_answers_at_once() {
    let mut group = Group::led_by_1(3);
    group.propose(1, "a").expect("it leads");
    group.take_sent();
    group.read(1, 7);
    assert_eq!(reads(&mut group, 1), [(7, Ok(2))]);
    assert_eq!(sent_heartbeats(&mut group), 0);
}

#[test]
fn the_lease_is_shorter_than_the_promise_and_runs_from_the_sending() {
    let mut group = Group::led_by_1(3);
    group.propose(1, "a").expect("it leads");
    let sent_at = group.now;
    group.isolate(1);
    assert_eq!(group.raft(1).lease_until(), sent_at + std::time::Duration::from_millis(285));
    group.pass(284);
    let now = group.now;
    assert!(group.raft(1).has_lease(now));
    group.pass(1);
    let now = group.now;
    assert!(!group.raft(1).has_lease(now));
}

#[test]
fn without_a_lease_a_round_of_its_own_confirms_a_read() {
    let mut group = Group::led_by_1(3);
    group.propose(1, "a").expect("it leads");
    group.isolate(1);
    group.pass(290);
    group.read(1, 7);
    assert_eq!(reads(&mut group, 1), [], "the lease is over, and nobody answers");
    group.heal();
    group.read(1, 8);
    assert_eq!(reads(&mut group, 1), [(7, Ok(2)), (8, Ok(2))], "a later round confirms both");
}

#[test]
fn an_answer_to_an_earlier_round_confirms_nothing() {
    let mut group = Group::led_by_1(3);
    group.propose(1, "a").expect("it leads");
    group.cut.extend([(2, 1), (3, 1)]);
    group.pass(290);
    group.take_sent();
    group.read(1, 7);
    let term = group.raft(1).term();
    let sent = group.take_sent();
    let asked = sent.iter().find_map(|(_, _, message)| match message {
        Message::Heartbeat { round, .. } => Some(*round),
        _ => None,
    });
    let asked = asked.expect("the read began a round");
    let ok = |round| Message::HeartbeatOk { term, round, commit: 2, quiet: false, disk_full: false };
    group.deliver(2, 1, ok(1));
    group.settle();
    assert_eq!(reads(&mut group, 1), [], "that one began too long ago even for a lease");
    group.deliver(2, 1, ok(asked + 50));
    group.settle();
    assert_eq!(reads(&mut group, 1), [], "a round that never was confirms nothing");
    group.deliver(2, 1, ok(asked));
    group.settle();
    assert_eq!(reads(&mut group, 1), [(7, Ok(2))]);
}

#[test]
fn a_follower_reads_by_asking_the_leader_once_for_many() {
    let mut group = Group::led_by_1(3);
    group.propose(1, "a").expect("it leads");
    group.take_sent();
    let now = group.now;
    for ticket in 0..10 {
        group.raft(3).read(ticket, now);
    }
    group.settle();
    assert_eq!(reads(&mut group, 3), (0..10).map(|ticket| (ticket, Ok(2))).collect::<Reads>());
    let asked = group.take_sent();
    assert_eq!(asked.iter().filter(|(_, _, m)| matches!(m, Message::ReadIndex { .. })).count(), 1);
}

#[test]
fn a_lost_question_is_asked_again_and_a_second_answer_serves_nobody() {
    let mut group = Group::led_by_1(3);
    group.propose(1, "a").expect("it leads");
    group.cut.insert((3, 1));
    group.read(3, 1);
    group.heal();
    group.pass(125);
    assert_eq!(reads(&mut group, 3), [(1, Ok(2))]);
    let answers: Vec<Message> = group
        .take_sent()
        .into_iter()
        .filter(|(_, to, m)| *to == 3 && matches!(m, Message::ReadIndexOk { .. }))
        .map(|(_, _, message)| message)
        .collect();
    group.cut.insert((3, 1));
    group.read(3, 2);
    for answer in answers {
        group.deliver(1, 3, answer);
    }
    group.settle();
    assert_eq!(reads(&mut group, 3), [], "the answer to an earlier question");
}

#[test]
fn reads_are_refused_when_the_leader_is_lost() {
    let mut group = Group::led_by_1(3);
    group.isolate(3);
    group.read(3, 1);
    group.pass(601);
    assert_eq!(reads(&mut group, 3), [(1, Err(ReadRefused))]);
    group.read(3, 2);
    group.pass(601);
    assert_eq!(reads(&mut group, 3), [(2, Err(ReadRefused))], "no leader is known for a while");
    group.propose(1, "a").expect("it leads");
    group.isolate(1);
    group.pass(290);
    group.read(1, 3);
    group.pass(20);
    assert_eq!(reads(&mut group, 1), [(3, Err(ReadRefused))], "it stepped down");
}

#[test]
fn a_new_leader_waits_with_reads_until_it_has_committed_something() {
    let mut group = Group::led_by_1(3);
    group.propose(1, "a").expect("it leads");
    group.isolate(1);
    let now = group.now;
    group.raft(2).suspect(NodeId(1), now);
    while !group.raft(2).is_leader() {
        group.pass(1);
        // Whoever follows the next leader cannot acknowledge its first entry.
        let follows = group.raft(3).term() > 1;
        group.replicas.get_mut(&3).expect("a replica").slow_disk = follows;
    }
    let index = group.raft(2).last_index();
    group.read(2, 9);
    let commit = group.raft(2).commit();
    let answered = reads(&mut group, 2);
    assert!(commit == index || answered.is_empty());
    group.replicas.get_mut(&3).expect("a replica").slow_disk = false;
    group.settle();
    let later = reads(&mut group, 2);
    assert_eq!([answered, later].concat(), [(9, Ok(index))], "at its first entry, not before");
}

#[test]
fn a_single_voter_reads_without_asking_anyone() {
    let mut group = Group::led_by_1(1);
    group.pass(5_000);
    assert!(group.raft(1).is_quiet());
    group.read(1, 3);
    assert_eq!(reads(&mut group, 1), [(3, Ok(1))]);
}
