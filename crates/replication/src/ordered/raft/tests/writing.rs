//! Appending, committing, repairing.

use bytes::Bytes;

use super::super::*;
use super::group::Group;
use crate::contract::Write;

fn entry(index: u64, term: u64, payload: &'static str) -> Entry {
    Entry { index, term, kind: EntryKind::Normal, payload: Bytes::from_static(payload.as_bytes()) }
}

fn append(term: u64, previous: (u64, u64), commit: u64, entries: Vec<Entry>) -> Message {
    let (prev_index, prev_term) = previous;
    Message::Append { term, round: 1, prev_index, prev_term, commit, admitted: 0, entries }
}

/// What replica 2 said since the last look.
fn answers(group: &mut Group) -> Vec<Message> {
    group.settle();
    let sent = group.take_sent();
    sent.into_iter().filter(|(from, _, _)| *from == 2).map(|(_, _, message)| message).collect()
}

/// A follower (2) that got entries 1..=3 of term 1 and 4, 5 of term 2, committed up to 2; the sender does not exist.
fn follower() -> Group {
    let mut group = Group::new(3);
    group.isolate(1);
    let first = vec![entry(1, 1, "a"), entry(2, 1, "b"), entry(3, 1, "c")];
    group.deliver(1, 2, append(1, (0, 0), 2, first));
    group.deliver(3, 2, append(2, (3, 1), 2, vec![entry(4, 2, "d"), entry(5, 2, "e")]));
    answers(&mut group);
    group
}

#[test]
fn entries_fit_or_are_refused_with_a_hint() {
    // (previous index and term, entries, answer)
    let cases: Vec<((u64, u64), Vec<Entry>, Result<u64, (u64, u64)>)> = vec![
        ((5, 2), vec![entry(6, 3, "f")], Ok(6)),
        ((5, 2), vec![], Ok(5)),
        ((3, 1), vec![entry(4, 3, "x")], Ok(4)),
        ((4, 2), vec![entry(5, 2, "e")], Ok(5)),
        ((7, 3), vec![entry(8, 3, "h")], Err((5, 2))),
        ((5, 3), vec![entry(6, 3, "f")], Err((5, 2))),
        ((5, 1), vec![entry(6, 3, "f")], Err((3, 1))),
        ((0, 0), vec![entry(1, 1, "a"), entry(2, 1, "b")], Ok(2)),
        ((1, 1), vec![entry(2, 1, "b"), entry(3, 1, "c")], Ok(3)),
    ];
    for (previous, entries, expected) in cases {
        let mut group = follower();
        group.deliver(1, 2, append(3, previous, 0, entries));
        let got = match answers(&mut group).last() {
            Some(Message::AppendOk { match_index, .. }) => Ok(*match_index),
            Some(Message::AppendReject { hint_index, hint_term, .. }) => Err((*hint_index, *hint_term)),
            other => panic!("{other:?}"),
        };
        assert_eq!(got, expected, "after {previous:?}");
    }
}

#[test]
fn an_append_that_comes_twice_or_late_changes_nothing() {
    let mut group = follower();
    let late = append(2, (3, 1), 3, vec![entry(4, 2, "d")]);
    group.deliver(3, 2, late.clone());
    group.deliver(3, 2, late);
    answers(&mut group);
    assert_eq!(group.raft(2).last_index(), 5, "what follows is kept");
    assert_eq!(group.raft(2).commit(), 3);
}

#[test]
fn the_commit_index_goes_no_further_than_what_the_append_vouches_for() {
    let mut group = follower();
    group.deliver(1, 2, append(3, (3, 1), 9, vec![]));
    answers(&mut group);
    assert_eq!(group.raft(2).commit(), 3, "entries 4 and 5 may contradict the leader's");
}

#[test]
fn entries_that_make_no_sense_are_left_out() {
    for entries in [
        vec![entry(7, 3, "gap")],
        vec![entry(6, 9, "of a later term")],
        vec![entry(6, 3, "x"), entry(7, 2, "falling term")],
        vec![Entry { kind: EntryKind::Membership, ..entry(6, 3, "no membership") }],
    ] {
        let mut group = follower();
        group.deliver(1, 2, append(3, (5, 2), 0, entries));
        assert_eq!(answers(&mut group), [], "no answer");
        assert_eq!(group.raft(2).last_index(), 5);
    }
}

#[test]
fn an_acknowledgement_waits_until_the_entries_are_durable() {
    let mut group = follower();
    group.replicas.get_mut(&2).expect("a replica").slow_disk = true;
    group.deliver(3, 2, append(2, (5, 2), 2, vec![entry(6, 2, "f")]));
    assert_eq!(answers(&mut group), []);
    group.replicas.get_mut(&2).expect("a replica").slow_disk = false;
    assert!(matches!(answers(&mut group).as_slice(), [Message::AppendOk { match_index: 6, .. }]));
}

