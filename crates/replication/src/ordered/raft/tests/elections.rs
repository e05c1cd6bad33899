//! Votes, promises and timeouts.

use std::time::Duration;

use super::super::*;
use super::group::Group;

fn vote(term: u64, last_index: u64, last_term: u64, transfer: bool) -> Message {
    Message::Vote { term, last_index, last_term, transfer }
}

/// Was a vote given to `to` since the last look?
fn got_vote(group: &mut Group, to: u64) -> bool {
    group.settle();
    group
        .take_sent()
        .iter()
        .any(|(_, receiver, message)| *receiver == to && matches!(message, Message::VoteGranted { .. }))
}

#[test]
fn a_new_group_elects_at_once_and_commits() {
    let mut group = Group::led_by_1(3);
    group.propose(1, "a").expect("a leader takes proposals");
    group.propose(1, "b").expect("a leader takes proposals");
    for id in 1..=3 {
        assert_eq!(group.applied(id), ["a", "b"], "replica {id}");
    }
}

#[test]
fn a_single_voter_leads_and_commits_by_itself_once_durable() {
    let mut group = Group::new(1);
    group.replicas.get_mut(&1).expect("a replica").slow_disk = true;
    let now = group.now;
    group.raft(1).campaign(now);
    group.settle();
    assert!(!group.raft(1).is_leader(), "its vote is not durable");
    group.replicas.get_mut(&1).expect("a replica").slow_disk = false;
    group.settle();
    assert!(group.raft(1).is_leader());
    group.propose(1, "a").expect("it leads");
    assert_eq!(group.applied(1), ["a"]);
}

/// Who gets a vote. The voter has entries up to (index 3, term 1) and has not heard of a leader for long.
#[test]
fn votes_go_to_candidates_with_a_log_as_good() {
    for (last_index, last_term, granted) in
        [(3, 1, true), (4, 1, true), (2, 1, false), (1, 2, true), (9, 0, false)]
    {
        let mut group = Group::led_by_1(3);
        group.propose(1, "a").expect("it leads");
        group.propose(1, "b").expect("it leads");
        group.isolate(3);
        group.pass(700);
        group.heal();
        group.take_sent();
        let term = group.raft(3).term() + 1;
        group.deliver(2, 3, vote(term, last_index, last_term, false));
        assert_eq!(
            got_vote(&mut group, 2),
            granted,
            "to a log that ends at {last_index} of term {last_term}"
        );
    }
}

#[test]
fn one_vote_a_term_and_the_same_again_if_asked_again() {
    let mut group = Group::new(3);
    group.deliver(1, 3, vote(1, 0, 0, false));
    assert!(got_vote(&mut group, 1));
    group.deliver(2, 3, vote(1, 0, 0, false));
    assert!(!got_vote(&mut group, 2), "it has voted in this term");
    group.deliver(1, 3, vote(1, 0, 0, false));
    assert!(got_vote(&mut group, 1), "the first answer may have been lost");
}

#[test]
fn a_vote_survives_a_restart() {
    let mut group = Group::new(3);
    group.deliver(1, 3, vote(1, 0, 0, false));
    assert!(got_vote(&mut group, 1));
    group.restart(3);
    group.isolate(3);
    group.pass(310);
    group.heal();
    group.deliver(2, 3, vote(1, 0, 0, true));
    assert!(!got_vote(&mut group, 2));
}

/// Nor does it stand for election. With the check left out it gives its vote.
#[test]
fn a_newcomer_has_no_vote() {
    for planted in [None, Some(Bug::NewcomerVotes)] {
        let mut group = Group::with_options(3, Options { planted, ..Options::default() });
        group.replicas.get_mut(&3).expect("a replica").state.newcomer = true;
        group.restart(3);
        group.isolate(3);
        group.pass(3000);
        group.deliver(1, 3, vote(100, 9, 99, true));
        group.settle();
        let sent = group.take_sent();
        let sent: Vec<&Message> =
            sent.iter().filter(|(from, ..)| *from == 3).map(|(.., message)| message).collect();
        assert!(
            !sent.iter().any(|message| matches!(message, Message::PreVote { .. } | Message::Vote { .. }))
        );
        let votes = sent.iter().any(|message| matches!(message, Message::VoteGranted { .. }));
        assert_eq!(votes, planted.is_some(), "{planted:?}");
    }
}

#[test]
fn a_vote_waits_until_it_is_durable() {
    let mut group = Group::new(3);
    group.replicas.get_mut(&3).expect("a replica").slow_disk = true;
    group.deliver(1, 3, vote(1, 0, 0, false));
    assert!(!got_vote(&mut group, 1));
    group.replicas.get_mut(&3).expect("a replica").slow_disk = false;
    assert!(got_vote(&mut group, 1));
}

#[test]
fn who_hears_a_leader_votes_for_no_other_unless_the_leader_wants_it() {
    let mut group = Group::led_by_1(3);
    let (term, last) = (group.raft(1).term(), group.raft(1).last_index());
    group.take_sent();
    group.deliver(2, 3, vote(term + 1, last, term, false));
    assert!(!got_vote(&mut group, 2));
    assert_eq!(group.raft(3).term(), term, "not even the term changes");
    group.deliver(2, 3, vote(term + 1, last, term, true));
    assert!(got_vote(&mut group, 2), "the leader gave up its lease for this one");
}

