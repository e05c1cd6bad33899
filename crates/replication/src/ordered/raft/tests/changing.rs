//! Memberships and quiet groups.

use super::super::*;
use super::group::{Group, ids, voters};

fn change(group: &mut Group, at: u64, target: Membership) -> Result<u64, ProposeRefused> {
    let now = group.now;
    let index = group.raft(at).propose_membership(target, now);
    group.settle();
    index
}

#[test]
fn a_learner_gets_the_log_and_has_no_say() {
    let mut group = Group::led_by_1(3);
    group.propose(1, "a").expect("it leads");
    group.add(4, Membership::default());
    let with_learner = Membership { learners: ids(&[4]), ..voters(&[1, 2, 3]) };
    change(&mut group, 1, with_learner.clone()).expect("it leads");
    assert_eq!(group.applied(4), ["a"]);
    assert_eq!(group.raft(4).membership(), &with_learner);
    assert_eq!(group.raft(4).role(), crate::contract::Role::Learner);
    group.cut.extend([(2, 1), (3, 1)]);
    group.propose(1, "b").expect("it leads");
    assert_eq!(group.applied(1), ["a"], "the learner's copy does not count");
}

fn with_learners_4_and_5(group: &mut Group) {
    let learners = Membership { learners: ids(&[4, 5]), ..voters(&[1, 2, 3]) };
    change(group, 1, learners).expect("it leads");
}

/// A learner whose log alone has the entry that made it one: nobody sends it anything, and it asks for no votes. It is no
/// member as of all that the others have committed, though its entry stands behind their last membership.
#[test]
fn a_learner_by_an_entry_that_was_lost_is_told_when_it_asks() {
    let mut group = Group::led_by_1(3);
    group.add(4, Membership::default());
    group.propose(1, "a").expect("it leads");
    group.cut.extend([(1, 2), (1, 3)]);
    let with_learner = Membership { learners: ids(&[4]), ..voters(&[1, 2, 3]) };
    change(&mut group, 1, with_learner.clone()).expect("it leads");
    assert_eq!(group.raft(4).membership(), &with_learner);
    group.isolate(1);
    group.pass(2_000);
    let leader = [2, 3].into_iter().find(|&id| group.raft(id).is_leader()).expect("one of them leads");
    for text in ["b", "c", "d"] {
        group.propose(leader, text).expect("it leads");
    }
    group.raft(4).ask_whether_removed(&[NodeId(2), NodeId(3)]);
    group.settle();
    assert!(group.raft(4).is_removed() && !group.raft(4).may_be_counted_on());
    assert!(group.raft(leader).is_leader(), "it disturbs nobody");
    // Let in again, it is a member again.
    change(&mut group, leader, with_learner).expect("it leads");
    group.pass(500);
    assert!(!group.raft(4).is_removed());
}

/// Voters most of whom are gone could neither finish the change nor go on without it.
#[test]
fn most_of_the_new_voters_have_to_be_there() {
    let mut group = Group::led_by_1(3);
    group.propose(1, "a").expect("it leads");
    group.isolate(3);
    group.pass(400);
    assert_eq!(change(&mut group, 1, voters(&[1, 3])), Err(ProposeRefused::NotReady));
    assert_eq!(group.raft(1).membership(), &voters(&[1, 2, 3]));
    group.propose(1, "b").expect("two of three go on");
    assert_eq!(group.applied(2), ["a", "b"]);
    change(&mut group, 1, voters(&[1, 2])).expect("both are there");
    // Who was there before the group fell quiet may be gone by now.
    let mut group = Group::led_by_1(3);
    group.pass(10_000);
    assert!(group.raft(1).is_quiet());
    group.isolate(3);
    assert_eq!(change(&mut group, 1, voters(&[1, 3])), Err(ProposeRefused::NotReady));
    group.heal();
    group.pass(200);
    change(&mut group, 1, voters(&[1, 3])).expect("it is heard of again");
}

#[test]
fn voters_change_through_a_joint_membership_that_is_left_by_itself() {
    let mut group = Group::led_by_1(3);
    for id in [4, 5] {
        group.add(id, Membership::default());
    }
    with_learners_4_and_5(&mut group);
    change(&mut group, 1, voters(&[1, 4, 5])).expect("it leads");
    assert_eq!(group.raft(1).membership(), &voters(&[1, 4, 5]));
    let joint = Membership { outgoing: ids(&[1, 2, 3]), ..voters(&[1, 4, 5]) };
    let committed: Vec<Membership> =
        group.replicas[&4].memberships.iter().filter(|m| m.2).map(|m| m.1.clone()).skip(1).collect();
    assert_eq!(committed, [joint, voters(&[1, 4, 5])]);
    group.pass(1_000);
    group.isolate(2);
    group.isolate(3);
    group.propose(1, "a").expect("it leads");
    assert_eq!(group.applied(5), ["a"], "the old voters are not needed");
}