#[test]
fn a_token_does_not_vouch_for_entries_rewritten_after_it() {
    let membership = super::group::voters(&[1, 2, 3]);
    let initial =
        Initial { snapshot: SnapshotMeta { membership, ..SnapshotMeta::default() }, ..Initial::default() };
    let now = Time(0);
    let mut raft = Raft::new(NodeId(2), PartitionId(0), Options::default(), initial, 1, now);
    let mut effects = Effects::default();
    raft.step(NodeId(1), append(1, (0, 0), 0, vec![entry(1, 1, "a"), entry(2, 1, "b")]), now);
    raft.finish(now, &mut effects);
    let first = effects.persist_token.expect("entries were given out");
    raft.step(NodeId(3), append(2, (1, 1), 0, vec![entry(2, 2, "c"), entry(3, 2, "d")]), now);
    raft.finish(now, &mut effects);
    let second = effects.persist_token.expect("entries were given out");
    raft.persisted(first, now);
    assert_eq!(raft.durable_index(), 1, "entry 2 as it is now is not durable yet");
    raft.persisted(second, now);
    assert_eq!(raft.durable_index(), 3);
}

#[test]
fn the_leader_counts_its_own_copy_only_when_durable() {
    let mut group = Group::led_by_1(3);
    group.isolate(3);
    group.replicas.get_mut(&1).expect("a replica").slow_disk = true;
    group.propose(1, "a").expect("it leads");
    assert_eq!(group.applied(1), [""; 0], "durable on one of three");
    group.replicas.get_mut(&1).expect("a replica").slow_disk = false;
    group.settle();
    assert_eq!(group.applied(1), ["a"]);
}

#[test]
fn two_followers_commit_ahead_of_a_leader_with_a_slow_disk() {
    let mut group = Group::led_by_1(3);
    group.replicas.get_mut(&1).expect("a replica").slow_disk = true;
    group.propose(1, "a").expect("it leads");
    for id in 1..=3 {
        assert_eq!(group.applied(id), ["a"]);
    }
}

#[test]
fn proposals_of_one_batch_go_in_one_append() {
    let mut group = Group::led_by_1(3);
    group.take_sent();
    let now = group.now;
    for payload in ["a", "b", "c"] {
        group.raft(1).propose(Bytes::from_static(payload.as_bytes()), now).expect("it leads");
    }
    group.settle();
    let appends: Vec<usize> = group
        .take_sent()
        .into_iter()
        .filter_map(|(_, to, message)| match message {
            Message::Append { entries, .. } if to == 2 => Some(entries.len()),
            _ => None,
        })
        .collect();
    assert_eq!(appends, [3]);
}

#[test]
fn no_more_is_sent_ahead_than_the_window_allows() {
    let options = Options { max_append_bytes: 100, max_inflight_bytes: 300, ..Options::default() };
    let mut group = Group::with_options(3, options);
    group.elect(1);
    group.replicas.get_mut(&2).expect("a replica").slow_disk = true;
    group.take_sent();
    let now = group.now;
    for _ in 0..50 {
        group.raft(1).propose(Bytes::from_static(&[0; 50]), now).expect("it leads");
    }
    group.settle();
    let to_2 = |sent: Vec<(u64, u64, Message)>| -> usize {
        let appended = sent.into_iter().filter(|(_, to, _)| *to == 2);
        appended
            .map(|(_, _, m)| if let Message::Append { entries, .. } = m { entries.len() } else { 0 })
            .sum()
    };
    assert_eq!(to_2(group.take_sent()), 5, "the one that passes the limit is the last");
    group.replicas.get_mut(&2).expect("a replica").slow_disk = false;
    group.settle();
    assert_eq!(group.applied(2).len(), 50);
}

#[test]
fn a_follower_that_lost_an_append_or_whose_answer_was_lost_gets_there_after_a_heartbeat() {
    for cut in [(1, 3), (3, 1)] {
        let mut group = Group::led_by_1(3);
        group.cut.insert(cut);
        group.propose(1, "a").expect("it leads");
        group.heal();
        group.pass(70);
        assert_eq!(group.applied(3), ["a"], "cut {cut:?}");
        assert_eq!(group.raft(1).match_index(NodeId(3)), Some(2), "cut {cut:?}");
    }
}

#[test]
fn a_follower_far_behind_is_served_from_disk() {
    let options = Options { memory_tail_bytes: 100, max_append_bytes: 200, ..Options::default() };
    let mut group = Group::with_options(3, options);
    group.elect(1);
    group.isolate(3);
    for _ in 0..40 {
        group.propose(1, "something of some length").expect("it leads");
    }
    group.heal();
    group.pass(200);
    assert_eq!(group.applied(3).len(), 40);
    assert_eq!(group.replicas[&1].needs_snapshot, []);
}