#[test]
fn the_promise_holds_after_a_restart() {
    let mut group = Group::led_by_1(3);
    let (term, last) = (group.raft(1).term(), group.raft(1).last_index());
    group.isolate(1);
    group.restart(3);
    group.take_sent();
    group.deliver(2, 3, vote(term + 1, last, term, false));
    assert!(!got_vote(&mut group, 2), "it may have promised something before the crash");
}

#[test]
fn a_replica_that_was_cut_off_does_not_disturb_when_it_comes_back() {
    let mut group = Group::led_by_1(3);
    let term = group.raft(1).term();
    group.isolate(3);
    group.pass(3_000);
    assert_eq!(group.raft(3).term(), term, "pre-votes do not raise the term");
    group.heal();
    group.pass(1_000);
    assert_eq!(group.leaders(), [1]);
    assert_eq!(group.raft(1).term(), term);
    assert_eq!(group.raft(3).leader(), Some(NodeId(1)));
}

#[test]
fn a_leader_without_a_majority_steps_down_within_an_election_timeout() {
    let mut group = Group::led_by_1(3);
    group.isolate(1);
    group.pass(299);
    assert!(group.raft(1).is_leader());
    group.pass(2);
    assert!(!group.raft(1).is_leader());
}

#[test]
fn when_the_leader_dies_another_is_elected_soon_and_sooner_if_it_is_suspected() {
    for suspected in [false, true] {
        let mut group = Group::led_by_1(3);
        group.isolate(1);
        if suspected {
            let now = group.now;
            group.raft(2).suspect(NodeId(1), now);
            group.raft(3).suspect(NodeId(1), now);
        }
        // Its promise holds for 300 ms; then the spread: up to 300 ms, or 75 ms when suspected.
        group.pass(299);
        assert!(group.leaders().iter().all(|&leader| leader == 1), "nobody breaks its promise");
        group.pass(if suspected { 80 } else { 1_500 });
        assert!(group.leaders().iter().any(|&leader| leader != 1), "suspected: {suspected}");
    }
}

#[test]
fn a_stale_leader_learns_of_the_new_term() {
    let mut group = Group::led_by_1(3);
    group.isolate(1);
    group.pass(200);
    let old_term = group.raft(1).term();
    group.pass(1_500);
    group.heal();
    let heartbeat = Message::Heartbeat { term: old_term, round: 99, commit: 0, quiet: false };
    group.deliver(1, 2, heartbeat);
    group.settle();
    let stale = |(from, to, message): &(u64, u64, Message)| {
        *from == 2 && *to == 1 && matches!(message, Message::Stale { .. })
    };
    assert!(group.sent.iter().any(stale));
    assert!(group.raft(1).term() > old_term);
}

#[test]
#[should_panic(expected = "both lead in term")]
fn two_leaders_in_one_term_are_a_broken_invariant() {
    let mut group = Group::led_by_1(3);
    let term = group.raft(1).term();
    let heartbeat = Message::Heartbeat { term, round: 1, commit: 0, quiet: false };
    group.deliver(2, 1, heartbeat);
}

#[test]
fn a_transfer_makes_the_successor_lead_without_waiting() {
    let mut group = Group::led_by_1(3);
    group.propose(1, "a").expect("it leads");
    let now = group.now;
    assert_eq!(
        group.raft(1).transfer(NodeId(9), now),
        Err(ProposeRefused::Invalid("leadership can only be handed to another voter"))
    );
    group.raft(1).transfer(NodeId(3), now).expect("3 is a voter");
    assert!(!group.raft(1).has_lease(now), "the lease is given up before the successor is told");
    group.settle();
    assert_eq!(group.leaders(), [3]);
    group.propose(3, "b").expect("it leads");
    assert_eq!(group.applied(2), ["a", "b"]);
}

#[test]
fn a_transfer_that_fails_is_given_up() {
    let mut group = Group::led_by_1(3);
    group.isolate(3);
    let now = group.now;
    group.raft(1).transfer(NodeId(3), now).expect("3 is a voter");
    assert_eq!(group.propose(1, "a"), Err(ProposeRefused::Transferring));
    group.pass(301);
    group.propose(1, "b").expect("it leads on");
    assert_eq!(group.applied(2), ["b"]);
}

#[test]
fn after_a_transfer_that_failed_late_there_is_no_lease_in_this_term() {
    let mut group = Group::led_by_1(3);
    group.cut.insert((1, 3));
    group.pass(10);
    group.cut.clear();
    let now = group.now;
    group.raft(1).transfer(NodeId(3), now).expect("3 is a voter");
    // The successor is told, but that does not arrive (yet).
    group.cut.insert((1, 3));
    group.settle();
    group.pass(301);
    let now = group.now;
    assert!(group.raft(1).is_leader() && !group.raft(1).has_lease(now));
    group.read(1, 5);
    let commit = group.raft(1).commit();
    assert_eq!(group.replicas[&1].reads, [(5, Ok(commit))], "reads go on with rounds");
}

#[test]
fn the_timeout_differs_between_replicas_and_stays_within_bounds() {
    let options = Options::default();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..100 {
        let membership = super::group::voters(&[1, 2, 3]);
        let initial = Initial {
            snapshot: SnapshotMeta { membership, ..SnapshotMeta::default() },
            ..Initial::default()
        };
        let raft = Raft::new(NodeId(1), PartitionId(0), options.clone(), initial, seed, Time(0));
        let timeout = raft.wake_at().since(Time(0));
        assert!((Duration::from_millis(300)..Duration::from_millis(600)).contains(&timeout));
        seen.insert(timeout);
    }
    assert!(seen.len() > 90);
}
