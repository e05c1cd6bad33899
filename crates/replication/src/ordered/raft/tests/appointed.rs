//! Appointed leaders, one replica at a time: what it says to whom, what it commits, what it takes back.

use bytes::Bytes;

use super::super::*;
use crate::configuration::{Acknowledgement, Configuration, Group, PrimaryReplica, Wish};

const P: PartitionId = PartitionId(1 << 16);

fn nodes(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

/// A configuration of three nodes.
fn group(version: u64, term: u64, primary: u64, in_sync: &[u64], acknowledgement: Acknowledgement) -> Group {
    let founding = Configuration::founding((0, 16383), nodes(&[1, 2, 3]), acknowledgement);
    let configuration =
        Configuration { version, term, primary: NodeId(primary), in_sync: nodes(in_sync), ..founding };
    Group { configuration, policy: PrimaryReplica::new(acknowledgement), readers: Vec::new() }
}

/// A replica and the time.
struct One {
    raft: Raft,
    now: Time,
    effects: Effects,
}

impl One {
    fn start(hard_state: HardState) -> One {
        let initial = Initial { hard_state, ..Initial::default() };
        let now = Time(1_000_000_000);
        let raft = Raft::new(NodeId(1), P, Options::default(), initial, 7, now);
        One { raft, now, effects: Effects::default() }
    }

    /// What the inputs led to; everything is made durable at once.
    fn finish(&mut self) -> &Effects {
        let mut effects = Effects::default();
        self.raft.finish(self.now, &mut effects);
        if let Some(token) = effects.persist_token {
            self.raft.persisted(token, self.now);
            let mut more = Effects::default();
            self.raft.finish(self.now, &mut more);
            effects.send.extend(more.send);
            effects.send_after_persist.extend(more.send_after_persist);
            effects.committed.extend(more.committed);
            effects.asks.extend(more.asks);
            if let Some(token) = more.persist_token {
                self.raft.persisted(token, self.now);
            }
        }
        self.effects = effects;
        &self.effects
    }

    fn appoint(&mut self, group: &Group) -> &Effects {
        self.raft.appoint(group, self.now);
        self.finish()
    }

    fn step(&mut self, from: u64, message: Message) -> &Effects {
        self.raft.step(NodeId(from), message, self.now);
        self.finish()
    }

    fn pass(&mut self, milliseconds: u64) -> &Effects {
        self.now = self.now + std::time::Duration::from_millis(milliseconds);
        self.raft.tick(self.now);
        self.finish()
    }

    /// The latest round that `to` was asked to answer.
    fn round_to(&self, to: u64) -> u64 {
        let rounds =
            self.effects.send.iter().filter(|(node, _)| *node == NodeId(to)).filter_map(|(_, message)| {
                match message {
                    Message::Append { round, .. } | Message::Heartbeat { round, .. } => Some(*round),
                    _ => None,
                }
            });
        rounds.max().expect("it was asked something")
    }

    /// `from` holds everything up to `match_index`.
    fn holds(&mut self, from: u64, match_index: u64) {
        let (term, round) = (self.raft.term(), self.round_to(from));
        let version = self.raft.version_known();
        self.step(from, Message::AppendOk { term, round, match_index, version });
    }

    fn propose(&mut self, text: &'static str) -> u64 {
        let index = self.raft.propose(Bytes::from_static(text.as_bytes()), self.now).expect("it is taken");
        self.finish();
        index
    }
}

/// The first replica, appointed and leading, with its first entry held by all in sync.
fn leading(in_sync: &[u64], acknowledgement: Acknowledgement) -> One {
    let mut one = One::start(HardState::default());
    one.appoint(&group(1, 1, 1, in_sync, acknowledgement));
    for &other in in_sync.iter().filter(|id| **id != 1) {
        one.step(other, Message::VoteGranted { term: 1 });
    }
    assert!(one.raft.is_leader());
    one.pass(100);
    let asked = std::mem::take(&mut one.effects);
    for &other in in_sync.iter().filter(|id| **id != 1) {
        one.effects.send = asked.send.clone();
        one.holds(other, 1);
    }
    assert_eq!((one.raft.commit(), one.raft.stable()), (1, 1));
    one.effects.send = asked.send;
    one
}

#[test]
fn it_leads_in_a_term_that_it_heard_of_before_it_was_appointed() {
    let mut one = One::start(HardState::default());
    one.appoint(&group(1, 1, 2, &[1, 2], Acknowledgement::Sync));
    one.step(2, Message::Wake { term: 2 });
    assert_eq!(one.raft.term(), 2);
    one.appoint(&group(2, 2, 1, &[1], Acknowledgement::Sync));
    assert!(one.raft.is_leader());
}

#[test]
fn it_leads_in_a_term_once_and_asks_for_another_after_a_restart() {
    let state = HardState { term: 3, vote: Some(NodeId(1)), version: 5, ..HardState::default() };
    let mut one = One::start(state);
    one.appoint(&group(5, 3, 1, &[1], Acknowledgement::Sync));
    let mut asked = Vec::new();
    for _ in 0..10 {
        asked.extend(one.pass(200).asks.clone());
        assert!(!one.raft.is_leader(), "it may have sent entries that it forgot");
    }
    assert!(asked.contains(&Wish::Renew), "{asked:?}");
    one.appoint(&group(6, 4, 1, &[1], Acknowledgement::Sync));
    assert!(one.raft.is_leader());
    // Another was appointed and this one is but a follower of it: nothing stands in the way of a later term.
    let state = HardState { term: 3, vote: Some(NodeId(2)), version: 5, ..HardState::default() };
    let mut one = One::start(state);
    one.appoint(&group(6, 4, 1, &[1], Acknowledgement::Sync));
    assert!(one.raft.is_leader());
}

#[test]
fn one_that_holds_more_is_to_lead_instead() {
    let mut one = One::start(HardState::default());
    let mut appointed = group(2, 2, 1, &[1, 3], Acknowledgement::SemiSync(1));
    appointed.configuration.witnesses = nodes(&[1, 2, 3]);
    appointed.configuration.consult = 2;
    appointed.configuration.handed_over = false;
    one.appoint(&appointed);
    assert!(!one.raft.is_leader(), "two of three have to say that they hold no more");
    one.step(3, Message::Ahead { term: 2, last_index: 9, last_term: 1 });
    let mut asked = one.effects.asks.clone();
    for _ in 0..10 {
        asked.extend(one.pass(100).asks.clone());
    }
    assert!(!one.raft.is_leader());
    assert!(asked.contains(&Wish::Appoint(NodeId(3))), "{asked:?}");
}

#[test]
fn a_member_that_is_to_come_in_counts_from_when_it_is_asked_for() {
    let mut one = leading(&[1, 3], Acknowledgement::Sync);
    // The second has caught up: the primary wants it in sync.
    one.pass(60);
    one.holds(2, 1);
    let mut asked = Vec::new();
    for _ in 0..3 {
        asked.extend(one.pass(60).asks.clone());
        let sent = one.effects.send.clone();
        one.holds(3, 1);
        one.effects.send = sent;
        one.holds(2, 1);
    }
    assert!(asked.contains(&Wish::Admit(NodeId(2))), "{asked:?}");
    // The catalogue may have let it in by now: what it does not hold is not acknowledged.
    let index = one.propose("x");
    let sent = one.effects.send.clone();
    one.holds(3, index);
    assert_eq!(one.raft.commit(), 1, "the one that is to come in does not hold it");
    one.effects.send = sent;
    one.holds(2, index);
    assert_eq!(one.raft.commit(), index);
}

/// It may know only a catalogue from before it was wanted, and give up all that it has for the next one (seed 633697 of `--focus hot`).
#[test]
fn a_member_comes_in_when_what_it_holds_is_known_to_stay() {
    let mut one = leading(&[1, 3], Acknowledgement::Sync);
    one.pass(60);
    let current = one.raft.version_known();
    let mut asked_if_it_knows = |version: u64, index: u64| {
        let mut asked = Vec::new();
        for _ in 0..4 {
            asked.extend(one.pass(60).asks.clone());
            let sent = one.effects.send.clone();
            one.holds(3, 1);
            one.effects.send = sent;
            let round = one.round_to(2);
            one.step(2, Message::AppendOk { term: 1, round, match_index: index, version });
        }
        asked.contains(&Wish::Admit(NodeId(2)))
    };
    assert!(!asked_if_it_knows(current - 1, 1), "it will hear that it is not wanted");
    assert!(!asked_if_it_knows(0, 1), "it takes itself for one in sync, which it was in an earlier one");
    assert!(!asked_if_it_knows(current, 0), "and began anew: what the former one held is gone");
    assert!(asked_if_it_knows(current, 1));
}

#[test]
fn a_deposed_primary_takes_back_what_only_it_holds_and_lists_it() {
    let mut one = leading(&[1, 2, 3], Acknowledgement::Async);
    let index = one.propose("mine");
    assert_eq!((one.raft.commit(), one.raft.stable()), (index, 1), "acknowledged, and not stable");
    one.raft.applied(index);
    let append = |entries| Message::Append {
        term: 2,
        round: 1,
        prev_index: 1,
        prev_term: 1,
        commit: 1,
        admitted: 0,
        entries,
    };
    let entry = Entry { index: 2, term: 2, kind: EntryKind::Normal, payload: Bytes::from_static(b"theirs") };
    one.raft.step(NodeId(2), append(vec![entry.clone()]), one.now);
    let effects = one.finish();
    assert_eq!(effects.rolled_back, Some(1));
    let lost: Vec<_> = effects.lost.iter().map(|(entry, known)| (entry.payload.clone(), *known)).collect();
    assert_eq!(lost, [(Bytes::from_static(b"mine"), Some(true))]);
    assert_eq!((one.raft.commit(), one.raft.last_index()), (1, 2));
    let commit = one.step(2, Message::Commit { term: 2, commit: 2 });
    assert_eq!(commit.committed, [entry]);
}

#[test]
fn without_a_lease_nothing_is_acknowledged_by_the_primary_alone() {
    let mut one = leading(&[1, 2, 3], Acknowledgement::Async);
    one.now = one.now + std::time::Duration::from_millis(290);
    let index = one.propose("late");
    assert_eq!(one.raft.commit(), 1, "another may have been appointed");
    let sent = one.effects.send.clone();
    one.holds(2, index);
    one.effects.send = sent;
    one.holds(3, index);
    assert_eq!(one.raft.commit(), index, "all who could be appointed hold it");
}

#[test]
fn what_a_snapshot_holds_is_not_lost() {
    let mut one = leading(&[1, 2, 3], Acknowledgement::Async);
    one.propose("kept");
    let last = one.propose("lost");
    one.raft.step(NodeId(2), Message::Heartbeat { term: 3, round: 1, commit: 0, quiet: false }, one.now);
    one.finish();
    // Entry 2 of term 1 is in the log that the snapshot stands for, entry 3 of term 1 is not.
    let terms = vec![(0, 0), (1, 1), (3, 2)];
    let meta = SnapshotMeta { index: 9, term: 2, exact_at: 9, terms, ..SnapshotMeta::default() };
    assert!(one.raft.restore(&meta, one.now));
    let effects = one.finish();
    let lost: Vec<u64> = effects.lost.iter().map(|(entry, _)| entry.index).collect();
    assert_eq!(lost, [last]);
}

/// The same policy, with copies that need not be on disks.
fn relaxed(mut group: Group) -> Group {
    group.policy.relaxed = true;
    group
}

/// A replica whose node lost what was not on its disk since it last was known to be sound.
fn in_doubt() -> One {
    let state =
        HardState { term: 1, vote: Some(NodeId(2)), version: 1, sound: Some(0), ..HardState::default() };
    let now = Time(1_000_000_000);
    let options = Options { losses: 1, ..Options::default() };
    let initial = Initial { hard_state: state, ..Initial::default() };
    let mut one =
        One { raft: Raft::new(NodeId(1), P, options, initial, 7, now), now, effects: Effects::default() };
    one.now = one.now + std::time::Duration::from_secs(1);
    one.appoint(&relaxed(group(1, 1, 2, &[1, 2, 3], Acknowledgement::Sync)));
    assert!(one.raft.is_in_doubt());
    one
}

/// It is appointed in term 2, and one of three has to say that it holds no more.
fn appointed_again() -> Group {
    let mut appointed = relaxed(group(2, 2, 1, &[1, 3], Acknowledgement::Sync));
    appointed.configuration.witnesses = nodes(&[1, 2, 3]);
    appointed.configuration.consult = 1;
    appointed
}

#[test]
fn one_in_doubt_does_not_lead_on_its_own_word_nor_on_that_of_others_in_doubt() {
    let mut one = in_doubt();
    one.appoint(&appointed_again());
    one.step(3, Message::GrantedInDoubt { term: 2 });
    for _ in 0..10 {
        one.pass(100);
        assert!(!one.raft.is_leader(), "the second may hold more");
    }
    one.step(2, Message::VoteGranted { term: 2 });
    assert!(one.raft.is_leader() && !one.raft.is_in_doubt());
    // If all who could know better have answered, nobody does.
    let mut one = in_doubt();
    one.appoint(&appointed_again());
    one.step(3, Message::GrantedInDoubt { term: 2 });
    one.pass(1000);
    assert!(!one.raft.is_leader());
    one.step(2, Message::GrantedInDoubt { term: 2 });
    assert!(one.raft.is_leader());
    // Those who were dismissed by a primary that may not have known of it could, too.
    let mut one = in_doubt();
    let mut dismissed = relaxed(group(2, 2, 1, &[1], Acknowledgement::Sync));
    dismissed.configuration.witnesses = nodes(&[1]);
    dismissed.configuration.dismissed = nodes(&[2, 3]);
    dismissed.configuration.consult = 1;
    one.appoint(&dismissed);
    one.step(3, Message::GrantedInDoubt { term: 2 });
    one.pass(1000);
    assert!(!one.raft.is_leader());
    let asked = one.step(2, Message::Ahead { term: 2, last_index: 9, last_term: 1 }).asks.clone();
    assert!(asked.contains(&Wish::Appoint(NodeId(2))) && !one.raft.is_leader(), "{asked:?}");
}

#[test]
fn a_doubt_ends_with_what_the_leader_had_after_the_restart() {
    let mut one = in_doubt();
    let vote = Message::Vote { term: 2, last_index: 9, last_term: 1, transfer: true };
    let mut asked = in_doubt();
    let answer = asked.step(3, vote).send_after_persist.clone();
    assert_eq!(answer, [(NodeId(3), Message::GrantedInDoubt { term: 2 })]);
    let heartbeat = |round| Message::Heartbeat { term: 1, round, commit: 0, quiet: false };
    let question = |effects: &Effects| {
        effects.send.iter().find_map(|(_, message)| match message {
            Message::LogEnd { batch, .. } => Some(*batch),
            _ => None,
        })
    };
    let batch = question(one.step(2, heartbeat(1))).expect("it asks where the log ends");
    let entry = |index| Entry { index, term: 1, kind: EntryKind::Normal, payload: Bytes::from_static(b"x") };
    let append = |round, prev_index, entries| Message::Append {
        term: 1,
        round,
        prev_index,
        prev_term: u64::from(prev_index > 0),
        commit: 0,
        admitted: 0,
        entries,
    };
    one.step(2, append(2, 0, vec![entry(1)]));
    one.step(2, Message::LogEndOk { term: 1, batch: batch + 1, index: 0 });
    assert!(one.raft.is_in_doubt(), "an answer to another question");
    one.step(2, Message::LogEndOk { term: 1, batch, index: 2 });
    assert!(one.raft.is_in_doubt(), "the second entry is missing");
    assert_eq!(question(one.step(2, heartbeat(3))), None, "it knows what it lacks");
    one.step(2, append(4, 1, vec![entry(2)]));
    assert!(!one.raft.is_in_doubt());
}

#[test]
fn what_is_held_is_acknowledged_and_what_is_durable_is_stable() {
    let mut one = One::start(HardState::default());
    one.appoint(&relaxed(group(1, 1, 1, &[1, 2], Acknowledgement::Sync)));
    one.step(2, Message::VoteGranted { term: 1 });
    one.pass(100);
    one.holds(2, 1);
    assert_eq!((one.raft.commit(), one.raft.stable()), (1, 1));
    one.pass(60);
    let index = one.raft.propose(Bytes::from_static(b"x"), one.now).unwrap();
    let mut effects = Effects::default();
    one.raft.finish(one.now, &mut effects);
    assert!(effects.persist_relaxed && effects.waits_for_write, "nobody waits for the disk");
    let (token, round) = (effects.persist_token.unwrap(), effects.send.iter().find_map(round_of).unwrap());
    one.raft.step(NodeId(2), Message::Held { term: 1, round, index, version: 0 }, one.now);
    one.raft.finish(one.now, &mut effects);
    assert_eq!(one.raft.commit(), 1, "it is not written here");
    one.raft.written(token);
    one.raft.finish(one.now, &mut effects);
    assert_eq!((one.raft.commit(), one.raft.stable()), (index, 1), "acknowledged, and not stable");
    assert_eq!((one.raft.copies_of(index, false), one.raft.copies_of(index, true)), (1, 0));
    one.raft.persisted(token, one.now);
    one.raft.finish(one.now, &mut effects);
    assert_eq!((one.raft.stable(), one.raft.copies_of(index, true)), (1, 1));
    one.raft.step(NodeId(2), Message::AppendOk { term: 1, round, match_index: index, version: 0 }, one.now);
    one.raft.finish(one.now, &mut effects);
    assert_eq!((one.raft.stable(), one.raft.copies_of(index, true)), (index, 2));
}

fn round_of((_, message): &(NodeId, Message)) -> Option<u64> {
    match message {
        Message::Append { round, .. } => Some(*round),
        _ => None,
    }
}