#[test]
fn a_follower_behind_the_log_needs_a_snapshot_once_and_goes_on_after_it() {
    let options = Options { memory_tail_bytes: 0, ..Options::default() };
    let mut group = Group::with_options(3, options);
    group.elect(1);
    group.isolate(3);
    for _ in 0..10 {
        group.propose(1, "a").expect("it leads");
    }
    group.raft(1).compact(8);
    group.settle();
    assert_eq!(group.raft(1).log_start(), 8);
    group.heal();
    group.pass(300);
    assert_eq!(group.replicas[&1].needs_snapshot, [NodeId(3)]);
    let meta = group.raft(1).meta_at(9).expect("it is in the log");
    let now = group.now;
    assert!(group.raft(3).restore(&meta, now));
    assert!(!group.raft(3).restore(&meta, now), "it is here already");
    group.raft(1).snapshot_delivered(NodeId(3), Some(9), now);
    group.settle();
    assert_eq!(group.raft(3).commit(), 11);
    assert_eq!(group.applied(3), ["a", "a"], "what follows the snapshot");
}

#[test]
fn a_snapshot_that_failed_is_reported_again() {
    let options = Options { memory_tail_bytes: 0, ..Options::default() };
    let mut group = Group::with_options(3, options);
    group.elect(1);
    group.isolate(3);
    for _ in 0..10 {
        group.propose(1, "a").expect("it leads");
    }
    group.raft(1).compact(8);
    group.heal();
    group.pass(300);
    let now = group.now;
    group.raft(1).snapshot_delivered(NodeId(3), None, now);
    group.settle();
    assert_eq!(group.replicas[&1].needs_snapshot, [NodeId(3), NodeId(3)]);
}

#[test]
fn a_snapshot_beside_a_log_that_holds_more_does_not_cut_it() {
    let mut group = follower();
    let meta = SnapshotMeta { index: 4, term: 2, ..SnapshotMeta::default() };
    let now = group.now;
    assert!(group.raft(2).restore(&meta, now));
    assert_eq!((group.raft(2).commit(), group.raft(2).last_index()), (4, 5), "entry 5 was acknowledged");
    let contradicting = SnapshotMeta { index: 5, term: 7, ..SnapshotMeta::default() };
    assert!(group.raft(2).restore(&contradicting, now));
    assert_eq!((group.raft(2).commit(), group.raft(2).last_index()), (5, 5));
    group.settle();
    assert!(group.replicas[&2].log.is_empty(), "the log on disk begins anew");
}

#[test]
fn a_start_with_a_log_that_does_not_fit_the_snapshot_begins_anew_after_it() {
    let meta = SnapshotMeta { index: 3, term: 2, exact_at: 3, ..SnapshotMeta::default() };
    // (terms of entries 1.., last index after the start, is the log on disk reset?)
    let cases: [(&[u64], u64, bool); 4] =
        [(&[1, 1], 3, true), (&[1, 1, 1, 1], 3, true), (&[1, 1, 2, 2, 2], 5, false), (&[], 3, true)];
    for (terms, last, resets) in cases {
        let entries = terms.iter().zip(1..).map(|(&term, index)| entry(index, term, "x")).collect();
        let initial = Initial { snapshot: meta.clone(), entries, ..Initial::default() };
        let mut raft = Raft::new(NodeId(1), PartitionId(0), Options::default(), initial, 1, Time(0));
        let mut effects = Effects::default();
        raft.finish(Time(0), &mut effects);
        assert_eq!((raft.last_index(), raft.commit()), (last, 3), "{terms:?}");
        let reset = effects.persist.iter().any(|write| matches!(write, crate::contract::Write::Reset { .. }));
        assert_eq!(reset, resets, "{terms:?}");
    }
}

#[test]
fn a_follower_with_a_full_disk_is_left_alone_until_it_has_room() {
    let mut group = Group::led_by_1(3);
    group.raft(3).set_disk_full(true);
    group.propose(1, "a").expect("a majority has room");
    assert_eq!(group.applied(1), ["a"]);
    group.pass(100);
    group.take_sent();
    group.pass(500);
    let hammered = |sent: &[(u64, u64, Message)]| {
        sent.iter().any(|(_, to, message)| *to == 3 && matches!(message, Message::Append { .. }))
    };
    assert!(!hammered(&group.take_sent()), "no entries are pushed at it");
    group.raft(3).set_disk_full(false);
    group.pass(130);
    assert_eq!(group.applied(3), ["a"]);
}