#[test]
fn while_joint_both_majorities_are_needed() {
    let mut group = Group::led_by_1(3);
    for id in [4, 5] {
        group.add(id, Membership::default());
    }
    with_learners_4_and_5(&mut group);
    group.isolate(4);
    group.isolate(5);
    change(&mut group, 1, voters(&[1, 4, 5])).expect("it leads");
    let before = group.raft(1).commit();
    group.propose(1, "a").expect("it leads");
    assert_eq!(group.raft(1).commit(), before);
    assert!(group.raft(1).membership().is_joint());
    assert_eq!(change(&mut group, 1, voters(&[1, 2])), Err(ProposeRefused::ChangeUnderWay));
    group.heal();
    group.pass(100);
    assert!(group.raft(1).commit() > before);
    assert_eq!(group.raft(1).membership(), &voters(&[1, 4, 5]));
}

#[test]
fn changes_that_make_no_sense_are_refused() {
    let mut group = Group::led_by_1(3);
    let refused = |target: Membership, group: &mut Group| {
        matches!(change(group, 1, target), Err(ProposeRefused::Invalid(_)))
    };
    assert!(refused(voters(&[]), &mut group));
    assert!(refused(voters(&[3, 2, 1, 1]), &mut group), "it is that already");
    assert!(refused(Membership { learners: ids(&[1]), ..voters(&[1, 2]) }, &mut group));
    assert!(refused(Membership { outgoing: ids(&[1]), ..voters(&[1, 2]) }, &mut group));
    assert_eq!(change(&mut group, 2, voters(&[1])), Err(ProposeRefused::NotLeader(Some(NodeId(1)))));
}

#[test]
fn a_leader_that_removes_itself_hands_over_and_stops() {
    let mut group = Group::led_by_1(3);
    change(&mut group, 1, voters(&[2, 3])).expect("it leads");
    assert!(!group.raft(1).is_leader());
    assert_eq!(group.leaders().len(), 1, "another leads at once");
    group.pass(3_000);
    assert_eq!(group.raft(1).wake_at(), Time::NEVER, "it does not campaign");
}

#[test]
fn a_removed_replica_that_missed_it_is_told_when_it_asks_and_disturbs_nobody() {
    let mut group = Group::led_by_1(3);
    group.isolate(3);
    change(&mut group, 1, voters(&[1, 2])).expect("it leads");
    group.pass(10_000);
    assert!(group.raft(1).is_quiet(), "the group rests without it");
    let term = group.raft(1).term();
    group.heal();
    group.pass(2_000);
    assert!(group.raft(1).is_quiet(), "it did not wake the group");
    assert_eq!(group.raft(1).term(), term);
    assert_eq!(group.raft(3).wake_at(), Time::NEVER, "it knows");
}

#[test]
fn a_truncated_membership_is_not_in_force_any_more() {
    let mut group = Group::led_by_1(3);
    group.isolate(1);
    change(&mut group, 1, voters(&[1, 2])).expect("it leads");
    assert!(group.raft(1).membership().is_joint());
    group.pass(1_500);
    group.heal();
    group.pass(1_000);
    assert_eq!(group.raft(1).membership(), &voters(&[1, 2, 3]));
    let meta = group.raft(1).meta_at(1).expect("it is in the log");
    assert_eq!(meta.membership, voters(&[1, 2, 3]));
}

#[test]
fn a_group_with_nothing_to_do_falls_quiet_and_anything_wakes_it() {
    let mut group = Group::led_by_1(3);
    group.propose(1, "a").expect("it leads");
    group.pass(3_000);
    for id in 1..=3 {
        assert!(group.raft(id).is_quiet(), "{id}");
        assert_eq!(group.raft(id).wake_at(), Time::NEVER);
    }
    group.take_sent();
    group.pass(60_000);
    assert_eq!(group.take_sent(), [], "and costs nothing");
    let now = group.now;
    assert!(!group.raft(1).has_lease(now));
    group.propose(1, "b").expect("it still leads");
    assert_eq!(group.applied(3), ["a", "b"]);
    assert!(!group.raft(2).is_quiet());
    group.pass(3_000);
    group.read(3, 1);
    assert_eq!(group.replicas[&3].reads, [(1, Ok(3))], "a follower's read wakes it, too");
}

#[test]
fn a_group_is_not_quiet_while_a_member_lacks_something() {
    let mut group = Group::led_by_1(3);
    group.isolate(3);
    group.propose(1, "a").expect("it leads");
    group.pass(10_000);
    assert!(!group.raft(1).is_quiet());
    group.heal();
    group.pass(5_000);
    assert!(group.raft(1).is_quiet() && group.raft(3).is_quiet());
}

#[test]
fn a_follower_that_restarts_in_a_quiet_group_finds_its_leader() {
    let mut group = Group::led_by_1(3);
    group.propose(1, "a").expect("it leads");
    group.pass(3_000);
    let term = group.raft(1).term();
    group.restart(3);
    group.pass(700);
    assert_eq!(group.raft(3).leader(), Some(NodeId(1)));
    assert_eq!((group.leaders(), group.raft(1).term()), (vec![1], term), "nobody else is elected");
    group.pass(5_000);
    assert!(group.raft(3).is_quiet());
}

#[test]
fn a_learner_that_restarts_in_a_quiet_group_finds_its_leader() {
    let mut group = Group::led_by_1(3);
    group.add(4, Membership::default());
    change(&mut group, 1, Membership { learners: ids(&[4]), ..voters(&[1, 2, 3]) }).expect("it leads");
    group.pass(5_000);
    assert!(group.raft(4).is_quiet());
    group.restart(4);
    group.pass(700);
    assert_eq!(group.raft(4).leader(), Some(NodeId(1)));
}

#[test]
fn a_quiet_group_whose_leader_is_suspected_elects_another() {
    let mut group = Group::led_by_1(3);
    group.pass(5_000);
    assert!(group.raft(2).is_quiet());
    group.isolate(1);
    let now = group.now;
    group.raft(2).suspect(NodeId(1), now);
    group.raft(3).suspect(NodeId(1), now);
    group.pass(1_000);
    assert!(group.leaders().iter().any(|&leader| leader != 1));
}

#[test]
fn heartbeats_of_all_groups_fall_together() {
    let mut group = Group::new(3);
    group.pass(17);
    group.elect(1);
    let interval = Options::default().heartbeat_interval.as_nanos() as u64;
    for _ in 0..5 {
        let wake_at = group.raft(1).wake_at();
        assert_eq!(wake_at.0 % interval, 0);
        group.pass(60);
    }
}

#[test]
fn memberships_and_states_survive_their_encoding_and_other_bytes_are_refused() {
    let membership = Membership { outgoing: ids(&[1, 2]), learners: ids(&[9]), ..voters(&[3, u64::MAX]) };
    assert_eq!(Membership::decode(&membership.encode()), Some(membership.clone()));
    let state =
        HardState { term: 5, vote: Some(NodeId(3)), commit: 70, newcomer: false, version: 0, sound: None };
    assert_eq!(HardState::decode(&state.encode()), Some(state));
    assert_eq!(state.encode().as_ref(), [1, 5, 1, 3, 70], "version 1");
    let appointed = HardState { version: 300, ..state };
    assert_eq!(HardState::decode(&appointed.encode()), Some(appointed));
    assert_eq!(
        appointed.encode()[0],
        3,
        "a version of its own, which nodes of before do not take for theirs"
    );
    let newcomer = HardState { newcomer: true, ..state };
    assert_eq!(HardState::decode(&newcomer.encode()), Some(newcomer));
    assert_eq!(newcomer.encode().as_ref(), [2, 5, 1, 3, 70], "version 2");
    assert_eq!(voters(&[1, 300]).encode().as_ref(), [1, 2, 1, 172, 2, 0, 0], "version 1");
    for bytes in [&[][..], &[3, 5, 1, 3, 70], &[1, 5, 1, 3], &[1, 5, 1, 3, 70, 0], &[1, 5, 7, 3, 70]] {
        assert_eq!(HardState::decode(bytes), None, "{bytes:?}");
    }
    let mut random = crate::random::Random::new(1);
    for _ in 0..100_000 {
        let bytes: Vec<u8> = (0..random.below(20)).map(|_| random.draw() as u8).collect();
        let _ = Membership::decode(&bytes);
    }
}