#[test]
fn a_leader_with_a_full_disk_reads_and_refuses_to_write() {
    let mut group = Group::led_by_1(3);
    group.raft(1).set_disk_full(true);
    assert_eq!(group.propose(1, "a"), Err(ProposeRefused::DiskFull));
    group.read(1, 1);
    assert!(matches!(group.replicas[&1].reads.as_slice(), [(1, Ok(_))]));
    group.pass(1_000);
    assert!(group.raft(1).is_leader());
}

#[test]
fn a_group_restarts_with_everything_that_was_committed() {
    let mut group = Group::led_by_1(3);
    group.propose(1, "a").expect("it leads");
    group.propose(1, "b").expect("it leads");
    for id in 1..=3 {
        group.restart(id);
    }
    group.pass(2_000);
    assert_eq!(group.leaders().len(), 1);
    for id in 1..=3 {
        assert_eq!(group.applied(id), ["a", "b"]);
    }
}

/// A group of one commits by its own disk alone, so what it writes is what it has released.
#[test]
fn what_is_gathered_is_neither_written_nor_committed_until_it_is_let_go() {
    let membership = super::group::voters(&[1]);
    let initial =
        Initial { snapshot: SnapshotMeta { membership, ..SnapshotMeta::default() }, ..Initial::default() };
    let now = Time(0);
    let mut raft = Raft::new(NodeId(1), PartitionId(0), Options::default(), initial, 1, now);
    let mut effects = Effects::default();
    raft.campaign(now);
    let mut settle = |raft: &mut Raft| {
        let mut appended = 0;
        loop {
            raft.finish(now, &mut effects);
            let writes = effects.persist.iter();
            appended += writes.filter(|write| matches!(write, crate::contract::Write::Append { .. })).count();
            let Some(token) = effects.persist_token else { return appended };
            raft.persisted(token, now);
        }
    };
    settle(&mut raft);
    assert!(raft.is_leader() && raft.commit() == raft.last_index(), "its first entry does not wait");
    raft.gather(true);
    raft.propose(Bytes::from_static(b"a"), now).expect("it leads");
    raft.propose(Bytes::from_static(b"b"), now).expect("it leads");
    assert_eq!((settle(&mut raft), raft.under_way()), (0, (0, 2)));
    assert_eq!(raft.durable_index() + 2, raft.last_index());
    raft.gather(false);
    assert_eq!((settle(&mut raft), raft.under_way()), (2, (0, 0)));
    assert_eq!((raft.commit(), raft.durable_index()), (raft.last_index(), raft.last_index()));
}

#[test]
fn a_restarted_replica_knows_most_of_what_was_committed_and_applies_it_in_pieces() {
    let options = Options { max_apply_entries: 100, ..Options::default() };
    let mut group = Group::with_options(3, options);
    group.elect(1);
    for _ in 0..2000 {
        group.propose(1, "a").expect("it leads");
    }
    let committed = group.raft(2).commit();
    assert_eq!(committed, 2001);
    for id in [1, 2, 3] {
        group.restart(id);
        let now = group.now;
        let raft = group.raft(id);
        // Alone, before any leader is heard of. It may not know the latest.
        let known = raft.commit();
        assert!((committed - 600..=committed).contains(&known), "{id} knows of {known}");
        let mut effects = Effects::default();
        let mut applied = 0;
        while raft.has_more_to_apply() {
            raft.finish(now, &mut effects);
            assert!(effects.committed.len() <= 100);
            applied += effects.committed.len() as u64;
        }
        assert_eq!(applied, known);
    }
}

/// On disk there may be entries of a former leader still, in the place of those that are committed by now.
#[test]
fn the_commit_index_on_disk_never_goes_beyond_what_is_durable() {
    let membership = super::group::voters(&[1, 2, 3]);
    let initial =
        Initial { snapshot: SnapshotMeta { membership, ..SnapshotMeta::default() }, ..Initial::default() };
    let now = Time(1_000_000_000);
    let mut raft = Raft::new(NodeId(1), super::group::PARTITION, Options::default(), initial, 1, now);
    let mut written = |from: u64, commit: u64, durable: bool| {
        let entries = (from + 1..=from + 300).map(|index| entry(index, 1, "a")).collect();
        let prev_term = u64::from(from > 0);
        raft.step(NodeId(2), append(1, (from, prev_term), commit, entries), now);
        let mut effects = Effects::default();
        raft.finish(now, &mut effects);
        assert_eq!(raft.commit(), commit);
        if durable {
            raft.persisted(effects.persist_token.expect("something was written"), now);
        }
        effects.persist.into_iter().find_map(|write| match write {
            Write::State { state, .. } => HardState::decode(&state).map(|state| state.commit),
            _ => None,
        })
    };
    assert_eq!(written(0, 300, false), Some(0), "the term goes to disk, and nothing is durable yet");
    assert_eq!(written(300, 600, true), None, "nothing was durable when it was handed out");
    assert_eq!(written(600, 900, false), Some(600));
}
